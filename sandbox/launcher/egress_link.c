#include "sandbox/launcher/egress_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "sandbox/launcher/launch.h"

struct egress_out { struct egress_out *next; struct egress_packet p; int fd; };
enum { FDS_MAX = 4 };                     /* that egress may send: one is wanted */

static int send_one(int sock, const struct egress_packet *p, const int *fds, unsigned n)
{
    union { char space[CMSG_SPACE(sizeof(int) * EGRESS_DOORS)]; struct cmsghdr align; } c = { 0 };
    struct iovec v = { .iov_base = (void *)(uintptr_t)p, .iov_len = sizeof(*p) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

    if (n) {
        m.msg_control = &c;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
        *cm = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int) * n), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(cm), fds, sizeof(int) * n);
    }
    ssize_t r;
    do
        r = sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

static bool no_room(int r)
{
    return r == -EAGAIN || r == -ETOOMANYREFS || r == -ENOBUFS;
}

static void out_shift(struct egress *e)
{
    struct egress_out *o = e->out;

    if (!(e->out = o->next))
        e->out_end = &e->out;
    if (o->fd >= 0)
        close(o->fd);
    free(o);
}

/* True: all that waits is on its way (another error than no room: its end, which the child's exit tells). */
static bool send_waiting(struct launch *l)
{
    struct egress *e = &l->egress;

    for (; e->out; out_shift(e))
        if (no_room(send_one(e->sock, &e->out->p, &e->out->fd, e->out->fd >= 0)))
            return false;
    for (unsigned i = 0; i < l->slots_used; i++) {
        struct slot *s = &l->slots[i];
        struct egress_packet p = { .op = EGRESS_ADD };
        if (s->egress != SLOT_EGRESS_WANTED)
            continue;
        memcpy(p.box, s->box, sizeof(p.box));
        if (no_room(send_one(e->sock, &p, s->doors, EGRESS_DOORS)))
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
    struct egress_out *o = e->sock >= 0 && e->state == EGRESS_UP ? mem_zalloc(sizeof(*o)) : NULL;

    if (!o) {
        if (e->sock >= 0 && e->state == EGRESS_UP)
            child_kill(&e->child);        /* out of memory: what it then knows is wrong, so it begins anew */
        return;
    }
    o->p.op = op;
    snprintf(o->p.box, sizeof(o->p.box), "%s", box);
    o->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    *e->out_end = o;
    e->out_end = &o->next;
    egress_link_pump(l);
}

/* --- in --- */

static unsigned take_fds(struct msghdr *m, int *fds)
{
    struct cmsghdr *cm = CMSG_FIRSTHDR(m);

    if (!cm || cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
        return 0;
    unsigned n = (unsigned)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(cm), n * sizeof(int));
    return n;
}

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
    unsigned count = n > 0 ? take_fds(&m, fds) : 0;
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
    while (e->out)
        out_shift(e);
    for (unsigned i = 0; l->slots && i < l->slots_used; i++)
        if (l->slots[i].egress == SLOT_EGRESS_ADDED)
            l->slots[i].egress = SLOT_EGRESS_WANTED;
}
