#include "sandbox/egress/pump.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "sandbox/egress/message.h"

static const char last_chunk[] = "0\r\n\r\n";

int half_init(struct half *h, struct stream *from, struct stream *to, enum http1_body in, uint64_t length, enum http1_body out)
{
    *h = (struct half){ .from = from, .to = to, .in = in, .out = out, .left = length, .done = in == HTTP1_NONE, .ended = in == HTTP1_NONE };
    h->active_ns = h->window_ns = clock_mono_ns();
    if (in == HTTP1_CHUNKED) {
        h->chunks = mem_alloc(sizeof(*h->chunks));
        if (!h->chunks)
            return -ENOMEM;
        http1_chunks_init(h->chunks);
    }
    if (in == HTTP1_LENGTH && !length)
        h->done = h->ended = true;
    return 0;
}

void half_fini(struct half *h)
{
    free(h->chunks);
    free(h->buf);
    h->chunks = NULL;
    h->buf = NULL;
}

/* What was read is accounted for before more is read. 1: it is; 0: not yet (not_before_ns says when); -EDQUOT. */
static int pay(struct half *h)
{
    while (h->rule && h->owed) {
        unsigned wait_ms = 0;
        long k = limiter_bytes(h->limiter, h->rule, h->up, (size_t)h->owed, &h->limited, &wait_ms);
        if (k < 0)
            return (int)k;
        if (!k) {
            h->not_before_ns = clock_mono_ns() + (wait_ms ? wait_ms : 1) * 1000000ull;
            return 0;
        }
        h->owed -= (uint64_t)k;
    }
    return 1;
}

/* n bytes of body are at buf + PUMP_FRONT: with what the framing puts around them. */
static void frame(struct half *h, size_t n)
{
    char line[PUMP_FRONT];

    h->off = PUMP_FRONT;
    h->n = n;
    h->bytes += n;
    h->owed += n;
    if (h->out != HTTP1_CHUNKED)
        return;
    int k = snprintf(line, sizeof(line), "%zx\r\n", n);
    h->off -= (size_t)k;
    memcpy(h->buf + h->off, line, (size_t)k);
    memcpy(h->buf + PUMP_FRONT + n, "\r\n", 2);
    h->n += (size_t)k + 2;
}

/* The last chunk, with the trailers that came and may go on. */
static int end_chunks(struct half *h)
{
    struct http1_header x[HTTP1_HEADERS_MAX];
    unsigned count = http1_trailers(h->chunks, x, HTTP1_HEADERS_MAX);
    struct message m = { 0 };
    struct buf b = BUF_INIT;

    for (unsigned i = 0; i < count; i++) {
        char name[256];
        char *value = x[i].name.n < sizeof(name) ? strndup(x[i].value.p, x[i].value.n) : NULL;
        if (!value)
            continue;                       /* a name that long is nobody's */
        memcpy(name, x[i].name.p, x[i].name.n);
        name[x[i].name.n] = 0;
        message_add(&m, name, value);
        free(value);
    }
    buf_put(&b, "0\r\n", 3);
    message_put_fields(&m, &b);
    buf_put(&b, "\r\n", 2);
    message_fini(&m);
    int r = buf_err(&b) || b.len > PUMP_BYTES - PUMP_FRONT ? -EPROTO : 0;
    if (!r) {
        memcpy(h->buf, b.data, b.len);
        h->off = 0;
        h->n = b.len;
    }
    buf_fini(&b);
    return r;
}

static int end(struct half *h)
{
    h->ended = true;
    if (h->out != HTTP1_CHUNKED)
        return 1;
    if (h->chunks && !h->no_trailers && http1_trailers(h->chunks, (struct http1_header[1]){ 0 }, 1))
        return end_chunks(h) < 0 ? -EPROTO : 1;
    memcpy(h->buf, last_chunk, sizeof(last_chunk) - 1);
    h->off = 0;
    h->n = sizeof(last_chunk) - 1;
    return 1;
}

/* Of a body without inner framing: as much as there is and has room (TLS gives one record at a time). */
static int fill_plain(struct half *h)
{
    size_t room = PUMP_BYTES - PUMP_FRONT - 2, n = 0;
    long k = 0;

    if (h->in == HTTP1_LENGTH && h->left < room)
        room = (size_t)h->left;
    while (n < room && (k = stream_read(h->from, h->buf + PUMP_FRONT + n, room - n)) > 0) {
        n += (size_t)k;
        if (!h->from->ssl)
            break;
    }
    if (!n && k < 0)
        return (int)k;
    if (!n)
        return h->in == HTTP1_LENGTH ? -ECONNRESET : end(h);
    frame(h, n);
    if (h->in == HTTP1_LENGTH && !(h->left -= n))
        h->ended = true;
    return 1;
}

