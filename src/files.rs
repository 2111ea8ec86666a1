//! Files that are whole or not there: every output of this program is written by [`write_atomic`]. Inputs are regular
//! files ([`open_regular`]). And where caches go.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Replaces a file as a whole: writes beside it, flushes to the disk, renames. Makes the file's folder if missing.
/// On any error, a full disk among them, the file that was there stays as it was. Where `path` is a link to a file, the
/// link is replaced and what it leads to stays as it is. A pipe or a device is refused: a rename would put a file in
/// its place. Errors: those of the disk, and a `path` that names no file.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_parts_atomic(path, &[bytes])
}

/// [`write_atomic`] of several pieces, one after the other: large ones need not be copied into one. Its errors are the same.
pub fn write_parts_atomic(path: &Path, parts: &[&[u8]]) -> Result<()> {
    write_atomic_by(path, |file| parts.iter().try_for_each(|part| file.write_all(part)))
}

/// [`write_atomic`] of what `write` writes to the file that it is given. Errors: its, and those of `write`.
pub fn write_atomic_by(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let Some(name) = path.file_name() else {
        return Err(Error::file(path, "this names a folder and no file: give the name of a file in it"));
    };
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return Err(Error::file(path, "is a pipe, a socket or a device: give the name of a file"));
    }
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
    let written = temporary(folder, &name.to_string_lossy()).and_then(|mut file| {
        write(file.as_file_mut())?;
        publish(file, path)
    });
    written.map_err(Error::io("write", path))
}

/// A new file in `folder` whose name nobody can foresee: what lies at a name that is known could be a link to another
/// file. It is removed when it is dropped before it is [`publish`]ed.
pub fn temporary(folder: &Path, name: &str) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // A name may be as long as the system lets it be, and this one is longer.
    let prefix = format!(".{}.", name.chars().take(40).collect::<String>());
    builder.prefix(&prefix).suffix(".tmp");
    // As any file that a program creates; the builder's own would be for the user alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Flushes a temporary file to the disk and gives it the name `path`, in the same folder, in place of what was there.
pub fn publish(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(folder_of(path));
    Ok(())
}

/// The folder that `path` lies in; the working folder where it names none.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a file called `found` is what a killed program left of its writing of `name`. Earlier versions wrote
/// `.name.tmp`.
pub fn is_leftover_of(found: &str, name: &str) -> bool {
    let after =
        found.strip_prefix('.').and_then(|rest| rest.strip_prefix(name)).and_then(|rest| rest.strip_prefix('.'));
    after.is_some_and(|rest| rest == "tmp" || rest.strip_suffix(".tmp").is_some_and(|random| !random.contains('.')))
}

/// Has the disk keep the names in a folder, so that a file that was renamed is still there after a power cut. Best
/// effort: the file is whole and in its place already, and some file systems cannot do this to a folder.
pub fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

/// Opens the regular file `path`, or one that a link leads to, and returns it with its length in bytes. A pipe, which
/// would wait for its other end without a word, and a device, which may have no end, are refused by their kind, as is a
/// folder.
pub fn open_regular(path: &Path) -> Result<(File, u64)> {
    let kind = fs::metadata(path).map_err(Error::io("open", path))?;
    if kind.is_dir() {
        return Err(Error::file(path, "is a folder, but a file is needed here"));
    }
    if !kind.is_file() {
        return Err(Error::file(
            path,
            "is no regular file but a pipe, a socket or a device: copy its content to a file",
        ));
    }
    let file = File::open(path).map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    Ok((file, length))
}

/// The whole content of the regular file `path`. One of more than `most` bytes is an error that names both sizes.
pub fn read_regular(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, length) = open_regular(path)?;
    let mut bytes = Vec::new();
    if length <= most {
        file.take(most + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    }
    // A file may grow while it is read.
    let length = length.max(bytes.len() as u64);
    if length > most {
        return Err(Error::file(path, format!("has {length} bytes, but at most {most} are read")));
    }
    Ok(bytes)
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
    fn a_path_that_names_no_file_is_an_error() {
        for path in ["/", "..", ".", "a/..", ""] {
            let message = write_atomic(Path::new(path), b"x").unwrap_err().to_string();
            assert!(message.contains("no file"), "{path:?}: {message}");
        }
    }

    #[test]
    fn a_long_name_is_written_too() {
        let folder = tempfile::tempdir().unwrap();
        let name = "n".repeat(255);
        write_atomic(&folder.path().join(&name), b"x").unwrap();
        assert_eq!(names(folder.path()), [name]);
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
        let onto_a_full_disk = |file: &mut File| {
            file.write_all(b"ne")?;
            File::options().write(true).open("/dev/full")?.write_all(b"w")
        };
        match write_atomic_by(&path, onto_a_full_disk) {
            Err(Error::Io { source, .. }) => assert_eq!(source.kind(), std::io::ErrorKind::StorageFull),
            other => panic!("expected an I/O error, got {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), b"good");
        assert_eq!(names(folder.path()), ["model.safetensors"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_replaced_and_what_it_leads_to_stays() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let [path, victim] = ["run.toml", "victim"].map(|name| folder.path().join(name));
        fs::write(&victim, b"precious").unwrap();
        symlink(&victim, folder.path().join(".run.toml.tmp")).unwrap();
        symlink(&victim, &path).unwrap();
        for content in [b"one", b"two"] {
            write_atomic(&path, content).unwrap();
            assert_eq!(
                (fs::read(&path).unwrap().as_slice(), fs::read(&victim).unwrap().as_slice()),
                (&content[..], &b"precious"[..])
            );
            assert!(fs::symlink_metadata(&path).unwrap().is_file());
        }
        assert_eq!(names(folder.path()), [".run.toml.tmp", "run.toml", "victim"]);
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_they_may_read_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [ours, usual] = ["a", "b"].map(|name| folder.path().join(name));
        write_atomic(&ours, b"x").unwrap();
        fs::write(&usual, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&usual));
    }

    #[test]
    fn leftovers_are_told_from_other_files() {
        for found in [".run.toml.tmp", ".run.toml.Ab12Cd.tmp"] {
            assert!(is_leftover_of(found, "run.toml"), "{found}");
        }
        for found in ["run.toml", ".run.toml", "run.toml.tmp", ".run.toml.a.b.tmp", ".run.toml.Ab12Cd", ".run.tmp"] {
            assert!(!is_leftover_of(found, "run.toml"), "{found}");
        }
    }

    #[test]
    fn only_regular_files_are_read_and_no_more_than_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read_regular(&path, 10).unwrap(), [7; 10]);
        assert_eq!(open_regular(&path).unwrap().1, 10);
        let message = read_regular(&path, 9).unwrap_err().to_string();
        assert!(message.contains("a.bin: has 10 bytes") && message.contains("at most 9"), "{message}");
        assert!(open_regular(folder.path()).unwrap_err().to_string().contains("is a folder"));
        assert!(matches!(open_regular(&folder.path().join("none")), Err(Error::Io { action: "open", .. })));
    }

    #[cfg(unix)]
    #[test]
    fn pipes_and_devices_are_neither_waited_for_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&pipe, Path::new("/dev/zero")] {
            let message = read_regular(path, 10).unwrap_err().to_string();
            assert!(message.contains("is no regular file"), "{message}");
        }
        let message = write_atomic(&pipe, b"x").unwrap_err().to_string();
        assert!(message.contains("is a pipe"), "{message}");
        assert_eq!(names(folder.path()), ["pipe"]);
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
