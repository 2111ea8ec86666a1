//! Whether there can be room: asked before anything is allocated, because a system that has none left ends the program
//! instead of answering. And what to make smaller where there is none.

use crate::arena::{Arena, Buffer};
use crate::error::{Error, Result};
use crate::units::memory;

/// What a buffer is for, by what makes it smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Parameters,
    Data,
    Samples,
    Batch,
}

const CAUSES: [Cause; 4] = [Cause::Parameters, Cause::Data, Cause::Samples, Cause::Batch];

impl Cause {
    /// By the names that the arena, the optimiser, a resident data set and the programs of a run give.
    fn of(name: &str) -> Cause {
        let is_data = ["train", "test"].iter().any(|set| name.starts_with(&format!("{set}.")));
        match name {
            "parameters" | "gradients" | "statistics" | "exp_avg" | "exp_avg_sq" | "momentum_buffer" => {
                Cause::Parameters
            }
            "samples" => Cause::Samples,
            _ if is_data => Cause::Data,
            _ if name.starts_with("samples.") => Cause::Samples,
            _ => Cause::Batch,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Cause::Parameters => "parameters, gradients and moments",
            Cause::Data => "the data set",
            Cause::Samples => "the pictures drawn after an epoch",
            Cause::Batch => "the activations of a batch",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Cause::Parameters => {
                "use smaller --hidden and --latent sizes, fewer features in a listed network, or smaller pictures"
            }
            Cause::Data => "use fewer pictures (--train-limit, --test-limit) or smaller ones",
            Cause::Samples => "use fewer --samples",
            Cause::Batch => "use a smaller --batch-size, or smaller pictures and layers",
        }
    }
}

/// What to make smaller so that a buffer of this name gets smaller.
pub fn advice(buffer: &str) -> &'static str {
    Cause::of(buffer).advice()
}

/// What to make smaller so that the arena gets smaller: its largest share.
pub fn advice_for(arena: &Arena) -> &'static str {
    largest(arena).advice()
}

/// Refuses an arena that no host can hold, with `beside` bytes that are kept beside it: a buffer whose elements kernels
/// cannot count, or more bytes in all than the machine has. Errors: those, with the bytes, the largest share of them
/// and what to do about it.
pub fn check(arena: &Arena, beside: usize) -> Result<()> {
    if let Some(buffer) = arena.buffers().iter().find(|buffer| buffer.words > u32::MAX as usize) {
        return Err(Error::Device(format!(
            "there is no memory for {}: it would be {} in one buffer, and kernels count up to {}; {}",
            buffer.name,
            memory(bytes(buffer)),
            memory((u32::MAX as usize).saturating_mul(4)),
            advice(&buffer.name)
        )));
    }
    let (all, cause) = (arena.bytes().saturating_add(beside), largest(arena));
    require(all, &format!("{}, most of it for {}", memory(all), cause.what()), cause.advice())
}

/// What most of the arena is for.
fn largest(arena: &Arena) -> Cause {
    let share = |cause: Cause| {
        let own = arena.buffers().iter().filter(|buffer| Cause::of(&buffer.name) == cause);
        own.map(bytes).fold(0, usize::saturating_add)
    };
    CAUSES.into_iter().max_by_key(|&cause| share(cause)).expect("there are causes")
}

fn bytes(buffer: &Buffer) -> usize {
    buffer.words.saturating_mul(4)
}

/// Refuses more bytes than the machine can give this program at all, whatever else runs on it. `what` needs them,
/// `advice` makes them fewer. Errors: an [`Error::Device`] with both.
pub fn require(bytes: usize, what: &str, advice: &str) -> Result<()> {
    if let Some(most) = machine().filter(|&most| bytes > most) {
        return Err(Error::Device(format!(
            "there is no memory for {what}: this machine has {} in all; {advice}",
            memory(most)
        )));
    }
    // A limit of the process shows only when memory is asked for. It comes page by page, so asking costs nothing.
    if Vec::<u8>::new().try_reserve_exact(bytes).is_err() {
        return Err(Error::Device(format!("there is no memory for {what}: the system refuses it; {advice}")));
    }
    Ok(())
}

/// Bytes of memory and swap of this machine, or of the part of it that this program may use; `None` where the system
/// does not say.
#[cfg(feature = "native")]
fn machine() -> Option<usize> {
    use sysinfo::{MemoryRefreshKind, RefreshKind, System};

    let system = System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::everything()));
    let all = system.total_memory().saturating_add(system.total_swap());
    let most =
        system.cgroup_limits().map_or(all, |limits| all.min(limits.total_memory.saturating_add(system.total_swap())));
    usize::try_from(most).ok().filter(|&most| most > 0)
}

/// A browser does not say.
#[cfg(not(feature = "native"))]
fn machine() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, words: usize) -> String {
        let mut arena = Arena::new();
        arena.tensor("small", &[4]);
        arena.tensor(name, &[words]);
        check(&arena, 0).unwrap_err().to_string()
    }

    #[test]
    fn the_cause_of_the_largest_share_is_named() {
        for (name, word) in [
            ("exp_avg", "--hidden"),
            ("train.data", "--train-limit"),
            ("samples", "--samples"),
            ("samples.y", "--samples"),
            ("encoder.0.y", "--batch-size"),
        ] {
            let one = refused(name, 1 << 40);
            assert!(one.contains("4.0 TiB") && one.contains(name) && one.contains(word), "{one}");
        }
        let mut arena = Arena::new();
        // Each can be counted, and all of them are 64 TiB.
        for i in 0..1 << 12 {
            arena.tensor(format!("fc{i}.y"), &[u32::MAX as usize]);
        }
        let all = check(&arena, 0).unwrap_err().to_string();
        assert!(all.contains("64.0 TiB, most of it for the activations") && all.contains("--batch-size"), "{all}");
    }

    #[test]
    fn products_that_overflow_are_too_much_and_not_little() {
        let message = refused("encoder.0.columns", usize::MAX);
        assert!(message.contains("kernels count"), "{message}");
        let mut arena = Arena::new();
        arena.tensor("x", &[1 << 40, 1 << 40]);
        arena.tensor("y", &[1 << 40, 1 << 40]);
        assert_eq!(arena.bytes(), usize::MAX);
        assert!(check(&arena, 0).is_err());
    }

    #[test]
    fn what_the_machine_has_can_be_asked_for() {
        assert!(require(1 << 20, "a little", "").is_ok());
        let message = require(usize::MAX / 2, "too much", "ask for less").unwrap_err().to_string();
        assert!(message.contains("no memory for too much") && message.contains("ask for less"), "{message}");
    }
}
