#!/usr/bin/env python3
"""outlive.py BUILD [SECONDS [MEAN]]: programs work in mounts of their own while the daemon is killed again and again, every MEAN seconds or so: each must end right. Then the same mounts
through an upgrade (SIGTERM), and an end in order. Says lines "ok ..." and "not ok ..."; how long programs had to wait is told, not judged."""
import os
import random
import signal
import subprocess
import sys
import time

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "soak")]
import outlive_work  # noqa: E402
from daemon_world import Failure, Killer, Pulse, World, choose_seed  # noqa: E402

failed = 0


def said(right, what, why=""):
    global failed
    failed += not right
    print(f"ok {what}" if right else f"not ok {what}: {why}", flush=True)


def start_works(world):
    works = []
    for kind in outlive_work.ALL:
        missing = outlive_work.can(kind)
        if missing:
            print(f"ok # SKIP {kind.__name__}: there is no {' and no '.join(missing)}")
            continue
        name = kind.__name__.lower()
        world.run("create", name, "--bare")
        works.append(kind(world.mount(name), world.dir))
    return works


def end_works(works, what):
    for w in works:
        w.ended.set()
    for w in works:
        w.join(240)
        said(not w.is_alive() and not w.failure and w.turns, f"{w.name}: {what}", w.failure or ("it hangs" if w.is_alive() else f"{w.turns} turns"))
    print("# turns: " + ", ".join(f"{w.name} {w.turns}" for w in works), flush=True)


def pauses(killer, pulse):
    p = pulse.pauses(killer.at)
    if p:
        print(f"# {killer.kills} deaths; the longest turn of a program around each: median {p[len(p) // 2] * 1000:.0f} ms, longest {p[-1] * 1000:.0f} ms", flush=True)


def snapshots(world, works, rnd):
    """States are taken meanwhile too, and given names, so that each can be looked at."""
    taken = []
    for i, w in enumerate(works):
        if rnd.random() < 0.5:
            world.run("snapshot", w.name.lower(), f"during{i}", again_ok="in use")
            taken.append(f"{w.name.lower()}@during{i}")
    return taken


def verify_store(world, taken):
    for t in taken:
        at = world.mount(t)
        subprocess.run(["tar", "-cf", "/dev/null", "-C", at, "."], check=True, capture_output=True)
        world.umount(t)
    world.run("fsck")
    world.run("scrub")


def kills(world, seconds, mean, rnd):
    world.run("create", "pulse", "--bare")
    pulse = Pulse(world.mount("pulse"))
    if not world.outlives("pulse"):
        print("1..0 # SKIP mounts do not outlive the daemon on this kernel (coppice doctor says why)")
        sys.exit(77)
    works = start_works(world)
    killer = Killer(world, rnd, mean)
    for t in [pulse, killer] + works:
        t.start()
    end, taken = time.monotonic() + seconds, []
    while time.monotonic() < end and not killer.ended.is_set():
        time.sleep(0.1)
        if not taken and time.monotonic() > end - seconds / 2:
            taken = snapshots(world, works, rnd)
    killer.ended.set()
    killer.join(60)
    said(not killer.failure and killer.kills > 1, f"the daemon is killed {killer.kills} times and comes back by itself", killer.failure)
    end_works(works, "right in spite of kill -9 of the daemon")
    pulse.ended.set()
    pulse.join(60)
    said(not pulse.failure and not pulse.is_alive(), f"{pulse.turns} files made and removed meanwhile", pulse.failure)
    pauses(killer, pulse)
    verify_store(world, taken)
    said(True, f"fsck, scrub, {len(taken)} snapshots taken meanwhile can be read")


def upgrades(world, rnd):
    """SIGTERM to the daemon itself: the files on disk now are what runs next. The mounts stay."""
    fd = os.open(os.path.join(world.mnt, "pulse", "kept"), os.O_RDWR | os.O_CREAT, 0o600)
    killer = Killer(world, rnd, 0.2, most=3, how=(signal.SIGTERM,))
    pulse = Pulse(os.path.join(world.mnt, "pulse"))
    pulse.start()
    killer.start()
    killer.join(120)
    said(not killer.is_alive() and not killer.failure and killer.kills == 3, "SIGTERM to the daemon: another takes its mounts over, three times", killer.failure)
    pulse.ended.set()
    pulse.join(60)
    said(not pulse.failure and not pulse.is_alive() and pulse.turns, "and the programs go on", pulse.failure)
    pauses(killer, pulse)
    os.write(fd, b"kept")
    os.fsync(fd)
    said(os.pread(fd, 10, 0) == b"kept", "an open file stays open")
    os.close(fd)


def the_end(world):
    """In order: everything is stored, nothing runs on."""
    with open(os.path.join(world.mnt, "pulse", "last"), "w") as f:
        f.write("stored")
    world.stop()
    said(world.daemon.returncode == 0, "coppice down ends the daemon and its holder", f"status {world.daemon.returncode}")
    left = [line for line in open("/proc/self/mountinfo") if f" {world.mnt}/" in line]
    said(not left, "and takes the mounts away", left)
    world.start()
    with open(os.path.join(world.mount("pulse"), "last")) as f:
        said(f.read() == "stored", "and what was written is there at the next start")


def main():
    if os.geteuid() or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        print("1..0 # SKIP needs root and /dev/fuse")
        sys.exit(77)
    build, seconds, mean = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 10, float(sys.argv[3]) if len(sys.argv) > 3 else 0.4
    seed = choose_seed(None)
    print(f"# {seconds} s, COPPICE_SEED={seed}")
    rnd = random.Random(seed)
    world = World(build, "outlive")
    try:
        kills(world, seconds, mean, rnd)
        upgrades(world, rnd)
        the_end(world)
    except (Failure, OSError, subprocess.SubprocessError) as e:
        said(False, "the test itself", f"{type(e).__name__}: {e}")
    finally:
        world.close(keep=bool(failed) and bool(os.environ.get("KEEP")))
    sys.exit(bool(failed))


main()
