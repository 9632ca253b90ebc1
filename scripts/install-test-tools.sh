#!/usr/bin/env bash
# Installs what `make test` needs: real SIP clients and servers to test against, and cargo-deny.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh
. scripts/apt.sh

need sipp sip-tester "plays the far ends of calls: busy, no answer, digest challenges, early media"
need baresip baresip-core "a phone that answers calls; what it heard is judged"
need unzip unzip "unpacks the seeds of the fuzz targets"
need kamailio kamailio "a SIP provider's proxy in between, with digest"
need linphonec linphone-cli "a phone that calls, transfers and is told what to do line by line"
need sipsak sipsak "one SIP request and what came of it"
need chromium chromium "phones in a browser: SIP over WebSocket, ICE, DTLS-SRTP"
need npm npm "fetches the libraries those phones are made of"
# A module, not a program: the registrar the phones are tried against speaks WebSocket and TLS.
if ! compgen -G '/usr/lib/*/kamailio/modules/websocket.so' >/dev/null; then
    echo "missing: kamailio-websocket-modules - the phones in a browser register over WebSocket"
    packages+=(kamailio-websocket-modules)
fi
kamailio_was_here=$(command -v kamailio || PATH=/usr/sbin command -v kamailio || true)
need svcrack sipvicious "guesses passwords, for the shield to stop"
need tshark tshark "reads the capture files that we write"
install_needed
# Debian starts a service it installs; the tests start their own, and port 5060 belongs to `make run`.
if [ -z "$kamailio_was_here" ] && [ -d /run/systemd/system ]; then
    as_root systemctl disable --quiet --now kamailio.service || true
fi

# Tests /openapi.json against the server; where pip or the network is missing its test says that it was skipped.
tools=${XDG_CACHE_HOME:-$HOME/.cache}/trunkline-tools
if [ ! -x "$tools/schemathesis/bin/st" ] && command -v python3 >/dev/null; then
    echo "missing: schemathesis - asks every route of /v1 what its description allows and what not"
    mkdir -p "$tools"
    { python3 -m venv "$tools/schemathesis" && "$tools/schemathesis/bin/pip" install --quiet 'schemathesis==4.*'; } ||
        rm -rf "$tools/schemathesis"
fi

# JsSIP and SIP.js in one file for the page of the browser's phones; where npm or the network is missing their tests say that
# they were skipped.
if [ ! -f "$tools/web-phones/libraries.js" ] && command -v npm >/dev/null; then
    echo "missing: jssip, sip.js - what phones in a browser are made of"
    mkdir -p "$tools/web-phones"
    {
        npm install --silent --no-audit --no-fund --prefix "$tools/web-phones" jssip@3 sip.js@0.21 esbuild@0 &&
            echo "import JsSIP from 'jssip'; import * as SIP from 'sip.js'; Object.assign(globalThis, { JsSIP, SIP });" >"$tools/web-phones/entry.js" &&
            "$tools/web-phones/node_modules/.bin/esbuild" "$tools/web-phones/entry.js" --bundle --minify --log-level=warning \
                --outfile="$tools/web-phones/libraries.js"
    } || rm -rf "$tools/web-phones"
fi

if ! cargo deny --version >/dev/null 2>&1; then
    echo "missing: cargo-deny - checks licences and sources of the dependencies"
    # Unoptimised and apart from our own target directory: it compiles in a third of the time and runs once.
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="${TMPDIR:-/tmp}/cargo-deny-build-$(id -u)" \
        cargo install --quiet --debug --locked cargo-deny
    rm -rf "${TMPDIR:-/tmp}/cargo-deny-build-$(id -u)"
fi
