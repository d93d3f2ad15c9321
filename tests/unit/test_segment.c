#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/io.h"
#include "fs/limits.h"
#include "fs/segment.h"

#include "tests/lib/seed.h"

static char dir[64];
static int dirfd_;
static struct segments *segs;

static int setup(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/X-segment-XXXXXX");
    assert_non_null(mkdtemp(dir));
    dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dirfd_ >= 0);
    assert_int_equal(segments_open(dirfd_, &segs), 0);
    return 0;
}

static int teardown(void **state)
{
    char cmd[96];

    disk = &disk_real;
    mem_fault = NULL;
    segments_close(segs);
    close(dirfd_);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

/* --- a disk that fails its n-th call, or comes short --- */

static _Atomic long calls, fail_at, syncs, dir_syncs;
static int fail_with;
static bool short_writes;

static bool hit(void)
{
    return ++calls == fail_at;
}
static int f_open(int d, const char *n, int fl, unsigned m) { return hit() ? -fail_with : disk_real.open(d, n, fl, m); }
static ssize_t f_pread(int fd, void *b, size_t n, off_t o)
{
    return hit() ? -fail_with : disk_real.pread(fd, b, short_writes && n > 7 ? 7 : n, o);
}
static ssize_t f_pwrite(int fd, const void *b, size_t n, off_t o) { return hit() ? -fail_with : disk_real.pwrite(fd, b, n, o); }
static ssize_t f_pwritev(int fd, const struct iovec *v, int c, off_t o)
{
    struct iovec one = v[0];

    if (hit())
        return -fail_with;
    if (!short_writes)
        return disk_real.pwritev(fd, v, c, o);
    one.iov_len = one.iov_len > 5 ? 5 : one.iov_len;
    return disk_real.pwritev(fd, &one, 1, o);
}
static int f_fdatasync(int fd) { syncs++; return hit() ? -fail_with : disk_real.fdatasync(fd); }
static int f_fsync(int fd) { dir_syncs++; return hit() ? -fail_with : disk_real.fsync(fd); }
static int f_punch(int fd, off_t o, off_t l) { return hit() ? -fail_with : disk_real.punch(fd, o, l); }
static int f_unlink(int d, const char *n) { return hit() ? -fail_with : disk_real.unlink(d, n); }
static const struct disk_ops faulty = { f_open, f_pread, f_pwrite, f_pwritev, f_fdatasync, f_fsync, f_punch, f_unlink, NULL };

static void disk_faults(long n, int err)
{
    disk = &faulty;
    calls = syncs = dir_syncs = 0;
    fail_at = n;
    fail_with = err;
    short_writes = false;
}

static void what_is_written_is_read_back(void **state)
{
    struct segment *s;
    char in[3000], out[3000];

    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (char)(i * 31);
    assert_int_equal(segment_get(segs, 7, false, &s), -ENOENT);
    assert_int_equal(segment_get(segs, 7, true, &s), 0);
    assert_int_equal(segment_id(s), 7);
    assert_int_equal(segment_write(s, in, sizeof in, 5000), 0);
    assert_int_equal(segment_size(s), 8000);
    assert_int_equal(segment_read(s, out, sizeof out, 5000), 0);
    assert_memory_equal(in, out, sizeof in);
    struct iovec v[3] = { { in, 10 }, { in + 10, 0 }, { in + 10, 100 } };
    assert_int_equal(segment_writev(s, v, 3, 20000), 0);
    assert_int_equal(segment_read(s, out, 110, 20000), 0);
    assert_memory_equal(in, out, 110);
    segment_unref(s);
    struct stat st;
    assert_int_equal(fstatat(dirfd_, "0000000000000007", &st, 0), 0);
    assert_int_equal(st.st_size, 20110);
}

static void short_transfers_are_continued(void **state)
{
    struct segment *s;
    char in[100], out[100];

    memset(in, 'x', sizeof in);
    in[99] = 'y';
    disk_faults(0, EIO);
    short_writes = true;
    assert_int_equal(segment_get(segs, 1, true, &s), 0);
    struct iovec v[2] = { { in, 33 }, { in + 33, 67 } };
    assert_int_equal(segment_writev(s, v, 2, 1), 0);
    assert_int_equal(segment_read(s, out, 100, 1), 0);
    assert_memory_equal(in, out, 100);
    segment_unref(s);
}

static void past_the_end_is_missing_or_zero_as_asked(void **state)
{
    struct segment *s;
    char b[10];

    assert_int_equal(segment_get(segs, 1, true, &s), 0);
    assert_int_equal(segment_write(s, "abc", 3, 0), 0);
    assert_int_equal(segment_read(s, b, 4, 0), -EIO);
    memset(b, 'z', sizeof b);
    assert_int_equal(segment_read_sparse(s, b, 5, 1), 0);
    assert_memory_equal(b, "bc\0\0\0z", 6);
    assert_int_equal(segment_read_sparse(s, b, 3, 1 << 20), 0);
    assert_memory_equal(b, "\0\0\0", 3);
    assert_int_equal(segment_read(s, b, 1, UINT64_MAX), -EIO);
    assert_int_equal(segment_write(s, b, 2, INT64_MAX), -EFBIG);
    segment_unref(s);
}

static void a_failed_sync_breaks_the_segment_for_good(void **state)
{
    struct segment *s;
    char b[3];

    assert_int_equal(segment_get(segs, 1, true, &s), 0);
    assert_int_equal(segment_write(s, "abc", 3, 0), 0);
    disk_faults(1, EIO);
    assert_int_equal(segment_sync(s), -EIO);
    assert_true(segment_is_broken(s));
    assert_int_equal(segment_sync(s), -EIO);
    assert_int_equal(segment_write(s, "abc", 3, 0), -EIO);
    assert_int_equal(segment_read(s, b, 3, 0), 0);
    segment_unref(s);
    assert_int_equal(segment_get(segs, 1, false, &s), 0);
    assert_int_equal(segment_sync(s), -EIO);
    segment_unref(s);
}

static void a_failed_directory_sync_breaks_it_too(void **state)
{
    struct segment *s;

    assert_int_equal(segment_get(segs, 1, true, &s), 0);
    assert_int_equal(segment_write(s, "abc", 3, 0), 0);
    disk_faults(2, ENOSPC);
    assert_int_equal(segment_sync(s), -ENOSPC);
    assert_int_equal(segment_sync(s), -EIO);
    segment_unref(s);
}

static void sync_does_what_is_needed_and_no_more(void **state)
{
    struct segment *s;

    disk_faults(0, 0);
    assert_int_equal(segment_get(segs, 1, true, &s), 0);
    assert_int_equal(segment_write(s, "abc", 3, 0), 0);
    assert_int_equal(segment_sync(s), 0);
    assert_int_equal(syncs, 1);
    assert_int_equal(dir_syncs, 1);
    assert_int_equal(segment_sync(s), 0);
    assert_int_equal(syncs, 1);
    assert_int_equal(segment_write(s, "abc", 3, 0), 0);
    assert_int_equal(segment_sync(s), 0);
    assert_int_equal(syncs, 2);
    assert_int_equal(dir_syncs, 1);
    segment_unref(s);
}

static int open_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 4096; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void the_number_of_descriptors_is_bounded(void **state)
{
    struct segment *held[700];
    struct rlimit lim;
    char c;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
    int before = open_descriptors();
    for (int i = 0; i < 700; i++) {
        assert_int_equal(segment_get(segs, (uint64_t)i + 1, true, &held[i]), 0);
        assert_int_equal(segment_write(held[i], &"abcd"[i % 4], 1, 0), 0);
        assert_int_equal(segment_sync(held[i]), 0);
    }
    assert_true(open_descriptors() - before <= 513);
    for (int i = 0; i < 700; i++) {
        assert_int_equal(segment_read(held[i], &c, 1, 0), 0);
        assert_int_equal(c, "abcd"[i % 4]);
        segment_unref(held[i]);
    }
    assert_true(open_descriptors() - before <= 513);
    for (int i = 0; i < 700; i++) {
        assert_int_equal(segment_get(segs, (uint64_t)i + 1, false, &held[i]), 0);
        assert_int_equal(segment_read(held[i], &c, 1, 0), 0);
        segment_unref(held[i]);
    }
}

static void running_out_of_descriptors_closes_idle_ones(void **state)
{
    struct segment *s;
    struct rlimit lim, low;
    char c;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
    low = lim;
    low.rlim_cur = (rlim_t)open_descriptors() + 20;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (uint64_t i = 1; i <= 100; i++) {
        assert_int_equal(segment_get(segs, i, true, &s), 0);
        assert_int_equal(segment_write(s, "a", 1, 0), 0);
        assert_int_equal(segment_sync(s), 0);
        segment_unref(s);
    }
    for (uint64_t i = 1; i <= 100; i++) {
        assert_int_equal(segment_get(segs, i, false, &s), 0);
        assert_int_equal(segment_read(s, &c, 1, 0), 0);
        segment_unref(s);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
}

static int collect(void *arg, uint64_t id)
{
    *(uint64_t *)arg += id;
    return 0;
}

static void removed_segments_are_gone_but_readable_where_held(void **state)
{
    struct segment *s, *t;
    uint64_t sum = 0;
    char c;

    assert_int_equal(segment_get(segs, 0x1f, true, &s), 0);
    assert_int_equal(segment_write(s, "a", 1, 0), 0);
    assert_int_equal(segment_get(segs, 0x2e, true, &t), 0);
    int fd = openat(dirfd_, "not-a-segment", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    assert_int_equal(segments_each(segs, collect, &sum), 0);
    assert_int_equal(sum, 0x1f + 0x2e);
    assert_int_equal(segment_remove(segs, 0x1f), 0);
    assert_int_equal(segment_remove(segs, 0x1f), 0);
    assert_int_equal(segment_remove(segs, 0x99), 0);
    assert_int_equal(segment_read(s, &c, 1, 0), 0);
    segment_unref(s);
    assert_int_equal(segment_get(segs, 0x1f, false, &s), -ENOENT);
    sum = 0;
    assert_int_equal(segments_each(segs, collect, &sum), 0);
    assert_int_equal(sum, 0x2e);
    segment_unref(t);
}

static void punched_space_reads_as_zeros(void **state)
{
    struct segment *s;
    char b[4 * UNIT], zero[UNIT] = { 0 };

    memset(b, 'q', sizeof b);
    assert_int_equal(segment_get(segs, 1, true, &s), 0);
    assert_int_equal(segment_write(s, b, sizeof b, 0), 0);
    assert_int_equal(segment_punch(s, 1, UNIT), -EINVAL);
    assert_int_equal(segment_punch(s, UNIT, UNIT + 1), -EINVAL);
    assert_int_equal(segment_punch(s, UNIT, UNIT), 0);
    assert_int_equal(segment_read(s, b, sizeof b, 0), 0);
    assert_memory_equal(b + UNIT, zero, UNIT);
    assert_int_equal(b[0], 'q');
    assert_int_equal(b[2 * UNIT], 'q');
    segment_unref(s);
}

/* Every disk call of a whole life fails once; whatever then says 0 is true. */
static void every_disk_error_comes_out(void **state)
{
    bool failed = true;

    for (long n = 1; failed; n++) {
        struct segment *s;
        char c = 0;
        uint64_t id = (uint64_t)n;
        int r;

        disk_faults(n, EIO);
        failed = (r = segment_get(segs, id, true, &s)) < 0;
        if (!failed) {
            failed = (r = segment_write(s, "k", 1, 9)) < 0 || (r = segment_sync(s)) < 0 || (r = segment_read(s, &c, 1, 9)) < 0 ||
                     (r = segment_punch(s, 0, UNIT)) < 0;
            segment_unref(s);
        }
        failed = failed || (r = segment_remove(segs, id)) < 0;
        if (failed)
            assert_int_equal(r, -EIO);
        else
            assert_true(n > 6);
        assert_int_equal(failed, calls >= fail_at);
        assert_true(n < 50);
    }
}

static long mem_calls, mem_fail_at;
static _Bool mem_hit(size_t n)
{
    return ++mem_calls == mem_fail_at;
}

static void every_failed_allocation_comes_out(void **state)
{
    for (long n = 1;; n++) {
        struct segments *mine = NULL;
        struct segment *s = NULL;
        int r;

        mem_calls = 0;
        mem_fail_at = n;
        mem_fault = mem_hit;
        r = segments_open(dirfd_, &mine);
        if (r == 0)
            r = segment_get(mine, 5, true, &s);
        mem_fault = NULL;
        segment_unref(s);
        segments_close(mine);
        if (mem_calls < n) {
            assert_int_equal(r, 0);
            assert_true(n > 3);
            break;
        }
        assert_int_equal(r, -ENOMEM);
    }
}

/* --- threads --- */

enum { THREADS = 4, ROUNDS = 5000, FILES = 700 };      /* more files than descriptors are kept */

static void *hammer(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    uint64_t at = (uint64_t)(uintptr_t)arg * 8, v, w;

    for (int i = 0; i < ROUNDS; i++) {
        struct segment *s;
        uint64_t id = (uint64_t)rand_r(&seed) % FILES + 1;

        assert_int_equal(segment_get(segs, id, true, &s), 0);
        v = (uint64_t)rand_r(&seed);
        assert_int_equal(segment_write(s, &v, 8, at), 0);
        assert_int_equal(segment_read(s, &w, 8, at), 0);
        assert_true(v == w);
        assert_int_equal(segment_sync(s), 0);
        segment_unref(s);
    }
    return NULL;
}

static int sync_nothing(int fd)
{
    return 0;
}

static void threads_share_segments_while_descriptors_come_and_go(void **state)
{
    struct disk_ops no_sync = disk_real;
    pthread_t t[THREADS];
    int before = open_descriptors();

    no_sync.fdatasync = no_sync.fsync = sync_nothing;
    disk = &no_sync;
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    assert_true(open_descriptors() - before <= 512 + 2 * THREADS);
}

/* --- space --- */

enum { MODEL_UNITS = 1 << 16 };
enum state { FREE, USED, FRESH, COMMITTING };
struct piece { uint64_t unit; uint32_t n; };

static void space_hands_out_only_what_is_free(void **state)
{
    static uint8_t model[MODEL_UNITS];
    static struct piece held[8192];
    unsigned seed = (unsigned)test_seed(), count = 0;
    struct space *s = space_new();
    uint64_t high = 0;
    bool committing = false;

    print_message("seed %u\n", seed);
    memset(model, FREE, sizeof model);
    for (int i = 0; i < 200000; i++) {
        int what = rand_r(&seed) % 100;

        if (what < 45 && count < 1000) {
            uint32_t n = 1u << rand_r(&seed) % 6;
            uint64_t u;

            assert_int_equal(space_alloc(s, n, &u), 0);
            assert_int_equal(u % n, 0);
            assert_true(u + n <= MODEL_UNITS);
            for (uint32_t k = 0; k < n; k++) {
                assert_int_equal(model[u + k], FREE);
                model[u + k] = USED;
            }
            held[count++] = (struct piece){ u, n };
            high = u + n > high ? u + n : high;
        } else if (what < 90 && count) {
            unsigned k = (unsigned)rand_r(&seed) % count;
            uint32_t from = (uint32_t)rand_r(&seed) % held[k].n, n = 1 + (uint32_t)rand_r(&seed) % (held[k].n - from);
            struct piece p = held[k];

            space_release(s, p.unit + from, n);           /* a part of it, and the rest after */
            space_release(s, p.unit, from);
            space_release(s, p.unit + from + n, p.n - from - n);
            memset(model + p.unit, FRESH, p.n);
            held[k] = held[--count];
        } else if (what < 95 && !committing) {
            space_commit_begin(s);
            for (int u = 0; u < MODEL_UNITS; u++)
                model[u] = model[u] == FRESH ? COMMITTING : model[u];
            committing = true;
        } else if (committing) {
            bool ok = rand_r(&seed) % 3;

            space_commit_done(s, ok);
            for (int u = 0; u < MODEL_UNITS; u++)
                model[u] = model[u] != COMMITTING ? model[u] : ok ? FREE : FRESH;
            committing = false;
        }
        assert_int_equal(space_end(s), high);
    }
    assert_true(high < 40000);                            /* it does reuse */
    space_free(s);
}

static void small_pieces_fill_a_block_before_the_next_is_begun(void **state)
{
    struct space *s = space_new();
    uint64_t u;

    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(space_alloc(s, 1, &u), 0);
        assert_int_equal(u, i);
    }
    assert_int_equal(space_alloc(s, 32, &u), 0);
    assert_int_equal(u, 128);
    space_free(s);
}

static void claimed_units_are_not_handed_out(void **state)
{
    struct space *s = space_new();
    uint64_t u;

    assert_int_equal(space_claim(s, 3, 70), 0);
    assert_int_equal(space_claim(s, 5, 2), 0);            /* again, as for runs that two slots share */
    assert_int_equal(space_end(s), 73);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(space_alloc(s, 1, &u), 0);
        assert_true(u < 3 || u >= 73);
    }
    assert_int_equal(space_claim(s, UINT64_MAX - 3, 10), -ENOMEM);
    assert_int_equal(space_claim(s, UINT64_MAX / 2, 1), -ENOMEM);
    space_free(s);
}

static void giving_back_needs_no_memory(void **state)
{
    struct space *s = space_new();
    uint64_t u, v;

    assert_int_equal(space_alloc(s, 32, &u), 0);
    mem_calls = 0;
    mem_fail_at = 1;
    mem_fault = mem_hit;
    space_release(s, u, 32);
    space_commit_begin(s);
    space_commit_done(s, true);
    assert_int_equal(mem_calls, 0);
    assert_int_equal(space_alloc(s, 32, &v), 0);
    assert_int_equal(u, v);
    assert_int_equal(space_alloc(s, 32, &v), -ENOMEM);
    assert_int_equal(space_alloc(s, 32, &v), 0);
    space_free(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_is_written_is_read_back), T(short_transfers_are_continued), T(past_the_end_is_missing_or_zero_as_asked),
        T(a_failed_sync_breaks_the_segment_for_good), T(a_failed_directory_sync_breaks_it_too), T(sync_does_what_is_needed_and_no_more),
        T(the_number_of_descriptors_is_bounded), T(running_out_of_descriptors_closes_idle_ones),
        T(removed_segments_are_gone_but_readable_where_held), T(punched_space_reads_as_zeros), T(every_disk_error_comes_out),
        T(every_failed_allocation_comes_out), T(threads_share_segments_while_descriptors_come_and_go),
        cmocka_unit_test(space_hands_out_only_what_is_free), cmocka_unit_test(small_pieces_fill_a_block_before_the_next_is_begun),
        cmocka_unit_test(claimed_units_are_not_handed_out), T(giving_back_needs_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
