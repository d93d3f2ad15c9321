"""What only coppice does: snapshot, fork, mount; how their cost depends on size; what idle forks cost. Times in seconds.

"command" is a whole process of the coppice command, "daemon" a call over an open connection to snapshotd, with what it took to attach a mount.
A snapshot's flush (what the kernel still held dirty) and the time writers were held back are the daemon's own figures."""
import os
import shutil
import time

from .machine import drop_caches, proc_status, run, summary, timed


def make_files(top, count, size=200):
    """A directory of many small files, a thousand to a directory."""
    body = b"x" * size
    for i in range(0, count, 1000):
        d = os.path.join(top, "%06d" % i)
        os.makedirs(d)
        fd = os.open(d, os.O_DIRECTORY)
        for j in range(min(1000, count - i)):
            f = os.open("%03d" % j, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            os.write(f, body + b"%d" % (i + j))
            os.close(f)
        os.close(fd)


def write_new(path, size):
    """size bytes that are nowhere else, through the page cache."""
    with open(path, "wb") as f:
        left = size
        while left > 0:
            n = min(left, 1 << 20)
            f.write(os.urandom(n))
            left -= n


class Forks:
    def __init__(self, store, work):
        self.store, self.work, self.serial, self.ids = store, work, 0, {}
        self.client = store.client()

    def close(self):
        self.client.close()

    def name(self, what):
        self.serial += 1
        return "%s-%d" % (what, self.serial)

    def mount(self, obj):
        path = os.path.join(self.work, self.name("m"))
        os.makedirs(path)
        self.ids[path] = self.attach(obj, path)
        return path

    def attach(self, obj, path):
        return self.client.call("mount", path=path, object=obj, dir=path)["mount"]

    def umount(self, path):
        run("umount", path)
        self.client.call("wait_gone", mount=self.ids.pop(path))
        os.rmdir(path)

    def snapshot(self, ws):
        start = time.perf_counter()
        answer = self.client.call("snapshot", object=ws)
        wall = time.perf_counter() - start
        t = answer["timing"]
        return answer["id"], {"wall": wall, "flush": t["flush_ms"] / 1e3, "held": t["held_ms"] / 1e3, "total": t["total_ms"] / 1e3}

    def workspace(self, files, work):
        """A workspace of so many files, imported; and how long that took."""
        source = os.path.join(work, "source%d" % files)
        if not os.path.isdir(source):
            os.makedirs(source)
            make_files(source, files)
        ws = self.name("files%d" % files)
        return ws, timed(self.store.command, "import", source, ws)

    def snapshots(self, ws, rounds, new_bytes, pause=0.1):
        """Snapshots of the mounted workspace, each after new_bytes of new data (0: one small file changed). Without a pause between them a
        snapshot may have to wait for the background to fold the ones before."""
        path = self.mount(ws)
        samples = []
        for i in range(rounds):
            if new_bytes:
                write_new(os.path.join(path, "new%d" % i), new_bytes)
            else:
                write_new(os.path.join(path, "changed"), 3000)
            time.sleep(pause)
            samples.append(self.snapshot(ws)[1])
        self.umount(path)
        out = {k: summary([s[k] for s in samples]) for k in samples[0]}
        out["without flush"] = summary([s["total"] - s["flush"] for s in samples])
        return out

    def fork_mount_stat(self, ws, rounds):
        """Each part alone, and fork + mount + first stat in one, over the connection and by commands."""
        snap = self.snapshot(ws)[0]
        fork, mount, first, both, umount, command = [], [], [], [], [], []
        for _ in range(rounds):
            name, path = self.name("one"), os.path.join(self.work, self.name("d"))
            os.makedirs(path)
            t0 = time.perf_counter()
            self.client.call("fork", source=snap, name=name)
            t1 = time.perf_counter()
            self.attach(name, path)
            t2 = time.perf_counter()
            os.stat(path)
            os.listdir(path)
            t3 = time.perf_counter()
            fork.append(t1 - t0)
            mount.append(t2 - t1)
            first.append(t3 - t2)
            both.append(t3 - t0)
            umount.append(timed(run, "umount", path))
            name = self.name("cmd")
            t0 = time.perf_counter()
            self.store.command("fork", snap, name)
            self.store.command("mount", name, path)
            os.stat(path)
            command.append(time.perf_counter() - t0)
            run("umount", path)
        hundred = []
        for _ in range(max(3, rounds // 3)):
            hundred.append(timed(self.client.call, "fork", source=snap, name=self.name("h"), count=100))
        return {"fork 1": summary(fork), "mount": summary(mount), "first stat + list": summary(first), "fork + mount + first stat": summary(both),
                "fork 100 in one call": summary(hundred), "umount (command)": summary(umount), "fork + mount + stat by two commands": summary(command)}

    def idle_memory(self, ws, mounts):
        """Daemon memory and threads with so many forks mounted and idle."""
        pid = self.store.pid()
        snap = self.snapshot(ws)[0]
        paths = [self.mount(snap_fork) for snap_fork in self.fork_many(snap, 10)]      # caches warm, pools made
        before = proc_status(pid)
        names = self.fork_many(snap, mounts)
        start = time.perf_counter()
        more = [self.mount(n) for n in names]
        took = time.perf_counter() - start
        for p in more:
            os.stat(p)
        after = proc_status(pid)
        for p in paths + more:
            self.umount(p)
        return {"mounts": mounts, "before": before, "after": after, "KiB per mount": (after["VmRSS"] - before["VmRSS"]) / mounts,
                "seconds to mount all": took}

    def fork_many(self, source, count):
        return [w["name"] for w in self.client.call("fork", source=source, name=self.name("f"), count=count)["workspaces"]]

    def space(self, work, tree_bytes, forks, change_bytes):
        """Bytes on disk of forks of one large tree, each with a little changed."""
        source = os.path.join(work, "large")
        os.makedirs(source)
        for i in range(max(1, tree_bytes >> 24)):
            write_new(os.path.join(source, "part%d" % i), 1 << 24)
        ws = self.name("large")
        self.store.command("import", source, ws)
        shutil.rmtree(source)
        snap = self.snapshot(ws)[0]
        before = self.store.disk_bytes()
        for name in self.fork_many(snap, forks):
            path = self.mount(name)
            with open(os.path.join(path, "part0"), "r+b") as f:
                f.write(os.urandom(change_bytes))
            self.umount(path)
        after = self.store.disk_bytes()
        self.store.command("gc")
        return {"tree bytes": tree_bytes, "forks": forks, "changed bytes in each": change_bytes, "store before": before, "store after": after,
                "more": after - before, "more after gc": self.store.disk_bytes() - before}

    def walk_memory(self, ws, files):
        """Daemon memory before and after every file was looked at, and after the kernel forgot them."""
        pid = self.store.pid()
        path = self.mount(ws)
        before = proc_status(pid)
        took = timed(run, "find", path, "-size", "+1000000000k")
        after = proc_status(pid)
        drop_caches()
        again = timed(run, "find", path, "-size", "+1000000000k")
        self.umount(path)
        return {"files": files, "before": before, "after": after, "seconds": took, "seconds again, kernel caches dropped": again}

    def depth(self, ws, depths):
        """Cost of lookups in forks of forks, each with a change of its own."""
        out, at, name = {}, 0, ws
        for target in sorted(depths):
            while at < target:
                child = self.name("deep")
                self.client.call("fork", source=name, name=child)
                path = self.mount(child)
                with open(os.path.join(path, "depth"), "w", encoding="ascii") as f:
                    f.write("%d\n" % at)
                self.umount(path)
                name, at = child, at + 1
            path = self.mount(name)
            names = [os.path.join(path, "000000", "%03d" % i) for i in range(1000)]
            samples = []
            for _ in range(5):
                drop_caches()
                start = time.perf_counter()
                for n in names:
                    os.stat(n)
                samples.append((time.perf_counter() - start) / 1000)
            self.umount(path)
            out["depth %d" % target] = summary(samples)
        return out


def btrfs_forks(peer, source, rounds):
    """What the same costs with btrfs: subvolume snapshots of the same tree."""
    top = os.path.join(peer.base, "subvol")
    run("btrfs", "subvolume", "create", top)
    run("cp", "-a", source, os.path.join(top, "tree"))
    os.sync()
    one, both = [], []
    for i in range(rounds):
        write_new(os.path.join(top, "changed"), 3000)
        t0 = time.perf_counter()
        run("btrfs", "subvolume", "snapshot", top, os.path.join(peer.base, "snap%d" % i))
        one.append(time.perf_counter() - t0)
        os.stat(os.path.join(peer.base, "snap%d" % i, "tree"))
        both.append(time.perf_counter() - t0)
    start = time.perf_counter()
    for i in range(100):
        run("btrfs", "subvolume", "snapshot", top, os.path.join(peer.base, "many%d" % i))
    hundred = time.perf_counter() - start
    for name in ["snap%d" % i for i in range(rounds)] + ["many%d" % i for i in range(100)] + ["subvol"]:
        run("btrfs", "subvolume", "delete", os.path.join(peer.base, name))
    return {"snapshot (command)": summary(one), "snapshot + first stat": summary(both), "100 snapshots": hundred}


def overlay_forks(peer, source, rounds):
    """Kernel overlayfs as a fork: a mount over the tree."""
    lower = os.path.join(peer.under.base, "fork-lower")
    run("cp", "-a", source, lower)
    samples = []
    for i in range(rounds):
        room, path = os.path.join(peer.under.base, "fork%d" % i), os.path.join(peer.base, "fork%d" % i)
        for d in (room, path, room + "/upper", room + "/work"):
            os.makedirs(d)
        t0 = time.perf_counter()
        run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=%s,upperdir=%s/upper,workdir=%s/work" % (lower, room, room), path)
        os.stat(path)
        samples.append(time.perf_counter() - t0)
        run("umount", path)
        os.rmdir(path)
        shutil.rmtree(room)
    shutil.rmtree(lower)
    return {"mount + first stat (command)": summary(samples)}


def copy_forks(peer, source):
    """cp -a of the tree: what a fork is without any of this."""
    path = peer.open("copy")
    took = timed(run, "cp", "-a", source, os.path.join(path, "tree"))
    peer.close(path)
    return {"cp -a": took}

