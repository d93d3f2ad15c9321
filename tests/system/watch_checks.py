#!/usr/bin/env python3
"""watch_checks.py API-SOCKET COPPICE WS: change events of a real sandbox. Prints "ok TEXT" or "not ok TEXT"."""
import json
import os
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from watch_feed import Http, Tree  # noqa: E402

api, coppice, ws = sys.argv[1:4]


def check(text, ok, why=""):
    print(f"ok {text}" if ok else f"not ok {text}: {str(why)[:1500]}", flush=True)


def sh(script, user="user"):
    r = subprocess.run([coppice, "exec", ws, "-u", user, "--cwd", "/workspace", "--", "sh", "-ec", script], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    assert r.returncode == 0, (script, r.stdout, r.stderr)
    return r.stdout


def watch(query=""):
    h = Http(api, ws, query)
    e = h.next()
    assert e["event"] == "ready", e
    return h


def short(e):
    rel = [e[k].removeprefix("/workspace/") for k in ("path", "to") if k in e]
    return e["event"] if e["event"] != "event" else e["type"] + " " + " -> ".join(rel) + ("/" if e["is_dir"] else "")


def after(h, script):
    """The events of a script, without its end mark."""
    sh(script + "\n: >/workspace/.mark; rm /workspace/.mark")
    got = h.until(lambda e: e.get("type") == "delete" and e["path"] == "/workspace/.mark")
    return [e for e in got if not e.get("path", "").endswith("/.mark")]


def names():
    out = subprocess.run([coppice, "exec", ws, "--", "find", "/workspace", "-mindepth", "1", "-printf", r"%y %p\0"], capture_output=True, stdin=subprocess.DEVNULL, check=True).stdout
    return {os.fsdecode(x[2:]): x[:1] == b"d" for x in out.split(b"\0") if x}


class Belief(Tree):
    def scan(self):
        self.there = names()


h = watch()
got = [short(e) for e in after(h, "echo a >f; mv f g; chmod 600 g; mkdir d")]
check("an exact sequence", got == ["create f", "modify f", "close_write f", "move f -> g", "attrib g", "create d/"], got)
got = [short(e) for e in after(h, "mv g d/h; mv d e; echo b >>e/h; mv e/h e/.h.tmp; echo c >e/h; rm -r e")]
check("moves, an editor's backup, rm -r", got == ["move g -> d/h", "move d -> e/", "modify e/h", "close_write e/h", "move e/h -> e/.h.tmp", "create e/h", "modify e/h", "close_write e/h",
                                                    *sorted(x for x in got if x in ("delete e/h", "delete e/.h.tmp")), "delete e/"]
      or sorted(got[8:10]) == ["delete e/.h.tmp", "delete e/h"] and got[10:] == ["delete e/"] and len(got) == 11, got)
seqs = [e["seq"] for e in after(h, "touch z; rm z")]
check("seq counts", seqs == list(range(seqs[0], seqs[0] + len(seqs))), seqs)


def believed(text, script):
    b = Belief("/workspace")
    got = after(h, script)
    over = [e for e in got if e["event"] == "overflow"]
    for e in got:
        if e["event"] == "event":
            b.apply(e)
    there = names()
    wrong = set(b.there.items()) ^ set(there.items())
    check(f"{text}: the tree can be followed ({len(got)} events)", not wrong and not over, (over[:2], sorted(wrong)[:5]))


believed("git, branches checked out", """git init -q r; cd r; git config user.email a@b; git config user.name n
for i in $(seq 40); do mkdir -p s$i/t; echo $i >s$i/t/f; done; git add .; git commit -qm one; git checkout -qb two
for i in $(seq 20); do git mv s$i z$i; done; rm -r s30; git add -A; git commit -qm two; git checkout -q master 2>/dev/null || git checkout -q main; git checkout -q two""")
believed("npm install of a tarball", """mkdir -p pkg/lib/a/b app; cd pkg; echo '{"name":"p","version":"1.0.0"}' >package.json; for i in $(seq 60); do echo $i >lib/a/b/$i.js; done
npm pack --silent >/dev/null 2>&1; cd ../app; echo '{"name":"q","version":"1.0.0"}' >package.json; npm install --silent --offline --no-audit --no-fund ../pkg/p-1.0.0.tgz >/dev/null 2>&1; test -f node_modules/p/lib/a/b/60.js""")
believed("tar, cp -a, rm -rf", "tar c r app | (mkdir x; cd x; tar x); cp -a x y; rm -rf x app; mv y/r/z1 .; rm -rf y r")

one = watch("?path=" + urllib.parse.quote("/workspace/only") + "&recursive=false&types=create,move") if sh("mkdir /workspace/only") == "" else None
h.until(lambda e: e.get("path") == "/workspace/only")
sh("cd only; echo 1 >a; mkdir s; echo 1 >s/b; mv a b")
got = [short(e) for e in one.until(lambda e: e.get("type") == "move")]
check("not recursive, types", got == ["create only/a", "create only/s/", "move only/a -> only/b"], got)
one.close()
h.until(lambda e: e.get("type") == "move" and e["to"] == "/workspace/only/b")

e = Http(api, ws, "?path=/workspace/nothing")
check("what is not there is 404", e.status == 404, e.status)
sh("mkdir -m 700 /opt/mine", "root")
e = Http(api, ws, "?path=/opt/mine&user=user")
check("what the user may not read is 403", e.status == 403, e.status)
e = Http(api, ws, "?types=crate")
check("an unknown type is 400", e.status == 400, e.status)

snap = subprocess.run([coppice, "snapshot", ws], capture_output=True, text=True, check=True).stdout.strip()
sh("mkdir -p new/dir; echo 1 >new/dir/f; rm -rf only pkg")
h.until(lambda e: e.get("type") == "delete" and e["path"] == "/workspace/pkg")
import http.client  # noqa: E402
import socket  # noqa: E402
c = http.client.HTTPConnection("localhost")
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect(api)
c.request("POST", f"/v1/sandbox/{ws}/restore", json.dumps({"snapshot": snap}), {"Content-Type": "application/json"})
r = c.getresponse()
check("a restore", r.status == 200, r.read())
got = h.until(lambda e: e["event"] == "overflow")
check("is told as an overflow", got[-1]["reason"] in ("restored", "changed"), got[-3:])
believed("after a restore", "mkdir -p new2/a; echo 1 >only/again; echo 1 >new2/a/f; mv only new2/")

subprocess.run([coppice, "restore", ws, "--to", snap], check=True, capture_output=True)
got = h.until(lambda e: e["event"] == "overflow")
check("so is one by the command", got[-1]["reason"] in ("restored", "changed"), got[-3:])
subprocess.run([coppice, "fork", ws, ws + "-other"], check=True, capture_output=True)
sh("mkdir -p only; echo mine >only/mine")
h.until(lambda e: e.get("path") == "/workspace/only/mine" and e["event"] == "close_write" or e.get("type") == "close_write" and e.get("path") == "/workspace/only/mine")
subprocess.run([coppice, "exec", ws + "-other", "--", "sh", "-c", "echo theirs >/workspace/theirs"], check=True, stdin=subprocess.DEVNULL)
subprocess.run([coppice, "merge", ws + "-other", "--into", ws], check=True, capture_output=True)
got = h.until(lambda e: e["event"] == "overflow")
check("and a merge", got[-1]["reason"] in ("merged", "changed"), got[-3:])

b = subprocess.run([coppice, "exec", ws, "--", "python3", "-c", "import os; os.mkdir(b'/workspace/\\x1b]0;evil\\x07\\xff'); os.rmdir(b'/workspace/\\x1b]0;evil\\x07\\xff')"], check=True, stdin=subprocess.DEVNULL)
got = h.until(lambda e: e.get("type") == "delete")
check("any bytes in a name", got[-1]["path"] == os.fsdecode(b"/workspace/\x1b]0;evil\x07\xff"), got[-1])
subprocess.run([coppice, "sleep", ws], check=True, stdin=subprocess.DEVNULL)
got = h.until(lambda e: e["event"] == "end")
check("sleep ends it, with a reason", got[-1]["reason"] == "not_running", got[-1])
