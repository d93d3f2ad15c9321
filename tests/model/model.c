/* A directory is a sorted array of names. Nodes are freed when no name and no handle is left. Everything is done the slow and obvious
 * way; the order in which errors are found is the kernel's (fs/namei.c), as the tests compare errno. */
#include "tests/model/model.h"
#include <errno.h>
#include <stdio.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

struct mnode *mnode_new(uint64_t number, uint32_t mode) {
    struct mnode *n = xalloc(sizeof *n);
    n->uid_ = number;
    n->mode = mode;
    n->mtime_rule = TIME_RECENT;
    return n;
}

static void node_free(struct mnode *n) {
    bytes_fini(&n->data);
    free(n->target);
    for (size_t i = 0; i < n->xattr_count; i++) {
        free(n->xattrs[i].name);
        free(n->xattrs[i].v);
    }
    free(n->xattrs);
    for (size_t i = 0; i < n->ent_count; i++) free(n->ents[i].name);
    free(n->ents);
    free(n);
}

static void node_put(struct mnode *n) {
    if (!n->nlink && !n->open) node_free(n);
}

static void touch(struct mnode *n) {
    n->mtime_rule = TIME_RECENT;
}

static size_t ent_pos(const struct mnode *d, const char *name, bool *ret_there) {
    size_t lo = 0, hi = d->ent_count;
    *ret_there = false;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcmp(d->ents[mid].name, name);
        if (!c) { *ret_there = true; return mid; }
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

static struct mnode *ent_get(const struct mnode *d, const char *name) {
    bool there;
    size_t i = ent_pos(d, name, &there);
    return there ? d->ents[i].node : NULL;
}

void mnode_add(struct mnode *d, const char *name, struct mnode *n) {
    bool there;
    size_t i = ent_pos(d, name, &there);
    if (there) abort();
    d->ents = xrealloc(d->ents, (d->ent_count + 1) * sizeof *d->ents);
    memmove(d->ents + i + 1, d->ents + i, (d->ent_count - i) * sizeof *d->ents);
    d->ent_count++;
    d->ents[i] = (struct ment){ xstrdup(name), n };
    if (S_ISDIR(n->mode)) n->parent = d;
}

static void ent_del(struct mnode *d, const char *name) {
    bool there;
    size_t i = ent_pos(d, name, &there);
    if (!there) abort();
    free(d->ents[i].name);
    memmove(d->ents + i, d->ents + i + 1, (d->ent_count - i - 1) * sizeof *d->ents);
    d->ent_count--;
}

/* --- trees --- */

static struct mnode *clone_node(struct mnode *n) {
    if (n->clone) return n->clone;
    struct mnode *c = xalloc(sizeof *c);
    *c = *n;
    c->open = 0;
    c->data = bytes_clone(&n->data);
    c->target = n->target ? xstrdup(n->target) : NULL;
    c->xattrs = xalloc(n->xattr_count * sizeof *c->xattrs);
    for (size_t i = 0; i < n->xattr_count; i++) {
        c->xattrs[i] = (struct mxattr){ xstrdup(n->xattrs[i].name), xalloc(n->xattrs[i].n), n->xattrs[i].n };
        memcpy(c->xattrs[i].v, n->xattrs[i].v, n->xattrs[i].n);
    }
    n->clone = c;
    c->ents = xalloc(n->ent_count * sizeof *c->ents);
    for (size_t i = 0; i < n->ent_count; i++) {
        c->ents[i] = (struct ment){ xstrdup(n->ents[i].name), clone_node(n->ents[i].node) };
        if (S_ISDIR(c->ents[i].node->mode)) c->ents[i].node->parent = c;
    }
    return c;
}

static void clear_clone(struct mnode *n) {
    n->clone = NULL;
    for (size_t i = 0; i < n->ent_count; i++) clear_clone(n->ents[i].node);
}

struct mtree mtree_clone(const struct mtree *t) {
    struct mtree r = { .ino_count = t->ino_count, .ino_cap = t->ino_count };
    r.root = clone_node(t->root);
    r.root->parent = r.root;
    clear_clone(t->root);
    clear_clone(r.root);
    r.inos = xalloc(t->ino_count * sizeof *r.inos);
    if (t->ino_count) memcpy(r.inos, t->inos, t->ino_count * sizeof *r.inos);
    return r;
}

static void drop_node(struct mnode *n) {
    for (size_t i = 0; i < n->ent_count; i++) {
        struct mnode *c = n->ents[i].node;
        if (S_ISDIR(c->mode)) drop_node(c);
        else if (!--c->nlink) node_put(c);
    }
    node_free(n);
}

void mtree_fini(struct mtree *t) {
    if (t->root) drop_node(t->root);
    free(t->inos);
    *t = (struct mtree){0};
}

/* The table is sorted by ino; nodes are looked for in a line, as the tables are small. */
bool mtree_saw(struct mtree *t, uint64_t ino, uint64_t node) {
    size_t lo = 0, hi = t->ino_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t->inos[mid].ino < ino) lo = mid + 1;
        else hi = mid;
    }
    if (lo < t->ino_count && t->inos[lo].ino == ino) return t->inos[lo].node == node;
    for (size_t i = 0; i < t->ino_count; i++)
        if (t->inos[i].node == node) return false;
    if (t->ino_count == t->ino_cap) {
        t->ino_cap = t->ino_cap ? t->ino_cap * 2 : 64;
        t->inos = xrealloc(t->inos, t->ino_cap * sizeof *t->inos);
    }
    memmove(t->inos + lo + 1, t->inos + lo, (t->ino_count - lo) * sizeof *t->inos);
    t->ino_count++;
    t->inos[lo] = (struct ino_pair){ ino, node };
    return true;
}

