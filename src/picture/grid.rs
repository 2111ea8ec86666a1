//! Many small images as one picture.
//!
//! Values are clamped to [0,1] and rounded to 0..=255. NaN is drawn in magenta, and a grid that holds one is RGB even
//! when its images are grey, so that a NaN cannot pass for a shade.

use super::Picture;
use crate::error::{Error, Result};

/// Pixels between the images and around them, before enlarging.
const GAP: usize = 2;
/// Shade of the gaps and of the empty cells of the last row: neither the black nor the white of the digits.
const GAP_SHADE: u8 = 64;
const NAN_COLOR: [u8; 3] = [255, 0, 255];
/// Largest picture drawn, in pixels: 8192 x 8192.
const MAX_PIXELS: usize = 1 << 26;

/// N images in rows of `columns`, first image top left, with 2-pixel gaps; each pixel becomes `upscale` x `upscale`.
///
/// `values` is flat, of shape (N,C,H,W) with C = 1 or 3, and lies in `[0,1]`. The picture is
/// `upscale * (2 + columns * (W + 2))` pixels wide, for as many columns as are filled.
///
/// # Errors
/// `Error::Usage` if there is nothing to draw, `columns` or `upscale` is 0, C is neither 1 nor 3, or the picture would
/// be larger than 2^26 pixels.
///
/// # Panics
/// If `values` has not the length its shape says.
pub fn grid(values: &[f32], shape: [usize; 4], columns: usize, upscale: usize) -> Result<Picture> {
    assert_holds(values, shape);
    let cells: Vec<Option<usize>> = (0..shape[0]).map(Some).collect();
    draw(values, shape, &cells, columns, upscale)
}

/// One picture (C,H,W) as it is, without gaps. Errors: as [`grid`]. Panics if it has not the length its shape says.
pub fn plain(values: &[f32], [c, h, w]: [usize; 3]) -> Result<Picture> {
    let framed = grid(values, [1, c, h, w], 1, 1)?;
    let (width, channels) = (framed.width as usize, usize::from(framed.channels));
    let rows = framed.pixels.chunks(width * channels).skip(GAP).take(h);
    let pixels = rows.flat_map(|row| row[GAP * channels..(GAP + w) * channels].to_vec()).collect();
    Ok(Picture { width: w as u32, height: h as u32, channels: framed.channels, pixels })
}

/// Pictures in bands, as the VAE of pytorch/examples shows originals and reconstructions: a row of `columns` pictures
/// of the first set, under it those of the second that belong to them, and so on; then the next pictures of each.
///
/// Each set is flat, all of one shape (N,C,H,W); the rest is as in [`grid`].
///
/// # Errors
/// As [`grid`].
///
/// # Panics
/// If one has not the length the shape says.
pub fn bands(sets: &[&[f32]], shape: [usize; 4], columns: usize, upscale: usize) -> Result<Picture> {
    sets.iter().for_each(|set| assert_holds(set, shape));
    let [n, c, h, w] = shape;
    // Rows of a last band that is not full have empty cells.
    let mut cells = Vec::new();
    let columns_used = columns.clamp(1, n.max(1));
    for start in (0..n).step_by(columns_used) {
        for set in 0..sets.len() {
            cells.extend((start..start + columns_used).map(|i| (i < n).then_some(set * n + i)));
        }
    }
    draw(&sets.concat(), [sets.len() * n, c, h, w], &cells, columns.min(columns_used), upscale)
}

fn assert_holds(values: &[f32], shape: [usize; 4]) {
    let expected = shape.iter().product::<usize>();
    assert_eq!(values.len(), expected, "a grid of shape (N,C,H,W) = {shape:?} needs {expected} values");
}

