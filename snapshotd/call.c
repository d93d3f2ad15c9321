#include "snapshotd/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/wire.h"
#include "fs/store.h"

enum { MORE_BYTES = 128 * 1024 };         /* items are sent when so much has come together */

int call_fail(struct call *c, int err, const char *code, const char *fmt, ...)
{
    va_list ap;

    snprintf(c->code, sizeof(c->code), "%s", code);
    va_start(ap, fmt);
    vsnprintf(c->message, sizeof(c->message), fmt, ap);
    va_end(ap);
    return err;
}

int call_errno(struct call *c, int err, const char *doing, const char *object)
{
    explain(err, doing, object, c->code, c->message, sizeof(c->message));
    return err;
}

int call_name_errno(struct call *c, int err, const char *doing, const char *name)
{
    if (err != -EINVAL || object_name_valid(name))
        return call_errno(c, err, doing, name);
    return call_fail(
        c, err, "invalid",
        "cannot %s '%s': not a valid name; names are 1 to %d of a-z 0-9 . _ -, begin with a letter or digit, and do not look like ids",
        doing, name, OBJECT_NAME_MAX);
}

int call_bad(struct call *c, const char *why)
{
    const char *verb = json_string_value(json_object_get(c->req, "verb"));
    return call_fail(c, -EINVAL, "invalid_request", "bad request '%s': %s", verb ? verb : "?", why);
}

/* --- arguments --- */

int call_object(struct call *c, const char *doing, const char *name, struct object *ret)
{
    int r = object_find(c->store, name, ret);
    struct ws_rec w;

    if (r)
        return call_errno(c, r, doing, name);
    /* The record has the name of its workspace at that time; people know the present one. */
    if (object_is_snapshot(ret) && !ws_rec_get(c->store->meta, ret->snap.ws_id, &w))
        strcpy(ret->snap.ws_name, w.name);
    return 0;
}

bool object_is_snapshot(const struct object *o)
{
    return o->snap.id[0];
}

const char *object_id(const struct object *o)
{
    return object_is_snapshot(o) ? o->snap.id : o->ws.id;
}

const char *object_label(const struct object *o)
{
    static _Thread_local char text[2 * OBJECT_NAME_MAX + 4];

    if (!object_is_snapshot(o))
        return o->ws.name;
    if (!o->snap.name[0])
        return o->snap.id;
    snprintf(text, sizeof(text), "%s@%s", o->snap.ws_name, o->snap.name);
    return text;
}

int call_labels(struct call *c, const json_t *v, struct labels *ret)
{
    const char *key;
    json_t *val;

    memset(ret, 0, sizeof(*ret));
    if (!v)
        return 0;
    if (!json_is_object(v))
        return call_bad(c, "labels are an object of strings");
    json_object_foreach((json_t *)(uintptr_t)v, key, val) {
        struct label *l = &ret->l[ret->count];
        if (!json_is_string(val))
            return call_bad(c, "the value of a label is a string");
        if (ret->count == LABEL_MAX || strlen(key) > LABEL_KEY_MAX || json_string_length(val) > LABEL_VAL_MAX)
            return call_fail(c, -E2BIG, "too_many", "too many labels: at most %d, keys to %d bytes, values to %d", LABEL_MAX, LABEL_KEY_MAX,
                             LABEL_VAL_MAX);
        if (!key[0] || !strncmp(key, "coppice.", 8))
            return call_fail(
                c, -EINVAL, "invalid",
                "the label '%s' cannot be set: keys are not empty, and those that begin with \"coppice.\" are kept for coppice itself",
                key);
        snprintf(l->key, sizeof(l->key), "%s", key);
        snprintf(l->val, sizeof(l->val), "%s", json_string_value(val));
        ret->count++;
    }
    return 0;
}

