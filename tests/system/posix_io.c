/* Reading and writing by every call that does it: positions, vectors, flags, limits, and what is refused. */
#include "tests/system/posix.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif
#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x40
#endif

enum { PAGE = 4096 };

static void positions_and_counts(void)
{
    char b[16] = { 0 };
    int fd = open_new("f", 0644), ro = open("f", O_RDONLY), wo = open("f", O_WRONLY), ap = open("f", O_RDWR | O_APPEND);

    SAME(write(fd, "0123456789", 10), 10);
    SAME(lseek(fd, 0, SEEK_CUR), 10);
    SAME(pread(fd, b, 4, 3), 4);
    SAME(lseek(fd, 0, SEEK_CUR), 10);     /* a position of its own leaves that of the file */
    SAME(read(fd, b, 4), 0);
    SAME(pread(fd, b, 4, 10), 0);
    SAME(pread(fd, b, 4, INT64_MAX - 4), 0);
    FAILS(pread(fd, b, 8, INT64_MAX - 4), EINVAL);
    FAILS(pread(fd, b, 4, -1), EINVAL);
    FAILS(pwrite(fd, b, 4, -1), EINVAL);
    FAILS(pwrite(fd, b, 8, INT64_MAX - 4), EINVAL);
    FAILS(read(wo, b, 1), EBADF);
    FAILS(write(ro, b, 1), EBADF);
    FAILS(pread(wo, b, 1, 0), EBADF);
    FAILS(pwrite(ro, b, 1, 0), EBADF);
    FAILS(read(open(".", O_RDONLY), b, 1), EISDIR);
    FAILS(pread(open(".", O_RDONLY), b, 1, 0), EISDIR);
    FAILS(write(open(".", O_RDONLY), b, 1), EBADF);
    SAME(read(fd, b, 0), 0);
    SAME(write(fd, b, 0), 0);
    FAILS(read(wo, b, 0), EBADF);
    SAME(pwrite(ap, "app", 3, 0), 3);     /* on Linux the end, wherever it is told to go */
    SAME(stat_of("f").st_size, 13);
    SAME(lseek(ap, 0, SEEK_CUR), 0);
    SAME(write(ap, "X", 1), 1);
    SAME(lseek(ap, 0, SEEK_CUR), 14);
    HAS("f", "0123456789appX");
    SAME(lseek(fd, 5, SEEK_END), 19);
    SAME(lseek(fd, -19, SEEK_CUR), 0);
    FAILS(lseek(fd, -1, SEEK_CUR), EINVAL);
    FAILS(lseek(fd, -15, SEEK_END), EINVAL);
    SAME(lseek(fd, 7, SEEK_SET), 7);
    SAME(lseek(fd, 0, SEEK_CUR), 7);
    if (on_coppice) {
        SAME(lseek(fd, INT64_MAX, SEEK_SET), INT64_MAX);
        FAILS(lseek(fd, 1, SEEK_CUR), EINVAL);
        FAILS(write(fd, "x", 1), EINVAL);
    }
}

static void vectors_are_filled_in_order(void)
{
    char a[3] = "abc", c[5] = "defgh", x[4] = { 0 }, y[8] = { 0 };
    struct iovec out[3] = { { a, 3 }, { NULL, 0 }, { c, 5 } }, in[2] = { { x, 4 }, { y, 8 } }, many[IOV_MAX + 1];
    int fd = open_new("f", 0644);

    SAME(writev(fd, out, 3), 8);
    SAME(pwritev(fd, out, 3, 8), 8);
    SAME(preadv(fd, in, 2, 2), 12);
    T(!memcmp(x, "cdef", 4) && !memcmp(y, "ghabcdef", 8));
    SAME(preadv(fd, in, 2, 10), 6);
    T(!memcmp(x, "cdef", 4) && !memcmp(y, "gh", 2));
    SAME(readv(fd, in, 0), 0);
    FAILS(writev(fd, many, IOV_MAX + 1), EINVAL);
    FAILS(preadv(fd, in, 2, -1), EINVAL);
    in[1].iov_len = (size_t)-1;
    FAILS(readv(fd, in, 2), EINVAL);
    for (int i = 0; i < IOV_MAX; i++)
        many[i] = (struct iovec){ a + i % 3, 1 };
    SAME(pwritev(fd, many, IOV_MAX, 0), IOV_MAX);
    SAME(stat_of("f").st_size, IOV_MAX);
    SAME(pread(fd, y, 7, 1017), 7);
    T(!memcmp(y, "abcabca", 7));
}

