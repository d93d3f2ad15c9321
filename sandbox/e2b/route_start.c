/* Start and Connect: the streams of a process. The client that leaves does not end it, its timeout (Connect-Timeout-Ms of Start) does. */
#include <stdlib.h>
#include <string.h>

#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/names.h"
#include "sandbox/e2b/process.h"
#include "sandbox/term.h"

enum { QUEUE_LOW = 128 * 1024, ARGS_MAX = 4096 };

struct start {
    struct e2b_call k;
    struct exec *e;
    struct exec_reader *r;
    size_t given;
    uint8_t cut[2][8];                    /* of stdout (and a terminal), stderr: the beginning of a character whose rest has not come */
    size_t cut_n[2];
    guint alive;                          /* timer of keepalives */
    guint deadline;                       /* of Connect */
    char **argv;
    char *cwd;
    uint32_t timeout_ms;
    bool begun;
};

static void start_over(void *self)
{
    struct start *s = self;

    if (s->alive)
        g_source_remove(s->alive);
    if (s->deadline)
        g_source_remove(s->deadline);
    s->alive = s->deadline = 0;
    exec_reader_free(s->r);
    s->r = NULL;
}

static void start_fini(void *self)
{
    struct start *s = self;

    exec_unref(s->e);
    g_strfreev(s->argv);
    g_free(s->cwd);
    e2b_call_fini(s);
}

static void event(struct start *s, const char *name, json_t *data) { e2b_stream_json(s->k.x.c, json_pack("{s:{s:o}}", "event", name, data)); }

static void end(struct start *s, const char *code, const char *text)
{
    struct http_call *c = s->k.x.c;

    start_over(s);
    e2b_stream_end(c, code, text);
}

static gboolean keep_alive(gpointer arg)
{
    event(arg, "keepalive", json_object());
    return G_SOURCE_CONTINUE;
}

static gboolean too_late(gpointer arg)
{
    ((struct start *)arg)->deadline = 0;
    end(arg, "timeout", "the time of this request is over; the process goes on");
    return G_SOURCE_REMOVE;
}

/* --- what the process says --- */
static void sent(void *state, size_t n)
{
    struct start *s = state;

    if (!s->r || !s->given || http_queued(s->k.x.c) > QUEUE_LOW)
        return;
    exec_reader_taken(s->r, s->given);
    s->given = 0;
}

/* How many bytes at the end begin a character of UTF-8 that is not complete. */
static size_t incomplete(const uint8_t *p, size_t n)
{
    for (size_t k = 1; k <= 3 && k <= n; k++) {
        uint8_t c = p[n - k];
        size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        if ((c & 0xc0) != 0x80)
            return want > k && c < 0xf8 ? k : 0;
    }
    return 0;
}

static void tell(struct start *s, unsigned stream, const uint8_t *p, size_t n)
{
    g_autofree char *text = g_base64_encode(p, n);

    event(s, "data", json_pack("{s:s}", stream == STREAM_TTY ? "pty" : stream == STREAM_ERR ? "stderr" : "stdout", text));
}

/* Old packages decode each piece by itself: a character is never cut, but what is no UTF-8 passes as it is. */
static void on_data(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n)
{
    struct start *s = arg;
    unsigned i = stream == STREAM_ERR;
    g_autofree uint8_t *all = NULL;
    size_t have = s->cut_n[i] + n, keep;

    if (!s->k.x.c || !s->begun)
        return;
    all = g_malloc(have + 1);
    memcpy(all, s->cut[i], s->cut_n[i]);
    memcpy(all + s->cut_n[i], p, n);
    keep = incomplete(all, have);
    if (have > keep)
        tell(s, stream, all, have - keep);
    memcpy(s->cut[i], all + have - keep, keep);
    s->cut_n[i] = keep;
    s->given += n;
    sent(s, n);
}

static void tell_rest(struct start *s)
{
    for (unsigned i = 0; i < 2; i++)
        if (s->cut_n[i])
            tell(s, i ? STREAM_ERR : s->e && exec_is_tty(s->e) ? STREAM_TTY : STREAM_OUT, s->cut[i], s->cut_n[i]);
    s->cut_n[0] = s->cut_n[1] = 0;
}

/* As Go's os.ProcessState tells it: a signal is exit code -1. */
static json_t *end_json(const struct exit_info *i)
{
    g_autofree char *status = i->signal ? g_strdup_printf("signal: %s", g_strsignal(i->signal)) : g_strdup_printf("exit status %d", i->code);
    json_t *o = json_pack("{s:i,s:b,s:s}", "exitCode", i->signal ? -1 : (int)i->code, "exited", !i->signal, "status", status);

    if (i->signal)
        status[8] = g_ascii_tolower(status[8]);
    json_object_set_new(o, "status", json_string(status));
    if (i->signal || i->code)
        json_object_set_new(o, "error", json_string(status));
    return o;
}

static void on_exit_(void *arg, const struct exit_info *info)
{
    struct start *s = arg;

    if (!s->k.x.c)
        return;
    tell_rest(s);
    if (info->timed_out) {
        end(s, "timeout", "the process ran for its timeout and was ended");
        return;
    }
    event(s, "end", end_json(info));
    end(s, NULL, NULL);
}

static void on_end(void *arg, const struct fault *fault)
{
    struct start *s = arg;

    if (s->k.x.c && s->begun)
        end(s, fault ? fault->code : NULL, fault ? fault->text : NULL);
}

static const struct exec_reader_ops ops = { .data = on_data, .exit = on_exit_, .end = on_end };

