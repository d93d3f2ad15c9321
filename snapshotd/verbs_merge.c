/* The verb merge. States are fixed first: the target's ("before merge"), and each source's, as snapshots, so that lineage knows what was merged. The merge is made in a scratch fork, which is
 * labelled as an import, so that a crash leaves nothing of it. Then the target is made what the fork is, unless it was changed meanwhile where the merge changes it: then all is done
 * anew. Last comes the target's new snapshot, with all parents. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fs/merge.h"
#include "fs/store.h"
#include "fs/verbs_internal.h"
#include "fs/view.h"
#include "fs/workspace.h"
#include "snapshotd/call.h"

DEFINE_CLEANUP(struct workspace *, workspace_unref)
DEFINE_CLEANUP(struct view *, view_unref)

enum { TRIES = 5, PICKS_MAX = 4096 };

struct source { const char *name; struct snap_rec at, base; struct view *view, *base_view; };
struct merging {
    struct call *c;
    const char *into;
    struct object target;
    const char *base;                     /* as given, or NULL */
    struct source v[MERGED_MAX];
    const char *names[MERGED_MAX];
    unsigned n;
    bool dry_run, markers;
    struct merge_opts opts;
    struct merge_pick *picks;
    json_t *entries;
    uint64_t conflicts, changes;
};

static void merging_fini(struct merging *m)
{
    for (unsigned i = 0; i < m->n; i++) {
        view_unref(m->v[i].view);
        view_unref(m->v[i].base_view);
    }
    free(m->picks);
    json_decref(m->entries);
}

/* --- the report --- */

static json_t *side_json(bool there, const struct inode *in)
{
    return there ? json_pack("{s:I,s:I,s:I,s:I}", "mode", (json_int_t)in->mode, "uid", (json_int_t)in->uid, "gid", (json_int_t)in->gid, "size", (json_int_t)in->size) : json_null();
}

static int report(void *arg, const struct merge_item *i)
{
    static const char *const takes[] = { "neither", "ours", "theirs" };
    struct merging *m = arg;
    char kind[2] = { (char)i->result, 0 };

    json_t *j = json_pack("{s:s,s:o,s:s,s:o,s:o}", "result", kind, "path", snap_bytes(i->path, strlen(i->path)), "source", m->v[i->source].name,
                          "base", side_json(i->has_base, &i->base), "theirs", side_json(i->has_theirs, &i->theirs));
    if (i->old_path)
        json_object_set_new(j, "old_path", snap_bytes(i->old_path, strlen(i->old_path)));
    if (i->result == MERGE_CONFLICT) {
        json_object_set_new(j, "why", json_string(i->why));
        json_object_set_new(j, "ours", side_json(i->has_ours, &i->ours));
        json_object_set_new(j, "taken", json_string(i->markers ? "markers" : takes[i->chosen]));
    } else {
        m->changes++;
    }
    return json_array_append_new(m->entries, j) ? -ENOMEM : 0;
}

/* --- states --- */

/* The state of a workspace as a snapshot: the one that it stands on, if it has not changed. */
static int fix_state(struct merging *m, const struct object *o, const char *name, const char *message, struct snap_rec *ret)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    struct flushing f = { .dir_fd = -1 };
    struct snapshot_args a = { .cause = SNAP_MERGE, .message = message };
    int r = workspace_open(m->c->store, o->ws.id, &w);

    if (r)
        return call_errno(m->c, r, "merge", name);
    if ((r = call_flush(m->c, "merge", &o->ws, &f)))
        return r;
    r = history_unchanged(m->c->store, w, ret);
    if (r == 0)
        r = verb_snapshot(m->c->store, w, &a, ret, NULL);
    else if (r > 0)
        r = 0;
    mounts_flush_end(&f);
    return r ? call_errno(m->c, r, "merge", name) : 0;
}

static int find_base(struct merging *m, const struct snap_rec *before, struct source *s)
{
    struct object o;
    int r;

    if (m->base) {
        r = call_object(m->c, "merge from the base", m->base, &o);
        if (!r && !object_is_snapshot(&o))
            return call_fail(m->c, -EINVAL, "invalid", "cannot merge: the base '%s' is a workspace; name a snapshot that both come from", m->base);
        s->base = o.snap;
        return r;
    }
    r = merge_base(m->c->store, before->id, s->at.id, &s->base);
    if (r < 0)
        return call_errno(m->c, r, "find the common ancestor of", s->name);
    if (!r)
        return call_fail(m->c, -ENOENT, "not_found",
                         "cannot merge '%s' into '%s': they have no snapshot in common, or it was removed; name what both come from with --base", s->name, m->into);
    return 0;
}

