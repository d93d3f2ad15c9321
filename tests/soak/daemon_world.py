"""A store with a daemon that a test may kill: the command, asked again when the connection breaks, and the killer."""
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

BROKEN = re.compile(r"ended the connection|talking to snapshotd failed|the daemon is ending|cannot reach the daemon|refused", re.I)


class Failure(Exception):
    pass


def temporary(stem):
    top = os.environ.get("COPPICE_TEST_TMP") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp")
    return tempfile.mkdtemp(prefix=f"coppice-{stem}-", dir=top)


class World:
    """build: a build directory. The store is DIR/store, its mounts below DIR/mnt, the daemon's log DIR/log."""

    def __init__(self, build, stem):
        self.coppice = os.environ.get("COPPICE") or os.path.join(build, "tools", "coppice")
        self.snapshotd = os.path.join(os.path.dirname(self.coppice), "..", "snapshotd", "snapshotd")
        self.dir = temporary(stem)
        self.store = os.path.join(self.dir, "store")
        self.mnt = os.path.join(self.dir, "mnt")
        os.mkdir(self.mnt)
        self.daemon = None
        self.log = open(os.path.join(self.dir, "log"), "ab")
        subprocess.run([self.snapshotd, "--store", self.store, "--init"], check=True)
        self.start()

    def start(self):
        self.daemon = subprocess.Popen([self.snapshotd, "--store", self.store, "--foreground"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        while not os.path.exists(os.path.join(self.store, "snapshotd.sock")):
            if self.daemon.poll() is not None:
                raise Failure(f"the daemon did not start: {self.daemon.returncode}, see {self.log.name}")
            time.sleep(0.01)
        self.status()

    def stop(self):
        """Ends it in order."""
        self.run("down")
        self.daemon.wait(120)

    def run(self, *args, codes=(0,), again_ok=None, stdin=None):
        """stdout. again_ok: text of an error that, after a broken try, says that the try before did it."""
        end = time.monotonic() + 60
        broke = False
        while True:
            p = subprocess.run([self.coppice, "--store", self.store, *args], capture_output=True, stdin=stdin, timeout=300)
            said = p.stderr.decode(errors="replace")
            if p.returncode in codes and not (p.returncode and BROKEN.search(said)):
                return p.stdout.decode(errors="replace")
            if broke and again_ok and again_ok in said:
                return ""
            if not BROKEN.search(said) or time.monotonic() > end:
                raise Failure(f"coppice {' '.join(args)}: status {p.returncode}: {said.strip()[:600]}")
            broke = True

    def until(self, right, *args):
        """Runs it unless a try whose connection broke has done it already: right() says whether it is done. True: at the first try. False:
        a try before may have done it without its last step, the snapshot by which it can be undone."""
        end = time.monotonic() + 60
        for tries in itertools.count():
            p = subprocess.run([self.coppice, "--store", self.store, *args], capture_output=True, stdin=subprocess.DEVNULL, timeout=300)
            said = p.stderr.decode(errors="replace")
            if p.returncode == 0:
                return tries == 0
            if not BROKEN.search(said) or time.monotonic() > end:
                raise Failure(f"coppice {' '.join(args)}: status {p.returncode}: {said.strip()[:600]}")
            if right():
                return False

    def status(self):
        return json.loads(self.run("--json", "status"))

    def outlives(self, name):
        """Does somebody keep this one's mount? (Others may just be coming or going.)"""
        s = self.status()
        return bool(s.get("holder")) and any(m["name"] == name and m["protected"] for m in s["mount_list"])

    def pid(self):
        """Of the daemon that serves now."""
        s = self.status()
        return (s.get("daemon") or s)["pid"]

    def mount(self, name):
        at = os.path.join(self.mnt, name)
        os.makedirs(at, exist_ok=True)
        self.run("mount", name, at, again_ok="mounted already")
        return at

    def umount(self, name):
        at = os.path.join(self.mnt, name)
        if os.path.ismount(at):
            self.run("umount", at, again_ok="not")
        os.rmdir(at)

    def close(self, keep=False):
        mounts = [line.split()[4] for line in open("/proc/self/mountinfo") if line.split()[4].startswith(self.dir + "/")]
        for m in reversed(mounts):
            subprocess.run(["umount", "-l", m], stderr=subprocess.DEVNULL)
        subprocess.run([self.coppice, "--store", self.store, "down"], capture_output=True, timeout=120)
        if self.daemon.poll() is None:
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
        self.log.close()
        if keep:
            print(f"# kept: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


class Killer(threading.Thread):
    """Kills the daemon again and again, each time when the one before is served again: after a random time of up to 2 * mean_s."""

    def __init__(self, world, rnd, mean_s, most=0, how=(signal.SIGKILL,)):
        super().__init__(daemon=True)
        self.world, self.rnd, self.mean_s, self.most, self.how = world, rnd, mean_s, most, how
        self.kills, self.ended, self.failure = 0, threading.Event(), None
        self.at = []                                   # when each was

    def run(self):
        try:
            while not self.ended.wait(self.rnd.random() * 2 * self.mean_s):
                pid = self.world.pid()
                if pid == self.world.daemon.pid:
                    raise Failure("the daemon has no holder: nobody would start it again")
                self.at.append(time.monotonic())
                os.kill(pid, self.rnd.choice(self.how))
                self.kills += 1
                while self.world.pid() == pid:
                    time.sleep(0.002)
                if self.most and self.kills >= self.most:
                    break
        except (Failure, OSError, subprocess.SubprocessError) as e:
            self.failure = str(e)
        self.ended.set()


class Pulse(threading.Thread):
    """Makes and removes a file in a mount again and again, and keeps how long each turn took: what programs see of a pause."""

    def __init__(self, place):
        super().__init__(daemon=True)
        self.place, self.ended, self.failure, self.slow = place, threading.Event(), None, []
        self.turns = 0

    def run(self):
        path = os.path.join(self.place, "pulse")
        try:
            while not self.ended.wait(0.001):
                a = time.monotonic()
                with open(path, "xb") as f:
                    f.write(b"x")
                os.unlink(path)
                self.turns += 1
                took = time.monotonic() - a
                if took > 0.01:
                    self.slow.append((a, took))
        except OSError as e:
            self.failure = f"a file in a mount: {e}"

    def pauses(self, at):
        """Of each of these moments: the longest turn that was under way or began within 2 s of it."""
        found = [max((took for a, took in self.slow if a - 2 < t < a + took + 0.05 or t <= a < t + 2), default=0.0) for t in at]
        return sorted(found)


def choose_seed(given):
    """As tests/lib/seed.h."""
    s = given or os.environ.get("COPPICE_SEED") or "1795231922000"
    return random.randrange(1 << 40) if s == "random" else int(s, 0)
