/* Extended attributes and, among them, POSIX ACLs, whose setting also changes the mode: acl(5). */
#include <errno.h>
#include <sys/xattr.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/ws_internal.h"

static const char ACL_ACCESS[] = "system.posix_acl_access", ACL_DEFAULT[] = "system.posix_acl_default", CAPS[] = "security.capability";

static bool starts(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

static int name_ok(const char *name)
{
    size_t n = strlen(name);

    if (n > XATTR_NAME_MAX_)
        return -ERANGE;
    if (!strcmp(name, ACL_ACCESS) || !strcmp(name, ACL_DEFAULT))
        return 0;
    if (starts(name, "user.") || starts(name, "trusted.") || starts(name, "security."))
        return strchr(name, '.') == name + n - 1 ? -EINVAL : 0;     /* a prefix is no name */
    return -EOPNOTSUPP;
}

static struct key xattr_key(uint64_t ino, const char *name)
{
    return key_xattr(ino, name, strlen(name));
}

int ws_getxattr(struct workspace *w, uint64_t ino, const char *name, uint8_t *out, size_t out_size, size_t *ret_len)
{
    struct view_val val;
    struct inode in;
    int r = name_ok(name);

    if (r < 0)
        return r;
    struct key k = xattr_key(ino, name);
    ws_lock(w);
    r = ws_get_inode(w, ino, &in);
    if (r == 0)
        r = in.flags & INODE_XATTRS ? ws_get(w, &k, &val) : 0;
    if (r > 0) {
        r = out_size && val.v.n > out_size ? -ERANGE : 0;
        *ret_len = val.v.n;
        if (r == 0 && out_size && val.v.n)
            memcpy(out, val.v.p, val.v.n);
        view_val_done(&val);
    } else if (r == 0) {
        r = -ENODATA;
    }
    ws_unlock(w);
    return r;
}

struct names {
    char *out;
    size_t size, len;
};

static int list_name(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    struct names *ns = arg;
    size_t n = key_len - 9;

    (void)val, (void)val_len, (void)source;
    if (ns->size) {
        if (ns->len + n + 1 > ns->size)
            return -ERANGE;
        memcpy(ns->out + ns->len, key + 9, n);
        ns->out[ns->len + n] = '\0';
    }
    ns->len += n + 1;
    return 0;
}

int ws_listxattr(struct workspace *w, uint64_t ino, char *out, size_t out_size, size_t *ret_len)
{
    struct key from = key_simple(ino, KEY_XATTR), to = key_simple(ino, KEY_XATTR + 1);
    struct names ns = { .out = out, .size = out_size };
    struct inode in;

    ws_lock(w);
    int r = ws_get_inode(w, ino, &in);
    if (r == 0 && in.flags & INODE_XATTRS)
        r = ws_each(w, &from, &to, list_name, &ns);
    ws_unlock(w);
    if (r == 0)
        *ret_len = ns.len;
    return r;
}

static int any_name(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    (void)arg, (void)key, (void)key_len, (void)val, (void)val_len, (void)source;
    return 1;
}

/* Removes an attribute that is there and keeps the inode's flag true. */
static int drop_key(struct workspace *w, uint64_t ino, struct inode *in, const struct key *k, uint32_t bytes)
{
    struct key from = key_simple(ino, KEY_XATTR), to = key_simple(ino, KEY_XATTR + 1);

    ws_del(w, k);
    in->xattr_bytes -= bytes < in->xattr_bytes ? bytes : in->xattr_bytes;
    int r = ws_each(w, &from, &to, any_name, NULL);
    if (r == 0)
        in->flags &= ~(uint32_t)INODE_XATTRS;
    if (!in->flags)
        in->xattr_bytes = 0;
    return r < 0 ? r : 0;
}

static int key_size(struct workspace *w, const struct key *k, const struct inode *in, uint32_t *ret_bytes)
{
    struct view_val val;
    int r = in->flags & INODE_XATTRS ? ws_get(w, k, &val) : 0;

    *ret_bytes = r > 0 ? (uint32_t)(k->len - 9u + val.v.n) : 0;
    if (r > 0)
        view_val_done(&val);
    return r;
}

int ws_drop_caps(struct workspace *w, uint64_t ino, struct inode *in)
{
    struct key k = xattr_key(ino, CAPS);
    uint32_t bytes;
    int r = key_size(w, &k, in, &bytes);

    if (r <= 0)
        return r;
    r = drop_key(w, ino, in, &k, bytes);
    if (r == 0)
        feed_xattr(w, ino, in, CAPS, FEED_REMOVED, itime_now());
    return r;
}

/* 1: the ACL says no more than the mode and is not to be stored. */
static int apply_acl(struct inode *in, const char *name, const uint8_t *val, size_t len, bool kill_sgid)
{
    bool minimal = false;
    int r = acl_check(val, len);

    if (r < 0)
        return r;
    if (!strcmp(name, ACL_DEFAULT)) {
        if (!inode_is_dir(in))
            return -EACCES;
        return len <= 4;
    }
    if (S_ISLNK(in->mode))
        return -EOPNOTSUPP;
    in->mode = acl_to_mode(val, len, in->mode, &minimal);
    if (kill_sgid)
        in->mode &= ~(uint32_t)S_ISGID;
    return minimal;
}

static int set_checked(struct txn *t, uint64_t ino, const char *name, const uint8_t *val, size_t len, int flags, bool kill_sgid)
{
    struct key k = xattr_key(ino, name);
    struct inode *in;
    int drop = 0;
    int r = txn_inode(t, ino, &in);

    if (r < 0)
        return r;
    if (starts(name, "user.") && !inode_is_reg(in) && !inode_is_dir(in))
        return -EPERM;
    uint32_t bytes, now = (uint32_t)(k.len - 9u + len);
    int there = key_size(t->w, &k, in, &bytes);
    if (there < 0)
        return there;
    if (there && flags & XATTR_CREATE)
        return -EEXIST;
    if (!there && flags & XATTR_REPLACE)
        return -ENODATA;
    if (starts(name, "system.") && (drop = apply_acl(in, name, val, len, kill_sgid)) < 0)
        return drop;
    if (!drop) {
        uint32_t others = in->xattr_bytes - (bytes < in->xattr_bytes ? bytes : in->xattr_bytes);
        if (now > bytes && others + now > XATTRS_MAX)
            return -ENOSPC;
        in->xattr_bytes = others + now;
        if (txn_over_quota(t, 0))
            return -EDQUOT;
        ws_put(t->w, &k, val, len);
        in->flags |= INODE_XATTRS;
    } else if (there) {
        r = drop_key(t->w, ino, in, &k, bytes);
    }
    in->ctime = t->now;
    if (r == 0)
        feed_xattr(t->w, ino, in, name, drop ? FEED_REMOVED : FEED_SET, t->now);
    return r;
}

int ws_setxattr(struct workspace *w, uint64_t ino, const char *name, const uint8_t *val, size_t len, int flags, bool kill_sgid)
{
    struct txn t;
    int r = name_ok(name);

    if (r < 0)
        return r;
    if (len > XATTR_VALUE_MAX)
        return -E2BIG;
    r = txn_begin(&t, w, len);
    if (r < 0)
        return r;
    r = set_checked(&t, ino, name, val, len, flags, kill_sgid);
    if (r < 0)
        txn_abort(&t);
    else
        txn_commit(&t);
    return r;
}

int ws_removexattr(struct workspace *w, uint64_t ino, const char *name)
{
    struct inode *in;
    uint32_t bytes;
    struct txn t;
    int r = name_ok(name);

    if (r < 0)
        return r;
    struct key k = xattr_key(ino, name);
    r = txn_begin(&t, w, 0);
    if (r < 0)
        return r;
    r = txn_inode(&t, ino, &in);
    if (r == 0)
        r = key_size(w, &k, in, &bytes);
    if (r > 0) {
        r = drop_key(w, ino, in, &k, bytes);
        in->ctime = t.now;
        if (r == 0)
            feed_xattr(w, ino, in, name, FEED_REMOVED, t.now);
    } else if (r == 0) {
        r = -ENODATA;
    }
    if (r < 0)
        txn_abort(&t);
    else
        txn_commit(&t);
    return r;
}
