#!/usr/bin/env bash
# Mount option snapdir: .snap through a real mount by real programs, by both transports. $COPPICE_TRANSPORT: one of them.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts snapdir
MANY=${MANY:-70}              # more than trees are kept open for
chmod 711 "$T" "$T/mnt"
M=$T/mnt/w
mounted() { mkdir -p "$T/mnt/$1" && c mount -o "snapdir$2" "$1" "$T/mnt/$1" >/dev/null; }
errno_of() { cd / && python3 -c 'import os, sys, errno
try: eval(sys.argv[1]); print("done")
except OSError as e: print(errno.errorcode[e.errno])' "$1"; }

c init >/dev/null && c create w --bare >/dev/null && c create other --bare >/dev/null
check "a mount with .snap" mounted w ""
same "it is there, and empty" "$(ls -A "$M/.snap" && stat -c '%a %F' "$M/.snap")" "555 directory"
same "the root does not list it" "$(ls -A "$M")" ""

# A tree with everything, a snapshot of it, and what tree() says of it.
mkdir -p "$M/d/e" "$M/locked" && cp /bin/true "$M/prog" && ln "$M/prog" "$M/d/same" && ln -s d/e "$M/sym" && mkfifo "$M/fifo"
head -c 700000 /dev/urandom >"$M/d/big" && truncate -s 3M "$M/sparse" && echo needle >"$M/d/e/small"
setfattr -n user.k -v v "$M/prog" && setfacl -m u:1000:rx "$M/d" && chown 7:8 "$M/d/e" && chmod 700 "$M/locked" && echo s >"$M/locked/in" && chmod 1755 "$M" && chmod 755 "$M/d/e" && touch -d 2001-02-03 "$M/d/e"
check "a snapshot" c snapshot w one
before=$(tree "$M")
same "it is in .snap at once" "$(ls "$M/.snap")" one
same "and shows the whole tree: names, modes, owners, times, attributes, ACLs, content" "$(tree "$M/.snap/one")" "$before"
same "its root has the mode it had" "$(stat -c %a "$M/.snap/one")" 1755
rm -rf "$M/d/e" && echo changed >"$M/prog" && chmod 755 "$M" && chmod 755 "$M/locked" && echo new >"$M/new"
same "what is changed after leaves it as it was" "$(tree "$M/.snap/one")" "$before"

# real programs
mkdir "$T/out"
check "cp -a" cp -a "$M/.snap/one" "$T/out/cp"
same "... copies all" "$(cd "$T/out/cp" && content .)" "$(content "$M/.snap/one")"
check "tar" sh -c "tar -C '$M/.snap' -cf - one | tar -C '$T/out' -xpf -"
same "... too, hard links as such" "$(stat -c %h "$T/out/one/prog") $(content "$T/out/one")" "2 $(content "$M/.snap/one")"
if command -v rsync >/dev/null; then check "rsync" rsync -aH "$M/.snap/one/" "$T/out/rsync"; same "... too" "$(content "$T/out/rsync")" "$(content "$M/.snap/one")"; else skip "rsync is not here"; fi
same "grep -r" "$(grep -r --devices=skip -l needle "$M/.snap")" "$M/.snap/one/d/e/small"
same "diff -r" "$(diff -rq --no-dereference "$M/.snap/one" "$M" 2>&1 | grep -v fifo | sed "s|$T||g" | LC_ALL=C sort)" "Files /mnt/w/.snap/one/d/same and /mnt/w/d/same differ
Files /mnt/w/.snap/one/prog and /mnt/w/prog differ
Only in /mnt/w/.snap/one/d: e
Only in /mnt/w: new"
same "a file is brought back by cp, within the mount" "$(cp -a "$M/.snap/one/d/e" "$M/d/" && cat "$M/d/e/small")" needle
check "a program in it runs" "$M/.snap/one/prog"
same "mmap of a file in it" "$(python3 -c 'import mmap,os,sys,hashlib; print(hashlib.sha256(mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)).hexdigest())' "$M/.snap/one/d/big")" "$(sha256sum <"$M/.snap/one/d/big" | cut -d' ' -f1)"
same "SEEK_HOLE there" "$(python3 -c 'import os,sys; print(os.lseek(os.open(sys.argv[1], 0), 0, os.SEEK_HOLE))' "$M/.snap/one/sparse")" 0

# Not in the way of what walks the tree.
same "find, du and tar of the root do not meet it" "$(find "$M" -name .snap | wc -l) $(tar -C "$M" -cf - . | tar -tf - | grep -c '\.snap')" "0 0"
same "inode numbers: no two files of the tree and its snapshots have the same" "$(find "$M" "$M/.snap/one" ! -type d -links 1 -printf '%i\n' -o -type d -printf '%i\n' | sort | uniq -d)" ""
same "getcwd and .. inside" "$(cd "$M/.snap/one/d" && /bin/pwd && cd .. && /bin/pwd && cd ../.. && /bin/pwd)" "$M/.snap/one/d
$M/.snap/one
$M"

# Nothing can be changed, by root either.
told < <(python3 - "$M" <<'P'
import errno, os, sys
top = sys.argv[1]; s = top + '/.snap/one/'
def refused(what, want, f, *a):
    try: f(*a); got = 'done'
    except OSError as e: got = errno.errorcode[e.errno]
    print('ok' if got == want else 'not ok', what, 'is refused:', got if got == want else got + ' instead of ' + want)
for mode in ('O_WRONLY', 'O_RDWR', 'O_TRUNC', 'O_APPEND|O_RDWR'):
    refused('open of a file for ' + mode, 'EROFS', os.open, s + 'prog', eval('|'.join('os.' + m for m in mode.split('|'))))
for name, want, f, *a in [('write by truncate', 'EROFS', os.truncate, s + 'prog', 0), ('unlink', 'EROFS', os.unlink, s + 'prog'), ('rmdir', 'EROFS', os.rmdir, s + 'd'),
    ('mkdir', 'EROFS', os.mkdir, s + 'x'), ('mkdir in .snap', 'EROFS', os.mkdir, top + '/.snap/x'), ('rmdir of a snapshot', 'EROFS', os.rmdir, s), ('create', 'EROFS', os.open, s + 'x', os.O_CREAT | os.O_WRONLY),
    ('O_TMPFILE', 'EROFS', os.open, s, os.O_TMPFILE | os.O_RDWR), ('mknod', 'EROFS', os.mknod, s + 'x'), ('symlink', 'EROFS', os.symlink, 'a', s + 'x'), ('chmod', 'EROFS', os.chmod, s + 'prog', 0),
    ('chown', 'EROFS', os.chown, s, 1, 1), ('utime', 'EROFS', os.utime, s), ('setxattr', 'EROFS', os.setxattr, s, 'user.a', b'1'), ('removexattr', 'EROFS', os.removexattr, s + 'prog', 'user.k'),
    ('chmod of .snap', 'EROFS', os.chmod, top + '/.snap', 0o700), ('rename within', 'EROFS', os.rename, s + 'prog', s + 'x'), ('rename out', 'EXDEV', os.rename, s + 'prog', top + '/x'),
    ('rename in', 'EXDEV', os.rename, top + '/new', s + 'x'), ('link out', 'EXDEV', os.link, s + 'prog', top + '/x'), ('link in', 'EROFS', os.link, top + '/new', s + 'x'),
    ('mkdir of .snap', 'EEXIST', os.mkdir, top + '/.snap'), ('rmdir of .snap', 'EROFS', os.rmdir, top + '/.snap'), ('rename of .snap', 'EROFS', os.rename, top + '/.snap', top + '/x'),
    ('rename of a directory onto .snap', 'EROFS', os.rename, top + '/d', top + '/.snap'), ('symlink .snap', 'EEXIST', os.symlink, 'a', top + '/.snap'), ('a snapshot of another workspace', 'ENOENT', os.stat, top + '/.snap/elsewhere'),
    ('a name that is none', 'ENOENT', os.stat, top + '/.snap/NO NAME'), ('.snap below the root', 'ENOENT', os.stat, top + '/d/.snap'), ('.snap of a snapshot', 'ENOENT', os.stat, s + '.snap')]:
    refused(name, want, f, *a)
P
)
same "a file handle of one leads to the same file, or to none" ok "$(python3 - "$M/.snap/one/d/big" <<'P'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure): _fields_ = [("n", ctypes.c_uint), ("type", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]
want = open(sys.argv[1], 'rb').read()
h, mount = Handle(n=128), ctypes.c_int()
if libc.name_to_handle_at(-100, sys.argv[1].encode(), ctypes.byref(h), ctypes.byref(mount), 0):
    print("ok")                                            # there are none here
    sys.exit()
top = os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY)
fd = libc.open_by_handle_at(top, ctypes.byref(h), os.O_RDONLY)
seen = open(fd, 'rb').read() if fd >= 0 else want
fd = libc.open_by_handle_at(top, ctypes.byref(h), os.O_RDWR)
print("ok" if seen == want and fd < 0 else "wrong file" if fd < 0 else "opened for writing")
P
)"
same "and nothing was" "$(tree "$M/.snap/one")" "$before"
same "an ordinary user sees what he could see" "$(setpriv --reuid 1000 --regid 1000 --clear-groups sh -c "cat '$M/.snap/one/locked/in' 2>/dev/null || echo no; cat '$M/.snap/one/d/e/small' 2>/dev/null || echo not either" 2>&1)" "no
needle"

