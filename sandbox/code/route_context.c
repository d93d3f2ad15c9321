/* Code contexts over HTTP: make, list, look, run, interrupt, restart, delete. A path's {cid} is a context's id, or a language: that one is made when it is first used. */
#include <string.h>

#include "sandbox/code/stream.h"
#include "sandbox/routes.h"
#include "sandbox/run/boxed.h"

enum { TIMEOUT_MAX_MS = 24 * 3600 * 1000 };

/* --- make --- */
struct make { struct boxed x; enum code_language language; char *id, *cwd; json_t *env; unsigned status; };

static void make_fini(void *self)
{
    struct make *m = self;

    g_free(m->id);
    g_free(m->cwd);
    json_decref(m->env);
}

static void on_ready(void *arg, struct context *c, const struct fault *fault)
{
    struct make *m = arg;

    if (m->x.c && fault)
        http_fault(m->x.c, fault);
    else if (m->x.c)
        http_reply(m->x.c, m->status, context_json(c));
    boxed_unref(m);
}

static void make_go(void *self)
{
    struct make *m = self;
    struct fault f;
    struct context *c;

    if (m->id && context_find(m->x.b, m->id)) {
        http_fail(m->x.c, "exists", "sandbox %s has a code context %s already: run code in it, restart or delete it", m->x.b->name, m->id);
        return;
    }
    c = context_new(m->x.b, m->language, m->id, m->cwd, m->env, &f);
    if (!c) {
        http_fault(m->x.c, &f);
        return;
    }
    m->status = 201;
    context_wait(c, on_ready, boxed_ref(m));
}

static bool env_valid(struct http_call *c, json_t *env)
{
    const char *key;
    json_t *v;

    if (env && !json_is_object(env))
        return http_fail(c, "invalid_request", "env: must be an object of strings"), false;
    json_object_foreach(env, key, v)
        if (!*key || strchr(key, '=') || !json_is_string(v))
            return http_fail(c, "invalid_request", "env: %.100s: a name without '=' and a string are needed", key), false;
    return true;
}

static bool language_of(struct http_call *c, const char *name, enum code_language *ret)
{
    int l = code_language_find(name);

    if (l < 0)
        return http_fail(c, "invalid_request", "language: %.50s: python, javascript or typescript", name), false;
    *ret = (enum code_language)l;
    return true;
}

static bool id_valid(const char *id)
{
    size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return n && n < LAUNCH_NAME && !id[n] && g_ascii_isalnum(id[0]);
}

static void route_make(struct http_call *c)
{
    struct make *m = boxed_new(c, sizeof(*m), NULL, make_fini);
    const char *language = "python", *cwd = NULL, *id = NULL;
    json_t *env = NULL;

    if (!http_unpack(c, "{s?s, s?s, s?s, s?o}", "id", &id, "language", &language, "cwd", &cwd, "env", &env) || !language_of(c, language, &m->language))
        return;
    if (cwd && cwd[0] != '/') {
        http_fail(c, "invalid_request", "cwd: must be an absolute path");
        return;
    }
    if (!env_valid(c, env))
        return;
    if (id && (!id_valid(id) || code_language_find(id) >= 0)) {
        http_fail(c, "invalid_request", "id: 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit, and no name of a language (those are the default contexts)");
        return;
    }
    m->id = g_strdup(id);
    m->cwd = g_strdup(cwd);
    m->env = json_incref(env);
    boxed_go(m, BOXED_RUN, make_go);
}

/* --- look --- */
static void list_go(void *self)
{
    struct boxed *x = self;

    http_reply(x->c, 200, json_pack("{s:o}", "contexts", contexts_json(x->b)));
}

static void route_list(struct http_call *c) { boxed_go(boxed_new(c, sizeof(struct boxed), NULL, NULL), BOXED_LOOK, list_go); }

/* The context of the path; NULL: answered. */
static struct context *find(struct boxed *x)
{
    struct context *c = context_find(x->b, http_param(x->c, "cid"));
    struct fault f;

    if (!c) {
        context_fault(&f, x->b, http_param(x->c, "cid"));
        http_fault(x->c, &f);
    }
    return c;
}

