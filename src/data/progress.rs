//! What is told while a data set is opened. Whoever opens it decides whether and how it is shown.

/// News of a data set that is being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// What the user should know: a download, a stand-in data set, pictures left out. Some of it is several lines long.
    Notice(&'a str),
    /// Pictures of a folder are decoded: told at 0, then as they come, never fewer than before, at last all of them.
    Pictures {
        /// So far.
        done: usize,
        /// Of both splits.
        total: usize,
    },
    /// A file is downloaded. The last news of a whole file has `total`, and `done` is equal to it.
    Bytes {
        /// The file's.
        name: &'a str,
        /// So far.
        done: u64,
        /// As the server says, if it says so.
        total: Option<u64>,
    },
}

/// Who is told.
pub type Report<'r> = dyn FnMut(Progress) + Send + 'r;

/// What a test was told, for the tests of all that opens data.
#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Adds each notice and a new line to `said`.
    pub fn notices(said: &mut String) -> impl FnMut(Progress) + Send {
        move |progress: Progress| {
            if let Progress::Notice(text) = progress {
                *said += text;
                said.push('\n');
            }
        }
    }

    /// Fails on a notice.
    pub fn silence(progress: Progress) {
        if let Progress::Notice(text) = progress {
            panic!("{text}");
        }
    }
}
