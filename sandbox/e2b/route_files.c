/* GET /files: a file's bytes. Also with a signature in the URL instead of headers; then the sandbox is the one whose token signed it. */
#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/names.h"
#include "sandbox/e2b/transfer.h"

enum { QUEUE_HIGH = 256 * 1024, QUEUE_LOW = 64 * 1024 };
struct download { struct e2b_transfer t; struct e2b_deflate *zip; bool streaming; uint64_t left; };

static void download_fini(void *self)
{
    e2b_deflate_free(((struct download *)self)->zip);
    e2b_fs_fini(self);
}

static bool put(void *arg, const uint8_t *p, size_t n)
{
    struct download *t = arg;

    http_write(t->t.s.k.x.c, p, n);
    return true;
}

static void get_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct download *t = arg;
    struct http_call *c = t->t.s.k.x.c;

    if (!c)
        return;
    if (status) {
        e2b_transfer_fail(&t->t, status, step);
        return;
    }
    g_autofree char *name = g_path_get_basename(t->t.s.path), *quoted = g_uri_escape_string(name, NULL, false), *disposition = g_strdup_printf("inline; filename*=UTF-8''%s", quoted);
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
    struct download *t = arg;

    if (!t->t.s.k.x.c || !t->streaming)
        return true;
    n = (size_t)MIN((uint64_t)n, t->left);
    t->left -= n;
    if (n && t->zip)
        e2b_deflate_feed(t->zip, p, n, put, t);
    else if (n)
        http_write(t->t.s.k.x.c, p, n);
    return http_queued(t->t.s.k.x.c) < QUEUE_HIGH;
}

static void get_end(void *arg, int status)
{
    struct download *t = arg;

    if (!t->t.s.k.x.c || !t->streaming)
        return;
    t->streaming = false;
    if (status || t->left) {
        http_abort(t->t.s.k.x.c);
        return;
    }
    if (t->zip)
        e2b_deflate_feed(t->zip, NULL, 0, put, t);
    http_end(t->t.s.k.x.c);
}

static const struct file_ops get_ops = { .head = get_head, .data = get_data, .end = get_end };

static void get_sent(void *state, size_t n)
{
    struct download *t = state;

    if (t->t.s.f && t->streaming && http_queued(t->t.s.k.x.c) < QUEUE_LOW)
        file_resume(t->t.s.f);
}

static void get_named(void *self)
{
    struct download *t = self;
    const char *path = http_query(t->t.s.k.x.c, "path"), *accept = http_header(t->t.s.k.x.c, "Accept-Encoding");

    if (!path || !*path) {
        http_fail(t->t.s.k.x.c, "invalid_request", "path is missing");
        return;
    }
    e2b_transfer_path(&t->t, path);
    /* Packed only for who asks for nothing else (the packages' gzip: true): on this machine's own sockets it costs more than it saves. */
    if (accept && !g_ascii_strcasecmp(accept, "gzip"))
        t->zip = e2b_deflate_new();
    t->t.s.q.op = FILE_READ;
    t->t.s.q.len = UINT64_MAX;
    e2b_transfer_begin(&t->t, &get_ops);
}

static void get_go(void *self) { e2b_names_need(self, get_named); }

static void route_get(struct http_call *c)
{
    http_on_sent(c, get_sent);
    e2b_transfer_start(c, sizeof(struct download), "read", download_fini, get_go);
}

#define PARAM(name) "{\"name\": \"" name "\", \"in\": \"query\", \"schema\": {\"type\": \"string\"}}"
#define PARAMS ", \"parameters\": [" PARAM("path") ", " PARAM("username") ", " PARAM("signature") ", " PARAM("signature_expiration") "]"
const struct http_route e2b_files_routes[] = {
    { "GET", "/files", ROUTE_BRIDGE, route_get, E2B_DOC("e2b envd", "Read a file", PARAMS), &e2b_plain },
    { 0 }
};
