#!/usr/bin/env python3
"""watch_model.py COPPICE-WATCH [SEED]: random operations on a tree while it is watched; the tree that a client rebuilds from the events must be the one that is there. Then fixed
cases: exact sequences, new directories, moves, patterns, limits, hostile names."""
import ctypes
import os
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from watch_feed import Helper, Tree  # noqa: E402

program = sys.argv[1]
chosen = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("COPPICE_SEED") or "1795231922000"      # as tests/lib/seed.h: always the same, unless asked for
seed = random.randrange(1 << 30) if chosen == "random" else int(chosen, 0)
rnd = random.Random(seed)
failed = 0


def fail(text):
    global failed
    failed += 1
    print("FAILED:", text, flush=True)


def ready(h):
    e = h.next()
    assert e["event"] == "ready", e
    return e


class Place:
    def __init__(self, **kw):
        self.top = tempfile.mkdtemp(prefix="coppice-watch-", dir="/tmp")
        self.out = tempfile.mkdtemp(prefix="coppice-out-", dir="/tmp")
        self.kw = kw

    def watch(self, path=None, **kw):
        self.h = Helper(program, path or self.top, **{**self.kw, **kw})
        ready(self.h)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.h.close()
        shutil.rmtree(self.top, ignore_errors=True)
        shutil.rmtree(self.out, ignore_errors=True)

    def p(self, name):
        return os.path.join(self.top, name)

    def events(self):
        """What came, in short: "create a/b/"; with a mark at the end that the test makes itself."""
        open(self.p(".mark"), "w").close()
        got = self.h.until_path(self.p(".mark"))
        self.h.until(lambda e: e.get("type") == "close_write" and e["path"] == self.p(".mark"))
        os.unlink(self.p(".mark"))
        self.h.until(lambda e: e.get("type") == "delete" and e["path"] == self.p(".mark"))
        return [self.short(e) for e in got]

    def short(self, e):
        if e["event"] != "event":
            return f'{e["event"]} {e.get("reason")}'
        rel = [os.path.relpath(e[k], self.top) for k in ("path", "to") if k in e]
        return e["type"] + " " + " -> ".join(rel) + ("/" if e["is_dir"] else "")

    def expect(self, what, want):
        got = self.events()
        if got != want:
            fail(f"{what}:\n  got  {got}\n  want {want}")
        else:
            print("ok:", what, flush=True)


def write(path, text="x"):
    with open(path, "w") as f:
        f.write(text)


# --- the model ---
def random_step(top, out, dirs):
    here = [d for d, _, _ in os.walk(top)]
    d = rnd.choice(here)
    name = rnd.choice("abcdefgh")
    path = os.path.join(d, name)
    entries = [os.path.join(x, n) for x, ds, fs in os.walk(top) for n in ds + fs]
    some = rnd.choice(entries) if entries else None
    op = rnd.randrange(12)
    try:
        if op <= 2:
            write(path)
        elif op <= 4:
            os.mkdir(path)
        elif op == 5:
            os.makedirs(os.path.join(path, rnd.choice("abc"), rnd.choice("abc")))
            write(os.path.join(path, "deep"))
        elif op == 6 and some:
            shutil.rmtree(some) if os.path.isdir(some) else os.unlink(some)
        elif op == 7 and some:
            os.rename(some, path)
        elif op == 8 and some:
            os.rename(some, os.path.join(out, str(rnd.randrange(1000))))
        elif op == 9:
            inside = os.listdir(out)
            if inside:
                os.rename(os.path.join(out, rnd.choice(inside)), path)
        elif op == 10 and some:
            os.rename(some, path + "2")
        elif op == 11 and some and not os.path.isdir(some):
            os.link(some, path)
    except OSError:
        pass


