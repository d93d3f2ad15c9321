#!/usr/bin/env bash
# The man page and the command agree: every verb and every long option that `coppice --help` and `coppice VERB --help` name is in coppice.1, and
# the page names no verb that is not there. Usage: check_man.sh COPPICE PAGE
set -euo pipefail
coppice=$1 page=$2 passed=0 failed=0
expect() { if "${@:2}"; then passed=$((passed + 1)); else echo "FAILED: $1"; failed=$((failed + 1)); fi; }

mapfile -t verbs < <("$coppice" --help | sed -n 's/^  \([a-z-]\{2,12\}\)  *[A-Z].*/\1/p')
expect "the command has verbs" [ ${#verbs[@]} -gt 10 ]
for verb in "${verbs[@]}"; do
    expect "$verb is in the page" grep -qE "^\.It Cm $verb( |\$)" "$page"
    section=$(awk -v v="$verb" '/^\.It Cm / { on = ($3 == v) } on' "$page")
    while read -r option; do
        expect "$verb --$option is in the page" grep -qE -- "Fl Fl $option( |\$)" <<<"$section"
    done < <("$coppice" "$verb" --help | grep -oE -- '--[a-z][a-z-]+' | sed 's/^--//' | grep -vxE 'json|store|help' | sort -u)
done
while read -r verb; do
    expect "the page's $verb is a verb" grep -qx "$verb" <(printf '%s\n' "${verbs[@]}")
done < <(sed -n '/^\.Sh VERBS/,/^\.Sh ENV/s/^\.It Cm \([a-z-]*\).*/\1/p' "$page")
echo "$passed checks hold, $failed do not"
[ $failed = 0 ]
