//! Ladders: an operation in numbered rungs, each a kernel with one idea more than the rung before it, up to the
//! production kernel. What a rung adds, and why that is faster, is the header of its shader,
//! `shaders/ladder/<rung>.wgsl`. `elbo ladder` runs them. They have no CPU forms but their references, which the rungs
//! of an operation share.

pub mod batch_norm;
pub mod conv2d;
pub mod matmul;
pub mod reduce;

use crate::cases::Tolerance;
use crate::error::{Error, Result, nearest};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN_SOURCE, Reference, Shader, Source, Text};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// A shape for each of some tensors, or why there are none.
pub type Shapes = std::result::Result<Vec<Vec<usize>>, String>;

/// An operation and the ways to compute it.
pub struct Ladder {
    /// The operation, as `elbo ladder` takes it.
    pub name: &'static str,
    /// What is computed, in one line, with the shapes of what is read.
    pub formula: &'static str,
    /// What the numbers of a size are, in their order.
    pub dimensions: &'static [&'static str],
    /// A size for adapters that run on a CPU, for integrated GPUs, and for all others.
    pub sizes: [&'static [usize]; 3],
    /// The shapes of what is read, or why there are none of this size.
    pub inputs: fn(&[usize]) -> Shapes,
    /// Inputs are drawn evenly from this range.
    pub range: [f32; 2],
    /// The least work, which all rungs are held against.
    pub cost: fn(&[usize]) -> Cost,
    /// Whether memory, and not arithmetic, is what a good rung runs out of.
    pub bound_by_memory: bool,
    /// How far a rung may be from the production kernel.
    pub tolerance: fn(&[usize]) -> Tolerance,
    /// From the first to the last but one.
    pub rungs: &'static [Rung],
    /// What models run: the last rung.
    pub production: Rung,
    /// What its form for adapters that run on a CPU does instead; empty where there is none.
    pub software: &'static str,
    /// What to try beside the usual size.
    pub advice: &'static str,
}

/// One way to compute it: a program of one kernel, or of two.
pub struct Rung {
    /// The kernel's stem, or the production kernel's name.
    pub name: &'static str,
    /// In a few words.
    pub adds: &'static str,
    /// Why it cannot be run at a size, if it cannot.
    pub refuses: fn(&[usize]) -> Option<&'static str>,
    /// Records it on the inputs; returns the result.
    pub record: fn(&mut Recorder, &[usize], &[Tensor]) -> Tensor,
}

/// Every ladder there is.
pub static LADDERS: [&Ladder; 4] = [&matmul::LADDER, &conv2d::LADDER, &reduce::LADDER, &batch_norm::LADDER];

/// The ladder of that name. Errors: none, with the nearest.
pub fn find(name: &str) -> Result<&'static Ladder> {
    LADDERS.into_iter().find(|ladder| ladder.name == name).ok_or_else(|| {
        let names = LADDERS.map(|ladder| ladder.name);
        let hint = nearest(name, names).map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        Error::Usage(format!("no ladder is called `{name}`{hint} (there are {})", names.join(", ")))
    })
}

impl Ladder {
    /// Checks the numbers of a size. Errors: too many or too few, a zero, more than a kernel can count.
    pub fn check(&self, size: &[usize]) -> Result<()> {
        let problem = |what: String| {
            let [name, dimensions] = [self.name, &self.dimensions.join(",")];
            Error::Usage(format!("the size of the {name} ladder is {dimensions}: {what}"))
        };
        if size.len() != self.dimensions.len() {
            return Err(problem(format!("{} numbers are needed and {} given", self.dimensions.len(), size.len())));
        }
        for (dimension, &n) in self.dimensions.iter().zip(size) {
            if n == 0 && *dimension != "padding" {
                return Err(problem(format!("{dimension} is 0")));
            }
        }
        // Kernels count words in 32 bits, and a product of two lengths may be counted too.
        let words = |shape: &[usize]| shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let all_words = words(&size.iter().map(|&n| n.max(1)).collect::<Vec<_>>());
        if size.iter().any(|&n| n > 1 << 30) || all_words.is_none() {
            return Err(problem("that is larger than any adapter's memory".into()));
        }
        let inputs = (self.inputs)(size).map_err(problem)?;
        match inputs.iter().find(|shape| words(shape).is_none_or(|n| n > 1 << 30)) {
            Some(shape) => Err(problem(format!("{shape:?} has more than 2^30 words"))),
            None => Ok(()),
        }
    }
}

