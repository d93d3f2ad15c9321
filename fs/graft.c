/*
 * Restoring paths: what is to be done.
 *
 * The state of a path in the snapshot's tree is grafted into the live layer: keys are copied, file data is shared with the chunks of the tree.
 *   removed   names that go: the one at the path in the workspace, and all below it
 *   gone      their inodes; one that loses all its names is dead
 *   nodes     inodes of the snapshot at the paths and below them, each once however many names it has, and directories above them that are
 *             missing in the workspace (`partial`: only with the entries that lead to a path)
 *   made      the names of nodes
 *
 * A node keeps its number if nobody in the workspace has it, or if it is the same file and dead (then it is changed in place). Else the number is
 * another file, or the same file under a name that is not restored: the node gets a new one. So does a regular file whose size or time
 * changes and that the kernel knows: with the writeback cache it believes its own size and mtime of an inode whatever we say
 * (fuse_change_attributes_i, fs/fuse/inode.c). Who has the old one open goes on with it, as after a rename over it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "fs/restore_internal.h"
#include "fs/store.h"

int text_add(struct graft *g, const void *p, size_t n, struct text *ret)
{
    struct buf *b = &g->text.text;

    *ret = (struct text){ .off = b->len, .len = (uint32_t)n };
    buf_put(b, p, n);
    return buf_err(b);
}

int graft_init(struct graft *g, struct workspace *w, const struct addr *root)
{
    *g = (struct graft){ .w = w, .node_of = ino_map_new(), .gone_of = ino_map_new(), .parent_of = ino_map_new() };
    side_init(&g->snap, w->store->nodes, root);
    buf_put_u8(&g->text.text, 0);
    return g->node_of && g->gone_of && g->parent_of ? buf_err(&g->text.text) : -ENOMEM;
}

void graft_fini(struct graft *g)
{
    side_fini(&g->snap);
    buf_fini(&g->text.text);
    ino_map_free(g->node_of);
    ino_map_free(g->gone_of);
    ino_map_free(g->parent_of);
    free(g->made.v);
    free(g->removed.v);
    free(g->nodes.v);
    free(g->gone.v);
    free(g->parents.v);
    free(g->want.v);
    free(g->have.v);
    free(g->ops.v);
}

/* --- one path --- */

/* The node of an inode of the snapshot; partial counts only for a new one. */
static int node_get_for(struct graft *g, uint64_t src, bool partial, size_t *ret)
{
    uint64_t at;

    if (ino_map_get(g->node_of, src, &at)) {
        *ret = at;
        return 0;
    }
    struct gnode n = { .src = src, .partial = partial };
    int r = side_inode(&g->snap, src, &n.in);
    if (r <= 0)
        return r < 0 ? r : -EUCLEAN;
    struct gnode *to = LIST_ADD(&g->nodes);
    if (!to)
        return -ENOMEM;
    *to = n;
    *ret = g->nodes.count - 1;
    return ino_map_put(g->node_of, src, *ret);
}

static int parent_get(struct graft *g, uint64_t ino, struct parent **ret)
{
    uint64_t at;

    if (!ino_map_get(g->parent_of, ino, &at)) {
        struct parent p = { .ino = ino };
        int r = ws_get_inode(g->w, ino, &p.in);
        if (r < 0)
            return r;
        struct parent *to = LIST_ADD(&g->parents);
        if (!to)
            return -ENOMEM;
        *to = p;
        at = g->parents.count - 1;
        r = ino_map_put(g->parent_of, ino, at);
        if (r)
            return r;
    }
    *ret = &g->parents.v[at];
    return 0;
}

static int make_name(struct graft *g, struct ref dir, uint64_t cookie, const char *name, size_t len, size_t child)
{
    struct gnode *n = &g->nodes.v[child];
    struct parent *p;
    int r = 0;

    if (dir.node) {
        g->nodes.v[dir.n].entries++;
        g->nodes.v[dir.n].subdirs += inode_is_dir(&n->in);
    } else if (!(r = parent_get(g, dir.n, &p))) {
        p->entries++;
        p->subdirs += inode_is_dir(&n->in);
    }
    struct made *m = r ? NULL : LIST_ADD(&g->made);
    if (!m)
        return r ? r : -ENOMEM;
    *m = (struct made){ .dir = dir, .cookie = cookie, .child = child };
    /* The primary link is the one of the snapshot, if it is among those made. */
    uint64_t src_dir = dir.node ? g->nodes.v[dir.n].src : dir.n;
    if (n->names++ == 0 || (n->in.parent == src_dir && n->in.cookie == cookie))
        n->primary = g->made.count - 1;
    return text_add(g, name, len, &m->name);
}

