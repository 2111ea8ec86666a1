//! What a classifier takes for what: a matrix of counts, darker where more of a class go.

use super::chart::{self, DrawingError, SCALE};
use crate::picture::Picture;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Side of a cell, and what stands left of and above the cells.
const CELL: i32 = 44;
const LEFT: i32 = 110;
const TOP: i32 = 90;
const MARGIN: i32 = 16;
/// More classes than these have cells without numbers, a tenth of the size.
const MOST_NUMBERED: usize = 32;

/// `counts` are by label, then by what it was taken for; `names` are the classes'. A row's shades are shares of its
/// label. Panics where the counts are not a square.
pub fn confusion(counts: &[Vec<usize>], names: &[String], title: &str) -> Picture {
    let classes = counts.len();
    assert!(counts.iter().all(|row| row.len() == classes) && names.len() == classes, "{classes} classes are a square");
    let is_numbered = classes <= MOST_NUMBERED;
    let cell = if is_numbered { CELL } else { CELL / 10 };
    let side = cell * classes as i32;
    let [width, height] = [(LEFT + side + MARGIN).max(420), TOP + side + MARGIN].map(|size| size as u32);
    chart::render(width, height, |canvas| {
        let at = |x: i32, y: i32| (x * SCALE, y * SCALE);
        let text = |size, color, h| chart::text(size, color).pos(Pos::new(h, VPos::Center));
        canvas.draw(&Text::new(title, at(MARGIN, 24), text(18, chart::INK, HPos::Left)))?;
        canvas.draw(&Text::new("label, taken for:", at(MARGIN, 56), text(14, chart::FAINT_INK, HPos::Left)))?;
        for (i, row) in counts.iter().enumerate() {
            let total = row.iter().sum::<usize>().max(1) as f64;
            let y = TOP + cell * i as i32;
            for (j, &count) in row.iter().enumerate() {
                let (x, share) = (LEFT + cell * j as i32, count as f64 / total);
                let shade = shade(share, i == j);
                canvas.draw(&Rectangle::new([at(x, y), at(x + cell - 1, y + cell - 1)], shade.filled()))?;
                if is_numbered && count > 0 {
                    let ink = if share > 0.5 { WHITE } else { chart::INK };
                    let place = at(x + cell / 2, y + cell / 2);
                    canvas.draw(&Text::new(count.to_string(), place, text(14, ink, HPos::Center)))?;
                }
            }
            if is_numbered {
                let middle = cell / 2 + cell * i as i32;
                let left = at(LEFT - 8, TOP + middle);
                canvas.draw(&Text::new(&*names[i], left, text(14, chart::INK, HPos::Right)))?;
                let above = at(LEFT + middle, TOP - 14);
                canvas.draw(&Text::new(&*names[i], above, text(14, chart::INK, HPos::Center)))?;
            }
        }
        Ok::<(), DrawingError>(())
    })
}

/// White for none of a label, the first colour for all of it where that is right, the second where it is wrong.
fn shade(share: f64, is_right: bool) -> RGBColor {
    let color = chart::color(usize::from(!is_right));
    // A wrong tenth is to be seen: the root brings small shares out.
    let share = share.sqrt();
    let mix = |channel: u8| (255.0 + share * (f64::from(channel) - 255.0)).round() as u8;
    RGBColor(mix(color.0), mix(color.1), mix(color.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[Vec<usize>]) -> Picture {
        let names: Vec<String> = (0..counts.len()).map(|class| class.to_string()).collect();
        confusion(counts, &names, "title")
    }

    #[test]
    fn a_cell_is_as_dark_as_its_share_of_the_label() {
        let picture = of(&[vec![8, 0, 0], vec![100, 0, 0], vec![1, 1, 2]]);
        let pixel = |i: i32, j: i32| {
            // Beside the number.
            let [x, y] = [LEFT + CELL * j + 3, TOP + CELL * i + 3].map(|place| place as usize);
            let at = 3 * (y * picture.width as usize + x);
            RGBColor(picture.pixels[at], picture.pixels[at + 1], picture.pixels[at + 2])
        };
        assert_eq!([pixel(0, 0), pixel(1, 0)], [chart::color(0), chart::color(1)]);
        assert_eq!([pixel(0, 1), pixel(1, 1)], [WHITE; 2]);
        assert_eq!([pixel(2, 2), pixel(2, 0)], [shade(0.5, true), shade(0.25, false)]);
    }

    #[test]
    fn any_number_of_classes_can_be_drawn() {
        for classes in [1, 2, 33, 256] {
            let picture = of(&vec![vec![0; classes]; classes]);
            assert!(picture.width >= 420 && picture.height > TOP as u32, "{classes}");
        }
    }
}
