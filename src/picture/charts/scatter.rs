//! Encodings in a 2-D latent space, coloured by label.

use super::chart::{self, Axis, SCALE};
use crate::picture::Picture;
use plotters::prelude::*;
use std::collections::BTreeSet;

/// Size without the legend, chosen so that title and axis labels leave a square.
const WIDTH: u32 = 740;
const HEIGHT: u32 = 740;

/// A dot for each encoding (z1, z2), in the colour of its label: do the classes part, does the cloud fill N(0, I)?
///
/// Both axes have the same scale. A label is called by its name in `names`, or where that has none by its number;
/// without labels all dots have one colour and there is no legend. Points with a NaN or infinite coordinate are left
/// out.
///
/// # Panics
/// If there are not as many labels as points.
pub fn scatter(points: &[[f32; 2]], labels: Option<&[u8]>, names: &[String], title: &str) -> Picture {
    assert!(labels.is_none_or(|labels| points.len() == labels.len()), "a scatter needs one label a point");
    let label = |i: usize| labels.map_or(0, |labels| labels[i]);
    let placed = || {
        let labelled = points.iter().enumerate().map(|(i, point)| (point, label(i)));
        labelled.filter(|(point, _)| point.iter().all(|z| z.is_finite()))
    };
    let range = chart::range(placed().flat_map(|(point, _)| point.map(f64::from)), 0.03);
    let x = Axis { label: "z1", range: range.clone(), whole: false, mark: None };
    let y = Axis { label: "z2", range, whole: false, mark: None };
    let classes: Vec<u8> = placed().map(|(_, label)| label).collect::<BTreeSet<_>>().into_iter().collect();
    let name = |label: &u8| names.get(usize::from(*label)).cloned().unwrap_or_else(|| label.to_string());
    let shown: Vec<String> = if labels.is_some() { classes.iter().map(name).collect() } else { Vec::new() };
    // A class keeps its colour in pictures that lack others.
    let count = names.len().max(classes.last().map_or(0, |last| usize::from(*last) + 1));
    let color = |label: u8| chart::class_color(usize::from(label), count);
    // Large clouds need small, transparent dots to show where they are dense.
    let (radius, opacity) = if points.len() > 2000 { (2 * SCALE, 0.55) } else { (4 * SCALE, 0.8) };

    chart::render(WIDTH + chart::legend_width(&shown, HEIGHT), HEIGHT, |canvas| {
        let (left, beside) = canvas.split_horizontally(WIDTH as i32 * SCALE);
        let mut chart = chart::axes(&left, title, &x, &y)?;
        chart.draw_series(placed().map(|(point, label)| {
            let at = (f64::from(point[0]), f64::from(point[1]));
            Circle::new(at, radius, color(label).mix(opacity).filled())
        }))?;
        if placed().next().is_none() {
            chart::note(&chart, "nothing to draw: no finite points")?;
        }
        chart::legend(&beside, HEIGHT, &shown, |index| color(classes[index]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels (x, y) left of the legend that are neither white, grey nor black.
    fn colored(picture: &Picture) -> Vec<(usize, usize)> {
        let is_colored = |pixel: &[u8]| pixel.iter().max().unwrap() - pixel.iter().min().unwrap() > 60;
        let at = picture.pixels.chunks(3).enumerate().filter(|(_, pixel)| is_colored(pixel));
        let width = picture.width as usize;
        at.map(|(at, _)| (at % width, at / width)).filter(|(x, _)| *x < WIDTH as usize).collect()
    }

    fn extent(values: impl Iterator<Item = usize> + Clone) -> usize {
        values.clone().max().unwrap() - values.min().unwrap()
    }

    #[test]
    fn both_axes_have_the_same_scale() {
        let picture = scatter(&[[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]], Some(&[3; 4]), &[], "cross");
        let dots = colored(&picture);
        let (across, down) = (extent(dots.iter().map(|dot| dot.0)), extent(dots.iter().map(|dot| dot.1)));
        assert!(across > 500 && across.abs_diff(down) <= 1, "{across} across, {down} down");
    }

    #[test]
    fn z1_grows_to_the_right_and_z2_upwards() {
        let upper_right =
            colored(&scatter(&[[0.9, 0.9], [-1.0, f32::NAN], [-1.0, f32::INFINITY]], Some(&[0; 3]), &[], ""));
        let middle = colored(&scatter(&[[0.9, 0.9]], Some(&[0]), &[], ""));
        assert_eq!(upper_right, middle, "points without a place do not stretch the axes");
        // Label 7 is grey and label 0 blue: of the two dots only the blue one counts as coloured.
        let dots = colored(&scatter(&[[-1.0, -1.0], [1.0, 1.0]], Some(&[7, 0]), &[], ""));
        assert!(!dots.is_empty() && dots.iter().all(|(x, y)| *x > 600 && *y < 150), "{dots:?}");
    }

    #[test]
    fn nothing_and_many_classes_can_be_drawn() {
        assert!(colored(&scatter(&[], Some(&[]), &[], "empty")).is_empty());
        let labels: Vec<u8> = (0..=255).collect();
        let many = scatter(&vec![[0.0, 0.0]; 256], Some(&labels), &[], "many");
        let few = scatter(&[[0.0, 0.0]; 10], Some(&labels[..10]), &[], "few");
        assert!(many.width > few.width && many.height == few.height);
    }

    #[test]
    fn classes_have_their_names_and_no_labels_no_legend() {
        let names = ["cat", "a much longer name"].map(String::from);
        let points = [[0.0, 0.0], [1.0, 1.0]];
        let width = |labels, names: &[String]| scatter(&points, labels, names, "").width;
        assert_eq!(width(None, &[]), WIDTH);
        assert!(width(Some(&[0, 1]), &names) > width(Some(&[0, 1]), &[]));
        assert_eq!(width(Some(&[0, 2]), &names[..1]), width(Some(&[0, 7]), &names[..1]));
    }

    #[test]
    #[should_panic(expected = "one label a point")]
    fn a_missing_label_is_a_program_error() {
        scatter(&[[0.0, 0.0]], Some(&[]), &[], "");
    }
}
