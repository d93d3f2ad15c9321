/*
 * Merge: what is to be done.
 *
 * Three diffs: base to theirs, base to ours, ours to theirs. Each change of theirs is looked at in the base's names, then in ours: through the renames of both. If ours did not touch the
 * same thing the change is done to ours; if both did the same (the third diff does not name it) nothing is; else it is a conflict, but for
 *  - attributes of which each side changed others, or one side the content and the other an attribute: both are kept;
 *  - texts: merged by lines (merge_text.h).
 * A directory that one side renamed takes along what the other did below it. A directory that theirs deleted stays if ours has something new in it.
 *
 * Nothing is done before all is decided, but for what depends on what stands at a name (merge_do.c). All happens in a scratch fork, which is thrown away if a conflict is left; so
 * the target sees all of it or nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/linediff.h"
#include "fs/merge_internal.h"
#include "fs/store.h"

enum { ATTRS = DIFF_MODE | DIFF_OWNER | DIFF_XATTR };

int merge_tell(struct merge *m, enum merge_result result, const char *path, const char *old, const struct change *t)
{
    struct merge_item i = { .result = result, .source = m->source, .path = path, .old_path = old };

    i.has_base = t->ino_a != 0;
    i.base = t->a;
    i.has_theirs = t->ino_b != 0;
    i.theirs = t->b;
    return m->o->fn ? m->o->fn(m->o->arg, &i) : 0;
}

static enum merge_prefer choice(const struct merge *m, const char *path, const struct change *t)
{
    for (unsigned i = 0; i < m->o->pick_count; i++)
        if (!strcmp(m->o->picks[i].path, path) || !strcmp(m->o->picks[i].path, t->path))
            return m->o->picks[i].take;
    return m->o->prefer;
}

int merge_conflict(struct merge *m, const char *path, const char *ours_path, const char *why, const struct change *t, bool markers, enum merge_prefer *ret)
{
    struct merge_item i = { .result = MERGE_CONFLICT, .source = m->source, .path = path, .why = why, .has_base = t->ino_a != 0, .base = t->a,
                            .has_theirs = t->ino_b != 0, .theirs = t->b };
    uint64_t ino;

    i.chosen = *ret = choice(m, path, t);
    i.markers = markers && i.chosen == MERGE_NEITHER;
    i.has_ours = ours_path && !ws_path(m->ours, ours_path, &ino, &i.ours);
    m->told++;
    if (i.chosen == MERGE_NEITHER && !i.markers)
        m->conflicts++;
    return m->o->fn ? m->o->fn(m->o->arg, &i) : 0;
}

/* --- where things are --- */

enum placed { PLACE_GONE, PLACE_KNOWN, PLACE_NEW };

/* The directory that a path of theirs is in: ours has it (*ret: with the name, the path there), or had it and has not any more, or theirs made it. */
static int place(struct merge *m, const char *path, char **ret)
{
    char *dir = path_parent(path), *in_base = NULL, *above = NULL;
    int r = !dir ? -ENOMEM : !*dir ? 1 : changes_back(&m->t, dir, &in_base);

    if (r == 0)
        r = PLACE_NEW;
    else if (r > 0 && *dir)
        r = changes_forward(&m->m, in_base, &above);
    if (r == PLACE_KNOWN && !(*ret = path_join(above ? above : "", path_name(path))))
        r = -ENOMEM;
    free(dir);
    free(in_base);
    free(above);
    return r;
}

/* Does the diff have something below this directory that is not gone? */
static bool any_below(const struct changes *c, const char *dir)
{
    size_t lo = 0, hi = c->count, n = strlen(dir);

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(c->v[mid].path, dir) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    /* Others can stand between "a" and "a/...": "a-b". */
    for (; lo < c->count && !strncmp(c->v[lo].path, dir, n); lo++)
        if (c->v[lo].path[n] == '/' && c->v[lo].kind != DIFF_DELETED)
            return true;
    return false;
}

static int delete_add(struct merge *m, const char *path)
{
    char **to = LIST_ADD(&m->deletes);

    return to && (*to = mem_strdup(path)) ? 0 : -ENOMEM;
}

static int move_add(struct merge *m, const char *from, const struct change *t)
{
    struct relocation *x = LIST_ADD(&m->moves);

    if (!x)
        return -ENOMEM;
    *x = (struct relocation){ .from = mem_strdup(from), .t = t, .number = (unsigned)m->moves.count };
    return x->from ? 0 : -ENOMEM;
}

