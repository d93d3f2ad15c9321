#!/usr/bin/env python3
"""Prints what has to be built for the tests of one suite: suite_targets.py BUILD SUITE. For a build of which no other test is run."""
import json
import os
import subprocess
import sys


def introspect(build, what):
    return json.loads(subprocess.check_output(['meson', 'introspect', build, what]))


def main():
    build, suite = os.path.realpath(sys.argv[1]), sys.argv[2]
    made = {t['id']: t['filename'] for t in introspect(build, '--targets')}
    want = set()
    for test in introspect(build, '--tests'):
        if any(s.split(':')[-1] == suite for s in test['suite']):
            for dep in test['depends']:
                want.update(made[dep])
            want.update(p for p in map(os.path.normpath, test['cmd']) if p.startswith(build + '/'))
    for path in sorted(want):
        if not os.path.isdir(path):
            print(os.path.relpath(path, build))


if __name__ == '__main__':
    main()
