/* The events of an execution as they come: as frames (docs/http.md), whose bytes go to our output as they are; with --json one JSON document per line, printed.
 *
 *   SENDING --2xx--> READING --some--> (WRITING --room--> READING) ... --exit--> done
 *      |                | the connection broke before the end: COMING AGAIN with the number of the last byte, as often as there is progress
 *      +--refused-------+--> done, with the error
 * One piece is in work at a time: what our output does not take is not read, so the program in the sandbox waits, as on a pipe.
 * Invariant: of a frame what was read of its bytes has been given to our output, and `seq` counts just these; `have` is of a head, or of a document, that is not complete. */
#include <stdio.h>
#include <string.h>

#include "base/wire.h"
#include "tools/box.h"

enum { AGAIN_MAX = 5, PIECE = 256 * 1024, HEAD = 16, DOCUMENT_MAX = 1 << 20 };
enum kind { KIND_EVENT, KIND_STDOUT, KIND_STDERR };
#define FRAMES_TYPE "application/vnd.coppice.exec-stream"

struct stream {
    struct api *a;
    const char *ws;
    char exec_id[64];
    uint64_t seq;                         /* everything before it was written */
    unsigned tries;                       /* connections since the last byte */
    bool json, quit;
    SoupMessage *m;
    GInputStream *in;                     /* json: a GDataInputStream */
    uint8_t *piece;
    size_t at, len;                       /* of the piece: what is not looked at yet */
    uint8_t head[HEAD];
    size_t head_len;
    enum kind kind;
    uint32_t left;                        /* bytes of the frame that are still to come */
    uint64_t frame_seq;
    GByteArray *document;
    struct out out, err;
    const struct stream_ops *ops;
    void *arg;
    struct stream_end *end;
};

static void read_next(struct stream *s);
static void send_it(struct stream *s);

static void done(struct stream *s)
{
    s->quit = true;
}

static void broken(struct stream *s, const GError *err)
{
    if (!s->exec_id[0] || s->tries++ >= AGAIN_MAX) {
        if (err)
            api_error_of(s->m, NULL, err, &s->end->error);
        else {
            snprintf(s->end->error.code, sizeof(s->end->error.code), "disconnected");
            snprintf(s->end->error.text, sizeof(s->end->error.text), "the runner ended the answer before the command's end was told; `coppice logs %s %s` may say more",
                     s->ws, s->exec_id[0] ? s->exec_id : "EXEC");
        }
        done(s);
        return;
    }
    g_autofree char *path = api_box(s->ws, "exec/%s/output?since=%" G_GUINT64_FORMAT, s->exec_id, s->seq);
    g_clear_object(&s->in);
    g_object_unref(s->m);
    s->m = api_message(s->a, "GET", path, NULL, NULL);
    s->at = s->len = s->head_len = s->left = 0;
    g_byte_array_set_size(s->document, 0);
    send_it(s);
}

static void go_on(struct stream *s);

static void tell_gone(struct stream *s)
{
    if ((s->out.dead || s->err.dead) && s->ops && s->ops->output_gone) {
        s->ops->output_gone(s->arg);
        s->ops = NULL;
    }
}

static void written(void *arg)
{
    tell_gone(arg);
    go_on(arg);
}

static void on_exit_event(struct stream *s, const json_t *v)
{
    s->end->ended = true;
    s->end->code = (int)field_int(v, "exit_code");
    done(s);
}

static void on_error_event(struct stream *s, const json_t *v)
{
    snprintf(s->end->error.code, sizeof(s->end->error.code), "%s", field_str(v, "code"));
    snprintf(s->end->error.text, sizeof(s->end->error.text), "%s", field_str(v, "error"));
    s->end->error.status = 500;
    done(s);
}

/* A document: an event that is not output. With --json output comes as documents, too. */
static void on_event(struct stream *s, const json_t *v)
{
    const char *name = field_str(v, "event");

    if (!strcmp(name, "start")) {
        snprintf(s->exec_id, sizeof(s->exec_id), "%s", field_str(v, "exec_id"));
        if (s->ops && s->ops->started)
            s->ops->started(s->arg, s->exec_id);
    } else if (!strcmp(name, "lost") && !s->json) {
        fprintf(stderr, "coppice: %lld bytes of output were overwritten before they could be read\n", (long long)field_int(v, "bytes"));
    } else if (!strcmp(name, "exit")) {
        on_exit_event(s, v);
    } else if (!strcmp(name, "error")) {
        on_error_event(s, v);
    }
}

/* --- lines --- */

static void on_line(struct stream *s, const char *line, size_t n)
{
    json_t *v = json_loadb(line, n, 0, NULL);
    g_autofree char *text = g_strdup_printf("%.*s\n", (int)n, line);

    on_event(s, v);
    s->seq = json_object_get(v, "id") ? (uint64_t)field_int(v, "id") : s->seq;
    json_decref(v);
    s->tries = 0;
    if (out_write(&s->out, text, n + 1, written, s) && !s->quit)
        written(s);
}

