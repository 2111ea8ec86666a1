//! What every chart shares: the canvas, the font, the colours, the axes.

use crate::picture::Picture;
use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;
use std::sync::LazyLock;

pub type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
pub type Chart<'a> = ChartContext<'a, BitMapBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
pub type DrawingError = DrawingAreaErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>;

/// Charts are drawn at this multiple of their size and averaged down: thick lines and circles of the bitmap backend
/// have no smooth edges of their own. Every length handed to plotters is multiplied by it.
pub const SCALE: i32 = 3;

pub const INK: RGBColor = RGBColor(38, 38, 44);
pub const FAINT_INK: RGBColor = RGBColor(110, 110, 120);
const GRID_LINE: RGBColor = RGBColor(230, 230, 234);

/// The ten colours of Tableau, the default of many plotting libraries; further series start over.
const PALETTE: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
];

pub fn color(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// The colour of one of `count` classes: the ten, or where those are too few, hues that are far apart for neighbours,
/// in three degrees of lightness.
pub fn class_color(index: usize, count: usize) -> RGBColor {
    if count <= PALETTE.len() {
        return color(index);
    }
    // Steps of the golden section leave no two of the first n closer than they must be.
    let hue = (index as f64 * 0.618_033_988_749_895).fract();
    let (red, green, blue) = HSLColor(hue, 0.75, [0.35, 0.5, 0.65][index % 3]).rgb();
    RGBColor(red, green, blue)
}

/// The name under which the embedded font is known to plotters; no font of the system is ever looked up.
static FONT: LazyLock<&str> = LazyLock::new(|| {
    let family = "elbo-chart";
    let registered = register_font(family, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    assert!(registered.is_ok(), "the embedded font is a valid font");
    family
});

/// Text of `size` pixels in the finished picture.
pub fn text(size: i32, color: RGBColor) -> TextStyle<'static> {
    (*FONT, size * SCALE).into_font().color(&color)
}

/// Draws a chart of `width` x `height` pixels on white.
pub fn render(width: u32, height: u32, draw: impl FnOnce(&Canvas) -> Result<(), DrawingError>) -> Picture {
    let scale = SCALE as u32;
    let mut large = vec![255; (width * scale * height * scale * 3) as usize];
    {
        let canvas = BitMapBackend::with_buffer(&mut large, (width * scale, height * scale)).into_drawing_area();
        draw(&canvas).expect("drawing into memory with an embedded font has nothing to fail on");
    }
    Picture { width, height, channels: 3, pixels: average_down(&large, width as usize, height as usize) }
}

/// Mean of each SCALE x SCALE block: the rows of a block are added up first, then its columns.
fn average_down(large: &[u8], width: usize, height: usize) -> Vec<u8> {
    const SIDE: usize = SCALE as usize;
    const AREA: u16 = (SIDE * SIDE) as u16;
    let mut sums = vec![0u16; width * SIDE * 3];
    let mut pixels = Vec::with_capacity(width * height * 3);
    for rows in large.chunks_exact(width * SIDE * 3 * SIDE) {
        sums.fill(0);
        for row in rows.chunks_exact(width * SIDE * 3) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += u16::from(value));
        }
        for block in sums.as_chunks::<{ SIDE * 3 }>().0 {
            for channel in 0..3 {
                let mut total = AREA / 2;
                for column in 0..SIDE {
                    total += block[column * 3 + channel];
                }
                pixels.push((total / AREA) as u8);
            }
        }
    }
    pixels
}

/// One axis: what it shows and how it is marked.
pub struct Axis<'a> {
    pub label: &'a str,
    pub range: Range<f64>,
    /// Only whole numbers are marked (epochs, steps).
    pub whole: bool,
    /// How a mark is written, where it is not by its number.
    pub mark: Option<fn(f64) -> String>,
}

impl Axis<'_> {
    /// How many marks there may be of `most`: at most one for each whole number in the range where only those are
    /// marked.
    fn max_marks(&self, most: usize) -> usize {
        let whole = self.range.end.floor() - self.range.start.ceil() + 1.0;
        if self.whole { (whole.max(1.0) as usize).min(most) } else { most }
    }

    /// Where plotters puts the marks.
    fn marks(&self, most: usize) -> Vec<f64> {
        RangedCoordf64::from(self.range.clone()).key_points(self.max_marks(most))
    }

    fn mark_text(&self, value: f64, marks: &[f64]) -> String {
        self.mark.map_or_else(|| mark_text(value, marks), |mark| mark(value))
    }
}

