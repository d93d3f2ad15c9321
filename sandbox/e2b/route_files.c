/* GET /files: a file's bytes. POST /files: one or several files, as multipart/form-data or one as application/octet-stream, gzip or not. Both also with a signature in the URL instead of
 * headers; then the sandbox is the one whose token signed it. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "sandbox/core/box_private.h"
#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/fs.h"
#include "sandbox/http/multipart.h"
#include "sandbox/e2b/names.h"
#include "sandbox/e2b/seek.h"

enum { QUEUE_HIGH = 256 * 1024, QUEUE_LOW = 64 * 1024, IN_HIGH = 256 * 1024, FILES_MAX = 1000 };

struct transfer {
    struct e2b_fs s;
    struct e2b_deflate *zip;              /* of a download */
    bool streaming;
    uint64_t left;
    struct multipart *parts;              /* of an upload */
    struct e2b_inflate *unzip;
    json_t *written, *metadata;
    GPtrArray *attrs;
    bool open, skip, closing, over, body_done, paused;         /* a file is being written; this part is none; its end was sent; all of it is over */
};

static void transfer_over(void *self)
{
    struct transfer *t = self;

    t->over = true;
    e2b_fs_over(self);                    /* before its end: nothing is committed */
}

static void transfer_fini(void *self)
{
    struct transfer *t = self;

    e2b_deflate_free(t->zip);
    e2b_inflate_free(t->unzip);
    multipart_free(t->parts);
    json_decref(t->written);
    json_decref(t->metadata);
    if (t->attrs)
        g_ptr_array_unref(t->attrs);
    t->s.q.extra = NULL;                  /* of attrs */
    e2b_fs_fini(self);
}

static void fail(struct transfer *t, int status, const char *step)
{
    if (t->over)
        return;
    t->over = true;
    e2b_fs_fail(&t->s, status, step);
}

static void start(struct http_call *c, const char *operation, void (*go)(void *self))
{
    struct transfer *t = e2b_call_new(c, sizeof(*t), transfer_over, transfer_fini);

    if (!t)
        return;
    if (http_query(c, "signature"))
        e2b_signed_go(t, operation, go);
    else
        e2b_call_go(t, go);
}

static void set_path(struct transfer *t, const char *path)
{
    g_free(t->s.path);
    t->s.path = e2b_path(t->s.k.x.b, t->s.k.user, path);
}

/* --- GET --- */
static bool put(void *arg, const uint8_t *p, size_t n)
{
    struct transfer *t = arg;

    http_write(t->s.k.x.c, p, n);
    return true;
}

static void get_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct transfer *t = arg;
    struct http_call *c = t->s.k.x.c;

    if (!c)
        return;
    if (status) {
        fail(t, status, step);
        return;
    }
    g_autofree char *name = g_path_get_basename(t->s.path), *quoted = g_uri_escape_string(name, NULL, false), *disposition = g_strdup_printf("inline; filename*=UTF-8''%s", quoted);
    http_set_header(c, "Content-Disposition", disposition);
    http_set_header(c, "Vary", "Accept-Encoding");
    t->left = st->size;
    if (t->zip)
        http_set_header(c, "Content-Encoding", "gzip");
    t->streaming = true;
    http_stream(c, 200, "application/octet-stream", t->zip ? -1 : (int64_t)st->size);
}

static bool get_data(void *arg, const uint8_t *p, size_t n)
{
    struct transfer *t = arg;

    if (!t->s.k.x.c || !t->streaming)
        return true;
    n = (size_t)MIN((uint64_t)n, t->left);
    t->left -= n;
    if (n && t->zip)
        e2b_deflate_feed(t->zip, p, n, put, t);
    else if (n)
        http_write(t->s.k.x.c, p, n);
    return http_queued(t->s.k.x.c) < QUEUE_HIGH;
}

static void get_end(void *arg, int status)
{
    struct transfer *t = arg;

    if (!t->s.k.x.c || !t->streaming)
        return;
    t->streaming = false;
    if (status || t->left) {
        http_abort(t->s.k.x.c);
        return;
    }
    if (t->zip)
        e2b_deflate_feed(t->zip, NULL, 0, put, t);
    http_end(t->s.k.x.c);
}

static const struct file_ops get_ops = { .head = get_head, .data = get_data, .end = get_end };

