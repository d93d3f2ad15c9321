/* Sandboxes as objects: make, list, show, change, delete. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/egress_client.h"
#include "sandbox/routes.h"

/* --- POST /v1/sandbox --- */

struct create { struct http_call *c; struct box_config config; char name[LAUNCH_NAME]; const char *from; json_t *labels, *req, *rules; struct box *b; };

static void create_free(void *p)
{
    struct create *k = p;

    box_config_fini(&k->config);
    json_decref(k->labels);
    json_decref(k->req);
    json_decref(k->rules);
    box_unref(k->b);
    g_free(k);
}

/* A sandbox that was asked for with rules is not there without them. */
static void unmade(void *arg, struct box *b, const struct fault *fault)
{
    struct create *k = arg;

    if (fault)
        log_warn("box=%s step=create-undo code=%s", k->b->id, fault->code);
    http_fail(k->c, "unavailable", "the rules could not be kept, and so the sandbox '%s' was not made%s", k->b->name, fault ? " but for its workspace" : "");
}

static void ruled(void *arg, json_t *ok, const struct fault *fault, json_t *details)
{
    struct create *k = arg;

    if (fault) {
        log_warn("box=%s step=create-rules code=%s", k->b->id, fault->code);
        box_delete(k->b, true, unmade, k);
        return;
    }
    json_t *j = box_json(k->b);
    json_object_set(j, "warnings", json_object_get(ok, "warnings"));
    http_reply(k->c, 201, j);
}

static void create_named(void *arg)
{
    struct create *k = arg;

    egress_ask(k->b->sd->egress, json_pack("{s:s,s:s,s:O}", "op", "rules_put", "box", k->b->id, "doc", k->rules), false, ruled, k);
}

static void created(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct create *k = arg;
    struct box *b = result ? boxes_of_record(http_sandboxd(k->c)->boxes, result) : NULL;
    int r = 0;

    if (!b) {
        struct fault none;
        fault_set(&none, "internal", "the store made the workspace, but its answer is not understood");
        http_fault(k->c, fault ? fault : &none);
        return;
    }
    box_config_copy(&b->config, &k->config);
    if (!box_config_is_default(&b->config))
        r = box_config_save(b);
    k->b = box_ref(b);
    if (r)
        http_fail(k->c, "internal", "the sandbox '%s' was made, but its configuration could not be written: %s", b->name, g_strerror(-r));
    else if (k->rules)
        box_egress_tell(b, create_named, k);
    else
        http_reply(k->c, 201, box_json(b));
}

static void create_ask(struct create *k)
{
    struct box *source = k->from ? boxes_find(http_sandboxd(k->c)->boxes, k->from) : NULL;

    stock_call(http_sandboxd(k->c)->stock, json_incref(k->req), source ? &source->dir_fd : NULL, source && source->dir_fd >= 0, created, k);
}

/* Before anything is made. */
static void rules_checked(void *arg, json_t *ok, const struct fault *fault, json_t *details)
{
    struct create *k = arg;

    if (fault)
        http_fault(k->c, fault);
    else
        create_ask(k);
}

/* Native callers say what they mean; CloudflareSandboxClient sends fields of its own (docs/http.md), which change nothing here. */
static bool is_bucket(json_t *mounts)
{
    json_t *m;
    size_t i;

    json_array_foreach(mounts, i, m)
        if (json_object_get(m, "bucket") || json_object_get(m, "mountPath"))
            return true;
    return false;
}

static void post_sandbox(struct http_call *c)
{
    const char *name = NULL, *from = NULL, *kind = NULL;
    json_t *env = NULL, *limits = NULL, *idle = NULL, *rules = NULL, *mounts = NULL, *labels = NULL, *skip;
    struct fault f;

    if (!http_unpack(c, "{s?s,s?s,s?s,s?o,s?o,s?o,s?o,s?o,s?o,s?o,s?o,s?o}", "name", &name, "from", &from, "kind", &kind, "env", &env, "limits", &limits, "idle", &idle, "rules", &rules,
                     "mounts", &mounts, "labels", &labels, "exposedPorts", &skip, "timeoutMs", &skip, "createTimeoutMs", &skip))
        return;
    if (mounts && json_is_array(mounts) && is_bucket(mounts)) {
        http_fail(c, "mount_error", "mounts: buckets cannot be mounted; coppice mounts snapshots and workspaces of its store, read-only: {\"source\": NAME, \"path\": PATH}");
        return;
    }
    if (from && !route_name_ok(c, from))
        return;
    struct create *k = g_new0(struct create, 1);
    k->c = c;
    box_config_init(&k->config);
    http_set_state(c, k, create_free);
    if (!box_config_set(&k->config, env, limits, idle, mounts, &f)) {
        http_fault(c, &f);
        return;
    }
    if (name)
        g_strlcpy(k->name, name, sizeof(k->name));
    else
        box_make_name(k->name);
    k->req = json_pack("{s:s,s:s,s:s*,s:s*,s:O*}", "verb", "create", "name", name ? name : k->name, "from", from, "kind", from ? kind : kind ? kind : "root", "labels", labels);
    if (k->req && k->config.disk_bytes)
        json_object_set_new(k->req, "quota_bytes", json_integer((json_int_t)k->config.disk_bytes));
    k->from = from;
    if (rules) {
        k->rules = json_incref(rules);
        egress_ask(http_sandboxd(c)->egress, json_pack("{s:s,s:O}", "op", "rules_check", "doc", rules), false, rules_checked, k);
    } else {
        create_ask(k);
    }
}

