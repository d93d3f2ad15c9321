/* exec, run, logs, attach: executions and what they say. */
#include <errno.h>
#include <gio/gunixinputstream.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/box.h"

enum { INPUT_PIECE = 512 * 1024 };

/* One execution in the foreground: its input and the signals for it. */
struct fore {
    struct api *a;
    const char *ws;
    char exec_id[64];
    bool in, over;
    int pending;                          /* a signal that came before it had begun */
    unsigned interrupts;
    GInputStream *input;
    uint8_t piece[INPUT_PIECE];
    guint sources[4];
};

/* --- signals --- */

static void sent_and_forgotten(GObject *src, GAsyncResult *res, gpointer arg)
{
    GBytes *bytes = soup_session_send_and_read_finish(SOUP_SESSION(src), res, NULL);

    if (bytes)
        g_bytes_unref(bytes);
    g_object_unref(arg);
}

static void send_signal(struct fore *f, int signal, bool tree)
{
    g_autofree char *path = api_box(f->ws, "exec/%s/signal", f->exec_id);
    SoupMessage *m = api_message(f->a, "POST", path, json_pack("{s:i,s:b}", "signal", signal, tree ? "tree" : "group", 1), "application/json");

    soup_session_send_and_read_async(f->a->session, m, G_PRIORITY_DEFAULT, NULL, sent_and_forgotten, m);
}

/* The first is passed on; an impatient user's second interrupt kills. */
static gboolean on_signal(struct fore *f, int signal)
{
    bool kill = signal == SIGINT && ++f->interrupts > 1;

    if (f->exec_id[0])
        send_signal(f, kill ? SIGKILL : signal, kill);
    else
        f->pending = signal;
    return G_SOURCE_CONTINUE;
}

static gboolean on_int(gpointer f) { return on_signal(f, SIGINT); }
static gboolean on_term(gpointer f) { return on_signal(f, SIGTERM); }
static gboolean on_hup(gpointer f) { return on_signal(f, SIGHUP); }

/* --- input --- */

static void read_input(struct fore *f);

static void input_sent(GObject *src, GAsyncResult *res, gpointer arg)
{
    struct fore *f = arg;
    g_autoptr(GBytes) bytes = soup_session_send_and_read_finish(SOUP_SESSION(src), res, NULL);
    SoupMessage *m = soup_session_get_async_result_message(SOUP_SESSION(src), res);

    /* Refused: it has ended or closed its input, which is no error of ours. */
    if (!f->over && f->in && bytes && SOUP_STATUS_IS_SUCCESSFUL(soup_message_get_status(m)))
        read_input(f);
}

static void send_input(struct fore *f, size_t n)
{
    g_autofree char *path = api_box(f->ws, "exec/%s/stdin%s", f->exec_id, n ? "" : "?close=1");
    g_autoptr(SoupMessage) m = api_message(f->a, "POST", path, NULL, "application/json");
    g_autoptr(GBytes) bytes = g_bytes_new(f->piece, n);

    f->in = n > 0;
    soup_message_set_request_body_from_bytes(m, "application/octet-stream", bytes);
    soup_session_send_and_read_async(f->a->session, m, G_PRIORITY_DEFAULT, NULL, input_sent, f);
}

static void on_input(GObject *src, GAsyncResult *res, gpointer arg)
{
    struct fore *f = arg;
    gssize n = g_input_stream_read_finish(G_INPUT_STREAM(src), res, NULL);

    if (!f->over)
        send_input(f, n > 0 ? (size_t)n : 0);
}

static void read_input(struct fore *f)
{
    g_input_stream_read_async(f->input, f->piece, sizeof(f->piece), G_PRIORITY_DEFAULT, NULL, on_input, f);
}

static void on_started(void *arg, const char *exec_id)
{
    struct fore *f = arg;

    snprintf(f->exec_id, sizeof(f->exec_id), "%s", exec_id);
    if (f->pending)
        send_signal(f, f->pending, false);
    if (f->in) {
        f->input = g_unix_input_stream_new(0, FALSE);
        read_input(f);
    }
}

static void on_output_gone(void *arg)
{
    send_signal(arg, SIGPIPE, false);
}

static const struct stream_ops fore_ops = { on_started, on_output_gone };

/* Of what is under way something may still call back: it is left to the end of the process. */
static struct fore *fore_new(struct api *a, const char *ws, bool in)
{
    struct fore *f = g_new0(struct fore, 1);

    *f = (struct fore){ .a = a, .ws = ws, .in = in };
    f->sources[0] = g_unix_signal_add(SIGINT, on_int, f);
    f->sources[1] = g_unix_signal_add(SIGTERM, on_term, f);
    f->sources[2] = g_unix_signal_add(SIGHUP, on_hup, f);
    return f;
}

