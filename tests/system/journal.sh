#!/usr/bin/env bash
# The change journal of a workspace through a real mount: the documented mirror (docs/examples/mirror.py) follows real programs, snapshots and restores, and is the tree, whoever is
# killed meanwhile; cursors over restarts; gaps; readers that do not read; what it goes with.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts journal
HERE=$(cd "$(dirname "$0")" && pwd)
export COPPICE
until_true() { local i; for i in $(seq 400); do "$@" && return 0; sleep 0.05; done; return 1; }
events() { c --json watch --journal "$@" --once; }
ops() { sed -n 's/.*"op":"\([a-z]*\)".*/\1/p'; }
last_cursor() { events "$1" | sed -n '$s/.*"cursor":"\([^"]*\)".*/\1/p'; }
seqs_follow() { sed -n 's/^{"seq":\([0-9]*\),.*/\1/p' | awk 'NR > 1 && $1 != p + 1 { bad = 1 } { p = $1 } END { exit bad || NR == 0 }'; }
alive() { timeout -k 1 5 stat "$1/." >/dev/null 2>&1; }

check "a workspace" c create w --bare
check "mounted" ws_mount w
W=$T/mnt/w
mkdir "$T/copy"

# The mirror, started again whenever it ends early; and killed on the way.
follow_until() { local i; for i in $(seq 40); do timeout -k 1 60 python3 "$HERE/../../docs/examples/mirror.py" w "$W" "$T/copy" "$T/state" "$1" 2>>"$T/mirror.log" && return 0; sleep 0.1; done; tail -3 "$T/mirror.log"; return 1; }
no_times() { (cd "$1" && find . -mindepth 1 ! -name 'done-*' -printf '%P %y %m %U:%G %l\n' | LC_ALL=C sort; find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum) | sha256sum; }
is_mirror() {                              # WHAT NAME: when NAME has come through, both are the same
    : > "$W/done-$2"
    if follow_until "done-$2"; then same "$1" "$(no_times "$T/copy")" "$(no_times "$W")"; else fail "$1: the mirror did not come to done-$2"; fi
}

mkdir "$W/before" && echo text > "$W/before/file"
is_mirror "the mirror begins with what is there" 0
background follow_until done-beside
BESIDE=$!
(cd "$W" && mkdir -p src/deep/er && for i in $(seq 60); do echo "line $i" > src/deep/er/f$i; done && tar cf all.tar src && mkdir out && tar xf all.tar -C out &&
    mv src moved && mv moved/deep/er/f1 moved/f1 && sed -i s/line/LINE/ moved/deep/er/f2 && ln -s ../x moved/link && cp -r moved again && rm -rf out/src/deep &&
    mkdir -p swap/a swap/b && touch swap/a/1 && mv swap/a swap/c && mv swap/b swap/a && mv swap/c swap/b && chmod 600 again/f1 && chown 3:4 again/f1 &&
    python3 - <<'P'
import os, mmap
fd = os.open('mapped', os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 20)
m = mmap.mmap(fd, 1 << 20)
m[500000:500005] = b'bytes'
m.flush()
os.pwrite(fd, b'x' * 70000, 3 << 20)
os.ftruncate(fd, 2 << 20)
os.posix_fallocate(fd, 0, 3 << 20)
t = os.open('.', os.O_TMPFILE | os.O_RDWR)
os.write(t, b'came with its content')
os.link(f'/proc/self/fd/{t}', 'linked', src_dir_fd=os.open('.', os.O_RDONLY), follow_symlinks=True)
os.mkfifo('fifo')
P
) >"$T/programs.log" 2>&1 || fail "the programs: $(tail -3 "$T/programs.log")"
command -v git >/dev/null && (cd "$W" && git init -q repo && cd repo && cp -r ../moved . && git add -A && git -c user.name=a -c user.email=a@b commit -qm one && git checkout -qb two && git mv moved/f1 g &&
    git -c user.name=a -c user.email=a@b commit -qm two && git checkout -q - && git gc -q) >"$T/git.log" 2>&1
command -v sqlite3 >/dev/null && sqlite3 "$W/db" 'create table t(x); insert into t values(1),(2); vacuum;'
: > "$W/done-beside"; wait "$BESIDE"           # one mirror at a time: both would write to the copy
is_mirror "and is the tree after real programs" 1
ln "$W/before/file" "$W/second" && echo more >> "$W/second"
is_mirror "hard links too" 2
mkdir "$T/mnt/outside" "$T/outside" "$W/way" && echo theirs > "$T/mnt/outside/f" && echo mine > "$T/outside/f" && : > "$W/way/f" && rm -r "$W/way" && ln -s ../outside "$W/way"
is_mirror "a symbolic link where a directory was" 2b
same "leads the mirror nowhere" "$(ls "$T/outside") $(cat "$T/outside/f")" "f mine"
for i in 3 4 5; do
    timeout -s KILL 0.$i python3 "$HERE/../../docs/examples/mirror.py" w "$W" "$T/copy" "$T/state" >/dev/null 2>&1 &
    for k in $(seq 150); do echo "$i $k" > "$W/k$((k % 40))"; mv "$W/k$((k % 40))" "$W/m$((k % 30))"; done
    wait $! 2>/dev/null
