"""Programs that work in mounts while the daemon dies again and again: each goes on until it is told to stop, and then says what is wrong with what it made. A pause is no error."""
import mmap
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time


class Work(threading.Thread):
    """One program. turn() again and again; check() at the end. What either raises is the failure."""

    def __init__(self, top, tmp):
        super().__init__(daemon=True, name=type(self).__name__)
        self.top, self.tmp = top, os.path.join(tmp, type(self).__name__)
        os.makedirs(self.tmp, exist_ok=True)
        self.ended, self.failure, self.turns = threading.Event(), None, 0
        self.prepare()

    def path(self, *names):
        return os.path.join(self.top, *names)

    def prepare(self):
        pass

    def check(self):
        pass

    def run(self):
        try:
            while not self.ended.is_set():
                self.turn()
                self.turns += 1
            self.check()
        except Exception as e:                        # whatever it is, it is what the test is for
            self.failure = f"turn {self.turns}: {type(e).__name__}: {e}"

    def command(self, *argv, cwd=None, want=0):
        p = subprocess.run(argv, cwd=cwd, capture_output=True, stdin=subprocess.DEVNULL, timeout=240, env={**os.environ, "HOME": self.tmp, "GIT_CONFIG_NOSYSTEM": "1"})
        if p.returncode != want:
            raise AssertionError(f"{' '.join(argv)[:200]}: status {p.returncode}: {(p.stderr or p.stdout).decode(errors='replace')[-400:]}")
        return p.stdout.decode(errors="replace")


def equal(what, a, b):
    if a != b:
        raise AssertionError(f"{what}: {str(a)[:200]} and {str(b)[:200]} differ")


class Npm(Work):
    """npm install of packages that the test has packed itself: nothing is asked of a network."""
    PACKAGES, FILES = 25, 30

    def prepare(self):
        self.packages = []
        for i in range(self.PACKAGES):
            d = os.path.join(self.tmp, f"p{i}", "package")
            os.makedirs(os.path.join(d, "lib"))
            with open(os.path.join(d, "package.json"), "w") as f:
                f.write(f'{{"name": "outlive-p{i}", "version": "1.0.{i}", "main": "lib/f0.js"}}')
            for k in range(self.FILES):
                with open(os.path.join(d, "lib", f"f{k}.js"), "w") as f:
                    f.write(f"module.exports = {i * 1000 + k};\n" * (1 + k * 7))
            path = os.path.join(self.tmp, f"p{i}.tgz")
            with tarfile.open(path, "w:gz") as t:
                t.add(d, "package")
            self.packages.append(path)

    def turn(self):
        where = self.path("app")
        if os.path.exists(where):
            shutil.rmtree(where)
        os.mkdir(where)
        with open(os.path.join(where, "package.json"), "w") as f:
            f.write('{"name": "app", "version": "1.0.0"}')
        self.command("npm", "install", "--offline", "--no-audit", "--no-fund", "--cache", os.path.join(self.tmp, "cache"), *self.packages, cwd=where)
        for i in range(self.PACKAGES):
            for k in range(self.FILES):
                with open(os.path.join(where, "node_modules", f"outlive-p{i}", "lib", f"f{k}.js")) as f:
                    equal("an installed file", f.read(), f"module.exports = {i * 1000 + k};\n" * (1 + k * 7))
        said = self.command("node", "-e", "let s = 0; for (let i = 0; i < %d; i++) s += require('outlive-p' + i); console.log(s)" % self.PACKAGES, cwd=where)
        equal("what node computes", said.strip(), str(sum(i * 1000 for i in range(self.PACKAGES))))


