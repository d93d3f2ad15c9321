/* POST /execute of the code interpreter: NDJSON while the code runs. The default contexts are called as their languages and are made when they are first used. */
#include <string.h>

#include "sandbox/code/context.h"
#include "sandbox/e2b/code_env.h"
#include "sandbox/e2b/code_result.h"
#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/names.h"

enum { QUEUE_LOW = 256 * 1024, TEXT_MAX = 16 * 1024, TEXT_MS = 30 };

/* text: what was said on `stream` and is not told yet: a print() is several pieces, and programs expect its line in one. */
struct run { struct e2b_call k; struct code_run *run; GString *text; unsigned stream; guint timer; };

static void run_over(void *self)
{
    struct run *r = self;

    if (r->run)
        code_run_leave(r->run);
    r->run = NULL;
    if (r->timer)
        g_source_remove(r->timer);
    r->timer = 0;
}

static void run_fini(void *self)
{
    struct run *r = self;

    if (r->text)
        g_string_free(r->text, true);
    e2b_call_fini(r);
}

static void line(struct run *r, json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);
    size_t n = text ? strlen(text) : 0;
    char *p = g_malloc(n + 1);

    json_decref(o);
    memcpy(p, text, n);
    p[n] = '\n';
    free(text);
    http_write_take(r->k.x.c, p, n + 1);
}

static void on_failed(void *arg, const struct fault *fault)
{
    struct run *r = arg;

    r->run = NULL;
    http_fault(r->k.x.c, fault);
}

static void on_start(void *arg, const char *context, bool fresh)
{
    struct run *r = arg;

    http_stream(r->k.x.c, 200, "application/x-ndjson", -1);
}

static void flush(struct run *r)
{
    g_autofree char *now = e2b_time((double)g_get_real_time() / 1e6);

    if (r->timer)
        g_source_remove(r->timer);
    r->timer = 0;
    if (r->text && r->text->len)
        line(r, json_pack("{s:s,s:s%,s:s}", "type", r->stream == STREAM_ERR ? "stderr" : "stdout", "text", r->text->str, r->text->len, "timestamp", now));
    if (r->text)
        g_string_truncate(r->text, 0);
}

static gboolean on_time(gpointer arg)
{
    struct run *r = arg;

    r->timer = 0;
    flush(r);
    return G_SOURCE_REMOVE;
}

static void on_text(void *arg, unsigned stream, const char *p, size_t n)
{
    struct run *r = arg;

    if (!r->text)
        r->text = g_string_new(NULL);
    if (r->stream != stream)
        flush(r);
    r->stream = stream;
    g_string_append_len(r->text, p, (gssize)n);
    if (p[n - 1] == '\n' || r->text->len > TEXT_MAX)
        flush(r);
    else if (!r->timer)
        r->timer = g_timeout_add(TEXT_MS, on_time, r);
}

static void on_result(void *arg, json_t *data, size_t size, bool main)
{
    flush(arg);
    line(arg, e2b_result(data, main));
}

static void on_error(void *arg, const char *name, const char *value, const char *traceback)
{
    flush(arg);
    line(arg, json_pack("{s:s,s:s,s:s,s:s}", "type", "error", "name", name, "value", value, "traceback", traceback));
}

static void finish(struct run *r)
{
    line(r, json_pack("{s:s}", "type", "end_of_execution"));
    http_end(r->k.x.c);
}

static void on_done(void *arg, uint64_t count, bool ok)
{
    struct run *r = arg;

    r->run = NULL;
    flush(r);
    line(r, json_pack("{s:s,s:I}", "type", "number_of_executions", "execution_count", (json_int_t)count));
    finish(r);
}

static bool on_full(void *arg) { return http_queued(((struct run *)arg)->k.x.c) > QUEUE_LOW; }

static const struct code_run_ops ops = { .failed = on_failed, .start = on_start, .text = on_text, .result = on_result, .error = on_error, .done = on_done, .full = on_full };

static void run_sent(void *state, size_t n)
{
    struct run *r = state;

    if (r->run && !on_full(r))
        code_run_flow(r->run);
}

static struct context *default_context(struct e2b_call *k, const char *name, struct fault *f)
{
    int l = code_language_find(name);
    const char *id = l < 0 ? "" : code_language_name((enum code_language)l);
    struct context *c = l < 0 ? NULL : context_find(k->x.b, id);
    g_autofree char *home = NULL;

    if (c || l < 0)
        return c;
    home = e2b_path(k->x.b, NULL, "~");
    return context_new(k->x.b, (enum code_language)l, id, home, NULL, f);
}

/* What this version cannot run is told as the code's own error, where programs look. */
static void no_language(struct run *r, const char *language)
{
    g_autofree char *text = g_strdup_printf("the language '%.40s' is not offered here: python, javascript and typescript are", language);

    http_stream(r->k.x.c, 200, "application/x-ndjson", -1);
    on_error(r, "UnsupportedLanguage", text, "");
    finish(r);
}

static void run_named(void *self)
{
    struct run *r = self;
    const json_t *q = r->k.req;
    const char *id = e2b_str(q, "context_id"), *language = *e2b_str(q, "language") ? e2b_str(q, "language") : "python";
    json_t *code = json_object_get(q, "code"), *env = json_object_get(q, "env_vars");
    struct fault f;
    struct context *c;

    if (!json_is_string(code)) {
        http_fail(r->k.x.c, "invalid_request", "code: a string is needed");
        return;
    }
    context_fault(&f, r->k.x.b, *id ? id : language);
    if (*id)
        c = context_find(r->k.x.b, id);
    else if (code_language_find(language) < 0) {
        no_language(r, language);
        return;
    } else
        c = NULL;
    if (!c)
        c = default_context(&r->k, *id ? id : language, &f);
    if (!c) {
        http_fault(r->k.x.c, &f);
        return;
    }
    struct code_run *run = e2b_run_with_env(c, json_string_value(code), json_string_length(code), env, &ops, r);
    if (!run)
        http_fail(r->k.x.c, "too_many", "the context has as many waiting runs as it can (%d)", CODE_RUNS_MAX);
    else if (r->k.x.c)
        r->run = run;
}

static void run_go(void *self) { e2b_names_need(self, run_named); }

static void route_execute(struct http_call *c)
{
    struct run *r = e2b_call_new(c, sizeof(*r), run_over, run_fini);

    if (!r)
        return;
    http_on_sent(c, run_sent);
    e2b_call_rpc(r, run_go);
}

const struct http_route e2b_code_routes[] = {
    { "POST", "/execute", ROUTE_STREAM | ROUTE_BRIDGE, route_execute, E2B_DOC("e2b interpreter", "Run code; what it says as lines of JSON", E2B_JSON_BODY), &e2b_plain },
    { 0 }
};
