"""The file systems that are compared. A peer gives an empty directory to work in and takes it away again.

"ram" peers lie on a loop device over tmpfs, so that the disk does not decide; each has its own device. "disk" peers lie in a directory of
the real disk. overlayfs, fuse-overlayfs and coppice keep their data on an ext4 of the same kind as the ext4 they are compared with."""
import os
import shutil
import signal
import subprocess
import time

from .machine import Failed, run


def mounted(path):
    return os.path.ismount(path)


def unmount(path):
    """A daemon or a loop device may let go of a file system a moment after it said so."""
    for attempt in range(100):
        try:
            return run("umount", path)
        except Failed:
            if attempt == 99:
                raise
            time.sleep(0.1)


def wait_for(what, condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed("%s: did not happen within %d s" % (what, seconds))
        time.sleep(0.005)


class Peer:
    """Base: a plain directory on the disk."""
    kind = "disk"

    def __init__(self, name, base):
        self.name, self.base = name, os.path.join(base, name)

    def start(self):
        """Makes it ready; Failed if this machine cannot."""
        os.makedirs(self.base, exist_ok=True)

    def open(self, tag):
        """A new empty directory for one workload."""
        path = os.path.join(self.base, tag)
        os.makedirs(path)
        return path

    def close(self, path):
        shutil.rmtree(path, ignore_errors=True)

    def stop(self):
        shutil.rmtree(self.base, ignore_errors=True)


class Loop(Peer):
    """A file system on a loop device over tmpfs."""
    kind = "ram"

    def __init__(self, name, base, ram, make, fstype, size="10G"):
        super().__init__(name, base)
        self.image, self.make, self.fstype, self.size, self.device = os.path.join(ram, name + ".img"), make, fstype, size, None

    def start(self):
        os.makedirs(self.base, exist_ok=True)
        run("truncate", "-s", self.size, self.image)
        self.device = run("losetup", "-f", "--show", self.image).strip()
        try:
            run("losetup", "--direct-io=on", self.device)
        except Failed:
            pass                             # tmpfs before Linux 6.6: then the loop device goes through the page cache
        run(*self.make, self.device)
        run("mount", "-t", self.fstype, "-o", "discard", self.device, self.base)

    def stop(self):
        if mounted(self.base):
            unmount(self.base)
        if self.device:
            run("losetup", "-d", self.device)
        if os.path.exists(self.image):
            os.unlink(self.image)
        shutil.rmtree(self.base, ignore_errors=True)


def ext4(name, base, ram):
    return Loop(name, base, ram, ("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-N", "3000000"), "ext4")


def btrfs(name, base, ram):
    return Loop(name, base, ram, ("mkfs.btrfs", "-q"), "btrfs")


class Over(Peer):
    """Something mounted over directories of an ext4 in RAM of its own."""
    kind = "ram"

    def __init__(self, name, base, ram):
        super().__init__(name, base)
        self.under = ext4(name + "-under", base, ram)

    def start(self):
        self.under.start()
        os.makedirs(self.base, exist_ok=True)

    def stop(self):
        self.under.stop()
        shutil.rmtree(self.base, ignore_errors=True)

    def open(self, tag):
        room = self.under.open(tag)
        for d in ("lower", "upper", "work"):
            os.mkdir(os.path.join(room, d))
        path = os.path.join(self.base, tag)
        os.makedirs(path)
        self.mount(room, path)
        return path

    def options(self, room):
        return "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work" % (room, room, room)

    def close(self, path):
        run("umount", path)
        os.rmdir(path)
        self.under.close(os.path.join(self.under.base, os.path.basename(path)))


class Overlay(Over):
    def mount(self, room, path):
        run("mount", "-t", "overlay", "overlay", "-o", self.options(room), path)


class FuseOverlay(Over):
    def mount(self, room, path):
        run("fuse-overlayfs", "-o", self.options(room), path)


class Zero(Peer):
    """The FUSE daemon that does no storage work (zerofs.c)."""
    kind = "ram"

    def __init__(self, name, base, binary, args=()):
        super().__init__(name, base)
        self.binary, self.args, self.daemons = binary, args, {}

    def open(self, tag):
        path = super().open(tag)
        self.daemons[path] = subprocess.Popen([self.binary, *self.args, path])
        wait_for("mount of zerofs", lambda: mounted(path))
        return path

    def daemon_pid(self):
        return next(iter(self.daemons.values())).pid

    def close(self, path):
        run("umount", path)
        self.daemons.pop(path).wait(timeout=60)
        os.rmdir(path)

    def stop(self):
        for path, daemon in list(self.daemons.items()):
            subprocess.run(["umount", "-l", path], check=False)
            daemon.send_signal(signal.SIGTERM)
        super().stop()


class Coppice(Peer):
    """A workspace of a store; the store lies on an ext4 in RAM, or (under None) on the disk."""

    def __init__(self, name, base, store, options=()):
        super().__init__(name, base)
        self.store, self.kind, self.options = store, store.kind, options

    def start(self):
        os.makedirs(self.base, exist_ok=True)
        self.store.start()

    def open(self, tag):
        path = os.path.join(self.base, tag)
        os.makedirs(path)
        self.store.command("create", tag, "--bare")
        self.store.command("mount", tag, path, *self.options)
        return path

    def daemon_pid(self):
        return self.store.pid()

    def close(self, path):
        self.store.command("umount", path)
        os.rmdir(path)
        self.store.command("rm", os.path.basename(path))

    def stop(self):
        self.store.stop()
        shutil.rmtree(self.base, ignore_errors=True)
