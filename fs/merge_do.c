/*
 * Merge: doing it, in the scratch fork, in this order:
 * 1. names that go, deepest first; a directory that is not empty yet is tried again after 2;
 * 2. what is renamed is parked under names of our own, deepest first: so renames in a circle, and onto names that others leave, need no thought;
 * 3. what is renamed and what is new is put where it belongs, by path, so that directories come before what is in them. Only here it shows whether a name is taken;
 * 4. files of theirs go over ours: all that have one path in both in one graft (restore.c), which shares their data and keeps hard links; others are copied;
 * 5. attributes, merged texts, hard links, times of new directories.
 *
 * Paths are of ours before the renames of 2. now_at() says where they are after: what a renamed directory holds has moved with it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/merge_internal.h"
#include "fs/store.h"

enum { COPY_PIECE = 1 << 20 };
static const struct ws_cred root_cred = { 0 };

/* --- paths --- */

static int by_from(const void *a, const void *b)
{
    return strcmp(((const struct relocation *)a)->from, ((const struct relocation *)b)->from);
}

/* What has moved a path along: the longest prefix of it that was moved. *ret_len: of that. NULL: nothing. do_park() has sorted the moves before the first of them moves. */
static const struct relocation *moved_by(const struct merge *m, char *path, size_t *ret_len)
{
    for (*ret_len = strlen(path); *ret_len;) {
        const struct relocation key = { .from = path }, *x = m->moves.count ? bsearch(&key, m->moves.v, m->moves.count, sizeof key, by_from) : NULL;
        if (x && (x->state == MOVE_PARKED || x->state == MOVE_DONE))
            return x;
        char *slash = strrchr(path, '/');
        *ret_len = slash ? (size_t)(slash - path) : 0;
        path[*ret_len] = 0;
    }
    return NULL;
}

/* Where a path of ours is now: 0, *ret owned. */
static int now_at(const struct merge *m, const char *path, char **ret)
{
    _cleanup_free_ char *prefix = mem_strdup(path);
    char parked[128];
    size_t n;

    if (!prefix)
        return -ENOMEM;
    const struct relocation *x = moved_by(m, prefix, &n);
    const char *rest = path + n + (x && path[n] == '/'), *to = x ? x->to : "";
    if (x && x->state == MOVE_PARKED) {
        snprintf(parked, sizeof parked, "%s/%u", m->park, x->number);
        to = parked;
    }
    *ret = path_join(to, x ? rest : path);
    return *ret ? 0 : -ENOMEM;
}

/* Where a path of theirs belongs: by the directory that it is in, which ours has, perhaps elsewhere, or which is new as well. */
static int belongs_at(const struct merge *m, const char *path, char **ret)
{
    _cleanup_free_ char *dir = path_parent(path), *in_base = NULL, *ours = NULL, *above = NULL;
    int r = !dir ? -ENOMEM : !*dir ? 0 : changes_back(&m->t, dir, &in_base);

    if (r > 0)
        r = changes_forward(&m->m, in_base, &ours);
    if (r > 0)
        r = now_at(m, ours, &above);
    else if (r == 0 && dir && *dir)
        r = belongs_at(m, dir, &above);
    if (!r && !(*ret = path_join(above ? above : "", path_name(path))))
        r = -ENOMEM;
    return r;
}

/* Where something new goes. */
static int new_at(const struct merge *m, const struct take *x, char **ret)
{
    _cleanup_free_ char *dir = NULL, *above = NULL;

    if (!x->target)
        return belongs_at(m, x->t->path, ret);
    dir = path_parent(x->target);
    int r = dir ? now_at(m, dir, &above) : -ENOMEM;
    return r ? r : (*ret = path_join(above, path_name(x->target))) ? 0 : -ENOMEM;
}

/* The directory of a path, and whether something is there. -ENOENT, -ENOTDIR: no directory. */
static int find(struct workspace *w, const char *path, uint64_t *ret_dir, uint64_t *ret_ino, struct inode *ret)
{
    _cleanup_free_ char *dir = path_parent(path);
    struct inode in;
    int r = dir ? ws_path(w, dir, ret_dir, &in) : -ENOMEM;

    if (!r && !inode_is_dir(&in))
        r = -ENOTDIR;
    if (r)
        return r;
    r = ws_path(w, path, ret_ino, ret);
    if (r == -ENOENT) {
        *ret_ino = 0;
        r = 0;
    }
    return r;
}

