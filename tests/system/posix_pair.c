/* As posix_fsx.c, with two files, each through a descriptor, a direct one, an appending one and a mapping that stay open, and by several processes: half
 * of the operations are done by a child. Bytes also go from one file to the other, and the files change their names. COPPICE_SEED repeats a run;
 * COPPICE_PAIR_OPS sets its length. */
#include "tests/system/posix.h"

#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

enum { MAX = 600 * 1024, LOG = 30, PAGE = 4096 };

struct file { size_t size; unsigned char model[MAX]; char name; };
static struct world {                     /* shared with the children */
    struct file f[2];
    uint64_t state;
    unsigned long long ops;
    struct { const char *op; int file; size_t a, b, n; } log[LOG];
} *w;
static struct open_file { int fd, direct, append; unsigned char *map; } o[2];
static unsigned char *buf;

static uint64_t next(void)
{
    w->state ^= w->state << 13;
    w->state ^= w->state >> 7;
    return w->state ^= w->state << 17;
}

static size_t below(size_t n) { return n ? (size_t)(next() % n) : 0; }

static size_t offset(size_t limit)
{
    size_t x = next() % 3 == 0 ? below(limit) : next() % 2 ? below(limit) & ~(size_t)(PAGE - 1) : (size_t[]){ 0, 2048, PAGE, 131072, 262144 }[next() % 5] + below(3);

    return x < limit ? x : below(limit);
}

static size_t length(size_t most)
{
    size_t n = next() % 4 == 0 ? below(150000) : next() % 2 ? below(5000) : PAGE * (1 + below(20));

    return n < most ? n : most;
}

static void note(const char *op, int i, size_t a, size_t b, size_t n)
{
    w->log[w->ops % LOG].op = op;
    w->log[w->ops % LOG].file = i;
    w->log[w->ops % LOG].a = a;
    w->log[w->ops % LOG].b = b;
    w->log[w->ops % LOG].n = n;
}

static bool wrong(const char *how, long long got, long long want)
{
    failed(__FILE__, __LINE__, "op %llu, %s: %lld, not %lld (%s)", w->ops, how, got, want, strerror(errno));
    for (unsigned long long k = w->ops < LOG ? 0 : w->ops - LOG + 1; k <= w->ops; k++)
        fprintf(stderr, "    %llu %s of %c: %zu %zu %zu\n", k, w->log[k % LOG].op, 'a' + w->log[k % LOG].file, w->log[k % LOG].a, w->log[k % LOG].b, w->log[k % LOG].n);
    return false;
}

static bool expect(long long got, long long want, const char *how) { return got == want || wrong(how, got, want); }

static bool compare(const unsigned char *got, int i, size_t off, size_t n, const char *how)
{
    if (!n || !memcmp(got, w->f[i].model + off, n))
        return true;
    for (size_t k = 0; k < n; k++)
        if (got[k] != w->f[i].model[off + k]) {
            fprintf(stderr, "    first at byte %zu of %zu\n", off + k, w->f[i].size);
            return wrong(how, got[k], w->f[i].model[off + k]);
        }
    return true;
}

static void put_model(int i, size_t off, const unsigned char *p, size_t n)
{
    memmove(w->f[i].model + off, p, n);
    if (n && off + n > w->f[i].size)
        w->f[i].size = off + n;
}

static void fill(size_t n)
{
    memset(buf, (int)(next() | 1), n);
    for (size_t k = 0; k < n; k += 61)
        buf[k] = (unsigned char)next();
}

static long long by_ring(bool write_, int fd, void *p, size_t n, size_t off)
{
    struct io_uring_cqe *e;
    struct io_uring r;
    long long res = -ENOSYS;

    if (io_uring_queue_init(2, &r, 0))
        return write_ ? pwrite(fd, p, n, (off_t)off) : pread(fd, p, n, (off_t)off);
    if (write_)
        io_uring_prep_write(io_uring_get_sqe(&r), fd, p, (unsigned)n, off);
    else
        io_uring_prep_read(io_uring_get_sqe(&r), fd, p, (unsigned)n, off);
    if (io_uring_submit(&r) == 1 && !io_uring_wait_cqe(&r, &e))
        res = e->res;
    io_uring_queue_exit(&r);
    return res;
}

static bool do_write(int i)
{
    static const char *const names[] = { "write", "write dsync", "write by ring", "write direct", "append", "store" };
    unsigned how = (unsigned)below(6);
    bool direct = how == 3;
    size_t limit = how == 5 ? w->f[i].size : MAX, off = how == 4 ? w->f[i].size : offset(limit), n = length(limit - off);
    struct iovec v[2];
    long long r = (long long)n;

    if (direct) {
        off &= ~(size_t)(PAGE - 1);
        n = (n + PAGE - 1) & ~(size_t)(PAGE - 1);
        n = off + n > MAX ? MAX - off : n;
    }
    note(names[how], i, off, 0, n);
    if (!n || (direct && o[i].direct < 0))
        return true;
    fill(n);
    v[0] = (struct iovec){ buf, n / 3 };
    v[1] = (struct iovec){ buf + n / 3, n - n / 3 };
    switch (how) {
    case 0: r = pwritev(o[i].fd, v, 2, (off_t)off); break;
    case 1: r = pwritev2(o[i].fd, v, 2, (off_t)off, RWF_DSYNC); break;
    case 2: r = by_ring(true, o[i].fd, buf, n, off); break;
    case 3: r = next() % 2 ? pwrite(o[i].direct, buf, n, (off_t)off) : by_ring(true, o[i].direct, buf, n, off); break;
    case 4: r = write(o[i].append, buf, n); break;
    default: memcpy(o[i].map + off, buf, n);
    }
    put_model(i, off, buf, n);
    return expect(r, (long long)n, names[how]);
}