static void bad_memory_is_refused(void)
{
    int fd = open_new("f", 0644);
    char *m = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    memset(m, 'm', PAGE);
    OK(munmap(m + PAGE, 2 * PAGE));
    FAILS(write(fd, m + PAGE, 10), EFAULT);
    SAME(stat_of("f").st_size, 0);
    ssize_t n = write(fd, m + PAGE - 10, 20);             /* what there is, or nothing */
    int e = n < 0 ? errno : 0;
    T(n == 10 || e == EFAULT);
    SAME(stat_of("f").st_size, n < 0 ? 0 : n);
    OK(ftruncate(fd, 0));
    SAME(pwrite(fd, m, PAGE, 0), PAGE);
    FAILS(pread(fd, m + PAGE, 10, 0), EFAULT);
    n = pread(fd, m + PAGE - 10, 20, 0);
    e = n < 0 ? errno : 0;
    T(n == 10 || e == EFAULT);
    FAILS(writev(fd, (struct iovec *)(void *)(m + PAGE), 1), EFAULT);
    SAME(stat_of("f").st_size, PAGE);
    int direct = open("f", O_RDWR | O_DIRECT);
    if (direct < 0)
        return;
    FAILS(pwrite(direct, (void *)PAGE, PAGE, 0), EFAULT);
    FAILS(pread(direct, m + PAGE, PAGE, 0), EFAULT);
    SAME(pread(fd, m, PAGE, 0), PAGE);
    T(m[0] == 'm' && m[PAGE - 1] == 'm');
}

static void calls_may_carry_flags(void)
{
    char b[16] = { 0 };
    struct iovec v = { (char[]){ "flags" }, 5 }, r = { b, sizeof b };
    int fd = open_new("f", 0644), ap = open("f", O_RDWR | O_APPEND);
    ssize_t n;

    SAME(pwritev2(fd, &v, 1, 0, 0), 5);
    SAME(pwritev2(fd, &v, 1, 0, RWF_APPEND), 5);
    SAME(stat_of("f").st_size, 10);
    SAME(pwritev2(fd, &v, 1, -1, RWF_DSYNC), 5);          /* -1: the file's own position, 0 so far */
    SAME(pwritev2(fd, &v, 1, -1, RWF_SYNC), 5);
    SAME(lseek(fd, 0, SEEK_CUR), 10);
    SAME(stat_of("f").st_size, 10);
    SAME(pwritev2(fd, &v, 1, 0, RWF_HIPRI), 5);
    SAME(preadv2(fd, &r, 1, 0, 0), 10);
    T(!memcmp(b, "flagsflags", 10));
    n = preadv2(fd, &r, 1, 0, RWF_NOWAIT);                /* what is cached, or not known how */
    int e = n < 0 ? errno : 0;
    T(n == 10 || e == EAGAIN || e == EOPNOTSUPP);
    SAME(preadv2(fd, &r, 1, 0, RWF_HIPRI), 10);
    FAILS(preadv2(fd, &r, 1, 0, 0x40000000), EOPNOTSUPP);
    FAILS(pwritev2(fd, &v, 1, 0, 0x40000000), EOPNOTSUPP);
    FAILS(preadv2(fd, &r, 1, -2, 0), EINVAL);
    n = pwritev2(ap, &(struct iovec){ (char[]){ "N" }, 1 }, 1, 2, RWF_NOAPPEND);
    if (n < 0) {
        SAME(errno, EOPNOTSUPP);          /* Linux before 6.9 */
        return;
    }
    HAS("f", "flNgsflags");
    FAILS(pwritev2(fd, &v, 1, 0, RWF_ATOMIC), EOPNOTSUPP);
}

