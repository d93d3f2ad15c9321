/* What changing a file does to its setuid and setgid bits and to its capabilities: by every call, as root, as a stranger to its group and as a member. */
#include "tests/system/posix.h"

#include <linux/capability.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static int src, p[2];

static bool by_write(int fd) { return pwrite(fd, "x", 1, 0) == 1; }
static bool by_long_write(int fd) { static char b[100000]; return pwrite(fd, b, sizeof b, 0) == sizeof b; }
static bool by_writev(int fd) { return pwritev2(fd, &(struct iovec){ (char[]){ 'v' }, 1 }, 1, 5, RWF_DSYNC) == 1; }
static bool by_append(int fd) { return pwritev2(fd, &(struct iovec){ (char[]){ 'v' }, 1 }, 1, 0, RWF_APPEND) == 1; }
static bool by_truncate(int fd) { (void)fd; return !truncate("f", 3); }
static bool by_ftruncate(int fd) { return !ftruncate(fd, 9000); }
static bool by_open(int fd) { (void)fd; return close(open("f", O_WRONLY | O_TRUNC)) == 0; }
static bool by_allocate(int fd) { return !fallocate(fd, 0, 0, 20000); }
static bool by_keep(int fd) { return !fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20000); }
static bool by_punch(int fd) { return !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 5); }
static bool by_zero(int fd) { return !fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 5) || (errno == EOPNOTSUPP && by_write(fd)); }
static bool by_copy(int fd) { loff_t a = 1, z = 3; return copy_file_range(src, &a, fd, &z, 10, 0) == 10; }
static bool by_sharing(int fd) { loff_t a = 0, z = 0; return copy_file_range(src, &a, fd, &z, 8192, 0) == 8192; }
static bool by_sendfile(int fd) { off_t a = 0; return sendfile(fd, src, &a, 10) == 10; }
static bool by_splice(int fd) { return write(p[1], "ab", 2) == 2 && splice(p[0], NULL, fd, NULL, 2, 0) == 2; }
static bool by_direct(int fd)
{
    void *m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int d = open("f", O_WRONLY | O_DIRECT);

    return d < 0 ? by_write(fd) : pwrite(d, m, 4096, 0) == 4096;
}

static const struct way { const char *name; bool (*run)(int fd); } ways[] = {
    { "write", by_write }, { "long write", by_long_write }, { "writev", by_writev }, { "append", by_append }, { "truncate", by_truncate },
    { "ftruncate", by_ftruncate }, { "O_TRUNC", by_open }, { "fallocate", by_allocate }, { "keep size", by_keep }, { "punch", by_punch },
    { "zero", by_zero }, { "copy", by_copy }, { "share", by_sharing }, { "sendfile", by_sendfile }, { "splice", by_splice }, { "direct", by_direct } };

enum who { ROOT, STRANGER, MEMBER, WHO };

/* setattr_should_drop_suidgid() of fs/attr.c. */
static mode_t expected(mode_t mode, enum who who)
{
    if (who == ROOT)
        return mode;
    if (mode & S_ISGID && (mode & S_IXGRP || who == STRANGER))
        mode &= ~(mode_t)S_ISGID;
    return mode & ~(mode_t)S_ISUID;
}

static void set_up(void)
{
    static char b[20000];
    int fd = open_new("src", 0644);

    SAME(write(fd, b, sizeof b), sizeof b);
    OK(close(fd));
    src = open("src", O_RDONLY);
    OK(pipe(p));
}

static void every_change_clears_what_it_must(void)
{
    static const mode_t modes[] = { 06777, 04777, 02777, 06666, 04666, 02666, 06676, 0777 };
    static const char *const names[] = { "root", "a stranger", "a member" };

    set_up();
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        for (size_t k = 0; k < sizeof modes / sizeof modes[0]; k++)
            for (enum who who = ROOT; who < WHO; who++) {
                put("f", "some text that is there");
                OK(chown("f", FRIEND, CREW));
                OK(chmod("f", modes[k]));
                AS_GROUP(who == ROOT ? 0 : USER, who == ROOT ? 0 : USER, who == MEMBER ? CREW : USER) {
                    T(ways[i].run(open("f", O_RDWR)));
                }
                if (mode_of("f") != expected(modes[k], who))
                    failed(__FILE__, __LINE__, "%s by %s: %04o becomes %04o, not %04o", ways[i].name, names[who], modes[k], mode_of("f"),
                           expected(modes[k], who));
                OK(unlink("f"));
            }
}

static void every_change_ends_capabilities(void)
{
    struct vfs_cap_data cap = { .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, .data[0].permitted = 1 << CAP_CHOWN };
    char b[64];

    set_up();
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        for (int who = 0; who < 2; who++) {
            put("f", "some text that is there");
            OK(chmod("f", 0777));
            if (setxattr("f", "security.capability", &cap, XATTR_CAPS_SZ_2, 0)) {
                skipped("capabilities of files: %s", strerror(errno));
                return;
            }
            AS(who ? USER : 0) {
                T(ways[i].run(open("f", O_RDWR)));
            }
            if (getxattr("f", "security.capability", b, sizeof b) >= 0 || errno != ENODATA)
                failed(__FILE__, __LINE__, "%s by %d leaves the capabilities", ways[i].name, who);
            OK(unlink("f"));
        }
}

const struct posix_test posix_priv_tests[] = {
    { "every_change_clears_what_it_must", every_change_clears_what_it_must },
    { "every_change_ends_capabilities", every_change_ends_capabilities },
    { 0 }
};
