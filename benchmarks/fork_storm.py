#!/usr/bin/env python3
"""Many forks of one source tree that all run the same cold workload: at once, and one after the other; and the same on native copies.

  benchmarks/fork_storm.py [BUILD] [--forks 64 --files 2000] [--peers coppice,coppice-uring,overlayfs,xfs,btrfs,cp]

The tree is a git repository of FILES files with a C project in it. The workload: `git status`, `grep -r` over all, and one compiler run: its caches are empty (each fork is a
fresh mount of a fresh daemon; for all, the kernel's are dropped before). Figures in seconds: making all copies, the workload in all of them at once (as many processes as forks), one after
the other, and the ratio of the two; on a machine with N CPUs 1/N is the best ratio. RAM-backed throughout. Prints JSON, then a table."""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench import machine, material, peers  # noqa: E402
from bench.machine import Failed, run, timed  # noqa: E402
from bench.store import Store  # noqa: E402

WORK = "cd %s && git status --short >/dev/null && { grep -rc zzz_not_there tree >/dev/null || [ $? = 1 ]; } && cc -c project/unit0.c -Iproject -o project/unit0.o"


def make_source(path, files):
    tar = path + ".tar"
    material.tree_tar(tar, files)
    material.repository(path, tar)
    git = ("git", "-C", path, "-c", "user.name=bench", "-c", "user.email=bench@localhost")
    run(*git, "checkout", "-q", "-f", "main")
    material.project(os.path.join(path, "project"), 2)
    run(*git, "add", "project")
    run(*git, "commit", "-q", "-m", "project")
    os.unlink(tar)


