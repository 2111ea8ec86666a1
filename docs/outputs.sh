#!/usr/bin/env bash
# Writes the outputs and the pictures of measurements that the guide shows, on this machine: docs/src/output/ and the
# charts in docs/src/images/. Run it on an otherwise idle machine; a program in $ELBO is taken instead of a new build.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${ELBO:-}" ]; then
    cargo build --release
    ELBO=${CARGO_TARGET_DIR:-target}/release/elbo
fi
machine="$(date -u +%F), $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sed -n 1p)"
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT

# A command, and what it prints. Some are expected to fail: they find a fault that was put in.
output() {
    local name=$1
    shift
    {
        echo "\$ elbo $*"
        "$ELBO" "$@" 2>&1 || true
        echo
        echo "$machine"
    } >"docs/src/output/$name.txt"
    echo "docs/src/output/$name.txt"
}

output check check reparameterise
output lockstep_adam lockstep mnist-mlp --break adam.forward:no_correction
output lockstep_assign lockstep mnist-mlp --break matmul.backward_w:assign
output lockstep_momentum lockstep mnist-conv --break batch_norm.backward_x:constant_mean
output ladder_matmul ladder matmul --chart "$scratch/ladder_matmul.png"
output profile profile mnist-mlp --device gpu --out "$scratch/profile"
cp "$scratch/ladder_matmul.png" docs/src/images/ladder_matmul.png
cp "$scratch/profile/roofline.png" docs/src/images/roofline.png
