/* The largest file and its last bytes, by every call (generic/525 and others); and files that nobody may grow. */
#include "tests/system/posix.h"

#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/uio.h>

enum { PAGE = 4096 };
#define END INT64_MAX

static void the_last_byte_is_a_byte(void)
{
    loff_t a = END - 5, z = 3, last = END - 1;
    char b[16] = { 0 };
    int fd = open_new("f", 0644), out = open_new("out", 0644), p[2];

    if (!on_coppice) {
        skipped("files of this file system end earlier");
        return;
    }
    SAME(pwrite(fd, "12345", 5, END - 5), 5);
    SAME(stat_of("f").st_size, END);
    OK(fsync(fd));
    FAILS(pwrite(fd, "x", 1, END), EINVAL);       /* fs/read_write.c, rw_verify_area: no such place */
    FAILS(pwrite(fd, "xy", 2, END - 1), EINVAL);
    SAME(pread(fd, b, 16, END - 16), 16);
    T(!memcmp(b + 11, "12345", 5) && b[10] == 0);
    SAME(pread(fd, b, 1, END - 1), 1);
    SAME(b[0], '5');
    FAILS(pread(fd, b, 1, END), EINVAL);
    SAME(lseek(fd, 0, SEEK_END), END);
    SAME(lseek(fd, 0, SEEK_DATA), END / PAGE * PAGE);
    SAME(lseek(fd, END - 3, SEEK_HOLE), END);
    FAILS(write(open("f", O_WRONLY | O_APPEND), "x", 1), EFBIG);
    FAILS(fallocate(fd, 0, END - 10, 20), EFBIG);
    OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, END - 10, 10));
    SAME(copy_file_range(fd, &a, out, &z, 100, 0), 5);
    SAME(pread(out, b, 16, 0), 8);
    T(!memcmp(b + 3, "12345", 5));
    OK(pipe(p));
    FAILS(splice(fd, &last, p[1], NULL, 10, 0), EINVAL);  /* the kernel: past the end of all files */
    SAME(splice(fd, &last, p[1], NULL, 1, 0), 1);
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, END / PAGE * PAGE), EOVERFLOW);     /* mm/mmap.c, file_mmap_ok */
    char *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, END / PAGE * PAGE - PAGE);
    T(m != MAP_FAILED);
    if (m != MAP_FAILED) {
        m[PAGE - 1] = 'm';
        OK(msync(m, PAGE, MS_SYNC));
        OK(munmap(m, PAGE));
    }
    SAME(pread(fd, b, 1, END / PAGE * PAGE - 1), 1);
    SAME(b[0], 'm');
    SAME(pwrite(fd, "m", 1, END - 5), 1);
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, END - 2, 2));
    OK(close(fd));
    OK(close(out));
    freeze();
    remount();
    fd = open("f", O_RDWR);
    SAME(stat_of("f").st_size, END);
    SAME(pread(fd, b, 5, END - 5), 5);
    T(!memcmp(b, "m23\0\0", 5));
    OK(ftruncate(fd, END - 4));
    SAME(pread(fd, b, 16, END - 5), 1);
    SAME(b[0], 'm');
    OK(ftruncate(fd, END));
    SAME(pread(fd, b, 5, END - 5), 5);
    T(!memcmp(b, "m\0\0\0\0", 5));
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, END));
    FAILS(lseek(fd, 0, SEEK_DATA), ENXIO);
    OK(ftruncate(fd, 0));
    SAME(stat_of("f").st_size, 0);
}

/* An offset of 2, 4 and more GiB, and of 32 bits of pages, is no other. */
static void offsets_are_not_cut(void)
{
    static const int bits[] = { 31, 32, 33, 40, 43 };
    char b[9] = { 0 }, text[9];
    int fd = open_new("f", 0644);

    for (int i = 0; i < 5; i++) {
        snprintf(text, sizeof text, "offset%02d", bits[i]);
        SAME(pwrite(fd, text, 8, (1ll << bits[i]) - 4), 8);
    }
    OK(fsync(fd));
    OK(close(fd));
    freeze();
    remount();
    fd = open("f", O_RDONLY);
    for (int i = 0; i < 5; i++) {
        snprintf(text, sizeof text, "offset%02d", bits[i]);
        SAME(pread(fd, b, 8, (1ll << bits[i]) - 4), 8);
        T(!strcmp(b, text));
        SAME(pread(fd, b, 8, (1ll << bits[i]) + 4), i == 4 ? 0 : 8);
    }
    SAME(pread(fd, b, 8, 0), 8);
    SAME(b[0], 0);
    T(stat_of("f").st_blocks <= 5 * 2 * 512);
}

const struct posix_test posix_huge_tests[] = {
    { "the_last_byte_is_a_byte", the_last_byte_is_a_byte },
    { "offsets_are_not_cut", offsets_are_not_cut },
    { 0 }
};
