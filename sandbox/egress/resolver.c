/* One lookup: for each server, RESOLVER_TRIES times in turn, both questions (AAAA, A) from one new UDP socket, so that each has a port of its own choice by the kernel; an answer that is
 * cut off is asked for again over TCP. A question that has its answer is not asked again. */
#include "sandbox/egress/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "sandbox/egress/stream.h"

enum { QUESTIONS = 2, UDP_BYTES = 4096 };
struct question { uint8_t query[DNS_QUERY_MAX]; size_t n; bool done, none; struct dns_addresses found; };

static bool add_server(struct resolver *r, const char *text)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM }, *ai;

    if (r->count == RESOLVER_SERVERS_MAX || getaddrinfo(text, "53", &hints, &ai))
        return false;
    memcpy(&r->servers[r->count++], ai->ai_addr, ai->ai_addrlen);
    freeaddrinfo(ai);
    return true;
}

void resolver_init(struct resolver *r, const char *text, size_t n)
{
    char line[256], *save;

    *r = (struct resolver){ .timeout_ms = RESOLVER_TIMEOUT_MS };
    for (const char *p = text, *end = text + n; p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((nl ? nl : end) - p);
        if (len < sizeof(line)) {
            memcpy(line, p, len);
            line[len] = 0;
            const char *word = strtok_r(line, " \t\r", &save), *value = word ? strtok_r(NULL, " \t\r", &save) : NULL;
            if (value && !strcmp(word, "nameserver"))
                add_server(r, value);
            for (; value && !strcmp(word, "options"); value = strtok_r(NULL, " \t\r", &save))
                if (!strncmp(value, "timeout:", 8) && atoi(value + 8) > 0 && atoi(value + 8) <= 10)
                    r->timeout_ms = (unsigned)atoi(value + 8) * 1000;
        }
        p += len + 1;
    }
    if (!r->count)
        add_server(r, "127.0.0.1");
}

static int open_to(const struct sockaddr_storage *server, int type)
{
    _cleanup_close_ int fd = socket(server->ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || (connect(fd, (const struct sockaddr *)server, server->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) && errno != EINPROGRESS))
        return -errno;
    return TAKE_FD(fd);
}

static int tcp_all(int fd, int cut_fd, void *p, size_t n, bool out, uint64_t deadline)
{
    for (size_t at = 0; at < n;) {
        int r = wait_fd(fd, out ? POLLOUT : POLLIN, cut_fd, deadline);
        if (r)
            return r;
        ssize_t k = out ? send(fd, (char *)p + at, n - at, MSG_NOSIGNAL) : recv(fd, (char *)p + at, n - at, 0);
        if (k == 0 || (k < 0 && errno != EAGAIN && errno != EINTR))
            return -EREMOTEIO;
        at += k > 0 ? (size_t)k : 0;
    }
    return 0;
}

static int ask_tcp(const struct sockaddr_storage *server, struct question *q, int cut_fd, uint64_t deadline)
{
    uint8_t out[2 + DNS_QUERY_MAX] = { (uint8_t)(q->n >> 8), (uint8_t)q->n }, len[2];
    _cleanup_close_ int fd = open_to(server, SOCK_STREAM);

    if (fd < 0)
        return -EREMOTEIO;
    memcpy(out + 2, q->query, q->n);
    int r = tcp_all(fd, cut_fd, out, 2 + q->n, true, deadline);
    if (!r)
        r = tcp_all(fd, cut_fd, len, 2, false, deadline);
    size_t n = r ? 0 : (size_t)(len[0] << 8 | len[1]);
    _cleanup_free_ uint8_t *p = r ? NULL : malloc(n + 1);
    if (!r)
        r = p ? tcp_all(fd, cut_fd, p, n, false, deadline) : -ENOMEM;
    return r ? r : dns_read(p, n, q->query, q->n, &q->found);
}

/* Takes in one datagram. 0: go on; -EREMOTEIO, -EBADMSG: this server is of no use; -ECANCELED. */
static int take(const struct sockaddr_storage *server, int fd, struct question q[QUESTIONS], int cut_fd, uint64_t deadline)
{
    uint8_t p[UDP_BYTES];
    ssize_t n = recv(fd, p, sizeof(p), 0);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -EREMOTEIO;
    for (unsigned i = 0; i < QUESTIONS; i++) {
        if (q[i].done)
            continue;
        q[i].found.count = 0;
        int r = dns_read(p, (size_t)n, q[i].query, q[i].n, &q[i].found);
        if (r == -EAGAIN)
            continue;
        if (r == -EMSGSIZE) {
            q[i].found.count = 0;
            r = ask_tcp(server, &q[i], cut_fd, deadline);
        }
        q[i].done = !r || r == -ENOENT;
        q[i].none = r == -ENOENT;
        return q[i].done ? 0 : r == -ECANCELED || r == -ETIMEDOUT ? r : -EREMOTEIO;
    }
    return 0;
}

static bool all_done(const struct question q[QUESTIONS])
{
    return q[0].done && q[1].done;
}

static int ask_server(const struct sockaddr_storage *server, struct question q[QUESTIONS], int cut_fd, uint64_t deadline)
{
    _cleanup_close_ int fd = open_to(server, SOCK_DGRAM);

    if (fd < 0)
        return -EREMOTEIO;
    for (unsigned i = 0; i < QUESTIONS; i++)
        if (!q[i].done && send(fd, q[i].query, q[i].n, MSG_NOSIGNAL) < 0)
            return -EREMOTEIO;
    while (!all_done(q)) {
        int r = wait_fd(fd, POLLIN, cut_fd, deadline);
        if (!r)
            r = take(server, fd, q, cut_fd, deadline);
        if (r)
            return r;
    }
    return 0;
}

int resolver_lookup(const struct resolver *r, const char *name, int cut_fd, uint64_t deadline_ns, struct dns_addresses *ret)
{
    struct question q[QUESTIONS] = { 0 };
    static const uint16_t types[QUESTIONS] = { DNS_AAAA, DNS_A };
    int err = -ETIMEDOUT;

    for (unsigned try = 0; try < RESOLVER_TRIES && !all_done(q); try++) {
        for (unsigned s = 0; s < r->count && !all_done(q); s++) {
            uint16_t ids[QUESTIONS];
            if (getrandom(ids, sizeof(ids), 0) != sizeof(ids))
                return -EIO;
            for (unsigned i = 0; i < QUESTIONS; i++) {
                int n = q[i].done ? 0 : dns_query(ids[i], name, types[i], q[i].query);
                if (n < 0)
                    return -ENOENT;
                q[i].n = q[i].done ? q[i].n : (size_t)n;
            }
            uint64_t until = clock_mono_ns() + r->timeout_ms * 1000000ull;
            err = ask_server(&r->servers[s], q, cut_fd, until < deadline_ns ? until : deadline_ns);
            if (err == -ECANCELED || (err && clock_mono_ns() >= deadline_ns))
                return err;
        }
    }
    ret->count = 0;
    for (unsigned i = 0; i < QUESTIONS; i++)
        for (unsigned k = 0; q[i].done && k < q[i].found.count && ret->count < DNS_ADDRESSES_MAX; k++)
            ret->at[ret->count++] = q[i].found.at[k];
    if (ret->count)
        return 0;                           /* one kind is enough, though the other got no answer */
    return all_done(q) ? -ENOENT : err;
}
