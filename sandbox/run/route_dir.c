/* stat, dir, move, copy, chmod. */
#include <errno.h>
#include <string.h>

#include "sandbox/routes.h"
#include "sandbox/run/file_call.h"

enum { QUEUE_HIGH = 256 * 1024, QUEUE_LOW = 64 * 1024, ENTRY_MAX = 16 * 1024 };

/* --- stat, and operations that answer with what is there then --- */
struct simple { struct file_route r; unsigned status; };

static void simple_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct simple *s = arg;
    char etag[FILE_ADDRESS_MAX + 3];
    json_t *o;

    if (!s->r.x.c)
        return;
    if (status)
        return file_route_fail(s, status, step);
    o = file_stat_json(s->r.q.path2[0] ? s->r.q.path2 : s->r.q.path, st);
    file_etag(etag, st);
    if (st->address[0])
        http_set_header(s->r.x.c, "ETag", etag);
    http_reply(s->r.x.c, s->status, o);
}

static const struct file_ops simple_ops = { .head = simple_head };

static void route_stat(struct http_call *c)
{
    struct simple *s = file_route_new(c, sizeof(*s), FILE_STAT, http_param(c, "path"), NULL);
    bool follow = true, address = true;

    if (!s || !http_query_bool(c, "follow", &follow) || !http_query_bool(c, "address", &address))
        return;
    s->status = 200;
    s->r.q.flags = (follow ? 0u : FILE_NOFOLLOW) | (address ? FILE_ADDRESS : 0u);
    file_route_go(s, &simple_ops);
}

static void route_mkdir(struct http_call *c)
{
    struct simple *s = file_route_new(c, sizeof(*s), FILE_MKDIR, http_param(c, "path"), NULL);
    bool parents = true;

    if (!s)
        return;
    s->status = 201;
    s->r.q.mode = 0755;
    if (!http_query_bool(c, "parents", &parents) || !file_query_mode(c, &s->r.q.mode))
        return;
    s->r.q.flags = parents ? FILE_PARENTS : 0;
    file_route_go(s, &simple_ops);
}

/* A path of a JSON body: absolute, or "~/..." and anything else relative to the home. */
static bool body_path(struct http_call *c, char out[4096], const char *name, const char *path)
{
    bool home = path[0] == '~' && (!path[1] || path[1] == '/');
    const char *p = home ? path + 1 : path;

    while (home && *p == '/')
        p++;
    if (!*path || g_strlcpy(out, *p ? p : ".", 4096) >= 4096) {
        http_fail(c, "invalid_request", "%s: a path of 1 to 4095 bytes is needed", name);
        return false;
    }
    return true;
}

static void two_paths(struct http_call *c, uint8_t op)
{
    struct simple *s = file_route_new(c, sizeof(*s), op, "", NULL);
    const char *from, *to;
    int replace = 0, parents = 0;

    if (!s || !http_unpack(c, "{s:s, s:s, s?b, s?b}", "from", &from, "to", &to, "replace", &replace, "parents", &parents))
        return;
    if (!body_path(c, s->r.q.path, "from", from) || !body_path(c, s->r.q.path2, "to", to))
        return;
    s->status = 200;
    s->r.q.flags = (replace ? FILE_REPLACE : 0u) | (parents ? FILE_PARENTS : 0u) | (op == FILE_COPY ? FILE_RECURSIVE : FILE_NOFOLLOW);
    file_route_go(s, &simple_ops);
}

static void route_move(struct http_call *c) { two_paths(c, FILE_MOVE); }
static void route_copy(struct http_call *c) { two_paths(c, FILE_COPY); }

static void route_chmod(struct http_call *c)
{
    struct simple *s = file_route_new(c, sizeof(*s), FILE_CHMOD, "", NULL);
    const char *path, *mode;
    guint64 bits;

    if (!s || !http_unpack(c, "{s:s, s:s}", "path", &path, "mode", &mode) || !body_path(c, s->r.q.path, "path", path))
        return;
    if (!g_ascii_string_to_unsigned(mode, 8, 0, 07777, &bits, NULL))
        return http_fail(c, "invalid_request", "mode: up to four octal digits, as text");
    s->status = 200;
    s->r.q.mode = (uint32_t)bits;
    file_route_go(s, &simple_ops);
}

/* --- a listing: {"path", "entries": [...]}, or a line for each entry; written as it comes, however large the directory --- */
struct list { struct file_route r; GByteArray *in; bool ndjson, streaming, first; };

static void list_over(void *self)
{
    struct list *l = self;

    if (l->in)
        g_byte_array_unref(l->in);
    l->in = NULL;
}

static void list_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct list *l = arg;
    g_autofree char *text = NULL;
    json_t *o;

    if (!l->r.x.c)
        return;
    if (status)
        return file_route_fail(l, status, step);
    l->streaming = l->first = true;
    http_stream(l->r.x.c, 200, l->ndjson ? "application/x-ndjson" : "application/json", -1);
    if (l->ndjson)
        return;
    o = json_object();
    json_set_bytes(o, "path", l->r.q.path);
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    http_write(l->r.x.c, text, strlen(text) - 1);          /* without its last brace */
    http_write(l->r.x.c, ",\"entries\":[", 12);
}

