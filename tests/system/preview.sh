#!/usr/bin/env bash
# Previews: HTTP, WebSocket, streams and large bodies through them; attacks; sleep, wake and a killed daemon; the real Vite with hot reload, cookies and origins in Chromium.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/sys.sh"
need_mounts previews
check "the daemons start" c up --listen 127.0.0.1:0
check "a sandbox" c create ws
listen=$(cat "$COPPICE_STORE/sandbox/listen") token=$(cat "$COPPICE_STORE/sandbox/token")
check "one that freezes soon" curl -sf --unix-socket "$COPPICE_STORE/sandbox/api.sock" -H 'Content-Type: application/json' -d '{"name": "idle", "idle": {"freeze_s": 1, "sleep_s": 0}}' http://x/v1/sandbox
check "a server inside" sh -c "'$COPPICE' cp '$here/preview_server.py' ws:server.py && '$COPPICE' cp '$here/preview_server.py' idle:server.py"
# Where nothing listens: the answer comes after half a minute, meanwhile the rest is tried.
url=$(c --json port ws 3002 | sed -n 's/.*"path_url": *"\([^"]*\)".*/\1/p')
curl -s -m 60 -w '%{http_code} %{content_type}' -H 'Accept: text/html' "$url" >"$T/nobody" &
nobody=$!

clients=$here/../clients
if ! command -v node >/dev/null || [ ! -d "$clients/vite/node_modules/vite" ] || [ ! -d "$clients/node_modules/playwright-core" ] || [ ! -x /usr/bin/chromium ]; then
    skip "Vite in Chromium: run tools/install-packages test"
else
    check "a web project inside" c cp "$clients/vite" ws:web
    check "Vite runs" sh -c "'$COPPICE' exec --detach --cwd /workspace/web ws -- node node_modules/vite/bin/vite.js --port 5173 --strictPort >/dev/null &&
        '$COPPICE' exec --detach ws -- python3 /workspace/server.py 4001 >/dev/null && '$COPPICE' exec --detach ws -- python3 /workspace/server.py 4002 >/dev/null"
    told < <(timeout 120 node "$clients/vite.mjs" "http://$listen" "$token" ws "$(c port ws 5173)" "$(c port ws 4001)" "$(c port ws 4002)" \
        "$(c --json port ws 4001 | sed -n 's/.*"path_url": *"\([^"]*\)".*/\1/p')" 2>&1 || echo "not ok vite.mjs")
fi
told < <(python3 "$here/preview.py" traffic "$listen" "$token" "$COPPICE_STORE/sandbox/api.sock" 2>&1 || echo "not ok preview.py traffic ran to its end")
wait "$nobody"
check "where nothing listens a page says so after the wait" grep -q 'nothing listens on its port 3002.*504 text/html' <(tr '\n' ' ' <"$T/nobody")
told < <(python3 "$here/preview.py" life "$listen" "$token" "$COPPICE_STORE/sandbox/api.sock" 2>&1 || echo "not ok preview.py life ran to its end")
refused "coppice port of a reserved port" 1 "proxy and resolver" c port ws 443
check "coppice port makes a URL" sh -c "'$COPPICE' port ws 8080 | grep -qE '^http://8080-ws-[a-z0-9]+-[a-z2-7]{26}\.localhost:[0-9]+/$'"
check "shows it" sh -c "'$COPPICE' port ws | grep -q 8080"
check "and takes it back" c port ws 8080 --rm
check "no token in the log" sh -c "! grep -qE -- '-[a-z2-7]{26}' '$COPPICE_STORE/sandbox/launcher.log'"

# A domain besides localhost, kept for later starts.
c down >/dev/null
refused "a domain that is none" 1 "wants NAME" c up --listen 127.0.0.1:0 --domain 'Bad_Name'
check "a domain of its own" c up --listen 127.0.0.1:0 --domain previews.test
c down >/dev/null
check "it is kept" c up --listen 127.0.0.1:0
listen=$(cat "$COPPICE_STORE/sandbox/listen")
check "URLs name it, with https as a proxy is in front" sh -c "'$COPPICE' port ws 9000 | grep -qE '^https://9000-ws-[a-z0-9]+-[a-z2-7]{26}\.previews\.test/$'"
seen() { curl -s -o /dev/null -w '%{http_code} %header{Coppice-Preview-Error}' -H "Host: $1" -H "Authorization: Bearer $token" "http://$listen$2"; }
same "its hosts are previews" "404 not_found" "$(seen "9000-ws-aaaaaaaaaa-aaaaaaaaaaaaaaaaaaaaaaaaaa.previews.test" /)"
same "localhost's still are" "404 not_found" "$(seen "9000-ws-aaaaaaaaaa-aaaaaaaaaaaaaaaaaaaaaaaaaa.localhost" /)"
same "the API is at its name, and at api." "200 200 403" "$(seen previews.test /v1/sandbox)$(seen api.previews.test /v1/sandbox)$(seen other.previews.test /v1/sandbox | tr -d ' ')"
