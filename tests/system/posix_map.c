/* Mappings of files: coherent with read, write and truncation, and between processes. */
#include "tests/system/posix.h"

#include <setjmp.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

static char *map(int fd, size_t n, int prot, int flags)
{
    char *m = mmap(NULL, n, prot, flags, fd, 0);

    if (m == MAP_FAILED)
        failed(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    return m;
}

static sigjmp_buf jump;
static void on_bus(int sig)
{
    siglongjmp(jump, 1);
}

static bool dies(volatile char *p, bool write)
{
    struct sigaction sa = { .sa_handler = on_bus }, old;
    bool r = true;

    sigaction(SIGBUS, &sa, &old);
    if (!sigsetjmp(jump, 1)) {
        if (write)
            *p = 1;
        else
            (void)*p;
        r = false;
    }
    sigaction(SIGBUS, &old, NULL);
    return r;
}

static void shared_mappings_and_calls_see_the_same(void)
{
    char b[16] = { 0 };
    int fd = open_new("f", 0644);

    SAME(write(fd, "0123456789", 10), 10);
    char *m = map(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED), *p = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    T(!memcmp(m, "0123456789", 10) && m[10] == 0);
    memcpy(m, "mapped", 6);
    SAME(pread(fd, b, 10, 0), 10);
    T(!memcmp(b, "mapped6789", 10));
    SAME(pwrite(fd, "WRITE", 5, 2), 5);
    T(!memcmp(m, "maWRITE", 7));
    T(!memcmp(p, "maWRITE", 7));          /* a private page not written yet follows the file */
    p[0] = 'P';
    SAME(m[0], 'm');
    SAME(pwrite(fd, "z", 1, 0), 1);
    SAME(p[0], 'P');
    CHILD {
        SAME(m[0], 'z');
        m[1] = 'c';
        SAME(pwrite(open("f", O_WRONLY), "d", 1, 3), 1);
    }
    T(m[1] == 'c' && m[3] == 'd');
    m[100] = 'x';                         /* behind the end: not part of the file */
    OK(msync(m, 2 * PAGE, MS_SYNC));
    SAME(stat_of("f").st_size, 10);
    OK(ftruncate(fd, 200));
    SAME(pread(fd, b, 1, 100), 1);
    SAME(b[0], 0);
    OK(munmap(m, 2 * PAGE));
    OK(munmap(p, PAGE));
    OK(close(fd));
    remount();
    fd = open("f", O_RDONLY);
    SAME(pread(fd, b, 10, 0), 10);
    T(!memcmp(b, "zcWdITE789", 10));
    SAME(stat_of("f").st_size, 200);
}

static void pages_past_the_end_raise_sigbus(void)
{
    int fd = open_new("f", 0644);

    OK(ftruncate(fd, 100));
    char *m = map(fd, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    T(!dies(m + PAGE - 1, true));
    T(dies(m + PAGE, false));
    T(dies(m + 2 * PAGE, true));
    OK(ftruncate(fd, 2 * PAGE + 1));
    T(!dies(m + PAGE, true) && !dies(m + 2 * PAGE, true));
    if (on_coppice)                       /* fs/fuse/dir.c, fuse_do_setattr does not clear what a mapping put behind the old end, unless it was written back */
        OK(msync(m, 3 * PAGE, MS_SYNC));
    else
        SAME(m[PAGE - 1], 0);             /* what was written behind the old end is gone */
    m[PAGE + 5] = 'x';
    m[10] = 'k';
    OK(ftruncate(fd, 50));
    T(dies(m + PAGE + 5, false));
    SAME(m[10], 'k');
    OK(ftruncate(fd, 3 * PAGE));
    SAME(m[PAGE + 5], 0);
    SAME(m[10], 'k');
    OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
    SAME(m[10], 0);
    m[10] = 'n';
    OK(fsync(fd));
    OK(unlink("f"));
    SAME(m[10], 'n');
}

static void mappings_need_the_rights_of_the_descriptor(void)
{
    int fd;

    put("f", "text");
    fd = open("f", O_RDONLY);
    FAILS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
    T(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
    fd = open("f", O_WRONLY);
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0), EACCES);
    fd = open(".", O_RDONLY);
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0), ENODEV);
    fd = open("f", O_RDWR);
    char *m = map(fd, PAGE, PROT_READ, MAP_SHARED);
    OK(mprotect(m, PAGE, PROT_READ | PROT_WRITE));
    m[0] = 'T';
    close(fd);                            /* a mapping outlives the descriptor */
    m[1] = 'E';
    HAS("f", "TExt");
    OK(munmap(m, PAGE));
    HAS("f", "TExt");
}

