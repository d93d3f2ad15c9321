#include "tools/api.h"

#include <fcntl.h>
#include <gio/gunixsocketaddress.h>
#include <stdarg.h>
#include <string.h>

#include "base/cleanup.h"
#include "tools/text.h"
#include "tools/tool_runner.h"

enum { ANSWER_MAX = 64 << 20 };

int api_open(struct tool *t, struct api *ret)
{
    char path[64];
    int r = runner_need(t, &ret->dir_fd);

    if (r)
        return r;
    ret->t = t;
    /* However long the store's path is, this one is short. */
    snprintf(path, sizeof(path), "/proc/self/fd/%d/api.sock", ret->dir_fd);
    g_autoptr(GSocketAddress) addr = g_unix_socket_address_new(path);
    ret->session = soup_session_new_with_options("remote-connectable", addr, "timeout", 0, "idle-timeout", 0, "max-conns", 16, "max-conns-per-host", 16, NULL);
    return 0;
}

void api_close(struct api *a)
{
    g_clear_object(&a->session);
    close_p(&a->dir_fd);
}

SoupMessage *api_message(struct api *a, const char *method, const char *path, json_t *body, const char *accept)
{
    g_autofree char *url = g_strconcat("http://localhost/v1", path, NULL);
    SoupMessage *m = soup_message_new(method, url);

    (void)a;
    if (m && accept)
        soup_message_headers_replace(soup_message_get_request_headers(m), "Accept", accept);
    if (m && body) {
        char *text = json_dumps(body, JSON_COMPACT);
        g_autoptr(GBytes) bytes = text ? g_bytes_new_with_free_func(text, strlen(text), free, text) : g_bytes_new_static("{}", 2);
        soup_message_set_request_body_from_bytes(m, "application/json", bytes);
    }
    json_decref(body);
    return m;
}

static void error_text(struct api_error *e, const char *text, size_t n)
{
    json_t *v = json_loadb(text, n, 0, NULL);

    snprintf(e->code, sizeof(e->code), "%s", field_str(v, "code"));
    snprintf(e->text, sizeof(e->text), "%s", field_str(v, "error"));
    e->details = json_incref(json_object_get(v, "details"));
    json_decref(v);
    if (!e->text[0])
        snprintf(e->text, sizeof(e->text), "the runner answered %u", e->status);
}

void api_error_of(SoupMessage *m, GInputStream *body, const GError *err, struct api_error *ret_err)
{
    char buf[16384];
    gsize n = 0;

    *ret_err = (struct api_error){ 0 };
    if (err) {
        snprintf(ret_err->code, sizeof(ret_err->code), "disconnected");
        snprintf(ret_err->text, sizeof(ret_err->text), "no answer from the runner: %s; `coppice status` says whether it runs", err->message);
        return;
    }
    ret_err->status = soup_message_get_status(m);
    if (body)
        g_input_stream_read_all(body, buf, sizeof(buf), &n, NULL, NULL);
    error_text(ret_err, buf, n);
}

int api_try(struct api *a, const char *method, const char *path, json_t *body, json_t **ret, struct api_error *ret_err)
{
    g_autoptr(SoupMessage) m = api_message(a, method, path, body, "application/json");
    g_autoptr(GError) err = NULL;

    *ret_err = (struct api_error){ 0 };
    g_autoptr(GBytes) bytes = soup_session_send_and_read(a->session, m, NULL, &err);
    if (!bytes) {
        api_error_of(m, NULL, err, ret_err);
        return 1;
    }
    gsize n;
    const char *text = g_bytes_get_data(bytes, &n);
    ret_err->status = soup_message_get_status(m);
    if (!SOUP_STATUS_IS_SUCCESSFUL(ret_err->status)) {
        error_text(ret_err, text, n);
        return 1;
    }
    json_t *v = n && n < ANSWER_MAX ? json_loadb(text, n, JSON_DECODE_ANY, NULL) : NULL;
    if (ret)
        *ret = v;
    else
        json_decref(v);
    return 0;
}

int api_say(struct tool *t, const struct api_error *e)
{
    char text[sizeof(e->text) * 4];

    (void)t;
    return tool_fail("%s", text_safe(text, sizeof(text), e->text));
}

int api_call(struct api *a, const char *method, const char *path, json_t *body, json_t **ret)
{
    struct api_error e;
    int r = api_try(a, method, path, body, ret, &e);

    if (r)
        api_say(a->t, &e);
    json_decref(e.details);
    return r;
}

enum api_lines api_lines(struct api *a, const char *path, bool (*each)(void *arg, const char *line, size_t n), void *arg)
{
    g_autoptr(SoupMessage) m = api_message(a, "GET", path, NULL, "application/x-ndjson");
    g_autoptr(GError) err = NULL;
    g_autoptr(GInputStream) in = soup_session_send(a->session, m, NULL, &err);
    struct api_error e;

    if (!in || !SOUP_STATUS_IS_SUCCESSFUL(soup_message_get_status(m))) {
        api_error_of(m, in, err, &e);
        api_say(a->t, &e);
        json_decref(e.details);
        return LINES_REFUSED;
    }
    g_autoptr(GDataInputStream) lines = g_data_input_stream_new(in);
    for (;;) {
        gsize n;
        g_autofree char *line = g_data_input_stream_read_line(lines, &n, NULL, NULL);
        if (!line)
            return LINES_BROKEN;
        if (n && !each(arg, line, n))
            return LINES_ENDED;
    }
}

char *api_segment(const char *name)
{
    return g_uri_escape_string(name, NULL, FALSE);
}

char *api_path(const char *path)
{
    while (*path == '/')
        path++;
    return g_uri_escape_string(path, "/", FALSE);
}

char *api_box(const char *name, const char *fmt, ...)
{
    g_autofree char *seg = api_segment(name);
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *rest = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return g_strconcat("/sandbox/", seg, *rest ? "/" : "", rest, NULL);
}