# Which snapshots there are: at once.
ls "$M/.snap/two" 2>/dev/null
check "a second one" c snapshot w two
same "is there though its name was asked for before" "$(ls "$M/.snap/two/new" "$M/.snap" | tr '\n' ' ')" "$M/.snap/two/new  $M/.snap: one two "
id=$(c snapshot w)
same "one without a name is there by its id" "$(cat "$M/.snap/$id/new")" new
same "one with a name is not" "$(errno_of "os.stat('$M/.snap/$(c --json show w@two | python3 -c 'import json,sys; print(json.load(sys.stdin)["id"])')')")" ENOENT
check "renamed" c rename w@two deux
same "... it has its new name only" "$(ls "$M/.snap" | grep -cx -e two -e deux) $(cat "$M/.snap/deux/new") $(errno_of "os.stat('$M/.snap/two')")" "1 new ENOENT"
cd "$M/.snap/deux" && exec 8<"$M/.snap/deux/d/big"
want=$(sha256sum <"$T/out/cp/d/big")
check "removed, with a file open and a shell in it" c rm w@deux
same "... it is gone" "$(errno_of "os.stat('$M/.snap/deux')") $(ls "$M/.snap" | grep -c deux)" "ENOENT 0"
check "gc" c gc
echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
same "... what is open is still read, and right" "$(sha256sum <&8)" "$want"
same "... also from the directory that the shell is in" "$(cat new)" new
exec 8<&-; cd /
check "another takes its name" c snapshot w deux
same "... and is another" "$(cat "$M/.snap/deux/new")" new

