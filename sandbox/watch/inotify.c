/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What is libinotifytools' here: the instance and reading it (inotifytools_initialize(), inotifytools_next_events(): its buffer of 64 KiB, taken apart event by event). What is not, and why
 * (version 3.22.6):
 *  - Its watches and table of names. inotifytools_watch_file() adds by path, so a rename between finding a directory and watching it puts the watch on another one; it does not take paths of more
 *    than PATH_MAX; the names are kept as whole paths, so a rename costs the whole table (inotifytools_replace_filename() moreover changes the tree while it walks it, and
 *    inotifytools_set_filename_by_wd() leaves it unsorted); what the kernel has given up (IN_IGNORED) is never taken out of it, so it grows for ever; a directory that is added twice is leaked. Watches are
 *    added here through a descriptor of the very directory that is then listed (/proc/self/fd), on the library's instance; dirs.c is the table.
 *  - inotifytools_watch_recursively(): it watches and forgets; entries that are made meanwhile are not found, and the first one that vanishes meanwhile ends it. follow.c says how it is done.
 *  - The instance's descriptor, which the library keeps to itself, is the lowest number that was free. */
#include "sandbox/watch/inotify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inotifytools/inotifytools.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 4000,
       MASK = IN_CREATE | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_ONLYDIR | IN_EXCL_UNLINK, MASK_ROOT = MASK | IN_DELETE_SELF | IN_MOVE_SELF };
/* The watched directory is not kept open: the kernel tells its deletion when the last descriptor is closed. So it is opened each time, and must be the same one. */
static struct { int fd; char *path; dev_t dev; ino_t ino; } n = { .fd = -1 };

static int open_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/* Below the root, of any length, no symlink followed. */
static int open_below(const char *path)
{
    int at = open(n.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    char piece[PIECE + 1];
    struct stat st;

    if (at >= 0 && (fstat(at, &st) || st.st_dev != n.dev || st.st_ino != n.ino)) {
        close(at);
        return -ESTALE;
    }

    while (at >= 0 && *path) {
        size_t len = strlen(path);
        struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH };
        if (len > PIECE)
            for (len = PIECE; len && path[len] != '/'; len--)
                ;
        memcpy(piece, path, len);
        piece[len] = '\0';
        int next = (int)syscall(SYS_openat2, at, piece, &how, sizeof how), err = errno;
        close(at);
        if (next < 0)
            return -err;
        at = next;
        path += len;
        path += *path == '/';
    }
    return at < 0 ? -errno : at;
}

/* Takes fd. */
static int list(int fd, bool sizes, entry_fn *entry, void *arg)
{
    DIR *dir = fdopendir(fd);
    struct stat st;

    if (!dir) {
        int err = errno;
        close(fd);
        return -err;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        bool is_dir = e->d_type == DT_DIR, data = false;
        if (e->d_type == DT_UNKNOWN || (sizes && e->d_type == DT_REG)) {
            if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
                continue;                    /* gone already: its events say so */
            is_dir = S_ISDIR(st.st_mode);
            data = S_ISREG(st.st_mode) && st.st_size > 0;
        }
        entry(arg, e->d_name, is_dir, data);
    }
    closedir(dir);
    return 0;
}

static int look(void *self, const char *parent, const struct identity *expect, const char *name, bool sizes, int known_wd, struct identity *ret, entry_fn *entry, void *arg)
{
    char self_path[64];
    struct stat st;

    (void)self;
    int at = open_below(parent), fd = at;
    if (at >= 0 && expect && !fstat(at, &st) && (st.st_dev != expect->dev || st.st_ino != expect->ino))
        fd = -ESTALE;
    else if (at >= 0)
        fd = open_dir(at, *name ? name : ".");
    if (at >= 0)
        close(at);
    if (fd == -ENOENT && expect && at < 0)
        return -ESTALE;                      /* the parent is somewhere else, or gone */
    if (fd < 0)
        return fd;
    snprintf(self_path, sizeof self_path, "/proc/self/fd/%d", fd);
    int wd = inotify_add_watch(n.fd, self_path, *name ? MASK : MASK_ROOT);
    if (wd < 0 || fstat(fd, &st)) {
        int err = errno;
        close(fd);
        return -err;
    }
    *ret = (struct identity){ .dev = st.st_dev, .ino = st.st_ino, .wd = wd };
    if (wd == known_wd) {
        close(fd);
        return 0;
    }
    return list(fd, sizes, entry, arg);
}

static void unwatch(void *self, int wd)
{
    (void)self;
    inotify_rm_watch(n.fd, wd);              /* most are gone already */
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void *self) { (void)self; return clock_ns(CLOCK_MONOTONIC); }
static uint64_t time_ns(void *self) { (void)self; return clock_ns(CLOCK_REALTIME); }

static void read_events(void *self, struct intake *i)
{
    uint64_t now = now_ns(self), day = time_ns(self);
    struct inotify_event *e;

    while (!intake_full(i) && (e = inotifytools_next_events(0, 1)))
        intake_put(i, now, day, e->wd, e->mask, e->cookie, e->len ? e->name : "");
}

static int reopen(void *self)
{
    struct stat st;

    (void)self;
    if (stat(n.path, &st))
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    n.dev = st.st_dev;
    n.ino = st.st_ino;
    return 0;
}

int inotify_poll_fd(void) { return n.fd; }

int inotify_open(const char *path, struct kernel *ret)
{
    n.path = strdup(path);
    if (!n.path)
        return -ENOMEM;
    int r = reopen(NULL);
    if (r)
        return r;
    n.fd = open("/", O_PATH | O_CLOEXEC);    /* the number that comes next */
    if (n.fd < 0)
        return -errno;
    close(n.fd);
    if (!inotifytools_initialize())
        return -inotifytools_error();
    *ret = (struct kernel){ .look = look, .unwatch = unwatch, .read = read_events, .now_ns = now_ns, .time_ns = time_ns, .reopen = reopen };
    return 0;
}
