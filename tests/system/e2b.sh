#!/usr/bin/env bash
# Unmodified E2B programs against a real sandboxd: the packages e2b (2.51.0 and 2.10.4), @e2b/code-interpreter, and E2BSandboxClient of the OpenAI Agents SDK, with environment variables only.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/sys.sh"
need_mounts "the E2B API"
clients=$here/../clients
if ! command -v node >/dev/null || [ ! -d "$clients/node_modules/e2b" ] || [ ! -d "$clients/node_modules/e2b-old" ]; then
    skip "the E2B packages: run tools/install-packages test"
    exit 0
fi
check "daemons start" c up --listen 127.0.0.1:0
socket=$COPPICE_STORE/sandbox/api.sock
export E2B_API_URL E2B_SANDBOX_URL E2B_API_KEY
E2B_API_URL=http://$(cat "$COPPICE_STORE/sandbox/listen") E2B_SANDBOX_URL=$E2B_API_URL E2B_API_KEY=e2b_$(cat "$COPPICE_STORE/sandbox/token")

# The programs say "ok ..." and "not ok ..." for each step; what does not end so has crashed.
client() {
    local name=$1 st; shift
    (cd "$clients" && timeout 120 node "$@") >"$T/$name.out" 2>&1
    st=$?
    [ $st -le 1 ] || echo "not ok $name ended with $st: $(tail -n 3 "$T/$name.out" | tr '\n' '|')" >>"$T/$name.out"
}
report() {
    told <"$T/$1.out"
    grep -q ' passed$' "$T/$1.out" || fail "$1 did not come to its end: $(tail -n 3 "$T/$1.out" | tr '\n' '|')"
}
client e2b e2b.mjs e2b & a=$!
client interpreter e2b_code.mjs & b=$!
wait $a $b
client e2b-old e2b.mjs e2b-old & a=$!
client agents e2b_agents.mjs & b=$!
wait $a $b
for name in e2b e2b-old interpreter agents; do report $name; done

