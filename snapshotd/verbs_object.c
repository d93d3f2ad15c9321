/* Verbs about objects: list, show, log, create, rm, rename, label. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/store.h"
#include "snapshotd/call.h"

enum { SHOW_SHARES_MAX = 2000, RM_MANY = 4 };

/* --- list --- */

/* Names of workspaces by id, so that a snapshot's is not asked of the store each time. In id order, as the store gives them. */
struct ws_name { char id[ID_MAX], name[OBJECT_NAME_MAX + 1]; };
struct ws_names { struct ws_name *v; size_t n, cap; };

static int note_name(void *arg, const struct ws_rec *w)
{
    struct ws_names *t = arg;

    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 256;
        struct ws_name *v = mem_realloc(t->v, cap * sizeof(*v));
        if (!v)
            return -ENOMEM;
        t->v = v;
        t->cap = cap;
    }
    strcpy(t->v[t->n].id, w->id);
    strcpy(t->v[t->n++].name, w->name);
    return 0;
}

static int ws_name_order(const void *a, const void *b)
{
    return strcmp(((const struct ws_name *)a)->id, ((const struct ws_name *)b)->id);
}

/* The name that the snapshot's workspace has now; if it is gone, the one it had. */
static const char *name_now(const struct ws_names *t, const struct snap_rec *s)
{
    struct ws_name key;

    strcpy(key.id, s->ws_id);
    const struct ws_name *found = t->n ? bsearch(&key, t->v, t->n, sizeof(*t->v), ws_name_order) : NULL;
    return found ? found->name : s->ws_name;
}

static int list_ws(void *arg, const struct ws_rec *w)
{
    struct call *c = arg;
    return call_more(c, "workspaces", ws_json(c, w));
}

/* The template, and the throw-away roots under which the runner shows plain trees (sandbox/), are nobody's work: with their snapshots they are
 * shown when asked for. */
struct listing { struct call *c; bool all; char template_id[ID_MAX]; struct ws_names names; };

static bool throw_away(const char *name)
{
    static const char prefix[] = "root-of-";
    return !strncmp(name, prefix, sizeof(prefix) - 1) && object_id_is(name + sizeof(prefix) - 1);
}

static int list_some_ws(void *arg, const struct ws_rec *w)
{
    struct listing *l = arg;
    int r = note_name(&l->names, w);

    if (r)
        return r;
    bool template = template_labels(&w->labels);

    if (template && !ws_importing(w))
        strcpy(l->template_id, w->id);
    if (!l->all && (template || throw_away(w->name)))
        return 0;
    return list_ws(l->c, w);
}

static int list_snap(void *arg, const struct snap_rec *s)
{
    struct listing *l = arg;

    if (!l->all && (template_labels(&s->labels) || !strcmp(s->ws_id, l->template_id) || throw_away(s->ws_name)))
        return 0;
    return call_more(l->c, "snapshots", snap_json_named(s, name_now(&l->names, s)));
}

int verb_list(struct call *c)
{
    struct listing l = { .c = c };
    int all = 0;

    int r = call_args(c, ",s?b", "all", &all);
    if (r)
        return r;
    l.all = all;
    /* A record that cannot be read must not hide the others: fsck names it. */
    r = ws_rec_each(c->store->meta, list_some_ws, &l);
    if (!r)
        r = snap_rec_each(c->store->meta, list_snap, &l);
    free(l.names.v);
    if (r)
        return call_errno(c, r, "list the store", NULL);
    c->result = json_pack("{s:[],s:[]}", "workspaces", "snapshots");
    return 0;
}

static json_t *root_json(struct call *c, uint64_t base)
{
    struct base_rec b;
    char text[64];

    if (base_get(c->store->meta, base, &b) || b.layer)
        return json_null();
    addr_hex(&b.root, text);
    return json_string(text);
}

