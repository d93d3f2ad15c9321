#include "sandbox/preview/visit.h"

#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "sandbox/http/metrics.h"

enum { TURNS = 4 };

struct visit *visit_ref(struct visit *v)
{
    v->refs++;
    return v;
}

void visit_unref(struct visit *v)
{
    if (--v->refs)
        return;
    g_free(v->head);
    buf_fini(&v->replay);
    g_free(v);
}

static uint64_t in_s(unsigned s) { return clock_mono_ns() + s * 1000000000ull; }

void visit_leave_box(struct visit *v)
{
    struct previews *p = v->p;
    unsigned n = v->counted[0] ? GPOINTER_TO_UINT(g_hash_table_lookup(p->per_box, v->counted)) : 0;

    if (v->state == VISIT_WAIT)
        visit_unwait(v);
    if (n > 1)
        g_hash_table_insert(p->per_box, g_strdup(v->counted), GUINT_TO_POINTER(n - 1));
    else if (n)
        g_hash_table_remove(p->per_box, v->counted);
    v->counted[0] = 0;
    if (v->held)
        box_release(v->box);
    v->held = false;
    if (v->box)
        box_unref(v->box);
    v->box = NULL;
}

void visit_die(struct visit *v, bool reset)
{
    if (v->state == VISIT_DEAD)
        return;
    visit_leave_box(v);
    v->state = VISIT_DEAD;
    if (v->later)
        g_source_remove(v->later);
    side_close(&v->inside, reset);
    side_close(&v->client, reset);
    flow_fini(&v->up);
    flow_fini(&v->down);
    g_queue_unlink(&v->p->visits, &v->link);
    if (v->guest)
        http_guest_end(v->guest);
    visit_unref(v);
}

/* --- a head --- */

static void go_back(struct visit *v)
{
    struct http_guest *g = v->guest;
    size_t n = side_ready(&v->client);
    char *bytes = g_memdup2(v->client.in + v->client.at, n);

    v->guest = NULL;
    http_guest_back(g, side_take_fd(&v->client), bytes, n);
    g_free(bytes);
    visit_die(v, false);
}

static void take_head(struct visit *v)
{
    const struct http1_head *h = v->head;
    enum preview_meant m = previews_meant(v->p, v->tcp, h->host, h->target, &v->name, &v->https, &v->target);

    g_strlcpy(v->method, "", sizeof(v->method));
    memcpy(v->method, h->method.p, MIN(h->method.n, sizeof(v->method) - 1));
    v->minor = h->minor;
    v->keep = h->keep_alive;
    v->path = m == MEANT_PATH;
    v->upgrade = h->upgrade;
    v->answered = v->reused = v->resend = false;
    v->page = http1_has_token(h, "Accept", "text/html");
    v->deadline_ns = 0;
    if (m == MEANT_API) {
        if (previews_wants(v->p, v->tcp, v->client.in + v->client.at, h->bytes))
            visit_fail(v, 400, "invalid_request", "The head of this request can be read in two ways.");
        else
            go_back(v);
        return;
    }
    metrics_add(METRIC_PREVIEW_REQUESTS, 1);
    if (h->form != HTTP1_ORIGIN || slice_is(h->method, "TRACE") || slice_is(h->method, "TRACK"))
        visit_fail(v, 405, "method_not_allowed", "This method is not passed on.");
    else if (v->path && http1_find(h, "Service-Worker"))
        visit_fail(v, 403, "forbidden", "A preview under /p/ shares the API's origin and may install no service worker. Use the host name of the preview.");
    else if (v->path && (!v->target.n || v->target.p[0] != '/'))
        visit_redirect(v);
    else
        visit_reach(v);
}

static bool step_head(struct visit *v)
{
    struct side *c = &v->client;
    const char *p = c->in + c->at;
    size_t n = side_ready(c);

    side_drain(c);
    if (c->broken) {
        visit_die(v, false);
        return false;
    }
    if (n && (!v->seen || http1_worth(p, n, v->seen))) {
        if (!v->seen)
            v->deadline_ns = in_s(VISIT_HEAD_S);
        if (!v->head)
            v->head = g_new(struct http1_head, 1);
        int r = http1_request(p, n, v->head);
        v->seen = r == HTTP1_MORE ? n : 0;
        if (r == HTTP1_BAD) {
            v->minor = 1;
            v->path = v->page = false;
            g_strlcpy(v->method, "GET", sizeof(v->method));
            visit_fail(v, v->head->refuse, "invalid_request", v->head->why);
            return true;
        }
        if (r == HTTP1_OK) {
            take_head(v);
            return true;
        }
    }
    int got = side_fill(c);
    if (got < 0) {
        v->close = true;
        v->state = VISIT_LAST;
        v->deadline_ns = in_s(VISIT_LAST_S);
    } else if (!got && !n) {
        side_trim(c);
    }
    return got != 0;
}

