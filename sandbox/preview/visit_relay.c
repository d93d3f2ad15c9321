/* One request and its answer, and what becomes of a connection that is upgraded. */
#include <string.h>

#include "base/clock.h"
#include "base/wire.h"
#include "sandbox/http/metrics.h"
#include "sandbox/preview/visit.h"

enum { INTERIM_ROOM = SIDE_OUT };

static bool is_api_token(void *arg, const char *authorization)
{
    struct previews *p = arg;
    return http_is_token(p->sd->http, authorization);
}

static struct rewrite rewrite_of(struct visit *v)
{
    return (struct rewrite){ .path = v->path, .name = &v->name, .https = v->https, .is_api_token = is_api_token, .arg = v->p };
}

static bool is(const struct visit *v, const char *method) { return !strcmp(v->method, method); }

void visit_relay_begin(struct visit *v)
{
    struct http1_head *h = v->head;
    struct rewrite w = rewrite_of(v);
    size_t at = v->inside.out.len;

    if (v->resend) {
        buf_put(&v->inside.out, v->replay.data, v->replay.len);
        v->resend = false;
        v->state = VISIT_RELAY;
        return;
    }
    bool again = v->reused && h->body == HTTP1_NONE && (is(v, "GET") || is(v, "HEAD") || is(v, "OPTIONS"));

    rewrite_request(&w, h, v->target, &v->inside.out);
    if (buf_err(&v->inside.out)) {
        visit_fail(v, 400, "invalid_request", "The head of this request cannot be passed on.");
        return;
    }
    buf_clear(&v->replay);
    if (again)
        buf_put(&v->replay, v->inside.out.data + at, v->inside.out.len - at);
    flow_fini(&v->up);
    flow_fini(&v->down);
    flow_init(&v->up, h->body == HTTP1_LENGTH ? FLOW_LENGTH : h->body == HTTP1_CHUNKED ? FLOW_CHUNKED : FLOW_NONE, h->length);
    flow_init(&v->down, FLOW_NONE, 0);
    v->down.done = false;
    side_used(&v->client, h->bytes);
    v->client.moved_ns = clock_mono_ns();
    v->seen = 0;
    v->state = VISIT_RELAY;
}

/* The server had ended the connection that was kept, before it saw this request: once more, on a new one. */
static bool replay(struct visit *v)
{
    if (!v->reused || !v->replay.len || side_ready(&v->inside))
        return false;
    v->reused = false;
    v->resend = true;
    side_close(&v->inside, true);
    visit_dial(v);
    return true;
}

static void broken(struct visit *v)
{
    if (!replay(v))
        visit_fail(v, 502, "agent_lost", "The server in the sandbox ended the connection without an answer.");
}

static void begin_tunnel(struct visit *v)
{
    flow_init(&v->up, FLOW_CLOSE, 0);
    flow_init(&v->down, FLOW_CLOSE, 0);
    v->up.frames = g_new0(struct frames, 1);
    v->down.frames = g_new0(struct frames, 1);
    v->data_seen = 0;
    v->data_ns = clock_mono_ns();
    v->state = VISIT_TUNNEL;
    g_free(v->head);
    v->head = NULL;
}

/* The answer's head is here. False: it cannot be. */
static bool take_answer(struct visit *v, const struct http1_head *h)
{
    struct rewrite w = rewrite_of(v);
    struct buf *out = &v->client.out;
    bool interim = h->status < 200 && h->status != 101;

    if (h->status == 101 && (!v->upgrade || !h->upgrade))
        return false;
    if (interim && (!v->minor || side_pending(&v->client) > INTERIM_ROOM)) {
        side_used(&v->inside, h->bytes);  /* HTTP/1.0 knows none */
        return true;
    }
    v->close = !v->keep || !v->up.done || h->body == HTTP1_CLOSE || (h->body == HTTP1_CHUNKED && !v->minor);
    rewrite_response(&w, h, v->minor, is(v, "HEAD"), v->close, out);
    if (buf_err(out))
        return false;
    v->inside_keep = h->keep_alive && h->body != HTTP1_CLOSE;
    side_used(&v->inside, h->bytes);
    if (interim)
        return true;
    buf_fini(&v->replay);
    v->answered = true;
    if (h->status == 101) {
        begin_tunnel(v);
        return true;
    }
    flow_init(&v->down, h->body == HTTP1_LENGTH ? FLOW_LENGTH : h->body == HTTP1_CHUNKED ? FLOW_CHUNKED : h->body == HTTP1_CLOSE ? FLOW_CLOSE : FLOW_NONE, h->length);
    v->down.plain = !v->minor;
    return true;
}

static bool read_answer(struct visit *v)
{
    struct side *s = &v->inside;
    struct http1_head *h;

    if (!side_ready(s) || v->seen) {
        int got = side_fill(s);
        if (got < 0)
            broken(v);
        if (got <= 0)
            return got < 0;
    }
    if (v->seen && !http1_worth(s->in + s->at, side_ready(s), v->seen))
        return true;
    h = g_new(struct http1_head, 1);
    int r = http1_response(s->in + s->at, side_ready(s), v->method, h);
    v->seen = r == HTTP1_MORE ? side_ready(s) : 0;
    if (r == HTTP1_BAD || (r == HTTP1_OK && !take_answer(v, h)))
        visit_fail(v, 502, "agent_lost", "The server in the sandbox answered with something that is no HTTP answer.");
    g_free(h);
    return true;
}

