//! Numbers over steps below each other, each with a line or several and a band: series, what was made of them,
//! forecasts.

use std::ops::Range;

use plotters::prelude::*;

use super::chart::{self, Axis, SCALE};
use crate::picture::Picture;

/// One of the charts below each other.
pub struct Panel {
    /// Stands beside its numbers.
    pub label: String,
    /// Each with its place in the list of colours; NaN breaks a line.
    pub lines: Vec<(usize, Vec<f64>)>,
    /// From and to, at each step; NaN breaks it. Empty: there is none. Its colour is the second.
    pub band: Vec<[f64; 2]>,
    /// Steps behind which there is another ground: labelled anomalies, what is forecast.
    pub marked: Vec<Range<usize>>,
}

const WIDTH: u32 = 900;
const HEIGHT: u32 = 210;
const GROUND: RGBColor = RGBColor(252, 226, 214);
/// How much of a band's colour is seen.
const BAND: f64 = 0.25;

/// The charts below each other, 900 pixels wide, with the names of the lines' colours beside the first. The first step
/// has number `first`.
pub fn panels(panels: &[Panel], names: &[String], first: usize, title: &str) -> Picture {
    let height = HEIGHT * panels.len().max(1) as u32;
    chart::render(WIDTH, height, |canvas| {
        let (left, beside) = canvas.split_horizontally((WIDTH - chart::legend_width(names, HEIGHT)) as i32 * SCALE);
        for (number, (panel, canvas)) in panels.iter().zip(left.split_evenly((panels.len().max(1), 1))).enumerate() {
            draw(&canvas, panel, first, if number == 0 { title } else { "" })?;
        }
        chart::legend(&beside, HEIGHT, names, chart::color)
    })
}

fn draw(canvas: &chart::Canvas, panel: &Panel, first: usize, title: &str) -> Result<(), chart::DrawingError> {
    let at = |step: usize| (first + step) as f64;
    let ends = panel.band.iter().flatten().copied();
    let values = panel.lines.iter().flat_map(|(_, line)| line.iter().copied()).chain(ends);
    let range = chart::range(values.filter(|value| chart::drawable(*value)), 0.08);
    let steps = panel.lines.iter().map(|(_, line)| line.len()).max().unwrap_or(0).max(panel.band.len());
    let x = Axis { label: "", range: at(0)..at(steps.max(2) - 1), whole: true, mark: None };
    let y = Axis { label: &panel.label, range: range.clone(), whole: false, mark: None };
    let mut chart = chart::axes(canvas, title, &x, &y)?;
    let ground = |marked: &Range<usize>| {
        let corners = [(at(marked.start), range.start), (at(marked.end - 1), range.end)];
        Rectangle::new(corners, GROUND.filled())
    };
    chart.draw_series(panel.marked.iter().filter(|marked| !marked.is_empty()).map(ground))?;
    let color = chart::color(1);
    let drawn = |[low, high]: &[f64; 2]| chart::drawable(*low) && chart::drawable(*high);
    let piece = |step: usize| {
        let pair = [panel.band[step], panel.band[step + 1]];
        pair.iter().all(drawn).then(|| {
            let [[low, high], [next_low, next_high]] = pair;
            let [here, next] = [at(step), at(step + 1)];
            Polygon::new([(here, low), (here, high), (next, next_high), (next, next_low)], color.mix(BAND).filled())
        })
    };
    chart.draw_series((0..panel.band.len().max(1) - 1).filter_map(piece))?;
    for (index, line) in &panel.lines {
        let color = chart::color(*index);
        let segment = |step: usize| {
            let ends = [(at(step), line[step]), (at(step + 1), line[step + 1])];
            let is_there = ends.iter().all(|(_, value)| chart::drawable(*value));
            is_there.then(|| PathElement::new(ends.to_vec(), color.stroke_width(2 * SCALE as u32)))
        };
        chart.draw_series((0..line.len().max(1) - 1).filter_map(segment))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(line: Vec<f64>, band: Vec<[f64; 2]>, marked: Option<Range<usize>>) -> Panel {
        Panel { label: "load".into(), lines: vec![(0, line)], band, marked: marked.into_iter().collect() }
    }

    /// Pixels of a colour, left of the legend.
    fn count(picture: &Picture, color: RGBColor) -> usize {
        let is = |pixel: &&[u8]| **pixel == [color.0, color.1, color.2];
        picture.pixels.chunks(3).filter(is).count()
    }

    #[test]
    fn lines_bands_and_grounds_are_drawn_and_gaps_are_not() {
        let names = ["series".to_string()];
        let line: Vec<f64> = (0..50).map(|t| (f64::from(t) * 0.3).sin()).collect();
        let with_gap = line.iter().enumerate().map(|(t, x)| if t < 25 { *x } else { f64::NAN }).collect();
        let whole = panels(&[panel(line.clone(), vec![], None)], &names, 100, "title");
        let half = panels(&[panel(with_gap, vec![], None)], &names, 100, "title");
        assert_eq!((whole.width, whole.height), (WIDTH, HEIGHT));
        let [of_whole, of_half] = [&whole, &half].map(|picture| count(picture, chart::color(0)));
        assert!(of_whole > 300 && of_half < of_whole, "{of_half} {of_whole}");
        assert_eq!(count(&whole, GROUND), 0);
        let band = line.iter().map(|x| [x - 0.5, x + 0.5]).collect();
        let two = [panel(line.clone(), band, Some(10..20)), panel(line, vec![], None)];
        let drawn = panels(&two, &names, 0, "title");
        assert_eq!(drawn.height, 2 * HEIGHT);
        assert!(count(&drawn, GROUND) > 100);
        // The marks of the second stand beside it.
        let rows = drawn.pixels.chunks(3 * WIDTH as usize).skip(HEIGHT as usize + 20).take(HEIGHT as usize - 100);
        let is_dark = |pixel: &&[u8]| pixel.iter().all(|level| *level < 128);
        let dark = rows.flat_map(|row| row[3 * 60..3 * 88].chunks(3)).filter(is_dark).count();
        // A chart this low has three of them, of ten dark pixels each.
        assert!(dark > 20, "{dark}");
    }

    #[test]
    fn anything_can_be_drawn() {
        panels(&[], &[], 0, "");
        panels(&[panel(vec![], vec![], None)], &[], 0, "");
        panels(&[panel(vec![f64::NAN; 3], vec![[f64::NAN; 2]; 3], Some(0..0))], &[], 7, "");
        panels(&[panel(vec![1.0], vec![[0.0, 2.0]], Some(0..1))], &[], 7, "");
    }
}
