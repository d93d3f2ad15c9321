/* What inotify and fanotify tell of each call: the same, in the same order, as on a tmpfs. */
#include "tests/system/posix_twin.h"

#include <poll.h>
#include <stdarg.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/xattr.h>

/* --- what is done, one after the other, in a directory "d" with a neighbour "e" --- */
static int keep = -1;                     /* a file held open */

static int rw(const char *name, int flags) { return (keep = open(name, O_RDWR | flags, 0644)) < 0 ? -1 : 0; }
static int shut(void) { int r = close(keep); keep = -1; return r; }

#define STEPS \
    S(rw("d/f", O_CREAT | O_EXCL)) S(write(keep, "hello", 5)) S(pread(keep, (char[8]){ 0 }, 8, 0)) S(ftruncate(keep, 100)) S(ftruncate(keep, 100)) S(fallocate(keep, 0, 0, 5000)) S(fchmod(keep, 0600)) \
    S(fchown(keep, 5, 5)) S(futimens(keep, NULL)) S(fsetxattr(keep, "user.a", "b", 1, 0)) S(fremovexattr(keep, "user.a")) S(fsync(keep)) S(shut()) S(truncate("d/f", 3)) S(chmod("d/f", 0644)) \
    S(twin_shut(open("d/f", O_RDONLY))) S(twin_shut(open("d/f", O_WRONLY | O_TRUNC))) S(twin_shut(open("d/f", O_RDWR | O_CREAT, 0644))) S(twin_shut(open("d/none", O_RDONLY))) \
    S(twin_shut(open("d", O_RDONLY | O_DIRECTORY))) S((int)count_entries("d")) S(link("d/f", "d/g")) S(link("d/f", "e/g")) S(unlink("d/g")) S(symlink("f", "d/l")) S(mkfifo("d/p", 0644)) \
    S(mknod("d/s", S_IFSOCK | 0644, 0)) S(mkdir("d/sub", 0755)) S(rename("d/f", "d/h")) S(rename("d/h", "e/h")) S(rename("e/h", "d/f")) S(rename("d/sub", "e/sub")) S(rename("e/sub", "d/sub")) \
    S(rename("d/l", "d/p")) S(renameat2(AT_FDCWD, "d/f", AT_FDCWD, "d/sub", RENAME_EXCHANGE)) S(renameat2(AT_FDCWD, "d/f", AT_FDCWD, "d/sub", RENAME_EXCHANGE)) \
    S(rename("d/f", "d/none/x")) S(unlink("d/none")) S(rmdir("d/sub")) S(rw("d/f", 0)) S(unlink("d/f")) S(write(keep, "x", 1)) S(shut()) S(unlink("d/p")) S(unlink("d/s")) \
    S(chmod("d", 0711)) S(rename("d", "moved")) S(rename("moved", "d")) S(twin_shut(open("d", O_TMPFILE | O_RDWR, 0600))) S(rmdir("d"))

/* The steps are statements; a number picks one. */
static int step(unsigned n, const char **ret_what)
{
    unsigned i = 0;

#define S(x) if (i++ == n) { *ret_what = #x; return (int)(x); }
    STEPS
#undef S
    return -2;
}

/* --- what is told --- */
static char told[2][8192];
static size_t told_n;

__attribute__((format(printf, 2, 3))) static void tell(char *to, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(to + told_n, sizeof told[0] - told_n, fmt, ap);
    va_end(ap);
    told_n += (size_t)n < sizeof told[0] - told_n ? (size_t)n : 0;
}

static bool waiting(int fd)
{
    return poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 0) == 1;
}

/* What has no name yet is told as "#" and its inode number, on FUSE as "/": fs/fuse/dir.c, fuse_tmpfile, names it not (d_mark_tmpfile). */
static const char *name_told(const char *name)
{
    return *name == '#' || *name == '/' ? "nameless" : name;
}

