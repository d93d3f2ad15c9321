#!/usr/bin/env bash
# The quota of a workspace through a real mount, by real programs: what is over it is refused or told at fsync and close, df says it exactly, what a full
# workspace frees is free at once, and its neighbour notices nothing. Then automatic history and undo, as a person sees them.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts quota
UNIT=4096

df_free() { stat -f -c %f "$1"; }         # in units
df_inodes() { stat -f -c %d "$1"; }
used() { echo $(($(stat -f -c %b "$1") - $(df_free "$1"))); }
fresh() { c create "$1" --bare --quota "$2" ${3:+--inodes "$3"} >/dev/null && ws_mount "$1"; }
until_true() { local i; for i in $(seq 200); do "$@" && return 0; sleep 0.05; done; return 1; }

Q=$((8 << 20))
check "a workspace with a quota" fresh a $Q 1000
check "its neighbour" fresh b $Q 1000
A=$T/mnt/a B=$T/mnt/b
same "df shows the quota as the size" "$(($(stat -f -c %b "$A") * UNIT))" $Q
same "and all of it free" "$(df_free "$A")" $((Q / UNIT))
same "inodes too: all but the root" "$(stat -f -c %c "$A") $(df_inodes "$A")" "1000 999"

# dd
check "dd writes what fits" dd if=/dev/urandom of="$A/one" bs=1M count=4 conv=fsync status=none
same "df: 4 MiB and the name" "$(used "$A")" $((4 * 256 + 1))
refused "dd over the quota fails by its end, with fsync" 1 "no space left|quota exceeded" dd if=/dev/urandom of="$A/two" bs=1M count=5 conv=fsync status=none
rm -f "$A/two"
refused "and without fsync: close tells" 1 "no space left|quota exceeded" dd if=/dev/urandom of="$A/two" bs=1M count=5 status=none
refused "O_DIRECT tells at the write" 1 "quota exceeded|no space" dd if=/dev/urandom of="$A/two" bs=1M count=5 oflag=direct conv=notrunc status=none
if [ "$(used "$A")" -le $((Q / UNIT)) ]; then pass "it is never over"; else fail "used $(used "$A") of $((Q / UNIT))"; fi
check "the neighbour writes all the same" dd if=/dev/urandom of="$B/one" bs=1M count=7 conv=fsync status=none
rm -f "$A/two"
same "what was removed is free at once" "$(used "$A")" $((4 * 256 + 1))

# files without names, sparse files, maps, fallocate, names, attributes, links
check "python: files without names, sparse files, maps, fallocate" python3 - "$A" $UNIT <<'P'
import errno, mmap, os, sys
top, unit = sys.argv[1], int(sys.argv[2])
def free(): return os.statvfs(top).f_bfree
def over(fn):
    try: fn()
    except OSError as e:
        assert e.errno in (errno.EDQUOT, errno.ENOSPC), e
        return True
    return False
start = free()
p = top + '/f'
fd = os.open(p, os.O_RDWR | os.O_CREAT)
os.write(fd, b'x' * (1 << 20)); os.fsync(fd); os.unlink(p)
assert free() == start - 256, (free(), start)          # open without a name: in use
os.close(fd)
for i in range(500):
    if free() == start: break
    os.stat(top + '/one')                              # the kernel's forget comes behind
assert free() == start, (free(), start)
fd = os.open(top, os.O_TMPFILE | os.O_RDWR)
assert over(lambda: (os.write(fd, b'x' * (5 << 20)), os.fsync(fd)))
os.close(fd)
fd = os.open(p, os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 40)                              # sparse: takes nothing
os.fsync(fd)
assert free() == start, (free(), start)                # the name finds room beside the others
assert over(lambda: os.posix_fallocate(fd, 0, 1 << 30))
def fill():
    for i in range(8): os.pwrite(fd, b'y' * (1 << 20), i << 30)
    os.fsync(fd)
assert over(fill)
os.ftruncate(fd, 0); os.fsync(fd)
assert free() == start, (free(), start)
twin = os.open(p, os.O_RDWR)                           # what could not be stored is told once to each open file; then all is well again
os.pwrite(fd, b'z' * (8 << 20), 0)
assert over(lambda: os.fsync(fd)) and not over(lambda: os.fsync(fd)) and over(lambda: os.fsync(twin)) and not over(lambda: os.fsync(twin))
os.ftruncate(twin, 0); os.pwrite(twin, b'w' * unit, 0); os.fsync(twin); os.fsync(fd)
os.ftruncate(fd, 0); os.close(twin)
os.ftruncate(fd, 8 << 20)
m = mmap.mmap(fd, 8 << 20)
def store():
    for i in range(0, 8 << 20, unit): m[i] = 1
    m.flush(); os.fsync(fd)
