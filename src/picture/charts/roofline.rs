//! Kernels under the roof of a device (Williams, Waterman, Patterson 2009): what they reach over how much they compute
//! with each byte. Left of the ridge memory is the limit, right of it arithmetic.

use super::chart::{self, Axis, SCALE};
use crate::picture::Picture;
use crate::units::metric;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const WIDTH: u32 = 1000;
const HEIGHT: u32 = 640;
const LABEL_SIZE: i32 = 15;

/// A kernel in the picture.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Stands beside the dot.
    pub name: String,
    /// Floating-point operations a byte.
    pub intensity: f64,
    /// What it reached: the height of the dot. 0 puts it below the chart, among those without arithmetic.
    pub flops_per_second: f64,
    /// Its part of the whole time, from 0 to 1: the area of the dot.
    pub share: f64,
}

/// A dot for each kernel, named, on logarithmic axes, and the roof: `[flops_per_second, bytes_per_second]`. Kernels
/// without arithmetic have no place on these axes; the chart names them below. 1000 x 640 pixels.
pub fn roofline(marks: &[Mark], roof: [f64; 2], title: &str) -> Picture {
    let [flops, bytes] = roof;
    let placed: Vec<&Mark> =
        marks.iter().filter(|m| [m.intensity, m.flops_per_second].iter().all(|&v| v > 0.0 && v.is_finite())).collect();
    let missing: Vec<&str> =
        marks.iter().filter(|m| m.intensity == 0.0 || m.flops_per_second == 0.0).map(|m| m.name.as_str()).collect();
    let ridge = flops / bytes;
    let places: Vec<(f64, f64)> = placed.iter().map(|m| (m.intensity.log10(), m.flops_per_second.log10())).collect();
    let around = |values: &mut dyn Iterator<Item = f64>| {
        let range = chart::range(values, 0.0);
        range.start - 0.4..range.end + 0.4
    };
    let x_range = around(&mut places.iter().map(|p| p.0).chain([ridge.log10()]));
    let y_range = around(&mut places.iter().map(|p| p.1).chain([flops.log10()]));
    let plain = |exponent: f64| format!("{}", 10f64.powf(exponent));
    let x = Axis { label: "FLOP a byte", range: x_range.clone(), whole: true, mark: Some(plain) };
    let y = Axis { label: "FLOP/s", range: y_range.clone(), whole: true, mark: Some(power_of_ten) };

    chart::render(WIDTH, HEIGHT, |canvas| {
        let (above, below) = canvas.split_vertically((HEIGHT - 34) as i32 * SCALE);
        let mut chart = chart::axes(&above, title, &x, &y)?;
        let line = chart::FAINT_INK.stroke_width(2 * SCALE as u32);
        // The slope begins where it enters the picture.
        let left = x_range.start.max(y_range.start - bytes.log10());
        let corners = [(left, bytes.log10() + left), (ridge.log10(), flops.log10()), (x_range.end, flops.log10())];
        chart.draw_series(corners.windows(2).map(|ends| PathElement::new(ends.to_vec(), line)))?;
        for (place, mark) in places.iter().zip(&placed) {
            let color = chart::color(0).mix(0.75).filled();
            chart.draw_series([Circle::new(*place, radius(mark), color)])?;
        }
        let (width, height) = above.dim_in_pixel();
        let mut labels = Labels { taken: Vec::new(), bounds: [width as i32, height as i32] };
        let at = |place: &(f64, f64)| chart.backend_coord(place);
        let roof_names = [
            (corners[1], format!("{}FLOP/s", metric(flops))),
            (
                ((left + ridge.log10()) / 2.0, bytes.log10() + (left + ridge.log10()) / 2.0),
                format!("{}B/s", metric(bytes)),
            ),
        ];
        for (place, mark) in places.iter().zip(&placed) {
            labels.occupy(at(place), radius(mark));
        }
        for ends in corners.windows(2) {
            labels.occupy_line(at(&ends[0]), at(&ends[1]));
        }
        for (place, name) in &roof_names {
            labels.draw(&above, name, at(place), 4 * SCALE, chart::FAINT_INK)?;
        }
        for (place, mark) in places.iter().zip(&placed) {
            labels.draw(&above, &mark.name, at(place), radius(mark), chart::INK)?;
        }
        if placed.is_empty() {
            chart::note(&chart, "nothing to draw: no kernel computes anything")?;
        }
        if !missing.is_empty() {
            let style = chart::text(LABEL_SIZE, chart::FAINT_INK).pos(Pos::new(HPos::Left, VPos::Center));
            let line = format!("without arithmetic: {}", missing.join(", "));
            below.draw(&Text::new(line, (24 * SCALE, 12 * SCALE), style))?;
        }
        Ok(())
    })
}

fn radius(mark: &Mark) -> i32 {
    ((4.0 + 14.0 * mark.share.clamp(0.0, 1.0).sqrt()) * f64::from(SCALE)) as i32
}

/// As in `100 G`, of the exponent 11.
fn power_of_ten(exponent: f64) -> String {
    metric(10f64.powf(exponent))
}

/// Puts names beside their dots so that they do not cover each other.
struct Labels {
    /// Left, top, right, bottom of what is there already.
    taken: Vec<[i32; 4]>,
    bounds: [i32; 2],
}

impl Labels {
    fn occupy(&mut self, (x, y): (i32, i32), radius: i32) {
        self.taken.push([x - radius, y - radius, x + radius, y + radius]);
    }