def model(steps, pause):
    with Place() as w:
        for _ in range(30):
            random_step(w.top, w.out, 0)
        tree = Tree(w.top)
        w.watch()
        for _ in range(steps):
            random_step(w.top, w.out, 0)
            if pause and rnd.random() < 0.2:
                time.sleep(rnd.random() * 0.03)          # so that steps fall on both sides of looks and waits; nothing is asserted about time
        mark = w.p("zz-mark")
        write(mark)
        got = w.h.until(lambda e: e.get("type") == "close_write" and e["path"] == mark)
        over = [e for e in got if e["event"] == "overflow"]
        for e in got:
            if e["event"] == "event":
                tree.apply(e)
        truth = Tree(w.top)
        if over:
            print(f"  (overflow told: {over[0]['reason']})")
        elif tree.there != truth.there:
            a, b = set(tree.there.items()), set(truth.there.items())
            fail(f"model seed {seed}: believed and not there {sorted(a - b)[:5]}, there and not believed {sorted(b - a)[:5]}; last events {[w.short(e) for e in got[-15:]]}")
        else:
            print(f"ok: model, {steps} steps, {len(got)} events, {len(truth.there)} names", flush=True)


# --- exact sequences ---
def sequences():
    with Place().watch() as w:
        write(w.p("f"))
        w.expect("a new file", ["create f", "modify f", "close_write f"])
        with open(w.p("f"), "a") as f:
            for _ in range(50):
                f.write("y")
                f.flush()
        w.expect("fifty writes are one", ["modify f", "close_write f"])
        os.rename(w.p("f"), w.p("g"))
        w.expect("a rename", ["move f -> g"])
        os.chmod(w.p("g"), 0o600)
        w.expect("a mode", ["attrib g"])
        os.mkdir(w.p("d"))
        w.expect("a new directory", ["create d/"])
        os.rename(w.p("g"), w.p("d/g"))
        w.expect("into another directory", ["move g -> d/g"])
        os.rename(w.p("d"), w.p("e"))
        write(w.p("e/h"))
        w.expect("a renamed directory keeps its watch", ["move d -> e/", "create e/h", "modify e/h", "close_write e/h"])
        os.rename(w.p("e"), os.path.join(w.out, "e"))
        w.expect("out of the tree", ["delete e/"])
        write(os.path.join(w.out, "e", "late"))
        os.makedirs(os.path.join(w.out, "e", "s"))
        write(os.path.join(w.out, "e", "s", "t"))
        os.rename(os.path.join(w.out, "e"), w.p("in"))
        got = w.events()
        want = {"create in/", "create in/g", "create in/h", "create in/late", "create in/s/", "create in/s/t"}
        if set(got) != want or len(got) != 6 or got[0] != "create in/" or got.index("create in/s/") > got.index("create in/s/t"):
            fail(f"into the tree: {got}")
        else:
            print("ok: into the tree, with all that is in it")
        shutil.rmtree(w.p("in"))
        got = w.events()
        if sorted(got) != sorted(x.replace("create", "delete") for x in want) or got[-1] != "delete in/":
            fail(f"rm -rf: {got}")
        else:
            print("ok: rm -rf")
        write(w.p("doc"), "1")
        w.events()
        write(w.p("doc"), "2")
        w.expect("an editor that writes in place", ["modify doc", "close_write doc"])
        write(w.p(".doc.tmp"), "3")
        os.rename(w.p(".doc.tmp"), w.p("doc"))
        w.expect("an editor that renames over", ["create .doc.tmp", "modify .doc.tmp", "close_write .doc.tmp", "move .doc.tmp -> doc"])
        os.rename(w.p("doc"), w.p("doc~"))
        write(w.p("doc"), "4")
        os.unlink(w.p("doc~"))
        w.expect("an editor with a backup", ["move doc -> doc~", "create doc", "modify doc", "close_write doc", "delete doc~"])
        os.symlink("doc", w.p("l"))
        os.link(w.p("doc"), w.p("hard"))
        w.expect("links", ["create l", "create hard"])
        bad = os.fsencode(w.top) + b"/\xff\x1b]0;x\x07\n"
        open(bad, "wb").close()
        w.expect("any bytes in a name", [t + os.fsdecode(b" \xff\x1b]0;x\x07\n") for t in ("create", "close_write")])


