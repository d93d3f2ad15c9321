/* copy_file_range(2), sendfile(2), and clones. */
#include "tests/system/posix.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>

enum { SIZE = 600000 };
static char data[SIZE], b[SIZE + 200000];

static void fill(const char *name)
{
    int fd = open_new(name, 0644);

    for (int i = 0; i < SIZE; i++)
        data[i] = (char)(i * 31 + i / 1000);
    SAME(write(fd, data, SIZE), SIZE);
    OK(close(fd));
}

static ssize_t copy(int in, loff_t from, int out, loff_t to, size_t n)
{
    return copy_file_range(in, &from, out, &to, n, 0);
}

static void ranges_are_copied_wherever_they_lie(void)
{
    static const struct { loff_t from, to; size_t n; } cases[] = { { 0, 0, SIZE }, { 0, 4096, 4096 }, { 1, 2, 3 }, { 4096, 100, 200000 }, { 131072, 0, 131072 },
        { 131072, 131072, SIZE - 131072 }, { 5, 5, 300000 }, { SIZE - 10, 7, 10 }, { 8192, SIZE, 8192 }, { 0, SIZE + 100000, 50000 }, { 100000, 262144, 100 } };

    fill("src");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int dirty = 0; dirty < 2; dirty++) {
            int in = open("src", O_RDWR), out = open_new("dst", 0644);
            SAME(write(out, "old content", 11), 11);
            if (dirty)                    /* what is not written back yet is copied too */
                SAME(pwrite(in, "dirty!", 6, cases[i].from), 6);
            size_t done = 0;
            ssize_t r;
            while (done < cases[i].n && (r = copy(in, cases[i].from + (loff_t)done, out, cases[i].to + (loff_t)done, cases[i].n - done)) > 0)
                done += (size_t)r;
            size_t want = cases[i].n;
            SAME(done, want);
            size_t end = (size_t)cases[i].to + want, size = end > 11 ? end : 11;
            SAME(stat_of("dst").st_size, size);
            SAME(pread(out, b, sizeof b, 0), size);
            SAME(pread(in, data, SIZE, 0), SIZE);
            T(!memcmp(b + cases[i].to, data + cases[i].from, want));
            for (loff_t k = 0; k < cases[i].to; k++) {
                if (b[k] != (k < 11 ? "old content"[k] : 0)) {
                    failed(__FILE__, __LINE__, "case %zu: byte %lld before the copy is %d", i, (long long)k, b[k]);
                    break;
                }
            }
            SAME(pwrite(in, "source only", 11, cases[i].from), 11);      /* the two are separate files */
            char again[6];
            size_t few = want < 6 ? want : 6;
            SAME(pread(out, again, few, cases[i].to), few);
            T(!memcmp(again, b + cases[i].to, few));
            close(in);
            close(out);
            OK(unlink("dst"));
        }
    }
}

static void copies_are_refused_or_cut_as_documented(void)
{
    int in, out;
    loff_t a = 0, z = 0;

    fill("src");
    in = open("src", O_RDWR);
    out = open_new("dst", 0644);
    FAILS(copy(in, 0, in, 100, 1000), EINVAL);      /* overlap in one file */
    FAILS(copy(in, 100, in, 0, 1000), EINVAL);
    SAME(copy(in, 0, in, 300000, 4096), 4096);
    SAME(copy(in, SIZE, out, 0, 100), 0);
    SAME(copy(in, SIZE + 1000, out, 0, 100), 0);
    SAME(copy(in, SIZE - 10, out, 0, 100), 10);
    SAME(copy(in, 0, out, 0, 0), 0);
    FAILS(copy_file_range(in, &a, out, &z, 100, 1), EINVAL);
    FAILS(copy(in, 0, open("dst", O_RDONLY), 0, 100), EBADF);
    FAILS(copy(open("src", O_WRONLY), 0, out, 0, 100), EBADF);
    FAILS(copy(in, 0, open("dst", O_WRONLY | O_APPEND), 0, 100), EBADF);
    FAILS(copy(open(".", O_RDONLY), 0, out, 0, 100), EISDIR);
    OK(mkfifo("p", 0644));
    FAILS(copy(in, 0, open("p", O_RDWR), 0, 100), EINVAL);
    SAME(copy_file_range(in, NULL, out, NULL, 100, 0), 100);      /* by the positions */
    SAME(lseek(in, 0, SEEK_CUR), 100);
    SAME(lseek(out, 0, SEEK_CUR), 100);
    if (on_coppice)                       /* files end at 2^63 - 1; those of ext4 sooner */
        SAME(copy(in, 0, out, INT64_MAX - 10, 100), 10);
    else
        FAILS(copy(in, 0, out, INT64_MAX - 10, 100), EFBIG);
}

static void holes_stay_holes(void)
{
    struct stat st;
    int in = open_new("src", 0644), out = open_new("dst", 0644);
    loff_t done = 0;
    ssize_t n;

    OK(ftruncate(in, 10 << 20));
    SAME(pwrite(in, "middle", 6, 5 << 20), 6);
    while ((n = copy(in, done, out, done, (10 << 20) - (size_t)done)) > 0)
        done += n;
    SAME(done, 10 << 20);
    OK(fsync(out));
    OK(fstat(out, &st));
    SAME(st.st_size, 10 << 20);
    if (on_coppice)
        T(st.st_blocks <= 16);
    SAME(pread(out, b, 6, 5 << 20), 6);
    T(!memcmp(b, "middle", 6));
}

static void setuid_goes_when_copied_into(void)
{
    fill("src");
    put("dst", "x");
    OK(chmod("dst", 06777));
    AS(USER) {
        SAME(copy(open("src", O_RDONLY), 0, open("dst", O_WRONLY), 0, 5000), 5000);
    }
    SAME(mode_of("dst"), 0777);
}

static void sendfile_and_clone_answer(void)
{
    int in, out = open_new("dst", 0644);
    off_t off = 10;

    fill("src");
    in = open("src", O_RDONLY);
    SAME(sendfile(out, in, &off, 100000), 100000);
    SAME(off, 100010);
    SAME(pread(out, b, 100000, 0), 100000);
    T(!memcmp(b, data + 10, 100000));
    FAILS(ioctl(out, FICLONE, in), EOPNOTSUPP);   /* cp then uses copy_file_range */
}

const struct posix_test posix_copy_tests[] = {
    { "ranges_are_copied_wherever_they_lie", ranges_are_copied_wherever_they_lie },
    { "copies_are_refused_or_cut_as_documented", copies_are_refused_or_cut_as_documented },
    { "holes_stay_holes", holes_stay_holes },
    { "setuid_goes_when_copied_into", setuid_goes_when_copied_into },
    { "sendfile_and_clone_answer", sendfile_and_clone_answer },
    { 0 }
};
