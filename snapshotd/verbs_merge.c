/* The verb merge. States are fixed first, as views. The merge is made in a scratch fork of the target's, which is labelled as an import, so that a crash leaves nothing of it. A dry run, and a merge with
 * conflicts left, end there and have left nothing. Else the states that were merged become snapshots, the target's too ("before merge"), so that lineage knows what was merged. Then the target is made what the fork
 * is, unless it was changed meanwhile where the merge changes it: then all is done anew. Last comes the target's new snapshot, with all parents. */
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

/* What a workspace was when it was looked at. at: the snapshot of this state; its id is "" as long as there is none. stood_on: the workspace's last snapshot then, or "". */
struct state { char ws_id[ID_MAX], stood_on[ID_MAX]; struct view *view; struct snap_rec at; bool made; };
struct source { const char *name; struct state was; struct snap_rec base; struct view *base_view; };
struct merging {
    struct call *c;
    const char *into;
    struct object target;
    struct state before;                  /* of the target */
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

static void forget_states(struct merging *m)
{
    view_unref(m->before.view);
    m->before.view = NULL;
    for (unsigned i = 0; i < m->n; i++) {
        view_unref(m->v[i].was.view);
        view_unref(m->v[i].base_view);
        m->v[i].was.view = m->v[i].base_view = NULL;
    }
}

static void merging_fini(struct merging *m)
{
    forget_states(m);
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

static int fix_state(struct merging *m, const struct object *o, const char *name, struct state *ret)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    struct flushing f = { .dir_fd = -1 };
    struct object now;
    int r = workspace_open(m->c->store, o->ws.id, &w);

    *ret = (struct state){ 0 };
    if (r)
        return call_errno(m->c, r, "merge", name);
    if ((r = call_flush(m->c, "merge", &o->ws, &f)))
        return r;
    r = workspace_freeze(w, NULL, &ret->view, NULL);
    mounts_flush_end(&f);
    if (!r)
        r = object_find(m->c->store, o->ws.id, &now);
    if (!r && now.ws.parent_snap[0])
        r = snap_rec_get(m->c->store->meta, now.ws.parent_snap, &ret->at);
    if (r && r != -ENOENT)
        return call_errno(m->c, r, "merge", name);
    memcpy(ret->ws_id, o->ws.id, sizeof ret->ws_id);
    memcpy(ret->stood_on, now.ws.parent_snap, sizeof ret->stood_on);
    if (ret->at.base != ret->view->rec.id)
        ret->at = (struct snap_rec){ 0 };
    return 0;
}

/* Where lineage goes on from a state. */
static const char *last_snapshot(const struct state *x)
{
    return x->at.id[0] ? x->at.id : x->stood_on;
}

/* A snapshot of the state, if there is none. */
static int keep_state(struct merging *m, struct state *x, const char *name, const char *message)
{
    struct snapshot_args a = { .cause = SNAP_MERGE, .message = message };
    int r;

    if (x->at.id[0])
        return 0;
    r = snapshot_view(m->c->store, x->ws_id, x->view, x->stood_on, &a, &x->at);
    x->made = !r;
    return r ? call_errno(m->c, r, "take the snapshot of", name) : 0;
}

static int find_base(struct merging *m, struct source *s)
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
    r = merge_base(m->c->store, last_snapshot(&m->before), last_snapshot(&s->was), &s->base);
    if (r < 0)
        return call_errno(m->c, r, "find the common ancestor of", s->name);
    if (!r)
        return call_fail(m->c, -ENOENT, "not_found",
                         "cannot merge '%s' into '%s': they have no snapshot in common, or it was removed; name what both come from with --base", s->name, m->into);
    return 0;
}

static int open_source(struct merging *m, struct source *s)
{
    struct object o;
    int r = call_object(m->c, "merge", s->name, &o);

    if (r)
        return r;
    if (!object_is_snapshot(&o) && !strcmp(o.ws.id, m->target.ws.id))
        return call_fail(m->c, -EINVAL, "invalid", "cannot merge '%s' into itself", s->name);
    if (object_is_snapshot(&o)) {
        s->was = (struct state){ .at = o.snap };
        r = snap_view(m->c->store, &o.snap, &s->was.view);
        r = r ? call_errno(m->c, r, "merge", s->name) : 0;
    } else {
        r = ws_importing(&o.ws) ? call_fail(m->c, -EBUSY, "busy", "cannot merge '%s': it is being imported", s->name) : fix_state(m, &o, s->name, &s->was);
    }
    if (!r)
        r = find_base(m, s);
    if (r)
        return r;
    r = snap_view(m->c->store, &s->base, &s->base_view);
    return r ? call_errno(m->c, r, "merge", s->name) : 0;
}

static int keep_states(struct merging *m)
{
    char message[MESSAGE_MAX + 1];
    int r = keep_state(m, &m->before, m->into, "before merge");

    snprintf(message, sizeof message, "merged into %s", m->into);
    for (unsigned i = 0; !r && i < m->n; i++) {
        struct state *x = &m->v[i].was;
        for (unsigned k = 0; k < i && !x->at.id[0]; k++)      /* named twice */
            if (!strcmp(m->v[k].was.ws_id, x->ws_id) && m->v[k].was.view == x->view)
                x->at = m->v[k].was.at;
        r = keep_state(m, x, m->v[i].name, message);
    }
    return r;
}

static void drop_state(struct merging *m, struct state *x)
{
    struct object o = { .snap = x->at };
    int r = x->made ? verb_remove(m->c->store, &o, false) : 0;

    if (r)
        log_warn("snapshot=%s step=remove err=%s", x->at.id, errno_name(r));
}

