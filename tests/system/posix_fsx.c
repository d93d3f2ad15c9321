/* Random operations on one file against its bytes in memory, by every way that bytes get in and out; the file is reopened, and read again after
 * the mount was made anew. COPPICE_SEED repeats a run; COPPICE_FSX_OPS sets its length. */
#include "tests/system/posix.h"

#include <linux/falloc.h>
#include <sys/mman.h>

enum { MAX = 700000, LOG = 24 };

static unsigned char model[MAX], buf[MAX];
static size_t size;
static uint64_t state;
static int fd;
static struct { const char *op; size_t a, b, n; } history[LOG];
static unsigned long long ops;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static size_t below(size_t n) { return n ? (size_t)(next() % n) : 0; }

/* Often on, or near, a boundary of pages, slots or inline content. */
static size_t offset(size_t limit)
{
    static const size_t edges[] = { 0, 2048, 4096, 8192, 131072, 262144, 393216 };
    size_t o;

    switch (next() % 4) {
    case 0: o = below(limit); break;
    case 1: o = below(limit) & ~(size_t)4095; break;
    case 2: o = below(9000); break;
    default: o = edges[next() % 7] + below(5); o -= o >= 2 ? 2 : 0;
    }
    return o < limit ? o : below(limit);
}

static size_t length(size_t most)
{
    size_t n = next() % 3 == 0 ? below(200000) : next() % 2 ? below(6000) : 4096 * (1 + below(40));

    return n < most ? n : most;
}

static void note(const char *op, size_t a, size_t b, size_t n)
{
    history[ops % LOG].op = op;
    history[ops % LOG].a = a;
    history[ops % LOG].b = b;
    history[ops % LOG].n = n;
}

static void tell(void)
{
    for (unsigned long long i = ops < LOG ? 0 : ops - LOG + 1; i <= ops; i++)
        fprintf(stderr, "    %llu %s %zu %zu %zu\n", i, history[i % LOG].op, history[i % LOG].a, history[i % LOG].b, history[i % LOG].n);
}

static bool compare(const unsigned char *got, size_t off, size_t n, const char *how)
{
    for (size_t i = 0; i < n; i++) {
        if (got[i] != model[off + i]) {
            failed(__FILE__, __LINE__, "op %llu, by %s: byte %zu of %zu is %#x, not %#x", ops, how, off + i, size, got[i], model[off + i]);
            tell();
            return false;
        }
    }
    return true;
}

static bool expect(ssize_t got, size_t want, const char *how)
{
    if (got == (ssize_t)want)
        return true;
    failed(__FILE__, __LINE__, "op %llu: %s gives %zd, not %zu (%s)", ops, how, got, want, strerror(errno));
    tell();
    return false;
}

static void grown(size_t end)
{
    size = end > size ? end : size;
}

static bool do_write(bool by_map)
{
    size_t off = offset(by_map ? size : MAX), n = length((by_map ? size : MAX) - off);
    bool ok = true;

    note(by_map ? "mapwrite" : "write", off, 0, n);
    if (!n)
        return true;
    memset(buf, (int)(next() | 1), n);
    for (size_t i = 0; i < n; i += 97)
        buf[i] = (unsigned char)next();
    if (by_map) {
        size_t start = off & ~(size_t)4095;
        unsigned char *m = mmap(NULL, off + n - start, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)start);
        if (m == MAP_FAILED)
            return expect(-1, 0, "mmap");
        memcpy(m + (off - start), buf, n);
        if (next() % 4 == 0)
            OK(msync(m, off + n - start, MS_SYNC));
        munmap(m, off + n - start);
    } else {
        ok = expect(pwrite(fd, buf, n, (off_t)off), n, "write");
    }
    memcpy(model + off, buf, n);
    grown(off + n);
    return ok;
}

static bool do_read(bool by_map)
{
    size_t off = offset(size + 1), n = length(MAX - off), want = off < size ? size - off : 0;

    want = n < want ? n : want;
    note(by_map ? "mapread" : "read", off, 0, n);
    if (!by_map)
        return expect(pread(fd, buf, n, (off_t)off), want, "read") && compare(buf, off, want, "read");
    if (!want)
        return true;
    size_t start = off & ~(size_t)4095;
    unsigned char *m = mmap(NULL, off + want - start, PROT_READ, MAP_SHARED, fd, (off_t)start);
    bool ok = m != MAP_FAILED && compare(m + (off - start), off, want, "mapping");
    munmap(m, off + want - start);
    return ok;
}

static bool do_truncate(void)
{
    size_t to = offset(MAX);

    note("truncate", to, 0, 0);
    if (to < size)
        memset(model + to, 0, size - to);
    size = to;
    return expect(ftruncate(fd, (off_t)to), 0, "truncate");
}