/// `cells` says which image stands in each cell, row by row; `None` leaves the cell empty.
fn draw(
    values: &[f32],
    [_, c, h, w]: [usize; 4],
    cells: &[Option<usize>],
    columns: usize,
    upscale: usize,
) -> Result<Picture> {
    if c != 1 && c != 3 {
        return Err(Error::Usage(format!("cannot draw images of {c} channels: a picture has 1 (grey) or 3 (RGB)")));
    }
    if cells.is_empty() || h == 0 || w == 0 {
        return Err(Error::Usage("no images to draw: ask for at least one".into()));
    }
    if columns == 0 || upscale == 0 {
        return Err(Error::Usage("a grid of images needs at least 1 column and an enlargement of at least 1".into()));
    }
    let columns = columns.min(cells.len());
    let rows = cells.len().div_ceil(columns);
    let (width, height) = grid_size([rows, columns], [h, w], upscale)?;

    let channels = if values.iter().any(|v| v.is_nan()) { 3 } else { c };
    let mut pixels = vec![GAP_SHADE; height * width * channels];
    for (cell, image) in cells.iter().enumerate().filter_map(|(cell, image)| Some((cell, (*image)?))) {
        let image = &values[image * c * h * w..(image + 1) * c * h * w];
        let top = upscale * (GAP + cell / columns * (h + GAP));
        let left = upscale * (GAP + cell % columns * (w + GAP));
        for y in 0..h * upscale {
            for x in 0..w * upscale {
                let value = |channel: usize| image[(channel.min(c - 1) * h + y / upscale) * w + x / upscale];
                let at = ((top + y) * width + left + x) * channels;
                let pixel = &mut pixels[at..at + channels];
                if (0..c).any(|channel| value(channel).is_nan()) {
                    pixel.copy_from_slice(&NAN_COLOR);
                } else {
                    pixel.iter_mut().enumerate().for_each(|(channel, byte)| *byte = shade(value(channel)));
                }
            }
        }
    }
    Ok(Picture { width: width as u32, height: height as u32, channels: channels as u8, pixels })
}

/// Width and height in pixels of a grid of `rows` x `columns` images of `h` x `w` pixels. Ask before making the images.
///
/// # Errors
/// `Error::Usage` where it would be larger than 2^26 pixels.
pub fn grid_size([rows, columns]: [usize; 2], [h, w]: [usize; 2], upscale: usize) -> Result<(usize, usize)> {
    let side =
        |count: usize, image: usize| image.checked_add(GAP)?.checked_mul(count)?.checked_add(GAP)?.checked_mul(upscale);
    side(columns, w)
        .zip(side(rows, h))
        .filter(|(width, height)| width.checked_mul(*height).is_some_and(|pixels| pixels <= MAX_PIXELS))
        .ok_or_else(|| {
            Error::Usage(format!(
                "a grid of {rows} x {columns} images of {h}x{w} pixels, enlarged {upscale} times, is over {MAX_PIXELS} \
                 pixels: ask for fewer images or a smaller enlargement"
            ))
        })
}

/// A grid that can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Images.
    pub count: usize,
    /// Images of a row.
    pub columns: usize,
    /// Side of the square that a pixel becomes.
    pub upscale: usize,
}

/// The largest grid of at most `count` images of (H,W) that [`grid_size`] allows: enlarged by `upscale` if that fits,
/// else as it is, else with fewer images. `size` is rows and columns of so many. `None` where not even one fits.
pub fn fit(count: usize, image: [usize; 2], upscale: usize, size: impl Fn(usize) -> [usize; 2]) -> Option<Fit> {
    let fits = |count: usize, upscale| grid_size(size(count), image, upscale).is_ok();
    let found = |count: usize, upscale| Fit { count, columns: size(count)[1], upscale };
    if let Some(upscale) = [upscale, 1].into_iter().find(|&upscale| fits(count, upscale)) {
        return Some(found(count, upscale));
    }
    (1..count).rev().find(|&fewer| fits(fewer, 1)).map(|fewer| found(fewer, 1))
}

