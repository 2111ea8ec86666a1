//! Pictures out: grids of images, charts of losses, scatters of latents, and the latent points they start from.
//!
//! - `grid` arranges (N,C,H,W) values as one picture; `bands` puts originals above their reconstructions.
//! - `charts` draws losses, latents, times and scores.
//! - `quality` says how near pictures are to others, `enlarge` draws them larger without a model.
//! - `save_gif` shows pictures one after the other.
//! - `latent` has the points to decode: interpolations, traversals, the manifold of a 2-D latent.
//!
//! Everything ends as a [`Picture`], and [`Picture::save`] and [`save_gif`] are the only ways to a file.

mod animation;
#[cfg(feature = "native")]
mod charts;
pub mod enlarge;
mod grid;
pub mod latent;
pub mod quality;

pub use animation::{save_gif, save_gif_of};
#[cfg(feature = "native")]
pub use charts::*;
pub use grid::{Fit, bands, fit, grid, grid_size, plain};

use crate::error::{Error, Result};
use crate::files::{read_regular, write_atomic};
use image::ImageEncoder;
use std::path::Path;

/// Largest PNG file read, in bytes. This program's own are far below it.
const LARGEST_PNG: u64 = 1 << 28;

/// A line of a chart: its name for the legend, and points (x, y) in their order.
pub type Series = (String, Vec<(f64, f64)>);

/// A finished picture in memory, 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: u8,
    /// Rows from the top, pixels from the left, channels interleaved: `height * width * channels` bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Writes the picture in the [`Format`] that the file's name asks for, in place of an older one, and makes its
    /// folder if missing.
    ///
    /// # Errors
    /// `Error::Io` where the folder is full or not writable; `Error::File` where `path` names no file or no format;
    /// `Error::Usage` for a JPEG of more pixels a side than that counts.
    ///
    /// # Panics
    /// If `pixels` does not hold `height * width * channels` bytes, or `channels` is neither 1 nor 3.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = match Format::of(path)? {
            Format::Png => self.to_png(),
            Format::Jpeg => self.encode_jpeg()?,
        };
        write_atomic(path, &bytes)
    }

    /// Reads a PNG file. Grey stays grey; anything else becomes RGB of 8 bits, without its transparency.
    ///
    /// # Errors
    /// `Error::Io` where it cannot be read; `Error::File` where it is no regular file, too large, or not a whole PNG
    /// picture.
    pub fn read_png(path: impl AsRef<Path>) -> Result<Picture> {
        let path = path.as_ref();
        let bytes = read_regular(path, LARGEST_PNG)?;
        let image = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)
            .map_err(|e| Error::file(path, format!("not a whole PNG picture: {e}")))?;
        let (width, height) = (image.width(), image.height());
        let (channels, pixels) = match image {
            image::DynamicImage::ImageLuma8(grey) => (1, grey.into_raw()),
            other => (3, other.into_rgb8().into_raw()),
        };
        Ok(Picture { width, height, channels, pixels })
    }

    /// The bytes of a PNG file. Panics as [`save`](Picture::save) does.
    pub fn to_png(&self) -> Vec<u8> {
        let color = self.color();
        let mut png = Vec::new();
        image::codecs::png::PngEncoder::new(&mut png)
            .write_image(&self.pixels, self.width, self.height, color)
            .expect("encoding a checked picture into memory has nothing to fail on");
        png
    }

    fn encode_jpeg(&self) -> Result<Vec<u8>> {
        let color = self.color();
        if self.width.max(self.height) > u32::from(u16::MAX) {
            return Err(Error::Usage(format!(
                "a JPEG picture has at most {} pixels a side, and this one is {} x {}: write a .png",
                u16::MAX,
                self.width,
                self.height
            )));
        }
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)
            .write_image(&self.pixels, self.width, self.height, color)
            .expect("encoding a checked picture into memory has nothing to fail on");
        Ok(jpeg)
    }

    /// How the pixels are to be read. Panics where they do not fill the picture.
    fn color(&self) -> image::ExtendedColorType {
        let color = match self.channels {
            1 => image::ExtendedColorType::L8,
            3 => image::ExtendedColorType::Rgb8,
            channels => panic!("a picture has 1 or 3 channels, this one has {channels}"),
        };
        let expected = self.height as usize * self.width as usize * self.channels as usize;
        assert_eq!(
            self.pixels.len(),
            expected,
            "a picture of {}x{} pixels, {} channels",
            self.width,
            self.height,
            self.channels
        );
        color
    }
}

