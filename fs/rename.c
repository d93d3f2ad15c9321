/* rename(2) with its flags, in one transaction. */
#include <errno.h>
#include <stdio.h>

#include "fs/ws_internal.h"

struct end {                              /* one side of a rename */
    uint64_t dir;
    const char *name;
    size_t n;
    struct inode *parent, *in;
    struct dirent_at at;
    bool there;
};

static int end_load(struct txn *t, struct end *e, uint64_t dir, const char *name)
{
    e->dir = dir;
    e->name = name;
    e->n = strlen(name);
    e->there = false;
    int r = txn_dir(t, dir, &e->parent);
    if (r == 0)
        r = dirent_find(t->w, dir, name, e->n, &e->at);
    if (r == 0) {
        e->there = true;
        r = txn_inode(t, e->at.ino, &e->in);
    }
    return r;
}

/* -EINVAL if `dir` is ino or lies below it. */
static int check_no_loop(struct workspace *w, uint64_t ino, uint64_t dir)
{
    struct inode in;
    int r = 0;

    while (r == 0 && dir != INO_ROOT) {
        if (dir == ino)
            return -EINVAL;
        r = ws_get_inode(w, dir, &in);
        dir = r == 0 ? in.parent : 0;
    }
    return r;
}

static int check_target(const struct end *from, const struct end *to)
{
    if (inode_is_dir(from->in) && !inode_is_dir(to->in))
        return -ENOTDIR;
    if (!inode_is_dir(from->in) && inode_is_dir(to->in))
        return -EISDIR;
    return inode_is_dir(to->in) && to->in->size ? -ENOTEMPTY : 0;
}

static void touch(struct txn *t, struct inode *dir)
{
    dir->mtime = dir->ctime = t->now;
}

static void exchange(struct txn *t, struct end *a, struct end *b)
{
    dirent_put(t->w, a->dir, a->at.cookie, a->name, a->n, b->at.ino, b->in->mode);
    dirent_put(t->w, b->dir, b->at.cookie, b->name, b->n, a->at.ino, a->in->mode);
    if (a->at.ino != b->at.ino) {
        link_move(t, a->at.ino, a->in, a->dir, a->at.cookie, b->dir, b->at.cookie);
        link_move(t, b->at.ino, b->in, b->dir, b->at.cookie, a->dir, a->at.cookie);
    }
    if (a->dir != b->dir) {
        int moved = (int)inode_is_dir(b->in) - (int)inode_is_dir(a->in);
        a->parent->nlink += (uint32_t)moved;
        b->parent->nlink -= (uint32_t)moved;
    }
    a->in->ctime = b->in->ctime = t->now;
    touch(t, a->parent);
    touch(t, b->parent);
}

/* What a rename leaves behind for an overlay file system: a character device 0:0. */
static int leave_whiteout(struct txn *t, struct end *from)
{
    struct inode *in;
    uint64_t ino;
    int r = txn_new_inode(t, 0, S_IFCHR, &ino, &in);

    if (r < 0)
        return r;
    if (from->parent->mode & S_ISGID)
        in->gid = from->parent->gid;
    link_add(t, ino, in, from->dir, from->at.cookie);
    dirent_put(t->w, from->dir, from->at.cookie, from->name, from->n, ino, in->mode);
    from->parent->size++;
    return 0;
}

static int move(struct txn *t, struct end *from, struct end *to, unsigned flags)
{
    uint64_t cookie = to->at.cookie;
    bool dir = inode_is_dir(from->in);
    int r = 0;

    if (!to->there)
        r = dirent_free_cookie(t->w, to->dir, to->name, to->n, &cookie);
    else
        r = link_drop(t, to->at.ino, to->in, to->dir, to->at.cookie);
    if (r < 0)
        return r;
    if (to->there) {
        to->parent->size--;
        to->parent->nlink -= inode_is_dir(to->in) ? 1 : 0;
    }
    struct key old = key_dirent(from->dir, from->at.cookie, from->name, from->n);
    ws_del(t->w, &old);
    dirent_put(t->w, to->dir, cookie, to->name, to->n, from->at.ino, from->in->mode);
    link_move(t, from->at.ino, from->in, from->dir, from->at.cookie, to->dir, cookie);
    from->in->ctime = t->now;
    from->parent->size--;
    to->parent->size++;
    if (dir) {
        from->parent->nlink--;
        to->parent->nlink++;
    }
    touch(t, from->parent);
    touch(t, to->parent);
    return flags & RENAME_WHITEOUT ? leave_whiteout(t, from) : 0;
}

static int rename_checked(struct txn *t, uint64_t from_dir, const char *from_name, uint64_t to_dir, const char *to_name, unsigned flags)
{
    struct end from, to;
    int r = end_load(t, &from, from_dir, from_name);

    if (r < 0)
        return r;
    r = end_load(t, &to, to_dir, to_name);
    if (r < 0 && (r != -ENOENT || to.there || !to.parent->nlink))
        return r;
    if (flags & RENAME_EXCHANGE && !to.there)
        return -ENOENT;
    if (flags & RENAME_NOREPLACE && to.there)
        return -EEXIST;
    if (flags & RENAME_WHITEOUT && ws_inodes_full(t->w))
        return -EDQUOT;
    if (inode_is_dir(from.in) && from_dir != to_dir && (r = check_no_loop(t->w, from.at.ino, to_dir)) < 0)
        return r;
    if (flags & RENAME_EXCHANGE) {
        if (inode_is_dir(to.in) && from_dir != to_dir && (r = check_no_loop(t->w, to.at.ino, from_dir)) < 0)
            return r;
        exchange(t, &from, &to);
        feed_renamed(t->w, true, from_dir, from_name, from.n, to_dir, to_name, to.n, from.at.ino, from.in, to.at.ino, t->now);
        return 0;
    }
    if (to.there && to.at.ino == from.at.ino)
        return 1;                         /* two names of one file: nothing is done */
    if (to.there && (r = check_target(&from, &to)) < 0)
        return r;
    r = move(t, &from, &to, flags);
    if (r < 0)
        return r;
    feed_renamed(t->w, false, from_dir, from_name, from.n, to_dir, to_name, to.n, from.at.ino, from.in, to.there ? to.at.ino : 0, t->now);
    const struct txn_inode *left = &t->e[t->count - 1];
    if (flags & RENAME_WHITEOUT)
        feed_named(t->w, FEED_CREATE, from_dir, from_name, from.n, left->ino, &left->in, NULL, t->now);
    return 0;
}

int ws_rename(struct workspace *w, uint64_t from_dir, const char *from, uint64_t to_dir, const char *to, unsigned flags)
{
    struct txn t;
    int r = name_check(from);

    if (r == 0)
        r = name_check(to);
    if (r < 0)
        return r;
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) || (flags & RENAME_EXCHANGE && flags != RENAME_EXCHANGE))
        return -EINVAL;
    r = txn_begin(&t, w, 0);
    if (r < 0)
        return r;
    r = rename_checked(&t, from_dir, from, to_dir, to, flags);
    if (r != 0)
        txn_abort(&t);
    else
        txn_commit(&t);
    return r > 0 ? 0 : r;
}
