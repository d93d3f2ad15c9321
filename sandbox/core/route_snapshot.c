/* Snapshots as objects, and what is done to a sandbox with them. */
#include <string.h>

#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/routes.h"

static void reply_snapshot(struct http_call *c, json_t *result)
{
    http_reply(c, 200, route_snapshot_json(result));
}

static void reply_made(struct http_call *c, json_t *result)
{
    http_reply(c, 201, route_snapshot_json(result));
}

/* --- of a sandbox --- */

static void snapshot_box(struct http_call *c, struct box *b)
{
    const char *name = NULL, *message = NULL;
    json_t *labels = NULL;

    if (http_unpack(c, "{s?s,s?s,s?o}", "name", &name, "message", &message, "labels", &labels))
        route_stock(c, json_pack("{s:s,s:s,s:s*,s:s*,s:O*}", "verb", "snapshot", "object", b->id, "name", name, "message", message, "labels", labels), b, reply_made);
}

static void post_snapshot(struct http_call *c) { route_box(c, snapshot_box); }

static void page_snapshots(struct http_call *c, json_t *result, const char *workspace_id)
{
    json_t *all = json_array(), *rec;
    size_t i;

    json_array_foreach(json_object_get(result, "snapshots"), i, rec) {
        const char *of = json_string_value(json_object_get(rec, "workspace_id"));
        if (!workspace_id || (of && !strcmp(of, workspace_id)))
            json_array_append_new(all, route_snapshot_json(rec));
    }
    route_page(c, "snapshots", all);
}

struct of { char id[LAUNCH_NAME]; };

static void listed_of(struct http_call *c, json_t *result)
{
    page_snapshots(c, result, ((struct of *)http_state(c))->id);
}

static void list_box(struct http_call *c, struct box *b)
{
    g_strlcpy(((struct of *)http_state(c))->id, b->id, LAUNCH_NAME);
    route_stock(c, json_pack("{s:s}", "verb", "list"), NULL, listed_of);
}

static void get_snapshots(struct http_call *c)
{
    http_set_state(c, g_new0(struct of, 1), g_free);
    route_box(c, list_box);
}

static void restored(struct http_call *c, json_t *result)
{
    const char *id = json_string_value(json_object_get(result, "id"));
    struct box *b = id ? boxes_find(http_sandboxd(c)->boxes, id) : NULL;

    if (b && b->p->bs->hooks.changed)
        b->p->bs->hooks.changed(b, "restored");
    http_reply(c, 200, json_pack("{s:O,s:O,s:O}", "snapshot", json_object_get(result, "to"), "changed", json_object_get(result, "changed"), "before", json_object_get(result, "before")));
}

static void restore_box(struct http_call *c, struct box *b)
{
    const char *to = NULL;
    json_t *paths = NULL;

    if (http_unpack(c, "{s:s,s?o}", "snapshot", &to, "paths", &paths) && route_name_ok(c, to))
        route_stock(c, json_pack("{s:s,s:s,s:s,s:O*}", "verb", "restore", "object", b->id, "to", to, "paths", paths), b, restored);
}

static void post_restore(struct http_call *c) { route_box(c, restore_box); }

/* Who changed it past us says so. */
static void changed_box(struct http_call *c, struct box *b)
{
    const char *by = NULL;
    bool merge;

    if (!http_unpack(c, "{s:s}", "by", &by))
        return;
    merge = !strcmp(by, "merge");
    if (!merge && strcmp(by, "restore")) {
        http_fail(c, "invalid_request", "by: \"restore\" or \"merge\"");
        return;
    }
    if (b->p->bs->hooks.changed)
        b->p->bs->hooks.changed(b, merge ? "merged" : "restored");
    http_reply(c, 204, NULL);
}

static void post_changed(struct http_call *c) { route_box(c, changed_box); }

/* --- by themselves --- */

static void listed(struct http_call *c, json_t *result)
{
    page_snapshots(c, result, NULL);
}

static void get_all(struct http_call *c)
{
    route_stock(c, json_pack("{s:s}", "verb", "list"), NULL, listed);
}

static bool is_snapshot(struct http_call *c, json_t *result)
{
    const char *what = json_string_value(json_object_get(result, "object"));

    if (what && !strcmp(what, "snapshot"))
        return true;
    http_fail(c, "not_found", "'%s' is a sandbox, not a snapshot; GET /v1/sandbox/%s shows it", http_param(c, "id"), http_param(c, "id"));
    return false;
}

static void shown(struct http_call *c, json_t *result)
{
    if (is_snapshot(c, result))
        reply_snapshot(c, result);
}

static void show(struct http_call *c, bool sizes, void (*then)(struct http_call *c, json_t *result))
{
    const char *id = http_param(c, "id");

    if (route_name_ok(c, id))
        route_stock(c, json_pack("{s:s,s:s,s:b}", "verb", "show", "object", id, "sizes", sizes), NULL, then);
}

static void get_one(struct http_call *c)
{
    bool sizes = false;

    if (http_query_bool(c, "sizes", &sizes))
        show(c, sizes, shown);
}

static void removed(struct http_call *c, json_t *result)
{
    http_reply(c, 204, NULL);
}