static void sizes_end_at_the_limit(void)
{
    static char b[2 * PAGE];
    int fd = open_new("f", 0644), direct = open("f", O_RDWR | O_DIRECT), p[2];

    OK(pipe(p));
    CHILD {
        struct rlimit l = { PAGE + 5, PAGE + 5 };
        signal(SIGXFSZ, SIG_IGN);
        OK(setrlimit(RLIMIT_FSIZE, &l));
        SAME(write(fd, b, sizeof b), PAGE + 5);
        FAILS(write(fd, b, 1), EFBIG);
        SAME(pwrite(fd, b, 10, 0), 10);
        FAILS(ftruncate(fd, PAGE + 6), EFBIG);
        FAILS(truncate("f", PAGE + 6), EFBIG);
        OK(ftruncate(fd, PAGE + 5));
        FAILS(fallocate(fd, 0, 0, PAGE + 6), EFBIG);
        OK(fallocate(fd, 0, 0, PAGE + 5));
        FAILS(pwrite(open("f", O_WRONLY | O_APPEND), "x", 1, 0), EFBIG);
        if (direct >= 0)
            SAME(pwrite(direct, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), PAGE, 0), PAGE);
        SAME(stat_of("f").st_size, PAGE + 5);
        loff_t a = 0, z = PAGE;
        SAME(copy_file_range(fd, &a, fd, &z, 100, 0), 5);
        FAILS(copy_file_range(fd, &a, fd, &z, 100, 0), EFBIG);
        SAME(write(p[1], b, 100), 100);
        z = PAGE + 5;
        FAILS(splice(p[0], NULL, fd, &z, 100, 0), EFBIG);
    }
    CHILD {                               /* the signal comes, once for each attempt */
        struct rlimit l = { 100, 100 };
        sigset_t set, got;
        OK(setrlimit(RLIMIT_FSIZE, &l));
        sigemptyset(&set);
        sigaddset(&set, SIGXFSZ);
        OK(sigprocmask(SIG_BLOCK, &set, NULL));
        FAILS(pwrite(fd, "x", 1, 100), EFBIG);
        OK(sigpending(&got));
        SAME(sigismember(&got, SIGXFSZ), 1);
    }
    SAME(stat_of("f").st_size, PAGE + 5);
}

static void a_write_moves_at_most_two_gibibytes(void)
{
    size_t n = (size_t)INT32_MAX + 1;
    int fd = open_new("f", 0644), null = open("/dev/zero", O_RDONLY);
    char *m = mmap(NULL, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    T(m != MAP_FAILED && null >= 0);
    OK(ftruncate(fd, (off_t)n + 5000));   /* a hole: reads cost memory only here, where nobody keeps it */
    SAME(pread(fd, m, 0, 0), 0);
    CHILD {
        struct rlimit l = { 1 << 20, 1 << 20 };
        signal(SIGXFSZ, SIG_IGN);
        OK(setrlimit(RLIMIT_FSIZE, &l));
        SAME(pwrite(fd, m, n, (1 << 20) - 10), 10);       /* a count of more than INT_MAX is cut, not refused */
    }
    OK(munmap(m, n));
}

static void synchronous_files_are_written(void)
{
    static const int how[] = { O_SYNC, O_DSYNC, O_SYNC | O_APPEND, O_DSYNC | O_DIRECT };
    static char page[PAGE] __attribute__((aligned(PAGE)));
    char name[8];

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "f%d", i);
        int fd = open(name, O_RDWR | O_CREAT | how[i], 0644);
        if (fd < 0 && how[i] & O_DIRECT)
            continue;
        memset(page, 'a' + i, PAGE);
        for (int k = 0; k < 5; k++)
            SAME(write(fd, page, PAGE), PAGE);
        SAME(stat_of(name).st_size, 5 * PAGE);
        OK(close(fd));
    }
    remount();
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "f%d", i);
        int fd = open(name, O_RDONLY);
        if (fd < 0)
            continue;
        memset(page, 0, PAGE);
        SAME(pread(fd, page, PAGE, 4 * PAGE), PAGE);
        T(page[0] == 'a' + i && page[PAGE - 1] == 'a' + i);
        close(fd);
    }
}

const struct posix_test posix_io_tests[] = {
    { "positions_and_counts", positions_and_counts },
    { "vectors_are_filled_in_order", vectors_are_filled_in_order },
    { "bad_memory_is_refused", bad_memory_is_refused },
    { "calls_may_carry_flags", calls_may_carry_flags },
    { "sizes_end_at_the_limit", sizes_end_at_the_limit },
    { "a_write_moves_at_most_two_gibibytes", a_write_moves_at_most_two_gibibytes },
    { "synchronous_files_are_written", synchronous_files_are_written },
    { 0 }
};
