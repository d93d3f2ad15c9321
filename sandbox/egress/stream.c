#include "sandbox/egress/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "sandbox/egress/stream_wire.h"

/* --- waiting --- */

int wait_fd(int fd, short events, int cut_fd, uint64_t deadline_ns)
{
    for (;;) {
        struct pollfd p[2] = { { fd, events, 0 }, { cut_fd, 0, 0 } };
        uint64_t now = clock_mono_ns();
        if (now >= deadline_ns)
            return -ETIMEDOUT;
        uint64_t left = deadline_ns - now;
        struct timespec ts = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };
        int r = ppoll(p, cut_fd >= 0 ? 2 : 1, &ts, NULL);
        if (r < 0 && errno != EINTR)
            return -errno;
        if (r > 0 && cut_fd >= 0 && p[1].revents)
            return -ECANCELED;
        if (r > 0 && p[0].revents)
            return 0;
    }
}

int stream_wait(struct stream *s, uint64_t deadline_ns)
{
    return wait_fd(s->fd, s->want, s->cut_fd, deadline_ns);
}

/* --- TLS --- */

int stream_init(void)
{
    return stream_wire_init();
}

int stream_set_tls(struct stream *s, SSL *ssl)
{
    struct stream_wire *w;
    BIO *b = stream_wire_new(s->fd, s->in, s->in_off, s->in_n, &w);

    if (!b)
        return -ENOMEM;
    s->in = NULL;
    s->in_off = s->in_n = s->in_cap = 0;
    SSL_set_bio(ssl, b, b);
    s->ssl = ssl;
    return 0;
}

static void enter(struct stream *s)
{
    while (s->gate && sem_wait(s->gate) && errno == EINTR)
        ;
}

static void leave(struct stream *s)
{
    if (s->gate)
        sem_post(s->gate);
}

/* What a call of the library that did not succeed means. */
static int tls_result(struct stream *s, int k)
{
    int e = SSL_get_error(s->ssl, k), sys = errno;
    unsigned long why = ERR_peek_last_error();

    ERR_clear_error();
    switch (e) {
    case SSL_ERROR_WANT_READ: s->want = POLLIN; return -EAGAIN;
    case SSL_ERROR_WANT_WRITE: s->want = POLLOUT; return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN: s->end = true; return 0;
    case SSL_ERROR_SYSCALL: return sys == EPIPE ? -EPIPE : -ECONNRESET;
    default: return ERR_GET_REASON(why) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? -ECONNRESET : -EPROTO;
    }
}

int stream_handshake(struct stream *s, uint64_t deadline_ns)
{
    for (;;) {
        enter(s);
        ERR_clear_error();
        int k = SSL_do_handshake(s->ssl), r = k == 1 ? 0 : tls_result(s, k);
        leave(s);
        if (r == 0 && k != 1)
            return -ECONNRESET;
        if (r != -EAGAIN)
            return r;
        r = stream_wait(s, deadline_ns);
        if (r)
            return r;
    }
}