static bool do_read(int i)
{
    static const char *const names[] = { "read", "read by ring", "read direct", "load", "load privately" };
    unsigned how = (unsigned)below(5);
    size_t off = offset(w->f[i].size + 1), n = length(MAX - off), want;
    bool ok = true;

    if (how == 2) {
        off &= ~(size_t)(PAGE - 1);
        n = (n + PAGE - 1) & ~(size_t)(PAGE - 1);
    }
    want = off < w->f[i].size ? w->f[i].size - off : 0;
    want = n < want ? n : want;
    note(names[how], i, off, 0, n);
    if (!n || (how == 2 && o[i].direct < 0))
        return true;
    if (how == 3)
        return compare(o[i].map + off, i, off, want, names[how]);
    if (how == 4) {
        unsigned char *m = mmap(NULL, MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE, o[i].fd, 0);
        ok = m != MAP_FAILED && compare(m + off, i, off, want, names[how]);
        if (want)
            m[off] = 77;                  /* nobody sees it */
        munmap(m, MAX);
        return ok;
    }
    long long r = how == 1 ? by_ring(false, o[i].fd, buf, n, off) : pread(how == 2 ? o[i].direct : o[i].fd, buf, n, (off_t)off);
    return expect(r, (long long)want, names[how]) && compare(buf, i, off, want, names[how]);
}

static bool do_size(int i)
{
    size_t to = offset(MAX);
    struct file *f = &w->f[i];

    note("truncate", i, to, 0, 0);
    if (to < f->size)
        memset(f->model + to, 0, f->size - to);
    f->size = to;
    return expect(ftruncate(o[i].fd, (off_t)to), 0, "truncate");
}

static bool do_fallocate(int i)
{
    static const int modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, FALLOC_FL_KEEP_SIZE,
        FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE };
    int mode = modes[next() % 7];
    size_t off = offset(MAX), n = length(MAX - off);
    struct file *f = &w->f[i];

    note("fallocate", i, off, (size_t)mode, n);
    if (!n || (!on_coppice && mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)))
        return true;
    int r = fallocate(o[i].fd, mode, (off_t)off, (off_t)n);
    if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE) || (r && errno == EOPNOTSUPP && !on_coppice))
        return expect(r ? errno : 0, EOPNOTSUPP, "collapse or insert");
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && off < f->size)
        memset(f->model + off, 0, (off + n < f->size ? off + n : f->size) - off);
    if (!(mode & FALLOC_FL_KEEP_SIZE) && off + n > f->size)
        f->size = off + n;
    return expect(r, 0, "fallocate");
}

static long long splice_over(int in, loff_t *from, int out, loff_t *to, size_t n)
{
    long long done = 0;
    ssize_t r;
    int p[2];

    if (pipe(p))
        return -1;
    while ((size_t)done < n && (r = splice(in, from, p[1], NULL, n - (size_t)done, 0)) > 0)
        for (ssize_t k; r > 0; r -= k, done += k)
            if ((k = splice(p[0], NULL, out, to, (size_t)r, 0)) <= 0) {
                close(p[0]);
                close(p[1]);
                return -1;
            }
    close(p[0]);
    close(p[1]);
    return done;
}

/* From file i to the other one, or within it. */
static bool do_copy(int i)
{
    static const char *const names[] = { "copy", "copy aligned", "sendfile", "splice", "clone" };
    unsigned how = (unsigned)below(5);
    int j = next() % 3 ? !i : i;
    size_t mask = how == 1 ? ~(size_t)(PAGE - 1) : ~(size_t)0, from = offset(w->f[i].size) & mask, to = offset(MAX) & mask, n = length(w->f[i].size - from);
    loff_t a = (loff_t)from, z = (loff_t)to;
    long long r = 0;

    n = n < MAX - to ? n : MAX - to;
    note(names[how], i, from, to, n);
    if (!n || (i == j && from < to + n && to < from + n))
        return true;
    if (how == 4) {
        r = on_coppice ? ioctl(o[j].fd, FICLONE, o[i].fd) : -1;
        return expect(r < 0 && (!on_coppice || errno == EOPNOTSUPP), true, "clone");
    }
    if (how == 3) {
        r = splice_over(o[i].fd, &a, o[j].fd, &z, n);
    } else if (how == 2) {
        OK(lseek(o[j].fd, (off_t)to, SEEK_SET));
        for (ssize_t k = 1; (size_t)r < n && k > 0; r += k > 0 ? k : 0)
            k = sendfile(o[j].fd, o[i].fd, &a, n - (size_t)r);
    } else {
        for (ssize_t k = 1; (size_t)r < n && k > 0; r += k > 0 ? k : 0)
            k = copy_file_range(o[i].fd, &a, o[j].fd, &z, n - (size_t)r, 0);
    }
    put_model(j, to, w->f[i].model + from, n);
    return expect(r, (long long)n, names[how]);
}

