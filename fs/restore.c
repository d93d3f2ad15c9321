/*
 * Restore.
 *
 * Whole, not mounted: the state before is frozen and kept as an unnamed snapshot; then the snapshot's view takes its place.
 * Whole, mounted: the same snapshot; then the paths in which the two states differ are restored (restore_live.c). What programs change meanwhile
 * elsewhere stays, as if done after.
 *
 * Paths: graft.c. Found and done in one hold of the gate and the workspace's lock: all or nothing, and no program sees a part of it. The kernel is
 * told after, with no lock held and the mount not held: a notification may wait for a request that is under way.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "fs/fuse_mount.h"
#include "fs/restore_internal.h"
#include "fs/store.h"
#include "fs/verbs_internal.h"

struct tell { const struct stales *l; const struct buf *text; uint8_t *unknown; };      /* unknown: by index, or NULL */

static void tell_all(void *arg, struct mount *m)
{
    const struct tell *t = arg;

    for (size_t i = 0; i < t->l->count; i++) {
        const struct stale *x = &t->l->v[i];
        if (x->name.len)
            mount_inval_entry(m, x->ino, (const char *)t->text->data + x->name.off, x->name.len);
        else if (mount_inval_inode(m, x->ino) == -ENOENT && t->unknown)
            t->unknown[i] = 1;
    }
}

/* What was removed need not be kept for a kernel that has never heard of it. */
static void forget_unknown(struct workspace *w, const struct tell *t)
{
    for (size_t i = 0; t->unknown && i < t->l->count; i++)
        if (t->unknown[i])
            ws_unknown(w, t->l->v[i].ino);
}

/* What was noted by ws_stale is told. */
static void tell_kernel(struct workspace *w, const struct stales *l, const struct buf *text)
{
    struct mount *m = l->count ? mount_of(w) : NULL;
    struct tell t = { l, text, m ? mem_zalloc(l->count) : NULL };

    if (m) {
        mount_tell(m, tell_all, &t);
        forget_unknown(w, &t);
    }
    free(t.unknown);
    mount_put(m);
    ws_told(w);
}

static void note_stales(struct workspace *w, const struct stales *l, const struct buf *text)
{
    for (size_t i = 0; i < l->count; i++)
        ws_stale(w, l->v[i].ino, (const char *)text->data + l->v[i].name.off, l->v[i].name.len);
}

static uint64_t inodes_in(const struct stales *l)
{
    uint64_t n = 0;

    for (size_t i = 0; i < l->count; i++)
        n += l->v[i].name.len == 0;
    return n;
}

/* --- whole --- */

static int count_change(void *arg, const struct diff_entry *e)
{
    (void)e;
    ++*(uint64_t *)arg;
    return 0;
}

/* A state may be another workspace's, and larger than this one's quota. What is not larger than what is there is let through. */
static int whole_fits(struct store *s, struct workspace *w, struct view *v)
{
    pthread_rwlock_rdlock(&s->view_lock);
    struct base_rec to = v->rec;
    pthread_rwlock_unlock(&s->view_lock);
    pthread_mutex_lock(&w->lock);
    const struct ws_rec *rec = &w->rec;
    bool over = (rec->quota_bytes && to.units > rec->quota_bytes / UNIT && to.units > rec->units) || (rec->quota_inodes && to.inodes > rec->quota_inodes && to.inodes > rec->inodes);
    pthread_mutex_unlock(&w->lock);
    return over ? -EDQUOT : 0;
}

static int restore_whole(struct store *s, struct workspace *w, struct view *v, const struct snap_rec *to, struct restore_report *rep)
{
    struct snapshot_args a = { .cause = SNAP_RESTORE, .message = "before restore" };
    struct snap_rec *before = mem_alloc(sizeof *before);
    struct diff_opts times = { .times = true };
    struct view *old = NULL;
    struct mount *m = mount_of(w);
    int r = before ? whole_fits(s, w, v) : -ENOMEM;

    if (!r)
        r = verb_snapshot(s, w, &a, before, NULL);

    if (!r) {
        memcpy(rep->before, before->id, sizeof rep->before);
        r = snap_view(s, before, &old);
    }
    if (!r && m)
        r = restore_live(s, w, old, v, to->id, false, &rep->changed);
    else if (!r && !(r = verb_diff(s, old, v, &times, count_change, &rep->changed)))
        r = workspace_replace(w, v, to->id);
    mount_put(m);
    view_unref(old);
    free(before);
    return r;
}

/* --- paths --- */

static bool is_root(const char *path)
{
    path += strspn(path, "/");
    return !*path || (path[0] == '.' && !path[1 + strspn(path + 1, "/")]);
}

/* `path` is `of` or below it: by components, however the slashes. */
static bool is_below(const char *path, const char *of)
{
    for (;;) {
        path += strspn(path, "/");
        of += strspn(of, "/");
        size_t n = strcspn(of, "/");
        if (n == 0)
            return true;
        if (strcspn(path, "/") != n || memcmp(path, of, n))
            return false;
        path += n;
        of += n;
    }
}

