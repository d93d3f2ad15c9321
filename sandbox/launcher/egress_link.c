#include "sandbox/launcher/egress_link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "sandbox/launcher/launch.h"
#include "sandbox/launcher/packets.h"

enum { FDS_MAX = 4 };                     /* that egress may send: one is wanted */

_Static_assert((int)EGRESS_DOORS <= (int)PACKET_FDS_MAX, "ADD carries the doors");

/* True: all that waits is on its way. */
static bool send_waiting(struct launch *l)
{
    struct egress *e = &l->egress;

    if (!packets_flush(&e->out, e->sock))
        return false;
    for (unsigned i = 0; i < l->slots_used; i++) {
        struct slot *s = &l->slots[i];
        struct egress_packet p = { .op = EGRESS_ADD };
        if (s->egress != SLOT_EGRESS_WANTED)
            continue;
        memcpy(p.box, s->box, sizeof(p.box));
        if (packet_no_room(packet_send(e->sock, &p, sizeof(p), s->doors, EGRESS_DOORS)))
            return false;
        s->egress = SLOT_EGRESS_ADDED;
    }
    return true;
}

void egress_link_pump(struct launch *l)
{
    struct egress *e = &l->egress;

    if (e->sock >= 0 && e->state == EGRESS_UP)
        loop_rewatch(&l->loop, &e->on_sock, send_waiting(l) ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

void egress_link_send(struct launch *l, uint32_t op, const char *box, int fd)
{
    struct egress *e = &l->egress;
    struct egress_packet p = { .op = op };

    if (e->sock < 0 || e->state != EGRESS_UP)
        return;
    snprintf(p.box, sizeof(p.box), "%s", box);
    if (packets_add(&e->out, &p, sizeof(p), &fd, fd >= 0))
        child_kill(&e->child);            /* out of memory: what it then knows is wrong, so it begins anew */
    egress_link_pump(l);
}

/* --- in --- */

static void receive(struct launch *l)
{
    union { char space[CMSG_SPACE(sizeof(int) * FDS_MAX)]; struct cmsghdr align; } c;
    struct egress *e = &l->egress;
    struct egress_packet p;
    struct iovec v = { .iov_base = &p, .iov_len = sizeof(p) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
    int fds[FDS_MAX];

    ssize_t n = recvmsg(e->sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    unsigned count = n > 0 ? packet_fds(&m, fds) : 0;
    if (n == sizeof(p) && p.op == EGRESS_HELLO && p.zero == EGRESS_VERSION && count == 1 && e->state != EGRESS_UP) {
        egress_hello(l, fds[0]);
    } else if (n != sizeof(p) || p.op != EGRESS_REMOVED || count) {
        if (n > 0)
            log_error("step=egress packet refused op=%u", n >= (ssize_t)sizeof(p.op) ? p.op : 0);
        loop_unwatch(&l->loop, &e->on_sock);
        child_kill(&e->child);
    }
    while (count)
        close(fds[--count]);
}

static void on_event(void *arg, uint32_t events)
{
    struct launch *l = arg;

    if (events & EPOLLOUT)
        egress_link_pump(l);
    if (events & ~(uint32_t)EPOLLOUT)
        receive(l);
}

int egress_link_open(struct launch *l, int fd)
{
    struct egress *e = &l->egress;
    int r = loop_watch(&l->loop, &e->on_sock, fd, EPOLLIN, on_event, l);

    if (r)
        close(fd);
    else
        e->sock = fd;
    return r;
}

void egress_link_close(struct launch *l)
{
    struct egress *e = &l->egress;

    loop_unwatch(&l->loop, &e->on_sock);
    if (e->sock >= 0)
        close(e->sock);
    e->sock = -1;
    packets_drop(&e->out);
    for (unsigned i = 0; l->slots && i < l->slots_used; i++)
        if (l->slots[i].egress == SLOT_EGRESS_ADDED)
            l->slots[i].egress = SLOT_EGRESS_WANTED;
}