static bool do_sync(int i)
{
    static const char *const names[] = { "fsync", "fdatasync", "msync", "sync_file_range", "forget pages", "syncfs" };
    unsigned how = (unsigned)below(6);
    int r = 0;

    note(names[how], i, 0, 0, 0);
    switch (how) {
    case 0: r = fsync(o[i].fd); break;
    case 1: r = fdatasync(o[i].fd); break;
    case 2: r = msync(o[i].map, MAX, next() % 2 ? MS_SYNC : MS_ASYNC); break;
    case 3: r = sync_file_range(o[i].fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER); break;
    case 4: r = posix_fadvise(o[i].fd, 0, 0, POSIX_FADV_DONTNEED); break;
    default: r = syncfs(o[i].fd);
    }
    return expect(r, 0, names[how]);
}

static bool do_seek(int i)
{
    size_t from = offset(w->f[i].size), end = w->f[i].size;

    note("seek", i, from, 0, 0);
    if (from >= end)
        return true;
    off_t data = lseek(o[i].fd, (off_t)from, SEEK_DATA);
    end = data < 0 ? end : (size_t)data;
    for (size_t k = from; k < end; k++)
        if (w->f[i].model[k])
            return wrong("SEEK_DATA", data, (long long)k);
    return true;
}

static bool check_all(int i, const char *how)
{
    struct stat st = { 0 };

    OK(fstat(o[i].fd, &st));
    return expect(st.st_size, (long long)w->f[i].size, "the size") && expect(pread(o[i].fd, buf, MAX, 0), (long long)w->f[i].size, "reading all") &&
        compare(buf, i, 0, w->f[i].size, how) && compare(o[i].map, i, 0, w->f[i].size, "the mapping");
}

static void open_file(int i)
{
    char name[2] = { w->f[i].name, 0 };

    OK(o[i].fd = open(name, O_RDWR | O_CREAT, 0644));
    OK(o[i].append = open(name, O_WRONLY | O_APPEND));
    o[i].direct = open(name, O_RDWR | O_DIRECT);
    o[i].map = mmap(NULL, MAX, PROT_READ | PROT_WRITE, MAP_SHARED, o[i].fd, 0);
    T(o[i].map != MAP_FAILED);
}

static void close_file(int i)
{
    OK(munmap(o[i].map, MAX));
    OK(close(o[i].fd));
    OK(close(o[i].append));
    close(o[i].direct);
}

static bool do_rename(void)
{
    char c = w->f[0].name;

    note("exchange names", 0, 0, 0, 0);
    w->f[0].name = w->f[1].name;
    w->f[1].name = c;
    return expect(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE), 0, "exchange");
}

/* What any process may do. */
static bool step(unsigned k, int i)
{
    if (k < 30)
        return do_write(i);
    if (k < 55)
        return do_read(i);
    if (k < 64)
        return do_size(i);
    if (k < 73)
        return do_fallocate(i);
    if (k < 84)
        return do_copy(i);
    if (k < 90)
        return do_sync(i);
    return k < 93 ? do_seek(i) : k < 95 ? do_rename() : check_all(i, "all");
}

static bool do_reopen(void)
{
    bool anew = next() % 6 == 0;

    note(anew ? "remount" : "reopen", 0, 0, 0, 0);
    close_file(0);
    close_file(1);
    if (anew)
        remount();
    open_file(0);
    open_file(1);
    return check_all(0, "reopen") && check_all(1, "reopen");
}

static bool turn(void)
{
    unsigned k = (unsigned)below(100);
    int i = (int)below(2), st;

    if (k >= 97) {
        if (k == 99)
            return do_reopen();
        note("freeze", i, 0, 0, 0);
        freeze();
        return true;
    }
    if (next() % 4)
        return step(k, i);
    fflush(NULL);
    pid_t pid = fork();
    if (!pid)
        _exit(!step(k, i));
    return expect(waitpid(pid, &st, 0), pid, "waitpid") && expect(st, 0, "in a child");
}

static void random_operations_of_processes_match_the_bytes(void)
{
    const char *s = getenv("COPPICE_PAIR_OPS");
    unsigned long long n = s ? strtoull(s, NULL, 0) : 3000;

    w = mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    buf = mmap(NULL, MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    T(w != MAP_FAILED && buf != MAP_FAILED);
    w->state = seed_of("pair") * 2654435761u + 1;
    for (int i = 0; i < 2; i++) {
        w->f[i].name = (char)('a' + i);
        open_file(i);
    }
    while (w->ops < n && turn())
        w->ops++;
    if (w->ops == n)
        do_reopen();
}

const struct posix_test posix_pair_tests[] = {
    { "random_operations_of_processes_match_the_bytes", random_operations_of_processes_match_the_bytes },
    { 0 }
};