class Build(Work):
    """make of a C program of many files."""
    FILES = 24

    def turn(self):
        d = self.path("src")
        if os.path.exists(d):
            shutil.rmtree(d)
        os.mkdir(d)
        for i in range(self.FILES):
            with open(os.path.join(d, f"f{i}.c"), "w") as f:
                f.write(f'#include "all.h"\nint f{i}(void) {{ return {i}; }}\n')
        with open(os.path.join(d, "all.h"), "w") as f:
            f.writelines(f"int f{i}(void);\n" for i in range(self.FILES))
        with open(os.path.join(d, "main.c"), "w") as f:
            f.write('#include <stdio.h>\n#include "all.h"\nint main(void) { return printf("%d\\n", ' + " + ".join(f"f{i}()" for i in range(self.FILES)) + ") < 0; }\n")
        with open(os.path.join(d, "Makefile"), "w") as f:
            f.write("O = main.o " + " ".join(f"f{i}.o" for i in range(self.FILES)) + "\nprog: $(O)\n\t$(CC) -o $@ $(O)\n%.o: %.c all.h\n\t$(CC) -c -o $@ $<\n")
        self.command("make", "-s", "-j3", cwd=d)
        equal("what the program says", self.command(os.path.join(d, "prog")).strip(), str(sum(range(self.FILES))))
        equal("nothing is left to make", self.command("make", "-q", cwd=d), "")


class Sqlite(Work):
    """Transactions of two rows each, in a database that is read beside it."""
    MODE = "wal"

    def prepare(self):
        self.db = sqlite3.connect(self.path("t.db"), isolation_level=None, check_same_thread=False, timeout=100)
        self.db.execute(f"PRAGMA journal_mode={self.MODE}")
        self.db.execute("CREATE TABLE t(i INTEGER PRIMARY KEY, turn INTEGER, b BLOB)")

    def turn(self):
        self.db.execute("BEGIN")
        for _ in range(2):
            self.db.execute("INSERT INTO t(turn, b) VALUES(?, ?)", (self.turns, os.urandom(random.choice((10, 4000, 20000)))))
        self.db.execute("COMMIT")
        if self.turns % 10 == 9:
            self.db.execute("DELETE FROM t WHERE turn = ?", (self.turns - 5,))
            other = sqlite3.connect(self.path("t.db"), timeout=100)
            equal("rows of whole transactions", other.execute("SELECT count(*) % 2 FROM t").fetchone()[0], 0)
            other.close()

    def check(self):
        equal("integrity", self.db.execute("PRAGMA integrity_check").fetchone()[0], "ok")
        want = 2 * (self.turns - sum(1 for t in range(self.turns) if t % 10 == 9))
        equal("rows", self.db.execute("SELECT count(*) FROM t").fetchone()[0], want)
        self.db.close()


class SqliteRollback(Sqlite):
    MODE = "delete"


class Git(Work):
    def prepare(self):
        self.repo = self.path("repo")
        self.command("git", "init", "-q", self.repo)
        for k, v in (("user.name", "t"), ("user.email", "t@t"), ("gc.auto", "0")):
            self.command("git", "-C", self.repo, "config", k, v)

    def turn(self):
        for i in range(5):
            with open(os.path.join(self.repo, f"f{random.randrange(40)}"), "w") as f:
                f.write(f"{self.turns} {i}\n" * random.randrange(1, 400))
        self.command("git", "-C", self.repo, "add", "-A")
        self.command("git", "-C", self.repo, "commit", "-q", "--allow-empty", "-m", f"turn {self.turns}")
        equal("status", self.command("git", "-C", self.repo, "status", "--porcelain"), "")

    def check(self):
        self.command("git", "-C", self.repo, "fsck", "--full", "--strict")
        equal("commits", self.command("git", "-C", self.repo, "rev-list", "--count", "HEAD").strip(), str(self.turns))
        self.command("git", "clone", "-q", self.repo, self.path("clone"))
        self.command("diff", "-r", "--exclude=.git", self.repo, self.path("clone"))


