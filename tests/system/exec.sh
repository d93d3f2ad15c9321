#!/bin/bash
# Executions through the HTTP API: streams, stdin, signals, re-attaching, sessions, waiting, bounds.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts exec
SOCK=$COPPICE_STORE/sandbox/api.sock
U=http://box/v1/sandbox/ws
api() { curl -sSN --max-time 120 --unix-socket "$SOCK" "$@"; }
json() { api -H 'content-type: application/json' "$@"; }
doc() { json -H 'accept: application/json' "$U/exec" -d "$1"; }
field() { python3 -c 'import json,sys; v=json.load(sys.stdin)
for k in sys.argv[1].split("."): v=v[int(k)] if isinstance(v,list) else v.get(k)
print(v)' "$1"; }
status() { api -o /dev/null -w '%{http_code}' "$@"; }
start() { json "$U/exec" -d "$1" | field exec_id; }
# The output of an execution's events as bytes: events SINCE EID
bytes() { api "$U/exec/$2/output?since=$1" | sed -n '/^event: stdout/,/^data:/s/^data: //p' | base64 -d; }

check "create" c create ws
check "the daemons start" c exec ws -- true

# --- one command ---
same "stdout" "$(doc '{"argv":["echo","hi"]}' | field stdout)" "hi"
same "exit code" "$(doc '{"argv":["sh","-c","exit 7"]}' | field exit_code)" 7
same "a signal, from wait only" "$(doc '{"argv":["sh","-c","kill -SEGV $$"]}' | field signal)" SIGSEGV
same "stderr apart" "$(doc '{"shell":"echo a; echo b >&2"}' | field stderr)" b
same "environment of the request" "$(doc '{"shell":"echo $X","env":{"X":"1 2"}}' | field stdout)" "1 2"
same "a null takes a variable away" "$(doc '{"shell":"echo ${LANG-none}","env":{"LANG":null}}' | field stdout)" none
same "cwd" "$(doc '{"argv":["pwd"],"cwd":"/tmp"}' | field stdout)" /tmp
same "user root" "$(doc '{"argv":["id","-u"],"user":"root"}' | field stdout)" 0
same "shell is bash where there is one" "$(doc '{"shell":"[[ 1 == 1 ]] && echo yes"}' | field stdout)" yes
same "text for stdin" "$(doc '{"argv":["cat"],"stdin":"eins"}' | field stdout)" eins
same "bytes that are no text" "$(doc '{"shell":"printf \"\\\\377\\\\000\""}' | field stdout)" /wA=
same "no such program" "$(doc '{"argv":["/no/such"]}' | field code)" program_not_found
same "no such directory" "$(doc '{"argv":["true"],"cwd":"/no"}' | field code)" invalid_request
same "no such user" "$(doc '{"argv":["true"],"user":"nobody-here"}' | field code)" invalid_request
same "unknown fields are refused" "$(doc '{"argv":["true"],"tiemout":1}' | field code)" invalid_request
same "neither argv nor shell" "$(status -H 'content-type: application/json' "$U/exec" -d '{}')" 400
same "timeout" "$(doc '{"argv":["sleep","100"],"timeout_ms":200}' | field timed_out)" True
R=$(json "$U/exec" -d '{"argv":["sh","-c","echo x; exit 2"]}')
same "events in their order" "$(grep -o 'event: [a-z]*' <<<"$R" | tr '\n' ' ')" "event: start event: stdout event: exit "
same "NDJSON" "$(json -H 'accept: application/x-ndjson' "$U/exec" -d '{"argv":["echo","x"]}' | python3 -c 'import json,sys; print([json.loads(l)["event"] for l in sys.stdin])')" "['start', 'stdout', 'exit']"

