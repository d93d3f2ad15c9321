/* Snapshots: E2B's are templates of their own and outlive the sandbox that they are of. Here a killed sandbox that has some stays as a sleeping workspace until the last is deleted. */
#include <string.h>

#include "base/log.h"
#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/e2b/control.h"
#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/page.h"

#define MADE_UP "e2b-"                    /* begins the names of those that were given none: only named snapshots stay */

static json_t *public_json(const json_t *rec)
{
    const char *name = json_string_value(json_object_get(rec, "name"));
    json_t *j = json_pack("{s:O?,s:[]}", "snapshotID", json_object_get(rec, "id"), "names");

    if (name && !g_str_has_prefix(name, MADE_UP))
        json_array_append_new(json_object_get(j, "names"), json_string(name));
    return j;
}

/* --- POST /sandboxes/{id}/snapshots --- */
struct make { struct http_call *c; struct box *b; char *name; bool replaced; };

static void make_free(void *p)
{
    struct make *k = p;

    if (k->b)
        box_unref(k->b);
    g_free(k->name);
    g_free(k);
}

static void take(struct make *k);

static void replaced(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct make *k = arg;

    if (fault)
        http_fault(k->c, fault);
    else
        take(k);
}

/* The same name again is the newer state. */
static void taken(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct make *k = arg;

    if (result) {
        http_reply(k->c, 201, public_json(result));
    } else if (!strcmp(fault->code, "exists") && !k->replaced) {
        g_autofree char *old = g_strconcat(k->b->name, "@", k->name, NULL);
        k->replaced = true;
        stock_call(k->b->sd->stock, json_pack("{s:s,s:[s]}", "verb", "rm", "objects", old), NULL, 0, replaced, k);
    } else {
        http_fault(k->c, fault);
    }
}

static void take(struct make *k)
{
    stock_call(k->b->sd->stock, json_pack("{s:s,s:s,s:s}", "verb", "snapshot", "object", k->b->id, "name", k->name), &k->b->dir_fd, k->b->dir_fd >= 0, taken, k);
}

static void snapshot_box(struct http_call *c, struct box *b)
{
    struct make *k = http_state(c);
    const char *name = e2b_str(http_json(c), "name");
    char made[LAUNCH_NAME];

    box_make_name(made);
    k->b = box_ref(b);
    k->name = *name ? g_strdup(name) : g_strconcat(MADE_UP, made, NULL);
    if (route_name_ok(c, k->name))
        take(k);
}

static void snapshot_known(struct http_call *c, struct box *b) { e2b_known(c, b, snapshot_box); }

static void post_snapshot(struct http_call *c)
{
    struct make *k = g_new0(struct make, 1);

    k->c = c;
    http_set_state(c, k, make_free);
    route_box(c, snapshot_known);
}

/* --- GET /snapshots --- */
static double time_of(const json_t *rec)
{
    const json_t *t = json_object_get(rec, "created");
    g_autoptr(GDateTime) d = json_is_string(t) ? g_date_time_new_from_iso8601(json_string_value(t), NULL) : NULL;

    return d ? (double)g_date_time_to_unix(d) + (double)g_date_time_get_microsecond(d) / 1e6 : json_number_value(t);
}

static void listed(struct http_call *c, json_t *result)
{
    const char *of = http_query(c, "sandboxID"), *want = http_query(c, "name");
    json_t *all = json_array(), *rec;
    size_t i;

    json_array_foreach(json_object_get(result, "snapshots"), i, rec) {
        const char *name = json_string_value(json_object_get(rec, "name"));
        if (!name || !*name || (want && *want && strcmp(want, name)))
            continue;
        if (!of || !*of || !strcmp(of, e2b_str(rec, "workspace_id")) || !strcmp(of, e2b_str(rec, "workspace")))
            e2b_page_add(all, time_of(rec), public_json(rec));
    }
    e2b_page_reply(c, all, "snapshotID");
}

static void get_snapshots(struct http_call *c) { route_stock(c, json_pack("{s:s}", "verb", "list"), NULL, listed); }

/* --- DELETE /templates/{id} --- */
struct drop { char workspace[LAUNCH_NAME]; };

static void gone(void *arg, struct box *b, const struct fault *fault)
{
    if (fault && strcmp(fault->code, "not_empty"))
        log_warn("e2b: step=killed code=%s", fault->code);
}

static void after_last(void *arg, struct box *b, const struct fault *fault)
{
    if (b && e2b_flag(b, "killed"))
        box_delete(b, false, gone, NULL);
}

static void removed(struct http_call *c, json_t *result)
{
    const struct drop *d = http_state(c);
    struct sandboxd *sd = http_sandboxd(c);
    g_autofree char *workspace = g_strdup(d->workspace);

    http_reply(c, 204, NULL);
    if (*workspace)
        box_get(sd, workspace, after_last, NULL);
}

static void shown(struct http_call *c, json_t *result)
{
    struct drop *d = http_state(c);

    if (strcmp(e2b_str(result, "object"), "snapshot")) {
        http_fail(c, "not_found", "'%s' is not a snapshot", http_param(c, "id"));
        return;
    }
    g_strlcpy(d->workspace, e2b_str(result, "workspace_id"), sizeof(d->workspace));
    route_stock(c, json_pack("{s:s,s:[O]}", "verb", "rm", "objects", json_object_get(result, "id")), NULL, removed);
}

static void delete_template(struct http_call *c)
{
    http_set_state(c, g_new0(struct drop, 1), g_free);
    if (route_name_ok(c, http_param(c, "id")))
        route_stock(c, json_pack("{s:s,s:s,s:b}", "verb", "show", "object", http_param(c, "id"), "sizes", 0), NULL, shown);
}

const struct http_route e2b_snapshot_routes[] = {
    E2B_CONTROL("POST", "/sandboxes/{id}/snapshots", ROUTE_JSON, post_snapshot, "Take a snapshot; its id is a templateID", ", " DOC_BODY_OPEN("\"name\": {\"type\": \"string\"}")),
    E2B_CONTROL("GET", "/snapshots", 0, get_snapshots, "Named snapshots and those of this API, newest first; X-Next-Token", ""),
    E2B_CONTROL("DELETE", "/templates/{id}", 0, delete_template, "Delete a snapshot", ""),
    { 0 }
};