static void each(struct mnode *n, char *path, size_t len, mtree_fn *fn, void *arg) {
    fn(arg, path, n);
    for (size_t i = 0; i < n->ent_count; i++) {
        size_t k = strlen(n->ents[i].name), add = len ? 1 : 0;
        if (len + add + k + 1 > 16384) continue;
        if (add) path[len] = '/';
        memcpy(path + len + add, n->ents[i].name, k + 1);
        each(n->ents[i].node, path, len + add + k, fn, arg);
        path[len] = 0;
    }
}

void mtree_each(const struct mtree *t, mtree_fn *fn, void *arg) {
    char *path = xalloc(16384);
    if (t->root) each(t->root, path, 0, fn, arg);
    free(path);
}

/* --- paths --- */

struct walk { struct mnode *dir; char name[512]; };      /* name "": the root itself */

/* Parent and last component of a path. */
static int walk(struct mtree *t, const char *path, struct walk *ret) {
    if (!t->root) return -EBADF;
    ret->dir = t->root;
    ret->name[0] = 0;
    for (;;) {
        const char *slash = strchr(path, '/');
        size_t n = slash ? (size_t)(slash - path) : strlen(path);
        if (n >= sizeof ret->name) return -ENAMETOOLONG;
        memcpy(ret->name, path, n);
        ret->name[n] = 0;
        if (!slash) return 0;
        if (n > NAME_MAX) return -ENAMETOOLONG;
        struct mnode *c = ent_get(ret->dir, ret->name);
        if (!c) return -ENOENT;
        if (S_ISLNK(c->mode)) return -ELOOP;
        if (!S_ISDIR(c->mode)) return -ENOTDIR;
        ret->dir = c;
        path = slash + 1;
    }
}

static int lookup(const struct walk *w, struct mnode **ret) {
    if (!w->name[0]) { *ret = w->dir; return 0; }
    if (strlen(w->name) > NAME_MAX) return -ENAMETOOLONG;
    *ret = ent_get(w->dir, w->name);
    return *ret ? 0 : -ENOENT;
}

static int find(struct model *m, unsigned at, const char *path, struct walk *w, struct mnode **ret) {
    struct walk own;
    if (!w) w = &own;
    int r = walk(&m->place[at], path, w);
    return r ? r : lookup(w, ret);
}