static void one_go(void *self)
{
    struct boxed *x = self;
    struct context *c = find(x);

    if (c)
        http_reply(x->c, 200, context_json(c));
}

static void route_one(struct http_call *c) { boxed_go(boxed_new(c, sizeof(struct boxed), NULL, NULL), BOXED_LOOK, one_go); }

/* --- end --- */
static void delete_go(void *self)
{
    struct boxed *x = self;
    struct context *c = find(x);

    if (!c)
        return;
    context_delete(c);
    http_reply(x->c, 204, NULL);
}

static void route_delete(struct http_call *c) { boxed_go(boxed_new(c, sizeof(struct boxed), NULL, NULL), BOXED_LOOK, delete_go); }

static void interrupt_go(void *self)
{
    struct boxed *x = self;
    struct context *c = find(x);

    if (c)
        http_reply(x->c, 200, json_pack("{s:b}", "interrupted", (int)context_interrupt(c)));
}

static void route_interrupt(struct http_call *c)
{
    struct boxed *x = boxed_new(c, sizeof(*x), NULL, NULL);

    if (http_unpack(c, "{}"))
        boxed_go(x, BOXED_LOOK, interrupt_go);
}

static void restart_go(void *self)
{
    struct make *m = self;
    struct context *c = find(&m->x);

    m->status = 200;
    if (c)
        context_restart(c, on_ready, boxed_ref(m));
}

/* The box runs if it has contexts: it is woken for it if it is frozen, and not started for nothing. */
static void restart_look(void *self)
{
    struct make *m = self;

    if (find(&m->x))
        boxed_go(m, BOXED_RUN, restart_go);
}

static void route_restart(struct http_call *c)
{
    struct make *m = boxed_new(c, sizeof(*m), NULL, make_fini);

    if (http_unpack(c, "{}"))
        boxed_go(m, BOXED_LOOK, restart_look);
}

/* --- run --- */
struct run { struct boxed x; struct code_stream s; json_t *code; json_int_t timeout_ms; };

static void run_over(void *self) { code_stream_over(&((struct run *)self)->s); }

static void run_fini(void *self)
{
    struct run *r = self;

    code_stream_fini(&r->s);
    json_decref(r->code);
}

static void run_sent(void *state, size_t n)
{
    (void)n;
    code_stream_sent(&((struct run *)state)->s);
}

static void run_go(void *self)
{
    struct run *r = self;
    const char *id = http_param(r->x.c, "cid");
    int language = code_language_find(id);
    struct context *c = context_find(r->x.b, id);
    struct fault f;

    if (!c && language >= 0 && !strcmp(id, code_language_name((enum code_language)language))) {
        c = context_new(r->x.b, (enum code_language)language, id, NULL, NULL, &f);
        if (!c) {
            http_fault(r->x.c, &f);
            return;
        }
    }
    if (!c && !(c = find(&r->x)))
        return;
    code_stream_init(&r->s, r->x.c);
    struct code_run *run = code_run_new(c, json_string_value(r->code), json_string_length(r->code), (uint32_t)r->timeout_ms, &code_stream_ops, &r->s);
    if (!run) {
        r->s.c = NULL;
        http_fail(r->x.c, "too_many", "the code context %s has as many waiting runs as it can (%d): wait for some to end, or use several contexts", id, CODE_RUNS_MAX);
    } else if (r->s.c) {
        r->s.run = run;
    }
}

/* A box that sleeps is started for a language's own context only: any other one is gone. */
static void run_look(void *self)
{
    struct run *r = self;
    const char *id = http_param(r->x.c, "cid");
    int language = code_language_find(id);

    if ((language >= 0 && !strcmp(id, code_language_name((enum code_language)language))) || find(&r->x))
        boxed_go(r, BOXED_RUN, run_go);
}

