#include "sandbox/egress/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "sandbox/egress/conn.h"
#include "sandbox/egress/flow.h"

static int watch(struct egress *e, struct door *d, int op, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.ptr = d };

    return epoll_ctl(e->epoll_fd, op, d->fd, &ev) ? -errno : 0;
}

int listener_open(struct egress *e, struct door *d)
{
    int one = 1, family = 0;
    socklen_t n = sizeof(family);

    if (getsockopt(d->fd, SOL_SOCKET, SO_DOMAIN, &family, &n) || fcntl(d->fd, F_SETFL, O_NONBLOCK) || fcntl(d->fd, F_SETFD, FD_CLOEXEC))
        return -errno;
    if (d->which == EGRESS_DOOR_DNS_UDP) {
        /* The answer comes from the address that was asked. */
        d->box->v6 = family == AF_INET6;
        if (setsockopt(d->fd, family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP, family == AF_INET6 ? IPV6_RECVPKTINFO : IP_PKTINFO, &one, sizeof(one)))
            return -errno;
    }
    return watch(e, d, EPOLL_CTL_ADD, EPOLLIN);
}

void listener_close(struct egress *e, struct door *d, bool shut)
{
    if (d->fd < 0)
        return;
    epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, d->fd, NULL);
    if (shut)
        close(d->fd);
    d->fd = -1;
}

static void pause_box(struct egress *e, struct egress_box *b, bool pause)
{
    for (unsigned i = 0; i < EGRESS_DOORS; i++)
        if (i != EGRESS_DOOR_DNS_UDP && b->doors[i].fd >= 0)
            watch(e, &b->doors[i], EPOLL_CTL_MOD, pause ? 0 : EPOLLIN);
    b->paused = pause;
}

bool listener_resume(struct egress *e)
{
    bool some = false;

    for (unsigned i = 0; i < e->box_count; i++) {       /* only this thread changes the table */
        struct egress_box *b = e->boxes[i];
        if (b->paused && egress_box_has_room(b))
            pause_box(e, b, false);
        some |= b->paused;
    }
    return some;
}

static void accept_some(struct egress *e, struct door *d)
{
    for (unsigned i = 0; i < LISTENER_TURN; i++) {
        if (!egress_box_has_room(d->box)) {
            pause_box(e, d->box, true);             /* they wait in the listener's queue */
            return;
        }
        int fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                pause_box(e, d->box, true);
            return;                                 /* nobody, or shut for now (EINVAL) */
        }
        atomic_fetch_add(&d->box->accepted, 1);
        int r = conn_start(d->box, d->which, fd);
        if (r) {
            log_warn("box=%s step=thread err=%s", d->box->id, errno_name(r));
            pause_box(e, d->box, true);
            return;
        }
    }
}

void listener_event(struct egress *e, struct door *d)
{
    if (d->which == EGRESS_DOOR_DNS_UDP)
        flow_dns_datagrams(d->box, d->fd, LISTENER_DNS_TURN);
    else
        accept_some(e, d);
}
