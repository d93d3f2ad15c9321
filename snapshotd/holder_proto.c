#include "snapshotd/holder_proto.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

int hold_send(int sock, json_t *msg, const int *fds, unsigned fd_count)
{
    _cleanup_free_ char *text = msg ? json_dumps(msg, JSON_COMPACT) : NULL;
    union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int) * HOLD_FDS_MAX)]; } control = { 0 };
    ssize_t n;

    json_decref(msg);
    if (!text)
        return -ENOMEM;
    struct iovec iov = { text, strlen(text) };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    if (iov.iov_len > HOLD_BYTES_MAX || fd_count > HOLD_FDS_MAX)
        return -EMSGSIZE;
    if (fd_count) {
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        control.h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int) * fd_count) };
        memcpy(CMSG_DATA(&control.h), fds, sizeof(int) * fd_count);
    }
    do
        n = sendmsg(sock, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static unsigned take_fds(struct msghdr *m, int fds[HOLD_FDS_MAX])
{
    unsigned n = 0;

    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && n < HOLD_FDS_MAX; i++)
            memcpy(&fds[n++], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
    }
    return n;
}

int hold_recv(int sock, json_t **ret, int fds[HOLD_FDS_MAX], unsigned *ret_fd_count)
{
    static _Thread_local char text[HOLD_BYTES_MAX];
    union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int) * HOLD_FDS_MAX)]; } control;
    struct iovec iov = { text, sizeof(text) };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    ssize_t n;

    do
        n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == ECONNRESET ? -ENODATA : -errno;
    if (!n)
        return -ENODATA;
    unsigned count = take_fds(&m, fds);
    json_t *msg = m.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? NULL : json_loadb(text, (size_t)n, 0, NULL);
    if (json_is_object(msg)) {
        *ret = msg;
        *ret_fd_count = count;
        return 0;
    }
    json_decref(msg);
    while (count)
        close(fds[--count]);
    return -EBADMSG;
}
