#!/usr/bin/env bash
# The whole protocol on this machine, in the order peer, ours, peer: rows, ratios. On a machine that does nothing else.
#
#     bash benches/run.sh [OUT]          results go to OUT, by default benches/results/DATE-HOST
#
# Peers that cannot be built or run here are named and left out. Environment, with defaults:
#   THREADS   threads of the CPU for all: one a core
#   DEVICES   elbo's devices: `cpu gpu` (gpu is left out where there is no adapter)
#   BATCHES   64,128,512,4096
#   PEERS     libtorch pytorch jax burn
#   OPTIONS   more for every `elbo bench`, e.g. `--to-loss` or `--only steps,start`
#   WINDOWS   5 windows of each measurement, each of WINDOW seconds: 1
set -euo pipefail
cd "$(dirname "$0")/.."

threads=${THREADS:-$(getconf _NPROCESSORS_ONLN)}
devices=${DEVICES:-cpu gpu}
batches=${BATCHES:-64,128,512,4096}
peers=${PEERS:-libtorch pytorch jax burn}
windows=(--windows "${WINDOWS:-5}" --seconds "${WINDOW:-1}")
out=${1:-benches/results/$(date -u +%F)-$(uname -n)}
read -ra options <<<"${OPTIONS:-}"

mkdir -p "$out"
out=$(cd "$out" && pwd)
inputs=$(mktemp -d)/inputs.safetensors
trap 'rm -rf "$(dirname "$inputs")"' EXIT

# Mesa's software adapter takes all cores unless it is told.
export LP_NUM_THREADS=$threads NODEVICE_SELECT=1
missing=()

cargo build --release
elbo=${CARGO_TARGET_DIR:-target}/release/elbo
"$elbo" bench inputs "$inputs"

has() { [[ " $peers " == *" $1 "* ]]; }
cuda=$(python3 -c 'import torch; print("yes" if torch.cuda.is_available() else "no")' 2>/dev/null || echo none)

libtorch() { # number
    (cd benches/libtorch && LIBTORCH_USE_PYTORCH=1 CARGO_TARGET_DIR=target NVIDIA_TF32_OVERRIDE=0 cargo run --release -- \
        --inputs "$inputs" --out "$out/libtorch-cpu-$1.csv" --threads "$threads" --batch "$batches" "${windows[@]}") ||
        return
    if [ "$cuda" = yes ]; then
        (cd benches/libtorch && LIBTORCH_USE_PYTORCH=1 CARGO_TARGET_DIR=target NVIDIA_TF32_OVERRIDE=0 cargo run --release -- \
            --inputs "$inputs" --out "$out/libtorch-cuda-$1.csv" --device cuda --batch "$batches" "${windows[@]}")
    fi
}

pytorch() {
    python3 benches/libtorch/peer.py --inputs "$inputs" --out "$out/pytorch-cpu-$1.csv" --threads "$threads" \
        --mode eager,compile --batch "$batches" "${windows[@]}" || return
    if [ "$cuda" = yes ]; then
        python3 benches/libtorch/peer.py --inputs "$inputs" --out "$out/pytorch-cuda-$1.csv" --device cuda \
            --mode eager,graph,compile --batch "$batches" "${windows[@]}"
    fi
}

# On the accelerator that JAX finds, else on the CPU.
jax() {
    python3 benches/jax/peer.py --inputs "$inputs" --out "$out/jax-$1.csv" --threads "$threads" --batch "$batches" \
        "${windows[@]}"
}

burn() {
    (cd benches/burn && CARGO_TARGET_DIR=target cargo run --release -- --inputs "$inputs" --out "$out/burn-$1.csv" \
        --model mnist-mlp --batch "$batches" --only steps,start "${windows[@]}")
}

all_peers() {
    for peer in libtorch pytorch jax burn; do
        if has "$peer"; then
            "$peer" "$1" || missing+=("$peer, run $1")
        fi
    done
}

all_peers 1
for device in $devices; do
    "$elbo" bench --device "$device" --threads "$threads" --batch "$batches" --out "$out/elbo-$device" "${windows[@]}" \
        ${options[@]+"${options[@]}"} || missing+=("elbo on $device")
done
all_peers 2

"$elbo" bench compare "$out" | tee "$out/ratios.txt" || missing+=("the ratios")
for what in ${missing[@]+"${missing[@]}"}; do
    echo "not measured: $what" | tee -a "$out/ratios.txt"
done
