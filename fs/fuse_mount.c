/* A mount from fsopen to on_gone.
 *
 * The kernel speaks first (INIT, when the superblock is made), so the descriptor is armed right after that and mount_new waits for INIT to
 * be answered. A mount ends when read() says ENODEV: the last program has let go of an unmounted file system, or the connection was
 * aborted. Then nobody arms it any more, and when the last reference is dropped a worker runs mount_finish. */
#include "fs/fuse_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/errand.h"
#include "base/log.h"
#include "fs/snapdir.h"
#include "fs/ws_internal.h"

enum { INIT_SECONDS = 10 };

static int set_string(int fs, const char *key, const char *val)
{
    return fsconfig(fs, FSCONFIG_SET_STRING, key, val, 0) ? -errno : 0;
}

static int set_flag(int fs, const char *key)
{
    return fsconfig(fs, FSCONFIG_SET_FLAG, key, NULL, 0) ? -errno : 0;
}

/* A superblock over the device descriptor. */
static int make_super(const struct mount_opts *o, int fd, int *ret_fs)
{
    _cleanup_close_ int fs = fsopen("fuse", FSOPEN_CLOEXEC);
    char num[16];
    int r;

    if (fs < 0)
        return -errno;
    snprintf(num, sizeof num, "%d", fd);
    r = set_string(fs, "source", o->source[0] ? o->source : "coppice");
    if (!r)
        r = set_string(fs, "subtype", "coppice");
    if (!r)
        r = set_string(fs, "fd", num);
    if (!r)
        r = set_string(fs, "rootmode", "40000");
    if (!r)
        r = set_string(fs, "user_id", "0");
    if (!r)
        r = set_string(fs, "group_id", "0");
    if (!r)
        r = set_flag(fs, "default_permissions");
    if (!r && !o->no_allow_other)
        r = set_flag(fs, "allow_other");
    if (!r && o->ro)
        r = set_flag(fs, "ro");
    if (!r && fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
        r = -errno;
    if (!r)
        *ret_fs = TAKE_FD(fs);
    return r;
}

static unsigned attrs(const struct mount_opts *o)
{
    return (o->ro ? MOUNT_ATTR_RDONLY : 0u) | (o->suid ? 0u : MOUNT_ATTR_NOSUID) | (o->dev ? 0u : MOUNT_ATTR_NODEV) |
           (o->noexec ? MOUNT_ATTR_NOEXEC : 0u);
}

/* FUSE is given 128 KiB, and INIT can only lower it. max_ratio and strict_limit stay: 400 MB were written as fast with 1 % as without. */
static void set_read_ahead(uint64_t dev)
{
    static const char val[] = "1024";
    char path[64];
    _cleanup_close_ int fd = -1;

    snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", major(dev), minor(dev));
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, val, sizeof val - 1) < 0)
        log_debug("fuse: %s err=%s", path, errno_name(errno));
}

static int wait_init(struct mount *m)
{
    struct fuse_pool *p = m->pool;
    struct timespec end;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += INIT_SECONDS;
    pthread_mutex_lock(&p->lock);
    while (!r && !atomic_load(&m->inited))
        r = pthread_cond_timedwait(&p->cond, &p->lock, &end);
    r = atomic_load(&m->inited) ? 0 : r;  /* both at once, after a pause of the whole machine */
    pthread_mutex_unlock(&p->lock);
    if (r)
        log_error("fuse: no INIT from the kernel within %d s", INIT_SECONDS);
    return r ? -EIO : 0;
}

static int claim(struct mount *m)
{
    int r = 0;

    pthread_mutex_lock(&m->ws->lock);
    if (m->ws->mount)
        r = -EBUSY;
    else
        m->ws->mount = m;
    pthread_mutex_unlock(&m->ws->lock);
    return r;
}

static void unclaim(struct mount *m)
{
    pthread_mutex_lock(&m->ws->lock);
    m->ws->mount = NULL;
    pthread_mutex_unlock(&m->ws->lock);
}