/* Of a merge that came to nothing. */
static void drop_states(struct merging *m)
{
    drop_state(m, &m->before);
    for (unsigned i = 0; i < m->n; i++)
        drop_state(m, &m->v[i].was);
}

/* --- one try --- */

static int make_scratch(struct merging *m, struct ws_rec *ret)
{
    struct labels mark = { .count = 1 };
    char name[OBJECT_NAME_MAX + 1], id[ID_MAX];
    int r = object_new_id("snap-", id);

    strcpy(mark.l[0].key, LABEL_IMPORTING);
    snprintf(name, sizeof name, "merge-%s", id + strlen("snap-"));
    return r ? r : fork_view(m->c->store, m->before.view, &m->target.ws, name, &mark, ret);
}

/* The merge in the scratch fork; if nothing is left to decide, in the target. -EAGAIN: the target was changed meanwhile. */
static int merge_in(struct merging *m, struct workspace *w, struct workspace *scratch)
{
    _cleanup_(view_unref_p) struct view *to = NULL;
    struct merge_source src[MERGED_MAX];
    struct flushing f = { .dir_fd = -1 };
    struct object now;
    uint64_t changed;

    for (unsigned i = 0; i < m->n; i++)
        src[i] = (struct merge_source){ .base = m->v[i].base_view, .theirs = m->v[i].was.view };
    int r = merge_make(m->c->store, scratch, src, m->n, &m->opts, &m->conflicts);
    if (r || m->conflicts || m->dry_run)
        return r ? call_errno(m->c, r, "merge into", m->into) : 0;
    now = (struct object){ .ws = scratch->rec };
    r = object_view(m->c->store, &now, &to);
    if (r)
        return call_errno(m->c, r, "merge into", m->into);
    if ((r = keep_states(m)) || (r = call_flush(m->c, "merge into", &m->target.ws, &f)))
        return r;
    mounts_flush_end(&f);
    r = merge_apply(m->c->store, w, m->before.view, to, &changed);
    return r && r != -EAGAIN ? call_errno(m->c, r, "merge into", m->into) : r;
}

static int try_merge(struct merging *m)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    struct workspace *scratch = NULL;
    struct ws_rec made;
    int r = fix_state(m, &m->target, m->into, &m->before);

    for (unsigned i = 0; !r && i < m->n; i++)
        r = open_source(m, &m->v[i]);
    if (r)
        return r;
    r = workspace_open(m->c->store, m->target.ws.id, &w);
    if (!r)
        r = make_scratch(m, &made);
    if (r)
        return call_errno(m->c, r, "merge into", m->into);
    r = workspace_open(m->c->store, made.id, &scratch);
    r = r ? call_errno(m->c, r, "merge into", m->into) : merge_in(m, w, scratch);
    workspace_unref(scratch);
    import_discard(m->c->store, made.id);
    if (r)
        drop_states(m);
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

/* Of a state that was not kept there is no snapshot to name. */
static json_t *id_json(const struct state *x)
{
    return x->at.id[0] ? json_string(x->at.id) : json_null();
}

static int finish(struct merging *m, const char *message)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    char merged[MERGED_MAX][ID_MAX], text[MESSAGE_MAX + 1] = "merge of";
    bool done = !m->dry_run && !m->conflicts;
    struct snap_rec after;
    size_t i;
    json_t *j;
    int r = 0;

    for (unsigned k = 0; k < m->n; k++) {
        size_t n = strlen(text);
        memcpy(merged[k], m->v[k].was.at.id, ID_MAX);
        snprintf(text + n, sizeof text - n, "%s %s", k ? "," : "", m->v[k].name);
    }
    struct snapshot_args a = { .cause = SNAP_MERGE, .message = message ? message : text, .merged = (const char (*)[ID_MAX])merged, .merged_count = m->n };
    if (done && !(r = workspace_open(m->c->store, m->target.ws.id, &w)))
        r = verb_snapshot(m->c->store, w, &a, &after, NULL);
    if (r)
        return call_errno(m->c, r, "take the snapshot after the merge of", m->into);
    json_t *bases = json_array();
    for (unsigned k = 0; k < m->n; k++)
        json_array_append_new(bases, json_pack("{s:s,s:o,s:s}", "source", m->v[k].name, "snapshot", id_json(&m->v[k].was), "base", m->v[k].base.id));
    json_array_foreach(m->entries, i, j)
        call_more(m->c, "entries", json_incref(j));
    m->c->result = json_pack("{s:s,s:b,s:b,s:I,s:I,s:o,s:o,s:o,s:[]}", "id", m->target.ws.id, "merged", done, "dry_run", m->dry_run, "conflicts", (json_int_t)m->conflicts,
                             "changes", (json_int_t)m->changes, "before", id_json(&m->before), "snapshot", done ? json_string(after.id) : json_null(), "sources", bases, "entries");
    return 0;
}

int verb_do_merge(struct call *c)
{
    _cleanup_(merging_fini) struct merging m = { .c = c, .opts = { .fn = report, .arg = &m } };
    const char *prefer = NULL, *message = NULL;
    json_t *sources = NULL, *picks = NULL;
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
        forget_states(&m);
        json_decref(m.entries);
        m.entries = json_array();
        m.changes = m.conflicts = 0;
        r = m.entries ? try_merge(&m) : -ENOMEM;
    }
    if (r == -EAGAIN)
        return call_fail(c, -EBUSY, "busy", "cannot merge into '%s': the same files were changed in it each time that the merge was ready; stop what writes them, and try again", m.into);
    return r ? r : finish(&m, message);
}
