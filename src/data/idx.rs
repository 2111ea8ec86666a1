//! IDX, the format of MNIST and its successors (Y. LeCun, "The MNIST database", file formats at the end).
//!
//! All numbers are big-endian u32. Images: magic 0x00000803, N, H, W, then N*H*W bytes. Labels: magic 0x00000801, N,
//! then N bytes. In the magic, 08 stands for unsigned bytes and the last digit for the number of sizes that follow.
//! Files are read plain or gzip-compressed, told apart by content.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use byteorder::{BigEndian, ByteOrder};
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::files::open_regular;

/// Largest body read. The largest of the known sets, EMNIST byclass, has 547 MB; a header that claims more than
/// this is damaged or hostile.
pub const MAX_BYTES: u64 = 1 << 30;
/// Largest side of a picture, for the same reason.
const MAX_SIDE: u32 = 1 << 14;
/// The first reservation for a body; later ones double what has arrived.
const FIRST_RESERVATION: usize = 1 << 16;

/// What a file should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// (N,H,W), magic 0x803.
    Images,
    /// (N), magic 0x801.
    Labels,
}

impl Kind {
    fn magic(self) -> u32 {
        match self {
            Kind::Images => 0x803,
            Kind::Labels => 0x801,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Kind::Images => "images",
            Kind::Labels => "labels",
        }
    }
}

/// The whole content of one IDX file.
#[derive(Debug, Clone, PartialEq)]
pub struct Idx {
    header: Vec<u8>,
    /// N, H, W of images; N of labels.
    pub sizes: Vec<usize>,
    /// Product of `sizes` bytes.
    pub body: Vec<u8>,
}

impl Idx {
    /// Reads the file `path`, plain or compressed.
    ///
    /// # Errors
    /// One that names the file and says what was expected and what was found. No more is allocated than the file
    /// really holds (to within a factor of two), nor than its header claims, nor than [`MAX_BYTES`].
    pub fn read(path: &Path, kind: Kind) -> Result<Idx> {
        let (file, _) = open_regular(path)?;
        Idx::parse(decompressed(BufReader::new(file)).map_err(Error::io("read", path))?, path, kind)
    }

    /// The content of a file, plain or compressed; `path` is for messages. Errors: those of [`read`](Idx::read).
    pub fn of_bytes(bytes: &[u8], path: &Path, kind: Kind) -> Result<Idx> {
        Idx::parse(decompressed(bytes).map_err(Error::io("read", path))?, path, kind)
    }

    /// Size of the uncompressed file in bytes.
    pub fn file_bytes(&self) -> u64 {
        (self.header.len() + self.body.len()) as u64
    }

    /// SHA-256 of the uncompressed file, in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        hexadecimal(Sha256::new().chain_update(&self.header).chain_update(&self.body))
    }

    fn parse(mut content: impl Read, path: &Path, kind: Kind) -> Result<Idx> {
        let mut header = Vec::new();
        read_up_to(&mut content, &mut header, 4, path)?;
        if header.len() < 4 {
            return Err(Error::file(
                path,
                format!("expected an IDX file of {}, found only {} bytes", kind.noun(), header.len()),
            ));
        }
        let magic = BigEndian::read_u32(&header);
        if magic != kind.magic() {
            let found = match magic {
                0x801 => "a file of labels".to_string(),
                0x803 => "a file of images".to_string(),
                _ => "something else".to_string(),
            };
            return Err(Error::file(
                path,
                format!(
                    "expected an IDX file of {} (magic {:#010x}), found {found} (magic {magic:#010x})",
                    kind.noun(),
                    kind.magic()
                ),
            ));
        }
        let header_bytes = 4 + 4 * (magic & 0xff) as usize;
        read_up_to(&mut content, &mut header, header_bytes - 4, path)?;
        if header.len() < header_bytes {
            return Err(Error::file(
                path,
                format!("truncated: the header has {} of {header_bytes} bytes", header.len()),
            ));
        }
        let sizes: Vec<u32> = header[4..].chunks_exact(4).map(BigEndian::read_u32).collect();
        let claimed = body_bytes(&sizes).ok_or_else(|| {
            Error::file(
                path,
                format!(
                    "the header claims sizes {sizes:?}: expected each above 0, sides up to {MAX_SIDE}, and up to \
                     {MAX_BYTES} bytes in all"
                ),
            )
        })?;
        let mut body = Vec::new();
        read_up_to(&mut content, &mut body, claimed, path)?;
        if body.len() < claimed {
            return Err(Error::file(
                path,
                format!("truncated: sizes {sizes:?} need {claimed} bytes after the header, found {}", body.len()),
            ));
        }
        // This read also reaches gzip's own checksum at the end.
        if read_up_to(&mut content, &mut Vec::new(), 1, path)? > 0 {
            return Err(Error::file(
                path,
                format!("oversized: sizes {sizes:?} need {claimed} bytes after the header, but more follow"),
            ));
        }
        Ok(Idx { header, sizes: sizes.into_iter().map(|size| size as usize).collect(), body })
    }
}

