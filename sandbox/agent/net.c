/* Ports of the sandbox's own loopback: waiting until something accepts, and connections for sandboxd. Nothing blocks; a wait tries again every RETRY_MS. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/agent/agent.h"

enum { RETRY_NS = 10 * 1000000, DIAL_NS = 1000000000 };      /* of one address: a full queue drops what comes */
enum { SLOTS = WAITS_MAX + DIALS_MAX };
struct dial { bool used, waits, six; uint16_t port; uint32_t id; struct source s; uint64_t end_ns /* of a wait */, try_ns /* next try, or end of this one */; };
static struct dial dials[SLOTS];             /* pages come when used */
static unsigned used[2];                     /* dials, waits */

static void attempt(struct dial *d);

static void finish(struct dial *d, int err, int fd)
{
    out_result(d->id, err, fd);
    source_close(&d->s);
    used[d->waits]--;
    d->used = false;
}

static int connected_fd(struct dial *d)
{
    int fd = fcntl(d->s.fd, F_DUPFD_CLOEXEC, 3);

    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
}

/* This address did not answer: the other one, or later, or never. */
static void failed(struct dial *d, int err)
{
    source_close(&d->s);
    if (!d->six) {
        d->six = true;
        attempt(d);
    } else if (!d->waits) {
        finish(d, err == -EAFNOSUPPORT || err == -EADDRNOTAVAIL ? -ECONNREFUSED : err, -1);
    } else if (agent.now_ns >= d->end_ns) {
        finish(d, -ETIMEDOUT, -1);
    } else {
        d->six = false;
        d->try_ns = agent.now_ns + RETRY_NS < d->end_ns ? agent.now_ns + RETRY_NS : d->end_ns;
    }
}

static void succeeded(struct dial *d)
{
    int fd = d->waits ? -1 : connected_fd(d);

    finish(d, d->waits || fd >= 0 ? 0 : -EMFILE, fd);
}

static void event(struct source *s, uint32_t events)
{
    struct dial *d = source_owner(struct dial, s, s);
    int err = 0;
    socklen_t n = sizeof err;

    struct sockaddr_storage peer;
    socklen_t peer_n = sizeof peer;

    (void)events;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &n) < 0)
        err = errno;
    if (!err && getpeername(s->fd, (struct sockaddr *)&peer, &peer_n) < 0)
        return;                              /* an event of the descriptor that was here before */
    if (err)
        failed(d, -err);
    else
        succeeded(d);
}

static void attempt(struct dial *d)
{
    struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(d->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(d->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(d->six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    d->try_ns = agent.now_ns + DIAL_NS;
    if (fd < 0) {
        failed(d, -errno);
        return;
    }
    int r = connect(fd, d->six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4, d->six ? sizeof a6 : sizeof a4), err = errno;
    if (r < 0 && err != EINPROGRESS) {
        close(fd);
        failed(d, -err);
    } else if ((err = -source_add(&d->s, fd, EPOLLOUT, event))) {
        failed(d, -err);
    } else if (r == 0) {
        succeeded(d);
    }
}

static void begin(uint32_t id, uint64_t port, bool waits, uint32_t timeout_ms)
{
    unsigned i = 0;

    if (port < 1 || port > 65535) {
        out_result(id, -EINVAL, -1);
        return;
    }
    while (i < SLOTS && dials[i].used)
        i++;
    if (used[waits] >= (unsigned)(waits ? WAITS_MAX : DIALS_MAX) || i == SLOTS) {
        out_result(id, -EAGAIN, -1);
        return;
    }
    dials[i] = (struct dial){ .used = true, .waits = waits, .port = (uint16_t)port, .id = id, .s = { .fd = -1 }, .end_ns = agent.now_ns + timeout_ms * 1000000ull };
    used[waits]++;
    attempt(&dials[i]);
}

void net_wait(uint32_t id, uint64_t port, uint32_t timeout_ms)
{
    begin(id, port, true, timeout_ms);
}

void net_dial(uint32_t id, uint64_t port)
{
    begin(id, port, false, 0);
}

void net_cancel(uint32_t id)
{
    for (unsigned i = 0; used[1] && i < SLOTS; i++)
        if (dials[i].used && dials[i].waits && dials[i].id == id) {
            finish(&dials[i], -ECANCELED, -1);
            return;
        }
}

uint64_t net_deadline_ns(void)
{
    uint64_t at = UINT64_MAX;

    for (unsigned i = 0; used[0] + used[1] && i < SLOTS; i++)
        if (dials[i].used && dials[i].try_ns < at)
            at = dials[i].try_ns;
    return at;
}

void net_on_time(void)
{
    for (unsigned i = 0; used[0] + used[1] && i < SLOTS; i++) {
        struct dial *d = &dials[i];
        if (!d->used || agent.now_ns < d->try_ns)
            continue;
        if (d->s.fd >= 0)
            failed(d, -ETIMEDOUT);
        else
            attempt(d);
    }
}
