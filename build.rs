//! Tells the program which revision of the source it is built from, as `ELBO_REVISION`: the commit, with `-dirty` after it
//! where what the program is made of differs from that commit; nothing where neither git nor a package knows. Asked once,
//! when it is built: a program that asks when it runs names whatever has been checked out since. A development build
//! has none, as each commit would compile all of it again, for minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program is made of. Documents and tests are not in it, so that a change there builds nothing anew.
const PARTS: [&str; 5] = ["src", "shaders", "Cargo.toml", "Cargo.lock", "build.rs"];

fn main() {
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        println!("cargo:rerun-if-changed=build.rs");
        println!("cargo:rustc-env=ELBO_REVISION=");
        return;
    }
    let source = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let parts = PARTS.iter().map(|part| source.join(part)).filter(|part| part.exists());
    for path in parts.chain(moved_by_git(&source)) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    println!("cargo:rustc-env=ELBO_REVISION={}", revision(&source).unwrap_or_default());
}

/// The revision of the source in this folder, if it is the top of a checkout or an unpacked package.
pub fn revision(source: &Path) -> Option<String> {
    // Without this a copy of the source inside some other repository would get that one's revision.
    if !source.join(".git").exists() {
        return packaged(&fs::read_to_string(source.join(".cargo_vcs_info.json")).ok()?);
    }
    let commit = git(source, &["rev-parse", "--verify", "HEAD"])?;
    let there = PARTS.iter().filter(|part| source.join(part).exists());
    // By content: files that were only touched are no changes.
    let mut difference = vec!["diff", "--no-ext-diff", "--no-textconv", "--name-only", "HEAD", "--"];
    difference.extend(there);
    let is_clean = git(source, &difference)?.is_empty();
    Some(if is_clean { commit } else { format!("{commit}-dirty") })
}

/// The revision in the file that `cargo package` adds: {"git": {"sha1": "...", "dirty": true}, ...}.
fn packaged(text: &str) -> Option<String> {
    let commit = text.split("\"sha1\"").nth(1)?.split('"').nth(1)?;
    let is_dirty =
        text.split("\"dirty\"").nth(1).is_some_and(|rest| rest.trim_start_matches([':', ' ']).starts_with("true"));
    Some(if is_dirty { format!("{commit}-dirty") } else { commit.to_string() })
}

/// The files that git writes when another commit is checked out or made.
pub fn moved_by_git(source: &Path) -> Vec<PathBuf> {
    let branch = git(source, &["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD".to_string(), "logs/HEAD".into(), "packed-refs".into()].into_iter().chain(branch);
    let place = |name: String| Some(source.join(git(source, &["rev-parse", "--git-path", &name])?));
    // One that is not there would count as changed at each build.
    names.filter_map(place).filter(|path| source.join(".git").exists() && path.exists()).collect()
}

/// What git answers; none without git, or where it refuses.
fn git(source: &Path, arguments: &[&str]) -> Option<String> {
    // A monitor of files is a program that the checkout's settings name: it is not to be run for this. Nor is anything to be
    // written.
    let settings = ["--no-optional-locks", "-c", "core.fsmonitor=false"];
    let output = Command::new("git").arg("-C").arg(source).args(settings).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}
