#!/bin/bash
# transport=uring: what is told of it, refusal, other namespaces, many mounts, and the death of the daemon with programs in the middle of calls.
. "$(dirname "$0")/../lib/sys.sh"
COPPICE_TRANSPORT=uring need_mounts uring
um() { mkdir -p "$T/mnt/$1" && c mount "$1" "$T/mnt/$1" -o transport=uring >/dev/null; }
transport() { c --json show "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)["mounts"][0]["transport"])'; }
c init >/dev/null && c create work --bare >/dev/null && c create plain --bare >/dev/null

# A daemon that may not run on every CPU cannot have it, says so, and serves by the descriptor.
if [ "$(nproc)" -gt 1 ]; then
    c down >/dev/null; taskset -c 0 "$COPPICE" list >/dev/null || fail "start on one CPU"
    mkdir -p "$T/mnt/work"
    refused "no uring on some of the CPUs" 1 "transport=uring: .*all CPUs" c mount work "$T/mnt/work" -o transport=uring
    check "auto falls back" ws_mount work
    same "and is classic" "$(transport work)" classic
    c umount work; c down >/dev/null
else skip "refusal on some of the CPUs: there is one"; fi

check "a mount by io_uring" um work
ws_mount plain
same "show tells it" "$(transport work)" uring
same "the default is the descriptor" "$(transport plain)" classic
check "doctor tells of it" sh -c "'$COPPICE' doctor --json | grep -q 'fuse io_uring'"
W=$T/mnt/work

# A mount namespace of its own, from which the daemon cannot be reached by path; and its snapshot.
c create away --bare >/dev/null; mkdir "$T/mnt/away"
check "a mount in another namespace" unshare -m sh -c "'$COPPICE' mount away '$T/mnt/away' -o transport=uring >/dev/null && echo there >'$T/mnt/away/f' && cat '$T/mnt/away/f' | grep -q there"
same "its file is kept" "$(um away && cat "$T/mnt/away/f")" there
c umount away

# Deleted and forgotten files leave the workspace, though FORGET comes over the descriptor.
for i in $(seq 50); do echo "$i" >"$W/gone$i"; done; rm "$W"/gone*
check "a snapshot of it" c snapshot work s1
same "every ring was woken for it" "$(grep -c 'cannot be woken' "$COPPICE_STORE/snapshotd.log")" 0
check "fsck" c fsck

# Unmounted lazily with a file open; then used on, and gone with the last close.
exec 8>"$W/open"; c umount work --lazy; echo late >&8; exec 8>&-
same "written after a lazy unmount" "$(until um work 2>/dev/null; do :; done; cat "$W/open")" late

# kill -9 of the daemon while programs write, list, sync and map, in two mounts: each sees an error at once. Linux 6.18 sometimes forgets requests that were queued for a ring
# when the last entry of the ring went before the connection (docs/architecture.md 7.4): who waits for one waits for ever, in the kernel. That is told, and is not ours.
forgotten=0
kernel_forgot() { sed -n 1p "/proc/$1/stack" 2>/dev/null | grep -q request_wait_answer; }
c create second --bare >/dev/null; um second
for d in work second; do
    D=$T/mnt/$d
    background sh -c "while :; do echo x >'$D/a' || exit 3; done"
    background python3 -c "
import errno, os
for i in range(10 ** 9):
    try: os.stat('$D/none%d' % i)                           # never asked before, so not answered by the kernel
    except FileNotFoundError: pass"
    background python3 -c "
import os
fd = os.open('$D/synced', os.O_CREAT | os.O_RDWR)
while True:
    os.pwrite(fd, b'y' * 5000, 0); os.fsync(fd)"
    background python3 -c "
import os
fd = os.open('$D/holes', os.O_CREAT | os.O_RDWR)
while True:
    os.pwrite(fd, b'y', 70000); os.lseek(fd, 0, os.SEEK_DATA)"
done
until [ -s "$T/mnt/second/holes" ] && [ -s "$W/holes" ] && [ -s "$T/mnt/second/synced" ]; do :; done
echo kept >"$W/kept" && sync "$W/kept"
pid=$(daemon_pid); kill -9 "$pid"
ended=0
for p in "${SYS_PIDS[@]}"; do
    if timeout 30 tail --pid="$p" -f /dev/null; then wait "$p"; [ $? != 0 ] && ended=$((ended + 1))
    elif kernel_forgot "$p"; then echo "# the kernel forgot a request of $p"; forgotten=1; ended=$((ended + 1))
    else fail "a program hangs after the daemon's death"; fi
done 2>/dev/null
SYS_PIDS=()
same "all programs ended with an error" $ended 8
refused "a new call fails" 1 "not connected|endpoint" cat "$W/none"
[ $forgotten = 0 ] || lazy=-l
umount ${lazy-} "$W" && umount ${lazy-} "$T/mnt/second" && pass "unmounted" || fail "umount after the daemon's death"
umount "$T/mnt/plain"
check "mounted again" um work
same "what was synced is there" "$(cat "$W/kept")" kept
check "fsck after it" c fsck

# Many mounts: what one costs in the daemon.
rss() { awk '/^RssAnon/ { print $2 }' "/proc/$(daemon_pid)/status"; }
many=${MOUNTS:-40}
for i in $(seq "$many"); do c create "m$i" --bare; done >/dev/null; before=$(rss)
for i in $(seq "$many"); do um "m$i" || fail "mount $i"; done
idle=$(rss)
for i in $(seq "$many"); do head -c 300000 /dev/zero >"$T/mnt/m$i/f"; cmp -n 300000 /dev/zero "$T/mnt/m$i/f" || fail "contents $i"; done
used=$(rss)
until [ $((($(rss) - idle) * 2)) -lt $((used - idle)) ]; do :; done      # given back when idle (malloc keeps some): this ends, or the test times out
echo "# $many mounts: $(((idle - before) / many)) KiB each, $(((used - before) / many)) KiB after use, $((($(rss) - before) / many)) KiB when idle"
for i in $(seq "$many"); do c umount "m$i" || fail "umount $i"; done
pass "$many mounts"
c umount work