/// `[0,1]` to 0..=255, to the nearest shade.
fn shade(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a grey picture.
    fn rows(picture: &Picture) -> Vec<Vec<u8>> {
        picture.pixels.chunks(picture.width as usize).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn images_stand_row_by_row_between_gaps() {
        // Three images of 1x2 in two columns: the fourth cell stays empty.
        let picture = grid(&[0.0, 1.0, 0.5, -3.0, f32::INFINITY, 0.2], [3, 1, 1, 2], 2, 1).unwrap();
        let gap = vec![64; 10];
        let expected = vec![
            gap.clone(),
            gap.clone(),
            vec![64, 64, 0, 255, 64, 64, 128, 0, 64, 64],
            gap.clone(),
            gap.clone(),
            vec![64, 64, 255, 51, 64, 64, 64, 64, 64, 64],
            gap.clone(),
            gap,
        ];
        assert_eq!(picture.channels, 1);
        assert_eq!(rows(&picture), expected);
    }

    #[test]
    fn upscale_repeats_every_pixel() {
        let small = grid(&[0.1, 0.2, 0.3, 0.4], [1, 1, 2, 2], 1, 1).unwrap();
        let large = grid(&[0.1, 0.2, 0.3, 0.4], [1, 1, 2, 2], 1, 3).unwrap();
        assert_eq!((large.width, large.height), (18, 18));
        for (y, row) in rows(&large).iter().enumerate() {
            for (x, byte) in row.iter().enumerate() {
                assert_eq!(*byte, rows(&small)[y / 3][x / 3], "row {y}, column {x}");
            }
        }
    }

    #[test]
    fn planes_become_interleaved_channels() {
        // One image, planes R = (0,1), G = (0.2,0.4), B = (0.6,0.8).
        let picture = grid(&[0.0, 1.0, 0.2, 0.4, 0.6, 0.8], [1, 3, 1, 2], 8, 1).unwrap();
        assert_eq!((picture.width, picture.channels), (6, 3));
        let at = (2 * 6 + 2) * 3;
        assert_eq!(picture.pixels[at..at + 6], [0, 51, 153, 255, 102, 204]);
    }

    #[test]
    fn nan_is_magenta_in_grey_and_in_colour() {
        let picture = grid(&[0.2, f32::NAN], [1, 1, 1, 2], 1, 1).unwrap();
        let at = (2 * 6 + 2) * 3;
        assert_eq!(picture.channels, 3);
        assert_eq!(picture.pixels[at..at + 6], [51, 51, 51, 255, 0, 255]);
        let picture = grid(&[0.5, 0.5, f32::NAN], [1, 3, 1, 1], 1, 1).unwrap();
        let at = (2 * 5 + 2) * 3;
        assert_eq!(picture.pixels[at..at + 3], [255, 0, 255]);
    }

    #[test]
    fn bands_stand_under_each_other() {
        // Three 1x1 originals and reconstructions in two columns: rows o0 o1, r0 r1, o2 -, r2 -.
        let originals = [10.0, 20.0, 30.0].map(|v| v / 255.0);
        let made = [11.0, 21.0, 31.0].map(|v| v / 255.0);
        let picture = bands(&[&originals, &made], [3, 1, 1, 1], 2, 1).unwrap();
        let rows = rows(&picture);
        let cell = |row: usize, column: usize| rows[2 + 3 * row][2 + 3 * column];
        let cells: Vec<[u8; 2]> = (0..4).map(|row| [cell(row, 0), cell(row, 1)]).collect();
        assert_eq!(cells, [[10, 20], [11, 21], [30, 64], [31, 64]]);
        // More columns than images: no empty columns.
        let wide = bands(&[&originals, &made], [3, 1, 1, 1], 8, 1).unwrap();
        assert_eq!((wide.width, wide.height), (2 + 3 * 3, 2 + 3 * 2));
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error() {
        let message = |result: Result<Picture>| result.unwrap_err().to_string();
        assert!(message(grid(&[], [0, 1, 2, 2], 4, 1)).contains("no images"));
        assert!(message(grid(&[0.0], [1, 1, 1, 1], 0, 1)).contains("1 column"));
        assert!(message(grid(&[0.0], [1, 1, 1, 1], 1, 0)).contains("1 column"));
        assert!(message(bands(&[&[0.0], &[0.0]], [1, 1, 1, 1], 0, 1)).contains("1 column"));
        assert!(message(grid(&[0.0; 2], [1, 2, 1, 1], 1, 1)).contains("2 channels"));
        assert!(message(grid(&[0.0], [1, 1, 1, 1], 1, 1 << 20)).contains("fewer images"));
        assert!(message(grid(&[0.0], [1, 1, 1, 1], 1, usize::MAX)).contains("fewer images"));
    }

    #[test]
    #[should_panic(expected = "needs 4 values")]
    fn values_of_another_length_are_a_program_error() {
        let _ = grid(&[0.0; 3], [1, 1, 2, 2], 1, 1);
    }

    #[test]
    fn what_does_not_fit_is_made_smaller_and_then_fewer() {
        let square: fn(usize) -> [usize; 2] = |n| [n.div_ceil(n.isqrt()), n.isqrt()];
        assert_eq!(fit(64, [28, 28], 2, square), Some(Fit { count: 64, columns: 8, upscale: 2 }));
        assert_eq!(fit(64, [520, 520], 2, square), Some(Fit { count: 64, columns: 8, upscale: 1 }));
        let few = fit(64, [3000, 3000], 2, square).unwrap();
        assert!(few.upscale == 1 && (1..64).contains(&few.count), "{few:?}");
        assert!(grid_size(square(few.count), [3000, 3000], 1).is_ok());
        assert!(grid_size(square(few.count + 1), [3000, 3000], 1).is_err());
        assert_eq!(fit(64, [8200, 8200], 2, square), None);
        assert_eq!(fit(64, [usize::MAX, 1], 2, square), None);
    }
}