int merge_take(struct merge *m, const char *target, const struct change *t, unsigned keep, uint64_t ours_ino, bool in_place)
{
    struct take *x = LIST_ADD(&m->takes);

    if (!x)
        return -ENOMEM;
    *x = (struct take){ .target = mem_strdup(target), .t = t, .keep = keep, .ours_ino = ours_ino, .in_place = in_place };
    return x->target ? 0 : -ENOMEM;
}

static int attr_add(struct merge *m, const char *target, unsigned what, const struct change *t)
{
    struct attr_job *x = what & ATTRS ? LIST_ADD(&m->attrs) : NULL;

    if (!x)
        return what & ATTRS ? -ENOMEM : 0;
    *x = (struct attr_job){ .target = mem_strdup(target), .what = what & ATTRS, .t = t };
    return x->target ? 0 : -ENOMEM;
}

/* --- additions --- */

/* A name of the same file that theirs did not add, as it is in ours: the new one is to be a link to it. */
struct links { struct merge *m; char *found; };

static int other_name(void *arg, const struct side_name *n)
{
    struct links *x = arg;
    struct buf b = BUF_INIT;
    char *in_base = NULL;

    int r = side_path(&x->m->side, n->dir, n->name, n->len, &b);
    buf_put_u8(&b, 0);
    if (!r && !(r = buf_err(&b)) && !changes_at(&x->m->t, (char *)b.data, "AT")) {
        r = changes_back(&x->m->t, (char *)b.data, &in_base);
        if (r > 0)
            r = changes_forward(&x->m->m, in_base, &x->found);
    }
    free(in_base);
    buf_fini(&b);
    return r;                             /* 1: found */
}

/* target: NULL, or what it takes the place of. */
static int add_at(struct merge *m, const char *target, const struct change *t)
{
    struct links l = { .m = m };
    int r = !inode_is_dir(&t->b) && t->b.nlink > 1 ? side_links(&m->side, t->ino_b, &t->b, other_name, &l) : 0;
    struct take *x = r < 0 ? NULL : LIST_ADD(&m->adds);

    if (!x) {
        free(l.found);
        return r < 0 ? r : -ENOMEM;
    }
    *x = (struct take){ .target = target ? mem_strdup(target) : NULL, .link = l.found, .t = t };
    return x->target || !target ? 0 : -ENOMEM;
}

/* What ours has deleted, or the directory that it was in: theirs is made anew there, if that is chosen. */
static int against_deletion(struct merge *m, const struct change *t, const char *why)
{
    enum merge_prefer take;
    int r = merge_conflict(m, t->path, NULL, why, t, false, &take);

    if (r || take != MERGE_THEIRS)
        return r;
    if (t->kind == DIFF_RENAMED && inode_is_dir(&t->b)) {       /* what is in it has no changes of its own that would bring it */
        char **to = LIST_ADD(&m->whole);
        if (!to || !(*to = mem_strdup(t->path)))
            return -ENOMEM;
    }
    return add_at(m, NULL, t);
}

static int decide_added(struct merge *m, const struct change *t)
{
    char *target = NULL;
    int r = place(m, t->path, &target);

    r = r < 0 ? r : r != PLACE_GONE ? add_at(m, NULL, t) : against_deletion(m, t, "added there; its directory was deleted here");
    free(target);
    return r;
}

/* --- changes of what ours still has --- */

static const struct change *mine_at(const struct merge *m, const char *path)
{
    return changes_at(&m->m, path, "MRT");
}

static unsigned differs(const struct merge *m, const struct change *t)
{
    const struct change *x = changes_at(&m->x, t->path, "AMRT");

    return !x ? 0 : x->kind == DIFF_MODIFIED || x->kind == DIFF_RENAMED ? x->what : ~0u;
}

static int get_text(struct merge *m, struct view *v, uint64_t ino, const struct inode *in, struct buf *out)
{
    if (!inode_is_reg(in) || in->size > MERGE_TEXT_MAX)
        return 0;
    int r = view_file(m->s, v, ino, MERGE_TEXT_MAX, out);
    return r ? r : !linediff_is_binary(out->data, out->len);
}

