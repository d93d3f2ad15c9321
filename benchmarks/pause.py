#!/usr/bin/env python3
"""How long programs have to wait when snapshotd is killed: mounts of one store, programs that stat and create in a loop in some of them, the longest gap between two of their calls.

  benchmarks/pause.py [BUILD] [--mounts 1,20,100 --kills 5 --programs 4]

For each number of mounts the daemon is killed (SIGKILL) so often. In milliseconds, median and greatest of the kills: the longest gap in any program, and what the daemon says of it
(from the end of the one to the readiness of the next). The store is in RAM. Prints JSON, then a table. Exit status 1 if a program got an error."""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench.machine import Failed, describe  # noqa: E402
from bench.store import Store  # noqa: E402

# Ends when its directory's STOP is there; tells each gap of more than 2 ms: when it ended, how long it was.
PROGRAM = """
import json, os, sys, time
place, stop = sys.argv[1:]
gaps, n, last = [], 0, time.monotonic()
while not os.path.exists(stop):
    n += 1
    try: os.stat(f'{place}/none{n}')
    except FileNotFoundError: pass
    os.close(os.open(f'{place}/f{n % 1000}', os.O_CREAT | os.O_WRONLY))
    now = time.monotonic()
    if now - last > 0.002: gaps.append((now, now - last))
    last = now
json.dump(gaps, sys.stdout)
"""


def status(store):
    client = store.client()
    try:
        return client.call("ping")
    finally:
        client.close()


def killed(store):
    """Kills the daemon; when that was, and the next one's answer."""
    before, at = status(store), time.monotonic()
    if not before["holder"]:
        raise Failed("the daemon has no holder: mounts end with it (coppice doctor)")
    os.kill(before["pid"], signal.SIGKILL)
    while True:
        try:
            now = status(store)
            if now["pid"] != before["pid"]:
                return at, now
        except (Failed, OSError):
            pass
        if time.monotonic() - at > 30:
            raise Failed("no daemon is there 30 s after one was killed")


def mounted(store, work, count):
    names, dirs = ["m%d-%d" % (count, i) for i in range(count)], []
    client = store.client()
    try:
        client.call("fork", source="source@v1", names=names)
        for n in names:
            dirs.append(os.path.join(work, n))
            os.mkdir(dirs[-1])
            client.call("mount", path=dirs[-1], object=n, dir=dirs[-1], options={})
    finally:
        client.close()
    return dirs


def measure(store, work, count, o):
    dirs, stop = mounted(store, work, count), os.path.join(work, "stop%d" % count)
    programs = [subprocess.Popen([sys.executable, "-c", PROGRAM, d, stop], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for d in dirs[:o.programs]]
    kills = []
    try:
        for _ in range(o.kills):
            time.sleep(1)
            kills.append(killed(store))
        time.sleep(1)
    finally:
        open(stop, "w", encoding="ascii").close()
        ended = [p.communicate() for p in programs]
        for d in dirs:
            store.command("umount", d)
    errors = [e.decode("utf-8", "replace").strip().splitlines()[-1] for p, (_, e) in zip(programs, ended) if p.returncode]
    gaps = [g for p, (out, _) in zip(programs, ended) if not p.returncode for g in json.loads(out)]
    longest = [max((took for end, took in gaps if at < end < at + 1), default=0) * 1000 for at, _ in kills]
    said = [now["pause_ms"] for _, now in kills]
    return {"mounts": count, "programs": len(programs), "longest_gap_ms": [round(g, 1) for g in longest], "daemon_says_ms": [round(g, 1) for g in said], "errors": errors}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build", nargs="?", default=os.path.join(HERE, "..", "build"))
    p.add_argument("--mounts", default="1,20,100")
    p.add_argument("--kills", type=int, default=5)
    p.add_argument("--programs", type=int, default=4)
    o = p.parse_args()
    work = tempfile.mkdtemp(prefix="coppice-pause.", dir="/dev/shm")
    store = Store(os.path.join(work, "store"), os.path.join(os.path.abspath(o.build), "tools", "coppice"))
    try:
        store.start()
        store.command("create", "source", "--bare")
        store.command("snapshot", "source", "v1")
        rows = [measure(store, work, int(n), o) for n in o.mounts.split(",")]
    except Failed as e:
        sys.exit("benchmarks/pause.py: %s" % e)
    finally:
        store.stop()
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps({"machine": describe(), "kills": o.kills, "rows": rows}, indent=2))
    print("%8s %10s %32s %32s" % ("mounts", "programs", "longest gap, median / worst ms", "daemon says, median / worst ms"))
    for r in rows:
        a, b = r["longest_gap_ms"], r["daemon_says_ms"]
        print("%8d %10d %23.1f / %6.1f %23.1f / %6.1f" % (r["mounts"], r["programs"], statistics.median(a), max(a), statistics.median(b), max(b)))
        for e in r["errors"]:
            print("         a program ended: " + e)
    return any(r["errors"] for r in rows)


if __name__ == "__main__":
    sys.exit(main())
