#include "sandbox/e2b/fs.h"

#include <errno.h>
#include <string.h>

#include "sandbox/e2b/entry.h"

enum { ENTRY_MAX = 32 * 1024 };

void e2b_fs_over(void *self)
{
    struct e2b_fs *s = self;

    file_free(s->f);
    s->f = NULL;
}

void e2b_fs_fini(void *self)
{
    struct e2b_fs *s = self;

    file_free(s->f);
    file_request_fini(&s->q);
    if (s->in)
        g_byte_array_unref(s->in);
    json_decref(s->entries);
    g_free(s->path);
    g_free(s->path2);
    e2b_call_fini(s);
}

void e2b_fs_fail(struct e2b_fs *s, int status, const char *step)
{
    struct fault f;

    if (status == -ENOENT && !strcmp(step, "user"))
        fault_set(&f, "unauthorized", "invalid username: '%.63s'", s->k.user ? s->k.user : box_default_user(s->k.x.b));
    else
        file_fault(&f, status, step, s->path ? s->path : s->q.path);
    http_fault(s->k.x.c, &f);
}

/* --- what comes of it --- */
static json_t *attrs_get(struct reader *r)
{
    char pair[FILE_ATTR_BYTES + 512];
    unsigned n = get_u16(r);
    json_t *o = json_object();

    if (n > FILE_ATTRS_MAX)
        r->bad = true;
    for (unsigned i = 0; i < n && !r->bad; i++) {
        get_str(r, pair, sizeof(pair));
        char *eq = r->bad ? NULL : strchr(pair, '=');
        if (!eq)
            continue;
        *eq = 0;
        json_object_set_new(o, pair, json_string(eq + 1));     /* what is not UTF-8 is left out */
    }
    return o;
}

/* 1, 0: not yet all here, -EPROTO. */
static int entry_get(struct e2b_fs *s, struct reader *r)
{
    struct reader at = *r;
    char path[4097], target[4097];
    struct file_stat st = { 0 };
    g_autofree char *full = NULL;

    get_str(&at, path, sizeof(path));
    file_stat_get(&at, &st);
    get_str(&at, target, sizeof(target));
    json_t *attrs = attrs_get(&at);
    if (at.bad) {
        json_decref(attrs);
        return reader_left(r) > ENTRY_MAX ? -EPROTO : 0;
    }
    full = *path ? g_build_filename(s->path, path, NULL) : g_strdup(s->path);
    if (json_array_size(s->entries) < E2B_ENTRIES_MAX)
        json_array_append_new(s->entries, e2b_entry(s->k.x.b, full, &st, target, attrs));
    else
        s->too_many = true, json_decref(attrs);
    *r = at;
    return 1;
}

static bool has_body(const struct e2b_fs *s) { return s->q.op == FILE_LIST || s->q.op == FILE_ENTRY; }

static void on_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct e2b_fs *s = arg;

    if (s->k.x.c && (status || !has_body(s)))
        s->then(s, status, step);
}

static bool on_data(void *arg, const uint8_t *p, size_t n)
{
    struct e2b_fs *s = arg;
    struct reader r;
    int got;

    g_byte_array_append(s->in, p, (guint)n);
    r = reader_of(s->in->data, s->in->len);
    while ((got = entry_get(s, &r)) > 0)
        ;
    g_byte_array_remove_range(s->in, 0, s->in->len - (guint)(got < 0 ? 0 : reader_left(&r)));
    return true;
}

static void on_end(void *arg, int status)
{
    struct e2b_fs *s = arg;

    if (s->k.x.c)
        s->then(s, status ? status : s->in->len ? -EPROTO : 0, "list");
}

static const struct file_ops ops = { .head = on_head, .data = on_data, .end = on_end };

void e2b_fs_do(struct e2b_fs *s, void (*then)(struct e2b_fs *s, int status, const char *step))
{
    struct fault f;

    s->then = then;
    if (!s->q.path[0] && g_strlcpy(s->q.path, s->path, sizeof(s->q.path)) >= sizeof(s->q.path)) {
        http_fail(s->k.x.c, "invalid_request", "the path is longer than %zu bytes", sizeof(s->q.path) - 1);
        return;
    }
    if (has_body(s)) {
        s->q.flags |= FILE_ATTRS;
        json_decref(s->entries);
        s->entries = json_array();
        if (!s->in)
            s->in = g_byte_array_new();
        g_byte_array_set_size(s->in, 0);
    }
    file_free(s->f);
    s->f = file_start(s->k.x.b, s->k.user, &s->q, &ops, s, &f);
    if (!s->f)
        http_fault(s->k.x.c, &f);
}

void e2b_fs_entry(struct e2b_fs *s, void (*then)(struct e2b_fs *s, int status, const char *step))
{
    memset(&s->q, 0, sizeof(s->q));
    s->q.op = FILE_ENTRY;
    e2b_fs_do(s, then);
}