assert over(store)
assert os.statvfs(top).f_bfree >= 0 and free() <= start
m.close(); os.ftruncate(fd, 0)
try: os.close(fd)
except OSError: pass
os.unlink(p)
for i in range(2): os.symlink('t' * 4000, top + '/s%d' % i)
assert free() == start - 2, (free(), start)
os.setxattr(top + '/one', 'user.big', b'v' * 60000)
assert free() == start - 2 - 15, (free(), start)
for i in range(300): os.link(top + '/one', top + '/l%d' % i)
assert free() == start - 17 - 18, (free(), start)      # 303 names: 19 units, one was in use
for i in range(300): os.unlink(top + '/l%d' % i)
os.removexattr(top + '/one', 'user.big')
for i in range(2): os.unlink(top + '/s%d' % i)
for i in range(500):
    if free() == start: break
    os.stat(top + '/one')                              # as above
assert free() == start, (free(), start)
a = os.open(top + '/one', os.O_RDONLY); b = os.open(top + '/copy', os.O_WRONLY | os.O_CREAT)
n = 0
def share():
    global n
    while n < 6 << 20:
        os.lseek(a, 0, 0)
        k = os.copy_file_range(a, b, 4 << 20, 0, n)
        if not k: break
        n += k
assert over(share)
os.close(a); os.close(b); os.unlink(top + '/copy')
P
same "nothing is left of it in the count" "$(used "$A")" $((4 * 256 + 1))

# tar, empty directories
mkdir "$T/src"; for i in $(seq 40); do head -c 200000 /dev/urandom >"$T/src/$i"; done
refused "tar fails, and says so" 2 "no space left|quota exceeded" bash -c "tar -C '$T/src' -cf - . | tar -C '$A' -xf -"
check "what is there of it can be removed" bash -c "rm -rf '$A'/[0-9]*"
refused "empty directories end at the quota of inodes" 1 "quota exceeded|no space" bash -c "mkdir '$A'/d{1..1200}"
same "exactly" "$(df_inodes "$A")" 0
check "a full workspace renames" mv "$A/d1" "$A/e1"
check "and removes" bash -c "rmdir '$A'/[de]*"
same "and all is free again" "$(df_inodes "$A") $(used "$A")" "998 $((4 * 256 + 1))"
check "fallocate: what fits" fallocate -l 3M "$A/f"
refused "and what does not" 1 "quota exceeded|no space" fallocate -l 5M "$A/g"
rm -f "$A/f" "$A/g"

# forks, remount, restart of the daemon
check "a fork of it" c fork a c
check "its mount" ws_mount c
same "has the same quota, and as much of it in use" "$(stat -f -c %b "$T/mnt/c") $(used "$T/mnt/c")" "$((Q / UNIT)) $((4 * 256 + 1))"
refused "and keeps it" 1 "no space left|quota exceeded" dd if=/dev/urandom of="$T/mnt/c/x" bs=1M count=5 conv=fsync status=none
c umount a >/dev/null; c umount b >/dev/null; c umount c >/dev/null; c down >/dev/null
check "after a restart" ws_mount a
same "the count is the same" "$(used "$A")" $((4 * 256 + 1))
check "fsck agrees" c fsck

# automatic history and undo
autos() { [ "$(c log a | grep -c ' auto')" -ge 1 ]; }
echo 1 >"$A/text"
refused "a bad policy is refused, and told why" 1 "at least 10s" c snapshot a --auto every=1s
check "a policy" c snapshot a --auto every=1h,keep-last=3
check "is shown" bash -c "'$COPPICE' show a | grep -q 'automatic *every=1h,keep-last=3'"
check "its first snapshot is made at once" until_true autos
check "with what a program had only just written" bash -c "id=\$('$COPPICE' log a | awk '/ auto/ { print \$1; exit }'); '$COPPICE' diff \$id a --name-status | wc -l | grep -qx 0"
check "off" c snapshot a --auto off
refused "nothing to undo is told" 1 "never restored" c restore a --undo
c snapshot a v1 >/dev/null; echo 2 >"$A/text"
check "restore" c restore a --to a@v1
same "as it was" "$(cat "$A/text")" 1
check "undo" c restore a --undo
same "goes back" "$(cat "$A/text")" 2
check "undo again" c restore a --undo
same "and forth" "$(cat "$A/text")" 1
c fork a@v1 m >/dev/null; ws_mount m; echo merged >"$T/mnt/m/new"
check "merge" c merge m --into a
same "it is there" "$(cat "$A/new")" merged
check "undo of a merge" c restore a --undo
refused "takes it away" 1 "no such file" cat "$A/new"
check "and again" c restore a --undo
same "brings it back" "$(cat "$A/new")" merged
refused "undo is of the whole tree" 2 "whole tree" c restore a --undo text
check "fsck" c fsck
