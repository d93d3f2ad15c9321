/* GET, HEAD, PUT, DELETE of file/PATH: bytes, streamed both ways; nothing is held here beyond a chunk. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sandbox/routes.h"
#include "sandbox/run/file_call.h"
#include "sandbox/run/http_range.h"

enum { QUEUE_HIGH = 256 * 1024, QUEUE_LOW = 64 * 1024 };

/* --- GET, HEAD --- */
struct get { struct file_route r; struct http_range range; bool sized, streaming; uint64_t left; };

static void set_headers(struct http_call *c, const struct file_stat *st)
{
    g_autoptr(GDateTime) t = g_date_time_new_from_unix_utc(st->mtime_s);
    g_autofree char *when = t ? g_date_time_format(t, "%a, %d %b %Y %H:%M:%S GMT") : NULL;
    char etag[FILE_ADDRESS_MAX + 3], mode[8];

    file_etag(etag, st);
    if (st->address[0])
        http_set_header(c, "ETag", etag);
    if (when)
        http_set_header(c, "Last-Modified", when);
    snprintf(mode, sizeof(mode), "%04o", st->mode & 07777);
    http_set_header(c, "X-File-Mode", mode);
    http_set_header(c, "Accept-Ranges", "bytes");
}

/* Conditions of the request. True: answered. */
static bool conditions(struct get *g, const struct file_stat *st)
{
    struct http_call *c = g->r.x.c;
    const char *match = http_header(c, "If-Match"), *none = http_header(c, "If-None-Match"), *range = http_header(c, "If-Range");
    char etag[FILE_ADDRESS_MAX + 3];

    file_etag(etag, st);
    if (match && !http_etag_in(match, etag)) {
        http_fail(c, "precondition_failed", "%.300s has changed: its address is %s", g->r.q.path, etag);
        return true;
    }
    if (none && http_etag_in(none, etag)) {
        set_headers(c, st);
        http_reply(c, 304, NULL);
        return true;
    }
    if (range && strcmp(range, etag))
        g->range.have = false;
    return false;
}

/* The range, now that the size is known. False: answered 416. */
static bool range_fix(struct get *g, uint64_t size, uint64_t *ret_first, uint64_t *ret_n)
{
    char text[64];
    uint64_t first = g->range.suffix ? size - MIN(size, g->range.last) : g->range.first, last = g->range.suffix ? UINT64_MAX : g->range.last;

    *ret_first = 0;
    *ret_n = size;
    if (!g->range.have)
        return true;
    if (first >= size) {
        snprintf(text, sizeof(text), "bytes */%llu", (unsigned long long)size);
        http_set_header(g->r.x.c, "Content-Range", text);
        http_fail(g->r.x.c, "out_of_range", "%.300s has %llu bytes: the range begins behind them", g->r.q.path, (unsigned long long)size);
        return false;
    }
    *ret_first = first;
    *ret_n = MIN(last, size - 1) - first + 1;
    return true;
}

static const struct file_ops get_ops;

/* STAT first only where the range counts from the end, or for HEAD; else READ tells it all. */
static void stat_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct get *g = arg;
    uint64_t first, n;

    if (!g->r.x.c)
        return;
    if (status)
        return file_route_fail(g, status, step);
    if (!S_ISREG(st->mode))
        return file_route_fail(g, S_ISDIR(st->mode) ? -EISDIR : -ENXIO, step);
    if (!http_is_head(g->r.x.c)) {
        if (!range_fix(g, st->size, &first, &n))
            return;
        g->range = (struct http_range){ .have = true, .first = first, .last = first + n - 1 };
        g->r.q.op = FILE_READ;
        g->r.q.off = first;
        g->r.q.len = n;
        g->r.ops = &get_ops;
        file_route_begin(g);
        return;
    }
    if (conditions(g, st))
        return;
    set_headers(g->r.x.c, st);
    http_stream(g->r.x.c, 200, "application/octet-stream", (int64_t)st->size);
    http_end(g->r.x.c);
}

static const struct file_ops stat_ops = { .head = stat_head };

static void get_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct get *g = arg;
    struct http_call *c = g->r.x.c;
    uint64_t first;
    char text[96];

    if (!c)
        return;
    if (status == -ERANGE)
        status = -EINVAL;
    if (status)
        return file_route_fail(g, status, step);
    if (conditions(g, st) || !range_fix(g, st->size, &first, &g->left)) {
        file_free(g->r.f);
        g->r.f = NULL;
        return;
    }
    if (!g->range.have && (g->r.q.off || g->r.q.len != UINT64_MAX)) {      /* If-Range says: the whole of it after all */
        g->r.q.off = 0;
        g->r.q.len = UINT64_MAX;
        file_route_begin(g);
        return;
    }
    set_headers(c, st);
    if (g->range.have) {
        snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)first, (unsigned long long)(first + g->left - 1), (unsigned long long)st->size);
        http_set_header(c, "Content-Range", text);
    }
    g->streaming = true;
    http_stream(c, g->range.have ? 206 : 200, "application/octet-stream", (int64_t)g->left);
}

