#!/bin/bash
# The file routes: bytes both ways, conditions, ranges, directories, tar in and out, and what a hostile tree must not do (security.md F).
. "$(dirname "$0")/../lib/sys.sh"
need_mounts files
SOCK=$COPPICE_STORE/sandbox/api.sock
B=http://box/v1/sandbox/ws F=$B/file
api() { curl -sS --path-as-is --max-time 60 --unix-socket "$SOCK" "$@"; }
json() { api -H 'content-type: application/json' "$@"; }
code() { api -o /dev/null -w '%{http_code}' "$@"; }
put() { api -T - -H 'content-type: application/octet-stream' "$@"; }
field() { python3 -c 'import json,sys; print(json.load(sys.stdin).get(sys.argv[1]))' "$1"; }
run() { c exec ws -- sh -c "$1"; }
check "create" c create ws
check "it starts" c exec ws -- true

head -c 3000000 /dev/urandom > "$T/r"
same "PUT" "$(put $F/workspace/d/r < "$T/r" | field size)" 3000000
check "GET gives the same bytes" cmp "$T/r" <(api $F/workspace/d/r)
same "a range" "$(api -r 5-14 $F/workspace/d/r | sha256sum)" "$(tail -c +6 "$T/r" | head -c 10 | sha256sum)"
same "If-Range of another file: the whole, whatever the range" "$(api -H "range: bytes=0-9" -H "if-range: \"old\"" $F/workspace/d/r | sha256sum)" "$(sha256sum < "$T/r")"
same "its status" "$(code -r 5-14 $F/workspace/d/r)/$(code -r 3000000- $F/workspace/d/r)" 206/416
same "the last bytes" "$(api -r -7 $F/workspace/d/r | sha256sum)" "$(tail -c 7 "$T/r" | sha256sum)"
same "HEAD" "$(api -I $F/workspace/d/r | tr -d '\r' | sed -n 's/^[Cc]ontent-[Ll]ength: //p')" 3000000
TAG=$(api -I $F/workspace/d/r | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')
same "If-None-Match" "$(code -H "If-None-Match: $TAG" $F/workspace/d/r)" 304
same "If-Match of what is there" "$(echo new | put -o /dev/null -w '%{http_code}' -H "If-Match: $TAG" $F/workspace/d/r)" 200
same "If-Match of what was there" "$(echo newer | put -o /dev/null -w '%{http_code}' -H "If-Match: $TAG" $F/workspace/d/r)" 412
same "it is unchanged then" "$(api $F/workspace/d/r)" new
same "If-None-Match: * on a file that is there" "$(echo x | put -o /dev/null -w '%{http_code}' -H 'If-None-Match: *' $F/workspace/d/r)" 412
same "mode" "$(echo '#!/bin/sh' | put "$F/workspace/x?mode=0755" | field mode)" 0755
same "home" "$(echo h | put "$F/~/h" | field ok)/$(run 'cat ~/h')" True/h
same "not there" "$(api $F/workspace/no | field code)" workspace_read_not_found
same "a directory is no file" "$(code $F/workspace/d)" 409
same "stat" "$(api $B/stat/workspace/d | field type)" directory
same "mkdir" "$(json -d '{}' -o /dev/null -w '%{http_code}' $B/dir/workspace/m/n)" 201
same "move" "$(json -d '{"from":"/workspace/x","to":"/workspace/m/y"}' $B/move | field type)" file
same "copy of a tree" "$(json -d '{"from":"/workspace/m","to":"/workspace/m2"}' $B/copy | field type)/$(run 'cd /workspace/m2; find . | sort | tr "\n" " "')" "directory/. ./n ./y "
same "list" "$(api "$B/dir/workspace?depth=3" | python3 -c 'import json,sys; print(" ".join(e["path"] for e in json.load(sys.stdin)["entries"]))')" "d d/r m m/n m/y m2 m2/n m2/y"
same "DELETE" "$(code -X DELETE $F/workspace/m)/$(code -X DELETE "$F/workspace/m?recursive=1")/$(code $B/stat/workspace/m)" 409/204/404
# --- tar ---
check "persist" api -f -X POST -o "$T/p.tar" $B/persist
same "a tar with relative names" "$(tar tf "$T/p.tar" | grep -c '^/\|\.\.')" 0
same "hydrate" "$(api -X POST -T - -H 'content-type: application/octet-stream' "$B/hydrate?root=/tmp/back" < "$T/p.tar" | field ok)" True
check "what comes back is what went" run 'diff -r /workspace /tmp/back'
same "no tar" "$(head -c 5000 /dev/urandom | api -X POST -T - -o /dev/null -w '%{http_code}' -H 'content-type: application/octet-stream' $B/hydrate)" 400
mkdir -p "$T/evil" && (cd "$T/evil" && ln -s /etc l && tar cf ../evil.tar l && rm l && mkdir l && echo owned > l/coppice-owned && tar rf ../evil.tar l/coppice-owned && echo up > up && tar rf ../evil.tar --transform 's,up,../../../tmp/coppice-up,' -P up)
api -o /dev/null -X POST -T - -H 'content-type: application/octet-stream' "$B/hydrate?user=root" < "$T/evil.tar"
same "a link in a tar is not followed, .. does not leave" "$(c exec --user root ws -- sh -c 'ls /etc/coppice-owned /tmp/coppice-up 2>/dev/null')$(ls /etc/coppice-owned /tmp/coppice-up 2>/dev/null)" ""
# --- F ---
run 'cd /workspace; mkfifo fifo; ln -s loop loop; ln -s /etc/passwd link; ln -s nowhere dangling; printf x > "$(printf "a\nb\033\377")"' >/dev/null
same "F1: .. stays inside" "$(code "$F/workspace/../../../etc/shadow")/$(api "$F/workspace/../etc/passwd" | grep -c ^root)" "404/1"
same "F1: NUL" "$(code "$F/workspace/a%00b")" 400
same "F2: a loop" "$(code $F/workspace/loop)" 409
same "F2: a link inside" "$(api $F/workspace/link | grep -c ^root)" 1
same "F4: magic links" "$(code $F/proc/self/root/etc/passwd | head -c 1)/$(code $F/dev/fd/0 | head -c 1)" 4/4
same "F5: a FIFO, a device: at once" "$(code $F/workspace/fifo)/$(code $F/dev/zero)/$(echo x | put -o /dev/null -w '%{http_code}' $F/workspace/fifo | head -c 1)" "400/400/4"
same "F7: every byte in names" "$(api "$F/workspace/a%0Ab%1B%FF")/$(api $B/dir/workspace | python3 -c 'import json,sys,base64; print([base64.b64decode(e["path_base64"]) for e in json.load(sys.stdin)["entries"] if "path_base64" in e])')" "x/[b'a\\nb\\x1b\\xff']"
same "F10: no setuid by upload" "$(echo x | put -o /dev/null "$F/workspace/s?mode=4755"; api $B/stat/workspace/s | field mode)" 0755
same "another user's file" "$(code "$F/root/x")" 403
same "the same as root" "$(echo r | put "$F/root/x?user=root" | field ok)" True
