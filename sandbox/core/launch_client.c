#include "sandbox/launch_client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib-unix.h>

#include "base/cleanup.h"
#include "base/log.h"

/* A packet that waits for room in the socket. */
struct out { struct out *next; struct launch_packet p; int fds[LAUNCH_FDS_MAX]; unsigned fd_count; };
struct ask { launch_fn *fn; void *arg; };

struct launcher {
    int fd;
    guint in, room;                       /* sources; room: only while something waits */
    uint32_t last_tag;
    GHashTable *asks;                     /* tag -> struct ask */
    struct out *first, **last;
    launch_fn *event;
    void *arg;
};

static int packet_send(int sock, const struct launch_packet *p, const int *fds, unsigned n)
{
    union { struct cmsghdr h; char b[CMSG_SPACE(sizeof(int) * LAUNCH_FDS_MAX)]; } u = { 0 };
    struct iovec iov = { (void *)(uintptr_t)p, sizeof(*p) };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (n) {
        m.msg_control = u.b;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        *h = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int) * n), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(h), fds, sizeof(int) * n);
    }
    return sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* 1: a packet; 0: the end; -EAGAIN; -errno. */
static int packet_recv(int sock, struct launch_packet *p, int *fds, unsigned *ret_n)
{
    union { struct cmsghdr h; char b[CMSG_SPACE(sizeof(int) * LAUNCH_FDS_MAX)]; } u;
    struct iovec iov = { p, sizeof(*p) };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.b, .msg_controllen = sizeof(u.b) };
    ssize_t n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    *ret_n = 0;
    if (n <= 0)
        return n < 0 ? -errno : 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        *ret_n = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(h), *ret_n * sizeof(int));
    }
    if ((size_t)n == sizeof(*p) && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
        p->text[sizeof(p->text) - 1] = p->box[LAUNCH_NAME - 1] = p->host_name[LAUNCH_NAME - 1] = 0;
        return 1;
    }
    for (unsigned i = 0; i < *ret_n; i++)
        close(fds[i]);
    *ret_n = 0;
    return -EBADMSG;
}

static void dispatch(struct launcher *l, struct launch_packet *p, int *fds, unsigned n)
{
    struct ask *a = p->tag ? g_hash_table_lookup(l->asks, GUINT_TO_POINTER(p->tag)) : NULL;

    if (!p->tag) {
        l->event(l->arg, p, fds, n);
    } else if (!a) {
        log_warn("launcher op=%u tag=%u: nobody asked", p->op, p->tag);
        for (unsigned i = 0; i < n; i++)
            close(fds[i]);
    } else {
        launch_fn *fn = a->fn;
        void *arg = a->arg;
        if (p->op != LAUNCH_BOX)          /* parts of a list: the end is still to come */
            g_hash_table_remove(l->asks, GUINT_TO_POINTER(p->tag));
        fn(arg, p, fds, n);
    }
}

static gboolean readable(gint fd, GIOCondition cond, gpointer arg)
{
    struct launcher *l = arg;
    struct launch_packet p;
    int fds[LAUNCH_FDS_MAX];
    unsigned n;
    int r;

    for (unsigned i = 0; i < 64; i++) {
        r = packet_recv(l->fd, &p, fds, &n);
        if (r == -EAGAIN || r == -EINTR)
            return G_SOURCE_CONTINUE;
        if (r <= 0)
            break;
        dispatch(l, &p, fds, n);
    }
    if (r > 0)
        return G_SOURCE_CONTINUE;
    log_error("launcher gone err=%s", errno_name(r));
    l->in = 0;
    l->event(l->arg, NULL, NULL, 0);
    return G_SOURCE_REMOVE;
}

static void out_free(struct out *o)
{
    for (unsigned i = 0; i < o->fd_count; i++)
        close_p(&o->fds[i]);
    g_free(o);
}

/* -EAGAIN: the socket is full. */
static int flush(struct launcher *l)
{
    while (l->first) {
        struct out *o = l->first;
        int r = packet_send(l->fd, &o->p, o->fds, o->fd_count);
        if (r == -EAGAIN)
            return r;
        if (!(l->first = o->next))
            l->last = &l->first;
        out_free(o);                      /* another error: the launcher is gone, which `readable` tells */
    }
    return 0;
}

static gboolean writable(gint fd, GIOCondition cond, gpointer arg)
{
    struct launcher *l = arg;

    if (flush(l) == -EAGAIN)
        return G_SOURCE_CONTINUE;
    l->room = 0;
    return G_SOURCE_REMOVE;
}

struct launcher *launcher_new(struct sandboxd *sd, int control_fd, launch_fn *event, void *arg)
{
    struct launcher *l = g_new0(struct launcher, 1);

    l->fd = control_fd;
    l->last = &l->first;
    l->event = event;
    l->arg = arg;
    l->asks = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    l->in = g_unix_fd_add_full(G_PRIORITY_HIGH, control_fd, G_IO_IN | G_IO_HUP, readable, l, NULL);
    return l;
}

void launcher_free(struct launcher *l)
{
    if (!l)
        return;
    if (l->in)
        g_source_remove(l->in);
    if (l->room)
        g_source_remove(l->room);
    while (l->first) {
        struct out *o = l->first;
        l->first = o->next;
        out_free(o);
    }
    g_hash_table_unref(l->asks);
    close(l->fd);
    g_free(l);
}

struct refused { launch_fn *fn; void *arg; };

static gboolean refuse(gpointer arg)
{
    struct refused *f = arg;
    struct launch_packet p = { .op = LAUNCH_FAILED, .err = -EBUSY, .text = "too many requests wait for the launcher" };

    f->fn(f->arg, &p, NULL, 0);
    g_free(f);
    return G_SOURCE_REMOVE;
}

static void enqueue(struct launcher *l, const struct launch_packet *p, const int *fds, unsigned n)
{
    struct out *o = g_new0(struct out, 1);

    o->p = *p;
    for (unsigned i = 0; i < n; i++)
        if ((o->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3)) >= 0)
            o->fd_count++;
        else
            break;                        /* the launcher refuses a packet that lacks some */
    *l->last = o;
    l->last = &o->next;
    if (!l->room)
        l->room = g_unix_fd_add(l->fd, G_IO_OUT, writable, l);
}

void launcher_ask(struct launcher *l, struct launch_packet *p, const int *fds, unsigned fd_count, launch_fn *fn, void *arg)
{
    struct ask *a;

    if (g_hash_table_size(l->asks) >= LAUNCH_WAITING_MAX) {
        struct refused *f = g_new(struct refused, 1);
        *f = (struct refused){ fn, arg };
        g_idle_add(refuse, f);
        return;
    }
    do
        p->tag = ++l->last_tag;
    while (!p->tag || g_hash_table_contains(l->asks, GUINT_TO_POINTER(p->tag)));
    a = g_new(struct ask, 1);
    *a = (struct ask){ fn, arg };
    g_hash_table_insert(l->asks, GUINT_TO_POINTER(p->tag), a);
    if (l->first || packet_send(l->fd, p, fds, fd_count) == -EAGAIN)
        enqueue(l, p, fds, fd_count);
}
