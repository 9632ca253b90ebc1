#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET...]: fuzzes each target for so long, from our own seeds and, where they are, other people's.
# What makes a target fail is left in fuzz/artifacts; the target's binary with that file as its argument repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?fuzz.sh SECONDS [TARGET...]}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(message uri sdp rtp endpoint call)

# libFuzzer's instrumentation by stable means: LLVM's own pass, no sanitizer of memory (nothing here is unsafe).
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions"
built=${CARGO_TARGET_DIR:-target}/fuzz
cargo build --quiet --locked --release --manifest-path fuzz/Cargo.toml --target-dir "$built" --bins \
    --target "$(rustc -vV | sed -n 's/^host: //p')"

corpora=${TRUNKLINE_CORPORA:-../shared/corpora}
seeds=$(mktemp -d)
trap 'rm -rf "$seeds"' EXIT
seed() { # TARGET ARCHIVE
    mkdir -p "$seeds/$1"
    if [ -f "$corpora/fuzz/pjproject/$2" ]; then
        unzip -q -o "$corpora/fuzz/pjproject/$2" -d "$seeds/$1"
    fi
}
[ -d "$corpora/fuzz/pjproject" ] || echo "SKIP: fuzz seeds of other projects: $corpora/fuzz/pjproject is not there"
seed message fuzz-sip_seed_corpus.zip
seed endpoint fuzz-sip_seed_corpus.zip
seed uri fuzz-uri_seed_corpus.zip
seed sdp fuzz-sdp_seed_corpus.zip
seed rtp fuzz-rtp_seed_corpus.zip
seed rtp fuzz-rtcp_seed_corpus.zip
mkdir -p "$seeds/call"

status=0
for target in "${targets[@]}"; do
    corpus=${CARGO_TARGET_DIR:-target}/fuzz-corpus/$target
    mkdir -p "$corpus" "fuzz/artifacts"
    folders=("$corpus" "$seeds/$target")
    case $target in message | endpoint) folders+=(crates/sip/tests/corpora/rfc4475) ;; esac
    log=$seeds/$target.log
    if "$built"/*/release/"$target" "${folders[@]}" -max_total_time="$seconds" -max_len=8192 -timeout=10 \
        -rss_limit_mb=2048 -artifact_prefix="fuzz/artifacts/$target-" -print_final_stats=1 >"$log" 2>&1; then
        echo "fuzz $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s, nothing found"
    else
        echo "fuzz $target: FAILED"
        grep -a -A3 "panicked at" "$log" || true
        tail -30 "$log"
        status=1
    fi
done
exit $status
