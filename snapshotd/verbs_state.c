/* Verbs about states: snapshot, fork, restore, diff. A mounted workspace is flushed first; it stays in use until the state is fixed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "fs/store.h"
#include "fs/view.h"
#include "fs/workspace.h"
#include "snapshotd/call.h"

DEFINE_CLEANUP(struct workspace *, workspace_unref)
DEFINE_CLEANUP(struct view *, view_unref)

enum { FORKS_MAX = 10000 };

/* A workspace that verbs may take states of. */
int call_workspace(struct call *c, const char *doing, const char *name, struct object *ret)
{
    int r = call_object(c, doing, name, ret);

    if (r)
        return r;
    if (object_is_snapshot(ret))
        return call_fail(c, -EINVAL, "invalid",
                         "cannot %s '%s': it is a snapshot, which never changes; name a workspace, or `coppice fork` it", doing, name);
    if (ws_importing(&ret->ws))
        return call_fail(c, -EBUSY, "busy", "cannot %s '%s': it is being imported", doing, name);
    return 0;
}

/* The kernel's flush is told apart from how long programs were held back (which the freeze measures). */
static json_t *whole_timing(struct snapshot_timing *t, const struct flushing *f, uint64_t began)
{
    t->flush_ns += f->flush_ns;
    t->total_ns = clock_mono_ns() - began;
    return timing_json(t);
}

int verb_do_snapshot(struct call *c)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    const char *name, *snap_name = NULL, *message = NULL;
    uint64_t began = clock_mono_ns();
    struct snapshot_timing t = { 0 };
    struct flushing f = { .dir_fd = -1 };
    const char *cause = "user";
    json_t *labels = NULL;
    int if_changed = 0;
    struct labels lab;
    struct snap_rec s;
    struct object o;

    int r = call_args(c, ",s:s,s?s,s?s,s?o,s?s,s?b", "object", &name, "name", &snap_name, "message", &message, "labels", &labels, "cause", &cause, "if_changed",
                      &if_changed);
    if (!r && strcmp(cause, "user") && strcmp(cause, "auto"))
        r = call_bad(c, "cause is \"user\" or \"auto\"");
    if (!r && if_changed && (snap_name || labels))
        r = call_bad(c, "a snapshot that is only made if_changed has no name and no labels");
    if (!r)
        r = call_labels(c, labels, &lab);
    if (!r)
        r = call_workspace(c, "snapshot", name, &o);
    if (r)
        return r;
    if (message && strlen(message) > MESSAGE_MAX)
        return call_fail(c, -E2BIG, "too_big", "cannot snapshot '%s': the message is longer than %d bytes", name, MESSAGE_MAX);
    r = workspace_open(c->store, o.ws.id, &w);
    if (r)
        return call_errno(c, r, "snapshot", name);
    if ((r = call_flush(c, "snapshot", &o.ws, &f)))
        return r;
    r = if_changed ? history_unchanged(c->store, w, &s) : 0;
    if (r) {
        mounts_flush_end(&f);
        if (r < 0)
            return call_errno(c, r, "snapshot", name);
        c->result = snap_json(c, &s);
        json_object_set_new(c->result, "unchanged", json_true());
        return 0;
    }
    struct snapshot_args a = { .name = snap_name ? snap_name : "", .cause = strcmp(cause, "auto") ? SNAP_USER : SNAP_AUTO, .message = message ? message : "",
                               .labels = &lab };
    r = verb_snapshot(c->store, w, &a, &s, &t);
    mounts_flush_end(&f);
    if (r == -EEXIST)
        return call_fail(c, r, "exists",
                         "cannot snapshot '%s': it has a snapshot named '%s' already; choose another name, or remove or rename that one",
                         name, snap_name);
    if (r == -EINVAL && snap_name)
        return call_name_errno(c, r, "name the snapshot", snap_name);
    if (r)
        return call_errno(c, r, "snapshot", name);
    if (lab.count)
        history_wake(&c->d->history);     /* perhaps it has a date */
    c->result = snap_json(c, &s);
    json_object_set_new(c->result, "timing", whole_timing(&t, &f, began));
    return 0;
}

/* --- fork --- */