/* --- the verbs --- */

int exec_failed(struct api *a, struct api_error *e)
{
    int r = !strcmp(e->code, "program_not_found") ? BOX_NO_PROGRAM : !strcmp(e->code, "program_not_executable") ? BOX_CANNOT_RUN : BOX_FAILED;

    api_say(a->t, e);
    json_decref(e->details);
    e->details = NULL;
    return r;
}

static int add_env(void *arg, const char *val)
{
    const char *eq = strchr(val, '=');
    g_autofree char *key = eq ? g_strndup(val, (gsize)(eq - val)) : g_strdup(val);
    const char *v = eq ? eq + 1 : getenv(key);

    if (!*key)
        return args_usage("exec", "a variable is NAME=VALUE, not '%s'", val);
    if (v && json_object_set_new(arg, key, json_string(v)))
        return args_usage("exec", "the variable %s is not UTF-8", key);
    return 0;
}

static json_t *exec_body(const struct exec_options *o, char **argv, int argc)
{
    json_t *v = json_array(), *body;
    unsigned cols, rows;

    for (int i = 0; i < argc; i++)
        if (json_array_append_new(v, json_string(argv[i]))) {
            json_decref(v);
            return NULL;
        }
    body = json_pack("{s:o,s:s*,s:s*,s:O*,s:b}", "argv", v, "cwd", o->cwd, "user", o->user, "env", o->env && json_object_size(o->env) ? o->env : NULL, "detach",
                     o->detach || o->tty);
    if (o->timeout)
        json_object_set_new(body, "timeout_ms", json_integer((json_int_t)(g_ascii_strtod(o->timeout, NULL) * 1000)));
    if (o->tty) {
        tty_size(&cols, &rows);
        json_object_set_new(body, "tty", json_true());
        json_object_set_new(body, "cols", json_integer(cols));
        json_object_set_new(body, "rows", json_integer(rows));
    } else if (o->in) {
        json_object_set_new(body, "stdin", json_true());
    }
    return body;
}

static int foreground(struct api *a, const char *ws, SoupMessage *m, bool in, const char *exec_id, uint64_t since)
{
    struct fore *f = fore_new(a, ws, in);
    struct stream_end end;

    snprintf(f->exec_id, sizeof(f->exec_id), "%s", exec_id);
    stream_run(a, ws, exec_id, m, since, a->t->json, &fore_ops, f, &end);
    f->over = true;
    for (size_t i = 0; i < 3; i++)
        g_source_remove(f->sources[i]);
    if (!end.ended && f->interrupts && !f->exec_id[0])
        return 128 + SIGINT;
    return end.ended ? end.code : exec_failed(a, &end.error);
}

/* In the background: a terminal is then joined. */
static int background(struct api *a, const char *ws, const struct exec_options *o, json_t *body)
{
    g_autofree char *path = api_box(ws, "exec");
    struct api_error e;
    json_t *ans = NULL;

    if (api_try(a, "POST", path, body, &ans, &e))
        return exec_failed(a, &e);
    g_autofree char *id = g_strdup(field_str(ans, "exec_id"));
    if (o->detach && a->t->json)
        tool_print_json(ans);
    else if (o->detach)
        puts(id);
    json_decref(ans);
    if (o->detach)
        return 0;
    g_autofree char *join = api_box(ws, "exec/%s/attach", id), *again = g_strdup_printf("coppice attach %s %s", ws, id);
    return tty_join(a, join, again);
}

int exec_in(struct api *a, const char *ws, const struct exec_options *o, char **argv, int argc)
{
    json_t *body = exec_body(o, argv, argc);
    g_autofree char *path = api_box(ws, "exec");

    if (!body) {
        tool_fail("cannot run it: the command's words must be UTF-8");
        return BOX_FAILED;
    }
    if (o->detach || o->tty)
        return background(a, ws, o, body);
    return foreground(a, ws, api_message(a, "POST", path, body, NULL), o->in, "", 0);
}

static int check_options(const char *verb, struct exec_options *o)
{
    char *end;

    if (o->timeout && (g_ascii_strtod(o->timeout, &end) <= 0 || *end))
        return args_usage(verb, "--timeout %s is not a number of seconds", o->timeout);
    if (o->tty && !o->detach && (!isatty(0) || !isatty(1)))
        return args_usage(verb, "-t needs a terminal as our standard input and output");
    return 0;
}

#define EXEC_OPTIONS(o) \
    { "cwd", 'w', .val = &(o).cwd }, { "env", 'e', .each = add_env, .arg = (o).env }, { "user", 'u', .val = &(o).user }, { "timeout", 0, .val = &(o).timeout }, \
    { "interactive", 'i', .flag = &(o).in }, { "tty", 't', .flag = &(o).tty }

