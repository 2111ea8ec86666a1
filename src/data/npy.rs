//! NumPy's `.npy`: its header, and matrices of little-endian f32 in C order.
//!
//! Layout: the bytes `\x93NUMPY`, version 1 and 0, the header's length as little-endian u16 (from version 2 on u32), a
//! Python dict as text (`{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, padded by spaces to a multiple
//! of 64 bytes and a newline), then the numbers. Written is version 1.0. Source: NumPy manual, `numpy.lib.format`.

use std::io::{BufReader, Read};
use std::path::Path;

use byteorder::{LittleEndian, ReadBytesExt};

use crate::error::{Error, Result, plain};
use crate::files::{open_regular, write_atomic};

const MAGIC: &[u8; 8] = b"\x93NUMPY\x01\x00";

/// Longest header read. That of an array of plain numbers has about 128 bytes.
const MOST_HEADER: u32 = 1 << 16;

/// A matrix, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Length of the first dimension.
    pub rows: usize,
    /// Length of the second, whose neighbours lie side by side.
    pub columns: usize,
    /// rows * columns numbers.
    pub values: Vec<f32>,
}

/// Writes `matrix` to `path`, which `numpy.load` reads.
///
/// # Errors
/// Those of the file system.
pub fn write(path: &Path, matrix: &Matrix) -> Result<()> {
    let Matrix { rows, columns, values } = matrix;
    assert_eq!(values.len(), rows * columns, "npy: {} values for shape ({rows}, {columns})", values.len());
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let unpadded = MAGIC.len() + 2 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');

    let mut bytes = Vec::with_capacity(unpadded + 64 + 4 * values.len());
    bytes.extend(MAGIC);
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    write_atomic(path, &bytes)
}

/// What stands before the numbers.
#[derive(Debug)]
pub(super) struct Header {
    /// The dict.
    text: String,
    /// Length of all that stands before the numbers.
    pub bytes: u64,
}