static int open_source(struct merging *m, const struct snap_rec *before, struct source *s)
{
    char message[MESSAGE_MAX + 1];
    struct object o;
    int r = call_object(m->c, "merge", s->name, &o);

    if (r)
        return r;
    if (!object_is_snapshot(&o) && !strcmp(o.ws.id, m->target.ws.id))
        return call_fail(m->c, -EINVAL, "invalid", "cannot merge '%s' into itself", s->name);
    snprintf(message, sizeof message, "merged into %s", m->into);
    s->at = o.snap;
    r = object_is_snapshot(&o) ? 0 : ws_importing(&o.ws) ? call_fail(m->c, -EBUSY, "busy", "cannot merge '%s': it is being imported", s->name)
                                                         : fix_state(m, &o, s->name, message, &s->at);
    if (!r)
        r = find_base(m, before, s);
    if (r)
        return r;
    r = snap_view(m->c->store, &s->at, &s->view);
    if (!r)
        r = snap_view(m->c->store, &s->base, &s->base_view);
    return r ? call_errno(m->c, r, "merge", s->name) : 0;
}

/* --- one try --- */

static int make_scratch(struct merging *m, const struct snap_rec *before, struct ws_rec *ret)
{
    struct labels mark = { .count = 1 };
    struct object o = { .snap = *before };
    char name[OBJECT_NAME_MAX + 1];
    const char *names[] = { name };
    unsigned bad;

    strcpy(mark.l[0].key, LABEL_IMPORTING);
    snprintf(name, sizeof name, "merge-%s", before->id + strlen("snap-"));
    struct create_args a = { .labels = &mark };
    return fork_many(m->c->store, &o, names, 1, &a, ret, &bad, NULL);
}

/* The merge in the scratch fork; if nothing is left to decide, in the target. -EAGAIN: the target was changed meanwhile. */
static int merge_in(struct merging *m, const struct snap_rec *before, struct workspace *w, struct workspace *scratch)
{
    _cleanup_(view_unref_p) struct view *from = NULL;
    _cleanup_(view_unref_p) struct view *to = NULL;
    struct merge_source src[MERGED_MAX];
    struct flushing f = { .dir_fd = -1 };
    struct object now;
    uint64_t changed;

    for (unsigned i = 0; i < m->n; i++)
        src[i] = (struct merge_source){ .base = m->v[i].base_view, .theirs = m->v[i].view };
    int r = merge_make(m->c->store, scratch, src, m->n, &m->opts, &m->conflicts);
    if (r || m->conflicts || m->dry_run)
        return r ? call_errno(m->c, r, "merge into", m->into) : 0;
    now = (struct object){ .ws = scratch->rec };
    r = snap_view(m->c->store, before, &from);
    if (!r)
        r = object_view(m->c->store, &now, &to);
    if (r)
        return call_errno(m->c, r, "merge into", m->into);
    if ((r = call_flush(m->c, "merge into", &m->target.ws, &f)))
        return r;
    mounts_flush_end(&f);
    r = merge_apply(m->c->store, w, from, to, &changed);
    return r && r != -EAGAIN ? call_errno(m->c, r, "merge into", m->into) : r;
}

static int try_merge(struct merging *m, struct snap_rec *ret_before)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    struct workspace *scratch = NULL;
    struct ws_rec made;
    int r = fix_state(m, &m->target, m->into, "before merge", ret_before);

    for (unsigned i = 0; !r && i < m->n; i++)
        r = open_source(m, ret_before, &m->v[i]);
    if (r)
        return r;
    r = workspace_open(m->c->store, m->target.ws.id, &w);
    if (!r)
        r = make_scratch(m, ret_before, &made);
    if (r)
        return call_errno(m->c, r, "merge into", m->into);
    r = workspace_open(m->c->store, made.id, &scratch);
    r = r ? call_errno(m->c, r, "merge into", m->into) : merge_in(m, ret_before, w, scratch);
    workspace_unref(scratch);
    import_discard(m->c->store, made.id);
    return r;
}

/* --- the verb --- */

static int read_sources(struct merging *m, json_t *sources)
{
    if (!json_array_size(sources) || json_array_size(sources) > MERGED_MAX)
        return call_bad(m->c, "sources is an array of 1 to 64 names");
    for (m->n = 0; m->n < json_array_size(sources); m->n++) {
        m->names[m->n] = m->v[m->n].name = json_string_value(json_array_get(sources, m->n));
        if (!m->v[m->n].name)
            return call_bad(m->c, "sources is an array of names");
    }
    return 0;
}

static bool prefer_of(const char *text, enum merge_prefer *ret)
{
    if (strcmp(text, "ours") && strcmp(text, "theirs"))
        return false;
    *ret = strcmp(text, "ours") ? MERGE_THEIRS : MERGE_OURS;
    return true;
}

