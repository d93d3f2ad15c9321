#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "sandbox/e2b/e2b.h"

enum { PIECE = 64 * 1024, GZIP = 16 };

struct e2b_inflate { z_stream z; bool done; uint8_t out[PIECE]; };
struct e2b_deflate { z_stream z; uint8_t out[PIECE]; };

struct e2b_inflate *e2b_inflate_new(void)
{
    struct e2b_inflate *z = g_new0(struct e2b_inflate, 1);

    if (inflateInit2(&z->z, MAX_WBITS + GZIP) != Z_OK)
        g_error("zlib: out of memory");
    return z;
}

int e2b_inflate_feed(struct e2b_inflate *z, const uint8_t *p, size_t n, e2b_bytes_fn *fn, void *arg)
{
    z->z.next_in = (uint8_t *)(uintptr_t)p;
    z->z.avail_in = (uInt)n;
    while (z->z.avail_in || !z->z.avail_out) {
        int r;
        if (z->done)
            return -EBADMSG;               /* something behind the end */
        z->z.next_out = z->out;
        z->z.avail_out = PIECE;
        r = inflate(&z->z, Z_NO_FLUSH);
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
            return -EBADMSG;
        z->done = r == Z_STREAM_END;
        size_t got = PIECE - z->z.avail_out;
        if (r == Z_BUF_ERROR || z->done)
            z->z.avail_out = PIECE;
        if (got && !fn(arg, z->out, got))
            return -ECANCELED;
        if (r == Z_BUF_ERROR)
            break;
    }
    return 0;
}

size_t e2b_inflate_left(const struct e2b_inflate *z) { return z->z.avail_in; }
bool e2b_inflate_done(const struct e2b_inflate *z) { return z->done; }

void e2b_inflate_free(struct e2b_inflate *z)
{
    if (z)
        inflateEnd(&z->z);
    g_free(z);
}

struct e2b_deflate *e2b_deflate_new(void)
{
    struct e2b_deflate *z = g_new0(struct e2b_deflate, 1);

    if (deflateInit2(&z->z, Z_BEST_SPEED, Z_DEFLATED, MAX_WBITS + GZIP, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        g_error("zlib: out of memory");
    return z;
}

void e2b_deflate_feed(struct e2b_deflate *z, const uint8_t *p, size_t n, e2b_bytes_fn *fn, void *arg)
{
    z->z.next_in = (uint8_t *)(uintptr_t)p;
    z->z.avail_in = (uInt)n;
    do {
        z->z.next_out = z->out;
        z->z.avail_out = PIECE;
        deflate(&z->z, n ? Z_NO_FLUSH : Z_FINISH);
        if (z->z.avail_out < PIECE)
            fn(arg, z->out, PIECE - z->z.avail_out);
    } while (!z->z.avail_out);
}

void e2b_deflate_free(struct e2b_deflate *z)
{
    if (z)
        deflateEnd(&z->z);
    g_free(z);
}