static void on_read_line(GObject *src, GAsyncResult *res, gpointer arg)
{
    struct stream *s = arg;
    g_autoptr(GError) err = NULL;
    gsize n;
    g_autofree char *line = g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(src), res, &n, &err);

    if (line)
        on_line(s, line, n);
    else
        broken(s, err);
}

/* --- frames --- */

static void frame_begins(struct stream *s)
{
    s->head_len = 0;
    s->kind = s->head[0];
    s->left = le32(s->head + 4);
    s->frame_seq = le64(s->head + 8);
    g_byte_array_set_size(s->document, 0);
}

static void document_ends(struct stream *s)
{
    json_t *v = json_loadb((const char *)s->document->data, s->document->len, 0, NULL);

    on_event(s, v);
    json_decref(v);
}

/* What the piece holds of this frame. False: our output takes no more for now. */
static bool frame_goes_on(struct stream *s)
{
    size_t n = MIN(s->len - s->at, s->left);
    const uint8_t *p = s->piece + s->at;

    s->at += n;
    s->left -= (uint32_t)n;
    if (s->kind == KIND_EVENT) {
        if (s->document->len + n <= DOCUMENT_MAX)
            g_byte_array_append(s->document, p, (guint)n);
        if (!s->left)
            document_ends(s);
        return true;
    }
    s->tries = 0;
    s->seq = s->frame_seq - s->left;
    return s->kind > KIND_STDERR || out_write(s->kind == KIND_STDERR ? &s->err : &s->out, p, n, written, s);
}

static void go_on(struct stream *s)
{
    while (!s->quit && s->at < s->len) {
        if (s->left) {
            if (!frame_goes_on(s))
                return;                       /* written() comes */
            tell_gone(s);
            continue;
        }
        size_t n = MIN(HEAD - s->head_len, s->len - s->at);
        memcpy(s->head + s->head_len, s->piece + s->at, n);
        s->at += n;
        if ((s->head_len += n) == HEAD)
            frame_begins(s);
    }
    read_next(s);
}

static void on_read(GObject *src, GAsyncResult *res, gpointer arg)
{
    struct stream *s = arg;
    g_autoptr(GError) err = NULL;
    gssize n = g_input_stream_read_finish(G_INPUT_STREAM(src), res, &err);

    if (n <= 0) {
        broken(s, err);
        return;
    }
    s->at = 0;
    s->len = (size_t)n;
    go_on(s);
}

static void read_next(struct stream *s)
{
    if (s->quit)
        return;
    if (s->json)
        g_data_input_stream_read_line_async(G_DATA_INPUT_STREAM(s->in), G_PRIORITY_DEFAULT, NULL, on_read_line, s);
    else
        g_input_stream_read_async(s->in, s->piece, PIECE, G_PRIORITY_DEFAULT, NULL, on_read, s);
}

static void on_answer(GObject *src, GAsyncResult *res, gpointer arg)
{
    struct stream *s = arg;
    g_autoptr(GError) err = NULL;
    g_autoptr(GInputStream) in = soup_session_send_finish(SOUP_SESSION(src), res, &err);

    if (!in) {
        broken(s, err);
    } else if (!SOUP_STATUS_IS_SUCCESSFUL(soup_message_get_status(s->m))) {
        api_error_of(s->m, in, NULL, &s->end->error);
        done(s);
    } else {
        s->in = s->json ? G_INPUT_STREAM(g_data_input_stream_new(in)) : g_object_ref(in);
        read_next(s);
    }
}

static void send_it(struct stream *s)
{
    soup_message_headers_replace(soup_message_get_request_headers(s->m), "Accept", s->json ? "application/x-ndjson" : FRAMES_TYPE);
    soup_session_send_async(s->a->session, s->m, G_PRIORITY_DEFAULT, NULL, on_answer, s);
}

void stream_run(struct api *a, const char *ws, const char *exec_id, SoupMessage *m, uint64_t since, bool json, const struct stream_ops *ops, void *arg,
                struct stream_end *ret)
{
    struct stream s = { .a = a, .ws = ws, .m = m, .seq = since, .json = json, .out.fd = 1, .err.fd = 2, .ops = ops, .arg = arg, .end = ret };

    *ret = (struct stream_end){ 0 };
    fflush(stdout);
    snprintf(s.exec_id, sizeof(s.exec_id), "%s", exec_id);
    s.piece = g_malloc(PIECE);
    s.document = g_byte_array_new();
    send_it(&s);
    while (!s.quit || s.out.watch || s.err.watch)
        g_main_context_iteration(NULL, TRUE);
    g_clear_object(&s.in);
    g_object_unref(s.m);
    out_fini(&s.out);
    out_fini(&s.err);
    g_byte_array_unref(s.document);
    g_free(s.piece);
}
