#!/bin/bash
# The root of a sandbox is the second node of its workspace's root (fs/fuse_call.h): everything that can be done to "/" and with names in it means the same inode as before.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts "root of a sandbox"
check "coppice up" c up --no-tcp
# inside USER CODE: Python as that user, what it says
inside() { c exec box --user "$1" -- /usr/bin/python3 -c "$2" 2>&1; }
check "a sandbox" c create box

same "files are made in /, renamed into it, out of it and within it, and unlinked" "ok" "$(inside root '
import os
os.mkdir("/d"); open("/a", "w").write("1"); open("/d/b", "w").write("2")
os.rename("/a", "/d/a"); os.rename("/d/b", "/b"); os.rename("/b", "/c"); os.link("/c", "/e"); os.symlink("c", "/s")
fd = os.open("/", os.O_TMPFILE | os.O_RDWR); os.write(fd, b"t"); os.close(fd)
assert sorted(n for n in os.listdir("/") if n in "abcdestree") == ["c", "d", "e", "s"], os.listdir("/")
assert open("/s").read() == "2" and open("/d/a").read() == "1" and os.stat("/e").st_nlink == 2
os.unlink("/e"); os.unlink("/s"); os.unlink("/d/a"); os.rmdir("/d"); assert not os.path.exists("/d")
print("ok")')"
same "a file may be called like the second node" "x tree" "$(inside root 'open("/tree", "w").write("x"); import os; print(open("/tree").read(), *[n for n in os.listdir("/") if n == "tree"])')"
same "/ is one inode however it is reached" "1 True" "$(inside root 'import os; print(os.stat("/").st_ino, len({(os.stat(p).st_dev, os.stat(p).st_ino) for p in ("/", "/..", "/etc/..", "/workspace/../.")}) == 1)')"
same "mode, attribute and times of / are kept" "0o711 v 12345" "$(inside root 'import os; os.chmod("/", 0o711); os.setxattr("/", "user.k", b"v"); os.utime("/", (12345, 12345)); s = os.stat("/"); print(oct(s.st_mode & 0o7777), os.getxattr("/", "user.k").decode(), int(s.st_mtime))')"
same "without the right to read it / is not listed" "denied" "$(inside user 'import os
try: os.listdir("/"); print("listed")
except PermissionError: print("denied")')"
check "root opens it again" inside root 'import os; os.chmod("/", 0o755)'
# version 2; user::rwx, user:1000:---, group::r-x, mask::r-x, other::r-x
same "an ACL on / counts as soon as it is there" "ok" "$(inside root '
import os, struct
e = lambda tag, perm, id=0xffffffff: struct.pack("<HHI", tag, perm, id)
os.setxattr("/", "system.posix_acl_access", struct.pack("<I", 2) + e(1, 7) + e(2, 0, 1000) + e(4, 5) + e(16, 5) + e(32, 5))
print("ok")')"
same "... for whom it names" "failed" "$(inside user 'import os; os.stat("/etc/passwd"); print("reached")' | grep -x reached || echo failed)"
same "... and no more when it is removed" "ok reached" "$(inside root 'import os; os.removexattr("/", "system.posix_acl_access"); print("ok")') $(inside user 'import os; os.stat("/etc/passwd"); print("reached")')"

check "a snapshot" c snapshot box before
check "changes in /" inside root 'import os; os.unlink("/c"); open("/new", "w"); os.chmod("/", 0o700); os.rename("/tree", "/moved")'
check "they are undone under the running sandbox" c restore box --to box@before
same "and it sees that" "True False True False 0o755" "$(inside root 'import os; print(*[os.path.exists(p) for p in ("/c", "/new", "/tree", "/moved")], oct(os.stat("/").st_mode & 0o7777))')"

# .snap in a sandbox: none without the label, and with it what a sandbox may see and do with it.
same "without the label there is no .snap, by any call" "ENOENT ENOENT ENOENT" "$(inside root '
import ctypes, errno, os
def no(f, *a):
    try: f(*a); return "found"
    except OSError as e: return errno.errorcode[e.errno]
print(no(os.stat, "/.snap"), no(os.open, "/.snap", os.O_PATH), no(os.listdir, "/.snap/before"))')"
check "the label" c label box snapdir=on
check "the sandbox is stopped; the next command starts it" c stop box
same "/.snap shows the state before" "True ['before'] False" "$(inside user 'import os; print(os.path.exists("/.snap/before/c"), [n for n in os.listdir("/.snap") if n == "before"], ".snap" in os.listdir("/"))')"
same "its root is the sandbox's root, with its ids" "0 0 1000" "$(inside root 'import os; s = os.stat("/.snap/before"); print(s.st_uid, s.st_gid, os.stat("/.snap/before/home/user").st_uid)')"
same "root in it changes nothing there" "EROFS EROFS EROFS EXDEV" "$(inside root '
import errno, os
def no(f, *a):
    try: f(*a); return "done"
    except OSError as e: return errno.errorcode[e.errno]
print(no(os.open, "/.snap/before/c", os.O_RDWR), no(os.unlink, "/.snap/before/c"), no(os.mkdir, "/.snap/before/x"), no(os.link, "/.snap/before/c", "/x"))')"
check "a program is put in, and a snapshot made" sh -c "'$COPPICE' exec box --user root -- /usr/bin/cp /usr/bin/env /prog && '$COPPICE' snapshot box later"
same "it runs from there at once" "1" "$(inside user 'import subprocess; print(subprocess.run(["/.snap/later/prog", "echo", "1"], capture_output=True, text=True).stdout.strip())')"
same "cp brings a file back" "2" "$(inside root 'import shutil; shutil.copy2("/.snap/before/c", "/back"); print(open("/back").read())')"