int box_exec(struct tool *t, int argc, char **argv)
{
    struct exec_options o = { .env = json_object() };
    const struct arg_option options[] = { EXEC_OPTIONS(o), { "detach", 'd', .flag = &o.detach }, { 0 } };
    struct args args;
    struct api a;

    int r = args_parse_command(t, "exec", argc, argv, options, 1, 2, &args);
    if (!r)
        r = check_options("exec", &o);
    if (r)
        return r;
    if (api_open(t, &a))
        return BOX_FAILED;
    r = exec_in(&a, args.v[0], &o, args.v + 1, args.n - 1);
    api_close(&a);
    json_decref(o.env);
    return r;
}

int box_run(struct tool *t, int argc, char **argv)
{
    struct exec_options o = { .env = json_object() };
    const char *from = NULL, *name = NULL;
    bool rm = false;
    const struct arg_option options[] = {
        EXEC_OPTIONS(o), { "rm", 0, .flag = &rm }, { "from", 0, .val = &from }, { "name", 0, .val = &name }, { 0 },
    };
    struct api_error e;
    json_t *box = NULL;
    struct args args;
    struct api a;

    int r = args_parse_command(t, "run", argc, argv, options, 0, 1, &args);
    if (!r)
        r = check_options("run", &o);
    if (r)
        return r;
    if (api_open(t, &a))
        return BOX_FAILED;
    if (api_try(&a, "POST", "/sandbox", json_pack("{s:s*,s:s*}", "from", from, "name", name), &box, &e)) {
        api_say(t, &e);
        return BOX_FAILED;
    }
    g_autofree char *ws = g_strdup(field_str(box, "name")[0] ? field_str(box, "name") : field_str(box, "id"));
    r = exec_in(&a, ws, &o, args.v, args.n);
    g_autofree char *path = api_box(ws, "%s", "");
    if (rm && api_try(&a, "DELETE", path, NULL, NULL, &e))
        tool_fail("the sandbox '%s' is left: %s", ws, e.text);
    else if (!rm && !name)
        fprintf(stderr, "coppice: the sandbox is kept as '%s'\n", ws);
    json_decref(box);
    api_close(&a);
    return r;
}

int box_logs(struct tool *t, int argc, char **argv)
{
    const char *since_text = "0";
    bool follow = false;
    const struct arg_option options[] = { { "follow", 'f', .flag = &follow }, { "since", 0, .val = &since_text }, { 0 } };
    struct stream_end end;
    struct args args;
    uint64_t since;
    struct api a;

    int r = args_parse(t, "logs", argc, argv, options, 2, 2, &args);
    if (!r && !args_number(since_text, &since))
        r = args_usage("logs", "--since %s is not a number", since_text);
    if (!r)
        r = api_open(t, &a);
    if (r)
        return r;
    g_autofree char *seg = api_segment(args.v[1]);
    g_autofree char *path = api_box(args.v[0], "exec/%s/output?since=%" G_GUINT64_FORMAT "%s", seg, since, follow ? "" : "&follow=0");
    stream_run(&a, args.v[0], follow ? args.v[1] : "", api_message(&a, "GET", path, NULL, NULL), since, t->json, NULL, NULL, &end);
    /* Without --follow the answer ends where the output does so far. */
    if (!end.ended && (follow || end.error.status || strcmp(end.error.code, "disconnected")))
        r = api_say(t, &end.error);
    else
        r = follow ? end.code : 0;
    api_close(&a);
    return r;
}

int box_attach(struct tool *t, int argc, char **argv)
{
    json_t *state = NULL;
    struct args args;
    struct api a;

    int r = args_parse(t, "attach", argc, argv, NULL, 2, 2, &args);
    if (!r)
        r = api_open(t, &a);
    if (r)
        return r;
    g_autofree char *seg = api_segment(args.v[1]), *path = api_box(args.v[0], "exec/%s", seg);
    if (api_call(&a, "GET", path, NULL, &state))
        return BOX_FAILED;
    bool tty = field_bool(state, "tty");
    json_decref(state);
    if (tty && isatty(0) && isatty(1)) {
        g_autofree char *join = api_box(args.v[0], "exec/%s/attach", seg), *again = g_strdup_printf("coppice attach %s %s", args.v[0], args.v[1]);
        r = tty_join(&a, join, again);
    } else {
        g_autofree char *out = api_box(args.v[0], "exec/%s/output?since=0", seg);
        r = foreground(&a, args.v[0], api_message(&a, "GET", out, NULL, NULL), false, args.v[1], 0);
    }
    api_close(&a);
    return r;
}
