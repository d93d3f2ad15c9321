"""The goals of the project's issue, as steps that any file system can be asked to do: name, what is to be done before, what is measured.

A round does all of them in one directory, in this order, so later steps find what earlier ones left (the tree, the clone, node_modules)."""
import glob
import os
import random
import shutil
import time

from . import workloads
from .machine import Failed, drop_caches, run
from .material import npm_install

# Step: (goal over io_uring, the zero-work prototype's figure over io_uring, the same over the classic transport with 4 threads or None).
# Times / ext4 in the same run, but for fsync, which is microseconds above ext4's.
TARGETS = {
    "untar": (2.9, 2.5, 6.6), "git clone": (2.3, 2.0, None), "git status warm": (1.2, 1.1, None), "git status cold": (2.2, 1.9, None),
    "walk cold": (1.2, 1.0, 1.8), "walk warm": (2.0, 1.8, 3.8), "grep second": (2.3, 2.1, 3.3), "npm install offline": (1.2, 1.14, 1.2),
    "compile": (1.05, 1.0, None), "rm -rf": (1.6, 1.3, 1.9), "python start": (1.1, 1.0, None), "node start": (1.1, 1.0, None),
    "appends": (1.5, 1.3, 1.1), "random 4 KiB writes": (1.4, None, None), "fsync": (40, None, None),
}
CLASSIC_SLACK = 1.15
FSYNCS, APPENDS, RANDOM_MIB = 200, 100_000, 64
MODULES = ("asyncio concurrent.futures ctypes curses dbm decimal difflib distutils doctest email.mime.multipart ensurepip fractions ftplib html.parser "
           "http.client http.cookiejar http.server idlelib imaplib importlib.metadata json.tool lib2to3.pytree logging.config mailbox multiprocessing.pool "
           "optparse pdb pickletools plistlib profile pydoc sqlite3 statistics tarfile tempfile tkinter turtle typing unittest.mock urllib.request "
           "venv wsgiref.simple_server xml.dom.minidom xml.etree.ElementTree xmlrpc.client zipapp zipfile").split()


class Steps:
    """All steps in one directory. m: the inputs (benchmarks/goals)."""

    def __init__(self, path, m):
        self.path, self.m = path, m
        self.tree, self.clone, self.npm, self.project = (os.path.join(path, n) for n in ("tree", "clone", "npm", "project"))

    def all(self):
        """(name, before or None, what is measured). A step without a target is what another one needs."""
        yield from ((("untar"), None, lambda: run("tar", "-xf", self.m.tar, "-C", self.path)), ("walk cold", drop_caches, self.walk), ("walk warm", None, self.walk),
                    ("grep first", drop_caches, self.grep), ("grep second", None, self.grep), ("rm -rf", None, lambda: run("rm", "-rf", self.tree)))
        yield from (("git clone", None, lambda: run("git", "clone", "-q", "--no-hardlinks", self.m.repository, self.clone)),
                    ("git status cold", self.calm_index, self.status), ("git status warm", None, self.status))
        if self.m.npm:
            yield from (("npm install offline", lambda: shutil.copytree(self.m.npm, self.npm), lambda: npm_install(self.npm, self.m.npm_cache)),
                        ("node start", self.node, self.node))
        yield "python start", self.python_copy, self.python
        if self.m.project:
            yield "compile", lambda: shutil.copytree(self.m.project, self.project), lambda: run("ninja", "-C", self.project)
        yield "appends", None, lambda: workloads.appends(os.path.join(self.path, "log"), APPENDS)
        yield "random 4 KiB writes", self.big_file, self.random_writes
        yield "fsync", self.fsync_file, self.fsyncs

    def walk(self):
        run("find", self.tree, "-size", "+1000000000k")

    def grep(self):
        workloads.run_grep(("grep", "-rc", "--include=*", "zzz_not_there", self.tree))

    def calm_index(self):
        """git compares whole seconds: an index of the same second as the files would be "racy", and every status would read all files again."""
        time.sleep(1.1)
        run("git", "-C", self.clone, "status", "--short")
        run("git", "-C", self.clone, "update-index", "--force-write-index")
        drop_caches()

    def status(self):
        run("git", "-C", self.clone, "status", "--short")

    def node(self):
        names = ("webpack", "typescript", "eslint", "vite", "jest", "acorn", "terser", "rollup", "postcss", "@babel/core", "semver")
        run("node", "-e", "for (const n of %r) { try { require(n) } catch (e) {} }" % (list(names),), cwd=self.npm)

    def python_copy(self):
        """The interpreter's library in here; read once, as it would be."""
        lib = max(glob.glob("/usr/lib/python3.[0-9]*"), key=len, default=None)
        if not lib:
            raise Failed("no /usr/lib/python3.N")
        shutil.copytree(lib, os.path.join(self.path, "py", "lib", os.path.basename(lib)), symlinks=True,
                        ignore=shutil.ignore_patterns("config-*", "test", "EXTERNALLY-MANAGED"))
        self.python()

    def python(self):
        code = "import importlib\nfor n in %r:\n    try: importlib.import_module(n)\n    except Exception: pass" % (MODULES,)
        run("/usr/bin/python3", "-c", code, env={"PYTHONHOME": os.path.join(self.path, "py"), "PYTHONDONTWRITEBYTECODE": ""})

    def big_file(self):
        rng = random.Random(9)
        with open(os.path.join(self.path, "big"), "wb") as f:
            for _ in range(RANDOM_MIB):
                f.write(rng.randbytes(1 << 20))

    def random_writes(self):
        rng = random.Random(5)
        block = rng.randbytes(4096)
        fd = os.open(os.path.join(self.path, "big"), os.O_WRONLY)
        for _ in range(RANDOM_MIB * 128):
            os.pwrite(fd, block, rng.randrange(RANDOM_MIB * 256) * 4096)
        os.close(fd)

    def fsync_file(self):
        with open(os.path.join(self.path, "synced"), "wb") as f:
            f.write(random.Random(3).randbytes(1 << 20))
            f.flush()
        os.sync()                             # what was written before is not this step's

    def fsyncs(self):
        rng = random.Random(4)
        block = rng.randbytes(4096)
        fd = os.open(os.path.join(self.path, "synced"), os.O_WRONLY)
        for _ in range(FSYNCS):
            os.pwrite(fd, block, rng.randrange(256) * 4096)
            os.fsync(fd)
        os.close(fd)
