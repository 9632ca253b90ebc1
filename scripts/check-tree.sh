#!/usr/bin/env bash
# Three rules of the source tree that no other tool checks.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

# 1. No Rust file over 1,000 lines: a file that long is more than one thing.
while IFS= read -r file; do
    lines=$(wc -l <"$file")
    if [ "$lines" -gt 1000 ]; then
        echo "$file has $lines lines; 1000 is the limit"
        failed=1
    fi
done < <(find . \( -name target -o -name .git \) -prune -o -name '*.rs' -print)

# 2. The crates that think depend neither on a runtime or sockets nor on one another.
for crate in sip media call; do
    found=$(cargo tree --locked --package "$crate" --edges normal --prefix none --format '{lib}' |
        sort -u | grep -E '^(tokio|mio|async_std|smol|socket2|reqwest|sqlx|sip|media|call|trunkline)$' | grep -vx "$crate" || true)
    if [ -n "$found" ]; then
        echo "crates/$crate must not depend on: $found"
        failed=1
    fi
done

# 3. No mark of a merge that was not finished.
if git grep -nE '^(<<<<<<<|>>>>>>>) '; then
    echo "a merge left its marks"
    failed=1
fi
exit $failed
