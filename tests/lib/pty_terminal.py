"""The command on a pseudo-terminal, as a person would have it."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

DEADLINE = 60


class Terminal:
    def __init__(self, program, *args, rows=24, cols=80):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.environ["TERM"] = "xterm"
            os.execv(program, [program, *args])
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
