//! Pictures drawn larger without a model.

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Luma};

/// Pictures (N,C,h,w) with values in `[0,1]` to (N,C,H,W), by bicubic interpolation with Keys' a = -1/2 (1981), clamped
/// to `[0,1]`.
pub fn bicubic(values: &[f32], shape: [usize; 3], size: [usize; 2]) -> Vec<f32> {
    resized(values, shape, size, FilterType::CatmullRom)
}

/// The same with each pixel as a square.
pub fn blocks(values: &[f32], shape: [usize; 3], size: [usize; 2]) -> Vec<f32> {
    resized(values, shape, size, FilterType::Nearest)
}

fn resized(values: &[f32], [_, h, w]: [usize; 3], [to_h, to_w]: [usize; 2], by: FilterType) -> Vec<f32> {
    let plane = |plane: &[f32]| {
        let image = ImageBuffer::<Luma<f32>, _>::from_raw(w as u32, h as u32, plane).expect("a plane has h w values");
        imageops::resize(&image, to_w as u32, to_h as u32, by).into_raw()
    };
    values.chunks(h * w).flat_map(plane).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_picture_stays_flat() {
        assert!(bicubic(&[0.25; 2 * 9], [2, 3, 3], [6, 6]).iter().all(|v| (v - 0.25).abs() < 1e-6));
    }

    #[test]
    fn a_pixel_becomes_a_square() {
        assert_eq!(blocks(&[0.0, 1.0], [1, 1, 2], [2, 4]), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    }

    /// Weights of the cubic at 1/4 and 3/4 between two pixels: -0.0703, 0.8672, 0.2266, -0.0234.
    #[test]
    fn a_step_is_interpolated_by_the_cubic() {
        let row = [0.0f32, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5];
        let large = bicubic(&row, [1, 1, 8], [1, 16]);
        let expected = 0.5 * (0.2265625 - 0.0234375);
        assert!((large[7] - expected as f32).abs() < 1e-6, "{large:?}");
    }
}
