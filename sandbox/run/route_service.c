/* Services over HTTP (service.h): register, list, look, remove, start, stop, restart, log. Nothing here starts a box: services run when it does. */
#include <string.h>

#include "sandbox/exec.h"
#include "sandbox/routes.h"
#include "sandbox/run/boxed.h"
#include "sandbox/service.h"

enum { QUEUE_LOW = 256 * 1024 };
static const char *const policies[] = { "always", "on-failure", "no", NULL };

/* --- register --- */
struct add { struct boxed x; char *name; json_t *config; };

static void add_fini(void *self)
{
    struct add *a = self;

    g_free(a->name);
    json_decref(a->config);
}

static void add_go(void *self)
{
    struct add *a = self;
    struct fault f;

    if (service_add(a->x.b, a->name, a->config, &f))
        http_reply(a->x.c, 201, service_json(a->x.b, a->name));
    else
        http_fault(a->x.c, &f);
}

static bool name_ok(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-");

    return n && n <= SERVICE_NAME_MAX && !name[n] && g_ascii_isalnum(name[0]);
}

static bool refuse(struct http_call *c, const char *text) { return http_fail(c, "invalid_request", "%s", text), false; }

static bool argv_ok(json_t *argv)
{
    json_t *v;
    size_t i;

    json_array_foreach(argv, i, v)
        if (!json_is_string(v) || (!i && !json_string_length(v)))
            return false;
    return json_is_array(argv) && json_array_size(argv) && json_array_size(argv) <= 256;
}

static bool env_ok(json_t *env)
{
    const char *key;
    json_t *v;

    json_object_foreach(env, key, v)
        if (!*key || strchr(key, '=') || !json_is_string(v))
            return false;
    return !env || json_is_object(env);
}

static void set_text(json_t *o, const char *key, const char *text)
{
    if (text)
        json_object_set_new(o, key, json_string(text));
}

static bool parse(struct add *a)
{
    const char *name = NULL, *shell = NULL, *cwd = NULL, *user = NULL, *restart = "on-failure";
    json_t *argv = NULL, *env = NULL;
    json_int_t port = 0, max = 0;

    if (!http_unpack(a->x.c, "{s:s, s?o, s?s, s?o, s?s, s?s, s?s, s?I, s?I}", "name", &name, "argv", &argv, "shell", &shell, "env", &env, "cwd", &cwd, "user", &user, "restart", &restart, "port", &port,
                     "max_restarts", &max))
        return false;
    if (!name_ok(name))
        return refuse(a->x.c, "name: 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit");
    if (!argv == !shell || (argv && !argv_ok(argv)))
        return refuse(a->x.c, "give either argv (a list of 1 to 256 strings, the program first) or shell (a text for sh)");
    if (!env_ok(env))
        return refuse(a->x.c, "env: must be an object of strings");
    if (cwd && cwd[0] != '/')
        return refuse(a->x.c, "cwd: must be an absolute path");
    if (user && (!*user || strlen(user) > 63))
        return refuse(a->x.c, "user: give user, root, a number or UID:GID");
    if (!g_strv_contains(policies, restart))
        return refuse(a->x.c, "restart: always, on-failure or no");
    if (port < 0 || port > 65535 || max < 0 || max > 1000000)
        return refuse(a->x.c, "port: 1 to 65535; max_restarts: 0 (no bound) to 1000000");
    a->name = g_strdup(name);
    a->config = json_pack("{s:o, s:s}", "argv", argv ? json_incref(argv) : json_pack("[s, s, s]", "/bin/sh", "-c", shell), "restart", restart);
    if (env)
        json_object_set(a->config, "env", env);
    set_text(a->config, "cwd", cwd);
    set_text(a->config, "user", user);
    if (port)
        json_object_set_new(a->config, "port", json_integer(port));
    if (max)
        json_object_set_new(a->config, "max_restarts", json_integer(max));
    return true;
}

static void route_add(struct http_call *c)
{
    struct add *a = boxed_new(c, sizeof(*a), NULL, add_fini);

    if (parse(a))
        boxed_go(a, BOXED_LOOK, add_go);
}

