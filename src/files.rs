//! Files that are whole or not there: every output of this program is written by [`write_atomic`]. And where caches go.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Replaces a file as a whole: writes beside it, flushes to the disk, renames. Makes the file's folder if missing.
/// On any error, a full disk among them, the file that was there stays as it was. Panics where `path` names no file.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_parts_atomic(path, &[bytes])
}

/// [`write_atomic`] of several pieces, one after the other: large ones need not be copied into one. Errors and panics are
/// its.
pub fn write_parts_atomic(path: &Path, parts: &[&[u8]]) -> Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(Error::io("create the folder", parent))?;
    }
    let temporary = temporary(path);
    let written = File::create(&temporary).and_then(|mut file| {
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, path)).map_err(|e| {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        Error::io("write", path)(e)
    })
}

/// The name beside `path` under which it is written. Always the same, so that a killed run leaves at most one. Panics where
/// `path` names no file.
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_else(|| panic!("{} names no file", path.display())));
    name.push(".tmp");
    path.with_file_name(name)
}

/// Where caches go: `ELBO_CACHE`, else the user's folder for such files, if the environment names one.
pub fn cache_folder() -> Option<PathBuf> {
    cache_folder_by(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn cache_folder_by(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if let Some(folder) = variable("ELBO_CACHE") {
        return Some(folder);
    }
    let base = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        // A relative path in it is to be ignored, says the XDG base directory specification.
        let named = variable("XDG_CACHE_HOME").filter(|folder| folder.is_absolute());
        named.or_else(|| variable("HOME").map(|home| home.join(".cache")))
    };
    base.filter(|base| base.is_absolute()).map(|base| base.join("elbo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples/a.bin");
        write_atomic(&path, &[1; 100]).unwrap();
        write_atomic(&path, &[2; 3]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [2; 3]);
        assert_eq!(names(path.parent().unwrap()), ["a.bin"]);
    }

    #[test]
    fn parts_are_written_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        write_parts_atomic(&path, &[&[1, 2], &[], &[3]]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [1, 2, 3]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_leaves_the_earlier_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        write_atomic(&path, b"good").unwrap();
        // Every write to this device fails as on a full disk.
        std::os::unix::fs::symlink("/dev/full", temporary(&path)).unwrap();
        match write_atomic(&path, b"new") {
            Err(Error::Io { source, .. }) => assert_eq!(source.kind(), std::io::ErrorKind::StorageFull),
            other => panic!("expected an I/O error, got {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), b"good");
        assert_eq!(names(folder.path()), ["model.safetensors"]);
    }

    #[test]
    fn a_failed_rename_removes_the_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(matches!(write_atomic(&path, b"x"), Err(Error::Io { action: "write", .. })));
        assert_eq!(names(folder.path()), ["taken"]);
    }

    #[cfg(not(any(windows, target_os = "macos")))]
    #[test]
    fn the_cache_is_the_users() {
        let by = |set: &[(&str, &str)]| {
            cache_folder_by(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| PathBuf::from(value)))
        };
        assert_eq!(by(&[("ELBO_CACHE", "c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]), Some("c".into()));
        assert_eq!(by(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]), Some("/x/elbo".into()));
        assert_eq!(by(&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")]), Some("/h/.cache/elbo".into()));
        assert_eq!(by(&[]), None);
    }
}
