//! The pictures of one NumPy array, from the file to bytes, channels first.
//!
//! The array is read as it comes, twice where its numbers are no bytes: first for the largest, which decides the scale,
//! then for the pixels. In memory is one byte for each number.

use std::io::Read;
use std::path::Path;

use super::npy::Header;
use super::numbers::{Number, Scale};
use super::{MAX_SIDE, Selection, check_memory, decode};
use crate::error::{Error, Result, shown};

/// Numbers read at a time of an array that is not read picture by picture.
const CHUNK: usize = 1 << 16;
/// Bytes up to this are dark enough to be a mistake.
const DARK: u8 = 31;

/// One array on its way in.
pub struct Member<'a, R> {
    /// What is read of it.
    pub content: R,
    /// All of it in bytes, the header included.
    pub length: u64,
    /// For errors.
    pub path: &'a Path,
}

/// How an array of pictures lies in its file.
#[derive(Debug, Clone)]
pub struct Form {
    /// Of its numbers.
    pub number: Number,
    /// As in the header: N first.
    sizes: Vec<u64>,
    /// N
    pub count: usize,
    /// C, H, W.
    pub shape: [usize; 3],
    /// Whether the channels come last in the file.
    last: bool,
    /// Whether the first size changes fastest: Fortran's order.
    fortran: bool,
}

impl Form {
    /// Reads the header, and leaves the content at the first number.
    ///
    /// # Errors
    /// Another type or shape than pictures have, sizes out of range, a length that does not fit them.
    pub fn read(member: &mut Member<impl Read>, notices: &mut dyn FnMut(&str)) -> Result<Form> {
        let path = member.path;
        let header = Header::read(&mut member.content, path)?;
        let number = header.descr().and_then(Number::parse).ok_or_else(|| {
            header
                .unexpected("pictures of bool, of whole numbers or of floating-point numbers of 2, 4 or 8 bytes", path)
        })?;
        let sizes = header.shape().unwrap_or_default();
        let fits = |c: u64| c == 1 || c == 3;
        let (shape, last) = match sizes[..] {
            [_, h, w] => ([1, h, w], false),
            [_, h, w, c] if fits(c) => ([c, h, w], true),
            [_, c, h, w] if fits(c) => ([c, h, w], false),
            [_, d] if d.isqrt().pow(2) == d => ([1, d.isqrt(), d.isqrt()], false),
            _ => {
                let expected =
                    "a shape (N,H,W), (N,H,W,C) or (N,C,H,W) with C = 1 or 3, or (N,D) with a square number D";
                return Err(header.unexpected(expected, path));
            }
        };
        if sizes[0] == 0 || shape.iter().any(|&size| size == 0 || size > MAX_SIDE as u64) {
            return Err(header.unexpected(&format!("at least one picture and sides of 1 to {MAX_SIDE}"), path));
        }
        let shape = shape.map(|size| size as usize);
        let count = usize::try_from(sizes[0]).unwrap_or(usize::MAX);
        check_memory(path, count, shape)?;
        exact_length(&header, member, (count * shape.iter().product::<usize>() * number.bytes) as u64)?;
        if sizes.len() == 2 {
            let [_, h, w] = shape;
            notices(&format!("note: the rows of {sizes:?} in {} are taken as grey pictures of {h}x{w}", shown(path)));
        }
        if last && fits(sizes[1]) {
            notices(&format!(
                "note: the last size of {sizes:?} in {} is taken for the channels, though the second could be",
                shown(path)
            ));
        }
        Ok(Form { number, sizes, count, shape, last, fortran: header.is_fortran(path)? })
    }

    /// The largest number of the array, as far as it decides the scale, from the content behind the header.
    ///
    /// # Errors
    /// A number that no pixel has, with its place in the array; content that ends too early.
    pub fn largest(&self, mut member: Member<impl Read>) -> Result<f64> {
        let read = self.number.reader();
        let bytes = self.number.bytes;
        let total = self.count * self.dims();
        let mut largest = 0.0f64;
        let mut raw = vec![0; CHUNK.min(total) * bytes];
        for start in (0..total).step_by(CHUNK) {
            let raw = &mut raw[..CHUNK.min(total - start) * bytes];
            member.content.read_exact(raw).map_err(|error| damaged(member.path, error))?;
            for (at, word) in raw.chunks_exact(bytes).enumerate() {
                let value = read(word);
                if value > largest {
                    largest = value;
                }
                if !(0.0..=65535.0).contains(&value) {
                    return Err(self.no_pixel(start + at, value, member.path));
                }
            }
            // Bytes have two scales only.
            if self.number.is_byte() && largest > 1.0 {
                break;
            }
        }
        Ok(largest)
    }

    /// The scale for arrays of this form with this largest number, and what is to be said about it.
    ///
    /// # Errors
    /// A largest number that leaves the scale open.
    pub fn scale(
        &self,
        largest: f64,
        selection: Selection,
        path: &Path,
        notices: &mut dyn FnMut(&str),
    ) -> Result<Scale> {
        // Older runs were trained on bytes of 0 and 1 as they are.
        let scale = match selection == Selection::ByOrder && self.number.is_byte() {
            true => Some(Scale::Levels),
            false => self.number.scale(largest),
        };
        let scale = scale.ok_or_else(|| {
            Error::file(path, format!("its largest value is {largest}: {}, for instance x / x.max()", Scale::EXPECTED))
        })?;
        scale.notice(self.number, &shown(path)).iter().for_each(|notice| notices(notice));
        Ok(scale)
    }