/* --- look, remove, tell --- */
static void list_go(void *self)
{
    struct boxed *x = self;

    http_reply(x->c, 200, json_pack("{s:o}", "services", services_json(x->b)));
}

static void route_list(struct http_call *c) { boxed_go(boxed_new(c, sizeof(struct boxed), NULL, NULL), BOXED_LOOK, list_go); }

static void missing(struct boxed *x) { http_fail(x->c, "not_found", "sandbox %s has no service %.63s", x->b->name, http_param(x->c, "name")); }

static void one_go(void *self)
{
    struct boxed *x = self;
    json_t *o = service_json(x->b, http_param(x->c, "name"));

    if (o)
        http_reply(x->c, 200, o);
    else
        missing(x);
}

static void route_one(struct http_call *c) { boxed_go(boxed_new(c, sizeof(struct boxed), NULL, NULL), BOXED_LOOK, one_go); }

struct tell { struct boxed x; bool (*fn)(struct box *b, const char *name, struct fault *fault); bool remove; };

static void tell_go(void *self)
{
    struct tell *t = self;
    struct fault f;

    if (!t->fn(t->x.b, http_param(t->x.c, "name"), &f))
        http_fault(t->x.c, &f);
    else if (t->remove)
        http_reply(t->x.c, 204, NULL);
    else
        one_go(t);
}

static void tell(struct http_call *c, bool (*fn)(struct box *b, const char *name, struct fault *fault), bool remove)
{
    struct tell *t = boxed_new(c, sizeof(*t), NULL, NULL);

    t->fn = fn;
    t->remove = remove;
    if (remove || http_unpack(c, "{}"))
        boxed_go(t, BOXED_LOOK, tell_go);
}

static void route_remove(struct http_call *c) { tell(c, service_remove, true); }
static void route_start(struct http_call *c) { tell(c, service_start, false); }
static void route_stop(struct http_call *c) { tell(c, service_stop, false); }
static void route_restart(struct http_call *c) { tell(c, service_restart, false); }

/* --- the log --- */
struct logs { struct boxed x; uint64_t seq; bool follow, following, over; char *name; };

static void logs_more(struct logs *l)
{
    const uint8_t *p;
    unsigned stream;
    size_t n;

    while (l->x.c && http_queued(l->x.c) < QUEUE_LOW) {
        uint64_t at = l->seq;
        n = service_log(l->x.b, l->name, &l->seq, &stream, &p);
        if (!n)
            break;
        if (l->seq > at)
            http_event(l->x.c, "lost", json_pack("{s:I}", "bytes", (json_int_t)(l->seq - at)), -1);
        l->seq += n;
        http_event_bytes(l->x.c, stream == STREAM_ERR ? "stderr" : "stdout", stream == STREAM_ERR ? HTTP_FRAME_STDERR : HTTP_FRAME_STDOUT, p, n, (int64_t)l->seq);
    }
    uint64_t next = l->seq;
    if (!l->x.c || (l->following && !l->over) || (!l->over && service_log(l->x.b, l->name, &next, &stream, &p)))
        return;
    struct http_call *c = l->x.c;
    json_t *o = service_json(l->x.b, l->name);
    http_event(c, "end", json_pack("{s:s, s:I}", "state", o ? json_string_value(json_object_get(o, "state")) : "removed", "next", (json_int_t)l->seq), -1);
    json_decref(o);
    http_end(c);
}

static void on_log(void *arg, bool over)
{
    struct logs *l = arg;

    if (over) {
        logs_more(l);
        l->following = false;
        l->over = true;
    }
    logs_more(l);
}

static void logs_over(void *self)
{
    struct logs *l = self;

    if (l->following)
        service_log_unfollow(l->x.b, l->name, l);
    l->following = false;
}

static void logs_fini(void *self) { g_free(((struct logs *)self)->name); }

static void on_sent(void *state, size_t n)
{
    struct logs *l = state;

    (void)n;
    if (l->x.b && l->name)
        logs_more(l);
}

