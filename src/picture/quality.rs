//! How near a picture is to another: peak signal-to-noise ratio and structural similarity.

/// Side of SSIM's window, and the standard deviation of its weights: Wang, Bovik, Sheikh & Simoncelli 2004, section
/// III.
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;

/// 10 log10(1 / MSE) in decibels, of pictures with values in `[0,1]`; infinite where they are equal. Panics on
/// different lengths.
pub fn psnr(a: &[f32], b: &[f32]) -> f64 {
    assert!(a.len() == b.len(), "pictures of {} and {} values", a.len(), b.len());
    let squares: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    -10.0 * (squares / a.len() as f64).log10()
}

/// How near made pictures are to others, picture by picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Near {
    count: usize,
    /// Sums over pictures.
    squared: f64,
    absolute: f64,
    psnr: f64,
    ssim: Option<f64>,
}

impl Near {
    /// Counts a made picture, and the one (C,H,W) that it should be. Panics on different lengths.
    pub fn add(&mut self, made: &[f32], picture: &[f32], shape: [usize; 3]) {
        let differences = || made.iter().zip(picture).map(|(&a, &b)| f64::from(a) - f64::from(b));
        self.count += 1;
        self.squared += differences().map(|d| d * d).sum::<f64>() / made.len() as f64;
        self.absolute += differences().map(f64::abs).sum::<f64>() / made.len() as f64;
        self.psnr += psnr(made, picture);
        if let Some(ssim) = ssim(made, picture, shape) {
            self.ssim = Some(self.ssim.unwrap_or(0.0) + ssim);
        }
    }

    /// Mean squared error of a pixel. NaN before a picture was counted, as all of these.
    pub fn mean_squared(&self) -> f64 {
        self.squared / self.count as f64
    }

    /// Mean absolute error of a pixel.
    pub fn mean_absolute(&self) -> f64 {
        self.absolute / self.count as f64
    }

    /// Mean of [`psnr`] in decibels.
    pub fn psnr(&self) -> f64 {
        self.psnr / self.count as f64
    }

    /// Mean of [`ssim`]; `None` of pictures smaller than its window.
    pub fn ssim(&self) -> Option<f64> {
        Some(self.ssim? / self.count as f64)
    }
}

/// The mean structural similarity (Wang et al. 2004, equation 13) of pictures (C,H,W) with values in `[0,1]`: a
/// Gaussian window of 11 x 11 and 1.5 pixels, K1 = 0.01, K2 = 0.03, where the window lies inside the picture; over all
/// channels. 1 where they are equal. `None` for pictures smaller than the window. Panics where a length is not the
/// shape's.
pub fn ssim(a: &[f32], b: &[f32], [c, h, w]: [usize; 3]) -> Option<f64> {
    assert!(a.len() == c * h * w && b.len() == a.len(), "pictures of {} and {} values", a.len(), b.len());
    if h < WINDOW || w < WINDOW {
        return None;
    }
    let [c1, c2] = [0.01f64, 0.03].map(|k| k * k);
    let mut sum = 0.0;
    for (a, b) in a.chunks(h * w).zip(b.chunks(h * w)) {
        let product = |x: &[f32], y: &[f32]| -> Vec<f64> {
            x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).collect()
        };
        let plain = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
        let means =
            [plain(a), plain(b), product(a, a), product(b, b), product(a, b)].map(|values| smooth(&values, [h, w]));
        let [mean_a, mean_b, aa, bb, ab] = &means;
        for i in 0..mean_a.len() {
            let (ma, mb) = (mean_a[i], mean_b[i]);
            let [va, vb, vab] = [aa[i] - ma * ma, bb[i] - mb * mb, ab[i] - ma * mb];
            sum += (2.0 * ma * mb + c1) * (2.0 * vab + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
        }
    }
    Some(sum / (c * (h + 1 - WINDOW) * (w + 1 - WINDOW)) as f64)
}

