//! How many rows have which score: normal rows and anomalies on one axis, with the threshold between them.

use super::chart::{self, Axis, SCALE};
use crate::picture::Picture;
use plotters::prelude::*;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 480;
/// Bars of a kind.
const BARS: usize = 60;

/// Values of one kind, as a name in the legend.
pub struct Heap<'a> {
    /// As in `normal`.
    pub name: &'a str,
    /// In any order. Those that are not finite are left out.
    pub values: Vec<f64>,
}

/// The share of each kind's values in each bar, and a line at the threshold. The axis ends where all but the largest
/// hundredth of the first kind lie and half of each other, which may be far away; what is beyond is in the last bar.
pub fn histogram(heaps: &[Heap], threshold: Option<f64>, axis: &str, title: &str) -> Picture {
    let finite: Vec<Vec<f64>> =
        heaps.iter().map(|heap| heap.values.iter().copied().filter(|v| chart::drawable(*v)).collect()).collect();
    let range = chart::range(
        finite.iter().enumerate().flat_map(|(kind, values)| ends(values, kind > 0)).chain(threshold),
        0.02,
    );
    let width = (range.end - range.start) / BARS as f64;
    let shares: Vec<Vec<f64>> = finite.iter().map(|values| shares(values, range.start, width)).collect();
    let highest = shares.iter().flatten().fold(0.01, |most: f64, share| most.max(*share));
    let x = Axis { label: axis, range: range.clone(), whole: false, mark: None };
    let mark: fn(f64) -> String = |share| format!("{:.0} %", 100.0 * share);
    let y = Axis { label: "share of the rows", range: 0.0..1.05 * highest, whole: false, mark: Some(mark) };
    let names: Vec<String> = heaps.iter().map(|heap| format!("{} ({})", heap.name, heap.values.len())).collect();

    chart::render(WIDTH + chart::legend_width(&names, HEIGHT), HEIGHT, |canvas| {
        let (left, beside) = canvas.split_horizontally(WIDTH as i32 * SCALE);
        let mut chart = chart::axes(&left, title, &x, &y)?;
        for (kind, shares) in shares.iter().enumerate() {
            let bar = |(i, share): (usize, &f64)| {
                let from = range.start + i as f64 * width;
                Rectangle::new([(from, 0.0), (from + width, *share)], chart::color(kind).mix(0.55).filled())
            };
            chart.draw_series(shares.iter().enumerate().filter(|(_, share)| **share > 0.0).map(bar))?;
        }
        if let Some(at) = threshold.filter(|at| chart::drawable(*at)) {
            let line = vec![(at, 0.0), (at, 1.05 * highest)];
            chart.draw_series([PathElement::new(line, chart::INK.stroke_width(2 * SCALE as u32))])?;
        }
        if finite.iter().all(Vec::is_empty) {
            chart::note(&chart, "nothing to draw: no finite scores")?;
        }
        chart::legend(&beside, HEIGHT, &names, chart::color)
    })
}

/// The smallest value, and the one above which a hundredth of them lies, or half of those that may be far away.
fn ends(values: &[f64], is_far: bool) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => Vec::new(),
        n => vec![sorted[0], sorted[(n - 1) * if is_far { 50 } else { 99 } / 100]],
    }
}

/// The share of the values in each bar; the first and the last also have what is beyond them.
fn shares(values: &[f64], start: f64, width: f64) -> Vec<f64> {
    let mut shares = vec![0.0; BARS];
    for value in values {
        let bar = ((value - start) / width).clamp(0.0, BARS as f64 - 1.0);
        shares[bar as usize] += 1.0 / values.len() as f64;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_the_shares_and_the_last_what_is_beyond() {
        let shares = shares(&[0.0, 0.1, 0.6, 30.5, 1e9, 1e9, -5.0, 30.4], 0.0, 1.0);
        assert_eq!((shares[0], shares[30], shares[BARS - 1]), (4.0 / 8.0, 2.0 / 8.0, 2.0 / 8.0));
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn any_scores_can_be_drawn() {
        let heap = |values: &[f64]| Heap { name: "rows", values: values.to_vec() };
        let of = |heaps: &[Heap], threshold| histogram(heaps, threshold, "elbo", "title");
        let one = of(&[heap(&[1.0, 2.0, 2.5])], Some(2.2));
        assert_eq!(one.height, HEIGHT);
        assert_ne!(one, of(&[heap(&[1.0, 2.0, 2.5])], None), "the threshold is drawn");
        of(&[heap(&[]), heap(&[f64::NAN, f64::INFINITY])], None);
        of(&[heap(&[3.0; 5]), heap(&[1e30])], Some(f64::NAN));
        of(&[], None);
    }
}
