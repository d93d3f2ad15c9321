/* Pages of files under every pressure: truncated, punched, moved and advised away while mapped; times of stores; reads into mappings of the same file. */
#include "tests/system/posix.h"

#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/uio.h>

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
enum { PAGE = 4096 };

static char *map(int fd, size_t n, int prot, int flags, off_t off)
{
    char *m = mmap(NULL, n, prot, flags, fd, off);

    if (m == MAP_FAILED)
        failed(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    return m;
}

static bool all(const char *p, char c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != c)
            return false;
    return true;
}

/* generic/029 and 030: what was cut off never comes back, whichever way the file grows again. */
static void what_was_cut_stays_away(void)
{
    static char b[8 * PAGE];

    for (int how = 0; how < 4; how++)
        for (int cut = 0; cut < 3; cut++) {
            off_t at = (off_t[]){ 512, PAGE, 2 * PAGE + 100 }[cut];
            int fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0644);
            char *m;
            memset(b, 'Z', sizeof b);
            SAME(pwrite(fd, b, 4 * PAGE, 0), 4 * PAGE);
            m = map(fd, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
            memset(m, 'Y', 4 * PAGE);
            if (how == 3)
                OK(msync(m, 4 * PAGE, MS_SYNC));
            OK(ftruncate(fd, at));
            switch (how) {
            case 0: OK(ftruncate(fd, 5 * PAGE)); break;
            case 1: SAME(pwrite(fd, "e", 1, 5 * PAGE - 1), 1); break;
            case 2: OK(fallocate(fd, 0, 0, 5 * PAGE)); break;
            default: OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 4 * PAGE, PAGE) ? ftruncate(fd, 5 * PAGE) : 0);
            }
            T(all(m, 'Y', (size_t)at));
            T(all(m + at, 0, (size_t)(5 * PAGE - 1 - at)));
            OK(munmap(m, 8 * PAGE));
            OK(close(fd));
            fd = open("f", O_RDONLY);
            SAME(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
            SAME(pread(fd, b, sizeof b, 0), 5 * PAGE);
            T(all(b, 'Y', (size_t)at) && all(b + at, 0, (size_t)(5 * PAGE - 1 - at)));
            OK(close(fd));
        }
}

static struct stat times_before;
static void begin(void)
{
    OK(utimensat(AT_FDCWD, "f", (struct timespec[]){ { 1000, 1 }, { 1000, 1 } }, 0));
    times_before = stat_of("f");
    tick();
}

static bool changed(void)
{
    struct stat st = stat_of("f");

    return later(st.st_mtim, times_before.st_mtim) && later(st.st_ctim, times_before.st_ctim);
}