    fn occupy_line(&mut self, a: (i32, i32), b: (i32, i32)) {
        const PARTS: i32 = 100;
        let between = |a: i32, b: i32, part: i32| a + (b - a) * part / PARTS;
        for part in 0..=PARTS {
            self.occupy((between(a.0, b.0, part), between(a.1, b.1, part)), SCALE);
        }
    }

    /// The first free place around the dot, or the one that covers least.
    fn draw(
        &mut self,
        canvas: &chart::Canvas,
        name: &str,
        (x, y): (i32, i32),
        radius: i32,
        color: RGBColor,
    ) -> Result<(), chart::DrawingError> {
        let style = chart::text(LABEL_SIZE, color);
        let (width, height) = style.font.box_size(name).map_or((0, 0), |(w, h)| (w as i32, h as i32));
        let gap = radius + 3 * SCALE;
        let boxed = |left: i32, top: i32| [left, top, left + width, top + height];
        let places = (0..12).flat_map(|k| {
            let shift = k * height / 2;
            [
                boxed(x + gap, y - height / 2 - shift),
                boxed(x - gap - width, y - height / 2 - shift),
                boxed(x + gap, y - height / 2 + shift),
                boxed(x - gap - width, y - height / 2 + shift),
                boxed(x - width / 2, y - gap - height - shift),
                boxed(x - width / 2, y + gap + shift),
            ]
        });
        let covered = |place: &[i32; 4]| -> i64 {
            let outside = place[0] < 0 || place[1] < 0 || place[2] > self.bounds[0] || place[3] > self.bounds[1];
            let hidden: i64 = self.taken.iter().map(|other| common_area(place, other)).sum();
            hidden + if outside { i64::from(i32::MAX) } else { 0 }
        };
        let place = places.min_by_key(covered).expect("there are places");
        self.taken.push(place);
        canvas.draw(&Text::new(name.to_string(), (place[0], place[1]), style.pos(Pos::new(HPos::Left, VPos::Top))))
    }
}

fn common_area(a: &[i32; 4], b: &[i32; 4]) -> i64 {
    let overlap = |low: usize, high: usize| i64::from((a[high].min(b[high]) - a[low].max(b[low])).max(0));
    overlap(0, 2) * overlap(1, 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(name: &str, intensity: f64, flops_per_second: f64) -> Mark {
        Mark { name: name.into(), intensity, flops_per_second, share: 0.2 }
    }

    /// Columns and rows of the pixels in the dots' blue.
    fn dots(picture: &Picture) -> Vec<(usize, usize)> {
        let is_blue = |pixel: &[u8]| pixel[2] > pixel[0].saturating_add(60);
        let at = picture.pixels.chunks(3).enumerate().filter(|(_, pixel)| is_blue(pixel));
        at.map(|(i, _)| (i % picture.width as usize, i / picture.width as usize)).collect()
    }

    fn middle(picture: &Picture) -> (usize, usize) {
        let dots = dots(picture);
        assert!(dots.len() > 100, "{} pixels of a dot", dots.len());
        (dots.iter().map(|d| d.0).sum::<usize>() / dots.len(), dots.iter().map(|d| d.1).sum::<usize>() / dots.len())
    }

    /// Twice as far in the exponent is twice as far in the picture.
    #[test]
    fn the_axes_are_logarithmic() {
        let far = mark("far", 1e-2, 1e8);
        let at = |intensity: f64, flops: f64| {
            let with = roofline(&[far.clone(), mark("b", intensity, flops)], [1e11, 1e10], "");
            let without = roofline(std::slice::from_ref(&far), [1e11, 1e10], "");
            let known = dots(&without);
            let new: Vec<_> = dots(&with).into_iter().filter(|dot| !known.contains(dot)).collect();
            (
                new.iter().map(|d| d.0 as f64).sum::<f64>() / new.len() as f64,
                new.iter().map(|d| d.1 as f64).sum::<f64>() / new.len() as f64,
            )
        };
        let [a, b, c] = [at(1e-1, 1e9), at(1.0, 1e9), at(1.0, 1e10)];
        assert!(b.0 > a.0 + 100.0 && (b.1 - a.1).abs() < 2.0, "{a:?} {b:?}");
        assert!(c.1 < b.1 - 100.0 && (c.0 - b.0).abs() < 2.0, "{b:?} {c:?}");
        let origin = middle(&roofline(std::slice::from_ref(&far), [1e11, 1e10], ""));
        assert!(((a.0 - origin.0 as f64) - (b.0 - a.0)).abs() < 4.0, "{origin:?} {a:?} {b:?}");
    }

    #[test]
    fn kernels_without_arithmetic_have_no_dot() {
        let picture = roofline(&[mark("fill.forward", 0.0, 0.0)], [1e11, 1e10], "");
        assert!(dots(&picture).is_empty());
        assert!(dots(&roofline(&[mark("x", f64::NAN, 1e9)], [1e11, 1e10], "")).is_empty());
    }

    #[test]
    fn names_of_neighbours_do_not_cover_each_other() {
        let canvas_size = [3000, 1920];
        let mut labels = Labels { taken: Vec::new(), bounds: canvas_size };
        let mut pixels = vec![0; (canvas_size[0] * canvas_size[1] * 3) as usize];
        let canvas = BitMapBackend::with_buffer(&mut pixels, (3000, 1920)).into_drawing_area();
        for i in 0..8 {
            labels.draw(&canvas, "batch_norm.backward_partials", (1500 + i, 900), 20, chart::INK).unwrap();
        }
        for (i, a) in labels.taken.iter().enumerate() {
            assert!(labels.taken[..i].iter().all(|b| common_area(a, b) == 0), "{:?}", labels.taken);
        }
    }
}
