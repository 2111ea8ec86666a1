//! Layers: parameters with `forward(r, x) -> (y, saved)` and `backward(r, saved, dy) -> dx`. No shader text here.
//!
//! `saved` is a value that the backward consumes: running a backward twice, or before its forward, does not compile.

pub mod linear;
pub mod sequential;