/* generic/080, 215: a store into a mapping is a change, seen no later than msync or the end of the mapping; and the time stays over a remount. */
static void stores_change_the_times(void)
{
    int fd = open_new("f", 0644);
    struct stat st;
    char *m;

    OK(ftruncate(fd, 4 * PAGE));
    for (int how = 0; how < 4; how++) {
        m = map(fd, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
        begin();
        T(m[PAGE] >= 0);                  /* reading is none */
        SAME(stat_of("f").st_mtim.tv_sec, 1000);
        m[how * 7] = 's';
        if (how == 0)
            OK(msync(m, 4 * PAGE, MS_SYNC));
        if (how == 1)
            OK(fsync(fd));
        if (how == 2)
            OK(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
        OK(munmap(m, 4 * PAGE));
        if (!changed())
            failed(__FILE__, __LINE__, "a store, way %d: no new times", how);
    }
    begin();
    m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
    m[0] = 'p';                           /* not the file's */
    OK(munmap(m, PAGE));
    SAME(stat_of("f").st_mtim.tv_sec, 1000);
    m = map(fd, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
    m[0] = 'q';
    OK(munmap(m, PAGE));
    st = stat_of("f");
    T(later(st.st_mtim, times_before.st_mtim));
    OK(close(fd));
    remount();
    T(equal(stat_of("f").st_mtim, st.st_mtim));
}

/* A file's times must not change because the kernel forgot it: by whichever call they came, and however the clock's tick fell into it. */
static void times_are_the_same_when_read_again(void)
{
    enum { FILES = 240, WAYS = 6 };
    static struct stat st[FILES];
    char name[16], page[PAGE] __attribute__((aligned(4096))) = "page";
    int src = open_new("src", 0644);

    SAME(write(src, page, sizeof page), sizeof page);
    for (int i = 0; i < FILES; i++) {
        loff_t a = 0, z = PAGE;
        snprintf(name, sizeof name, "f%d", i);
        int fd = open_new(name, 0644), direct = open(name, O_RDWR | O_DIRECT);
        SAME(write(fd, page, PAGE), PAGE);
        if (i % 2)
            OK(fsync(fd));                /* the kernel's times are stored: they are set again only if they change */
        switch (i % WAYS) {
        case 0: OK(fallocate(fd, 0, 0, 3 * PAGE)); break;
        case 1: OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 100)); break;
        case 2: SAME(copy_file_range(src, &a, fd, &z, PAGE, 0), PAGE); break;
        case 3: SAME(pwrite(direct < 0 ? fd : direct, page, PAGE, PAGE), PAGE); break;
        case 4: OK(ftruncate(fd, 5)); break;
        default: SAME(pwrite(fd, page, 10, 0), 10);
        }
        st[i] = stat_of(name);
        OK(close(fd));
        if (direct >= 0)
            OK(close(direct));
    }
    OK(close(src));
    remount();
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "f%d", i);
        struct stat now = stat_of(name);
        if (!equal(now.st_mtim, st[i].st_mtim) || !equal(now.st_ctim, st[i].st_ctim))
            failed(__FILE__, __LINE__, "way %d: mtime %ld.%09ld -> %ld.%09ld, ctime %ld.%09ld -> %ld.%09ld", i % WAYS, st[i].st_mtim.tv_sec, st[i].st_mtim.tv_nsec,
                   now.st_mtim.tv_sec, now.st_mtim.tv_nsec, st[i].st_ctim.tv_sec, st[i].st_ctim.tv_nsec, now.st_ctim.tv_sec, now.st_ctim.tv_nsec);
    }
}

static void advice_about_mappings_is_taken(void)
{
    static const int harmless[] = { MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_DONTFORK, MADV_DOFORK };
    int fd = open_new("f", 0644);
    unsigned char seen[4];
    char *m, *n;

    OK(ftruncate(fd, 4 * PAGE));
    m = map(fd, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
    memset(m, 'a', 4 * PAGE);
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
        OK(madvise(m, 4 * PAGE, harmless[i]));
    T(all(m, 'a', 4 * PAGE));             /* shared: not lost */
    OK(madvise(m + PAGE, PAGE, MADV_REMOVE));             /* a hole */
    T(all(m, 'a', PAGE) && all(m + PAGE, 0, PAGE) && all(m + 2 * PAGE, 'a', 2 * PAGE));
    if (on_coppice)
        SAME(lseek(fd, 0, SEEK_HOLE), PAGE);
    OK(mlock(m, 4 * PAGE));               /* the whole: parts of a FUSE mapping do not join again (fs/fuse/file.c, fuse_vma_close), and mremap wants one */
    OK(mincore(m, 4 * PAGE, seen));
    T(seen[0] & 1 && seen[1] & 1);
    OK(munlock(m, 4 * PAGE));
    n = mremap(m, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
    T(n != MAP_FAILED);
    if (n == MAP_FAILED)
        return;
    SAME(n[3 * PAGE], 'a');
    OK(ftruncate(fd, 8 * PAGE));
    n[7 * PAGE] = 'z';
    char c = 0;
    SAME(pread(fd, &c, 1, 7 * PAGE), 1);
    SAME(c, 'z');
    OK(munmap(n, 8 * PAGE));
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0), EOPNOTSUPP);
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 100), EINVAL);
    FAILS(mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0), EINVAL);
    FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, open("f", O_PATH), 0), EBADF);
}

