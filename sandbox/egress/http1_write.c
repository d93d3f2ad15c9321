/* Writing heads. What would let a value end its line sets the buffer's error, and nothing of such a head may be sent. */
#include <errno.h>

#include "base/buf.h"
#include "sandbox/egress/http1_private.h"

static void put_text(struct buf *b, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0') {
            b->err = -EINVAL;
            return;
        }
    buf_put(b, s.p, s.n);
}

static void put_word(struct buf *b, struct slice s, unsigned classes)
{
    bool good = s.n != 0;

    for (size_t i = 0; i < s.n && good; i++)
        good = byte_is(s.p[i], classes);
    if (good)
        buf_put(b, s.p, s.n);
    else
        b->err = -EINVAL;
}

void http1_put_request(struct buf *b, struct slice method, struct slice target)
{
    put_word(b, method, BYTE_TOKEN);
    buf_put(b, " ", 1);
    put_word(b, target, BYTE_TARGET);
    buf_put(b, " HTTP/1.1\r\n", 11);
}

void http1_put_status(struct buf *b, unsigned status, struct slice reason)
{
    if (status < 100 || status > 599)
        b->err = -EINVAL;
    buf_printf(b, "HTTP/1.1 %03u ", status);
    put_text(b, reason);
    buf_put(b, "\r\n", 2);
}

void http1_put_header(struct buf *b, struct slice name, struct slice value)
{
    put_word(b, name, BYTE_TOKEN);
    buf_put(b, ": ", 2);
    put_text(b, value);
    buf_put(b, "\r\n", 2);
}

void http1_put_end(struct buf *b)
{
    buf_put(b, "\r\n", 2);
}
