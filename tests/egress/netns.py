"""Network namespaces that nobody has to remove: each is held by a thread of this process and by its sockets, so it is gone when the process is, however that ends."""
import ctypes, os, queue, socket, subprocess, threading

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE, MS_BIND = 16384, 1 << 18, 4096
libc = ctypes.CDLL(None, use_errno=True)


def call(result, what):
    if result != 0:
        e = ctypes.get_errno()
        raise OSError(e, f'{what}: {os.strerror(e)}')


def unshare(flags):
    call(libc.unshare(flags), 'unshare')


def bind_mount(source, target):
    call(libc.mount(source.encode(), target.encode(), None, MS_BIND, None), f'bind {source} on {target}')


def private_mounts():
    unshare(CLONE_NEWNS)
    call(libc.mount(b'none', b'/', None, MS_REC | MS_PRIVATE, None), 'private mounts')


class Namespace:
    """A thread in a namespace of its own (or, with a pid, in that process's). What is made there (sockets, children) stays there, whoever uses it."""

    def __init__(self, name, pid=None):
        self.name, self.jobs = name, queue.Queue()
        self.thread = threading.Thread(target=self.loop, args=(pid,), daemon=True, name='netns-' + name)
        self.thread.start()
        self.tid = self.do(threading.get_native_id)

    def loop(self, pid):
        trouble = None
        try:
            if pid is None:
                unshare(CLONE_NEWNET)
            else:
                fd = os.open(f'/proc/{pid}/ns/net', os.O_RDONLY | os.O_CLOEXEC)
                call(libc.setns(fd, CLONE_NEWNET), 'setns')
                os.close(fd)
        except OSError as e:
            trouble = e
        while True:
            job = self.jobs.get()
            if job is None:
                return
            work, done, out = job
            try:
                if trouble:
                    raise trouble
                out.append((work(), None))
            except BaseException as e:      # handed to who asked
                out.append((None, e))
            done.set()

    def do(self, work):
        done, out = threading.Event(), []
        self.jobs.put((work, done, out))
        done.wait()
        value, trouble = out[0]
        if trouble:
            raise trouble
        return value

    def run(self, *words):
        """A command there that must succeed."""
        def work():
            r = subprocess.run(words, capture_output=True, text=True)
            if r.returncode:
                raise RuntimeError(f'{" ".join(words)}: {r.stderr.strip()}')
            return r.stdout
        return self.do(work)

    def popen(self, *words, **more):
        return self.do(lambda: subprocess.Popen(words, **more))

    def open(self, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        return self.do(lambda: socket.socket(family, kind))

    def listen(self, address, port, kind=socket.SOCK_STREAM, backlog=4096):
        family = socket.AF_INET6 if ':' in address else socket.AF_INET
        s = self.open(family, kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((address, port))
        if kind == socket.SOCK_STREAM:
            s.listen(backlog)
        return s

    def connect(self, address, port, timeout=10):
        s = self.open(socket.AF_INET6 if ':' in address else socket.AF_INET)
        s.settimeout(timeout)
        try:
            s.connect((address, port))
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            s.close()
            raise
        return s

    def close(self):
        self.jobs.put(None)
        self.thread.join()


def veth(one, its_name, its_addresses, other, other_name, other_addresses):
    """A cable between two namespaces."""
    one.run('ip', 'link', 'add', its_name, 'type', 'veth', 'peer', 'name', other_name, 'netns', f'/proc/{os.getpid()}/task/{other.tid}/ns/net')
    for ns, name, addresses in ((one, its_name, its_addresses), (other, other_name, other_addresses)):
        ns.run('ip', 'link', 'set', 'lo', 'up')
        for a in addresses:
            ns.run('ip', 'addr', 'add', a, 'dev', name, *(['nodad'] if ':' in a else []))
        ns.run('ip', 'link', 'set', name, 'up')
