#!/bin/bash
# Random operations of many processes on one workspace, snapshots and forks and gc at the same time; then everything must hold together.
# STRESS_OPS, STRESS_PROCS: how much; COPPICE_SEED: what (printed).
. "$(dirname "$0")/../lib/sys.sh"
need_mounts stress
HELP=${COPPICE_HELPERS:-$(dirname "$COPPICE")/../tests/system}
OPS=${STRESS_OPS:-5000} PROCS=${STRESS_PROCS:-8} SEED=${COPPICE_SEED:-$(($(date +%s%N) % 1000000))}
echo "# COPPICE_SEED=$SEED"
c init >/dev/null && c create work --bare >/dev/null && ws_mount work || { fail "mount"; exit 1; }
W=$T/mnt/work

"$HELP/stress_ops" "$W" "$PROCS" "$OPS" "$SEED" & P=$!
SYS_PIDS+=($P) n=0
while kill -0 $P 2>/dev/null; do
    c snapshot work "s$n" >/dev/null || fail "snapshot $n under load"
    ((n % 3)) || c fork "work@s$n" "f$n" >/dev/null || fail "fork $n under load"
    ((n % 5 == 4)) && { c rm "work@s$((n - 1))" >/dev/null || fail "rm of snapshot $((n - 1))"; }
    ((n % 4 == 3)) && { c gc >/dev/null || fail "gc under load"; }
    n=$((n + 1))
    read -r -t 0.3 <> <(:) || true
done
wait $P; same "no call failed in a way that no race explains" $? 0
SYS_PIDS=()
echo "# $n snapshots meanwhile"

check "the tree holds together" "$HELP/stress_ops" --check "$W"
before=$(tree "$W")
c umount "$W" >/dev/null; ws_mount work
check "and after a remount" "$HELP/stress_ops" --check "$W"
same "it is the same tree after a remount" "$(tree "$W")" "$before"
for s in $(c log work | grep -oE '\bs[0-9]+\b' | sort -u | head -4); do
    mkdir "$T/mnt/$s"; c mount "work@$s" "$T/mnt/$s" >/dev/null || fail "mount of $s"
    check "snapshot $s holds together" "$HELP/stress_ops" --check "$T/mnt/$s"
    c umount "$T/mnt/$s" >/dev/null
done
ws_mount f0 && check "a fork holds together" "$HELP/stress_ops" --check "$T/mnt/f0"
"$HELP/stress_ops" "$T/mnt/f0" 2 300 "$SEED"; same "and goes on" $? 0
check "and holds together after" "$HELP/stress_ops" --check "$T/mnt/f0"
same "nothing of it is seen in its source" "$(tree "$W")" "$before"
check "gc" c gc
check "fsck" c fsck
check "scrub" c scrub
