//! What PyTorch recorded, and how to compare with it. ../golden/README.md says what the files hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use elbo::arena::Arena;
use elbo::cases::Tolerance;
use elbo::check::close::compare;
use elbo::train::checkpoint::Checkpoint;

/// A golden file.
pub struct Golden {
    path: PathBuf,
    pub file: Checkpoint,
}

impl Golden {
    pub fn read(name: &str) -> Golden {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.safetensors"));
        Golden { file: Checkpoint::read(&path).unwrap(), path }
    }

    /// The values of a tensor that must have this shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> &[f32] {
        self.file.tensor(name, shape, &self.path).unwrap()
    }

    /// Shape and values.
    pub fn any(&self, name: &str) -> (&[usize], &[f32]) {
        let (shape, values) = self.file.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"));
        (shape, values)
    }

    /// An entry of the metadata, if there.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.file.metadata.get(key).map(String::as_str)
    }

    /// A whole number of the metadata.
    pub fn size(&self, key: &str) -> usize {
        self.file.metadata[key].parse().unwrap()
    }

    /// Whole numbers with commas between, if there.
    pub fn sizes(&self, key: &str) -> Option<Vec<usize>> {
        Some(self.text(key)?.split(',').map(|n| n.parse().unwrap()).collect())
    }
}

// ---- Comparing

pub fn check(what: String, got: &[f32], want: &[f32], tolerance: Tolerance, failures: &mut Vec<String>) {
    failures.extend(compare(got, want, tolerance).err().map(|m| format!("{what}: {m}")));
}

/// Compares after dividing both by the largest element of `want`; zeros must be zeros.
pub fn check_relative(what: String, got: &[f32], want: &[f32], tolerance: Tolerance, failures: &mut Vec<String>) {
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let tolerance = if largest == 0.0 { Tolerance::Exact } else { tolerance };
    let scaled = |values: &[f32]| values.iter().map(|v| v / largest.max(f32::MIN_POSITIVE)).collect::<Vec<f32>>();
    check(what, &scaled(got), &scaled(want), tolerance, failures);
}

/// Fails with the number of differences and the first ten.
#[track_caller]
pub fn assert_none(what: &str, failures: &[String]) {
    let shown = failures.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{what}, {} differences:\n{shown}", failures.len());
}

// ---- Values by formula

/// lowbias32, a permutation of the 32-bit integers.
fn mixed(mut x: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}

/// Element `index` of a stream of numbers in [0,1).
pub fn unit(stream: usize, index: usize) -> f64 {
    let h = mixed((stream as u32).wrapping_mul(0x9e37_79b9).wrapping_add(index as u32));
    f64::from(h >> 8) / f64::from(1 << 24)
}

/// The initial parameters of a convolutional network that need no file, by name, in PyTorch's order.
pub fn initial_by_formula(arena: &Arena) -> BTreeMap<String, Vec<f32>> {
    let parameters = arena.parameters();
    let values = parameters.iter().enumerate().map(|(stream, p)| {
        let (layer, kind) = p.name.rsplit_once('.').unwrap();
        let weight = parameters.iter().find(|w| w.name == format!("{layer}.weight")).unwrap();
        let values = match weight.layout.file_shape(weight.value.shape())[..] {
            // Batch norm.
            [_] => vec![if kind == "weight" { 1.0 } else { 0.0 }; p.value.len()],
            [_, ref rest @ ..] => {
                let bound = 1.0 / (rest.iter().product::<usize>() as f64).sqrt();
                (0..p.value.len()).map(|i| (bound * (2.0 * unit(stream, i) - 1.0)) as f32).collect()
            }
            [] => unreachable!("{} has dimensions", p.name),
        };
        (p.name.clone(), values)
    });
    values.collect()
}
