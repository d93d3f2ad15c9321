/* Attributes, and the mapping between the ids and POSIX ACLs that the store holds and those that a mount shows. */
#include "fs/fuse_call.h"

#include <errno.h>
#include <string.h>

#include "base/wire.h"
#include "fs/limits.h"
#include "fs/snapdir.h"

int id_in(const struct mount *m, uint32_t wire, uint32_t *ret)
{
    uint32_t id = wire - m->opts.uid_base;

    if (wire < m->opts.uid_base || id > FUSE_ID_MAX)
        return -EOVERFLOW;
    *ret = id;
    return 0;
}

/* The store holds 0..65535 by policy; anything else is shown as nobody's rather than as somebody's outside the block. */
uint32_t id_out(const struct mount *m, uint32_t stored)
{
    return m->opts.uid_base + (stored > FUSE_ID_MAX ? 65534 : stored);
}

int cred_in(uint32_t umask, struct ws_cred *ret)
{
    ret->umask = umask & 0777;
    return id_in(fuse_now->m, fuse_now->in->uid, &ret->uid) || id_in(fuse_now->m, fuse_now->in->gid, &ret->gid) ? -EOVERFLOW : 0;
}

static struct timespec time_out(const struct itime *t)
{
    return (struct timespec){ .tv_sec = t->sec, .tv_nsec = t->ns };
}

/* What the kernel holds dirty is not counted yet, and the kernel keeps the number until the file is closed. 0 would make tar -S and others take
 * the file for one hole: at least a sector is shown, as ext4 does for inline data. */
static blkcnt_t blocks_out(const struct mount *m, const struct inode *in)
{
    return in->units || !inode_is_reg(in) || m->opts.ro || fuse_now->snap ? (blkcnt_t)(in->units * (UNIT / 512)) : 1;
}

uint64_t ino_out(uint64_t ino)
{
    return fuse_now->snap && !(ino & SNAPDIR_BIT) ? snap_st_ino(snap_seq(fuse_now->snap), ino) : ino;
}

uint64_t fuse_look(uint64_t ino)
{
    if (fuse_now->snap)
        return snapdir_look(fuse_now->m->snapdir, fuse_now->snap, ino);
    ws_nlookup_add(fuse_ws(), ino, 1);
    return ino;
}

void fuse_forget(struct mount *m, uint64_t node, uint64_t n)
{
    if (node == ROOT_NODE || node == SNAPDIR_NODE)
        return;
    if (!(node & SNAPDIR_BIT))
        ws_forget(m->ws, node, n);
    else if (m->snapdir)
        snapdir_forget(m->snapdir, node, n);
}

void attr_out(const struct mount *m, uint64_t ino, const struct inode *in, struct stat *ret)
{
    *ret = (struct stat){ .st_ino = ino_out(ino), .st_mode = in->mode, .st_nlink = in->nlink,
        .st_uid = id_out(m, in->uid), .st_gid = id_out(m, in->gid), .st_rdev = in->rdev,
        .st_size = (off_t)in->size, .st_blocks = blocks_out(m, in), .st_blksize = UNIT,
        .st_atim = time_out(&in->atime), .st_mtim = time_out(&in->mtime), .st_ctim = time_out(&in->ctime) };
}

void entry_out(const struct mount *m, uint64_t ino, const struct inode *in, struct fuse_entry_param *ret)
{
    *ret = (struct fuse_entry_param){ .ino = ino, .attr_timeout = FUSE_FOREVER, .entry_timeout = FUSE_FOREVER };
    attr_out(m, ino, in, &ret->attr);
}

void entry_reply(fuse_req_t req, uint64_t ino, const struct inode *in)
{
    struct fuse_entry_param e;

    entry_out(fuse_now->m, ino, in, &e);
    if (fuse_reply_entry(req, &e))
        fuse_forget(fuse_now->m, ino, 1);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct inode in;
    struct stat st;
    int r = ws_getattr(fuse_ws(), ino, &in);

    if (r) {
        fuse_reply_err(req, -r);
        return;
    }
    attr_out(fuse_now->m, ino, &in, &st);
    fuse_reply_attr(req, &st, FUSE_FOREVER);
}

