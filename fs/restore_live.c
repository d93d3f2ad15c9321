/* Whole restore of a mounted workspace.
 *
 * The kernel holds inodes of the state that goes: names, pages, and for regular files a size and times that it believes more than ours. So the state is not
 * exchanged under it; instead every path in which the states differ is restored as if it had been named (graft.c), which gives changed
 * files new numbers. Which paths: from the keys that differ, each changed name, and all names on both sides of each changed inode that is no
 * directory, so that hard links come out right; for the same reason all names of files with several below a directory that is restored whole.
 * Directories that stay get the attributes they had, times too.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/fuse_mount.h"
#include "fs/restore_internal.h"
#include "fs/store.h"
#include "fs/verbs.h"

struct live {
    struct side a, b;                     /* the state that goes, and the one that comes */
    struct { char **v; size_t count, cap; } paths;
    struct { uint64_t *v; size_t count, cap; } dirs;   /* numbers in b */
    struct ino_map *dirs_seen;
    uint64_t last;                        /* inode looked at last, as keys come in order */
};

static int path_keep(struct live *l, const struct buf *b)
{
    char **to = LIST_ADD(&l->paths);

    if (!to)
        return -ENOMEM;
    *to = mem_alloc(b->len + 1);
    if (!*to) {
        l->paths.count--;
        return -ENOMEM;
    }
    memcpy(*to, b->data, b->len);
    (*to)[b->len] = '\0';
    return 0;
}

/* A directory whose attributes are to be as they are in b, if it is there. */
static int dir_keep(struct live *l, uint64_t ino)
{
    struct inode in;
    uint64_t seen;
    int r = ino_map_get(l->dirs_seen, ino, &seen) ? 0 : side_inode(&l->b, ino, &in);

    if (r <= 0 || !inode_is_dir(&in))
        return r < 0 ? r : 0;
    uint64_t *to = LIST_ADD(&l->dirs);
    if (!to)
        return -ENOMEM;
    *to = ino;
    return ino_map_put(l->dirs_seen, ino, 1);
}

static int name_keep(struct live *l, struct side *s, uint64_t dir, const char *name, size_t len)
{
    struct buf b = BUF_INIT;
    int r = side_path(s, dir, name, len, &b);

    if (!r && !(r = buf_err(&b)))
        r = path_keep(l, &b);
    buf_fini(&b);
    return r ? r : dir_keep(l, dir);
}

struct link_arg { struct live *l; struct side *s; };

static int link_keep(void *arg, const struct side_name *n)
{
    struct link_arg *x = arg;

    return name_keep(x->l, x->s, n->dir, n->name, n->len);
}

/* An inode of which any key differs. */
static int inode_changed(struct live *l, uint64_t ino)
{
    struct side *sides[2] = { &l->a, &l->b };
    struct inode in;
    int r = dir_keep(l, ino);

    for (int i = 0; !r && i < 2; i++) {
        struct link_arg x = { l, sides[i] };
        r = side_inode(sides[i], ino, &in);
        if (r > 0)
            r = inode_is_dir(&in) ? 0 : side_links(sides[i], ino, &in, link_keep, &x);
    }
    return r;
}

