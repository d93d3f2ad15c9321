/* The husk's network: a loopback device on which every address is local, and the listeners of the egress proxy. They are opened before anything of a workload runs, without
 * SO_REUSEADDR or SO_REUSEPORT, and never closed while it does: nobody inside can have these ports. They begin as sockets that have their port and do not listen:
 * whether they do is the launcher's to say (slot_doors.c). */
#include "sandbox/launcher/husk.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>
#include <linux/rtnetlink.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"

static int write_setting(const char *path, const char *text)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int loopback_up(struct husk *h)
{
    struct ifreq q = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    int r;

    husk_step(h, "bring the loopback device up");
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &q))
        return -errno;
    husk_step(h, "let every user listen on every port (net.ipv4.ip_unprivileged_port_start)");
    r = write_setting("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    if (r)
        return r;
    husk_step(h, "let every user ping (net.ipv4.ping_group_range)");
    return write_setting("/proc/sys/net/ipv4/ping_group_range", "0 65534");
}

/* `ip route add local default dev lo`, of one family. */
static int route_local(int netlink, int family)
{
    struct { struct nlmsghdr n; struct rtmsg r; struct rtattr a; uint32_t oif; } q = {
        .n = { .nlmsg_len = sizeof(q), .nlmsg_type = RTM_NEWROUTE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL },
        .r = { .rtm_family = (unsigned char)family, .rtm_table = RT_TABLE_LOCAL, .rtm_protocol = RTPROT_BOOT, .rtm_scope = RT_SCOPE_HOST, .rtm_type = RTN_LOCAL },
        .a = { .rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = RTA_OIF },
        .oif = 1,                         /* lo is the first of every network namespace */
    };
    struct { struct nlmsghdr n; struct nlmsgerr e; char rest[256]; } a;

    if (send(netlink, &q, sizeof(q), 0) != sizeof(q))
        return -errno;
    ssize_t n = recv(netlink, &a, sizeof(a), 0);
    if (n < (ssize_t)(sizeof(a.n) + sizeof(a.e)) || a.n.nlmsg_type != NLMSG_ERROR)
        return n < 0 ? -errno : -EPROTO;
    return a.e.error;
}

/* *ret_family: AF_INET6 if this kernel has it, and then its sockets take IPv4 too. */
static int every_address(struct husk *h, int *ret_family)
{
    int r;

    husk_step(h, "make every address local (route `local default dev lo`)");
    _cleanup_close_ int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netlink < 0 || (r = route_local(netlink, AF_INET)))
        return netlink < 0 ? -errno : r;
    r = route_local(netlink, AF_INET6);
    *ret_family = r == -EOPNOTSUPP || r == -EAFNOSUPPORT ? AF_INET : AF_INET6;
    return *ret_family == AF_INET ? 0 : r;
}

/* One listener; -EAFNOSUPPORT: the kernel has no IPv6. */
static int door(int family, int type, uint16_t port)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    int off = 0, on = 1;

    _cleanup_close_ int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)))
        return -errno;
    /* An answer comes from the address that was asked, which for IPv6 the kernel takes only from an address of a device, or from who says so. */
    if (family == AF_INET6 && type == SOCK_DGRAM && setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on)))
        return -errno;
    if (family == AF_INET6 ? bind(fd, (struct sockaddr *)&v6, sizeof(v6)) : bind(fd, (struct sockaddr *)&v4, sizeof(v4)))
        return -errno;
    return TAKE_FD(fd);
}

int husk_net(struct husk *h, int doors[EGRESS_DOORS])
{
    static const struct { uint16_t port; int type; } which[EGRESS_DOORS] = {
        [EGRESS_DOOR_HTTP] = { 80, SOCK_STREAM }, [EGRESS_DOOR_HTTPS] = { 443, SOCK_STREAM }, [EGRESS_DOOR_PROXY] = { 3128, SOCK_STREAM },
        [EGRESS_DOOR_DNS_UDP] = { 53, SOCK_DGRAM }, [EGRESS_DOOR_DNS_TCP] = { 53, SOCK_STREAM },
    };
    int family = AF_INET, r;

    if ((r = loopback_up(h)) || (r = every_address(h, &family)))
        return r;
    for (unsigned i = 0; i < EGRESS_DOORS; i++) {
        husk_step(h, "open the listener of egress on port %u", which[i].port);
        doors[i] = door(family, which[i].type, which[i].port);
        if (doors[i] == -EAFNOSUPPORT && family == AF_INET6 && !i)
            doors[i] = door(family = AF_INET, which[i].type, which[i].port);
        if (doors[i] < 0)
            return doors[i];
    }
    return 0;
}