static int remove_name(struct graft *g, const struct side_name *n, bool top)
{
    struct parent *p;
    uint64_t at;
    int r = 0;

    if (top && !(r = parent_get(g, n->dir, &p))) {
        p->entries--;
        p->subdirs -= n->type == DT_DIR;
    }
    struct removed *x = r ? NULL : LIST_ADD(&g->removed);
    if (!x)
        return r ? r : -ENOMEM;
    *x = (struct removed){ .dir = n->dir, .cookie = n->cookie, .ino = n->ino, .type = n->type, .top = top };
    r = text_add(g, n->name, n->len, &x->name);
    if (r)
        return r;
    if (!ino_map_get(g->gone_of, n->ino, &at)) {
        struct gone *to = LIST_ADD(&g->gone);
        if (!to)
            return -ENOMEM;
        *to = (struct gone){ .ino = n->ino };
        at = g->gone.count - 1;
        r = ws_get_inode(g->w, n->ino, &to->in);
        if (!r)
            r = ino_map_put(g->gone_of, n->ino, at);
        if (r)
            return r == -ENOENT ? -EUCLEAN : r;
    }
    struct gone *x2 = &g->gone.v[at];
    x2->names++;
    x2->dead = inode_is_dir(&x2->in) || x2->names >= x2->in.nlink;
    return 0;
}

struct lookup { const char *name; size_t len; struct side_name *ret; };

static int lookup_one(void *arg, const struct side_name *n)
{
    struct lookup *x = arg;

    if (n->len != x->len || memcmp(n->name, x->name, x->len))
        return 0;
    *x->ret = *n;
    return 1;
}

/* A name in a directory of the snapshot: 1, 0, negative. */
static int snap_lookup(struct graft *g, uint64_t dir, const char *name, size_t len, struct side_name *ret)
{
    struct lookup x = { name, len, ret };

    return side_same_hash(&g->snap, dir, name_cookie(name, len), lookup_one, &x);
}

/* One component of a path on its way down. dir: where it is in the workspace, or {0} nowhere; src: the directory in the snapshot or 0. */
struct walk { struct ref dir; uint64_t src; };

/* The inode of the whole path in the snapshot; 0 none. */
static int snap_resolve(struct graft *g, const char *path, uint64_t *ret)
{
    struct side_name n = { .ino = INO_ROOT, .type = DT_DIR };

    for (;;) {
        path += strspn(path, "/");
        size_t len = strcspn(path, "/");
        if (len == 0)
            break;
        int r = n.type == DT_DIR && len <= NAME_BYTES_MAX ? snap_lookup(g, n.ino, path, len, &n) : 0;
        if (r <= 0) {
            *ret = 0;
            return r;
        }
        path += len;
    }
    *ret = n.ino;
    return 0;
}

/* The last component. */
static int path_end(struct graft *g, struct walk at, const char *name, size_t len, bool wanted)
{
    struct side_name src, old = { .dir = at.dir.n, .len = (uint8_t)len };
    struct dirent_at have;
    uint64_t cookie = 0;
    size_t child;
    int r = wanted ? snap_lookup(g, at.src, name, len, &src) : 0;

    if (r < 0)
        return r;
    if (!at.dir.node) {
        r = dirent_find(g->w, at.dir.n, name, len, &have);
        if (r == 0) {
            old.cookie = cookie = have.cookie;
            old.ino = have.ino;
            old.type = have.type;
            memcpy(old.name, name, len);
            r = remove_name(g, &old, true);
        } else if (r == -ENOENT) {
            r = wanted ? dirent_free_cookie(g->w, at.dir.n, name, len, &cookie) : -ENOENT;
        }
        if (r < 0 || !wanted)
            return r;
    } else {
        cookie = src.cookie;
    }
    r = node_get_for(g, src.ino, false, &child);
    return r ? r : make_name(g, at.dir, cookie, name, len, child);
}

/* A component that others follow. 1 go on; 0 it is not there, nor wanted. */
static int path_step(struct graft *g, struct walk *at, const char *name, size_t len, bool wanted)
{
    struct side_name src = { 0 };
    struct dirent_at have;
    uint64_t cookie = 0, known;
    size_t child;
    int r = wanted ? snap_lookup(g, at->src, name, len, &src) : 0;

    if (r < 0)
        return r;
    if (!at->dir.node) {
        r = dirent_find(g->w, at->dir.n, name, len, &have);
        if (r == 0 && have.type == DT_DIR) {
            *at = (struct walk){ .dir = { .n = have.ino }, .src = src.ino };
            return 1;
        }
        if (r == 0)
            return wanted ? -ENOTDIR : 0;
        if (r != -ENOENT || !wanted)
            return r == -ENOENT ? 0 : r;
        r = dirent_free_cookie(g->w, at->dir.n, name, len, &cookie);
        if (r)
            return r;
    } else {
        cookie = src.cookie;
    }
    bool is_new = !ino_map_get(g->node_of, src.ino, &known);
    r = node_get_for(g, src.ino, true, &child);
    if (!r && is_new)
        r = make_name(g, at->dir, cookie, name, len, child);
    *at = (struct walk){ .dir = { .node = true, .n = child }, .src = src.ino };
    return r ? r : 1;
}