static void remove_it(struct http_call *c, json_t *result)
{
    if (is_snapshot(c, result))
        route_stock(c, json_pack("{s:s,s:[O]}", "verb", "rm", "objects", json_object_get(result, "id")), NULL, removed);
}

static void delete_one(struct http_call *c)
{
    show(c, false, remove_it);
}

struct patch { char id[LAUNCH_NAME]; json_t *labels; };

static void patch_show(struct http_call *c, json_t *result)
{
    struct patch *k = http_state(c);
    route_stock(c, json_pack("{s:s,s:s,s:b}", "verb", "show", "object", k->id, "sizes", 0), NULL, reply_snapshot);
}

static void patch_labels(struct http_call *c, json_t *result)
{
    struct patch *k = http_state(c);
    json_t *set, *rm, *v;
    const char *key;

    if (!k->labels) {
        patch_show(c, NULL);
        return;
    }
    set = json_object();
    rm = json_array();
    json_object_foreach(k->labels, key, v) {
        if (json_is_null(v))
            json_array_append_new(rm, json_string(key));
        else
            json_object_set(set, key, v);
    }
    route_stock(c, json_pack("{s:s,s:s,s:o,s:o}", "verb", "label", "object", k->id, "set", set, "remove", rm), NULL, patch_show);
}

static void patch_it(struct http_call *c, json_t *result)
{
    struct patch *k = http_state(c);
    const char *name = NULL;

    if (!is_snapshot(c, result) || !http_unpack(c, "{s?s,s?o}", "name", &name, "labels", &k->labels))
        return;
    if (k->labels && !json_is_object(k->labels)) {
        http_fail(c, "invalid_request", "labels is an object: text sets a label, null removes it");
        return;
    }
    g_strlcpy(k->id, json_string_value(json_object_get(result, "id")), sizeof(k->id));
    if (name)
        route_stock(c, json_pack("{s:s,s:s,s:s}", "verb", "rename", "object", k->id, "name", name), NULL, patch_labels);
    else
        patch_labels(c, NULL);
}

static void patch_one(struct http_call *c)
{
    http_set_state(c, g_new0(struct patch, 1), g_free);
    show(c, false, patch_it);
}

#define PAGE DOC_PARAM("limit", "integer") ", " DOC_PARAM("after", "string")
const struct http_route snapshot_routes[] = {
    { "POST", "/v1/sandbox/{id}/snapshot", ROUTE_JSON, post_snapshot,
      "{\"summary\": \"Take a snapshot\", \"description\": \"Of the files at this moment; nothing in the sandbox is stopped.\", \"tags\": [\"snapshot\"], "
      DOC_BODY(DOC_STR("name") ", " DOC_STR("message") ", " DOC_OBJ("labels")) ", " DOC_OK("201", "The snapshot") "}" },
    { "GET", "/v1/sandbox/{id}/snapshots", 0, get_snapshots,
      "{\"summary\": \"Snapshots of a sandbox\", \"tags\": [\"snapshot\"], \"parameters\": [" PAGE "], " DOC_OK("200", "snapshots, next") "}" },
    { "POST", "/v1/sandbox/{id}/restore", ROUTE_JSON, post_restore,
      "{\"summary\": \"Put files back as they are in a snapshot\", \"description\": \"All of the tree (the state before is kept as a snapshot: before), or paths. Running programs see the change.\", "
      "\"tags\": [\"snapshot\"], " DOC_BODY(DOC_STR("snapshot") ", \"paths\": {\"type\": \"array\"}") ", " DOC_OK("200", "snapshot, changed, before") "}" },
    { "POST", "/v1/sandbox/{id}/changed", ROUTE_JSON, post_changed,
      "{\"summary\": \"Say that the tree was changed past this API\", \"description\": \"By whom: restore or merge. Those who watch the sandbox are told, as after the same by this API. The command does it.\", \"tags\": [\"snapshot\"], "
      DOC_BODY(DOC_STR("by")) ", \"responses\": {\"204\": {\"description\": \"They are told\"}}}" },
    { "GET", "/v1/snapshot", 0, get_all, "{\"summary\": \"List snapshots\", \"tags\": [\"snapshot\"], \"parameters\": [" PAGE "], " DOC_OK("200", "snapshots, next") "}" },
    { "GET", "/v1/snapshot/{id}", 0, get_one,
      "{\"summary\": \"Show a snapshot, by id, WORKSPACE@NAME or name\", \"tags\": [\"snapshot\"], \"parameters\": [" DOC_PARAM("sizes", "boolean") "], " DOC_OK("200", "The snapshot") "}" },
    { "PATCH", "/v1/snapshot/{id}", ROUTE_JSON, patch_one,
      "{\"summary\": \"Name or label a snapshot\", \"tags\": [\"snapshot\"], " DOC_BODY(DOC_STR("name") ", " DOC_OBJ("labels")) ", " DOC_OK("200", "The snapshot") "}" },
    { "DELETE", "/v1/snapshot/{id}", 0, delete_one,
      "{\"summary\": \"Remove a snapshot; what was forked from it keeps its data\", \"tags\": [\"snapshot\"], \"responses\": {\"204\": {\"description\": \"It is gone\"}}}" },
    { 0 }
};
