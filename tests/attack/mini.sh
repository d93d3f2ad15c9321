#!/usr/bin/env bash
# The attack program in a mini box (no launcher, no agent), compared with its golden table: mini.sh MINIBOX ATTACK UID GOLDEN
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "needs root: skipped"; exit 77; }
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
chmod 755 "$T"
cp "$2" "$T/attack"
"$1" --uid "$3" --writable "$T" "$T/attack" all > "$T/out"
if diff "$4" "$T/out"; then echo "$(wc -l < "$T/out") attacks as uid $3 gave what they must"; else exit 1; fi