/* NAME, or NAME-1 .. NAME-N. One block: n pointers, then the texts. */
static char **fork_names(const char *name, unsigned n, bool numbered)
{
    size_t each = OBJECT_NAME_MAX + 16;
    char **v = mem_zalloc(n * (sizeof(char *) + each));

    for (unsigned i = 0; v && i < n; i++) {
        v[i] = (char *)(v + n) + i * each;
        if (numbered)
            snprintf(v[i], each, "%.*s-%u", OBJECT_NAME_MAX + 4, name, i + 1);
        else
            snprintf(v[i], each, "%s", name);
    }
    return v;
}

/* Names that were chosen one by one; NULL: out of memory. What is no text, or too long, is no name of a workspace. */
static char **listed_names(const json_t *list)
{
    size_t n = json_array_size(list), each = OBJECT_NAME_MAX + 16;
    char **v = mem_zalloc(n * (sizeof(char *) + each));

    for (size_t i = 0; v && i < n; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        v[i] = (char *)(v + n) + i * each;
        snprintf(v[i], each, "%s", name && strlen(name) <= OBJECT_NAME_MAX ? name : "");
    }
    return v;
}

static int fork_run(struct call *c, const struct object *src, const char *source, char **names, unsigned n)
{
    _cleanup_free_ struct ws_rec *made = mem_zalloc(n * sizeof(*made));
    uint64_t began = clock_mono_ns();
    struct snapshot_timing t = { 0 };
    struct flushing f = { .dir_fd = -1 };
    unsigned bad = 0;
    int r = 0;

    if (!made)
        return call_errno(c, -ENOMEM, "fork", source);
    if (!object_is_snapshot(src) && (r = call_flush(c, "fork", &src->ws, &f)))
        return r;
    r = verb_fork(c->store, src, (const char *const *)names, n, made, &bad, &t);
    mounts_flush_end(&f);
    if (r == -EEXIST || r == -EINVAL)
        return call_name_errno(c, r, "make the workspace", names[bad < n ? bad : 0]);
    if (r)
        return call_errno(c, r, "fork", source);
    json_t *timing = whole_timing(&t, &f, began);
    for (unsigned i = 0; i < n; i++)
        call_more(c, "workspaces", json_pack("{s:s,s:s}", "id", made[i].id, "name", made[i].name));
    c->result = json_pack("{s:[],s:s,s:o}", "workspaces", "snapshot", made[0].parent_snap, "timing", timing);
    return 0;
}

int verb_do_fork(struct call *c)
{
    const char *source, *name = NULL;
    json_t *list = NULL;
    json_int_t n = 0;
    struct object o;

    int r = call_args(c, ",s:s,s?s,s?I,s?o", "source", &source, "name", &name, "count", &n, "names", &list);
    if (!r && (list ? !json_is_array(list) || !(n = (json_int_t)json_array_size(list)) || name : !name))
        r = call_bad(c, "give name, or names: an array of texts");
    if (!r && (n < 0 || n > FORKS_MAX))
        r = call_bad(c, "count is from 1 to 10000");
    if (!r)
        r = call_object(c, "fork", source, &o);
    if (r)
        return r;
    if (!object_is_snapshot(&o) && ws_importing(&o.ws))
        return call_fail(c, -EBUSY, "busy", "cannot fork '%s': it is being imported", source);
    if (name && strlen(name) > OBJECT_NAME_MAX)
        return call_name_errno(c, -EINVAL, "make the workspace", name);
    _cleanup_free_ char **names = list ? listed_names(list) : fork_names(name, n ? (unsigned)n : 1, n > 0);
    if (!names)
        return call_errno(c, -ENOMEM, "fork", source);
    return fork_run(c, &o, source, names, n ? (unsigned)n : 1);
}

/* --- restore --- */

static int restore_target(struct call *c, const struct object *o, const char *name, const char *to, struct snap_rec *ret)
{
    struct object s;
    int r;

    if (!to) {
        r = history_before(c->store, o->ws.id, ret);
        return r == -ENOENT ? call_fail(c, r, "not_found", "cannot undo in '%s': it was never restored as a whole or merged into, or the snapshot of the state before was removed; "
                                        "`coppice log %s` shows what it can be restored to", name, name)
             : r ? call_errno(c, r, "restore", name) : 0;
    }
    r = call_object(c, "restore to", to, &s);
    if (!r && !object_is_snapshot(&s))
        r = call_fail(c, -EINVAL, "invalid", "cannot restore to '%s': it is a workspace; name a snapshot (`coppice log %s` shows them)", to, name);
    if (!r)
        *ret = s.snap;
    return r;
}

