#!/usr/bin/env bash
# The network of sandboxes through the whole of coppice: what has no rule is refused, rules and secrets over the command and the API, forks, the log, and all of it after the end of
# egress, of sandboxd, and of the runner. The upstream is a small server on this machine's loopback, reached by a rule that names it. What egress makes of hostile bytes: tests/egress.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/sys.sh"
need_mounts "the network of sandboxes"
CANARY=canary-$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')

# Answers with what it was asked; says its port first.
python3 -u - > "$T/server.log" 2>&1 <<'PY' &
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = (self.path + ' ' + self.headers['Host'] + ('' if self.headers.get('Authorization') is None else ' authorized')).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
        print('seen', self.path, self.headers.get('Authorization'), flush=True)
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
print(s.server_address[1], flush=True)
s.serve_forever()
PY
SYS_PIDS+=($!)
# comes FILE TEXT: waits until it is there, at most a minute.
comes() { timeout 60 sh -c 'until grep -q "$2" "$1"; do sleep 0.05; done' - "$1" "$2"; }
comes "$T/server.log" '^[0-9]'
port=$(head -1 "$T/server.log")

check "the daemons start, with a key of their own" c up --no-tcp --secret-key "$T/key"
api() { local m=$1 p=$2; shift 2; curl -sS -m 60 --unix-socket "$COPPICE_STORE/sandbox/api.sock" -H 'Content-Type: application/json' -X "$m" "http://x/v1$p" "$@"; }
status() { api "$@" -o /dev/null -w '%{http_code}'; }
field() { python3 -c "import json,sys; v=json.load(sys.stdin)
for k in sys.argv[1].split('.'): v = v[int(k)] if isinstance(v, list) else v[k]
print(v)" "$1"; }
get() { c exec "$1" -- curl -sS -m 30 "$2" 2>&1; }
code() { c exec "$1" -- curl -sS -m 30 -o /dev/null -w '%{http_code}' "$2" 2>&1; }
launcher_child() { for p in $(cat /proc/"$(cat "$COPPICE_STORE/sandbox/pid")"/task/*/children); do [ "$(cat /proc/$p/comm)" = "$1" ] && echo "$p"; done; }
to_server() { printf '"upstream": {"scheme": "http", "host": "127.0.0.1", "port": %d}, "schemes": ["http"], "private": true' "$port"; }

# --- without rules ---
check "a sandbox" c create box
same "http is refused" 403 "$(code box http://site.example/)"
same "https is refused, by a certificate that curl takes" 403 "$(code box https://site.example/)"
same "other ports are refused by the kernel" 7 "$(c exec box -- sh -c 'curl -sS -m 30 http://site.example:8080/ 2>/dev/null; echo $?')"
same "its description says that it has a network" on "$(api GET /sandbox/box | field network)"
same "names are answered whatever resolv.conf says" 0 "$(c exec box --user root -- sh -c 'echo nameserver 10.9.8.7 > /etc/resolv.conf; getent hosts site.example >/dev/null; echo $?')"
same "Python trusts the same certificates" 403 "$(c exec box -- python3 -c '
import urllib.request, urllib.error
try: urllib.request.urlopen("https://site.example/", timeout=30)
except urllib.error.HTTPError as e: print(e.code)' 2>&1)"
same "the bundle is for reading only" 1 "$(c exec box --user root -- sh -c 'echo x 2>/dev/null >> /dev/ca-bundle.pem || echo 1' 2>/dev/null)"
same "nothing of that reached the server" 1 "$(wc -l < "$T/server.log")"

# --- rules and secrets ---
check "a secret from standard input" sh -c "printf '%s\n' '$CANARY' | '$COPPICE' secret set TOKEN --plain-http"
refused "a secret as a word" 2 "standard input" c secret set TOKEN "$CANARY"
cat > "$T/rules.json" <<J
{"rules": [{"name": "site", "allow": ["site.example"], "inherit": true, "inject": [{"bearer": "TOKEN"}], "require_tls": false, $(to_server)},
           {"name": "own", "allow": ["own.example"], $(to_server)}]}
J
check "rules from a file" c rules box set "$T/rules.json"
same "an allowed request goes where the rule says" "/a?b=c own.example" "$(get box 'http://own.example/a?b=c' | sed "s/127.0.0.1:$port/own.example/")"
same "a credential is put in behind the sandbox's back" authorized "$(get box http://site.example/x | awk '{ print $3 }')"
same "and the server got it" 1 "$(grep -c "seen /x Bearer $CANARY" "$T/server.log")"
c rules box deny own.example >/dev/null
same "what is denied wins at once" 403 "$(code box http://own.example/)"
c rules box rm deny-own.example >/dev/null
refused "a URL in place of a host" 2 "without scheme and path" c rules box allow https://own.example/
same "and is taken back" 200 "$(code box http://own.example/)"
revision=$(api GET /sandbox/box/rules | field revision)
same "a change upon an old revision" 412 "$(status PATCH /sandbox/box/rules -H "If-Match: \"$((revision - 1))\"" -d '{"default": "allow"}')"
same "leaves all as it was" "deny $revision" "$(api GET /sandbox/box/rules | field default) $(api GET /sandbox/box/rules | field revision)"
same "rules that are none are refused" 400 "$(status PUT /sandbox/box/rules -d '{"rules": [{"allow": ["a.example"], "alow": 1}]}')"

printf '{"rules": [{"name": "few", "allow": ["few.example"], "methods": ["GET"], "answer": {"status": 200, "body": "x"}, "limits": {"requests_per_minute": 1}}]}' | c rules box set - >/dev/null
same "a limit names its rule" "200 few" "$(code box http://few.example/) $(get box http://few.example/ | field rule)"
same "a method that a rule for the host does not allow" "rule few allows others" "$(c exec box -- curl -sS -X PUT http://few.example/ | grep -o 'rule few allows others')"
check "the rules from before" c rules box set "$T/rules.json"
refused "a secret that is not there is named" 1 "no secret 'NONE'" c secret rm NONE

# --- made with rules ---
count() { api GET /sandbox | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["sandboxes"]))'; }
before=$(count)
same "a sandbox with bad rules" 400 "$(status POST /sandbox -d '{"name": "bad", "rules": {"rules": [{"allow": ["a/b"]}]}}')"
same "is not made" "$before" "$(count)"
same "one with good rules" 201 "$(status POST /sandbox -d "{\"name\": \"made\", \"rules\": $(cat "$T/rules.json")}")"
same "has them from its first command on" 200 "$(code made http://own.example/)"

# --- forks ---
check "a fork" api POST /sandbox/box/fork -d '{"name": "twig", "start": true}' --fail
same "has the rules that are for forks" site "$(api GET /sandbox/twig/rules | field rules.0.name)"
same "and works with them" "authorized 403" "$(get twig http://site.example/t | awk '{ print $3 }') $(code twig http://own.example/)"
check "a fork by the command" c fork box limb
same "has them too" site "$(api GET /sandbox/limb/rules | field rules.0.name)"
same "and those that are numbered" "site site" "$(c fork box bough -n 2 >/dev/null; echo $(for i in 1 2; do api GET /sandbox/bough-$i/rules | field rules.0.name; done))"
same "its answer is the daemon's" "2 True" "$(c --json fork box leaf -n 2 | python3 -c 'import json,sys; v=json.load(sys.stdin); print(len(v["workspaces"]), v["snapshot"].startswith("snap-"))')"
refused "to a name that is taken" 1 "'limb'.*(exists|in use|taken|already)" c fork box limb
check "of what is no sandbox, a snapshot, it is one too" sh -c "'$COPPICE' snapshot box at && '$COPPICE' fork box@at fromsnap"

# --- what dies ---
"$COPPICE" egress-log box --follow > "$T/follow" 2>&1 & SYS_PIDS+=($!)
check "the log is followed" comes "$T/follow" own.example
kill -9 "$(launcher_child egress)"
same "after the death of egress a request waits and is answered by the same rules" "200 403" "$(code box http://own.example/after) $(code box http://evil.example/)"
check "who follows the log goes on" comes "$T/follow" evil.example
kill -9 "$(launcher_child sandboxd)"
same "after the death of sandboxd too" "200 on" "$(code box http://own.example/) $(api GET /sandbox/box | field network)"
same "and who follows the log by the command goes on" 403 "$(code box http://late.example/)"
check "with what came since" comes "$T/follow" late.example
same "bytes are counted" 1 "$(( $(api GET /sandbox/box/usage | field egress_bytes) > 0 ))"
check "the runner ends" c down
same "its key is kept apart, for root alone" "600 32" "$(stat -c '%a %s' "$T/key")"
check "it starts without being told again" c up --no-tcp
same "rules and secrets are there" "authorized 200" "$(get box http://site.example/again | awk '{ print $3 }') $(code made http://own.example/)"
same "a log is kept over it" 1 "$(( $(c egress-log box | grep -c 'evil.example') > 0 ))"

# --- the end of a box, and the canary ---
id=$(api GET /sandbox/made | field workspace_id)
same "a sandbox is removed" 204 "$(status DELETE '/sandbox/made?snapshots=true')"
same "a removed sandbox leaves nothing to egress" "" "$(find "$COPPICE_STORE/sandbox/egress" -name "*$id*" -path '*boxes*')"
c secret rm TOKEN
same "a rule whose secret is gone refuses" 403 "$(code box http://site.example/)"
same "no secret is in the sandbox" 0 "$(c exec box --user root -- sh -c 'cat /proc/*/environ /proc/*/cmdline 2>/dev/null; grep -rs canary- /workspace /tmp /home /etc /dev/shm' 2>/dev/null | grep -c "$CANARY")"
same "nor in the store or its logs" "" "$(grep -rlaF "$CANARY" "$COPPICE_STORE" 2>/dev/null)"