/* {path: "ours" | "theirs"}; without leading slash here. */
static int read_picks(struct merging *m, json_t *picks)
{
    const char *path;
    json_t *take;

    if (!picks)
        return 0;
    if (!json_is_object(picks) || json_object_size(picks) > PICKS_MAX)
        return call_bad(m->c, "picks is an object of at most 4096 paths");
    m->picks = calloc(json_object_size(picks) + 1, sizeof *m->picks);
    if (!m->picks)
        return -ENOMEM;
    json_object_foreach(picks, path, take) {
        struct merge_pick *p = &m->picks[m->opts.pick_count++];
        p->path = path + strspn(path, "/");
        if (!json_is_string(take) || !prefer_of(json_string_value(take), &p->take))
            return call_bad(m->c, "a pick is \"ours\" or \"theirs\"");
    }
    m->opts.picks = m->picks;
    return 0;
}

static int finish(struct merging *m, const struct snap_rec *before, const char *message)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    char merged[MERGED_MAX][ID_MAX], text[MESSAGE_MAX + 1] = "merge of";
    bool done = !m->dry_run && !m->conflicts;
    struct snap_rec after = *before;
    size_t i;
    json_t *j;
    int r = 0;

    for (unsigned k = 0; k < m->n; k++) {
        size_t n = strlen(text);
        memcpy(merged[k], m->v[k].at.id, ID_MAX);
        snprintf(text + n, sizeof text - n, "%s %s", k ? "," : "", m->v[k].name);
    }
    struct snapshot_args a = { .cause = SNAP_MERGE, .message = message ? message : text, .merged = (const char (*)[ID_MAX])merged, .merged_count = m->n };
    if (done && !(r = workspace_open(m->c->store, m->target.ws.id, &w)))
        r = verb_snapshot(m->c->store, w, &a, &after, NULL);
    if (r)
        return call_errno(m->c, r, "take the snapshot after the merge of", m->into);
    json_t *bases = json_array();
    for (unsigned k = 0; k < m->n; k++)
        json_array_append_new(bases, json_pack("{s:s,s:s,s:s}", "source", m->v[k].name, "snapshot", m->v[k].at.id, "base", m->v[k].base.id));
    json_array_foreach(m->entries, i, j)
        call_more(m->c, "entries", json_incref(j));
    m->c->result = json_pack("{s:s,s:b,s:b,s:I,s:I,s:s,s:o,s:o,s:[]}", "id", m->target.ws.id, "merged", done, "dry_run", m->dry_run, "conflicts", (json_int_t)m->conflicts,
                             "changes", (json_int_t)m->changes, "before", before->id, "snapshot", done ? json_string(after.id) : json_null(), "sources", bases, "entries");
    return 0;
}

int verb_do_merge(struct call *c)
{
    _cleanup_(merging_fini) struct merging m = { .c = c, .opts = { .fn = report, .arg = &m } };
    const char *prefer = NULL, *message = NULL;
    json_t *sources = NULL, *picks = NULL;
    struct snap_rec before;
    int dry_run = 0, markers = 0;

    int r = call_args(c, ",s:s,s:o,s?s,s?b,s?s,s?b,s?o,s?s", "into", &m.into, "sources", &sources, "base", &m.base, "dry_run", &dry_run, "prefer", &prefer,
                      "markers", &markers, "picks", &picks, "message", &message);
    m.dry_run = dry_run;
    m.opts.markers = markers;
    m.opts.names = m.names;
    if (!r && prefer && !prefer_of(prefer, &m.opts.prefer))
        r = call_bad(c, "prefer is \"ours\" or \"theirs\"");
    if (!r && message && strlen(message) > MESSAGE_MAX)
        r = call_bad(c, "the message is too long");
    if (!r)
        r = read_sources(&m, sources);
    if (!r)
        r = read_picks(&m, picks);
    if (!r)
        r = call_workspace(c, "merge into", m.into, &m.target);
    if (r)
        return r;
    r = -EAGAIN;
    for (unsigned i = 0; r == -EAGAIN && i < TRIES; i++) {
        for (unsigned k = 0; k < m.n; k++) {
            view_unref(m.v[k].view);
            view_unref(m.v[k].base_view);
            m.v[k].view = m.v[k].base_view = NULL;
        }
        json_decref(m.entries);
        m.entries = json_array();
        m.changes = m.conflicts = 0;
        r = m.entries ? try_merge(&m, &before) : -ENOMEM;
    }
    if (r == -EAGAIN)
        return call_fail(c, -EBUSY, "busy", "cannot merge into '%s': the same files were changed in it each time that the merge was ready; stop what writes them, and try again", m.into);
    return r ? r : finish(&m, &before, message);
}
