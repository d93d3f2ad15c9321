/* persist: a directory of the sandbox as a tar; hydrate: a tar unpacked into it. The worker in the sandbox speaks the entry stream, coppice-tar (confined, with no rights in the
 * sandbox) converts: so no byte of an archive is parsed here, and every path of it is resolved inside.
 *
 *   persist:  worker --entry stream--> coppice-tar --tar--> answer          hydrate:  body --tar--> coppice-tar --entry stream--> worker
 * Each arrow pauses the one before when it is full. */
#include <errno.h>
#include <string.h>

#include "sandbox/routes.h"
#include "sandbox/run/file_call.h"
#include "sandbox/run/filter.h"

enum { QUEUE_HIGH = 256 * 1024, QUEUE_LOW = 64 * 1024 };
struct tree {
    struct file_route r;
    struct filter *filter;
    GByteArray *rest;                  /* of the entry stream: read, and not yet taken by the next */
    GByteArray *body;                  /* of hydrate's body likewise */
    bool streaming, ended, in_done;    /* in_done: all of the input was given */
    bool converted;                    /* the filter has said all; the worker is to finish */
};

static void tree_over(void *self)
{
    struct tree *t = self;

    t->ended = true;
    filter_free(t->filter);
    t->filter = NULL;
    file_free(t->r.f);
    t->r.f = NULL;
    if (t->rest)
        g_byte_array_unref(t->rest);
    if (t->body)
        g_byte_array_unref(t->body);
    t->rest = t->body = NULL;
}

static bool tree_root(struct tree *t)
{
    const char *root = http_query(t->r.x.c, "root");

    if (root && (root[0] != '/' || g_strlcpy(t->r.q.path, root, sizeof(t->r.q.path)) >= sizeof(t->r.q.path))) {
        http_fail(t->r.x.c, "invalid_request", "root: an absolute path");
        return false;
    }
    t->rest = g_byte_array_new();
    return true;
}

/* What a step takes of n bytes; the rest is kept. True: all was taken, go on. */
typedef size_t take_fn(struct tree *t, const uint8_t *p, size_t n);
static bool pass(struct tree *t, take_fn *take, const uint8_t *p, size_t n)
{
    size_t taken;

    while (n && (taken = take(t, p, n))) {
        p += taken;
        n -= taken;
    }
    g_byte_array_append(t->rest, p, (guint)n);
    return !n;
}

static bool pass_rest(struct tree *t, take_fn *take)
{
    size_t taken;

    while (t->rest->len && (taken = take(t, t->rest->data, t->rest->len)))
        g_byte_array_remove_range(t->rest, 0, (guint)taken);
    return !t->rest->len;
}

static size_t to_filter(struct tree *t, const uint8_t *p, size_t n) { return filter_write(t->filter, p, n); }
static size_t to_worker(struct tree *t, const uint8_t *p, size_t n) { return file_write(t->r.f, p, n); }

/* --- persist --- */
static bool tar_data(void *arg, const uint8_t *p, size_t n)
{
    struct tree *t = arg;

    if (t->ended)
        return true;
    http_write(t->r.x.c, p, n);
    return http_queued(t->r.x.c) < QUEUE_HIGH;
}

static void tar_room(void *arg)
{
    struct tree *t = arg;

    if (t->ended || !pass_rest(t, to_filter))
        return;
    if (t->in_done)
        filter_write_end(t->filter);
    else
        file_resume(t->r.f);
}

static void tar_end(void *arg, const char *error, bool bad_input)
{
    struct tree *t = arg;

    if (t->ended)
        return;
    if (!error && !t->in_done) {
        t->converted = true;           /* the stream says itself where it ends: out_end, with the worker's word on it, may come later */
        return;
    }
    t->ended = true;
    if (error)
        http_abort(t->r.x.c);
    else
        http_end(t->r.x.c);
}

static const struct filter_ops tar_ops = { .data = tar_data, .room = tar_room, .end = tar_end };

static void out_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct tree *t = arg;
    struct fault f;

    if (t->ended)
        return;
    if (status) {
        t->ended = true;
        return file_route_fail(t, status, step);
    }
    t->filter = filter_new("--to-tar", &tar_ops, t, &f);
    if (!t->filter) {
        t->ended = true;
        return http_fault(t->r.x.c, &f);
    }
    http_stream(t->r.x.c, 200, "application/x-tar", -1);
}

static bool out_data(void *arg, const uint8_t *p, size_t n)
{
    struct tree *t = arg;

    return t->ended || pass(t, to_filter, p, n);
}

static void out_end(void *arg, int status)
{
    struct tree *t = arg;

    if (t->ended)
        return;
    if (status) {
        t->ended = true;
        http_abort(t->r.x.c);
        return;
    }
    t->in_done = true;
    if (t->converted) {
        t->ended = true;
        http_end(t->r.x.c);
    } else if (pass_rest(t, to_filter)) {
        filter_write_end(t->filter);
    }
}

static const struct file_ops out_ops = { .head = out_head, .data = out_data, .end = out_end };

static void persist_sent(void *state, size_t n)
{
    struct tree *t = state;

    if (t->filter && !t->ended && http_queued(t->r.x.c) < QUEUE_LOW)
        filter_resume(t->filter);
}