/// Of 100; small enough a loss that edges of single pixels stay sharp.
const JPEG_QUALITY: u8 = 95;

/// What a file of a picture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Exact.
    Png,
    /// Close.
    Jpeg,
}

impl Format {
    /// The one that the ending of the file's name asks for. Ask before the picture is made.
    ///
    /// # Errors
    /// `Error::File` for another ending, for none, and where `path` names no file.
    pub fn of(path: impl AsRef<Path>) -> Result<Format> {
        let path = path.as_ref();
        if path.file_name().is_none() || path.is_dir() {
            return Err(Error::file(path, "this is a folder; give the name of a .png file in it"));
        }
        match path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase).as_deref() {
            Some("png") => Ok(Format::Png),
            Some("jpg" | "jpeg") => Ok(Format::Jpeg),
            _ => Err(Error::file(path, "a picture is written as PNG or JPEG: end its name in .png, .jpg or .jpeg")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn two_by_one() -> Picture {
        Picture { width: 2, height: 1, channels: 3, pixels: vec![255, 0, 0, 0, 0, 255] }
    }

    #[test]
    fn a_saved_picture_reads_back_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::write(&path, "an older file").unwrap();
        two_by_one().save(&path).unwrap();
        let read = image::load_from_memory(&fs::read(&path).unwrap()).unwrap().into_rgb8();
        assert_eq!((read.width(), read.height(), read.into_raw()), (2, 1, two_by_one().pixels));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(Picture::read_png(&path).unwrap(), two_by_one());
    }

    #[test]
    fn a_damaged_picture_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let png = two_by_one().to_png();
        for length in [0, 10, png.len() / 2, png.len() - 20] {
            fs::write(&path, &png[..length]).unwrap();
            let message = Picture::read_png(&path).unwrap_err().to_string();
            assert!(message.contains("a.png: not a whole PNG picture"), "{length} bytes: {message}");
        }
        assert!(matches!(Picture::read_png(folder.path().join("b.png")), Err(Error::Io { .. })));
    }

    #[test]
    fn a_grey_picture_stays_grey() {
        let grey = Picture { width: 1, height: 2, channels: 1, pixels: vec![7, 200] };
        let folder = tempfile::tempdir().unwrap();
        grey.save(folder.path().join("a.png")).unwrap();
        assert_eq!(Picture::read_png(folder.path().join("a.png")).unwrap(), grey);
        let read = image::load_from_memory(&grey.to_png()).unwrap();
        assert_eq!(read, image::DynamicImage::ImageLuma8(image::GrayImage::from_raw(1, 2, vec![7, 200]).unwrap()));
    }

    #[test]
    fn the_ending_decides_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let grey = Picture { width: 1, height: 2, channels: 1, pixels: vec![7, 200] };
        for (name, format) in [
            ("a.png", image::ImageFormat::Png),
            ("b.PNG", image::ImageFormat::Png),
            ("c.jpg", image::ImageFormat::Jpeg),
        ]
        .into_iter()
        .chain([("d.JPEG", image::ImageFormat::Jpeg)])
        {
            for picture in [two_by_one(), grey.clone()] {
                picture.save(folder.path().join(name)).unwrap();
                let bytes = fs::read(folder.path().join(name)).unwrap();
                assert_eq!(image::guess_format(&bytes).unwrap(), format, "{name}");
                let read = image::load_from_memory(&bytes).unwrap();
                assert_eq!((read.width(), read.height()), (picture.width, picture.height), "{name}");
            }
        }
        for name in ["a.bmp", "a", "a.png.gz", ".png", "a."] {
            let message = two_by_one().save(folder.path().join(name)).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(".png, .jpg or .jpeg"), "{message}");
        }
        let long = Picture { width: 65_536, height: 1, channels: 1, pixels: vec![0; 65_536] };
        assert!(long.save(folder.path().join("a.jpg")).unwrap_err().to_string().contains("65536 x 1"));
        long.save(folder.path().join("a.png")).unwrap();
    }

    #[test]
    fn a_folder_is_not_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().to_path_buf(), folder.path().join("..")] {
            assert!(two_by_one().save(path).unwrap_err().to_string().contains("a folder"));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    #[should_panic(expected = "a picture of 3x1 pixels, 3 channels")]
    fn pixels_of_another_size_are_a_program_error() {
        Picture { width: 3, ..two_by_one() }.to_png();
    }
}
