#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "sandbox/egress/dns.h"
#include "sandbox/egress/flow.h"

enum { TCP_QUERIES = 100, QUERY_BYTES = 4096 };

static void write_down(struct egress_box *b, const char *name, uint16_t type)
{
    struct audit_event ev = { .box = b->id, .kind = AUDIT_DNS, .host = name, .verdict = "answer", .method = type == DNS_A ? "A" : type == DNS_AAAA ? "AAAA" : "other" };

    if (!name[0] || !bucket_take(&b->dns_events, 1))
        return;                             /* who asks very often is not written down each time */
    const struct box_view *v = state_box(b->e->state, b->id);
    ev.name = v ? v->name : b->id;
    audit_put(b->e->audit, &ev);
    box_view_unref(v);
}

static size_t answer(struct egress_box *b, const uint8_t *p, size_t n, uint8_t ret[DNS_ANSWER_MAX])
{
    char name[DNS_NAME_MAX];
    uint16_t type;

    if (!bucket_take(&b->dns, 1))
        return 0;
    size_t k = dns_answer(p, n, b->v6, ret, name, &type);
    if (k)
        write_down(b, name, type);
    return k;
}

void flow_dns_datagrams(struct egress_box *b, int fd, unsigned most)
{
    for (unsigned i = 0; i < most; i++) {
        union { char space[CMSG_SPACE(sizeof(struct in6_pktinfo))]; struct cmsghdr align; } control;
        uint8_t q[QUERY_BYTES], a[DNS_ANSWER_MAX];
        struct sockaddr_storage from;
        struct iovec v = { q, sizeof(q) };
        struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
        if (n < 0)
            return;
        size_t k = m.msg_flags & MSG_TRUNC ? 0 : answer(b, q, (size_t)n, a);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        if (!k || !c)
            continue;
        /* The same control message sends it from the address that was asked; the interface is the kernel's to choose. */
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
            ((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
        else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            ((struct in_pktinfo *)CMSG_DATA(c))->ipi_ifindex = 0;
            ((struct in_pktinfo *)CMSG_DATA(c))->ipi_spec_dst = ((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr;
        }
        v = (struct iovec){ a, k };
        m.msg_flags = 0;
        sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);       /* lost like any datagram when it cannot be sent now */
    }
}

/* Reads until n bytes are there. */
static int have(struct conn *c, size_t n)
{
    uint64_t until = in_s(DNS_TCP_S);

    while (c->client.in_n < n) {
        int r = stream_more(&c->client, QUERY_BYTES);
        if (r == -EAGAIN)
            r = stream_wait(&c->client, until);
        else if (r <= 0)
            return r ? r : -ECONNRESET;
        if (r < 0)
            return r;
    }
    return 0;
}

void flow_dns(struct conn *c)
{
    uint8_t a[2 + DNS_ANSWER_MAX];

    for (unsigned i = 0; i < TCP_QUERIES; i++) {
        if (have(c, 2))
            return;
        const uint8_t *p = (uint8_t *)c->client.in + c->client.in_off;
        size_t n = (size_t)(p[0] << 8 | p[1]);
        if (n > QUERY_BYTES - 2 || have(c, 2 + n))
            return;
        p = (uint8_t *)c->client.in + c->client.in_off;     /* it may have moved */
        size_t k = answer(c->box, p + 2, n, a + 2);
        stream_take(&c->client, 2 + n);
        a[0] = (uint8_t)(k >> 8);
        a[1] = (uint8_t)k;
        if (!k || stream_write_all(&c->client, a, 2 + k, in_s(SAY_S)))
            return;
    }
}