/// The text of each of `marks`, with as many decimals as tell them apart.
fn mark_text(value: f64, marks: &[f64]) -> String {
    let step = if let [first, second, ..] = marks { second - first } else { value.abs() };
    // A sum of steps meant as zero may miss it.
    let value = if value.abs() < step / 2.0 { 0.0 } else { value };
    if value != 0.0 && !(1e-5..1e7).contains(&step) {
        return format!("{value:.1e}");
    }
    let is_whole = |x: f64| (x - x.round()).abs() <= 1e-6 * x.abs();
    let decimals = (0..6).find(|d| is_whole(step * 10f64.powi(*d))).unwrap_or(6) as usize;
    format!("{value:.decimals$}")
}

/// Size in pixels of the marks' text.
const MARK_SIZE: i32 = 16;
/// Pixels by which plotters draws text of this font above the middle it is asked for.
const TEXT_LIFT: i32 = 3;

/// The most marks of an axis, and the pixels across and down that each needs.
const MOST_MARKS: usize = 10;
const MARK_PLACE: [i32; 2] = [48, 22];
/// Pixels of a chart that its axes take, across and down.
const AROUND: [i32; 2] = [108, 110];

/// Title, axes, grid and labels on `canvas`; the chart to draw the data on.
pub fn axes<'a>(canvas: &Canvas<'a>, title: &str, x: &Axis, y: &Axis) -> Result<Chart<'a>, DrawingError> {
    let mut chart = ChartBuilder::on(canvas)
        .caption(title, text(24, INK))
        .margin(16 * SCALE)
        .x_label_area_size(52 * SCALE)
        .y_label_area_size(76 * SCALE)
        .build_cartesian_2d(x.range.clone(), y.range.clone())?;
    let (width, height) = canvas.dim_in_pixel();
    let most = |pixels: u32, way: usize| {
        let places = (pixels as i32 / SCALE - AROUND[way]) / MARK_PLACE[way];
        (places.max(2) as usize).min(MOST_MARKS)
    };
    let (most_x, most_y) = (most(width, 0), most(height, 1));
    let (x_marks, y_marks) = (x.marks(most_x), y.marks(most_y));
    chart
        .configure_mesh()
        .x_labels(x.max_marks(most_x))
        .y_labels(y.max_marks(most_y))
        .x_label_formatter(&|value| x.mark_text(*value, &x_marks))
        .y_label_formatter(&|_| String::new())
        .max_light_lines(0)
        .bold_line_style(GRID_LINE.stroke_width(SCALE as u32))
        .axis_style(FAINT_INK.stroke_width(SCALE as u32))
        .set_all_tick_mark_size(5 * SCALE)
        .label_style(text(MARK_SIZE, INK))
        .axis_desc_style(text(18, INK))
        .x_desc(x.label)
        .y_desc(y.label)
        .draw()?;
    let style = text(MARK_SIZE, INK).pos(Pos::new(HPos::Right, VPos::Center));
    // Places are those of the whole picture, of which this canvas may be a part.
    let (canvas_left, canvas_top) = canvas.get_base_pixel();
    for value in &y_marks {
        let (left, middle) = chart.backend_coord(&(x.range.start, *value));
        let at = (left - canvas_left - 10 * SCALE, middle - canvas_top + TEXT_LIFT * SCALE);
        canvas.draw(&Text::new(y.mark_text(*value, &y_marks), at, style.clone()))?;
    }
    Ok(chart)
}

/// A title in the middle of a part of the canvas that has nothing else.
pub fn heading(canvas: &Canvas, title: &str) -> Result<(), DrawingError> {
    let (width, height) = canvas.dim_in_pixel();
    let centred = text(26, INK).pos(Pos::new(HPos::Center, VPos::Center));
    canvas.draw(&Text::new(title, (width as i32 / 2, height as i32 / 2), centred))
}

/// A line of text in the middle of the chart.
pub fn note(chart: &Chart, message: &str) -> Result<(), DrawingError> {
    let area = chart.plotting_area().strip_coord_spec();
    let (width, height) = area.dim_in_pixel();
    let centred = text(18, FAINT_INK).pos(Pos::new(HPos::Center, VPos::Center));
    area.draw(&Text::new(message, (width as i32 / 2, height as i32 / 2), centred))
}

const LEGEND_SIZE: i32 = 17;
const LEGEND_LINE: i32 = 26;
const SWATCH: i32 = 12;

/// Pixels above the first entry of a legend, and at least as many below the last.
const LEGEND_TOP: i32 = 60;

/// Entries below each other in a chart of this height; the next ones stand beside them.
fn legend_rows(height: u32) -> usize {
    ((height as i32 - 2 * LEGEND_TOP) / LEGEND_LINE + 1).max(1) as usize
}

/// Width in pixels of one column of a legend of these names: as wide as the longest, up to 240.
fn legend_column(names: &[String]) -> u32 {
    let font = text(LEGEND_SIZE, INK).font;
    let width = |name: &String| font.box_size(name).map_or(0, |(width, _)| width / SCALE as u32);
    names.iter().map(width).max().map_or(0, |widest| widest.min(240) + SWATCH as u32 + 28)
}

