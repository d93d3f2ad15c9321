/* Each function does what the kernel does before it asks a file system: resolve the parent, and the checks that fs/namei.c makes. */
#include "tests/model/target_ws.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fs/fold.h"
#include "fs/verbs.h"
#include "fs/view.h"
#include "tests/model/bytes.h"

static const struct ws_cred root_cred = {0};

/* --- the world --- */

static int problem(void *arg, const struct problem *p) {
    unsigned *n = arg;
    if ((*n)++ < 10) fprintf(stderr, "# fsck: %s: %s\n", p->where, p->what);
    return 0;
}

int target_ws_fsck(struct store *s) {
    unsigned n = 0;
    uint64_t checked = 0;
    int r = verb_fsck(s, problem, &n, &checked);
    if (r && !n) return r;
    return n ? -EUCLEAN : 0;
}

static void close_place(struct target_ws *t, unsigned at) {
    workspace_unref(t->ws[at]);
    t->ws[at] = NULL;
}

int target_ws_get(struct target_ws *t, unsigned at, struct workspace **ret) {
    if (!t->id[at][0]) return -EBADF;
    if (!t->ws[at] && at < PLACES_WS) {
        int r = workspace_open(t->s, t->id[at], &t->ws[at]);
        if (r) return r;
    } else if (!t->ws[at]) {
        struct object o;
        struct view *v;
        int r = object_find(t->s, t->id[at], &o);
        if (r) return r;
        if ((r = object_view(t->s, &o, &v))) return r;
        r = workspace_open_view(t->s, v, &t->ws[at]);
        view_unref(v);
        if (r) return r;
    }
    *ret = t->ws[at];
    return 0;
}

/* The last handle of an inode gives all of its lookups back. */
static void let_go(struct target_ws *t, unsigned h) {
    struct target_handle *x = &t->h[h], *other = NULL;
    for (unsigned i = 0; i < HANDLES; i++)
        if (i != h && t->h[i].w == x->w && t->h[i].ino == x->ino) other = &t->h[i];
    if (other) other->lookups += x->lookups;
    else ws_forget(x->w, x->ino, x->lookups);
    x->w = NULL;
}

/* -EIO: what was done since the last commit could not be written. */
static int close_all(struct target_ws *t) {
    for (unsigned h = 0; h < HANDLES; h++)
        if (t->h[h].w) let_go(t, h);
    for (unsigned i = 0; i < PLACES; i++) close_place(t, i);
    bool lost = t->s->lost;
    store_close(t->s);
    t->s = NULL;
    return lost ? -EIO : 0;
}

static int adopt(struct target_ws *t) {
    for (unsigned i = 0; i < PLACES; i++) {
        char name[32];
        struct object o;
        snprintf(name, sizeof name, i < PLACES_WS ? "w%u" : "s%u", i < PLACES_WS ? i : i - PLACES_WS);
        int r = object_find(t->s, name, &o);
        if (r == -ENOENT) continue;
        if (r) return r;
        snprintf(t->id[i], ID_MAX, "%s", i < PLACES_WS ? o.ws.id : o.snap.id);
    }
    return 0;
}

int target_ws_open(struct target_ws *t, const char *dir, bool fresh, const struct store_options *opt) {
    *t = (struct target_ws){ .opt = *opt };
    snprintf(t->dir, sizeof t->dir, "%s", dir);
    int r = fresh ? store_init(dir) : 0;
    if (r || (r = store_open(dir, &t->opt, &t->s))) return r;
    if (!fresh) return adopt(t);
    struct create_args a = { .name = "w0", .kind = WS_BARE };
    struct ws_rec rec;
    if ((r = verb_create(t->s, &a, &rec))) return r;
    snprintf(t->id[0], ID_MAX, "%s", rec.id);
    return 0;
}

void target_ws_close(struct target_ws *t) {
    if (t->s) close_all(t);
}

