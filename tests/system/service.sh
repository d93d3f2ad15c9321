#!/bin/bash
# Services of a real sandbox: start, restart with back-off, logs, stop, sleep and wake, forks, a new sandboxd.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/sys.sh"
need_mounts "services"
contains() { case $2 in *"$3"*) pass "$1" ;; *) fail "$1: no '$3' in '${2:0:300}'" ;; esac; }
field() { c --json service "$1" | python3 -c 'import json, sys; print(next((s.get(sys.argv[2]) for s in json.load(sys.stdin)["services"] if s["name"] == sys.argv[1]), "none"))' "$2" "$3"; }
# until_field WS NAME FIELD VALUE: waits for it; the harness ends what hangs.
until_field() { for _ in $(seq 150); do [ "$(field "$1" "$2" "$3")" = "$4" ] && return 0; sleep 0.05; done; field "$1" "$2" "$3"; return 1; }
check "a sandbox" c create ws
check "registered while it sleeps" c service ws add web --port 8000 --cwd /workspace --env GREETING=hello -- python3 -u -c 'import os, http.server
print(os.environ["GREETING"], "begins", flush=True)
http.server.HTTPServer(("127.0.0.1", 8000), http.server.SimpleHTTPRequestHandler).serve_forever()'
same "it does not run with a sandbox asleep" "$(field ws web state)" stopped
check "the sandbox starts" c exec ws -- true
check "and the service with it" until_field ws web state running
check "what it does can be used" c exec ws -- python3 -c 'import urllib.request, time
for i in range(200):
    try: urllib.request.urlopen("http://127.0.0.1:8000/").read(); break
    except OSError: time.sleep(0.05)
else: raise SystemExit(1)'
contains "its log" "$(c service ws logs web)" "hello begins"
first=$(field ws web exec_id)
check "it is killed" c exec ws -- kill -9 "$(field ws web pid)"
check "and restarted" until_field ws web restarts 1
check "and runs" until_field ws web state running
check "as another execution" test "$first" != "$(field ws web exec_id)"
same "the log is of both runs" "$(c service ws logs web 2>/dev/null | grep -c begins)" 2
refused "the same name again" 1 "already" c service ws add web -- true
refused "a policy that is none" 1 "restart" c service ws add x --restart often -- true

# --- ends ---
check "one that fails" c service ws add bad --max-restarts 2 -- sh -c 'echo try; exit 3'
check "has failed after max_restarts" until_field ws bad state failed
same "with its status" "$(field ws bad exit_code) $(field ws bad restarts) $(c service ws logs bad | grep -c try)" "3 2 3"
check "one that does not exist" c service ws add none --restart no -- /no/such/program
check "has failed" until_field ws none state failed
contains "and says why" "$(c service ws)" "no such program"
check "one that ends well" c service ws add once -- true
check "is stopped" until_field ws once state stopped
check "a stop by hand" c service ws stop web
check "is seen" until_field ws web state stopped
same "nothing of it is left" "$(c exec ws -- pgrep -fc http.server)" 0
check "sleep" c sleep ws
check "wake" c exec ws -- true
same "what was stopped by hand stays so" "$(field ws web state)" stopped
check "start" c service ws start web
check "it runs" until_field ws web state running

# --- sandboxd dies: nothing is started twice ---
pid=$(field ws web pid) eid=$(field ws web exec_id)
sandboxd=$(pgrep -P "$(cat "$COPPICE_STORE/sandbox/pid")" -x sandboxd | head -1)
if [ -n "$sandboxd" ]; then
    c service ws logs web --follow >"$T/follow" 2>&1 & follower=$!
    check "its log is followed" timeout 60 sh -c 'until grep -q begins "$1"; do sleep 0.05; done' - "$T/follow"
    kill -9 $sandboxd
    wait $follower; st=$?
    same "who followed is told that it broke off" "$st $(grep -c 'try again' "$T/follow")" "1 1"
    check "a new sandboxd" c exec ws -- true
    check "finds it" until_field ws web state running
    same "the same process" "$(field ws web pid) $(field ws web exec_id)" "$pid $eid"
    same "once" "$(c exec ws -- pgrep -fc http.server)" 1
else
    skip "sandboxd's process was not found"
fi

# --- a fork, idleness ---
api() { curl -s --unix-socket "$COPPICE_STORE/sandbox/api.sock" -X "$1" -H "Content-Type: application/json" -d "$3" "http://localhost/v1/sandbox/$2"; }
check "a fork" api POST ws/fork '{"count": 1, "name": "ws2"}'
check "starts" c exec ws2 -- true
check "with its service" until_field ws2 web state running
check "idle times" api PATCH ws '{"idle": {"freeze_s": 0, "sleep_s": 1}}'
for _ in $(seq 300); do state=$(api GET ws "" | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])'); [ "$state" = asleep ] && break; sleep 0.1; done
same "an idle service does not keep it awake" "$state" asleep
check "removed" c service ws2 rm web
same "it is gone, and its process" "$(field ws2 web state) $(c exec ws2 -- pgrep -fc http.server)" "none 0"
