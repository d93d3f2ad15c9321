/* Parts of files: holes and data wherever they lie, fallocate on every edge, copies against every limit, and what maps and clones answer. */
#include "tests/system/posix.h"

#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <asm/termbits.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { PAGE = 4096, UNITS = 80 };

/* A file whose unit i has data where the pattern says: no data may be called a hole, from any place. */
static void check_data(int fd, const bool *data, const char *how)
{
    for (int i = 0; i < UNITS; i++) {
        off_t at = (off_t)i * PAGE + i, d = lseek(fd, at, SEEK_DATA), h = lseek(fd, at, SEEK_HOLE);
        for (int k = i; k < UNITS; k++)
            if (data[k] && (d < 0 || d > (k == i ? at : (off_t)k * PAGE))) {
                failed(__FILE__, __LINE__, "%s: SEEK_DATA from %lld gives %lld: unit %d has data", how, (long long)at, (long long)d, k);
                break;
            }
        if (h < at || h > (off_t)UNITS * PAGE || (h < (off_t)UNITS * PAGE && data[h / PAGE]))
            failed(__FILE__, __LINE__, "%s: SEEK_HOLE from %lld gives %lld", how, (long long)at, (long long)h);
    }
}

/* Holes and data must be found exactly as they are. */
static void check_pattern(int fd, const bool *data, const char *how)
{
    for (int i = 0; i < UNITS; i++) {
        int d = i, h = i;
        while (d < UNITS && !data[d])
            d++;
        while (h < UNITS && data[h])
            h++;
        for (int k = 0; k < 3; k++) {
            off_t at = (off_t)i * PAGE + (off_t[]){ 0, 1, PAGE - 1 }[k], want = d == i ? at : (off_t)d * PAGE, got = lseek(fd, at, SEEK_DATA);
            if (d == UNITS ? got != -1 || errno != ENXIO : got != want)
                failed(__FILE__, __LINE__, "%s: SEEK_DATA from %lld gives %lld, not %lld", how, (long long)at, (long long)got, (long long)want);
            want = h == i ? at : (off_t)h * PAGE;
            got = lseek(fd, at, SEEK_HOLE);
            if (got != want)
                failed(__FILE__, __LINE__, "%s: SEEK_HOLE from %lld gives %lld, not %lld", how, (long long)at, (long long)got, (long long)want);
        }
    }
}

static void holes_are_found_in_every_pattern(void)
{
    static const struct { unsigned on, off; } patterns[] = { { 1, 1 }, { 3, 2 }, { 31, 1 }, { 32, 32 }, { 33, 7 }, { 1, 40 }, { 5, 60 }, { 80, 1 } };
    static char page[PAGE];
    bool data[UNITS];

    memset(page, 'd', sizeof page);
    for (size_t p = 0; p < sizeof patterns / sizeof patterns[0]; p++)
        for (int invert = 0; invert < 2; invert++) {
            int fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0644);
            OK(ftruncate(fd, (off_t)UNITS * PAGE));
            for (unsigned i = 0; i < UNITS; i++) {
                data[i] = (i % (patterns[p].on + patterns[p].off) < patterns[p].on) ^ invert;
                if (data[i])
                    SAME(pwrite(fd, page, PAGE, (off_t)i * PAGE), PAGE);
            }
            check_pattern(fd, data, "dirty");
            OK(fsync(fd));
            check_pattern(fd, data, "synced");
            OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 7 * PAGE, 40 * PAGE));
            for (int i = 7; i < 47; i++)
                data[i] = false;
            check_pattern(fd, data, "punched");
            SAME(pwrite(fd, page, PAGE, 9 * PAGE), PAGE);
            data[9] = true;
            check_pattern(fd, data, "written again");
            freeze();                     /* a frozen layer is cut into chunks of 128 KiB, without holes: what is left is right, but not all */
            check_data(fd, data, "frozen");
            OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 9 * PAGE, PAGE));
            data[9] = false;
            check_data(fd, data, "punched again");
            SAME(lseek(fd, 9 * PAGE, SEEK_HOLE), 9 * PAGE);
            OK(close(fd));
        }
}