void stream_acknowledge(struct stream *s)
{
    int one = 1;

    setsockopt(s->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
}

/* --- bytes --- */

static long read_new(struct stream *s, void *p, size_t n)
{
    if (s->end)
        return 0;
    enter(s);
    long r;
    if (s->ssl) {
        size_t got = 0;
        ERR_clear_error();
        int k = SSL_read_ex(s->ssl, p, n, &got);
        r = k == 1 ? (long)got : tls_result(s, k);
    } else {
        ssize_t k = recv(s->fd, p, n, MSG_DONTWAIT);
        s->want = POLLIN;
        s->end = !k;
        r = k >= 0 ? k : errno == EAGAIN || errno == EINTR ? -EAGAIN : -ECONNRESET;
    }
    s->want_in = s->want;
    leave(s);
    return r;
}

long stream_read(struct stream *s, void *p, size_t n)
{
    if (!s->in_n)
        return read_new(s, p, n);
    size_t k = n < s->in_n ? n : s->in_n;
    memcpy(p, s->in + s->in_off, k);
    stream_take(s, k);
    return (long)k;
}

/* Some of p[0..n) as records, collected, then sent together. While they are not all sent the answer is -EAGAIN; asked again with the same bytes it goes on from there. */
static long write_tls(struct stream *s, const void *p, size_t n)
{
    struct stream_wire *w = BIO_get_data(SSL_get_wbio(s->ssl));
    long r = 0;

    while (!w->out_n && !s->written) {
        size_t put = 0;
        w->hold = true;
        do {
            ERR_clear_error();
            int k = SSL_write_ex(s->ssl, (const char *)p + s->written, n - s->written, &put);
            r = k == 1 ? 0 : tls_result(s, k);
            s->written += k == 1 ? put : 0;
        } while (!r && s->written < n && w->out_n + SSL3_RT_MAX_PACKET_SIZE < HOLD_BYTES);
        w->hold = false;
        if (!s->written)
            return r ? r : -EPIPE;
    }
    r = stream_wire_flush(w);
    if (r == -EAGAIN)
        s->want = POLLOUT;
    if (r)
        return r;
    r = (long)s->written;
    s->written = 0;
    return r;
}

long stream_write(struct stream *s, const void *p, size_t n)
{
    enter(s);
    long r;
    if (s->ssl) {
        r = write_tls(s, p, n);
    } else {
        ssize_t k = send(s->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        s->want = POLLOUT;
        r = k >= 0 ? k : errno == EAGAIN || errno == EINTR ? -EAGAIN : -EPIPE;
    }
    s->want_out = s->want;
    leave(s);
    return r;
}

int stream_write_all(struct stream *s, const void *p, size_t n, uint64_t deadline_ns)
{
    for (size_t at = 0; at < n;) {
        long k = stream_write(s, (const char *)p + at, n - at);
        if (k == -EAGAIN)
            k = stream_wait(s, deadline_ns);
        if (k < 0)
            return (int)k;
        at += (size_t)k;
    }
    return 0;
}

void stream_take(struct stream *s, size_t n)
{
    s->in_off += n;
    s->in_n -= n;
    if (!s->in_n)
        s->in_off = 0;
}

int stream_more(struct stream *s, size_t max)
{
    if (s->in_n >= max)
        return -EMSGSIZE;
    if (s->in_off && s->in_off + s->in_n == s->in_cap) {
        memmove(s->in, s->in + s->in_off, s->in_n);
        s->in_off = 0;
    }
    if (s->in_off + s->in_n == s->in_cap) {
        size_t cap = !s->in_cap ? STREAM_IN_FIRST : s->in_cap * 2;
        char *p = mem_realloc(s->in, cap > max ? max : cap);
        if (!p)
            return -ENOMEM;
        s->in = p;
        s->in_cap = cap > max ? max : cap;
    }
    size_t room = s->in_cap - s->in_off - s->in_n;
    long k = read_new(s, s->in + s->in_off + s->in_n, room < max - s->in_n ? room : max - s->in_n);
    if (k > 0)
        s->in_n += (size_t)k;
    return k > 0 ? 1 : (int)k;
}

void stream_shut(struct stream *s)
{
    if (s->ssl && SSL_is_init_finished(s->ssl)) {
        enter(s);
        ERR_clear_error();
        SSL_shutdown(s->ssl);
        ERR_clear_error();
        stream_wire_flush(BIO_get_data(SSL_get_wbio(s->ssl)));
        leave(s);
    }
    shutdown(s->fd, SHUT_WR);
}

void stream_close(struct stream *s, bool abort)
{
    if (s->fd >= 0 && abort && !s->ssl)
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));       /* a reset: what is missing is seen */
    else if (s->fd >= 0 && !abort)
        stream_shut(s);
    SSL_free(s->ssl);
    free(s->in);
    if (s->fd >= 0)
        close(s->fd);
    *s = STREAM_INIT;
}