static int make_parents(struct workspace *w, const char *path)
{
    _cleanup_free_ char *p = mem_strdup(path);
    uint64_t dir = INO_ROOT, ino;
    struct inode in;
    int r = p ? 0 : -ENOMEM;

    for (char *s = p; !r && (s = strchr(s, '/')); *s++ = '/') {
        *s = 0;
        r = ws_path(w, p, &ino, &in);
        if (r == -ENOENT)
            r = ws_create(w, dir, path_name(p), S_IFDIR | 0755, 0, NULL, &root_cred, 0, false, &ino, &in);
        dir = ino;
    }
    return r;
}

static int remove_all(struct workspace *w, uint64_t dir, const char *name);

struct first { char name[NAME_BYTES_MAX + 1]; };

static int first_name(void *arg, const struct ws_dirent *d, const struct inode *in)
{
    (void)in;
    memcpy(((struct first *)arg)->name, d->name, d->name_len + 1);
    return 1;
}

/* Depth is bounded by that of the tree; paths are at most PATH_MAX long in what programs make. */
static int remove_all(struct workspace *w, uint64_t dir, const char *name)
{
    struct inode in;
    uint64_t ino;
    int r = ws_lookup(w, dir, name, &ino, &in);

    if (r || !inode_is_dir(&in))
        return r ? r : ws_unlink(w, dir, name);
    for (;;) {
        struct first f = { 0 };
        r = ws_readdir(w, ino, 0, false, first_name, &f);
        if (r || !f.name[0])
            break;
        r = remove_all(w, ino, f.name);
        if (r)
            break;
    }
    return r ? r : ws_rmdir(w, dir, name);
}

/* --- 1, 2: what goes --- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int do_delete(struct merge *m, const char *path)
{
    _cleanup_free_ char *at = NULL;
    uint64_t dir, ino = 0;
    struct inode in;
    int r = now_at(m, path, &at);

    if (!r)
        r = find(m->w, at, &dir, &ino, &in);
    if (r == -ENOENT || r == -ENOTDIR || (!r && !ino))
        return 0;
    if (!r)
        r = inode_is_dir(&in) ? ws_rmdir(m->w, dir, path_name(at)) : ws_unlink(m->w, dir, path_name(at));
    return r == -ENOTEMPTY ? 0 : r;
}

static int do_deletes(struct merge *m)
{
    int r = 0;

    for (size_t i = m->deletes.count; !r && i-- > 0;)
        r = do_delete(m, m->deletes.v[i]);
    return r;
}

static int park_dir(struct merge *m, uint64_t *ret)
{
    struct inode in;
    int r = -EEXIST;

    for (unsigned i = 0; r == -EEXIST && i < 1000; i++) {
        snprintf(m->park, sizeof m->park, ".coppice-merge-%u", i);
        r = ws_create(m->w, INO_ROOT, m->park, S_IFDIR | 0700, 0, NULL, &root_cred, 0, false, ret, &in);
    }
    return r;
}

static int do_park(struct merge *m, uint64_t park)
{
    char name[16];
    int r = 0;

    qsort(m->moves.v, m->moves.count, sizeof *m->moves.v, by_from);
    for (size_t i = m->moves.count; !r && i-- > 0;) {
        struct relocation *x = &m->moves.v[i];
        uint64_t dir, ino = 0;
        struct inode in;
        r = find(m->w, x->from, &dir, &ino, &in);
        if (!r && !ino)
            r = -EUCLEAN;
        snprintf(name, sizeof name, "%u", x->number);
        if (!r)
            r = ws_rename(m->w, dir, path_name(x->from), park, name, 0);
        if (!r)
            x->state = MOVE_PARKED;
    }
    return r;
}

/* --- 3: what comes --- */

struct place { struct relocation *move; struct take *add; bool done; };

static const char *place_path(const struct place *p)
{
    return p->move ? p->move->t->path : p->add->t->path;
}

static int by_place(const void *a, const void *b)
{
    return strcmp(place_path(a), place_path(b));
}

