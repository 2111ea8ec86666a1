#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| elbo_fuzz::run("series", data));
