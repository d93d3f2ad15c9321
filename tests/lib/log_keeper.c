#include "tests/lib/log_keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int log_keeper_init(struct log_keeper *k)
{
    *k = (struct log_keeper){ 0 };
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, k->sock) < 0 ? -errno : 0;
}

void log_keeper_fini(struct log_keeper *k)
{
    log_keeper_take(k);
    for (unsigned i = 0; i < k->count; i++)
        close(k->kept[i].fd);
    close(k->sock[0]);
    close(k->sock[1]);
}

void log_keeper_send(struct log_keeper *k, const char *id, int fd)
{
    union { struct cmsghdr h; char b[CMSG_SPACE(sizeof(int))]; } c = { 0 };
    struct iovec iov = { (void *)id, ID_MAX };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b };

    c.h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
    memcpy(CMSG_DATA(&c.h), &fd, sizeof fd);
    if (sendmsg(k->sock[1], &m, 0) != ID_MAX)
        abort();
}

struct kept_log *log_keeper_find(struct log_keeper *k, const char *id)
{
    for (unsigned i = 0; i < k->count; i++)
        if (!strcmp(k->kept[i].id, id))
            return &k->kept[i];
    return NULL;
}

void log_keeper_take(struct log_keeper *k)
{
    for (;;) {
        union { struct cmsghdr h; char b[CMSG_SPACE(sizeof(int))]; } c;
        char id[ID_MAX];
        struct iovec iov = { id, sizeof id };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b };

        if (recvmsg(k->sock[0], &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != ID_MAX)
            return;
        struct kept_log *x = log_keeper_find(k, id);
        if (x) {
            close(x->fd);
        } else {
            if (k->count == KEPT_MAX) {   /* the oldest is of a workspace that is gone */
                close(k->kept[0].fd);
                memmove(k->kept, k->kept + 1, sizeof k->kept - sizeof k->kept[0]);
                k->count--;
            }
            x = &k->kept[k->count++];
        }
        memcpy(x->id, id, sizeof id);
        memcpy(&x->fd, CMSG_DATA(&c.h), sizeof x->fd);
    }
}
