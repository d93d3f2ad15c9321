/* From a name to a connected socket: is the token right, the sandbox awake, does something listen? */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/wire.h"
#include "sandbox/http/metrics.h"
#include "sandbox/preview/visit.h"

static void refuse(struct visit *v)
{
    previews_wrong(v->p);
    metrics_add(METRIC_AUTH_FAILURES, 1);
    visit_fail(v, 404, "not_found", "There is no such preview. Its address is wrong, or it was taken back.");
}

static bool count_in(struct visit *v)
{
    unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(v->p->per_box, v->box->id));

    if (n >= VISITS_BOX)
        return false;
    g_hash_table_insert(v->p->per_box, g_strdup(v->box->id), GUINT_TO_POINTER(n + 1));
    g_strlcpy(v->counted, v->box->id, sizeof(v->counted));
    return true;
}

/* --- the socket --- */

static void on_inside(void *arg, GIOCondition got)
{
    struct visit *v = arg;

    if (v->state != VISIT_RELAY && v->state != VISIT_TUNNEL) {
        side_close(&v->inside, false);    /* it was kept for the next request, and the server ended it */
        return;
    }
    visit_run(v);
}

static int result_of(const struct frame *f)
{
    struct reader r = reader_of(f->body, f->n);
    int32_t err = f->type == FRAME_RESULT ? (int32_t)get_u32(&r) : -EBADMSG;

    return r.bad ? -EBADMSG : err;
}

static void wait_for_port(struct visit *v);

static void dialled(void *arg, struct frame *f)
{
    struct visit *v = arg;
    int err = f ? result_of(f) : -EPIPE;

    if (v->state != VISIT_DIAL) {
        visit_unref(v);                   /* the descriptor is closed by who received it */
        return;
    }
    if (!err && f->fd_count == 1 && side_is_connection(f->fds[0])) {
        side_open(&v->inside, f->fds[0], on_inside, v);
        v->inside.foreign = true;
        f->fds[0] = -1;
        g_strlcpy(v->inside_label, v->name.label, sizeof(v->inside_label));
        visit_relay_begin(v);
        visit_run(v);
    } else if (err == -EPIPE || err == -EBADMSG) {
        visit_fail(v, 502, "agent_lost", "The sandbox ended. Load this page again: it starts anew.");
    } else if (err == -EAGAIN) {
        visit_fail(v, 503, "too_many", "The sandbox is making too many connections at once.");
    } else if (err == -ECONNREFUSED || err == -ETIMEDOUT) {
        wait_for_port(v);
    } else {
        visit_fail(v, 502, "agent_lost", "The sandbox could not be asked for a connection.");
    }
    visit_unref(v);
}

void visit_dial(struct visit *v)
{
    struct agent_link *l = v->box->link;

    v->state = VISIT_DIAL;
    if (!l || agent_link_ask(l, FRAME_DIAL, 0, agent_link_id(l), v->name.port, NULL, 0, -1, dialled, visit_ref(v))) {
        if (l)
            visit_unref(v);
        visit_fail(v, 502, "agent_lost", "The sandbox could not be asked for a connection.");
    }
}

/* --- waiting until something listens --- */

static void nobody_listens(struct visit *v)
{
    char text[160];

    g_snprintf(text, sizeof(text), "The sandbox runs, but nothing listens on its port %u. Start the server there (on 127.0.0.1, 0.0.0.0 or ::), then load this page again.", v->name.port);
    visit_fail(v, 504, "timeout", text);
}

static void waited(void *arg, struct frame *f)
{
    struct visit *v = arg;
    int err = f ? result_of(f) : -EPIPE;

    if (v->state == VISIT_WAIT) {
        v->state = VISIT_DIAL;            /* there is nothing to cancel any more */
        if (!err)
            visit_dial(v);
        else if (err == -ETIMEDOUT)
            nobody_listens(v);
        else if (err == -EAGAIN)
            visit_fail(v, 503, "too_many", "Too many requests wait for ports of this sandbox.");
        else
            visit_fail(v, 502, "agent_lost", "The sandbox ended. Load this page again: it starts anew.");
    }
    visit_unref(v);
}

