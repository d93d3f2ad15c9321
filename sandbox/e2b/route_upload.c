/* POST /files: one or several files, as multipart/form-data or one as application/octet-stream, gzip or not. Each is there whole, or not at all. */
#include <errno.h>
#include <string.h>

#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/names.h"
#include "sandbox/e2b/transfer.h"
#include "sandbox/http/multipart.h"

enum { IN_HIGH = 256 * 1024, FILES_MAX = 1000 };
struct upload {
    struct e2b_transfer t;
    struct multipart *parts;
    struct e2b_inflate *unzip;
    GByteArray *packed;                   /* of the body: to be unpacked when there is room, so that 8 KiB of it do not become 8 MiB at once */
    json_t *written, *metadata;
    GPtrArray *attrs;
    bool open, skip, closing, paused;     /* a file is being written; this part is none; its end was sent; the body waits */
    bool more;                            /* `packed` waits, or what the unpacker still has of it */
};

static void upload_fini(void *self)
{
    struct upload *t = self;

    e2b_inflate_free(t->unzip);
    if (t->packed)
        g_byte_array_unref(t->packed);
    multipart_free(t->parts);
    json_decref(t->written);
    json_decref(t->metadata);
    if (t->attrs)
        g_ptr_array_unref(t->attrs);
    t->t.s.q.extra = NULL;                /* of attrs */
    e2b_fs_fini(self);
}

static void pump(struct upload *t);

static void put_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct upload *t = arg;

    if (t->t.over)
        return;
    if (status) {
        e2b_transfer_fail(&t->t, status, step);
        return;
    }
    g_autofree char *name = g_path_get_basename(t->t.s.path);
    json_t *o = json_pack("{s:s,s:s,s:s}", "name", name, "type", "file", "path", t->t.s.path);
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
    struct upload *t = arg;
    const char *path = http_query(t->t.s.k.x.c, "path");

    if (!path || !*path)
        path = filename;
    t->skip = strcmp(name, "file") != 0;
    if (t->skip)
        return true;
    if (!*path || json_array_size(t->written) >= FILES_MAX) {
        t->t.over = true;
        http_fail(t->t.s.k.x.c, "invalid_request", *path ? "more than %d files in one request" : "path is missing: in the query, or as the part's filename", FILES_MAX);
        return false;
    }
    e2b_transfer_path(&t->t, path);
    t->t.s.q.op = FILE_WRITE;
    t->t.s.q.mode = 0644;
    t->t.s.q.flags = FILE_PARENTS;
    t->t.s.q.extra = (char **)t->attrs->pdata;
    t->t.s.q.extra_count = t->attrs->len;
    t->open = true;
    e2b_transfer_begin(&t->t, &put_ops);
    return !t->t.over;
}

static size_t part_data(void *arg, const uint8_t *p, size_t n)
{
    struct upload *t = arg;
    size_t off = 0, taken;

    if (t->skip || !t->open)
        return n;
    while (off < n && (taken = file_write(t->t.s.f, p + off, n - off)))
        off += taken;
    return off;
}

static bool part_end(void *arg)
{
    struct upload *t = arg;

    if (t->skip || !t->open)
        return true;
    t->closing = true;
    file_write_end(t->t.s.f);
    return false;                         /* goes on when it is committed */
}

static const struct multipart_ops part_ops = { .begin = part_begin, .data = part_data, .end = part_end };

static bool put_add(void *arg, const uint8_t *p, size_t n)
{
    struct upload *t = arg;

    multipart_add(t->parts, p, n);
    return multipart_waiting(t->parts) < IN_HIGH;
}

/* As much as there is room for. False: it is not gzip. */
static bool unpack(struct upload *t)
{
    int r = e2b_inflate_feed(t->unzip, t->packed->data, t->packed->len, put_add, t);

    t->more = r == -ECANCELED;
    g_byte_array_remove_range(t->packed, 0, t->packed->len - (guint)(t->more ? e2b_inflate_left(t->unzip) : 0));
    return !r || t->more;
}