/* --- GET --- */

static bool label_fits(const json_t *labels, const char *want)
{
    const char *eq = strchr(want, '=');
    char *key = eq ? g_strndup(want, (gsize)(eq - want)) : g_strdup(want);
    const char *val = json_string_value(json_object_get(labels, key));

    g_free(key);
    return val && (!eq || !strcmp(val, eq + 1));
}

static void listed(struct http_call *c, json_t *result)
{
    struct boxes *bs = http_sandboxd(c)->boxes;
    const char *state = http_query(c, "state"), *label = http_query(c, "label");
    json_t *all = json_array(), *rec;
    size_t i;

    json_array_foreach(json_object_get(result, "workspaces"), i, rec) {
        const char *id = json_string_value(json_object_get(rec, "id")), *name = json_string_value(json_object_get(rec, "name"));
        struct box *b;
        if (!id || !name || g_str_has_prefix(name, ROOT_PREFIX "ws-") || json_is_true(json_object_get(rec, "importing")))
            continue;
        b = boxes_of_record(bs, rec);
        if (b && (!state || !strcmp(state, box_state_name(b->state))) && (!label || label_fits(b->config.labels, label)))
            json_array_append_new(all, box_json(b));
    }
    route_page(c, "sandboxes", all);
}

static void get_sandboxes(struct http_call *c)
{
    route_stock(c, json_pack("{s:s}", "verb", "list"), NULL, listed);
}

static void show(struct http_call *c, struct box *b)
{
    http_reply(c, 200, box_json(b));
}

static void get_sandbox(struct http_call *c)
{
    route_box(c, show);
}

/* --- PATCH --- */

struct patch { struct http_call *c; struct box *b; json_t *labels; const char *name; };

static void patch_free(void *p)
{
    struct patch *k = p;

    box_unref(k->b);
    g_free(k);
}

/* Rules for labels are judged by the new ones when the client hears of it. */
static void patch_told(void *arg)
{
    struct patch *k = arg;

    http_reply(k->c, 200, box_json(k->b));
}

static void patched(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct patch *k = arg;

    if (fault)
        http_fault(k->c, fault);
    else if (!boxes_of_record(http_sandboxd(k->c)->boxes, result))
        http_fail(k->c, "internal", "the sandbox was changed, but cannot be shown");
    else
        box_egress_tell(k->b, patch_told, k);
}

static void patch_show(struct patch *k)
{
    stock_call(http_sandboxd(k->c)->stock, json_pack("{s:s,s:s,s:b}", "verb", "show", "object", k->b->id, "sizes", 0), NULL, 0, patched, k);
}

static void labelled(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct patch *k = arg;

    if (fault)
        http_fault(k->c, fault);
    else
        patch_show(k);
}

/* {key: text} sets, {key: null} removes. */
static void patch_labels(struct patch *k)
{
    json_t *set = json_object(), *rm = json_array(), *v;
    const char *key;

    if (!k->labels) {
        json_decref(set);
        json_decref(rm);
        patch_show(k);
        return;
    }
    json_object_foreach(k->labels, key, v) {
        if (json_is_null(v))
            json_array_append_new(rm, json_string(key));
        else
            json_object_set(set, key, v);
    }
    stock_call(http_sandboxd(k->c)->stock, json_pack("{s:s,s:s,s:o,s:o}", "verb", "label", "object", k->b->id, "set", set, "remove", rm), NULL, 0, labelled, k);
}

static void renamed(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct patch *k = arg;

    if (fault)
        http_fault(k->c, fault);
    else
        patch_labels(k);
}

static void patch_rename(struct patch *k)
{
    if (k->name && strcmp(k->name, k->b->name))
        stock_call(http_sandboxd(k->c)->stock, json_pack("{s:s,s:s,s:s}", "verb", "rename", "object", k->b->id, "name", k->name), NULL, 0, renamed, k);
    else
        patch_labels(k);
}

static void limited(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count)
{
    struct patch *k = arg;

    if (p->op != LAUNCH_OK)
        http_fail(k->c, p->err == -EBUSY ? "conflict" : "internal", "the limits of the running sandbox '%s' could not be changed: %s (they count from its next start)", k->b->name, p->text);
    else
        patch_rename(k);
}

