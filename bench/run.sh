#!/usr/bin/env bash
# run.sh [TARGET] WORKLOAD...: measures with the load driver beside the checkout (or in $BENCH_DRIVER), release build.
#   w1  REGISTER with digest          w2  bridged calls, no media: INVITE to BYE on both legs
#   w3  bridged calls with G.711      w4  originate through the API, a 3 s prompt a call      w5  start-up and memory
# TARGET is a file here: trunkline (else), originate (w4), kamailio, kamailio-rtpengine (Debian's packages). Options of
# the driver go last (--runs 2, --top 3200, --ladder 100,600, --at 600).
set -euo pipefail
cd "$(dirname "$0")/.."
driver=${BENCH_DRIVER:-../shared/bench}
if [ ! -f "$driver/bench.py" ]; then
    echo "The load driver is not in $driver; say where it is in BENCH_DRIVER." >&2
    exit 1
fi
target=trunkline
case "${1-}" in
w4) target=originate ;;
w*) ;;
*)
    if [ ! -f "bench/${1-}.json" ]; then
        sed -n '2,6s/^# //p' "$0" >&2
        exit 2
    fi
    target=$1
    shift
    ;;
esac
work=${CARGO_TARGET_DIR:-target}/bench
mkdir -p "$work"
work=$(cd "$work" && pwd)
cargo build --release --locked --package trunkline
BENCH_BINARY=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)/trunkline
export BENCH_BINARY
cp -r "$driver/." "$work"
cp bench/plugins/*.py "$work/plugins/"
cp bench/people.py "$work/"
cp bench/*.json "$work/targets/"
mkdir -p "$work/results"
if [ ! -x "$work/rtpcall-bin" ]; then
    (cd "$work/rtpcall" && CARGO_TARGET_DIR=$work/rtpcall-target cargo build --release --quiet)
    cp "$work/rtpcall-target/release/rtpcall" "$work/rtpcall-bin"
fi
cd "$work"
exec python3 bench.py "targets/$target.json" "$@"
