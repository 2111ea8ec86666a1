//! One PNG or JPEG file to bytes of a wanted form.
//!
//! In this order: the middle is cut out (a square of `crop`, or with `image_size` alone the largest square), grey is
//! made of colour where one channel is wanted (0.2126 R + 0.7152 G + 0.0722 B), and the square is resized to
//! `image_size` by the triangle filter, which averages over all that a new pixel covers when it makes smaller.
//! Transparency is dropped, 16 bits become 8, the orientation that a camera noted is not looked at.

use std::io::Cursor;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::{MAX_SIDE, Preparation, jpeg};
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
/// no whole PNG or JPEG picture, a picture smaller than the crop or with a side above [`MAX_SIDE`].
pub fn decode(path: &Path, preparation: &Preparation) -> Result<Decoded, Problem> {
    let picture = read(path).map_err(Problem::Corrupt)?;
    let picture = middle(picture, preparation)?;
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

/// The picture as it is stored, by its content and not by its name.
fn read(path: &Path) -> Result<DynamicImage, String> {
    let bytes = read_regular(path, MAX_PICTURE).map_err(|error| match error {
        Error::File { problem, .. } => problem,
        Error::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    })?;
    match image::guess_format(&bytes) {
        Ok(ImageFormat::Png) => png(bytes),
        Ok(ImageFormat::Jpeg) => jpeg::decode(&bytes),
        _ => Err("neither a PNG nor a JPEG file".to_string()),
    }
}

fn png(bytes: Vec<u8>) -> Result<DynamicImage, String> {
    // The first chunk has the size at this place. The decoder's own limit says neither it nor the limit.
    if let Some(&[w0, w1, w2, w3, h0, h1, h2, h3, _, colour]) = bytes.get(16..26) {
        let [width, height] = [[w0, w1, w2, w3], [h0, h1, h2, h3]].map(|side| u32::from_be_bytes(side) as u64);
        fits([width, height], if colour & 2 == 0 { 1 } else { 3 })?;
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE as u32);
    limits.max_image_height = Some(MAX_SIDE as u32);
    limits.max_alloc = Some(MAX_PICTURE);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png);
    reader.limits(limits);
    // Some messages end in a new line.
    reader.decode().map_err(|error| error.to_string().trim().replace('\n', " "))
}

