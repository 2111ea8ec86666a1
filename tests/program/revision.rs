//! The revision that `build.rs` gives the program, in checkouts made here.

#[path = "../../build.rs"]
#[allow(dead_code)]
mod build;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs git with settings of its own; whether it is there and went well.
fn git(folder: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]);
    command.args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A checkout with one commit of `src/main.rs` and a README; none where there is no git.
fn checkout(folder: &Path) -> Option<()> {
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("src/main.rs"), "fn main() {}").unwrap();
    fs::write(folder.join("README.md"), "words").unwrap();
    if git(folder, &["init", "--quiet"]) && git(folder, &["add", "."]) && git(folder, &["commit", "--quiet", "-m", "a"])
    {
        return Some(());
    }
    crate::common::say("NOT RUN: git cannot make a commit here");
    None
}

#[test]
fn it_is_the_commit_and_says_whether_the_source_differs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert_eq!(build::revision(folder), None);
    let Some(()) = checkout(folder) else { return };
    let first = build::revision(folder).unwrap();
    assert!(first.len() >= 40 && first.chars().all(|c| c.is_ascii_hexdigit()), "{first}");

    // Words about the program are not the program; a source that was only written anew is the same.
    fs::write(folder.join("README.md"), "other words").unwrap();
    fs::write(folder.join("src/main.rs"), "fn main() {}").unwrap();
    assert_eq!(build::revision(folder), Some(first.clone()));
    fs::write(folder.join("src/main.rs"), "fn main() { }").unwrap();
    assert_eq!(build::revision(folder), Some(format!("{first}-dirty")));
    git(folder, &["add", "src"]);
    assert_eq!(build::revision(folder), Some(format!("{first}-dirty")));
    git(folder, &["commit", "--quiet", "-m", "b"]);
    let second = build::revision(folder).unwrap();
    assert!(second != first && !second.contains("dirty"), "{second}");

    // A copy inside a checkout is not that checkout.
    fs::create_dir(folder.join("copy")).unwrap();
    assert_eq!(build::revision(&folder.join("copy")), None);
}

#[cfg(unix)]
#[test]
fn a_monitor_of_files_is_not_started() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(()) = checkout(folder) else { return };
    let [monitor, trace] = ["monitor", "ran"].map(|name| folder.join(name));
    fs::write(&monitor, format!("#!/bin/sh\ntouch '{}'\n", trace.display())).unwrap();
    fs::set_permissions(&monitor, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(git(folder, &["config", "core.fsmonitor", monitor.to_str().unwrap()]));
    git(folder, &["status"]);
    assert!(trace.exists(), "git would start it");
    fs::remove_file(&trace).unwrap();
    assert!(build::revision(folder).is_some() && !build::moved_by_git(folder).is_empty());
    assert!(!trace.exists());
}

#[test]
fn what_moves_with_a_commit_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(()) = checkout(folder) else { return };
    let states = || build::moved_by_git(folder).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let before = states();
    assert!(!before.is_empty());
    git(folder, &["commit", "--quiet", "--allow-empty", "-m", "b"]);
    assert!(before != states());
}

#[test]
fn a_package_knows_its_commit() {
    let folder = tempfile::tempdir().unwrap();
    let revision = |text: &str| {
        fs::write(folder.path().join(".cargo_vcs_info.json"), text).unwrap();
        build::revision(folder.path())
    };
    assert_eq!(
        revision("{\n  \"git\": {\n    \"sha1\": \"0123abc\"\n  },\n  \"path_in_vcs\": \"\"\n}").unwrap(),
        "0123abc"
    );
    assert_eq!(revision("{\"git\": {\"sha1\": \"0123abc\", \"dirty\": true}}").unwrap(), "0123abc-dirty");
    assert_eq!(revision("{}"), None);
}
