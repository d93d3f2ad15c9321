/* Forks of a sandbox: all from one state, the source is not paused. Each has the source's configuration and is started at once if asked. */
#include <string.h>

#include "base/log.h"
#include "sandbox/core/box_fork.h"
#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/egress_client.h"
#include "sandbox/routes.h"

enum { FORKS_AT_ONCE = 10000 };

struct forks {
    struct http_call *c;
    unsigned refs;                        /* the call's, and one for each start under way */
    struct box *source;
    bool start, over, ruled;              /* ruled: each has of the source's rules what a fork gets */
    struct box **made;
    struct fault *faults;                 /* of starts; code NULL: it runs */
    unsigned count, pending;
    json_t *snapshot;
};

static void forks_unref(struct forks *k)
{
    if (--k->refs)
        return;
    for (unsigned i = 0; i < k->count; i++)
        if (k->made[i])
            box_unref(k->made[i]);
    if (k->source)
        box_unref(k->source);
    json_decref(k->snapshot);
    g_free(k->made);
    g_free(k->faults);
    g_free(k);
}

static void forks_over(void *p)
{
    struct forks *k = p;

    k->over = true;
    forks_unref(k);
}

static void forks_reply(struct forks *k)
{
    json_t *all = json_array();

    if (k->over)
        return;
    for (unsigned i = 0; i < k->count; i++) {
        json_t *j = box_json(k->made[i]);
        if (!k->ruled)
            json_object_set_new(j, "rules_error", json_string("the rules of the source could not be handed on; this fork has none: PUT .../rules gives it some"));
        if (k->faults[i].code)
            json_object_set_new(j, "start_error", json_pack("{s:s,s:s}", "code", k->faults[i].code, "error", k->faults[i].text));
        json_array_append_new(all, j);
    }
    if (k->snapshot)
        http_set_header(k->c, "Coppice-Snapshot", json_string_value(k->snapshot));
    http_reply(k->c, 201, all);
}

struct one { struct forks *k; unsigned i; };

static void fork_started(void *arg, struct box *b, const struct fault *fault)
{
    struct one *o = arg;
    struct forks *k = o->k;

    if (fault)
        k->faults[o->i] = *fault;
    else
        box_release(b);
    if (--k->pending == 0)
        forks_reply(k);
    forks_unref(k);
    g_free(o);
}

static struct box *fork_box(struct forks *k, const json_t *rec)
{
    struct box *b = boxes_of_fork(k->source, rec);

    if (!b)
        return NULL;
    int r = box_config_is_default(&b->config) ? 0 : box_config_save(b);
    if (r)
        log_warn("box=%s step=save err=%s", b->id, errno_name(r));
    return box_ref(b);
}

/* Now that they have their rules, those that are to start do. */
static void forks_start(struct forks *k)
{
    k->pending = 1;
    for (unsigned i = 0; k->start && i < k->count; i++) {
        struct one *o = g_new(struct one, 1);
        *o = (struct one){ k, i };
        k->refs++;
        k->pending++;
        box_need(k->made[i], fork_started, o);
    }
    if (--k->pending == 0)
        forks_reply(k);
    forks_unref(k);
}

static void forks_ruled(void *arg, json_t *ok, const struct fault *fault, json_t *details)
{
    struct forks *k = arg;

    k->ruled = !fault;
    if (fault)
        log_warn("box=%s step=fork-rules code=%s", k->source->id, fault->code);
    forks_start(k);
}

static void forked(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct forks *k = arg;
    json_t *list = json_object_get(result, "workspaces");
    unsigned n = (unsigned)json_array_size(list);

    if (fault) {
        if (!k->over)
            http_fault(k->c, fault);
        forks_unref(k);
        return;
    }
    k->made = g_new0(struct box *, n);
    k->faults = g_new0(struct fault, n);
    k->snapshot = json_incref(json_object_get(result, "snapshot"));
    for (unsigned i = 0; i < n; i++)
        if ((k->made[k->count] = fork_box(k, json_array_get(list, i))))
            k->count++;
    k->ruled = true;
    if (!k->source->sd->egress) {
        forks_start(k);
        return;
    }
    json_t *to = json_array();
    for (unsigned i = 0; i < k->count; i++)
        json_array_append_new(to, json_string(k->made[i]->id));
    egress_ask(k->source->sd->egress, json_pack("{s:s,s:s,s:o}", "op", "fork", "from", k->source->id, "to", to), false, forks_ruled, k);
}

static void fork_box_now(struct http_call *c, struct box *b)
{
    struct forks *k = http_state(c);
    const char *name = NULL;
    char made[LAUNCH_NAME];
    json_int_t count = 0;
    int start = 0;

    if (!http_unpack(c, "{s?I,s?s,s?b}", "count", &count, "name", &name, "start", &start))
        return;
    if (count < 0 || count > FORKS_AT_ONCE) {
        http_fail(c, "invalid_request", "count is from 1 to %d", FORKS_AT_ONCE);
        return;
    }
    k->source = box_ref(b);
    k->start = start;
    box_make_name(made);
    json_t *req = json_pack("{s:s,s:s,s:s}", "verb", "fork", "source", b->id, "name", name ? name : made);
    if (req && count > 1)
        json_object_set_new(req, "count", json_integer(count));
    k->refs++;
    stock_call(b->sd->stock, req, &b->dir_fd, b->dir_fd >= 0, forked, k);
}

static void post_fork(struct http_call *c)
{
    struct forks *k = g_new0(struct forks, 1);

    k->c = c;
    k->refs = 1;
    http_set_state(c, k, forks_over);
    route_box(c, fork_box_now);
}

const struct http_route box_fork_routes[] = {
    { "POST", "/v1/sandbox/{id}/fork", ROUTE_JSON, post_fork,
      "{\"summary\": \"Fork a sandbox\", \"description\": \"count new sandboxes from the state of its files at one moment, named NAME (one) or NAME-1 .. NAME-count. The source goes on, its streams stay open. "
      "start: they are started now, else by their first request. Configuration is inherited, processes are not.\", \"tags\": [\"sandbox\"], "
      DOC_BODY("\"count\": {\"type\": \"integer\"}, " DOC_STR("name") ", \"start\": {\"type\": \"boolean\"}") ", " DOC_OK("201", "An array of sandboxes; start_error in one that did not start. Header Coppice-Snapshot: the state they are from") "}" },
    { 0 }
};
