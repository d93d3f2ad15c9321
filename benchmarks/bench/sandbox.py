"""Sandboxes, through the HTTP API on its Unix socket, beside what the machine does natively, interleaved in one run. Times in seconds.

"warm start" is what somebody waits who wants a fresh copy of a prepared workspace and the exit of a first command in it: fork + start + exec of
`true`, two requests. The parts of each start are the daemon's own figures (`timeline`)."""
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time

from . import material
from .machine import Failed, run


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Api:
    """One kept-alive connection to sandboxd."""

    def __init__(self, store):
        self.path = os.path.join(store.directory, "sandbox", "api.sock")
        self.http = Connection(self.path)

    def close(self):
        self.http.close()

    def call(self, method, route, body=None):
        data = None if body is None else json.dumps(body).encode()
        try:
            self.http.request(method, "/v1" + route, data, {"Content-Type": "application/json", "Accept": "application/json"})
            answer = self.http.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as e:
            self.http.close()                              # the next call connects again
            raise Failed("%s %s: %s: %s" % (method, route, type(e).__name__, e)) from e
        if answer.status >= 300:
            raise Failed("%s %s: %d %s" % (method, route, answer.status, text[:300].decode("utf-8", "replace")))
        return json.loads(text) if text else None

    def run(self, box, *argv):
        done = self.call("POST", "/sandbox/%s/exec" % box, {"argv": list(argv)})
        if done.get("exit_code") != 0:
            raise Failed("%s in %s: %s" % (" ".join(argv), box, done))
        return done


def spread(values):
    """Percentiles by nearest rank."""
    v = sorted(values)

    def at(q):
        return v[min(len(v) - 1, int(q * len(v)))]
    return {"p50": at(0.50), "p95": at(0.95), "p99": at(0.99), "min": v[0], "max": v[-1], "n": len(v)}


def timed_call(fn):
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def native():
    subprocess.run(["/bin/true"], check=True)


def unshared():
    subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--cgroup", "/bin/true"], check=True)


def bubblewrapped():
    subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"], check=True)


