/* Reading snapshots without running anything: the tree, one file, the archive. Bytes come from snapshotd through a pipe, as fast as the client takes them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <glib-unix.h>

#include "base/cleanup.h"
#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/routes.h"

enum { QUEUED_MAX = 256 * 1024, PIECE = 64 * 1024 };

/* --- the tree --- */

static void tree_told(struct http_call *c, json_t *result)
{
    json_t *entries = json_object_get(result, "entries");
    http_reply(c, 200, json_pack("{s:O,s:O,s:O}", "snapshot", json_object_get(result, "object"), "path", json_object_get(result, "path"), "entries", entries));
}

static void get_tree(struct http_call *c)
{
    const char *id = http_param(c, "id"), *path = http_query(c, "path");
    uint64_t depth = 1;

    if (!route_name_ok(c, id) || !http_query_u64(c, "depth", &depth))
        return;
    if (depth < 1 || depth > 1024) {
        http_fail(c, "invalid_request", "depth is from 1 to 1024");
        return;
    }
    route_stock(c, json_pack("{s:s,s:s,s:s,s:I}", "verb", "tree", "object", id, "path", path ? path : "", "depth", (json_int_t)depth), NULL, tree_told);
}

/* --- a stream --- */

/* Two ends: the pipe's end and the verb's answer. Only both together are a good end: a file cut short must not look whole. */
struct flow {
    struct http_call *c;                  /* NULL: over */
    unsigned refs;
    int fd;
    guint in;
    const char *type;
    bool begun, eof, answered, ok;
    struct fault fault;
};

static void flow_unref(struct flow *f)
{
    if (--f->refs)
        return;
    g_free(f);
}

static void flow_close(struct flow *f)
{
    if (f->in)
        g_source_remove(f->in);
    f->in = 0;
    close_p(&f->fd);
    f->fd = -1;
}

static void flow_over(void *p)
{
    struct flow *f = p;

    f->c = NULL;
    flow_close(f);                        /* snapshotd gets EPIPE and gives up */
    flow_unref(f);
}

static void flow_gone(void *p)
{
    flow_close(p);
}

static void flow_begin(struct flow *f)
{
    if (f->begun)
        return;
    f->begun = true;
    http_stream(f->c, 200, f->type, -1);
}

static void flow_end(struct flow *f)
{
    if (!f->c || !f->eof || !f->answered)
        return;
    if (f->ok) {
        flow_begin(f);
        http_end(f->c);
    } else if (f->begun) {
        http_abort(f->c);
    } else {
        http_fault(f->c, &f->fault);
    }
}

static gboolean flow_readable(gint fd, GIOCondition cond, gpointer arg)
{
    struct flow *f = arg;
    uint8_t piece[PIECE];
    ssize_t n;

    if (http_queued(f->c) > QUEUED_MAX) {
        f->in = 0;                        /* flow_sent begins again */
        return G_SOURCE_REMOVE;
    }
    n = read(f->fd, piece, sizeof(piece));
    if (n > 0) {
        flow_begin(f);
        http_write(f->c, piece, (size_t)n);
        return G_SOURCE_CONTINUE;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    f->in = 0;
    flow_close(f);
    f->eof = true;
    flow_end(f);
    return G_SOURCE_REMOVE;
}

static void flow_sent(void *state, size_t n)
{
    struct flow *f = state;

    if (!f->in && f->fd >= 0 && !f->eof && http_queued(f->c) <= QUEUED_MAX / 2)
        f->in = g_unix_fd_add(f->fd, G_IO_IN | G_IO_HUP, flow_readable, f);
}

static void flow_answer(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct flow *f = arg;

    f->answered = true;
    f->ok = fault == NULL;
    if (fault)
        f->fault = *fault;
    flow_end(f);
    flow_unref(f);
}

static void flow_start(struct http_call *c, const char *type, json_t *req)
{
    struct flow *f;
    int p[2];

    if (pipe2(p, O_CLOEXEC)) {
        json_decref(req);
        http_fail(c, "unavailable", "no descriptors left (%s); try again", g_strerror(errno));
        return;
    }
    fcntl(p[0], F_SETFL, O_NONBLOCK);
    f = g_new0(struct flow, 1);
    *f = (struct flow){ .c = c, .refs = 2, .fd = p[0], .type = type };
    http_set_state(c, f, flow_over);
    http_on_gone(c, flow_gone);
    http_on_sent(c, flow_sent);
    f->in = g_unix_fd_add(f->fd, G_IO_IN | G_IO_HUP, flow_readable, f);
    stock_call(http_sandboxd(c)->stock, req, &p[1], 1, flow_answer, f);
    close(p[1]);
}

static void get_file(struct http_call *c)
{
    const char *id = http_param(c, "id"), *path = http_param(c, "path");

    if (!route_name_ok(c, id))
        return;
    if (!path[0] || !g_utf8_validate(path, -1, NULL)) {
        http_fail(c, "invalid_request", "the path of a file is missing or not UTF-8");
        return;
    }
    flow_start(c, "application/octet-stream", json_pack("{s:s,s:s,s:s}", "verb", "read", "object", id, "path", path));
}

static void get_export(struct http_call *c)
{
    const char *id = http_param(c, "id"), *since = http_query(c, "since");

    if (!route_name_ok(c, id) || (since && !route_name_ok(c, since)))
        return;
    flow_start(c, "application/vnd.coppice.archive", json_pack("{s:s,s:s,s:s*}", "verb", "export", "object", id, "since", since));
}

const struct http_route snapshot_read_routes[] = {
    { "GET", "/v1/snapshot/{id}/tree", 0, get_tree,
      "{\"summary\": \"Entries of a directory of a snapshot\", \"tags\": [\"snapshot\"], \"parameters\": [" DOC_PARAM("path", "string") ", " DOC_PARAM("depth", "integer") "], "
      DOC_OK("200", "snapshot, path, entries of {path, type, mode, uid, gid, size, mtime, target}") "}" },
    { "GET", "/v1/snapshot/{id}/file/{path*}", 0, get_file,
      "{\"summary\": \"A file of a snapshot\", \"tags\": [\"snapshot\"], \"responses\": {\"200\": {\"description\": \"Its bytes\", \"content\": {\"application/octet-stream\": {}}}}}" },
    { "GET", "/v1/snapshot/{id}/export", 0, get_export,
      "{\"summary\": \"Export a snapshot\", \"description\": \"As coppice export: complete, or the difference to another snapshot of this store (since).\", \"tags\": [\"snapshot\"], \"parameters\": ["
      DOC_PARAM("since", "string") "], \"responses\": {\"200\": {\"description\": \"An archive\", \"content\": {\"application/vnd.coppice.archive\": {}}}}}" },
    { 0 }
};
