#!/usr/bin/env bash
# What threats.md names is there: every file in backquotes, and every test or function after it. Usage: check_threats.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"
passed=0 failed=0 file=
while read -r word; do
    if [[ $word == */*.* || $word == benchmarks/run ]]; then
        file=$word
        if [ -e "$file" ]; then passed=$((passed + 1)); else echo "FAILED: no file $file"; failed=$((failed + 1)); fi
    elif grep -qE "\b$word\b" "$file" 2>/dev/null; then
        passed=$((passed + 1))
    else
        echo "FAILED: no '$word' in $file"
        failed=$((failed + 1))
    fi
done < <(grep '^|' docs/threats.md | awk -F'|' '{ print $4 }' | grep -oE '`[^`]+`' | tr -d '`')
[ $passed -gt 0 ] || failed=$((failed + 1))
echo "$passed checks hold, $failed do not"
[ $failed = 0 ]
