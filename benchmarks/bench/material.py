"""What the workloads work on, made once per run from a fixed seed: the same bytes on every machine."""
import io
import os
import random
import shutil
import tarfile

from .machine import Failed, run

WORDS = [w.encode() for w in ("return int static const struct function export import module value length index error buffer state "
                              "node tree layer chunk if else for while null true false new this self the of and to in is that it").split()]


def text(rng, size):
    """Source-like bytes: compressible about as code is, and different in every file."""
    out = bytearray()
    while len(out) < size:
        out += b" ".join(rng.choices(WORDS, k=12)) + b" %x;\n" % rng.getrandbits(48)
    return bytes(out[:size])


def file_size(rng):
    """Like a node_modules tree: median about 1.6 KB, mean about 7 KB, seldom up to 500 KB."""
    return min(500_000, int(rng.lognormvariate(7.4, 1.7)))


def tree_tar(path, files):
    """A tar of `files` small files in directories of about nine, some symlinks and executable files."""
    rng = random.Random(20260101)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        dirs = []
        for i in range(max(1, files // 9)):
            parent = rng.choice(dirs) if dirs and rng.random() < 0.7 else "tree"
            if parent.count("/") > 8:
                parent = "tree"
            name = "%s/d%d" % (parent, i)
            dirs.append(name)
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, 1_700_000_000 + i
            tar.addfile(info)
        for i in range(files):
            info = tarfile.TarInfo("%s/file_%d.js" % (rng.choice(dirs), i))
            info.mode, info.mtime = (0o755 if i % 50 == 0 else 0o644), 1_700_000_000 + i
            body = text(rng, file_size(rng))
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
            if i % 600 == 0:
                link = tarfile.TarInfo("%s/link_%d" % (rng.choice(dirs), i))
                link.type, link.linkname, link.mtime = tarfile.SYMTYPE, "../file_%d.js" % i, 1_700_000_000
                tar.addfile(link)


def repository(path, tar, parts=20):
    """A packed git repository of the tree, in `parts` commits."""
    os.makedirs(path)
    git = ("git", "-C", path, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0")
    run(*git, "init", "-q", "-b", "main")
    run("tar", "-xf", tar, "-C", path)
    top = sorted(os.listdir(os.path.join(path, "tree")))
    step = max(1, len(top) // parts)
    for i in range(0, len(top), step):
        run(*git, "add", *["tree/" + n for n in top[i:i + step]])
        run(*git, "commit", "-q", "-m", "part %d" % i)
    run(*git, "repack", "-a", "-d", "-q")
    for name in os.listdir(path):
        if name != ".git":
            shutil.rmtree(os.path.join(path, name))


def project(path, units):
    """A C project of `units` files with a build.ninja: the compiler does real work on many small reads and writes."""
    os.makedirs(path)
    rng = random.Random(7)
    with open(os.path.join(path, "common.h"), "w", encoding="ascii") as f:
        f.write("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/stat.h>\n#include <pthread.h>\n")
        f.writelines("int unit_%d(int x);\n" % i for i in range(units))
    for i in range(units):
        with open(os.path.join(path, "unit%d.c" % i), "w", encoding="ascii") as f:
            f.write('#include "common.h"\n')
            for j in range(40):
                f.write("static int f%d(int x) { for (int i = 0; i < %d; i++) x = x * %d + i; return x; }\n" % (j, rng.randint(2, 99), rng.randint(3, 999)))
            f.write("int unit_%d(int x) { return %s; }\n" % (i, " + ".join("f%d(x)" % j for j in range(40))))
    with open(os.path.join(path, "main.c"), "w", encoding="ascii") as f:
        f.write('#include "common.h"\nint main(void) { int x = 1; %s printf("%%d\\n", x); return 0; }\n' %
                " ".join("x += unit_%d(x);" % i for i in range(units)))
    with open(os.path.join(path, "build.ninja"), "w", encoding="ascii") as f:
        f.write("rule cc\n command = cc -g -O1 -MMD -MF $out.d -c $in -o $out\n depfile = $out.d\n deps = gcc\n"
                "rule link\n command = cc $in -o $out\n")
        objects = []
        for name in ["unit%d" % i for i in range(units)] + ["main"]:
            f.write("build %s.o: cc %s.c\n" % (name, name))
            objects.append(name + ".o")
        f.write("build program: link %s\ndefault program\n" % " ".join(objects))


NPM_PACKAGES = {"webpack": "^5.90.0", "eslint": "^8.57.0", "typescript": "^5.4.0", "vite": "^5.2.0", "jest": "^29.7.0"}


def npm_project(path, cache):
    """A package.json, and a cache that holds all it needs. The registry is asked once; then never again."""
    import json
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "package.json"), "w", encoding="ascii") as f:
        json.dump({"name": "bench", "version": "1.0.0", "private": True, "dependencies": NPM_PACKAGES}, f)
    npm_install(path, cache, offline=False)
    if not os.path.exists(os.path.join(path, "node_modules", "webpack")):
        raise Failed("npm install left no node_modules/webpack")
    shutil.rmtree(os.path.join(path, "node_modules"))
    # Resolved again from the cached answers each time: lock files of some registry mirrors do not match what the cache holds.
    os.unlink(os.path.join(path, "package-lock.json"))


def npm_install(path, cache, offline=True):
    run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", cache, *(["--offline"] if offline else ["--prefer-offline"]), cwd=path)
