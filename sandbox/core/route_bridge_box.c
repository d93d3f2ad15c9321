/* The bridge's routes of sandboxes that have no native twin (docs/http.md): running, bucket mounts, the pool. */
#include "sandbox/core/box_private.h"
#include "sandbox/core/route.h"
#include "sandbox/routes.h"

/* A sandbox answers requests as long as it exists: one asleep wakes for the next. */
static void running(struct http_call *c, struct box *b)
{
    http_reply(c, 200, json_pack("{s:b,s:s}", "running", 1, "state", box_state_name(b->state)));
}

static void get_running(struct http_call *c) { route_box(c, running); }

static void no_mount(struct http_call *c, struct box *b)
{
    http_fail(c, "mount_error",
              "buckets cannot be mounted: a sandbox of coppice reaches no network. Put the files into a workspace (coppice import) and mount that, read-only: \"mounts\": [{\"source\": NAME, "
              "\"path\": PATH}] when the sandbox is made, or by PATCH /v1/sandbox/%s before it starts",
              b->name);
}

static void no_unmount(struct http_call *c, struct box *b)
{
    http_fail(c, "unmount_error", "no bucket is mounted in '%s'; mounts of snapshots and workspaces are changed by PATCH /v1/sandbox/%s and count from its next start", b->name, b->name);
}

static void post_mount(struct http_call *c) { route_box(c, no_mount); }
static void post_unmount(struct http_call *c) { route_box(c, no_unmount); }

struct counts { unsigned by_state[BOX_DELETING + 1], total; };

static void count_one(void *arg, struct box *b)
{
    struct counts *k = arg;
    k->by_state[b->state]++;
    k->total++;
}

/* What is pooled here are husks, which the launcher keeps and renews by itself: there is nothing to prime or to shut down. */
static void pool(struct http_call *c)
{
    struct counts k = { 0 };

    boxes_each(http_sandboxd(c)->boxes, count_one, &k);
    http_reply(c, 200, json_pack("{s:b,s:i,s:i,s:i,s:i,s:i,s:i}", "success", 1, "warm", LAUNCH_HUSKS, "warmTarget", LAUNCH_HUSKS, "assigned",
                                 (int)(k.by_state[BOX_RUNNING] + k.by_state[BOX_FROZEN]), "total", (int)(k.by_state[BOX_RUNNING] + k.by_state[BOX_FROZEN]) + LAUNCH_HUSKS, "starting",
                                 (int)k.by_state[BOX_STARTING], "maxInstances", LAUNCH_BOXES_MAX));
}

const struct http_route bridge_box_routes[] = {
    { "GET", "/v1/sandbox/{id}/running", ROUTE_BRIDGE, get_running, DOC_SIMPLE("bridge", "Does the sandbox answer requests (one asleep wakes for the next)", "200", "running, state") },
    { "POST", "/v1/sandbox/{id}/mount", ROUTE_JSON | ROUTE_BRIDGE, post_mount, DOC_SIMPLE("bridge", "Mount a bucket: refused with mount_error, saying what there is instead", "200", "Never") },
    { "POST", "/v1/sandbox/{id}/unmount", ROUTE_JSON | ROUTE_BRIDGE, post_unmount, DOC_SIMPLE("bridge", "Unmount a bucket: refused with unmount_error", "200", "Never") },
    { "GET", "/v1/pool/stats", ROUTE_BRIDGE, pool, DOC_SIMPLE("bridge", "The pool of prepared namespaces", "200", "Counts") },
    { "POST", "/v1/pool/prime", ROUTE_JSON | ROUTE_BRIDGE, pool, DOC_SIMPLE("bridge", "The pool fills itself: says how it stands", "200", "Counts") },
    { "POST", "/v1/pool/shutdown-prewarmed", ROUTE_JSON | ROUTE_BRIDGE, pool, DOC_SIMPLE("bridge", "Prepared namespaces hold no workspace and end with the daemon: says how the pool stands", "200", "Counts") },
    { 0 }
};
