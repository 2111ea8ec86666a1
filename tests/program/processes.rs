//! The program among others: runs that start together, readers that go away, links and pipes in its way. All on the CPU
//! device, in folders of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::common::process::{TINY, elbo, end, lines};

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs the program to its end; exit code and standard error.
#[track_caller]
fn run(folder: &Path, args: &str) -> (Option<i32>, String) {
    let output = end(elbo(folder, args).spawn().unwrap());
    let stderr = text(&output.stderr);
    assert!(!stderr.contains("panicked"), "elbo {args}\n{stderr}");
    (output.status.code(), stderr)
}

#[track_caller]
pub fn succeeds(folder: &Path, args: &str) -> String {
    let (code, stderr) = run(folder, args);
    assert_eq!(code, Some(0), "elbo {args}\n{stderr}");
    stderr
}

/// Runs to an error of exit code 2 whose message has the words.
#[track_caller]
fn fails(folder: &Path, args: &str, words: &str) {
    let (code, stderr) = run(folder, args);
    assert_eq!(code, Some(2), "elbo {args}\n{stderr}");
    let message = &stderr[stderr.find("error: ").unwrap_or(0)..];
    assert!(message.contains(words), "no {words:?} from elbo {args}\n{stderr}");
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether two runs have the same parameters and the same state to go on from, bit for bit.
pub fn assert_same(a: &Path, b: &Path) {
    for name in ["model.safetensors", "best.safetensors", "state.safetensors"] {
        assert!(
            fs::read(a.join(name)).unwrap() == fs::read(b.join(name)).unwrap(),
            "{} differs",
            a.join(name).display()
        );
    }
}

pub fn epochs(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.csv")).unwrap().lines().count() - 1
}

// ---- One folder, one process

#[test]
fn runs_that_start_together_get_a_folder_each() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    let children: Vec<Child> =
        (1..=6).map(|seed| elbo(desk, &format!("{TINY} --epochs 3 --seed {seed}")).spawn().unwrap()).collect();
    for child in children {
        let output = end(child);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let mut seeds = Vec::new();
    for name in names(&desk.join("runs")) {
        let run = desk.join("runs").join(name);
        let record: toml::Table = fs::read_to_string(run.join("run.toml")).unwrap().parse().unwrap();
        let seed = record["settings"]["seed"].as_integer().unwrap();
        // What is in it is what it says.
        succeeds(desk, &format!("{TINY} --epochs 3 --seed {seed} --out alone-{seed}"));
        assert_same(&run, &desk.join(format!("alone-{seed}")));
        assert_eq!(epochs(&run), 3);
        seeds.push(seed);
    }
    seeds.sort();
    assert_eq!(seeds, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn of_runs_that_want_one_folder_one_gets_it() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    let run = format!("{TINY} --epochs 3 --out run");
    let children: Vec<Child> = (0..4).map(|_| elbo(desk, &run).spawn().unwrap()).collect();
    let outputs: Vec<Output> = children.into_iter().map(end).collect();
    let codes: Vec<_> = outputs.iter().map(|output| output.status.code()).collect();
    assert_eq!(codes.iter().filter(|&&code| code == Some(0)).count(), 1, "{codes:?}");
    for output in outputs.iter().filter(|output| output.status.code() != Some(0)) {
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.contains("another process is training in run") || stderr.contains("already holds a run"),
            "{stderr}"
        );
    }
    succeeds(desk, &format!("{TINY} --epochs 3 --out alone"));
    assert_same(&desk.join("run"), &desk.join("alone"));
}

#[test]
fn a_run_that_is_trained_is_refused_to_others_until_it_ends_or_is_killed() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    let mut child = elbo(desk, &format!("{TINY} --epochs 1000000 --out run")).spawn().unwrap();
    let mut out = lines(&mut child);
    out.next().unwrap().unwrap();
    fails(desk, "train --resume run --epochs 2000000", "another process is training this run");
    fails(desk, &format!("{TINY} --out run"), "another process is training in run");
    // Looking at it is free.
    succeeds(desk, "sample run --device cpu");
    out.next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let done = epochs(&desk.join("run"));
    succeeds(desk, &format!("train --resume run --epochs {}", done + 1));
}

#[test]
fn a_run_that_cannot_start_leaves_no_folder() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    fails(desk, "train --device cpu --dataset mnist --data nowhere", "nowhere");
    fails(desk, &format!("{} --out a/b", TINY.replace("--batch-size 8", "--batch-size 1000")), "--batch-size 1000");
    assert_eq!(names(desk), ["data"]);
}

// ---- Readers that go away, output that cannot be written

#[test]
fn a_reader_that_goes_away_ends_no_training() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    for name in ["stdout", "stderr", "both"] {
        let mut child = elbo(desk, &format!("{TINY} --epochs 3 --out {name}")).spawn().unwrap();
        if name != "stderr" {
            drop(child.stdout.take());
        }
        if name != "stdout" {
            drop(child.stderr.take());
        }
        let output = end(child);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
        assert_eq!(epochs(&desk.join(name)), 3);
        assert!(desk.join(name).join("samples.gif").exists());
    }
    // An error too is an error that nobody reads.
    let mut child = elbo(desk, "train --resume nowhere").spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(end(child).status.code(), Some(2));
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_an_error() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    succeeds(desk, &format!("{TINY} --epochs 1 --out run"));
    let commands = [
        &format!("{TINY} --epochs 2 --out full"),
        "train --help",
        "--version",
        "devices --json",
        "kernels",
        "kernels show adam.forward",
        "eval run --device cpu --test-limit 5",
        "sample run --device cpu",
        "animate run",
        "plan mnist-mlp --device cpu",
        "check adam.forward --device cpu",
    ];
    for args in commands {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = end(elbo(desk, args).stdout(full).spawn().unwrap());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "elbo {args}\n{stderr}");
        assert!(stderr.contains("error: cannot write to standard output: No space left"), "elbo {args}\n{stderr}");
    }
    // The run itself is whole.
    assert_eq!((epochs(&desk.join("full")), desk.join("full/samples.gif").exists()), (2, true));
    // A full disk behind the notices takes nothing from anyone.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(end(elbo(desk, "kernels").stderr(full).spawn().unwrap()).status.code(), Some(0));
}