struct mnode *mtree_find(const struct mtree *t, const char *path) {
    struct walk w;
    struct mnode *n;
    return walk((struct mtree *)t, path, &w) || lookup(&w, &n) ? NULL : n;
}

static int writable(unsigned at) {
    return at >= PLACES_WS ? -EROFS : 0;
}

/* As find(), for something to be changed. */
static int find_rw(struct model *m, unsigned at, const char *path, struct walk *w, struct mnode **ret) {
    int r = find(m, at, path, w, ret);
    return r ? r : writable(at);
}

/* A free place for a new name. */
static int vacancy(struct model *m, unsigned at, const char *path, struct walk *w) {
    struct mnode *n;
    int r = find(m, at, path, w, &n);
    if (r == 0) return -EEXIST;
    if (r != -ENOENT) return r;
    r = walk(&m->place[at], path, w);     /* -ENOENT of a parent, or of the name? */
    return r ? r : writable(at);
}

/* --- names --- */

static struct mnode *make(struct model *m, struct walk *w, uint32_t mode) {
    struct mnode *n = mnode_new(m->next++, mode);
    n->nlink = S_ISDIR(mode) ? 2 : 1;
    if (w->dir->mode & S_ISGID) {
        n->gid = w->dir->gid;
        if (S_ISDIR(mode)) n->mode |= S_ISGID;
    }
    mnode_add(w->dir, w->name, n);
    if (S_ISDIR(mode)) w->dir->nlink++;
    touch(w->dir);
    return n;
}

static int m_mk(void *c, unsigned at, const char *path, uint32_t mode, uint32_t rdev, const char *target) {
    struct model *m = c;
    struct walk w;
    int r = vacancy(m, at, path, &w);
    if (r) return r;
    struct mnode *n = make(m, &w, mode);
    n->rdev = S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0;
    if (S_ISLNK(mode)) {
        n->target = xstrdup(target);
        n->mode = S_IFLNK | 0777;
    }
    return 0;
}

static int m_link(void *c, unsigned at, const char *from, const char *to) {
    struct model *m = c;
    struct walk wf, wt;
    struct mnode *n, *there;
    int r = walk(&m->place[at], from, &wf);
    if (r) return r;
    if ((r = walk(&m->place[at], to, &wt))) return r;
    if ((r = lookup(&wf, &n))) return r;
    r = lookup(&wt, &there);
    if (r == 0) return -EEXIST;
    if (r != -ENOENT) return r;
    if ((r = writable(at))) return r;
    if (S_ISDIR(n->mode)) return -EPERM;
    mnode_add(wt.dir, wt.name, n);
    n->nlink++;
    touch(wt.dir);
    return 0;
}

static int m_unlink(void *c, unsigned at, const char *path) {
    struct walk w;
    struct mnode *n;
    int r = find_rw(c, at, path, &w, &n);
    if (r) return r;
    if (S_ISDIR(n->mode)) return -EISDIR;
    ent_del(w.dir, w.name);
    touch(w.dir);
    n->nlink--;
    node_put(n);
    return 0;
}

static int m_rmdir(void *c, unsigned at, const char *path) {
    struct walk w;
    struct mnode *n;
    int r = find_rw(c, at, path, &w, &n);
    if (r) return r;
    if (!w.name[0]) return -EBUSY;
    if (!S_ISDIR(n->mode)) return -ENOTDIR;
    if (n->ent_count) return -ENOTEMPTY;
    ent_del(w.dir, w.name);
    touch(w.dir);
    w.dir->nlink--;
    node_free(n);
    return 0;
}

/* Is a an ancestor of b (or b itself)? */
static bool above(const struct mnode *a, const struct mnode *b) {
    for (;; b = b->parent) {
        if (a == b) return true;
        if (b->parent == b) return false;
    }
}

