#!/usr/bin/env bash
# Asks every route of /v1 of a server of its own what /openapi.json allows and what it does not, with all checks.
set -euo pipefail
cd "$(dirname "$0")/.."
st=${XDG_CACHE_HOME:-$HOME/.cache}/trunkline-tools/schemathesis/bin/st
if [ ! -x "$st" ]; then
    echo "SKIP: schemathesis is not installed (scripts/install-test-tools.sh gets it with python3 and pip)"
    [ "${CI:-}" != true ]
    exit
fi
cargo build --quiet --locked --package trunkline
binary=${CARGO_TARGET_DIR:-target}/debug/trunkline
folder=$(mktemp -d)
port=$((20000 + RANDOM % 10000))
key=tl_schemathesis_0123456789
# Nothing is limited here: refusals for asking too often would hide the others.
TRUNKLINE_HTTP_LISTEN=127.0.0.1:$port TRUNKLINE_SIP_LISTEN=127.0.0.1:0 TRUNKLINE_DATA_DIR=$folder/data \
    TRUNKLINE_BOOTSTRAP_KEY=$key TRUNKLINE_REQUESTS_PER_SECOND=1000000 TRUNKLINE_WRONG_KEYS_PER_MINUTE=1000000 \
    TRUNKLINE_LOG=warn "$binary" serve >"$folder/log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$folder"' EXIT
for _ in $(seq 100); do
    curl -fs "http://127.0.0.1:$port/health" >/dev/null && break
    kill -0 $server || { cat "$folder/log"; exit 1; }
    sleep 0.1
done
cat >"$folder/schemathesis.toml" <<TOML
[generation]
# As every header on the wire.
codec = "ascii"

[checks.positive_data_acceptance]
# No schema can say whether a number may be called, a host is reachable or a place is one in this list.
expected-statuses = ["2xx", "400", "401", "403", "404", "409", "422", "429", "503"]
TOML
# One check is left out: it takes a call that was placed just now to have a recording.
run() {
    (cd "$folder" && "$st" --config-file schemathesis.toml run "http://127.0.0.1:$port/openapi.json" \
        --header "Authorization: Bearer $key" --checks all \
        --exclude-checks ensure_resource_availability --max-examples "${SCHEMATHESIS_EXAMPLES:-20}" \
        --max-time "${SCHEMATHESIS_SECONDS:-150}" --request-timeout 20 --seed 1 "$@")
}
status=0
# Rotated or revoked, the key of this run would open nothing more: that is left to its own run at the end.
# A stopped SIP server would refuse what the others ask for.
for part in "--exclude-operation-id keys_rotate --exclude-operation-id keys_revoke --exclude-operation-id events_stream --exclude-operation-id sip_stop" \
    "--include-operation-id keys_rotate --include-operation-id keys_revoke --phases examples,coverage"; do
    run $part "$@" || status=1
done
if grep -q 'panicked at' "$folder/log"; then
    cat "$folder/log"
    status=1
fi
exit $status
