//! The numbers of a NumPy array, of whatever type they are saved in, as grey levels: which number is white, and which
//! byte a number becomes.

use byteorder::{BigEndian, ByteOrder, LittleEndian};
use half::f16;

/// A type of numbers in a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    kind: Kind,
    /// Bytes of one.
    pub bytes: usize,
    big_endian: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Bool,
    Unsigned,
    Signed,
    Float,
}

impl Number {
    /// From NumPy's description, such as `<f4`. None for what is no real number, or none of a usual size.
    pub fn parse(descr: &str) -> Option<Number> {
        let (order, rest) = descr.split_at_checked(1)?;
        let (kind, bytes) = rest.split_at_checked(1)?;
        let bytes: usize = bytes.parse().ok()?;
        let (kind, sizes): (Kind, &[usize]) = match kind {
            "b" => (Kind::Bool, &[1]),
            "u" => (Kind::Unsigned, &[1, 2, 4, 8]),
            "i" => (Kind::Signed, &[1, 2, 4, 8]),
            "f" => (Kind::Float, &[2, 4, 8]),
            _ => return None,
        };
        let known = sizes.contains(&bytes) && (matches!(order, "<" | ">") || order == "|" && bytes == 1);
        known.then_some(Number { kind, bytes, big_endian: order == ">" })
    }

    /// Whether it is the type of grey levels.
    pub fn is_byte(self) -> bool {
        self.kind == Kind::Unsigned && self.bytes == 1
    }

    /// Reads one number of so many bytes. Whole numbers above 2^53 are rounded.
    pub fn reader(self) -> fn(&[u8]) -> f64 {
        match (self.kind, self.bytes, self.big_endian) {
            (Kind::Bool, ..) => |word| (word[0] != 0) as u8 as f64,
            (Kind::Unsigned, 1, _) => |word| word[0] as f64,
            (Kind::Unsigned, _, false) => |word| LittleEndian::read_uint(word, word.len()) as f64,
            (Kind::Unsigned, _, true) => |word| BigEndian::read_uint(word, word.len()) as f64,
            (Kind::Signed, _, false) => |word| LittleEndian::read_int(word, word.len()) as f64,
            (Kind::Signed, _, true) => |word| BigEndian::read_int(word, word.len()) as f64,
            (Kind::Float, 2, false) => |word| f16::from_bits(LittleEndian::read_u16(word)).to_f64(),
            (Kind::Float, 2, true) => |word| f16::from_bits(BigEndian::read_u16(word)).to_f64(),
            (Kind::Float, 4, false) => |word| LittleEndian::read_f32(word) as f64,
            (Kind::Float, 4, true) => |word| BigEndian::read_f32(word) as f64,
            (Kind::Float, _, false) => LittleEndian::read_f64,
            (Kind::Float, _, true) => BigEndian::read_f64,
        }
    }

    /// The scale of pictures of this type whose largest number is `largest`. None where that leaves it open: the
    /// numbers would be almost black on the one scale and too large for the other.
    pub fn scale(self, largest: f64) -> Option<Scale> {
        match largest {
            _ if largest <= 1.0 => Some(Scale::Unit),
            _ if self.is_byte() => Some(Scale::Levels),
            64.0..=255.0 => Some(Scale::Levels),
            32768.0..=65535.0 => Some(Scale::Words),
            _ => None,
        }
    }
}

/// Which number is white, where 0 is black.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// 1
    Unit,
    /// 255
    Levels,
    /// 65535
    Words,
}

impl Scale {
    /// What is said about numbers that [`Number::scale`] does not decide.
    pub const EXPECTED: &str =
        "pixels must be 0 to 1, 0 to 255 (the largest at least 64) or 0 to 65535 (the largest at least 32768)";

    /// The number that is white.
    pub fn white(self) -> f64 {
        match self {
            Scale::Unit => 1.0,
            Scale::Levels => 255.0,
            Scale::Words => 65535.0,
        }
    }