/* What is shared and what is private is known when every tree of the store was walked: that is done where it is quick. `coppice stats` does it always. */
static int add_sizes(struct call *c, const char *id, bool snapshot)
{
    struct usage u;
    int r = verb_usage_of(c->store, id, snapshot, SHOW_SHARES_MAX, &u);

    if (r < 0)
        return r;
    json_object_set_new(c->result, "files", json_integer((json_int_t)u.files));
    json_object_set_new(c->result, "dirs", json_integer((json_int_t)u.dirs));
    json_object_set_new(c->result, "logical_bytes", json_integer((json_int_t)u.logical_bytes));
    if (!r)
        return 0;
    json_object_set_new(c->result, "shared_bytes", json_integer((json_int_t)u.shared_bytes));
    json_object_set_new(c->result, "private_bytes", json_integer((json_int_t)u.private_bytes));
    json_object_set_new(c->result, "meta_private_bytes", json_integer((json_int_t)u.meta_private_bytes));
    return 0;
}

int verb_show(struct call *c)
{
    const char *name;
    int sizes = 1;
    struct object o;

    int r = call_args(c, ",s:s,s?b", "object", &name, "sizes", &sizes);
    if (!r)
        r = call_object(c, "show", name, &o);
    if (r)
        return r;
    bool snap = object_is_snapshot(&o);
    c->result = snap ? snap_json(c, &o.snap) : ws_json(c, &o.ws);
    json_object_set_new(c->result, "object", json_string(snap ? "snapshot" : "workspace"));
    json_object_set_new(c->result, "root", root_json(c, snap ? o.snap.base : o.ws.base));
    json_object_set_new(c->result, "mounts", mounts_json(&c->d->mounts, object_id(&o)));
    if (!sizes)
        return 0;
    r = add_sizes(c, object_id(&o), snap);
    return r < 0 && r != -ENOENT ? call_errno(c, r, "measure", name) : 0;
}

/* --- log --- */

/* What the graph is found with; whole records are large. In id order, as the store gives them. */
struct knot { char id[ID_MAX], parent[ID_MAX]; uint64_t seq; bool in; };
struct lineage { struct knot *v; size_t n, cap; };

static int lineage_add(void *arg, const struct snap_rec *s)
{
    struct lineage *l = arg;

    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct knot *v = mem_realloc(l->v, cap * sizeof(*v));
        if (!v)
            return -ENOMEM;
        l->v = v;
        l->cap = cap;
    }
    struct knot *k = &l->v[l->n++];
    memset(k, 0, sizeof(*k));
    strcpy(k->id, s->id);
    strcpy(k->parent, s->parent);
    k->seq = s->seq;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct knot *)a)->id, ((const struct knot *)b)->id);
}

static int newest_first(const void *a, const void *b)
{
    const struct knot *x = *(struct knot *const *)a, *y = *(struct knot *const *)b;
    return (x->seq < y->seq) - (x->seq > y->seq);
}

static struct knot *lineage_get(struct lineage *l, const char *id)
{
    struct knot key;

    if (!id[0] || !l->n)
        return NULL;
    snprintf(key.id, sizeof(key.id), "%s", id);
    return bsearch(&key, l->v, l->n, sizeof(*l->v), by_id);
}

/* The chain from `from` to the first snapshot of its line; all of it is put into l. */
static int tell_chain(struct call *c, struct lineage *l, const char *from)
{
    struct snap_rec s;
    char id[ID_MAX];
    int r = 0;

    strcpy(id, from);
    while (!r && id[0]) {
        r = snap_rec_get(c->store->meta, id, &s);
        if (r == -ENOENT) {       /* removed: the line is cut here */
            r = 0;
            break;
        }
        if (!r)
            r = lineage_add(l, &s);
        if (!r)
            r = call_more(c, "snapshots", snap_json(c, &s));
        strcpy(id, s.parent);
    }
    for (size_t i = 0; i < l->n; i++)
        l->v[i].in = true;
    if (l->n)
        qsort(l->v, l->n, sizeof(*l->v), by_id);
    return r;
}

/* Everything that has the same first snapshot as `from`, newest first, so that parents come after their children. */
static int tell_family(struct call *c, struct lineage *l, const char *from)
{
    _cleanup_free_ struct knot **order = mem_alloc((l->n + 1) * sizeof(*order));
    struct knot *first = lineage_get(l, from), *up;
    struct snap_rec s;
    int r = 0;

    if (!order)
        return -ENOMEM;
    for (size_t i = 0; i < l->n; i++)
        order[i] = &l->v[i];
    qsort(order, l->n, sizeof(*order), newest_first);
    while (first && (up = lineage_get(l, first->parent)) && up->seq < first->seq)
        first = up;
    if (first)
        first->in = true;
    for (size_t i = l->n; i-- > 0;)
        if ((up = lineage_get(l, order[i]->parent)) && up->in)
            order[i]->in = true;
    for (size_t i = 0; !r && i < l->n; i++) {
        if (!order[i]->in)
            continue;
        r = snap_rec_get(c->store->meta, order[i]->id, &s);
        if (r == -ENOENT)         /* removed since */
            r = 0;
        else if (!r)
            r = call_more(c, "snapshots", snap_json(c, &s));
    }
    return r;
}

