#!/bin/bash
# Sandboxes through the command, as somebody uses them: the issue's first line, what an execution can be, terminals, files, states of running ones, their life, and a
# root file system of their own. A Debian tree comes from debootstrap (its packages from the mirror that apt knows); COPPICE_DEBIAN_TAR names one that is there already.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts sandboxes
HELPERS=$(cd "$(dirname "$0")" && pwd)

# status WHAT STATUS COMMAND...: its exit status, whatever it says.
status() {
    local what=$1 want=$2 st out; shift 2
    out=$("$@" 2>&1 </dev/null); st=$?
    if [ $st -eq "$want" ]; then pass "$what"; else fail "$what: status $st, expected $want: ${out:0:200}"; fi
}
gone() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 || return 0; read -rt 0.05 <> <(:); done; return 1; }
mounts_of_store() { grep -c "coppice" /proc/self/mountinfo; }

before_mounts=$(mounts_of_store)

# --- the first line ---
out=$(c create ws 2>&1 && c exec ws -- sh -c 'echo hi; id; ls /' 2>&1); st=$?
same "create and exec on a fresh store" "$st $(head -1 <<<"$(tail -n +2 <<<"$out")")" "0 hi"
if [ $st -ne 0 ]; then echo "$out"; tail -5 "$T/store/sandbox/launcher.log"; exit 1; fi
same "it runs as the user" "$(c exec ws -- id -un)" user
same "its home and shell are there" "$(c exec ws -- sh -c 'echo $HOME; test -w /workspace -a -w $HOME -a -w /tmp && echo yes')" $'/home/user\nyes'
same "/usr is the host's and read-only" "$(c exec --user root ws -- sh -c 'touch /usr/x 2>/dev/null || ls /usr/bin/env')" /usr/bin/env
same "nothing secret of the host's /etc is in the template" "$(c exec --user root ws -- sh -c 'ls -d /etc/shadow /etc/gshadow /etc/ssh /etc/ssl/private /etc/sudoers 2>/dev/null; cat /etc/machine-id')" ""
same "certificates and libraries are found" "$(c exec ws -- sh -c 'test -e /etc/ld.so.cache && ls /etc/ssl/certs /etc/pki 2>/dev/null | head -c 1 | wc -c')" 1
# The bundle of certificates is no file of the template: it is put on it, read-only, and is the host's root's.
same "other ids than 0 and 1000 own nothing in the template" "$(c exec --user root ws -- sh -c 'find / \( -path /usr -o -path /proc -o -path /dev -o -path /etc/ssl/certs/ca-certificates.crt \) -prune -o ! -uid 0 ! -uid 1000 -print 2>/dev/null | head -3')" ""
same "the template is hidden from list, and shown with --all" "$(c list | grep -c '^host ') $(c list --all | grep -c '^host ')" "0 1"
c create ws2 >/dev/null
same "a second sandbox stands on the same state of it" "$(c --json show ws2 | grep -o '"snapshot": "[^"]*"')" "$(c --json show ws | grep -o '"snapshot": "[^"]*"')"

# --- executions ---
status "the command's own status" 42 c exec ws sh -c 'exit 42'
status "a signal is 128+N" 137 c exec ws -- sh -c 'kill -9 $$'
status "no such program" 127 c exec ws -- /no/such/program
status "what is no program" 126 c exec ws -- /etc/passwd
status "no such sandbox" 125 c exec nosuch -- true
status "usage" 2 c exec ws
status "--timeout ends it" 143 c exec --timeout 0.3 ws -- sleep 60
same "stdout and stderr are apart" "$(c exec ws -- sh -c 'echo out; echo err >&2' 2>/dev/null)|$(c exec ws -- sh -c 'echo out; echo err >&2' 2>&1 >/dev/null)" "out|err"
same "environment, directory, user" "$(c exec ws --env A=b --cwd /tmp --user root -- sh -c 'echo $A; pwd; id -u' | tr '\n' ' ')" "b /tmp 0 "
same "a numeric user" "$(c exec ws --user 1234:5678 -- sh -c 'id -u; id -g' | tr '\n' ' ')" "1234 5678 "
same "words go as they are" "$(c exec ws -- printf '%s|' 'a b' '' '*' $'c\nd' '$HOME')" $'a b||*|c\nd|$HOME|'
head -c 5000000 /dev/urandom >"$T/noise"
check "binary input and output are intact" bash -c '"$0" exec -i ws -- cat <"$1" | cmp - "$1"' "$COPPICE" "$T/noise"
same "end of input arrives" "$(printf 'one\ntwo' | c exec -i ws -- wc -c | tr -d ' ')" 7
same "without -i there is no input" "$(echo text | c exec ws -- cat)" ""
same "a program that does not read its input does not hold us" "$(head -c 5000000 /dev/zero | c exec -i ws -- echo done)" done
same "64 MiB through stdout" "$(c exec ws -- head -c 67108864 /dev/zero | sha256sum)" "$(head -c 67108864 /dev/zero | sha256sum)"
status "output that nobody takes ends the command" 141 bash -c '"$0" exec ws -- yes | head -1 >/dev/null; exit ${PIPESTATUS[0]}' "$COPPICE"
same "each line of --json is JSON" "$(c --json exec ws -- echo hi | python3 -c 'import json, sys; print([json.loads(l)["event"] for l in sys.stdin if l.strip()][0])')" start

