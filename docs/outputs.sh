#!/usr/bin/env bash
# Writes the outputs and the pictures of measurements that the guide shows, on this machine: docs/src/output/ and the
# charts in docs/src/images/. Run it on an otherwise idle machine; a program in $ELBO is taken instead of a new build.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${ELBO:-}" ]; then
    cargo build --release
    ELBO=${CARGO_TARGET_DIR:-target}/release/elbo
fi
elbo=$(realpath "$ELBO")
guide=$PWD/docs/src
machine="$(date -u +%F), $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | sed -n 1p)"
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT
cd "$scratch"

# A command, and what it prints. Exit code 1 is a finding: a fault that was put in.
output() {
    local name=$1 code=0
    shift
    echo "elbo $*"
    "$elbo" "$@" >"$name.txt" 2>&1 || code=$?
    if [ "$code" -gt 1 ]; then
        cat "$name.txt" >&2
        exit "$code"
    fi
    { echo "\$ elbo $*" && cat "$name.txt" && echo && echo "$machine"; } >"$guide/output/$name.txt"
}

output check check reparameterise
output lockstep_adam lockstep mnist-mlp --break adam.forward:no_correction
output lockstep_assign lockstep mnist-mlp --break matmul.backward_w:assign
output lockstep_mean lockstep mnist-conv --break batch_norm.backward_x:constant_mean
output ladder_matmul ladder matmul --chart ladder_matmul.png
output profile profile mnist-mlp --device gpu --out profile
cp ladder_matmul.png profile/roofline.png "$guide/images/"
