//! Losses over epochs or steps, as lines.

use super::chart::{self, Axis, SCALE};
use crate::picture::{Picture, Series};
use plotters::prelude::*;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 560;
/// Lines of at most this many points show the points too.
const MAX_DOTS: usize = 40;
/// The most charts in a row of panels, the size of one, and that of the title above them.
const MOST_COLUMNS: usize = 3;
const PANEL_WIDTH: u32 = 400;
const PANEL_HEIGHT: u32 = 300;
const TITLE_HEIGHT: u32 = 44;
/// Lines of more points than this are noise from pixel to pixel and are drawn thin.
const MANY_POINTS: usize = 1000;

/// A line for each series, in distinct colours, with a legend beside: training and test loss, say. 900 x 560 pixels.
///
/// NaN, infinite values and values beyond f32 are left out and the line joins their neighbours. A single point is a
/// dot, a series with nothing left is only in the legend, and without any point the chart says so.
pub fn curves(series: &[Series], title: &str, x_label: &str, y_label: &str) -> Picture {
    let names: Vec<String> = series.iter().map(|(name, _)| name.clone()).collect();
    let x = x_axis(series.iter(), x_label);
    chart::render(WIDTH, HEIGHT, |canvas| {
        let (left, beside) = canvas.split_horizontally((WIDTH - chart::legend_width(&names, HEIGHT)) as i32 * SCALE);
        draw(&left, series, &x, title, y_label, chart::color)?;
        chart::legend(&beside, HEIGHT, &names, chart::color)
    })
}

/// One of the charts of [`curve_panels`].
pub struct Curves {
    /// Above it.
    pub title: String,
    /// A line each, in the colours of the legend.
    pub series: Vec<Series>,
}

/// Charts beside and below each other, at most three in a row, over one range of x, with one legend: `names` are those
/// of the lines' colours. `blocks` begin a row each: the losses, and below them the schedules, say. What is drawn of a
/// line is what [`curves`] draws. A chart is 400 pixels wide, and the legend beside.
pub fn curve_panels(blocks: &[Vec<Curves>], names: &[String], title: &str, x_label: &str) -> Picture {
    let columns = blocks.iter().map(Vec::len).max().unwrap_or(1).clamp(1, MOST_COLUMNS);
    let rows: Vec<&[Curves]> = blocks.iter().flat_map(|block| block.chunks(columns)).collect();
    let x = x_axis(rows.iter().copied().flatten().flat_map(|panel| &panel.series), x_label);
    let height = TITLE_HEIGHT + PANEL_HEIGHT * rows.len().max(1) as u32;
    let width = PANEL_WIDTH * columns as u32;
    let color = |index: usize| chart::class_color(index, names.len());
    chart::render(width + chart::legend_width(names, height), height, |canvas| {
        let (left, beside) = canvas.split_horizontally(width as i32 * SCALE);
        let (head, body) = left.split_vertically(TITLE_HEIGHT as i32 * SCALE);
        chart::heading(&head, title)?;
        for (row, canvas) in rows.iter().zip(body.split_evenly((rows.len().max(1), 1))) {
            for (panel, canvas) in row.iter().zip(canvas.split_evenly((1, columns))) {
                draw(&canvas, &panel.series, &x, &panel.title, "", color)?;
            }
        }
        chart::legend(&beside, height, names, color)
    })
}

/// The axis that shows every point of these.
fn x_axis<'a>(series: impl Iterator<Item = &'a Series>, label: &'a str) -> Axis<'a> {
    let xs: Vec<f64> = series.flat_map(|(_, points)| drawable(points)).map(|(x, _)| x).collect();
    let whole = xs.iter().all(|x| x.fract() == 0.0) || xs.iter().any(|x| *x >= 1.0) && label == "epoch";
    Axis { label, range: chart::range(xs.into_iter(), 0.02), whole, mark: None }
}

fn draw(
    canvas: &chart::Canvas,
    series: &[Series],
    x: &Axis,
    title: &str,
    y_label: &str,
    color: impl Fn(usize) -> RGBColor,
) -> Result<(), chart::DrawingError> {
    let lines: Vec<Vec<(f64, f64)>> = series.iter().map(|(_, points)| drawable(points)).collect();
    let points = || lines.iter().flatten();
    let y = Axis { label: y_label, range: chart::range(points().map(|p| p.1), 0.05), whole: false, mark: None };
    let mut chart = chart::axes(canvas, title, x, &y)?;
    for (index, points) in lines.iter().enumerate() {
        let color = color(index);
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
    Ok(())
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
    fn panels_stand_three_in_a_row_and_each_block_begins_one() {
        let panel = |count: usize| {
            let series = (0..count).map(|i| (format!("{i}"), vec![(1.0, i as f64), (5.0, 2.0 - i as f64)]));
            Curves { title: "loss".into(), series: series.collect() }
        };
        let block = |panels: usize, lines: usize| (0..panels).map(|_| panel(lines)).collect::<Vec<_>>();
        let names = ["train", "test"].map(String::from);
        let picture = |blocks: &[Vec<Curves>]| curve_panels(blocks, &names, "title", "epoch");
        let legend = picture(&[]).width - PANEL_WIDTH;
        for (blocks, [rows, columns]) in [
            (vec![block(1, 2)], [1, 1]),
            (vec![block(2, 2), block(1, 1)], [2, 2]),
            (vec![block(3, 2), block(1, 1)], [2, 3]),
            (vec![block(4, 2), block(2, 1)], [3, 3]),
            (vec![], [1, 1]),
        ] {
            let drawn = picture(&blocks);
            assert_eq!(drawn.height, TITLE_HEIGHT + rows * PANEL_HEIGHT);
            assert_eq!(drawn.width, columns * PANEL_WIDTH + legend);
        }
        // Both lines stand in each panel, and in no place where there is none.
        let drawn = picture(&[block(2, 2), block(3, 0)]);
        for (index, column) in [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)] {
            let color = chart::color(index);
            let left = column * PANEL_WIDTH as usize;
            let rows = drawn.pixels.chunks(3 * drawn.width as usize).take((TITLE_HEIGHT + PANEL_HEIGHT) as usize);
            let cells = rows.flat_map(|row| row[3 * left..3 * (left + PANEL_WIDTH as usize)].chunks(3));
            let count = cells.filter(|pixel| *pixel == [color.0, color.1, color.2]).count();
            assert_eq!(count > 200, column < 2, "line {index} in column {column}: {count} pixels");
        }
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
