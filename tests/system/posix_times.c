/* Which calls change which times, and setting them. */
#include "tests/system/posix.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

enum { M = 1, C = 2 };

static int set(const char *name, struct timespec a, struct timespec m)
{
    return utimensat(AT_FDCWD, name, (struct timespec[]){ a, m }, AT_SYMLINK_NOFOLLOW);
}

static void times_are_set_as_told(void)
{
    static const struct timespec values[] = { { 0, 0 }, { 1, 1 }, { 1700000000, 999999999 }, { -1, 0 }, { -1, 999999999 }, { -1000000000, 5 },
        { 0x7fffffff, 1 }, { 0x80000000, 2 }, { 0xffffffff, 3 }, { 15032385534, 999999999 } /* May 2446 */ };
    struct timespec big = { 1ll << 40, 0 };
    char name[8];
    struct stat st;

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        snprintf(name, sizeof name, "f%zu", i);
        make(name, "fdlps"[i % 5]);
        OK(set(name, values[i], values[i]));
        st = stat_of(name);
        T(equal(st.st_atim, values[i]) && equal(st.st_mtim, values[i]));
    }
    if (on_coppice) {                     /* ext4 ends in 2446 */
        make("big", 'f');
        OK(set("big", big, big));
    }
    remount();
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        snprintf(name, sizeof name, "f%zu", i);
        st = stat_of(name);
        if (!equal(st.st_atim, values[i]) || !equal(st.st_mtim, values[i]))
            failed(__FILE__, __LINE__, "%s: %lld.%ld", name, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    }
    if (on_coppice)
        T(equal(stat_of("big").st_mtim, big));
}

static void now_and_omit_are_understood(void)
{
    const struct timespec now = { 0, UTIME_NOW }, omit = { 0, UTIME_OMIT }, old = { 100, 100 };
    struct stat st, before;

    put("f", "x");
    OK(set("f", old, old));
    before = stat_of("f");
    T(later(before.st_ctim, before.st_mtim));
    tick();
    OK(set("f", omit, omit));
    T(equal(stat_of("f").st_ctim, before.st_ctim));
    OK(set("f", now, omit));
    st = stat_of("f");
    T(later(st.st_atim, old) && equal(st.st_mtim, old) && later(st.st_ctim, before.st_ctim));
    OK(set("f", old, now));
    st = stat_of("f");
    T(equal(st.st_atim, old) && later(st.st_mtim, before.st_ctim));
    OK(set("f", omit, old));
    T(equal(stat_of("f").st_mtim, old) && equal(stat_of("f").st_atim, old));
    FAILS(set("f", (struct timespec){ 0, 1000000000 }, omit), EINVAL);
    FAILS(set("f", (struct timespec){ 0, -1 }, omit), EINVAL);
    FAILS(set("none", old, old), ENOENT);
    int fd = open("f", O_RDONLY);
    OK(futimens(fd, NULL));
    T(later(stat_of("f").st_mtim, before.st_ctim));
    close(fd);
}

static void times_are_set_by_owners_and_touched_by_writers(void)
{
    const struct timespec now = { 0, UTIME_NOW }, omit = { 0, UTIME_OMIT }, old = { 100, 100 };

    put("f", "x");
    OK(chown("f", USER, USER));
    OK(chmod("f", 0666));
    AS(USER) {
        OK(chmod("f", 0446));
        OK(set("f", old, old));           /* the owner needs no right to write */
        OK(chmod("f", 0666));
    }
    AS(FRIEND) {
        OK(utimensat(AT_FDCWD, "f", NULL, 0));
        OK(set("f", now, now));
        FAILS(set("f", old, old), EPERM);
        FAILS(set("f", now, omit), EPERM);
        FAILS(set("f", now, old), EPERM);
        OK(set("f", omit, omit));
    }
    OK(chmod("f", 0644));
    AS(FRIEND) {
        FAILS(utimensat(AT_FDCWD, "f", NULL, 0), EACCES);
        FAILS(set("f", old, old), EPERM);
    }
}

static struct stat before;
static const char *what;

static void begin(const char *name)
{
    if (set(name, (struct timespec){ 1000, 1 }, (struct timespec){ 1000, 1 }))
        failed(__FILE__, __LINE__, "set %s", name);
    before = stat_of(name);
    tick();
}

/* The times that were to change have, and the others have not; at once, and after the file was forgotten and read again. */
static void end(int line, const char *name, int times)
{
    struct stat st = stat_of(name);

    if (later(st.st_mtim, before.st_mtim) != !!(times & M) || later(st.st_ctim, before.st_ctim) != !!(times & C))
        failed(__FILE__, line, "%s: mtime %s, ctime %s", what, later(st.st_mtim, before.st_mtim) ? "changed" : "same",
               later(st.st_ctim, before.st_ctim) ? "changed" : "same");
}

