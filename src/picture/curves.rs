//! Losses over epochs or steps, as lines.

use super::Picture;
use super::chart::{self, Axis, SCALE};
use plotters::prelude::*;

/// Name for the legend, and points (x, y) in the order of the line.
pub type Series = (String, Vec<(f64, f64)>);

const WIDTH: u32 = 900;
const HEIGHT: u32 = 560;
/// Lines of at most this many points show the points too.
const MAX_DOTS: usize = 40;
/// Lines of more points than this are noise from pixel to pixel and are drawn thin.
const MANY_POINTS: usize = 1000;

/// A line for each series, in distinct colours, with a legend beside: training and test loss, say. 900 x 560 pixels.
///
/// NaN, infinite values and values beyond f32 are left out and the line joins their neighbours. A single point is a
/// dot, a series with nothing left is only in the legend, and without any point the chart says so.
pub fn curves(series: &[Series], title: &str, x_label: &str, y_label: &str) -> Picture {
    let lines: Vec<Vec<(f64, f64)>> = series.iter().map(|(_, points)| drawable(points)).collect();
    let names: Vec<String> = series.iter().map(|(name, _)| name.clone()).collect();
    let points = || lines.iter().flatten();
    let x_is_whole = points().all(|(x, _)| x.fract() == 0.0);
    let x = Axis { label: x_label, range: chart::range(points().map(|p| p.0), 0.02), whole: x_is_whole, mark: None };
    let y = Axis { label: y_label, range: chart::range(points().map(|p| p.1), 0.05), whole: false, mark: None };

    chart::render(WIDTH, HEIGHT, |canvas| {
        let (left, beside) = canvas.split_horizontally((WIDTH - chart::legend_width(&names, HEIGHT)) as i32 * SCALE);
        let mut chart = chart::axes(&left, title, &x, &y)?;
        for (index, points) in lines.iter().enumerate() {
            let color = chart::color(index);
            let width = if points.len() > MANY_POINTS { SCALE } else { 2 * SCALE };
            // One element a segment: a thick line of many turns would be filled as one polygon, with holes where it
            // overlaps itself.
            let segment = |ends: &[(f64, f64)]| PathElement::new(ends.to_vec(), color.stroke_width(width as u32));
            chart.draw_series(points.windows(2).map(segment))?;
            if points.len() <= MAX_DOTS {
                chart.draw_series(points.iter().map(|p| Circle::new(*p, 4 * SCALE, color.filled())))?;
            }
        }
        if points().next().is_none() {
            chart::note(&chart, "nothing to draw: no finite values")?;
        }
        chart::legend(&beside, HEIGHT, &names, chart::color)
    })
}

fn drawable(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().copied().filter(|(x, y)| chart::drawable(*x) && chart::drawable(*y)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(series: &[(&str, &[(f64, f64)])]) -> Picture {
        let series: Vec<Series> = series.iter().map(|(name, points)| (name.to_string(), points.to_vec())).collect();
        curves(&series, "title", "epoch", "nats")
    }

    /// Pixels (x, y) of the colour of series `index`, left of the legend.
    fn pixels(picture: &Picture, index: usize) -> Vec<(usize, usize)> {
        let color = chart::color(index);
        let width = picture.width as usize;
        let is = |at: &usize| picture.pixels[3 * at..3 * at + 3] == [color.0, color.1, color.2] && at % width < 780;
        (0..picture.pixels.len() / 3).filter(is).map(|at| (at % width, at / width)).collect()
    }

    #[test]
    fn each_series_is_a_line_in_its_colour() {
        let picture = draw(&[("train", &[(1.0, 5.0), (9.0, 1.0)]), ("test", &[(1.0, 1.0), (9.0, 5.0)])]);
        assert_eq!((picture.width, picture.height, picture.channels), (900, 560, 3));
        let ends = |index| {
            let pixels = pixels(&picture, index);
            assert!(pixels.len() > 500, "series {index} has {} pixels", pixels.len());
            (*pixels.iter().min().unwrap(), *pixels.iter().max().unwrap())
        };
        let ((_, train_left), (_, train_right)) = ends(0);
        let ((_, test_left), (_, test_right)) = ends(1);
        // Pixel rows count downwards: the training loss falls, the test loss rises.
        assert!(train_left < 150 && train_right > 350, "{train_left} to {train_right}");
        assert!(test_left > 350 && test_right < 150, "{test_left} to {test_right}");
        let color = chart::color(1);
        let swatch = picture.pixels.chunks(3 * 900).flat_map(|row| row[3 * 820..].chunks(3));
        assert!(swatch.filter(|pixel| *pixel == [color.0, color.1, color.2]).count() >= 100, "the legend shows test");
    }

    #[test]
    fn values_that_are_no_number_are_left_out() {
        let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300];
        let clean = draw(&[("loss", &[(1.0, 3.0), (3.0, 2.0)])]);
        for value in bad {
            assert_eq!(draw(&[("loss", &[(1.0, 3.0), (2.0, value), (3.0, 2.0)])]), clean, "y = {value}");
            assert_eq!(draw(&[("loss", &[(1.0, 3.0), (value, 2.5), (3.0, 2.0)])]), clean, "x = {value}");
        }
    }

    #[test]
    fn one_point_is_a_dot() {
        let picture = draw(&[("train", &[(1.0, 164.4)]), ("test", &[])]);
        let dot = pixels(&picture, 0);
        assert!((20..100).contains(&dot.len()), "{} pixels", dot.len());
        assert!(pixels(&picture, 1).is_empty());
    }

    #[test]
    fn any_series_can_be_drawn() {
        let flat: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i), 7.0)).collect();
        assert!(pixels(&draw(&[("flat", &flat)]), 0).len() > 500);
        draw(&[]);
        draw(&[("", &[])]);
        draw(&[("both ends of f32", &[(-3e38, 3e38), (3e38, -3e38)])]);
        draw(&[("close", &[(1.0, 1.0), (1.0 + 1e-15, 1.0 + 1e-15)])]);
        draw(&[("tiny", &[(1e-300, 1e-300), (3e-300, 2e-300)])]);
        draw(&[(&"long ".repeat(100), &[(1.0, 1.0)])]);
    }
}