static int rename_check(const struct walk *wf, const struct walk *wt, const struct mnode *f, const struct mnode *t, unsigned flags) {
    if (wf->dir != wt->dir) {
        if (S_ISDIR(f->mode) && above(f, wt->dir)) return -EINVAL;
        if (t && S_ISDIR(t->mode) && above(t, wf->dir)) return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
    }
    if (f == t || !t || (flags & RENAME_EXCHANGE)) return 0;
    if (S_ISDIR(f->mode) && !S_ISDIR(t->mode)) return -ENOTDIR;
    if (!S_ISDIR(f->mode) && S_ISDIR(t->mode)) return -EISDIR;
    return S_ISDIR(t->mode) && t->ent_count ? -ENOTEMPTY : 0;
}

static void exchange(struct walk *wf, struct walk *wt, struct mnode *f, struct mnode *t) {
    ent_del(wf->dir, wf->name);
    ent_del(wt->dir, wt->name);
    mnode_add(wf->dir, wf->name, t);
    mnode_add(wt->dir, wt->name, f);
    if (S_ISDIR(f->mode)) { wf->dir->nlink--; wt->dir->nlink++; }
    if (S_ISDIR(t->mode)) { wt->dir->nlink--; wf->dir->nlink++; }
}

static int m_rename(void *c, unsigned at, const char *from, const char *to, unsigned flags) {
    struct model *m = c;
    struct walk wf, wt;
    struct mnode *f, *t = NULL;
    if ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))) return -EINVAL;
    int r = walk(&m->place[at], from, &wf);
    if (r) return r;
    if ((r = walk(&m->place[at], to, &wt))) return r;
    if ((r = lookup(&wf, &f))) return r;
    r = lookup(&wt, &t);
    if (r && r != -ENOENT) return r;
    if (!wf.name[0] || !wt.name[0]) return -EBUSY;
    if ((flags & RENAME_NOREPLACE) && t) return -EEXIST;
    if ((flags & RENAME_EXCHANGE) && !t) return -ENOENT;
    if ((r = writable(at))) return r;
    if ((r = rename_check(&wf, &wt, f, t, flags))) return r;
    if (f == t) return 0;
    touch(wf.dir);
    touch(wt.dir);
    if (flags & RENAME_EXCHANGE) {
        exchange(&wf, &wt, f, t);
        return 0;
    }
    if (t) {
        ent_del(wt.dir, wt.name);
        if (S_ISDIR(t->mode)) {
            wt.dir->nlink--;
            node_free(t);
        } else {
            t->nlink--;
            node_put(t);
        }
    }
    ent_del(wf.dir, wf.name);
    mnode_add(wt.dir, wt.name, f);
    if (S_ISDIR(f->mode)) { wf.dir->nlink--; wt.dir->nlink++; }
    if (flags & RENAME_WHITEOUT) make(m, &wf, S_IFCHR);
    return 0;
}

/* --- attributes --- */

static void fill(const struct mnode *n, struct st *ret) {
    *ret = (struct st){ .mode = n->mode, .nlink = n->nlink, .uid = n->uid, .gid = n->gid, .rdev = n->rdev, .ino = n->uid_,
        .size = S_ISLNK(n->mode) ? strlen(n->target) : S_ISREG(n->mode) ? n->data.size : 0, .mtime_s = n->mtime_s, .mtime_ns = n->mtime_ns,
        .atime_s = n->atime_s, .atime_ns = n->atime_ns, .mtime_rule = n->mtime_rule, .atime_rule = n->atime_rule };
}

static int m_stat(void *c, unsigned at, const char *path, struct st *ret) {
    struct mnode *n;
    int r = find(c, at, path, NULL, &n);
    if (!r) fill(n, ret);
    return r;
}

static int m_chmod(void *c, unsigned at, const char *path, uint32_t mode) {
    struct mnode *n;
    int r = find_rw(c, at, path, NULL, &n);
    if (r) return r;
    if (S_ISLNK(n->mode)) return -EOPNOTSUPP;
    n->mode = (n->mode & S_IFMT) | (mode & 07777);
    return 0;
}