done 2>/dev/null
is_mirror "and when it was killed in the middle, three times" 3

# snapshots and restores
C0=$(last_cursor w)
check "a snapshot" c snapshot w one
rm -rf "$W/again" && echo other > "$W/before/file" && mkdir "$W/new" && : > "$W/new/x"
check "a restore of a directory" c restore w --to w@one before
check "and of all" c restore w --to w@one
same "they are marked" "$(events w --cursor "$C0" | ops | grep -E 'snapshot|restore|replace' | sort -u | tr '\n' ' ')" "replace restore snapshot "
is_mirror "the mirror is the tree after them" 4
check "a fork" c fork w x
same "is marked" "$(events w --cursor "$C0" | ops | grep -c fork)" 1
same "and has no journal of its own: its first question starts one" "$(events x | grep -vc '"start"')" 0

# restarts
C1=$(last_cursor w)
check "unmounted" c umount w
check "the daemon ends" c down
check "mounted again" ws_mount w
echo after > "$W/after"
events w --cursor "$C1" > "$T/e"
check "a cursor from before a clean restart loses nothing" seqs_follow < "$T/e"
same "and sees no gap" "$(ops < "$T/e" | grep -c gap)" 0
same "but what came since" "$(grep -c '"path":"after"' "$T/e" | sed 's/^[1-9].*/some/')" some

echo one > "$W/killed"; sync -f "$W"
C2=$(last_cursor w)
background follow_until done-aside
ASIDE=$!
kill -9 "$(daemon_pid)"
OUTLIVED=1
until_true alive "$W" || OUTLIVED=
[ $OUTLIVED ] || { umount -l "$W"; check "mounted after kill -9" until_true ws_mount w; }
echo two > "$W/killed2"
: > "$W/done-aside"; wait "$ASIDE"
is_mirror "after kill -9 of the daemon the mirror is the tree" 5
events w --cursor "$C2" > "$T/e"
check "and the numbers follow each other" seqs_follow < "$T/e"
[ -z "$OUTLIVED" ] || same "a mount that outlived the daemon lost no event" "$(ops < "$T/e" | grep -c gap)" 0

# Another daemon takes over in order: who follows goes on with that one.
if [ $OUTLIVED ]; then
    c --json watch --journal w >"$T/on" 2>"$T/on.err" & ON=$!; SYS_PIDS+=($ON)
    until_true test -s "$T/on"
    OLD=$(daemon_pid); kill "$OLD"
    other() { local p; p=$(daemon_pid); [ -n "$p" ] && [ "$p" != "$OLD" ]; }
    check "SIGTERM to the daemon: another one" until_true other
    : >"$W/after-term"
    check "who follows the journal goes on with it" until_true grep -q '"path":"after-term"' "$T/on"
    same "and was told no error" "$(cat "$T/on.err")" ""
    kill $ON
fi

# bounds
check "a small journal" c watch --journal w --size 256K --once
C3=$(last_cursor w)
python3 - "$W" <<'P'
import os, sys
os.chdir(sys.argv[1])
os.mkdir('many')
for i in range(3000): os.close(os.open(f'many/some-longer-name-{i}', os.O_CREAT | os.O_WRONLY))
P
events w --cursor "$C3" > "$T/e"
same "what is too old is told as a gap, first" "$(sed 1d "$T/e" | ops | head -1)" gap
check "then all follows" seqs_follow < <(grep -v '"gap"' "$T/e")
same "and it is small" "$(($(du -sk "$COPPICE_STORE/journal" | cut -f1) < 500))" 1
is_mirror "a mirror that met a gap looks again" 6

# a reader that does not read
c --json watch --journal w > "$T/slow" 2>&1 & SLOW=$!; SYS_PIDS+=($SLOW)
until_true test -s "$T/slow"
kill -STOP $SLOW
check "who does not read holds up nobody" timeout 60 python3 - "$W" <<'P'
import os, sys
os.chdir(sys.argv[1])
os.mkdir('slow')
for i in range(4000): os.close(os.open(f'slow/{i}', os.O_CREAT | os.O_WRONLY))
P
check "not even a snapshot" c snapshot w
: > "$W/end"
kill -CONT $SLOW
check "and comes to the end later" until_true grep -q '"path":"end"' "$T/slow"

refused "a wrong cursor" 1 "not a cursor" c watch --journal w --cursor nonsense --once
refused "two places to begin" 2 "one of" c watch --journal w --all --since 1h
refused "sizes have bounds" 1 "from 256 KiB" c watch --journal w --size 1K --once
refused "a snapshot has none" 1 "snapshot" c watch --journal w@one --once
same "--since" "$(events w --since 1d | grep -c '"path":"end","kind":"file"')" 1
check "off" c watch --journal w --off
check "ends who reads" until_true eval "! kill -0 $SLOW 2>/dev/null"
same "and forgets" "$(ls "$COPPICE_STORE/journal")" "$(c --json show x | sed -n 's/.*"id": *"\(ws-[^"]*\)".*/\1/p' | head -1)"
check "rm takes it along" c rm x
same "all of it" "$(ls "$COPPICE_STORE/journal")" ""
check "fsck" c fsck
