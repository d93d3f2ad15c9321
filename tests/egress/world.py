"""The world that egress is tried in: public-looking addresses, DNS, origins, a metadata service, an internal service; and `host`, where the daemons run, joined to it by a cable.
No switch of the product knows of it: its resolver file and its roots are configuration. Nothing is left behind when this process ends, however it does."""
import os, pathlib, queue, socket, subprocess, tempfile, threading
from certs import Authority
from names import Names
from netns import Namespace, bind_mount, libc, private_mounts, unshare, veth, CLONE_NEWNET
from origin import Listener, answer, big, hold, tls_context, web_socket

DNS, METADATA, INTERNAL, HOST = '93.184.216.53', '169.254.169.254', '10.0.0.5', '10.77.0.1'
API, EVIL, FILES, OTHER, V6 = '93.184.216.34', '93.184.216.66', '93.184.216.35', '93.184.216.36', '2606:2800:220:1::34'
ADDRESSES = [API, EVIL, FILES, OTHER, DNS] + [f'93.184.216.{n}' for n in range(100, 130)]
NAMES = {'api.example.com': [API], 'www.example.com': [API], 'example.com': [API], 'a.b.example.com': [API], 'files.example.com': [FILES], 'other.example.org': [OTHER], 'evil.example.net': [EVIL],
         'pkg.example.com': [FILES], 'six.example.com': [V6], 'notexample.com': [EVIL], 'internal.example.com': [INTERNAL], 'meta.example.com': [METADATA], 'loop.example.com': ['127.0.0.1'], 'host.example.com': [HOST]}


class World:
    def __init__(self, directory=None):
        """This process moves into `host`: namespaces of its own for the network and for mounts. Call it before there are threads."""
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix='ee-', dir=os.environ.get('COPPICE_TEST_TMP', '/tmp')))
        unshare(CLONE_NEWNET)
        private_mounts()
        self.broom = subprocess.Popen(['sh', '-c', 'read -r _; rm -rf "$1"', 'broom', str(self.dir)], stdin=subprocess.PIPE, start_new_session=True)     # when we are killed
        self.lock, self.wires, self.listeners, self.settled, self.sentinels = threading.Lock(), [], [], queue.Queue(), set()
        self.paths = {'/big': big, '/hold': hold, '/ws': web_socket}
        self.host, self.ns = Namespace('host', os.getpid()), Namespace('world')
        veth(self.host, 'up0', [f'{HOST}/30', 'fd77::1/64'], self.ns, 'down0', ['10.77.0.2/30', 'fd77::2/64'])
        for a in ADDRESSES + [METADATA, INTERNAL]:
            self.ns.run('ip', 'addr', 'add', a + '/32', 'dev', 'lo')
        self.ns.run('ip', 'addr', 'add', V6 + '/128', 'dev', 'lo', 'nodad')
        self.host.run('ip', 'route', 'add', 'default', 'via', '10.77.0.2')
        self.host.run('ip', '-6', 'route', 'add', 'default', 'via', 'fd77::2')
        self.ca = Authority(self.dir / 'ca')
        self.roots, self.resolver = str(self.ca.cert), str(self.dir / 'resolv.conf')
        pathlib.Path(self.resolver).write_text(f'nameserver {DNS}\noptions timeout:2 attempts:2\n')
        bind_mount(self.resolver, os.path.realpath('/etc/resolv.conf'))
        self.names = Names(self.ns, DNS)
        for name, addresses in NAMES.items():
            self.names.put(name, *addresses)
        self.good = tls_context(self.ca.leaf('good', list(NAMES) + ['*.wild.example.com', API, V6]))
        for a in (API, EVIL, FILES, OTHER, V6):
            self.listen(a, 443, self.good)
            self.listen(a, 80)
        self.canary = []
        for a, what in ((METADATA, b'METADATA-CANARY'), (INTERNAL, b'INTERNAL-CANARY')):
            self.listen(a, 80, script=self.tell(what))
            self.listen(a, 443, self.good, script=self.tell(what))
        for a in ('127.0.0.1', HOST):       # a service of the host itself: 80 and 443 on its loopback and on its cable
            for port in (80, 443, 8080):
                self.listen(a, port, script=self.tell(b'HOST-CANARY'), ns=self.host)

    def tell(self, what):
        def script(wire):
            self.canary.append((wire.address, wire.port))
            wire.until(b'\r\n\r\n')
            answer(wire, what, close=True)
        return script

    def listen(self, address, port, context=None, script=None, ns=None):
        was = self.ns
        self.ns = ns or was
        try:
            l = Listener(self, address, port, context, script)
        finally:
            self.ns = was
        self.listeners.append(l)
        return l

    def mark(self):
        """Now; seen(mark) is what came after."""
        with self.lock:
            return len(self.wires)

    def seen(self, mark, address=None, port=None):
        with self.lock:
            return [w for w in self.wires[mark:] if (address is None or w.address == address) and (port is None or w.port == port)]

    def settle(self):
        """After it all connections that had been made are in `wires`: each listener takes them in turn, and takes one of ours last."""
        for l in list(self.listeners):
            with l.ns.open(socket.AF_INET6 if ':' in l.address else socket.AF_INET) as s:
                s.bind((l.address, 0))
                self.sentinels.add(s.getsockname()[:2])
                s.connect((l.address, l.port))
                self.settled.get(timeout=10)

    def close(self):
        for l in list(self.listeners):
            l.close()
        libc.umount2(os.path.realpath('/etc/resolv.conf').encode(), 2)
        self.broom.stdin.close()
        self.broom.wait()


if __name__ == '__main__':       # what is there, for somebody who wants to look around: a shell in `host`
    world = World()
    print(f'roots {world.roots}, resolver {world.resolver}; curl --cacert {world.roots} https://api.example.com/', flush=True)
    os.system(os.environ.get('SHELL', 'sh'))
    world.close()
