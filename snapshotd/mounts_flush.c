/* Reaching into mounts: to bring in what the kernel holds, and to take them away at the end. All of it goes through a descriptor
 * of a directory that is on the mount now, whatever the client said when it made it. */
#include "snapshotd/mounts_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/workspace.h"

/* Asks the mount nothing: see base/errand.h. */
static bool is_on(int fd, uint64_t dev)
{
    struct statx sx;
    return !statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &sx) && makedev(sx.stx_dev_major, sx.stx_dev_minor) == dev;
}

/* A place only: opening it would ask. */
static int open_on(const char *path, uint64_t dev)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 && is_on(fd, dev))
        return fd;
    close_p(&fd);
    return -1;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
    char *to = s;

    for (; *s; s++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
            *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
}

/* Any place where this file system can be seen (also a bind mount of a part of it: syncfs reaches all). */
static int open_by_mountinfo(uint64_t dev)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    _cleanup_free_ char *line = NULL;
    size_t cap = 0;
    int fd = -1;

    while (f && fd < 0 && getline(&line, &cap, f) > 0) {
        unsigned maj, min;
        int at = 0;
        if (sscanf(line, "%*d %*d %u:%u %*s %n", &maj, &min, &at) < 2 || !at || makedev(maj, min) != dev)
            continue;
        line[at + (int)strcspn(line + at, " ")] = 0;
        unescape(line + at);
        fd = open_on(line + at, dev);
    }
    if (f)
        fclose(f);
    return fd;
}

static int open_mount(const struct mount_entry *e, const int *fds, unsigned fd_count)
{
    int fd = -1;

    for (unsigned i = 0; fd < 0 && i < fd_count; i++)
        if (is_on(fds[i], e->dev))
            fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
    if (fd < 0 && e->dir)
        fd = open_on(e->dir, e->dev);
    return fd >= 0 ? fd : open_by_mountinfo(e->dev);
}

static void user_drop(struct mounts *t, struct mount_entry *e)
{
    pthread_mutex_lock(&t->lock);
    e->users--;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

int mounts_flush_begin(struct mounts *t, const char *object, const int *fds, unsigned fd_count, struct flushing *ret)
{
    uint64_t began = clock_mono_ns(), id = 0;

    *ret = (struct flushing){ .table = t, .dir_fd = -1 };
    for (int tries = 0; tries < 2; tries++) {
        pthread_mutex_lock(&t->lock);
        struct mount_entry *e = mounts_entry_of(t, object);
        if (!e || !e->mount || e->ro) {
            pthread_mutex_unlock(&t->lock);
            return 0;
        }
        e->users++;
        id = e->id;
        pthread_mutex_unlock(&t->lock);
        int fd = open_mount(e, fds, fd_count);
        if (fd >= 0) {
            *ret = (struct flushing){ .table = t, .e = e, .dir_fd = fd };
            int r = mount_flush(e->mount, fd);
            ret->flush_ns = clock_mono_ns() - began;
            return r;
        }
        bool attached = e->attached;
        unsigned wait_ms = e->foreign || !e->dir ? 100 : 2000;     /* no path of ours leads to it: a sandbox has it */
        user_drop(t, e);
        /* Not to be seen: it is being unmounted at this moment (then wait for that), or it is out of our sight. */
        if (!attached || mounts_wait_gone(t, id, wait_ms))
            return -EXDEV;
    }
    return -EXDEV;
}

void mounts_flush_end(struct flushing *f)
{
    if (f->e)
        user_drop(f->table, f->e);
    f->e = NULL;
    close_p(&f->dir_fd);
    f->dir_fd = -1;
}

/* --- the end --- */

/* Flushes and detaches one mount; keeps a count on the entry meanwhile. */
static void detach(struct mounts *t, struct mount_entry *e)
{
    int fd = e->attached ? open_mount(e, NULL, 0) : -1;

    if (fd >= 0) {
        int r = mount_flush(e->mount, fd);
        if (r)
            log_warn("mount=%llu object=%s flush err=%s", (unsigned long long)e->id, e->object, errno_name(r));
        /* The recorded path may show something else by now: only what we saw to be ours is taken away. */
        int at = e->dir ? open_on(e->dir, e->dev) : -1;
        if (at >= 0) {
            close(at);
            if (umount2(e->dir, MNT_DETACH))
                log_warn("mount=%llu object=%s umount err=%s", (unsigned long long)e->id, e->object, errno_name(errno));
        }
    }
    user_drop(t, e);
    close_p(&fd);
}

/* The next entry that was not handled yet, as a user. */
static struct mount_entry *next_entry(struct mounts *t, uint64_t *below)
{
    struct mount_entry *found = NULL;

    pthread_mutex_lock(&t->lock);
    for (struct mount_entry *e = t->list; e; e = e->next)
        if (e->id < *below && e->mount && (!found || e->id > found->id))
            found = e;
    if (found) {
        found->users++;
        *below = found->id;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static bool wait_empty(struct mounts *t, unsigned timeout_ms)
{
    struct timespec end = mounts_deadline(timeout_ms);

    pthread_mutex_lock(&t->lock);
    while (t->list && !pthread_cond_timedwait(&t->changed, &t->lock, &end))
        ;
    bool empty = !t->list;
    pthread_mutex_unlock(&t->lock);
    return empty;
}

bool mounts_close(struct mounts *t, unsigned timeout_ms)
{
    struct mount_entry *e;

    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    for (uint64_t below = UINT64_MAX; (e = next_entry(t, &below));)
        detach(t, e);
    /* What programs still hold open or stand in gets a moment to go, then is cut: they see ENOTCONN. */
    if (!wait_empty(t, 1000)) {
        for (uint64_t below = UINT64_MAX; (e = next_entry(t, &below));) {
            log_warn("mount=%llu object=%s cut: programs still use it", (unsigned long long)e->id, e->object);
            mount_abort(e->mount);
            user_drop(t, e);
        }
        if (!wait_empty(t, timeout_ms))
            return false;
    }
    fuse_pool_free(t->pool);
    t->pool = NULL;
    return true;
}

void mounts_rest(struct mounts *t)
{
    struct mount_entry *e;

    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    /* Twice: what takes long is done before anybody waits for it. */
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint64_t below = UINT64_MAX; (e = next_entry(t, &below));) {
            if (pass)
                mount_hold(e->mount);     /* never released: what comes now is the next daemon's */
            int r = e->snapshot ? 0 : workspace_commit(mount_workspace(e->mount));
            if (r)
                log_warn("mount=%llu object=%s commit err=%s", (unsigned long long)e->id, e->object, errno_name(r));
            user_drop(t, e);
        }
}