/// Product of the sizes where each is sensible; the first is a count, the others are sides.
fn body_bytes(sizes: &[u32]) -> Option<usize> {
    let mut bytes = 1u64;
    for (i, &size) in sizes.iter().enumerate() {
        if size == 0 || (i > 0 && size > MAX_SIDE) {
            return None;
        }
        bytes = bytes.checked_mul(size as u64).filter(|&bytes| bytes <= MAX_BYTES)?;
    }
    usize::try_from(bytes).ok()
}

/// Appends up to `limit` bytes to `buffer` and returns how many. The buffer grows with what arrives and never
/// beyond `limit` more bytes, so a header that claims too much costs nothing.
fn read_up_to(content: &mut impl Read, buffer: &mut Vec<u8>, limit: usize, path: &Path) -> Result<usize> {
    let start = buffer.len();
    loop {
        let read = buffer.len() - start;
        let more = read.max(FIRST_RESERVATION).min(limit - read);
        if more == 0 {
            return Ok(read);
        }
        buffer.try_reserve_exact(more).map_err(|_| Error::file(path, format!("no memory for its {limit} bytes")))?;
        let got = content.by_ref().take(more as u64).read_to_end(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Error::file(path, "truncated: the gzip stream ends too early"),
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                Error::file(path, format!("the gzip stream is damaged: {error}"))
            }
            _ => Error::io("read", path)(error),
        })?;
        if got < more {
            return Ok(read + got);
        }
    }
}

/// The content behind `file`: decompressed where it starts with gzip's two magic bytes, else as it is.
pub(super) fn decompressed<'a>(mut file: impl BufRead + 'a) -> std::io::Result<Box<dyn Read + 'a>> {
    let gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