static void route_persist(struct http_call *c)
{
    struct tree *t = file_route_new(c, sizeof(*t), FILE_TREE_OUT, "workspace", tree_over);
    const char *excludes = http_query(c, "excludes");
    unsigned n = 0;

    if (!t || !tree_root(t))
        return;
    if (excludes && *excludes) {
        g_auto(GStrv) parts = g_strsplit(excludes, ",", FILE_EXTRA_MAX + 1);
        if (g_strv_length(parts) > FILE_EXTRA_MAX)
            return http_fail(c, "invalid_request", "excludes: at most %d", FILE_EXTRA_MAX);
        t->r.q.extra = calloc(g_strv_length(parts) + 1, sizeof(char *));
        for (char **p = parts; *p; p++)
            if (**p)
                t->r.q.extra[n++] = strdup(*p);
        t->r.q.extra_count = n;
    }
    http_on_sent(c, persist_sent);
    file_route_go(t, &out_ops);
}

/* --- hydrate --- */
static void hydrate_fail(struct tree *t, const char *code, const char *text)
{
    if (t->ended)
        return;
    t->ended = true;
    http_fail(t->r.x.c, code, "the archive was not unpacked, or in part: %s", text);
}

static bool stream_data(void *arg, const uint8_t *p, size_t n)
{
    struct tree *t = arg;

    return t->ended || pass(t, to_worker, p, n);
}

static void worker_finish(struct tree *t)
{
    if (t->converted && !t->ended && pass_rest(t, to_worker))
        file_write_end(t->r.f);
}

static void stream_end(void *arg, const char *error, bool bad_input)
{
    struct tree *t = arg;

    if (t->ended)
        return;
    if (error)
        return hydrate_fail(t, bad_input ? "invalid_request" : "workspace_archive_write_error", error);
    t->converted = true;
    worker_finish(t);
}

/* The body waits in its own buffer, since `rest` is the worker's. */
static size_t body_to_filter(struct tree *t, const uint8_t *p, size_t n) { return t->ended ? n : filter_write(t->filter, p, n); }

static void body_room(void *arg)
{
    struct tree *t = arg;
    size_t taken;

    if (t->ended)
        return;
    while (t->body->len && (taken = body_to_filter(t, t->body->data, t->body->len)))
        g_byte_array_remove_range(t->body, 0, (guint)taken);
    if (!t->body->len && !t->in_done)
        http_body_resume(t->r.x.c);
}

static const struct filter_ops stream_ops = { .data = stream_data, .room = body_room, .end = stream_end };

static bool hydrate_body(void *state, const uint8_t *p, size_t n)
{
    struct tree *t = state;
    size_t taken;

    if (t->ended)
        return true;
    if (!n) {
        t->in_done = true;
        filter_write_end(t->filter);
        return true;
    }
    while (n && (taken = body_to_filter(t, p, n))) {
        p += taken;
        n -= taken;
    }
    g_byte_array_append(t->body, p, (guint)n);
    return !n;
}

static void in_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct tree *t = arg;

    if (t->ended)
        return;
    t->ended = true;
    if (status)
        file_route_fail(t, status, step);
    else
        http_reply(t->r.x.c, 200, json_pack("{s:b}", "ok", 1));
}

static void in_room(void *arg)
{
    struct tree *t = arg;

    if (t->ended || !pass_rest(t, to_worker))
        return;
    if (t->converted)
        file_write_end(t->r.f);
    else
        filter_resume(t->filter);
}

static const struct file_ops in_ops = { .head = in_head, .room = in_room };

static void hydrate_go(void *self)
{
    struct tree *t = self;
    struct fault f;

    t->r.ops = &in_ops;
    if (!file_route_begin(t)) {
        t->ended = true;
        return;
    }
    t->filter = filter_new("--to-stream", &stream_ops, t, &f);
    if (!t->filter) {
        t->ended = true;
        return http_fault(t->r.x.c, &f);
    }
    http_body(t->r.x.c, hydrate_body);
}

static void route_hydrate(struct http_call *c)
{
    struct tree *t = file_route_new(c, sizeof(*t), FILE_TREE_IN, "workspace", tree_over);

    if (!t || !tree_root(t))
        return;
    t->body = g_byte_array_new();
    t->r.q.flags = FILE_PARENTS;
    boxed_go(t, BOXED_RUN, hydrate_go);
}

#define PARAM(name, type) "{\"name\": \"" name "\", \"in\": \"query\", \"schema\": {\"type\": \"" type "\"}}"
#define ID "{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
const struct http_route tree_routes[] = {
    { "POST", "/v1/sandbox/{id}/persist", ROUTE_BRIDGE, route_persist,
      "{\"summary\": \"A directory as a tar\", \"parameters\": [" ID ", " PARAM("root", "string") ", " PARAM("excludes", "string") ", " PARAM("user", "string") "], "
      "\"responses\": {\"200\": {\"description\": \"A tar with relative names\", \"content\": {\"application/x-tar\": {}}}, \"default\": {\"$ref\": \"#/components/responses/Error\"}}}" },
    { "POST", "/v1/sandbox/{id}/hydrate", ROUTE_STREAM | ROUTE_BRIDGE, route_hydrate,
      "{\"summary\": \"Unpack a tar into a directory\", \"parameters\": [" ID ", " PARAM("root", "string") ", " PARAM("user", "string") "], \"requestBody\": {\"content\": "
      "{\"application/x-tar\": {}, \"application/octet-stream\": {}}}, \"responses\": {\"200\": {\"description\": \"Unpacked\"}, \"default\": {\"$ref\": \"#/components/responses/Error\"}}}" },
    { 0 }
};