static void data_behind_huge_holes_is_found(void)
{
    static const int shifts[] = { 20, 31, 32, 33, 40, 43 };
    int fd = open_new("f", 0644);

    for (size_t i = 0; i < sizeof shifts / sizeof shifts[0]; i++)
        SAME(pwrite(fd, "x", 1, (1ll << shifts[i]) + 5), 1);
    OK(fsync(fd));
    off_t at = 0;
    for (size_t i = 0; i < sizeof shifts / sizeof shifts[0]; i++) {
        at = lseek(fd, at, SEEK_DATA);
        SAME(at, 1ll << shifts[i]);
        at = lseek(fd, at, SEEK_HOLE);
        SAME(at, (1ll << shifts[i]) + (i + 1 < sizeof shifts / sizeof shifts[0] ? PAGE : 6));
    }
    FAILS(lseek(fd, at, SEEK_DATA), ENXIO);
    OK(ftruncate(fd, (1ll << 33) + 3));
    SAME(lseek(fd, (1ll << 32) + PAGE, SEEK_DATA), 1ll << 33);
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1ll << 40));
    SAME(stat_of("f").st_blocks <= 1, 1);
    FAILS(lseek(fd, 0, SEEK_DATA), ENXIO);
    SAME(stat_of("f").st_size, (1ll << 33) + 3);
}

static bool equal_bytes(int fd, const char *want, size_t n)
{
    static char b[UNITS * PAGE];

    return pread(fd, b, sizeof b, 0) == (ssize_t)n && !memcmp(b, want, n);
}

static void ranges_are_zeroed_on_every_edge(void)
{
    static const off_t edges[] = { 0, 1, 2047, 2048, PAGE - 1, PAGE, PAGE + 1, 5000, 32 * PAGE - 1, 32 * PAGE, 32 * PAGE + 1, 40 * PAGE, 60 * PAGE - 7 };
    static const int modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE };
    static const size_t sizes[] = { 1000, 2048, 5000, 60 * PAGE - 7 };
    static char want[UNITS * PAGE], text[UNITS * PAGE];
    size_t n = sizeof edges / sizeof edges[0];
    int fd = open_new("f", 0644);

    memset(text, 't', sizeof text);
    for (size_t s = 0; s < 4; s++)
        for (size_t m = 0; m < 3; m++)
            for (size_t a = 0; a < n; a++)
                for (size_t z = a + 1; z < n; z++) {
                    size_t size = sizes[s], from = (size_t)edges[a], to = (size_t)edges[z];
                    OK(ftruncate(fd, 0));
                    SAME(pwrite(fd, text, size, 0), size);
                    if (fallocate(fd, modes[m], edges[a], edges[z] - edges[a])) {
                        SAME(errno, EOPNOTSUPP);
                        T(!on_coppice);
                        continue;
                    }
                    memcpy(want, text, size);
                    memset(want + size, 0, sizeof want - size);
                    if (from < to)
                        memset(want + from, 0, to - from);
                    if (!(modes[m] & FALLOC_FL_KEEP_SIZE) && to > size)
                        size = to;
                    if (!equal_bytes(fd, want, size))
                        failed(__FILE__, __LINE__, "mode %d of a file of %zu: [%zu, %zu)", modes[m], sizes[s], from, to);
                }
}

static void copies_end_at_limits(void)
{
    static char b[8 * PAGE];
    int in = open_new("in", 0644), out = open_new("out", 0644), imm, p[2];
    loff_t a = 0, z = 0;

    memset(b, 'c', sizeof b);
    SAME(write(in, b, sizeof b), sizeof b);
    OK(pipe(p));
    FAILS(copy_file_range(in, &a, out, &z, 10, 1), EINVAL);
    FAILS(copy_file_range(in, &a, out, &z, 10, 0x80000000u), EINVAL);
    FAILS(copy_file_range(in, &a, p[1], NULL, 10, 0), EINVAL);
    FAILS(copy_file_range(-1, &a, out, &z, 10, 0), EBADF);
    FAILS(copy_file_range(in, &a, open("/dev/null", O_WRONLY), NULL, 10, 0), EINVAL);
    FAILS(copy_file_range(open("/dev/zero", O_RDONLY), NULL, out, NULL, 10, 0), EINVAL);
    FAILS(copy_file_range(in, &a, open(".", O_RDONLY), &z, 10, 0), EISDIR);
    a = -1;
    FAILS(copy_file_range(in, &a, out, &z, 10, 0), EOVERFLOW);
    a = 0;
    z = -1;
    FAILS(copy_file_range(in, &a, out, &z, 10, 0), EOVERFLOW);
    a = z = 0;
    SAME(copy_file_range(in, &a, out, &z, SIZE_MAX >> 1, 0), sizeof b);   /* as much as there is */
    SAME(a, sizeof b);
    SAME(z, sizeof b);
    SAME(stat_of("out").st_size, sizeof b);
    a = INT64_MAX - 5;
    z = 0;
    SAME(copy_file_range(in, &a, out, &z, 100, 0), 0);            /* behind the end there is nothing */
    a = 0;
    z = INT64_MAX - 5;
    if (on_coppice)
        SAME(copy_file_range(in, &a, out, &z, 5, 0), 5);
    OK(ftruncate(out, 0));
    CHILD {                               /* generic/564 */
        struct rlimit l = { 100, 100 };
        signal(SIGXFSZ, SIG_IGN);
        OK(setrlimit(RLIMIT_FSIZE, &l));
        a = z = 0;
        SAME(copy_file_range(in, &a, out, &z, 1000, 0), 100);
        a = z = 100;
        FAILS(copy_file_range(in, &a, out, &z, 1000, 0), EFBIG);
        z = 5000;
        FAILS(copy_file_range(in, &a, out, &z, 1000, 0), EFBIG);
    }
    a = 2 * PAGE;                         /* within one file, beside each other */
    z = 0;
    SAME(copy_file_range(in, &a, in, &z, 2 * PAGE, 0), 2 * PAGE);
    a = 1;
    z = PAGE;
    FAILS(copy_file_range(in, &a, in, &z, PAGE, 0), EINVAL);
    OK(chmod("in", 0444));
    imm = open("in", O_RDONLY);
    a = z = 0;
    SAME(copy_file_range(imm, &a, out, &z, 10, 0), 10);
    int far = open_new("far", 0644);      /* to another mount: by reading and writing, or not at all */
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/copied", other_dir);
    int there_ = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    SAME(pwrite(far, "far", 3, 0), 3);
    a = z = 0;
    ssize_t n = copy_file_range(far, &a, there_, &z, 10, 0);
    T(n == 3 || n == -1);
    if (n == 3)
        HAS(path, "far");
    OK(unlink(path));
}

