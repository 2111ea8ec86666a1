//! What a run records of its data, so that a change of them is noticed before the run goes on.

use flate2::Crc;
use serde::{Deserialize, Serialize};

use super::Dataset;
use super::table::{Kind, Values};
use super::text::vocabulary::Vocabulary;
use crate::error::{Error, Result};

/// How many pictures there are, and a checksum of what they and their labels are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Training pictures.
    pub training: usize,
    /// Test pictures.
    pub test: usize,
    /// CRC-32 in hexadecimal digits: column by column of the training and then the test table its bytes, of pictures
    /// their (C,H,W) as u64 before; of vectors the numbers' bytes, little-endian, and those of their features' scales;
    /// of items and tokens where each example starts, then its items, as u32; of sequences the scales, where each
    /// example starts, its steps, and the numbers; last the words of a vocabulary, each with a line feed.
    pub checksum: String,
}

impl Fingerprint {
    /// That of the pictures as they are trained on, limits and all.
    pub fn of(data: &Dataset) -> Fingerprint {
        let mut crc = Crc::new();
        for column in data.train.columns.iter().chain(&data.test.columns) {
            if let Kind::Picture(shape) = column.kind {
                shape.iter().for_each(|&size| crc.update(&(size as u64).to_le_bytes()));
            }
            match &column.values {
                Values::Bytes(bytes) => crc.update(bytes),
                Values::Numbers { rows, features } => {
                    let scales = features.mean.iter().chain(&features.deviation);
                    scales.for_each(|value| crc.update(&value.to_le_bytes()));
                    rows.iter().for_each(|value| crc.update(&value.to_le_bytes()));
                }
                Values::Ragged(ragged) => {
                    let numbers = ragged.starts().iter().chain(ragged.entries());
                    numbers.for_each(|number| crc.update(&number.to_le_bytes()));
                }
                Values::Steps(sequences) => {
                    let features = sequences.features();
                    let scales = features.mean.iter().chain(&features.deviation);
                    scales.for_each(|value| crc.update(&value.to_le_bytes()));
                    let numbers = sequences.starts().iter().chain(sequences.counts());
                    numbers.for_each(|number| crc.update(&number.to_le_bytes()));
                    sequences.numbers().iter().for_each(|value| crc.update(&value.to_le_bytes()));
                }
            }
        }
        for word in data.vocabulary.iter().flat_map(Vocabulary::words) {
            crc.update(word.as_bytes());
            crc.update(b"\n");
        }
        Fingerprint { training: data.train.count, test: data.test.count, checksum: format!("{:08x}", crc.sum()) }
    }

    /// Refuses `now`, what `data` has, where it is not this, what the run was trained on before.
    ///
    /// # Errors
    /// An [`Error::Usage`] that says what differs: the numbers, which it names, or the pictures themselves.
    pub fn check(&self, now: &Fingerprint, data: &str) -> Result<()> {
        if self == now {
            return Ok(());
        }
        let shown = |f: &Fingerprint| format!("{} training and {} test pictures", f.training, f.test);
        let differs = match (self.training, self.test) == (now.training, now.test) {
            true => format!(
                "the run was trained on other pictures of {data}: there are still {}, but files were replaced, renamed \
                 or moved from one split to the other",
                shown(now)
            ),
            false => format!("the run was trained on {}, but {data} now has {}", shown(self), shown(now)),
        };
        Err(Error::Usage(format!(
            "{differs}. To go on, bring the data back as they were (--data PATH if they lie elsewhere); to train on these, \
             start a new run"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::*;

    #[test]
    fn a_change_of_the_data_is_named() {
        let table = |pixels, labels| Table::of_pictures([1, 1, 1], pixels, Some((labels, 2)));
        let split = |count: usize| table(vec![7; count], vec![0; count]);
        let data = |train: Table, test: Table| {
            let data = Dataset {
                name: "folder:x".into(),
                class_names: Vec::new(),
                vocabulary: None,
                spectrogram: None,
                train,
                test,
            };
            Fingerprint::of(&data)
        };
        let before = data(split(18), split(2));
        assert!(before.check(&data(split(18), split(2)), "folder:x").is_ok());
        let message = before.check(&data(split(36), split(4)), "folder:x").unwrap_err().to_string();
        for words in ["18 training and 2 test pictures", "folder:x now has 36 training and 4 test pictures"] {
            assert!(message.contains(words), "{message}");
        }
        let replaced = table([vec![9], vec![7; 17]].concat(), vec![0; 18]);
        let relabelled = table(vec![7; 18], [vec![1], vec![0; 17]].concat());
        for train in [replaced, relabelled] {
            let message = before.check(&data(train, split(2)), "folder:x").unwrap_err().to_string();
            assert!(message.contains("files were replaced") && message.contains("18 training"), "{message}");
        }
    }
}