/* "./a//b/" -> "a/b" in place. False: it goes up. */
static bool path_clean(char *s)
{
    char *to = s;

    for (const char *p = s; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return false;
        if (n && !(n == 1 && p[0] == '.')) {
            if (to != s)
                *to++ = '/';
            memmove(to, p, n);
            to += n;
        }
        p += n;
        p += *p == '/';
    }
    *to = 0;
    return true;
}

int call_paths(struct call *c, const json_t *v, struct paths *ret)
{
    size_t len;
    int r;

    *ret = (struct paths){ 0 };
    if (!v)
        return 0;
    if (!json_is_array(v))
        return call_bad(c, "paths are an array");
    if (!(ret->v = mem_zalloc(json_array_size(v) * sizeof(char *))))
        return call_errno(c, -ENOMEM, "take", "paths");
    for (size_t i = 0; i < json_array_size(v); i++) {
        char *p = snap_bytes_get(json_array_get(v, i), &len, &r);
        if (!p)
            return r == -ENOMEM ? call_errno(c, r, "take", "paths") : call_bad(c, "a path is a string or {\"base64\"}");
        ret->v[ret->n++] = p;
        if (!path_clean(p))
            return call_fail(c, -EINVAL, "invalid", "a path goes up ('..'); paths are relative to the workspace's root");
    }
    return 0;
}

void paths_fini(struct paths *p)
{
    for (unsigned i = 0; i < p->n; i++)
        free(p->v[i]);
    free(p->v);
    *p = (struct paths){ 0 };
}

/* --- the answer --- */

static int sent(struct call *c, int r)
{
    if (r && r != -EMSGSIZE)
        c->broken = r;
    return r;
}

int call_more_flush(struct call *c)
{
    if (!c->more.len)
        return 0;
    buf_put(&c->more, "]}}", 3);
    int r = buf_err(&c->more);
    if (!r) {
        put_le32(c->more.data, (uint32_t)c->more.len - 4);
        r = sent(c, snap_send_bytes(c->sock, c->more.data, c->more.len, NULL, 0));
    }
    buf_clear(&c->more);
    return r;
}

static int add_text(const char *text, size_t n, void *arg)
{
    buf_put(arg, text, n);
    return 0;
}

int call_more(struct call *c, const char *key, json_t *item)
{
    int r = c->broken;

    if (!item)
        return -ENOMEM;
    if (!r && c->more.len && (strcmp(key, c->more_key) || c->more.len > MORE_BYTES))
        r = call_more_flush(c);
    if (!r) {
        if (!c->more.len) {
            snprintf(c->more_key, sizeof(c->more_key), "%s", key);
            buf_put_u32(&c->more, 0);
            buf_printf(&c->more, "{\"more\":{\"%s\":[", key);
        } else {
            buf_put_u8(&c->more, ',');
        }
        if (json_dump_callback(item, add_text, &c->more, JSON_COMPACT | JSON_ENCODE_ANY))
            r = -ENOMEM;
    }
    json_decref(item);
    return r ? r : buf_err(&c->more);
}

int call_send(struct call *c, json_t *msg, const int *fds, unsigned fd_count)
{
    int r = c->broken ? c->broken : msg ? call_more_flush(c) : -ENOMEM;

    if (!r)
        r = sent(c, snap_send(c->sock, msg, fds, fd_count));
    json_decref(msg);
    return r;
}

bool call_progress_due(struct call *c)
{
    return clock_mono_ns() - c->progress_ns >= 100000000;
}

int call_progress(struct call *c, json_t *body, bool always)
{
    if (!always && !call_progress_due(c)) {
        json_decref(body);
        return 0;
    }
    c->progress_ns = clock_mono_ns();
    return call_send(c, json_pack("{s:o}", "progress", body), NULL, 0);
}

/* --- what verbs share --- */

json_t *labels_json(const struct labels *l)
{
    json_t *o = json_object();

    for (uint32_t i = 0; i < l->count; i++)
        json_object_set_new(o, l->l[i].key, snap_bytes(l->l[i].val, strlen(l->l[i].val)));
    return o;
}