/* Both changed the content: 1 it was merged, 0 it cannot be. ours: as it is in their view. */
static int decide_text(struct merge *m, const struct change *t, const struct change *mine, const char *path, size_t *ret_conflicts)
{
    struct buf text[3] = { BUF_INIT, BUF_INIT, BUF_INIT }, out = BUF_INIT;
    enum merge_prefer prefer = choice(m, path, t);
    int r = get_text(m, m->ours_view, mine->ino_b, &mine->b, &text[1]);

    if (r > 0)
        r = get_text(m, m->theirs_view, t->ino_b, &t->b, &text[2]);
    if (r > 0 && t->ino_a)
        r = get_text(m, m->base_view, t->ino_a, &t->a, &text[0]);
    if (r > 0)
        r = merge_text((struct merge_text){ text[0].data, text[0].len }, (struct merge_text){ text[1].data, text[1].len },
                       (struct merge_text){ text[2].data, text[2].len }, prefer, "ours", m->o->names ? m->o->names[m->source] : "theirs", &out, ret_conflicts);
    else if (!r)
        r = 1;                            /* not texts */
    for (int i = 0; i < 3; i++)
        buf_fini(&text[i]);
    if (!r && (!*ret_conflicts || prefer != MERGE_NEITHER || m->o->markers)) {
        struct text_job *x = LIST_ADD(&m->texts);
        if (x)
            *x = (struct text_job){ .target = mem_strdup(path) };
        if (x && x->target) {
            x->text = out;
            return 1;
        }
        r = -ENOMEM;
    }
    buf_fini(&out);
    return r < 0 ? r : 0;
}

/* Content that both changed differently. Sets *take_theirs if theirs is to go over ours. */
static int decide_content(struct merge *m, const struct change *t, const struct change *mine, const char *path, bool *take_theirs)
{
    enum merge_prefer take = MERGE_NEITHER;
    size_t lines = 0;
    int r = decide_text(m, t, mine, path, &lines);

    if (r < 0)
        return r;
    if (r > 0 && !lines)
        return merge_tell(m, MERGE_LINES, path, NULL, t);
    r = merge_conflict(m, path, path, lines ? "both changed the same lines" : "both changed the content", t, r > 0, &take);
    *take_theirs = !lines && take == MERGE_THEIRS;
    return r;
}

/* Attributes that both changed differently: those of theirs that are to go over ours. */
static int decide_attrs(struct merge *m, const struct change *t, const char *path, unsigned both, unsigned *io_from_theirs)
{
    enum merge_prefer take;
    unsigned clash = both & differs(m, t) & ATTRS;

    if (!clash)
        return 0;
    int r = merge_conflict(m, path, path, clash & DIFF_MODE ? "both changed the mode" : clash & DIFF_OWNER ? "both changed the owner" : "both changed extended attributes", t, false, &take);
    if (take == MERGE_THEIRS)
        *io_from_theirs |= clash;
    return r;
}

/* Both changed the same thing, at `path` in ours. */
static int decide_both(struct merge *m, const struct change *t, const struct change *mine, const char *path)
{
    unsigned theirs = t->what & ~mine->what, both = t->what & mine->what;
    bool over = false;
    int r = 0;

    if (both & DIFF_CONTENT && differs(m, t) & DIFF_CONTENT && !inode_is_dir(&t->b))
        r = decide_content(m, t, mine, path, &over);
    if (!r)
        r = decide_attrs(m, t, path, both, &theirs);
    if (r)
        return r;
    if (!(theirs & ~(unsigned)DIFF_MTIME) && !over)
        return 0;
    if (!over && !(theirs & DIFF_CONTENT))
        r = attr_add(m, path, theirs, t);
    else
        r = merge_take(m, path, t, mine->what & ~theirs & ATTRS, mine->ino_b, false);
    return r ? r : merge_tell(m, MERGE_CHANGED, path, NULL, t);
}

/* t changes what ours has at `path`. */
static int decide_change(struct merge *m, const struct change *t, const char *path)
{
    const struct change *mine = mine_at(m, path);
    enum merge_prefer take;

    if (mine && mine->kind == DIFF_TYPE) {
        if (!differs(m, t))
            return 0;
        int r = merge_conflict(m, path, path, "changed there; became something else here", t, false, &take);
        return r || take != MERGE_THEIRS ? r : merge_take(m, path, t, 0, 0, false);
    }
    if (mine && mine->what & t->what)
        return decide_both(m, t, mine, path);
    int r = inode_is_dir(&t->b) || !(t->what & DIFF_CONTENT) ? attr_add(m, path, t->what, t) : merge_take(m, path, t, mine ? mine->what & ATTRS : 0, mine ? mine->ino_b : 0, false);
    return r ? r : merge_tell(m, MERGE_CHANGED, path, NULL, t);
}