class Tail(Work):
    """`tail -f` of a log that three append to: it must show every line, and no appended line may cut another."""

    def prepare(self):
        self.log = self.path("log")
        open(self.log, "w").close()
        self.shown = open(os.path.join(self.tmp, "shown"), "wb")
        self.tail = subprocess.Popen(["tail", "-n", "+1", "-f", self.log], stdout=self.shown, stderr=subprocess.STDOUT)
        self.fds = [os.open(self.log, os.O_WRONLY | os.O_APPEND) for _ in range(3)]
        self.lines = 0

    def turn(self):
        for who, fd in enumerate(self.fds):
            line = f"{who} {self.turns} {'x' * random.randrange(200)}\n".encode()
            equal("bytes appended", os.write(fd, line), len(line))
            self.lines += 1
        time.sleep(0.0005)                             # three logs of a busy server, not all that the disk can do

    def check(self):
        with open(self.log, "rb") as f:
            whole = f.read()
        equal("lines", whole.count(b"\n"), self.lines)
        for who in range(3):
            turns = [int(line.split()[1]) for line in whole.splitlines() if line.startswith(b"%d " % who)]
            equal(f"lines of {who}", turns, list(range(self.turns)))
        end = time.monotonic() + 60
        while os.path.getsize(self.shown.name) < len(whole) and time.monotonic() < end and self.tail.poll() is None:
            time.sleep(0.02)
        self.tail.kill()
        self.tail.wait()
        with open(self.shown.name, "rb") as f:
            equal("what tail showed", f.read() == whole, True)


class Mapped(Work):
    """A file written by a shared mapping and read by pread, and the other way round; synced now and then."""
    PAGES = 64

    def prepare(self):
        self.fd = os.open(self.path("mapped"), os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self.fd, self.PAGES * 4096)
        self.m = mmap.mmap(self.fd, self.PAGES * 4096)
        self.want = bytearray(self.PAGES * 4096)

    def turn(self):
        at, data = random.randrange(self.PAGES * 4096 - 5000), os.urandom(random.randrange(1, 5000))
        if random.random() < 0.5:
            self.m[at:at + len(data)] = data
        else:
            equal("bytes written", os.pwrite(self.fd, data, at), len(data))
        self.want[at:at + len(data)] = data
        if self.turns % 50 == 49:
            self.m.flush()
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)      # what is read next comes from the daemon
        if self.turns % 20 == 19:
            equal("the mapping", self.m[:] == bytes(self.want), True)
            equal("the file", os.pread(self.fd, len(self.want), 0) == bytes(self.want), True)

    def check(self):
        self.m.flush()
        self.m.close()
        os.close(self.fd)
        with open(self.path("mapped"), "rb") as f:
            equal("the file at the end", f.read() == bytes(self.want), True)


COUNTER = """
import fcntl, os, sys
path, kind, stop = sys.argv[1:]
done = 0
while not os.path.exists(stop):
    fd = os.open(path, os.O_RDWR)
    (fcntl.flock if kind == "flock" else fcntl.lockf)(fd, fcntl.LOCK_EX)
    n = int(os.pread(fd, 100, 0))
    os.ftruncate(fd, 0)
    os.pwrite(fd, b"%d" % (n + 1), 0)
    os.close(fd)
    done += 1
print(done)
"""


class Locks(Work):
    """Processes that count in one file each under a lock: no step may be lost."""

    def prepare(self):
        self.stop, self.counters = os.path.join(self.tmp, "stop"), []
        for kind in ("flock", "fcntl"):
            with open(self.path(kind), "w") as f:
                f.write("0")
            self.counters += [(kind, subprocess.Popen([sys.executable, "-c", COUNTER, self.path(kind), kind, self.stop], stdout=subprocess.PIPE)) for _ in range(3)]

    def turn(self):
        self.ended.wait(0.05)
        for kind, p in self.counters:
            if p.poll() is not None:
                raise AssertionError(f"a counter under {kind} ended with {p.returncode}")

    def check(self):
        open(self.stop, "w").close()
        sums = {}
        for kind, p in self.counters:
            out, _ = p.communicate(timeout=120)
            equal("a counter's status", p.returncode, 0)
            sums[kind] = sums.get(kind, 0) + int(out)
        for kind, n in sums.items():
            with open(self.path(kind)) as f:
                equal(f"the count under {kind}", int(f.read()), n)
            if not n:
                raise AssertionError("nothing was counted")