static int m_chown(void *c, unsigned at, const char *path, uint32_t uid, uint32_t gid) {
    struct mnode *n;
    int r = find_rw(c, at, path, NULL, &n);
    if (r) return r;
    n->uid = uid;
    n->gid = gid;
    if (!S_ISDIR(n->mode)) {
        n->mode &= ~(uint32_t)S_ISUID;
        if (n->mode & S_IXGRP) n->mode &= ~(uint32_t)S_ISGID;
    }
    return 0;
}

static int m_utimens(void *c, unsigned at, const char *path, const struct timespec ts[2]) {
    struct mnode *n;
    int r = find_rw(c, at, path, NULL, &n);
    if (r) return r;
    n->atime_s = ts[0].tv_sec, n->atime_ns = (uint32_t)ts[0].tv_nsec;
    n->mtime_s = ts[1].tv_sec, n->mtime_ns = (uint32_t)ts[1].tv_nsec;
    n->mtime_rule = TIME_EXACT;
    return 0;
}

/* The same size as before: whether times change is the system's choice. */
static void set_size(struct mnode *n, uint64_t size) {
    n->mtime_rule = size == n->data.size ? 0 : TIME_RECENT;
    bytes_truncate(&n->data, size);
}

static int m_truncate(void *c, unsigned at, const char *path, uint64_t size) {
    struct mnode *n;
    int r = find(c, at, path, NULL, &n);
    if (r) return r;
    if (S_ISDIR(n->mode)) return -EISDIR;
    if (!S_ISREG(n->mode)) return -EINVAL;
    if ((r = writable(at))) return r;
    set_size(n, size);
    return 0;
}

static int m_read(void *c, unsigned at, const char *path, uint64_t off, size_t len, uint8_t *dst) {
    struct mnode *n;
    int r = find(c, at, path, NULL, &n);
    if (r) return r;
    if (off >= n->data.size) return 0;
    if (len > n->data.size - off) len = (size_t)(n->data.size - off);
    bytes_read(&n->data, off, len, dst);
    return (int)len;
}

static int m_readlink(void *c, unsigned at, const char *path, char *out, size_t size) {
    struct mnode *n;
    int r = find(c, at, path, NULL, &n);
    if (r) return r;
    if (!S_ISLNK(n->mode)) return -EINVAL;
    size_t k = strlen(n->target);
    if (k > size) k = size;
    memcpy(out, n->target, k);
    return (int)k;
}

/* --- extended attributes --- */

static struct mxattr *xattr_get(const struct mnode *n, const char *name) {
    for (size_t i = 0; i < n->xattr_count; i++)
        if (!strcmp(n->xattrs[i].name, name)) return &n->xattrs[i];
    return NULL;
}

/* user.* is for regular files and directories only; on others it cannot be set and is never there. */
static int xattr_allowed(const struct mnode *n, const char *name, bool set) {
    if (!strncmp(name, "user.", 5) && !S_ISREG(n->mode) && !S_ISDIR(n->mode)) return set ? -EPERM : -ENODATA;
    return 0;
}

static int m_setxattr(void *c, unsigned at, const char *path, const char *name, const void *v, size_t len, int flags) {
    struct mnode *n;
    int r = find_rw(c, at, path, NULL, &n);
    if (r) return r;
    if ((r = xattr_allowed(n, name, true))) return r;
    struct mxattr *x = xattr_get(n, name);
    if (x && (flags & XATTR_CREATE)) return -EEXIST;
    if (!x && (flags & XATTR_REPLACE)) return -ENODATA;
    if (!x) {
        n->xattrs = xrealloc(n->xattrs, (n->xattr_count + 1) * sizeof *n->xattrs);
        x = &n->xattrs[n->xattr_count++];
        *x = (struct mxattr){ .name = xstrdup(name) };
    }
    free(x->v);
    x->v = xalloc(len);
    memcpy(x->v, v, len);
    x->n = len;
    return 0;
}

