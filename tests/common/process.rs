//! The program as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A tiny model on a [`desk`]'s data, on the CPU device: an epoch takes milliseconds.
pub const TINY: &str = "train --device cpu --dataset mnist --data data --hidden 8 --latent 2 --batch-size 8 --samples 4 \
                        --json";

/// A working folder with a small data set in MNIST's form: 20 training and 10 test pictures of 6 by 5.
pub fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    fs::create_dir(desk.path().join("data")).unwrap();
    for (name, count) in [("train", 20), ("t10k", 10)] {
        let images: Vec<u8> = (0..count * 30).map(|i| (i * 37 % 251) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        for (kind, sizes, body) in [("images-idx3", vec![count, 6, 5], images), ("labels-idx1", vec![count], labels)] {
            let header = [0x800 + sizes.len() as u32].into_iter().chain(sizes).flat_map(u32::to_be_bytes);
            let content: Vec<u8> = header.chain(body).collect();
            fs::write(desk.path().join(format!("data/{name}-{kind}-ubyte")), content).unwrap();
        }
    }
    desk
}

/// The program in a working folder. `args` are parted at spaces.
pub fn elbo(folder: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_elbo"));
    command.args(args.split_whitespace());
    set_up(&mut command, folder);
    command
}

/// Runs what must go well; standard output.
#[track_caller]
pub fn succeeds(folder: &Path, args: &str) -> String {
    succeeds_with(folder, args, &[])
}

/// [`succeeds`] with more arguments, each as it is.
#[track_caller]
pub fn succeeds_with(folder: &Path, args: &str, rest: &[&str]) -> String {
    let output = elbo(folder, args).args(rest).output().unwrap();
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a program would read of [`succeeds`].
#[track_caller]
pub fn json(folder: &Path, args: &str) -> serde_json::Value {
    json_with(folder, args, &[])
}

/// [`json`] with more arguments, each as it is.
#[track_caller]
pub fn json_with(folder: &Path, args: &str, rest: &[&str]) -> serde_json::Value {
    serde_json::from_str(&succeeds_with(folder, args, rest)).unwrap()
}

/// Runs what must be refused with exit code 2 and one line with all of the words.
#[track_caller]
pub fn fails(folder: &Path, args: &str, words: &[&str]) {
    fails_with(folder, args, &[], words);
}

/// [`fails`] with more arguments, each as it is.
#[track_caller]
pub fn fails_with(folder: &Path, args: &str, rest: &[&str], words: &[&str]) {
    let output = elbo(folder, args).args(rest).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{args}: {stderr}");
    let error = stderr.lines().last().unwrap();
    assert!(words.iter().all(|word| error.contains(word)), "{args}: {stderr}");
}

/// Keeps a process that runs the program to the folder, and its output to the test.
pub fn set_up(command: &mut Command, folder: &Path) {
    command.current_dir(folder).env_remove("ELBO_DATA").env("ELBO_CACHE", folder.join("cache"));
    // Mesa's device-select layer writes a line like an error where there is no desktop session.
    command.env("NODEVICE_SELECT", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// The lines of a child's standard output, as they come. They must live as long as the child is to write.
pub fn lines(child: &mut Child) -> std::io::Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

/// Sends a signal, as `kill -NAME`.
pub fn send(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(status.success(), "kill -{name}");
}

/// Waits for the end of a child, which must come within a minute: one that hangs is ended and fails the test.
#[track_caller]
pub fn end(mut child: Child) -> std::process::Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it hangs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}
