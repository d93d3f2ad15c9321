#include "sandbox/code/stream.h"

#include <string.h>

enum { QUEUE_LOW = 256 * 1024 };

void code_stream_init(struct code_stream *s, struct http_call *c)
{
    s->c = c;
    s->document = http_wants_json(c);
    if (!s->document)
        return;
    s->text[0] = g_string_new(NULL);
    s->text[1] = g_string_new(NULL);
    s->results = json_array();
}

static void on_failed(void *arg, const struct fault *fault)
{
    struct code_stream *s = arg;
    struct http_call *c = s->c;

    s->run = NULL;
    s->c = NULL;
    http_fault(c, fault);
}

static void on_start(void *arg, const char *context, bool fresh)
{
    struct code_stream *s = arg;

    s->begun = true;
    if (s->document) {
        s->context = json_string(context);
        s->fresh = fresh;
        return;
    }
    http_events(s->c);
    http_event(s->c, "start", json_pack("{s:s, s:b}", "context", context, "fresh", (int)fresh), -1);
}

static void on_text(void *arg, unsigned stream, const char *p, size_t n)
{
    struct code_stream *s = arg;
    unsigned i = stream == STREAM_ERR;

    if (!s->document) {
        http_event(s->c, i ? "stderr" : "stdout", json_pack("{s:s%}", "text", p, n), -1);
        return;
    }
    size_t room = CODE_DOCUMENT_TEXT - s->text[i]->len;
    if (n > room) {
        s->truncated = true;
        for (n = room; n && ((unsigned char)p[n] & 0xc0) == 0x80; n--)
            ;
    }
    g_string_append_len(s->text[i], p, (gssize)n);
}

static json_t *result_json(json_t *data, bool main)
{
    json_t *o = json_copy(data);

    if (main)
        json_object_set_new(o, "main", json_true());
    return o;
}

static void on_result(void *arg, json_t *data, size_t size, bool main)
{
    struct code_stream *s = arg;

    if (!s->document) {
        http_event(s->c, "result", result_json(data, main), -1);
    } else if (size > CODE_DOCUMENT_RESULTS - s->results_size) {
        s->truncated = true;
    } else {
        s->results_size += size;
        json_array_append_new(s->results, result_json(data, main));
    }
}

static void on_error(void *arg, const char *name, const char *value, const char *traceback)
{
    struct code_stream *s = arg;
    json_t *o = json_pack("{s:s, s:s, s:s}", "name", name, "value", value, "traceback", traceback);

    if (!s->document) {
        http_event(s->c, "error", o, -1);
    } else {
        json_decref(s->error);
        s->error = o;
    }
}

static json_t *document(struct code_stream *s, uint64_t count, bool ok)
{
    json_t *o = json_pack("{s:O, s:b, s:I, s:b, s:s%, s:s%, s:O, s:b}", "context", s->context, "fresh", (int)s->fresh, "count", (json_int_t)count, "ok", (int)ok, "stdout", s->text[0]->str,
                          s->text[0]->len, "stderr", s->text[1]->str, s->text[1]->len, "results", s->results, "truncated", (int)s->truncated);

    if (s->error)
        json_object_set(o, "error", s->error);
    return o;
}

static void on_done(void *arg, uint64_t count, bool ok)
{
    struct code_stream *s = arg;
    struct http_call *c = s->c;

    s->run = NULL;
    s->c = NULL;
    if (s->document) {
        http_reply(c, 200, document(s, count, ok));
        return;
    }
    http_event(c, "done", json_pack("{s:I, s:b}", "count", (json_int_t)count, "ok", (int)ok), -1);
    http_end(c);
}

static bool on_full(void *arg)
{
    struct code_stream *s = arg;

    return !s->document && http_queued(s->c) > QUEUE_LOW;
}

const struct code_run_ops code_stream_ops = { .failed = on_failed, .start = on_start, .text = on_text, .result = on_result, .error = on_error, .done = on_done, .full = on_full };

void code_stream_sent(struct code_stream *s)
{
    if (s->c && s->run && !on_full(s))
        code_run_flow(s->run);
}

void code_stream_over(struct code_stream *s)
{
    s->c = NULL;
    if (s->run)
        code_run_leave(s->run);
    s->run = NULL;
}

void code_stream_fini(struct code_stream *s)
{
    code_stream_over(s);
    for (unsigned i = 0; i < 2; i++)
        if (s->text[i])
            g_string_free(s->text[i], true);
    json_decref(s->results);
    json_decref(s->error);
    json_decref(s->context);
}