def new_directories():
    doubled = 0
    for _ in range(12):
        with Place().watch() as w:
            os.makedirs(w.p("a/b/c"))
            for i in range(20):
                write(w.p(f"a/b/c/f{i}"))
                write(w.p(f"a/g{i}"))
            got = w.events()
            files = [f"{x}{i}" for i in range(20) for x in ("a/b/c/f", "a/g")]
            created = ["create a/", "create a/b/", "create a/b/c/"] + ["create " + f for f in files]
            if sorted(x for x in got if x.startswith("create")) != sorted(created):
                fail(f"files in new directories: missing {[x for x in created if x not in got]}, doubled {[x for x in created if got.count(x) > 1]}")
                return
            for x in created[1:]:
                path = x.rstrip("/")[7:]
                if got.index(f"create {os.path.dirname(path)}/") > got.index(x):
                    fail(f"{x} before its directory: {got}")
                    return
            for f in files:                       # found between its write and its close a file is told as written once more, or its modify is what the look saw: the close says so
                of = [x.split(" ")[0] for x in got if x.split(" ")[1] == f]
                if of[0] != "create" or of[-1] != "close_write":
                    fail(f"{f}: {of}")
                    return
            doubled += len(got) - 3 - 3 * len(files)
    print(f"ok: nothing lost or doubled in directories that are made meanwhile (12 times, 516 names; {doubled} writes told twice)")


def patterns():
    with Place() as w:
        os.makedirs(w.p("node_modules/x"))
        os.makedirs(w.p("src/deep/er"))
        w.watch(exclude=["node_modules", "*.log", "/src/deep/**"], include=["**/*.py", "*.js", "src/*"])
        for n in ("node_modules/a.py", "node_modules/x/b.py", "src/c.py", "src/deep/d.py", "top.js", "top.c", "src/e.log"):
            write(w.p(n), "")
        os.rename(w.p("top.c"), w.p("top.py"))
        os.rename(w.p("top.py"), w.p("top.log"))
        os.rename(w.p("node_modules"), w.p("src/nm"))
        got = [x for x in w.h.until(lambda e: e.get("path") == w.p("src/nm/x/b.py"))]
        got = [w.short(e) for e in got]
        rest = got[got.index("create src/nm/"):]
        want = ["create src/c.py", "close_write src/c.py", "create top.js", "close_write top.js", "create top.py", "delete top.py", "create src/nm/"]
        if got[:len(want)] != want or sorted(rest) != ["create src/nm/", "create src/nm/a.py", "create src/nm/x/b.py"]:
            fail(f"patterns: {got}")
        else:
            print("ok: include and exclude")
        w.top, top = w.top, w.top


def watched_file():
    with Place() as w:
        write(w.p("f"))
        w.watch(path=w.p("f"))
        write(w.p("other"))
        write(w.p("f.new"))
        os.rename(w.p("f.new"), w.p("f"))
        write(w.p("f"), "again")
        os.unlink(w.p("f"))
        got = [w.short(e) for e in w.h.until(lambda e: e.get("type") == "delete")]
        if got != ["create f", "modify f", "close_write f", "delete f"]:
            fail(f"a watched file: {got}")
        else:
            print("ok: a file is watched over its replacement")


def ends():
    with Place() as w:
        w.watch()
        os.rename(w.top, w.top + "-gone")
        e = w.h.next()
        os.rename(w.top + "-gone", w.top)
        if e["event"] != "end" or e["reason"] != "not_found":
            fail(f"the watched directory is moved: {e}")
    with Place() as w:
        w.watch()
        shutil.rmtree(w.top)
        e = w.h.next()
        if e["event"] != "end" or e["reason"] != "not_found":
            fail(f"the watched directory is deleted: {e}")
        else:
            print("ok: ends with a reason")
    h = Helper(program, "/nowhere/at/all")
    e = h.next()
    h.close()
    if (e["event"], e["reason"]) != ("end", "not_found"):
        fail(f"no such directory: {e}")


