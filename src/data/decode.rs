//! One picture file to bytes of a wanted form: PNG, JPEG, WebP, BMP, TIFF or GIF; of several pages or of an animation
//! the first picture.
//!
//! In this order: the picture is turned as its camera noted, the middle is cut out (a square of `crop`, or with
//! `image_size` alone the largest square), what is transparent is laid over the background, grey is made of colour
//! where one channel is wanted (0.2126 R + 0.7152 G + 0.0722 B), and the square is resized to `image_size` by the
//! triangle filter, which averages over all that a new pixel covers when it makes smaller. 16 bits become 8.

use std::io::Cursor;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits};

use super::{Background, MAX_SIDE, Orientation, Preparation, jpeg};
use crate::error::Error;
use crate::files::read_regular;

/// Largest file read, and most memory a decoder may take for one picture, in bytes.
const MAX_PICTURE: u64 = 1 << 28;

/// Why a picture is not there.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// The file cannot be read or decoded.
    Corrupt(String),
    /// The picture is whole, but not what was asked for.
    Unfit(String),
}

/// A picture in the form that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// (channels, height, width), row-major.
    pub planes: Vec<u8>,
    /// 1 for a picture stored as grey (whatever was asked for), else as asked for, else 3.
    pub channels: usize,
    /// Rows: `image_size` or `crop` if given, else as in the file.
    pub height: usize,
    /// Columns, likewise.
    pub width: usize,
}

/// Reads the picture `path` in the form that `preparation` asks for. Errors: a file of more than 256 MiB, one that is
/// no whole picture of a known format, a picture smaller than the crop or with a side above [`MAX_SIDE`].
pub fn decode(path: &Path, preparation: &Preparation) -> Result<Decoded, Problem> {
    let picture = read(path, preparation.orientation).map_err(Problem::Corrupt)?;
    let picture = opaque(middle(picture, preparation)?, preparation.background);
    let grey = preparation.channels == Some(1) || !picture.color().has_color();
    let (width, height) = match preparation.image_size {
        Some(side) => (side as u32, side as u32),
        None => (picture.width(), picture.height()),
    };
    let same = (picture.width(), picture.height()) == (width, height);
    let (interleaved, channels) = if grey {
        let grey = picture.into_luma8();
        let grey = if same { grey } else { imageops::resize(&grey, width, height, FilterType::Triangle) };
        (grey.into_raw(), 1)
    } else {
        let colour = picture.into_rgb8();
        let colour = if same { colour } else { imageops::resize(&colour, width, height, FilterType::Triangle) };
        (colour.into_raw(), 3)
    };
    let planes = if channels == 1 { interleaved } else { planes(&interleaved, channels) };
    Ok(Decoded { planes, channels, height: height as usize, width: width as usize })
}

/// (H, W, C) to (C, H, W).
pub(super) fn planes(interleaved: &[u8], channels: usize) -> Vec<u8> {
    (0..channels).flat_map(|c| interleaved.iter().skip(c).step_by(channels).copied()).collect()
}

/// The format that content with this beginning has, if it is one that is read. 12 bytes say it.
pub(super) fn format(start: &[u8]) -> Option<ImageFormat> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    // BM may begin a text; a bitmap's bytes 6 to 9 are reserved, and 0.
    let is_text = |format| format == Bmp && start.get(6..10).is_none_or(|reserved| reserved != [0; 4]);
    let format = image::guess_format(start).ok()?;
    (matches!(format, Bmp | Gif | Jpeg | Png | Tiff | WebP) && !is_text(format)).then_some(format)
}

/// The picture as it is stored, by its content and not by its name, turned as its camera noted where that is wanted.
fn read(path: &Path, orientation: Orientation) -> Result<DynamicImage, String> {
    let bytes = read_regular(path, MAX_PICTURE).map_err(|error| match error {
        Error::File { problem, .. } => problem,
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    })?;
    let format = format(&bytes).ok_or("no PNG, JPEG, WebP, BMP, TIFF or GIF file")?;
    let (mut picture, noted) = match format {
        ImageFormat::Jpeg => {
            let picture = jpeg::decode(&bytes)?;
            (picture, opened(&bytes, format).and_then(|mut decoder| decoder.orientation()))
        }
        _ => {
            let mut decoder = opened(&bytes, format).map_err(reason)?;
            let (width, height) = decoder.dimensions();
            fits([width as u64, height as u64], u64::from(decoder.color_type().bytes_per_pixel()))?;
            let noted = decoder.orientation();
            (DynamicImage::from_decoder(decoder).map_err(reason)?, noted)
        }
    };
    // Cameras write strange notes: one that cannot be read is none.
    if let (Orientation::Exif, Ok(noted)) = (orientation, noted) {
        picture.apply_orientation(noted);
    }
    Ok(picture)
}

/// A decoder that has read the file's header.
fn opened(bytes: &[u8], format: ImageFormat) -> ImageResult<impl ImageDecoder> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // The decoders' own limits on sides say neither the size nor the limit.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PICTURE);
    reader.limits(limits);
    reader.into_decoder()
}

/// What a decoder says, in one line: some messages end in a new one.
fn reason(error: ImageError) -> String {
    error.to_string().trim().replace('\n', " ")
}

/// The picture over the background; one without transparency as it is. Grey over grey stays grey.
fn opaque(picture: DynamicImage, background: Background) -> DynamicImage {
    let (Background(Some(behind)), true) = (background, picture.color().has_alpha()) else { return picture };
    let is_grey = !picture.color().has_color() && behind == [behind[0]; 3];
    let mut pixels = picture.into_rgba8();
    for pixel in pixels.pixels_mut() {
        let alpha = u32::from(pixel[3]);
        for (front, behind) in pixel.0.iter_mut().zip(behind) {
            *front = ((u32::from(*front) * alpha + u32::from(behind) * (255 - alpha) + 127) / 255) as u8;
        }
    }
    let picture = DynamicImage::from(pixels);
    if is_grey { picture.into_luma8().into() } else { picture.into_rgb8().into() }
}

/// Refuses a picture, width and height, of so many bytes a pixel that a decoder may not take them all, with its size
/// and the limit.
pub(super) fn fits([width, height]: [u64; 2], pixel: u64) -> Result<(), String> {
    let size = format!("is {width}x{height} (width x height)");
    if width.max(height) > MAX_SIDE as u64 {
        return Err(format!("{size}, but a side may have {MAX_SIDE} pixels: make it smaller first"));
    }
    let bytes = width * height * pixel;
    if bytes > MAX_PICTURE {
        return Err(format!("{size}, {bytes} bytes, but a picture may have {MAX_PICTURE}: make it smaller first"));
    }
    Ok(())
}

/// The part of the picture that is kept, before any resizing.
fn middle(picture: DynamicImage, preparation: &Preparation) -> Result<DynamicImage, Problem> {
    let (width, height) = (picture.width(), picture.height());
    let side = match (preparation.crop, preparation.image_size) {
        (Some(crop), _) if crop as u32 > width.min(height) => {
            return Err(Problem::Unfit(format!(
                "is {width}x{height} (width x height), too small for --crop {crop}: give a smaller --crop, or none"
            )));
        }
        (Some(crop), _) => crop as u32,
        (None, Some(_)) => width.min(height),
        (None, None) => return Ok(picture),
    };
    if (side, side) == (width, height) {
        return Ok(picture);
    }
    Ok(picture.crop_imm((width - side) / 2, (height - side) / 2, side, side))
}

#[cfg(test)]
pub(super) mod tests;
