/* Sizes: truncation, limits, fallocate, holes. */
#include "tests/system/posix.h"

#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/resource.h>

static bool zeros(int fd, off_t off, size_t n)
{
    char b[4096];

    while (n) {
        size_t part = n < sizeof b ? n : sizeof b;
        memset(b, 1, part);
        if (pread(fd, b, part, off) != (ssize_t)part)
            return false;
        for (size_t i = 0; i < part; i++)
            if (b[i])
                return false;
        off += (off_t)part;
        n -= part;
    }
    return true;
}

static void truncation_cuts_and_extends_with_zeros(void)
{
    static const off_t sizes[] = { 1, 10, 2047, 2048, 2049, 4095, 4096, 4097, 131071, 131072, 131073, 400000 };
    static char data[400000], b[400000];
    int n = sizeof sizes / sizeof sizes[0];

    memset(data, 'd', sizeof data);
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            int fd = open_new("f", 0644);
            SAME(write(fd, data, (size_t)sizes[i]), sizes[i]);
            OK(ftruncate(fd, sizes[j]));
            SAME(stat_of("f").st_size, sizes[j]);
            OK(ftruncate(fd, 400000));
            off_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
            if (j % 3 == 0)
                OK(fsync(fd));
            SAME(pread(fd, b, sizeof b, 0), 400000);
            if (memcmp(b, data, (size_t)kept) || !zeros(fd, kept, (size_t)(400000 - kept)))
                failed(__FILE__, __LINE__, "%lld bytes cut at %lld", (long long)sizes[i], (long long)sizes[j]);
            OK(close(fd));
            OK(unlink("f"));
        }
    }
}

static void truncation_is_refused_where_it_means_nothing(void)
{
    int fd = open_new("f", 0644);

    FAILS(truncate("f", -1), EINVAL);
    FAILS(ftruncate(fd, -1), EINVAL);
    FAILS(truncate("none", 0), ENOENT);
    FAILS(truncate("f/x", 0), ENOTDIR);
    FAILS(truncate(".", 0), EISDIR);
    FAILS(ftruncate(open("f", O_RDONLY), 0), EINVAL);
    OK(mkfifo("p", 0644));
    FAILS(truncate("p", 0), EINVAL);
    OK(symlink("f", "l"));
    OK(truncate("l", 77));
    SAME(stat_of("f").st_size, 77);
    if (on_coppice) {                     /* the largest file: 2^63 - 1 bytes; of ext4: 16 TiB */
        OK(truncate("f", INT64_MAX));
        SAME(stat_of("f").st_size, INT64_MAX);
        SAME(pwrite(fd, "e", 1, INT64_MAX - 1), 1);
        FAILS(pwrite(fd, "x", 1, INT64_MAX), EINVAL);     /* fs/read_write.c, rw_verify_area */
        T(zeros(fd, INT64_MAX - 5000, 4999));
        OK(fsync(fd));
        SAME(lseek(fd, 100, SEEK_DATA) > INT64_MAX - 4096, 1);
        OK(ftruncate(fd, 0));
        OK(truncate("f", 1ll << 62));
        T(zeros(fd, (1ll << 62) - 100, 100));
    } else {
        FAILS(truncate("f", INT64_MAX), EFBIG);
    }
    OK(truncate("f", 0));
    OK(close(fd));
    fd = open("f", O_RDWR);
    FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
    SAME(lseek(fd, 1 << 20, SEEK_SET), 1 << 20);
    SAME(write(fd, "x", 1), 1);
    T(zeros(fd, 0, 1 << 20));
    T(stat_of("f").st_blocks < 1024);
    CHILD {
        struct rlimit l = { 1000, 1000 };
        signal(SIGXFSZ, SIG_IGN);
        OK(setrlimit(RLIMIT_FSIZE, &l));
        OK(ftruncate(fd, 900));
        SAME(pwrite(fd, "0123456789", 10, 995), 5);
        FAILS(pwrite(fd, "0123456789", 10, 1000), EFBIG);
        FAILS(ftruncate(fd, 1001), EFBIG);
        FAILS(fallocate(fd, 0, 0, 2000), EFBIG);
    }
}

