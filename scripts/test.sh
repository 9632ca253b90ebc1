#!/usr/bin/env bash
# Runs every test and says how many were skipped, and why.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/postgres.sh
output=$(mktemp)
trap 'stop_postgres; rm -f "$output"' EXIT
start_postgres

# End-to-end tests mostly wait for calls to take place: more of them than cores can run side by side.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
status=0
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$output" || status=$?
scripts/fuzz.sh "${FUZZ_SECONDS:-10}" 2>&1 | tee -a "$output" || status=$?

scripts/schemathesis.sh 2>&1 | tee -a "$output" || status=$?

# Skips are told by a line that begins with SKIP:, written past the test harness's capture.
skips=$(grep -ao 'SKIP: .*' "$output" | sort -u || true)
echo
if [ -n "$skips" ]; then
    echo "skipped: $(wc -l <<<"$skips")"
    echo "$skips"
else
    echo "skipped: 0"
fi
exit "$status"
