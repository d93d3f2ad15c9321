#!/usr/bin/env python3
"""What many workspaces and snapshots in one store cost: start, list, log, show, fork, snapshot, mount, rm, gc, memory.

  benchmarks/scale.py [BUILD] [--workspaces 10000 --snapshots 100000] [--store DIR]

Makes the store first (scale_store; in RAM: /dev/shm or --store, two minutes for the sizes above), unless DIR holds one already. Times by the control socket
are of the daemon; those "by command" have the command's own time in them. Prints JSON. Exit status 1 if a limit of the issue is missed (--limits)."""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench.machine import Failed, describe, proc_status, run, timed  # noqa: E402
from bench.store import Store  # noqa: E402

LIMITS_S = {"start": 0.5, "list": 1.0}        # of 10,000 workspaces and 100,000 snapshots


def many(fn, count):
    """Median seconds of fn(i)."""
    return statistics.median(timed(fn, i) for i in range(count))


def measure(store, room):
    """{what: seconds}, and {what: KiB}."""
    out = {"start": timed(store.command, "up", "--store-only")}
    memory = {"after start": proc_status(store.pid())["VmRSS"]}
    client = store.client()
    took = timed(lambda: out.setdefault("objects", {k: len(v) for k, v in client.call("list", all=True).items() if isinstance(v, list)}))
    out["list"] = took
    out["list by command"] = timed(store.json, "list")
    memory["after list"] = proc_status(store.pid())["VmRSS"]
    listed = client.call("list", all=True)
    names = [w["name"] for w in listed["workspaces"] if w["name"].startswith("fork-")]
    snaps = [s["id"] for s in listed["snapshots"]]
    del listed
    out["log of the longest line"] = timed(lambda: client.call("log", object="base"))
    out["log of a fork"] = many(lambda i: client.call("log", object=names[i]), 3)
    out["log --graph"] = timed(lambda: client.call("log", object="base", graph=True))
    out["show without sizes"] = many(lambda i: client.call("show", object=names[i], sizes=False), 20)
    out["show"] = many(lambda i: client.call("show", object=names[i]), 2)
    memory["after show"] = proc_status(store.pid())["VmRSS"]
    out["a name that is not there"] = many(lambda i: refused(client, "nobody-%d" % i), 3)
    out["fork of a workspace"] = many(lambda i: client.call("fork", source=names[i], name="new-%d" % i), 20)
    out["fork of a snapshot"] = many(lambda i: client.call("fork", source=snaps[i * len(snaps) // 20], name="of-snap-%d" % i), 20)
    bulk = ["bulk-%d" % i for i in range(1000)]
    out["1000 forks at once"] = timed(lambda: client.call("fork", source=snaps[0], names=bulk))
    out["snapshot"] = many(lambda i: client.call("snapshot", object=names[i], name="v1"), 20)
    out["mount and unmount"] = many(lambda i: mount(store, names[i], room), 10)
    out["rm of a workspace"] = many(lambda i: client.call("rm", objects=["new-%d" % i]), 20)
    out["rm of a snapshot"] = many(lambda i: client.call("rm", objects=[snaps[-1 - i]]), 20)
    out["rm of 1000 workspaces"] = timed(lambda: client.call("rm", objects=bulk))
    out["gc"] = timed(lambda: client.call("gc"))
    memory["after gc"] = proc_status(store.pid())["VmRSS"]
    out["stop"] = timed(store.command, "down")
    return out, memory


def refused(client, name):
    try:
        client.call("show", object=name, sizes=False)
    except Failed:
        return
    raise Failed("%s: there is no such object, yet it was shown" % name)


def mount(store, name, room):
    store.command("mount", name, room)
    os.stat(os.path.join(room, "d0"))
    store.command("umount", room)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build", nargs="?", default=os.path.join(os.path.dirname(HERE), "build"))
    p.add_argument("--workspaces", type=int, default=10000)
    p.add_argument("--snapshots", type=int, default=100000)
    p.add_argument("--store", help="where the store is, or is made; kept. Default: a new one in /dev/shm, removed")
    p.add_argument("--limits", action="store_true")
    args = p.parse_args()
    base = args.store or tempfile.mkdtemp(prefix="coppice-scale.", dir="/dev/shm")
    room = tempfile.mkdtemp(prefix="coppice-scale-mount.")
    result = {"machine": describe()}
    store = Store(os.path.join(base, "store"), os.path.join(args.build, "tools", "coppice"))
    try:
        if not os.path.exists(os.path.join(store.directory, "format")):
            result["making it"] = timed(run, os.path.join(args.build, "benchmarks", "scale_store"), store.directory, str(args.workspaces), str(args.snapshots))
        result["seconds"], result["rss_kib"] = measure(store, room)
        result["disk_bytes"] = store.disk_bytes()
    finally:
        subprocess.run(["umount", room], check=False, stderr=subprocess.DEVNULL)
        subprocess.run([store.binary, "--store", store.directory, "down"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.rmdir(room)
        if not args.store:
            shutil.rmtree(base)
    print(json.dumps(result, indent=1))
    missed = ["%s: %.2f s, at most %.2f" % (k, result["seconds"][k], v) for k, v in LIMITS_S.items() if result["seconds"][k] > v]
    if args.limits and missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