static int copy_attrs(struct merge *m, uint64_t ino, struct workspace *from, uint64_t from_ino, const struct inode *in, unsigned what)
{
    unsigned valid = (what & DIFF_MODE ? WSA_MODE : 0) | (what & DIFF_OWNER ? WSA_UID | WSA_GID : 0) | (what & DIFF_MTIME ? WSA_MTIME : 0);
    struct inode out;
    int r = 0;

    if (what & DIFF_XATTR)
        r = xattrs_copy(from, from_ino, m->w, ino);
    return r || !valid ? r : ws_setattr(m->w, ino, valid, in, &out);
}

static int copy_data(struct merge *m, uint64_t from, uint64_t size, uint64_t to)
{
    _cleanup_free_ uint8_t *p = mem_alloc(COPY_PIECE);
    uint64_t at = 0;
    size_t n;
    int r = p ? 0 : -ENOMEM;

    while (!r && at < size) {
        r = ws_lseek(m->theirs, from, at, SEEK_DATA, &at);
        if (r)
            break;
        r = ws_read(m->theirs, from, at, COPY_PIECE, p, &n);
        if (!r && n)
            r = ws_write(m->w, to, at, p, n, false);
        at += n;
    }
    struct inode in = { .size = size }, out;
    return r && r != -ENXIO ? r : ws_setattr(m->w, to, WSA_SIZE, &in, &out);
}

/* Makes what theirs has: all but the content of a directory. */
static int copy_inode(struct merge *m, uint64_t dir, const char *name, uint64_t from, const struct inode *in, uint64_t *ret_ino)
{
    char target[SYMLINK_MAX + 1] = "";
    struct inode out;
    size_t n = 0;
    int r = S_ISLNK(in->mode) ? ws_readlink(m->theirs, from, target, sizeof target - 1, &n) : 0;

    target[n] = 0;
    if (!r)
        r = ws_create(m->w, dir, name, in->mode, in->rdev, S_ISLNK(in->mode) ? target : NULL, &root_cred, 0, false, ret_ino, &out);
    if (!r && inode_is_reg(in))
        r = copy_data(m, from, in->size, *ret_ino);
    return r ? r : copy_attrs(m, *ret_ino, m->theirs, from, in, DIFF_XATTR | DIFF_OWNER | DIFF_MTIME | (S_ISLNK(in->mode) ? 0 : DIFF_MODE));
}

static int copy_new(struct merge *m, uint64_t dir, const char *name, const struct change *t)
{
    uint64_t ino;

    return copy_inode(m, dir, name, t->ino_b, &t->b, &ino);
}

/* What is in a directory of theirs, into one of ours. */
struct copying { struct merge *m; uint64_t to; };

static int copy_entry(void *arg, const struct side_name *n)
{
    struct copying *x = arg;
    char name[NAME_BYTES_MAX + 1];
    struct inode in;
    uint64_t ino;
    int r = side_inode(&x->m->side, n->ino, &in);

    if (r <= 0)
        return r ? r : -EUCLEAN;
    memcpy(name, n->name, n->len);
    name[n->len] = 0;
    r = copy_inode(x->m, x->to, name, n->ino, &in, &ino);
    if (!r && inode_is_dir(&in)) {
        struct copying below = { x->m, ino };
        r = side_entries(&x->m->side, n->ino, copy_entry, &below);
        if (!r)
            r = copy_attrs(x->m, ino, x->m->theirs, n->ino, &in, DIFF_MTIME);
    }
    return r;
}

static int copy_below(struct merge *m, const char *at, const struct change *t)
{
    struct copying x = { .m = m };
    struct inode have;
    int r = ws_path(m->w, at, &x.to, &have);

    for (size_t i = 0; !r && i < m->whole.count; i++)
        if (!strcmp(m->whole.v[i], t->path))
            return side_entries(&m->side, t->ino_b, copy_entry, &x);
    return r;
}

static int blocked_set(struct merge *m, const char *path)
{
    free(m->blocked);
    m->blocked = mem_strdup(path);
    return m->blocked ? 0 : -ENOMEM;
}

/* A name of theirs that ours has too. *ret: theirs is to take its place. */
static int taken(struct merge *m, const char *at, const struct take *x, const struct inode *have, bool *ret)
{
    const struct change *d = changes_at(&m->x, x->t->path, "AMRT");
    enum merge_prefer take = MERGE_THEIRS;
    int r = 0;

    *ret = false;
    if (inode_is_dir(have) && inode_is_dir(&x->t->b))
        return 0;
    if (!strcmp(at, x->t->path) && (!d || (d->kind == DIFF_MODIFIED && !(d->what & ~(unsigned)DIFF_MTIME))))
        return 0;
    r = merge_conflict(m, at, at, "added on both sides, differently", x->t, false, &take);
    *ret = take == MERGE_THEIRS;
    return r || *ret || !inode_is_dir(&x->t->b) ? r : blocked_set(m, x->t->path);
}

