/* Parents are resolved by openat2 without symbolic links, the last component is acted on by the *at calls. */
#include "tests/model/target_dir.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "tests/model/bytes.h"

/* The step that gave the last error, for who has to find out why it did. */
static struct { char what[160]; int err; } last;

static int failed(const char *what) {
    last.err = errno;
    snprintf(last.what, sizeof last.what, "%s", what);
    return -last.err;
}

static int64_t done64(int64_t r, const char *what) {
    return r < 0 ? failed(what) : r;
}
#define done(x) ((int)done64((x), #x))

static const char *d_why(void *c) {
    static char out[240];
    snprintf(out, sizeof out, "last failing step: %s: %s", last.err ? last.what : "none", strerror(last.err));
    return out;
}

struct spot { int dir; const char *name; char link[64]; };
static void spot_fini(struct spot *s) {
    if (s->dir >= 0) close(s->dir);
}
#define SPOT(s) _cleanup_(spot_fini) struct spot s = { .dir = -1 }

static int get(struct target_dir *t, unsigned at) {
    if (t->root[at] >= 0) return t->root[at];
    int r = t->get ? t->get(t, at) : -EBADF;
    if (r < 0) {
        errno = -r;
        failed("mounting the place");
    }
    return r;
}

/* name is "." for the root. */
static int walk(struct target_dir *t, unsigned at, const char *path, struct spot *ret) {
    int root = get(t, at);
    if (root < 0) return root;
    const char *slash = strrchr(path, '/');
    char *parent = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH };
    ret->dir = (int)syscall(SYS_openat2, root, parent, &how, sizeof how);
    int r = ret->dir < 0 ? failed("openat2 of the parent") : 0;
    free(parent);
    ret->name = !*path ? "." : slash ? slash + 1 : path;
    return r;
}

static bool is_root(const struct spot *s) {
    return !strcmp(s->name, ".");
}

static int look(const struct spot *s, struct stat *st) {
    return done(fstatat(s->dir, s->name, st, AT_SYMLINK_NOFOLLOW));
}

static int find(struct target_dir *t, unsigned at, const char *path, struct spot *s, struct stat *st) {
    int r = walk(t, at, path, s);
    return r ? r : look(s, st);
}

/* A path for the calls that have no *at form. */
static char *proc_path(const struct spot *s) {
    char *p;
    if (asprintf(&p, "/proc/self/fd/%d/%s", s->dir, s->name) < 0) abort();
    return p;
}

static int d_mk(void *c, unsigned at, const char *path, uint32_t mode, uint32_t rdev, const char *target) {
    SPOT(s);
    int r = walk(c, at, path, &s);
    if (r) return r;
    if (is_root(&s)) return -EEXIST;
    if (S_ISLNK(mode)) return done(symlinkat(target, s.dir, s.name));
    if (!S_ISDIR(mode)) return done(mknodat(s.dir, s.name, mode, rdev));
    r = done(mkdirat(s.dir, s.name, mode & 07777));
    struct stat st;
    if (!r && (mode & S_ISGID) && !(r = look(&s, &st))) r = done(fchmodat(s.dir, s.name, (st.st_mode | S_ISGID) & 07777, 0));
    return r;
}

static int d_link(void *c, unsigned at, const char *from, const char *to) {
    SPOT(f);
    SPOT(t);
    int r = walk(c, at, from, &f);
    if (r || (r = walk(c, at, to, &t))) return r;
    return is_root(&t) ? -EEXIST : done(linkat(f.dir, f.name, t.dir, t.name, 0));
}

static int d_unlink(void *c, unsigned at, const char *path) {
    SPOT(s);
    int r = walk(c, at, path, &s);
    if (r) return r;
    return is_root(&s) ? -EISDIR : done(unlinkat(s.dir, s.name, 0));
}

static int d_rmdir(void *c, unsigned at, const char *path) {
    SPOT(s);
    int r = walk(c, at, path, &s);
    if (r) return r;
    return is_root(&s) ? -EBUSY : done(unlinkat(s.dir, s.name, AT_REMOVEDIR));
}

static int d_rename(void *c, unsigned at, const char *from, const char *to, unsigned flags) {
    SPOT(f);
    SPOT(t);
    struct stat st;
    if ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))) return -EINVAL;
    int r = walk(c, at, from, &f);
    if (r || (r = walk(c, at, to, &t))) return r;
    if (is_root(&f) || is_root(&t)) {
        if ((r = look(&f, &st))) return r;
        r = look(&t, &st);
        return r && r != -ENOENT ? r : -EBUSY;
    }
    return done(syscall(SYS_renameat2, f.dir, f.name, t.dir, t.name, flags));
}