// ---- Links and pipes

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link() {
    use std::os::unix::fs::symlink;

    let desk = crate::common::process::desk();
    let desk = desk.path();
    fs::write(desk.join("victim"), "precious").unwrap();
    fs::create_dir(desk.join("run")).unwrap();
    symlink("../victim", desk.join("run/.run.toml.tmp")).unwrap();
    succeeds(desk, &format!("{TINY} --epochs 1 --out run"));
    for name in ["model.safetensors", "state.safetensors", "metrics.csv", "samples.png"] {
        symlink("../victim", desk.join(format!("run/.{name}.tmp"))).unwrap();
    }
    symlink("victim", desk.join("picture.png")).unwrap();
    succeeds(desk, "train --resume run --epochs 2");
    succeeds(desk, "sample run --device cpu");
    succeeds(desk, "sample run --device cpu --out picture.png");
    assert_eq!(fs::read_to_string(desk.join("victim")).unwrap(), "precious");
    for name in ["run/run.toml", "run/model.safetensors", "run/samples.png", "picture.png"] {
        assert!(fs::symlink_metadata(desk.join(name)).unwrap().is_file(), "{name}");
    }
    // A pipe stays a pipe, whoever asks.
    assert!(Command::new("mkfifo").arg(desk.join("pipe.png")).status().unwrap().success());
    fails(desk, "sample run --device cpu --out pipe.png", "pipe.png: is a pipe, a socket or a device");
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    succeeds(desk, &format!("{TINY} --epochs 1 --out run"));
    let pipe = |name: &str| {
        let _ = fs::remove_file(desk.join(name));
        assert!(Command::new("mkfifo").arg(desk.join(name)).status().unwrap().success());
    };
    pipe("pipe");
    let refusal = "no regular file";
    fails(desk, "train --device cpu --config pipe", refusal);
    fails(desk, "eval pipe --device cpu", refusal);
    fails(desk, "eval /dev/zero --device cpu", refusal);
    fails(desk, "train --device cpu --config /dev/zero", refusal);
    for name in ["metrics.csv", "state.safetensors"] {
        let good = fs::read(desk.join("run").join(name)).unwrap();
        pipe(&format!("run/{name}"));
        fails(desk, "train --resume run --epochs 2", refusal);
        fs::remove_file(desk.join("run").join(name)).unwrap();
        fs::write(desk.join("run").join(name), good).unwrap();
    }
    pipe("run/samples/epoch_002.png");
    fails(desk, "animate run", refusal);
    pipe("run/run.toml");
    fails(desk, "train --resume run --epochs 2", "holds no run");
}

// ---- What a killed run left unfinished

#[test]
fn a_finished_run_that_is_resumed_gets_what_it_lacks() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    succeeds(desk, &format!("{TINY} --epochs 2 --out run"));
    let read = |name: &str| fs::read(desk.join("run").join(name)).unwrap();
    let names = ["samples.gif", "model.safetensors", "curves.png"];
    let before = names.map(read);
    let lost: Vec<PathBuf> = names.iter().map(|name| desk.join("run").join(name)).collect();
    lost.iter().for_each(|path| fs::remove_file(path).unwrap());
    let stderr = succeeds(desk, "train --resume run");
    assert!(stderr.contains("animation: run/samples.gif"), "{stderr}");
    assert!(
        stderr.contains("made again: run/model.safetensors") && stderr.contains("made again: run/curves.png"),
        "{stderr}"
    );
    assert!(names.map(read) == before);
    let stderr = succeeds(desk, "train --resume run");
    assert!(!stderr.contains("animation:") && !stderr.contains("made again"), "{stderr}");

    // One of fewer epochs: the run went on and was killed before its end.
    let old = fs::File::options().write(true).open(&lost[0]).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(old);
    assert!(succeeds(desk, "train --resume run").contains("animation: run/samples.gif"));
}

#[test]
fn the_program_says_what_it_was_built_from() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    // A git that would answer otherwise is not asked.
    let bin = desk.join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("git"), "#!/bin/sh\necho 0123456789\n").unwrap();
    #[cfg(unix)]
    fs::set_permissions(bin.join("git"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = elbo(desk, &format!("{TINY} --epochs 1 --out run"));
    let output = end(command.env("PATH", &bin).stdout(Stdio::null()).spawn().unwrap());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record: toml::Table = fs::read_to_string(desk.join("run/run.toml")).unwrap().parse().unwrap();
    let built_from = Some(env!("ELBO_REVISION")).filter(|revision| !revision.is_empty());
    assert_eq!(record.get("git").and_then(|git| git.as_str()), built_from);
}
