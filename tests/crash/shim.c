/* LD_PRELOAD shim between a program and its store: records or fails what is done to files below one directory, RocksDB's included.
 *
 * A file is known by its inode number; a new file gets a new number in the log. One mutex is held over call and record, so the log's order
 * is the order of effects. The real calls are made by syscall(2): nothing here depends on what the C library calls inside itself. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/falloc.h>
#include "tests/crash/shim.h"

enum { FILES = 1 << 16, PATH = 4096 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH];
static size_t root_len;
static int log_fd = -1;
static dev_t root_dev;
static uint8_t buf[1 << 20];
static size_t buf_len;
static struct { uint64_t ino; uint32_t id; bool dir; } files[FILES];     /* open addressing by ino */
static uint32_t last_id;
static unsigned arm_classes;
static uint64_t arm_n, arm_seen;
static int arm_err;
static enum shim_how arm_how;

/* --- the table --- */

static unsigned slot_of(uint64_t ino) {
    unsigned i = (unsigned)(ino * 0x9e3779b97f4a7c15ull >> 48);
    while (files[i].ino && files[i].ino != ino) i = (i + 1) % FILES;
    return i;
}

static uint32_t id_set(uint64_t ino, bool dir) {
    unsigned i = slot_of(ino);
    files[i].ino = ino;
    files[i].dir = dir;
    return files[i].id = ++last_id;
}

/* Number of the file behind a descriptor, 0 = not ours. */
static uint32_t id_of(int fd, bool *ret_dir) {
    struct stat st;
    if (!root_len || fstat(fd, &st) || st.st_dev != root_dev) return 0;
    unsigned i = slot_of(st.st_ino);
    if (ret_dir) *ret_dir = files[i].dir;
    return files[i].ino ? files[i].id : 0;
}

/* Path below the root in out, or false. */
static bool inside(int dirfd, const char *path, char *out) {
    char full[2 * PATH] = "";
    if (!root_len || !path) return false;
    if (path[0] != '/') {
        char link[64];
        snprintf(link, sizeof link, dirfd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dirfd);
        ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, full, PATH - 1);
        if (n < 0) return false;
        full[n] = 0;
    }
    size_t k = strlen(full);
    if (k) full[k++] = '/';
    snprintf(full + k, sizeof full - k, "%s", path);
    if (strncmp(full, root, root_len) || (full[root_len] && full[root_len] != '/')) return false;
    const char *rest = full + root_len;
    size_t n = 0;
    for (; *rest && n < PATH - 1; rest++)                  /* without doubled slashes and single dots */
        if (*rest == '/') {
            while (rest[1] == '/' || (rest[1] == '.' && (rest[2] == '/' || !rest[2]))) rest += rest[1] == '/' ? 1 : 2;
            if (n && rest[1]) out[n++] = '/';
        } else out[n++] = *rest;
    out[n] = 0;
    return true;
}

/* --- the log --- */

static void flush_log(void) {
    for (size_t at = 0; at < buf_len;) {
        long n = syscall(SYS_write, log_fd, buf + at, buf_len - at);
        if (n <= 0) abort();
        at += (size_t)n;
    }
    buf_len = 0;
}

static void put(const void *p, size_t n) {
    while (n) {
        size_t k = sizeof buf - buf_len < n ? sizeof buf - buf_len : n;
        memcpy(buf + buf_len, p, k);
        buf_len += k;
        p = (const uint8_t *)p + k;
        n -= k;
        if (buf_len == sizeof buf) flush_log();
    }
}

static void record(enum shim_type type, uint32_t file, uint64_t off, uint64_t len, const char *path, size_t path_len, const void *data, size_t data_len) {
    if (log_fd < 0) return;
    struct shim_rec r = { type, file, off, len, (uint32_t)path_len, (uint32_t)data_len };
    put(&r, sizeof r);
    put(path, path_len);
    put(data, data_len);
}