/* generic/647, 729: the buffer of a read or write is a mapping of the same file, not there yet; whole, and across two pages. */
static void buffers_may_lie_in_the_file(void)
{
    static const int flags[] = { 0, O_DIRECT };

    for (int i = 0; i < 2; i++)
        for (int write_ = 0; write_ < 2; write_++) {
            int fd = open("f", O_RDWR | O_CREAT | O_TRUNC | flags[i], 0644);
            if (fd < 0)
                continue;
            char *page = map(-1, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0);
            for (int k = 0; k < 8; k++) {
                memset(page, 'A' + k, PAGE);
                SAME(pwrite(fd, page, PAGE, (off_t)k * PAGE), PAGE);
            }
            SAME(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
            char *m = map(fd, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
            if (write_)
                SAME(pwrite(fd, m + 4 * PAGE, PAGE, 0), PAGE);
            else
                SAME(pread(fd, m, PAGE, 4 * PAGE), PAGE);
            T(all(m, 'E', PAGE) && all(m + 4 * PAGE, 'E', PAGE) && all(m + PAGE, 'B', PAGE));
            OK(msync(m, 8 * PAGE, MS_SYNC));
            SAME(pread(fd, page, PAGE, 0), PAGE);
            T(all(page, 'E', PAGE));
            OK(munmap(m, 8 * PAGE));
            OK(close(fd));
        }
}

/* Direct and buffered access and a mapping of one page, in every order, see one another. */
static void direct_buffered_and_mapped_agree(void)
{
    int fd = open_new("f", 0644), direct = open("f", O_RDWR | O_DIRECT);
    char *page = map(-1, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0), *m;

    if (direct < 0) {
        skipped("O_DIRECT: %s", strerror(errno));
        return;
    }
    OK(ftruncate(fd, 4 * PAGE));
    m = map(fd, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
    for (int i = 0; i < 27; i++) {
        char c = (char)('a' + i % 26);
        off_t at = (off_t)(i % 4) * PAGE;
        memset(page, c, PAGE);
        switch (i % 3) {
        case 0: SAME(pwrite(direct, page, PAGE, at), PAGE); break;
        case 1: SAME(pwrite(fd, page, PAGE, at), PAGE); break;
        default: memset(m + at, c, PAGE);
        }
        for (int k = 0; k < 3; k++) {
            int way = (i / 3 + k) % 3;
            memset(page, 0, PAGE);
            if (way == 2)
                memcpy(page, m + at, PAGE);
            else
                SAME(pread(way ? fd : direct, page, PAGE, at), PAGE);
            if (!all(page, c, PAGE))
                failed(__FILE__, __LINE__, "written by way %d, read by way %d: %d, not %d", i % 3, way, page[0], c);
        }
    }
    SAME(pwrite(direct, page, PAGE, 6 * PAGE), PAGE);     /* behind the end: a hole between */
    SAME(stat_of("f").st_size, 7 * PAGE);
    SAME(pread(direct, page, PAGE, 5 * PAGE), PAGE);
    T(all(page, 0, PAGE));
    SAME(pread(direct, page, PAGE, 7 * PAGE), 0);
    SAME(pwrite(fd, "tail", 4, 7 * PAGE), 4);
    SAME(pread(direct, page, PAGE, 7 * PAGE), 4);
    T(!memcmp(page, "tail", 4));
}

const struct posix_test posix_page_tests[] = {
    { "what_was_cut_stays_away", what_was_cut_stays_away },
    { "stores_change_the_times", stores_change_the_times },
    { "times_are_the_same_when_read_again", times_are_the_same_when_read_again },
    { "advice_about_mappings_is_taken", advice_about_mappings_is_taken },
    { "buffers_may_lie_in_the_file", buffers_may_lie_in_the_file },
    { "direct_buffered_and_mapped_agree", direct_buffered_and_mapped_agree },
    { 0 }
};