static void many_dirty_pages_come_back(void)
{
    enum { N = 2000 };
    int fd = open_new("f", 0644);

    OK(ftruncate(fd, (off_t)N * PAGE));
    unsigned *m = (unsigned *)(void *)map(fd, (size_t)N * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    for (unsigned i = 0; i < N; i++)
        m[(i * 7 % N) * (PAGE / 4)] = i * 7 % N + 1;
    OK(msync(m, (size_t)N * PAGE, MS_ASYNC));
    for (unsigned i = 0; i < N; i += 3)
        m[i * (PAGE / 4) + 1] = ~i;
    OK(munmap(m, (size_t)N * PAGE));
    OK(close(fd));
    remount();
    fd = open("f", O_RDONLY);
    m = (unsigned *)(void *)map(fd, (size_t)N * PAGE, PROT_READ, MAP_SHARED);
    unsigned wrong = 0;
    for (unsigned i = 0; i < N; i++)
        wrong += m[i * (PAGE / 4)] != i + 1 || m[i * (PAGE / 4) + 1] != (i % 3 ? 0 : ~i);
    SAME(wrong, 0);
    OK(munmap(m, (size_t)N * PAGE));
    close(fd);
}

static void a_buffer_may_be_a_mapping_of_the_same_file(void)
{
    int fd = open_new("f", 0644);

    OK(ftruncate(fd, 16 * PAGE));
    char *m = map(fd, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
    memset(m, 'a', PAGE);
    SAME(pwrite(fd, m, PAGE, 5 * PAGE + 100), PAGE);      /* reading the source faults */
    SAME(pwrite(fd, m + 8 * PAGE, PAGE, 9 * PAGE), PAGE); /* a page never touched */
    SAME(pread(fd, m + 12 * PAGE, PAGE, 5 * PAGE + 100), PAGE);
    T(m[5 * PAGE + 100] == 'a' && m[6 * PAGE + 99] == 'a' && m[6 * PAGE + 100] == 0 && m[12 * PAGE] == 'a' && m[13 * PAGE - 1] == 'a');
    int direct = open("f", O_RDWR | O_DIRECT);
    if (direct < 0) {
        skipped("O_DIRECT: %s", strerror(errno));
        return;
    }
    SAME(pread(direct, m + 2 * PAGE, PAGE, 12 * PAGE), PAGE);
    T(m[2 * PAGE] == 'a');
    SAME(pwrite(direct, m + 2 * PAGE, PAGE, 3 * PAGE), PAGE);
    SAME(m[3 * PAGE], 'a');
}

const struct posix_test posix_map_tests[] = {
    { "shared_mappings_and_calls_see_the_same", shared_mappings_and_calls_see_the_same },
    { "pages_past_the_end_raise_sigbus", pages_past_the_end_raise_sigbus },
    { "mappings_need_the_rights_of_the_descriptor", mappings_need_the_rights_of_the_descriptor },
    { "many_dirty_pages_come_back", many_dirty_pages_come_back },
    { "a_buffer_may_be_a_mapping_of_the_same_file", a_buffer_may_be_a_mapping_of_the_same_file },
    { 0 }
};
