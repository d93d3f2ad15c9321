#!/bin/bash
# Many and large: names in one directory, mounts, depth, sparse files; by argument `million` also 1,000,000 files.
# shellcheck disable=SC1091
ARG=${2:-}
. "$(dirname "$0")/../lib/sys.sh"
need_mounts scale
HELP=${COPPICE_HELPERS:-$(dirname "$COPPICE")/../tests/system}
c init >/dev/null && c create work --bare >/dev/null && ws_mount work || { fail "mount"; exit 1; }
W=$T/mnt/work
mkdir "$W/many"
check "${FILES:=100000} files in one directory" "$HELP/posix_probe" many "$W/many" "$FILES"
same "each name is there once" "$(ls -U "$W/many" | sort -u | wc -l)" "$FILES"
check "a file of 20 GiB, sparse" bash -c 'truncate -s 20G "$0" && printf x | dd of="$0" bs=1 seek=21474836000 conv=notrunc status=none && [ "$(stat -c %s "$0")" = 21474836480 ] && [ "$(du -k "$0" | cut -f1)" -lt 1000 ]' "$W/sparse"
same "its end can be read" "$(tail -c 480 "$W/sparse" | head -c 1)" x
check "4,000 levels of directories" "$HELP/posix_probe" deep "$W" 4000
for t in tmpfile locks inotify mmap writers unlinked names; do check "$t" "$HELP/posix_probe" $t "$W"; done

M=${MOUNTS:-1000}
check "fork -n $M" c fork work m -n "$M"
pid=$(daemon_pid)
[ -n "$pid" ] || fail "no pid of the daemon in status"
mkdir "$T/m"; ws_mount m-1; threads=$(ls "/proc/$pid/task" | wc -l); rss0=$(awk '/VmRSS/ { print $2 }' "/proc/$pid/status")
n=1
for ((i = 2; i <= M; i++)); do mkdir "$T/m/$i" && c mount "m-$i" "$T/m/$i" >/dev/null || break; n=$i; done
same "$M mounts at once" "$n" "$M"
same "with as many threads as with one" "$(ls "/proc/$pid/task" | wc -l)" "$threads"
echo "# memory of the daemon: $rss0 KiB with one mount, $(awk '/VmRSS/ { print $2 }' "/proc/$pid/status") KiB with $n"
echo mine >"$T/m/7/mine"; check "each is its own" bash -c '[ -e "$0/7/mine" ] && [ ! -e "$0/8/mine" ]' "$T/m"
check "down takes all mounts away" c down
same "none is left" "$(grep -c "$T/m" /proc/self/mountinfo)" 0
if [ "$ARG" = million ]; then
    ws_mount work; mkdir "$W/million"
    check "1,000,000 files" "$HELP/posix_probe" tree "$W/million" 1000000
    check "snapshot of them" c snapshot work million
    same "all of them" "$(find "$W/million" -type f | wc -l)" 1000000
else skip "1,000,000 files: by argument (scale.sh BUILD million)"; fi
check "fsck" c fsck