static bool get_data(void *arg, const uint8_t *p, size_t n)
{
    struct get *g = arg;

    if (!g->r.x.c || !g->streaming)
        return true;
    n = (size_t)MIN((uint64_t)n, g->left);             /* a file that grows meanwhile */
    g->left -= n;
    if (n)
        http_write(g->r.x.c, p, n);
    return http_queued(g->r.x.c) < QUEUE_HIGH;
}

static void get_end(void *arg, int status)
{
    struct get *g = arg;

    if (!g->r.x.c || !g->streaming)
        return;
    g->streaming = false;
    if (status || g->left)
        http_abort(g->r.x.c);                          /* the client sees that bytes are missing */
    else
        http_end(g->r.x.c);
}

static const struct file_ops get_ops = { .head = get_head, .data = get_data, .end = get_end };

static void get_sent(void *state, size_t n)
{
    struct get *g = state;

    if (g->r.f && g->streaming && http_queued(g->r.x.c) < QUEUE_LOW)
        file_resume(g->r.f);
}

static void route_get(struct http_call *c)
{
    struct get *g = file_route_new(c, sizeof(*g), FILE_READ, http_param(c, "path"), NULL);

    if (!g)
        return;
    g->r.not_found = "workspace_read_not_found";
    g->r.q.flags = FILE_ADDRESS;
    g->range = http_range_parse(http_header(c, "Range"));
    http_on_sent(c, get_sent);
    if (http_is_head(c) || (g->range.have && g->range.suffix)) {
        g->r.q.op = FILE_STAT;
        return file_route_go(g, &stat_ops);
    }
    if (g->range.have) {
        g->r.q.off = g->range.first;
        g->r.q.len = g->range.last == UINT64_MAX ? UINT64_MAX : g->range.last - g->range.first + 1;
    }
    file_route_go(g, &get_ops);
}

/* --- PUT --- */
struct put { struct file_route r; GByteArray *rest; bool ended, body_done; };

static void put_over(void *self)
{
    struct put *p = self;

    p->ended = true;
    file_free(p->r.f);                                 /* before its end: nothing is committed */
    p->r.f = NULL;
    if (p->rest)
        g_byte_array_unref(p->rest);
    p->rest = NULL;
}

static void put_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct put *p = arg;
    char etag[FILE_ADDRESS_MAX + 3];
    json_t *o;

    if (p->ended)
        return;
    p->ended = true;
    if (status == -EEXIST)
        return http_fail(p->r.x.c, "precondition_failed", "%.300s is there already (If-None-Match: *)", p->r.q.path);
    if (status)
        return file_route_fail(p, status, step);
    o = file_stat_json(p->r.q.path, st);
    json_object_set_new(o, "ok", json_true());
    file_etag(etag, st);
    if (st->address[0])
        http_set_header(p->r.x.c, "ETag", etag);
    http_reply(p->r.x.c, 200, o);
}

/* True: all of it was taken. */
static bool put_rest(struct put *p)
{
    while (p->rest->len) {
        size_t n = file_write(p->r.f, p->rest->data, p->rest->len);
        if (!n)
            return false;
        g_byte_array_remove_range(p->rest, 0, (guint)n);
    }
    return true;
}

static void put_room(void *arg)
{
    struct put *p = arg;

    if (p->ended || !put_rest(p))
        return;
    if (!p->body_done)
        http_body_resume(p->r.x.c);
}

static const struct file_ops put_ops = { .head = put_head, .room = put_room };

static bool put_body(void *state, const uint8_t *b, size_t n)
{
    struct put *p = state;
    size_t taken;

    if (p->ended)
        return true;
    if (!n) {
        p->body_done = true;
        file_write_end(p->r.f);
        return true;
    }
    while (n && (taken = file_write(p->r.f, b, n))) {
        b += taken;
        n -= taken;
    }
    g_byte_array_append(p->rest, b, (guint)n);
    return !n;
}

static void put_go(void *self)
{
    struct put *p = self;

    p->r.ops = &put_ops;
    p->rest = g_byte_array_new();
    if (file_route_begin(p))
        http_body(p->r.x.c, put_body);
    else
        p->ended = true;
}

