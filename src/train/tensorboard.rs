//! Event files for TensorBoard: each epoch's losses, schedules and pictures, and histograms of the parameters.
//!
//! A file is a list of records: the length of the data (u64), the masked CRC32C of its eight bytes (u32), the data, and
//! their masked CRC32C; little-endian. The data are a protobuf message `Event`; the messages here have the fields
//! that are used, with the numbers of tensorboard/compat/proto/event.proto and summary.proto (the records are those of
//! tensorflow/core/lib/io/record_writer.h).

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

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
        events.write(&Event { wall_time: now(), file_version: Some("brain.Event:2".into()), ..Event::default() })?;
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
        let mut values = Vec::new();
        for (name, value) in monitors(terms).iter().zip(metrics.values()) {
            let (split, term) = name.split_once('_').expect("a split and a term");
            values.push(scalar(format!("{term}/{split}"), value));
        }
        values.push(scalar("seconds".into(), metrics.seconds));
        values.extend(
            schedules.iter().map(|(name, value)| scalar(format!("schedules/{}", name.replace(' ', "_")), *value)),
        );
        for (tag, path) in
            [("samples", folder.samples(metrics.epoch)), ("reconstructions", folder.reconstructions(metrics.epoch))]
        {
            if path.is_file() {
                let image = Some(picture(&path)?);
                values.push(Value { tag: tag.into(), image, ..Value::default() });
            }
        }
        let model = Checkpoint::read(&folder.model())?;
        for (name, (_, parameters)) in model.tensors.iter().filter(|(_, (_, values))| !values.is_empty()) {
            let histo = Some(histogram(parameters));
            values.push(Value { tag: format!("parameters/{name}"), histo, ..Value::default() });
        }
        let summary = Some(Summary { value: values });
        self.write(&Event { wall_time: now(), step: metrics.epoch as i64, summary, ..Event::default() })
    }

    /// Appends a record by one write.
    fn write(&mut self, event: &Event) -> Result<()> {
        let data = event.encode_to_vec();
        let length = (data.len() as u64).to_le_bytes();
        let mut record = length.to_vec();
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(&data);
        record.extend(masked_crc(&data).to_le_bytes());
        self.file.write_all(&record).map_err(Error::io("write", &self.path))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn scalar(tag: String, value: f64) -> Value {
    Value { tag, simple_value: Some(value as f32), ..Value::default() }
}

/// A PNG file as it is: width and height stand at the beginning of it.
fn picture(path: &Path) -> Result<Image> {
    let png = read_regular(path, LARGEST_PICTURE)?;
    let size = |at: usize| png.get(at..at + 4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let (Some(width), Some(height)) = (size(16), size(20)) else {
        return Err(Error::file(path, "not a whole PNG picture"));
    };
    Ok(Image { height, width, colorspace: 3, encoded_image_string: png })
}

fn histogram(values: &[f32]) -> Histogram {
    let numbers = || values.iter().map(|value| f64::from(*value));
    let (low, high) = numbers().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let width = ((high - low) / BUCKETS as f64).max(f64::MIN_POSITIVE);
    let mut bucket = vec![0.0; BUCKETS];
    numbers().for_each(|value| bucket[(((value - low) / width) as usize).min(BUCKETS - 1)] += 1.0);
    Histogram {
        min: low,
        max: high,
        num: values.len() as f64,
        sum: numbers().sum(),
        sum_squares: numbers().map(|value| value * value).sum(),
        bucket_limit: (1..=BUCKETS).map(|i| if i == BUCKETS { high } else { low + i as f64 * width }).collect(),
        bucket,
    }
}

// ---- The messages

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// One of the three, under a name.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
    #[prost(message, optional, tag = "5")]
    histo: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    #[prost(double, tag = "3")]
    num: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_squares: f64,
    #[prost(double, repeated, tag = "6")]
    bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    bucket: Vec<f64>,
}

// ---- The records

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
        // The examples of the encoding's documentation: 150 in field 1, "testing" in a field of text.
        assert_eq!(Image { height: 150, ..Image::default() }.encode_to_vec(), [0x08, 0x96, 0x01]);
        let version = Event { file_version: Some("testing".into()), ..Event::default() };
        assert_eq!(version.encode_to_vec(), b"\x1a\x07testing");
        assert_eq!(scalar(String::new(), 1.0).encode_to_vec(), [0x15, 0, 0, 0x80, 0x3f]);
        // A scalar of 0 is there, too.
        assert_eq!(scalar(String::new(), 0.0).encode_to_vec(), [0x15, 0, 0, 0, 0]);
    }

    #[test]
    fn every_value_is_in_a_bucket() {
        let count = |values: &[f32]| histogram(values).bucket.iter().sum::<f64>();
        assert_eq!(count(&[1.0; 7]), 7.0);
        assert_eq!(count(&(0..1000).map(|i| (i as f32).sin()).collect::<Vec<_>>()), 1000.0);
    }
}