def flat():
    with Place() as w:
        os.mkdir(w.p("d"))
        w.watch(recursive=False)
        write(w.p("d/x"))
        os.mkdir(w.p("d2"))
        write(w.p("d2/x"))
        write(w.p("f"), "")
        w.expect("not recursive", ["create d2/", "create f", "close_write f"])


def flood():
    """A client that does not read: memory stays bounded and the loss is told, in its place, and afterwards everything comes again."""
    with Place() as w:
        w.h = h = Helper(program, w.top, read=False)
        libc = ctypes.CDLL(None)
        assert h.sock.recv(1 << 16)[4] == 1           # ready
        peak = 0
        for i in range(100000):
            path = os.fsencode(w.p(f"f{i % 100}"))
            fd = libc.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            libc.close(fd)
            if i % 100 == 99:
                for k in range(100):
                    libc.unlink(os.fsencode(w.p(f"f{k}")))
            if i % 20000 == 0:
                with open(f"/proc/{h.proc.pid}/statm") as f:
                    peak = max(peak, int(f.read().split()[1]) * 4)
        h.reader.start()
        write(w.p("end"))
        deadline, got, mark = time.monotonic() + 60, [], 0
        while time.monotonic() < deadline:
            e = h.next(60)
            got.append(e)
            if e["event"] == "overflow":
                mark += 1
                write(w.p(f"after{mark}"))
            if mark and e.get("path") == w.p(f"after{mark}") and e["type"] == "close_write":
                break
        over = [e for e in got if e["event"] == "overflow"]
        if not over or got[-1].get("path") != w.p(f"after{mark}") or peak > 120 * 1024:
            fail(f"flood: overflows {over[:3]}, last {got[-1]}, peak {peak} KiB")
        else:
            print(f"ok: a flood of 300,000 changes without a reader: {len(got)} events, overflow {over[0]['reason']}, peak {peak} KiB")


def many():
    """100,000 files, with a reader: each is told once, or an overflow is."""
    with Place().watch() as w:
        for d in range(100):
            os.mkdir(w.p(f"d{d}"))
            for i in range(1000):
                os.close(os.open(w.p(f"d{d}/f{i}"), os.O_WRONLY | os.O_CREAT, 0o644))
        write(w.p("mark"))
        got = w.h.until(lambda e: e.get("path") == w.p("mark") and e["type"] == "close_write", 120)
        over = [e for e in got if e["event"] == "overflow"]
        made = [e["path"] for e in got if e.get("type") == "create"]
        if not over and (len(made) != 100101 or len(set(made)) != 100101):
            fail(f"100,000 files: {len(made)} creations, {len(set(made))} different")
        else:
            print(f"ok: 100,000 files: {len(set(made))} told, {len(over)} overflows")


def again():
    """What inotify does not see (a restore): sandboxd says so, the tree is looked at again, then everything comes."""
    with Place().watch() as w:
        w.h.again("restored")
        e = w.h.next()
        os.mkdir(w.p("n"))
        write(w.p("n/f"))
        got = w.events()
        if (e["event"], e.get("reason")) != ("overflow", "restored") or [x for x in got if x != "modify n/f"] != ["create n/", "create n/f", "close_write n/f"]:
            fail(f"again: {e} {got}")
        else:
            print("ok: looked at again")


def models():
    model(400, True)
    model(400, False)
    model(1200, False)


print(f"seed {seed}", flush=True)
only = os.environ.get("ONLY")
cases = [sequences, new_directories, patterns, watched_file, ends, flat, again, models, many, flood]
for case in ([globals()[only]] if only else cases):
    case()
print("failed:", failed)
sys.exit(failed > 0)
