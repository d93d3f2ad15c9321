#include "sandbox/launcher/packets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

struct packet { struct packet *next; int fds[PACKET_FDS_MAX]; unsigned fd_count; size_t n; unsigned char bytes[]; };

int packet_send(int sock, const void *p, size_t n, const int *fds, unsigned fd_count)
{
    union { char space[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)]; struct cmsghdr align; } c = { 0 };
    struct iovec v = { .iov_base = (void *)(uintptr_t)p, .iov_len = n };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    ssize_t r;

    if (fd_count) {
        m.msg_control = &c;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
        *cm = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int) * fd_count), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(cm), fds, sizeof(int) * fd_count);
    }
    do
        r = sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

bool packet_no_room(int r) { return r == -EAGAIN || r == -ETOOMANYREFS || r == -ENOBUFS; }

unsigned packet_fds(struct msghdr *m, int *ret)
{
    unsigned n = 0;

    for (struct cmsghdr *cm = CMSG_FIRSTHDR(m); cm; cm = CMSG_NXTHDR(m, cm)) {
        if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned k = (unsigned)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(ret + n, CMSG_DATA(cm), k * sizeof(int));
        n += k;
    }
    return n;
}

static void packet_free(struct packet *k)
{
    while (k->fd_count)
        close(k->fds[--k->fd_count]);
    free(k);
}

static void shift(struct packet_queue *q)
{
    struct packet *k = q->first;

    if (!(q->first = k->next))
        q->end = &q->first;
    q->count--;
    packet_free(k);
}

void packets_init(struct packet_queue *q) { *q = (struct packet_queue){ .end = &q->first }; }

void packets_drop(struct packet_queue *q)
{
    while (q->first)
        shift(q);
}

int packets_add(struct packet_queue *q, const void *p, size_t n, const int *fds, unsigned fd_count)
{
    struct packet *k = mem_zalloc(sizeof(*k) + n);

    if (!k)
        return -ENOMEM;
    k->n = n;
    memcpy(k->bytes, p, n);
    for (; k->fd_count < fd_count; k->fd_count++) {
        k->fds[k->fd_count] = fcntl(fds[k->fd_count], F_DUPFD_CLOEXEC, 3);
        if (k->fds[k->fd_count] < 0) {
            int r = -errno;
            packet_free(k);
            return r;
        }
    }
    *q->end = k;
    q->end = &k->next;
    q->count++;
    return 0;
}

bool packets_flush(struct packet_queue *q, int sock)
{
    for (; q->first; shift(q))
        if (packet_no_room(packet_send(sock, q->first->bytes, q->first->n, q->first->fds, q->first->fd_count)))
            return false;
    return true;
}
