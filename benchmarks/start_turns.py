#!/usr/bin/env python3
"""Two builds beside each other: how long a fork, a start and a first command take, in turns in one run, so that whatever else the machine does slows both alike.

  benchmarks/start_turns.py [--turns N] [--burst N] [--json FILE] NAME=BUILD_DIRECTORY [NAME=BUILD_DIRECTORY ...]

A build directory may stand under two names with different options: NAME=DIRECTORY,--option,--option gives them to its `coppice up`. Each has a store of its own below --work
(default: a temporary directory; its file system decides what a sync costs). Needs root. Prints medians and p95 in milliseconds, and the medians of `timeline`."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from bench.machine import Failed  # noqa: E402
from bench.sandbox import Api, spread, timed_call  # noqa: E402


class Side:
    def __init__(self, name, spec, work):
        self.name, (self.build, *self.options) = name, spec.split(",")
        self.directory = os.path.join(work, name)
        self.key = os.path.join(work, name + ".key")
        self.env = dict(os.environ, COPPICE_STORE=self.directory)
        self.times, self.timelines, self.serial = {}, [], 0
        if "--secret-key" in subprocess.run([self.program(), "up", "--help"], capture_output=True, text=True, check=False).stdout:
            with open(self.key, "wb", opener=lambda p, f: os.open(p, f, 0o600)) as f:
                f.write(os.urandom(32))
            self.options += ["--secret-key", self.key]
        self.coppice("init")
        self.coppice("up", *self.options)
        self.api = Api(self)
        self.api.call("POST", "/sandbox", {"name": "source"})
        self.api.run("source", "/bin/sh", "-c", "mkdir -p /workspace/p && for i in $(seq 200); do echo $i >/workspace/p/$i; done")
        self.api.call("POST", "/sandbox/source/sleep")

    def program(self):
        return os.path.join(self.build, "tools", "coppice")

    def coppice(self, *argv):
        done = subprocess.run([self.program(), *argv], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed("%s: coppice %s: %s" % (self.name, " ".join(argv), done.stderr.strip()))

    def end(self):
        subprocess.run([self.program(), "down"], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def note(self, what, seconds):
        self.times.setdefault(what, []).append(seconds)

    def fork(self, count=1):
        self.serial += 1
        return [b["name"] for b in self.api.call("POST", "/sandbox/source/fork", {"count": count, "name": "f%d" % self.serial})]

    def one(self, keep):
        """keep: not the first ones, which fill caches."""
        t0 = time.perf_counter()
        box, = self.fork()
        t1 = time.perf_counter()
        self.api.run(box, "/bin/true")
        t2 = time.perf_counter()
        again = timed_call(lambda: self.api.run(box, "/bin/true"))
        timeline = self.api.call("GET", "/sandbox/%s" % box).get("timeline") or {}
        self.api.call("POST", "/sandbox/%s/freeze" % box)
        thawed = timed_call(lambda: self.api.run(box, "/bin/true"))
        self.api.call("POST", "/sandbox/%s/sleep" % box)
        woken = timed_call(lambda: self.api.run(box, "/bin/true"))
        self.api.call("DELETE", "/sandbox/%s" % box)
        if keep:
            self.timelines.append(timeline)
            for what, seconds in (("fork + start + true", t2 - t0), ("fork alone", t1 - t0), ("true in a running one", again), ("true after freeze", thawed),
                                  ("true after sleep", woken)):
                self.note(what, seconds)

    def burst(self, count):
        def first(box):
            api = Api(self)
            try:
                api.run(box, "/bin/true")
            except Failed as e:
                errors.append(e)
            api.close()
        errors, start = [], time.perf_counter()
        boxes = self.fork(count)
        self.note("%d forks made" % count, time.perf_counter() - start)
        threads = [threading.Thread(target=first, args=(b,)) for b in boxes]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.note("%d forks, last first command ended" % count, time.perf_counter() - start)
        for b in boxes:
            self.api.call("DELETE", "/sandbox/%s" % b)
        if errors:
            raise Failed("%s: %d of %d: %s" % (self.name, len(errors), count, errors[0]))

    def result(self):
        steps = [k for k, v in (self.timelines[0] if self.timelines else {}).items() if isinstance(v, (int, float))]
        return {"build": self.build, "options": self.options, "times": {k: spread(v) for k, v in self.times.items()},
                "timeline, microseconds": {k: spread([t[k] for t in self.timelines])["p50"] for k in steps}}


def show(sides):
    print("%-38s" % "milliseconds, median / p95" + "".join("%22s" % s.name for s in sides))
    for what in sides[0].times:
        print("%-38s" % what + "".join("%13.2f /%7.2f" % (spread(s.times[what])["p50"] * 1e3, spread(s.times[what])["p95"] * 1e3) for s in sides))
    steps = {}
    for s in sides:
        for k, v in s.result()["timeline, microseconds"].items():
            steps.setdefault(k, {})[s.name] = v
    for k, v in steps.items():
        print("%-38s" % ("timeline: " + k) + "".join("%22s" % ("%.2f" % (v[s.name] / 1e3) if s.name in v else "-") for s in sides))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--turns", type=int, default=40)
    p.add_argument("--burst", type=int, default=0, help="forks at once, three times")
    p.add_argument("--work")
    p.add_argument("--json")
    p.add_argument("builds", nargs="+")
    a = p.parse_args()
    work = tempfile.mkdtemp(prefix="start-turns-", dir=a.work)
    sides, load = [], os.getloadavg()[0]
    try:
        for text in a.builds:
            sides.append(Side(*text.split("=", 1), work))
        for i in range(a.turns + 3):
            for s in sides if i % 2 else sides[::-1]:
                s.one(i >= 3)
        for i in range(3 if a.burst else 0):
            for s in sides if i % 2 else sides[::-1]:
                s.burst(a.burst)
        print("load %.1f when it began, %.1f at the end; %d turns" % (load, os.getloadavg()[0], a.turns))
        show(sides)
        if a.json:
            with open(a.json, "w", encoding="utf-8") as f:
                json.dump({"load": [load, os.getloadavg()[0]], "turns": a.turns, "sides": {s.name: s.result() for s in sides}}, f, indent=1)
    except Failed as e:
        sys.exit("start_turns: %s" % e)
    finally:
        for s in sides:
            s.end()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