/* Gives on what is there, and unpacks more while that is taken. */
static int go_on(struct upload *t)
{
    int r = t->closing ? 0 : multipart_pump(t->parts);

    while (!r && t->more && !t->t.over && !t->closing && multipart_waiting(t->parts) < IN_HIGH)
        r = unpack(t) ? multipart_pump(t->parts) : -EBADMSG;
    return r;
}

static void pump(struct upload *t)
{
    struct http_call *c = t->t.s.k.x.c;
    int r = t->t.over ? 0 : go_on(t);

    if (t->t.over)
        return;
    if (r < 0 || (r > 0 && !json_array_size(t->written))) {
        t->t.over = true;
        http_fail(c, "invalid_request", "the body is not multipart/form-data with parts named file, or it ends too early");
    } else if (r > 0) {
        t->t.over = true;
        http_reply(c, 200, json_incref(t->written));
    } else if (t->paused && !t->more && multipart_waiting(t->parts) < IN_HIGH) {
        t->paused = false;
        http_body_resume(c);
    }
}

static bool put_packed(struct upload *t, const uint8_t *p, size_t n)
{
    g_byte_array_append(t->packed, p, (guint)n);
    return unpack(t);
}

static bool put_body(void *state, const uint8_t *p, size_t n)
{
    struct upload *t = state;
    bool bad = false;

    if (t->t.over)
        return true;
    if (n)
        bad = t->unzip ? !put_packed(t, p, n) : (put_add(t, p, n), false);
    else if (t->unzip && !e2b_inflate_done(t->unzip))
        bad = true;
    else
        multipart_finish(t->parts);
    if (bad) {
        t->t.over = true;
        http_fail(t->t.s.k.x.c, "invalid_request", "the body says that it is gzip and is not");
        return true;
    }
    pump(t);
    t->paused = n && !t->t.over && (t->more || multipart_waiting(t->parts) >= IN_HIGH);
    return !t->paused;
}

/* X-Metadata-KEY: VALUE becomes the attribute user.e2b.key. */
static void metadata(void *arg, const char *name, const char *value)
{
    static const char prefix[] = "X-Metadata-";
    struct upload *t = arg;

    if (g_ascii_strncasecmp(name, prefix, strlen(prefix)) || !name[strlen(prefix)] || t->attrs->len > FILE_ATTRS_MAX)
        return;
    g_autofree char *key = g_ascii_strdown(name + strlen(prefix), -1);
    g_ptr_array_add(t->attrs, g_strdup_printf(FILE_ATTR_PREFIX "%s=%s", key, value));
    json_object_set_new(t->metadata, key, json_string(value));
}

static void post_named(void *self)
{
    struct upload *t = self;
    struct http_call *c = t->t.s.k.x.c;
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
        t->t.over = true;
        http_fail(c, "invalid_request", !t->parts ? "the body must be multipart/form-data or application/octet-stream" : bytes > FILE_ATTR_BYTES ? "metadata: more than %d bytes"
                  : "Content-Encoding: only gzip is known", FILE_ATTR_BYTES);
        return;
    }
    if (encoding && !g_ascii_strcasecmp(encoding, "gzip"))
        t->unzip = e2b_inflate_new(), t->packed = g_byte_array_new();
    http_body(c, put_body);
}

static void post_go(void *self) { e2b_names_need(self, post_named); }
static void route_post(struct http_call *c) { e2b_transfer_start(c, sizeof(struct upload), "write", upload_fini, post_go); }

#define PARAM(name) "{\"name\": \"" name "\", \"in\": \"query\", \"schema\": {\"type\": \"string\"}}"
#define PARAMS ", \"parameters\": [" PARAM("path") ", " PARAM("username") ", " PARAM("signature") ", " PARAM("signature_expiration") "]"
const struct http_route e2b_upload_routes[] = {
    { "POST", "/files", ROUTE_STREAM | ROUTE_BRIDGE, route_post, E2B_DOC("e2b envd", "Write files", PARAMS ", \"requestBody\": {\"content\": {\"multipart/form-data\": {}, \"application/octet-stream\": {}}}"), &e2b_plain },
    { 0 }
};