# An interrupt goes to the command.
mkfifo "$T/fifo"
"$COPPICE" exec ws -- sh -c 'echo ready; exec sleep 1000' >"$T/fifo" & pid=$!
read -r line <"$T/fifo"; kill -INT $pid; wait $pid
same "an interrupt ends the command and we say so" "$line $?" "ready 130"

id=$(c exec ws --detach -- sh -c 'for i in 1 2 3; do echo $i; done; echo bad >&2; exec sleep 1000')
check "a detached execution has an id" test -n "$id"
gone bash -c '! "$0" logs ws "$1" 2>/dev/null | grep -q 3' "$COPPICE" "$id"
same "logs" "$(c logs ws "$id" 2>/dev/null | tr '\n' ' ')" "1 2 3 "
same "ps shows it" "$(c ps ws | grep -c "^$id .*running.*sleep 1000")" 1
same "logs --since begins there" "$(c logs ws "$id" --since 2 2>/dev/null | tr '\n' ' ')" "2 3 "
background bash -c '"$0" logs ws "$1" --follow >"$2" 2>&1; echo $? >"$2.status"' "$COPPICE" "$id" "$T/followed"; follower=$!
check "kill" c kill ws "$id"
wait $follower
same "logs --follow ends with it and has its status" "$(cat "$T/followed.status") $(grep -c . "$T/followed")" "137 4"
same "ps --all remembers it" "$(c ps ws --all | grep -c "^$id .*SIGKILL")" 1
id=$(c exec ws --detach -- sh -c 'trap "exit 7" TERM; while :; do sleep 0.1; done'); c kill ws "$id" --signal TERM
status "attach ends with its status" 7 c attach ws "$id"
refused "kill of what is not there" 1 'no |not' c kill ws e99999
id=$(c exec ws -d -- sh -c '(setsid sleep 4321 >/dev/null 2>&1 &) ; sleep 4321'); c kill ws "$id"
same "kill reaches daemons too" "$(c exec ws -- sh -c 'cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\0" " "' | grep -c 'sleep 4321')" 0

# --- terminals ---
check "a terminal: exec -it, resize, shell, leaving and coming back" python3 "$HELPERS/sandbox_tty.py" "$COPPICE" ws
refused "a terminal needs one" 2 'terminal' c shell ws

# --- files ---
mkdir -p "$T/tree/sub/deep"; echo text >"$T/tree/a"; head -c 300000 /dev/urandom >"$T/tree/sub/b"; chmod 750 "$T/tree/sub/b"; ln -s a "$T/tree/l"; ln "$T/tree/a" "$T/tree/sub/hard"; : >"$T/tree/sub/deep/empty"
printf x >"$T/tree/"$'odd \303\244 name'
check "cp of a directory in" c cp "$T/tree" ws:
check "cp of it out" c cp ws:tree "$T/back"
same "the tree is the same" "$(content "$T/back")" "$(content "$T/tree")"
check "cp into a directory that is there" c cp "$T/tree/a" ws:/tmp
same "the file is in it" "$(c exec ws -- cat /tmp/a)" text
check "cp of a file out" c cp ws:/workspace/tree/sub/b "$T/b"
same "it has its content and mode" "$(cmp "$T/b" "$T/tree/sub/b" && stat -c %a "$T/b")" 750
same "cp to standard output" "$(c cp ws:/tmp/a -)" text
check "cp from standard input" bash -c 'echo piped | "$0" cp - ws:/tmp/piped' "$COPPICE"
same "it arrived" "$(c exec ws -- cat /tmp/piped)" piped
refused "cp of what is not there" 1 'no such' c cp ws:/nothing "$T/x"
refused "cp within this machine" 2 'WS:PATH' c cp "$T/b" "$T/x"
c exec ws -- sh -c 'mkdir /workspace/evil && cd /workspace/evil && ln -s /etc etc && ln -s ../../../../tmp up'
check "cp of a tree with links that lead out" c cp ws:evil "$T/evil"
same "they are links, nothing was written through them" "$(readlink "$T/evil/etc" "$T/evil/up" | tr '\n' ' ')" "/etc ../../../../tmp "