static void read_inotify(int fd, char *to)
{
    char b[4096] __attribute__((aligned(8)));

    while (waiting(fd)) {
        ssize_t n = read(fd, b, sizeof b);
        for (ssize_t i = 0; i < n;) {
            struct inotify_event *e = (void *)(b + i);
            tell(to, " %d:%x:%s%s", e->wd, e->mask, e->len ? name_told(e->name) : "", e->cookie ? "+" : "");
            i += (ssize_t)sizeof *e + e->len;
        }
    }
}

/* Names are told by records of this type, file handle and then name. */
static bool has_name(unsigned type)
{
    return type == FAN_EVENT_INFO_TYPE_DFID_NAME || type == FAN_EVENT_INFO_TYPE_OLD_DFID_NAME || type == FAN_EVENT_INFO_TYPE_NEW_DFID_NAME;
}

/* Events and records lie one behind the other at any multiple of four. */
static void read_fanotify(int fd, char *to)
{
    struct fanotify_event_metadata e;
    struct fanotify_event_info_fid info;
    struct file_handle h;
    char b[8192];

    while (waiting(fd)) {
        ssize_t n = read(fd, b, sizeof b);
        for (char *p = b; p < b + n; p += e.event_len) {
            memcpy(&e, p, sizeof e);
            tell(to, " %llx", (unsigned long long)e.mask);
            if (e.fd >= 0)
                close(e.fd);
            for (char *q = p + e.metadata_len; q < p + e.event_len; q += info.hdr.len) {
                memcpy(&info, q, sizeof info);
                memcpy(&h, q + sizeof info, sizeof h);
                if (has_name(info.hdr.info_type))
                    tell(to, ":%u:%s", info.hdr.info_type, name_told(q + sizeof info + sizeof h + h.handle_bytes));
            }
        }
    }
}

/* --- kinds of watches: a descriptor set up in the working directory, or -1 --- */
static int by_inotify(void)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    OK(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
    OK(inotify_add_watch(fd, "e", IN_ALL_EVENTS | IN_EXCL_UNLINK));
    return fd;
}

enum { DATA = FAN_OPEN | FAN_ACCESS | FAN_MODIFY | FAN_CLOSE_WRITE | FAN_CLOSE_NOWRITE | FAN_OPEN_EXEC, NAMES = FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_ATTRIB | FAN_RENAME,
       SELF = FAN_DELETE_SELF | FAN_MOVE_SELF };

static int fan(unsigned init, unsigned mark, uint64_t mask)
{
    int fd = fanotify_init(init | FAN_NONBLOCK | FAN_CLOEXEC, O_RDONLY);

    if (fd >= 0 && fanotify_mark(fd, FAN_MARK_ADD | mark, mask | FAN_ONDIR | (mark ? 0 : FAN_EVENT_ON_CHILD), AT_FDCWD, "d")) {
        int e = errno;
        close(fd);
        errno = e;
        fd = -1;
    }
    return fd;
}

static int by_data(void) { return fan(FAN_CLASS_NOTIF, 0, DATA); }
static int by_names(void) { return fan(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME, 0, DATA | NAMES | SELF); }
static int by_mount(void) { return fan(FAN_CLASS_NOTIF, FAN_MARK_MOUNT, FAN_OPEN | FAN_MODIFY | FAN_CLOSE_WRITE | FAN_CLOSE_NOWRITE); }
static int by_file_system(void) { return fan(FAN_CLASS_NOTIF, FAN_MARK_FILESYSTEM, FAN_MODIFY | FAN_CLOSE_WRITE); }
static int by_names_of_all(void) { return fan(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME, FAN_MARK_FILESYSTEM, FAN_MODIFY | NAMES | SELF); }

static unsigned wrong;