/* Programs ask these and must get an answer that says no: then they read and write. */
static void maps_and_clones_are_answered(void)
{
    union { struct fiemap m; char room[sizeof(struct fiemap) + 4 * sizeof(struct fiemap_extent)]; } map = { .m = { .fm_length = UINT64_MAX, .fm_extent_count = 4 } };
    union { struct file_dedupe_range r; char room[sizeof(struct file_dedupe_range) + sizeof(struct file_dedupe_range_info)]; } dedupe = { .room = { 0 } };
    struct file_clone_range range;
    int in = open_new("in", 0644), out = open_new("out", 0644), block = 0, flags = 0, left = -1;

    SAME(write(in, "clone me", 8), 8);
    SAME(write(out, "clone me", 8), 8);
    SAME(ioctl(in, FIONREAD, &left), 0);
    SAME(left, 0);
    SAME(lseek(in, 3, SEEK_SET), 3);
    SAME(ioctl(in, FIONREAD, &left), 0);
    SAME(left, 5);
    FAILS(ioctl(in, 0x7777, &left), ENOTTY);
    FAILS(ioctl(in, TCGETS, &left), ENOTTY);
    OK(ioctl(in, FIGETBSZ, &block));
    SAME(block, PAGE);
    range = (struct file_clone_range){ .src_fd = in };
    dedupe.r = (struct file_dedupe_range){ .src_length = 8, .dest_count = 1 };
    dedupe.r.info[0].dest_fd = out;
    if (!on_coppice)
        return;
    FAILS(ioctl(out, FICLONE, in), EOPNOTSUPP);                   /* fs/fuse/file.c has no remap_file_range */
    FAILS(ioctl(out, FICLONERANGE, &range), EOPNOTSUPP);
    FAILS(ioctl(in, FIDEDUPERANGE, &dedupe), EOPNOTSUPP);
    FAILS(ioctl(in, FS_IOC_FIEMAP, &map), EOPNOTSUPP);            /* no fiemap either: cp and others ask SEEK_DATA then */
    block = 0;
    OK(ioctl(in, FIBMAP, &block));        /* of root: no block device, so no block */
    SAME(block, 0);
    FAILS(ioctl(in, FS_IOC_GETFLAGS, &flags), ENOTTY);
    FAILS(ioctl(in, FS_IOC_SETFLAGS, &flags), ENOTTY);
    HAS("out", "clone me");
}

const struct posix_test posix_range_tests[] = {
    { "holes_are_found_in_every_pattern", holes_are_found_in_every_pattern },
    { "data_behind_huge_holes_is_found", data_behind_huge_holes_is_found },
    { "ranges_are_zeroed_on_every_edge", ranges_are_zeroed_on_every_edge },
    { "copies_end_at_limits", copies_end_at_limits },
    { "maps_and_clones_are_answered", maps_and_clones_are_answered },
    { 0 }
};
