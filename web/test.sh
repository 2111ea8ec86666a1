#!/usr/bin/env bash
# Builds the studio and tests it in Chromium: the page on its stand-in and on the engine, the engine's shaders in the
# browser's compiler, and a run against the program's. --check also runs every kernel's cases: minutes.
set -euo pipefail
cd "$(dirname "$0")"

chromium=${CHROMIUM:-$(command -v chromium || command -v google-chrome || true)}
if [ -z "$chromium" ]; then
    echo "error: no Chromium: install it (Debian: apt-get install chromium) or name it by CHROMIUM=" >&2
    exit 1
fi
export CHROMIUM=$chromium

(cd test && npm ci --silent)
bash build.sh
(cd .. && cargo build --quiet)
program=$(realpath "${CARGO_TARGET_DIR:-../target}/debug/elbo")

cd test
node --test units.mjs
node page.mjs
node page.mjs --real --folder ../dist --device cpu
arguments=(--program "$program")
if [ "${1:-}" = --check ]; then
    arguments+=(--check "")
fi
node engine.mjs "${arguments[@]}"
