/* Requests taken from their bytes, because libfuse 3.14 does not know them, or hides a flag that matters.
 *
 * libfuse is a decoder here, nothing more: each worker has one session (not each mount: a session takes a pthread key, of which a
 * process has 1,024), which never sees a descriptor. INIT is answered here per mount, so that every flag of the protocol can be had
 * whatever the library knows; the sessions are told of an INIT of our own making. */
#include "fs/fuse_call.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"

_Thread_local struct fuse_call *fuse_now;

/* Bits of fuse_init_out.flags; the kernel's are ANDed. AUTO_INVAL_DATA, ATOMIC_O_TRUNC, locks and splice stay off. */
static const uint32_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_DO_READDIRPLUS | FUSE_ASYNC_DIO |
    FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT | FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
    FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPORT_SUPPORT | FUSE_EXPLICIT_INVAL_DATA | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT;

/* Of Linux 6.6. */
struct sx_time { int64_t sec; uint32_t nsec; int32_t pad; };
struct statx_in { uint32_t getattr_flags, reserved; uint64_t fh; uint32_t sx_flags, sx_mask; };
struct statx_out {
    uint64_t valid; uint32_t valid_nsec, flags; uint64_t spare[2];
    struct {
        uint32_t mask, blksize; uint64_t attributes; uint32_t nlink, uid, gid; uint16_t mode, pad;
        uint64_t ino, size, blocks, attributes_mask;
        struct sx_time atime, btime, ctime, mtime;
        uint32_t rdev_major, rdev_minor, dev_major, dev_minor; uint64_t spare[14];
    } st;
};

/* The kernel gives a caller EIO whose reply it could not take: that must not go unseen. */
static void reply_failed(const struct fuse_call *c, int r)
{
    if (r < 0 && r != -ENOENT && r != -ENODEV)
        log_error("fuse: reply opcode=%u err=%s", c->in->opcode, errno_name(r));
}

int mount_send(struct mount *m, struct iovec *iov, int count)
{
    if (m->ring && mount_ring_send(m, iov, count))
        return 0;
    return writev(m->fd, iov, count) < 0 ? -errno : 0;
}

void mount_reply(struct mount *m, uint64_t unique, int err)
{
    struct fuse_out_header h = { .len = sizeof h, .error = err, .unique = unique };

    mount_send(m, &(struct iovec){ &h, sizeof h }, 1);
}

int fuse_reply_raw(struct fuse_call *c, int err, const void *data, size_t n)
{
    struct fuse_out_header h = { .len = (uint32_t)(sizeof h + n), .error = err, .unique = c->in->unique };
    struct iovec iov[2] = { { &h, sizeof h }, { (void *)data, n } };

    int r = c->send(c, iov, n ? 2 : 1);

    reply_failed(c, r);
    return r;
}

/* --- the library's two hooks --- */
static ssize_t hook_read(int fd, void *buf, size_t n, void *arg)
{
    return -1;                            /* requests are handed in, never fetched */
}

static ssize_t hook_writev(int fd, struct iovec *iov, int count, void *arg)
{
    size_t n = 0;
    int r;

    for (int i = 0; i < count; i++)
        n += iov[i].iov_len;
    if (!fuse_now)
        return (ssize_t)n;                /* the answer to worker_session()'s INIT */
    r = fuse_now->send(fuse_now, iov, count);
    if (!r)
        return (ssize_t)n;
    reply_failed(fuse_now, r);
    errno = ENOENT;                       /* about any other error the library would write to stderr */
    return -1;
}

int worker_session(struct worker *w)
{
    static const struct fuse_custom_io io = { .writev = hook_writev, .read = hook_read };
    struct { struct fuse_in_header h; struct fuse_init_in in; } init = {
        .h = { .len = sizeof init, .opcode = FUSE_INIT, .unique = 1 },
        .in = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_MINOR, .max_readahead = 1 << 20,
            .flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_INIT_EXT } };
    char name[] = "coppice", *argv[] = { name, NULL };
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    struct fuse_buf b = { .mem = &init, .size = sizeof init };
    int fd;

    w->session = fuse_session_new(&args, &fuse_ops, sizeof fuse_ops, NULL);
    fuse_opt_free_args(&args);
    if (!w->session)
        return -ENOMEM;
    fd = dup(w->pool->evfd);              /* the library wants one and closes it */
    if (fd < 0 || fuse_session_custom_io(w->session, &io, fd)) {
        if (fd >= 0)
            close(fd);
        fuse_session_destroy(w->session);
        w->session = NULL;
        return -ENOMEM;
    }
    fuse_session_process_buf(w->session, &b);
    return 0;
}

/* --- requests --- */
static const void *arg_of(struct fuse_call *c, size_t n)
{
    return c->len >= sizeof *c->in + n ? (const void *)(c->in + 1) : NULL;
}

const char *raw_name(struct fuse_call *c, size_t n)
{
    const char *p = (const char *)(c->in + 1) + n;

    return c->len > sizeof *c->in + n && memchr(p, 0, c->len - sizeof *c->in - n) ? p : NULL;
}

