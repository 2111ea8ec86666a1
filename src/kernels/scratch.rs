//! Memory that a kernel of the CPU device needs for the length of a call. A thread keeps what it has been given back
//! and lends it out again, so that a training step allocates nothing once each thread has had its share.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Numbers on loan: dropped, they go back to the thread.
pub(crate) struct Scratch {
    memory: Vec<f32>,
    len: usize,
}

/// More than a thread has on loan at any time.
const KEPT: usize = 32;

thread_local! {
    static MEMORY: RefCell<Vec<Vec<f32>>> = RefCell::new(Vec::with_capacity(KEPT));
}

/// `len` numbers that mean nothing.
pub(crate) fn any(len: usize) -> Scratch {
    // The smallest that is large enough, else the largest, which then grows.
    let mut memory = MEMORY.with_borrow_mut(|kept| {
        let fit = |i: &usize| (kept[*i].len() < len, kept[*i].len().abs_diff(len));
        (0..kept.len()).min_by_key(fit).map(|i| kept.swap_remove(i)).unwrap_or_default()
    });
    if memory.len() < len {
        memory.resize(len, 0.0);
    }
    Scratch { memory, len }
}

/// `len` zeros.
pub(crate) fn zeros(len: usize) -> Scratch {
    let mut scratch = any(len);
    scratch.fill(0.0);
    scratch
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        MEMORY.with_borrow_mut(|kept| {
            if kept.len() < KEPT {
                kept.push(memory);
            }
        });
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_lent_again() {
        let at = |scratch: &Scratch| scratch.as_ptr();
        let (mut large, small) = (zeros(1000), zeros(10));
        large.fill(1.0);
        let places = [at(&large), at(&small)];
        drop((large, small));
        let (small, large) = (zeros(10), zeros(999));
        assert_eq!([at(&large), at(&small)], places);
        assert!(large.len() == 999 && large.iter().all(|&v| v == 0.0));
    }
}