/// Width in pixels of a legend of these names beside a chart of this height.
pub fn legend_width(names: &[String], height: u32) -> u32 {
    names.len().div_ceil(legend_rows(height)) as u32 * legend_column(names)
}

/// Coloured squares and names, column by column, on the part of the canvas beside a chart of this height.
pub fn legend(
    beside: &Canvas,
    height: u32,
    names: &[String],
    color: impl Fn(usize) -> RGBColor,
) -> Result<(), DrawingError> {
    let (rows, width) = (legend_rows(height), legend_column(names) as i32);
    for (index, name) in names.iter().enumerate() {
        let left = (index / rows) as i32 * width * SCALE;
        let middle = (LEGEND_TOP + LEGEND_LINE * (index % rows) as i32) * SCALE;
        let half = SWATCH / 2 * SCALE;
        let square = Rectangle::new([(left, middle - half), (left + 2 * half, middle + half)], color(index).filled());
        beside.draw(&square)?;
        let style = text(LEGEND_SIZE, INK).pos(Pos::new(HPos::Left, VPos::Center));
        let at = (left + (SWATCH + 8) * SCALE, middle + TEXT_LIFT * SCALE);
        beside.draw(&Text::new(name.as_str(), at, style))?;
    }
    Ok(())
}

/// Whether a value can be placed: NaN, the infinities and what no f32 holds cannot.
pub fn drawable(value: f64) -> bool {
    (value as f32).is_finite()
}

/// From the smallest to the largest of the values with `margin` times their distance around; never empty.
pub fn range(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    // A single value gets a range in which f64 still tells marks apart.
    let around = if high - low > 1e-9 * low.abs().max(high.abs()) {
        (high - low) * margin
    } else {
        (low.abs() * 0.05).max(1e-3)
    };
    low - around..high + around
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_axes_are_marked_at_whole_numbers() {
        for end in 1..60 {
            let axis = Axis { label: "epoch", range: 0.9..f64::from(end) + 0.1, whole: true, mark: None };
            let marks = axis.marks(MOST_MARKS);
            assert!(!marks.is_empty() && marks.len() <= 10, "to {end}: {marks:?}");
            assert!(marks.iter().all(|mark| (mark - mark.round()).abs() < 1e-9), "to {end}: {marks:?}");
        }
    }

    #[test]
    fn marks_have_the_decimals_that_tell_them_apart() {
        let text = |marks: &[f64]| marks.iter().map(|mark| mark_text(*mark, marks)).collect::<Vec<_>>();
        assert_eq!(text(&[100.0, 110.0]), ["100", "110"]);
        assert_eq!(text(&[-0.5, 1e-17, 0.5]), ["-0.5", "0.0", "0.5"]);
        assert_eq!(text(&[0.1, 0.1 + 0.05]), ["0.10", "0.15"]);
        assert_eq!(text(&[-2e38, 0.0]), ["-2.0e38", "0"]);
        assert_eq!(text(&[2e-6, 4e-6]), ["2.0e-6", "4.0e-6"]);
        assert_eq!(text(&[164.4]), ["164.4"]);
        assert_eq!(text(&[0.0]), ["0"]);
    }

    #[test]
    fn a_range_is_never_empty() {
        assert_eq!(range([].into_iter(), 0.1), 0.0..1.0);
        assert_eq!(range([1.0, 3.0, 2.0].into_iter(), 0.5), 0.0..4.0);
        for value in [0.0, 1.0, -105.5, 1e-30, 3e38, -3e38] {
            let range = range([value, value].into_iter(), 0.1);
            assert!(range.start < value && value < range.end, "around {value}: {range:?}");
        }
    }

    #[test]
    fn a_legend_of_many_names_has_columns_and_colours_of_their_own() {
        let names: Vec<String> = (0..100).map(|i| format!("class {i}")).collect();
        assert_eq!(legend_width(&names[..24], 740), legend_column(&names[..24]));
        assert_eq!(legend_width(&names, 740), 5 * legend_column(&names));
        let colors = |count: usize| (0..count).map(move |i| class_color(i, count)).map(|c| [c.0, c.1, c.2]);
        for count in [10, 11, 62, 100, 256] {
            let distinct: std::collections::BTreeSet<_> = colors(count).collect();
            assert_eq!(distinct.len(), count);
        }
        assert!((0..10).all(|i| class_color(i, 10) == color(i)));
    }

    #[test]
    fn averaging_takes_the_mean_of_each_block() {
        // Two pixels; of the first block one in nine is 90, of the second all are 200.
        let mut large = vec![0; 3 * 6 * 3];
        for y in 0..3 {
            for x in 3..6 {
                large[(y * 6 + x) * 3] = 200;
            }
        }
        large[(2 * 6 + 1) * 3] = 90;
        assert_eq!(average_down(&large, 2, 1), [10, 0, 0, 200, 0, 0]);
    }
}