# --- states of a running one ---
id=$(c exec ws -d -- sh -c 'i=0; while :; do i=$((i+1)); echo $i >/workspace/count; sleep 0.02; done')
c exec ws -- sh -c 'echo before >/workspace/state'
check "snapshot of a running sandbox" c snapshot ws s1
check "fork of a running sandbox" c fork ws f -n 3
c exec ws -- sh -c 'echo after >/workspace/state'
same "all forks have that one state" "$(for i in 1 2 3; do c exec f-$i -- cat /workspace/state /workspace/count | tr '\n' ' '; done | awk '{ print $1, $3, $5, ($2 == $4 && $4 == $6) }')" "before before before 1"
same "what ran in the source runs on, in the forks nothing does" "$(c ps ws | grep -c "^$id ") $(c ps f-1 | grep -c running)" "1 0"
same "diff with a running sandbox" "$(c diff ws@s1 ws -- workspace/state | tr '\t' ' ')" "M workspace/state"
check "restore of a path in a running sandbox" c restore ws --to ws@s1 workspace/state
same "it sees it" "$(c exec ws -- cat /workspace/state)" before
c kill ws "$id" >/dev/null
refused "rm of a running sandbox" 1 'runs.*--force' c rm f-1
check "rm --force" c rm --force f-1
same "it is gone" "$(c list | grep -c '^f-1 ')" 0

# --- life ---
c exec ws -- sh -c 'echo kept >/workspace/kept'
id=$(c exec ws -d -- sleep 3210)
check "freeze" c freeze ws
same "it is frozen" "$(c status | awk '$1 == "frozen" { print $2 }')" 1
same "a request wakes it, with its processes" "$(c exec ws -- sh -c 'cat /workspace/kept'; c ps ws | grep -c 'sleep 3210')" $'kept\n1'
check "sleep" c sleep ws
same "a request starts it again, with its files and without its processes" "$(c exec ws -- sh -c 'cat /workspace/kept'; c ps ws | grep -c 'sleep 3210')" $'kept\n0'
check "stop" c stop ws
check "wake" c wake ws
same "usage counts CPU time" "$(c exec ws -- sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; c --json usage ws | python3 -c 'import json, sys; print(json.load(sys.stdin)["cpu_s"] > 0.05)')" True
same "run --rm leaves nothing" "$(c run --rm -- echo one-shot; c list --all | grep -vcE '^(WORKSPACE|SNAPSHOT|snap-|host |ws |ws2 |f-2 |f-3 |$)')" $'one-shot\n0'
check "run --name" c run --name named -- sh -c 'echo x >/workspace/x'
same "it is kept" "$(c exec named -- cat /workspace/x)" x
c create plain --bare >/dev/null && c import "$T/tree" tree >/dev/null
same "a plain tree is at /workspace" "$(c exec tree -- cat /workspace/a)" text
check "and can be written" c exec tree -- sh -c 'echo new >/workspace/new'
same "what was written is in it" "$(c sleep tree; ws_mount tree && cat "$T/mnt/tree/new"; c umount tree)" new
# The daemon that speaks HTTP may die: what runs goes on, and who waits for it comes again by himself.
runner() { c --json status | python3 -c 'import json, sys; print(json.load(sys.stdin)["runner"]["pid"])'; }
kill_sandboxd() { local l p; l=$(runner); for p in $(cat /proc/$l/task/$l/children 2>/dev/null || pgrep -P "$l"); do [ "$(cat /proc/$p/comm)" = sandboxd ] && kill -9 "$p" && return 0; done; return 1; }
rm -f "$T/fifo"; mkfifo "$T/fifo"
"$COPPICE" exec ws -- sh -c 'echo begun; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo ended; exit 6' >"$T/fifo" & pid=$!
exec 7<"$T/fifo"; read -r line <&7
check "sandboxd is killed" kill_sandboxd
check "and serves again" c exec ws -- touch /tmp/go
read -r rest <&7; exec 7<&-; wait $pid
same "a command in the foreground has lost nothing by it" "$line $rest $?" "begun ended 6"
id=$(c exec ws -d -- sh -c 'echo survived; sleep 1000')
check "sandboxd is killed again" kill_sandboxd
gone bash -c '! "$0" logs ws "$1" 2>/dev/null | grep -q survived' "$COPPICE" "$id"
same "after its death executions go on and are known" "$(c logs ws "$id" 2>/dev/null) $(c ps ws | grep -c "^$id .*running")" "survived 1"

