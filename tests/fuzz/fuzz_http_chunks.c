/* A chunked body: the same data, end and trailers however it is split; what is read, written as one chunk with the trailers, reads as the same; nothing is taken behind the end. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "sandbox/egress/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct body { struct http1_chunks c; struct buf data; int result; size_t used; };

static void body_read(struct body *b, const uint8_t *p, size_t n, size_t step)
{
    http1_chunks_init(&b->c);
    b->data = BUF_INIT;
    b->result = HTTP1_MORE;
    b->used = 0;
    while (b->used < n && b->result == HTTP1_MORE) {
        size_t left = n - b->used, used;
        struct slice data;
        b->result = http1_chunks_feed(&b->c, (const char *)p + b->used, step < left ? step : left, &used, &data);
        if (used > left || (!used && b->result == HTTP1_MORE) || (data.n && ((const uint8_t *)data.p < p || (const uint8_t *)data.p + data.n > p + n)))
            abort();
        b->used += used;
        buf_put(&b->data, data.p, data.n);
    }
    if (b->c.total != b->data.len || (b->result == HTTP1_BAD) != (b->c.why != NULL))
        abort();
}

static void body_same(const struct body *a, const struct body *b)
{
    if (a->result != b->result || a->data.len != b->data.len || (a->data.len && memcmp(a->data.data, b->data.data, a->data.len)) || a->c.trailers_n != b->c.trailers_n ||
        memcmp(a->c.trailers, b->c.trailers, a->c.trailers_n))
        abort();
}

static void write_again(const struct body *a)
{
    static struct body again;
    static struct http1_header trailers[64];
    unsigned n = http1_trailers(&a->c, trailers, 64);
    struct buf b = BUF_INIT;

    if (n != a->c.trailer_count)
        abort();
    if (a->data.len)
        buf_printf(&b, "%zx\r\n", a->data.len);
    buf_put(&b, a->data.data, a->data.len);
    buf_printf(&b, a->data.len ? "\r\n0\r\n" : "0\r\n");
    for (unsigned i = 0; i < n; i++)
        http1_put_header(&b, trailers[i].name, trailers[i].value);
    http1_put_end(&b);
    body_read(&again, b.data, b.len, b.len);
    /* White space around the values may have gone. */
    if (buf_err(&b) || again.result != HTTP1_OK || again.used != b.len || again.data.len != a->data.len || again.c.trailer_count != n)
        abort();
    buf_fini(&b);
    buf_fini(&again.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct body whole, parts;

    if (!size)
        return 0;
    body_read(&whole, data, size, size);
    body_read(&parts, data, size, 1 + data[size - 1] % 5);
    body_same(&whole, &parts);
    if (whole.result != HTTP1_MORE && whole.used != parts.used)
        abort();
    if (whole.result == HTTP1_OK)
        write_again(&whole);
    buf_fini(&whole.data);
    buf_fini(&parts.data);
    return 0;
}
