"""Drives the command on a pseudo-terminal, as a person would. Usage: sandbox_tty.py COPPICE WS. Exit status 0 if all held."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

coppice, ws = sys.argv[1:]
DEADLINE = 60


class Terminal:
    def __init__(self, *args, rows=24, cols=80):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.environ["TERM"] = "xterm"
            os.execv(coppice, [coppice, *args])
        self.seen = b""
        self.resize(rows, cols)

    def resize(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, pattern):
        """Reads until the pattern is there; what came up to its end is taken."""
        end = time.monotonic() + DEADLINE
        while True:
            m = re.search(pattern.encode(), self.seen, re.S)
            if m:
                self.seen = self.seen[m.end():]
                return m
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise SystemExit("'%s' did not come; there was %r" % (pattern, self.seen[-2000:]))
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                raise SystemExit("the terminal ended before '%s'; there was %r" % (pattern, self.seen[-2000:]))
            self.seen += data

    def end(self):
        while True:
            try:
                if not os.read(self.fd, 65536):
                    break
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def expect(what, got, want):
    if got != want:
        raise SystemExit("%s: %r, expected %r" % (what, got, want))


# exec -it: a terminal of its own, our size, our keys, its status.
t = Terminal("exec", "-it", ws, "--", "sh", "-c", "test -t 0 && test -t 1 && echo is-a-tty; stty size; read x; echo got-$x; exit 5", rows=40, cols=111)
t.until("is-a-tty")
t.until("40 111")
t.type("word\r")
t.until("got-word")
expect("status of exec -it", t.end(), 5)

# Ctrl-C is a key, not our end.
t = Terminal("exec", "-it", ws, "--", "sh", "-c", "trap 'echo interrupted; exit 9' INT; echo set; while :; do sleep 0.1; done")
t.until("set")
t.type("\x03")
t.until("interrupted")
expect("status after ctrl-c", t.end(), 9)

# shell: sizes follow; ctrl-p alone is passed on; the detach key leaves; coming back finds the same shell with its screen.
t = Terminal("shell", ws)
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
t = Terminal("shell", ws)
t.until("mark-4")
t.type("echo again-$variable-$PWD\r")
t.until("again-kept-/tmp")
t.type("exit 3\r")
expect("status of the shell", t.end(), 3)
