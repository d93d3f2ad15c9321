#!/bin/bash
# The holder: what ends it and what does not, what becomes of mounts when it or the daemon cannot go on, another version of the programs.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts holder
# Programs of our own, to be replaced.
BUILD=$(dirname "$COPPICE")/..
mkdir -p "$T/prog/tools" "$T/prog/snapshotd" && cp "$COPPICE" "$T/prog/tools/" && cp "$BUILD"/snapshotd/{snapshotd,coppice-holder} "$T/prog/snapshotd/" || exit 1
COPPICE=$T/prog/tools/coppice
status() { c --json status 2>/dev/null | python3 -c "import json,sys; v=json.load(sys.stdin).get('$1'); print('' if v is None else v)"; }
protected() { c --json status | python3 -c 'import json,sys; print(*[m["name"] + "=" + str(m["protected"]) for m in sorted(json.load(sys.stdin)["mount_list"], key=lambda m: m["name"])])'; }
ended() { timeout 60 tail --pid="$1" -f /dev/null; }
# The daemon is another one than PID, and answers.
other_than() { for _ in $(seq 600); do [ "$(daemon_pid)" != "$1" ] && [ -n "$(daemon_pid)" ] && return; done; return 1; }
# A name that the kernel was not asked for before: what it knows it tells also when nobody serves it any more.
new_name() { stat "$W/none$(date +%s%N)"; }
gone() { new_name 2>&1 | grep -qE 'not connected|abort'; }
killed() { local p; p=$(daemon_pid); kill "-$1" "$p"; other_than "$p"; }

c init >/dev/null && c up --store-only >/dev/null && c create work --bare >/dev/null && c create still --bare >/dev/null
ws_mount work; W=$T/mnt/work
echo kept >"$W/kept"; c snapshot still s1 >/dev/null; mkdir "$T/mnt/ro"; c mount still@s1 "$T/mnt/ro" >/dev/null
holder=$(status holder)
check "there is a holder" test -n "$holder"
same "its name is its own" "$(cat "/proc/$holder/comm")" coppice-holder
same "mounts of workspaces and snapshots are protected" "$(protected | grep -o =True | wc -l)" 2

exec 8>"$W/open"; echo one >&8
check "kill -9: another daemon" killed KILL
echo two >&8
same "an open file goes on" "$(cat "$W/open")" "$(printf 'one\ntwo')"
same "what was not synced is there" "$(cat "$W/kept")" kept
check "the snapshot's mount goes on" ls "$T/mnt/ro"
same "it is counted" "$(status restarts)" 1
same "by the same holder" "$(status holder)" "$holder"
check "status says so" sh -c "'$COPPICE' status | grep -q 'holder: pid $holder, 1 restart, the last with a pause of'"

# Files of before, of which this kernel has forgotten all: a restore that removes them makes room at once, not when the mount ends.
c create room --bare --quota 64M --inodes 100 >/dev/null; ws_mount room; R=$T/mnt/room
c snapshot room empty >/dev/null; mkdir "$R/d"; touch "$R"/d/{1..60}; sync -f "$R"
check "a restore to before, after a takeover" sh -c "echo 2 >/proc/sys/vm/drop_caches; kill -9 $(daemon_pid); ls '$R' >/dev/null && '$COPPICE' restore room --to room@empty"
check "gives its inodes back" sh -c "mkdir '$R/d' && touch $(printf "'$R/d/%s' " {1..60})"
c umount room >/dev/null

check "SIGTERM to the daemon: another one" killed TERM
echo three >&8
check "mounts go on" grep -q three "$W/open"