impl Header {
    /// Reads up to the first number. Errors name `path`.
    pub fn read(file: &mut impl Read, path: &Path) -> Result<Header> {
        let mut magic = [0; MAGIC.len()];
        if file.read_exact(&mut magic).is_err() || magic[..6] != MAGIC[..6] {
            return Err(Error::file(path, "expected a NumPy .npy file, found something else"));
        }
        let truncated = |_| Error::file(path, "truncated header");
        let (length, length_bytes) = match magic[6..] {
            [1, 0] => (file.read_u16::<LittleEndian>().map_err(truncated)? as u32, 2),
            [2 | 3, 0] => (file.read_u32::<LittleEndian>().map_err(truncated)?, 4),
            _ => {
                let [major, minor] = [magic[6], magic[7]];
                return Err(Error::file(path, format!("expected .npy version 1.0 to 3.0, found {major}.{minor}")));
            }
        };
        if length > MOST_HEADER {
            return Err(Error::file(path, format!("its header claims {length} bytes: no such array")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(truncated)?;
        let text = plain(String::from_utf8_lossy(&header).trim());
        Ok(Header { text, bytes: (MAGIC.len() + length_bytes) as u64 + length as u64 })
    }

    /// The type of a number, such as `<f4`: byte order, kind, bytes. None for types of several fields.
    pub fn descr(&self) -> Option<&str> {
        self.value_of("'descr'")?.strip_prefix('\'')?.split_once('\'').map(|(descr, _)| descr)
    }

    pub fn shape(&self) -> Option<Vec<u64>> {
        let (inside, _) = self.value_of("'shape'")?.strip_prefix('(')?.split_once(')')?;
        let inside = inside.trim().trim_end_matches(',');
        if inside.is_empty() {
            return Some(Vec::new());
        }
        inside.split(',').map(|size| size.trim().parse().ok()).collect()
    }

    /// # Errors
    /// `key` has another value than `expected`.
    pub fn require(&self, key: &str, expected: &str, path: &Path) -> Result<()> {
        if self.value_of(key).is_some_and(|value| value.starts_with(expected)) {
            return Ok(());
        }
        Err(self.unexpected(&format!("{key}: {expected}"), path))
    }

    /// Whether the first index changes fastest. Errors: the header does not say.
    pub fn is_fortran(&self, path: &Path) -> Result<bool> {
        if self.require("'fortran_order'", "True", path).is_ok() {
            return Ok(true);
        }
        self.require("'fortran_order'", "False", path).map(|()| false)
    }

    pub fn unexpected(&self, expected: &str, path: &Path) -> Error {
        Error::file(path, format!("expected {expected}, found the header {}", self.text))
    }

    /// The text after `key:` in the dict.
    fn value_of(&self, key: &str) -> Option<&str> {
        let (_, rest) = self.text.split_once(key)?;
        rest.trim_start().strip_prefix(':').map(str::trim_start)
    }
}

/// Reads a matrix that NumPy or [`write()`] wrote.
///
/// # Errors
/// A file that is not `<f4`, not C order, not 2-D, or not as long as its shape says.
pub fn read(path: &Path) -> Result<Matrix> {
    let (file, file_bytes) = open_regular(path)?;
    let mut file = BufReader::new(file);
    let header = Header::read(&mut file, path)?;
    header.require("'descr'", "'<f4'", path)?;
    header.require("'fortran_order'", "False", path)?;
    let Some(&[rows, columns]) = header.shape().as_deref() else {
        return Err(header.unexpected("a 2-D shape (rows, columns)", path));
    };
    let found = file_bytes.saturating_sub(header.bytes);
    let needed = rows.checked_mul(columns).and_then(|n| n.checked_mul(4));
    if needed != Some(found) {
        return Err(Error::file(
            path,
            format!("shape ({rows}, {columns}) of f32 does not fit the {found} bytes after the header"),
        ));
    }
    // The file is as long as this allocation.
    let mut values = vec![0.0; (found / 4) as usize];
    file.read_f32_into::<LittleEndian>(&mut values).map_err(Error::io("read", path))?;
    Ok(Matrix { rows: rows as usize, columns: columns as usize, values })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file of the given header and numbers.
    fn file(header: &str, values: &[f32]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
        file
    }

    fn read_bytes(bytes: &[u8]) -> Result<Matrix> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.npy");
        std::fs::write(&path, bytes).unwrap();
        read(&path)
    }

    #[track_caller]
    fn refused(bytes: &[u8], word: &str) {
        let message = read_bytes(bytes).unwrap_err().to_string();
        assert!(message.contains("m.npy") && message.contains(word), "{message}");
    }

    #[test]
    fn the_bytes_are_those_numpy_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.npy");
        write(&path, &Matrix { rows: 1, columns: 2, values: vec![1.0, -2.5] }).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        // numpy.save(path, numpy.array([[1, -2.5]], "<f4")): 128 bytes of header.
        let mut header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }".to_string();
        header.push_str(&" ".repeat(117 - header.len()));
        header.push('\n');
        assert_eq!(bytes, file(&header, &[1.0, -2.5]));
        assert_eq!(bytes[..10], *b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(bytes.len(), 128 + 8);
    }

    #[test]
    fn wrong_files_are_refused() {
        refused(b"", "expected a NumPy .npy file");
        refused(b"PK\x03\x04 zip archive", "expected a NumPy .npy file");
        refused(b"\x93NUMPY\x04\x00\x00\x00\x00\x00", "version 1.0 to 3.0, found 4.0");
        refused(b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "claims 4294967295 bytes");
        refused(&file("{'descr': '<f4'", &[])[..12], "truncated header");
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }";
        assert_eq!(read_bytes(&file(good, &[1.0, 2.0])).unwrap().values, [1.0, 2.0]);
        let version_2 =
            [&b"\x93NUMPY\x02\x00"[..], &file(good, &[1.0, 2.0])[8..10], &[0, 0], &file(good, &[1.0, 2.0])[10..]];
        assert_eq!(read_bytes(&version_2.concat()).unwrap().values, [1.0, 2.0]);
        refused(&file(good, &[1.0]), "shape (2, 1) of f32 does not fit the 4 bytes");
        refused(&file(good, &[1.0, 2.0, 3.0]), "does not fit the 12 bytes");
        refused(&file(&good.replace("<f4", "<f8"), &[1.0, 2.0]), "'descr': '<f4'");
        refused(&file(&good.replace("<f4", ">f4"), &[1.0, 2.0]), "'descr': '<f4'");
        refused(&file(&good.replace("False", "True"), &[1.0, 2.0]), "'fortran_order': False");
        refused(&file(&good.replace("(2, 1)", "(2,)"), &[1.0, 2.0]), "2-D shape");
        refused(&file(&good.replace("(2, 1)", "(2, 1, 1)"), &[1.0, 2.0]), "2-D shape");
        refused(&file(&good.replace("(2, 1)", "(4611686018427387904, 4)"), &[]), "does not fit");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(rows in 0..8usize, columns in 0..8usize, first in any::<f32>()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("m.npy");
            let values: Vec<f32> = (0..rows * columns).map(|i| first * i as f32 - 0.5).collect();
            let matrix = Matrix { rows, columns, values };
            write(&path, &matrix).unwrap();
            let read = read(&path).unwrap();
            prop_assert_eq!((read.rows, read.columns), (rows, columns));
            let bits = |m: &Matrix| m.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read), bits(&matrix));
        }

        #[test]
        fn any_header_gives_a_value_or_an_error(header in "\\PC{0,60}", keyed in "[(), 0-9']{0,20}") {
            let _ = read_bytes(&file(&header, &[1.0]));
            let shaped = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {keyed}, }}");
            let _ = read_bytes(&file(&shaped, &[1.0]));
        }
    }
}
