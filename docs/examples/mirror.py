#!/usr/bin/env python3
"""Keeps DST a copy of a mounted workspace, by its change journal: mirror.py WS MOUNT DST STATE [UNTIL]

STATE holds the cursor of the last event whose change is in DST. It is written after the changes, so whatever is killed, and whenever, nothing is left out: what was done twice is
done once more. Events only say where to look: what is there is read from the mount, and if it has changed again meanwhile, a later event says so.
Whoever works in the workspace may put a symbolic link in place of a directory at any moment: none is followed, here or in DST, or it would lead out of both.
Ends when the path UNTIL has been copied (for tests), or with status 75 if the mount was cut off: start it again."""
import collections, errno, json, os, shutil, stat, subprocess, sys

ws, state = sys.argv[1], sys.argv[4]
until = sys.argv[5] if len(sys.argv) > 5 else None
coppice = os.environ.get('COPPICE', 'coppice')


def text(v):                                # names that are no UTF-8 come as {"base64": ...}
    if isinstance(v, dict):
        import base64
        return os.fsdecode(base64.b64decode(v['base64']))
    return v


class Tree:
    """A directory. Paths below it begin with a slash, "" is itself."""
    def __init__(self, top):
        self.top, self.held = top, collections.deque()

    def at(self, path):
        """What to call it by: its name, in the directory that the others lead to."""
        *dirs, name = path.split('/')[1:] if path else ['.']
        fd = os.open(self.top, os.O_PATH | os.O_DIRECTORY)
        for d in dirs:
            above = fd
            try:
                fd = os.open(d, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            finally:
                os.close(above)
        self.held.append(fd)
        if len(self.held) > 4:
            os.close(self.held.popleft())
        return f'/proc/self/fd/{fd}/{name}'

    def release(self):
        while self.held:
            os.close(self.held.pop())

    def lstat(self, path):
        try:
            return os.lstat(self.at(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, path, flags, is_kind):
        try:
            fd = os.open(self.at(path), flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as e:
            if e.errno in (errno.ELOOP, errno.ENXIO):
                raise FileNotFoundError(path) from e
            raise
        if not is_kind(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileNotFoundError(path)
        return fd

    def names(self, path):
        fd = self.open(path, os.O_RDONLY, stat.S_ISDIR)
        try:
            return set(os.listdir(fd))
        finally:
            os.close(fd)


src, dst = Tree(sys.argv[2]), Tree(sys.argv[3])


def remove(path):
    st = dst.lstat(path)
    if st and stat.S_ISDIR(st.st_mode):
        shutil.rmtree(dst.at(path))
    elif st:
        os.unlink(dst.at(path))


def copy_attrs(path, st):
    at = dst.at(path)
    os.lchown(at, st.st_uid, st.st_gid)
    if not stat.S_ISLNK(st.st_mode):
        os.chmod(at, stat.S_IMODE(st.st_mode))
    os.utime(at, ns=(st.st_atime_ns, st.st_mtime_ns), follow_symlinks=False)


def copy_range(path, start, end, size):
    with os.fdopen(src.open(path, os.O_RDONLY, stat.S_ISREG), 'rb') as a, os.fdopen(dst.open(path, os.O_RDWR, stat.S_ISREG), 'r+b') as b:
        a.seek(start)
        b.seek(start)
        while start < end and (piece := a.read(min(end - start, 1 << 20))):
            b.write(piece)
            start += len(piece)
        b.truncate(size)


def sync(path, deep, whole=True):
    """Makes one name as it is now; deep: with all that is below it."""
    st, have = src.lstat(path), dst.lstat(path)
    if have and (not st or stat.S_IFMT(st.st_mode) != stat.S_IFMT(have.st_mode) or stat.S_ISLNK(st.st_mode)):
        remove(path)
        have = None
    if not st:
        return
    try:
        if not have and path and not dst.lstat(os.path.dirname(path)):
            sync(os.path.dirname(path), False)
        if stat.S_ISDIR(st.st_mode):
            if not have:
                os.mkdir(dst.at(path))
            if deep or not have:
                names = src.names(path)
                for name in dst.names(path) - names:
                    remove(path + '/' + name)
                for name in names:
                    sync(path + '/' + name, True)
        elif stat.S_ISLNK(st.st_mode):
            os.symlink(os.readlink(src.at(path)), dst.at(path))
        elif stat.S_ISREG(st.st_mode):
            if not have:
                open(dst.at(path), 'xb').close()
            if whole or not have:
                copy_range(path, 0, st.st_size, st.st_size)
        elif not have:
            os.mknod(dst.at(path), st.st_mode, st.st_rdev)
        copy_attrs(path, st)
    except (FileNotFoundError, NotADirectoryError):
        pass                                # it went away: a later event says so


class Batch:
    """Events between two states of DST: which paths to look at, in the names of the end."""
    def __init__(self):
        self.look, self.ranges, self.renames = {}, {}, []        # path: deep; path: [start, end, ...]

    def moved(self, old, new):
        def name(p):
            return new + p[len(old):] if p == old or p.startswith(old + '/') else p
        self.look = {name(p): d for p, d in self.look.items()}
        self.ranges = {name(p): r for p, r in self.ranges.items()}

    def add(self, e):
        op, path = e['op'], '/' + text(e['path']) if e.get('path') else ''
        if op in ('gap', 'replace') or e.get('path_unknown') or (e.get('links', 1) > 1 and e['kind'] != 'directory'):
            self.look[path if op == 'replace' else ''] = True    # look again; an inode of several names has events by one of them
        elif op == 'rename':
            to = '/' + text(e['to'])
            self.moved(path, to)
            self.rename(path, to)
            self.look.setdefault(os.path.dirname(to), False)
            self.look[to] = self.look.get(to, False)
        elif op == 'exchange':
            self.look[path] = self.look['/' + text(e['to'])] = True
        elif op in ('write', 'truncate', 'clone') and not self.look.get(path):
            self.ranges.setdefault(path, []).append((e['offset'], e['offset'] + e['length']))
        elif 'path' in e:
            self.look[path] = self.look.get(path, False) or op == 'create'
            self.look.setdefault(os.path.dirname(path), False)   # its times

    def rename(self, old, new):
        """In DST too, so that a directory is not copied. Where it is not as expected, it is looked at as a whole."""
        if dst.lstat(old) and not (self.look.get(new) or any(p.startswith(new + '/') for p in self.look)):
            remove(new)
            try:
                os.rename(dst.at(old), dst.at(new))
            except OSError:
                self.look[new] = True
        else:
            self.look[new] = True
        self.look[old] = False

    def apply(self):
        for path in sorted(self.look):
            sync(path, self.look[path], whole=self.look[path])
        for path, ranges in self.ranges.items():
            st, have = src.lstat(path), dst.lstat(path)
            if not st or not have or not stat.S_ISREG(st.st_mode) or not stat.S_ISREG(have.st_mode):
                sync(path, True)
                continue
            try:
                for start, end in ranges:
                    copy_range(path, start, end, st.st_size)
                copy_attrs(path, st)
            except (FileNotFoundError, NotADirectoryError):
                pass
        for path in sorted(self.look, reverse=True):             # what was done in directories has changed their times
            st, have = src.lstat(path), dst.lstat(path)
            if st and have and stat.S_ISDIR(st.st_mode) and stat.S_ISDIR(have.st_mode):
                copy_attrs(path, st)


def save(cursor):
    with open(state + '.new', 'w') as f:
        f.write(cursor)
        f.flush()
        os.fsync(f.fileno())
    os.rename(state + '.new', state)


def main():
    known = os.path.exists(state)
    args = ['--cursor', open(state).read()] if known else []
    watch = subprocess.Popen([coppice, '--json', 'watch', '--journal', ws] + args, stdout=subprocess.PIPE, bufsize=0)
    try:
        follow(watch, known)
    finally:
        watch.kill()


def follow(watch, known):
    left = b''
    done = known and until is not None and dst.lstat('/' + until) is not None
    while not done:
        more = os.read(watch.stdout.fileno(), 1 << 20)
        if not more:
            sys.exit(watch.wait() or 1)
        *lines, left = (left + more).split(b'\n')
        batch, cursor = Batch(), None
        for e in map(json.loads, lines):
            if e['op'] != 'start':
                batch.add(e)
                done = done or (until is not None and text(e.get('path', '')) == until)
            elif not known:                  # from here on all is told: now look at everything once
                sync('', True)
                done = until is not None and dst.lstat('/' + until) is not None
            cursor = e['cursor']
        batch.apply()
        done = done or (until is not None and batch.look.get('', False) and dst.lstat('/' + until) is not None)
        src.release()                        # or it could not be unmounted
        dst.release()
        if cursor:
            save(cursor)


try:
    main()
except OSError as e:
    sys.exit(75 if e.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ESTALE) else f'mirror: {e}')
