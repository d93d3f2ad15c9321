/* Requests that the program does not wait for: Linux AIO and io_uring, buffered and direct, in order and at once, and cut off by the death of the program. */
#include "tests/system/posix.h"

#include <liburing.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { PAGE = 4096, DEPTH = 16, BLOCKS = 64 };

static struct iocb cb(int op, int fd, void *buf, size_t n, off_t off)
{
    return (struct iocb){ .aio_lio_opcode = (uint16_t)op, .aio_fildes = (uint32_t)fd, .aio_buf = (uintptr_t)buf, .aio_nbytes = n, .aio_offset = off };
}

/* Submits one and waits for it: its result. */
static long long aio(aio_context_t ctx, struct iocb c)
{
    struct iocb *list[] = { &c };
    struct io_event e = { .res = -1 };

    if (syscall(SYS_io_submit, ctx, 1, list) != 1)
        return -errno;
    return syscall(SYS_io_getevents, ctx, 1, 1, &e, NULL) == 1 ? e.res : -ECANCELED;
}

static char *pages(size_t n)
{
    return mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void aio_does_what_calls_do(void)
{
    static const int flags[] = { 0, O_DIRECT, O_APPEND, O_SYNC };
    char *b = pages(8 * PAGE);
    aio_context_t ctx = 0;

    OK(syscall(SYS_io_setup, DEPTH, &ctx));
    for (int i = 0; i < 4; i++) {
        int fd = open("f", O_RDWR | O_CREAT | O_TRUNC | flags[i], 0644);
        if (fd < 0)
            continue;
        struct iovec v[2] = { { b, PAGE }, { b + 4 * PAGE, PAGE } };
        memset(b, 'a' + i, 2 * PAGE);
        SAME(aio(ctx, cb(IOCB_CMD_PWRITE, fd, b, 2 * PAGE, 0)), 2 * PAGE);
        SAME(stat_of("f").st_size, 2 * PAGE);
        SAME(aio(ctx, cb(IOCB_CMD_PREAD, fd, b + 4 * PAGE, 4 * PAGE, PAGE)), PAGE);       /* up to the end */
        T(b[4 * PAGE] == 'a' + i && b[5 * PAGE - 1] == 'a' + i && b[5 * PAGE] == 0);
        SAME(aio(ctx, cb(IOCB_CMD_PREAD, fd, b, PAGE, 2 * PAGE)), 0);
        SAME(aio(ctx, cb(IOCB_CMD_PWRITEV, fd, v, 2, 2 * PAGE)), 2 * PAGE);
        SAME(stat_of("f").st_size, 4 * PAGE);
        SAME(aio(ctx, cb(IOCB_CMD_PREADV, fd, v, 2, 3 * PAGE)), PAGE);
        SAME(aio(ctx, cb(IOCB_CMD_FSYNC, fd, NULL, 0, 0)), 0);
        SAME(aio(ctx, cb(IOCB_CMD_FDSYNC, fd, NULL, 0, 0)), 0);
        SAME(aio(ctx, cb(IOCB_CMD_PREAD, fd, b, PAGE, -1)), -EINVAL);
        SAME(aio(ctx, cb(99, fd, b, PAGE, 0)), -EINVAL);
        OK(close(fd));
        SAME(aio(ctx, cb(IOCB_CMD_PREAD, fd, b, PAGE, 0)), -EBADF);
        fd = open("f", O_RDONLY);
        SAME(aio(ctx, cb(IOCB_CMD_PWRITE, fd, b, PAGE, 0)), -EBADF);
        OK(close(fd));
    }
    OK(syscall(SYS_io_destroy, ctx));
}

/* Writes that make the file longer, all at once: nothing is lost, whatever order they end in. */
static void writes_at_once_all_arrive(void)
{
    char *b = pages(BLOCKS * PAGE), *back = pages(BLOCKS * PAGE);

    for (int direct = 0; direct < 2; direct++) {
        struct iocb c[BLOCKS], *list[BLOCKS];
        struct io_event e[BLOCKS];
        aio_context_t ctx = 0;
        int fd = open("f", O_RDWR | O_CREAT | O_TRUNC | (direct ? O_DIRECT : 0), 0644), n = 0;
        OK(syscall(SYS_io_setup, BLOCKS, &ctx));
        for (int round = 0; round < 10; round++) {
            OK(ftruncate(fd, 0));
            for (int i = 0; i < BLOCKS; i++) {
                memset(b + i * PAGE, 1 + i + round, PAGE);
                c[i] = cb(IOCB_CMD_PWRITE, fd, b + i * PAGE, PAGE, (off_t)((i * 37 + round) % BLOCKS) * PAGE);
                list[i] = &c[i];
            }
            for (n = 0; n < BLOCKS; ) {
                long r = syscall(SYS_io_submit, ctx, BLOCKS - n, list + n);
                if (r <= 0) {
                    failed(__FILE__, __LINE__, "io_submit: %s", strerror(errno));
                    break;
                }
                n += (int)r;
            }
            SAME(syscall(SYS_io_getevents, ctx, n, n, e, NULL), n);
            for (int i = 0; i < n; i++)
                SAME(e[i].res, PAGE);
            SAME(stat_of("f").st_size, BLOCKS * PAGE);
            SAME(pread(fd, back, BLOCKS * PAGE, 0), BLOCKS * PAGE);
            for (int i = 0; i < BLOCKS; i++)
                T(!memcmp(back + (i * 37 + round) % BLOCKS * PAGE, b + i * PAGE, PAGE));
        }
        OK(syscall(SYS_io_destroy, ctx));
        OK(close(fd));
    }
}

/* A program that ends, or closes the file, with requests under way (generic/208, 323). */
static void what_is_under_way_may_be_abandoned(void)
{
    int st;

    for (int i = 0; i < 40; i++) {
        fflush(NULL);
        pid_t pid = fork();
        if (!pid) {
            char *b = pages(BLOCKS * PAGE);
            struct iocb c[BLOCKS], *list[BLOCKS];
            aio_context_t ctx = 0;
            int fd = open("f", O_RDWR | O_CREAT | (i % 2 ? O_DIRECT : 0), 0644);
            if (fd < 0 || syscall(SYS_io_setup, BLOCKS, &ctx))
                _exit(0);
            for (int k = 0; k < BLOCKS; k++) {
                c[k] = cb(k % 2 ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD, fd, b + k * PAGE, PAGE, (off_t)k * PAGE);
                list[k] = &c[k];
            }
            if (syscall(SYS_io_submit, ctx, BLOCKS, list) < 0)
                _exit(1);
            if (i % 3 == 0)
                close(fd);
            if (i % 5 == 0)
                raise(SIGKILL);
            _exit(0);
        }
        T(waitpid(pid, &st, 0) == pid && (st == 0 || (WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL)));
    }
    T(stat_of("f").st_size <= BLOCKS * PAGE);
    OK(unlink("f"));
}

static int ring_one(struct io_uring *r)
{
    struct io_uring_cqe *e;
    int res = io_uring_submit_and_wait(r, 1);

    if (res < 0 || (res = io_uring_wait_cqe(r, &e)) < 0)
        return res;
    res = e->res;
    io_uring_cqe_seen(r, e);
    return res;
}

#define RING(want, prep, ...) do { prep(io_uring_get_sqe(&r), __VA_ARGS__); int res_ = ring_one(&r); \
        if (res_ != (want)) failed(__FILE__, __LINE__, #prep "(" #__VA_ARGS__ ") gives %d, not %d", res_, (int)(want)); } while (0)

static void a_ring_does_what_calls_do(void)
{
    struct io_uring r;
    struct statx sx;
    char *b = pages(8 * PAGE);
    int fd, q = io_uring_queue_init(8, &r, 0);
    struct iovec v = { b, 4 * PAGE };

    if (q) {
        skipped("io_uring: %s", strerror(-q));
        return;
    }
    fd = open_new("f", 0644);
    memset(b, 'r', 2 * PAGE);
    RING(2 * PAGE, io_uring_prep_write, fd, b, 2 * PAGE, 0);
    RING(PAGE, io_uring_prep_read, fd, b + 4 * PAGE, 4 * PAGE, PAGE);
    T(b[4 * PAGE] == 'r' && b[5 * PAGE - 1] == 'r');
    RING(4 * PAGE, io_uring_prep_writev, fd, &v, 1, 2 * PAGE);
    RING(4 * PAGE, io_uring_prep_readv, fd, &v, 1, 0);
    RING(0, io_uring_prep_fsync, fd, IORING_FSYNC_DATASYNC);
    RING(0, io_uring_prep_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE);
    RING(0, io_uring_prep_fadvise, fd, 0, 0, POSIX_FADV_DONTNEED);
    RING(0, io_uring_prep_sync_file_range, fd, PAGE, 0, SYNC_FILE_RANGE_WRITE);
    SAME(pread(fd, b, PAGE, 0), PAGE);
    SAME(b[0], 0);
    RING(-EBADF, io_uring_prep_read, -1, b, PAGE, 0);
    RING(-EFAULT, io_uring_prep_write, fd, (void *)8, PAGE, 0);
    RING(0, io_uring_prep_statx, AT_FDCWD, "f", 0, STATX_ALL, &sx);
    SAME(sx.stx_size, 6 * PAGE);
    RING(0, io_uring_prep_mkdirat, AT_FDCWD, "d", 0755);
    RING(-EEXIST, io_uring_prep_mkdirat, AT_FDCWD, "d", 0755);
    RING(0, io_uring_prep_renameat, AT_FDCWD, "f", AT_FDCWD, "d/g", 0);
    RING(0, io_uring_prep_linkat, AT_FDCWD, "d/g", AT_FDCWD, "h", 0);
    RING(0, io_uring_prep_symlinkat, "h", AT_FDCWD, "l");
    RING(-ENOTEMPTY, io_uring_prep_unlinkat, AT_FDCWD, "d", AT_REMOVEDIR);
    RING(0, io_uring_prep_unlinkat, AT_FDCWD, "d/g", 0);
    RING(0, io_uring_prep_unlinkat, AT_FDCWD, "d", AT_REMOVEDIR);
    RING(-ENOENT, io_uring_prep_openat, AT_FDCWD, "none", O_RDONLY, 0);
    io_uring_prep_openat(io_uring_get_sqe(&r), AT_FDCWD, "new", O_RDWR | O_CREAT | O_EXCL, 0640);
    int made = ring_one(&r);
    T(made >= 0);
    SAME(mode_of("new"), 0640);
    RING(0, io_uring_prep_close, made);
    OK(io_uring_register_buffers(&r, &v, 1));
    int direct = open("h", O_RDWR | O_DIRECT);
    if (direct >= 0) {
        memset(b, 'D', PAGE);
        RING(PAGE, io_uring_prep_write_fixed, direct, b, PAGE, 0, 0);
        RING(PAGE, io_uring_prep_read_fixed, direct, b + PAGE, PAGE, 0, 0);
        T(b[PAGE] == 'D');
    }
    io_uring_queue_exit(&r);
}

/* A chain goes in order, and stops at the first that fails. */
static void a_chain_stops_where_it_fails(void)
{
    struct io_uring_cqe *e;
    struct io_uring r;
    int fd = open_new("f", 0644), res[3] = { 1, 1, 1 };

    if (io_uring_queue_init(8, &r, 0)) {
        skipped("no io_uring");
        return;
    }
    for (int i = 0; i < 3; i++) {
        struct io_uring_sqe *s = io_uring_get_sqe(&r);
        io_uring_prep_write(s, i == 1 ? -1 : fd, "text", 4, 4 * (uint64_t)i);
        s->user_data = (uint64_t)i;
        s->flags |= i < 2 ? IOSQE_IO_LINK : 0;
    }
    SAME(io_uring_submit(&r), 3);
    for (int i = 0; i < 3; i++) {
        SAME(io_uring_wait_cqe(&r, &e), 0);
        res[e->user_data] = e->res;
        io_uring_cqe_seen(&r, e);
    }
    T(res[0] == 4 && res[1] == -EBADF && res[2] == -ECANCELED);
    HAS("f", "text");
    io_uring_queue_exit(&r);
}

const struct posix_test posix_aio_tests[] = {
    { "aio_does_what_calls_do", aio_does_what_calls_do },
    { "writes_at_once_all_arrive", writes_at_once_all_arrive },
    { "what_is_under_way_may_be_abandoned", what_is_under_way_may_be_abandoned },
    { "a_ring_does_what_calls_do", a_ring_does_what_calls_do },
    { "a_chain_stops_where_it_fails", a_chain_stops_where_it_fails },
    { 0 }
};