#define CHANGES(name, call, times) do { begin(name); what = #call; OK(call); end(__LINE__, name, times); } while (0)
#define LEAVES(name, call) do { begin(name); what = #call; (void)(long)(call); end(__LINE__, name, 0); } while (0)

static void calls_change_the_times_they_should(void)
{
    char b[16];
    int fd = open_new("f", 0644);

    CHANGES("f", write(fd, "hello", 5), M | C);
    CHANGES("f", pwrite(fd, "y", 1, 100000), M | C);
    LEAVES("f", write(fd, "", 0));
    LEAVES("f", pread(fd, b, 5, 0));
    LEAVES("f", fsync(fd));
    CHANGES("f", ftruncate(fd, 10), M | C);
    CHANGES("f", ftruncate(fd, 10), M | C);       /* the descriptor: always */
    CHANGES("f", truncate("f", 20), M | C);
    if (on_coppice)                       /* by the name, to the size it has: fs/fuse/dir.c, fuse_do_setattr sends no time. ext4 changes both. */
        LEAVES("f", truncate("f", 20));
    CHANGES("f", chmod("f", 0600), C);
    CHANGES("f", chmod("f", 0600), C);
    CHANGES("f", chown("f", USER, USER), C);
    CHANGES("f", setxattr("f", "user.a", "b", 1, 0), C);
    CHANGES("f", removexattr("f", "user.a"), C);
    LEAVES("f", removexattr("f", "user.a"));
    LEAVES("f", getxattr("f", "user.a", b, 1));
    CHANGES("f", link("f", "g"), C);
    CHANGES("f", rename("g", "h"), C);
    CHANGES("f", unlink("h"), C);
    CHANGES("f", fallocate(fd, 0, 0, 100000), M | C);
    CHANGES("f", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 5000), M | C);
    put("src", "0123456789");
    int src = open("src", O_RDWR);
    loff_t off = 0;
    CHANGES("f", copy_file_range(src, &off, fd, NULL, 5, 0), M | C);
    begin("src");
    off = 0;
    what = "being copied from";
    OK(copy_file_range(src, &off, fd, NULL, 5, 0));
    end(__LINE__, "src", 0);
    LEAVES("f", open("f", O_RDWR));
    LEAVES("f", open("f", O_RDWR | O_CREAT, 0600));
    LEAVES("f", open("f", O_RDWR | O_CREAT | O_EXCL, 0600));
    CHANGES("f", open("f", O_RDWR | O_TRUNC), M | C);
    OK(ftruncate(fd, 4096));
    char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    begin("f");
    what = "a store into a mapping and msync";
    m[0] = 'x';
    OK(msync(m, 4096, MS_SYNC));
    end(__LINE__, "f", M | C);
}

static void times_after_writing_are_those_shown_before(void)
{
    struct stat a[4], b;
    static const char *const names[] = { "w", "t", "c", "m" };
    int fd = open_new("w", 0644);

    SAME(write(fd, "hello", 5), 5);
    OK(close(fd));
    put("t", "x");
    OK(set("t", (struct timespec){ 1000, 1 }, (struct timespec){ 1000, 1 }));
    OK(truncate("t", 1));                 /* same size: nothing happens */
    put("c", "x");
    OK(set("c", (struct timespec){ 1000, 1 }, (struct timespec){ 1000, 1 }));
    OK(chmod("c", 0600));
    OK(mkdir("m", 0755));
    put("m/x", "y");
    for (int i = 0; i < 4; i++)
        a[i] = stat_of(names[i]);
    remount();
    for (int i = 0; i < 4; i++) {
        b = stat_of(names[i]);
        if (!equal(a[i].st_mtim, b.st_mtim) || !equal(a[i].st_ctim, b.st_ctim) || a[i].st_size != b.st_size || a[i].st_mode != b.st_mode)
            failed(__FILE__, __LINE__, "%s: mtime %lld.%09ld -> %lld.%09ld, ctime %lld.%09ld -> %lld.%09ld", names[i], (long long)a[i].st_mtim.tv_sec,
                   a[i].st_mtim.tv_nsec, (long long)b.st_mtim.tv_sec, b.st_mtim.tv_nsec, (long long)a[i].st_ctim.tv_sec, a[i].st_ctim.tv_nsec,
                   (long long)b.st_ctim.tv_sec, b.st_ctim.tv_nsec);
    }
}