static int do_add(struct merge *m, const char *at, struct take *x)
{
    uint64_t dir, ino = 0;
    struct inode have;
    bool over = true;

    if (m->blocked && path_below(x->t->path, m->blocked))
        return 0;
    int r = find(m->w, at, &dir, &ino, &have);
    if (r == -ENOENT && !(r = make_parents(m->w, at)))
        r = find(m->w, at, &dir, &ino, &have);
    if (r == -ENOTDIR) {
        enum merge_prefer take;
        r = merge_conflict(m, at, NULL, "added there, where a part of its path is no directory here", x->t, false, &take);
        return r ? r : blocked_set(m, x->t->path);
    }
    if (!r && ino)
        r = taken(m, at, x, &have, &over);
    if (r || !over)
        return r;
    if (ino)
        r = remove_all(m->w, dir, path_name(at));
    if (!r && inode_is_dir(&x->t->b))
        r = copy_new(m, dir, path_name(at), x->t) ?: copy_below(m, at, x->t);
    else if (!r && !x->link)
        r = merge_take(m, at, x->t, 0, 0, true);
    if (!r && m->told && !inode_is_dir(&x->t->b) && !x->link)      /* the name is taken from now on, by what is no directory */
        r = ws_create(m->w, dir, path_name(at), S_IFREG, 0, NULL, &root_cred, 0, false, &ino, &have);
    return r ? r : merge_tell(m, MERGE_ADDED, at, NULL, x->t);
}

/* To where ours had it; what took that name meanwhile goes. */
static int back_to(struct merge *m, uint64_t park, struct relocation *x)
{
    _cleanup_free_ char *dir = path_parent(x->from), *above = NULL, *at = NULL;
    uint64_t to, ino = 0;
    struct inode have;
    char name[16];

    int r = dir ? now_at(m, dir, &above) : -ENOMEM;
    if (!r && !(at = path_join(above, path_name(x->from))))
        r = -ENOMEM;
    if (!r)
        r = make_parents(m->w, at);
    if (!r)
        r = find(m->w, at, &to, &ino, &have);
    if (r == -EEXIST)
        r = -ENOTDIR;
    snprintf(name, sizeof name, "%u", x->number);
    if (!r && ino)
        r = remove_all(m->w, to, path_name(at));
    if (!r)
        r = ws_rename(m->w, park, name, to, path_name(at), 0);
    else if (r == -ENOTDIR && m->told)
        r = remove_all(m->w, park, name);     /* what it was in gave way to theirs */
    x->state = MOVE_BACK;
    return r;
}

static int do_move(struct merge *m, uint64_t park, const char *at, struct relocation *x)
{
    enum merge_prefer take = MERGE_THEIRS;
    uint64_t dir = 0, ino = 0;
    struct inode have;
    char name[16];

    snprintf(name, sizeof name, "%u", x->number);
    int r = find(m->w, at, &dir, &ino, &have);
    if (r == -ENOENT && !(r = make_parents(m->w, at)))
        r = find(m->w, at, &dir, &ino, &have);
    if (r == -ENOTDIR || (!r && ino)) {
        r = merge_conflict(m, at, at, "renamed there, to a name that is taken here", x->t, false, &take);
        if (!r && (take != MERGE_THEIRS || !ino))
            return back_to(m, park, x);
        if (!r)
            r = remove_all(m->w, dir, path_name(at));
    } else if (!r) {
        r = merge_tell(m, MERGE_RENAMED, at, x->from, x->t);
    }
    if (!r)
        r = ws_rename(m->w, park, name, dir, path_name(at), 0);
    if (!r && !(x->to = mem_strdup(at)))
        r = -ENOMEM;
    x->state = MOVE_DONE;
    return r;
}

static int put_back(struct merge *m, uint64_t park, struct relocation *x)
{
    enum merge_prefer take;
    int r = merge_conflict(m, x->t->path, x->from, "renamed there into what is renamed here into it", x->t, false, &take);

    return r ? r : back_to(m, park, x);
}