static int m_getxattr(void *c, unsigned at, const char *path, const char *name, void *out, size_t size) {
    struct mnode *n;
    int r = find(c, at, path, NULL, &n);
    if (r) return r;
    if ((r = xattr_allowed(n, name, false))) return r;
    struct mxattr *x = xattr_get(n, name);
    if (!x) return -ENODATA;
    if (!size) return (int)x->n;
    if (x->n > size) return -ERANGE;
    memcpy(out, x->v, x->n);
    return (int)x->n;
}

static int m_listxattr(void *c, unsigned at, const char *path, char *out, size_t size) {
    struct mnode *n;
    int r = find(c, at, path, NULL, &n);
    if (r) return r;
    size_t len = 0;
    for (size_t i = 0; i < n->xattr_count; i++) {
        size_t k = strlen(n->xattrs[i].name) + 1;
        if (len + k > size) return -ERANGE;
        memcpy(out + len, n->xattrs[i].name, k);
        len += k;
    }
    return (int)len;
}

static int m_removexattr(void *c, unsigned at, const char *path, const char *name) {
    struct mnode *n;
    int r = find_rw(c, at, path, NULL, &n);
    if (r) return r;
    if ((r = xattr_allowed(n, name, true))) return r;
    struct mxattr *x = xattr_get(n, name);
    if (!x) return -ENODATA;
    free(x->name);
    free(x->v);
    *x = n->xattrs[--n->xattr_count];
    return 0;
}

static int m_readdir(void *c, unsigned at, const char *path, unsigned step, readdir_fn *fn, void *arg) {
    struct mnode *n;
    int r = find(c, at, path, NULL, &n);
    if (r) return r;
    if (S_ISLNK(n->mode)) return -ELOOP;
    if (!S_ISDIR(n->mode)) return -ENOTDIR;
    for (size_t i = 0; i < n->ent_count; i++)
        if ((r = fn(arg, n->ents[i].name, (uint8_t)((n->ents[i].node->mode & S_IFMT) >> 12)))) return r;
    return 0;
}

/* --- handles --- */

static void hold(struct model *m, unsigned h, unsigned at, struct mnode *n) {
    m->h[h].n = n;
    m->h[h].at = at;
    n->open++;
}

static int m_open(void *c, unsigned at, const char *path, unsigned h, uint32_t create) {
    struct model *m = c;
    struct mnode *n;
    struct walk w;
    if (m->h[h].n) return -EBADF;
    if (create) {
        int r = vacancy(m, at, path, &w);
        if (r) return r;
        hold(m, h, at, make(m, &w, S_IFREG | (create & 07777)));
        return 0;
    }
    int r = find(m, at, path, NULL, &n);
    if (r) return r;
    if (S_ISLNK(n->mode)) return -ELOOP;
    if (S_ISDIR(n->mode)) return -EISDIR;
    if (!S_ISREG(n->mode)) return -EINVAL;
    if ((r = writable(at))) return r;
    hold(m, h, at, n);
    return 0;
}

static int m_tmpfile(void *c, unsigned at, const char *dir, unsigned h, uint32_t mode) {
    struct model *m = c;
    struct mnode *d;
    if (m->h[h].n) return -EBADF;
    int r = find(m, at, dir, NULL, &d);
    if (r) return r;
    if (S_ISLNK(d->mode)) return -ELOOP;
    if (!S_ISDIR(d->mode)) return -ENOTDIR;
    if ((r = writable(at))) return r;
    struct mnode *n = mnode_new(m->next++, S_IFREG | mode);
    if (d->mode & S_ISGID) n->gid = d->gid;
    n->linkable = true;
    hold(m, h, at, n);
    return 0;
}

static int m_close(void *c, unsigned h) {
    struct model *m = c;
    struct mnode *n = m->h[h].n;
    if (!n) return -EBADF;
    m->h[h].n = NULL;
    n->open--;
    node_put(n);
    return 0;
}

static int m_link_handle(void *c, unsigned h, const char *to) {
    struct model *m = c;
    struct mnode *n = m->h[h].n;
    struct walk w;
    if (!n) return -EBADF;
    int r = vacancy(m, m->h[h].at, to, &w);
    if (r) return r;
    if (!n->nlink && !n->linkable) return -ENOENT;
    n->linkable = false;
    n->nlink++;
    mnode_add(w.dir, w.name, n);
    touch(w.dir);
    return 0;
}

