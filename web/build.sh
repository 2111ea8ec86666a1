#!/usr/bin/env bash
# Builds the studio into web/dist: static files for any server. Needs cargo alone.
#
# With a toolchain of rustup: `rustup target add wasm32-unknown-unknown`. Where that cannot be had, the standard library
# is built from its source, which Debian has for many versions of the compiler.
set -euo pipefail
cd "$(dirname "$0")"

target=wasm32-unknown-unknown
cargo=(cargo build --release --target "$target")
export RUSTFLAGS="-C target-feature=+simd128"

std_source() {
    local library version mirror release index path
    library=$(rustc --print sysroot)/lib/rustlib/src/rust/library
    [ -f "$library/Cargo.lock" ] && return
    version=$(rustc --version | cut -d' ' -f2)
    echo "There is no standard library for $target: looking for the source of Rust $version"
    if [ "$(command -v rustup)" ] && rustup component add rust-src 2>/dev/null; then
        return
    fi
    # Where this system's own packages come from.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        grep -m1 '/debian/$' || true)
    for release in ${mirror:+bookworm-backports trixie trixie-backports forky sid}; do
        index=${mirror}dists/$release/main/binary-all/Packages.xz
        path=$(curl -sf --max-time 120 "$index" | xz -dc | awk -v want="$version" '
            /^Package: / { package = $2 }
            /^Version: / { version = $2 }
            /^Filename: / { if (package == "rust-src" && index(version, want) == 1) print $2 }') || true
        if [ -n "$path" ]; then
            curl -sf --max-time 300 -o target/rust-src.deb "$mirror$path"
            mkdir -p target/rust-src "$(dirname "$library")"
            dpkg-deb --fsys-tarfile target/rust-src.deb | tar -x -C target/rust-src --wildcards "./usr/src/*/library/*"
            mv target/rust-src/usr/src/*/library "$library"
            rm -rf target/rust-src target/rust-src.deb
            return
        fi
    done
    echo "error: no source of Rust $version found. Run: rustup target add $target" >&2
    return 1
}

mkdir -p target
if ! ls "$(rustc --print sysroot)/lib/rustlib/$target/lib" >/dev/null 2>&1; then
    std_source
    export RUSTC_BOOTSTRAP=1
    cargo+=(-Z build-std=std,panic_abort)
fi
"${cargo[@]}"

built=${CARGO_TARGET_DIR:-target}/$target/release/elbo_web.wasm
rm -rf dist
mkdir -p dist/engine
(
    unset RUSTFLAGS
    cargo run --quiet --manifest-path bindgen/Cargo.toml -- "$built" dist/engine
)

cp page/*.html page/*.css page/*.js dist/
# What a reader of kernels looks up.
mkdir -p dist/source
cp -r ../src/kernels dist/source/
echo "web/dist: $(du -sh dist | cut -f1); the module $(stat -c %s dist/engine/elbo_web_bg.wasm) bytes"
