/* GET .../watch: what changes in a directory, as events while it does. */
#include <string.h>

#include "sandbox/routes.h"
#include "sandbox/run/boxed.h"
#include "sandbox/run/file_call.h"
#include "sandbox/watch.h"

enum { QUEUE_LOW = 256 * 1024 };
struct stream {
    struct boxed x;
    struct watch *w;
    char *path, *user;
    char **include, **exclude;
    bool recursive, begun;
    unsigned types;
};
static const char *const type_names[] = { "create", "modify", "close_write", "delete", "move", "attrib" };

static void stream_over(void *self)
{
    struct stream *s = self;

    watch_free(s->w);
    s->w = NULL;
}

static void stream_fini(void *self)
{
    struct stream *s = self;

    g_free(s->path);
    g_free(s->user);
    g_strfreev(s->include);
    g_strfreev(s->exclude);
}

static json_t *time_json(uint64_t ns)
{
    g_autoptr(GDateTime) t = g_date_time_new_from_unix_utc((gint64)(ns / 1000000000));
    g_autofree char *text = t ? g_date_time_format(t, "%Y-%m-%dT%H:%M:%S") : NULL;

    return text ? json_sprintf("%s.%06uZ", text, (unsigned)(ns % 1000000000 / 1000)) : json_null();
}

/* A watch does not hold the box. */
static void let_sleep(struct stream *s)
{
    if (!s->x.held)
        return;
    s->x.held = false;
    box_release(s->x.b);
}

static void on_ready(void *arg, const char *path)
{
    struct stream *s = arg;
    json_t *o = json_object();

    json_set_bytes(o, "path", path);
    if (!s->begun)
        http_events(s->x.c);
    s->begun = true;
    http_event(s->x.c, "ready", o, -1);
    let_sleep(s);
}

static void on_event(void *arg, const struct watch_event *e)
{
    struct stream *s = arg;
    json_t *o = json_object();

    json_object_set_new(o, "type", json_string(type_names[e->type]));
    json_set_bytes(o, "path", e->path);
    if (e->to)
        json_set_bytes(o, "to", e->to);
    json_object_set_new(o, "is_dir", json_boolean(e->is_dir));
    json_object_set_new(o, "seq", json_integer((json_int_t)e->seq));
    json_object_set_new(o, "time", time_json(e->time_ns));
    http_event(s->x.c, "event", o, (int64_t)e->seq);
}

static void on_overflow(void *arg, uint64_t lost, const char *reason)
{
    struct stream *s = arg;

    http_event(s->x.c, "overflow", json_pack("{s:s, s:o}", "reason", reason, "lost", lost ? json_integer((json_int_t)lost) : json_null()), -1);
}

static void on_end(void *arg, const struct fault *fault)
{
    struct stream *s = arg;

    let_sleep(s);
    if (!s->begun) {
        http_fault(s->x.c, fault);
        return;
    }
    http_event(s->x.c, "end", json_pack("{s:s, s:s}", "reason", fault->code, "error", fault->text), -1);
    http_end(s->x.c);
}

static bool on_full(void *arg) { return http_queued(((struct stream *)arg)->x.c) > QUEUE_LOW; }

static const struct watch_ops ops = { .ready = on_ready, .event = on_event, .overflow = on_overflow, .end = on_end, .full = on_full };

static void on_sent(void *state, size_t n)
{
    struct stream *s = state;

    (void)n;
    if (s->w && !on_full(s))
        watch_flow(s->w);
}

static void stream_go(void *self)
{
    struct stream *s = self;
    struct watch_request q = { .path = s->path, .user = s->user, .recursive = s->recursive, .include = s->include, .exclude = s->exclude, .types = s->types };
    struct fault f;

    s->w = watch_start(s->x.b, &q, &ops, s, &f);
    if (!s->w)
        http_fault(s->x.c, &f);
}

/* A list with commas; "\," is a comma of a pattern. */
static char **split(const char *text)
{
    GPtrArray *list = g_ptr_array_new();
    GString *one = g_string_new(NULL);

    for (const char *p = text; p && *p; p++) {
        if (*p == '\\' && p[1]) {
            g_string_append_c(one, *p++);
            g_string_append_c(one, *p);
        } else if (*p == ',') {
            g_ptr_array_add(list, g_string_free(one, false));
            one = g_string_new(NULL);
        } else {
            g_string_append_c(one, *p);
        }
    }
    if (text)
        g_ptr_array_add(list, g_string_free(one, false));
    else
        g_string_free(one, true);
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, false);
}

static bool types_of(struct http_call *c, const char *text, unsigned *ret)
{
    g_auto(GStrv) names = split(text);

    for (char **p = names; *p; p++) {
        unsigned i = 0;
        while (i < G_N_ELEMENTS(type_names) && strcmp(*p, type_names[i]))
            i++;
        if (i == G_N_ELEMENTS(type_names))
            return http_fail(c, "invalid_request", "types: %.50s: some of create, modify, close_write, delete, move, attrib", *p), false;
        *ret |= 1u << i;
    }
    return true;
}

static void route_watch(struct http_call *c)
{
    struct stream *s = boxed_new(c, sizeof(*s), stream_over, stream_fini);
    const char *user = http_query(c, "user");

    s->recursive = true;
    s->path = g_strdup(http_query(c, "path"));
    s->user = g_strdup(user);
    s->include = split(http_query(c, "include"));
    s->exclude = split(http_query(c, "exclude"));
    if (!http_query_bool(c, "recursive", &s->recursive) || !types_of(c, http_query(c, "types"), &s->types))
        return;
    if (user && (!*user || strlen(user) > 63)) {
        http_fail(c, "invalid_request", "user: give user, root, a number or UID:GID");
        return;
    }
    if (http_is_head(c)) {
        http_fail(c, "method_not_allowed", "a watch has no HEAD");
        return;
    }
    http_on_sent(c, on_sent);
    boxed_go(s, BOXED_RUN, stream_go);
}

#define QUERY(name, type, text) "{\"name\": \"" name "\", \"in\": \"query\", \"description\": \"" text "\", \"schema\": {\"type\": \"" type "\"}}"
const struct http_route watch_routes[] = {
    { "GET", "/v1/sandbox/{id}/watch", 0, route_watch,
      "{\"summary\": \"Watch for changes\", \"description\": \"Events while files change (docs/watch.md): ready{path}, event{type, path, to, is_dir, seq, time}, overflow{reason, lost}, end{reason, error}. A name that is no UTF-8 "
      "comes with path_base64. A watch does not keep the sandbox awake; its sleep ends the watch.\", \"parameters\": [{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}, "
      QUERY("path", "string", "a directory (or a file); default /workspace, or the home") ", " QUERY("recursive", "boolean", "with all that is beneath; default true") ", "
      QUERY("include", "string", "patterns with commas: only what matches one is told") ", " QUERY("exclude", "string", "patterns with commas: neither told nor watched") ", "
      QUERY("types", "string", "some of create,modify,close_write,delete,move,attrib") ", " QUERY("user", "string", "with whose rights") "], "
      "\"responses\": {\"200\": {\"description\": \"Events\", \"content\": {\"text/event-stream\": {}, \"application/x-ndjson\": {}}}, \"default\": {\"$ref\": \"#/components/responses/Error\"}}}" },
    { 0 }
};