/// Refuses a picture, width and height, whose bytes are more than a decoder may take, with its size and the limit.
pub(super) fn fits([width, height]: [u64; 2], channels: u64) -> Result<(), String> {
    let size = format!("is {width}x{height} (width x height)");
    if width.max(height) > MAX_SIDE as u64 {
        return Err(format!("{size}, but a side may have {MAX_SIDE} pixels: make it smaller first"));
    }
    let bytes = width * height * channels;
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
pub(super) mod tests {
    use image::{GrayImage, ImageEncoder, Luma, Rgb, RgbImage, RgbaImage};

    use super::*;

    pub fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    pub fn jpeg(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let picture = picture.into();
        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
        encoder.write_image(picture.as_bytes(), picture.width(), picture.height(), picture.color().into()).unwrap();
        bytes
    }

    /// Pixel (x, y) is 10 y + x.
    pub fn grey(width: u32, height: u32) -> GrayImage {
        GrayImage::from_fn(width, height, |x, y| Luma([(10 * y + x) as u8]))
    }

    fn decode_bytes(bytes: &[u8], preparation: Preparation) -> Result<Decoded, Problem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        std::fs::write(&path, bytes).unwrap();
        decode(&path, &preparation)
    }

    const NONE: Preparation =
        Preparation { crop: None, image_size: None, channels: None, corrupt: super::super::Corrupt::Refuse };

    #[track_caller]
    fn corrupt(bytes: &[u8], word: &str) {
        match decode_bytes(bytes, NONE) {
            Err(Problem::Corrupt(reason)) => assert!(reason.contains(word), "no {word:?} in: {reason}"),
            other => panic!("expected it corrupt, got {other:?}"),
        }
    }

    #[test]
    fn colour_becomes_planes() {
        let picture = RgbImage::from_fn(2, 1, |x, _| Rgb([1 + x as u8, 3 + x as u8, 5 + x as u8]));
        let decoded = decode_bytes(&png(picture), NONE).unwrap();
        assert_eq!(decoded, Decoded { planes: vec![1, 2, 3, 4, 5, 6], channels: 3, height: 1, width: 2 });
    }

    #[test]
    fn grey_stays_grey_and_colour_becomes_grey_if_asked() {
        let decoded = decode_bytes(&png(grey(3, 2)), NONE).unwrap();
        assert_eq!(decoded, Decoded { planes: vec![0, 1, 2, 10, 11, 12], channels: 1, height: 2, width: 3 });
        assert_eq!(decode_bytes(&png(grey(3, 2)), Preparation { channels: Some(3), ..NONE }).unwrap(), decoded);
        let green = RgbImage::from_pixel(1, 1, Rgb([0, 255, 0]));
        let decoded = decode_bytes(&png(green), Preparation { channels: Some(1), ..NONE }).unwrap();
        assert_eq!(decoded.channels, 1);
        assert!((decoded.planes[0] as f64 - 0.7152 * 255.0).abs() <= 1.0, "{:?}", decoded.planes);
        // Transparency goes, what is behind it stays.
        let clear = RgbaImage::from_pixel(1, 1, image::Rgba([9, 8, 7, 0]));
        assert_eq!(decode_bytes(&png(clear), NONE).unwrap().planes, [9, 8, 7]);
    }

    #[test]
    fn the_crop_is_of_the_middle() {
        let decoded = decode_bytes(&png(grey(7, 6)), Preparation { crop: Some(2), ..NONE }).unwrap();
        assert_eq!((decoded.planes, decoded.height, decoded.width), (vec![22, 23, 32, 33], 2, 2));
        let Err(Problem::Unfit(reason)) = decode_bytes(&png(grey(7, 6)), Preparation { crop: Some(7), ..NONE }) else {
            panic!("a crop of 7 does not fit");
        };
        assert!(reason.contains("7x6") && reason.contains("--crop 7"), "{reason}");
    }

    #[test]
    fn resizing_averages_the_middle_square() {
        // Columns 1 to 4 of 6 are kept: the left half of them black, the right half white.
        let picture = GrayImage::from_fn(6, 4, |x, _| Luma([if x == 0 || x == 5 { 77 } else { 255 * (x / 3) as u8 }]));
        let decoded = decode_bytes(&png(picture.clone()), Preparation { image_size: Some(1), ..NONE }).unwrap();
        assert_eq!((decoded.planes.len(), decoded.planes[0].abs_diff(127) <= 1), (1, true), "{:?}", decoded.planes);
        // The crop comes first: columns 2 and 3 alone.
        let both = Preparation { crop: Some(2), image_size: Some(4), ..NONE };
        let decoded = decode_bytes(&png(picture), both).unwrap();
        assert_eq!((decoded.width, decoded.height), (4, 4));
        assert_eq!((decoded.planes[0], decoded.planes[3]), (0, 255));
        // A chessboard made smaller is grey: without averaging it would stay black or white.
        let chess = GrayImage::from_fn(64, 64, |x, y| Luma([255 * ((x + y) % 2) as u8]));
        let decoded = decode_bytes(&png(chess), Preparation { image_size: Some(8), ..NONE }).unwrap();
        assert!(decoded.planes.iter().all(|p| p.abs_diff(127) < 6), "{:?}", decoded.planes);
    }

    #[test]
    fn the_content_decides_the_format() {
        let picture = RgbImage::from_pixel(8, 8, Rgb([200, 100, 50]));
        let decoded = decode_bytes(&jpeg(picture), NONE).unwrap();
        assert_eq!((decoded.channels, decoded.planes[0].abs_diff(200) < 4), (3, true));
        assert_eq!(decode_bytes(&jpeg(grey(8, 8)), NONE).unwrap().channels, 1);
    }

    #[test]
    fn damaged_files_are_corrupt() {
        corrupt(b"", "neither a PNG nor a JPEG");
        corrupt(b"GIF89a trailing", "neither a PNG nor a JPEG");
        let whole = png(grey(20, 20));
        corrupt(&whole[..whole.len() / 2], "");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x55;
        corrupt(&flipped, "");
        let whole = jpeg(RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, x as u8, y as u8])));
        for length in [whole.len() / 2, whole.len() - 40, whole.len() - 2] {
            corrupt(&whole[..length], "truncated");
        }
        // An end marker in a segment before the scan is another picture's.
        let mut thumbnail = whole[..2].to_vec();
        thumbnail.extend([0xff, 0xe1, 0, 6, 0xff, 0xd9, 0xff, 0xd9]);
        thumbnail.extend(&whole[2..]);
        assert!(decode_bytes(&thumbnail, NONE).is_ok());
        corrupt(&thumbnail[..thumbnail.len() - 40], "truncated");
    }

    #[test]
    fn a_jpeg_whose_header_claims_more_than_its_data_is_damaged() {
        let noise = |x: u32, y: u32| Rgb([(x * 37 + y * y) as u8, (x * y) as u8, (y * 91) as u8]);
        for picture in [
            DynamicImage::from(RgbImage::from_fn(64, 48, noise)),
            DynamicImage::from(grey(64, 48)),
            DynamicImage::from(GrayImage::from_pixel(64, 48, Luma([255]))),
        ] {
            let whole = jpeg(picture);
            assert!(decode_bytes(&whole, NONE).is_ok());
            // The height stands behind the marker of the frame, its length and the bits of a sample.
            let frame = whole.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
            for height in [64u16, 96, 480] {
                let mut claims = whole.clone();
                claims[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
                corrupt(&claims, "truncated or damaged");
            }
            // The end marker is there, but the last quarter of the scan is not.
            let scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
            let cut = [&whole[..scan + (whole.len() - scan) * 3 / 4], &whole[whole.len() - 2..]].concat();
            corrupt(&cut, "truncated or damaged");
        }
    }

    #[test]
    fn a_decompression_bomb_is_refused() {
        // 20,000 x 20,000 grey: the header alone says so.
        let mut bomb = png(grey(1, 1));
        bomb[16..20].copy_from_slice(&20_000u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&20_000u32.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        corrupt(&bomb, "is 20000x20000 (width x height), but a side may have 16384");
        // 16,000 x 16,000 in colour: each side is allowed, 768 MB are not.
        bomb[16..20].copy_from_slice(&16_000u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&16_000u32.to_be_bytes());
        bomb[25] = 2;
        let mut crc = flate2::Crc::new();
        crc.update(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        corrupt(&bomb, "is 16000x16000 (width x height), 768000000 bytes, but a picture may have 268435456");
    }
}