/* What can be put where it belongs is; *ret: something was. What belongs below something that is still parked waits. */
static int do_round(struct merge *m, uint64_t park, struct place *v, size_t n, bool *ret)
{
    int r = 0;

    *ret = false;
    for (size_t i = 0; !r && i < n; i++) {
        _cleanup_free_ char *at = NULL;
        if (v[i].done)
            continue;
        r = v[i].move ? belongs_at(m, v[i].move->t->path, &at) : new_at(m, v[i].add, &at);
        if (r || (m->moves.count && path_below(at, m->park)))
            continue;
        v[i].done = *ret = true;
        if (v[i].add && !(v[i].add->at = mem_strdup(at)))
            r = -ENOMEM;
        if (!r)
            r = v[i].move ? do_move(m, park, at, v[i].move) : do_add(m, at, v[i].add);
    }
    return r;
}

/* In rounds, by theirs' paths: so mostly one is enough. A circle, of renames of both sides into each other, is broken by putting back the one that is highest in ours. */
static int do_places(struct merge *m, uint64_t park)
{
    size_t n = m->moves.count + m->adds.count;
    struct place *v = mem_zalloc((n + 1) * sizeof *v);
    bool some = true;
    int r = v ? 0 : -ENOMEM;

    for (size_t i = 0; !r && i < n; i++)
        v[i] = i < m->moves.count ? (struct place){ .move = &m->moves.v[i] } : (struct place){ .add = &m->adds.v[i - m->moves.count] };
    if (!r && n)
        qsort(v, n, sizeof *v, by_place);
    while (!r && some) {
        r = do_round(m, park, v, n, &some);
        for (size_t i = 0; !r && !some && i < m->moves.count; i++)      /* sorted by `from` */
            if (m->moves.v[i].state == MOVE_PARKED) {
                r = put_back(m, park, &m->moves.v[i]);
                for (size_t k = 0; k < n; k++)
                    v[k].done |= v[k].move == &m->moves.v[i];
                some = true;
            }
    }
    free(v);
    return r;
}

/* --- 4, 5 --- */

static int keep_ours(struct merge *m, const char *at, const struct take *x)
{
    struct inode have, ours;
    uint64_t ino;
    int r = x->keep ? ws_path(m->w, at, &ino, &have) : 0;

    if (!r && x->keep)
        r = ws_getattr(m->ours, x->ours_ino, &ours);
    return r || !x->keep ? r : copy_attrs(m, ino, m->ours, x->ours_ino, &ours, x->keep);
}

static int do_copy(struct merge *m, const char *at, const struct take *x)
{
    uint64_t dir, ino = 0;
    struct inode have;
    int r = find(m->w, at, &dir, &ino, &have);

    if (!r && ino)
        r = remove_all(m->w, dir, path_name(at));
    return r ? r : copy_new(m, dir, path_name(at), x->t);
}

/* Where something of ours is now, and its number; NULL: nowhere, as it gave way when a conflict was decided. */
static int still_at(struct merge *m, const char *path, char **ret, uint64_t *ret_ino, struct inode *ret_in)
{
    uint64_t ours;
    int r = ws_path(m->ours, path, &ours, ret_in);

    if (!r)
        r = now_at(m, path, ret);
    if (!r)
        r = ws_path(m->w, *ret, ret_ino, ret_in);
    if (!r && *ret_ino != ours)
        r = -ENOENT;
    if ((r == -ENOENT || r == -ENOTDIR) && m->told) {
        free(*ret);
        *ret = NULL;
        r = 0;
    }
    return r;
}

static int take_at(struct merge *m, const struct take *x, char **ret)
{
    uint64_t dir, ino;
    struct inode have;

    if (!x->in_place)
        return still_at(m, x->target, ret, &ino, &have);
    int r = find(m->w, x->target, &dir, &ino, &have);
    if ((r == -ENOENT || r == -ENOTDIR) && m->told)
        return 0;                         /* its directory gave way */
    return r ? r : (*ret = mem_strdup(x->target)) ? 0 : -ENOMEM;
}