static void mount_free(struct mount *m)
{
    struct fuse_pool *p = m->pool;

    if (m->fd >= 0)
        close(m->fd);
    mount_ring_free(m);
    snapdir_free(m->snapdir);
    pthread_mutex_destroy(&m->flush_lock);
    pthread_mutex_destroy(&m->sync_lock);
    workspace_unref(m->ws);
    free(m);
    pthread_mutex_lock(&p->lock);
    p->mounts--;
    pthread_cond_broadcast(&p->cond);
    pthread_mutex_unlock(&p->lock);
}

static struct mount *mount_alloc(struct fuse_pool *p, struct workspace *w, const struct mount_opts *o,
                                 void (*on_gone)(void *, struct mount *), void *arg)
{
    struct mount *m = mem_zalloc(sizeof *m);

    if (!m)
        return NULL;
    m->pool = p;
    m->ws = workspace_ref(w);
    m->opts = *o;
    m->opts.ro |= w->readonly;
    m->fd = -1;
    m->on_gone = on_gone;
    m->arg = arg;
    atomic_store(&m->refs, 1);            /* mount_new's */
    pthread_mutex_init(&m->flush_lock, NULL);
    pthread_mutex_init(&m->sync_lock, NULL);
    pthread_mutex_lock(&p->lock);
    p->mounts++;
    pthread_mutex_unlock(&p->lock);
    return m;
}

int mount_make(struct fuse_pool *p, struct workspace *w, const struct mount_opts *o, void (*on_gone)(void *, struct mount *), void *arg,
               struct mount **ret)
{
    struct mount *m = mount_alloc(p, w, o, on_gone, arg);

    if (!m)
        return -ENOMEM;
    int r = o->snapdir ? w->readonly ? -EINVAL : snapdir_new(w->store, w->rec.id, &m->snapdir) : 0;
    if (!r)
        r = claim(m);
    if (r)
        mount_free(m);
    else
        *ret = m;
    return r;
}

void mount_unmake(struct mount *m)
{
    unclaim(m);
    mount_free(m);
}

static int attach(struct mount *m, int *ret_mountfd)
{
    _cleanup_close_ int fs = -1, mfd = -1;
    struct statx sx;
    int r;

    m->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (m->fd < 0)
        return errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
    r = make_super(&m->opts, m->fd, &fs);
    if (r)
        return r;
    mfd = fsmount(fs, FSMOUNT_CLOEXEC, attrs(&m->opts));
    if (mfd < 0 || statx(mfd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &sx))
        return -errno;
    m->dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
    r = fuse_arm_first(m);
    if (!r)
        *ret_mountfd = TAKE_FD(mfd);
    return r;
}

