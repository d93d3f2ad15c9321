"""Forks that are changed in places of their own and merged: the target must have all of it; a conflict must change nothing; undo goes back. One turn of random changes each."""
import os
import shutil

from daemon_world import Failure

LINES = 60


def text(lines):
    return "".join(f"{line}\n" for line in lines).encode()


def read_tree(top):
    """{path: (mode, content)}; directories have content None."""
    found = {}
    for d, dirs, files in os.walk(top):
        for n in dirs:
            p = os.path.join(d, n)
            found[os.path.relpath(p, top)] = (os.lstat(p).st_mode, None)
        for n in files:
            p = os.path.join(d, n)
            with open(p, "rb") as f:
                found[os.path.relpath(p, top)] = (os.lstat(p).st_mode, f.read())
    return found


def differences(want, got):
    all_paths = sorted(set(want) | set(got))
    return [p for p in all_paths if want.get(p) != got.get(p)][:8]


class MergeTrial:
    def __init__(self, world, rnd, stem):
        self.w, self.rnd, self.stem, self.turns, self.n = world, rnd, stem, 0, 0

    def name(self, what):
        self.n += 1
        return f"{self.stem}-{what}{self.n}"

    def equal(self, what, want, top):
        bad = differences(want, read_tree(top))
        if bad:
            raise Failure(f"merge turn {self.turns}, {what}: differs in {bad}")

    def write(self, path, data):
        with open(path, "wb") as f:
            f.write(data)

    def grow(self, top, count):
        """The first state: directories that belong to one fork each, and a text that all change."""
        self.write(os.path.join(top, "text"), text(f"line {i}" for i in range(LINES)))
        self.write(os.path.join(top, "clash"), b"before\n")
        for d in range(count):
            os.mkdir(os.path.join(top, f"d{d}"))
            for i in range(self.rnd.randrange(2, 9)):
                self.write(os.path.join(top, f"d{d}", f"f{i}"), self.rnd.randbytes(self.rnd.choice((0, 10, 3000, 200000))))

    def change(self, top, mine):
        """Random steps below one directory."""
        d = os.path.join(top, mine)
        for _ in range(self.rnd.randrange(1, 14)):
            names = sorted(os.listdir(d))
            some = os.path.join(d, self.rnd.choice(names)) if names else None
            new = os.path.join(d, f"n{self.rnd.randrange(1000)}")
            step = self.rnd.randrange(7)
            if step <= 1 and not os.path.exists(new):
                self.write(new, self.rnd.randbytes(self.rnd.choice((1, 5000, 150000))))
            elif step == 2 and some and os.path.isfile(some):
                with open(some, "r+b") as f:
                    f.seek(self.rnd.randrange(300000))
                    f.write(self.rnd.randbytes(100))
            elif step == 3 and some:
                shutil.rmtree(some) if os.path.isdir(some) else os.unlink(some)
            elif step == 4 and some and not os.path.exists(new):
                os.rename(some, new)
            elif step == 5 and not os.path.exists(new):
                os.makedirs(os.path.join(new, "deep"))
                self.write(os.path.join(new, "deep", "leaf"), b"leaf\n" * self.rnd.randrange(100))
            elif step == 6 and some and os.path.isfile(some):
                os.chmod(some, self.rnd.choice((0o600, 0o644, 0o755)))

    def line(self, top, at, new):
        path = os.path.join(top, "text")
        with open(path, "rb") as f:
            lines = f.read().decode().split("\n")[:-1]
        lines[at] = new
        self.write(path, text(lines))

    def forks(self, base, count, want):
        """Forks with their changes, and what the target must be when all are merged."""
        made = []
        for i in range(count):
            fork = self.name("fork")
            self.w.run("fork", base, fork, again_ok="in use")
            at = self.w.mount(fork)
            made.append(fork)
            self.change(at, f"d{i}")
            self.line(at, i * 10 + 5, f"changed by {i}")
            for p in [p for p in want if p.startswith(f"d{i}/")]:
                del want[p]
            want.update({p: v for p, v in read_tree(at).items() if p.startswith(f"d{i}/")})
        return made

    def undo(self, base, top, before, merged):
        """Back and forth."""
        for to, other in ((before, merged), (merged, before)):
            if self.w.until(lambda: read_tree(top) == to, "restore", base, "--undo"):
                self.equal("undo", to, top)
                continue
            there = read_tree(top)                     # one try was cut off: another may have undone what it did
            if there != to:
                self.equal("undo that was cut off", other, top)
            return

    def conflict(self, base, top):
        """Both change a line: refused with nothing changed, then decided."""
        fork = self.name("fork")
        self.w.run("fork", base, fork, again_ok="in use")
        at = self.w.mount(fork)
        self.write(os.path.join(at, "clash"), b"theirs\n")
        self.write(os.path.join(at, "more"), b"more\n")
        self.write(os.path.join(top, "clash"), b"ours\n")
        before = read_tree(top)
        self.w.run("merge", fork, "--into", base, codes=(1,))
        self.equal("a conflict", before, top)
        side = self.rnd.choice(("ours", "theirs"))
        want = dict(before)
        want["clash"] = (before["clash"][0], side.encode() + b"\n")
        want["more"] = (os.lstat(os.path.join(at, "more")).st_mode, b"more\n")
        self.w.until(lambda: read_tree(top) == want, "merge", fork, "--into", base, f"--{side}")
        self.equal("a decided conflict", want, top)
        self.forget(fork)

    def copy(self, base, want):
        """Through an archive and back."""
        copy, path = self.name("copy"), os.path.join(self.w.dir, "archive")
        self.w.run("snapshot", base, "for-export", again_ok="in use")
        self.w.run("export", f"{base}@for-export", path)
        self.w.run("import", path, copy, again_ok="in use")
        self.equal("an imported archive", want, self.w.mount(copy))
        self.forget(copy)

    def forget(self, *names):
        for n in names:
            if os.path.ismount(os.path.join(self.w.mnt, n)):
                self.w.umount(n)
            self.w.run("rm", n, "--with-snapshots", again_ok="no workspace")

    def turn(self):
        self.turns += 1
        base, count = self.name("base"), self.rnd.randrange(1, 5)
        self.w.run("create", base, "--bare", again_ok="in use")
        top = self.w.mount(base)
        self.grow(top, count)
        before = read_tree(top)
        want = dict(before)
        made = self.forks(base, count, want)
        lines = [f"line {i}" for i in range(LINES)]
        for i in range(count):
            lines[i * 10 + 5] = f"changed by {i}"
        want["text"] = (before["text"][0], text(lines))
        whole = self.w.until(lambda: read_tree(top) == want, "merge", *made, "--into", base)
        self.equal("the merge", want, top)
        if whole:
            self.undo(base, top, before, want)
        if self.rnd.random() < 0.5:
            self.conflict(base, top)
        elif self.rnd.random() < 0.3:
            self.copy(base, read_tree(top))
        self.forget(*made, base)