static bool do_fallocate(void)
{
    static const int modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
        FALLOC_FL_KEEP_SIZE };
    size_t off = offset(MAX), n = length(MAX - off);
    int mode = modes[next() % 5];

    note("fallocate", off, (size_t)mode, n);
    if (!n)
        return true;
    if (fallocate(fd, mode, (off_t)off, (off_t)n))
        return errno == EOPNOTSUPP && !on_coppice ? true : expect(-1, 0, "fallocate");
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && off < size)
        memset(model + off, 0, (off + n < size ? off + n : size) - off);
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        grown(off + n);
    return true;
}

static bool do_copy(void)
{
    size_t from = offset(size), n = length(size - from), to = offset(MAX);
    loff_t a, z;
    size_t done = 0;
    ssize_t r = 1;

    n = n < MAX - to ? n : MAX - to;
    if (from < to + n && to < from + n)
        return true;
    note("copy", from, to, n);
    for (a = (loff_t)from, z = (loff_t)to; done < n && r > 0; done += r > 0 ? (size_t)r : 0)
        r = copy_file_range(fd, &a, fd, &z, n - done, 0);
    if (!expect(r < 0 ? r : (ssize_t)done, n, "copy"))
        return false;
    if (n) {
        memcpy(buf, model + from, n);
        memcpy(model + to, buf, n);
        grown(to + n);
    }
    return true;
}

static bool do_append(void)
{
    size_t n = length(MAX - size);
    int afd = open("f", O_WRONLY | O_APPEND);

    note("append", size, 0, n);
    memset(buf, (int)next(), n);
    bool ok = expect(write(afd, buf, n), n, "append");
    memcpy(model + size, buf, n);
    size += n;
    close(afd);
    return ok;
}

static bool do_direct(bool write)
{
    static unsigned char page[65536] __attribute__((aligned(4096)));
    size_t off = offset(MAX) & ~(size_t)4095, n = 4096 * (1 + below(16));
    int dfd = open("f", O_RDWR | O_DIRECT);
    bool ok = true;

    note(write ? "dwrite" : "dread", off, 0, n);
    if (dfd < 0)
        return true;
    if (off + n > MAX) {
        close(dfd);
        return true;
    }
    if (write) {
        memset(page, (int)next(), n);
        ok = expect(pwrite(dfd, page, n, (off_t)off), n, "direct write");
        memcpy(model + off, page, n);
        grown(off + n);
    } else {
        size_t want = off < size ? size - off : 0;
        want = want < n ? want : n;
        ok = expect(pread(dfd, page, n, (off_t)off), want, "direct read") && compare(page, off, want, "direct read");
    }
    close(dfd);
    return ok;
}

/* Nothing that is called a hole holds anything. */
static bool do_seek(void)
{
    size_t from = offset(size);
    off_t hole, data;

    note("seek", from, 0, 0);
    if (from >= size)
        return true;
    hole = lseek(fd, (off_t)from, SEEK_HOLE);
    if (hole < (off_t)from || hole > (off_t)size)
        return expect(hole, size, "SEEK_HOLE");
    data = lseek(fd, (off_t)from, SEEK_DATA);
    if (data < 0)
        data = errno == ENXIO ? (off_t)size : -1;
    for (size_t i = from; i < (size_t)data; i++)
        if (model[i])
            return expect(data, i, "SEEK_DATA");
    return true;
}

static bool check_all(const char *how)
{
    struct stat st;

    note(how, 0, 0, 0);
    OK(fstat(fd, &st));
    return expect(st.st_size, size, "the size") && expect(pread(fd, buf, MAX, 0), size, "reading all") && compare(buf, 0, size, how);
}

static bool do_reopen(bool anew)
{
    OK(close(fd));
    if (anew)
        remount();
    fd = open("f", O_RDWR);
    return check_all(anew ? "remount" : "reopen");
}

static bool step(void)
{
    uint64_t k = next() % 100;

    if (k < 18)
        return do_write(false);
    if (k < 30)
        return do_write(true);
    if (k < 42)
        return do_read(false);
    if (k < 52)
        return do_read(true);
    if (k < 62)
        return do_truncate();
    if (k < 72)
        return do_fallocate();
    if (k < 80)
        return do_copy();
    if (k < 84)
        return do_append();
    if (k < 90)
        return do_direct(k % 2);
    if (k < 94)
        return do_seek();
    if (k < 96) {
        note("fsync", 0, 0, 0);
        return expect(fsync(fd), 0, "fsync");
    }
    if (k < 98) {
        note("freeze", 0, 0, 0);
        freeze();
        return true;
    }
    return do_reopen(next() % 8 == 0);
}

static void random_operations_match_the_bytes(void)
{
    const char *s = getenv("COPPICE_FSX_OPS");
    unsigned long long n = s ? strtoull(s, NULL, 0) : 4000;

    state = seed_of("fsx") * 2654435761u + 1;
    fd = open_new("f", 0644);
    for (ops = 0; ops < n && step(); ops++) { }
    if (ops == n)
        do_reopen(true);
}

const struct posix_test posix_fsx_tests[] = { { "random_operations_match_the_bytes", random_operations_match_the_bytes }, { 0 } };