static void raw_init(struct fuse_call *c)
{
    const struct fuse_init_in *in = arg_of(c, 16);
    struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_MINOR };
    struct mount *m = c->m;

    if (!in || in->major != FUSE_KERNEL_VERSION || in->minor < 31) {
        log_error("fuse: kernel speaks %u.%u", in ? in->major : 0, in ? in->minor : 0);
        fuse_reply_raw(c, -EPROTO, NULL, 0);
        return;
    }
    out.minor = in->minor < FUSE_MINOR ? in->minor : FUSE_MINOR;
    out.max_readahead = 1 << 20;          /* the kernel takes the lesser of this and its own; mount_new raises that later */
    /* Not with a second root: what a handle opens is connected to the first, and directories would change their place in what the sandbox sees. */
    out.flags = in->flags & wanted & ~(m->opts.uid_base ? (uint32_t)FUSE_EXPORT_SUPPORT : 0u);
    out.max_background = (uint16_t)fuse_max_background(&m->opts);
    /* Above this number the kernel's flusher leaves dirty pages where they are, and mount_flush would miss them: never. */
    out.congestion_threshold = 65535;
    out.max_write = FUSE_PAYLOAD;
    out.max_pages = FUSE_PAYLOAD / 4096;
    out.time_gran = 1;
    if (m->ring && c->len >= sizeof *c->in + sizeof *in && in->flags & FUSE_INIT_EXT && in->flags2 & INIT_RING) {
        out.flags |= FUSE_INIT_EXT;
        out.flags2 = INIT_RING;
        atomic_store(&m->ring_on, true);
    }
    m->minor = out.minor;
    m->resend = c->len >= sizeof *c->in + sizeof *in && in->flags & FUSE_INIT_EXT && in->flags2 & INIT_RESEND;
    fuse_reply_raw(c, 0, &out, sizeof out);
    atomic_store(&m->inited, true);
    pthread_mutex_lock(&m->pool->lock);
    pthread_cond_broadcast(&m->pool->cond);
    pthread_mutex_unlock(&m->pool->lock);
}

static void raw_forget(struct fuse_call *c)
{
    const struct fuse_forget_in *in = arg_of(c, sizeof *in);

    if (in)
        fuse_forget(c->m, c->in->nodeid, in->nlookup);
}

static void raw_batch_forget(struct fuse_call *c)
{
    const struct fuse_batch_forget_in *in = arg_of(c, sizeof *in);
    const struct fuse_forget_one *one = in ? (const void *)(in + 1) : NULL;

    if (!in || (c->len - sizeof *c->in - sizeof *in) / sizeof *one < in->count)
        return;
    for (uint32_t i = 0; i < in->count; i++)
        fuse_forget(c->m, one[i].nodeid, one[i].nlookup);
}

static struct sx_time sx_time(const struct itime *t)
{
    return (struct sx_time){ .sec = t->sec, .nsec = t->ns };
}

void raw_statx_reply(struct fuse_call *c, uint64_t ino, const struct inode *in, uint64_t valid)
{
    struct statx_out out = { .valid = valid };
    struct stat st;

    attr_out(c->m, ino, in, &st);
    out.st.mask = 0x0fff;                 /* STATX_BASIC_STATS | STATX_BTIME */
    out.st.blksize = (uint32_t)st.st_blksize;
    out.st.nlink = (uint32_t)st.st_nlink;
    out.st.uid = st.st_uid;
    out.st.gid = st.st_gid;
    out.st.mode = (uint16_t)st.st_mode;
    out.st.ino = st.st_ino;
    out.st.size = (uint64_t)st.st_size;
    out.st.blocks = (uint64_t)st.st_blocks;
    out.st.atime = sx_time(&in->atime);
    out.st.btime = sx_time(&in->btime);
    out.st.ctime = sx_time(&in->ctime);
    out.st.mtime = sx_time(&in->mtime);
    out.st.rdev_major = (in->rdev & 0xfff00) >> 8;                          /* new_decode_dev */
    out.st.rdev_minor = (in->rdev & 0xff) | ((in->rdev >> 12) & 0xfff00);
    fuse_reply_raw(c, 0, &out, sizeof out);
}

static void raw_statx(struct fuse_call *c)
{
    struct inode in;
    int r = ws_getattr(c->ws, c->in->nodeid, &in);

    if (r)
        fuse_reply_raw(c, r, NULL, 0);
    else
        raw_statx_reply(c, c->in->nodeid, &in, (uint64_t)FUSE_FOREVER);
}

void attr_raw(const struct stat *st, struct fuse_attr *a)
{
    *a = (struct fuse_attr){ .ino = st->st_ino, .size = (uint64_t)st->st_size, .blocks = (uint64_t)st->st_blocks,
        .atime = (uint64_t)st->st_atim.tv_sec, .mtime = (uint64_t)st->st_mtim.tv_sec, .ctime = (uint64_t)st->st_ctim.tv_sec,
        .atimensec = (uint32_t)st->st_atim.tv_nsec, .mtimensec = (uint32_t)st->st_mtim.tv_nsec, .ctimensec = (uint32_t)st->st_ctim.tv_nsec,
        .mode = st->st_mode, .nlink = (uint32_t)st->st_nlink, .uid = st->st_uid, .gid = st->st_gid, .rdev = (uint32_t)st->st_rdev,
        .blksize = (uint32_t)st->st_blksize };
}

