//! What is done to the pictures of a folder before they are a data set.

use serde::{Deserialize, Serialize};

use super::MAX_SIDE;
use crate::error::{Error, Result};

/// How pictures of all sizes become pictures of one size. Only a folder's need it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Preparation {
    /// Side in pixels of the square cut from the middle of the original picture; `None` cuts none.
    pub crop: Option<usize>,
    /// Side in pixels of the square the picture is then resized to; `None` leaves its size.
    pub image_size: Option<usize>,
    /// 1 (grey) or 3 (red, green, blue); `None` takes 3 if any picture is in colour, else 1.
    pub channels: Option<usize>,
    /// What a picture that cannot be decoded does to the rest.
    pub corrupt: Corrupt,
}

/// What is done about a picture that cannot be decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corrupt {
    /// It is an error, with the file's name.
    #[default]
    Refuse,
    /// It is left out, and a notice names it.
    Skip,
}

impl Preparation {
    /// # Errors
    /// A value that makes no sense, by the name of its flag.
    pub(super) fn validate(&self) -> Result<()> {
        for (flag, side) in [("--crop", self.crop), ("--image-size", self.image_size)] {
            if side.is_some_and(|side| !(1..=MAX_SIDE).contains(&side)) {
                return Err(Error::Usage(format!("{flag} is {}, but must be 1 to {MAX_SIDE}", side.unwrap_or(0))));
            }
        }
        match self.channels {
            None | Some(1 | 3) => Ok(()),
            Some(other) => Err(Error::Usage(format!("--channels is {other}, but must be 1 (grey) or 3 (colour)"))),
        }
    }

    /// # Errors
    /// Something is to be done to pictures whose set fixes their form.
    pub(super) fn refuse_for(&self, set: &str) -> Result<()> {
        let flags = [("--crop", self.crop), ("--image-size", self.image_size), ("--channels", self.channels)];
        match flags.iter().find(|(_, value)| value.is_some()) {
            None => Ok(()),
            Some((flag, _)) => Err(Error::Usage(format!(
                "{flag} is for --dataset folder; the pictures of {set} are taken as they are"
            ))),
        }
    }
}