    /// The grey level of a number from 0 to white.
    pub fn level(self, number: f64) -> u8 {
        (number * (255.0 / self.white())).round() as u8
    }

    /// What the user is told about the values of `place`; None where bytes are taken as they are.
    pub fn notice(self, number: Number, place: &str) -> Option<String> {
        let what = match (self, number.kind) {
            (Scale::Levels, _) if number.is_byte() => return None,
            (Scale::Unit, Kind::Float) => "taken from 0 (black) to 1 (white) and rounded to 255ths",
            (Scale::Unit, Kind::Bool) => "taken as black and white: true is 255",
            (Scale::Unit, _) => "only 0 and 1, so 1 is taken as white: 255",
            (Scale::Levels, _) => "taken as grey levels of 0 to 255, rounded to whole ones",
            (Scale::Words, _) => "taken from 0 (black) to 65535 (white) and rounded to 255ths",
        };
        Some(format!("note: the values of {place} are {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_type_is_read() {
        let read = |descr: &str, word: &[u8]| {
            let number = Number::parse(descr).unwrap();
            assert_eq!(number.bytes, word.len(), "{descr}");
            number.reader()(word)
        };
        assert_eq!(
            [read("|b1", &[2]), read("|u1", &[200]), read("<u1", &[7]), read("|i1", &[255])],
            [1.0, 200.0, 7.0, -1.0]
        );
        assert_eq!([read("<u2", &[1, 2]), read(">u2", &[1, 2])], [513.0, 258.0]);
        assert_eq!([read("<i4", &(-5i32).to_le_bytes()), read(">i8", &(-5i64).to_be_bytes())], [-5.0, -5.0]);
        assert_eq!([read("<f2", &[0, 0x38]), read(">f2", &[0x38, 0])], [0.5, 0.5]);
        assert_eq!([read("<f4", &0.25f32.to_le_bytes()), read(">f4", &0.25f32.to_be_bytes())], [0.25, 0.25]);
        assert_eq!([read("<f8", &0.1f64.to_le_bytes()), read(">f8", &0.1f64.to_be_bytes())], [0.1, 0.1]);
        for other in ["", "<", "<f", "<f16", "<c8", "|O", "<U3", "|u2", "|S1", "<u3", "é4"] {
            assert_eq!(Number::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_largest_number_decides_the_scale() {
        let of = |descr: &str, largest: f64| Number::parse(descr).unwrap().scale(largest);
        for descr in ["<f4", "<f2", "<i8", "<u2", "|i1"] {
            for (largest, scale) in [(0.0, Some(Scale::Unit)), (1.0, Some(Scale::Unit)), (1.001, None), (16.0, None)] {
                assert_eq!(of(descr, largest), scale, "{descr} {largest}");
            }
            assert_eq!([of(descr, 64.0), of(descr, 255.0)], [Some(Scale::Levels); 2]);
            assert_eq!([of(descr, 256.0), of(descr, 4095.0), of(descr, 65536.0), of(descr, f64::NAN)], [None; 4]);
            assert_eq!([of(descr, 40000.0), of(descr, 65535.0)], [Some(Scale::Words); 2]);
        }
        assert_eq!(
            [of("|u1", 1.0), of("|u1", 2.0), of("|u1", 255.0)],
            [Scale::Unit, Scale::Levels, Scale::Levels].map(Some)
        );
        assert_eq!([Scale::Unit.level(0.5), Scale::Levels.level(0.5), Scale::Levels.level(254.4)], [128, 1, 254]);
        assert_eq!([Scale::Words.level(65535.0), Scale::Words.level(257.0), Scale::Unit.level(1.0)], [255, 1, 255]);
        // As before there was a choice: v * 255, rounded.
        (0..=255u8).for_each(|level| assert_eq!(Scale::Unit.level(level as f32 as f64 / 255.0), level));
    }
}