void raw_entry(struct fuse_call *c, uint64_t ino, const struct inode *in, bool open)
{
    struct { struct fuse_entry_out e; struct fuse_open_out o; } out = { .o.open_flags = FOPEN_KEEP_CACHE };
    struct stat st;

    attr_out(c->m, ino, in, &st);
    out.e = (struct fuse_entry_out){ .nodeid = ino, .entry_valid = (uint64_t)FUSE_FOREVER, .attr_valid = (uint64_t)FUSE_FOREVER };
    attr_raw(&st, &out.e.attr);
    if (fuse_reply_raw(c, 0, &out, open ? sizeof out : sizeof out.e))
        fuse_forget(c->m, ino, 1);
}

static void raw_tmpfile(struct fuse_call *c)
{
    const struct fuse_create_in *in = arg_of(c, sizeof *in);
    struct ws_cred cred;
    struct inode node;
    uint64_t ino;
    int r = in ? fuse_ro() : -EINVAL;

    if (!r)
        r = cred_in(in->umask, &cred);
    if (!r)
        r = ws_tmpfile(c->ws, c->in->nodeid, (in->mode & 07777) | S_IFREG, &cred, &ino, &node);
    if (r)
        fuse_reply_raw(c, r, NULL, 0);
    else
        raw_entry(c, ino, &node, true);
}

void raw_root(struct fuse_call *c)
{
    struct fuse_entry_out out = { .nodeid = ROOT_NODE, .entry_valid = (uint64_t)FUSE_FOREVER, .attr_valid = (uint64_t)FUSE_FOREVER };
    struct inode in;
    struct stat st;
    int r = ws_getattr(c->ws, FUSE_ROOT_ID, &in);

    if (!r) {
        attr_out(c->m, FUSE_ROOT_ID, &in, &st);
        attr_raw(&st, &out.attr);
    }
    fuse_reply_raw(c, r, &out, r ? 0 : sizeof out);
}

/* By hand for FUSE_SETXATTR_EXT, which libfuse 3.14 decodes wrongly or not at all. */
static void raw_setxattr(struct fuse_call *c)
{
    const struct fuse_setxattr_in *in = arg_of(c, sizeof *in);
    const char *name = in ? raw_name(c, sizeof *in) : NULL;
    uint8_t *val = name ? (uint8_t *)name + strlen(name) + 1 : NULL;
    int r = fuse_ro();

    if (!r && (!name || (size_t)((const uint8_t *)c->in + c->len - val) < in->size))
        r = -EINVAL;
    if (!r && is_acl_name(name))
        r = acl_ids_in(c->m, val, in->size);
    if (!r)
        r = ws_setxattr(c->ws, c->in->nodeid, name, val, in->size, (int)in->flags, in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID);
    fuse_reply_raw(c, r, NULL, 0);
}

static void raw_copy64(struct fuse_call *c)
{
    const struct fuse_copy_file_range_in *in = arg_of(c, sizeof *in);
    uint64_t done = 0;
    int r = in ? fuse_ro() : -EINVAL;

    if (!r && in->len)
        r = caller_change(in->nodeid_out, false);
    if (!r) {
        fuse_invite(c->m);
        r = ws_copy(c->ws, c->in->nodeid, in->off_in, in->nodeid_out, in->off_out, in->len, WS_KEEP_TIMES, &done);
    }
    fuse_reply_raw(c, r, &done, r ? 0 : sizeof done);
}

bool fuse_raw(struct fuse_call *c)
{
    switch (c->in->opcode) {
    case FUSE_INIT: raw_init(c); return true;
    case FUSE_FORGET: raw_forget(c); return true;
    case FUSE_BATCH_FORGET: raw_batch_forget(c); return true;
    case FUSE_INTERRUPT: return true;     /* requests are short */
    case FUSE_NOTIFY_REPLY: return true;
    case FUSE_DESTROY: fuse_reply_raw(c, 0, NULL, 0); return true;        /* would end the worker's session for all mounts */
    case FUSE_IOCTL: fuse_reply_raw(c, -ENOTTY, NULL, 0); return true;
    case FUSE_SETXATTR: raw_setxattr(c); return true;
    case OP_STATX: raw_statx(c); return true;
    case OP_TMPFILE: raw_tmpfile(c); return true;
    case OP_COPY_FILE_RANGE_64: raw_copy64(c); return true;
    case OP_SYNCFS: fuse_sync(c, NULL, FUSE_ROOT_ID, false); return true;
    default:
        if (c->in->opcode <= OP_SYNCFS && atomic_load_explicit(&c->m->inited, memory_order_relaxed))
            return false;
        fuse_reply_raw(c, -ENOSYS, NULL, 0);
        return true;
    }
}
