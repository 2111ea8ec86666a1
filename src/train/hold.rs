//! A folder belongs to one process at a time: what holds it, until that process ends, however it does.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{folder_of, sync_folder};

/// A folder that no other process can hold. Folders that were made for it and are empty when it is given up go again.
#[derive(Debug)]
pub struct Hold {
    lock: Option<File>,
    /// The folder and those above it, as far as they were missing, the lowest first.
    made: Vec<PathBuf>,
}

impl Hold {
    /// Holds the folder, which is made if it is missing; none where another process has it. Errors: a folder that
    /// cannot be made or opened.
    pub fn take(root: &Path) -> Result<Option<Hold>> {
        loop {
            let made = make(root).map_err(Error::io("create the folder", root))?;
            let Some(hold) = Hold::lock(root, made)? else { return Ok(None) };
            // Between the two the process that had it may have given it up, and removed it.
            if hold.is_there(root) {
                return Ok(Some(hold));
            }
        }
    }

    /// Holds a folder that is there; none where another process has it. Errors: a folder that cannot be opened.
    pub fn of(root: &Path) -> Result<Option<Hold>> {
        Hold::lock(root, Vec::new())
    }

    /// The system's own lock on the folder itself: it leaves no file, and it goes with the process.
    #[cfg(unix)]
    fn lock(root: &Path, made: Vec<PathBuf>) -> Result<Option<Hold>> {
        use std::fs::TryLockError;

        let folder = File::open(root).map_err(Error::io("open the folder", root))?;
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some file systems of clusters have no locks. Trained there must be all the same.
            Err(TryLockError::Error(e)) if e.kind() != io::ErrorKind::Unsupported => {
                return Err(Error::io("lock the folder", root)(e));
            }
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        Ok(Some(Hold { lock: Some(folder), made }))
    }

    #[cfg(unix)]
    fn is_there(&self, root: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;

        let id = |found: io::Result<fs::Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
        self.lock.as_ref().is_some_and(|held| id(held.metadata()) == id(fs::metadata(root)))
    }

    /// A folder cannot be locked here. A file in it that others cannot open, and that goes when it is closed, does the
    /// same.
    #[cfg(windows)]
    fn lock(root: &Path, made: Vec<PathBuf>) -> Result<Option<Hold>> {
        use std::os::windows::fs::OpenOptionsExt;

        const WRITE_AND_DELETE: u32 = 0x4001_0000;
        const DELETE_ON_CLOSE: u32 = 0x0400_0000;
        const SHARING_VIOLATION: i32 = 32;
        let mut options = File::options();
        options.write(true).create(true).access_mode(WRITE_AND_DELETE).share_mode(0).custom_flags(DELETE_ON_CLOSE);
        match options.open(root.join(".lock")) {
            Ok(file) => Ok(Some(Hold { lock: Some(file), made })),
            Err(e) if e.raw_os_error() == Some(SHARING_VIOLATION) => Ok(None),
            Err(e) => Err(Error::io("lock the folder", root)(e)),
        }
    }

    #[cfg(windows)]
    fn is_there(&self, _: &Path) -> bool {
        // Nobody removes a folder with an open file in it.
        true
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if cfg!(windows) {
            // Its file must go before its folder.
            self.lock = None;
        }
        // A folder that holds something is not removed, and then neither are those above it.
        let _ = self.made.iter().try_for_each(fs::remove_dir);
    }
}

/// Makes the folder and those above it. Those that were missing, the lowest first.
fn make(root: &Path) -> io::Result<Vec<PathBuf>> {
    let above = root.ancestors().filter(|folder| !folder.as_os_str().is_empty());
    let made: Vec<PathBuf> = above.take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect();
    fs::create_dir_all(root)?;
    made.iter().for_each(|folder| sync_folder(folder_of(folder)));
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_and_goes_if_it_stays_empty() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("runs/a");
        let first = Hold::take(&root).unwrap().expect("nobody holds it");
        assert!(Hold::take(&root).unwrap().is_none() && Hold::of(&root).unwrap().is_none());
        drop(first);
        assert!(!folder.path().join("runs").exists());

        let second = Hold::take(&root).unwrap().expect("it was given up");
        fs::write(root.join("run.toml"), "").unwrap();
        drop(second);
        assert!(root.join("run.toml").exists());
        // It was there before, so it stays whatever is in it.
        drop(Hold::of(&root).unwrap().expect("it was given up"));
        fs::remove_file(root.join("run.toml")).unwrap();
        drop(Hold::take(&root).unwrap().expect("it was given up"));
        assert!(root.exists());
    }

    #[test]
    fn of_many_that_take_a_folder_at_the_same_time_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..50 {
            let root = folder.path().join(format!("runs-{i}/a"));
            let holds: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| Hold::take(&root).unwrap())).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(holds.iter().flatten().count(), 1);
        }
    }
}
