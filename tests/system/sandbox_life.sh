#!/bin/bash
# The life of sandboxes through the API: starts, sleep and wake, kill -9 of sandboxd while executions run, forks, many at once, and that nothing is left. $ROUNDS: rounds of kill -9.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts sandbox_life
ROUNDS=${ROUNDS:-20} FORKS=${FORKS:-100} MANY=${MANY:-200}
S=$COPPICE_STORE/sandbox
API="python3 $(dirname "$0")/../lib/api.py $S/api.sock"
api() { $API "$@"; }
field() { python3 -c 'import json,sys
v = json.load(sys.stdin)
for k in sys.argv[1].split("."): v = v[int(k)] if isinstance(v, list) else v.get(k)
print(v if not isinstance(v, bool) else str(v).lower())' "$1"; }
state() { api GET "/v1/sandbox/$1" | field state; }
launcher() { cat "$S/pid"; }
# Its children by /proc: not every kernel has .../children.
children() { grep -l "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3; }
sandboxd() { local c; for c in $(children "$(launcher)"); do [ "$(cat "/proc/$c/comm" 2>/dev/null)" = sandboxd ] && echo "$c"; done; }
run() { api RUN "$1" "$2"; }
fds() { find "/proc/$1/fd" -mindepth 1 | wc -l; }
boxes() { local g; while read -r g; do find "$g" -mindepth 1 -maxdepth 1 -type d; done <"$S/groups" | wc -l; }
# Waits until a condition holds, at most 20 s.
until_so() { local end=$((SECONDS + 20)); until "$@"; do [ $SECONDS -lt $end ] || return 1; done; }
is() { [ "$(state "$1")" = "$2" ]; }

check "the runner starts" c up --no-tcp
check "a sandbox is made" api POST /v1/sandbox '{"name":"a"}'
same "it sleeps until it is needed" "$(state a)" asleep
same "the first command starts it" "$(run a 'echo hi')" "hi"
same "and it runs" "$(state a)" running
same "nothing holds it then" "$(api GET /v1/sandbox/a | field holds)" 0

# --- sleep and wake ---
run a 'echo kept > /workspace/f; (sleep 1000 &)' >/dev/null
api POST /v1/sandbox/a/freeze >/dev/null
same "it freezes by hand" "$(state a)" frozen
same "and thaws for a command, with its processes" "$(run a 'cat /workspace/f; pgrep -c sleep || ps ax | grep -c "[s]leep 1000"')" $'kept\n1'
api POST /v1/sandbox/a/sleep >/dev/null
same "it sleeps by hand" "$(state a)" asleep
same "a snapshot was taken, because files changed" "$(api GET /v1/sandbox/a/snapshots | field snapshots.0.cause)" auto
same "it wakes with its files, without its processes" "$(run a 'cat /workspace/f; ps ax | grep -c "[s]leep 1000"; true')" $'kept\n0'
api POST /v1/sandbox/a/sleep >/dev/null
same "no snapshot is taken of what did not change" "$(api GET /v1/sandbox/a/snapshots | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["snapshots"]))')" 1
before=$(api GET '/v1/sandbox/a/usage?disk=false' | field cpu_s)
run a 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done' >/dev/null
api POST /v1/sandbox/a/stop >/dev/null
after=$(api GET '/v1/sandbox/a/usage?disk=false' | field cpu_s)
check "used CPU is counted over sleep ($before, $after)" python3 -c "import sys; sys.exit(not $after > $before)"
api POST /v1/sandbox '{"name":"idle","idle":{"freeze_s":0.5,"sleep_s":1.5}}' >/dev/null
run idle 'true' >/dev/null
check "an idle one freezes by itself" until_so is idle frozen
check "and sleeps by itself" until_so is idle asleep
api POST /v1/sandbox '{"name":"busy","idle":{"freeze_s":0.5,"sleep_s":1}}' >/dev/null
run busy '(while :; do :; done) >/dev/null 2>&1 &' >/dev/null
run idle 'true' >/dev/null
check "while one that uses the CPU does not" eval 'until_so is idle asleep && is busy running'
api DELETE /v1/sandbox/busy >/dev/null
api POST /v1/sandbox '{"name":"brief","limits":{"timeout_s":1}}' >/dev/null
api POST /v1/sandbox/brief/exec '{"argv":["sleep","1000"],"detach":true}' >/dev/null
check "its time limit ends it, whatever runs" until_so is brief asleep

# --- memory ---
api POST /v1/sandbox '{"name":"small","limits":{"memory_mb":64}}' >/dev/null
run small 'head -c 300m /dev/zero | tail >/dev/null' >/dev/null 2>&1
same "what is too large is killed inside, and the sandbox lives" "$(run small 'echo alive')" alive
api PATCH /v1/sandbox/small '{"limits":{"memory_mb":600}}' >/dev/null
same "limits are changed live" "$(run small 'head -c 200m /dev/zero | tail | wc -c')" 209715200

# --- bare, mounts ---
api POST /v1/sandbox '{"name":"plain","kind":"bare"}' >/dev/null
same "a bare workspace is at /workspace" "$(run plain 'pwd; echo data > f; cat /workspace/f')" $'/workspace\ndata'
check "it has only its own files" eval 'api POST /v1/sandbox/plain/snapshot "{\"name\":\"v1\"}" >/dev/null; [ "$(api GET "/v1/snapshot/plain@v1/tree" | field entries.0.path)" = f ]'
same "a snapshot's file is read without running anything" "$(api GET /v1/snapshot/plain@v1/file/f)" data
api POST /v1/sandbox '{"name":"reader","mounts":[{"source":"plain@v1","path":"/mnt/in"},{"source":"plain","path":"/mnt/now"}]}' >/dev/null
same "snapshots and workspaces are mounted read-only" "$(run reader 'cat /mnt/in/f /mnt/now/f; touch /mnt/in/x 2>/dev/null || echo ro')" $'data\ndata\nro'
api POST /v1/sandbox/plain/stop >/dev/null
check "its throw-away root is gone with it" eval '! c --json list | grep -q root-of-'

# --- starts that fail ---
mkdir -p "$T/mnt/held"; c mount idle "$T/mnt/held" >/dev/null
check "a workspace that an operator has mounted is busy, and says where" eval 'api POST /v1/sandbox/idle/wake 2>&1 | grep -q "$T/mnt/held"'
c umount "$T/mnt/held" >/dev/null
same "and starts when it is not" "$(run idle 'echo up')" up

# --- kill -9 of sandboxd ---
api POST /v1/sandbox '{"name":"k"}' >/dev/null
run k 'true' >/dev/null
api POST /v1/sandbox '{"name":"cold"}' >/dev/null
run cold 'echo x > /tmp/only-in-memory' >/dev/null
api POST /v1/sandbox/cold/freeze >/dev/null
lost=0 last=-1 pid=$(sandboxd) eid=$(api POST /v1/sandbox/k/exec '{"shell":"i=0; while :; do echo $i; i=$((i+1)); done | head -c 40000000 | while read -r l; do echo $l; done; exec sleep 1000","detach":true}' | field exec_id)
for round in $(seq "$ROUNDS"); do
    old=$(sandboxd); kill -9 "$old"
    [ "$(state k)" = running ] || lost=$((lost + 1))
    [ "$(api GET "/v1/sandbox/k/exec/$eid" | field state)" = running ] || lost=$((lost + 1))
    next=$(api GET "/v1/sandbox/k/exec/$eid" | field seq.next)
    [ "$next" -ge "$last" ] || lost=$((lost + 1))
    [ "$(api GET /v1/sandbox/k | field holds)" = 1 ] || lost=$((lost + 1))
    last=$next
done
same "sandboxd killed $ROUNDS times: the execution goes on, is known and holds its sandbox" "$lost" 0
check "a new sandboxd serves" [ "$(sandboxd)" != "$pid" ]
same "a frozen one is still frozen" "$(state cold)" frozen
same "and thaws, the same as before" "$(run cold 'echo thawed')" thawed
check "without having been started again" eval '[ "$(api GET /v1/sandbox/cold | field timeline)" = None ]'
api POST /v1/sandbox/k/stop >/dev/null

# --- many ---
api POST /v1/sandbox '{"name":"seed"}' >/dev/null
run seed 'echo seed > /workspace/s' >/dev/null
for n in a idle small reader seed k cold; do api POST "/v1/sandbox/$n/stop" >/dev/null; done
base_l=$(fds "$(launcher)") base_s=$(fds "$(sandboxd)") base_b=$(boxes) base_m=$(wc -l </proc/self/mountinfo)
run seed 'true' >/dev/null
same "$FORKS forks of a running sandbox start at once" "$(api POST /v1/sandbox/seed/fork "{\"count\":$FORKS,\"name\":\"f\",\"start\":true}" |
    python3 -c 'import json,sys; print(sum(x["state"] == "running" for x in json.load(sys.stdin)))')" "$FORKS"
same "each has the state of that moment and its own tree" "$(api EACH "$FORKS" f 'cat /workspace/s; echo mine >> /workspace/s; wc -l < /workspace/s' | sort | uniq -c | awk '{ print $1, $2, $3 }')" "$FORKS seed 2"
check "the source was not stopped" is seed running
check "all are deleted" api DELALL "$FORKS" f
api POST /v1/sandbox/seed/fork "{\"count\":$MANY,\"name\":\"m\"}" >/dev/null
same "$MANY sandboxes run at once" "$(api EACH "$MANY" m 'echo one' | sort | uniq -c | awk '{ print $1, $2 }')" "$MANY one"
same "all of them are running" "$(api GET '/v1/sandbox?state=running' | python3 -c 'import json,sys; print(sum(x["name"].startswith("m-") for x in json.load(sys.stdin)["sandboxes"]))')" "$MANY"
check "and are deleted" api DELALL "$MANY" m
api POST /v1/sandbox/seed/stop >/dev/null
no_more() { [ "$(fds "$(launcher)")" -le "$base_l" ] && [ "$(fds "$(sandboxd)")" -le $((base_s + 8)) ] && [ "$(boxes)" -le "$base_b" ] && [ "$(wc -l </proc/self/mountinfo)" -eq "$base_m" ]; }
check "descriptors, cgroups and mounts are at their baseline ($base_l $base_s $base_b $base_m; now $(fds "$(launcher)") $(fds "$(sandboxd)") $(boxes) $(wc -l </proc/self/mountinfo))" until_so no_more
same "snapshotd has no mount left" "$(c --json status | field mounts 2>/dev/null || echo 0)" 0