static void get_sent(void *state, size_t n)
{
    struct transfer *t = state;

    if (t->s.f && t->streaming && http_queued(t->s.k.x.c) < QUEUE_LOW)
        file_resume(t->s.f);
}

static void begin(struct transfer *t, const struct file_ops *ops)
{
    struct fault f;

    file_free(t->s.f);
    t->s.f = NULL;
    if (g_strlcpy(t->s.q.path, t->s.path, sizeof(t->s.q.path)) >= sizeof(t->s.q.path))
        fault_set(&f, "invalid_request", "the path is longer than %zu bytes", sizeof(t->s.q.path) - 1);
    else
        t->s.f = file_start(t->s.k.x.b, t->s.k.user, &t->s.q, ops, t, &f);
    if (t->s.f)
        return;
    t->over = true;
    http_fault(t->s.k.x.c, &f);
}

static void get_named(void *self)
{
    struct transfer *t = self;
    const char *path = http_query(t->s.k.x.c, "path"), *accept = http_header(t->s.k.x.c, "Accept-Encoding");

    if (!path || !*path) {
        http_fail(t->s.k.x.c, "invalid_request", "path is missing");
        return;
    }
    set_path(t, path);
    /* Packed only for who asks for nothing else (the packages' gzip: true): on this machine's own sockets it costs more than it saves. */
    if (accept && !g_ascii_strcasecmp(accept, "gzip"))
        t->zip = e2b_deflate_new();
    t->s.q.op = FILE_READ;
    t->s.q.len = UINT64_MAX;
    begin(t, &get_ops);
}

static void get_go(void *self) { e2b_names_need(self, get_named); }

static void route_get(struct http_call *c)
{
    http_on_sent(c, get_sent);
    start(c, "read", get_go);
}

/* --- POST --- */
static void pump(struct transfer *t);

static void put_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct transfer *t = arg;

    if (t->over)
        return;
    if (status) {
        fail(t, status, step);
        return;
    }
    g_autofree char *name = g_path_get_basename(t->s.path);
    json_t *o = json_pack("{s:s,s:s,s:s}", "name", name, "type", "file", "path", t->s.path);
    if (json_object_size(t->metadata))
        json_object_set(o, "metadata", t->metadata);
    json_array_append_new(t->written, o);
    t->open = t->closing = false;
    pump(t);
}

static void put_room(void *arg) { pump(arg); }
static const struct file_ops put_ops = { .head = put_head, .room = put_room };

static bool part_begin(void *arg, const char *name, const char *filename)
{
    struct transfer *t = arg;
    const char *path = http_query(t->s.k.x.c, "path");

    if (!path || !*path)
        path = filename;
    t->skip = strcmp(name, "file") != 0;
    if (t->skip)
        return true;
    if (!*path || json_array_size(t->written) >= FILES_MAX) {
        t->over = true;
        http_fail(t->s.k.x.c, "invalid_request", *path ? "more than %d files in one request" : "path is missing: in the query, or as the part's filename", FILES_MAX);
        return false;
    }
    set_path(t, path);
    t->s.q.op = FILE_WRITE;
    t->s.q.mode = 0644;
    t->s.q.flags = FILE_PARENTS;
    t->s.q.extra = (char **)t->attrs->pdata;
    t->s.q.extra_count = t->attrs->len;
    t->open = true;
    begin(t, &put_ops);
    return !t->over;
}

static size_t part_data(void *arg, const uint8_t *p, size_t n)
{
    struct transfer *t = arg;
    size_t off = 0, taken;

    if (t->skip || !t->open)
        return n;
    while (off < n && (taken = file_write(t->s.f, p + off, n - off)))
        off += taken;
    return off;
}

static bool part_end(void *arg)
{
    struct transfer *t = arg;

    if (t->skip || !t->open)
        return true;
    t->closing = true;
    file_write_end(t->s.f);
    return false;                         /* goes on when it is committed */
}

static const struct multipart_ops part_ops = { .begin = part_begin, .data = part_data, .end = part_end };

static void pump(struct transfer *t)
{
    struct http_call *c = t->s.k.x.c;
    int r = t->over || t->closing ? 0 : multipart_pump(t->parts);

    if (t->over)
        return;
    if (r < 0 || (r > 0 && !json_array_size(t->written))) {
        t->over = true;
        http_fail(c, "invalid_request", "the body is not multipart/form-data with parts named file, or it ends too early");
    } else if (r > 0) {
        t->over = true;
        http_reply(c, 200, json_incref(t->written));
    } else if (t->paused && multipart_waiting(t->parts) < IN_HIGH) {
        t->paused = false;
        http_body_resume(c);
    }
}