// ---- What the rungs' kernels have in common

/// Why rungs have no gradients of their own.
const SHARED: &str = "a rung computes what its production kernel does, and that one is checked";

const fn source(
    file: &'static str,
    text: &'static str,
    common: &'static [Text],
    bindings: &'static [&'static str],
) -> Source {
    Source { file, text, common, bindings, ..PLAIN_SOURCE }
}

/// A rung of one dispatch.
struct Single {
    params: &'static [&'static str],
    reads: &'static [&'static str],
    writes: &'static [&'static str],
    formula: &'static str,
    reference: Reference,
    cost: fn(&[u32]) -> Cost,
}

impl Single {
    const fn kernel(&self, name: &'static str, shader: Shader, cases: fn() -> Vec<crate::cases::Case>) -> Kernel {
        Kernel {
            name,
            formula: self.formula,
            params: self.params,
            reads: self.reads,
            writes: self.writes,
            shader,
            software: None,
            candidates: None,
            reference: self.reference,
            accelerated: None,
            cost: self.cost,
            cases,
            gradients: GradientCheck::None(SHARED),
        }
    }
}

fn takes_any(_: &[usize]) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;

    /// The steps of a rung, recorded at a size.
    fn kernels(ladder: &Ladder, rung: &Rung, size: &[usize]) -> Vec<&'static str> {
        let mut arena = Arena::new();
        let inputs: Vec<_> = (ladder.inputs)(size).unwrap().iter().map(|shape| arena.tensor("input", shape)).collect();
        let mut r = Recorder::new(&mut arena);
        (rung.record)(&mut r, size, &inputs);
        r.finish(rung.name).steps.iter().map(|step| step.kernel.name).collect()
    }

    /// Every kernel of this folder is on a ladder, in the order of its number, and the last rung is a production
    /// kernel.
    #[test]
    fn ladders_hold_every_rung_in_order() {
        let mut climbed = Vec::new();
        for ladder in LADDERS {
            for (n, rung) in ladder.rungs.iter().enumerate() {
                assert!(rung.name.starts_with(&format!("{}_{}_", ladder.name, n + 1)), "{}", rung.name);
                let steps = kernels(ladder, rung, ladder.sizes[0]);
                assert!(steps[0].starts_with(&format!("{}.", rung.name)), "{}: {steps:?}", rung.name);
                climbed.extend(steps);
            }
            let production = kernels(ladder, &ladder.production, ladder.sizes[0]);
            assert_eq!(production[0], ladder.production.name);
            assert!(production.iter().all(|name| name.starts_with(&format!("{}.", ladder.name))), "{production:?}");
        }
        let rungs = crate::kernels::ALL.iter().filter(|kernel| kernel.shader.source.file.starts_with("ladder/"));
        for kernel in rungs {
            assert!(climbed.contains(&kernel.name), "{} is on no ladder", kernel.name);
        }
        assert!(LADDERS.map(|l| l.rungs.len()).into_iter().zip([6, 4, 4, 3]).all(|(rungs, least)| rungs >= least));
    }

    #[test]
    fn sizes_are_checked() {
        for ladder in LADDERS {
            for size in ladder.sizes {
                ladder.check(size).unwrap();
                assert!(ladder.rungs.iter().all(|rung| (rung.refuses)(size).is_none()), "{} {size:?}", ladder.name);
            }
            assert!(ladder.check(&[]).is_err());
            assert!(ladder.check(&vec![0; ladder.dimensions.len()]).is_err());
            assert!(ladder.check(&vec![usize::MAX; ladder.dimensions.len()]).is_err());
            assert!(ladder.check(&vec![1 << 20; ladder.dimensions.len()]).is_err() || ladder.dimensions.len() == 1);
        }
        assert!(conv2d::LADDER.check(&[1, 3, 4, 4, 5, 1, 0]).is_err(), "a window of 5 does not fit a picture of 3");
    }

    #[test]
    fn an_unknown_ladder_is_a_usage_error_with_the_nearest() {
        let message = find("matmull").err().unwrap().to_string();
        assert!(message.contains("did you mean `matmul`?") && message.contains("batch_norm"), "{message}");
    }
}
