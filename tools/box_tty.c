/* Our terminal joined to one in a sandbox, over a WebSocket: binary frames are bytes, text frames are JSON (resize to it; ready, exit, error from it).
 * The terminal is in raw mode meanwhile, so every key goes there, but for the detach key. Nothing of what comes is changed on its way to the
 * terminal: this is the one place where a workload's escapes reach it, because somebody asked for an interactive terminal. */
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "tools/box.h"
#include "tools/text.h"

enum { DETACH_FIRST = 'P' & 31, DETACH_SECOND = 'Q' & 31 };

struct tty {
    SoupWebsocketConnection *ws;
    struct out out;
    struct termios before;
    bool raw, quit, detached, held;       /* held: the detach key's first half was typed */
    int code;
    char error[512];
    GError *err;
};

void tty_size(unsigned *ret_cols, unsigned *ret_rows)
{
    struct winsize w = { 0 };
    bool got = !ioctl(1, TIOCGWINSZ, &w) && w.ws_col && w.ws_row;

    *ret_cols = got ? w.ws_col : 80;
    *ret_rows = got ? w.ws_row : 24;
}

static void raw_on(struct tty *t)
{
    struct termios raw;

    if (tcgetattr(0, &t->before))
        return;
    raw = t->before;
    cfmakeraw(&raw);
    t->raw = !tcsetattr(0, TCSADRAIN, &raw);
}

static void raw_off(struct tty *t)
{
    if (t->raw)
        tcsetattr(0, TCSADRAIN, &t->before);
    t->raw = false;
}

/* --- to it --- */

static void send_size(struct tty *t)
{
    unsigned cols, rows;
    char text[80];

    tty_size(&cols, &rows);
    snprintf(text, sizeof(text), "{\"type\":\"resize\",\"cols\":%u,\"rows\":%u}", cols, rows);
    soup_websocket_connection_send_text(t->ws, text);
}

static bool open_still(struct tty *t)
{
    return t->ws && soup_websocket_connection_get_state(t->ws) == SOUP_WEBSOCKET_STATE_OPEN;
}

static gboolean on_resize(gpointer arg)
{
    if (open_still(arg))
        send_size(arg);
    return G_SOURCE_CONTINUE;
}

/* Takes the detach key out; what is left in p is for it. False: it was typed. */
static bool keys(struct tty *t, const uint8_t *p, size_t n, GByteArray *to)
{
    static const uint8_t first = DETACH_FIRST;

    for (size_t i = 0; i < n; i++) {
        if (t->held && p[i] == DETACH_SECOND)
            return false;
        if (t->held)
            g_byte_array_append(to, &first, 1);
        t->held = p[i] == DETACH_FIRST;
        if (!t->held)
            g_byte_array_append(to, p + i, 1);
    }
    return true;
}

static gboolean on_keys(gint fd, GIOCondition cond, gpointer arg)
{
    g_autoptr(GByteArray) to = g_byte_array_new();
    struct tty *t = arg;
    uint8_t buf[4096];
    ssize_t n = read(fd, buf, sizeof(buf));

    (void)cond;
    if (n <= 0 || !keys(t, buf, (size_t)n, to)) {
        t->detached = true;
        t->quit = true;
        return G_SOURCE_REMOVE;
    }
    if (to->len && open_still(t))
        soup_websocket_connection_send_binary(t->ws, to->data, to->len);
    return G_SOURCE_CONTINUE;
}

static gboolean on_end_signal(gpointer arg)
{
    struct tty *t = arg;

    t->detached = t->quit = true;
    return G_SOURCE_CONTINUE;
}

/* --- from it --- */

