#!/usr/bin/env bash
# Installs what `make run` needs beside a Rust toolchain; does nothing where all of it is there.
set -euo pipefail
. "$(dirname "$0")/apt.sh"

if ! command -v cargo >/dev/null; then
    echo "trunkline is written in Rust and 'cargo' is not here. Install it from https://rustup.rs and try again." >&2
    exit 1
fi
need cc build-essential "compiles SQLite, which is built into the binary"
need make make "builds jemalloc, which is built into the binary"
need cmake cmake "configures libopus, which is built into the binary"
need flite flite "speaks English text on calls, offline"
need espeak-ng espeak-ng "speaks text in other languages, offline"
need curl curl "runs the example requests that are printed"
install_needed