    /// All pictures, channels first, from the content behind the header.
    ///
    /// # Errors
    /// A number above the scale's white, content that is damaged, ends too early or goes on; no memory.
    pub fn pixels(&self, mut member: Member<impl Read>, scale: Scale) -> Result<Vec<u8>> {
        let path = member.path;
        let total = self.count * self.dims();
        // As long as the file is, or up to 1032 times as long where it is compressed.
        let mut pixels = Vec::new();
        let no_memory = |_| Error::file(path, format!("no memory for {total} bytes of pictures"));
        pixels.try_reserve_exact(total).map_err(no_memory)?;
        match self.fortran {
            false => self.read_pictures(&mut member, scale, &mut pixels)?,
            true => self.read_turned(&mut member, scale, &mut pixels)?,
        }
        at_end(member)?;
        Ok(pixels)
    }

    /// Bytes a picture: C * H * W.
    fn dims(&self) -> usize {
        self.shape.iter().product()
    }

    fn read_pictures(&self, member: &mut Member<impl Read>, scale: Scale, pixels: &mut Vec<u8>) -> Result<()> {
        let dims = self.dims();
        let mut raw = vec![0; dims * self.number.bytes];
        let mut levels = Vec::with_capacity(dims);
        for picture in 0..self.count {
            member.content.read_exact(&mut raw).map_err(|error| damaged(member.path, error))?;
            self.levels(&raw, scale, picture * dims, member.path, &mut levels)?;
            match self.last {
                true => pixels.extend(decode::planes(&levels, self.shape[0])),
                false => pixels.extend_from_slice(&levels),
            }
        }
        Ok(())
    }

    /// Of Fortran's order: all pictures' first numbers, then all pictures' second ones.
    fn read_turned(&self, member: &mut Member<impl Read>, scale: Scale, pixels: &mut Vec<u8>) -> Result<()> {
        let dims = self.dims();
        pixels.resize(self.count * dims, 0);
        let mut raw = vec![0; CHUNK.min(self.count) * self.number.bytes];
        let mut levels = Vec::new();
        for at in 0..dims {
            let place = self.place_of(at);
            for first in (0..self.count).step_by(CHUNK) {
                let raw = &mut raw[..CHUNK.min(self.count - first) * self.number.bytes];
                member.content.read_exact(raw).map_err(|error| damaged(member.path, error))?;
                self.levels(raw, scale, at * self.count + first, member.path, &mut levels)?;
                levels.iter().enumerate().for_each(|(i, &level)| pixels[(first + i) * dims + place] = level);
            }
        }
        Ok(())
    }

    /// Where number `at` of a picture in Fortran's order lies in its bytes, channels first.
    fn place_of(&self, at: usize) -> usize {
        let [c, h, w] = self.shape;
        match self.last {
            // Rows have one size for all.
            false if self.sizes.len() == 2 => at,
            false => {
                let (channel, row, column) = (at % c, at / c % h, at / c / h);
                (channel * h + row) * w + column
            }
            true => {
                let (row, column, channel) = (at % h, at / h % w, at / h / w);
                (channel * h + row) * w + column
            }
        }
    }

    /// The grey levels of the numbers in `raw`, the first of which is number `start` of the array in its order.
    fn levels(&self, raw: &[u8], scale: Scale, start: usize, path: &Path, levels: &mut Vec<u8>) -> Result<()> {
        levels.clear();
        if self.number.is_byte() && scale == Scale::Levels {
            levels.extend_from_slice(raw);
            return Ok(());
        }
        let read = self.number.reader();
        for (at, word) in raw.chunks_exact(self.number.bytes).enumerate() {
            let value = read(word);
            // The file may have changed since its largest number was looked for.
            if !(0.0..=scale.white()).contains(&value) {
                return Err(self.no_pixel(start + at, value, path));
            }
            levels.push(scale.level(value));
        }
        Ok(())
    }

    fn no_pixel(&self, at: usize, value: f64, path: &Path) -> Error {
        let index = self.index_of(at);
        Error::file(path, format!("value {value} at {index:?}: {}", Scale::EXPECTED))
    }

    /// NumPy's index of number `at` of the file.
    fn index_of(&self, at: usize) -> Vec<usize> {
        let mut rest = at;
        let mut next = |size: &u64| {
            let index = rest % *size as usize;
            rest /= *size as usize;
            index
        };
        if self.fortran {
            return self.sizes.iter().map(next).collect();
        }
        let mut index: Vec<usize> = self.sizes.iter().rev().map(&mut next).collect();
        index.reverse();
        index
    }
}

/// Says where pictures are so dark that their numbers may have been meant otherwise.
pub fn note_dark<'a>(pixels: impl IntoIterator<Item = &'a u8>, path: &Path, notices: &mut dyn FnMut(&str)) {
    let largest = pixels.into_iter().max().copied().unwrap_or(0);
    if largest <= DARK {
        let place = shown(path);
        notices(&format!(
            "note: no pixel of {place} is above {largest} of 255: the pictures are almost or quite black"
        ));
    }
}

/// Refuses an array that is not as long as its header says: the numbers need `needed` bytes.
pub fn exact_length<R>(header: &Header, member: &Member<R>, needed: u64) -> Result<()> {
    let found = member.length.saturating_sub(header.bytes);
    if found == needed {
        return Ok(());
    }
    Err(header
        .unexpected(&format!("a shape that fits the {found} bytes after the header (it needs {needed})"), member.path))
}

/// Reads past the end, where zip's checksum is looked at.
pub fn at_end(mut member: Member<impl Read>) -> Result<()> {
    match member.content.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Error::file(member.path, "is longer than it says")),
        Err(error) => Err(damaged(member.path, error)),
    }
}

/// The error of content that cannot be read.
pub fn damaged(path: &Path, error: std::io::Error) -> Error {
    Error::file(path, format!("the array is damaged: {error}"))
}