static int fold_place(struct target_ws *t, unsigned at) {
    struct workspace *w;
    int r = target_ws_get(t, at, &w);
    if (r) return r;
    pthread_mutex_lock(&w->lock);
    struct view *v = view_ref(w->view);
    pthread_mutex_unlock(&w->lock);
    r = fold_view(t->s, v);
    view_unref(v);
    return r;
}

/* Nobody else folds when there is no background thread. */
static int make_room(struct target_ws *t, unsigned at) {
    struct workspace *w;
    int r = target_ws_get(t, at, &w);
    if (r || !t->opt.no_background || view_depth(w->view) < FROZEN_MAX) return r;
    return fold_place(t, at);
}

static int t_snapshot(void *c, unsigned ws, unsigned k) {
    struct target_ws *t = c;
    struct workspace *w;
    if (!t->id[ws][0] || t->id[place_snap(k)][0]) return -EBADF;
    int r = make_room(t, ws);
    if (r || (r = target_ws_get(t, ws, &w))) return r;
    char name[32];
    snprintf(name, sizeof name, "s%u", k);
    struct snapshot_args a = { .name = name, .cause = SNAP_USER, .message = "" };
    struct snap_rec rec;
    if ((r = verb_snapshot(t->s, w, &a, &rec, NULL))) return r;
    snprintf(t->id[place_snap(k)], ID_MAX, "%s", rec.id);
    return 0;
}

static int t_fork(void *c, unsigned from, unsigned ws) {
    struct target_ws *t = c;
    if (!t->id[from][0] || t->id[ws][0]) return -EBADF;
    int r = from < PLACES_WS ? make_room(t, from) : 0;
    struct object o;
    if (r || (r = object_find(t->s, t->id[from], &o))) return r;
    char name[32];
    snprintf(name, sizeof name, "w%u", ws);
    const char *names[1] = { name };
    struct ws_rec rec;
    unsigned bad;
    if ((r = verb_fork(t->s, &o, names, 1, &rec, &bad, NULL))) return r;
    snprintf(t->id[ws], ID_MAX, "%s", rec.id);
    return 0;
}

static bool busy(const struct target_ws *t, unsigned ws) {
    for (unsigned h = 0; h < HANDLES; h++)
        if (t->h[h].w && t->h[h].at == ws) return true;
    return false;
}

static int t_restore(void *c, unsigned ws, unsigned k, const char *path) {
    struct target_ws *t = c;
    struct workspace *w;
    struct object o;
    if (!t->id[ws][0] || !t->id[place_snap(k)][0] || busy(t, ws)) return -EBADF;
    if (path) return -EOPNOTSUPP;
    int r = make_room(t, ws);
    if (r || (r = target_ws_get(t, ws, &w)) || (r = object_find(t->s, t->id[place_snap(k)], &o))) return r;
    struct restore_report rep;
    return verb_restore(t->s, w, &o.snap, NULL, 0, &rep);
}

static int t_drop(void *c, unsigned place) {
    struct target_ws *t = c;
    struct object o;
    if (!place || !t->id[place][0] || (place < PLACES_WS && busy(t, place))) return -EBADF;
    int r = object_find(t->s, t->id[place], &o);
    if (r) return r;
    bool keep_open = place >= PLACES_WS && t->serial++ % 2;    /* a snapshot may be removed while it is looked at */
    if (!keep_open) close_place(t, place);
    if ((r = verb_remove(t->s, &o, false))) return r;
    close_place(t, place);
    t->id[place][0] = 0;
    return 0;
}

static int t_sync(void *c, unsigned ws) {
    struct workspace *w;
    int r = target_ws_get(c, ws, &w);
    return r ? r : workspace_commit(w);
}

static int t_care(void *c, enum care what) {
    struct target_ws *t = c;
    struct gc_report rep;
    unsigned n = 0;
    uint64_t checked;
    int r = 0;
    switch (what) {
    case CARE_FOLD:
        for (unsigned i = 0; i < PLACES && !r; i++)
            if (t->id[i][0]) r = fold_place(t, i);
        return r;
    case CARE_GC: return verb_gc(t->s, false, false, &rep);
    case CARE_PACK: return verb_gc(t->s, false, true, &rep);
    case CARE_FSCK: return target_ws_fsck(t->s);
    case CARE_SCRUB: r = verb_scrub(t->s, false, problem, &n, &checked); return r ? r : n ? -EUCLEAN : 0;
    default:
        r = close_all(t);
        int opened = store_open(t->dir, &t->opt, &t->s);
        return opened ? opened : r;
    }
}