int verb_do_restore(struct call *c)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    _cleanup_(paths_fini) struct paths p = { 0 };
    struct flushing f = { .dir_fd = -1 };
    struct restore_report rep = { 0 };
    const char *name, *to = NULL;
    json_t *paths = NULL;
    struct snap_rec s;
    struct object o;
    int undo = 0;

    int r = call_args(c, ",s:s,s?s,s?o,s?b", "object", &name, "to", &to, "paths", &paths, "undo", &undo);
    if (!r && undo == (to != NULL))
        r = call_bad(c, "give either to or undo");
    if (!r && undo && json_array_size(paths))
        r = call_bad(c, "undo is of the whole tree: without paths");
    if (!r)
        r = call_paths(c, paths, &p);
    if (!r)
        r = call_workspace(c, "restore", name, &o);
    if (!r)
        r = restore_target(c, &o, name, to, &s);
    if (r)
        return r;
    r = workspace_open(c->store, o.ws.id, &w);
    if (r)
        return call_errno(c, r, "restore", name);
    if ((r = call_flush(c, "restore", &o.ws, &f)))
        return r;
    r = verb_restore(c->store, w, &s, (const char *const *)p.v, p.n, &rep);
    mounts_flush_end(&f);
    if (r)
        return call_errno(c, r, "restore", name);
    c->result = json_pack("{s:s,s:s,s:I,s:o}", "id", o.ws.id, "to", s.id, "changed", (json_int_t)rep.changed,
                          "before", rep.before[0] ? json_string(rep.before) : json_null());
    return 0;
}

/* --- diff --- */

struct differ { struct call *c; struct view *a, *b; struct workspace *wa, *wb; uint64_t content_max; uint64_t count; bool content; };

static json_t *time_json(const struct itime *t)
{
    return json_pack("[I,I]", (json_int_t)t->sec, (json_int_t)t->ns);
}

json_t *inode_json(uint64_t ino, const struct inode *in)
{
    if (!ino)
        return json_null();
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:o}", "ino", (json_int_t)ino, "mode", (json_int_t)in->mode, "uid", (json_int_t)in->uid, "gid",
                     (json_int_t)in->gid, "size", (json_int_t)in->size, "mtime", time_json(&in->mtime));
}

static json_t *what_json(unsigned what)
{
    static const struct { unsigned bit; const char *name; } names[] = {
        { DIFF_CONTENT, "content" }, { DIFF_MODE, "mode" }, { DIFF_OWNER, "owner" }, { DIFF_MTIME, "mtime" }, { DIFF_XATTR, "xattr" },
    };
    json_t *a = json_array();

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (what & names[i].bit)
            json_array_append_new(a, json_string(names[i].name));
    return a;
}

static json_t *entry_json(const struct diff_entry *e)
{
    char kind[2] = { (char)e->kind, 0 };
    json_t *j = json_pack("{s:s,s:o,s:o,s:o,s:o}", "kind", kind, "path", snap_bytes(e->path, e->path_len), "what", what_json(e->what),
                          "a", inode_json(e->ino_a, &e->a), "b", inode_json(e->ino_b, &e->b));
    if (e->old_path_len)
        json_object_set_new(j, "old_path", snap_bytes(e->old_path, e->old_path_len));
    return j;
}

/* What a patch compares: a file's bytes or a symlink's target. Positive: too large to give. */
static int content_of(struct differ *d, struct view *v, struct workspace *w, uint64_t ino, const struct inode *in, struct buf *out)
{
    char target[SYMLINK_MAX + 1];
    size_t len;

    if (!ino || (!S_ISREG(in->mode) && !S_ISLNK(in->mode)))
        return 0;
    if (S_ISLNK(in->mode)) {
        int r = ws_readlink(w, ino, target, sizeof(target), &len);
        if (!r)
            buf_put(out, target, len);
        return r ? r : buf_err(out);
    }
    int r = in->size > d->content_max ? -EFBIG : view_file(d->c->store, v, ino, d->content_max, out);
    return r == -EFBIG ? 1 : r;
}

