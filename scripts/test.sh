#!/usr/bin/env bash
# Runs every test, those of the GPU kernels too: where Linux has no Vulkan adapter, Mesa's software driver (lavapipe)
# is installed first. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

# Mesa's device-select layer complains about XDG_RUNTIME_DIR on machines without a desktop session.
export NODEVICE_SELECT=1
export ELBO_REQUIRE_GPU=1

# The program as the tests build it: a plain `cargo build` would compile wgpu again, with fewer features.
cargo test --no-run
elbo=${CARGO_TARGET_DIR:-target}/debug/elbo

has_adapter() {
    grep '"backend"' <<<"$("$elbo" devices --json)" | grep -qv '"cpu"'
}

install_driver() {
    local refresh=() install=() sudo=()
    if command -v apt-get >/dev/null; then
        refresh=(apt-get update)
        install=(apt-get install -y mesa-vulkan-drivers libvulkan1)
    elif command -v dnf >/dev/null; then
        install=(dnf install -y mesa-vulkan-drivers vulkan-loader)
    elif command -v pacman >/dev/null; then
        install=(pacman -Sy --noconfirm --needed vulkan-swrast vulkan-icd-loader)
    elif command -v zypper >/dev/null; then
        install=(zypper --non-interactive install libvulkan_lvp libvulkan1)
    elif command -v apk >/dev/null; then
        install=(apk add mesa-vulkan-swrast vulkan-loader)
    else
        echo "error: no Vulkan adapter. Install the Vulkan loader and Mesa's lavapipe driver, then run this again." >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        sudo=(sudo -n)
    fi
    echo "No Vulkan adapter: installing Mesa's software driver: ${install[*]}"
    # `${a[@]+...}`: bash before 4.4 calls an empty array unset.
    if [ "${#refresh[@]}" -gt 0 ]; then
        ${sudo[@]+"${sudo[@]}"} "${refresh[@]}" || true
    fi
    DEBIAN_FRONTEND=noninteractive ${sudo[@]+"${sudo[@]}"} "${install[@]}" && has_adapter && return
    echo "error: no Vulkan adapter, and Mesa's software driver could not be installed from here." >&2
    echo "Run this as root, then this script again:" >&2
    if [ "${#refresh[@]}" -gt 0 ]; then
        echo "    ${refresh[*]}" >&2
    fi
    echo "    ${install[*]}" >&2
    return 1
}

if ! has_adapter; then
    if [ "$(uname -s)" != Linux ]; then
        echo "error: no Metal or DX12 adapter; run \`cargo test\` for the tests that need none" >&2
        exit 1
    fi
    install_driver
fi

adapter=$("$elbo" devices | sed -n 1p)
cargo test "$@"
echo "All tests passed; the GPU kernels ran on: $adapter"