/* --- paths --- */

struct spot { struct workspace *w; uint64_t dir; char name[512]; };

static int walk(struct target_ws *t, unsigned at, const char *path, struct spot *ret) {
    int r = target_ws_get(t, at, &ret->w);
    if (r) return r;
    ret->dir = INO_ROOT;
    for (;;) {
        const char *slash = strchr(path, '/');
        size_t n = slash ? (size_t)(slash - path) : strlen(path);
        if (n >= sizeof ret->name) return -ENAMETOOLONG;
        memcpy(ret->name, path, n);
        ret->name[n] = 0;
        if (!slash) return 0;
        struct inode in;
        uint64_t ino;
        if ((r = ws_lookup(ret->w, ret->dir, ret->name, &ino, &in))) return r;
        if (S_ISLNK(in.mode)) return -ELOOP;
        if (!S_ISDIR(in.mode)) return -ENOTDIR;
        ret->dir = ino;
        path = slash + 1;
    }
}

static int lookup(const struct spot *sp, uint64_t *ret_ino, struct inode *ret) {
    if (sp->name[0]) return ws_lookup(sp->w, sp->dir, sp->name, ret_ino, ret);
    *ret_ino = INO_ROOT;
    return ws_getattr(sp->w, INO_ROOT, ret);
}

static int find(void *c, unsigned at, const char *path, struct spot *sp, uint64_t *ret_ino, struct inode *ret) {
    int r = walk(c, at, path, sp);
    return r ? r : lookup(sp, ret_ino, ret);
}

static int t_mk(void *c, unsigned at, const char *path, uint32_t mode, uint32_t rdev, const char *target) {
    struct spot sp;
    uint64_t ino;
    struct inode in;
    int r = walk(c, at, path, &sp);
    if (r) return r;
    if (!sp.name[0]) return -EEXIST;
    return ws_create(sp.w, sp.dir, sp.name, S_ISLNK(mode) ? S_IFLNK | 0777 : mode, rdev, target, &root_cred, 0, false, &ino, &in);
}

static int t_link(void *c, unsigned at, const char *from, const char *to) {
    struct spot sf, st;
    uint64_t ino, there;
    struct inode in;
    int r = walk(c, at, from, &sf);
    if (r || (r = walk(c, at, to, &st))) return r;
    if ((r = lookup(&sf, &ino, &in))) return r;
    if (!st.name[0] || !lookup(&st, &there, &in)) return -EEXIST;
    return ws_link(st.w, ino, st.dir, st.name, &in);
}

static int t_unlink(void *c, unsigned at, const char *path) {
    struct spot sp;
    int r = walk(c, at, path, &sp);
    if (r) return r;
    return sp.name[0] ? ws_unlink(sp.w, sp.dir, sp.name) : -EISDIR;
}

static int t_rmdir(void *c, unsigned at, const char *path) {
    struct spot sp;
    int r = walk(c, at, path, &sp);
    if (r) return r;
    return sp.name[0] ? ws_rmdir(sp.w, sp.dir, sp.name) : -EBUSY;
}

/* Is dir below (or the same as) top? */
static bool below(struct workspace *w, uint64_t dir, uint64_t top) {
    for (;;) {
        if (dir == top) return true;
        if (dir == INO_ROOT) return false;
        struct inode in;
        if (ws_getattr(w, dir, &in)) return false;
        dir = in.parent;
    }
}

