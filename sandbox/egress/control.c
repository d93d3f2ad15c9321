#include "sandbox/egress/control.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/egress/client.h"
#include "sandbox/egress/egress_box.h"

static int send_packet(const struct egress_packet *p, int fd)
{
    union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } c = { 0 };
    struct iovec v = { (void *)(uintptr_t)p, sizeof(*p) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

    if (fd >= 0) {
        m.msg_control = &c;
        m.msg_controllen = sizeof(c.space);
        *CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(fd));
    }
    return sendmsg(EGRESS_FD_CONTROL, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int control_open(const struct egress *e, int *ret_pem_fd)
{
    _cleanup_close_ int fd = memfd_create("ca", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || write(fd, e->ca.pem, e->ca.pem_n) != (ssize_t)e->ca.pem_n || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
        return -errno;
    *ret_pem_fd = TAKE_FD(fd);
    return 0;
}

int control_hello(int pem_fd)
{
    int r = send_packet(&(struct egress_packet){ .op = EGRESS_HELLO, .zero = EGRESS_VERSION }, pem_fd);

    close(pem_fd);
    return r;
}

static void do_packet(struct egress *e, struct egress_packet *p, int fds[EGRESS_DOORS], unsigned n)
{
    int r = -EINVAL;

    p->box[sizeof(p->box) - 1] = 0;
    switch (p->op) {
    case EGRESS_ADD:
        if (n == EGRESS_DOORS && p->box[0])
            r = egress_box_add(e, p->box, fds);
        for (unsigned i = 0; !r && i < n; i++)
            fds[i] = -1;
        break;
    case EGRESS_REMOVE:
        egress_box_remove(e, p->box);
        p->op = EGRESS_REMOVED;
        r = send_packet(p, -1);
        break;
    case EGRESS_CLIENT:
        if (n == 1)
            r = client_start(e, TAKE_FD(fds[0]));
        break;
    default:
        break;
    }
    if (r)
        log_error("step=packet op=%u box=%s err=%s", p->op, p->box, errno_name(r));
}

int control_event(struct egress *e)
{
    union { char space[CMSG_SPACE(sizeof(int) * EGRESS_DOORS)]; struct cmsghdr align; } c;
    int fds[EGRESS_DOORS] = { -1, -1, -1, -1, -1 };
    struct egress_packet p;
    struct iovec v = { &p, sizeof(p) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
    unsigned n = 0;

    ssize_t k = recvmsg(EGRESS_FD_CONTROL, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (k < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); k > 0 && h; h = CMSG_NXTHDR(&m, h))
        if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
            n = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(fds, CMSG_DATA(h), n * sizeof(int));
        }
    if (k == sizeof(p) && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        do_packet(e, &p, fds, n);
    for (unsigned i = 0; i < EGRESS_DOORS; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return k == 0;
}
