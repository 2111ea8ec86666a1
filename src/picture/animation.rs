//! Pictures one after the other, as a looping GIF: how a model's samples change over the epochs.

use std::path::Path;
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, RgbaImage};

use super::Picture;
use crate::error::{Error, Result};
use crate::files::write_atomic;

/// The last picture stays this long, so that one sees where it all ends.
const LAST: Duration = Duration::from_secs(2);
/// A GIF counts its pixels in 16 bits.
const LARGEST_SIDE: u32 = u16::MAX as u32;
/// Of NeuQuant, where a frame has more than the 256 colours of a GIF: 1 is best, 30 fastest.
const SPEED: i32 = 20;

/// Writes pictures of equal size as an endless animation, in place of an older file, and makes its folder if missing.
/// Each is shown for `milliseconds` (GIF counts hundredths of a second), the last one for two seconds. Frames of at
/// most 256 colours, all grey ones among them, are exact.
///
/// # Errors
/// `Error::Usage` for no pictures, pictures of different sizes or over 65535 pixels wide or high; `Error::File` where
/// `path` names no .gif file; `Error::Io` where the folder is full or not writable.
pub fn save_gif(frames: &[Picture], path: impl AsRef<Path>, milliseconds: u32) -> Result<()> {
    save_gif_of(frames.len(), |i| Ok(frames[i].clone()), path, milliseconds)
}

/// [`save_gif`] of pictures that are fetched one after the other, so that they need not be in memory together.
///
/// # Errors
/// Those of [`save_gif`], and the first one of `frame`.
pub fn save_gif_of(
    count: usize,
    mut frame: impl FnMut(usize) -> Result<Picture>,
    path: impl AsRef<Path>,
    milliseconds: u32,
) -> Result<()> {
    let path = path.as_ref();
    if path.file_name().is_none() || path.is_dir() {
        return Err(Error::file(path, "this is a folder; give the name of a .gif file in it"));
    }
    if path.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("gif")) {
        return Err(Error::file(path, "an animation is written as a GIF: end its name in .gif"));
    }
    if count == 0 {
        return Err(Error::Usage("an animation needs at least one picture".into()));
    }
    let mut gif = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut gif, SPEED);
    encoder.set_repeat(Repeat::Infinite).expect("nothing is written yet");
    let mut first = None;
    for i in 0..count {
        let picture = frame(i)?;
        let size = (picture.width, picture.height);
        let (width, height) = *first.get_or_insert(size);
        if size != (width, height) {
            return Err(Error::Usage(format!(
                "picture {i} of the animation is {}x{} pixels, the first one {width}x{height}",
                size.0, size.1
            )));
        }
        if !(1..=LARGEST_SIDE).contains(&width) || !(1..=LARGEST_SIDE).contains(&height) {
            return Err(Error::Usage(format!(
                "a GIF is 1 to {LARGEST_SIDE} pixels wide and high, not {width}x{height}"
            )));
        }
        let shown = if i + 1 == count { LAST } else { Duration::from_millis(u64::from(milliseconds)) };
        let frame = Frame::from_parts(rgba(&picture), 0, 0, Delay::from_saturating_duration(shown));
        encoder.encode_frame(frame).expect("encoding checked pictures into memory has nothing to fail on");
    }
    // The end of the file is written when the encoder goes.
    drop(encoder);
    write_atomic(path, &gif)
}

/// Panics where the pixels are not those of a picture, as [`Picture::save`] does.
fn rgba(picture: &Picture) -> RgbaImage {
    let Picture { width, height, channels, ref pixels } = *picture;
    let channels = usize::from(channels);
    assert!(channels == 1 || channels == 3, "a picture has 1 or 3 channels, this one has {channels}");
    let rgba = pixels.chunks(channels).flat_map(|p| [p[0], p[channels / 2], p[channels - 1], 255]).collect();
    let image = RgbaImage::from_raw(width, height, rgba).filter(|i| i.as_raw().len() / 4 * channels == pixels.len());
    image.unwrap_or_else(|| panic!("{} bytes are no picture of {width}x{height}, {channels} channels", pixels.len()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use image::AnimationDecoder;
    use image::codecs::gif::GifDecoder;
    use image::metadata::LoopCount;

    use super::*;

    fn grey(width: u32, height: u32, shade: u8) -> Picture {
        let pixels = (0..width * height).map(|i| shade.wrapping_add(i as u8)).collect();
        Picture { width, height, channels: 1, pixels }
    }

    #[test]
    fn frames_come_back_in_order_with_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.gif");
        let colour = Picture { width: 16, height: 16, channels: 3, pixels: (0..768).map(|i| (i / 3) as u8).collect() };
        let red = Picture { width: 16, height: 16, channels: 3, pixels: [255, 0, 10].repeat(256) };
        let frames = [grey(16, 16, 3), grey(16, 16, 200), colour, red];
        save_gif(&frames, &path, 300).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

        let decoder = GifDecoder::new(Cursor::new(fs::read(&path).unwrap())).unwrap();
        assert!(matches!(decoder.loop_count(), LoopCount::Infinite));
        let read = decoder.into_frames().collect_frames().unwrap();
        assert_eq!(read.len(), frames.len());
        for (i, (frame, want)) in read.iter().zip(&frames).enumerate() {
            let shown = if i == 3 { 2000 } else { 300 };
            assert_eq!(frame.delay().numer_denom_ms(), (shown, 1), "frame {i}");
            assert!(*frame.buffer() == rgba(want), "frame {i}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_an_error_and_leaves_the_older_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        fs::write(&path, "older").unwrap();
        let problem = |frames: &[Picture]| save_gif(frames, &path, 100).unwrap_err().to_string();
        assert!(problem(&[]).contains("at least one picture"));
        assert!(problem(&[grey(2, 2, 0), grey(2, 3, 0)]).contains("picture 1 of the animation is 2x3 pixels"));
        assert!(problem(&[grey(65536, 1, 0)]).contains("not 65536x1"));
        let failed = save_gif_of(2, |_| Err(Error::Usage("no such frame".into())), &path, 100);
        assert!(failed.unwrap_err().to_string().contains("no such frame"));
        assert_eq!(fs::read(&path).unwrap(), b"older");
        for name in ["a.png", "a"] {
            let message = save_gif(&[grey(1, 1, 0)], folder.path().join(name), 100).unwrap_err().to_string();
            assert!(message.contains("end its name in .gif"), "{message}");
        }
        assert!(save_gif(&[grey(1, 1, 0)], folder.path(), 100).unwrap_err().to_string().contains("a folder"));
    }

    #[test]
    #[should_panic(expected = "no picture of 3x1")]
    fn pixels_of_another_size_are_a_program_error() {
        rgba(&Picture { width: 3, ..grey(2, 1, 0) });
    }
}