static void wait_for_port(struct visit *v)
{
    uint64_t now = clock_mono_ns();
    struct agent_link *l = v->box->link;
    uint8_t body[4];

    if (!v->wait_until_ns)
        v->wait_until_ns = now + PREVIEW_WAIT_S * 1000000000ull;
    if (now >= v->wait_until_ns) {
        nobody_listens(v);
        return;
    }
    put_le32(body, (uint32_t)((v->wait_until_ns - now) / 1000000 + 1));
    v->wait_id = l ? agent_link_id(l) : 0;
    if (!l || agent_link_ask(l, FRAME_PORT_WAIT, 0, v->wait_id, v->name.port, body, sizeof(body), -1, waited, visit_ref(v))) {
        if (l)
            visit_unref(v);
        visit_fail(v, 502, "agent_lost", "The sandbox could not be asked for a connection.");
        return;
    }
    v->state = VISIT_WAIT;
}

void visit_unwait(struct visit *v)
{
    if (v->box && v->box->link)
        agent_link_send(v->box->link, FRAME_CANCEL, 0, v->wait_id, 0, NULL, 0, -1);
}

/* --- the sandbox --- */

static void cannot_start(struct visit *v, const struct fault *fault)
{
    if (!strcmp(fault->code, "not_found"))
        refuse(v);
    else if (!strcmp(fault->code, "capacity_exceeded") || !strcmp(fault->code, "too_many") || !strcmp(fault->code, "busy"))
        visit_fail(v, 503, "capacity_exceeded", "The sandbox cannot start now: too much runs already. Try again in a moment.");
    else
        visit_fail(v, 502, "start_failed", "The sandbox could not be started. Its owner sees why with the API or `coppice show`.");
}

static void awake(void *arg, struct box *b, const struct fault *fault)
{
    struct visit *v = arg;

    if (v->state != VISIT_WAKE) {
        if (b)
            box_release(b);
    } else if (!b) {
        cannot_start(v, fault);
    } else {
        v->held = true;
        v->wait_until_ns = 0;
        if (v->inside.fd >= 0) {
            v->reused = true;
            visit_relay_begin(v);
            visit_run(v);
        } else {
            visit_dial(v);
        }
    }
    visit_unref(v);
}

static void found(void *arg, struct box *b, const struct fault *fault)
{
    struct visit *v = arg;
    const struct http1_header *traffic = v->state == VISIT_LOOKUP ? http1_find(v->head, "E2B-Traffic-Access-Token") : NULL;

    if (v->state != VISIT_LOOKUP) {
        visit_unref(v);
        return;
    }
    if (!b && strcmp(fault->code, "not_found")) {
        cannot_start(v, fault);
    } else if (!b || !preview_keep_allows(previews_keep(b), &v->name, traffic ? traffic->value : (struct slice){ 0 })) {
        refuse(v);
    } else {
        previews_right(v->p, v->name.label);
        v->box = box_ref(b);
        if (!count_in(v)) {
            visit_fail(v, 503, "too_many", "Too many connections to this sandbox are open.");
        } else {
            v->state = VISIT_WAKE;
            box_need(b, awake, visit_ref(v));
        }
    }
    visit_unref(v);
}

void visit_reach(struct visit *v)
{
    if (v->inside.fd >= 0 && (v->inside.hung || strcmp(v->inside_label, v->name.label)))
        side_close(&v->inside, false);
    if (preview_reserved(v->name.port)) {
        visit_fail(v, 403, "forbidden", "This port belongs to the sandbox's proxy and resolver. It has no preview.");
        return;
    }
    if (!previews_may_look(v->p, v->name.label)) {
        visit_fail(v, 429, "too_many", "Too many wrong addresses were tried. Wait a moment.");
        return;
    }
    v->state = VISIT_LOOKUP;
    box_get(v->p->sd, v->name.id, found, visit_ref(v));
}
