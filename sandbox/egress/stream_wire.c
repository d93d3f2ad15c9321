#include "sandbox/egress/stream_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"

static BIO_METHOD *wire_method;

static int wire_read(BIO *b, char *p, size_t n, size_t *ret)
{
    struct stream_wire *w = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    if (w->n) {
        *ret = n < w->n ? n : w->n;
        memcpy(p, w->early + w->off, *ret);
        w->off += *ret;
        w->n -= *ret;
        if (!w->n) {
            free(w->early);
            w->early = NULL;
        }
        return 1;
    }
    ssize_t k = recv(w->fd, p, n, MSG_DONTWAIT);
    *ret = k > 0 ? (size_t)k : 0;
    if (k < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(b);
    else if (k == 0)
        BIO_set_flags(b, BIO_FLAGS_IN_EOF);
    return k > 0;
}

int stream_wire_flush(struct stream_wire *w)
{
    while (w->out_n) {
        ssize_t k = send(w->fd, w->out + w->out_off, w->out_n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (k < 0)
            return errno == EAGAIN || errno == EINTR ? -EAGAIN : -EPIPE;
        w->out_off += (size_t)k;
        w->out_n -= (size_t)k;
    }
    free(w->out);
    w->out = NULL;
    w->out_off = 0;
    return 0;
}

static int wire_collect(struct stream_wire *w, const char *p, size_t n)
{
    if (!w->out && !(w->out = mem_alloc(HOLD_BYTES)))
        return 0;
    if (w->out_off + w->out_n + n > HOLD_BYTES)
        return 0;
    memcpy(w->out + w->out_off + w->out_n, p, n);
    w->out_n += n;
    return 1;
}

static int wire_write(BIO *b, const char *p, size_t n, size_t *ret)
{
    struct stream_wire *w = BIO_get_data(b);

    if (w->hold || w->out_n) {
        BIO_clear_retry_flags(b);
        *ret = n;
        if (wire_collect(w, p, n))
            return 1;
        *ret = 0;
        BIO_set_retry_write(b);
        return 0;
    }
    ssize_t k = send(w->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    BIO_clear_retry_flags(b);
    *ret = k > 0 ? (size_t)k : 0;
    if (k < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(b);
    return k > 0;
}

static long wire_ctrl(BIO *b, int command, long n, void *p)
{
    (void)n, (void)p;
    if (command == BIO_CTRL_EOF)
        return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static int wire_free(BIO *b)
{
    struct stream_wire *w = b ? BIO_get_data(b) : NULL;

    if (w) {
        free(w->early);
        free(w->out);
    }
    free(w);
    return b != NULL;
}

int stream_wire_init(void)
{
    wire_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "connection");
    if (!wire_method || !BIO_meth_set_read_ex(wire_method, wire_read) || !BIO_meth_set_write_ex(wire_method, wire_write) || !BIO_meth_set_ctrl(wire_method, wire_ctrl) ||
        !BIO_meth_set_destroy(wire_method, wire_free))
        return -ENOMEM;
    return 0;
}

BIO *stream_wire_new(int fd, char *early, size_t off, size_t n, struct stream_wire **ret)
{
    struct stream_wire *w = mem_zalloc(sizeof(*w));
    BIO *b = w ? BIO_new(wire_method) : NULL;

    if (!b) {
        free(w);
        return NULL;
    }
    *w = (struct stream_wire){ .fd = fd, .early = early, .off = off, .n = n };
    if (!n) {
        free(early);
        w->early = NULL;
    }
    BIO_set_data(b, w);
    BIO_set_init(b, 1);
    *ret = w;
    return b;
}