static void patch_box(struct http_call *c, struct box *b)
{
    json_t *env = NULL, *limits = NULL, *idle = NULL, *mounts = NULL;
    struct patch *k = http_state(c);
    struct box_config config;
    struct launch_limits before = b->config.limits;
    struct fault f;

    k->b = box_ref(b);
    if (!http_unpack(c, "{s?s,s?o,s?o,s?o,s?o,s?o}", "name", &k->name, "labels", &k->labels, "env", &env, "limits", &limits, "idle", &idle, "mounts", &mounts))
        return;
    box_config_init(&config);
    box_config_copy(&config, &b->config);
    config.disk_bytes = b->config.disk_bytes;
    if (k->labels && !json_is_object(k->labels)) {
        http_fail(c, "invalid_request", "labels is an object: text sets a label, null removes it");
    } else if (!box_config_set(&config, env, limits, idle, mounts, &f)) {
        http_fault(c, &f);
    } else if (config.disk_bytes != b->config.disk_bytes) {
        http_fail(c, "not_supported", "limits.disk_mb is set when a sandbox is made and does not change");
    } else {
        box_config_copy(&b->config, &config);
        int r = box_config_save(b);
        if (!b->p->changing)
            life_arm(b);
        if (r) {
            http_fail(c, "internal", "the configuration of '%s' could not be written: %s", b->name, g_strerror(-r));
        } else if (b->p->alive && memcmp(&before, &b->config.limits, sizeof(before))) {
            struct launch_packet q = { .op = LAUNCH_LIMITS, .limits = b->config.limits };
            g_strlcpy(q.box, b->id, sizeof(q.box));
            launcher_ask(b->sd->launcher, &q, NULL, 0, limited, k);
        } else {
            patch_rename(k);
        }
    }
    box_config_fini(&config);
}

static void patch_sandbox(struct http_call *c)
{
    struct patch *k = g_new0(struct patch, 1);

    k->c = c;
    http_set_state(c, k, patch_free);
    route_box(c, patch_box);
}

/* --- DELETE --- */

static void deleted(void *arg, struct box *b, const struct fault *fault)
{
    if (fault)
        http_fault(arg, fault);
    else
        http_reply(arg, 204, NULL);
}

static void delete_box(struct http_call *c, struct box *b)
{
    bool with = false;

    if (http_query_bool(c, "snapshots", &with))
        box_delete(b, with, deleted, c);
}

static void delete_sandbox(struct http_call *c)
{
    route_box(c, delete_box);
}

#define CONFIG_PROPS DOC_OBJ("env") ", " DOC_OBJ("limits") ", " DOC_OBJ("idle") ", \"mounts\": {\"type\": \"array\"}, " DOC_OBJ("labels")
const struct http_route box_routes[] = {
    { "POST", "/v1/sandbox", ROUTE_JSON, post_sandbox,
      "{\"summary\": \"Make a sandbox\", \"description\": \"A new workspace from a template, a snapshot or a workspace (its state now). {} makes one from the template host with a made-up name. It starts "
      "with the first request that needs it. exposedPorts, timeoutMs and createTimeoutMs are taken from clients of the bridge and mean nothing.\", \"tags\": [\"sandbox\"], "
      DOC_BODY(DOC_STR("name") ", " DOC_STR("from") ", \"kind\": {\"enum\": [\"root\", \"bare\"]}, " CONFIG_PROPS
               ", " DOC_OBJ("rules") ", \"exposedPorts\": {}, \"timeoutMs\": {}, \"createTimeoutMs\": {}") ", " DOC_OK("201", "The sandbox") "}" },
    { "GET", "/v1/sandbox", 0, get_sandboxes,
      "{\"summary\": \"List sandboxes\", \"tags\": [\"sandbox\"], \"parameters\": [" DOC_PARAM("state", "string") ", " DOC_PARAM("label", "string") ", " DOC_PARAM("limit", "integer") ", "
      DOC_PARAM("after", "string") "], " DOC_OK("200", "sandboxes, by id; next: give it as after for the following page") "}" },
    { "GET", "/v1/sandbox/{id}", 0, get_sandbox, DOC_SIMPLE("sandbox", "Show a sandbox, by id or name; it is not started", "200", "The sandbox") },
    { "PATCH", "/v1/sandbox/{id}", ROUTE_JSON, patch_sandbox,
      "{\"summary\": \"Change a sandbox\", \"description\": \"Limits count at once, env from the next execution, mounts from the next start. labels: text sets, null removes.\", \"tags\": [\"sandbox\"], "
      DOC_BODY(DOC_STR("name") ", " CONFIG_PROPS) ", " DOC_OK("200", "The sandbox") "}" },
    { "DELETE", "/v1/sandbox/{id}", 0, delete_sandbox,
      "{\"summary\": \"End a sandbox and remove its workspace\", \"description\": \"Its unnamed snapshots go with it; named ones make it fail with not_empty, unless snapshots=true.\", \"tags\": [\"sandbox\"], "
      "\"parameters\": [" DOC_PARAM("snapshots", "boolean") "], \"responses\": {\"204\": {\"description\": \"It is gone\"}}}" },
    { 0 }
};