static int key_changed(void *arg, const struct node_entry *a, const struct node_entry *b)
{
    struct live *l = arg;
    const struct node_entry *e = a ? a : b;
    int r = 0;

    if (key_ino(e->key) != l->last)
        r = inode_changed(l, l->last = key_ino(e->key));
    if (r || key_kind_of(e->key) != KEY_DIRENT)
        return r;
    const char *name = (const char *)e->key + 17;
    size_t len = e->key_len - 17u;
    r = a ? name_keep(l, &l->a, key_ino(e->key), name, len) : 0;
    return r || !b ? r : name_keep(l, &l->b, key_ino(e->key), name, len);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* 1 if a directory above the path is among the sorted paths: it is restored with all below it. */
static int is_covered(const struct live *l, const char *path)
{
    _cleanup_free_ char *above = mem_strdup(path);
    char *slash;

    if (!above)
        return -ENOMEM;
    while ((slash = strrchr(above, '/'))) {
        *slash = '\0';
        if (bsearch(&above, l->paths.v, l->paths.count, sizeof *l->paths.v, by_bytes))
            return 1;
    }
    return 0;
}

/* Sorts, and gives those to be restored; *ret_distinct: how many there are with those that are covered. */
static int paths_reduce(struct live *l, char **own, size_t *ret_count, uint64_t *ret_distinct)
{
    char **v = l->paths.v;
    size_t n = 0;
    int r = 0;

    *ret_distinct = 0;
    if (l->paths.count)
        qsort(v, l->paths.count, sizeof *v, by_bytes);
    for (size_t i = 0; r >= 0 && i < l->paths.count; i++) {
        if (i > 0 && !strcmp(v[i - 1], v[i]))
            continue;
        ++*ret_distinct;
        r = is_covered(l, v[i]);
        if (r == 0)
            own[n++] = v[i];
    }
    *ret_count = n;
    return r < 0 ? r : 0;
}

/* --- hard links into what is restored with a directory --- */

struct below { struct live *l; struct { uint64_t *v; size_t count, cap; } todo; };

static int entry_below(void *arg, const struct side_name *n)
{
    struct below *x = arg;
    struct link_arg b = { x->l, &x->l->b };
    struct inode in;

    if (n->type == DT_DIR) {
        uint64_t *to = LIST_ADD(&x->todo);
        if (!to)
            return -ENOMEM;
        *to = n->ino;
        return 0;
    }
    int r = side_inode(&x->l->b, n->ino, &in);
    return r <= 0 ? r : in.nlink > 1 ? side_links(&x->l->b, n->ino, &in, link_keep, &b) : 0;
}

static int links_below(struct live *l, struct workspace *old, const char *path)
{
    struct below x = { .l = l };
    struct inode in;
    uint64_t ino;
    int r = ws_path(old, path, &ino, &in);

    if (r < 0 || !inode_is_dir(&in))
        return r == -ENOENT || r == -ENOTDIR ? 0 : r;
    do {
        r = side_entries(&l->b, ino, entry_below, &x);
    } while (r == 0 && x.todo.count && (ino = x.todo.v[--x.todo.count]));
    free(x.todo.v);
    return r;
}

static void live_fini(struct live *l)
{
    for (size_t i = 0; i < l->paths.count; i++)
        free(l->paths.v[i]);
    free(l->paths.v);
    free(l->dirs.v);
    ino_map_free(l->dirs_seen);
    side_fini(&l->a);
    side_fini(&l->b);
}

/* --- directories --- */

enum { NAMES_SIZE = 64 * 1024 };

typedef int xattr_fn(struct workspace *w, uint64_t ino, const char *name, const uint8_t *val, size_t n);

/* Calls fn(w, to, name, value) for each attribute of an inode of `of`. */
static int each_xattr(struct workspace *of, uint64_t ino, xattr_fn *fn, struct workspace *w, uint64_t to)
{
    _cleanup_free_ char *names = mem_alloc(NAMES_SIZE);
    _cleanup_free_ uint8_t *val = mem_alloc(XATTR_VALUE_MAX);
    size_t len = 0, n;
    int r = names && val ? ws_listxattr(of, ino, names, NAMES_SIZE, &len) : -ENOMEM;

    for (const char *name = names; !r && name < names + len; name += strlen(name) + 1) {
        r = ws_getxattr(of, ino, name, val, XATTR_VALUE_MAX, &n);
        if (!r)
            r = fn(w, to, name, val, n);
    }
    return r;
}

static int xattr_set(struct workspace *w, uint64_t ino, const char *name, const uint8_t *val, size_t n)
{
    return ws_setxattr(w, ino, name, val, n, 0, false);
}

static int xattr_remove(struct workspace *w, uint64_t ino, const char *name, const uint8_t *val, size_t n)
{
    (void)val, (void)n;
    return ws_removexattr(w, ino, name);
}

int xattrs_copy(struct workspace *from, uint64_t src, struct workspace *to, uint64_t dst)
{
    int r = each_xattr(to, dst, xattr_remove, to, dst);

    return r ? r : each_xattr(from, src, xattr_set, to, dst);
}

/* One that is gone again meanwhile, or something else, is left alone. */
static int restore_dir(struct live *l, struct workspace *old, uint64_t src, struct workspace *w, uint64_t *ret_ino)
{
    unsigned valid = WSA_MODE | WSA_UID | WSA_GID | WSA_ATIME | WSA_MTIME | WSA_CTIME;
    struct buf path = BUF_INIT;
    struct inode in, have, out;
    struct side_name n;
    uint64_t ino = INO_ROOT;

    int r = side_inode(&l->b, src, &in);
    if (r > 0 && src != INO_ROOT && (r = side_name_at(&l->b, in.parent, in.cookie, &n)) > 0)
        r = side_path(&l->b, n.dir, n.name, n.len, &path) < 0 ? -EUCLEAN : 1;
    buf_put_u8(&path, 0);
    if (r > 0)
        r = buf_err(&path) ? -ENOMEM : ws_path(w, (char *)path.data, &ino, &have);
    buf_fini(&path);
    if (r == -ENOENT || r == -ENOTDIR || (r == 0 && !inode_is_dir(&have)))
        return 0;
    if (r)
        return r;
    ws_lock(w);
    ws_stale(w, ino, NULL, 0);
    ws_unlock(w);
    *ret_ino = ino;
    if ((have.flags | in.flags) & INODE_XATTRS)
        r = xattrs_copy(old, src, w, ino);
    return r ? r : ws_setattr(w, ino, valid, &in, &out);
}

struct told { const uint64_t *v; size_t count; };

static void tell_dirs(void *arg, struct mount *m)
{
    const struct told *t = arg;

    for (size_t i = 0; i < t->count; i++)
        if (t->v[i])
            mount_inval_inode(m, t->v[i]);
}

static int restore_dirs(struct live *l, struct workspace *w, struct workspace *old)
{
    uint64_t *inos = mem_zalloc((l->dirs.count + 1) * sizeof *inos);
    int r = inos ? 0 : -ENOMEM;

    ws_lock(w);
    ws_tell_begin(w);
    ws_unlock(w);
    for (size_t i = 0; !r && i < l->dirs.count; i++)
        r = restore_dir(l, old, l->dirs.v[i], w, &inos[i]);
    struct mount *m = inos && l->dirs.count ? mount_of(w) : NULL;
    if (m)
        mount_tell(m, tell_dirs, &(struct told){ inos, l->dirs.count });
    mount_put(m);
    ws_told(w);
    free(inos);
    return r;
}

static void stand_on(struct workspace *w, const char *snap_id)
{
    pthread_mutex_lock(&w->lock);
    memset(w->rec.parent_snap, 0, sizeof w->rec.parent_snap);
    memcpy(w->rec.parent_snap, snap_id, strlen(snap_id));
    w->rec_dirty = true;
    pthread_mutex_unlock(&w->lock);
}

/* What the paths led to before: owned, or NULL. */
static uint64_t *inodes_before(struct store *s, struct view *from, char *const *paths, size_t count)
{
    uint64_t *v = mem_zalloc((count + 1) * sizeof *v);
    struct workspace *w = NULL;
    struct inode in;
    int r = v ? workspace_open_view(s, from, &w) : -ENOMEM;

    for (size_t i = 0; !r && i < count; i++) {
        r = ws_path(w, paths[i], &v[i], &in);
        if (r == -ENOENT || r == -ENOTDIR) {
            v[i] = 0;
            r = 0;
        }
    }
    workspace_unref(w);
    if (r) {
        free(v);
        v = NULL;
    }
    return v;
}

/* from: NULL, or what was there before has to be still. */
static int restore_found(struct store *s, struct live *l, struct workspace *w, struct workspace *old, struct view *from, struct view *to, uint64_t *ret_changed)
{
    uint64_t *before = NULL;
    uint64_t inodes, distinct = 0;
    size_t count = 0;
    char **own = mem_alloc(l->paths.count * sizeof *own);

    int r = own ? paths_reduce(l, own, &count, ret_changed) : -ENOMEM;
    for (size_t i = 0; !r && i < count; i++)
        r = links_below(l, old, own[i]);
    free(own);
    own = r ? NULL : mem_alloc(l->paths.count * sizeof *own);
    if (!r)
        r = own ? paths_reduce(l, own, &count, &distinct) : -ENOMEM;
    if (!r)
        r = from && !(before = inodes_before(s, from, own, count)) ? -ENOMEM : restore_paths(s, w, to, (const char *const *)own, before, count, true, &inodes);
    if (!r)
        r = restore_dirs(l, w, old);
    free(before);
    free(own);
    return r;
}

int restore_live(struct store *s, struct workspace *w, struct view *from, struct view *to, const char *snap_id, bool unchanged, uint64_t *ret_changed)
{
    struct live l = { .dirs_seen = ino_map_new() };
    struct workspace *old = NULL;
    struct addr a, b;
    int r = l.dirs_seen ? view_fold_now(s, from, &a) : -ENOMEM;

    if (!r)
        r = view_fold_now(s, to, &b);
    if (!r)
        r = workspace_open_view(s, to, &old);
    if (r) {
        ino_map_free(l.dirs_seen);
        return r;
    }
    side_init(&l.a, s->nodes, &a);
    side_init(&l.b, s->nodes, &b);
    r = tree_diff(s->nodes, &a, &b, key_changed, &l);
    if (!r)
        r = restore_found(s, &l, w, old, unchanged ? from : NULL, to, ret_changed);
    if (!r) {
        stand_on(w, snap_id);
        r = workspace_commit(w);
    }
    workspace_unref(old);
    live_fini(&l);
    return r;
}