static int t_rename(void *c, unsigned at, const char *from, const char *to, unsigned flags) {
    struct spot sf, st;
    uint64_t f, t;
    struct inode fi, ti;
    if ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))) return -EINVAL;
    int r = walk(c, at, from, &sf);
    if (r || (r = walk(c, at, to, &st))) return r;
    if ((r = lookup(&sf, &f, &fi))) return r;
    int there = lookup(&st, &t, &ti);
    if (there && there != -ENOENT) return there;
    if (!sf.name[0] || !st.name[0]) return -EBUSY;
    if ((flags & RENAME_NOREPLACE) && !there) return -EEXIST;
    if ((flags & RENAME_EXCHANGE) && there) return -ENOENT;
    if (at >= PLACES_WS) return ws_rename(sf.w, sf.dir, sf.name, st.dir, st.name, flags);
    if (sf.dir != st.dir && S_ISDIR(fi.mode) && below(sf.w, st.dir, f)) return -EINVAL;
    if (sf.dir != st.dir && !there && S_ISDIR(ti.mode) && below(sf.w, sf.dir, t)) return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
    if (!there && f == t) return 0;
    return ws_rename(sf.w, sf.dir, sf.name, st.dir, st.name, flags);
}

/* --- attributes --- */

static void fill(uint64_t ino, const struct inode *in, struct st *ret) {
    *ret = (struct st){ .mode = in->mode, .nlink = in->nlink, .uid = in->uid, .gid = in->gid, .rdev = in->rdev, .size = in->size, .ino = ino,
        .mtime_s = in->mtime.sec, .mtime_ns = in->mtime.ns, .atime_s = in->atime.sec, .atime_ns = in->atime.ns };
}

static int t_stat(void *c, unsigned at, const char *path, struct st *ret) {
    struct spot sp;
    uint64_t ino;
    struct inode in;
    int r = find(c, at, path, &sp, &ino, &in);
    if (!r) fill(ino, &in, ret);
    return r;
}

static int setattr(void *c, unsigned at, const char *path, unsigned valid, const struct inode *set) {
    struct spot sp;
    uint64_t ino;
    struct inode in, out;
    int r = find(c, at, path, &sp, &ino, &in);
    if (r) return r;
    if ((valid & WSA_MODE) && S_ISLNK(in.mode)) return -EOPNOTSUPP;
    if ((valid & WSA_SIZE) && S_ISDIR(in.mode)) return -EISDIR;
    if ((valid & WSA_SIZE) && !S_ISREG(in.mode)) return -EINVAL;
    if ((valid & WSA_UID) && !S_ISDIR(in.mode)) valid |= WSA_KILL_PRIV;
    return ws_setattr(sp.w, ino, valid, set, &out);
}

static int t_chmod(void *c, unsigned at, const char *path, uint32_t mode) {
    return setattr(c, at, path, WSA_MODE, &(struct inode){ .mode = mode & 07777 });
}

static int t_chown(void *c, unsigned at, const char *path, uint32_t uid, uint32_t gid) {
    return setattr(c, at, path, WSA_UID | WSA_GID, &(struct inode){ .uid = uid, .gid = gid });
}

static int t_utimens(void *c, unsigned at, const char *path, const struct timespec ts[2]) {
    struct inode in = { .atime = { ts[0].tv_sec, (uint32_t)ts[0].tv_nsec }, .mtime = { ts[1].tv_sec, (uint32_t)ts[1].tv_nsec } };
    return setattr(c, at, path, WSA_ATIME | WSA_MTIME, &in);
}

static int t_truncate(void *c, unsigned at, const char *path, uint64_t size) {
    return setattr(c, at, path, WSA_SIZE, &(struct inode){ .size = size });
}

static int t_read(void *c, unsigned at, const char *path, uint64_t off, size_t n, uint8_t *dst) {
    struct spot sp;
    uint64_t ino;
    struct inode in;
    size_t len;
    int r = find(c, at, path, &sp, &ino, &in);
    if (r || (r = ws_read(sp.w, ino, off, n, dst, &len))) return r;
    return (int)len;
}

static int64_t t_data(void *c, unsigned at, const char *path, uint64_t off, int whence) {
    struct spot sp;
    uint64_t ino, pos;
    struct inode in;
    int r = find(c, at, path, &sp, &ino, &in);
    if (r || (r = ws_lseek(sp.w, ino, off, whence, &pos))) return r;
    return (int64_t)pos;
}

