//! Running the program: a folder to work in with data in it, and what its runs must leave or say.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;

pub const TRAIN_IMAGES: &str = "data/train-images-idx3-ubyte";
pub const TRAIN_LABELS: &str = "data/train-labels-idx1-ubyte";
pub const TEST_IMAGES: &str = "data/t10k-images-idx3-ubyte";
pub const TEST_LABELS: &str = "data/t10k-labels-idx1-ubyte";

/// The desk's data.
pub const DATA: &str = "train --device cpu --dataset mnist --data data";
/// A tiny model on them.
pub const SMALL: &str =
    "train --device cpu --dataset mnist --data data --hidden 8 --latent 2 --batch-size 8 --samples 4";

/// Nothing listens at port 1 of the loopback address, so every connection through it fails at once.
pub const DEAD_PROXY: &str = "http://127.0.0.1:1";

/// A working folder with a small data set in MNIST's form: 20 training and 10 test pictures of 6 by 5.
pub struct Desk {
    pub folder: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Desk {
        let desk = Desk { folder: tempfile::tempdir().unwrap() };
        desk.put(TRAIN_IMAGES, &images(20));
        desk.put(TRAIN_LABELS, &labels(20));
        desk.put(TEST_IMAGES, &images(10));
        desk.put(TEST_LABELS, &labels(10));
        desk
    }

    /// A desk without data.
    pub fn empty() -> Desk {
        Desk { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn put(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// `args` are parted at spaces. No network can be reached.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_elbo"));
        command.current_dir(&self.folder).args(args.split_whitespace()).env_remove("ELBO_DATA").stdin(Stdio::null());
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env(name, DEAD_PROXY);
        }
        command.env("ELBO_CACHE", self.path("cache"));
        // Mesa's device-select layer writes a line like an error where there is no desktop session.
        command.env_remove("NO_PROXY").env_remove("no_proxy").env("NODEVICE_SELECT", "1");
        command
    }

    pub fn run(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs to success; stderr.
    #[track_caller]
    pub fn succeeds(&self, args: &str) -> String {
        let output = self.run(args);
        let stderr = text_of(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "elbo {args}\n{stderr}");
        stderr
    }

    /// Runs to an error of exit code 2 whose message has all of `words`; stderr.
    #[track_caller]
    pub fn fails(&self, args: &str, words: &[&str]) -> String {
        self.fails_with(2, args, words)
    }

    #[track_caller]
    pub fn fails_with(&self, code: i32, args: &str, words: &[&str]) -> String {
        self.refused(self.run(args), code, args, words)
    }

    /// As [`fails`](Desk::fails), with more arguments, which may hold spaces.
    #[track_caller]
    pub fn fails_for(&self, args: &str, more: &[&str], words: &[&str]) -> String {
        let output = self.command(args).args(more).output().unwrap();
        self.refused(output, 2, &format!("{args} {more:?}"), words)
    }

    #[track_caller]
    pub fn refused(&self, output: Output, code: i32, args: &str, words: &[&str]) -> String {
        let stderr = text_of(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "elbo {args}\n{stderr}");
        assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "elbo {args}\n{stderr}");
        assert!(!stderr.contains("panicked"), "elbo {args}\n{stderr}");
        let message = &stderr[stderr.find("error: ").unwrap()..];
        for word in words {
            assert!(message.contains(word), "no {word:?} from elbo {args}\n{stderr}");
        }
        stderr
    }
}

pub fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn json(output: &Output) -> serde_json::Value {
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text_of(&output.stdout)))
}

pub fn idx(sizes: &[u32], body: &[u8]) -> Vec<u8> {
    let magic = 0x800 + sizes.len() as u32;
    let header = std::iter::once(&magic).chain(sizes).flat_map(|n| n.to_be_bytes());
    header.chain(body.iter().copied()).collect()
}

pub fn images(count: u32) -> Vec<u8> {
    let body: Vec<u8> = (0..count * 30).map(|i| (i * 37 % 251) as u8).collect();
    idx(&[count, 6, 5], &body)
}

pub fn labels(count: u32) -> Vec<u8> {
    idx(&[count], &(0..count).map(|i| (i % 10) as u8).collect::<Vec<_>>())
}

/// A PNG of 6 by 4 in one colour.
pub fn plain(colour: [u8; 3]) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(6, 4, image::Rgb(colour)).write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Every file below `folder`, by its path from there.
pub fn files_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => names.push(path.strip_prefix(folder).unwrap().to_str().unwrap().replace('\\', "/")),
            }
        }
    }
    names.sort();
    names
}

/// The epochs that `metrics.csv` has.
pub fn epochs(desk: &Desk, run: &str) -> Vec<usize> {
    let text = desk.text(&format!("{run}/metrics.csv"));
    text.lines().skip(1).map(|line| line.split(',').next().unwrap().parse().unwrap()).collect()
}
