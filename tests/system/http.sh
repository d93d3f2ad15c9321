#!/usr/bin/env bash
# The HTTP API of a real sandboxd: every route of the OpenAPI document, TCP with its token, the unmodified public client, the terminal page in a browser.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/sys.sh"
need_mounts "the HTTP API"
check "daemons start" c up --listen 127.0.0.1:0
socket=$COPPICE_STORE/sandbox/api.sock
url=http://$(cat "$COPPICE_STORE/sandbox/listen") token=$(cat "$COPPICE_STORE/sandbox/token")

told < <(python3 "$here/http_routes.py" "$socket" 2>&1 || echo "not ok http_routes.py")

status() { curl -s -o /dev/null -w '%{http_code}' "$@"; }
same "TCP without a token" 401 "$(status "$url/v1/sandbox")"
same "TCP with it" 200 "$(status -H "Authorization: Bearer $token" "$url/v1/sandbox")"
same "the token in the URL" 401 "$(status "$url/v1/sandbox?token=$token")"
same "another Host" 403 "$(status -H "Authorization: Bearer $token" -H 'Host: evil.example' "$url/v1/sandbox")"
same "another Origin" 403 "$(status -H "Authorization: Bearer $token" -H 'Origin: http://evil.example' "$url/v1/sandbox")"
same "another user on the socket is kept out" 1 "$(setpriv --reuid 65534 --clear-groups curl -s -m 5 --unix-socket "$socket" http://x/health >/dev/null 2>&1; [ $? -ne 0 ] && echo 1)"
check "no token in the logs" sh -c "! grep -rqF '$token' '$COPPICE_STORE/sandbox/launcher.log'"

clients=$here/../clients
if ! command -v node >/dev/null || [ ! -d "$clients/node_modules/@openai" ]; then
    skip "the public clients: run tools/install-packages test"
else
    check "the unmodified CloudflareSandboxClient" timeout 300 node "$clients/cloudflare.mjs" "$url" "$token"
    if [ -x /usr/bin/chromium ]; then check "the terminal page in Chromium" timeout 300 node "$clients/terminal.mjs" "$url" "$token"
    else skip "the terminal page: chromium is not installed"; fi
fi