static int m_fstat(void *c, unsigned h, struct st *ret) {
    struct model *m = c;
    if (!m->h[h].n) return -EBADF;
    fill(m->h[h].n, ret);
    return 0;
}

static int m_pread(void *c, unsigned h, uint64_t off, size_t n, uint8_t *dst) {
    struct model *m = c;
    if (!m->h[h].n) return -EBADF;
    uint64_t size = m->h[h].n->data.size;
    if (off >= size) return 0;
    if (n > size - off) n = (size_t)(size - off);
    bytes_read(&m->h[h].n->data, off, n, dst);
    return (int)n;
}

static int m_pwrite(void *c, unsigned h, uint64_t off, const uint8_t *src, size_t n) {
    struct model *m = c;
    if (!m->h[h].n) return -EBADF;
    if (!n) return 0;
    bytes_write(&m->h[h].n->data, off, src, n);
    touch(m->h[h].n);
    return (int)n;
}

static int m_append(void *c, unsigned h, const uint8_t *src, size_t n) {
    struct model *m = c;
    if (!m->h[h].n) return -EBADF;
    if (m->h[h].n->data.size > (uint64_t)INT64_MAX - n) return -EFBIG;
    return m_pwrite(c, h, m->h[h].n->data.size, src, n);
}

static int m_map_write(void *c, unsigned h, uint64_t off, const uint8_t *src, size_t n) {
    struct model *m = c;
    if (!m->h[h].n) return -EBADF;
    if (!n || off + n > m->h[h].n->data.size) return -EINVAL;
    return m_pwrite(c, h, off, src, n);
}

static int m_ftruncate(void *c, unsigned h, uint64_t size) {
    struct model *m = c;
    if (!m->h[h].n) return -EBADF;
    set_size(m->h[h].n, size);
    return 0;
}

static int m_fallocate(void *c, unsigned h, int mode, uint64_t off, uint64_t len) {
    struct model *m = c;
    if (!m->h[h].n) return -EBADF;
    if (!len) return -EINVAL;
    struct bytes *d = &m->h[h].n->data;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) bytes_zero(d, off, len);
    if (!(mode & FALLOC_FL_KEEP_SIZE) && off + len > d->size) d->size = off + len;
    touch(m->h[h].n);
    return 0;
}

static int m_copy(void *c, unsigned from, uint64_t from_off, unsigned to, uint64_t to_off, uint64_t len) {
    struct model *m = c;
    struct mnode *f = m->h[from].n, *t = m->h[to].n;
    if (!f || !t) return -EBADF;
    if (m->h[from].at != m->h[to].at) return -EXDEV;
    uint64_t n = from_off >= f->data.size ? 0 : f->data.size - from_off < len ? f->data.size - from_off : len;
    if (f == t && to_off + n > from_off && to_off < from_off + n) return -EINVAL;
    if (!n) return 0;
    uint8_t *b = xalloc(n);
    bytes_read(&f->data, from_off, n, b);
    bytes_write(&t->data, to_off, b, n);
    free(b);
    touch(t);
    return (int)n;
}

/* What a hole is, is the file system's choice: the checker knows what is allowed. */
static int64_t m_seek(void *c, unsigned h, uint64_t off, int whence) {
    struct model *m = c;
    if (!m->h[h].n) return -EBADF;
    return off >= m->h[h].n->data.size ? -ENXIO : 0;
}

static int m_fsync(void *c, unsigned h) {
    struct model *m = c;
    return m->h[h].n ? 0 : -EBADF;
}

/* --- the world --- */

static int m_snapshot(void *c, unsigned ws, unsigned k) {
    struct model *m = c;
    struct mtree *to = &m->place[place_snap(k)];
    if (!m->place[ws].root || to->root) return -EBADF;
    *to = mtree_clone(&m->place[ws]);
    to->of = m->place[ws].number;
    return 0;
}