static json_t *id_or_null(const char *id)
{
    return id[0] ? json_string(id) : json_null();
}

/* A root on the host's /usr says so; others have all that they need in them. */
static json_t *template_json(enum ws_kind kind)
{
    return kind == WS_HOST ? json_string(TEMPLATE_HOST) : json_null();
}

json_t *ws_json(struct call *c, const struct ws_rec *w)
{
    json_t *at = mounts_json(&c->d->mounts, w->id), *first = json_array_get(at, 0);
    json_t *dir = first ? json_incref(json_object_get(first, "dir")) : json_null();
    bool mounted = first != NULL;

    json_decref(at);
    return json_pack("{s:s,s:s,s:s,s:o,s:I,s:o,s:b,s:o,s:I,s:I,s:o,s:b,s:I}", "id", w->id, "name", w->name, "kind",
                     w->kind >= WS_ROOT ? "root" : "bare", "template", template_json(w->kind), "created", (json_int_t)w->created, "snapshot", id_or_null(w->parent_snap),
                     "mounted", mounted, "dir", dir, "quota_bytes", (json_int_t)w->quota_bytes, "quota_inodes", (json_int_t)w->quota_inodes,
                     "labels", labels_json(&w->labels), "importing", ws_importing(w), "seq", (json_int_t)w->seq);
}

json_t *snap_json(struct call *c, const struct snap_rec *s)
{
    struct ws_rec w;
    bool there = !ws_rec_get(c->store->meta, s->ws_id, &w);

    return snap_json_named(s, there ? w.name : s->ws_name);
}

json_t *snap_json_named(const struct snap_rec *s, const char *ws_name)
{
    static const char *const causes[] = { "unknown", "user", "fork", "import", "restore", "auto", "merge" };
    const char *cause = causes[(unsigned)s->cause < 7 ? s->cause : 0];
    json_t *merged = json_array();
    for (uint32_t i = 0; i < s->merged_count; i++)
        json_array_append_new(merged, json_string(s->merged[i]));
    return json_pack("{s:s,s:o,s:s,s:s,s:s,s:o,s:o,s:o,s:I,s:s,s:o,s:o,s:I}", "id", s->id, "name", id_or_null(s->name), "workspace",
                     ws_name, "workspace_id", s->ws_id, "kind", s->kind >= WS_ROOT ? "root" : "bare", "template", template_json(s->kind), "parent",
                     id_or_null(s->parent), "merged", merged, "created", (json_int_t)s->created, "cause", cause, "message",
                     snap_bytes(s->message, strlen(s->message)), "labels", labels_json(&s->labels), "seq", (json_int_t)s->seq);
}

json_t *timing_json(const struct snapshot_timing *t)
{
    return json_pack("{s:f,s:f,s:f,s:f,s:I,s:I,s:I,s:I}", "flush_ms", (double)t->flush_ns / 1e6, "sync_ms", (double)t->sync_ns / 1e6,
                     "held_ms", (double)t->held_ns / 1e6, "total_ms", (double)t->total_ns / 1e6, "flush_ns", (json_int_t)t->flush_ns,
                     "sync_ns", (json_int_t)t->sync_ns, "held_ns", (json_int_t)t->held_ns, "total_ns", (json_int_t)t->total_ns);
}

int call_flush(struct call *c, const char *doing, const struct ws_rec *w, struct flushing *ret)
{
    int r = mounts_flush_begin(&c->d->mounts, w->id, c->fds, c->fd_count, ret);

    if (!r)
        return 0;
    mounts_flush_end(ret);
    return call_errno(c, r, doing, w->name);
}

bool ws_importing(const struct ws_rec *w)
{
    for (uint32_t i = 0; i < w->labels.count; i++)
        if (!strcmp(w->labels.l[i].key, LABEL_IMPORTING))
            return true;
    return false;
}