/* "ADDRESS" with or without quotes, or *. */
static bool put_match(struct put *p, const char *match)
{
    size_t n = strlen(match);

    if (n >= 2 && match[0] == '"' && match[n - 1] == '"') {
        match++;
        n -= 2;
    }
    if (!n || n >= FILE_ADDRESS_MAX || memchr(match, ',', n) || memchr(match, '"', n))
        return false;
    p->r.q.extra = calloc(2, sizeof(char *));
    p->r.q.extra[0] = strndup(match, n);
    p->r.q.extra_count = 1;
    return true;
}

static void route_put(struct http_call *c)
{
    struct put *p = file_route_new(c, sizeof(*p), FILE_WRITE, http_param(c, "path"), put_over);
    const char *match = http_header(c, "If-Match"), *none = http_header(c, "If-None-Match");
    bool parents = true, append = false;

    if (!p)
        return;
    p->r.q.mode = 0644;
    if (!http_query_bool(c, "parents", &parents) || !http_query_bool(c, "append", &append) || !file_query_mode(c, &p->r.q.mode))
        return;
    if (match && !put_match(p, match))
        return http_fail(c, "invalid_request", "If-Match: one address, or *");
    if (none && strcmp(none, "*"))
        return http_fail(c, "invalid_request", "If-None-Match: only * has a meaning here: the file must not be there");
    p->r.q.flags = FILE_ADDRESS | (parents ? FILE_PARENTS : 0u) | (append ? FILE_APPEND : 0u) | (none ? FILE_EXCL : 0u);
    boxed_go(p, BOXED_RUN, put_go);
}

/* --- DELETE --- */
static void delete_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct file_route *r = arg;

    if (r->x.c && status)
        file_route_fail(r, status, step);
    else if (r->x.c)
        http_reply(r->x.c, 204, NULL);
}

static const struct file_ops delete_ops = { .head = delete_head };

static void route_delete(struct http_call *c)
{
    struct file_route *r = file_route_new(c, sizeof(*r), FILE_REMOVE, http_param(c, "path"), NULL);
    bool recursive = false;

    if (!r || !http_query_bool(c, "recursive", &recursive))
        return;
    r->q.flags = FILE_NOFOLLOW | (recursive ? FILE_RECURSIVE : 0u);
    file_route_go(r, &delete_ops);
}

#define PARAM(name, in, type) "{\"name\": \"" name "\", \"in\": \"" in "\", \"schema\": {\"type\": \"" type "\"}}"
#define PATHS "{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}, {\"name\": \"path\", \"in\": \"path\", \"required\": true, \"schema\": " \
    "{\"type\": \"string\"}, \"description\": \"absolute, without the leading slash, percent-encoded; ~/... is the user's home\"}, " PARAM("user", "query", "string")
#define BYTES "{\"content\": {\"application/octet-stream\": {}}}"
#define OTHERS "\"default\": {\"$ref\": \"#/components/responses/Error\"}"
const struct http_route file_routes[] = {
    { "GET", "/v1/sandbox/{id}/file/{path*}", ROUTE_BRIDGE, route_get,
      "{\"summary\": \"Read a file\", \"description\": \"Its bytes; ETag is its address. HEAD for the headers alone.\", \"parameters\": [" PATHS ", " PARAM("Range", "header", "string") ", "
      PARAM("If-Match", "header", "string") ", " PARAM("If-None-Match", "header", "string") "], \"responses\": {\"200\": {\"description\": \"All of it\", \"content\": "
      "{\"application/octet-stream\": {}}}, \"206\": {\"description\": \"The range\"}, \"304\": {\"description\": \"Unchanged\"}, " OTHERS "}}" },
    { "PUT", "/v1/sandbox/{id}/file/{path*}", ROUTE_STREAM | ROUTE_BRIDGE, route_put,
      "{\"summary\": \"Write a file\", \"description\": \"Atomically: a reader sees the old or the new content. Mode and owner of a file that is there are kept.\", \"parameters\": [" PATHS ", "
      PARAM("mode", "query", "string") ", " PARAM("parents", "query", "boolean") ", " PARAM("append", "query", "boolean") ", " PARAM("If-Match", "header", "string") ", "
      PARAM("If-None-Match", "header", "string") "], \"requestBody\": " BYTES ", \"responses\": {\"200\": {\"description\": \"Written\"}, " OTHERS "}}" },
    { "DELETE", "/v1/sandbox/{id}/file/{path*}", 0, route_delete,
      "{\"summary\": \"Remove a file or directory\", \"parameters\": [" PATHS ", " PARAM("recursive", "query", "boolean") "], \"responses\": {\"204\": {\"description\": \"Gone\"}, " OTHERS "}}" },
    { 0 }
};
