//! What is done to the pictures of a folder before they are a data set.

use std::fmt;
use std::str::FromStr;

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
    /// What a transparent picture is laid over.
    pub background: Background,
    /// Whether a picture is turned as its camera noted.
    pub orientation: Orientation,
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

/// The colour behind a transparent picture: red, green, blue. `None` drops the transparency and keeps the colours that
/// are stored, which in clear places may be any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Background(pub Option<[u8; 3]>);

impl Background {
    /// As viewers, web pages and paper show a transparent picture.
    pub const WHITE: Background = Background(Some([255; 3]));
    /// Black.
    pub const BLACK: Background = Background(Some([0; 3]));
    /// Transparency is dropped, as by `convert("RGB")` of Pillow.
    pub const NONE: Background = Background(None);

    /// The backgrounds that have a name.
    const NAMES: [(&'static str, Background); 3] =
        [("white", Background::WHITE), ("black", Background::BLACK), ("none", Background::NONE)];
}

impl Default for Background {
    fn default() -> Background {
        Background::WHITE
    }
}

impl FromStr for Background {
    type Err = Error;

    fn from_str(text: &str) -> Result<Background> {
        if let Some((_, background)) = Background::NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*background);
        }
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        // The parser itself would take a sign.
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let colour = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let colour = colour.ok_or_else(|| {
            let usage = "but must be white, black, none (transparency is dropped) or a colour such as #ff8000";
            Error::Usage(format!("background is `{text}`, {usage}"))
        })?;
        let [_, red, green, blue] = colour.to_be_bytes();
        Ok(Background(Some([red, green, blue])))
    }
}

impl fmt::Display for Background {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (Background::NAMES.iter().find(|(_, background)| background == self), self.0) {
            (Some((name, _)), _) => f.write_str(name),
            (None, colour) => {
                let [red, green, blue] = colour.unwrap_or_default();
                write!(f, "#{red:02x}{green:02x}{blue:02x}")
            }
        }
    }
}

impl TryFrom<String> for Background {
    type Error = Error;

    fn try_from(text: String) -> Result<Background> {
        text.parse()
    }
}

impl From<Background> for String {
    fn from(background: Background) -> String {
        background.to_string()
    }
}

/// Which way up a picture is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orientation {
    /// Turned and mirrored as its EXIF (of a TIFF file its own) orientation says, as viewers show it.
    #[default]
    Exif,
    /// As its pixels are stored.
    Stored,
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
            Some(other) => Err(Error::Usage(format!(
                "--channels is {other}, but must be 1 (grey) or 3 (colour); 0, or none given, takes 3 if any picture \
                 is in colour, else 1. Transparency is no channel: --background says what is behind it"
            ))),
        }
    }

    /// # Errors
    /// Something is to be done to pictures whose set fixes their form.
    pub(super) fn refuse_for(&self, set: &str) -> Result<()> {
        let usual = Preparation::default();
        let flags = [
            ("--crop", self.crop.is_some()),
            ("--image-size", self.image_size.is_some()),
            ("--channels", self.channels.is_some()),
            ("--background", self.background != usual.background),
            ("--orientation", self.orientation != usual.orientation),
        ];
        match flags.iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((flag, _)) => Err(Error::Usage(format!(
                "{flag} is for --dataset folder; the pictures of {set} are taken as they are"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backgrounds_are_names_and_colours() {
        for (text, background) in [
            ("white", Background::WHITE),
            ("black", Background::BLACK),
            ("none", Background::NONE),
            ("#ff8001", Background(Some([255, 128, 1]))),
        ] {
            assert_eq!(text.parse::<Background>().unwrap(), background);
            assert_eq!(background.to_string(), text);
        }
        // The colour of a name is that background.
        assert_eq!("#FFFFFF".parse::<Background>().unwrap(), Background::WHITE);
        for text in ["", "grey", "#12345", "#1234567", "ff8000", "#+12345"] {
            let message = text.parse::<Background>().unwrap_err().to_string();
            assert!(message.contains("such as #ff8000"), "{text}: {message}");
        }
    }
}
