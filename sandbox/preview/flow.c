#include "sandbox/preview/flow.h"

#include <string.h>

void flow_init(struct flow *f, enum flow_kind kind, uint64_t length)
{
    *f = (struct flow){ .kind = kind, .left = length, .done = kind == FLOW_NONE || (kind == FLOW_LENGTH && !length) };
    if (kind == FLOW_CHUNKED) {
        f->chunks = g_new(struct http1_chunks, 1);
        http1_chunks_init(f->chunks);
    }
}

void flow_fini(struct flow *f)
{
    g_free(f->chunks);
    g_free(f->frames);
    *f = (struct flow){ .done = true };
}

/* --- a WebSocket's frames: RFC 6455 5.2 --- */

void frames_pass(struct frames *w, const uint8_t *p, size_t n)
{
    while (n) {
        if (w->left) {
            size_t k = n < w->left ? n : (size_t)w->left;
            w->left -= k;
            w->data += w->control ? 0 : k;
            p += k;
            n -= k;
            continue;
        }
        w->head[w->n++] = *p++;
        n--;
        unsigned len = w->n > 1 ? w->head[1] & 127 : 0, need = w->n < 2 ? 2 : 2 + (len == 126 ? 2 : len == 127 ? 8 : 0) + (w->head[1] & 128 ? 4 : 0), bytes = len == 126 ? 2 : len == 127 ? 8 : 0;
        if (w->n < need)
            continue;
        w->left = bytes ? 0 : len;
        for (unsigned i = 0; i < bytes; i++)
            w->left = w->left << 8 | w->head[2 + i];
        w->control = w->head[0] & 8;
        w->closing |= (w->head[0] & 15) == 8;
        w->data += w->control ? 0 : 1;    /* an empty message is activity, too */
        w->n = 0;
    }
}

bool frames_between(const struct frames *w) { return !w->n && !w->left; }

/* --- moving --- */

static size_t move(struct flow *f, struct side *to, const char *p, size_t n)
{
    size_t put;

    if (side_pending(to)) {               /* small pieces go along with what waits */
        put = n <= SIDE_OUT && side_pending(to) + n <= SIDE_OUT ? n : 0;
        buf_put(&to->out, p, put);
    } else {
        put = side_send(to, p, n);
    }
    if (f->frames)
        frames_pass(f->frames, (const uint8_t *)p, put);
    f->passed += put;
    return put;
}

static void put_chunk(struct flow *f, struct side *to, struct slice data)
{
    if (!data.n)
        return;
    if (!f->plain)
        buf_printf(&to->out, "%zx\r\n", data.n);
    buf_put(&to->out, data.p, data.n);
    if (!f->plain)
        buf_put(&to->out, "\r\n", 2);
    f->passed += data.n;
}

static void put_last_chunk(struct flow *f, struct side *to)
{
    struct http1_header trailers[HTTP1_HEADERS_MAX];
    unsigned n = http1_trailers(f->chunks, trailers, HTTP1_HEADERS_MAX);

    if (f->plain)
        return;
    buf_put(&to->out, "0\r\n", 3);
    for (unsigned i = 0; i < n; i++)
        http1_put_header(&to->out, trailers[i].name, trailers[i].value);
    http1_put_end(&to->out);
}

/* Chunks are read and written anew; what is written waits in to->out. */
static bool move_chunks(struct flow *f, struct side *from, struct side *to)
{
    bool moved = false;

    while (side_ready(from) && side_pending(to) < SIDE_OUT && !f->done) {
        struct slice data = { 0 };
        size_t used = 0;
        int r = http1_chunks_feed(f->chunks, from->in + from->at, side_ready(from), &used, &data);
        if (r == HTTP1_BAD) {
            f->bad = true;
            return moved;
        }
        put_chunk(f, to, data);
        side_used(from, used);
        moved |= used > 0;
        if (r == HTTP1_OK) {
            put_last_chunk(f, to);
            f->done = true;
        } else if (!used) {
            break;
        }
    }
    return moved;
}

static bool move_some(struct flow *f, struct side *from, struct side *to)
{
    size_t n = side_ready(from);

    if (f->kind == FLOW_CHUNKED)
        return move_chunks(f, from, to);
    if (f->kind == FLOW_LENGTH && n > f->left)
        n = (size_t)f->left;
    n = n ? move(f, to, from->in + from->at, n) : 0;
    side_used(from, n);
    if (f->kind == FLOW_LENGTH && !(f->left -= n))
        f->done = true;
    return n > 0;
}

/* The sender has ended. */
static void ended(struct flow *f, const struct side *from)
{
    if (f->kind == FLOW_CLOSE && !from->lost)
        f->done = true;
    else
        f->bad = true;
}

bool flow_run(struct flow *f, struct side *from, struct side *to)
{
    uint64_t begin = f->passed;
    bool moved = false, step = true;

    while (step && !f->done && !f->bad && !to->broken && f->passed - begin < FLOW_TURN) {
        step = false;
        if (!side_ready(from) && !to->full) {
            int r = side_fill(from);
            if (r < 0)
                ended(f, from);
            if (r <= 0)
                break;
        }
        step = move_some(f, from, to);
        moved |= step;
        if (!step && side_pending(to))
            step = side_drain(to);        /* what waited made no room for these: now it does */
    }
    if (side_pending(to))
        side_drain(to);
    return moved || f->done || f->bad;
}

bool flow_wants_in(const struct flow *f, const struct side *from, const struct side *to)
{
    return !f->done && !f->bad && !side_ready(from) && !side_pending(to) && !to->full && !from->eof;
}
