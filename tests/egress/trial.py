"""Rows of security.md 5.4 as functions, and what runs them: one world, one egress; after each row the canaries are looked for."""
import base64, contextlib, json, os, pathlib, secrets, sys, time, traceback
from urllib.parse import quote

ROWS = []          # (row, sentence, function, long)


def row(name, sentence, long=False):
    def keep(f):
        ROWS.append((name, sentence, f, long))
        return f
    return keep


class Canaries:
    """Values that must be nowhere but where they were put, in any of the forms that a leak may take."""

    def __init__(self):
        self.values = {}

    def new(self, what):
        self.values[what] = 'cnry' + secrets.token_hex(12)
        return self.values[what]

    def forms(self):
        for what, v in self.values.items():
            raw = v.encode()
            yield what, raw
            yield what + ' in hex', raw.hex().encode()
            yield what + ' in base64', base64.b64encode(raw)[:-4]
            for shift in (1, 2):                  # within a longer text: the groups of three begin elsewhere
                yield what + ' in base64', base64.b64encode(b'x' * shift + raw)[4:-4]
            yield what + ' url-encoded', ''.join(f'%{b:02x}' for b in raw).encode()
            yield what + ' reversed', raw[::-1]

    def find(self, data):
        return sorted({w for w, form in self.forms() if form in data})


class Trial:
    def __init__(self, world, egress, long=False):
        self.world, self.egress, self.long, self.canaries = world, egress, long, Canaries()
        self.checks, self.faults, self.results, self.boxes, self.seen_texts = 0, [], {}, 0, []

    # --- what a row says ---
    def true(self, what, good, detail=''):
        self.checks += 1
        if not good:
            self.faults.append(f'{what}{": " if detail != "" else ""}{str(detail)[:400]}')

    def same(self, what, got, want):
        self.true(what, got == want, f'got {got!r}, want {want!r}')

    def among(self, what, got, want):
        self.true(what, got in want, f'got {got!r}, want one of {want!r}')

    def until(self, what, condition, seconds=10):
        """Waits for a state, not for a time."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return self.true(what, False, f'not after {seconds} s')
            time.sleep(0.01)
        self.checks += 1

    @contextlib.contextmanager
    def silence(self, what, names=True, address=None):
        """Within it no origin is reached and no name is asked for."""
        mark, asked = self.world.mark(), len(self.world.names.asked())
        canary = len(self.world.canary)
        yield
        self.world.settle()
        self.same(f'{what}: connections to the world', [(w.address, w.port) for w in self.world.seen(mark, address)], [])
        self.same(f'{what}: internal services reached', self.world.canary[canary:], [])
        if names:
            self.same(f'{what}: names asked', self.world.names.asked()[asked:], [])

    def box(self, rules=(), default='deny', **more):
        """A sandbox with these rules and its attacker."""
        self.boxes += 1
        name = f'b{self.boxes}'
        box = self.egress.box(name, rules, default, **more)
        return name, box.attacker

    def secret(self, what, **more):
        value = self.canaries.new(what)
        self.egress.ask('secret_put', name=what, value=value, **more)
        return value

    def spread(self):
        """Everything that is kept or told: files, logs, answers, /proc of the process."""
        for path in (p for p in pathlib.Path(self.egress.dir).rglob('*') if p.is_file()):
            yield str(path), path.read_bytes()
        yield 'log', open(self.egress.log, 'rb').read()
        for f in ('environ', 'cmdline', 'comm', 'status'):
            yield f'/proc/PID/{f}', pathlib.Path(f'/proc/{self.egress.process.pid}/{f}').read_bytes()
        for name in list(self.egress.boxes):
            yield f'rules of {name}', json.dumps(self.egress.ask('rules_get', box=name)).encode()
            yield f'events of {name}', json.dumps(self.egress.events(name)).encode()
        for op in ('secret_list', 'status'):
            yield op, json.dumps(self.egress.ask(op)).encode()

    def look_for_canaries(self):
        for where, data in self.spread():
            for what in self.canaries.find(data):
                self.true(f'canary {what} in {where}', False)

    # --- running ---
    def run(self, name, sentence, f):
        self.checks, self.faults, before = 0, [], time.monotonic()
        try:
            f(self)
            self.true('egress lives', self.egress.alive())
            self.look_for_canaries()
        except Exception as e:
            frame = traceback.extract_tb(e.__traceback__)[-1]
            here = next((x for x in reversed(traceback.extract_tb(e.__traceback__)) if 'rows_' in x.filename), frame)
            self.faults.append(f'{type(e).__name__}: {e} ({os.path.basename(here.filename)}:{here.lineno})')
        if self.egress.alive() and self.egress.talk.waiting is None:
            self.faults.append('egress closed its line')
            self.egress.again()
        if not self.egress.alive():
            self.faults.append('egress died: ' + open(self.egress.log).read()[-1500:])
            self.egress.again()
        for b in list(self.egress.boxes):
            with contextlib.suppress(Exception):
                self.egress.remove(b)
        took = time.monotonic() - before
        if self.checks == 0 and not self.faults:
            self.faults.append('nothing was checked')
        good, bad = self.results.get(name, (0, 0))
        self.results[name] = (good + (not self.faults), bad + bool(self.faults))
        print(f'{"not " if self.faults else ""}ok {name} {sentence} ({self.checks} checks, {took:.1f} s)', flush=True)
        for fault in self.faults[:12]:
            print(f'#   {fault}', flush=True)
        if len(self.faults) > 12:
            print(f'#   and {len(self.faults) - 12} more')
        return not self.faults


def run_rows(trial, only=()):
    bad = 0
    for name, sentence, f, long in ROWS:
        if (long and not trial.long) or (only and name not in only and f.__module__ not in only and f.__name__ not in only):
            continue
        bad += not trial.run(name, sentence, f)
    good = sum(g for g, _ in trial.results.values())
    print('rows that pass: ' + ' '.join(r for r, (g, b) in sorted(trial.results.items(), key=lambda x: (x[0][0], int(x[0][1:]))) if not b))
    print('rows that do not: ' + (' '.join(r for r, (g, b) in trial.results.items() if b) or 'none'))
    print(f'egress_rows: {good} passed, {bad} failed')
    return bad == 0 and good > 0