# --- by TCP ---
c down >/dev/null
check "up with TCP" c up --listen 127.0.0.1:0
listen=$(c --json status | python3 -c 'import json, sys; print(json.load(sys.stdin)["runner"]["listen"])')
fetch() { python3 - "$@" <<'PY'
import sys, urllib.error, urllib.request
q = urllib.request.Request(sys.argv[1], headers=dict(a.split(": ", 1) for a in sys.argv[2:]))
try:
    print(urllib.request.urlopen(q, timeout=30).status)
except urllib.error.HTTPError as e:
    print(e.code)
PY
}
same "with the token, without, with another" "$(fetch "http://$listen/v1/sandbox" "Authorization: Bearer $(cat "$T/store/sandbox/token")") $(fetch "http://$listen/v1/sandbox") $(fetch "http://$listen/v1/sandbox" "Authorization: Bearer $(printf '0%.0s' {1..64})")" "200 401 401"
same "the token is for root alone" "$(stat -c '%a %u' "$T/store/sandbox/token")" "600 0"
refused "an address that others reach" 1 'other machines' bash -c '"$0" down >/dev/null; "$0" up --listen 0.0.0.0:0' "$COPPICE"

# --- a root file system of its own ---
debian() {
    [ -n "${COPPICE_DEBIAN_TAR:-}" ] && { cp "$COPPICE_DEBIAN_TAR" "$T/debian.tar"; return; }
    command -v debootstrap >/dev/null || { echo "debootstrap is not installed"; return 1; }
    debootstrap --variant=minbase bookworm "$T/debian" >"$T/debootstrap.log" 2>&1 || { echo "debootstrap: $(tail -1 "$T/debootstrap.log")"; return 1; }
    tar -C "$T/debian" --exclude=./dev/\* -cf "$T/debian.tar" . && rm -rf --one-file-system "$T/debian"
}
if why=$(debian); then
    check "import of a root file system" c import "$T/debian.tar" debian --kind root
    snap=$(c --json show debian | sed -n 's/.*"snapshot": "\([^"]*\)".*/\1/p')
    check "create from it" c create deb --from "$snap"
    same "its / is its own" "$(c exec deb --user root -- sh -c '. /etc/os-release; echo $ID $VERSION_ID; test -e /usr/bin/dpkg && ls /workspace 2>/dev/null | wc -l')" "debian 12
0"
    same "/usr can be written" "$(c exec deb --user root -- sh -c 'printf "#!/bin/sh\necho installed\n" >/usr/bin/tool && chmod 755 /usr/bin/tool && rm /usr/bin/yes && tool')" installed
    check "snapshot of it" c snapshot deb changed
    check "fork of that" c fork deb@changed deb2
    same "changes to /usr survive" "$(c exec deb2 -- sh -c 'tool; test -e /usr/bin/yes || echo removed')" $'installed\nremoved'
    same "the template is as it was" "$(c create deb3 --from "$snap" >/dev/null; c exec deb3 -- sh -c 'test -e /usr/bin/tool || echo none; ls /usr/bin/yes')" $'none\n/usr/bin/yes'
    same "dpkg works on it" "$(c exec deb2 --user root -- dpkg -s bash | grep -c '^Status: install ok installed')" 1
else
    skip "a root file system by debootstrap: $why"
fi

# --- the end ---
groups=$(tr -s ' ,:' '\n' <"$T/store/sandbox/groups" | grep '^/')
check "control groups are known" test -n "$groups"
check "down ends all" c down
same "no mount is left" "$(mounts_of_store)" "$before_mounts"
same "no control group is left" "$(for g in $groups; do find "$g" -type d 2>/dev/null; done)" ""
same "no process of it is left" "$(grep -lsz "${T%?}[${T: -1}]/store" /proc/[0-9]*/cmdline 2>/dev/null | wc -l)" 0
check "the store is whole" c fsck
check "and its sandboxes start again" c exec ws -- true
