/* How many sandboxes there are in each state, and the executions of the running ones, for /metrics. */
#include "sandbox/box.h"
#include "sandbox/http/metrics.h"
#include "sandbox/web/box_metrics.h"

struct counts { unsigned by_state[BOX_DELETING + 1], holds; };

static void count(void *arg, struct box *b) {
    struct counts *c = arg;
    c->by_state[b->state]++;
    c->holds += b->holds;
}

static void put(struct sandboxd *sd, struct buf *out) {
    struct counts c = { 0 };
    if (!sd->boxes) return;
    boxes_each(sd->boxes, count, &c);
    buf_printf(out, "# HELP coppice_sandboxes Sandboxes by state\n# TYPE coppice_sandboxes gauge\n");
    for (unsigned s = 0; s <= BOX_DELETING; s++) buf_printf(out, "coppice_sandboxes{state=\"%s\"} %u\n", box_state_name((enum box_state)s), c.by_state[s]);
    buf_printf(out, "# HELP coppice_sandbox_holds What keeps sandboxes awake: executions, terminals, requests\n# TYPE coppice_sandbox_holds gauge\ncoppice_sandbox_holds %u\n", c.holds);
}

void box_metrics(struct http *h) { metrics_source(h, put); }
