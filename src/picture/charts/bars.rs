//! Numbers side by side, as lying bars under a common roof.

use super::chart::{self, DrawingError, SCALE};
use crate::picture::Picture;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Bars of one unit.
pub struct Bars {
    /// Stands above the bars; the place to name their unit.
    pub title: String,
    /// From the top.
    pub bars: Vec<Bar>,
    /// What no bar is expected to pass, and its name: a line.
    pub roof: (f64, String),
}

/// One bar and the words around it.
pub struct Bar {
    /// Stands left of it.
    pub name: String,
    /// Its length; `None` leaves only name and note.
    pub value: Option<f64>,
    /// What stands at its end.
    pub note: String,
    /// In the second colour.
    pub is_marked: bool,
}

const WIDTH: u32 = 900;
const TITLE: i32 = 64;
const ROW: i32 = 34;
const BOTTOM: i32 = 40;
/// Where bars begin and where the longest, or the roof, ends.
const LEFT: i32 = 270;
const RIGHT: i32 = 720;

/// The charts below each other, 900 pixels wide. A value that is no number, or below 0, is drawn as 0.
pub fn bars(charts: &[Bars]) -> Picture {
    let heights: Vec<i32> = charts.iter().map(|chart| TITLE + ROW * chart.bars.len() as i32 + BOTTOM).collect();
    let height: i32 = heights.iter().sum();
    chart::render(WIDTH, height.max(1) as u32, |canvas| {
        let mut top = 0;
        for (chart, height) in charts.iter().zip(&heights) {
            draw(canvas, chart, top)?;
            top += height;
        }
        Ok(())
    })
}

fn draw(canvas: &chart::Canvas, chart: &Bars, top: i32) -> Result<(), DrawingError> {
    let at = |x: i32, y: i32| (x * SCALE, (top + y) * SCALE);
    let value = |bar: &Bar| bar.value.filter(|v| chart::drawable(*v)).unwrap_or(0.0).max(0.0);
    let longest = chart.bars.iter().map(value).fold(chart.roof.0.max(0.0), f64::max);
    let end = |value: f64| LEFT + (value / longest.max(1e-300) * f64::from(RIGHT - LEFT)).round() as i32;
    let text = |size, color, h| chart::text(size, color).pos(Pos::new(h, VPos::Center));
    canvas.draw(&Text::new(&*chart.title, at(16, 28), text(20, chart::INK, HPos::Left)))?;
    for (row, bar) in (0..).zip(&chart.bars) {
        let y = TITLE + ROW * row + ROW / 2;
        canvas.draw(&Text::new(&*bar.name, at(LEFT - 10, y + 2), text(16, chart::INK, HPos::Right)))?;
        let color = chart::color(usize::from(bar.is_marked));
        let corners = [at(LEFT, y - 10), at(end(value(bar)).max(LEFT + 1), y + 10)];
        if bar.value.is_some() {
            canvas.draw(&Rectangle::new(corners, color.filled()))?;
        }
        let beside = if bar.value.is_some() { end(value(bar)) + 8 } else { LEFT + 8 };
        canvas.draw(&Text::new(&*bar.note, at(beside, y + 2), text(16, chart::FAINT_INK, HPos::Left)))?;
    }
    let (roof, name) = &chart.roof;
    let bottom = TITLE + ROW * chart.bars.len() as i32;
    let line = vec![at(end(*roof), TITLE - 4), at(end(*roof), bottom + 6)];
    canvas.draw(&PathElement::new(line, chart::FAINT_INK.stroke_width(2 * SCALE as u32)))?;
    canvas.draw(&Text::new(&**name, at(end(*roof), bottom + 18), text(16, chart::FAINT_INK, HPos::Center)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(value: Option<f64>, is_marked: bool) -> Bar {
        Bar { name: "name".into(), value, note: String::new(), is_marked }
    }

    /// Pixels of a colour in the row of a bar.
    fn length(picture: &Picture, top: i32, row: i32, color: usize) -> usize {
        let color = chart::color(color);
        let y = (top + TITLE + ROW * row + ROW / 2) as usize;
        let line = &picture.pixels[y * 3 * WIDTH as usize..][..3 * WIDTH as usize];
        line.chunks(3).filter(|pixel| **pixel == [color.0, color.1, color.2]).count()
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let chart = || Bars {
            title: "title".into(),
            bars: vec![bar(Some(25.0), false), bar(Some(50.0), true), bar(None, false), bar(Some(f64::NAN), false)],
            roof: (100.0, "peak".into()),
        };
        let picture = bars(&[chart(), chart()]);
        let height = TITLE + 4 * ROW + BOTTOM;
        assert_eq!((picture.width, picture.height), (WIDTH, 2 * height as u32));
        for top in [0, height] {
            let [quarter, half] = [length(&picture, top, 0, 0), length(&picture, top, 1, 1)];
            assert!((110..116).contains(&quarter) && (222..229).contains(&half), "{quarter} {half}");
            assert!(length(&picture, top, 2, 0) == 0 && length(&picture, top, 3, 0) <= 2);
        }
    }

    #[test]
    fn any_bars_can_be_drawn() {
        bars(&[]);
        bars(&[Bars { title: String::new(), bars: vec![], roof: (0.0, String::new()) }]);
        bars(&[Bars { title: "x".repeat(500), bars: vec![bar(Some(-1.0), false)], roof: (f64::NAN, "".into()) }]);
        bars(&[Bars { title: "".into(), bars: vec![bar(Some(1e300), true)], roof: (1.0, "".into()) }]);
    }
}
