#include "sandbox/launcher/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "sandbox/launcher/check.h"
#include "sandbox/launcher/launch.h"
#include "sandbox/launcher/packets.h"

enum { FDS_MAX = 1 + LAUNCH_MOUNTS_MAX, OUT_MAX = 4 * LAUNCH_BOXES_MAX };

void control_init(struct control *c)
{
    *c = (struct control){ .fd = -1, .source.fd = -1 };
    packets_init(&c->out);
}

/* --- out --- */

static void out_add(struct launch *l, const struct launch_packet *p, const int *fds, unsigned n)
{
    struct control *c = &l->control;
    int r = c->out.count < OUT_MAX ? packets_add(&c->out, p, sizeof(*p), fds, n) : -EOVERFLOW;

    if (r) {
        log_error("step=control err=%s sandboxd cannot be told (does it read its answers?): it is started again", errno_name(r));
        child_kill(&l->sandboxd);
    } else if (c->out.count == 1) {
        loop_rewatch(&l->loop, &c->source, EPOLLOUT);
    }
}

void control_send(struct launch *l, const struct ask *ask, uint32_t op, struct launch_packet *p, const int *fds, unsigned fd_count)
{
    struct control *c = &l->control;

    if (c->fd < 0 || (ask && (!ask->tag || ask->life != c->life)))
        return;
    p->op = op;
    p->tag = ask ? ask->tag : 0;
    int r = c->out.count ? -EAGAIN : packet_send(c->fd, p, sizeof(*p), fds, fd_count);
    if (packet_no_room(r))
        out_add(l, p, fds, fd_count);
    else if (r)
        log_debug("step=control send err=%s", errno_name(r));     /* its end is seen by child.c */
}

void control_ok(struct launch *l, struct ask ask)
{
    struct launch_packet p = { 0 };

    control_send(l, &ask, LAUNCH_OK, &p, NULL, 0);
}

void control_failed(struct launch *l, struct ask ask, int err, const char *fmt, ...)
{
    struct launch_packet p = { .err = err };
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(p.text, sizeof(p.text), fmt, ap);
    va_end(ap);
    control_send(l, &ask, LAUNCH_FAILED, &p, NULL, 0);
}

static void flush(struct launch *l)
{
    struct control *c = &l->control;

    if (packets_flush(&c->out, c->fd))
        loop_rewatch(&l->loop, &c->source, EPOLLIN);
}

/* --- in --- */

static void hello(struct launch *l, struct ask ask)
{
    struct launch_packet p = { .value = { LAUNCH_VERSION, l->layers, (uint64_t)l->cgroups.version, slots_running(l) } };

    snprintf(p.text, sizeof(p.text), "%s", l->missing);
    control_send(l, &ask, LAUNCH_OK, &p, NULL, 0);
    sandboxd_answers(l);
}

static void dispatch(struct launch *l, const struct launch_packet *p, const int *fds)
{
    struct ask ask = { p->tag, l->control.life };

    if (l->ending && (p->op == LAUNCH_PREPARE || p->op == LAUNCH_START)) {
        control_failed(l, ask, -ESHUTDOWN, "the launcher is ending");
        return;
    }
    switch (p->op) {
    case LAUNCH_HELLO: hello(l, ask); break;
    case LAUNCH_STORE: store_link_ask(l, ask); break;
    case LAUNCH_PREPARE: slot_prepare(l, ask); break;
    case LAUNCH_START: slot_start(l, p, ask, fds); break;
    case LAUNCH_ABANDON: slot_abandon(l, p, ask); break;
    case LAUNCH_FREEZE: slot_freeze(l, p, ask, true); break;
    case LAUNCH_THAW: slot_freeze(l, p, ask, false); break;
    case LAUNCH_KILL: slot_kill(l, p, ask); break;
    case LAUNCH_LIMITS: slot_limits(l, p, ask); break;
    case LAUNCH_USAGE: slot_usage(l, p, ask); break;
    case LAUNCH_LIST: slot_list(l, ask); break;
    case LAUNCH_EGRESS: egress_ask(l, ask); break;
    }
}

static void receive(struct launch *l)
{
    union { char space[CMSG_SPACE(sizeof(int) * FDS_MAX)]; struct cmsghdr align; } c;
    struct { struct launch_packet p; char more; } in;
    struct iovec v = { .iov_base = &in, .iov_len = sizeof(in) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
    int fds[FDS_MAX + 1];
    const char *why;

    ssize_t n = recvmsg(l->control.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    unsigned count = n >= 0 ? packet_fds(&m, fds) : 0;
    if (n <= 0) {
        loop_unwatch(&l->loop, &l->control.source);      /* closed: sandboxd is ending, or is of no use any more */
        child_kill(&l->sandboxd);
    } else if ((m.msg_flags & MSG_CTRUNC) || check_packet(&in.p, (size_t)n, count, &why)) {
        bool has_tag = n >= (ssize_t)(2 * sizeof(uint32_t)) && in.p.tag;
        log_warn("step=control packet refused what=\"%s\"", m.msg_flags & MSG_CTRUNC ? "number of descriptors" : why);
        if (has_tag)
            control_failed(l, (struct ask){ in.p.tag, l->control.life }, -EINVAL, "bad request: %s", m.msg_flags & MSG_CTRUNC ? "number of descriptors" : why);
    } else {
        dispatch(l, &in.p, fds);
    }
    while (count)
        close(fds[--count]);
}

static void on_event(void *arg, uint32_t events)
{
    struct launch *l = arg;

    if (events & EPOLLOUT)
        flush(l);
    else
        receive(l);
}

int control_open(struct launch *l, int fd)
{
    control_close(l);
    l->control.life++;
    int r = loop_watch(&l->loop, &l->control.source, fd, EPOLLIN, on_event, l);
    if (r)
        close(fd);
    else
        l->control.fd = fd;
    return r;
}

void control_close(struct launch *l)
{
    struct control *c = &l->control;

    loop_unwatch(&l->loop, &c->source);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    packets_drop(&c->out);
}
