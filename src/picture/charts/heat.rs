//! A table of numbers as coloured cells: blue below 0, white at 0, red above.

use super::chart::{self, DrawingError, SCALE};
use crate::picture::Picture;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const LEFT: i32 = 190;
const TOP: i32 = 110;
const CELL: [i32; 2] = [46, 26];
/// Columns that are drawn at most; of more the first ones.
const COLUMNS: usize = 40;
/// Letters of a name.
const LETTERS: usize = 12;

/// Rows under the names of their columns, each number written in its cell, which is fully coloured from `full` on.
pub fn heat(names: &[String], rows: &[(String, Vec<f64>)], full: f64, title: &str) -> Picture {
    let columns = names.len().min(COLUMNS);
    let width = (LEFT + CELL[0] * columns as i32 + 16).max(720);
    let height = TOP + CELL[1] * rows.len() as i32 + 16;
    chart::render(width as u32, height as u32, |canvas| draw(canvas, &names[..columns], rows, full, title))
}

fn draw(
    canvas: &chart::Canvas,
    names: &[String],
    rows: &[(String, Vec<f64>)],
    full: f64,
    title: &str,
) -> Result<(), DrawingError> {
    let at = |x: i32, y: i32| (x * SCALE, y * SCALE);
    let text = |size, h| chart::text(size, chart::INK).pos(Pos::new(h, VPos::Center));
    canvas.draw(&Text::new(title, at(16, 28), text(20, HPos::Left)))?;
    for (j, name) in (0..).zip(names) {
        let x = LEFT + CELL[0] * j + CELL[0] / 2;
        // Neighbours stand on two heights, so that longer names have room.
        let y = TOP - 14 - 18 * (j % 2);
        canvas.draw(&Text::new(short(name), at(x, y), text(14, HPos::Center)))?;
    }
    for (i, (name, values)) in (0..).zip(rows) {
        let y = TOP + CELL[1] * i;
        canvas.draw(&Text::new(&**name, at(LEFT - 10, y + CELL[1] / 2 + 2), text(14, HPos::Right)))?;
        for (j, &value) in (0..).zip(values.iter().take(names.len())) {
            let x = LEFT + CELL[0] * j;
            let cell = [at(x + 1, y + 1), at(x + CELL[0] - 1, y + CELL[1] - 1)];
            canvas.draw(&Rectangle::new(cell, color(value / full).filled()))?;
            let middle = at(x + CELL[0] / 2, y + CELL[1] / 2 + 2);
            canvas.draw(&Text::new(number(value), middle, text(12, HPos::Center)))?;
        }
    }
    Ok(())
}

/// From blue at -1 over white to red at 1; what is no number is grey.
fn color(part: f64) -> RGBColor {
    if part.is_nan() {
        return RGBColor(200, 200, 200);
    }
    let fade = |end: u8| (255.0 - part.abs().min(1.0) * f64::from(255 - end)).round() as u8;
    if part < 0.0 { RGBColor(fade(70), fade(130), 255) } else { RGBColor(255, fade(90), fade(80)) }
}

/// In at most five letters.
fn number(value: f64) -> String {
    match value.abs() {
        size if size < 99.95 => format!("{value:.1}"),
        size if size < 9999.5 => format!("{value:.0}"),
        _ => format!("{value:.0e}"),
    }
}

fn short(name: &str) -> String {
    match name.chars().count() {
        n if n <= LETTERS => name.into(),
        _ => name.chars().take(LETTERS - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_red_above_and_blue_below() {
        assert_eq!(
            [color(0.0), color(9.0), color(-1.0)],
            [RGBColor(255, 255, 255), RGBColor(255, 90, 80), RGBColor(70, 130, 255)]
        );
        assert_eq!(color(f64::NAN), RGBColor(200, 200, 200));
        let names = ["a".to_string(), "a name that is longer".into()];
        let of = |values: [f64; 2]| heat(&names, &[("row 7".into(), values.to_vec())], 3.0, "title");
        assert_ne!(of([1.0, -2.0]), of([-1.0, 2.0]));
        heat(&[], &[], 3.0, "");
        heat(&vec!["x".to_string(); 500], &[("row".into(), vec![f64::INFINITY; 500])], 3.0, "many");
    }

    #[test]
    fn texts_fit_their_cells() {
        assert_eq!([1.25, -12.34, 100.0, 1e7, -0.04].map(number), ["1.2", "-12.3", "100", "1e7", "-0.0"]);
        assert_eq!((short("temperature"), short("temperature_inside")), ("temperature".into(), "temperature…".into()));
    }
}
