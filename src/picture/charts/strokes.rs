//! Drawings of pen strokes, many in one picture.

use plotters::prelude::*;

use super::chart::render;
use crate::picture::Picture;

/// Pixels of a cell's side.
const SIDE: i32 = 96;
/// Pixels between a drawing and the edge of its cell.
const MARGIN: i32 = 8;

/// Drawings in rows of `columns`, the first top left, each as large as its cell allows. A point is (dx, dy, pen) from
/// the one before, y downwards; the pen draws on the way to a point unless it was lifted (above 1/2) at the one before.
/// Panics where there is nothing to draw.
pub fn strokes(drawings: &[Vec<[f32; 3]>], columns: usize) -> Picture {
    assert!(!drawings.is_empty() && columns > 0, "{} drawings in {columns} columns", drawings.len());
    let columns = columns.min(drawings.len());
    let rows = drawings.len().div_ceil(columns);
    render(SIDE as u32 * columns as u32, SIDE as u32 * rows as u32, |canvas| {
        canvas.fill(&WHITE)?;
        for (cell, drawing) in canvas.split_evenly((rows, columns)).iter().zip(drawings) {
            let (width, height) = cell.dim_in_pixel();
            let margin = MARGIN * width as i32 / SIDE;
            for line in placed(drawing, [width, height].map(|side| f64::from(side as i32 - 2 * margin))) {
                let points = line.iter().map(|&[x, y]| (x.round() as i32 + margin, y.round() as i32 + margin));
                cell.draw(&PathElement::new(points.collect::<Vec<_>>(), BLACK.stroke_width(2 * width / SIDE as u32)))?;
            }
        }
        Ok(())
    })
}

/// The lines of a drawing, moved and scaled into a cell of that width and height.
fn placed(drawing: &[[f32; 3]], [width, height]: [f64; 2]) -> Vec<Vec<[f64; 2]>> {
    let mut lines = vec![vec![[0.0, 0.0]]];
    let mut at = [0.0, 0.0];
    for &[dx, dy, pen] in drawing {
        at = [at[0] + f64::from(dx), at[1] + f64::from(dy)];
        lines.last_mut().expect("there is one").push(at);
        if pen > 0.5 {
            lines.push(vec![]);
        }
    }
    // A line begins where the pen is put down again.
    for next in 1..lines.len() {
        if lines[next].len() == 1 {
            let only = lines[next][0];
            lines[next].push(only);
        }
    }
    lines.retain(|line| line.len() > 1);
    let of = |axis: usize| lines.iter().flatten().map(move |point| point[axis]);
    let [low, high] =
        [f64::min as fn(f64, f64) -> f64, f64::max].map(|extreme| [0, 1].map(|axis| of(axis).fold(f64::NAN, extreme)));
    let scale = (width / (high[0] - low[0]).max(1e-9)).min(height / (high[1] - low[1]).max(1e-9));
    let middle = [0, 1].map(|axis| 0.5 * (low[axis] + high[axis]));
    let place =
        |point: [f64; 2]| [(point[0] - middle[0]) * scale + 0.5 * width, (point[1] - middle[1]) * scale + 0.5 * height];
    lines.into_iter().map(|line| line.into_iter().map(place).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifted_pen_leaves_a_gap_and_drawings_fill_their_cells() {
        // A stroke of 4 to the right, then, after a lifted move of 2 down, a stroke of 4 to the left.
        let drawing = [[4.0, 0.0, 1.0], [0.0, 2.0, 0.0], [-4.0, 0.0, 1.0]];
        let lines = placed(&drawing, [80.0, 80.0]);
        assert_eq!(lines, [vec![[0.0, 20.0], [80.0, 20.0]], vec![[80.0, 60.0], [0.0, 60.0]]]);
        let picture = strokes(&[drawing.to_vec(), vec![[1.0, 1.0, 0.0]]], 5);
        assert_eq!((picture.width, picture.height), (192, 96));
        let dark = |x: usize, y: usize| picture.pixels[(y * 192 + x) * 3] < 128;
        assert!(dark(48, 28) && dark(48, 68) && !dark(48, 48) && dark(96 + 48, 48));
    }
}