static unsigned valid_in(int to_set)
{
    static const struct { int fuse; unsigned ws; } map[] = {
        { FUSE_SET_ATTR_MODE, WSA_MODE }, { FUSE_SET_ATTR_UID, WSA_UID }, { FUSE_SET_ATTR_GID, WSA_GID }, { FUSE_SET_ATTR_SIZE, WSA_SIZE },
        { FUSE_SET_ATTR_ATIME, WSA_ATIME }, { FUSE_SET_ATTR_MTIME, WSA_MTIME }, { FUSE_SET_ATTR_CTIME, WSA_CTIME },
        { FUSE_SET_ATTR_ATIME_NOW, WSA_ATIME_NOW }, { FUSE_SET_ATTR_MTIME_NOW, WSA_MTIME_NOW } };
    unsigned v = 0;

    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        v |= to_set & map[i].fuse ? map[i].ws : 0;
    v &= ~(v & WSA_ATIME_NOW ? WSA_ATIME : 0u);
    return v & ~(v & WSA_MTIME_NOW ? WSA_MTIME : 0u);
}

static struct itime time_in(const struct timespec *t)
{
    return (struct itime){ .sec = t->tv_sec, .ns = (uint32_t)t->tv_nsec };
}

/* A change time is never set by programs: it is what the kernel's clock for files showed. */
static void note_clock(struct workspace *w, const struct itime *t)
{
    int64_t ns = t->sec > 0 && t->sec < 9000000000 ? t->sec * 1000000000 + t->ns : 0;
    int64_t seen = atomic_load_explicit(&w->kernel_ns, memory_order_relaxed);

    if (ns > seen || seen - ns > 1000000000)       /* the latter: the clock was set back */
        atomic_store_explicit(&w->kernel_ns, ns, memory_order_relaxed);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
    const struct fuse_setattr_in *raw = (const void *)(fuse_now->in + 1);
    struct inode in = { .mode = st->st_mode, .size = (uint64_t)st->st_size, .atime = time_in(&st->st_atim), .mtime = time_in(&st->st_mtim),
        .ctime = time_in(&st->st_ctim) }, now;
    unsigned valid = valid_in(to_set);
    int r = fuse_ro();

    if (!r && !(raw->valid & ~(uint32_t)FATTR_CTIME))
        r = caller_chown_nothing(ino, raw->valid & FATTR_CTIME, &valid);
    if (raw->valid & FATTR_KILL_SUIDGID)
        valid |= WSA_KILL_PRIV | caller_ends(ino, true);
    if (!r && valid & WSA_UID)
        r = id_in(fuse_now->m, st->st_uid, &in.uid);
    if (!r && valid & WSA_GID)
        r = id_in(fuse_now->m, st->st_gid, &in.gid);
    if (!r && valid & WSA_SIZE && st->st_size < 0)
        r = -EFBIG;
    if (valid & WSA_CTIME)
        note_clock(fuse_ws(), &in.ctime);
    if (!r)
        r = ws_setattr(fuse_ws(), ino, valid, &in, &now);
    if (r) {
        fuse_reply_err(req, -r);
        return;
    }
    attr_out(fuse_now->m, ino, &now, st);
    fuse_reply_attr(req, st, FUSE_FOREVER);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct ws_statfs s;
    struct statvfs v;
    int r = ws_statfs(fuse_ws(), &s);

    if (r) {
        fuse_reply_err(req, -r);
        return;
    }
    v = (struct statvfs){ .f_bsize = UNIT, .f_frsize = UNIT, .f_blocks = s.bytes_total / UNIT, .f_bfree = s.bytes_free / UNIT,
        .f_bavail = s.bytes_avail / UNIT, .f_files = s.inodes_total, .f_ffree = s.inodes_free,
        .f_favail = s.inodes_free, .f_namemax = NAME_BYTES_MAX };
    fuse_reply_statfs(req, &v);
}
