//! Files and texts with bytes changed, cut, doubled and put in: whatever comes of it, what reads them returns. The same
//! targets as the fuzzer's (`scripts/fuzz.sh`), which finds its bytes by coverage and needs a nightly compiler; this
//! runs everywhere.

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, reason = "the fuzzer uses the list of targets")]
mod targets;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// A change of bytes: what, where, how many, and with which value.
type Edit = (u8, Index, usize, u8);

/// Numbers at which sizes and counts turn.
const TURNS: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

fn edited(seed: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for &(what, place, count, value) in edits {
        if bytes.is_empty() {
            return bytes;
        }
        let at = place.index(bytes.len());
        let end = (at + count).min(bytes.len());
        match what % 7 {
            0 => bytes[at] = value,
            1 => bytes[at] ^= 1 << (value % 8),
            2 => bytes[at..end].fill(TURNS[value as usize % TURNS.len()]),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..end)),
            5 => bytes.extend_from_within(at..end),
            // In texts: another digit, sign or bracket.
            _ => bytes[at] = b"0123456789-.,() \n\"=[]kspdge"[value as usize % 27],
        }
    }
    bytes
}

fn withstands(target: &str, cases: u32) {
    let seeds = targets::seeds(target);
    // A seed is read as it is; edits start from there.
    seeds.iter().for_each(|seed| targets::run(target, seed));
    let edits = vec((any::<u8>(), any::<Index>(), 1usize..9, any::<u8>()), 0..6);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let property = |(seed, edits): (Index, Vec<Edit>)| {
        targets::run(target, &edited(&seeds[seed.index(seeds.len())], &edits));
        Ok(())
    };
    TestRunner::new(config).run(&(any::<Index>(), edits), property).unwrap_or_else(|e| panic!("{target}: {e}"));
}

#[test]
fn idx_files() {
    withstands("idx", 400);
}

#[test]
fn numpy_files() {
    withstands("npy", 400);
    withstands("npz", 200);
}

#[test]
fn tables() {
    withstands("table", 400);
}

#[test]
fn texts() {
    withstands("text", 400);
}

#[test]
fn recordings() {
    withstands("wav", 400);
}

#[test]
fn series() {
    withstands("series", 400);
}

#[test]
fn models_and_states() {
    withstands("safetensors", 200);
    withstands("state", 100);
}

#[test]
fn records_and_settings() {
    withstands("run", 200);
    withstands("settings", 300);
}

#[test]
fn networks() {
    withstands("network", 400);
}

#[test]
fn archives_and_pictures() {
    withstands("cifar", 100);
    withstands("picture", 200);
}
