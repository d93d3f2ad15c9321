#!/bin/bash
# Snapshots and forks taken while the workspace is written: each is a state that was.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts consistency
HELP=${COPPICE_HELPERS:-$(dirname "$COPPICE")/../tests/system}
c init >/dev/null && c create work --bare >/dev/null && ws_mount work || { fail "mount"; exit 1; }
W=$T/mnt/work N=${SNAPSHOTS:-12}

# Writers that never close: numbered lines; names moved back and forth; two files written in turn by mmap and pwrite; SQLite.
append() { exec 7>>"$W/log$1"; for ((i = 0; ; i++)); do echo "$i" >&7; done; }
swap() { echo x >"$W/left$1"; while :; do mv "$W/left$1" "$W/right$1"; mv "$W/right$1" "$W/left$1"; done; }
storm() { sqlite3 "$W/storm.db" 'PRAGMA journal_mode=wal; CREATE TABLE t(i INTEGER PRIMARY KEY, twin INTEGER)' >/dev/null
    exec sqlite3 "$W/storm.db" < <(while :; do echo 'BEGIN; INSERT INTO t(twin) VALUES(1); INSERT INTO t(twin) VALUES(2); COMMIT;'; done 2>/dev/null); }
for i in 1 2 3 4 5 6; do background append $i; done
for i in 1 2; do background swap $i; done
command -v sqlite3 >/dev/null && background storm
[ -x "$HELP/mmap_writer" ] && background "$HELP/mmap_writer" "$W/mapped"
until [ -s "$W/log6" ] && { [ -e "$W/left2" ] || [ -e "$W/right2" ]; }; do :; done

for ((s = 0; s < N; s++)); do
    read -r -t 0.1 <> <(:) || true                         # lets the writers run between snapshots
    if ((s % 3)); then c snapshot work "s$s" >/dev/null || fail "snapshot $s under load"
    else c snapshot work "s$s" >/dev/null && c fork work "f$s" >/dev/null || fail "fork $s under load"; fi
done
same "all snapshots were taken" "$(c log work | grep -cE '\bs[0-9]+\b')" "$N"
for p in "${SYS_PIDS[@]}"; do kill "$p" 2>/dev/null; wait "$p" 2>/dev/null; done; SYS_PIDS=()

bad=0
for ((s = 0; s < N; s++)); do
    mkdir "$T/mnt/s$s"; c mount "work@s$s" "$T/mnt/s$s" >/dev/null || { fail "mount of snapshot $s"; continue; }
    cd "$T/mnt/s$s" || exit 1
    for f in log*; do                                      # whole lines 0..n, at most the last one cut
        awk 'NR > 1 && last != NR - 2 { bad = 1 } { last = $0 } END { exit bad }' "$f" || { bad=1; fail "snapshot $s: $f is no prefix"; }
    done
    for i in 1 2; do
        n=$(ls -d left$i right$i 2>/dev/null | wc -l)
        [ "$n" = 1 ] || { bad=1; fail "snapshot $s: a rename is half there ($n names)"; }
    done
    if [ -e storm.db ]; then
        mkdir "$T/db$s" && cp storm.db* "$T/db$s/"; rm -f "$T/db$s/storm.db-shm"
        [ "$(sqlite3 "$T/db$s/storm.db" 'PRAGMA integrity_check')" = ok ] || { bad=1; fail "snapshot $s: the database is damaged"; }
        [ "$(sqlite3 "$T/db$s/storm.db" 'SELECT count(*) % 2 FROM t' 2>/dev/null || echo 0)" = 0 ] || { bad=1; fail "snapshot $s: half a transaction"; }
    fi
    [ -e mapped ] && [ -x "$HELP/mmap_writer" ] && { "$HELP/mmap_writer" --check mapped || { bad=1; fail "snapshot $s: mapped file"; }; }
    cd / && c umount "$T/mnt/s$s" >/dev/null || fail "umount of snapshot $s"
done
[ $bad = 0 ] && pass "each of $N snapshots is a state that was"
same "forks are apart from the source" "$(ws_mount f0 && echo changed >"$T/mnt/f0/log1" && head -c 2 "$W/log1")" "$(printf '0\n')"
check "fsck" c fsck

# Forks of forks, and what a lookup costs.
depth=${DEPTH:-200}
c create deep --bare >/dev/null; ws_mount deep; mkdir "$T/mnt/deep/d"; for i in $(seq 200); do echo $i >"$T/mnt/deep/d/$i"; done; c umount deep
prev=deep
for ((i = 1; i <= depth; i++)); do c fork "$prev" "deep-$i" >/dev/null || { fail "fork $i of a fork"; break; }; prev=deep-$i; done
same "a chain of $depth forks" "$prev" "deep-$depth"
look() { ws_mount "$1"; local a b; a=$(date +%s%N); ls -l "$T/mnt/$1/d" >/dev/null; b=$(date +%s%N); echo $(((b - a) / 1000)); c umount "$1" >/dev/null; }
look deep >/dev/null; first=$(look deep-1) last=$(look "$prev")
echo "# ls -l of 200 files at depth 1: $first us, at depth $depth: $last us"
ws_mount "$prev"; same "the last one has everything" "$(ls "$T/mnt/$prev/d" | wc -l)" 200
