/* Events: start{exec_id, pid}; stdout (also of a terminal), stderr: one line of base64, whose id is the sequence number after these bytes (what to give as since= or Last-Event-ID to go on);
 * lost{bytes, seq} where the ring has overwritten what a slow or late reader had not read; exit{...} when it has ended and all that it wrote was sent; error{error, code} when
 * its end cannot be told. A stream that ends without exit or error was cut: read on with since=. */
#include "sandbox/run/exec_stream.h"

#include "sandbox/run/exec_private.h"

enum { QUEUE_LOW = 128 * 1024 };

void exec_stream_init(struct exec_stream *s, struct http_call *c)
{
    s->c = c;
    s->document = http_wants_json(c);
    if (s->document)
        for (unsigned i = 0; i < 2; i++)
            s->out[i] = g_byte_array_new();
}

void exec_stream_begin(struct exec_stream *s, struct exec *e, struct exec_reader *r, bool start_event)
{
    s->e = exec_ref(e);
    s->r = r ? r : exec_first_reader(e);
    if (!s->c || s->document)
        return;
    http_output_events(s->c);
    if (start_event)
        http_event(s->c, "start", json_pack("{s:s, s:i}", "exec_id", exec_id(e), "pid", (int)e->pid), -1);
}

/* A document keeps what fits and drops the rest, so that the command is never stopped by it. */
static void document_add(struct exec_stream *s, unsigned stream, uint64_t lost, const uint8_t *p, size_t n)
{
    unsigned i = stream == STREAM_ERR;
    size_t room = DOCUMENT_MAX - s->out[i]->len;

    if (lost || n > room)
        s->truncated[i] = true;
    s->lost += lost;
    g_byte_array_append(s->out[i], p, (guint)MIN(n, room));
    exec_reader_taken(s->r, n);
}

static void on_data(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n)
{
    static const char *const names[] = { [STREAM_OUT] = "stdout", [STREAM_ERR] = "stderr", [STREAM_TTY] = "stdout" };
    struct exec_stream *s = arg;

    if (!s->c)
        return;
    if (s->document)
        return document_add(s, stream, lost, p, n);
    if (lost)
        http_event(s->c, "lost", json_pack("{s:I, s:I}", "bytes", (json_int_t)lost, "seq", (json_int_t)seq), (int64_t)seq);
    if (n)
        http_event_bytes(s->c, names[stream], stream == STREAM_ERR ? HTTP_FRAME_STDERR : HTTP_FRAME_STDOUT, p, n, (int64_t)(seq + n));
    s->given += n;
    exec_stream_sent(s);
}

void exec_stream_sent(struct exec_stream *s)
{
    if (!s->c || !s->r || !s->given || http_queued(s->c) > QUEUE_LOW)
        return;
    exec_reader_taken(s->r, s->given);
    s->given = 0;
}

static void document_stream(json_t *doc, const char *name, const GByteArray *out)
{
    bool text = g_utf8_validate_len((const char *)out->data, out->len, NULL);
    g_autofree char *key = g_strdup_printf("%s_encoding", name);
    g_autofree char *base64 = text ? NULL : g_base64_encode(out->data, out->len);

    if (!out->len)
        json_object_set_new(doc, name, json_string(""));
    else
        json_object_set_new(doc, name, text ? json_stringn((const char *)out->data, out->len) : json_string(base64));
    json_object_set_new(doc, key, json_string(text || !out->len ? "utf-8" : "base64"));
}

/* UTF-8 cut in the middle of a character by our own bound is still text. */
static void cut_to_character(GByteArray *out)
{
    const char *end;

    if (!g_utf8_validate_len((const char *)out->data, out->len, &end) && out->len - (size_t)(end - (const char *)out->data) < 4)
        g_byte_array_set_size(out, (guint)(end - (const char *)out->data));
}

static void document_send(struct exec_stream *s)
{
    json_t *doc = json_pack("{s:s}", "exec_id", exec_id(s->e));
    struct http_call *c = s->c;

    for (unsigned i = 0; i < 2; i++)
        if (s->truncated[i])
            cut_to_character(s->out[i]);
    if (s->exited)
        exec_exit_json(&s->info, doc);
    else
        json_object_set_new(doc, "state", json_string("running"));
    document_stream(doc, "stdout", s->out[0]);
    document_stream(doc, "stderr", s->out[1]);
    json_object_set_new(doc, "truncated", json_boolean(s->truncated[0] || s->truncated[1]));
    if (s->lost)
        json_object_set_new(doc, "lost", json_integer((json_int_t)s->lost));
    exec_stream_over(s);
    http_reply(c, 200, doc);
}

static void on_exit_info(void *arg, const struct exit_info *info)
{
    struct exec_stream *s = arg;
    struct http_call *c = s->c;
    json_t *o;

    if (!c)
        return;
    s->exited = true;
    s->info = *info;
    if (s->document) {
        if (!s->to_end)
            document_send(s);
        return;
    }
    o = json_object();
    exec_exit_json(info, o);
    http_event(c, "exit", o, -1);
    if (s->to_end)
        return;
    exec_stream_over(s);
    http_end(c);
}

static void on_end(void *arg, const struct fault *fault)
{
    struct exec_stream *s = arg;
    struct http_call *c = s->c;
    bool document = s->document;

    if (!c)
        return;
    if (s->document && !fault)
        return document_send(s);
    exec_stream_over(s);
    if (document)
        return http_fault(c, fault);
    if (fault)
        http_event(c, "error", json_pack("{s:s, s:s}", "error", fault->text, "code", fault->code), -1);
    http_end(c);
}

const struct exec_reader_ops exec_stream_ops = { .data = on_data, .exit = on_exit_info, .end = on_end };

void exec_stream_over(struct exec_stream *s)
{
    s->c = NULL;
    exec_reader_free(s->r);
    s->r = NULL;
}

void exec_stream_fini(struct exec_stream *s)
{
    exec_stream_over(s);
    exec_unref(s->e);
    for (unsigned i = 0; i < 2; i++)
        if (s->out[i])
            g_byte_array_unref(s->out[i]);
}