def at_once(dirs):
    """Seconds until the workload has ended in all."""
    start = time.perf_counter()
    running = [subprocess.Popen(["sh", "-c", WORK % d], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for d in dirs]
    said = [p.communicate()[1].decode("utf-8", "replace").strip() for p in running]
    failed = [text for p, text in zip(running, said) if p.returncode != 0]
    if failed:
        raise Failed("%d of %d workloads failed: %s" % (len(failed), len(dirs), failed[0]))
    return time.perf_counter() - start


def in_turn(dirs):
    return timed(lambda: [run("sh", "-c", WORK % d) for d in dirs])


class Forks:
    """coppice: forks of a snapshot, each mounted."""

    def __init__(self, store, options, room):
        self.store, self.options, self.room = store, options, room

    def start(self, source):
        self.store.start()
        self.store.command("import", source, "source")
        self.store.command("snapshot", "source", "v1")

    def forget(self):
        """The daemon's caches too: who runs second would find them warm."""
        self.store.command("down")
        self.store.command("up", "--store-only")

    def make(self, tag, count):
        names = ["%s-%d" % (tag, i) for i in range(count)]
        client = self.store.client()
        try:
            client.call("fork", source="source@v1", names=names)
            dirs = []
            for n in names:
                dirs.append(os.path.join(self.room, n))
                os.mkdir(dirs[-1])
                client.call("mount", path=dirs[-1], object=n, dir=dirs[-1], options=self.options)
        finally:
            client.close()
        return dirs

    def drop(self, dirs):
        for d in dirs:
            self.store.command("umount", d)
            os.rmdir(d)
        client = self.store.client()
        client.call("rm", objects=[os.path.basename(d) for d in dirs])
        client.close()

    def stop(self):
        self.store.stop()


class Copies:
    """Copies of a directory on a file system of its own, by a command or as overlays."""

    def __init__(self, peer, how):
        self.peer, self.how = peer, how

    def start(self, source):
        self.peer.start()
        base = self.peer.base
        self.source = os.path.join(base, "source")
        if self.how == "btrfs":
            run("btrfs", "subvolume", "create", self.source)
            run("cp", "-a", source + "/.", self.source)
        else:
            run("cp", "-a", source, self.source)

    def one(self, name):
        base = self.peer.base
        path = os.path.join(base, name)
        if self.how == "btrfs":
            run("btrfs", "subvolume", "snapshot", self.source, path)
        elif self.how == "overlay":
            for d in ("up-" + name, "work-" + name, name):
                os.mkdir(os.path.join(base, d))
            run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=%s,upperdir=%s/up-%s,workdir=%s/work-%s" % (self.source, base, name, base, name), path)
        else:
            run("cp", "-a", self.how, self.source, path)
        return path

    def forget(self):
        pass

    def make(self, tag, count):
        return [self.one("%s-%d" % (tag, i)) for i in range(count)]

    def drop(self, dirs):
        for d in dirs:
            if self.how == "overlay":
                run("umount", d)
            elif self.how == "btrfs":
                run("btrfs", "subvolume", "delete", d)
            else:
                shutil.rmtree(d)

    def stop(self):
        self.peer.stop()


def kinds(work, ram, binary):
    def store(name, options):
        under = peers.ext4(name, work, ram)
        room = os.path.join(work, name + "-mounts")
        os.makedirs(room)
        return Forks(Store(os.path.join(under.base, "store"), binary, under), options, room)
    return {
        "coppice": lambda: store("coppice", {"transport": "classic"}), "coppice-uring": lambda: store("coppice-uring", {"transport": "uring"}),
        "overlayfs": lambda: Copies(peers.ext4("overlay", work, ram), "overlay"), "cp": lambda: Copies(peers.ext4("cp", work, ram), "--reflink=never"),
        "xfs": lambda: Copies(peers.Loop("xfs", work, ram, ("mkfs.xfs", "-q", "-m", "reflink=1"), "xfs"), "--reflink=always"),
        "btrfs": lambda: Copies(peers.btrfs("btrfs", work, ram), "btrfs"),
    }


def measure(kind, source, forks):
    try:
        kind.start(source)
        out = {}
        for what, fn in (("at once", at_once), ("in turn", in_turn)):
            kind.forget()
            start = time.perf_counter()
            dirs = kind.make(what.replace(" ", "-"), forks)
            out.setdefault("make", time.perf_counter() - start)
            machine.drop_caches()
            out[what] = fn(dirs)
            kind.drop(dirs)
        out["at once / in turn"] = out["at once"] / out["in turn"]
        return out
    finally:
        try:
            kind.stop()
        except (Failed, OSError) as e:
            print("stopping: %s" % e, file=sys.stderr)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build", nargs="?", default=os.path.join(os.path.dirname(HERE), "build"))
    p.add_argument("--forks", type=int, default=64)
    p.add_argument("--files", type=int, default=2000)
    p.add_argument("--peers", default="coppice,coppice-uring,overlayfs,xfs,btrfs,cp")
    args = p.parse_args()
    if os.geteuid() != 0:
        sys.exit("fork_storm.py: must be root: it mounts, and drops the kernel's caches")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))       # so that what is mounted is taken away
    work = tempfile.mkdtemp(prefix="coppice-storm.", dir="/tmp")
    ram = os.path.join(work, "ram")
    os.makedirs(ram)
    run("mount", "-t", "tmpfs", "-o", "size=80%,nr_inodes=0", "tmpfs", ram)
    result = {"machine": machine.describe(), "forks": args.forks, "files": args.files, "seconds": {}, "left_out": {}}
    try:
        source = os.path.join(ram, "source")
        make_source(source, args.files)
        table = kinds(work, ram, os.path.join(args.build, "tools", "coppice"))
        for name in args.peers.split(","):
            try:
                result["seconds"][name] = measure(table[name](), source, args.forks)
            except (Failed, OSError) as e:
                result["left_out"][name] = str(e)
    finally:
        peers.unmount(ram)
        run("rm", "-rf", "--one-file-system", work)
    print(json.dumps(result, indent=1))
    for name, r in result["seconds"].items():
        print("%-16s" % name + "  ".join("%s %.2f" % (k, v) for k, v in r.items()))


main()