static void finish(struct visit *v)
{
    bool keep = v->inside_keep && v->up.done && !side_pending(&v->inside) && !v->inside.eof && !v->inside.broken && !side_ready(&v->inside);

    visit_leave_box(v);
    if (!keep)
        side_close(&v->inside, !v->up.done);
    else
        side_trim(&v->inside);
    flow_fini(&v->up);
    flow_fini(&v->down);
    g_free(v->head);
    v->head = NULL;
    v->seen = 0;
    v->state = v->close ? VISIT_LAST : VISIT_HEAD;
    v->deadline_ns = clock_mono_ns() + (uint64_t)(v->close ? VISIT_STALL_S : VISIT_IDLE_S) * 1000000000ull;
}

bool visit_relay(struct visit *v)
{
    uint64_t before = v->up.passed + v->down.passed;
    bool moved = false;

    if (!v->up.done && !v->inside.broken)
        moved = flow_run(&v->up, &v->client, &v->inside);
    side_drain(&v->inside);
    if (v->up.bad) {
        bool tell = !v->answered && !v->client.eof;
        if (tell)
            visit_fail(v, 400, "invalid_request", "The body of this request is not chunked as it says.");
        else
            visit_die(v, true);
        return tell;
    }
    if (!v->answered)
        moved |= read_answer(v);
    else if (!v->down.done)
        moved |= flow_run(&v->down, &v->inside, &v->client);
    if (v->state != VISIT_RELAY)
        return true;
    side_drain(&v->client);
    metrics_add(METRIC_PREVIEW_BYTES, v->up.passed + v->down.passed - before);
    if (v->down.bad || v->client.broken) {
        visit_die(v, true);               /* the client sees that it is not whole */
        return false;
    }
    if (v->answered && v->down.done) {
        finish(v);
        return true;
    }
    return moved && !v->client.full && !v->inside.full;
}

/* --- tunnels --- */

static void thawed(void *arg, struct box *b, const struct fault *fault)
{
    struct visit *v = arg;

    v->waking = false;
    if (b && (v->state != VISIT_TUNNEL || v->held))
        box_release(b);
    else if (b)
        v->held = true;
    visit_unref(v);
}

/* Messages are activity; pings are not. A frozen sandbox that gets one goes on. */
static void note_activity(struct visit *v)
{
    uint64_t data = v->up.frames->data + v->down.frames->data;

    if (data == v->data_seen)
        return;
    v->data_seen = data;
    v->data_ns = clock_mono_ns();
    if (v->held || v->waking || !v->box)
        return;
    if (v->box->state == BOX_RUNNING) {
        box_hold(v->box);
        v->held = true;
    } else if (v->box->state == BOX_FROZEN || v->box->state == BOX_FREEZING || v->box->state == BOX_THAWING) {
        v->waking = true;
        box_need(v->box, thawed, visit_ref(v));
    }
}

/* The sandbox went to sleep: the client is told to come again (1012, service restart), unless it is amid a frame. */
static void end_tunnel(struct visit *v)
{
    static const uint8_t restart[] = { 0x88, 0x02, 0x03, 0xf4 };
    bool sleeps = v->box && v->box->state != BOX_RUNNING && v->box->state != BOX_FROZEN && v->box->state != BOX_THAWING;
    bool say = sleeps && frames_between(v->down.frames) && !v->down.frames->closing;

    if (v->down.bad && !say) {
        visit_die(v, true);
        return;
    }
    if (say)
        buf_put(&v->client.out, restart, sizeof(restart));
    visit_leave_box(v);
    side_close(&v->inside, false);
    v->state = VISIT_LAST;
    v->deadline_ns = clock_mono_ns() + (uint64_t)VISIT_LAST_S * 1000000000ull;
}

bool visit_tunnel(struct visit *v)
{
    uint64_t before = v->up.passed + v->down.passed;
    bool moved = false;

    if (!v->up.done && !v->up.bad && !v->inside.broken)
        moved = flow_run(&v->up, &v->client, &v->inside);
    side_drain(&v->inside);
    if (!v->down.done && !v->down.bad)
        moved |= flow_run(&v->down, &v->inside, &v->client);
    side_drain(&v->client);
    metrics_add(METRIC_PREVIEW_BYTES, v->up.passed + v->down.passed - before);
    note_activity(v);
    if (v->up.bad || v->client.broken) {
        visit_die(v, true);
        return false;
    }
    if (v->up.done && !side_pending(&v->inside))
        side_shut(&v->inside);
    if (v->down.bad || (v->down.done && !side_pending(&v->client))) {
        end_tunnel(v);
        return v->state == VISIT_LAST;
    }
    return moved && !v->client.full && !v->inside.full && !v->down.done && !v->up.done;
}

void visit_tunnel_tick(struct visit *v, uint64_t now)
{
    if (!v->held || now < v->data_ns + TUNNEL_QUIET_S * 1000000000ull)
        return;
    v->held = false;
    box_release(v->box);
}
