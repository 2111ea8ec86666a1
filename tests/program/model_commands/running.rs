//! Running the program on a tiny model that is trained once, and copies of its folder to write into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use elbo::train::checkpoint::Checkpoint;

pub fn elbo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_elbo")).args(args).output().unwrap()
}

pub fn elbo_output(args: &[&str]) -> Output {
    elbo(&[args, &["--device", "cpu"]].concat())
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs on the CPU device, which must go well, and returns what was printed.
#[track_caller]
pub fn succeeds(args: &[&str]) -> String {
    let output = elbo(&[args, &["--device", "cpu"]].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).into()
}

pub fn losses(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&succeeds(&[args, &["--json"]].concat())).unwrap()
}

/// A tiny run on the digits, trained once: a 784-16-2 model, epoch 1, batches of 32, 64 test pictures, seed 1.
pub fn trained() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("model_commands");
        let _ = fs::remove_dir_all(&folder);
        let sizes = ["--train-limit", "256", "--test-limit", "64", "--hidden", "16", "--latent", "2"];
        let run = ["train", "--dataset", "digits", "--epochs", "1", "--batch-size", "32", "--seed", "1"];
        succeeds(&[&run[..], &sizes, &["--out", folder.to_str().unwrap()]].concat());
        folder
    })
}

/// A copy of the run folder, for one test to write into.
pub struct Run(tempfile::TempDir);

impl Run {
    pub fn copy() -> Run {
        let folder = tempfile::tempdir().unwrap();
        for name in ["run.toml", "metrics.csv", "model.safetensors", "best.safetensors"] {
            fs::copy(trained().join(name), folder.path().join(name)).unwrap();
        }
        Run(folder)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.file(name).to_str().unwrap().into()
    }

    pub fn root(&self) -> String {
        self.path("")
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs a command that must be refused: exit code 2, one line of error with `word` in it, nothing written.
    #[track_caller]
    pub fn refused(&self, args: &[&str], word: &str) {
        let before = self.names();
        let output = elbo(&[args, &["--device", "cpu"]].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        let lines: Vec<&str> = stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
        assert!(lines.len() == 1 && lines[0].contains(word), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        assert_eq!(self.names(), before, "{args:?}");
    }

    /// Writes the model changed, as `name`.
    pub fn changed(&self, name: &str, change: impl FnOnce(&mut Checkpoint)) -> String {
        let mut model = Checkpoint::read(&self.file("model.safetensors")).unwrap();
        change(&mut model);
        model.write(&self.file(name)).unwrap();
        self.path(name)
    }
}

/// A PyTorch state_dict with 4 latent dimensions.
pub fn four_dimensions(run: &Run) -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pytorch_vae.safetensors");
    fs::copy(golden, run.file("pytorch.safetensors")).unwrap();
    run.path("pytorch.safetensors")
}

/// Width and height of a grid of 28 x 28 pictures.
pub fn grid(columns: u32, rows: u32, scale: u32) -> (u32, u32) {
    (scale * (2 + 30 * columns), scale * (2 + 30 * rows))
}

#[track_caller]
pub fn assert_picture(path: &Path, size: (u32, u32)) {
    assert_eq!(image::image_dimensions(path).unwrap(), size, "{}", path.display());
}