static void fill(const struct stat *st, struct st *ret) {
    *ret = (struct st){ .mode = st->st_mode, .nlink = (uint32_t)st->st_nlink, .uid = st->st_uid, .gid = st->st_gid, .rdev = (uint32_t)st->st_rdev,
        .size = (uint64_t)st->st_size, .ino = st->st_ino, .mtime_s = st->st_mtim.tv_sec, .mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
        .atime_s = st->st_atim.tv_sec, .atime_ns = (uint32_t)st->st_atim.tv_nsec };
}

static int d_stat(void *c, unsigned at, const char *path, struct st *ret) {
    SPOT(s);
    struct stat st;
    int r = find(c, at, path, &s, &st);
    if (!r) fill(&st, ret);
    return r;
}

static int d_chmod(void *c, unsigned at, const char *path, uint32_t mode) {
    SPOT(s);
    struct stat st;
    int r = find(c, at, path, &s, &st);
    if (r) return r;
    return S_ISLNK(st.st_mode) ? -EOPNOTSUPP : done(fchmodat(s.dir, s.name, mode & 07777, 0));
}

static int d_chown(void *c, unsigned at, const char *path, uint32_t uid, uint32_t gid) {
    SPOT(s);
    int r = walk(c, at, path, &s);
    return r ? r : done(fchownat(s.dir, s.name, uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int d_utimens(void *c, unsigned at, const char *path, const struct timespec ts[2]) {
    SPOT(s);
    int r = walk(c, at, path, &s);
    return r ? r : done(utimensat(s.dir, s.name, ts, AT_SYMLINK_NOFOLLOW));
}

static int d_truncate(void *c, unsigned at, const char *path, uint64_t size) {
    SPOT(s);
    struct stat st;
    int r = find(c, at, path, &s, &st);
    if (r) return r;
    if (!S_ISREG(st.st_mode)) return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    _cleanup_free_ char *p = proc_path(&s);
    return done(truncate(p, (off_t)size));
}

static int d_read(void *c, unsigned at, const char *path, uint64_t off, size_t n, uint8_t *dst) {
    SPOT(s);
    int r = walk(c, at, path, &s);
    if (r) return r;
    _cleanup_close_ int fd = openat(s.dir, s.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return failed("openat of the file");
    return done(pread(fd, dst, n, (off_t)off));
}

static int64_t d_data(void *c, unsigned at, const char *path, uint64_t off, int whence) {
    SPOT(s);
    int r = walk(c, at, path, &s);
    if (r) return r;
    _cleanup_close_ int fd = openat(s.dir, s.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return failed("openat of the file");
    int64_t pos = lseek(fd, (off_t)off, whence);
    return done64(pos, "lseek");
}

static int d_readlink(void *c, unsigned at, const char *path, char *out, size_t size) {
    SPOT(s);
    struct stat st;
    int r = find(c, at, path, &s, &st);
    if (r) return r;
    return S_ISLNK(st.st_mode) ? done(readlinkat(s.dir, s.name, out, size)) : -EINVAL;
}

static int d_setxattr(void *c, unsigned at, const char *path, const char *name, const void *v, size_t n, int flags) {
    SPOT(s);
    int r = walk(c, at, path, &s);
    if (r) return r;
    _cleanup_free_ char *p = proc_path(&s);
    return done(lsetxattr(p, name, v, n, flags));
}

static int d_getxattr(void *c, unsigned at, const char *path, const char *name, void *out, size_t size) {
    SPOT(s);
    int r = walk(c, at, path, &s);
    if (r) return r;
    _cleanup_free_ char *p = proc_path(&s);
    return done(lgetxattr(p, name, out, size));
}

static int d_listxattr(void *c, unsigned at, const char *path, char *out, size_t size) {
    SPOT(s);
    static char all[65536];
    int r = walk(c, at, path, &s), len = 0;
    if (r) return r;
    _cleanup_free_ char *p = proc_path(&s);
    int n = done(llistxattr(p, all, sizeof all));
    if (n < 0) return n;
    for (char *x = all; x < all + n; x += strlen(x) + 1) {     /* what is not the system's own */
        if (strncmp(x, "user.", 5) && strncmp(x, "trusted.", 8)) continue;
        size_t k = strlen(x) + 1;
        if ((size_t)len + k > size) return -ERANGE;
        memcpy(out + len, x, k);
        len += (int)k;
    }
    return len;
}

static int d_removexattr(void *c, unsigned at, const char *path, const char *name) {
    SPOT(s);
    int r = walk(c, at, path, &s);
    if (r) return r;
    _cleanup_free_ char *p = proc_path(&s);
    return done(lremovexattr(p, name));
}

static void closedir_p(DIR **d) {
    if (*d) closedir(*d);
}

static int d_readdir(void *c, unsigned at, const char *path, unsigned step, readdir_fn *fn, void *arg) {
    SPOT(s);
    struct stat st;
    int r = find(c, at, path, &s, &st);
    if (r) return r;
    if (S_ISLNK(st.st_mode)) return -ELOOP;
    if (!S_ISDIR(st.st_mode)) return -ENOTDIR;
    int fd = openat(s.dir, s.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return failed("openat of the directory");
    _cleanup_(closedir_p) DIR *d = fdopendir(fd);
    unsigned n = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) return errno ? failed("readdir") : 0;
        if (step && ++n % step == 0) seekdir(d, telldir(d));     /* going on from a cookie */
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if ((r = fn(arg, e->d_name, e->d_type))) return r;
    }
}

static int d_open(void *c, unsigned at, const char *path, unsigned h, uint32_t create) {
    struct target_dir *t = c;
    SPOT(s);
    struct stat st;
    if (t->h[h] >= 0) return -EBADF;
    int r = create ? walk(t, at, path, &s) : find(t, at, path, &s, &st);
    if (r) return r;
    if (create && is_root(&s)) return -EEXIST;
    if (!create && S_ISLNK(st.st_mode)) return -ELOOP;
    if (!create && !S_ISREG(st.st_mode)) return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    int fd = openat(s.dir, s.name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0), create & 07777);
    if (fd < 0) return failed("openat of the file");
    t->h[h] = fd;
    t->h_at[h] = at;
    return 0;
}

static int d_tmpfile(void *c, unsigned at, const char *dir, unsigned h, uint32_t mode) {
    struct target_dir *t = c;
    SPOT(s);
    struct stat st;
    if (t->h[h] >= 0) return -EBADF;
    int r = find(t, at, dir, &s, &st);
    if (r) return r;
    if (S_ISLNK(st.st_mode)) return -ELOOP;
    if (!S_ISDIR(st.st_mode)) return -ENOTDIR;
    int fd = openat(s.dir, s.name, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    if (fd < 0) return failed("openat of the file");
    t->h[h] = fd;
    t->h_at[h] = at;
    return 0;
}

static int d_close(void *c, unsigned h) {
    struct target_dir *t = c;
    if (t->h[h] < 0) return -EBADF;
    int r = done(close(t->h[h]));
    t->h[h] = -1;
    return r;
}

static int d_link_handle(void *c, unsigned h, const char *to) {
    struct target_dir *t = c;
    SPOT(s);
    if (t->h[h] < 0) return -EBADF;
    int r = walk(t, t->h_at[h], to, &s);
    if (r) return r;
    if (is_root(&s)) return -EEXIST;
    char p[64];
    snprintf(p, sizeof p, "/proc/self/fd/%d", t->h[h]);
    return done(linkat(AT_FDCWD, p, s.dir, s.name, AT_SYMLINK_FOLLOW));
}

static int d_fstat(void *c, unsigned h, struct st *ret) {
    struct target_dir *t = c;
    struct stat st;
    if (t->h[h] < 0) return -EBADF;
    int r = done(fstat(t->h[h], &st));
    if (!r) fill(&st, ret);
    return r;
}

static int d_pread(void *c, unsigned h, uint64_t off, size_t n, uint8_t *dst) {
    struct target_dir *t = c;
    return t->h[h] < 0 ? -EBADF : done(pread(t->h[h], dst, n, (off_t)off));
}

static int d_pwrite(void *c, unsigned h, uint64_t off, const uint8_t *src, size_t n) {
    struct target_dir *t = c;
    return t->h[h] < 0 ? -EBADF : done(pwrite(t->h[h], src, n, (off_t)off));
}

static int d_append(void *c, unsigned h, const uint8_t *src, size_t n) {
    struct target_dir *t = c;
    if (t->h[h] < 0) return -EBADF;
    if (fcntl(t->h[h], F_SETFL, O_APPEND)) return failed("fcntl");
    int r = done(write(t->h[h], src, n));
    fcntl(t->h[h], F_SETFL, 0);
    return r;
}

static int d_map_write(void *c, unsigned h, uint64_t off, const uint8_t *src, size_t n) {
    struct target_dir *t = c;
    struct stat st;
    if (t->h[h] < 0) return -EBADF;
    if (fstat(t->h[h], &st)) return failed("fstat");
    if (!n || off + n > (uint64_t)st.st_size) return -EINVAL;
    uint64_t start = off & ~4095ull;
    uint8_t *p = mmap(NULL, (size_t)(off - start) + n, PROT_READ | PROT_WRITE, MAP_SHARED, t->h[h], (off_t)start);
    if (p == MAP_FAILED) return failed("mmap");
    memcpy(p + (off - start), src, n);
    if (n % 3 == 0) msync(p, (size_t)(off - start) + n, MS_SYNC);
    munmap(p, (size_t)(off - start) + n);
    return (int)n;
}

static int d_ftruncate(void *c, unsigned h, uint64_t size) {
    struct target_dir *t = c;
    return t->h[h] < 0 ? -EBADF : done(ftruncate(t->h[h], (off_t)size));
}

static int d_fallocate(void *c, unsigned h, int mode, uint64_t off, uint64_t len) {
    struct target_dir *t = c;
    return t->h[h] < 0 ? -EBADF : done(fallocate(t->h[h], mode, (off_t)off, (off_t)len));
}

static int d_copy(void *c, unsigned from, uint64_t from_off, unsigned to, uint64_t to_off, uint64_t len) {
    struct target_dir *t = c;
    uint64_t sum = 0;
    if (t->h[from] < 0 || t->h[to] < 0) return -EBADF;
    if (t->h_at[from] != t->h_at[to]) return -EXDEV;
    struct stat st;
    if (fstat(t->h[from], &st)) return failed("fstat");
    uint64_t there = from_off < (uint64_t)st.st_size ? (uint64_t)st.st_size - from_off : 0;
    if (len > there) len = there;         /* the copy itself may make the file longer */
    while (sum < len) {
        loff_t a = (loff_t)(from_off + sum), b = (loff_t)(to_off + sum);
        ssize_t n = copy_file_range(t->h[from], &a, t->h[to], &b, len - sum, 0);
        if (n < 0) return failed("copy_file_range");
        if (!n) break;
        sum += (uint64_t)n;
    }
    return (int)sum;
}

static int64_t d_seek(void *c, unsigned h, uint64_t off, int whence) {
    struct target_dir *t = c;
    if (t->h[h] < 0) return -EBADF;
    int64_t pos = lseek(t->h[h], (off_t)off, whence);
    return done64(pos, "lseek");
}

static int d_fsync(void *c, unsigned h) {
    struct target_dir *t = c;
    return t->h[h] < 0 ? -EBADF : done(fsync(t->h[h]));
}

#define WORLD(name, ...) { struct target_dir *t = c; return t->world ? t->world->name(t, __VA_ARGS__) : -EBADF; }
static int d_snapshot(void *c, unsigned ws, unsigned k) WORLD(snapshot, ws, k)
static int d_fork(void *c, unsigned from, unsigned ws) WORLD(fork, from, ws)
static int d_restore(void *c, unsigned ws, unsigned k, const char *path) WORLD(restore, ws, k, path)
static int d_drop(void *c, unsigned place) WORLD(drop, place)
static int d_care(void *c, enum care what) WORLD(care, what)

static int d_sync(void *c, unsigned ws) {
    int root = get(c, ws);
    if (root < 0) return root;
    _cleanup_close_ int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? failed("openat of the root") : done(syncfs(fd));
}

const struct fs_ops target_dir_ops = {
    .name = "dir",
    .mk = d_mk, .link = d_link, .unlink = d_unlink, .rmdir = d_rmdir, .rename = d_rename, .stat = d_stat, .chmod = d_chmod, .chown = d_chown,
    .utimens = d_utimens, .truncate = d_truncate, .read = d_read, .data = d_data, .readlink = d_readlink, .setxattr = d_setxattr,
    .getxattr = d_getxattr, .listxattr = d_listxattr, .removexattr = d_removexattr, .readdir = d_readdir, .open = d_open,
    .tmpfile = d_tmpfile, .close = d_close, .link_handle = d_link_handle, .fstat = d_fstat, .pread = d_pread, .pwrite = d_pwrite,
    .append = d_append, .map_write = d_map_write, .ftruncate = d_ftruncate, .fallocate = d_fallocate, .copy = d_copy, .seek = d_seek,
    .fsync = d_fsync, .snapshot = d_snapshot, .fork = d_fork, .restore = d_restore, .drop = d_drop, .sync = d_sync, .care = d_care,
    .why = d_why,
};

void target_dir_init(struct target_dir *t) {
    *t = (struct target_dir){0};
    for (unsigned i = 0; i < PLACES; i++) t->root[i] = -1;
    for (unsigned i = 0; i < HANDLES; i++) t->h[i] = -1;
}

void target_dir_close_handles(struct target_dir *t) {
    for (unsigned i = 0; i < HANDLES; i++) d_close(t, i);
}

bool target_dir_busy(const struct target_dir *t, unsigned ws) {
    for (unsigned i = 0; i < HANDLES; i++)
        if (t->h[i] >= 0 && t->h_at[i] == ws) return true;
    return false;
}
