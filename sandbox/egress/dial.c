#include "sandbox/egress/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "sandbox/egress/own.h"
#include "sandbox/egress/stream.h"

static socklen_t size_of(const struct sockaddr_storage *sa)
{
    return sa->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static void set_port(struct sockaddr_storage *sa, uint16_t port)
{
    if (sa->ss_family == AF_INET)
        ((struct sockaddr_in *)sa)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)sa)->sin6_port = htons(port);
}

static int addresses_of(const struct resolver *r, const struct authority *to, int cut_fd, uint64_t deadline, struct dns_addresses *ret)
{
    struct sockaddr_storage *sa = &ret->at[0];

    if (to->kind == HOST_NAME)
        return resolver_lookup(r, to->host, cut_fd, deadline, ret);
    memset(sa, 0, sizeof(*sa));
    sa->ss_family = to->kind == HOST_V4 ? AF_INET : AF_INET6;
    ret->count = 1;
    void *at = to->kind == HOST_V4 ? (void *)&((struct sockaddr_in *)sa)->sin_addr : (void *)&((struct sockaddr_in6 *)sa)->sin6_addr;
    return inet_pton(sa->ss_family, to->host, at) == 1 ? 0 : -EINVAL;
}

/* The address as rules write it; IPv4 in IPv6 is the IPv4. */
static struct authority literal(const struct authority *to, const struct sockaddr_storage *sa)
{
    struct authority a = { .tls = to->tls, .port = to->port, .kind = HOST_V4 };
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)sa)->sin6_addr;

    if (sa->ss_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)sa)->sin_addr, a.host, sizeof(a.host));
    } else if (IN6_IS_ADDR_V4MAPPED(v6)) {
        inet_ntop(AF_INET, v6->s6_addr + 12, a.host, sizeof(a.host));
    } else {
        a.kind = HOST_V6;
        inet_ntop(AF_INET6, v6, a.host, sizeof(a.host));
    }
    return a;
}

static bool may(const struct authority *to, const struct sockaddr_storage *sa, const struct dial_allow *allow)
{
    struct authority a = literal(to, sa);

    return own_may_dial(sa, allow->private_) && !policy_denies_address(allow->policy, allow->box, &a);
}

/* Those that may be dialled, the two families in turn. */
static void choose(struct dns_addresses *a, const struct authority *to, const struct dial_allow *allow)
{
    struct dns_addresses out = { .count = 0 };
    unsigned at[2] = { 0, 0 };
    static const sa_family_t family[2] = { AF_INET6, AF_INET };

    for (unsigned i = 0; i < a->count; i++)
        set_port(&a->at[i], to->port);
    for (unsigned turn = 0; (at[0] < a->count || at[1] < a->count) && out.count < DIAL_TRIES_MAX; turn ^= 1) {
        while (at[turn] < a->count && (a->at[at[turn]].ss_family != family[turn] || !may(to, &a->at[at[turn]], allow)))
            at[turn]++;
        if (at[turn] < a->count)
            out.at[out.count++] = a->at[at[turn]++];
    }
    *a = out;
}

static int begin(const struct sockaddr_storage *to)
{
    int one = 1;
    _cleanup_close_ int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
        return -errno;
    if (connect(fd, (const struct sockaddr *)to, size_of(to)) && errno != EINPROGRESS)
        return -errno;
    return TAKE_FD(fd);
}

/* 0: connected to whom we meant; else why not. */
static int outcome(int fd, const struct sockaddr_storage *to)
{
    struct sockaddr_storage peer = { 0 };
    socklen_t n = sizeof(int), peer_n = sizeof(peer);
    int err = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n) || err)
        return err ? -err : -errno;
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_n))
        return -errno;
    if (peer.ss_family != to->ss_family)
        return -EPERM;
    if (to->ss_family == AF_INET)
        return memcmp(&((struct sockaddr_in *)&peer)->sin_addr, &((const struct sockaddr_in *)to)->sin_addr, 4) ? -EPERM : 0;
    return memcmp(&((struct sockaddr_in6 *)&peer)->sin6_addr, &((const struct sockaddr_in6 *)to)->sin6_addr, 16) ? -EPERM : 0;
}

struct race { struct pollfd p[DIAL_TRIES_MAX + 1]; unsigned begun, open; int err; uint64_t next; };

/* Begins the next try when it is time, or when nothing else is under way. */
static void begin_next(struct race *x, const struct dns_addresses *a)
{
    while (x->begun < a->count && (!x->open || clock_mono_ns() >= x->next)) {
        int fd = begin(&a->at[x->begun]);
        x->p[x->begun++] = (struct pollfd){ fd < 0 ? -1 : fd, POLLOUT, 0 };
        x->err = fd < 0 ? fd : x->err;
        x->open += fd >= 0;
        x->next = clock_mono_ns() + DIAL_STAGGER_MS * 1000000ull;
    }
}

/* The index of the first that is connected; -EAGAIN: none yet. */
static int look(struct race *x, const struct dns_addresses *a)
{
    for (unsigned i = 0; i < x->begun; i++) {
        if (x->p[i].fd < 0 || !x->p[i].revents)
            continue;
        int r = outcome(x->p[i].fd, &a->at[i]);
        if (!r)
            return (int)i;
        x->err = r;
        close(x->p[i].fd);
        x->p[i].fd = -1;
        x->open--;
    }
    return -EAGAIN;
}

static int race(struct race *x, const struct dns_addresses *a, int cut_fd, uint64_t deadline)
{
    for (;;) {
        begin_next(x, a);
        if (!x->open)
            return x->err;
        uint64_t now = clock_mono_ns(), until = x->begun < a->count && x->next < deadline ? x->next : deadline;
        if (now >= deadline)
            return -ETIMEDOUT;
        x->p[x->begun] = (struct pollfd){ cut_fd, 0, 0 };
        if (poll(x->p, x->begun + 1, until > now ? (int)((until - now) / 1000000u) + 1 : 0) < 0 && errno != EINTR)
            return -errno;
        if (x->p[x->begun].revents)
            return -ECANCELED;
        int won = look(x, a);
        if (won >= 0)
            return won;
    }
}

int dial(const struct resolver *r, const struct authority *to, const struct dial_allow *allow, int cut_fd, uint64_t deadline_ns, int *ret_fd, struct authority *ret_peer)
{
    struct dns_addresses a;
    struct race x = { .err = -EHOSTUNREACH };

    int k = addresses_of(r, to, cut_fd, deadline_ns, &a);
    if (k)
        return k;
    choose(&a, to, allow);
    if (!a.count)
        return -EPERM;
    k = race(&x, &a, cut_fd, deadline_ns);
    for (unsigned i = 0; i < x.begun; i++)
        if ((int)i != k && x.p[i].fd >= 0)
            close(x.p[i].fd);
    if (k < 0)
        return k;
    *ret_fd = x.p[k].fd;
    *ret_peer = literal(to, &a.at[k]);
    return 0;
}