static int t_readlink(void *c, unsigned at, const char *path, char *out, size_t size) {
    struct spot sp;
    uint64_t ino;
    struct inode in;
    size_t len;
    int r = find(c, at, path, &sp, &ino, &in);
    if (r) return r;
    if (!S_ISLNK(in.mode)) return -EINVAL;
    r = ws_readlink(sp.w, ino, out, size, &len);
    return r ? r : (int)len;
}

/* --- extended attributes --- */

static int find_xattr(void *c, unsigned at, const char *path, const char *name, bool set, struct spot *sp, uint64_t *ret_ino) {
    struct inode in;
    int r = find(c, at, path, sp, ret_ino, &in);
    if (r) return r;
    if (!strncmp(name, "user.", 5) && !S_ISREG(in.mode) && !S_ISDIR(in.mode)) return set ? at >= PLACES_WS ? -EROFS : -EPERM : -ENODATA;
    return 0;
}

static int t_setxattr(void *c, unsigned at, const char *path, const char *name, const void *v, size_t n, int flags) {
    struct spot sp;
    uint64_t ino;
    int r = find_xattr(c, at, path, name, true, &sp, &ino);
    return r ? r : ws_setxattr(sp.w, ino, name, v, n, flags, false);
}

static int t_getxattr(void *c, unsigned at, const char *path, const char *name, void *out, size_t size) {
    struct spot sp;
    uint64_t ino;
    size_t len;
    int r = find_xattr(c, at, path, name, false, &sp, &ino);
    if (r || (r = ws_getxattr(sp.w, ino, name, out, size, &len))) return r;
    return (int)len;
}

static int t_listxattr(void *c, unsigned at, const char *path, char *out, size_t size) {
    struct spot sp;
    uint64_t ino;
    struct inode in;
    size_t len;
    int r = find(c, at, path, &sp, &ino, &in);
    if (r || (r = ws_listxattr(sp.w, ino, out, size, &len))) return r;
    return (int)len;
}

static int t_removexattr(void *c, unsigned at, const char *path, const char *name) {
    struct spot sp;
    uint64_t ino;
    int r = find_xattr(c, at, path, name, true, &sp, &ino);
    return r ? r : ws_removexattr(sp.w, ino, name);
}

/* --- directories: in steps, each going on after the last cookie --- */

struct page { readdir_fn *fn; void *arg; unsigned left; uint64_t cookie, got; int bad; struct workspace *w; bool plus; };

static int page_fn(void *arg, const struct ws_dirent *d, const struct inode *in) {
    struct page *p = arg;
    if (!p->left) return 1;
    p->left--;
    p->got++;
    if (d->cookie <= p->cookie || strlen(d->name) != d->name_len) p->bad = -EUCLEAN;   /* must ascend */
    if (p->plus && (!in || IFTODT(in->mode) != d->type)) p->bad = -EUCLEAN;
    p->cookie = d->cookie;
    int r = p->fn(p->arg, d->name, d->type);
    return r ? r : p->bad;
}

static int t_readdir(void *c, unsigned at, const char *path, unsigned step, readdir_fn *fn, void *arg) {
    struct spot sp;
    uint64_t ino;
    struct inode in;
    int r = find(c, at, path, &sp, &ino, &in);
    if (r) return r;
    if (S_ISLNK(in.mode)) return -ELOOP;
    if (!S_ISDIR(in.mode)) return -ENOTDIR;
    struct page p = { .fn = fn, .arg = arg, .w = sp.w, .plus = step % 2 };
    for (;;) {
        p.left = step ? step : 1000;
        p.got = 0;
        r = ws_readdir(sp.w, ino, p.cookie, p.plus, page_fn, &p);
        if (r < 0) return r;
        if (!p.got) return 0;
    }
}

/* --- handles: a kernel reference each --- */