static void logs_go(void *self)
{
    struct logs *l = self;
    json_t *o = service_json(l->x.b, http_param(l->x.c, "name"));

    if (!o) {
        missing(&l->x);
        return;
    }
    json_decref(o);
    http_output_events(l->x.c);
    l->name = g_strdup(http_param(l->x.c, "name"));
    l->following = l->follow && !http_is_head(l->x.c) && service_log_follow(l->x.b, l->name, on_log, l);
    logs_more(l);
}

static void route_logs(struct http_call *c)
{
    struct logs *l = boxed_new(c, sizeof(*l), logs_over, logs_fini);

    if (!http_query_u64(c, "since", &l->seq) || !http_query_bool(c, "follow", &l->follow))
        return;
    http_on_sent(c, on_sent);
    boxed_go(l, BOXED_LOOK, logs_go);
}

#define PATH_ID "{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define PATH_NAME PATH_ID ", {\"name\": \"name\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define ERROR "\"default\": {\"$ref\": \"#/components/responses/Error\"}"
#define ANSWER(status, text) "\"responses\": {\"" status "\": {\"description\": \"" text "\", \"content\": {\"application/json\": {\"schema\": {\"type\": \"object\"}}}}, " ERROR "}"
#define TEXT(name) "\"" name "\": {\"type\": \"string\"}"
#define TELL(what) "{\"summary\": \"" what " a service\", \"parameters\": [" PATH_NAME "], " ANSWER("200", "Its state") "}"
const struct http_route service_routes[] = {
    { "POST", "/v1/sandbox/{id}/service", ROUTE_JSON, route_add,
      "{\"summary\": \"Register a service\", \"description\": \"A command that starts whenever the sandbox starts or wakes, and is restarted with back-off (docs/services.md). It starts at once if the sandbox runs.\", \"parameters\": [" PATH_ID "], "
      "\"requestBody\": {\"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"name\"], \"properties\": {" TEXT("name") ", "
      "\"argv\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}}, " TEXT("shell") ", \"env\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\"}}, " TEXT("cwd") ", " TEXT("user") ", "
      "\"restart\": {\"type\": \"string\", \"enum\": [\"always\", \"on-failure\", \"no\"]}, \"port\": {\"type\": \"integer\"}, \"max_restarts\": {\"type\": \"integer\"}}}}}}, " ANSWER("201", "Its state") "}" },
    { "GET", "/v1/sandbox/{id}/service", 0, route_list, "{\"summary\": \"List services\", \"parameters\": [" PATH_ID "], " ANSWER("200", "services") "}" },
    { "GET", "/v1/sandbox/{id}/service/{name}", 0, route_one, "{\"summary\": \"State of a service\", \"parameters\": [" PATH_NAME "], " ANSWER("200", "Its state") "}" },
    { "DELETE", "/v1/sandbox/{id}/service/{name}", 0, route_remove, "{\"summary\": \"End and forget a service\", \"parameters\": [" PATH_NAME "], \"responses\": {\"204\": {\"description\": \"It is gone\"}, " ERROR "}}" },
    { "POST", "/v1/sandbox/{id}/service/{name}/start", ROUTE_JSON, route_start, TELL("Start") },
    { "POST", "/v1/sandbox/{id}/service/{name}/stop", ROUTE_JSON, route_stop, TELL("Stop (until it is started by hand)") },
    { "POST", "/v1/sandbox/{id}/service/{name}/restart", ROUTE_JSON, route_restart, TELL("Restart") },
    { "GET", "/v1/sandbox/{id}/service/{name}/logs", 0, route_logs,
      "{\"summary\": \"What a service has written\", \"description\": \"Of all its runs since the sandbox started, the last 64 KiB: stdout and stderr as in the output of an execution, lost{bytes}, end{state, next}.\", \"parameters\": [" PATH_NAME ", "
      "{\"name\": \"since\", \"in\": \"query\", \"schema\": {\"type\": \"integer\"}}, {\"name\": \"follow\", \"in\": \"query\", \"schema\": {\"type\": \"boolean\"}}], "
      "\"responses\": {\"200\": {\"description\": \"Events\", \"content\": {\"text/event-stream\": {}, \"application/x-ndjson\": {}, \"application/vnd.coppice.exec-stream\": {}}}, " ERROR "}}" },
    { 0 }
};
