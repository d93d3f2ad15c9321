/* The doors of a box: the five listeners in its network namespace that egress answers (egress_proto.h). The launcher keeps them as long as the box lives, so that while egress is
 * started again connections wait in their queues. When there is no egress at all they are shut: the kernel then refuses at once what nobody would ever answer. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "sandbox/launcher/launch.h"

enum { BACKLOG = 1024 };

/* A UDP socket that is connected takes nothing but from that peer, and other senders are told so (port unreachable). Port 9 of the namespace's own loopback sends nothing. */
static int udp_shut(int fd, bool shut)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t n = sizeof(sa);

    if (!shut) {
        struct sockaddr none = { .sa_family = AF_UNSPEC };
        return connect(fd, &none, sizeof(none)) ? -errno : 0;
    }
    if (getsockname(fd, (struct sockaddr *)&sa, &n))
        return -errno;
    if (sa.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&sa)->sin6_addr = in6addr_loopback;
        ((struct sockaddr_in6 *)&sa)->sin6_port = htons(9);
    } else {
        ((struct sockaddr_in *)&sa)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ((struct sockaddr_in *)&sa)->sin_port = htons(9);
    }
    return connect(fd, (struct sockaddr *)&sa, n) ? -errno : 0;
}

static bool listens(int fd)
{
    int on = 0;
    socklen_t n = sizeof(on);

    return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &n) && on;
}

static int tcp_shut(int fd, bool shut)
{
    if (listens(fd) != shut)
        return 0;                         /* it is so */
    return (shut ? shutdown(fd, SHUT_RDWR) : listen(fd, BACKLOG)) ? -errno : 0;
}

void slot_doors(struct slot *s, bool open)
{
    for (unsigned i = 0; i < EGRESS_DOORS; i++) {
        int r = s->doors[i] < 0 ? 0 : i == EGRESS_DOOR_DNS_UDP ? udp_shut(s->doors[i], !open) : tcp_shut(s->doors[i], !open);
        if (r)
            log_error("box=%s step=doors door=%u open=%d err=%s", s->box, i, open, errno_name(r));
    }
}

void slot_doors_close(struct slot *s)
{
    for (unsigned i = 0; i < EGRESS_DOORS; i++) {
        if (s->doors[i] >= 0)
            close(s->doors[i]);
        s->doors[i] = -1;
    }
}

void slot_network(const struct slot *s, struct launch_packet *p, unsigned at)
{
    p->value[at] = (s->egress != SLOT_EGRESS_NONE ? LAUNCH_NET_ON : 0) | (s->bundle_number ? LAUNCH_NET_BUNDLE : 0);
    if (s->egress == SLOT_EGRESS_NONE)
        snprintf(p->text, sizeof(p->text), "%s", s->bundle_number ? s->l->egress.why : "there was no egress proxy when it started; stop it, and it has one at its next start");
}