static void calls_change_directories_they_should(void)
{
    OK(mkdir("d", 0755));
    OK(mkdir("e", 0755));
    CHANGES("d", open_new("d/f", 0644), M | C);
    LEAVES("d", open("d/f", O_CREAT | O_RDWR, 0644));
    LEAVES("d", truncate("d/f", 100));
    LEAVES("d", chmod("d/f", 0600));
    LEAVES("d", access("d/none", F_OK));
    LEAVES("d", mkdir("d/f", 0755));
    LEAVES("d", unlink("d/none"));
    LEAVES("d", count_entries("d"));
    CHANGES("d", link("d/f", "d/g"), M | C);
    CHANGES("d", symlink("x", "d/l"), M | C);
    CHANGES("d", mkfifo("d/p", 0644), M | C);
    CHANGES("d", mkdir("d/s", 0755), M | C);
    CHANGES("d", rename("d/g", "d/h"), M | C);
    CHANGES("d", rename("d/h", "e/h"), M | C);
    CHANGES("e", rename("d/l", "e/l"), M | C);
    CHANGES("e", rename("e/l", "d/l"), M | C);
    CHANGES("d", renameat2(AT_FDCWD, "d/l", AT_FDCWD, "e/h", RENAME_EXCHANGE), M | C);
    CHANGES("d", unlink("d/p"), M | C);
    CHANGES("d", rmdir("d/s"), M | C);
    CHANGES("d", chmod("d", 0700), C);
    CHANGES("d", setxattr("d", "user.x", "y", 1, 0), C);
    LEAVES("d", open("d", O_TMPFILE | O_RDWR, 0600));
}

static void files_made_one_after_the_other_are_in_order(void)
{
    struct timespec last = { 0 };
    char name[16];

    for (int i = 0; i < 300; i++) {       /* made empty (the daemon's clock), or written (the kernel's) */
        snprintf(name, sizeof name, "f%d", i);
        put(name, i % 2 ? "text" : "");
        struct timespec m = stat_of(name).st_mtim;
        if (later(last, m)) {
            failed(__FILE__, __LINE__, "file %d is older than the one made before, by %ld ns", i,
                   (last.tv_sec - m.tv_sec) * 1000000000 + last.tv_nsec - m.tv_nsec);
            break;
        }
        last = m;
    }
}

static void reading_changes_no_time(void)
{
    char c;

    put("f", "x");
    OK(mkdir("d", 0755));
    OK(set("f", (struct timespec){ 1000, 1 }, (struct timespec){ 2000, 1 }));
    OK(set("d", (struct timespec){ 1000, 1 }, (struct timespec){ 2000, 1 }));
    int fd = open("f", O_RDONLY);
    SAME(read(fd, &c, 1), 1);
    count_entries("d");
    close(fd);
    if (on_coppice) {                     /* fs/fuse/inode.c: FUSE leaves it to the daemon, and ours is not asked */
        SAME(stat_of("f").st_atim.tv_sec, 1000);
        SAME(stat_of("d").st_atim.tv_sec, 1000);
    }
    SAME(stat_of("f").st_mtim.tv_sec, 2000);
    SAME(stat_of("d").st_mtim.tv_sec, 2000);
}

static void birth_is_kept(void)
{
    struct statx a, b;

    put("f", "x");
    SAME(statx(AT_FDCWD, "f", 0, STATX_BTIME | STATX_BASIC_STATS, &a), 0);
    if (!(a.stx_mask & STATX_BTIME)) {
        skipped("no birth time here");
        return;
    }
    tick();
    put("f", "more");
    OK(set("f", (struct timespec){ 5, 0 }, (struct timespec){ 5, 0 }));
    OK(rename("f", "g"));
    remount();
    SAME(statx(AT_FDCWD, "g", 0, STATX_BTIME | STATX_BASIC_STATS, &b), 0);
    SAME(a.stx_btime.tv_sec, b.stx_btime.tv_sec);
    SAME(a.stx_btime.tv_nsec, b.stx_btime.tv_nsec);
    SAME(b.stx_mtime.tv_sec, 5);
}

const struct posix_test posix_times_tests[] = {
    { "times_are_set_as_told", times_are_set_as_told },
    { "now_and_omit_are_understood", now_and_omit_are_understood },
    { "times_are_set_by_owners_and_touched_by_writers", times_are_set_by_owners_and_touched_by_writers },
    { "calls_change_the_times_they_should", calls_change_the_times_they_should },
    { "times_after_writing_are_those_shown_before", times_after_writing_are_those_shown_before },
    { "calls_change_directories_they_should", calls_change_directories_they_should },
    { "files_made_one_after_the_other_are_in_order", files_made_one_after_the_other_are_in_order },
    { "reading_changes_no_time", reading_changes_no_time },
    { "birth_is_kept", birth_is_kept },
    { 0 }
};