/* Workspaces that stand on what was told. */
struct standing { struct call *c; struct lineage *l; };

static int tell_if_on(void *arg, const struct ws_rec *w)
{
    struct standing *x = arg;
    struct knot *on = lineage_get(x->l, w->parent_snap);

    return on && on->in ? list_ws(x->c, w) : 0;
}

int verb_log(struct call *c)
{
    struct lineage l = { 0 };
    struct standing x = { c, &l };
    const char *name;
    int graph = 0;
    struct object o;

    int r = call_args(c, ",s:s,s?b", "object", &name, "graph", &graph);
    if (!r)
        r = call_object(c, "show the log of", name, &o);
    if (r)
        return r;
    const char *from = object_is_snapshot(&o) ? o.snap.id : o.ws.parent_snap;
    if (graph) {
        r = snap_rec_each(c->store->meta, lineage_add, &l);
        if (!r)
            r = tell_family(c, &l, from);
    } else {
        r = tell_chain(c, &l, from);
    }
    if (!r)
        r = ws_rec_each(c->store->meta, tell_if_on, &x);
    free(l.v);
    if (r)
        return call_errno(c, r, "show the log of", name);
    c->result = json_pack("{s:s,s:[],s:[]}", "object", object_id(&o), "snapshots", "workspaces");
    return 0;
}

/* --- changes --- */

/* What it is made from: the template's snapshot if it is to be a root and nothing else was said. */
static int create_source(struct call *c, const char **from, const char *kind, char template_id[ID_MAX], struct object *ret)
{
    bool host = *from ? template_named(c, *from) : kind && !strcmp(kind, "root");
    int r = host ? template_get(c, template_id) : 0;

    if (r)
        return r;
    if (host)
        *from = template_id;
    return *from ? call_object(c, "create a workspace from", *from, ret) : 0;
}

/* Without a word it is of the kind of its source. A root on the host's /usr stays one. */
static enum ws_kind create_kind(const char *kind, const struct object *from)
{
    enum ws_kind of = !from ? WS_BARE : object_is_snapshot(from) ? from->snap.kind : from->ws.kind;

    if (kind && !strcmp(kind, "bare"))
        return WS_BARE;
    return kind && of != WS_HOST ? WS_ROOT : of;
}

int verb_do_create(struct call *c)
{
    const char *name, *from = NULL, *kind = NULL;
    json_int_t bytes = 0, inodes = 0;
    json_t *labels = NULL;
    char template_id[ID_MAX];
    struct labels lab;
    struct ws_rec w;
    struct object o;

    int r = call_args(c, ",s:s,s?s,s?s,s?I,s?I,s?o", "name", &name, "from", &from, "kind", &kind, "quota_bytes", &bytes, "quota_inodes",
                      &inodes, "labels", &labels);
    if (!r)
        r = call_labels(c, labels, &lab);
    if (r)
        return r;
    if (bytes < 0 || inodes < 0 || (kind && strcmp(kind, "bare") && strcmp(kind, "root")))
        return call_bad(c, "kind is \"bare\" or \"root\", quotas are not negative");
    if ((r = create_source(c, &from, kind, template_id, &o)))
        return r;
    struct create_args a = { .name = name, .kind = create_kind(kind, from ? &o : NULL), .quota_bytes = (uint64_t)bytes,
                             .quota_inodes = (uint64_t)inodes, .from = from, .labels = &lab };
    struct flushing f = { .dir_fd = -1 };
    if (from && !object_is_snapshot(&o) && (r = call_flush(c, "create a workspace from", &o.ws, &f)))
        return r;
    r = verb_create(c->store, &a, &w);
    mounts_flush_end(&f);
    if (r)
        return call_name_errno(c, r, "create", name);
    c->result = ws_json(c, &w);
    return 0;
}