# --- binary, large ---
SUM=$(json "$U/exec" -d '{"shell":"head -c 3000000 /dev/urandom > /tmp/r; sha256sum < /tmp/r; cat /tmp/r >&2"}' | python3 -c '
import sys, base64, hashlib
out, h, ev = b"", hashlib.sha256(), ""
for l in sys.stdin:
    if l.startswith("event: "): ev = l[7:].strip()
    elif l.startswith("data: ") and ev == "stdout": out += base64.b64decode(l[6:])
    elif l.startswith("data: ") and ev == "stderr": h.update(base64.b64decode(l[6:]))
print(out.split()[0].decode() == h.hexdigest())')
same "3 MB of random bytes arrive as they were" "$SUM" True
D=$(doc '{"shell":"head -c 20000000 /dev/zero | tr \"\\\\0\" a"}')
same "a document is cut, and says so" "$(field truncated <<<"$D")" True
same "a document keeps 4 MiB" "$(python3 -c 'import json,sys; print(len(json.load(sys.stdin)["stdout"]))' <<<"$D")" 4194304

# --- background, re-attach ---
E=$(start '{"shell":"for i in 1 2 3; do echo line $i; done; read x; echo got $x","detach":true,"stdin":true}')
same "detached: it runs" "$(api "$U/exec/$E" | field state)" running
same "wait for a line" "$(json "$U/exec/$E/wait/log" -d '{"pattern":"^line [3]$","regex":true}' | field line)" "line 3"
same "stdin, streamed" "$(printf 'hello\n' | api --data-binary @- -H 'transfer-encoding: chunked' -H 'content-type: application/octet-stream' "$U/exec/$E/stdin?close=1" | field ok)" True
same "wait for its end" "$(api "$U/exec/$E/wait" | field exit_code)" 0
same "output again, from the beginning" "$(bytes 0 "$E" | tail -1)" "got hello"
same "output from a sequence number" "$(bytes 7 "$E" | head -1)" "line 2"
same "stdin after the end" "$(printf x | status --data-binary @- "$U/exec/$E/stdin")" 409
same "listed" "$(api "$U/exec" | python3 -c 'import json,sys; print(sys.argv[1] in [e["exec_id"] for e in json.load(sys.stdin)["execs"]])' "$E")" True
same "forgotten" "$(status -X DELETE "$U/exec/$E")/$(status "$U/exec/$E")" 204/404
same "an id that never was" "$(status "$U/exec/e99999")/$(status "$U/exec/e01")/$(status "$U/exec/x")" 404/404/404
same "a pattern that is none" "$(json "$U/exec/$(start '{"argv":["sleep","60"],"detach":true}')/wait/log" -d '{"pattern":"(","regex":true}' | field code)" invalid_request

# --- the end of all of it ---
E=$(start '{"shell":"setsid sh -c \"trap : TERM; sleep 1000 & wait; sleep 1000\" & sleep 1001 & wait","detach":true}')
json "$U/exec/$E/wait/log" -d '{"pattern":"never","timeout_ms":300}' >/dev/null
check "DELETE kills the daemonised too" api -f -X DELETE "$U/exec/$E"
same "nothing of it is left" "$(doc '{"shell":"for p in /proc/[0-9]*; do tr \"\\\\0\" \" \" < $p/cmdline; echo; done 2>/dev/null | grep -c \"^sleep 100[01]\""}' | field stdout)" 0
E=$(start '{"argv":["sleep","1000"],"detach":true}')
same "a signal by name" "$(json "$U/exec/$E/signal" -d '{"signal":"TERM"}' | field signal)/$(api "$U/exec/$E/wait" | field signal)" SIGTERM/SIGTERM
same "a client that leaves does not end its command" "$(
    mkfifo "$T/fifo"; json "$U/exec" -d '{"shell":"echo here; read x; echo on > /tmp/went; sleep 1000","stdin":true}' > "$T/fifo" & P=$!
    exec 5< "$T/fifo"; while read -r l <&5; do case $l in *exec_id*) I=$(sed 's/.*"exec_id":"\([^"]*\)".*/\1/' <<<"$l"); break;; esac; done
    kill $P; wait $P 2>/dev/null; exec 5<&-
    printf 'x\n' | api --data-binary @- "$U/exec/$I/stdin" >/dev/null
    doc '{"shell":"until [ -s /tmp/went ]; do sleep 0.05; done; cat /tmp/went"}' | field stdout; api -X DELETE "$U/exec/$I")" on

# --- ports ---
E=$(start '{"argv":["python3","-c","import socket,time; s=socket.socket(); s.bind((\"127.0.0.1\",8099)); s.listen(); time.sleep(1000)"],"detach":true}')
same "wait for a port" "$(json "$U/wait/port" -d '{"port":8099,"timeout_ms":20000}' | field ok)" True
same "a port that nobody opens" "$(json "$U/wait/port" -d '{"port":8098,"timeout_ms":200}' | field code)" timeout
api -X DELETE "$U/exec/$E"

