//! Ends of a run: divergence, no memory, a kill, Ctrl-C.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::desk::{Desk, SMALL, epochs, text_of};

#[test]
fn a_run_that_diverges_exits_with_1_and_records_no_epoch() {
    let desk = Desk::new();
    let stderr = desk.fails_with(1, &format!("{SMALL} --epochs 2 --out run --lr 1e30"), &["step 2 (epoch 1, batch 2)"]);
    assert!(stderr.contains("First offending tensor: ") && stderr.contains("--lr"), "{stderr}");
    assert!(desk.path("run/run.toml").exists() && !desk.path("run/metrics.csv").exists());
}

#[test]
fn a_model_beyond_all_memory_is_refused() {
    let desk = Desk::new();
    let huge = SMALL.replace("--hidden 8", "");
    desk.fails_with(2, &format!("{huge} --hidden 1048576,1048576 --out run"), &["no memory for parameters"]);
}

/// Starts a run without end and returns it after `epochs` lines of its table.
fn endless(desk: &Desk, epochs: usize) -> std::process::Child {
    let mut command = desk.command(&format!("{SMALL} --epochs 1000000 --out run --json"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..epochs {
        lines.next().expect("the run goes on").unwrap();
    }
    child
}

/// Resumes the stopped run for two more epochs, and trains the same ones in one go: the ends are equal.
fn goes_on_as_if_uninterrupted(desk: &Desk) {
    let done = epochs(desk, "run").len();
    let end = done + 2;
    desk.succeeds(&format!("train --resume run --epochs {end}"));
    assert_eq!(epochs(desk, "run"), (1..=end).collect::<Vec<_>>());
    desk.succeeds(&format!("{SMALL} --epochs {end} --out whole"));
    for file in ["model.safetensors", "best.safetensors", "state.safetensors"] {
        assert!(desk.read(&format!("run/{file}")) == desk.read(&format!("whole/{file}")), "{file} differs");
    }
}

#[test]
fn a_killed_run_goes_on_from_its_last_epoch() {
    let desk = Desk::new();
    let mut child = endless(&desk, 3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(epochs(&desk, "run").len() >= 3);
    goes_on_as_if_uninterrupted(&desk);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_ends_with_130() {
    let desk = Desk::new();
    let child = endless(&desk, 1);
    let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    let stderr = text_of(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("everything is saved") && stderr.contains("elbo train --resume run"), "{stderr}");
    goes_on_as_if_uninterrupted(&desk);
}