static void route_run(struct http_call *c)
{
    struct run *r = boxed_new(c, sizeof(*r), run_over, run_fini);
    json_t *code = NULL;

    if (!http_unpack(c, "{s:o, s?I}", "code", &code, "timeout_ms", &r->timeout_ms))
        return;
    if (!json_is_string(code)) {
        http_fail(c, "invalid_request", "code: must be a string");
        return;
    }
    if (r->timeout_ms < 0 || r->timeout_ms > TIMEOUT_MAX_MS) {
        http_fail(c, "invalid_request", "timeout_ms: 0 (none) to %d", TIMEOUT_MAX_MS);
        return;
    }
    r->code = json_incref(code);
    http_on_sent(c, run_sent);
    boxed_go(r, BOXED_LOOK, run_look);
}

#define PATH_ID "{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define PATH_CID PATH_ID ", {\"name\": \"cid\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define ERROR "\"default\": {\"$ref\": \"#/components/responses/Error\"}"
#define ANSWER(status, text) "\"responses\": {\"" status "\": {\"description\": \"" text "\", \"content\": {\"application/json\": {\"schema\": {\"type\": \"object\"}}}}, " ERROR "}"
#define BODY(properties) "\"requestBody\": {\"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {" properties "}}}}}, "
const struct http_route context_routes[] = {
    { "POST", "/v1/sandbox/{id}/context", ROUTE_JSON, route_make,
      "{\"summary\": \"Make a code context\", \"description\": \"A persistent interpreter: python (IPython where the sandbox has it), javascript or typescript. It is ready when the answer comes. It lives in "
      "memory: sleep and stop end it, a fork has none.\", \"parameters\": [" PATH_ID "], " BODY("\"id\": {\"type\": \"string\"}, \"language\": {\"type\": \"string\", \"enum\": [\"python\", \"javascript\", \"typescript\"]}, \"cwd\": "
      "{\"type\": \"string\"}, \"env\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\"}}") ANSWER("201", "Its id and state") "}" },
    { "GET", "/v1/sandbox/{id}/context", 0, route_list, "{\"summary\": \"List code contexts\", \"parameters\": [" PATH_ID "], " ANSWER("200", "The contexts") "}" },
    { "GET", "/v1/sandbox/{id}/context/{cid}", 0, route_one, "{\"summary\": \"State of a code context\", \"parameters\": [" PATH_CID "], " ANSWER("200", "Its state") "}" },
    { "DELETE", "/v1/sandbox/{id}/context/{cid}", 0, route_delete,
      "{\"summary\": \"End a code context\", \"parameters\": [" PATH_CID "], \"responses\": {\"204\": {\"description\": \"Nothing of it is left\"}, " ERROR "}}" },
    { "POST", "/v1/sandbox/{id}/context/{cid}/run", ROUTE_JSON, route_run,
      "{\"summary\": \"Run code in a context\", \"description\": \"{cid} may be a language: its default context, made when it is first used. Events while it runs: start{context, fresh}, stdout{text}, "
      "stderr{text}, result{MIME type: content, ..., main}, error{name, value, traceback}, done{count, ok}. Accept: application/json gives one document instead, application/x-ndjson the events as lines. "
      "Runs of one context take turns. A client that leaves does not end the code.\", \"parameters\": [" PATH_CID "], " BODY("\"code\": {\"type\": \"string\"}, \"timeout_ms\": {\"type\": \"integer\"}")
      "\"responses\": {\"200\": {\"description\": \"What it says\", \"content\": {\"text/event-stream\": {}, \"application/x-ndjson\": {}, \"application/json\": {}}}, " ERROR "}}" },
    { "POST", "/v1/sandbox/{id}/context/{cid}/interrupt", ROUTE_JSON, route_interrupt,
      "{\"summary\": \"Interrupt what a context runs\", \"description\": \"KeyboardInterrupt in Python; JavaScript is stopped where it is. Variables are kept.\", \"parameters\": [" PATH_CID "], "
      ANSWER("200", "interrupted: false if nothing ran") "}" },
    { "POST", "/v1/sandbox/{id}/context/{cid}/restart", ROUTE_JSON, route_restart,
      "{\"summary\": \"Give a context a fresh interpreter\", \"parameters\": [" PATH_CID "], " ANSWER("200", "Its state") "}" },
    { 0 }
};