static void fallocate_has_its_modes(void)
{
    static char data[300000], b[300000];
    int fd = open_new("f", 0644);

    memset(data, 'd', sizeof data);
    OK(fallocate(fd, 0, 0, 1000));
    SAME(stat_of("f").st_size, 1000);
    T(zeros(fd, 0, 1000));
    OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
    SAME(stat_of("f").st_size, 1000);
    SAME(pwrite(fd, data, sizeof data, 0), sizeof data);
    OK(fallocate(fd, 0, 100, 1000));      /* leaves what is there */
    SAME(pread(fd, b, sizeof b, 0), sizeof b);
    T(!memcmp(b, data, sizeof b));
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 200000));
    SAME(stat_of("f").st_size, sizeof data);
    T(zeros(fd, 5000, 200000));
    SAME(pread(fd, b, 5000, 0), 5000);
    T(!memcmp(b, data, 5000));
    SAME(pread(fd, b, 95000, 205000), 95000);
    T(!memcmp(b, data, 95000));
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 290000, 1000000));
    SAME(stat_of("f").st_size, sizeof data);
    T(zeros(fd, 290000, 10000));
    OK(fsync(fd));
    T(stat_of("f").st_blocks < 250);
    if (fallocate(fd, FALLOC_FL_ZERO_RANGE, 1000, 1000))
        skipped("FALLOC_FL_ZERO_RANGE: %s", strerror(errno));
    else
        T(zeros(fd, 1000, 1000));
    FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 100), EOPNOTSUPP);
    FAILS(fallocate(fd, 0, 0, 0), EINVAL);
    FAILS(fallocate(fd, 0, -1, 10), EINVAL);
    FAILS(fallocate(fd, 0, 10, -1), EINVAL);
    FAILS(fallocate(fd, 0, INT64_MAX, 10), EFBIG);
    FAILS(fallocate(open("f", O_RDONLY), 0, 0, 10), EBADF);
    FAILS(fallocate(open(".", O_RDONLY), 0, 0, 10), EBADF);
    OK(mkfifo("p", 0644));
    FAILS(fallocate(open("p", O_RDWR), 0, 0, 10), ESPIPE);
    /* fs/fuse/file.c: fuse_file_fallocate passes on three modes only. */
    if (on_coppice) {
        FAILS(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), EOPNOTSUPP);
        FAILS(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, 4096), EOPNOTSUPP);
        FAILS(fallocate(fd, FALLOC_FL_UNSHARE_RANGE, 0, 4096), EOPNOTSUPP);
    }
    OK(posix_fallocate(fd, 0, 500000));
    SAME(stat_of("f").st_size, 500000);
}

static void holes_and_data_are_found(void)
{
    int fd = open_new("f", 0644);

    FAILS(lseek(fd, 0, SEEK_DATA), ENXIO);
    FAILS(lseek(fd, 0, SEEK_HOLE), ENXIO);
    OK(ftruncate(fd, 1 << 20));
    FAILS(lseek(fd, 0, SEEK_DATA), ENXIO);
    SAME(lseek(fd, 0, SEEK_HOLE), 0);
    SAME(pwrite(fd, "data", 4, 1 << 19), 4);      /* still in the cache */
    SAME(lseek(fd, 0, SEEK_DATA), 1 << 19);
    SAME(lseek(fd, 1 << 19, SEEK_HOLE), (1 << 19) + 4096);
    FAILS(lseek(fd, (1 << 19) + 4096, SEEK_DATA), ENXIO);
    SAME(lseek(fd, 0, SEEK_HOLE), 0);
    FAILS(lseek(fd, 1 << 20, SEEK_HOLE), ENXIO);
    FAILS(lseek(fd, 2 << 20, SEEK_DATA), ENXIO);
    FAILS(lseek(fd, -1, SEEK_DATA), ENXIO);
    FAILS(lseek(fd, 0, 77), EINVAL);
    SAME(pwrite(fd, "end", 3, (1 << 20) - 3), 3);
    SAME(lseek(fd, (1 << 20) - 1, SEEK_HOLE), 1 << 20);
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 19, 4096));
    SAME(lseek(fd, 0, SEEK_DATA), (1 << 20) - 4096);
    SAME(lseek(fd, 0, SEEK_END), 1 << 20);
    OK(close(fd));
    put("small", "abc");
    fd = open("small", O_RDONLY);
    SAME(lseek(fd, 1, SEEK_DATA), 1);
    SAME(lseek(fd, 0, SEEK_HOLE), 3);
    OK(close(fd));
    remount();
    fd = open("f", O_RDONLY);
    SAME(lseek(fd, 0, SEEK_DATA), (1 << 20) - 4096);
    SAME(lseek(fd, 0, SEEK_HOLE), 0);
}

static void blocks_are_counted(void)
{
    static char data[1 << 20];
    int fd = open_new("f", 0644);

    /* One sector at least: fs/fuse_attr.c says why. And a file that is open for writing shows what it had when it was last closed: the kernel asks
     * again after a close (fs/fuse/file.c, fuse_flush). */
    unsigned least = on_coppice ? 1 : 0;
    SAME(stat_of("f").st_blocks, least);
    SAME(stat_of("f").st_blksize, 4096);
    memset(data, 1, sizeof data);
    SAME(write(fd, data, sizeof data), sizeof data);
    T(stat_of("f").st_blocks > 0);        /* else tar -S takes it for a hole */
    OK(close(fd));
    fd = open("f", O_RDWR);
    if (!on_coppice)
        OK(fsync(fd));
    T(stat_of("f").st_blocks >= 2048 && stat_of("f").st_blocks < 2100);
    OK(ftruncate(fd, 4096));
    SAME(stat_of("f").st_blocks, 8);
    OK(ftruncate(fd, 1 << 30));
    SAME(stat_of("f").st_blocks, 8);
    OK(ftruncate(fd, 0));
    SAME(stat_of("f").st_blocks, least);
    SAME(write(fd, "x", 1), 1);
    T(stat_of("f").st_blocks > 0);
}

const struct posix_test posix_size_tests[] = {
    { "truncation_cuts_and_extends_with_zeros", truncation_cuts_and_extends_with_zeros },
    { "truncation_is_refused_where_it_means_nothing", truncation_is_refused_where_it_means_nothing },
    { "fallocate_has_its_modes", fallocate_has_its_modes },
    { "holes_and_data_are_found", holes_and_data_are_found },
    { "blocks_are_counted", blocks_are_counted },
    { 0 }
};