# Another version: other files of the same names, then programs elsewhere.
cp "$T/prog/snapshotd/snapshotd" "$T/prog/snapshotd/new" && mv "$T/prog/snapshotd/new" "$T/prog/snapshotd/snapshotd"
pid=$(daemon_pid)
check "up of another version" c up --store-only
check "is another daemon" test "$(daemon_pid)" != "$pid"
pid=$(daemon_pid)
check "up of the same version" c up --store-only
same "changes nothing" "$(daemon_pid)" "$pid"
cp -r "$T/prog" "$T/prog2"
check "up from another directory" "$T/prog2/tools/coppice" up --store-only
same "runs the programs there" "$(readlink "/proc/$(daemon_pid)/exe") $(readlink "/proc/$holder/exe")" "$T/prog2/snapshotd/snapshotd $T/prog2/snapshotd/coppice-holder"
echo four >&8
check "mounts go on" grep -q four "$W/open"
exec 8>&-

# A daemon that ends by an error of its own again and again gets no mounts any more: programs see an error, and none hangs.
background python3 -c "
import os, time
while True:
    time.sleep(0.01)
    try: os.stat('$W/asked%d' % time.monotonic_ns())
    except FileNotFoundError: pass
    except OSError: break" >/dev/null 2>&1
prog=${SYS_PIDS[-1]}
for _ in $(seq 60); do killed SEGV || break; gone && break; done
check "who uses the mounts is told" ended "$prog"
check "mounts of a daemon that cannot go on are given up" gone
umount -l "$W" "$T/mnt/ro"
check "mounting again works" ws_mount work
same "with all that was written" "$(tail -n 1 "$W/open")" four

# A program that cannot be run.
rm "$T/prog2/snapshotd/snapshotd"; printf '#!/bin/sh\nexit 1\n' >"$T/prog2/snapshotd/snapshotd"; chmod +x "$T/prog2/snapshotd/snapshotd"
kill -9 "$(daemon_pid)"
check "without a daemon that starts the holder ends" ended "$holder"
check "and mounts with it" gone
umount -l "$W"
check "the next daemon starts" c up --store-only
ws_mount work

# The holder is killed: the daemon goes on without.
holder=$(status holder); pid=$(daemon_pid); kill -9 "$holder"; ended "$holder"
until [ -z "$(status holder)" ]; do :; done
same "the daemon survives its holder" "$(daemon_pid)" "$pid"
check "status says what that means" sh -c "'$COPPICE' status | grep -q 'no holder: mounts end with it'"
echo five >"$W/five"
same "its mounts too, unprotected" "$(protected)" "work=False"
cp "$T/prog/snapshotd/snapshotd" "$T/prog/snapshotd/new" && mv "$T/prog/snapshotd/new" "$T/prog/snapshotd/snapshotd"
check "no upgrade without it: up says so" sh -c "'$COPPICE' up --store-only 2>&1 | grep -q 'another version of snapshotd runs'"
same "and leaves it alone" "$(daemon_pid)" "$pid"
kill "$pid"; ended "$pid"
check "SIGTERM then ends it in order" sh -c "! mountpoint -q '$W'"

c up --store-only >/dev/null; ws_mount work
same "nothing is lost" "$(cat "$W/five")" five
holder=$(status holder); pid=$(daemon_pid); kill "$holder"; ended "$holder"
check "SIGTERM to the holder ends the daemon" sh -c "! kill -0 $pid 2>/dev/null"
check "and unmounts" sh -c "! mountpoint -q '$W'"
check "the log says that it was clean" sh -c "tail -n 3 '$COPPICE_STORE/snapshotd.log' | grep -q 'ended clean=1'"

# Started by a verb it ends when idle; `up` has it stay, and that holds for the daemons after it.
c down; "$T/prog/snapshotd/snapshotd" --store "$COPPICE_STORE" --idle-exit 1 && c up --store-only >/dev/null && killed KILL && pid=$(daemon_pid) || fail "a daemon that ends when idle"
check "after up the next daemon does not end when idle either" sh -c "! timeout 3 tail --pid=$pid -f /dev/null"
c down

# No holder from the start.
"$T/prog/snapshotd/snapshotd" --store "$COPPICE_STORE" --no-holder || fail "start without a holder"
ws_mount work; pid=$(daemon_pid)
same "no holder" "$(status holder)" ""
kill -9 "$pid"; ended "$pid"
check "mounts end with the daemon" gone
umount "$W"
check "and can be made again" ws_mount work
check "fsck" c fsck
