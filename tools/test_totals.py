#!/usr/bin/env python3
"""Counts tests in a meson test log: single cmocka tests where a program prints cmocka's totals, the program's own closing line
"N passed, N failed, N skipped" where it prints one, and one test per program otherwise.
Usage: test_totals.py TESTLOG.json [--label TEXT | --numbers]
--numbers prints passed, failed, skipped, and how many of the skipped are tests of mounts by io_uring that say that this machine has none: a kernel without
it is no reason to fail, and they are the tests that the other transport has passed."""
import json
import re
import sys

NO_URING = re.compile(r"no FUSE over io_uring|io_uring is forbidden|io_uring does not work|no io_uring")
OWN = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
CMOCKA = {k: re.compile(r"^\[\s*%s\s*\] (\d+) test\(s\)" % k, re.M) for k in ("PASSED", "FAILED", "SKIPPED")}


def count(entry):
    """(passed, failed, skipped) of one test program."""
    text = entry.get("stdout", "") + "\n" + entry.get("stderr", "")
    own = OWN.findall(text)
    if CMOCKA["PASSED"].search(text) or CMOCKA["FAILED"].search(text):
        passed, failed, skipped = (sum(map(int, CMOCKA[k].findall(text))) for k in ("PASSED", "FAILED", "SKIPPED"))
    elif own:
        passed, failed, skipped = map(int, own[-1])
    else:
        passed, failed, skipped = 0, 0, 0
    if entry["result"] in ("OK", "EXPECTEDFAIL"):
        if passed + failed + skipped == 0:
            passed = 1
    elif entry["result"] == "SKIP":
        skipped = max(skipped, 1)
    elif failed == 0:
        failed = 1                      # it crashed or timed out before it could say so
    return passed, failed, skipped


def known(entry, skipped):
    """How many of its skips are for want of io_uring."""
    text = entry.get("stdout", "") + "\n" + entry.get("stderr", "")
    return skipped if "uring" in entry["name"] and NO_URING.search(text) else 0


def main():
    path, args = sys.argv[1], sys.argv[2:]
    with open(path, encoding="utf-8", errors="replace") as f:
        entries = [json.loads(line) for line in f if line.strip()]
    total, for_uring = [0, 0, 0], 0
    rows = []
    for e in entries:
        c = count(e)
        total = [a + b for a, b in zip(total, c)]
        for_uring += known(e, c[2])
        rows.append((e["name"], c, e.get("duration", 0.0)))
    if "--numbers" in args:
        print(*total, for_uring)
        return 0 if total[1] == 0 else 1
    label = args[args.index("--label") + 1] if "--label" in args else "tests"
    for name, (p, f, s), seconds in rows:
        print("%-44s %5d passed %3d failed %3d skipped %8.1f s" % (name, p, f, s, seconds))
    print("%s: %d programs, %d tests passed, %d failed, %d skipped" % (label, len(rows), *total))
    return 0 if total[1] == 0 else 1


sys.exit(main())
