//! The lines of a text file, and which files of a folder are read.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::data::idx::decompressed;
use crate::data::{MAX_BYTES, place};
use crate::error::{Error, Result, plain};
use crate::files::open_regular;

/// The sentences of a file, in its order.
#[derive(Debug, Default, PartialEq)]
pub(in crate::data) struct Lines {
    /// Without the spaces at both ends.
    pub sentences: Vec<String>,
    /// Lines that held spaces at most, and are left out.
    pub empty: usize,
}

/// Reads a text file, plain or compressed by gzip: a sentence a line.
///
/// # Errors
/// No such file; one that is empty, too large, or has a line that is not UTF-8, which is named; no line with text.
pub(in crate::data) fn read(path: &Path) -> Result<Lines> {
    let (file, _) = open_regular(path)?;
    let content = decompressed(BufReader::with_capacity(1 << 16, file)).map_err(Error::io("read", path))?;
    let mut bytes = Vec::new();
    content.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::file(path, format!("is more than the {MAX_BYTES} bytes that a data set may have")));
    }
    of_bytes(&bytes).map_err(|problem| Error::file(path, problem))
}

/// Errors: what is wrong, after a path.
fn of_bytes(bytes: &[u8]) -> std::result::Result<Lines, String> {
    if bytes.is_empty() {
        return Err("is empty: a text has a sentence a line".into());
    }
    let text = str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        format!("line {line} is not UTF-8, which a text is")
    })?;
    // The mark that some programs begin with.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Lines::default();
    for line in text.lines().map(str::trim) {
        match line {
            "" => lines.empty += 1,
            line => lines.sentences.push(line.into()),
        }
    }
    match lines.sentences.is_empty() {
        true => Err(format!("has no line with text: all of its {} are empty", lines.empty)),
        false => Ok(lines),
    }
}

/// The files of training and of test lines in a folder: `train.txt` and `test.txt`, or `valid.txt` where that is
/// missing, of the ending `txt` and plain or compressed. Errors: one of them is not there.
pub(in crate::data) fn files_in(folder: &Path, ending: &str) -> Result<[PathBuf; 2]> {
    let find = |name: &str| {
        let names = ["", ".gz"].map(|packed| folder.join(format!("{name}.{ending}{packed}")));
        names.into_iter().find(|path| path.is_file())
    };
    let missing = |what: &str| {
        let seen = place::others(folder, |_| false).map_or(String::new(), |seen| format!(" (it holds {seen})"));
        let problem = format!(
            "holds no {what}.{ending} (or .gz){seen}: of a folder train.{ending} and test.{ending} are read{}",
            if ending == "txt" { ", else give one text file" } else { "" }
        );
        Error::file(folder, problem)
    };
    let train = find("train").ok_or_else(|| missing("train"))?;
    let test = find("test").or_else(|| find("valid")).ok_or_else(|| missing("test"))?;
    Ok([train, test])
}

/// The folder's name, or the file's without its endings.
pub(in crate::data) fn name_of(place: &Path) -> String {
    let whole = std::path::absolute(place).unwrap_or_else(|_| place.to_path_buf());
    let name = plain(&whole.file_name().unwrap_or_default().to_string_lossy());
    if place.is_dir() {
        return name;
    }
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    stem.strip_suffix(".txt").unwrap_or(stem).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_a_line_and_empty_ones_are_counted() {
        let lines = of_bytes("\u{feff}One.\r\n\n  two \n \t\nlast".as_bytes()).unwrap();
        assert_eq!(lines, Lines { sentences: vec!["One.".into(), "two".into(), "last".into()], empty: 2 });
        for (bytes, words) in [
            (&b""[..], "is empty"),
            (b"\n \n", "all of its 2 are empty"),
            (b"\xef\xbb\xbf", "no line with text"),
            (b"a\nb\nc \xff d\n", "line 3 is not UTF-8"),
            (b"\xc3", "line 1 is not UTF-8"),
        ] {
            let message = of_bytes(bytes).unwrap_err();
            assert!(message.contains(words) && message.lines().count() == 1, "{message}");
        }
    }
}