static int do_takes(struct merge *m)
{
    const char **graft = mem_alloc((m->takes.count + 1) * sizeof *graft);
    char **at = mem_zalloc((m->takes.count + 1) * sizeof *at);
    uint64_t changed;
    size_t n = 0;
    int r = graft && at ? 0 : -ENOMEM;

    for (size_t i = 0; !r && i < m->takes.count; i++) {
        r = take_at(m, &m->takes.v[i], &at[i]);
        if (!r && at[i] && !strcmp(at[i], m->takes.v[i].t->path))
            graft[n++] = at[i];
    }
    if (!r && n)
        r = restore_paths(m->s, m->w, m->theirs_view, graft, NULL, n, false, &changed);
    for (size_t i = 0; !r && i < m->takes.count; i++)
        if (at[i] && strcmp(at[i], m->takes.v[i].t->path))
            r = do_copy(m, at[i], &m->takes.v[i]);
    for (size_t i = 0; !r && i < m->takes.count; i++)
        r = at[i] ? keep_ours(m, at[i], &m->takes.v[i]) : 0;
    for (size_t i = 0; at && i < m->takes.count; i++)
        free(at[i]);
    free(at);
    free(graft);
    return r;
}

static int do_attr(struct merge *m, const struct attr_job *x)
{
    _cleanup_free_ char *at = NULL;
    struct inode have;
    uint64_t ino;
    int r = still_at(m, x->target, &at, &ino, &have);

    return r || !at ? r : copy_attrs(m, ino, m->theirs, x->t->ino_b, &x->t->b, x->what);
}

static int do_text(struct merge *m, const struct text_job *x)
{
    _cleanup_free_ char *at = NULL;
    struct inode have, empty = { 0 };
    uint64_t ino;
    int r = still_at(m, x->target, &at, &ino, &have);

    if (!r && !at)
        return 0;
    if (!r)
        r = ws_setattr(m->w, ino, WSA_SIZE, &empty, &have);
    for (size_t done = 0; !r && done < x->text.len; done += COPY_PIECE)
        r = ws_write(m->w, ino, done, x->text.data + done, x->text.len - done < COPY_PIECE ? x->text.len - done : COPY_PIECE, false);
    return r;
}

/* Another name of a file that ours has; if that is not there any more, or is a directory, a copy. */
static int do_link(struct merge *m, const struct take *x)
{
    _cleanup_free_ char *of = NULL;
    uint64_t dir, ino = 0, from;
    struct inode have, in;

    if (m->blocked && path_below(x->t->path, m->blocked))
        return 0;
    int r = now_at(m, x->link, &of);
    if (!r)
        r = find(m->w, x->at, &dir, &ino, &have);
    if (r || ino)
        return r == -ENOENT || r == -ENOTDIR ? 0 : r;      /* a conflict, which was told */
    r = ws_path(m->w, of, &from, &in);
    if (!r && !inode_is_dir(&in))
        return ws_link(m->w, from, dir, path_name(x->at), &in);
    return r && r != -ENOENT && r != -ENOTDIR ? r : copy_new(m, dir, path_name(x->at), x->t);
}

/* New directories have the times that they have in theirs; what was put into them came after. */
static int do_dir_times(struct merge *m)
{
    int r = 0;

    for (size_t i = 0; !r && i < m->adds.count; i++) {
        const struct take *x = &m->adds.v[i];
        struct inode have;
        uint64_t ino;
        if (inode_is_dir(&x->t->b) && !ws_path(m->w, x->at, &ino, &have) && inode_is_dir(&have))
            r = copy_attrs(m, ino, m->theirs, x->t->ino_b, &x->t->b, DIFF_MTIME);
    }
    return r;
}

int merge_do(struct merge *m)
{
    uint64_t park = 0;

    if (m->deletes.count)
        qsort(m->deletes.v, m->deletes.count, sizeof *m->deletes.v, by_text);
    int r = do_deletes(m);
    if (!r && m->moves.count && !(r = park_dir(m, &park)))
        r = do_park(m, park);
    if (!r && m->moves.count)
        r = do_deletes(m);                /* directories that held what is parked now */
    if (!r)
        r = do_places(m, park);
    if (!r)
        r = do_takes(m);
    for (size_t i = 0; !r && i < m->attrs.count; i++)
        r = do_attr(m, &m->attrs.v[i]);
    for (size_t i = 0; !r && i < m->texts.count; i++)
        r = do_text(m, &m->texts.v[i]);
    for (size_t i = 0; !r && i < m->adds.count; i++)
        if (m->adds.v[i].link)
            r = do_link(m, &m->adds.v[i]);
    if (!r)
        r = do_dir_times(m);
    return r || !m->moves.count ? r : ws_rmdir(m->w, INO_ROOT, m->park);
}
