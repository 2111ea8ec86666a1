//! Measurements over sizes that double, as lines on logarithmic axes: what grows in proportion rises at one slope.

use super::chart::{self, Axis, SCALE};
use crate::picture::{Picture, Series};
use crate::units::metric;
use plotters::prelude::*;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 560;

/// A line with its points for each series; x is marked at powers of two, y at powers of ten. Points that are not above
/// 0 are left out. 900 x 560 pixels.
pub fn powers(series: &[Series], title: &str, x_label: &str, y_label: &str) -> Picture {
    let is_drawn = |(x, y): &&(f64, f64)| [*x, *y].iter().all(|&v| v > 0.0 && chart::drawable(v));
    let place = |(x, y): &(f64, f64)| (x.log2(), y.log10());
    let lines: Vec<Vec<(f64, f64)>> =
        series.iter().map(|(_, points)| points.iter().filter(is_drawn).map(place).collect()).collect();
    let names: Vec<String> = series.iter().map(|(name, _)| name.clone()).collect();
    let points = || lines.iter().flatten();
    let y_range = chart::range(points().map(|p| p.1), 0.05);
    let x = Axis {
        label: x_label,
        range: chart::range(points().map(|p| p.0), 0.03),
        whole: true,
        mark: Some(|exponent| format!("{}", exponent.exp2().round())),
    };
    let y = Axis {
        label: y_label,
        // Whole powers at both ends, so that at least two are marked.
        range: y_range.start.floor()..y_range.end.ceil(),
        whole: true,
        mark: Some(|exponent| metric(10f64.powf(exponent)).trim_end().to_string()),
    };
    chart::render(WIDTH, HEIGHT, |canvas| {
        let (left, beside) = canvas.split_horizontally((WIDTH - chart::legend_width(&names, HEIGHT)) as i32 * SCALE);
        let mut chart = chart::axes(&left, title, &x, &y)?;
        for (index, points) in lines.iter().enumerate() {
            let color = chart::color(index);
            let segment = |ends: &[(f64, f64)]| PathElement::new(ends.to_vec(), color.stroke_width(2 * SCALE as u32));
            chart.draw_series(points.windows(2).map(segment))?;
            chart.draw_series(points.iter().map(|p| Circle::new(*p, 4 * SCALE, color.filled())))?;
        }
        if points().next().is_none() {
            chart::note(&chart, "nothing to draw: no values above 0")?;
        }
        chart::legend(&beside, HEIGHT, &names, chart::color)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Middle of the pixels of the first series' colour.
    fn middle(picture: &Picture, columns: std::ops::Range<usize>) -> (f64, f64) {
        let color = chart::color(0);
        let width = picture.width as usize;
        let is_dot = |at: &usize| {
            picture.pixels[3 * at..3 * at + 3] == [color.0, color.1, color.2] && columns.contains(&(at % width))
        };
        let dots: Vec<usize> = (0..picture.pixels.len() / 3).filter(is_dot).collect();
        assert!(!dots.is_empty(), "nothing is drawn in columns {columns:?}");
        let mean = |of: fn(usize, usize) -> usize| {
            dots.iter().map(|&at| of(at, width) as f64).sum::<f64>() / dots.len() as f64
        };
        (mean(|at, width| at % width), mean(|at, width| at / width))
    }

    /// Doublings and decades are equally far apart.
    #[test]
    fn the_axes_are_logarithmic() {
        let at = |x: f64, y: f64| {
            let frame = vec![(1.0, 1e-4), (1024.0, 1e-1)];
            let one: [Series; 2] = [("point".into(), vec![(x, y)]), ("frame".into(), frame)];
            middle(&powers(&one, "", "", ""), 0..780)
        };
        let [a, b, c] = [at(2.0, 1e-3), at(32.0, 1e-3), at(512.0, 1e-2)];
        assert!((b.0 - a.0 - (c.0 - b.0)).abs() < 3.0 && b.0 > a.0 + 100.0, "{a:?} {b:?} {c:?}");
        assert!((a.1 - b.1).abs() < 2.0 && c.1 < b.1 - 80.0, "{a:?} {b:?} {c:?}");
    }

    #[test]
    fn any_series_can_be_drawn() {
        let draw = |points: &[(f64, f64)]| powers(&[("s".into(), points.to_vec())], "title", "x", "y");
        for points in [&[][..], &[(0.0, 1.0), (1.0, -1.0)], &[(64.0, 1e-3)], &[(f64::NAN, 1.0), (2.0, f64::INFINITY)]] {
            assert_eq!(draw(points).width, WIDTH);
        }
    }
}