/* --- faults --- */

/* True: this call is to fail (errno set) or, *ret_short, to be shortened. */
static bool fault(unsigned class, bool *ret_short) {
    if (!(arm_classes & class)) return false;
    arm_seen++;
    if (!arm_n || arm_seen < arm_n || (arm_seen > arm_n && arm_how != SHIM_FROM_THEN_ON)) return false;
    if (arm_how == SHIM_SHORT) {
        if (ret_short) *ret_short = true;
        return false;
    }
    errno = arm_err;
    return true;
}

/* --- interposed calls --- */

#define EXPORT __attribute__((visibility("default")))

static int do_open(int dirfd, const char *path, int flags, unsigned mode) {
    char rel[PATH];
    if (!inside(dirfd, path, rel)) return (int)syscall(SYS_openat, dirfd, path, flags | O_LARGEFILE, mode);
    pthread_mutex_lock(&lock);
    struct stat st;
    bool there = !fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW);
    int fd = fault(SHIM_OPENS, NULL) ? -1 : (int)syscall(SYS_openat, dirfd, path, flags | O_LARGEFILE, mode);
    int e = errno;
    if (fd >= 0 && !fstat(fd, &st)) {
        if (!there) record(SHIM_CREATE, id_set(st.st_ino, false), 0, 0, rel, strlen(rel), NULL, 0);
        else if (!id_of(fd, NULL)) id_set(st.st_ino, S_ISDIR(st.st_mode));
        if (there && (flags & O_TRUNC)) record(SHIM_TRUNCATE, id_of(fd, NULL), 0, 0, NULL, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = e;
    return fd;
}

#define OPEN_MODE(flags) unsigned mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list ap; va_start(ap, flags); mode = va_arg(ap, unsigned); va_end(ap); }
int shim_open(const char *path, int flags, ...) __asm__("open");
int shim_open64(const char *path, int flags, ...) __asm__("open64");
int shim_openat(int d, const char *path, int flags, ...) __asm__("openat");
int shim_openat64(int d, const char *path, int flags, ...) __asm__("openat64");
int shim_open_2(const char *path, int flags) __asm__("__open_2");
int shim_open64_2(const char *path, int flags) __asm__("__open64_2");
int shim_creat(const char *path, unsigned mode) __asm__("creat");
EXPORT int shim_open(const char *path, int flags, ...) { OPEN_MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
EXPORT int shim_open64(const char *path, int flags, ...) { OPEN_MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
EXPORT int shim_openat(int d, const char *path, int flags, ...) { OPEN_MODE(flags) return do_open(d, path, flags, mode); }
EXPORT int shim_openat64(int d, const char *path, int flags, ...) { OPEN_MODE(flags) return do_open(d, path, flags, mode); }
EXPORT int shim_open_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
EXPORT int shim_open64_2(const char *path, int flags) { return do_open(AT_FDCWD, path, flags, 0); }
EXPORT int shim_creat(const char *path, unsigned mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static ssize_t do_pwrite(int fd, const void *p, size_t n, off_t off) {
    uint32_t id = id_of(fd, NULL);
    if (!id) return syscall(SYS_pwrite64, fd, p, n, off);
    pthread_mutex_lock(&lock);
    bool cut = false;
    ssize_t r = -1;
    if (!fault(SHIM_WRITES, &cut)) r = syscall(SYS_pwrite64, fd, p, cut && n > 1 ? n / 2 : n, off);
    int e = errno;
    if (r > 0) record(SHIM_WRITE, id, (uint64_t)off, (uint64_t)r, NULL, 0, p, (size_t)r);
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}

static ssize_t do_write(int fd, const void *p, size_t n) {
    uint32_t id = id_of(fd, NULL);
    if (!id) return syscall(SYS_write, fd, p, n);
    pthread_mutex_lock(&lock);
    bool cut = false, append = fcntl(fd, F_GETFL) & O_APPEND;
    off_t off = lseek(fd, 0, append ? SEEK_END : SEEK_CUR);
    ssize_t r = -1;
    if (!fault(SHIM_WRITES, &cut)) r = syscall(SYS_write, fd, p, cut && n > 1 ? n / 2 : n);
    int e = errno;
    if (r > 0) record(SHIM_WRITE, id, (uint64_t)off, (uint64_t)r, NULL, 0, p, (size_t)r);
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}

/* One buffer after the other: a transfer that comes short in the middle ends there, as the kernel's may. */
static ssize_t do_pwritev(int fd, const struct iovec *v, int count, off_t off, bool at) {
    ssize_t sum = 0;
    if (!id_of(fd, NULL)) return at ? syscall(SYS_pwritev, fd, v, count, (long)off, 0L) : syscall(SYS_writev, fd, v, count);
    for (int i = 0; i < count; i++) {
        if (!v[i].iov_len) continue;
        ssize_t r = at ? do_pwrite(fd, v[i].iov_base, v[i].iov_len, off + sum) : do_write(fd, v[i].iov_base, v[i].iov_len);
        if (r < 0) return sum ? sum : -1;
        sum += r;
        if ((size_t)r < v[i].iov_len) break;
    }
    return sum;
}

ssize_t shim_write(int fd, const void *p, size_t n) __asm__("write");
ssize_t shim_pwrite(int fd, const void *p, size_t n, off_t off) __asm__("pwrite");
ssize_t shim_pwrite64(int fd, const void *p, size_t n, off_t off) __asm__("pwrite64");
ssize_t shim_writev(int fd, const struct iovec *v, int n) __asm__("writev");
ssize_t shim_pwritev(int fd, const struct iovec *v, int n, off_t off) __asm__("pwritev");
ssize_t shim_pwritev64(int fd, const struct iovec *v, int n, off_t off) __asm__("pwritev64");
EXPORT ssize_t shim_write(int fd, const void *p, size_t n) { return do_write(fd, p, n); }
EXPORT ssize_t shim_pwrite(int fd, const void *p, size_t n, off_t off) { return do_pwrite(fd, p, n, off); }
EXPORT ssize_t shim_pwrite64(int fd, const void *p, size_t n, off_t off) { return do_pwrite(fd, p, n, off); }
EXPORT ssize_t shim_writev(int fd, const struct iovec *v, int n) { return do_pwritev(fd, v, n, 0, false); }
EXPORT ssize_t shim_pwritev(int fd, const struct iovec *v, int n, off_t off) { return do_pwritev(fd, v, n, off, true); }
EXPORT ssize_t shim_pwritev64(int fd, const struct iovec *v, int n, off_t off) { return do_pwritev(fd, v, n, off, true); }

static ssize_t do_read(int fd, void *p, size_t n, off_t off, bool at) {
    bool cut = false;
    if ((arm_classes & SHIM_READS) && id_of(fd, NULL)) {
        pthread_mutex_lock(&lock);
        bool bad = fault(SHIM_READS, &cut);
        pthread_mutex_unlock(&lock);
        if (bad) return -1;
    }
    if (cut && n > 1) n /= 2;
    return at ? syscall(SYS_pread64, fd, p, n, off) : syscall(SYS_read, fd, p, n);
}

ssize_t shim_read(int fd, void *p, size_t n) __asm__("read");
ssize_t shim_pread(int fd, void *p, size_t n, off_t off) __asm__("pread");
ssize_t shim_pread64(int fd, void *p, size_t n, off_t off) __asm__("pread64");
ssize_t shim_pread_chk(int fd, void *p, size_t n, off_t off, size_t room) __asm__("__pread_chk");
ssize_t shim_pread64_chk(int fd, void *p, size_t n, off_t off, size_t room) __asm__("__pread64_chk");
ssize_t shim_read_chk(int fd, void *p, size_t n, size_t room) __asm__("__read_chk");
EXPORT ssize_t shim_read(int fd, void *p, size_t n) { return do_read(fd, p, n, 0, false); }
EXPORT ssize_t shim_pread(int fd, void *p, size_t n, off_t off) { return do_read(fd, p, n, off, true); }
EXPORT ssize_t shim_pread64(int fd, void *p, size_t n, off_t off) { return do_read(fd, p, n, off, true); }
EXPORT ssize_t shim_pread_chk(int fd, void *p, size_t n, off_t off, size_t room) { return n > room ? (abort(), -1) : do_read(fd, p, n, off, true); }
EXPORT ssize_t shim_pread64_chk(int fd, void *p, size_t n, off_t off, size_t room) { return n > room ? (abort(), -1) : do_read(fd, p, n, off, true); }
EXPORT ssize_t shim_read_chk(int fd, void *p, size_t n, size_t room) { return n > room ? (abort(), -1) : do_read(fd, p, n, 0, false); }

static int do_sync(int fd, long nr) {
    bool dir = false;
    uint32_t id = id_of(fd, &dir);
    if (!id) return (int)syscall(nr, fd);
    pthread_mutex_lock(&lock);
    char link[64], path[PATH], rel[PATH] = "";
    int r = fault(SHIM_SYNCS, NULL) ? -1 : 0, e = errno;
    if (!r && dir) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
        path[n > 0 ? n : 0] = 0;
        if (inside(AT_FDCWD, path, rel)) record(SHIM_DIRSYNC, id, 0, 0, rel, strlen(rel), NULL, 0);
    } else if (!r) record(SHIM_SYNC, id, 0, 0, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}

EXPORT int fsync(int fd) { return do_sync(fd, SYS_fsync); }
EXPORT int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }
/* Starts writing out, promises nothing. */
int shim_sync_file_range(int fd, off_t off, off_t n, unsigned flags) __asm__("sync_file_range");
EXPORT int shim_sync_file_range(int fd, off_t off, off_t n, unsigned flags) {
    if (!id_of(fd, NULL)) return (int)syscall(SYS_sync_file_range, fd, off, n, flags);
    pthread_mutex_lock(&lock);
    int r = fault(SHIM_SYNCS, NULL) ? -1 : 0;
    pthread_mutex_unlock(&lock);
    return r;
}

static int do_truncate(int fd, off_t size) {
    uint32_t id = id_of(fd, NULL);
    if (!id) return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int r = fault(SHIM_SPACE, NULL) ? -1 : (int)syscall(SYS_ftruncate, fd, size), e = errno;
    if (!r) record(SHIM_TRUNCATE, id, (uint64_t)size, 0, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}

int shim_ftruncate(int fd, off_t size) __asm__("ftruncate");
int shim_ftruncate64(int fd, off_t size) __asm__("ftruncate64");
EXPORT int shim_ftruncate(int fd, off_t size) { return do_truncate(fd, size); }
EXPORT int shim_ftruncate64(int fd, off_t size) { return do_truncate(fd, size); }

static int do_fallocate(int fd, int mode, off_t off, off_t len) {
    uint32_t id = id_of(fd, NULL);
    if (!id) return (int)syscall(SYS_fallocate, fd, mode, off, len);
    pthread_mutex_lock(&lock);
    int r = fault(SHIM_SPACE, NULL) ? -1 : (int)syscall(SYS_fallocate, fd, mode, off, len), e = errno;
    if (!r && (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))) record(SHIM_PUNCH, id, (uint64_t)off, (uint64_t)len, NULL, 0, NULL, 0);
    else if (!r && !(mode & FALLOC_FL_KEEP_SIZE)) record(SHIM_ALLOCATE, id, (uint64_t)off, (uint64_t)len, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}

int shim_fallocate(int fd, int mode, off_t off, off_t len) __asm__("fallocate");
int shim_fallocate64(int fd, int mode, off_t off, off_t len) __asm__("fallocate64");
EXPORT int shim_fallocate(int fd, int mode, off_t off, off_t len) { return do_fallocate(fd, mode, off, len); }
EXPORT int shim_fallocate64(int fd, int mode, off_t off, off_t len) { return do_fallocate(fd, mode, off, len); }

EXPORT int mkdirat(int d, const char *path, mode_t mode) {
    char rel[PATH];
    if (!inside(d, path, rel)) return (int)syscall(SYS_mkdirat, d, path, mode);
    pthread_mutex_lock(&lock);
    int r = fault(SHIM_NAMES, NULL) ? -1 : (int)syscall(SYS_mkdirat, d, path, mode), e = errno;
    struct stat st;
    if (!r && !fstatat(d, path, &st, 0)) record(SHIM_MKDIR, id_set(st.st_ino, true), 0, 0, rel, strlen(rel), NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}
EXPORT int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

EXPORT int unlinkat(int d, const char *path, int flags) {
    char rel[PATH];
    if (!inside(d, path, rel)) return (int)syscall(SYS_unlinkat, d, path, flags);
    pthread_mutex_lock(&lock);
    int r = fault(SHIM_NAMES, NULL) ? -1 : (int)syscall(SYS_unlinkat, d, path, flags), e = errno;
    if (!r) record(SHIM_UNLINK, 0, 0, 0, rel, strlen(rel), NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}
EXPORT int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
EXPORT int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

static int do_rename(int fd, const char *from, int td, const char *to, unsigned flags) {
    char a[2 * PATH], b[PATH];
    if (!inside(fd, from, a) || !inside(td, to, b)) return (int)syscall(SYS_renameat2, fd, from, td, to, flags);
    pthread_mutex_lock(&lock);
    int r = fault(SHIM_NAMES, NULL) ? -1 : (int)syscall(SYS_renameat2, fd, from, td, to, flags), e = errno;
    size_t n = strlen(a) + 1, k = strlen(b);
    memcpy(a + n, b, k);
    if (!r) record(SHIM_RENAME, 0, 0, 0, a, n + k, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = e;
    return r;
}
EXPORT int rename(const char *from, const char *to) { return do_rename(AT_FDCWD, from, AT_FDCWD, to, 0); }
EXPORT int renameat(int fd, const char *from, int td, const char *to) { return do_rename(fd, from, td, to, 0); }
EXPORT int renameat2(int fd, const char *from, int td, const char *to, unsigned flags) { return do_rename(fd, from, td, to, flags); }

/* --- control --- */

void shim_watch(const char *dir, int fd);
void shim_mark(uint64_t value);
void shim_flush(void);
void shim_arm(unsigned classes, uint64_t n, int err, enum shim_how how);
uint64_t shim_count(void);

EXPORT void shim_watch(const char *dir, int fd) {
    struct stat st;
    pthread_mutex_lock(&lock);
    snprintf(root, sizeof root, "%s", dir);
    root_len = strlen(root);
    log_fd = fd;
    if (!stat(dir, &st)) {
        root_dev = st.st_dev;
        id_set(st.st_ino, true);
    }
    pthread_mutex_unlock(&lock);
}

EXPORT void shim_mark(uint64_t value) {
    pthread_mutex_lock(&lock);
    record(SHIM_MARK, 0, value, 0, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
}

EXPORT void shim_flush(void) {
    pthread_mutex_lock(&lock);
    if (log_fd >= 0) flush_log();
    log_fd = -1;
    pthread_mutex_unlock(&lock);
}

EXPORT void shim_arm(unsigned classes, uint64_t n, int err, enum shim_how how) {
    pthread_mutex_lock(&lock);
    arm_classes = classes;
    arm_n = n;
    arm_seen = 0;
    arm_err = err;
    arm_how = how;
    pthread_mutex_unlock(&lock);
}

EXPORT uint64_t shim_count(void) {
    return arm_seen;
}
