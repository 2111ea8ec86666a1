//! Training as a whole, on the CPU device and on the best adapter: what a run computes, that it repeats itself bit by
//! bit, goes on where it stopped, and stops when it should. Small models on a few of the built-in digits.

mod augmentation;
#[path = "../common/mod.rs"]
mod common;
mod cost;
mod losses;
mod models;
mod repeating;
mod runs;
mod statistics;
mod stopping;
