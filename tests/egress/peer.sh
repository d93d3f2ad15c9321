#!/usr/bin/env bash
# peer.sh SCRIPT HTTP_ANSWERS: our parsers beside those of others, in node: llhttp.mjs, paths.mjs.
set -euo pipefail
program=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v node >/dev/null || { echo "SKIPPED: there is no node to run $1 in"; exit 77; }
[ -e node_modules/undici ] || { echo "node_modules is missing: run tools/install-packages test"; exit 1; }
exec node "$1" "$program"
