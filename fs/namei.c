/* Names to inodes: lookup, create, link, unlink. Each operation is one transaction: all or nothing under ws.lock. */
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/ws_internal.h"

static const char ACL_ACCESS[] = "system.posix_acl_access", ACL_DEFAULT[] = "system.posix_acl_default";

int ws_getattr(struct workspace *w, uint64_t ino, struct inode *ret)
{
    ws_lock(w);
    int r = ws_get_inode(w, ino, ret);
    ws_unlock(w);
    return r;
}

int ws_lookup(struct workspace *w, uint64_t parent, const char *name, uint64_t *ret_ino, struct inode *ret)
{
    struct dirent_at at = { .ino = parent };
    struct inode in;
    size_t n = strlen(name);

    if (n > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    ws_lock(w);
    int r = 0;
    if (!strcmp(name, "..")) {
        r = ws_get_inode(w, parent, &in);
        at.ino = r == 0 ? in.parent : 0;
    } else if (strcmp(name, ".")) {
        r = n ? dirent_find(w, parent, name, n, &at) : -ENOENT;
    }
    if (r == 0) {
        r = ws_get_inode(w, at.ino, &in);
        if (r == -ENOENT && strcmp(name, ".") && strcmp(name, ".."))
            r = -EUCLEAN;
    }
    ws_unlock(w);
    if (r < 0)
        return r;
    *ret_ino = at.ino;
    *ret = in;
    return 0;
}

int ws_path(struct workspace *w, const char *path, uint64_t *ret_ino, struct inode *ret)
{
    uint64_t ino = INO_ROOT;
    struct inode in;
    int r = ws_getattr(w, ino, &in);

    while (r == 0) {
        char name[NAME_BYTES_MAX + 1];
        path += strspn(path, "/");
        size_t n = strcspn(path, "/");
        if (n == 0)
            break;
        if (n > NAME_BYTES_MAX)
            return -ENAMETOOLONG;
        memcpy(name, path, n);
        name[n] = '\0';
        path += n;
        if (!strcmp(name, ".."))
            return -EINVAL;
        if (!inode_is_dir(&in))
            return -ENOTDIR;
        r = ws_lookup(w, ino, name, &ino, &in);
    }
    if (r < 0)
        return r;
    *ret_ino = ino;
    *ret = in;
    return 0;
}

int txn_dir(struct txn *t, uint64_t dir, struct inode **ret)
{
    int r = txn_inode(t, dir, ret);

    if (r < 0)
        return r;
    if (!inode_is_dir(*ret))
        return -ENOTDIR;
    return (*ret)->nlink ? 0 : -ENOENT;
}

static void dir_touch(struct txn *t, struct inode *dir, int entries, int subdirs)
{
    dir->mtime = dir->ctime = t->now;
    dir->size += (uint64_t)entries;
    dir->nlink += (uint32_t)subdirs;
}

/* --- links of an inode --- */

void link_add(struct txn *t, uint64_t ino, struct inode *in, uint64_t parent, uint64_t cookie)
{
    if (!inode_is_dir(in) && in->nlink) {
        struct key k = key_link(ino, parent, cookie);
        ws_put(t->w, &k, NULL, 0);
    } else {
        in->parent = parent;
        in->cookie = cookie;
    }
    in->nlink += inode_is_dir(in) ? 2 : 1;
}

static int take_first_link(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    struct key *k = arg;

    (void)val, (void)val_len, (void)source;
    memcpy(k->b, key, key_len);
    k->len = (uint16_t)key_len;
    return 1;
}

int link_drop(struct txn *t, uint64_t ino, struct inode *in, uint64_t parent, uint64_t cookie)
{
    struct key from = key_simple(ino, KEY_LINK), here = key_link(ino, parent, cookie), to = key_simple(ino, KEY_LINK + 1), first;

    in->ctime = t->now;
    if (inode_is_dir(in) || in->nlink <= 1) {
        in->nlink = 0;
        in->parent = in->cookie = 0;
        return 0;
    }
    if (in->parent != parent || in->cookie != cookie) {
        struct key k = key_link(ino, parent, cookie);
        ws_del(t->w, &k);
    } else {
        /* From its place on: names mostly go in the order of a listing, and those that went before it would all be passed again. */
        int r = ws_each(t->w, &here, &to, take_first_link, &first);
        if (r == 0)
            r = ws_each(t->w, &from, &here, take_first_link, &first);
        if (r <= 0)
            return r < 0 ? r : -EUCLEAN;
        in->parent = key_number(first.b);
        in->cookie = be64(first.b + 17);
        ws_del(t->w, &first);
    }
    in->nlink--;
    return 0;
}

void link_move(struct txn *t, uint64_t ino, struct inode *in, uint64_t from, uint64_t from_cookie, uint64_t to, uint64_t to_cookie)
{
    if (in->parent == from && in->cookie == from_cookie) {
        in->parent = to;
        in->cookie = to_cookie;
    } else {
        struct key old = key_link(ino, from, from_cookie), new = key_link(ino, to, to_cookie);
        ws_del(t->w, &old);
        ws_put(t->w, &new, NULL, 0);
    }
}

/* --- create --- */

/* The value of an xattr of a directory, copied; NULL and 0 if there is none. */
static int inherited_acl(struct txn *t, uint64_t dir, const struct inode *in, uint8_t **ret, size_t *ret_len)
{
    struct key k = key_xattr(dir, ACL_DEFAULT, sizeof ACL_DEFAULT - 1);
    struct view_val val;

    *ret = NULL;
    if (!(in->flags & INODE_XATTRS))
        return 0;
    int r = ws_get(t->w, &k, &val);
    if (r <= 0)
        return r;
    *ret = mem_dup(val.v.p, val.v.n);
    *ret_len = val.v.n;
    view_val_done(&val);
    return *ret ? 0 : -ENOMEM;
}

static void put_acl(struct txn *t, uint64_t ino, struct inode *in, const char *name, const uint8_t *acl, size_t n)
{
    struct key k = key_xattr(ino, name, strlen(name));

    ws_put(t->w, &k, acl, n);
    in->flags |= INODE_XATTRS;
    in->xattr_bytes += (uint32_t)(strlen(name) + n);
}

/* Mode, ids and ACLs of a new inode: acl(5) "object creation and default ACLs", umask(2), and the group rule of setgid directories (inode_init_owner). */
static int init_owner(struct txn *t, uint64_t dir, const struct inode *parent, const struct ws_cred *cred, uint64_t ino, struct inode *in)
{
    _cleanup_free_ uint8_t *acl = NULL, *own = NULL;
    size_t n = 0;
    bool minimal = true;

    in->uid = cred->uid;
    in->gid = cred->gid;
    if (parent->mode & S_ISGID) {
        in->gid = parent->gid;
        if (inode_is_dir(in))
            in->mode |= S_ISGID;
    }
    if (S_ISLNK(in->mode))
        return txn_over_quota(t, 0) ? -EDQUOT : 0;
    int r = inherited_acl(t, dir, parent, &acl, &n);
    if (r < 0)
        return r;
    if (!acl || acl_check(acl, n) < 0) {
        in->mode &= ~(cred->umask & 0777);
        return txn_over_quota(t, 0) ? -EDQUOT : 0;
    }
    own = mem_dup(acl, n);
    if (!own || ws_reserve(t->w, 2 * TXN_INODES, 2 * n + SYMLINK_MAX) < 0)
        return -ENOMEM;
    in->mode = acl_create(own, n, in->mode, &minimal);
    in->xattr_bytes = (uint32_t)((minimal ? 0 : sizeof ACL_ACCESS - 1 + n) + (inode_is_dir(in) ? sizeof ACL_DEFAULT - 1 + n : 0));
    if (txn_over_quota(t, 0))
        return -EDQUOT;
    in->xattr_bytes = 0;                  /* put_acl counts */
    if (!minimal)
        put_acl(t, ino, in, ACL_ACCESS, own, n);
    if (inode_is_dir(in))
        put_acl(t, ino, in, ACL_DEFAULT, acl, n);
    return 0;
}

static int create_checked(struct txn *t, uint64_t dir, const char *name, uint32_t mode, uint32_t rdev, const char *target,
                          const struct ws_cred *cred, uint64_t want_ino, bool nlookup, uint64_t *ret_ino, struct inode *ret)
{
    struct inode *parent, *in;
    struct dirent_at at;
    uint64_t cookie, ino;
    size_t n = strlen(name);

    int r = txn_dir(t, dir, &parent);
    if (r == 0) {
        r = dirent_find(t->w, dir, name, n, &at);
        r = r == 0 ? -EEXIST : r == -ENOENT ? 0 : r;
    }
    if (r == 0)
        r = dirent_free_cookie(t->w, dir, name, n, &cookie);
    if (r == 0)
        r = txn_new_inode(t, want_ino, mode, &ino, &in);
    if (r == 0 && nlookup)
        r = nlook_add(t->w->nlook, ino, 1);
    if (r < 0)
        return r;
    dir_touch(t, parent, 1, S_ISDIR(mode) ? 1 : 0);
    in->size = target ? strlen(target) : 0;
    r = init_owner(t, dir, parent, cred, ino, in);
    if (r < 0) {
        if (nlookup)
            nlook_sub(t->w->nlook, ino, 1);
        return r;
    }
    in->rdev = rdev;
    if (target) {
        struct key k = key_simple(ino, KEY_SYMLINK);
        ws_put(t->w, &k, target, in->size);
    }
    link_add(t, ino, in, dir, cookie);
    dirent_put(t->w, dir, cookie, name, n, ino, mode);
    *ret_ino = ino;
    *ret = *in;
    return 0;
}

int ws_create(struct workspace *w, uint64_t parent, const char *name, uint32_t mode, uint32_t rdev, const char *target,
              const struct ws_cred *cred, uint64_t want_ino, bool nlookup, uint64_t *ret_ino, struct inode *ret)
{
    struct txn t;
    int r = name_check(name);

    if (r < 0)
        return r == -EINVAL ? -EEXIST : r;
    if (target && (strlen(target) == 0 || strlen(target) > SYMLINK_MAX))
        return *target ? -ENAMETOOLONG : -ENOENT;
    r = txn_begin(&t, w, SYMLINK_MAX);
    if (r < 0)
        return r;
    r = create_checked(&t, parent, name, mode, rdev, target, cred, want_ino, nlookup, ret_ino, ret);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    txn_commit(&t);
    return 0;
}

int ws_tmpfile(struct workspace *w, uint64_t parent, uint32_t mode, const struct ws_cred *cred, uint64_t *ret_ino, struct inode *ret)
{
    struct inode *dir, *in;
    struct txn t;
    int r = txn_begin(&t, w, 0);

    if (r < 0)
        return r;
    r = txn_dir(&t, parent, &dir);
    if (r == 0)
        r = txn_new_inode(&t, 0, mode, ret_ino, &in);
    if (r == 0)
        r = nlook_add(w->nlook, *ret_ino, 1);
    if (r == 0 && (r = init_owner(&t, parent, dir, cred, *ret_ino, in)) < 0)   /* last: it may have put ACLs */
        nlook_sub(w->nlook, *ret_ino, 1);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    *ret = *in;
    txn_commit(&t);
    return 0;
}

static int link_checked(struct txn *t, uint64_t ino, uint64_t dir, const char *name, struct inode *ret)
{
    struct inode *parent, *in;
    struct dirent_at at;
    uint64_t cookie;
    size_t n = strlen(name);

    int r = txn_dir(t, dir, &parent);
    if (r == 0)
        r = txn_inode(t, ino, &in);
    if (r < 0)
        return r;
    if (inode_is_dir(in))
        return -EPERM;
    if (in->nlink >= LINKS_MAX)
        return -EMLINK;
    r = dirent_find(t->w, dir, name, n, &at);
    if (r != -ENOENT)
        return r == 0 ? -EEXIST : r;
    r = dirent_free_cookie(t->w, dir, name, n, &cookie);
    dir_touch(t, parent, 1, 0);
    if (r == 0 && txn_over_quota(t, 0))
        r = -EDQUOT;
    if (r == 0 && in->nlink == 0 && (r = orphan_carry(t->w, ino)) == 0)
        r = ws_reserve(t->w, 2 * TXN_INODES, 0);
    if (r < 0)
        return r;
    link_add(t, ino, in, dir, cookie);
    in->ctime = t->now;
    dirent_put(t->w, dir, cookie, name, n, ino, in->mode);
    *ret = *in;
    return 0;
}

int ws_link(struct workspace *w, uint64_t ino, uint64_t parent, const char *name, struct inode *ret)
{
    struct txn t;
    int r = name_check(name);

    if (r < 0)
        return r == -EINVAL ? -EEXIST : r;
    r = txn_begin(&t, w, 0);
    if (r < 0)
        return r;
    r = link_checked(&t, ino, parent, name, ret);
    if (r < 0)
        txn_abort(&t);
    else
        txn_commit(&t);
    return r;
}

static int remove_checked(struct txn *t, uint64_t dir, const char *name, bool want_dir)
{
    struct inode *parent, *in;
    struct dirent_at at;
    size_t n = strlen(name);

    int r = txn_dir(t, dir, &parent);
    if (r == 0)
        r = dirent_find(t->w, dir, name, n, &at);
    if (r == 0)
        r = txn_inode(t, at.ino, &in);
    if (r < 0)
        return r;
    if (want_dir != inode_is_dir(in))
        return want_dir ? -ENOTDIR : -EISDIR;
    if (want_dir && in->size)
        return -ENOTEMPTY;
    r = link_drop(t, at.ino, in, dir, at.cookie);
    if (r < 0)
        return r;
    struct key k = key_dirent(dir, at.cookie, name, n);
    ws_del(t->w, &k);
    dir_touch(t, parent, -1, want_dir ? -1 : 0);
    return 0;
}

static int remove_name(struct workspace *w, uint64_t parent, const char *name, bool want_dir)
{
    struct txn t;
    int r = name_check(name);

    if (r < 0)
        return r;
    r = txn_begin(&t, w, 0);
    if (r < 0)
        return r;
    r = remove_checked(&t, parent, name, want_dir);
    if (r < 0)
        txn_abort(&t);
    else
        txn_commit(&t);
    return r;
}

int ws_unlink(struct workspace *w, uint64_t parent, const char *name)
{
    return remove_name(w, parent, name, false);
}

int ws_rmdir(struct workspace *w, uint64_t parent, const char *name)
{
    return remove_name(w, parent, name, true);
}

int ws_readlink(struct workspace *w, uint64_t ino, char *out, size_t out_size, size_t *ret_len)
{
    struct key k = key_simple(ino, KEY_SYMLINK);
    struct view_val val;

    ws_lock(w);
    int r = ws_get(w, &k, &val);
    if (r > 0) {
        *ret_len = val.v.n < out_size ? val.v.n : out_size;
        memcpy(out, val.v.p, *ret_len);
        view_val_done(&val);
    }
    ws_unlock(w);
    return r > 0 ? 0 : r < 0 ? r : -EINVAL;
}