static void compare(const char *name, int (*watch)(void), void (*read_events)(int fd, char *to))
{
    char here[PATH_MAX], what_dir[PATH_MAX];
    const char *what = NULL;
    int fd[2], result[2] = { 0 };

    T(getcwd(here, sizeof here));
    const char *dirs[2] = { here, twin_native };
    for (int i = 0; i < 2; i++) {
        snprintf(what_dir, sizeof what_dir, "%.4000s/events", dirs[i]);
        OK(mkdir(what_dir, 0755));
        OK(chdir(what_dir));
        OK(mkdir("d", 0755));
        OK(mkdir("e", 0755));
        fd[i] = watch();
        if (fd[i] < 0)
            skipped("%s %s: %s", name, i ? "on tmpfs" : "here", strerror(errno));
    }
    int held[2] = { -1, -1 };
    for (unsigned n = 0; result[0] != -2 && fd[0] >= 0 && fd[1] >= 0; n++) {
        for (int i = 0; i < 2; i++) {
            snprintf(what_dir, sizeof what_dir, "%.4000s/events", dirs[i]);
            OK(chdir(what_dir));
            keep = held[i];
            result[i] = step(n, &what);
            held[i] = keep;
            told_n = 0;
            told[i][0] = 0;
            read_events(fd[i], told[i]);
        }
        if ((strcmp(told[0], told[1]) || result[0] != result[1]) && wrong++ < 20)
            fprintf(stderr, "%s: %s: %d%s\n    tmpfs: %d%s\n", name, what, result[0], told[0], result[1], told[1]);
    }
    for (int i = 0; i < 2; i++) {
        close(fd[i]);
        snprintf(what_dir, sizeof what_dir, "%.4000s/events", dirs[i]);
        OK(chdir(what_dir));
        (void)!unlink("e/g");
        (void)!rmdir("e");
        (void)!rmdir("d");
        OK(chdir(here));
        OK(rmdir(what_dir));
    }
}

static void inotify_tells_what_it_tells_elsewhere(void)
{
    compare("inotify", by_inotify, read_inotify);
    SAME(wrong, 0);
}

/* Marks of directories, mounts and file systems. */
static void fanotify_tells_what_it_tells_elsewhere(void)
{
    compare("fanotify", by_data, read_fanotify);
    compare("fanotify with names", by_names, read_fanotify);
    compare("fanotify of the mount", by_mount, read_fanotify);
    compare("fanotify of the file system", by_file_system, read_fanotify);
    OK(mkdir("d", 0755));
    if (on_coppice)                       /* fs/fuse/inode.c, convert_fuse_statfs: no f_fsid, which such marks of more than one directory need */
        FAILS(by_names_of_all(), ENODEV);
    else
        compare("fanotify of the file system, with names", by_names_of_all, read_fanotify);
    SAME(wrong, 0);
}

/* Who holds a permission event decides, and the open waits for it. */
static void fanotify_may_refuse_an_open(void)
{
    char b[4096] __attribute__((aligned(8)));
    int st;

    put("f", "x");
    int fd = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);
    if (fd < 0 || fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM | FAN_ACCESS_PERM, AT_FDCWD, "f")) {
        skipped("permission events: %s", strerror(errno));
        return;
    }
    for (int turn = 0; turn < 4; turn++) {
        fflush(NULL);
        pid_t pid = fork();
        if (!pid) {
            int in = open("f", O_RDONLY);
            _exit(in < 0 ? errno : read(in, b, 1) < 0 ? errno : 0);
        }
        for (int events = 0; events < (turn % 2 ? 2 : 1); events++) {
            OK(read(fd, b, sizeof b));
            struct fanotify_event_metadata *e = (void *)b;
            struct fanotify_response r = { .fd = e->fd, .response = turn % 2 ? FAN_ALLOW : FAN_DENY };
            SAME(write(fd, &r, sizeof r), sizeof r);
            close(e->fd);
        }
        T(waitpid(pid, &st, 0) == pid && WIFEXITED(st));
        SAME(WEXITSTATUS(st), turn % 2 ? 0 : EPERM);
    }
    close(fd);
}

const struct posix_test posix_events_tests[] = {
    { "inotify_tells_what_it_tells_elsewhere", inotify_tells_what_it_tells_elsewhere },
    { "fanotify_tells_what_it_tells_elsewhere", fanotify_tells_what_it_tells_elsewhere },
    { "fanotify_may_refuse_an_open", fanotify_may_refuse_an_open },
    { 0 }
};