/* In an errand: after it the kernel knows ROOT_NAME and asks no more. */
static int look_up_root(void *arg, int fd)
{
    struct stat st;
    int r = fstatat(fd, ROOT_NAME, &st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;

    (void)arg;
    close(fd);
    return r;
}

/* The mount becomes one of ROOT_NODE. Linux before 6.15 has no mounts made of detached ones: there the root's own node stays. */
static void show_second_root(struct mount *m, int *mfd)
{
    if (!m->opts.uid_base || errand_run(*mfd, look_up_root, NULL))
        return;
    int fd = open_tree(*mfd, ROOT_NAME, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);
    if (fd < 0)
        return;
    close(*mfd);
    *mfd = fd;
    m->second_root = true;
}

int mount_new(struct fuse_pool *p, struct workspace *w, const struct mount_opts *o, void (*on_gone)(void *arg, struct mount *m), void *arg,
              struct mount **ret, int *ret_mountfd)
{
    struct mount *m;
    int mfd = -1, r = mount_make(p, w, o, on_gone, arg, &m);

    if (r)
        return r;
    if (o->transport == TRANSPORT_URING) {
        r = rings_want(p);
        if (!r)
            r = mount_ring_new(m);
    }
    if (!r)
        r = attach(m, &mfd);
    if (r) {
        mount_unmake(m);
        return r;
    }
    r = wait_init(m);
    if (!r && m->ring)
        r = atomic_load(&m->ring_on) ? mount_ring_start(m) : -EOPNOTSUPP;
    if (r) {
        m->on_gone = NULL;                /* nobody knows of it yet */
        close(mfd);
        mount_unref(m);
        return r;
    }
    show_second_root(m, &mfd);
    set_read_ahead(m->dev);
    *ret = m;
    *ret_mountfd = mfd;
    mount_unref(m);
    return 0;
}

/* In a worker. refs is 0, so mount_of() finds it no more; only who called mount_new may still hold the pointer. */
void mount_finish(struct mount *m)
{
    int r;

    ws_forget_all(m->ws);                 /* the kernel sends no FORGET for what it has cached when a file system ends */
    unclaim(m);
    r = m->ws->readonly ? 0 : workspace_commit(m->ws);
    if (r && r != -ENOENT)                /* the latter: removed as soon as the mount was gone */
        log_error("fuse: commit at unmount err=%s", errno_name(r));
    workspace_unlog(m->ws);
    if (m->on_gone)
        m->on_gone(m->arg, m);
    mount_free(m);
}

struct mount *mount_of(struct workspace *w)
{
    struct mount *m;

    pthread_mutex_lock(&w->lock);
    m = w->mount;
    if (m && !mount_tryref(m))
        m = NULL;
    pthread_mutex_unlock(&w->lock);
    return m;
}

void mount_put(struct mount *m)
{
    if (m)
        mount_unref(m);
}

enum mount_transport mount_transport(const struct mount *m)
{
    return m->ring ? TRANSPORT_URING : TRANSPORT_CLASSIC;
}

struct workspace *mount_workspace(const struct mount *m)
{
    return m->ws;
}

uint64_t mount_dev(const struct mount *m)
{
    return m->dev;
}

/* fusectl mounted for this moment only, so that it need not be mounted anywhere. */
static int fusectl(void)
{
    _cleanup_close_ int fs = fsopen("fusectl", FSOPEN_CLOEXEC);

    if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
        return -errno;
    return fsmount(fs, FSMOUNT_CLOEXEC, 0);
}

void mount_abort(struct mount *m)
{
    _cleanup_close_ int dir = -1, fd = -1;
    char path[32];

    if (!mount_tryref(m))                 /* it has ended, and is being finished: once */
        return;
    dir = fusectl();
    snprintf(path, sizeof path, "%u/abort", minor(m->dev));
    fd = dir < 0 ? -1 : openat(dir, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "1", 1) != 1)
        log_error("fuse: abort dev=%u:%u err=%s", major(m->dev), minor(m->dev), errno_name(errno));
    mount_unref(m);
}

int mount_notify(struct mount *m, int code, struct iovec *iov, int count)
{
    struct fuse_out_header h = { .error = code };
    size_t n = sizeof h;

    for (int i = 1; i < count; i++)
        n += iov[i].iov_len;
    h.len = (uint32_t)n;
    iov[0] = (struct iovec){ &h, sizeof h };
    return mount_send(m, iov, count);
}

static uint64_t node_of(const struct mount *m, uint64_t ino)
{
    return ino == FUSE_ROOT_ID && m->second_root ? ROOT_NODE : ino;
}

int mount_inval_inode(struct mount *m, uint64_t ino)
{
    struct fuse_notify_inval_inode_out out = { .ino = node_of(m, ino) };
    struct iovec iov[2] = { { 0 }, { &out, sizeof out } };

    return mount_notify(m, FUSE_NOTIFY_INVAL_INODE, iov, 2);
}

void mount_inval_entry(struct mount *m, uint64_t parent, const char *name, uint32_t name_len)
{
    struct fuse_notify_inval_entry_out out = { .parent = node_of(m, parent), .namelen = name_len };
    struct iovec iov[4] = { { 0 }, { &out, sizeof out }, { (void *)name, name_len }, { (void *)"", 1 } };

    mount_notify(m, FUSE_NOTIFY_INVAL_ENTRY, iov, 4);
}
