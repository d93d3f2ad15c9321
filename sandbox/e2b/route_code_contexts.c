/* /contexts of the code interpreter: the contexts that programs make, and the default ones (route_code.c). */
#include <string.h>

#include "sandbox/code/context.h"
#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/names.h"

static void call(struct http_call *c, bool body, bool asleep, void (*go)(void *self))
{
    struct e2b_call *k = e2b_call_new(c, sizeof(*k), NULL, NULL);

    if (!k)
        return;
    k->traffic = true;
    k->run_asleep = asleep;
    if (body)
        e2b_call_rpc(k, go);
    else
        e2b_call_go(k, go);
}

static json_t *context_public(const struct e2b_call *k, const json_t *j)
{
    g_autofree char *home = e2b_path(k->x.b, NULL, "~");
    const char *cwd = json_string_value(json_object_get(j, "cwd"));

    return json_pack("{s:O,s:O,s:s}", "id", json_object_get(j, "id"), "language", json_object_get(j, "language"), "cwd", cwd ? cwd : home);
}

static void on_ready(void *arg, struct context *c, const struct fault *fault)
{
    struct e2b_call *k = arg;
    json_t *j = c ? context_json(c) : NULL;

    if (k->x.c && fault)
        http_fault(k->x.c, fault);
    else if (k->x.c)
        http_reply(k->x.c, 200, context_public(k, j));
    json_decref(j);
    boxed_unref(k);
}

static void make_named(void *self)
{
    struct e2b_call *k = self;
    const char *language = *e2b_str(k->req, "language") ? e2b_str(k->req, "language") : "python";
    int l = code_language_find(language);
    g_autofree char *cwd = e2b_path(k->x.b, NULL, *e2b_str(k->req, "cwd") ? e2b_str(k->req, "cwd") : "~");
    struct fault f;

    if (l < 0) {
        http_fail(k->x.c, "invalid_request", "the language '%.40s' is not offered here: python, javascript and typescript are", language);
        return;
    }
    struct context *c = context_new(k->x.b, (enum code_language)l, NULL, cwd, NULL, &f);
    if (c)
        context_wait(c, on_ready, boxed_ref(k));
    else
        http_fault(k->x.c, &f);
}

static void make_go(void *self) { e2b_names_need(self, make_named); }
static void route_make(struct http_call *c) { call(c, true, false, make_go); }

/* The two that exist without a call are told first, whether an interpreter was started for them or not. */
static void list_named(void *self)
{
    static const char *const always[] = { "python", "javascript" };
    struct e2b_call *k = self;
    json_t *all = contexts_json(k->x.b), *out = json_array(), *j;
    size_t i;

    for (unsigned a = 0; a < G_N_ELEMENTS(always); a++)
        if (!context_find(k->x.b, always[a])) {
            json_t *o = json_pack("{s:s,s:s}", "id", always[a], "language", always[a]);
            json_array_append_new(out, context_public(k, o));
            json_decref(o);
        }
    json_array_foreach(all, i, j)
        json_array_append_new(out, context_public(k, j));
    json_decref(all);
    http_reply(k->x.c, 200, out);
}

static void list_go(void *self) { e2b_names_need(self, list_named); }
static void route_list(struct http_call *c) { call(c, false, false, list_go); }

static bool is_default(const char *id) { return code_language_find(id) >= 0 && !strcmp(id, code_language_name((enum code_language)code_language_find(id))); }

/* The context of the path; NULL: answered (a default one that was not used yet: 204, it is as fresh as can be). */
static struct context *find(struct e2b_call *k)
{
    const char *id = http_param(k->x.c, "cid");
    struct context *c = context_find(k->x.b, id);
    struct fault f;

    if (c)
        return c;
    context_fault(&f, k->x.b, id);
    if (is_default(id))
        http_reply(k->x.c, 204, NULL);
    else
        http_fault(k->x.c, &f);
    return NULL;
}

static void delete_go(void *self)
{
    struct e2b_call *k = self;
    struct context *c = find(k);

    if (!c)
        return;
    context_delete(c);
    http_reply(k->x.c, 204, NULL);
}

static void route_delete(struct http_call *c) { call(c, false, true, delete_go); }

static void restart_go(void *self)
{
    struct e2b_call *k = self;
    struct context *c = find(k);

    if (c)
        context_restart(c, on_ready, boxed_ref(k));
}

static void route_restart(struct http_call *c) { call(c, false, false, restart_go); }

const struct http_route e2b_code_contexts_routes[] = {
    { "POST", "/contexts", ROUTE_STREAM | ROUTE_BRIDGE, route_make, E2B_DOC("e2b interpreter", "Make a context", E2B_JSON_BODY), &e2b_plain },
    { "GET", "/contexts", ROUTE_BRIDGE, route_list, E2B_DOC("e2b interpreter", "The contexts", E2B_HEADER), &e2b_plain },
    { "DELETE", "/contexts/{cid}", ROUTE_BRIDGE, route_delete, E2B_DOC("e2b interpreter", "End a context", E2B_HEADER), &e2b_plain },
    { "POST", "/contexts/{cid}/restart", ROUTE_BRIDGE, route_restart, E2B_DOC("e2b interpreter", "A fresh interpreter for a context", E2B_HEADER), &e2b_plain },
    { 0 }
};