static bool put_add(void *arg, const uint8_t *p, size_t n)
{
    multipart_add(((struct transfer *)arg)->parts, p, n);
    return true;
}

static bool put_body(void *state, const uint8_t *p, size_t n)
{
    struct transfer *t = state;
    bool bad = false;

    if (t->over)
        return true;
    if (n)
        bad = t->unzip ? e2b_inflate_feed(t->unzip, p, n, put_add, t) < 0 : !put_add(t, p, n);
    else if (t->unzip && !e2b_inflate_done(t->unzip))
        bad = true;
    else
        multipart_finish(t->parts);
    if (bad) {
        t->over = true;
        http_fail(t->s.k.x.c, "invalid_request", "the body says that it is gzip and is not");
        return true;
    }
    pump(t);
    t->paused = n && !t->over && multipart_waiting(t->parts) >= IN_HIGH;
    return !t->paused;
}

/* X-Metadata-KEY: VALUE becomes the attribute user.e2b.key. */
static void metadata(void *arg, const char *name, const char *value)
{
    static const char prefix[] = "X-Metadata-";
    struct transfer *t = arg;

    if (g_ascii_strncasecmp(name, prefix, strlen(prefix)) || !name[strlen(prefix)] || t->attrs->len > FILE_ATTRS_MAX)
        return;
    g_autofree char *key = g_ascii_strdown(name + strlen(prefix), -1);
    g_ptr_array_add(t->attrs, g_strdup_printf(FILE_ATTR_PREFIX "%s=%s", key, value));
    json_object_set_new(t->metadata, key, json_string(value));
}

static void post_named(void *self)
{
    struct transfer *t = self;
    struct http_call *c = t->s.k.x.c;
    const char *type = http_header(c, "Content-Type"), *encoding = http_header(c, "Content-Encoding");
    bool whole = type && g_str_has_prefix(type, "application/octet-stream");
    size_t bytes = 0;

    t->written = json_array();
    t->metadata = json_object();
    t->attrs = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(t->attrs, g_strdup(""));      /* no If-Match */
    http_each_header(c, metadata, t);
    for (unsigned i = 0; i < t->attrs->len; i++)
        bytes += strlen(t->attrs->pdata[i]);
    if (t->attrs->len == 1)
        g_ptr_array_set_size(t->attrs, 0);
    t->parts = whole ? multipart_whole(&part_ops, t) : multipart_new(type, &part_ops, t);
    if (!t->parts || bytes > FILE_ATTR_BYTES || (encoding && g_ascii_strcasecmp(encoding, "gzip") && g_ascii_strcasecmp(encoding, "identity"))) {
        t->over = true;
        http_fail(c, "invalid_request", !t->parts ? "the body must be multipart/form-data or application/octet-stream" : bytes > FILE_ATTR_BYTES ? "metadata: more than %d bytes"
                  : "Content-Encoding: only gzip is known", FILE_ATTR_BYTES);
        return;
    }
    if (encoding && !g_ascii_strcasecmp(encoding, "gzip"))
        t->unzip = e2b_inflate_new();
    http_body(c, put_body);
}

static void post_go(void *self) { e2b_names_need(self, post_named); }
static void route_post(struct http_call *c) { start(c, "write", post_go); }

#define PARAM(name) "{\"name\": \"" name "\", \"in\": \"query\", \"schema\": {\"type\": \"string\"}}"
#define PARAMS ", \"parameters\": [" PARAM("path") ", " PARAM("username") ", " PARAM("signature") ", " PARAM("signature_expiration") "]"
const struct http_route e2b_files_routes[] = {
    { "GET", "/files", ROUTE_BRIDGE, route_get, E2B_DOC("e2b envd", "Read a file", PARAMS), &e2b_plain },
    { "POST", "/files", ROUTE_STREAM | ROUTE_BRIDGE, route_post, E2B_DOC("e2b envd", "Write files", PARAMS ", \"requestBody\": {\"content\": {\"multipart/form-data\": {}, \"application/octet-stream\": {}}}"), &e2b_plain },
    { 0 }
};