# --- sessions ---
same "a session is made" "$(json "$U/session" -d '{"id":"s1","cwd":"/tmp","env":{"A":"1"}}' | field id)" s1
in_s() { json -H 'accept: application/json' -H "Session-Id: ${2-s1}" "$U/exec" -d "$1" | field stdout; }
same "its directory and variables" "$(in_s '{"shell":"echo $PWD $A"}')" "/tmp 1"
in_s '{"shell":"cd /usr; export B=\"x y\"; unset A; C=3"}' >/dev/null
same "cd, export and unset hold" "$(in_s '{"shell":"echo $PWD $B ${A-none} ${C-none}"}')" "/usr x y none none"
same "argv runs with them" "$(in_s '{"argv":["sh","-c","echo $PWD $B"]}')" "/usr x y"
in_s '{"argv":["cd","/var"]}' >/dev/null
same "cd as argv" "$(in_s '{"argv":["pwd"]}')" /var
in_s '{"shell":"cd /; exit 3"}' >/dev/null
same "exit keeps it" "$(in_s '{"argv":["pwd"]}')" /
in_s '{"shell":"echo $X","env":{"X":"once"}}' >/dev/null
same "the request's own variables do not stay" "$(in_s '{"shell":"echo ${X-none}"}')" none
same "another session knows nothing of it" "$(in_s '{"shell":"echo $PWD ${B-none}"}' other)" "/workspace none"
for i in 1 2 3 4 5 6 7 8; do in_s "{\"shell\":\"n=\$((\${N-0}+1)); export N=\$n\"}" >/dev/null & J="${J-} $!"; done; wait $J
same "commands of one session take turns" "$(in_s '{"shell":"echo $N"}')" 8
same "nothing of it stays in /tmp" "$(doc '{"shell":"ls -A /tmp | grep -c coppice-session"}' | field stdout)" 0
same "deleted" "$(api -X DELETE "$U/session/s1" | field success)/$(status -X DELETE "$U/session/s1")" True/404

# --- many, and slow readers ---
N=${EXECS:-300}
OUT=$(python3 - "$SOCK" "$N" <<'P'
import socket, sys, json
sock, n = sys.argv[1], int(sys.argv[2])
cs = []
for i in range(n):
    s = socket.socket(socket.AF_UNIX); s.connect(sock)
    b = json.dumps({"shell": "read x; echo $x", "stdin": "%d\n" % i}).encode()
    s.sendall(b"POST /v1/sandbox/ws/exec HTTP/1.1\r\nhost: box\r\naccept: application/json\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(b) + b)
    cs.append(s)
good = 0
for i, s in enumerate(cs):
    d = b""
    while True:
        p = s.recv(65536)
        if not p: break
        d += p
    right = b'"stdout":"%d\\n"' % i in d
    good += right
    if not right: wrong = d
if good < n: print("one that was wrong:", wrong[-600:], file=sys.stderr)
print(good)
P
)
same "$N at once" "$OUT" "$N"
rss() { awk '/VmRSS/ { print $2 }' "/proc/$1/status"; }
SD=$(pgrep -P "$(cat "$COPPICE_STORE/sandbox/pid")" -x sandboxd | head -1)
BIG=${STDOUT_MB:-256}
A=$([ -n "$SD" ] && rss "$SD" || echo 0)
GOT=$(json -H 'accept: application/x-ndjson' "$U/exec" -d "{\"shell\":\"head -c ${BIG}M /dev/zero\"}" | python3 -c '
import sys
n = 0
for l in sys.stdin.buffer:
    if b"\"stdout\"" in l[:40] or b"stdout" in l[:60]:
        i = l.index(b"\"data\":\"") + 8; b = l[i:l.index(b"\"", i)]; n += len(b) // 4 * 3 - b.count(b"=")
print(n)')
same "$BIG MiB through stdout" "$GOT" $((BIG * 1048576))
if [ -n "$SD" ]; then same "and sandboxd has not grown by 16 MiB" "$(( $(rss "$SD") - A < 16384 ))" 1; else skip "growth of sandboxd: its process was not found"; fi
E=$(json "$U/exec" -d '{"shell":"yes | head -c 50000000; echo done > /tmp/d","detach":true}' | field exec_id)
same "no reader: the program is not slowed, the ring is overwritten" "$(api "$U/exec/$E/wait" | field exit_code)/$(doc '{"argv":["cat","/tmp/d"]}' | field stdout)" 0/done
same "a late reader is told what is lost" "$(api "$U/exec/$E/output" | grep -c 'event: lost')" 1
P=$(python3 - "$SOCK" <<'P'
import socket, sys, json, time
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
b = json.dumps({"shell": "yes"}).encode()
s.sendall(b"POST /v1/sandbox/ws/exec HTTP/1.1\r\nhost: box\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(b) + b)
s.recv(100)
t = socket.socket(socket.AF_UNIX); t.connect(sys.argv[1])      # s is not read: others go on
b = json.dumps({"argv": ["echo", "on"]}).encode()
t.sendall(b"POST /v1/sandbox/ws/exec HTTP/1.1\r\nhost: box\r\naccept: application/json\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(b) + b)
d = b""
while True:
    p = t.recv(65536)
    if not p: break
    d += p
print(b'"stdout":"on\\n"' in d)
P
)
same "a reader that stops reading holds up nobody else" "$P" True
