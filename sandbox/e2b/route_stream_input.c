/* StreamInput: a client stream of input for one process. Frames are taken as they come; while the process does not read, the client waits. */
#include <errno.h>
#include <string.h>

#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/process.h"

enum { PREFIX = 5, MESSAGE_MAX = 4 << 20 };

struct feed { struct e2b_call k; struct exec *e; GByteArray *in, *out; bool ended, over, waiting; };

static void feed_over(void *self)
{
    struct feed *f = self;

    f->over = true;
    if (f->e)
        exec_off_stdin_room(f->e, f);
}

static void feed_fini(void *self)
{
    struct feed *f = self;

    exec_unref(f->e);
    if (f->in)
        g_byte_array_unref(f->in);
    if (f->out)
        g_byte_array_unref(f->out);
    e2b_call_fini(f);
}

static void fail(struct feed *f, const char *code, const char *text)
{
    f->over = true;
    e2b_stream_begin(f->k.x.c);
    e2b_stream_end(f->k.x.c, code, text);
}

/* One message. False: failed. */
static bool message(struct feed *f, const json_t *m)
{
    const json_t *start = json_object_get(m, "start"), *data = json_object_get(json_object_get(m, "data"), "input"), *bytes = json_object_get(data, "stdin");
    struct fault why;

    if (start) {
        struct exec *e = f->e ? NULL : e2b_process_find(f->k.x.b, json_object_get(start, "process"), &why);
        if (!e)
            return fail(f, f->e ? "invalid_request" : why.code, f->e ? "start: only once" : why.text), false;
        f->e = exec_ref(e);
    } else if (data) {
        size_t n = 0;
        g_autofree uint8_t *p = e2b_bytes(bytes ? bytes : json_object_get(data, "pty"), &n);
        if (!p || !f->e)
            return fail(f, "invalid_request", f->e ? "data.input: stdin or pty, in base64" : "the first message must be start"), false;
        g_byte_array_append(f->out, p, (guint)n);
    }
    return true;
}

/* The frames that are whole. */
static bool frames(struct feed *f)
{
    while (f->in->len >= PREFIX) {
        const uint8_t *d = f->in->data;
        uint32_t n = (uint32_t)d[1] << 24 | (uint32_t)d[2] << 16 | (uint32_t)d[3] << 8 | d[4];
        if (d[0] || n > MESSAGE_MAX)
            return fail(f, "invalid_request", "a frame is packed or too large"), false;
        if (f->in->len < PREFIX + n)
            break;
        json_t *m = json_loadb((const char *)d + PREFIX, n, 0, NULL);
        bool good = json_is_object(m) ? message(f, m) : (fail(f, "invalid_request", "a message is not a JSON object"), false);
        json_decref(m);
        if (!good)
            return false;
        g_byte_array_remove_range(f->in, 0, PREFIX + n);
    }
    return true;
}

static void write_some(void *arg)
{
    struct feed *f = arg;

    if (f->over)
        return;
    size_t part = f->e ? MIN((size_t)f->out->len, exec_stdin_room(f->e)) : 0;
    if (f->out->len && (!exec_stdin_is_open(f->e) || (part && exec_stdin(f->e, f->out->data, part) < 0))) {
        fail(f, "not_empty", "the process takes no input");
        return;
    }
    g_byte_array_remove_range(f->out, 0, (guint)part);
    if (f->out->len) {
        f->waiting = true;
        exec_on_stdin_room(f->e, write_some, f);
    } else if (f->ended) {
        f->over = true;
        e2b_stream_begin(f->k.x.c);
        e2b_stream_json(f->k.x.c, json_object());
        e2b_stream_end(f->k.x.c, NULL, NULL);
    } else if (f->waiting) {
        f->waiting = false;
        http_body_resume(f->k.x.c);
    }
}

static bool body(void *state, const uint8_t *p, size_t n)
{
    struct feed *f = state;

    if (f->over)
        return true;
    if (n)
        g_byte_array_append(f->in, p, (guint)n);
    f->ended = !n;
    if (!frames(f))
        return true;
    if (f->waiting)
        return true;
    write_some(f);
    return f->over || !f->waiting;
}

static void go(void *self)
{
    struct feed *f = self;

    f->in = g_byte_array_new();
    f->out = g_byte_array_new();
    http_body(f->k.x.c, body);
}

static void route(struct http_call *c)
{
    struct feed *f = e2b_call_new(c, sizeof(*f), feed_over, feed_fini);

    if (f)
        e2b_call_go(f, go);
}

const struct http_route e2b_stream_input_routes[] = {
    E2B_RPC("/process.Process/StreamInput", route, "Write to a process, message by message"),
    { 0 }
};
