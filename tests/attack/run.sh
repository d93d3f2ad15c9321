#!/usr/bin/env bash
# The attack program in real sandboxes: as root and as user, after creation, after a wake, in a fork and in a terminal, against its golden tables; the scan of new
# processes while commands start (P8), names of the host (P43), bombs (P28, P31) and what a kill must end (P34). Usage: run.sh [BUILD]
. "$(dirname "${BASH_SOURCE[0]}")/../lib/sys.sh"
[ "$(id -u)" = 0 ] || { echo "needs root: skipped"; exit 77; }
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ATTACK=${ATTACK:-$(dirname "$COPPICE")/../tests/attack/attack}
# compare WHAT WHO OUTPUT
compare() {
    local what=$1 who=$2 out=$3
    if out=$(diff "$HERE/golden-$who.txt" - <<<"$out"); then pass "$what as $who: every attack gave what it must"; else fail "$what as $who: $(head -20 <<<"$out" | tr '\n' '|')"; fi
}
all() { for who in root user; do compare "$1" $who "$(timeout 120 "$COPPICE" exec "$2" --user $who -- /workspace/attack all 2>&1)"; done; }
# In a terminal of the sandbox, seen through one of ours (which writes CR LF, and echoes the NUL with which script ends our input as ^@).
in_terminal() {
    local cmd
    for who in root user; do
        printf -v cmd '%q ' timeout 120 "$COPPICE" exec box --user $who -t -- /workspace/attack all
        compare "in a terminal" $who "$(script -qec "$cmd" /dev/null </dev/null 2>&1 | tr -d '\r' | sed '1s/^\^@//')"
    done
}

check "a sandbox" c create box
check "the attack program goes in" c cp "$ATTACK" box:/workspace/attack
all "after creation" box
c sleep box >/dev/null && all "after a wake" box
c freeze box >/dev/null && all "after a thaw" box
c fork box twin >/dev/null && all "in a fork" twin
in_terminal

# P8: while commands begin and end, nothing that has the agent's memory can be opened.
for who in root user; do
    c exec box --user $who -- /workspace/attack scan 3 > "$T/scan" 2>"$T/scan.err" & scan=$!
    while kill -0 $scan 2>/dev/null; do c exec box --user $who -- true; done
    wait $scan; same "scan as $who beside starting commands ($(cat "$T/scan.err"))" "$(cat "$T/scan")" "P8.agent_opened times 0"
done

# P43: neither the store's path, nor the host's name, nor our directories.
for who in root user; do
    same "names of the host as $who" "$(c exec box --user $who -- /workspace/attack leaks "$COPPICE_STORE" "$T" /work/main coppice-system sandboxd launcher)" "P43.leaks found 0"
done

# All bombs and forkers run under the sandbox's own limit of processes (1,024 and no more: the first one sees to it), and refuse to run outside of one.
# P28, P31: the bomb ends, the sandbox answers, the host has its memory back.
free_kb() { awk '/^MemAvailable/ { print $2 }' /proc/meminfo; }
before=$(free_kb)
pids=$(c exec box -- /workspace/attack bomb-pids | sed -n 's/.*reached \([0-9]*\),.*/\1/p')
if [ "${pids:-99999}" -le 4096 ]; then pass "processes are bounded ($pids)"; else fail "processes are not bounded ($pids): no bomb is tried"; exit 1; fi
for b in bomb-pids bomb-files bomb-tmpfs bomb-pipes bomb-mem; do
    c create "b-${b#bomb-}" >/dev/null && c cp "$ATTACK" "b-${b#bomb-}:/workspace/attack"
    out=$(timeout 120 "$COPPICE" exec "b-${b#bomb-}" -- /workspace/attack $b 2>&1); st=$?
    if [ $st = 0 ] || [ $st = 137 ]; then pass "$b ended: ${out:-status $st}"; else fail "$b: status $st $out"; fi
    same "the sandbox answers after $b" "$(timeout 30 "$COPPICE" exec "b-${b#bomb-}" -- echo alive 2>&1)" alive
    c rm --force "b-${b#bomb-}" >/dev/null 2>&1
done
after=$(free_kb)
if [ $((before - after)) -lt 1048576 ]; then pass "memory came back ($((before - after)) KiB less)"; else fail "$((before - after)) KiB of memory did not come back"; fi

# P34: who forks without end and hears no signal ends with the execution, and with the sandbox. (Each user sees only his own processes.)
left() { "$COPPICE" exec "$1" -- sh -c 'ps -A -o comm= | grep -c "^attack"' 2>&1; }
for _ in 1 2 3; do
    id=$(c exec box --detach -- /workspace/attack forkers)
    until c logs box "$id" 2>/dev/null | grep -q forking; do :; done
    if [ "$(left box)" -gt 0 ]; then pass "it forks"; else fail "nothing forks"; fi
    check "an execution that forks without end is killed" timeout 30 "$COPPICE" kill box "$id"
    same "nothing of it is left" "$(left box)" 0
done
id=$(c exec box --detach -- /workspace/attack forkers)
until c logs box "$id" 2>/dev/null | grep -q forking; do :; done
check "a sandbox in which something forks without end is stopped" timeout 30 "$COPPICE" stop box
same "no process of it is left" "$(pgrep -x attack | wc -l)" 0
