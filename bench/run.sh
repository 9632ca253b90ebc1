#!/usr/bin/env bash
# run.sh WORKLOAD...: measures trunkline with the load driver beside the checkout (or in $BENCH_DRIVER), release build.
#   w4  originate through the API, a 3 s prompt a call: CPU a call, answer to first media, most calls a second
# Peers are measured by the same driver with their own target files: in turn, on a quiet machine.
set -euo pipefail
cd "$(dirname "$0")/.."
driver=${BENCH_DRIVER:-../shared/bench}
if [ ! -f "$driver/bench.py" ]; then
    echo "The load driver is not in $driver; say where it is in BENCH_DRIVER." >&2
    exit 1
fi
work=${CARGO_TARGET_DIR:-target}/bench
mkdir -p "$work"
work=$(cd "$work" && pwd)
cargo build --release --locked --package trunkline
BENCH_BINARY=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/trunkline
export BENCH_BINARY
cp -r "$driver/." "$work"
cp bench/plugins/*.py "$work/plugins/"
cp bench/trunkline.json "$work/targets/"
mkdir -p "$work/results"
if [ ! -x "$work/rtpcall-bin" ]; then
    (cd "$work/rtpcall" && CARGO_TARGET_DIR=$work/rtpcall-target cargo build --release --quiet)
    cp "$work/rtpcall-target/release/rtpcall" "$work/rtpcall-bin"
fi
cd "$work"
exec python3 bench.py targets/trunkline.json "$@"
