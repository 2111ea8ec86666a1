#!/usr/bin/env bash
# Runs every target of fuzz/ for a minute, or for as many seconds as the first argument says; further arguments are targets.
# What cannot run here is named: cargo-fuzz needs a nightly compiler. `cargo test --test program mutations` runs
# everywhere.
#
#     bash scripts/fuzz.sh [SECONDS [TARGET ..]]
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=${1:-60}
targets=("${@:2}")
if [ "${#targets[@]}" -eq 0 ]; then
    targets=(idx npy npz safetensors state run settings network cifar picture)
fi

not_run() {
    echo "NOT RUN: ${targets[*]}: $1"
    exit 0
}

command -v rustup >/dev/null || not_run "there is no rustup to choose a nightly compiler with"
rustup run nightly rustc --version >/dev/null 2>&1 || not_run "there is no nightly compiler: rustup toolchain install nightly"
cargo +nightly fuzz --version >/dev/null 2>&1 || not_run "there is no cargo-fuzz: cargo install cargo-fuzz"

cargo +nightly run --bin seeds
failed=()
for target in "${targets[@]}"; do
    # A file may say that it is large, and that is no fault unless memory is taken before it is read.
    cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=4096 -timeout=20 ||
        failed+=("$target")
done
if [ "${#failed[@]}" -gt 0 ]; then
    echo "failed: ${failed[*]}; what made them fail is in fuzz/artifacts" >&2
    exit 1
fi
echo "$seconds s each: ${targets[*]}"