/// Gaussian means over every place of the window inside a plane (H,W): (H-10, W-10). The window is a product, so rows
/// come before columns.
fn smooth(plane: &[f64], [h, w]: [usize; 2]) -> Vec<f64> {
    let weight = |i: usize| (-(i as f64 - (WINDOW / 2) as f64).powi(2) / (2.0 * SIGMA * SIGMA)).exp();
    let total: f64 = (0..WINDOW).map(weight).sum();
    let weights: Vec<f64> = (0..WINDOW).map(|i| weight(i) / total).collect();
    let columns = w + 1 - WINDOW;
    let along: Vec<f64> = plane
        .chunks(w)
        .flat_map(|row| row.windows(WINDOW).map(|part| part.iter().zip(&weights).map(|(v, w)| v * w).sum::<f64>()))
        .collect();
    (0..h + 1 - WINDOW)
        .flat_map(|y| (0..columns).map(move |x| (y, x)))
        .map(|(y, x)| weights.iter().enumerate().map(|(i, weight)| weight * along[(y + i) * columns + x]).sum())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pictures_are_as_near_as_can_be() {
        let a: Vec<f32> = (0..300).map(|i| (i % 17) as f32 / 17.0).collect();
        assert_eq!(psnr(&a, &a), f64::INFINITY);
        assert!((ssim(&a, &a, [1, 15, 20]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(ssim(&a[..100], &a[..100], [1, 10, 10]), None);
    }

    #[test]
    fn psnr_is_the_mean_squared_error_in_decibels() {
        // A tenth off everywhere: an MSE of 0.01.
        assert!((psnr(&[0.5; 40], &[0.6; 40]) - 20.0).abs() < 1e-5);
        // Black against white.
        assert_eq!(psnr(&[0.0; 9], &[1.0; 9]), 0.0);
    }

    #[test]
    fn pictures_are_counted_and_their_means_taken() {
        let mut near = Near::default();
        near.add(&[0.5; 4], &[0.6; 4], [1, 2, 2]);
        near.add(&[0.5; 4], &[0.2, 0.8, 0.2, 0.8], [1, 2, 2]);
        assert!((near.mean_squared() - 0.05).abs() < 1e-6 && (near.mean_absolute() - 0.2).abs() < 1e-6);
        assert!((near.psnr() - (20.0 - 10.0 * 0.09f64.log10()) / 2.0).abs() < 1e-5);
        assert_eq!(near.ssim(), None, "smaller than the window");
    }

    /// Flat pictures have no variance: what is left is (2 m n + C1) / (m^2 + n^2 + C1).
    #[test]
    fn ssim_of_flat_pictures_is_that_of_their_means() {
        let expected = (2.0 * 0.2 * 0.6 + 1e-4) / (0.2f64.powi(2) + 0.6f64.powi(2) + 1e-4);
        let of = ssim(&[0.2; 2 * 12 * 13], &[0.6; 2 * 12 * 13], [2, 12, 13]).unwrap();
        assert!((of - expected).abs() < 1e-6, "{of} {expected}");
    }

    /// One window: SSIM by its definition, with weighted sums written out.
    #[test]
    fn ssim_of_a_window_is_its_definition() {
        let value = |i: usize, k: usize| ((i * k + i * i) % 29) as f32 / 29.0;
        let [a, b] = [3, 7].map(|k| (0..121).map(|i| value(i, k)).collect::<Vec<f32>>());
        let weight = |i: usize| {
            let [y, x] = [i / 11, i % 11].map(|v| v as f64 - 5.0);
            (-(y * y + x * x) / 4.5).exp()
        };
        let total: f64 = (0..121).map(weight).sum();
        let mean = |f: &dyn Fn(usize) -> f64| (0..121).map(|i| weight(i) / total * f(i)).sum::<f64>();
        let (ma, mb) = (mean(&|i| a[i] as f64), mean(&|i| b[i] as f64));
        let va = mean(&|i| (a[i] as f64 - ma).powi(2));
        let vb = mean(&|i| (b[i] as f64 - mb).powi(2));
        let vab = mean(&|i| (a[i] as f64 - ma) * (b[i] as f64 - mb));
        let expected = (2.0 * ma * mb + 1e-4) * (2.0 * vab + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4));
        assert!((ssim(&a, &b, [1, 11, 11]).unwrap() - expected).abs() < 1e-12);
    }
}
