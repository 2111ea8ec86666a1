//! Ctrl-C and its like: what they stop, what is saved, and what they leave alone. All on the CPU device, in folders of
//! their own.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::processes::{assert_same, epochs, succeeds, text};
use crate::common::process::{TINY, elbo, end, lines, send, set_up};

/// Whether this test was itself started with a signal ignored, as what a script puts into the background is: so are
/// then the programs it starts.
fn is_ignored_here(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let ignored = mask >> (number - 1) & 1 == 1;
    if ignored {
        crate::common::say(&format!("NOT RUN: this test was started with signal {number} ignored"));
    }
    ignored
}

#[test]
fn a_signal_saves_the_run_and_is_told_by_the_exit_code() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    for (name, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        if is_ignored_here(number) {
            continue;
        }
        let mut child = elbo(desk, &format!("{TINY} --epochs 1000000 --out {name}")).spawn().unwrap();
        let mut out = lines(&mut child);
        out.next().unwrap().unwrap();
        send(&child, name);
        let output = end(child);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(128 + number as i32), "{stderr}");
        assert!(stderr.contains(&format!("everything is saved: go on with `elbo train --resume {name}`")), "{stderr}");
        let run = desk.join(name);
        let all = epochs(&run) + 2;
        succeeds(desk, &format!("train --resume {name} --epochs {all}"));
        succeeds(desk, &format!("{TINY} --epochs {all} --out whole-{name}"));
        assert_same(&run, &desk.join(format!("whole-{name}")));
    }
}

/// A run of which each step takes a while, returned in its second epoch.
fn slow(desk: &Path) -> (Child, impl Sized) {
    let slow = "train --device cpu --dataset digits --train-limit 2500 --test-limit 10 --batch-size 2500 --hidden 2500 \
                --latent 2 --samples 0 --json --epochs 1000 --out slow";
    let mut child = elbo(desk, slow).spawn().unwrap();
    let mut out = lines(&mut child);
    out.next().unwrap().unwrap();
    // Into the second epoch's step, which takes most of a second on two cores: a signal between two epochs finds
    // nothing to wait for.
    std::thread::sleep(Duration::from_millis(200));
    (child, out)
}

#[test]
fn only_a_second_ctrl_c_means_at_once() {
    let desk = crate::common::process::desk();
    if [1, 2, 15].into_iter().any(is_ignored_here) {
        return;
    }
    let (child, _out) = slow(desk.path());
    ["TERM", "HUP"].iter().for_each(|name| send(&child, name));
    let output = end(child);
    let stderr = text(&output.stderr);
    assert!([Some(143), Some(129)].contains(&output.status.code()), "{:?} {stderr}", output.status);
    assert!(stderr.contains("everything is saved"), "{stderr}");
    fs::remove_dir_all(desk.path().join("slow")).unwrap();

    let (child, _out) = slow(desk.path());
    // Two that come at the same moment are one, so there are more. The shell sends them itself: starting a program for
    // each can take longer than a step on a busy machine.
    let send_on = format!("while kill -INT {}; do :; done", child.id());
    let mut shell = Command::new("sh").args(["-c", &send_on]).stderr(Stdio::null()).spawn().unwrap();
    let output = end(child);
    shell.wait().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(!stderr.contains("everything is saved"), "{stderr}");
}

#[test]
fn what_is_ignored_at_the_start_stays_ignored() {
    let desk = crate::common::process::desk();
    let desk = desk.path();
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_elbo");
    command.args(["-c", &format!("trap '' HUP INT; exec {program} {TINY} --epochs 1000000 --out run")]);
    set_up(&mut command, desk);
    let mut child = command.spawn().unwrap();
    let mut out = lines(&mut child);
    out.next().unwrap().unwrap();
    for name in ["HUP", "INT", "INT"] {
        send(&child, name);
    }
    // It trains on.
    (0..50).for_each(|_| drop(out.next().expect("it goes on").unwrap()));
    send(&child, "TERM");
    let output = end(child);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    assert!(epochs(&desk.join("run")) > 50);
}

#[test]
fn an_evaluation_can_be_interrupted() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;

    if is_ignored_here(2) {
        return;
    }
    let desk = crate::common::process::desk();
    let desk = desk.path();
    succeeds(
        desk,
        &format!(
            "{} --epochs 1 --out run",
            TINY.replace("mnist --data data", "digits --train-limit 8 --test-limit 8")
                .replace("--hidden 8", "--hidden 2000")
        ),
    );
    let mut child = elbo(desk, "eval run --device cpu --dataset digits --batch-size 10000").spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    while !stderr.next().expect("it says which data").unwrap().starts_with("data: ") {}
    send(&child, "INT");
    let output = end(child);
    // It has nothing to save, so it ends as any program does: 130 for a shell.
    assert_eq!((output.status.signal(), output.stdout.len()), (Some(2), 0));
}
