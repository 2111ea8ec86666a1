//! An array is in memory once, from its file to the device. One test alone in its program: what others allocate would
//! be counted too.

mod common;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::data::{self, Choice, Form, Preparation, Selection};
use elbo::instruments::bench::memory;
use elbo::train::run_folder::RunFolder;
use elbo::train::settings::Settings;
use elbo::train::trainer::Trainer;

/// Pictures of 64 x 64.
const COUNT: usize = 48 * 1024;
const BYTES: usize = COUNT * 64 * 64;

#[test]
fn an_array_is_in_memory_once() {
    let Some(before) = memory::resident() else {
        common::say("NOT RUN: this system does not tell a process its memory in /proc/self/status");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({COUNT}, 64, 64), }}\n");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"\x93NUMPY\x01\x00").unwrap();
    file.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    // White at both ends, and a hole of zeros between them.
    file.write_all(&[255; 64]).unwrap();
    file.seek(SeekFrom::Current(BYTES as i64 - 128)).unwrap();
    file.write_all(&[255; 64]).unwrap();
    drop(file);

    let data = data::open(
        Choice::Array,
        Some(&path),
        &Preparation::default(),
        &Form::default(),
        Selection::ByName,
        [None; 2],
        &mut |_| (),
    )
    .unwrap();
    let read = memory::peak().unwrap() - before;
    let preset = Settings::of_preset("mnist-mlp").unwrap();
    let settings = preset.with("hidden = [8]\nlatent = 2\nbatch_size = 8\nsamples = 1").unwrap();
    let run = RunFolder::create(folder.path().join("run")).unwrap();
    let trainer = Trainer::new(settings, data, &Device::Cpu(Cpu::Accelerated), run, false).unwrap();
    let trained = memory::peak().unwrap() - before;
    drop(trainer);
    // A tenth more is the test pictures on their way out of the others, and the piece on its way to the device.
    for (gained, when) in [(read, "read"), (trained, "ready to train")] {
        assert!(gained > BYTES * 9 / 10 && gained < BYTES * 23 / 20, "{when}: {gained} bytes for an array of {BYTES}");
    }
}
