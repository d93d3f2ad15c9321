#include "sandbox/preview/side.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

struct side_source { GSource source; struct side *side; };

static gboolean side_dispatch(GSource *source, GSourceFunc fn, gpointer arg)
{
    struct side *s = ((struct side_source *)source)->side;

    if (s && s->source == source && s->tag) {
        GIOCondition got = g_source_query_unix_fd(source, s->tag);
        s->hung |= (got & (G_IO_HUP | G_IO_ERR)) != 0;
        if (got & G_IO_OUT)
            s->full = false;
        s->fn(s->arg, got);
    }
    return G_SOURCE_CONTINUE;
}

bool side_is_connection(int fd)
{
    struct sockaddr_storage peer;
    socklen_t n = sizeof(peer), k = sizeof(int);
    int type = 0, domain = 0, protocol = 0, listening = 1, one = 1;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &k) || type != SOCK_STREAM || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &k) || (domain != AF_INET && domain != AF_INET6) ||
        getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &k) || protocol != IPPROTO_TCP || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &k) || listening)
        return false;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return !getpeername(fd, (struct sockaddr *)&peer, &n) && !fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void side_init(struct side *s) { *s = (struct side){ .fd = -1 }; }

void side_open(struct side *s, int fd, side_fn *fn, void *arg)
{
    static GSourceFuncs funcs = { .dispatch = side_dispatch };

    side_init(s);
    s->fd = fd;
    s->fn = fn;
    s->arg = arg;
    s->moved_ns = clock_mono_ns();
    s->source = g_source_new(&funcs, sizeof(struct side_source));
    ((struct side_source *)s->source)->side = s;
    s->tag = g_source_add_unix_fd(s->source, fd, 0);
    g_source_attach(s->source, NULL);
}

int side_take_fd(struct side *s)
{
    int fd = s->fd;

    if (s->source) {
        ((struct side_source *)s->source)->side = NULL;
        g_source_destroy(s->source);
        g_source_unref(s->source);
        s->source = NULL;
    }
    s->fd = -1;
    s->tag = NULL;
    s->want = 0;
    return fd;
}

/* An agent may have told the shared socket to linger: close() would wait. What has unsent bytes is cut off first, and then there is nothing to wait for. */
static void close_foreign(int fd, bool reset)
{
    struct linger off = { 0 };
    struct sockaddr none = { .sa_family = AF_UNSPEC };
    int unsent = 0;

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
    if (reset || (!ioctl(fd, SIOCOUTQ, &unsent) && unsent > 0))
        connect(fd, &none, sizeof(none));
    close(fd);
}

static void close_own(int fd, bool reset)
{
    struct linger now = { .l_onoff = 1 };

    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

void side_close(struct side *s, bool reset)
{
    int fd = side_take_fd(s);

    if (fd >= 0)
        s->foreign ? close_foreign(fd, reset) : close_own(fd, reset);
    g_free(s->in);
    buf_fini(&s->out);
    side_init(s);
}

void side_want(struct side *s, GIOCondition want)
{
    bool poll = want || !s->hung;

    if (s->fd < 0 || (s->want == want && poll == (s->tag != NULL)))
        return;
    s->want = want;
    if (!poll)
        g_source_remove_unix_fd(s->source, s->tag), s->tag = NULL;
    else if (s->tag)
        g_source_modify_unix_fd(s->source, s->tag, want);
    else
        s->tag = g_source_add_unix_fd(s->source, s->fd, want);
}

int side_fill(struct side *s)
{
    ssize_t n;

    if (s->eof || s->fd < 0)
        return -1;
    if (!s->in)
        s->in = g_malloc(SIDE_IN);
    if (s->at == s->n)
        s->at = s->n = 0;
    if (s->at && s->n == SIDE_IN) {
        memmove(s->in, s->in + s->at, s->n - s->at);
        s->n -= s->at;
        s->at = 0;
    }
    if (s->n == SIDE_IN)
        return 0;
    do
        n = recv(s->fd, s->in + s->n, SIDE_IN - s->n, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        s->n += (size_t)n;
        s->moved_ns = clock_mono_ns();
        return 1;
    }
    if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM))
        return 0;
    s->eof = true;
    s->lost = n < 0;
    return -1;
}

void side_used(struct side *s, size_t n)
{
    s->at += n;
    if (s->at == s->n)
        s->at = s->n = 0;
}

void side_trim(struct side *s)
{
    if (s->n || side_pending(s))
        return;
    g_free(s->in);
    s->in = NULL;
    buf_fini(&s->out);
    s->out_at = 0;
}

size_t side_send(struct side *s, const char *p, size_t n)
{
    ssize_t put;

    if (s->broken || s->shut || s->fd < 0)
        return 0;
    do
        put = send(s->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)
        s->broken = true;
    s->full = put < (ssize_t)n && !s->broken;
    if (put <= 0)
        return 0;
    s->moved_ns = clock_mono_ns();
    return (size_t)put;
}

bool side_drain(struct side *s)
{
    size_t n = side_pending(s);

    if (n)
        s->out_at += side_send(s, (char *)s->out.data + s->out_at, n);
    if (side_pending(s))
        return false;
    if (s->out.cap > 2 * SIDE_OUT)
        buf_fini(&s->out);
    buf_clear(&s->out);
    s->out_at = 0;
    return true;
}

void side_shut(struct side *s)
{
    if (s->fd >= 0 && !s->shut)
        shutdown(s->fd, SHUT_WR);
    s->shut = true;
}