int graft_path(struct graft *g, const char *path)
{
    struct walk at = { .dir = { .n = INO_ROOT }, .src = INO_ROOT };
    uint64_t target;
    int r = snap_resolve(g, path, &target);

    while (!r) {
        path += strspn(path, "/");
        size_t len = strcspn(path, "/");
        const char *next = path + len + strspn(path + len, "/");
        if (len > NAME_BYTES_MAX)
            return -ENAMETOOLONG;
        if ((len == 1 && path[0] == '.') || (len == 2 && path[0] == '.' && path[1] == '.'))
            return -EINVAL;
        if (!*next)
            return path_end(g, at, path, len, target != 0);
        r = path_step(g, &at, path, len, target != 0);
        if (r <= 0)
            return r ? r : -ENOENT;
        r = 0;
        path = next;
    }
    return r;
}

/* --- all below --- */

struct spread { struct graft *g; size_t node; uint64_t dir; };

static int spread_made(void *arg, const struct side_name *n)
{
    struct spread *x = arg;
    size_t child;
    int r = node_get_for(x->g, n->ino, false, &child);

    return r ? r : make_name(x->g, (struct ref){ .node = true, .n = x->node }, n->cookie, n->name, n->len, child);
}

static int spread_removed(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    struct spread *x = arg;
    struct side_name n = { .dir = x->dir, .cookie = key_number(key), .len = (uint8_t)(key_len - 17) };

    if (val_len != 9 || key_len <= 17 || key_len > 17 + NAME_BYTES_MAX)
        return -EUCLEAN;
    n.ino = le64(val);
    n.type = val[8];
    memcpy(n.name, key + 17, n.len);
    return remove_name(x->g, &n, false);
}

int graft_spread(struct graft *g)
{
    int r = 0;

    for (size_t i = 0; !r && i < g->nodes.count; i++) {
        struct spread x = { .g = g, .node = i };
        if (inode_is_dir(&g->nodes.v[i].in) && !g->nodes.v[i].partial)
            r = side_entries(&g->snap, g->nodes.v[i].src, spread_made, &x);
    }
    for (size_t i = 0; !r && i < g->removed.count; i++) {
        struct spread x = { .g = g, .dir = g->removed.v[i].ino };
        struct key from = key_simple(x.dir, KEY_DIRENT), to = key_simple(x.dir, KEY_DIRENT + 1);
        if (g->removed.v[i].type == DT_DIR)
            r = ws_each(g->w, &from, &to, spread_removed, &x);
    }
    return r;
}

/* --- numbers --- */

static bool same_file(const struct inode *a, const struct inode *b)
{
    return (a->mode & S_IFMT) == (b->mode & S_IFMT) && a->btime.sec == b->btime.sec && a->btime.ns == b->btime.ns;
}

static bool same_to_kernel(const struct inode *a, const struct inode *b)
{
    return a->size == b->size && a->mtime.sec == b->mtime.sec && a->mtime.ns == b->mtime.ns;
}

/* 1 if the node can have its number, 0 if not. */
static int keeps_number(struct graft *g, struct gnode *n)
{
    struct inode have;
    uint64_t at;
    int r = ws_get_inode(g->w, n->src, &have);

    if (r)
        return r == -ENOENT ? 1 : r;
    if (!ino_map_get(g->gone_of, n->src, &at) || !g->gone.v[at].dead || !same_file(&have, &n->in))
        return 0;
    if (inode_is_reg(&have) && ws_is_known(g->w, n->src) && !same_to_kernel(&have, &n->in))
        return 0;
    g->gone.v[at].kept = true;
    return 1;
}

int graft_number(struct graft *g)
{
    g->next_ino = g->w->rec.next_ino;
    for (size_t i = 0; i < g->nodes.count; i++) {
        struct gnode *n = &g->nodes.v[i];
        int r = keeps_number(g, n);
        if (r < 0)
            return r;
        n->keep = r;
        if (n->keep && n->src < INO_IMPORT && n->src >= g->next_ino)
            g->next_ino = n->src + 1;
    }
    for (size_t i = 0; i < g->nodes.count; i++) {
        struct gnode *n = &g->nodes.v[i];
        if (!n->keep && g->next_ino >= INO_IMPORT)
            return -ENOSPC;
        n->dst = n->keep ? n->src : g->next_ino++;
    }
    return 0;
}