static void hold(struct target_ws *t, unsigned h, unsigned at, struct workspace *w, uint64_t ino) {
    t->h[h].w = w;
    t->h[h].ino = ino;
    t->h[h].lookups = 1;
    t->h[h].at = at;
    t->h[h].linkable = false;
}

static int t_open(void *c, unsigned at, const char *path, unsigned h, uint32_t create) {
    struct target_ws *t = c;
    struct spot sp;
    uint64_t ino;
    struct inode in;
    if (t->h[h].w) return -EBADF;
    if (create) {
        int r = walk(c, at, path, &sp);
        if (r) return r;
        if (!sp.name[0]) return -EEXIST;
        r = ws_create(sp.w, sp.dir, sp.name, S_IFREG | (create & 07777), 0, NULL, &root_cred, 0, true, &ino, &in);
        if (!r) hold(t, h, at, sp.w, ino);
        return r;
    }
    int r = find(c, at, path, &sp, &ino, &in);
    if (r) return r;
    if (S_ISLNK(in.mode)) return -ELOOP;
    if (S_ISDIR(in.mode)) return -EISDIR;
    if (!S_ISREG(in.mode)) return -EINVAL;
    if (at >= PLACES_WS) return -EROFS;
    ws_nlookup_add(sp.w, ino, 1);
    hold(t, h, at, sp.w, ino);
    return 0;
}

static int t_tmpfile(void *c, unsigned at, const char *dir, unsigned h, uint32_t mode) {
    struct target_ws *t = c;
    struct spot sp;
    uint64_t ino;
    struct inode in;
    if (t->h[h].w) return -EBADF;
    int r = find(c, at, dir, &sp, &ino, &in);
    if (r) return r;
    if (S_ISLNK(in.mode)) return -ELOOP;
    if (!S_ISDIR(in.mode)) return -ENOTDIR;
    if (at >= PLACES_WS) return -EROFS;
    if ((r = ws_tmpfile(sp.w, ino, S_IFREG | mode, &root_cred, &ino, &in))) return r;
    hold(t, h, at, sp.w, ino);
    t->h[h].linkable = true;
    return 0;
}

static int t_close(void *c, unsigned h) {
    struct target_ws *t = c;
    if (!t->h[h].w) return -EBADF;
    let_go(t, h);
    return 0;
}

static int t_link_handle(void *c, unsigned h, const char *to) {
    struct target_ws *t = c;
    struct spot sp;
    uint64_t there;
    struct inode in;
    if (!t->h[h].w) return -EBADF;
    int r = walk(c, t->h[h].at, to, &sp);
    if (r) return r;
    r = lookup(&sp, &there, &in);
    if (!r) return -EEXIST;
    if (r != -ENOENT) return r;
    if ((r = ws_getattr(sp.w, t->h[h].ino, &in))) return r;
    if (!in.nlink && !t->h[h].linkable) return -ENOENT;
    r = ws_link(sp.w, t->h[h].ino, sp.dir, sp.name, &in);
    if (!r) t->h[h].linkable = false;
    return r;
}

static int t_fstat(void *c, unsigned h, struct st *ret) {
    struct target_ws *t = c;
    struct inode in;
    if (!t->h[h].w) return -EBADF;
    int r = ws_getattr(t->h[h].w, t->h[h].ino, &in);
    if (!r) fill(t->h[h].ino, &in, ret);
    return r;
}

static int t_pread(void *c, unsigned h, uint64_t off, size_t n, uint8_t *dst) {
    struct target_ws *t = c;
    size_t len;
    if (!t->h[h].w) return -EBADF;
    int r = ws_read(t->h[h].w, t->h[h].ino, off, n, dst, &len);
    return r ? r : (int)len;
}

static int t_pwrite(void *c, unsigned h, uint64_t off, const uint8_t *src, size_t n) {
    struct target_ws *t = c;
    if (!t->h[h].w) return -EBADF;
    if (!n) return 0;
    int r = ws_write(t->h[h].w, t->h[h].ino, off, src, n, false);
    return r ? r : (int)n;
}

