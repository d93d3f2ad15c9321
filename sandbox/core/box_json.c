#include "sandbox/core/box_private.h"

#include <string.h>

#include "base/clock.h"

/* A name that box_make_name() made: then it is the id too (clients of the bridge know no other). */
static const char *public_id(const struct box *b)
{
    size_t n = strspn(b->name, "abcdefghijklmnopqrstuvwxyz234567");
    return n == 26 && !b->name[n] ? b->name : b->id;
}

static json_t *since(uint64_t from, uint64_t at)
{
    return at && at >= from ? json_integer((json_int_t)((at - from) / 1000)) : json_null();
}

/* Microseconds from the request that made it start. */
static json_t *timeline_json(const struct box *b)
{
    const struct timeline *t = &b->p->times;
    struct agent_link_times l = b->link ? agent_link_times(b->link) : (struct agent_link_times){ 0 };

    if (!t->ready_ns || !t->need_ns)
        return json_null();
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "queued", since(t->need_ns, t->queued_ns), "prepared", since(t->need_ns, t->prepared_ns), "mounted",
                     since(t->need_ns, t->mounted_ns), "started", since(t->need_ns, t->started_ns), "welcome", since(t->need_ns, t->welcome_ns), "ready", since(t->need_ns, t->ready_ns),
                     "first_exec_sent", since(t->need_ns, l.exec_ns), "first_exec_started", since(t->need_ns, l.started_ns), "first_exec_exited", since(t->need_ns, l.exited_ns));
}

json_t *box_json(const struct box *b)
{
    bool up = b->state != BOX_ASLEEP && b->state != BOX_DELETING && b->state != BOX_STOPPING;
    double now = (double)clock_mono_ns();

    json_t *j = json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:O,s:O,s:O,s:o,s:o,s:i,s:o}", "id", public_id(b), "workspace_id", b->id, "name", b->name, "kind", b->bare ? "bare" : "root", "state",
                          box_state_name(b->state), "template", b->p->host ? json_string("host") : json_null(), "labels", b->config.labels, "env", b->config.env, "mounts",
                          b->config.mounts, "limits", box_limits_json(&b->config), "idle", box_idle_json(&b->config), "holds", (int)b->holds, "error",
                          b->p->error[0] ? json_string(b->p->error) : json_null());
    json_object_set_new(j, "network", json_string(box_egress_why(b) ? "off" : "on"));
    if (box_egress_why(b))
        json_object_set_new(j, "network_why", json_string(box_egress_why(b)));
    if (up && b->started_ns)
        json_object_set_new(j, "uptime_s", json_real((now - (double)b->started_ns) / 1e9));
    if (b->state == BOX_RUNNING || b->state == BOX_FROZEN) {
        json_object_set_new(j, "idle_s", json_real(b->holds ? 0 : (now - (double)b->idle_since_ns) / 1e9));
        json_object_set_new(j, "timeline", timeline_json(b));
    }
    return j;
}
