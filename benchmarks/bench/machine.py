"""The machine: what it is, its caches, running commands, and numbers made of repeated times."""
import os
import platform
import statistics
import subprocess
import time


class Failed(Exception):
    """A command or a peer could not do its part; the text says which and why."""


def run(*argv, cwd=None, env=None, stdin=None, timeout=3600, quiet=True):
    """Runs a command to its end; its standard output as text. Failed with its standard error otherwise."""
    full = dict(os.environ, LC_ALL="C", **(env or {}))
    try:
        done = subprocess.run(argv, cwd=cwd, env=full, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE if quiet else None,
                              stderr=subprocess.PIPE, timeout=timeout, check=False)
    except FileNotFoundError as e:
        raise Failed("%s: not installed" % argv[0]) from e
    except subprocess.TimeoutExpired as e:
        raise Failed("%s: not done after %d s" % (" ".join(argv[:4]), timeout)) from e
    if done.returncode != 0:
        text = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Failed("%s: exit status %d: %s" % (" ".join(argv[:4]), done.returncode, text[-1] if text else "no message"))
    return done.stdout.decode("utf-8", "replace") if quiet else ""


def timed(fn, *args, **kwargs):
    """Seconds that a call took."""
    start = time.perf_counter()
    fn(*args, **kwargs)
    return time.perf_counter() - start


def drop_caches():
    """Writes back what is dirty and forgets page cache, names and inodes."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3\n")


def summary(values):
    """Median, least, greatest and count of a list of numbers."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def describe():
    """What a reader must know to judge the numbers."""
    model = "?"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as f:
        memory_kib = int(f.readline().split()[1])
    uring = "/sys/module/fuse/parameters/enable_uring"
    return {
        "host": platform.node(), "kernel": platform.release(), "cpu": model, "cpus": os.cpu_count(), "memory_mib": memory_kib // 1024,
        "load_before": os.getloadavg()[0], "fuse_enable_uring": open(uring, encoding="ascii").read().strip() if os.path.exists(uring) else "absent",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def proc_status(pid):
    """VmRSS (KiB), Threads and descriptors of a process."""
    out = {}
    with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as f:
        for line in f:
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM", "Threads"):
                out[name] = int(value.split()[0])
    out["fds"] = len(os.listdir("/proc/%d/fd" % pid))
    return out


def disk_bytes(path):
    """Bytes that a tree really takes on its disk."""
    return int(run("du", "-s", "--block-size=1", path).split()[0])