# The workspace's own .snap, made without the option.
c umount w >/dev/null; mkdir -p "$M" && c mount w "$M" >/dev/null
same "without the option there is none" "$(errno_of "os.stat('$M/.snap')")" ENOENT
mkdir "$M/.snap" && echo own >"$M/.snap/own"
c umount w >/dev/null; mounted w ",ro"
same "with it, read-only too, the own one is hidden" "$(ls -A "$M" | grep -c snap) $(errno_of "os.stat('$M/.snap/own')") $(cat "$M/.snap/one/d/e/small")" "0 ENOENT needle"
c umount w >/dev/null; c mount w "$M" >/dev/null
same "and there again without" "$(cat "$M/.snap/own")" own
rm -r "$M/.snap"; c umount w >/dev/null
refused "a snapshot has none" 1 "snapdir: it is a snapshot" c mount -o snapdir w@one "$M"

# The label, and the mount helper.
c label w snapdir=on && c mount w "$M" >/dev/null
same "the label snapdir=on makes it the default" "$(ls "$M/.snap/one/d/e")" small
c umount w >/dev/null; c mount -o nosnapdir w "$M" >/dev/null
same "which nosnapdir overrides" "$(errno_of "os.stat('$M/.snap')")" ENOENT
c umount w >/dev/null; c label w --remove snapdir; c mount w "$M" >/dev/null
same "and without the label it is off" "$(errno_of "os.stat('$M/.snap')")" ENOENT
c umount w >/dev/null
helper=$(dirname "$COPPICE")/mount.fuse.coppice
check "mount.fuse.coppice -o snapdir" "$helper" w "$M" -o "rw,snapdir,store=$COPPICE_STORE"
same "has it" "$(ls "$M/.snap/one/d/e")" small
c umount w >/dev/null

# Owners as the mount shows them.
check "a mount with other ids" mounted w ",uid_base=300000"
same "shows them in .snap too" "$(stat -c '%u:%g' "$M/.snap" "$M/.snap/one" "$M/.snap/one/d/e" | tr '\n' ' ')" "300000:300000 300000:300000 300007:300008 "
same "and in ACLs" "$(getfacl -cn "$M/.snap/one/d" 2>/dev/null | grep 301000)" "user:301000:r-x"
c umount w >/dev/null

# Many: each looked into; then the daemon gets rid of them.
mounted w ""
for i in $(seq "$MANY"); do c snapshot w "n$i" >/dev/null || fail "snapshot $i"; done
same "$MANY more" "$(find "$M/.snap" -maxdepth 1 -name 'n*' | wc -l) $(cat "$M"/.snap/n*/new | sort | uniq -c | awk '{ print $1 }')" "$MANY $MANY"
same "a file in each has a number of its own" "$(stat -c %i "$M"/.snap/n*/new "$M/new" | sort -u | wc -l)" $((MANY + 1))
same "fsck with all of them in use" "$(c fsck >/dev/null 2>&1 && echo fine)" fine
c umount w >/dev/null
check "mounted again" mounted w ""
check "a restore under it" c restore w --to w@one
same "leaves the mount as the snapshot is" "$(diff -rq --no-dereference "$M/.snap/one" "$M" 2>&1 | grep -v fifo)" ""
c umount w
