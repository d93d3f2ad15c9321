"""The world's DNS server: authoritative for everything, its own wire code; each question is logged. Answers can be scripted (rebinding, mixed sets, CNAMEs)."""
import ipaddress, struct, threading

A, NS, CNAME, AAAA = 1, 2, 5, 28


def encode_name(name):
    return b''.join(bytes([len(p)]) + p.encode() for p in name.split('.') if p) + b'\0'


def decode_name(data, at):
    labels = []
    while data[at]:
        if data[at] & 0xc0:
            raise ValueError('compressed')
        labels.append(data[at + 1:at + 1 + data[at]])
        at += 1 + data[at]
    return b'.'.join(labels).decode('latin-1').lower(), at + 1


class Names:
    def __init__(self, ns, address, port=53):
        self.zone, self.log, self.lock = {}, [], threading.Lock()
        self.udp, self.tcp = ns.listen(address, port, 2), ns.listen(address, port)
        threading.Thread(target=self.serve_udp, daemon=True).start()
        threading.Thread(target=self.serve_tcp, daemon=True).start()

    def put(self, name, *answers, ttl=0):
        """answers: addresses or ('cname', NAME); or one function(count, type) -> answers, asked each time."""
        with self.lock:
            self.zone[name.lower()] = (answers, ttl, [0])

    def answers(self, name, kind):
        found = self.zone.get(name)
        if not found:
            return None, 0
        answers, ttl, count = found
        if answers and callable(answers[0]):
            if kind == A:
                count[0] += 1
            answers = answers[0](count[0], kind)
        return answers, ttl

    def records(self, name, kind, depth=0):
        """[(name, type, ttl, data)], or None: no such name."""
        answers, ttl = self.answers(name, kind)
        if answers is None:
            return None
        out = []
        for a in answers:
            if isinstance(a, tuple):
                out.append((name, CNAME, ttl, encode_name(a[1])))
                out += (self.records(a[1], kind, depth + 1) or []) if depth < 8 else []
            elif (':' in a) == (kind == AAAA) and kind in (A, AAAA):
                out.append((name, kind, ttl, ipaddress.ip_address(a).packed))
        return out

    def reply(self, data, how):
        ident, flags, questions = struct.unpack('>HHH', data[:6])
        name, end = decode_name(data, 12)
        kind, _ = struct.unpack('>HH', data[end:end + 4])
        with self.lock:
            self.log.append((how, name, kind))
            records = self.records(name, kind)
        head = struct.pack('>HHHHHH', ident, 0x8480 | flags & 0x0100 | (3 if records is None else 0), 1, len(records or ()), 0, 0)
        body = b''.join(encode_name(n) + struct.pack('>HHIH', k, 1, ttl, len(d)) + d for n, k, ttl, d in records or ())
        return head + data[12:end + 4] + body

    def serve_udp(self):
        while True:
            data, who = self.udp.recvfrom(4096)
            try:
                self.udp.sendto(self.reply(data, 'udp'), who)
            except (ValueError, IndexError, struct.error, OSError):
                continue

    def serve_tcp(self):
        while True:
            conn, _ = self.tcp.accept()
            try:
                conn.settimeout(5)
                size = struct.unpack('>H', conn.recv(2))[0]
                answer = self.reply(conn.recv(size), 'tcp')
                conn.sendall(struct.pack('>H', len(answer)) + answer)
            except (ValueError, IndexError, struct.error, OSError):
                pass
            conn.close()

    def asked(self, name=None):
        with self.lock:
            return [q for q in self.log if name is None or q[1] == name]

    def clear(self):
        with self.lock:
            self.log.clear()
