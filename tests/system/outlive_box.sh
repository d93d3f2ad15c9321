#!/bin/bash
# Running sandboxes while snapshotd is killed: executions with their streams, a terminal, files, snapshots and new sandboxes go on; without its holder they end and start again. $DEATHS: how often.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts outlive_box
HELPERS=$(cd "$(dirname "$0")" && pwd)
deaths=${DEATHS:-8}
# again COMMAND...: a call that was cut off is made again, as a person would; that its first try was done is right too.
again() { local out; for _ in 1 2 3 4 5; do out=$("$@" 2>&1) && return; grep -qiE 'ended the connection|may be done|in use' <<<"$out" || break; grep -qi 'in use' <<<"$out" && return; done; echo "$out"; return 1; }
# The next daemon has another number when it serves.
dies() { local old; old=$(daemon_pid); kill "-${1:-KILL}" "$old"; until [ "$(daemon_pid)" != "$old" ]; do :; done; }
holder_pid() { c --json status | sed -n 's/.*"holder": *\([0-9][0-9]*\).*/\1/p' | head -1; }

out=$(c create ws 2>&1 && c exec ws -- true 2>&1) || { fail "the first sandbox: $out"; exit 1; }
c create bare --bare >/dev/null && c exec bare -- true
[ -n "$(holder_pid)" ] || { skip "no holder: mounts do not outlive the daemon on this kernel"; exit 0; }

# A stream, a writer that fsyncs, a service in the background and a terminal, all from before the first death to after the last.
"$COPPICE" exec ws -- sh -c 'i=0; while [ ! -e /workspace/stop ]; do i=$((i + 1)); echo $i; echo $i >>/workspace/log; sleep 0.01; done; echo end' >"$T/stream" 2>"$T/stream.err" & stream=$!
"$COPPICE" exec bare -- python3 -c '
import os, time
fd = os.open("/workspace/synced", os.O_CREAT | os.O_RDWR | os.O_APPEND)
n = 0
while not os.path.exists("/workspace/stop"):
    os.write(fd, b"%d\n" % n); os.fsync(fd); n += 1
print(n)' >"$T/synced" 2>&1 & synced=$!
id=$(c exec ws --detach -- sh -c 'exec 9>/workspace/kept; while :; do echo kept >&9; sleep 0.05; done')
python3 "$HELPERS/outlive_tty.py" "$COPPICE" ws "$T/tty.go" >"$T/tty" 2>&1 & tty=$!
until [ -s "$T/stream" ] && c exec ws -- test -s /workspace/typed && c exec bare -- test -s /workspace/synced; do :; done

for ((i = 1; i <= deaths; i++)); do
    dies "$([ $((i % 4)) = 0 ] && echo TERM || echo KILL)" & killer=$!
    again c snapshot ws "s$i" || fail "a snapshot while the daemon dies"
    c exec ws -- sh -c "echo $i >/workspace/d$i" || fail "an execution while the daemon dies"
    if [ $((i % 3)) = 1 ]; then again c create "n$i" && [ "$(c exec "n$i" -- echo started)" = started ] || fail "a start while the daemon dies"; fi
    wait $killer
done
pass "$deaths deaths"
same "the execution in the background goes on" "$(c ps ws 2>/dev/null | grep -c kept || c exec ws -- sh -c 'cat /proc/[0-9]*/cmdline' | tr '\0' ' ' | grep -c workspace/kept)" 1
c exec ws -- touch /workspace/stop; c exec bare -- touch /workspace/stop; : >"$T/tty.go"
wait $stream; same "the stream ends in order" "$? $(tail -n 1 "$T/stream") $(cat "$T/stream.err")" "0 end "
n=$(($(wc -l <"$T/stream") - 1))
same "no line of it is missing" "$(head -n -1 "$T/stream" | sha256sum)" "$(seq $n | sha256sum)"
same "nor of the file" "$(c exec ws -- sha256sum /workspace/log | cut -d' ' -f1)" "$(seq $n | sha256sum | cut -d' ' -f1)"
wait $synced; same "what was synced is whole" "$? $(c exec bare -- sha256sum /workspace/synced | cut -d' ' -f1)" "0 $(seq 0 $(($(cat "$T/synced") - 1)) | sha256sum | cut -d' ' -f1)"
wait $tty && pass "the terminal went on ($(cat "$T/tty"))" || fail "the terminal: $(tail -n 3 "$T/tty")"
c kill ws "$id" >/dev/null 2>&1
for ((i = 1; i <= deaths; i++)); do c exec ws -- test -s "/workspace/d$i" || fail "a file of death $i"; done
same "snapshots that were taken meanwhile" "$(c log ws | grep -cE '\bs[0-9]+\b')" "$deaths"

# Sleep and wake across a death.
c sleep ws >/dev/null; dies; same "it wakes under another daemon" "$(c exec ws -- cat /workspace/d1)" 1

# The holder dies too: the mounts are gone. Nothing hangs; the sandbox starts again from its last commit.
c exec ws -- sh -c 'echo synced >/workspace/last && sync /workspace/last'
timeout 60 "$COPPICE" exec ws -- sh -c 'while :; do echo x >/workspace/y; done' >/dev/null 2>&1 & long=$!
holder=$(holder_pid) old=$(daemon_pid); kill -9 "$holder" "$old"
wait $long; [ $? != 124 ] && pass "an execution ends when the mounts are lost" || fail "an execution hangs when the mounts are lost"
for _ in $(seq 100); do last=$(timeout 30 "$COPPICE" exec ws -- cat /workspace/last 2>/dev/null) && break; read -rt 0.1 <> <(:); done
same "and the next starts the sandbox again" "$last" synced
check "fsck" c fsck
