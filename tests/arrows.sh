#!/usr/bin/env bash
# Keeps the arrows between the parts true (docs/architecture.md): who may include what. Each rule is a grep over the sources.
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/..}"
passed=0 failed=0

# rule TEXT PATTERN ALLOWED FILE...: no #include line of the files that matches PATTERN, but for those that match ALLOWED.
rule() {
    local text=$1 pattern=$2 allowed=$3 found
    shift 3
    [ $# -gt 0 ] || { echo "FAILED: $text: there are no such files"; failed=$((failed + 1)); return; }
    found=$(grep -nHE "^[[:space:]]*#[[:space:]]*include[[:space:]]+$pattern" "$@" | grep -vE "$allowed" || true)
    if [ -n "$found" ]; then
        printf 'FAILED: %s\n%s\n' "$text" "$found"
        failed=$((failed + 1))
    else
        echo "ok: $text"
        passed=$((passed + 1))
    fi
}

shopt -s nullglob
none='^$'
others=()
for f in base/*.[ch] fs/*.[ch] snapshotd/*.[ch] tools/*.[ch]; do
    [[ $f == fs/fuse_* ]] || others+=("$f")
done
rule "base includes only itself and the C library" '("(fs|snapshotd|tools|sandbox)/|<(fuse|rocksdb|zstd|xxhash|jansson|archive|openssl))' "$none" base/*.[ch]
rule "fs includes only base and itself" '"(snapshotd|tools|sandbox)/' "$none" fs/*.[ch]
rule "fs does not know JSON" '<jansson' "$none" fs/*.[ch]
rule "only fs/fuse_* see libfuse" '<(fuse|linux/fuse)' "$none" "${others[@]}"
rule "only fs/meta.c sees RocksDB" '<rocksdb' '^fs/meta\.c:' fs/*.[ch] snapshotd/*.[ch] tools/*.[ch]
rule "snapshotd includes nothing of tools or sandbox" '"(tools|sandbox)/' "$none" snapshotd/*.[ch]
rule "what clients of snapshotd link does not include fs" '"fs/' "$none" snapshotd/snap_client.[ch] snapshotd/snap_proto.[ch] snapshotd/snap_start.[ch]
rule "tools include of fs only what import streams need" '"fs/' '"fs/(import|inode|limits|archive)\.h"' tools/*.[ch]
rule "tools include of snapshotd only what clients link" '"snapshotd/' '"snapshotd/snap_(client|proto|start)\.h"' tools/*.[ch]
rule "sandbox includes nothing of fs or tools" '"(fs|tools)/' "$none" sandbox/*.[ch] sandbox/*/*.[ch]
rule "sandbox includes of snapshotd only what clients link" '"snapshotd/' '"snapshotd/snap_(client|proto|start)\.h"' sandbox/*.[ch] sandbox/*/*.[ch]
rule "the agent and what confines it need nothing but base and the C library" '(<(glib|gio|libsoup|jansson|seccomp|vterm)|"(snapshotd|sandbox/(core|http|run|launcher))/)' '^sandbox/confine/gen_' sandbox/agent/*.[ch] sandbox/confine/*.[ch]
rule "the launcher does not know HTTP, JSON or GLib" '(<(glib|gio|libsoup|jansson|vterm)|"sandbox/(core|http|run)/)' "$none" sandbox/launcher/*.[ch]
rule "only sandbox/http sees libsoup" '<libsoup' '^sandbox/http/' sandbox/*.[ch] sandbox/*/*.[ch]
rule "the parsers of egress need nothing but base and the C library" '(<(glib|gio|libsoup|jansson|openssl|lua)|"(snapshotd|sandbox/(core|http|run|launcher))/)' "$none" sandbox/egress/http1*.[ch] sandbox/egress/authority*.[ch] sandbox/egress/address.c sandbox/egress/message.[ch]
rule "includes are written from the root" '"[a-z_0-9]+\.h"' "$none" base/*.[ch] fs/*.[ch] snapshotd/*.[ch] tools/*.[ch] sandbox/*.[ch] sandbox/*/*.[ch]
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
