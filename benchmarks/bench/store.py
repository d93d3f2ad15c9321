"""A coppice store with its daemon: through the command, and through the control socket where a process start would hide what is measured."""
import array
import ctypes
import json
import os
import shutil
import socket
import struct

from .machine import Failed, disk_bytes, run

MOVE_MOUNT, AT_FDCWD, EMPTY_PATH = 429, -100, 4
libc = ctypes.CDLL(None, use_errno=True)


def attach(fd, path):
    """move_mount(2) of a detached mount."""
    if libc.syscall(MOVE_MOUNT, fd, b"", AT_FDCWD, os.fsencode(path), EMPTY_PATH) != 0:
        raise Failed("move_mount to %s: %s" % (path, os.strerror(ctypes.get_errno())))


class Client:
    """One connection to snapshotd (snapshotd/snap_proto.h)."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)

    def close(self):
        self.sock.close()

    def send(self, message):
        body = json.dumps(message).encode()
        self.sock.sendall(struct.pack("<I", len(body)) + body)

    def receive(self):
        data, fds = b"", []
        while len(data) < 4:
            part, ancillary, _, _ = self.sock.recvmsg(4 - len(data), socket.CMSG_SPACE(16))
            if not part:
                raise Failed("snapshotd closed the connection")
            data += part
            for level, kind, body in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    a = array.array("i")
                    a.frombytes(body[:len(body) - len(body) % a.itemsize])
                    fds += a
        need, body = struct.unpack("<I", data)[0], b""
        while len(body) < need:
            part = self.sock.recv(need - len(body))
            if not part:
                raise Failed("snapshotd closed the connection")
            body += part
        return json.loads(body), fds

    def call(self, verb, path=None, **args):
        """The "ok" of the answer. path: where a mount is attached."""
        self.send(dict(args, verb=verb))
        more = {}
        while True:
            message, fds = self.receive()
            if "mount" in message:
                attach(fds[0], path)
                self.send({"attached": True})
            for fd in fds:
                os.close(fd)
            for key, items in message.get("more", {}).items():
                more.setdefault(key, []).extend(items)
            if "error" in message:
                raise Failed("snapshotd: %s: %s" % (verb, message["error"].get("message")))
            if "ok" in message:
                return dict(message["ok"], **more)


class Store:
    """sandboxes: with the runner (HTTP on the store's socket), else snapshotd alone."""

    def __init__(self, directory, binary, under=None, sandboxes=False):
        self.directory, self.binary, self.under, self.sandboxes = directory, binary, under, sandboxes
        self.kind = under.kind if under else "disk"

    def start(self):
        if self.under:
            self.under.start()
        os.makedirs(self.directory, exist_ok=True)
        self.command("init")
        self.command("up", "--no-tcp" if self.sandboxes else "--store-only")

    def stop(self):
        try:
            self.command("down")
        except Failed:
            pass
        if self.under:
            self.under.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def command(self, *args):
        return run(self.binary, "--store", self.directory, *args)

    def json(self, *args):
        return json.loads(self.command("--json", *args))

    def client(self):
        return Client(os.path.join(self.directory, "snapshotd.sock"))

    def pid(self):
        client = self.client()
        try:
            return client.call("ping")["pid"]
        finally:
            client.close()

    def disk_bytes(self):
        os.sync()
        return disk_bytes(self.directory)
