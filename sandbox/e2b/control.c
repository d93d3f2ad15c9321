/* Sandboxes: create, look, list, connect, kill, pause, timeouts. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/e2b/control.h"
#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/network.h"

/* --- bodies --- */
bool e2b_timeout(struct http_call *c, json_t *v, double absent, double *ret)
{
    if (v && !json_is_null(v) && (!json_is_number(v) || json_number_value(v) < 0 || json_number_value(v) > E2B_TIMEOUT_MAX_S)) {
        http_fail(c, "invalid_request", "timeout: seconds, from 0 to %d", E2B_TIMEOUT_MAX_S);
        return false;
    }
    *ret = json_is_number(v) ? json_number_value(v) : absent;
    return true;
}

bool e2b_strings(struct http_call *c, const json_t *o, const char *what)
{
    const char *key;
    json_t *v;

    if (o && !json_is_null(o) && !json_is_object(o)) {
        http_fail(c, "invalid_request", "%s: an object of strings", what);
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
        if (!json_is_string(v)) {
            http_fail(c, "invalid_request", "%s: %.100s must be a string", what, key);
            return false;
        }
    return true;
}

/* --- POST /v2/sandboxes, /sandboxes --- */
/* pending: its start, its rules */
struct create { struct http_call *c; struct box *b; double timeout; unsigned pending; bool runs; struct fault fault; };

static void create_free(void *p)
{
    struct create *k = p;

    if (k->b)
        box_unref(k->b);
    g_free(k);
}

static void not_made(void *arg, struct box *b, const struct fault *fault)
{
    if (fault)
        log_warn("e2b: step=undo code=%s", fault->code);
}

/* Both are done, well or not: it is there whole, or not at all. Its id is told to nobody before. */
static void created_part(struct create *k, const struct fault *fault)
{
    struct box *b = k->b;

    if (fault && !k->fault.code)
        k->fault = *fault;
    if (--k->pending)
        return;
    if (k->runs)
        box_release(b);
    if (k->fault.code) {
        http_fault(k->c, &k->fault);
        box_delete(b, true, not_made, NULL);
    } else {
        http_reply(k->c, 201, e2b_answer(b));
    }
}

static void created_runs(void *arg, struct box *b, const struct fault *fault)
{
    struct create *k = arg;

    k->runs = !fault;
    created_part(k, fault);
}

static void created_ruled(void *arg, const struct fault *fault) { created_part(arg, fault); }

static void copy_field(struct box *b, const char *to, const json_t *body, const char *from)
{
    json_t *v = json_object_get(body, from);

    if (v && !json_is_null(v))
        e2b_set(b, to, json_deep_copy(v));
}

void e2b_configure(struct box *b, const json_t *body, const char *template, double timeout)
{
    json_t *resume = json_object_get(json_object_get(body, "autoResume"), "enabled"), *env = json_object_get(body, "envVars");

    e2b_adopt(b, template, timeout);
    e2b_set(b, "timeout", json_real(timeout));
    e2b_set(b, "auto_resume", json_boolean(json_is_true(resume)));
    if (json_is_false(json_object_get(body, "secure")))
        e2b_set(b, "secure", json_false());
    copy_field(b, "metadata", body, "metadata");
    copy_field(b, "allow_internet_access", body, "allow_internet_access");
    copy_field(b, "network", body, "network");
    if (json_is_object(env)) {
        json_decref(b->config.env);
        b->config.env = json_deep_copy(env);
    }
}

static void created(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct create *k = arg;
    struct box *b = result ? boxes_of_record(http_sandboxd(k->c)->boxes, result) : NULL;
    struct fault none;

    if (!b) {
        fault_set(&none, "internal", "the store made the workspace, but its answer is not understood");
        http_fault(k->c, fault ? fault : &none);
        return;
    }
    k->b = box_ref(b);
    e2b_configure(b, http_json(k->c), e2b_template(http_json(k->c)), k->timeout);
    if (!e2b_public(b) && !e2b_save(k->c, b)) {
        box_delete(b, true, not_made, NULL);
        return;
    }
    k->pending = 2;
    box_need(b, created_runs, k);
    e2b_network_apply(b, created_ruled, k);
}

const char *e2b_template(const json_t *body)
{
    const char *t = e2b_str(body, "templateID");

    return *t ? t : "base";
}

static bool built_in(const char *template) { return !strcmp(template, "base") || !strcmp(template, "code-interpreter-v1"); }

static void post_sandbox(struct http_call *c)
{
    const json_t *body = http_json(c);
    const char *template = e2b_template(body), *from = built_in(template) ? NULL : template;
    char name[LAUNCH_NAME];
    struct fault f;

    struct create *k = g_new0(struct create, 1);
    k->c = c;
    http_set_state(c, k, create_free);
    json_t *rules = e2b_network_rules(json_object_get(body, "network"), json_object_get(body, "allow_internet_access"), &f);
    if (!rules) {
        http_fault(c, &f);
        return;
    }
    json_decref(rules);
    if (!e2b_timeout(c, json_object_get(body, "timeout"), E2B_TIMEOUT_S, &k->timeout) || !e2b_strings(c, json_object_get(body, "metadata"), "metadata") ||
        !e2b_strings(c, json_object_get(body, "envVars"), "envVars") || (from && !route_name_ok(c, from)))
        return;
    if (json_array_size(json_object_get(body, "volumeMounts"))) {
        http_fail(c, "not_supported", "volumeMounts: coppice has no volumes; mount a snapshot with the native API (mounts)");
        return;
    }
    struct box_config try;
    box_config_init(&try);
    json_t *env = json_object_get(body, "envVars");
    bool good = box_config_set(&try, json_is_object(env) ? env : NULL, NULL, NULL, NULL, &f);
    box_config_fini(&try);
    if (!good) {
        http_fault(c, &f);
        return;
    }
    box_make_name(name);
    struct box *source = from ? boxes_find(http_sandboxd(c)->boxes, from) : NULL;
    stock_call(http_sandboxd(c)->stock, json_pack("{s:s,s:s,s:s*,s:s*}", "verb", "create", "name", name, "from", from, "kind", from ? NULL : "root"), source ? &source->dir_fd : NULL,
               source && source->dir_fd >= 0, created, k);
}

/* --- one sandbox --- */
void e2b_known(struct http_call *c, struct box *b, void (*then)(struct http_call *c, struct box *b))
{
    if (e2b_is(b))
        then(c, b);
    else
        http_fail(c, "not_found", "there is no sandbox '%s' made by the E2B API (connect takes any other one over)", http_param(c, "id"));
}

static void show(struct http_call *c, struct box *b) { http_reply(c, 200, e2b_detail(b)); }
static void show_known(struct http_call *c, struct box *b) { e2b_known(c, b, show); }
static void get_sandbox(struct http_call *c) { route_box(c, show_known); }

static void set_timeout(struct http_call *c, struct box *b)
{
    double s;

    if (!e2b_timeout(c, json_object_get(http_json(c), "timeout"), E2B_TIMEOUT_S, &s))
        return;
    if (e2b_is_paused(b)) {
        http_fail(c, "not_found", "the sandbox '%s' is paused: connect to it", e2b_id(b));
        return;
    }
    e2b_until(b, s);
    e2b_set(b, "timeout", json_real(s));
    if (e2b_save(c, b))
        http_reply(c, 204, NULL);
}

static void timeout_known(struct http_call *c, struct box *b) { e2b_known(c, b, set_timeout); }
static void post_timeout(struct http_call *c) { route_box(c, timeout_known); }

/* A refresh only ever makes it longer. */
static void refresh(struct http_call *c, struct box *b)
{
    double s, end = b->config.until_s;

    if (!e2b_timeout(c, json_object_get(http_json(c), "duration"), E2B_TIMEOUT_S, &s))
        return;
    e2b_until(b, s);
    b->config.until_s = MAX(b->config.until_s, end);
    if (e2b_save(c, b))
        http_reply(c, 204, NULL);
}

static void refresh_known(struct http_call *c, struct box *b) { e2b_known(c, b, refresh); }
static void post_refresh(struct http_call *c) { route_box(c, refresh_known); }

/* --- pause and connect --- */
static void paused(void *arg, struct box *b, const struct fault *fault)
{
    if (fault)
        http_fault(arg, fault);
    else
        http_reply(arg, 204, NULL);
}

static void pause_box(struct http_call *c, struct box *b)
{
    if (e2b_is_paused(b)) {
        http_fail(c, "conflict", "the sandbox '%s' is paused already", e2b_id(b));
        return;
    }
    e2b_set(b, "paused", json_true());
    if (e2b_save(c, b))
        box_sleep(b, true, paused, c);
}

static void pause_known(struct http_call *c, struct box *b) { e2b_known(c, b, pause_box); }
static void post_pause(struct http_call *c) { route_box(c, pause_known); }

static void resumed(void *arg, struct box *b, const struct fault *fault)
{
    struct http_call *c = arg;

    if (fault) {
        http_fault(c, fault);
        return;
    }
    http_reply(c, http_state(c) ? 201 : 200, e2b_answer(b));
    box_release(b);
}

/* Any sandbox of the store may be connected to. One that runs has its time made longer, never shorter. */
static void connect_box(struct http_call *c, struct box *b)
{
    static char yes;
    bool was_paused = e2b_is_paused(b);
    double s, end = was_paused ? 0 : b->config.until_s;

    if (!e2b_timeout(c, json_object_get(http_json(c), "timeout"), E2B_TIMEOUT_S, &s))
        return;
    if (e2b_flag(b, "killed")) {
        http_fail(c, "not_found", "the sandbox '%s' was killed", e2b_id(b));
        return;
    }
    if (!b->config.e2b) {
        e2b_adopt(b, "base", s);
        e2b_set(b, "taken", json_true());
    }
    e2b_public(b);
    e2b_set(b, "paused", json_false());
    e2b_set(b, "timeout", json_real(s));
    e2b_until(b, s);
    b->config.until_s = MAX(b->config.until_s, end);
    if (was_paused)
        http_set_state(c, &yes, NULL);
    if (e2b_save(c, b))
        box_need(b, resumed, c);
}

static void post_connect(struct http_call *c) { route_box(c, connect_box); }

/* --- kill --- */
static void unref(void *p) { box_unref(p); }

static void killed(void *arg, struct box *gone, const struct fault *fault)
{
    struct http_call *c = arg;
    struct box *b = http_state(c);

    if (!fault) {
        http_reply(c, 204, NULL);
    } else if (!strcmp(fault->code, "not_empty")) {     /* its snapshots live on: the workspace stays, asleep, until the last of them is deleted */
        e2b_set(b, "killed", json_true());
        if (e2b_save(c, b))
            http_reply(c, 204, NULL);
    } else {
        http_fault(c, fault);
    }
}

static void kill_box(struct http_call *c, struct box *b)
{
    http_set_state(c, box_ref(b), unref);
    box_delete(b, false, killed, c);
}
static void kill_known(struct http_call *c, struct box *b) { e2b_known(c, b, kill_box); }
static void delete_sandbox(struct http_call *c) { route_box(c, kill_known); }

#define BODY_SECONDS DOC_BODY_OPEN("\"timeout\": {\"type\": \"number\"}")
const struct http_route e2b_control_routes[] = {
    E2B_CONTROL("POST", "/v2/sandboxes", ROUTE_JSON, post_sandbox, "Make a sandbox", ", " BODY_CREATE),
    E2B_CONTROL("POST", "/sandboxes", ROUTE_JSON, post_sandbox, "Make a sandbox (packages up to 2.50)", ", " BODY_CREATE),
    E2B_CONTROL("GET", "/sandboxes/{id}", 0, get_sandbox, "A sandbox", ""),
    E2B_CONTROL("DELETE", "/sandboxes/{id}", 0, delete_sandbox, "Kill a sandbox: its files go, its snapshots stay", ""),
    E2B_CONTROL("POST", "/sandboxes/{id}/timeout", ROUTE_JSON, post_timeout, "When it sleeps, in seconds from now", ", " BODY_SECONDS),
    E2B_CONTROL("POST", "/sandboxes/{id}/refreshes", ROUTE_JSON, post_refresh, "Makes its time longer", ", " DOC_BODY_OPEN("\"duration\": {\"type\": \"number\"}")),
    E2B_CONTROL("POST", "/sandboxes/{id}/pause", ROUTE_JSON, post_pause, "Sleep: files stay, processes end; 409 if it is paused", ", " DOC_BODY_OPEN("\"memory\": {\"type\": \"boolean\"}")),
    E2B_CONTROL("POST", "/v2/sandboxes/{id}/connect", ROUTE_JSON, post_connect, "Wake it if it is paused, and make its time longer", ", " BODY_SECONDS),
    E2B_CONTROL("POST", "/sandboxes/{id}/connect", ROUTE_JSON, post_connect, "The same (packages up to 2.50)", ", " BODY_SECONDS),
    E2B_CONTROL("POST", "/sandboxes/{id}/resume", ROUTE_JSON, post_connect, "The same (old packages)", ", " BODY_SECONDS),
    { 0 }
};