static int fill_chunks(struct half *h)
{
    struct slice data = { 0 };
    size_t used;

    if (h->last)
        return end(h);
    if (!h->from->in_n) {
        int r = stream_more(h->from, PUMP_CHUNK);
        if (r <= 0)
            return r ? r : -ECONNRESET;
    }
    int r = http1_chunks_feed(h->chunks, h->from->in + h->from->in_off, h->from->in_n < PUMP_CHUNK ? h->from->in_n : PUMP_CHUNK, &used, &data);
    if (r == HTTP1_BAD)
        return -EPROTO;
    if (data.n) {
        memcpy(h->buf + PUMP_FRONT, data.p, data.n);
        frame(h, data.n);
    }
    stream_take(h->from, used);
    h->last = r == HTTP1_OK;
    return 1;
}

static int fill(struct half *h)
{
    if (h->not_before_ns > clock_mono_ns())
        return 0;
    h->not_before_ns = 0;
    if (!h->buf && !(h->buf = mem_alloc(PUMP_BYTES)))
        return -ENOMEM;
    int r = pay(h);
    if (r > 0)
        r = h->in == HTTP1_CHUNKED ? fill_chunks(h) : fill_plain(h);
    if (r == -EAGAIN || !r) {
        free(h->buf);                       /* who waits holds no buffer */
        h->buf = NULL;
    }
    h->reading = true;
    return r == -EAGAIN ? 0 : r;
}

static int flush(struct half *h)
{
    long k = stream_write(h->to, h->buf + h->off, h->n);

    h->reading = false;
    if (k == -EAGAIN)
        return 0;
    if (k < 0) {
        h->failed_write = (int)k;
        return -EPIPE;
    }
    h->off += (size_t)k;
    h->n -= (size_t)k;
    return 1;
}

int half_step(struct half *h)
{
    if (h->done)
        return 0;
    int r = h->n ? flush(h) : h->ended ? 1 : fill(h);
    if (r > 0) {
        h->active_ns = clock_mono_ns();
        if (h->ended && !h->n) {
            h->done = true;
            free(h->buf);
            h->buf = NULL;
            if (h->in == HTTP1_CLOSE && h->out == HTTP1_CLOSE)
                stream_shut(h->to);
        }
    }
    return r;
}

/* --- waiting --- */

struct wait { struct pollfd p[4]; unsigned n; uint64_t until; };

static void want(struct wait *w, const struct stream *s, short events)
{
    for (unsigned i = 0; i < w->n; i++)
        if (w->p[i].fd == s->fd) {
            w->p[i].events |= events;
            return;
        }
    w->p[w->n++] = (struct pollfd){ s->fd, events, 0 };
}

static void want_half(struct wait *w, const struct half *h)
{
    if (!h || h->done)
        return;
    if (h->not_before_ns && !h->n) {
        w->until = h->not_before_ns < w->until ? h->not_before_ns : w->until;
        return;
    }
    if (h->n)
        want(w, h->to, h->to->want_out);
    else
        want(w, h->from, h->from->want_in);
}

/* True: it sends, but too little. Also moves its window on. */
static bool too_slow(struct half *h, uint64_t now)
{
    if (!h || h->done || h->not_before_ns || !h->reading) {
        if (h) {
            h->window_ns = now;
            h->window_bytes = h->bytes;
        }
        return false;
    }
    if (now < h->window_ns + BODY_S * 1000000000ull)
        return false;
    bool slow = h->bytes - h->window_bytes < BODY_LEAST;
    h->window_ns = now;
    h->window_bytes = h->bytes;
    return slow;
}

int pump_wait(struct conn *c, struct half *a, struct half *b, struct stream *also, struct half *slow)
{
    uint64_t now = clock_mono_ns(), active = 0;
    struct wait w = { .until = UINT64_MAX };

    if (a)
        active = a->active_ns;
    if (b && b->active_ns > active)
        active = b->active_ns;
    w.until = active + SILENCE_S * 1000000000ull;
    if (now >= w.until || too_slow(slow, now))
        return -ETIMEDOUT;
    if (slow && !slow->done && slow->reading && slow->window_ns + BODY_S * 1000000000ull < w.until)
        w.until = slow->window_ns + BODY_S * 1000000000ull;
    w.p[w.n++] = (struct pollfd){ c->client.fd, 0, 0 };
    want_half(&w, a);
    want_half(&w, b);
    if (also)
        want(&w, also, also->want_in);
    uint64_t left = w.until > now ? w.until - now : 0;
    struct timespec ts = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };
    int r = ppoll(w.p, w.n, &ts, NULL);
    if (r < 0 && errno != EINTR)
        return -errno;
    if (atomic_load(&c->cut) || (r > 0 && w.p[0].revents && !w.p[0].events))
        return -ECANCELED;
    return 0;
}

int pump_run(struct conn *c, struct half *a, struct half *b)
{
    while (!a->done || !b->done) {
        int r = half_step(a), k = r < 0 ? 0 : half_step(b);
        if (r < 0 || k < 0)
            return r < 0 ? r : k;
        if (!r && !k)
            r = pump_wait(c, a, b, NULL, NULL);
        if (r < 0)
            return r;
    }
    return 0;
}