static void begin(struct start *s, struct exec *e)
{
    const char *ping = http_header(s->k.x.c, "Keepalive-Ping-Interval");
    guint64 every;

    s->e = exec_ref(e);
    s->begun = true;
    e2b_stream_begin(s->k.x.c);
    event(s, "start", json_pack("{s:i}", "pid", (int)e2b_process_pid(e)));
    if (ping && g_ascii_string_to_unsigned(ping, 10, 1, 3600, &every, NULL))
        s->alive = g_timeout_add((guint)every * 1000, keep_alive, s);
}

/* --- Start --- */
static void on_started(void *arg, struct exec *e, const struct fault *fault)
{
    struct start *s = arg;

    if (fault && s->k.x.c) {
        e2b_stream_begin(s->k.x.c);
        e2b_stream_end(s->k.x.c, fault->code, fault->text);
    } else if (!fault) {
        e2b_process_note(e, s->k.req);
        if (s->k.x.c) {
            s->r = exec_first_reader(e);
            begin(s, e);
        } else {
            exec_reader_free(exec_first_reader(e));
        }
    }
    boxed_unref(s);
}

static void refuse(struct start *s, const char *text)
{
    e2b_stream_begin(s->k.x.c);
    e2b_stream_end(s->k.x.c, "invalid_request", text);
}

static bool start_parse(struct start *s)
{
    const json_t *p = json_object_get(s->k.req, "process");
    json_t *args = json_object_get(p, "args"), *envs = json_object_get(p, "envs"), *v;
    const char *key;
    size_t n = json_array_size(args);

    if (!*e2b_str(p, "cmd") || n >= ARGS_MAX)
        return refuse(s, "process.cmd: the program's name is needed"), false;
    s->argv = g_new0(char *, n + 2);
    s->argv[0] = g_strdup(e2b_str(p, "cmd"));
    for (size_t i = 0; i < n; i++) {
        if (!json_is_string(json_array_get(args, i)))
            return refuse(s, "process.args: strings"), false;
        s->argv[i + 1] = g_strdup(json_string_value(json_array_get(args, i)));
    }
    json_object_foreach(envs, key, v)
        if (!*key || strchr(key, '=') || !json_is_string(v))
            return refuse(s, "process.envs: names without '=' and strings"), false;
    return true;
}

static void start_named(void *self)
{
    struct start *s = self;
    const json_t *pty = json_object_get(s->k.req, "pty"), *size = json_object_get(pty, "size"), *in = json_object_get(s->k.req, "stdin"), *p = json_object_get(s->k.req, "process");
    json_int_t cols = json_integer_value(json_object_get(size, "cols")), rows = json_integer_value(json_object_get(size, "rows"));

    if (!term_size_valid(cols, rows)) {
        refuse(s, "pty.size: cols and rows from 1 to 1000");
        return;
    }
    s->cwd = *e2b_str(p, "cwd") ? e2b_path(s->k.x.b, s->k.user, e2b_str(p, "cwd")) : g_strdup("");
    struct exec_request q = { .argv = s->argv, .env = json_object_get(p, "envs"), .cwd = s->cwd, .user = s->k.user, .timeout_ms = s->timeout_ms, .hold = true,
                              .tty = pty != NULL, .stdin_open = pty || !in || json_is_true(in), .cols = (uint16_t)(cols ? cols : TERM_COLS), .rows = (uint16_t)(rows ? rows : TERM_ROWS) };
    exec_start(s->k.x.b, &q, &ops, s, on_started, boxed_ref(s));
}

static void start_go(void *self)
{
    struct start *s = self;

    if (start_parse(s))
        e2b_names_need(s, start_named);
}

static struct start *start_new(struct http_call *c)
{
    struct start *s = e2b_call_new(c, sizeof(*s), start_over, start_fini);
    const char *ms = http_header(c, "Connect-Timeout-Ms");
    guint64 v;

    if (!s)
        return NULL;
    if (ms && g_ascii_string_to_unsigned(ms, 10, 1, UINT32_MAX, &v, NULL))
        s->timeout_ms = (uint32_t)v;
    s->k.stream = true;
    http_on_sent(c, sent);
    return s;
}

static void route_start(struct http_call *c)
{
    struct start *s = start_new(c);

    if (s)
        e2b_call_rpc(s, start_go);
}

/* --- Connect: what comes from now on, as envd does it --- */
static void connect_go(void *self)
{
    struct start *s = self;
    struct fault f;
    struct exec *e = e2b_process_find(s->k.x.b, json_object_get(s->k.req, "process"), &f);
    json_t *j;

    if (!e) {
        e2b_stream_begin(s->k.x.c);
        e2b_stream_end(s->k.x.c, f.code, f.text);
        return;
    }
    j = exec_json(e);
    s->r = exec_read(e, (uint64_t)json_integer_value(json_object_get(json_object_get(j, "seq"), "next")), READ_HOLD, &ops, s);
    json_decref(j);
    if (!s->r) {
        e2b_stream_begin(s->k.x.c);
        e2b_stream_end(s->k.x.c, "too_many", "the process has as many readers as it can");
        return;
    }
    begin(s, e);
    if (s->timeout_ms)
        s->deadline = g_timeout_add(s->timeout_ms, too_late, s);
}

static void route_connect(struct http_call *c)
{
    struct start *s = start_new(c);

    if (s)
        e2b_call_rpc(s, connect_go);
}

const struct http_route e2b_start_routes[] = {
    E2B_RPC("/process.Process/Start", route_start, "Start a process and stream what it says: start, data, end"),
    E2B_RPC("/process.Process/Connect", route_connect, "Stream what a running process says from now on"),
    { 0 }
};
