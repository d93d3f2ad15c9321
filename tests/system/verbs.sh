#!/bin/bash
# Every verb of the command on a small tree, and every bad input of the promise "a clear error, status 1, nothing changed".
. "$(dirname "$0")/../lib/sys.sh"
need_mounts verbs

mkdir -p "$T/src/dir"; echo one >"$T/src/a"; seq 100000 >"$T/src/dir/big"; ln -s a "$T/src/link"; ln "$T/src/a" "$T/src/dir/hard"
check "init" c init
check "init of a store that is there says so and changes nothing" bash -c '! "$0" init 2>/dev/null || true' "$COPPICE"
check "import of a directory" c import "$T/src" one
check "create" c create empty --bare
check "list" c list
same "list shows both" "$(c list | grep -cE '^(one|empty) ')" 2
check "list --json is JSON" bash -c '"$0" --json list | node -e "JSON.parse(require(\"fs\").readFileSync(0))" || "$0" --json list | python3 -m json.tool' "$COPPICE"
check "mount" ws_mount one
same "the mounted tree is the source" "$(content "$T/mnt/one")" "$(content "$T/src")"
check "snapshot" c snapshot one first -m "the first"
echo two >"$T/mnt/one/a"; echo new >"$T/mnt/one/new"; rm "$T/mnt/one/link"
check "snapshot of a changed mount" c snapshot one second
same "diff --name-status" "$(c diff one@first one@second --name-status | LC_ALL=C sort | tr '\t' ' ')" "$(printf 'A new\nD link\nM a\nM dir/hard')"
check "diff --stat" c diff one@first one@second --stat
check "diff --patch" bash -c '"$0" diff one@first one@second --patch | grep -q "^+two"' "$COPPICE"
check "fork -n of a mounted workspace" c fork one copy -n 10
check "fork of a snapshot" c fork one@first old
check "mount of a fork" ws_mount copy-3
same "a fork has its source's state" "$(content "$T/mnt/copy-3")" "$(content "$T/mnt/one")"
echo three >"$T/mnt/copy-3/a"
same "a fork's change stays in it" "$(cat "$T/mnt/one/a")" two
check "mount of a snapshot" bash -c 'mkdir "$1" && "$0" mount one@first "$1"' "$COPPICE" "$T/mnt/snap"
same "a snapshot has its old state" "$(cat "$T/mnt/snap/a")" one
check "a snapshot is read-only" bash -c '! touch "$0/x" 2>/dev/null' "$T/mnt/snap"
check "restore of a path into a live mount" c restore one --to one@first a
same "the path is as it was" "$(cat "$T/mnt/one/a")" one
check "the rest is as it is" test -e "$T/mnt/one/new"
check "restore of the whole" c restore one --to one@first
same "the tree is as it was" "$(content "$T/mnt/one")" "$(content "$T/src")"
check "log --graph" c log one --graph
check "show" c show one
check "label" c label one@first color=blue
check "rename" c rename empty hollow
check "show by the new name" c show hollow
check "export" c export one@second "$T/arch"
check "import of an archive" c import "$T/arch" again
check "mount of it" ws_mount again
same "it is the state that was exported" "$(cat "$T/mnt/again/a" "$T/mnt/again/new")" "$(printf 'two\nnew')"
check "export as tar" c export one@first "$T/first.tar" --format tar
mkdir "$T/untar"; tar -C "$T/untar" -xf "$T/first.tar"
same "the tar is the tree" "$(content "$T/untar")" "$(content "$T/src")"
for z in gz xz zst; do
    case $z in gz) gzip -k "$T/first.tar";; xz) xz -k "$T/first.tar";; zst) zstd -q "$T/first.tar";; esac
    check "import of a tar.$z" c import "$T/first.tar.$z" "from-$z"
done