static int tell_with_content(struct differ *d, const struct diff_entry *e)
{
    _cleanup_(buf_fini) struct buf a = BUF_INIT;
    _cleanup_(buf_fini) struct buf b = BUF_INIT;
    bool wanted = e->kind != DIFF_MODIFIED && e->kind != DIFF_RENAMED ? true : (e->what & DIFF_CONTENT) != 0;
    int ra = wanted ? content_of(d, d->a, d->wa, e->ino_a, &e->a, &a) : 0;
    int rb = wanted && ra >= 0 ? content_of(d, d->b, d->wb, e->ino_b, &e->b, &b) : 0;

    if (ra < 0 || rb < 0)
        return ra < 0 ? ra : rb;
    if (ra || rb) {
        buf_clear(&a);
        buf_clear(&b);
    }
    json_t *j = entry_json(e);
    json_object_set_new(j, "too_large", json_boolean(ra || rb));
    json_object_set_new(j, "a_bytes", json_integer((json_int_t)a.len));
    json_object_set_new(j, "b_bytes", json_integer((json_int_t)b.len));
    int r = call_send(d->c, json_pack("{s:{s:[o]}}", "more", "entries", j), NULL, 0);
    if (!r && a.len)
        r = snap_send_bytes(d->c->sock, a.data, a.len, NULL, 0);
    if (!r && b.len)
        r = snap_send_bytes(d->c->sock, b.data, b.len, NULL, 0);
    if (r)
        d->c->broken = r;
    return r;
}

static int tell_entry(void *arg, const struct diff_entry *e)
{
    struct differ *d = arg;

    d->count++;
    return d->content ? tell_with_content(d, e) : call_more(d->c, "entries", entry_json(e));
}

/* The state an object has now. */
static int state_of(struct call *c, const struct object *o, const char *name, struct view **ret)
{
    struct flushing f = { .dir_fd = -1 };
    int r = object_is_snapshot(o) ? 0 : call_flush(c, "compare", &o->ws, &f);

    if (r)
        return r;
    r = object_view(c->store, o, ret);
    mounts_flush_end(&f);
    return r ? call_errno(c, r, "compare", name) : 0;
}

int verb_do_diff(struct call *c)
{
    _cleanup_(view_unref_p) struct view *va = NULL;
    _cleanup_(view_unref_p) struct view *vb = NULL;
    _cleanup_(workspace_unref_p) struct workspace *wa = NULL;
    _cleanup_(workspace_unref_p) struct workspace *wb = NULL;
    _cleanup_(paths_fini) struct paths p = { 0 };
    const char *a, *b;
    json_t *paths = NULL;
    json_int_t content_max = -1;
    int times = 0;
    struct object oa, ob;

    int r = call_args(c, ",s:s,s:s,s?o,s?b,s?I", "a", &a, "b", &b, "paths", &paths, "times", &times, "content_max", &content_max);
    if (!r && content_max > 64 << 20)
        r = call_bad(c, "content_max is at most 67108864");
    if (!r)
        r = call_paths(c, paths, &p);
    if (!r)
        r = call_object(c, "compare", a, &oa);
    if (!r)
        r = call_object(c, "compare", b, &ob);
    if (!r)
        r = state_of(c, &oa, a, &va);
    if (!r)
        r = state_of(c, &ob, b, &vb);
    if (r)
        return r;
    struct differ d = { .c = c, .a = va, .b = vb, .content = content_max >= 0, .content_max = (uint64_t)content_max };
    if (d.content) {
        r = workspace_open_view(c->store, va, &wa);
        if (!r)
            r = workspace_open_view(c->store, vb, &wb);
        d.wa = wa;
        d.wb = wb;
    }
    struct diff_opts opts = { .paths = (const char *const *)p.v, .path_count = p.n, .times = times };
    if (!r)
        r = verb_diff(c->store, va, vb, &opts, tell_entry, &d);
    if (r)
        return c->broken ? c->broken : call_errno(c, r, "compare", a);
    c->result = json_pack("{s:s,s:s,s:I,s:[]}", "a", object_id(&oa), "b", object_id(&ob), "count", (json_int_t)d.count, "entries");
    return 0;
}