static void on_text(struct tty *t, const char *p, size_t n)
{
    json_t *v = json_loadb(p, n, 0, NULL);
    const char *type = field_str(v, "type");

    if (!strcmp(type, "exit")) {
        t->code = (int)field_int(v, "code");
        t->quit = true;
    } else if (!strcmp(type, "error")) {
        text_safe(t->error, sizeof(t->error), field_str(v, "message"));
        t->quit = true;
    }
    json_decref(v);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void on_message(SoupWebsocketConnection *ws, gint type, GBytes *bytes, gpointer arg)
{
    struct tty *t = arg;
    gsize n;
    const void *p = g_bytes_get_data(bytes, &n);

    (void)ws;
    if (type == SOUP_WEBSOCKET_DATA_TEXT)
        on_text(t, p, n);
    else if (t->out.watch)
        g_byte_array_append(t->out.left, p, (guint)n);       /* a terminal that is stopped (ctrl-s): what comes meanwhile waits with the rest */
    else
        out_write(&t->out, p, n, nothing, NULL);
}

static void on_closed(SoupWebsocketConnection *ws, gpointer arg)
{
    struct tty *t = arg;

    if (!t->quit)
        snprintf(t->error, sizeof(t->error), "the connection to the terminal ended (%u %s)", soup_websocket_connection_get_close_code(ws),
                 soup_websocket_connection_get_close_data(ws) ? soup_websocket_connection_get_close_data(ws) : "");
    t->quit = true;
}

static void on_connected(GObject *src, GAsyncResult *res, gpointer arg)
{
    struct tty *t = arg;

    t->ws = soup_session_websocket_connect_finish(SOUP_SESSION(src), res, &t->err);
    t->quit = !t->ws;
}

static int refused(struct tty *t, struct api *a, SoupMessage *m)
{
    struct api_error e;

    /* The answer's body is not given with this error: ask the route plainly, which is refused the same way. */
    api_error_of(m, NULL, t->err, &e);
    e.status = soup_message_get_status(m);
    if (e.status)
        snprintf(e.text, sizeof(e.text), "the runner refused the terminal (%u %s)", e.status,
                 soup_message_get_reason_phrase(m) ? soup_message_get_reason_phrase(m) : "");
    g_clear_error(&t->err);
    api_say(a->t, &e);
    return BOX_FAILED;
}

static void join(struct tty *t)
{
    guint sources[] = { g_unix_fd_add(0, G_IO_IN | G_IO_HUP, on_keys, t), g_unix_signal_add(SIGWINCH, on_resize, t),
                        g_unix_signal_add(SIGTERM, on_end_signal, t), g_unix_signal_add(SIGHUP, on_end_signal, t) };

    g_signal_connect(t->ws, "message", G_CALLBACK(on_message), t);
    g_signal_connect(t->ws, "closed", G_CALLBACK(on_closed), t);
    send_size(t);
    while (!t->quit || (t->out.watch && !t->detached))
        g_main_context_iteration(NULL, TRUE);
    for (size_t i = 0; i < G_N_ELEMENTS(sources); i++)
        if (g_main_context_find_source_by_id(NULL, sources[i]))
            g_source_remove(sources[i]);
}

int tty_join(struct api *a, const char *path, const char *come_again)
{
    struct tty t = { .out.fd = 1 };
    unsigned cols, rows;

    tty_size(&cols, &rows);
    g_autofree char *full = g_strdup_printf("%s%ccols=%u&rows=%u", path, strchr(path, '?') ? '&' : '?', cols, rows);
    g_autoptr(SoupMessage) m = api_message(a, "GET", full, NULL, NULL);
    soup_session_websocket_connect_async(a->session, m, NULL, NULL, G_PRIORITY_DEFAULT, NULL, on_connected, &t);
    while (!t.ws && !t.quit)
        g_main_context_iteration(NULL, TRUE);
    if (!t.ws)
        return refused(&t, a, m);
    t.quit = false;
    soup_websocket_connection_set_max_incoming_payload_size(t.ws, 0);
    fflush(stdout);
    raw_on(&t);
    join(&t);
    raw_off(&t);
    if (open_still(&t))
        soup_websocket_connection_close(t.ws, SOUP_WEBSOCKET_CLOSE_NORMAL, NULL);
    while (soup_websocket_connection_get_state(t.ws) != SOUP_WEBSOCKET_STATE_CLOSED && g_main_context_iteration(NULL, t.detached))
        ;
    g_object_unref(t.ws);
    out_fini(&t.out);
    if (t.detached)
        fprintf(stderr, "\ncoppice: left; it goes on. `%s` comes back\n", come_again);
    if (t.error[0]) {
        tool_fail("%s", t.error);
        return BOX_FAILED;
    }
    return t.detached ? 0 : t.code;
}

int box_shell(struct tool *t, int argc, char **argv)
{
    const char *user = NULL, *session = "shell";
    const struct arg_option options[] = { { "user", 'u', .val = &user }, { "session", 0, .val = &session }, { 0 } };
    struct args args;
    struct api a;

    int r = args_parse(t, "shell", argc, argv, options, 1, 1, &args);
    if (!r && (!isatty(0) || !isatty(1)))
        r = args_usage("shell", "it needs a terminal as standard input and output; `coppice exec` runs commands without one");
    if (!r)
        r = api_open(t, &a);
    if (r)
        return r;
    g_autofree char *s = api_segment(session), *u = user ? api_segment(user) : NULL;
    g_autofree char *path = api_box(args.v[0], "pty?session=%s%s%s", s, u ? "&user=" : "", u ? u : "");
    g_autofree char *again = g_strdup_printf("coppice shell %s%s%s", args.v[0], strcmp(session, "shell") ? " --session " : "", strcmp(session, "shell") ? session : "");
    r = tty_join(&a, path, again);
    api_close(&a);
    return r;
}
