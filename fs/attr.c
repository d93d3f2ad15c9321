/* setattr: mode, owner, size, times. The rules for setuid, setgid and file capabilities are those of FUSE_HANDLE_KILLPRIV_V2 (linux/fuse.h): cleared
 * on chown always, on truncation when the kernel says so. */
#include <errno.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/ws_internal.h"

static int chmod_acl(struct txn *t, uint64_t ino, const struct inode *in)
{
    static const char name[] = "system.posix_acl_access";
    struct key k = key_xattr(ino, name, sizeof name - 1);
    struct view_val val;

    if (!(in->flags & INODE_XATTRS))
        return 0;
    int r = ws_get(t->w, &k, &val);
    if (r <= 0)
        return r;
    size_t n = val.v.n;
    _cleanup_free_ uint8_t *acl = mem_dup(val.v.p, n);
    view_val_done(&val);
    if (!acl || ws_reserve(t->w, 2 * TXN_INODES, n) < 0)
        return -ENOMEM;
    if (acl_check(acl, n) == 0) {
        acl_chmod(acl, n, in->mode);
        ws_put(t->w, &k, acl, n);
    }
    return 0;
}

static void set_times(struct txn *t, unsigned valid, const struct inode *want, struct inode *in)
{
    if (valid & WSA_ATIME)
        in->atime = want->atime;
    if (valid & WSA_ATIME_NOW)
        in->atime = t->now;
    if (valid & WSA_MTIME)
        in->mtime = want->mtime;
    if (valid & WSA_MTIME_NOW)
        in->mtime = t->now;
    if (valid & WSA_BTIME)
        in->btime = want->btime;
    in->ctime = valid & WSA_CTIME ? want->ctime : t->now;
}

static int set_owner(struct txn *t, uint64_t ino, unsigned valid, const struct inode *want, struct inode *in)
{
    if (valid & WSA_UID)
        in->uid = want->uid;
    if (valid & WSA_GID)
        in->gid = want->gid;
    if (inode_is_dir(in))
        return 0;
    if (!(valid & WSA_MODE))
        inode_kill_priv(in);
    return ws_drop_caps(t->w, ino, in);
}

static int setattr_checked(struct txn *t, uint64_t ino, unsigned valid, const struct inode *want, struct inode **ret)
{
    struct inode *in;
    int r = txn_inode(t, ino, &in);

    if (r < 0)
        return r;
    if (valid & WSA_SIZE && !inode_is_reg(in))
        return inode_is_dir(in) ? -EISDIR : -EINVAL;
    if (valid & WSA_SIZE && want->size > FILE_SIZE_MAX)
        return -EFBIG;
    if (valid & WSA_MODE) {
        in->mode = (in->mode & S_IFMT) | (want->mode & 07777);
        r = chmod_acl(t, ino, in);
    }
    if (r == 0 && valid & (WSA_UID | WSA_GID))
        r = set_owner(t, ino, valid, want, in);
    if (r == 0 && valid & WSA_KILL_PRIV) {
        inode_kill_priv(in);
        in->mode &= ~(valid & WSA_KILL_SGID ? (uint32_t)S_ISGID : 0u);
        r = ws_drop_caps(t->w, ino, in);
    }
    if (r < 0)
        return r;
    bool same = valid & WSA_SIZE && want->size == in->size;
    if (valid & WSA_SIZE && !same) {
        r = content_truncate(t, ino, in, want->size);
        if (!(valid & (WSA_MTIME | WSA_MTIME_NOW)))
            in->mtime = t->now;
    }
    if (!same || valid & ~(unsigned)(WSA_SIZE | WSA_KILL_PRIV | WSA_KILL_SGID))   /* truncate(2) to the size it has: the kernel's cache shows no new times either */
        set_times(t, valid, want, in);
    t->times_only = inode_is_reg(in) && !(valid & (WSA_MODE | WSA_UID | WSA_GID | WSA_SIZE | WSA_KILL_PRIV | WSA_BTIME));
    *ret = in;
    return r;
}

/* What the journal says of it: times alone only where one that a program can set, and that copies keep, is another now. */
static void tell(struct txn *t, uint64_t ino, unsigned valid, const struct inode *in)
{
    const struct inode *old = &t->e[0].old;
    unsigned what = (in->mode != old->mode ? FEED_MODE : 0) | (valid & (WSA_UID | WSA_GID) ? FEED_OWNER : 0);

    if (valid & WSA_MODE)
        what |= FEED_MODE | (in->flags & INODE_XATTRS ? FEED_ACL : 0);
    if (valid & WSA_SIZE && in->size != old->size)
        feed_content(t->w, FEED_TRUNCATE, ino, in, in->size < old->size ? in->size : old->size, in->size < old->size ? old->size : in->size, 0, 0, t->now);
    else if (in->mtime.sec != old->mtime.sec || in->mtime.ns != old->mtime.ns)
        what |= FEED_TIMES;
    feed_attr(t->w, ino, in, what, t->now);
}

int ws_setattr(struct workspace *w, uint64_t ino, unsigned valid, const struct inode *want, struct inode *ret)
{
    struct inode *in = NULL;
    struct txn t;
    int r = txn_begin(&t, w, INLINE_MAX);

    if (r < 0)
        return r;
    r = setattr_checked(&t, ino, valid, want, &in);
    if (in && r == 0) {
        *ret = *in;
        tell(&t, ino, valid, in);
    }
    if (in && r < 0 && w->feed)
        feed_drop(w->feed);
    if (in && r < 0) {                    /* a truncation went wrong: nothing changes but, if some slots are gone already, their count */
        uint64_t units = in->units;
        *in = t.e[0].old;
        in->units = units;
    }
    if (in)
        txn_commit(&t);
    else
        txn_abort(&t);
    return r;
}