static int remove_one(struct call *c, const char *name, bool with_snapshots, const struct removal *all)
{
    struct object o;
    int r = call_object(c, "remove", name, &o);

    if (r)
        return r;
    if (!object_is_snapshot(&o) && ws_importing(&o.ws))
        return call_fail(c, -EBUSY, "busy", "cannot remove '%s': it is being imported; end that import first", name);
    r = verb_remove_of(c->store, all, &o, with_snapshots);
    if (r == -EBUSY) {
        _cleanup_free_ char *dir = mounts_dir(&c->d->mounts, object_id(&o));
        if (dir)
            return call_fail(c, r, "busy", "cannot remove '%s': it is mounted at %s; `coppice umount %s` first", name, dir, name);
    }
    if (r)
        return call_errno(c, r, "remove", name);
    return call_more(c, "removed", json_string(object_id(&o)));
}

int verb_do_rm(struct call *c)
{
    json_t *names, *v;
    int with_snapshots = 0;
    size_t i;

    int r = call_args(c, ",s:o,s?b", "objects", &names, "with_snapshots", &with_snapshots);
    if (!r && !json_is_array(names))
        r = call_bad(c, "objects is an array of names");
    if (r)
        return r;
    /* All are looked up before the first is removed: a wrong name among them changes nothing. */
    json_array_foreach(names, i, v) {
        struct object o;
        if (!json_is_string(v))
            return call_bad(c, "objects is an array of names");
        if ((r = call_object(c, "remove", json_string_value(v), &o)))
            return r;
    }
    struct removal *all = json_array_size(names) >= RM_MANY ? remove_begin(c->store) : NULL;
    for (i = 0; !r && i < json_array_size(names); i++)
        r = remove_one(c, json_string_value(json_array_get(names, i)), with_snapshots, all);
    remove_end(all);
    if (!r)
        c->result = json_pack("{s:[]}", "removed");
    return r;
}

int verb_do_rename(struct call *c)
{
    const char *name, *to;
    struct object o;

    int r = call_args(c, ",s:s,s:s", "object", &name, "name", &to);
    if (!r)
        r = call_object(c, "rename", name, &o);
    if (r)
        return r;
    r = verb_rename(c->store, &o, to);
    if (r == -EEXIST || r == -EINVAL)
        return call_name_errno(c, r, "rename to", to);
    if (r)
        return call_errno(c, r, "rename", name);
    c->result = json_pack("{s:s,s:s}", "id", object_id(&o), "name", to);
    return 0;
}

int verb_do_label(struct call *c)
{
    struct label_change ch[2 * LABEL_MAX];
    const char *name, *key;
    json_t *set = NULL, *rm = NULL, *v;
    struct labels check;
    struct object o;
    unsigned n = 0;
    size_t i;

    int r = call_args(c, ",s:s,s?o,s?o", "object", &name, "set", &set, "remove", &rm);
    if (!r)
        r = call_labels(c, set, &check);
    if (!r && rm && !json_is_array(rm))
        r = call_bad(c, "remove is an array of keys");
    if (!r)
        r = call_object(c, "label", name, &o);
    if (r)
        return r;
    if (json_array_size(rm) > LABEL_MAX)
        return call_errno(c, -E2BIG, "label", name);
    json_array_foreach(rm, i, v) {
        if (!json_is_string(v) || !strncmp(json_string_value(v), "coppice.", 8))
            return call_bad(c, "remove is an array of keys that do not begin with \"coppice.\"");
        ch[n++] = (struct label_change){ json_string_value(v), NULL };
    }
    json_object_foreach(set, key, v)
        ch[n++] = (struct label_change){ key, json_string_value(v) };
    r = verb_label(c->store, &o, ch, n);
    history_wake(&c->d->history);         /* perhaps a date, or a pin that is gone */
    if (!r)
        r = object_find(c->store, object_id(&o), &o);
    if (r)
        return call_errno(c, r, "label", name);
    c->result = json_pack("{s:s,s:o}", "id", object_id(&o), "labels", labels_json(object_is_snapshot(&o) ? &o.snap.labels : &o.ws.labels));
    return 0;
}