static int decide_deleted(struct merge *m, const struct change *t)
{
    enum merge_prefer take = MERGE_THEIRS;
    char *path = NULL;
    int r = changes_forward(&m->m, t->path, &path);

    if (r <= 0)
        return r;
    const struct change *mine = mine_at(m, path);
    bool dir = inode_is_dir(&t->a);
    r = 0;
    if (dir && any_below(&m->m, path))
        take = MERGE_OURS;                /* it stays, for what is new in it */
    else if (mine && !(dir && mine->kind == DIFF_MODIFIED))
        r = merge_conflict(m, path, path, mine->kind == DIFF_RENAMED && !mine->what ? "deleted there; renamed here" : "deleted there; changed here", t, false, &take);
    if (!r && take == MERGE_THEIRS)
        r = delete_add(m, path);
    if (!r && take == MERGE_THEIRS)
        r = merge_tell(m, MERGE_DELETED, path, NULL, t);
    free(path);
    return r;
}

/* Modified, or of another type now. */
static int decide_modified(struct merge *m, const struct change *t)
{
    enum merge_prefer take = MERGE_THEIRS;
    char *in_base = NULL, *path = NULL;
    int r = changes_back(&m->t, t->path, &in_base);

    if (r > 0)
        r = changes_forward(&m->m, in_base, &path);
    if (r == 0) {
        r = against_deletion(m, t, "changed there; deleted here");
    } else if (r > 0 && t->kind == DIFF_MODIFIED) {
        r = decide_change(m, t, path);
    } else if (r > 0) {
        const struct change *mine = mine_at(m, path);
        r = 0;
        if (mine && (mine->kind != DIFF_RENAMED || mine->what)) {
            take = differs(m, t) ? take : MERGE_OURS;
            if (take == MERGE_THEIRS)
                r = merge_conflict(m, path, path, "became something else there; changed here", t, false, &take);
        }
        if (!r && take == MERGE_THEIRS)
            r = delete_add(m, path);
        if (!r && take == MERGE_THEIRS)
            r = add_at(m, path, t);
    }
    free(in_base);
    free(path);
    return r;
}

/* path: where ours has it; target: where it goes, if that is known. */
static int decide_move(struct merge *m, const struct change *t, const char *path, const char *target)
{
    const struct change *mine = changes_at(&m->m, path, "R");
    enum merge_prefer take = MERGE_THEIRS;
    int r = 0;

    if (target && !strcmp(path, target))
        return 0;
    if (mine)
        r = merge_conflict(m, target ? target : t->path, path, "renamed there and here, to different names", t, false, &take);
    if (!r && take == MERGE_THEIRS)
        r = move_add(m, path, t);
    return r;
}

static int decide_renamed(struct merge *m, const struct change *t)
{
    char *path = NULL, *target = NULL;
    int r = changes_forward(&m->m, t->old, &path);

    if (r > 0)
        r = place(m, t->path, &target);
    if (r == PLACE_GONE)
        r = against_deletion(m, t, path ? "renamed there; the directory that it goes to was deleted here" : "renamed there; deleted here");
    else if (r > 0 && !(r = decide_move(m, t, path, target)) && t->what & ~(unsigned)DIFF_MTIME)
        r = decide_change(m, t, path);
    free(path);
    free(target);
    return r;
}

/* 1: ours has at this path just what theirs has. */
static int same_already(const struct merge *m, const struct change *t)
{
    char *ours = NULL;
    int r = t->kind == DIFF_DELETED || changes_at(&m->x, t->path, "AMRT") ? 0 : changes_back(&m->x, t->path, &ours);

    r = r <= 0 ? r : !strcmp(ours, t->path);
    free(ours);
    return r;
}

static int decide(struct merge *m, const struct change *t)
{
    for (size_t i = 0; i < m->whole.count; i++)
        if (t->kind != DIFF_DELETED && path_below(t->path, m->whole.v[i]))
            return 0;
    int r = same_already(m, t);
    if (r)
        return r < 0 ? r : 0;
    switch (t->kind) {
    case DIFF_ADDED: return decide_added(m, t);
    case DIFF_DELETED: return decide_deleted(m, t);
    case DIFF_RENAMED: return decide_renamed(m, t);
    default: return decide_modified(m, t);
    }
}

