"""A shell on a terminal in a sandbox, which answers line after line until a file is there: outlive_tty.py COPPICE WS FILE. Exit status 0 if every line was answered."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from pty_terminal import Terminal  # noqa: E402

coppice, ws, stop = sys.argv[1:]
t = Terminal(coppice, "exec", "-it", ws, "--", "sh")
n = 0
while not os.path.exists(stop):
    n += 1
    t.type(f"echo $(({n} + 1000)) >>/workspace/typed; tail -n 1 /workspace/typed\n")
    t.until(rf"{n + 1000}\r\n")
t.type("exit 5\n")
status = t.end()
print(f"{n} lines, status {status}")
sys.exit(status != 5)