class Unlinked(Work):
    """Open files without a name, from before the first death on, and others that come and go; a directory that was removed while it is somebody's."""

    def prepare(self):
        self.files = []
        for i in range(10):
            fd = os.open(self.path(f"u{i}"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(fd, b"first %d " % i)
            if i % 2:
                os.unlink(self.path(f"u{i}"))
            self.files.append([fd, b"first %d " % i])
        for i in range(0, 10, 2):
            os.unlink(self.path(f"u{i}"))
        fd = os.open(self.top, os.O_TMPFILE | os.O_RDWR, 0o600)
        self.files.append([fd, b""])
        os.mkdir(self.path("gone"))
        self.dir = os.open(self.path("gone"), os.O_RDONLY | os.O_DIRECTORY)
        os.rmdir(self.path("gone"))

    def turn(self):
        one = random.choice(self.files)
        data = os.urandom(random.randrange(1, 9000))
        os.lseek(one[0], 0, os.SEEK_END)
        equal("bytes written", os.write(one[0], data), len(data))
        one[1] += data
        st = os.fstat(one[0])
        equal("links and size", (st.st_nlink, st.st_size), (0, len(one[1])))
        if self.turns % 10 == 9:
            os.posix_fadvise(one[0], 0, 0, os.POSIX_FADV_DONTNEED)
            equal("what was written", os.pread(one[0], len(one[1]) + 1, 0) == one[1], True)
            os.fsync(one[0])
        if len(one[1]) > 200000:
            os.close(one[0])
            one[:] = [os.open(self.top, os.O_TMPFILE | os.O_RDWR, 0o600), b""]
        equal("a removed directory", os.listdir(self.dir), [])

    def check(self):
        for fd, want in self.files:
            equal("a file without a name", os.pread(fd, len(want) + 1, 0) == want, True)
        for fd, _ in self.files:
            os.close(fd)
        os.close(self.dir)
        equal("names", os.listdir(self.top), [])


class Names(Work):
    """Each call must do what it says exactly once: names made with O_EXCL, renamed without replacing, exchanged, linked, removed."""

    def prepare(self):
        self.there = {}
        self.next = 0

    def turn(self):
        step = random.randrange(7)
        some = random.choice(sorted(self.there)) if self.there else None
        new = f"n{self.next}"
        self.next += 1
        if step <= 1:
            fd = os.open(self.path(new), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            os.write(fd, new.encode())
            os.close(fd)
            self.there[new] = new
        elif step == 2:
            os.mkdir(self.path(new))
            self.there[new] = None
        elif step == 3 and some:
            os.rename(self.path(some), self.path(new))
            self.there[new] = self.there.pop(some)
        elif step == 4 and some and self.there[some]:
            os.link(self.path(some), self.path(new))
            self.there[new] = self.there[some]
        elif step == 5 and some:
            os.unlink(self.path(some)) if self.there[some] else os.rmdir(self.path(some))
            del self.there[some]
        elif step == 6 and some and self.there[some]:
            os.setxattr(self.path(some), "user.once", b"1", os.XATTR_CREATE)
            os.removexattr(self.path(some), "user.once")
        if self.turns % 100 == 99:
            self.look()
        if len(self.there) > 300:
            for n, content in self.there.items():
                os.unlink(self.path(n)) if content else os.rmdir(self.path(n))
            self.there = {}

    def look(self):
        equal("names", sorted(os.listdir(self.top)), sorted(self.there))
        for n, content in self.there.items():
            if content:
                with open(self.path(n)) as f:
                    equal("content", f.read(), content)

    check = look


ALL = (Npm, Build, Sqlite, SqliteRollback, Git, Tail, Mapped, Locks, Unlinked, Names)


def can(work):
    """What is missing for it."""
    needs = {"Npm": ("npm", "node"), "Build": ("make", "cc"), "Git": ("git",), "Tail": ("tail",)}
    missing = [n for n in needs.get(work.__name__, ()) if not shutil.which(n)]
    return missing