static bool is_covered(const char *const *paths, unsigned count, unsigned i)
{
    for (unsigned k = 0; k < count; k++) {
        if (k != i && is_below(paths[i], paths[k]) && (k < i || !is_below(paths[k], paths[i])))
            return true;
    }
    return false;
}

/* Does the path lead to this inode (0: to none)? The workspace's locks are held. */
static bool path_is(struct workspace *w, const char *path, uint64_t ino)
{
    struct dirent_at at = { .ino = INO_ROOT, .type = DT_DIR };

    for (;;) {
        path += strspn(path, "/");
        size_t n = strcspn(path, "/");
        if (!n)
            return at.ino == ino;
        int r = at.type == DT_DIR ? dirent_find(w, at.ino, path, n, &at) : -ENOENT;
        if (r)
            return r == -ENOENT && !ino;
        path += n;
    }
}

/* Has the live layer anything of the inodes that lose a name? */
static bool any_in_live(const struct graft *g)
{
    for (size_t i = 0; i < g->gone.count; i++) {
        struct key k = key_simple(g->gone.v[i].ino, KEY_INODE);
        struct map_iter it;
        const struct map_entry *e = map_seek(g->w->live->map, &it, k.b, k.len);
        if (e && key_ino(e->key) == g->gone.v[i].ino)
            return true;
    }
    return false;
}

/* The gate and the workspace's locks are held. */
static int graft_locked(struct graft *g, const char *const *paths, const uint64_t *expected, size_t count, bool may_miss, struct stales *stales)
{
    int r = g->w->broken ? -EROFS : 0;

    for (size_t i = 0; expected && !r && i < count; i++)
        r = path_is(g->w, paths[i], expected[i]) ? 0 : -EAGAIN;

    for (size_t i = 0; !r && i < count; i++) {
        r = graft_path(g, paths[i]);
        if (r == -ENOENT && may_miss)
            r = 0;
    }
    if (!r)
        r = graft_spread(g);
    if (!r && expected && any_in_live(g))
        r = -EAGAIN;
    if (!r)
        r = graft_number(g);
    if (!r)
        r = graft_keys(g);
    if (!r)
        r = graft_stales(g, stales);
    if (!r)
        r = graft_apply(g);
    for (size_t i = 0; !r && i < count; i++)
        feed_replaced(g->w, paths[i]);
    return r;
}

int restore_paths(struct store *s, struct workspace *w, struct view *v, const char *const *paths, const uint64_t *expected, size_t count, bool may_miss,
                  uint64_t *ret_changed)
{
    struct stales stales = { 0 };
    struct graft g;
    struct addr root;
    int r = view_fold_now(s, v, &root);

    if (r)
        return r;
    r = graft_init(&g, w, &root);
    if (!r) {
        pthread_rwlock_wrlock(&w->gate);
        ws_lock(w);
        ws_tell_begin(w);
        r = graft_locked(&g, paths, expected, count, may_miss, &stales);
        if (!r)
            note_stales(w, &stales, &g.text.text);
        ws_unlock(w);
        pthread_rwlock_unlock(&w->gate);
        if (r)
            ws_told(w);
    }
    if (!r) {                             /* told first: what is done again after a kill changes nothing, so nothing would be told */
        tell_kernel(w, &stales, &g.text.text);
        r = workspace_commit(w);
        *ret_changed = inodes_in(&stales);
    }
    free(stales.v);
    graft_fini(&g);
    return r;
}

/* Without those that another of them covers. */
static int restore_given(struct store *s, struct workspace *w, struct view *v, const char *const *paths, unsigned count, struct restore_report *rep)
{
    const char **own = mem_alloc(count * sizeof *own);
    size_t n = 0;

    if (!own)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++)
        if (!is_covered(paths, count, i))
            own[n++] = paths[i];
    int r = restore_paths(s, w, v, own, NULL, n, false, &rep->changed);
    free(own);
    return r;
}

int verb_restore(struct store *s, struct workspace *w, const struct snap_rec *to, const char *const *paths, unsigned path_count, struct restore_report *ret)
{
    struct restore_report rep = { 0 };
    bool whole = path_count == 0;
    struct view *v;

    if (w->readonly)
        return -EROFS;
    for (unsigned i = 0; i < path_count; i++)
        whole = whole || is_root(paths[i]);
    int r = snap_view(s, to, &v);
    if (r)
        return r;
    r = whole ? restore_whole(s, w, v, to, &rep) : restore_given(s, w, v, paths, path_count, &rep);
    view_unref(v);
    if (!r) {
        ws_lock(w);
        feed_mark(w, FEED_RESTORE, to->id, to->name, 0);
        ws_unlock(w);
    }
    if (!r && ret)
        *ret = rep;
    return r;
}
