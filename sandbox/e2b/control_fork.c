/* POST /sandboxes/{id}/fork: count new sandboxes of one moment, all started; one item for each, a sandbox or an error. The source goes on. */
#include <string.h>

#include "base/log.h"
#include "sandbox/core/box_fork.h"
#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/e2b/control.h"
#include "sandbox/e2b/doc.h"
#include "sandbox/egress_client.h"

struct forks {
    struct http_call *c;
    struct box *source;
    struct box *made[E2B_FORKS_MAX];
    struct fault faults[E2B_FORKS_MAX];   /* code NULL: it runs */
    unsigned count, pending;
    double timeout;
};

static void forks_free(void *p)
{
    struct forks *k = p;

    for (unsigned i = 0; i < k->count; i++)
        box_unref(k->made[i]);
    if (k->source)
        box_unref(k->source);
    g_free(k);
}

static void reply(struct forks *k)
{
    json_t *all = json_array();

    for (unsigned i = 0; i < k->count; i++)
        json_array_append_new(all, k->faults[i].code ? json_pack("{s:{s:i,s:s}}", "error", "code", 500, "message", k->faults[i].text) : json_pack("{s:o}", "sandbox", e2b_answer(k->made[i])));
    http_reply(k->c, 201, all);
}

struct one { struct forks *k; unsigned i; };

static void started(void *arg, struct box *b, const struct fault *fault)
{
    g_autofree struct one *o = arg;
    struct forks *k = o->k;

    if (fault)
        k->faults[o->i] = *fault;
    else
        box_release(b);
    if (--k->pending == 0)
        reply(k);
}

/* Now that they have their rules. */
static void start(void *arg, json_t *ok, const struct fault *fault, json_t *details)
{
    struct forks *k = arg;

    if (fault)
        log_warn("box=%s e2b: step=fork-rules code=%s", k->source->id, fault->code);
    k->pending = k->count + 1;
    for (unsigned i = 0; i < k->count; i++) {
        struct one *o = g_new(struct one, 1);
        *o = (struct one){ k, i };
        box_need(k->made[i], started, o);
    }
    if (--k->pending == 0)
        reply(k);
}

static void take(struct forks *k, const json_t *rec)
{
    const struct box *s = k->source;
    struct box *b = k->count < E2B_FORKS_MAX ? boxes_of_fork(s, rec) : NULL;
    json_t *keep;

    if (!b)
        return;
    json_decref(b->config.e2b);
    b->config.e2b = json_deep_copy(s->config.e2b);
    keep = json_object_get(b->config.e2b, "secure");
    bool secure = !keep || json_is_true(keep);
    e2b_adopt(b, e2b_str(s->config.e2b, "template"), k->timeout);
    e2b_set(b, "secure", json_boolean(secure));
    e2b_set(b, "timeout", json_real(k->timeout));
    e2b_set(b, "paused", json_false());
    int r = e2b_public(b) ? 0 : box_config_save(b);
    if (r)
        log_warn("box=%s step=save err=%s", b->id, errno_name(r));
    k->made[k->count++] = box_ref(b);
}

static void forked(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct forks *k = arg;
    json_t *rec, *to = json_array();
    size_t i;

    if (fault) {
        json_decref(to);
        http_fault(k->c, fault);
        return;
    }
    json_array_foreach(json_object_get(result, "workspaces"), i, rec)
        take(k, rec);
    for (i = 0; i < k->count; i++)
        json_array_append_new(to, json_string(k->made[i]->id));
    if (k->source->sd->egress)
        egress_ask(k->source->sd->egress, json_pack("{s:s,s:s,s:O}", "op", "fork", "from", k->source->id, "to", to), false, start, k);
    else
        start(k, NULL, NULL, NULL);
    json_decref(to);
}

static void fork_box(struct http_call *c, struct box *b)
{
    struct forks *k = http_state(c);
    json_t *count = json_object_get(http_json(c), "count"), *names = json_array();
    json_int_t n = json_is_integer(count) ? json_integer_value(count) : count && !json_is_null(count) ? 0 : 1;
    char name[LAUNCH_NAME];

    if (n < 1 || n > E2B_FORKS_MAX) {
        http_fail(c, "invalid_request", "count: from 1 to %d", E2B_FORKS_MAX);
    } else if (e2b_is_paused(b)) {
        http_fail(c, "conflict", "the sandbox '%s' is paused: connect to it first", e2b_id(b));
    } else if (e2b_timeout(c, json_object_get(http_json(c), "timeout"), E2B_TIMEOUT_S, &k->timeout)) {
        k->source = box_ref(b);
        for (json_int_t i = 0; i < n; i++) {
            box_make_name(name);
            json_array_append_new(names, json_string(name));
        }
        stock_call(b->sd->stock, json_pack("{s:s,s:s,s:O}", "verb", "fork", "source", b->id, "names", names), &b->dir_fd, b->dir_fd >= 0, forked, k);
    }
    json_decref(names);
}

static void fork_known(struct http_call *c, struct box *b) { e2b_known(c, b, fork_box); }

static void post_fork(struct http_call *c)
{
    struct forks *k = g_new0(struct forks, 1);

    k->c = c;
    http_set_state(c, k, forks_free);
    route_box(c, fork_known);
}

const struct http_route e2b_fork_routes[] = {
    E2B_CONTROL("POST", "/sandboxes/{id}/fork", ROUTE_JSON, post_fork, "Fork a running sandbox's files; processes are not forked", ", "
                DOC_BODY_OPEN("\"count\": {\"type\": \"integer\"}, \"timeout\": {\"type\": \"number\"}")),
    { 0 }
};