static int t_append(void *c, unsigned h, const uint8_t *src, size_t n) {
    struct target_ws *t = c;
    struct inode in;
    if (!t->h[h].w) return -EBADF;
    int r = ws_getattr(t->h[h].w, t->h[h].ino, &in);
    if (r) return r;
    if (in.size > (uint64_t)INT64_MAX - n) return -EFBIG;
    return t_pwrite(c, h, in.size, src, n);
}

static int t_map_write(void *c, unsigned h, uint64_t off, const uint8_t *src, size_t n) {
    struct target_ws *t = c;
    struct inode in;
    if (!t->h[h].w) return -EBADF;
    int r = ws_getattr(t->h[h].w, t->h[h].ino, &in);
    if (r) return r;
    return n && off + n <= in.size ? t_pwrite(c, h, off, src, n) : -EINVAL;
}

static int t_ftruncate(void *c, unsigned h, uint64_t size) {
    struct target_ws *t = c;
    struct inode in = { .size = size }, out;
    return t->h[h].w ? ws_setattr(t->h[h].w, t->h[h].ino, WSA_SIZE, &in, &out) : -EBADF;
}

static int t_fallocate(void *c, unsigned h, int mode, uint64_t off, uint64_t len) {
    struct target_ws *t = c;
    if (!t->h[h].w) return -EBADF;
    return len ? ws_fallocate(t->h[h].w, t->h[h].ino, mode, off, len, 0) : -EINVAL;
}

static int t_copy(void *c, unsigned from, uint64_t from_off, unsigned to, uint64_t to_off, uint64_t len) {
    struct target_ws *t = c;
    struct inode in;
    uint64_t done = 0, n;
    if (!t->h[from].w || !t->h[to].w) return -EBADF;
    if (t->h[from].at != t->h[to].at) return -EXDEV;
    int r = ws_getattr(t->h[from].w, t->h[from].ino, &in);
    if (r) return r;
    len = from_off >= in.size ? 0 : in.size - from_off < len ? in.size - from_off : len;
    if (t->h[from].ino == t->h[to].ino && to_off + len > from_off && to_off < from_off + len) return -EINVAL;
    while (done < len) {
        if ((r = ws_copy(t->h[from].w, t->h[from].ino, from_off + done, t->h[to].ino, to_off + done, len - done, 0, &n))) return r;
        if (!n) break;
        done += n;
    }
    return (int)done;
}

static int64_t t_seek(void *c, unsigned h, uint64_t off, int whence) {
    struct target_ws *t = c;
    uint64_t pos;
    if (!t->h[h].w) return -EBADF;
    int r = ws_lseek(t->h[h].w, t->h[h].ino, off, whence, &pos);
    return r ? r : (int64_t)pos;
}

static int t_fsync(void *c, unsigned h) {
    struct target_ws *t = c;
    return t->h[h].w ? ws_fsync(t->h[h].w, t->h[h].ino, false) : -EBADF;
}

const struct fs_ops target_ws_ops = {
    .name = "ws", .caps = CAP_WORLD | CAP_BIG_XATTR | CAP_INO | CAP_BIG_FILE,
    .mk = t_mk, .link = t_link, .unlink = t_unlink, .rmdir = t_rmdir, .rename = t_rename, .stat = t_stat, .chmod = t_chmod, .chown = t_chown,
    .utimens = t_utimens, .truncate = t_truncate, .read = t_read, .data = t_data, .readlink = t_readlink, .setxattr = t_setxattr,
    .getxattr = t_getxattr, .listxattr = t_listxattr, .removexattr = t_removexattr, .readdir = t_readdir, .open = t_open,
    .tmpfile = t_tmpfile, .close = t_close, .link_handle = t_link_handle, .fstat = t_fstat, .pread = t_pread, .pwrite = t_pwrite,
    .append = t_append, .map_write = t_map_write, .ftruncate = t_ftruncate, .fallocate = t_fallocate, .copy = t_copy, .seek = t_seek,
    .fsync = t_fsync, .snapshot = t_snapshot, .fork = t_fork, .restore = t_restore, .drop = t_drop, .sync = t_sync, .care = t_care,
};
