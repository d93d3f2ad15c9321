"""The workloads: each suite takes an empty directory and gives the seconds of its steps. "cold" steps begin with dropped kernel caches; a
daemon that keeps things in its own memory keeps them then, so cold numbers of FUSE daemons are no promise about the disk."""
import json
import os
import random
import shutil
import sqlite3
import time

from .machine import drop_caches, run, timed
from .material import npm_install


def tree(path, m):
    """tar, find, grep, rm of many small files."""
    top = os.path.join(path, "tree")
    find = ("find", top, "-size", "+1000000000k")
    grep = ("grep", "-rc", "--include=*", "zzz_not_there", top)
    out = {"untar": timed(run, "tar", "-xf", m.tar, "-C", path)}
    drop_caches()
    out["find cold"] = timed(run, *find)
    out["find warm"] = timed(run, *find)
    drop_caches()
    out["grep -r cold"] = timed(run_grep, grep)
    out["grep -r second"] = timed(run_grep, grep)
    out["rm -rf"] = timed(run, "rm", "-rf", top)
    return out


def run_grep(argv):
    run("sh", "-c", '"$@" >/dev/null || [ $? = 1 ]', "sh", *argv)


def git(path, m):
    """clone and status of a packed repository."""
    clone = os.path.join(path, "clone")
    status = ("git", "-C", clone, "status", "--short")
    out = {"git clone": timed(run, "git", "clone", "-q", "--no-hardlinks", m.repository, clone)}
    out["git status first"] = timed(run, *status)
    # git compares whole seconds: an index of the same second as the files would be "racy", and every status would read all files again.
    time.sleep(1.1)
    run("git", "-C", clone, "update-index", "--force-write-index")
    drop_caches()
    out["git status cold"] = timed(run, *status)
    out["git status warm"] = min(timed(run, *status) for _ in range(3))
    return out


def build(path, m):
    """ninja with the C compiler."""
    copy = os.path.join(path, "project")
    shutil.copytree(m.project, copy)
    return {"ninja build": timed(run, "ninja", "-C", copy)}


def npm(path, m):
    """npm install from a warm cache, offline."""
    copy = os.path.join(path, "project")
    shutil.copytree(m.npm, copy)
    return {"npm install --offline": timed(npm_install, copy, m.npm_cache)}


def fio(path, what, size, *options):
    """Seconds that fio says the job itself took."""
    text = run("fio", "--name=job", "--filename=" + os.path.join(path, "data"), "--rw=" + what, "--size=%d" % size, "--ioengine=psync",
               "--fallocate=none", "--invalidate=0", "--output-format=json", "--randrepeat=1", *options)
    job = json.loads(text[text.index("{"):])["jobs"][0]
    return max(job["read"]["runtime"], job["write"]["runtime"]) / 1000.0


def data(path, m):
    """One large file: sequential and random."""
    size = m.data_bytes
    out = {"sequential write": fio(path, "write", size, "--bs=1M")}
    drop_caches()
    out["sequential read cold"] = fio(path, "read", size, "--bs=128k")
    out["sequential read warm"] = fio(path, "read", size, "--bs=128k")
    out["random read 4 KiB warm"] = fio(path, "randread", size, "--bs=4k", "--io_size=%d" % (size // 2))
    out["random write 4 KiB"] = fio(path, "randwrite", size, "--bs=4k", "--io_size=%d" % (size // 8))
    drop_caches()
    out["random read 4 KiB cold"] = fio(path, "randread", size, "--bs=4k", "--io_size=%d" % (size // 64))
    return out


def small(path, m):
    """Appends, fsync, SQLite."""
    out = {"100,000 appends of 100 B": timed(appends, os.path.join(path, "log"), 100_000)}
    out["200 x 4 KiB write + fsync"] = timed(fsyncs, os.path.join(path, "synced"), 200)
    for mode in ("delete", "wal"):
        out["SQLite %s, 100 transactions" % mode] = timed(transactions, os.path.join(path, mode + ".db"), mode, 100)
    return out


def appends(name, count):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    line = b"x" * 99 + b"\n"
    for _ in range(count):
        os.write(fd, line)
    os.close(fd)


def fsyncs(name, count):
    rng = random.Random(3)
    fd = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, rng.randbytes(1 << 20), 0)
    os.fsync(fd)
    block = rng.randbytes(4096)
    for _ in range(count):
        os.pwrite(fd, block, rng.randrange(256) * 4096)
        os.fsync(fd)
    os.close(fd)


def transactions(name, mode, count):
    db = sqlite3.connect(name, isolation_level=None)
    db.execute("pragma journal_mode = " + mode)
    db.execute("pragma synchronous = full")
    db.execute("create table t (id integer primary key, body text)")
    for i in range(count):
        db.execute("begin")
        db.executemany("insert into t (body) values (?)", [("row %d %d " % (i, j) * 10,) for j in range(20)])
        db.execute("commit")
    db.close()


def meta(path, m):
    """Microseconds per call of what always leads to a message, one client."""
    out = {}
    names = [os.path.join(path, "f%d" % i) for i in range(1000)]
    start = time.perf_counter()
    for n in names:
        os.close(os.open(n, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    out["1,000 x create + close"] = time.perf_counter() - start
    start = time.perf_counter()
    for i in range(1000):
        os.path.exists(os.path.join(path, "missing%d" % i))
    out["1,000 x stat of a missing name"] = time.perf_counter() - start
    start = time.perf_counter()
    for n in names:
        os.rename(n, n + ".new")
    out["1,000 x rename"] = time.perf_counter() - start
    start = time.perf_counter()
    for n in names:
        os.unlink(n + ".new")
    out["1,000 x unlink"] = time.perf_counter() - start
    return out


SUITES = {"tree": tree, "git": git, "build": build, "npm": npm, "data": data, "small": small, "meta": meta}