/* --- one source --- */

static void merge_fini(struct merge *m)
{
    for (size_t i = 0; i < m->deletes.count; i++)
        free(m->deletes.v[i]);
    for (size_t i = 0; i < m->whole.count; i++)
        free(m->whole.v[i]);
    free(m->whole.v);
    for (size_t i = 0; i < m->moves.count; i++) {
        free(m->moves.v[i].from);
        free(m->moves.v[i].to);
    }
    for (size_t i = 0; i < m->adds.count; i++) {
        free(m->adds.v[i].target);
        free(m->adds.v[i].link);
        free(m->adds.v[i].at);
    }
    for (size_t i = 0; i < m->takes.count; i++)
        free(m->takes.v[i].target);
    for (size_t i = 0; i < m->attrs.count; i++)
        free(m->attrs.v[i].target);
    for (size_t i = 0; i < m->texts.count; i++) {
        free(m->texts.v[i].target);
        buf_fini(&m->texts.v[i].text);
    }
    free(m->deletes.v);
    free(m->moves.v);
    free(m->adds.v);
    free(m->takes.v);
    free(m->attrs.v);
    free(m->texts.v);
    free(m->blocked);
    changes_fini(&m->t);
    changes_fini(&m->m);
    changes_fini(&m->x);
    side_fini(&m->side);
    workspace_unref(m->base);
    workspace_unref(m->ours);
    workspace_unref(m->theirs);
    view_unref(m->ours_view);
}

static int merge_open(struct merge *m)
{
    struct object now = { .ws = m->w->rec };
    struct addr root;
    int r = object_view(m->s, &now, &m->ours_view);

    if (!r)
        r = workspace_open_view(m->s, m->ours_view, &m->ours);
    if (!r)
        r = workspace_open_view(m->s, m->theirs_view, &m->theirs);
    if (!r)
        r = workspace_open_view(m->s, m->base_view, &m->base);
    if (!r)
        r = view_fold_now(m->s, m->theirs_view, &root);
    if (!r)
        side_init(&m->side, m->s->nodes, &root);
    if (!r)
        r = changes_make(m->s, m->base_view, m->theirs_view, &m->t);
    if (!r)
        r = changes_make(m->s, m->base_view, m->ours_view, &m->m);
    return r ? r : changes_make(m->s, m->ours_view, m->theirs_view, &m->x);
}

/* Errors of names: one was taken, or gone, or of another kind than the plan had it. */
static bool is_about_names(int r)
{
    return r == -ENOTDIR || r == -ENOENT || r == -EEXIST || r == -ENOTEMPTY || r == -EISDIR || r == -EINVAL;
}

/* Without conflicts the plan holds. With some decided one way, what was chosen for one may stand in the way of another: that is left to whoever asked. */
static int contradiction(struct merge *m)
{
    const struct merge_item i = { .result = MERGE_CONFLICT, .source = m->source, .path = "", .why = "what was taken for one conflict is in the way of another; decide them path by path" };

    m->conflicts++;
    return m->o->fn ? m->o->fn(m->o->arg, &i) : 0;
}

int merge_make(struct store *s, struct workspace *scratch, const struct merge_source *src, unsigned n, const struct merge_opts *o, uint64_t *ret_conflicts)
{
    uint64_t conflicts = 0;
    int r = 0;

    for (unsigned i = 0; !r && i < n; i++) {
        struct merge m = { .s = s, .w = scratch, .o = o, .source = i, .base_view = src[i].base, .theirs_view = src[i].theirs };
        r = merge_open(&m);
        for (size_t k = 0; !r && k < m.t.count; k++)
            r = decide(&m, &m.t.v[k]);
        if (!r && (r = merge_do(&m)) && m.told && is_about_names(r))
            r = contradiction(&m);
        conflicts += m.conflicts;
        merge_fini(&m);
    }
    if (!r)
        *ret_conflicts = conflicts;
    return r;
}

int merge_apply(struct store *s, struct workspace *w, struct view *from, struct view *to, uint64_t *ret_changed)
{
    char stands_on[ID_MAX];

    pthread_mutex_lock(&w->lock);
    memcpy(stands_on, w->rec.parent_snap, sizeof stands_on);
    pthread_mutex_unlock(&w->lock);
    return restore_live(s, w, from, to, stands_on, true, ret_changed);
}
