"""Drives the command on a pseudo-terminal, as a person would. Usage: sandbox_tty.py COPPICE WS. Exit status 0 if all held."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from pty_terminal import Terminal  # noqa: E402

coppice, ws = sys.argv[1:]


def expect(what, got, want):
    if got != want:
        raise SystemExit("%s: %r, expected %r" % (what, got, want))


# exec -it: a terminal of its own, our size, our keys, its status.
t = Terminal(coppice, "exec", "-it", ws, "--", "sh", "-c", "test -t 0 && test -t 1 && echo is-a-tty; stty size; read x; echo got-$x; exit 5", rows=40, cols=111)
t.until("is-a-tty")
t.until("40 111")
t.type("word\r")
t.until("got-word")
expect("status of exec -it", t.end(), 5)

# Ctrl-C is a key, not our end.
t = Terminal(coppice, "exec", "-it", ws, "--", "sh", "-c", "trap 'echo interrupted; exit 9' INT; echo set; while :; do sleep 0.1; done")
t.until("set")
t.type("\x03")
t.until("interrupted")
expect("status after ctrl-c", t.end(), 9)

# shell: sizes follow; ctrl-p alone is passed on; the detach key leaves; coming back finds the same shell with its screen.
t = Terminal(coppice, "shell", ws)
t.type("stty size; echo mark-$((1+1))\r")
t.until("24 80.*mark-2")
t.resize(50, 100)
t.type("sleep 0.2; stty size; echo mark-$((2+1))\r")
t.until("50 100.*mark-3")
t.type("variable=kept; cd /tmp\r")
t.type("echo mark-$((3+1))\r")
t.until("mark-4")
t.type("\x10\x11")
t.until("coppice shell")
expect("status of leaving", t.end(), 0)
t = Terminal(coppice, "shell", ws)
t.until("mark-4")
t.type("echo again-$variable-$PWD\r")
t.until("again-kept-/tmp")
t.type("exit 3\r")
expect("status of the shell", t.end(), 3)
