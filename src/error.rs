//! Errors of the world: files, network, adapters, memory. Each says what happened, where, and what to do next.
//!
//! Errors of the program (a wrong shape, a backward before its forward) are panics at record time, not values.

use std::path::{Path, PathBuf};

/// The result of what the world can make fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, in the words that the user reads. A command ends with exit code 2, after
/// [`Diverged`](Error::Diverged) and [`Failed`](Error::Failed) with 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file whose content is not what it should be: data set, checkpoint, settings.
    #[error("{}: {problem}", shown(path))]
    File {
        /// The file, or the folder where one is missing.
        path: PathBuf,
        /// What is wrong with it, and where it helps, what to do.
        problem: String,
    },
    /// The operating system refused: missing file, full disk, no permission.
    #[error("cannot {action} {}: {source}", shown(path))]
    Io {
        /// What was tried, after "cannot": `read`, `create the folder`.
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A download that did not arrive whole.
    #[error("{0}")]
    Network(String),
    /// Arguments or settings that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// No adapter of that name, or one that lacks a needed limit.
    #[error("{0}")]
    Adapter(String),
    /// The device was lost or ran out of memory.
    #[error("{0}")]
    Device(String),
    /// A loss that is NaN or infinite.
    #[error("{0}")]
    Diverged(String),
    /// A check that found a difference.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// [`Error::File`] of a path. The message is the path, a colon, and `problem`.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Error {
        Error::File { path: path.as_ref().to_path_buf(), problem: problem.into() }
    }

    /// For `map_err`: `fs::read(p).map_err(Error::io("read", p))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}

/// A path as messages show it: characters that would steer a terminal instead of being seen (control characters, marks
/// that turn the direction of writing) are escaped, as in `a\u{1b}[2J.png`.
pub fn shown(path: impl AsRef<Path>) -> String {
    plain(&path.as_ref().to_string_lossy())
}

/// Text that came from elsewhere, such as a file's name or a key in it, escaped like a [`shown`] path.
pub fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// The known name most like a mistyped one, if any is like it at all (Jaro-Winkler similarity of 0.7 or more).
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |k: &str| strsim::jaro_winkler(&name.to_lowercase(), k);
    let best = known.into_iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) >= 0.7).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_steer_a_terminal() {
        let message = Error::file("a\u{1b}[2J\n\u{202e}gnp.é", "is bad").to_string();
        assert_eq!(message, "a\\u{1b}[2J\\n\\u{202e}gnp.é: is bad");
        let message = Error::io("open", "b\r")(std::io::Error::other("no")).to_string();
        assert_eq!(message, "cannot open b\\r: no");
    }

    #[test]
    fn nearest_finds_the_like_and_not_the_unlike() {
        assert_eq!(nearest("bachsize", ["epochs", "batch_size"]), Some("batch_size"));
        assert_eq!(nearest("ReLU", ["gelu", "relu"]), Some("relu"));
        assert_eq!(nearest("zzz", ["epochs", "batch_size"]), None);
    }
}
