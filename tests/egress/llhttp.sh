#!/usr/bin/env bash
# llhttp.sh HTTP_ANSWERS: our parser of HTTP beside llhttp (llhttp.mjs).
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v node >/dev/null || { echo "SKIPPED: there is no node to run llhttp in"; exit 77; }
[ -e node_modules/undici ] || { echo "node_modules is missing: run tools/install-packages test"; exit 1; }
exec node llhttp.mjs "$program" cases