/* What was answered goes out, and then nothing more; what still comes is dropped, so that the client can read the answer before it meets the end. */
static bool step_last(struct visit *v)
{
    struct side *c = &v->client;

    if (!side_drain(c) && !c->broken)
        return false;
    if (!c->shut)
        v->deadline_ns = in_s(VISIT_LAST_S);
    side_shut(c);
    side_used(c, side_ready(c));
    int got = side_fill(c);
    if (got < 0 || c->broken || c->hung)
        visit_die(v, false);
    return got > 0;
}

static bool step(struct visit *v)
{
    switch (v->state) {
    case VISIT_HEAD: return step_head(v);
    case VISIT_RELAY: return visit_relay(v);
    case VISIT_TUNNEL: return visit_tunnel(v);
    case VISIT_LAST: return step_last(v);
    default: return false;
    }
}

/* --- what is waited for --- */

static void want(struct visit *v)
{
    GIOCondition leaving = v->tcp ? (GIOCondition)POLLRDHUP : 0, c = 0, i = 0;
    bool moving = v->state == VISIT_RELAY || v->state == VISIT_TUNNEL;

    if (v->state == VISIT_HEAD)
        c = G_IO_IN, i = G_IO_IN;
    else if (v->state == VISIT_LAST)
        c = side_pending(&v->client) ? 0 : G_IO_IN;
    else if (!moving)
        c = leaving;
    if (moving) {
        c = flow_wants_in(&v->up, &v->client, &v->inside) ? G_IO_IN : 0;
        if (v->state == VISIT_RELAY && v->up.done && !v->down.done)
            c |= leaving;
        if (v->state == VISIT_RELAY && !v->answered)
            i = side_pending(&v->client) ? 0 : G_IO_IN;
        else if (flow_wants_in(&v->down, &v->inside, &v->client))
            i = G_IO_IN;
        if (side_pending(&v->inside) || (!v->up.done && side_ready(&v->client)))
            i |= G_IO_OUT;
        if (v->answered && !v->down.done && side_ready(&v->inside))
            c |= G_IO_OUT;
    }
    if (side_pending(&v->client))
        c |= G_IO_OUT;
    side_want(&v->client, c);
    side_want(&v->inside, i);
}

static gboolean go_on(gpointer arg)
{
    struct visit *v = arg;

    v->later = 0;
    visit_run(v);
    return G_SOURCE_REMOVE;
}

void visit_run(struct visit *v)
{
    unsigned turns = 0;

    if (v->running) {
        v->again = true;
        return;
    }
    visit_ref(v);
    v->running = true;
    do
        v->again = false;
    while ((step(v) || v->again) && ++turns < TURNS);
    v->running = false;
    if (v->state != VISIT_DEAD) {
        want(v);
        if (turns == TURNS && !v->later)  /* others first; what is in our buffers makes no event */
            v->later = g_idle_add_full(G_PRIORITY_DEFAULT, go_on, v, NULL);
    }
    visit_unref(v);
}

static void on_client(void *arg, GIOCondition got)
{
    struct visit *v = arg;
    bool waits = v->state == VISIT_LOOKUP || v->state == VISIT_WAKE || v->state == VISIT_DIAL || v->state == VISIT_WAIT;
    bool answering = v->state == VISIT_RELAY && v->up.done && !v->down.done;

    visit_ref(v);
    if ((got & (G_IO_HUP | G_IO_ERR)) && v->state != VISIT_HEAD)
        visit_die(v, true);
    else if ((got & POLLRDHUP) && (waits || answering))
        visit_die(v, true);               /* who stopped asking has left, as for the API */
    else
        visit_run(v);
    visit_unref(v);
}

struct visit *visit_new(struct previews *p, struct http_guest *g, bool tcp, int fd, const void *bytes, size_t n)
{
    struct visit *v = g_new0(struct visit, 1);

    *v = (struct visit){ .p = p, .guest = g, .tcp = tcp, .refs = 1, .link.data = v, .deadline_ns = in_s(VISIT_HEAD_S) };
    side_init(&v->inside);
    side_open(&v->client, fd, on_client, v);
    flow_init(&v->up, FLOW_NONE, 0);
    flow_init(&v->down, FLOW_NONE, 0);
    v->client.in = g_malloc(SIDE_IN);
    memcpy(v->client.in, bytes, n);       /* less than GATE_MAX */
    v->client.n = n;
    g_queue_push_tail_link(&p->visits, &v->link);
    return v;
}

void visit_tick(struct visit *v, uint64_t now)
{
    bool slow = v->state == VISIT_RELAY && (side_pending(&v->client) || v->client.full || (!v->up.done && !side_ready(&v->client) && !side_pending(&v->inside)));

    if (v->state == VISIT_TUNNEL)
        visit_tunnel_tick(v, now);
    if (v->deadline_ns && now > v->deadline_ns)
        visit_die(v, false);
    else if ((slow || v->state == VISIT_TUNNEL) && (v->client.full || slow) && now > v->client.moved_ns + VISIT_STALL_S * 1000000000ull)
        visit_die(v, true);
}