static int m_fork(void *c, unsigned from, unsigned ws) {
    struct model *m = c;
    if (!m->place[from].root || m->place[ws].root) return -EBADF;
    m->place[ws] = mtree_clone(&m->place[from]);
    m->place[ws].number = m->next++;
    return 0;
}

static bool busy(const struct model *m, unsigned ws) {
    for (unsigned h = 0; h < HANDLES; h++)
        if (m->h[h].n && m->h[h].at == ws) return true;
    return false;
}

static int restore_all(struct model *m, unsigned ws, const struct mtree *snap) {
    struct mtree old = m->place[ws], t = mtree_clone(snap);
    m->place[ws] = t;
    m->place[ws].number = old.number;
    /* Numbers used after the snapshot stay used; those of another workspace's snapshot are its own. */
    for (size_t i = 0; i < old.ino_count && snap->of == old.number; i++) mtree_saw(&m->place[ws], old.inos[i].ino, old.inos[i].node);
    mtree_fini(&old);
    return 0;
}

static int m_restore(void *c, unsigned ws, unsigned k, const char *path) {
    struct model *m = c;
    const struct mtree *snap = &m->place[place_snap(k)];
    if (!m->place[ws].root || !snap->root || busy(m, ws)) return -EBADF;
    if (path) return -EOPNOTSUPP;
    return restore_all(m, ws, snap);
}

static int m_drop(void *c, unsigned place) {
    struct model *m = c;
    if (!place || !m->place[place].root || (place < PLACES_WS && busy(m, place))) return -EBADF;
    for (unsigned k = 0; k < PLACES_SNAP && place < PLACES_WS; k++)
        if (m->place[place_snap(k)].root && m->place[place_snap(k)].of == m->place[place].number) return -ENOTEMPTY;
    mtree_fini(&m->place[place]);
    return 0;
}

static int m_sync(void *c, unsigned ws) {
    struct model *m = c;
    return m->place[ws].root ? 0 : -EBADF;
}

static int m_care(void *c, enum care what) {
    if (what == CARE_REOPEN)
        for (unsigned h = 0; h < HANDLES; h++) m_close(c, h);
    return 0;
}

const struct fs_ops model_ops = {
    .name = "model", .caps = CAP_WORLD | CAP_BIG_XATTR | CAP_INO | CAP_BIG_FILE,
    .mk = m_mk, .link = m_link, .unlink = m_unlink, .rmdir = m_rmdir, .rename = m_rename, .stat = m_stat, .chmod = m_chmod, .chown = m_chown,
    .utimens = m_utimens, .truncate = m_truncate, .read = m_read, .readlink = m_readlink, .setxattr = m_setxattr, .getxattr = m_getxattr,
    .listxattr = m_listxattr, .removexattr = m_removexattr, .readdir = m_readdir, .open = m_open, .tmpfile = m_tmpfile, .close = m_close,
    .link_handle = m_link_handle, .fstat = m_fstat, .pread = m_pread, .pwrite = m_pwrite, .append = m_append, .map_write = m_map_write,
    .ftruncate = m_ftruncate, .fallocate = m_fallocate, .copy = m_copy, .seek = m_seek, .fsync = m_fsync, .snapshot = m_snapshot,
    .fork = m_fork, .restore = m_restore, .drop = m_drop, .sync = m_sync, .care = m_care,
};

struct model *model_new(void) {
    struct model *m = xalloc(sizeof *m);
    m->next = 1;
    struct mnode *root = mnode_new(m->next++, S_IFDIR | 0755);
    root->nlink = 2;
    root->parent = root;
    m->place[0].root = root;
    m->place[0].number = m->next++;
    return m;
}

void model_free(struct model *m) {
    if (!m) return;
    for (unsigned h = 0; h < HANDLES; h++) m_close(m, h);
    for (unsigned i = 0; i < PLACES; i++) mtree_fini(&m->place[i]);
    free(m);
}