pub(super) fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    /// An IDX file of `sizes`: one is a file of labels, three a file of images.
    pub fn idx(sizes: &[u32], body: &[u8]) -> Vec<u8> {
        let magic = 0x800 + sizes.len() as u32;
        let mut file: Vec<u8> = [magic].iter().chain(sizes).flat_map(|n| n.to_be_bytes()).collect();
        file.extend(body);
        file
    }

    pub fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn parse(file: &[u8], kind: Kind) -> Result<Idx> {
        Idx::parse(decompressed(file).unwrap(), Path::new("some/file"), kind)
    }

    #[track_caller]
    fn refused(file: &[u8], kind: Kind, words: &[&str]) {
        for file in [file.to_vec(), gzip(file)] {
            let message = parse(&file, kind).unwrap_err().to_string();
            for word in words.iter().chain(&["some/file"]) {
                assert!(message.contains(word), "no {word:?} in: {message}");
            }
        }
    }

    #[test]
    fn the_wrong_kind_is_named() {
        refused(&idx(&[2], &[1, 2]), Kind::Images, &["expected", "of images", "found a file of labels", "0x00000801"]);
        refused(&idx(&[1, 1, 1], &[1]), Kind::Labels, &["of labels (magic 0x00000801)", "found a file of images"]);
        refused(b"<html>", Kind::Labels, &["found something else (magic 0x3c68746d)"]);
        refused(b"", Kind::Labels, &["of labels", "found only 0 bytes"]);
        refused(&[0, 0, 8], Kind::Images, &["found only 3 bytes"]);
    }

    #[test]
    fn truncated_and_oversized_files_are_refused() {
        refused(&idx(&[3, 2, 2], &[0; 11]), Kind::Images, &["truncated", "[3, 2, 2] need 12 bytes", "found 11"]);
        refused(&idx(&[3, 2, 2], &[0; 13]), Kind::Images, &["oversized", "12 bytes", "more follow"]);
        refused(&idx(&[3, 2, 2], &[])[..9], Kind::Images, &["truncated", "9 of 16 bytes"]);
        refused(&idx(&[70_000], &vec![0; 69_999]), Kind::Labels, &["truncated", "found 69999"]);
    }

    #[test]
    fn zero_and_absurd_sizes_are_refused_before_any_allocation() {
        for sizes in [[0, 28, 28], [5, 0, 28], [u32::MAX; 3], [1, 1, 20_000], [2_000_000, 28, 28]] {
            refused(&idx(&sizes, &[0; 40]), Kind::Images, &["header claims", &format!("{sizes:?}")]);
        }
        refused(&idx(&[0], &[]), Kind::Labels, &["header claims"]);
    }

    #[test]
    fn a_damaged_gzip_stream_is_refused() {
        let whole = gzip(&idx(&[1000], &(0..1000).map(|i| (i * i % 251) as u8).collect::<Vec<u8>>()));
        assert!(parse(&whole, Kind::Labels).is_ok());
        let cut = parse(&whole[..whole.len() / 2], Kind::Labels).unwrap_err().to_string();
        assert!(cut.contains("some/file: truncated"), "{cut}");
        let mut wrong_checksum = whole.clone();
        wrong_checksum[whole.len() - 8] ^= 1;
        let message = parse(&wrong_checksum, Kind::Labels).unwrap_err().to_string();
        assert!(message.contains("damaged"), "{message}");
        let mut garbage_behind = whole;
        garbage_behind.extend(b"garbage");
        assert!(parse(&garbage_behind, Kind::Labels).is_err());
    }

    /// Counts what is read of an endless stream behind a header.
    struct Endless {
        header: Vec<u8>,
        read: usize,
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            for byte in buffer.iter_mut() {
                *byte = self.header.get(self.read).copied().unwrap_or(0);
                self.read += 1;
            }
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_gzip_bomb_is_read_to_one_byte_past_its_claim() {
        let mut endless = Endless { header: idx(&[100], &[]), read: 0 };
        assert!(Idx::parse(&mut endless, Path::new("f"), Kind::Labels).is_err());
        assert_eq!(endless.read, 8 + 100 + 1);
        // 64 MiB of zeros in 64 KB, behind a claim of 100 bytes.
        let mut bomb = idx(&[100], &[]);
        bomb.resize(1 << 26, 0);
        let bomb = gzip(&bomb);
        let message = parse(&bomb, Kind::Labels).unwrap_err().to_string();
        assert!(message.contains("oversized"), "{message}");
    }

    #[test]
    fn memory_follows_what_arrives_not_the_claim() {
        let mut body = Vec::new();
        read_up_to(&mut &[0u8; 100][..], &mut body, 1 << 40, Path::new("f")).unwrap();
        assert!(body.capacity() <= 2 * FIRST_RESERVATION, "{}", body.capacity());
        let mut exact = Vec::new();
        let content = vec![0u8; 300_000];
        read_up_to(&mut &content[..], &mut exact, 200_000, Path::new("f")).unwrap();
        assert_eq!((exact.len(), exact.capacity()), (200_000, 200_000));
    }

    #[test]
    fn sha256_is_of_the_uncompressed_file() {
        let file = idx(&[3], b"abc");
        let plain = hexadecimal(Sha256::new().chain_update(&file));
        assert_eq!(parse(&file, Kind::Labels).unwrap().sha256(), plain);
        assert_eq!(parse(&gzip(&file), Kind::Labels).unwrap().sha256(), plain);
        assert_eq!(parse(&gzip(&file), Kind::Labels).unwrap().file_bytes(), 11);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            prefix in prop_oneof![
                Just(vec![]), Just(vec![0, 0, 8, 1]), Just(vec![0, 0, 8, 3]), Just(vec![0x1f, 0x8b, 8, 0]),
                Just(vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0]),
            ],
        ) {
            let file = [prefix, bytes].concat();
            for kind in [Kind::Images, Kind::Labels] {
                let _ = parse(&file, kind);
                let _ = parse(&gzip(&file), kind);
            }
        }

        #[test]
        fn what_is_written_is_read(n in 1..20u32, h in 1..6u32, w in 1..6u32, seed in any::<u8>()) {
            let body: Vec<u8> = (0..n * h * w).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
            let images = idx(&[n, h, w], &body);
            let labels = idx(&[n], &body[..n as usize]);
            for (images, labels) in [(gzip(&images), gzip(&labels)), (images, labels)] {
                let read = parse(&images, Kind::Images).unwrap();
                prop_assert_eq!(read.sizes, vec![n as usize, h as usize, w as usize]);
                prop_assert_eq!(&read.body, &body);
                let read = parse(&labels, Kind::Labels).unwrap();
                prop_assert_eq!(read.sizes, vec![n as usize]);
                prop_assert_eq!(&read.body, &body[..n as usize]);
            }
        }
    }
}
