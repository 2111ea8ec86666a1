//! JPEG data to a picture, or the reason why they are damaged.
//!
//! Decoders fill what is missing of a picture with grey, as browsers do. A model would learn that grey, so here data
//! that end before the picture does are an error. Headers are read leniently: cameras write strange ones.

use image::{DynamicImage, GrayImage, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::decode::fits;

/// What is put in the place of the end marker: 64 bits of one, each byte with the zero that keeps it from being a
/// marker. No code of a JPEG consists of ones alone, so a decoder that reads on beyond the data comes upon an error.
const BEYOND: [u8; 16] = [0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0, 0xff, 0];
const END: [u8; 2] = [0xff, 0xd9];

/// Decodes a whole file; one stored as grey stays grey, all others become red, green and blue.
///
/// # Errors
/// Data that are not JPEG, are cut off or damaged, or a picture larger than [`fits`] allows.
pub fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let Some(end) = end(bytes)? else { return decoded(bytes, false) };
    let marked = [&bytes[..end], &BEYOND, &END].concat();
    let reason = match decoded(&marked, true) {
        Ok(picture) => return Ok(picture),
        Err(reason) => reason,
    };
    // The strict decoder may have stumbled over something else. What lies beyond the data then changes no pixel.
    let picture = decoded(bytes, false)?;
    match decoded(&marked, false) {
        Ok(same) if same == picture => Ok(picture),
        _ => Err(format!("truncated or damaged: {reason}")),
    }
}

fn decoded(bytes: &[u8], strict: bool) -> Result<DynamicImage, String> {
    // The decoder's own limits speak of no sizes.
    let lenient = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), lenient);
    // Some messages end in a new line.
    let reason = |error: DecodeErrors| error.to_string().trim().replace('\n', " ");
    decoder.decode_headers().map_err(reason)?;
    let (width, height) = decoder.dimensions().expect("the headers are decoded");
    let stored = decoder.input_colorspace().expect("the headers are decoded");
    let (colour, channels) = if stored == ColorSpace::Luma { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    fits([width as u64, height as u64], channels)?;
    decoder.set_options(lenient.set_strict_mode(strict).jpeg_set_out_colorspace(colour));
    let pixels = decoder.decode().map_err(reason)?;
    let (width, height) = (width as u32, height as u32);
    let picture = match colour {
        ColorSpace::Luma => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    picture.ok_or_else(|| "the decoder gives fewer pixels than the header says".to_string())
}

/// Where the end marker, FF D9, is after the start of a scan. The segments before that are stepped over: one may hold a
/// small picture with an end of its own. Within a scan FF is followed by 00 or a marker. None where the segments are
/// not in the usual order: the decoder decides.
fn end(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            0xda => {
                let end = bytes[at..].windows(2).position(|pair| pair == END);
                return match end {
                    Some(end) => Ok(Some(at + end)),
                    None => Err("truncated: the JPEG data do not end".to_string()),
                };
            }
            // A filling byte before a marker.
            0xff => at += 1,
            _ => at += 2 + u16::from_be_bytes([high, low]) as usize,
        }
    }
    Ok(None)
}