class Sandboxes:
    def __init__(self, store):
        self.store, self.api, self.serial = store, Api(store), 0

    def close(self):
        self.api.close()

    def name(self, what):
        self.serial += 1
        return "%s-%d" % (what, self.serial)

    def prepared(self):
        """A workspace with something in it, asleep again: what forks are made from."""
        ws = self.name("prepared")
        self.api.call("POST", "/sandbox", {"name": ws})
        self.api.run(ws, "/bin/sh", "-c", "mkdir -p /workspace/p && for i in $(seq 200); do echo $i >/workspace/p/$i; done")
        self.api.call("POST", "/sandbox/%s/sleep" % ws)
        return ws

    def warm_start(self, source, samples):
        """One at a time; a native process, unshare and bwrap take turns with it."""
        out = {"coppice: fork + start + true": [], "coppice: fork alone": [], "native fork + exec of true": [], "unshare, all namespaces": []}
        if shutil.which("bwrap"):
            out["bwrap, all namespaces"] = []
        timelines = []
        for i in range(samples + 3):
            name = self.name("warm")
            t0 = time.perf_counter()
            self.api.call("POST", "/sandbox/%s/fork" % source, {"count": 1, "name": name})
            t1 = time.perf_counter()
            self.api.run(name, "/bin/true")
            t2 = time.perf_counter()
            box = self.api.call("GET", "/sandbox/%s" % name)
            self.api.call("DELETE", "/sandbox/%s" % name)
            row = {"coppice: fork + start + true": t2 - t0, "coppice: fork alone": t1 - t0, "native fork + exec of true": timed_call(native),
                   "unshare, all namespaces": timed_call(unshared)}
            if "bwrap, all namespaces" in out:
                row["bwrap, all namespaces"] = timed_call(bubblewrapped)
            if i >= 3:                                     # the first ones fill caches
                for key, value in row.items():
                    out[key].append(value)
                timelines.append(box.get("timeline") or {})
        result = {key: spread(values) for key, values in out.items()}
        steps = [k for k in (timelines[0] if timelines else {}) if all(isinstance(t.get(k), (int, float)) for t in timelines)]
        result["timeline of a start, microseconds"] = {k: spread([t[k] for t in timelines]) for k in steps}
        return result

    def at_once(self, source, count):
        """count forks from one state, then a first command in each, all at once."""
        name = self.name("burst")
        errors, done = [], []

        def first(box):
            api = Api(self.store)
            try:
                api.run(box, "/bin/true")
                done.append(time.perf_counter() - start)
            except (Failed, OSError, ValueError) as e:
                errors.append("%s: %s" % (box, e))
            finally:
                api.close()
        start = time.perf_counter()
        boxes = [b["name"] for b in self.api.call("POST", "/sandbox/%s/fork" % source, {"count": count, "name": name})]
        forked = time.perf_counter() - start
        threads = [threading.Thread(target=first, args=(b,)) for b in boxes]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for b in boxes:
            self.api.call("DELETE", "/sandbox/%s" % b)
        if errors:
            raise Failed("%d of %d failed: %s" % (len(errors), count, errors[0]))
        return {"forks made": forked, "all first commands done": max(done), "first command done": spread(done)}

    def running(self, source, samples):
        """exec in a running sandbox; after a freeze; after a sleep."""
        name = self.name("life")
        self.api.call("POST", "/sandbox/%s/fork" % source, {"count": 1, "name": name})
        self.api.run(name, "/bin/true")
        out = {"exec of true in a running sandbox": [timed_call(lambda: self.api.run(name, "/bin/true")) for _ in range(samples)]}
        for what in ("freeze", "sleep"):
            times = []
            for _ in range(max(10, samples // 4)):
                self.api.call("POST", "/sandbox/%s/%s" % (name, what))
                times.append(timed_call(lambda: self.api.run(name, "/bin/true")))
            out["exec of true after " + what] = times
        self.api.call("DELETE", "/sandbox/%s" % name)
        return {key: spread(values) for key, values in out.items()}

    def idle_memory(self, source, count):
        """Private memory of all our processes for one idle running sandbox, by the difference that count of them make."""
        before = self.private_kib()
        boxes = [b["name"] for b in self.api.call("POST", "/sandbox/%s/fork" % source, {"count": count, "name": self.name("idle")})]
        for b in boxes:
            self.api.run(b, "/bin/true")
        time.sleep(1)
        with_boxes = self.private_kib()
        for b in boxes:
            self.api.call("POST", "/sandbox/%s/sleep" % b)
        asleep = self.private_kib()
        for b in boxes:
            self.api.call("DELETE", "/sandbox/%s" % b)
        return {"private KiB for each running one": {k: (with_boxes[k] - before[k]) / count for k in before},
                "all of them": sum(with_boxes.values()) / count - sum(before.values()) / count,
                "private KiB for each sleeping one": (sum(asleep.values()) - sum(before.values())) / count}

    def private_kib(self):
        """By program: what belongs to this store's daemons and their children."""
        out = {"snapshotd": 0, "launcher": 0, "sandboxd": 0, "agents": 0}
        parents, names = {}, {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/stat" % pid, encoding="utf-8", errors="replace") as f:
                    text = f.read()
            except OSError:
                continue
            names[pid] = text[text.index("(") + 1:text.rindex(")")]
            parents[pid] = text[text.rindex(")") + 2:].split()[1]
        ours = {str(self.store.pid()): "snapshotd"}
        for pid, name in names.items():
            if name == "launcher" and self.store.directory in open("/proc/%s/cmdline" % pid, encoding="utf-8", errors="replace").read().split("\0"):
                ours[pid] = "launcher"
        grew = True
        while grew:
            grew = False
            for pid, parent in parents.items():
                if pid not in ours and ours.get(parent) in ("launcher", "agents"):
                    ours[pid] = "sandboxd" if names[pid] == "sandboxd" else "agents"
                    grew = True
        for pid, kind in ours.items():
            try:
                with open("/proc/%s/smaps_rollup" % pid, encoding="ascii") as f:
                    out[kind] += sum(int(line.split()[1]) for line in f if line.startswith("Private"))
            except (OSError, ValueError):
                continue
        return out


def copies(store_box, work, project, samples):
    """The story of the seeds: how long until a first command has run in a fresh copy of a prepared project, by the ways others do it."""
    tar = os.path.join(work, "project.tar")
    image = os.path.join(work, "project.squashfs")
    command = ["node", "-e", "require('fs').readdirSync('node_modules').length || process.exit(1)"]
    run("tar", "cf", tar, "-C", project, ".")
    ways = {"cp -a": lambda d: run("cp", "-a", project + "/.", d), "tar": lambda d: run("tar", "xf", tar, "-C", d)}
    if shutil.which("mksquashfs"):
        run("mksquashfs", project, image, "-quiet", "-no-progress")
        ways["squashfs + overlay"] = lambda d: squash(image, d)
    box = store_box.name("project")
    store_box.store.command("create", box)
    run("sh", "-c", "tar cf - -C '%s' . | curl -sf --unix-socket '%s' -X POST -T - http://localhost/v1/sandbox/%s/hydrate"
        % (project, store_box.api.path, box))
    store_box.api.call("POST", "/sandbox/%s/sleep" % box)
    out = {}
    for i in range(samples):
        for name, make in ways.items():
            d = os.path.join(work, "copy%d-%s" % (i, name.split()[0]))
            os.makedirs(d)
            t0 = time.perf_counter()
            make(d)
            run(*command, cwd=d)
            out.setdefault(name, []).append(time.perf_counter() - t0)
            for m in (d, d + ".lower"):
                subprocess.run(["umount", m], check=False, stderr=subprocess.DEVNULL)
            shutil.rmtree(d)
        fork = store_box.name("copy")
        t0 = time.perf_counter()
        store_box.api.call("POST", "/sandbox/%s/fork" % box, {"count": 1, "name": fork})
        done = store_box.api.call("POST", "/sandbox/%s/exec" % fork, {"argv": command, "cwd": "/workspace"})
        if done.get("exit_code") != 0:
            raise Failed("the first command in %s: %s" % (fork, done))
        out.setdefault("coppice fork", []).append(time.perf_counter() - t0)
        store_box.api.call("DELETE", "/sandbox/%s" % fork)
    return {key: spread(values) for key, values in out.items()}


def squash(image, d):
    lower, upper = d + ".lower", d + ".upper"
    for x in (lower, upper, d + ".work"):
        os.makedirs(x)
    run("mount", "-o", "loop,ro", image, lower)
    run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=%s,upperdir=%s,workdir=%s" % (lower, upper, d + ".work"), d)


def npm_story(work):
    """A real project, installed once; and how long clone + install took from scratch, offline."""
    project, cache = os.path.join(work, "npm"), os.path.join(work, "npm-cache")
    material.npm_project(project, cache)
    fresh = os.path.join(work, "npm-fresh")
    t0 = time.perf_counter()
    shutil.copytree(project, fresh)
    material.npm_install(fresh, cache)
    return fresh, time.perf_counter() - t0


def table(value, prefix=""):
    lines = []
    for key, v in value.items():
        name = prefix + key
        if isinstance(v, dict) and "p50" in v:
            unit = 1e-3 if "microseconds" in prefix else 1e3
            lines.append("%-62s p50 %9.3f  p95 %9.3f  p99 %9.3f ms  of %d" % (name, v["p50"] * unit, v["p95"] * unit, v["p99"] * unit, v["n"]))
        elif isinstance(v, dict):
            lines += table(v, name + " · ")
        elif isinstance(v, float):
            lines.append("%-62s %13.3f" % (name, v))
        else:
            lines.append("%-62s %13s" % (name, v))
    return lines