/* One entry of the listing, if all of it is here. 1, 0: not yet, -EPROTO. */
static int list_entry(struct list *l, struct reader *r)
{
    struct reader at = *r;
    char path[4097], target[4097];
    struct file_stat st = { 0 };
    json_t *o;
    char *text;

    get_str(&at, path, sizeof(path));
    file_stat_get(&at, &st);
    get_str(&at, target, sizeof(target));
    if (at.bad)
        return reader_left(r) > ENTRY_MAX ? -EPROTO : 0;
    o = file_stat_json(path, &st);
    if (target[0])
        json_set_bytes(o, "target", target);
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (!text)
        return -EPROTO;
    if (!l->first && !l->ndjson)
        http_write(l->r.x.c, ",\n", 2);
    http_write(l->r.x.c, text, strlen(text));
    if (l->ndjson)
        http_write(l->r.x.c, "\n", 1);
    free(text);
    l->first = false;
    *r = at;
    return 1;
}

static bool list_data(void *arg, const uint8_t *p, size_t n)
{
    struct list *l = arg;
    struct reader r;
    int got;

    if (!l->r.x.c || !l->streaming)
        return true;
    g_byte_array_append(l->in, p, (guint)n);
    r = reader_of(l->in->data, l->in->len);
    while ((got = list_entry(l, &r)) > 0)
        ;
    if (got < 0) {
        l->streaming = false;
        http_abort(l->r.x.c);
        return true;
    }
    g_byte_array_remove_range(l->in, 0, l->in->len - (guint)reader_left(&r));
    return http_queued(l->r.x.c) < QUEUE_HIGH;
}

static void list_end(void *arg, int status)
{
    struct list *l = arg;

    if (!l->r.x.c || !l->streaming)
        return;
    l->streaming = false;
    if (status || l->in->len) {
        http_abort(l->r.x.c);
        return;
    }
    if (!l->ndjson)
        http_write(l->r.x.c, "]}\n", 3);
    http_end(l->r.x.c);
}

static const struct file_ops list_ops = { .head = list_head, .data = list_data, .end = list_end };

static void list_sent(void *state, size_t n)
{
    struct list *l = state;

    if (l->r.f && l->streaming && http_queued(l->r.x.c) < QUEUE_LOW)
        file_resume(l->r.f);
}

static void route_list(struct http_call *c)
{
    struct list *l = file_route_new(c, sizeof(*l), FILE_LIST, http_param(c, "path"), list_over);
    uint64_t depth = 1;

    if (!l || !http_query_u64(c, "depth", &depth))
        return;
    if (depth < 1 || depth > FILE_DEPTH_MAX)
        return http_fail(c, "invalid_request", "depth: 1 (the directory's own entries) to %d", FILE_DEPTH_MAX);
    l->in = g_byte_array_new();
    l->ndjson = http_wants_ndjson(c);
    l->r.q.depth = (uint32_t)depth;
    http_on_sent(c, list_sent);
    file_route_go(l, &list_ops);
}

#define PARAM(name, in, type) "{\"name\": \"" name "\", \"in\": \"" in "\", \"schema\": {\"type\": \"" type "\"}}"
#define ID "{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define PATHS ID ", {\"name\": \"path\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}, " PARAM("user", "query", "string")
#define BODY(required, props) "\"requestBody\": {\"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"required\": [" required \
    "], \"properties\": {" props "}}}}}"
#define STR(name) "\"" name "\": {\"type\": \"string\"}"
#define BOOL(name) "\"" name "\": {\"type\": \"boolean\"}"
#define ANSWERS(code, what) "\"responses\": {\"" code "\": {\"description\": \"" what "\"}, \"default\": {\"$ref\": \"#/components/responses/Error\"}}"
const struct http_route dir_routes[] = {
    { "GET", "/v1/sandbox/{id}/stat/{path*}", 0, route_stat,
      "{\"summary\": \"Type, size, mode, owner, times and address of a file\", \"parameters\": [" PATHS ", " PARAM("follow", "query", "boolean") ", " PARAM("address", "query", "boolean") "], "
      ANSWERS("200", "What it is") "}" },
    { "GET", "/v1/sandbox/{id}/dir/{path*}", 0, route_list,
      "{\"summary\": \"List a directory\", \"parameters\": [" PATHS ", " PARAM("depth", "query", "integer") "], " ANSWERS("200", "Its entries") "}" },
    { "POST", "/v1/sandbox/{id}/dir/{path*}", ROUTE_JSON, route_mkdir,
      "{\"summary\": \"Make a directory\", \"parameters\": [" PATHS ", " PARAM("mode", "query", "string") ", " PARAM("parents", "query", "boolean") "], " ANSWERS("201", "It is there") "}" },
    { "POST", "/v1/sandbox/{id}/move", ROUTE_JSON, route_move,
      "{\"summary\": \"Move or rename\", \"parameters\": [" ID ", " PARAM("user", "query", "string") "], "
      BODY("\"from\", \"to\"", STR("from") ", " STR("to") ", " BOOL("replace") ", " BOOL("parents")) ", " ANSWERS("200", "What is at its new place") "}" },
    { "POST", "/v1/sandbox/{id}/copy", ROUTE_JSON, route_copy,
      "{\"summary\": \"Copy a file or a tree\", \"parameters\": [" ID ", " PARAM("user", "query", "string") "], "
      BODY("\"from\", \"to\"", STR("from") ", " STR("to") ", " BOOL("replace") ", " BOOL("parents")) ", " ANSWERS("200", "The copy") "}" },
    { "POST", "/v1/sandbox/{id}/chmod", ROUTE_JSON, route_chmod,
      "{\"summary\": \"Set the mode of a file\", \"parameters\": [" ID ", " PARAM("user", "query", "string") "], " BODY("\"path\", \"mode\"", STR("path") ", " STR("mode")) ", "
      ANSWERS("200", "What it is now") "}" },
    { 0 }
};
