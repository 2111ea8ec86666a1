//! Event files for TensorBoard: each epoch's losses, schedules and pictures, and histograms of the parameters.
//!
//! A file is a list of records: the length of the data (u64), the masked CRC32C of its eight bytes (u32), the data, and
//! their masked CRC32C; little-endian. The data are a protobuf message `Event`, of which the fields used here are
//!
//! ```text
//! Event      1 wall_time: double   2 step: int64   3 file_version: string   5 summary: Summary
//! Summary    1 value: repeated Value
//! Value      1 tag: string   2 simple_value: float   4 image: Image   5 histo: HistogramProto
//! Image      1 height: int32   2 width: int32   3 colorspace: int32   4 encoded_image_string: bytes
//! HistogramProto   1 min   2 max   3 num   4 sum   5 sum_squares: double
//!                  6 bucket_limit   7 bucket: repeated double, packed
//! ```
//!
//! (tensorflow/core/lib/io/record_writer.h, tensorboard/compat/proto/event.proto and summary.proto.)

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::checkpoint::Checkpoint;
use super::metrics::{EpochMetrics, monitors};
use super::run_folder::RunFolder;
use crate::error::{Error, Result};
use crate::files::read_regular;
use crate::models::Term;

/// Buckets of a histogram, all of one width.
const BUCKETS: usize = 60;
/// Largest picture that is copied into an event file, in bytes.
const LARGEST_PICTURE: u64 = 64 << 20;

/// An event file under way. A kill can leave a last record that is not whole, which TensorBoard leaves out.
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in the folder of a run: each process that goes on with it writes one of its own, and TensorBoard
    /// shows them as one. Errors: a file that cannot be written.
    pub fn create(folder: &Path) -> Result<EventFile> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let path = |n: u64| folder.join(format!("events.out.tfevents.{}.elbo", started + n));
        let path = (0..).map(path).find(|path| !path.exists()).expect("there are more numbers than files");
        let file = File::create_new(&path).map_err(Error::io("write", &path))?;
        let mut events = EventFile { path, file };
        events.write(&Message::new().double(1, now()).bytes(3, b"brain.Event:2"))?;
        Ok(events)
    }

    /// Adds an epoch that the run's folder has already: its losses, the values of the `schedules` at its end, its
    /// pictures, its parameters. The step of TensorBoard is the epoch. Errors: a file that cannot be read or written.
    pub fn epoch(
        &mut self,
        folder: &RunFolder,
        terms: &[Term],
        metrics: &EpochMetrics,
        schedules: &[(String, f64)],
    ) -> Result<()> {
        let mut summary = Message::new();
        for (name, value) in monitors(terms).iter().zip(metrics.values()) {
            let (split, term) = name.split_once('_').expect("a split and a term");
            summary = summary.message(1, &scalar(&format!("{term}/{split}"), value));
        }
        summary = summary.message(1, &scalar("seconds", metrics.seconds));
        for (name, value) in schedules {
            summary = summary.message(1, &scalar(&format!("schedules/{}", name.replace(' ', "_")), *value));
        }
        for (tag, path) in
            [("samples", folder.samples(metrics.epoch)), ("reconstructions", folder.reconstructions(metrics.epoch))]
        {
            if path.is_file() {
                summary = summary.message(1, &picture(tag, &path)?);
            }
        }
        let model = Checkpoint::read(&folder.model())?;
        for (name, (_, values)) in model.tensors.iter().filter(|(_, (_, values))| !values.is_empty()) {
            let tag = Message::new().bytes(1, format!("parameters/{name}").as_bytes());
            summary = summary.message(1, &tag.message(5, &histogram(values)));
        }
        self.write(&Message::new().double(1, now()).varint(2, metrics.epoch as u64).message(5, &summary))
    }

    /// Appends a record by one write.
    fn write(&mut self, event: &Message) -> Result<()> {
        let length = (event.0.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(&event.0);
        record.extend(masked_crc(&event.0).to_le_bytes());
        self.file.write_all(&record).map_err(Error::io("write", &self.path))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn scalar(tag: &str, value: f64) -> Message {
    Message::new().bytes(1, tag.as_bytes()).float(2, value as f32)
}

/// A PNG file as it is: width and height stand at the beginning of it.
fn picture(tag: &str, path: &Path) -> Result<Message> {
    let png = read_regular(path, LARGEST_PICTURE)?;
    let size = |at: usize| png.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let (Some(width), Some(height)) = (size(16), size(20)) else {
        return Err(Error::file(path, "not a whole PNG picture"));
    };
    let image = Message::new().varint(1, height.into()).varint(2, width.into()).varint(3, 3).bytes(4, &png);
    Ok(Message::new().bytes(1, tag.as_bytes()).message(4, &image))
}

fn histogram(values: &[f32]) -> Message {
    let numbers = || values.iter().map(|value| f64::from(*value));
    let (low, high) = numbers().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let width = ((high - low) / BUCKETS as f64).max(f64::MIN_POSITIVE);
    let mut counts = vec![0.0; BUCKETS];
    numbers().for_each(|value| counts[(((value - low) / width) as usize).min(BUCKETS - 1)] += 1.0);
    let limits: Vec<f64> = (1..=BUCKETS).map(|i| if i == BUCKETS { high } else { low + i as f64 * width }).collect();
    let message = Message::new().double(1, low).double(2, high).double(3, values.len() as f64);
    let message = message.double(4, numbers().sum()).double(5, numbers().map(|value| value * value).sum());
    message.doubles(6, &limits).doubles(7, &counts)
}

/// A protobuf message as it is written, field by field.
struct Message(Vec<u8>);

impl Message {
    fn new() -> Message {
        Message(Vec::new())
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// The number of a field and how its value is written: 0 varint, 1 eight bytes, 2 a length and so many bytes, 5
    /// four bytes.
    fn key(&mut self, field: u64, wire: u64) {
        self.raw_varint(field << 3 | wire);
    }

    fn varint(mut self, field: u64, value: u64) -> Message {
        self.key(field, 0);
        self.raw_varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Message {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Message {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Message {
        self.key(field, 2);
        self.raw_varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn doubles(self, field: u64, values: &[f64]) -> Message {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(field, &bytes)
    }

    fn message(self, field: u64, message: &Message) -> Message {
        self.bytes(field, &message.0)
    }
}

/// As records keep it, so that a CRC of data that hold CRCs is no special number.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli, iSCSI), the polynomial reflected, a bit at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        // RFC 3720, B.4, and the check value of the CRC catalogue.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    #[test]
    fn fields_are_written_as_protobuf_has_them() {
        // The examples of the encoding's documentation: 150 in field 1, "testing" in field 2.
        assert_eq!(Message::new().varint(1, 150).0, [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().bytes(2, b"testing").0, b"\x12\x07testing");
        assert_eq!(Message::new().float(2, 1.0).0, [0x15, 0, 0, 0x80, 0x3f]);
    }

    #[test]
    fn every_value_is_in_a_bucket() {
        let count = |values: &[f32]| {
            let message = histogram(values);
            let buckets = &message.0[message.0.len() - 8 * BUCKETS..];
            buckets.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).sum::<f64>()
        };
        assert_eq!(count(&[1.0; 7]), 7.0);
        assert_eq!(count(&(0..1000).map(|i| (i as f32).sin()).collect::<Vec<_>>()), 1000.0);
    }
}