# merge: what comes to nothing leaves nothing; what was done leaves the states it was made of. .snap shows all snapshots there are.
for w in target other; do mkdir "$T/mnt/$w"; done
c create target --bare >/dev/null; c mount -o snapdir target "$T/mnt/target" >/dev/null; TM=$T/mnt/target OM=$T/mnt/other
seq 20 >"$TM/text"; c snapshot target base >/dev/null; c fork target other >/dev/null; c mount -o snapdir other "$OM" >/dev/null
echo theirs >"$OM/new"; sed -i 's/^3$/three/' "$OM/text"; echo ours >"$TM/own"
all() { ls "$TM/.snap" "$OM/.snap" | LC_ALL=C sort; }
had=$(all)
check "merge --dry-run" c merge other --into target --dry-run
same "leaves no snapshot" "$(all)" "$had"
same "and changes nothing" "$(cat "$TM/text" | tr '\n' ' ') $(ls "$TM")" "$(seq 20 | tr '\n' ' ') own
text"
sed -i 's/^3$/drei/' "$TM/text"
refused "a merge with a conflict" 1 "1 conflict" c merge other --into target
same "leaves no snapshot" "$(all)" "$had"
same "and changes nothing" "$(sed -n 3p "$TM/text") $(ls "$TM" | tr '\n' ' ')" "drei own text "
same "nor a workspace" "$(c list --json | grep -c merge-)" 0
check "the same one, decided" c merge other --into target --theirs
same "is done" "$(sed -n 3p "$TM/text") $(cat "$TM/new" "$TM/own" | tr '\n' ' ')" "three theirs ours "
same "and leaves the state before, the one after, and the other's" "$(($(all | wc -l) - $(wc -l <<<"$had")))" 3
same "the state before is as it was" "$(cd "$TM/.snap" && grep -lx drei snap-*/text | wc -l)" 1
sed -i 's/^9$/nine/' "$OM/text"; sed -i 's/^three$/3rd/' "$TM/text"
check "a second merge of the same source knows of the first" c merge other --into target
same "and takes only what is new" "$(sed -n '3p;9p' "$TM/text" | tr '\n' ' ')" "3rd nine "
check "the source has changed again; named twice" sh -c "echo x >'$OM/x' && '$COPPICE' merge other other --into target"
check "undo" c restore target --undo
same "takes the last one back" "$(ls "$TM" | tr '\n' ' ')" "new own text "
c umount target && c umount other

check "umount" c umount one
check "rm of a workspace with its snapshots refused, then done" bash -c '! "$0" rm one 2>/dev/null' "$COPPICE"
check "gc" c gc
check "stats" c stats
check "fsck" c fsck
check "scrub" c scrub
check "status" c status
check "doctor" c doctor
check "down, then work starts it again" bash -c '"$0" down && "$0" list' "$COPPICE"

c snapshot old s1 >/dev/null
before=$(c list | sort)
refused "unknown workspace" 1 'nothing|no |not|unknown' c show nosuch
refused "unknown snapshot" 1 'no |not|unknown' c diff old@nosuch old
refused "unknown source of a fork" 1 'no |not|unknown' c fork nosuch x
refused "existing name" 1 'exist|in use|already' c create old --bare
refused "existing name of a fork" 1 'exist|in use|already' c fork old hollow
refused "existing snapshot name" 1 'exist|already' c snapshot old s1
for bad in '../x' '/' '.' '..' 'A' 'a b' "$(printf 'x%.0s' {1..65})" '' 'a/b' $'a\nb' 'ä' '-x'; do
    out=$(c create --bare -- "$bad" 2>&1); st=$?
    if [ $st -ne 0 ] && [ $st -le 2 ] && [ -n "$out" ]; then pass "invalid name $(printf %q "${bad:0:20}") is refused"; else fail "invalid name $(printf %q "${bad:0:20}"): status $st: $out"; fi
done
same "nothing changed by what was refused" "$(c list | sort)" "$before"
refused "missing source of an import" 1 'no such|not' c import "$T/nothing" imp
head -c 3000 "$T/arch" >"$T/cut"
refused "truncated archive" 1 'archive|truncat|damage|corrupt|short|end' c import "$T/cut" imp
cp "$T/arch" "$T/flip"; printf '\377' | dd of="$T/flip" bs=1 seek=$(($(stat -c %s "$T/arch") / 2)) conv=notrunc status=none
refused "corrupt archive" 1 '.' c import "$T/flip" imp
head -c 100000 /dev/urandom >"$T/noise"
refused "no archive at all" 1 '.' c import "$T/noise" imp
refused "mount on what is no directory" 1 'director' c mount old "$T/noise"
refused "mount on what is not there" 1 'no such|not' c mount old "$T/mnt/nowhere"
refused "umount of what is not mounted" 1 'not mounted|no ' c umount old
refused "unknown verb" 2 'verb|usage|unknown' c frobnicate
refused "unknown option" 2 'option|usage|unknown' c list --frobnicate
mkdir "$T/newer"; SYS_STORES+=("$T/newer")
check "a second store" c --store "$T/newer" init
c --store "$T/newer" down >/dev/null 2>&1
cp "$T/newer/format" "$T/format"; sed -i 's/\b1\b/99/' "$T/newer/format"
refused "a store of a newer format" 1 'format|version|newer' c --store "$T/newer" list
cp "$T/format" "$T/newer/format"
refused "a store in a file" 1 '.' c --store "$T/noise" list
check "the store is whole after all this" c fsck
