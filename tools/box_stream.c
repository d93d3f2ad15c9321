/* The events of an execution as they come, one JSON document per line.
 *
 *   SENDING --2xx--> READING --line--> (WRITING --room--> READING) ... --exit--> done
 *      |                | the connection broke before the end: COMING AGAIN with the number of the last byte, as often as there is progress
 *      +--refused-------+--> done, with the error
 * One line is in work at a time: what our output does not take is not read, so the program in the sandbox waits, as on a pipe. */
#include <stdio.h>
#include <string.h>

#include "tools/box.h"

enum { AGAIN_MAX = 5 };

struct stream {
    struct api *a;
    const char *ws;
    char exec_id[64];
    uint64_t seq;                         /* everything before it was written */
    unsigned tries;                       /* connections since the last byte */
    bool json, quit;
    SoupMessage *m;
    GDataInputStream *in;
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
    s->m = api_message(s->a, "GET", path, NULL, "application/x-ndjson");
    send_it(s);
}

static void written(void *arg)
{
    struct stream *s = arg;

    if ((s->out.dead || s->err.dead) && s->ops && s->ops->output_gone) {
        s->ops->output_gone(s->arg);
        s->ops = NULL;
    }
    read_next(s);
}

static void on_output(struct stream *s, struct out *o, const json_t *v)
{
    gsize n;
    g_autofree guchar *p = g_base64_decode(field_str(v, "data"), &n);

    s->seq = json_object_get(v, "id") ? (uint64_t)field_int(v, "id") : s->seq + n;
    s->tries = 0;
    if (out_write(o, p, n, written, s))
        written(s);
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

static void on_line(struct stream *s, const char *line, size_t n)
{
    json_t *v = json_loadb(line, n, 0, NULL);
    const char *name = field_str(v, "event");
    bool out = !strcmp(name, "stdout") || !strcmp(name, "tty"), err = !strcmp(name, "stderr");

    if (!strcmp(name, "start")) {
        snprintf(s->exec_id, sizeof(s->exec_id), "%s", field_str(v, "exec_id"));
        if (s->ops && s->ops->started)
            s->ops->started(s->arg, s->exec_id);
    }
    if (!strcmp(name, "lost") && !s->json)
        fprintf(stderr, "coppice: %lld bytes of output were overwritten before they could be read\n", (long long)field_int(v, "bytes"));
    if (!strcmp(name, "exit"))
        on_exit_event(s, v);
    else if (!strcmp(name, "error"))
        on_error_event(s, v);
    if (s->json) {
        g_autofree char *text = g_strdup_printf("%.*s\n", (int)n, line);
        s->seq = json_object_get(v, "id") ? (uint64_t)field_int(v, "id") : s->seq;
        if (out_write(&s->out, text, n + 1, written, s) && !s->quit)
            written(s);
    } else if (out || err) {
        on_output(s, err ? &s->err : &s->out, v);
    } else if (!s->quit) {
        read_next(s);
    }
    json_decref(v);
}

static void on_read(GObject *src, GAsyncResult *res, gpointer arg)
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

static void read_next(struct stream *s)
{
    if (!s->quit)
        g_data_input_stream_read_line_async(s->in, G_PRIORITY_DEFAULT, NULL, on_read, s);
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
        s->in = g_data_input_stream_new(in);
        read_next(s);
    }
}

static void send_it(struct stream *s)
{
    soup_session_send_async(s->a->session, s->m, G_PRIORITY_DEFAULT, NULL, on_answer, s);
}

void stream_run(struct api *a, const char *ws, const char *exec_id, SoupMessage *m, uint64_t since, bool json, const struct stream_ops *ops, void *arg,
                struct stream_end *ret)
{
    struct stream s = { .a = a, .ws = ws, .m = m, .seq = since, .json = json, .out.fd = 1, .err.fd = 2, .ops = ops, .arg = arg, .end = ret };

    *ret = (struct stream_end){ 0 };
    fflush(stdout);
    snprintf(s.exec_id, sizeof(s.exec_id), "%s", exec_id);
    send_it(&s);
    while (!s.quit || s.out.watch || s.err.watch)
        g_main_context_iteration(NULL, TRUE);
    g_clear_object(&s.in);
    g_object_unref(s.m);
    out_fini(&s.out);
    out_fini(&s.err);
}