# --- the worked examples of docs/e2b.md, as they stand there ---
mkdir "$T/examples" && cp "$here"/../../docs/examples/*e2b*.mjs "$T/examples/" && ln -s "$(cd "$clients" && pwd)/node_modules" "$T/examples/node_modules"
same "an agent written for E2B" "The best month was 'mar', 420 units were sold in all, the file has 4 lines." "$(cd "$T/examples" && timeout 60 node e2b-agent.mjs 2>&1 | tail -n 1)"
same "an agent of the OpenAI Agents SDK" "It says now: QUIET WORDS" "$(cd "$T/examples" && timeout 60 node openai-agents-e2b.mjs 2>&1 | tail -n 1)"

# --- what the packages do not do ---
api() { curl -s -H "X-API-KEY: ${E2B_API_KEY#e2b_}" "$@"; }
code() { api -o /dev/null -w '%{http_code}' "$@"; }
same "without a key" 401 "$(curl -s -o /dev/null -w '%{http_code}' "$E2B_API_URL/v2/sandboxes")"
same "the key as Bearer" 200 "$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer ${E2B_API_KEY#e2b_}" "$E2B_API_URL/v2/sandboxes")"
id=$(api -X POST -d '{"templateID":"code-interpreter-v1","unknown":{"field":1},"secure":false}' "$E2B_API_URL/sandboxes" | sed 's/.*"sandboxID":"\([^"]*\)".*/\1/')
same "secure: false needs no token, as its makers wish" 200 "$(curl -s -o /dev/null -w '%{http_code}' -H "E2b-Sandbox-Id: $id" "$E2B_API_URL/files?path=/etc/hostname")"
same "health of a sandbox" 204 "$(curl -s -o /dev/null -w '%{http_code}' -H "E2b-Sandbox-Id: $id" "$E2B_API_URL/health")"
same "health of none" 502 "$(curl -s -o /dev/null -w '%{http_code}' -H "E2b-Sandbox-Id: nosuch" "$E2B_API_URL/health")"
same "health of the daemon" '{"ok":true}' "$(curl -s "$E2B_API_URL/health")"
same "the Unix socket needs no token" 200 "$(curl -s -o /dev/null -w '%{http_code}' --unix-socket "$socket" "http://x/sandboxes/$id")"
same "pause, and again" "204 409" "$(code -X POST "$E2B_API_URL/sandboxes/$id/pause") $(code -X POST "$E2B_API_URL/sandboxes/$id/pause")"
same "resume: 201 if it was paused, else 200" "201 200" "$(code -X POST "$E2B_API_URL/sandboxes/$id/resume") $(code -X POST "$E2B_API_URL/sandboxes/$id/connect")"
# a sandbox of the native API is taken over by connect, and only then listed
check "a native sandbox" c create native
same "not listed" 0 "$(api "$E2B_API_URL/v2/sandboxes?limit=100" | grep -c '"templateID":"native"\|sandboxID":"ws-')"
same "connect takes it over" 200 "$(code -X POST "$E2B_API_URL/v2/sandboxes/native/connect")"
# its name can be guessed: its ports are not open to whoever does, and ask for the traffic token
authority=${E2B_API_URL#http://}; port=${authority##*:}
of_port() { curl -s -o /dev/null -w '%{http_code}' --connect-to "::$authority" "$@"; }
check "a server in it" c exec native -- sh -c 'mkdir /tmp/w; cd /tmp/w; python3 -m http.server 3000 >/dev/null 2>&1 & for i in 1 2 3 4 5 6 7 8 9; do python3 -c "import socket; socket.create_connection((\"127.0.0.1\", 3000))" 2>/dev/null && break; sleep 1; done'
traffic=$(api -X POST "$E2B_API_URL/v2/sandboxes/native/connect" | sed 's/.*"trafficAccessToken":"\([^"]*\)".*/\1/')
same "a port of it needs the traffic token" "404 200" "$(of_port "http://3000-native.localhost:$port/") $(of_port -H "E2B-Traffic-Access-Token: $traffic" "http://3000-native.localhost:$port/")"
# the user is signed, and Basic is not
made=$(api -X POST -d '{"network":{"allowPublicTraffic":false}}' "$E2B_API_URL/sandboxes")
closed=$(sed 's/.*"sandboxID":"\([^"]*\)".*/\1/' <<<"$made"); own=$(sed 's/.*"envdAccessToken":"\([^"]*\)".*/\1/' <<<"$made")
signature=v1_$(printf '%s' "who:write::$own" | openssl dgst -sha256 -binary | base64 | tr -d '=\n' | sed 's/+/%2B/g; s,/,%2F,g')
same "a signed URL's user is not changed by Basic" /home/user/who "$(curl -s -u root: -H 'Content-Type: application/octet-stream' --data-binary x "$E2B_API_URL/files?path=who&signature=${signature}" | sed 's/.*"path":"\([^"]*\)".*/\1/')"
# what create said of public traffic outlives a change of the network and a connect
check "the network is changed" test 204 = "$(code -X PUT -d '{"denyOut":["evil.example"]}' "$E2B_API_URL/sandboxes/$closed/network")"
check "connect" test 200 = "$(code -X POST "$E2B_API_URL/sandboxes/$closed/connect")"
same "its ports stay closed" 404 "$(of_port "http://3000-$closed.localhost:$port/")"
same "and it is listed" 1 "$(api "$E2B_API_URL/v2/sandboxes?limit=100" | grep -o 'sandboxID":"ws-' | wc -l)"
# what the daemon keeps survives it: tokens, metadata, the end of its time
before=$(api "$E2B_API_URL/sandboxes/$id")
check "down" c down
check "up again" c up
same "metadata and time after a restart" "$(sed 's/"domain":"[^"]*",//' <<<"$before")" "$(api --unix-socket "$socket" "http://x/sandboxes/$id" | sed 's/"domain":"[^"]*",//')"
check "no token in the logs" sh -c "! grep -rqF '${E2B_API_KEY#e2b_}' '$COPPICE_STORE/sandbox/launcher.log'"
