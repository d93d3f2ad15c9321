/* Life by hand, and what a sandbox has used. */
#include <string.h>

#include "base/clock.h"
#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/routes.h"

static void freeze_box(struct http_call *c, struct box *b) { box_freeze(b, route_box_answer, c); }
static void sleep_box(struct http_call *c, struct box *b) { box_sleep(b, true, route_box_answer, c); }
static void stop_box(struct http_call *c, struct box *b) { box_sleep(b, false, route_box_answer, c); }

static void awake(void *arg, struct box *b, const struct fault *fault)
{
    route_box_answer(arg, b, fault);
    if (b)
        box_release(b);
}

static void wake_box(struct http_call *c, struct box *b) { box_need(b, awake, c); }
static void post_freeze(struct http_call *c) { route_box(c, freeze_box); }
static void post_sleep(struct http_call *c) { route_box(c, sleep_box); }
static void post_stop(struct http_call *c) { route_box(c, stop_box); }
static void post_wake(struct http_call *c) { route_box(c, wake_box); }

const struct http_route box_life_routes[] = {
    { "POST", "/v1/sandbox/{id}/freeze", ROUTE_JSON, post_freeze, DOC_SIMPLE("life", "Stop all processes where they are; the next request lets them go on", "200", "The sandbox, frozen") },
    { "POST", "/v1/sandbox/{id}/sleep", ROUTE_JSON, post_sleep, DOC_SIMPLE("life", "End all processes, take a snapshot if files changed, and give back everything", "200", "The sandbox, asleep") },
    { "POST", "/v1/sandbox/{id}/stop", ROUTE_JSON, post_stop, DOC_SIMPLE("life", "End all processes, without a snapshot; files stay", "200", "The sandbox, asleep") },
    { "POST", "/v1/sandbox/{id}/wake", ROUTE_JSON, post_wake, DOC_SIMPLE("life", "Start or thaw a sandbox", "200", "The sandbox, running") },
    { 0 }
};

/* --- usage --- */

struct ask { struct http_call *c; struct box *b; json_t *disk; };

static void ask_free(void *p)
{
    struct ask *a = p;

    if (a->b)
        box_unref(a->b);
    json_decref(a->disk);
    g_free(a);
}

static double s_of(uint64_t ns) { return (double)ns / 1e9; }

static json_t *number_or_null(const json_t *from, const char *key)
{
    json_t *v = json_object_get(from, key);
    return v ? json_incref(v) : json_null();
}

static void usage_reply(struct ask *a)
{
    const struct box *b = a->b;
    const struct box_private *p = b->p;
    uint64_t in_state = clock_mono_ns() - p->state_since_ns, ran = p->ran_ns, frozen = p->frozen_ns, slept = p->slept_s;
    const uint64_t *v = p->values;

    if (b->state == BOX_FROZEN)
        frozen += in_state;
    else if (b->state != BOX_ASLEEP && b->state != BOX_DELETING)
        ran += in_state;
    else if (p->asleep_since)
        slept += (uint64_t)MAX(0, g_get_real_time() / 1000000 - p->asleep_since);
    json_t *wall = json_pack("{s:f,s:f,s:I}", "running", s_of(ran), "frozen", s_of(frozen), "asleep", (json_int_t)slept);
    json_t *disk = json_pack("{s:o,s:o,s:o}", "private_bytes", number_or_null(a->disk, "private_bytes"), "shared_bytes", number_or_null(a->disk, "shared_bytes"), "logical_bytes",
                             number_or_null(a->disk, "logical_bytes"));
    http_reply(a->c, 200,
               json_pack("{s:s,s:f,s:{s:f,s:f,s:f,s:f},s:I,s:I,s:I,s:I,s:o,s:I,s:o}", "state", box_state_name(b->state), "cpu_s", (double)usage_cpu_us(b) / 1e6, "cpu", "user_s",
                         (double)v[USAGE_USER_US] / 1e6, "system_s", (double)v[USAGE_SYSTEM_US] / 1e6, "throttled_s", (double)v[USAGE_THROTTLED_US] / 1e6, "former_runs_s",
                         (double)b->cpu_before_us / 1e6, "memory_bytes", (json_int_t)v[USAGE_MEMORY], "memory_peak_bytes", (json_int_t)v[USAGE_MEMORY_PEAK], "pids",
                         (json_int_t)v[USAGE_PIDS], "oom_kills", (json_int_t)(p->oom_kills_before + v[USAGE_OOM_KILLS]), "disk", disk, "egress_bytes", (json_int_t)box_egress_bytes(b), "wall_s",
                         wall));
}

static void used(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count)
{
    struct ask *a = arg;

    if (p->op == LAUNCH_OK && a->b->p->alive)
        usage_take(a->b, p);
    usage_reply(a);
}

static void passed(void *arg)
{
    struct ask *a = arg;
    struct launch_packet q = { .op = LAUNCH_USAGE };

    g_strlcpy(q.box, a->b->id, sizeof(q.box));
    launcher_ask(a->b->sd->launcher, &q, NULL, 0, used, a);
}

static void sized(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct ask *a = arg;

    if (fault) {
        http_fault(a->c, fault);
        return;
    }
    a->disk = json_incref(result);
    if (!a->b->p->alive) {
        usage_reply(a);
        return;
    }
    box_egress_count(a->b, passed, a);
}

static void usage_box(struct http_call *c, struct box *b)
{
    struct ask *a = g_new0(struct ask, 1);
    bool sizes = true;

    if (!http_query_bool(c, "disk", &sizes)) {
        g_free(a);
        return;
    }
    *a = (struct ask){ c, box_ref(b), NULL };
    http_set_state(c, a, ask_free);
    stock_call(b->sd->stock, json_pack("{s:s,s:s,s:b}", "verb", "show", "object", b->id, "sizes", sizes), NULL, 0, sized, a);
}

static void get_usage(struct http_call *c) { route_box(c, usage_box); }

const struct http_route box_usage_routes[] = {
    { "GET", "/v1/sandbox/{id}/usage", 0, get_usage,
      "{\"summary\": \"What a sandbox has used\", \"description\": \"cpu_s: active CPU seconds (user and system) of all its runs, as a bill would count them. memory, pids and cpu: of the present run. disk needs a "
      "walk of the store; disk=false leaves it out.\", \"tags\": [\"life\"], \"parameters\": [" DOC_PARAM("disk", "boolean") "], " DOC_OK("200", "The usage") "}" },
    { 0 }
};
