/* P17 abstract sockets, P19 families and protocols and options, P20 netlink. */
#include "tests/attack/attack.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_abstract(const char *name, size_t n, int type) {
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    memcpy(a.sun_path + 1, name, n);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    int r = connect(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n));
    int e = errno;
    close(fd);
    errno = e;
    return r;
}

/* Every abstract socket of this network namespace: the agent's canary is one, made outside the Landlock domain. */
static void p17_abstract(void) {
    FILE *f = fopen("/proc/net/unix", "re");
    char line[512];
    long seen = 0, refused = 0;
    while (f && fgets(line, sizeof line, f)) {
        char *at = strchr(line, '@');
        if (!at) continue;
        at[strcspn(at, "\n")] = '\0';
        seen++;
        if (connect_abstract(at + 1, strlen(at + 1), SOCK_DGRAM) && errno == EPERM) refused++;
    }
    if (f) fclose(f);
    say("P17.abstract", seen && seen == refused ? "refused" : "ok", "-");
    try_("P17.host_name", connect_abstract("coppice-canary", strlen("coppice-canary"), SOCK_STREAM));
    try_("P17.dbus", connect_abstract("/tmp/dbus", 9, SOCK_STREAM));
}

/* What may be opened is printed, and nothing else may. */
static void p19_families(void) {
    for (int family = 0; family < 64; family++)
        for (int type = 0; type < 16; type++)
            for (int protocol = 0; protocol <= 300; protocol++) {
                long fd = syscall(SYS_socket, family, type, protocol);
                if (fd < 0 && errno != EAFNOSUPPORT && errno != EPROTONOSUPPORT && errno != EPERM && errno != ENOSYS && errno != ESOCKTNOSUPPORT)
                    printf("P19.socket.%d.%d.%d refused %s\n", family, type, protocol, strerrorname_np(errno));
                if (fd < 0) continue;
                printf("P19.socket.%d.%d.%d ok 0\n", family, type, protocol);
                close((int)fd);
            }
    int pair[2];
    try_("P19.socketpair.inet", syscall(SYS_socketpair, AF_INET, SOCK_STREAM, 0, pair));
    try_("P19.socketpair.tipc", syscall(SYS_socketpair, 30, SOCK_STREAM, 0, pair));
    try_fd("P19.socket.high_bits", syscall(SYS_socket, 0x100000000L | 38 /* AF_ALG */, SOCK_SEQPACKET, 0));
}

static void p19_options(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct { unsigned short len; void *filter; } none = { 0 };
    try_("P19.tcp_ulp.tls", syscall(SYS_setsockopt, fd, IPPROTO_TCP, 31, "tls", 4));
    try_("P19.tcp_ulp.high_bits", syscall(SYS_setsockopt, fd, 0x500000000L | IPPROTO_TCP, 0x100000000L | 31, "tls", 4));
    try_("P19.attach_filter", setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &none, sizeof none));
    try_("P19.attach_bpf", setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &(int){ -1 }, sizeof(int)));
    try_("P19.mark", setsockopt(fd, SOL_SOCKET, SO_MARK, &(int){ 1 }, sizeof(int)));
    try_("P19.rcvbuf_force", setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){ 1 << 30 }, sizeof(int)));
    try_("P19.iptables", setsockopt(fd, IPPROTO_IP, 64, &none, sizeof none));
    struct ifreq q = { .ifr_name = "lo" };
    q.ifr_flags = 0;
    try_("P19.lo_down", ioctl(fd, SIOCSIFFLAGS, &q));
    try_("P19.add_bridge", ioctl(fd, 0x89a0, "br0"));
    long others = 0;
    for (int i = 1; i < 64; i++) {
        struct ifreq n = { .ifr_ifindex = i };
        if (!ioctl(fd, SIOCGIFNAME, &n) && strcmp(n.ifr_name, "lo")) others++;
    }
    say_count("P19.interfaces_beside_lo", "seen", others);
    close(fd);
}

static long rtnl(uint16_t type, uint16_t flags) {
    struct { struct nlmsghdr h; struct ifinfomsg i; } m = { .h = { .nlmsg_len = sizeof m, .nlmsg_type = type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags) },
        .i = { .ifi_index = 1 } };
    struct { struct nlmsghdr h; struct nlmsgerr e; char more[512]; } a;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    long r = -1;
    if (fd >= 0 && send(fd, &m, sizeof m, 0) > 0 && recv(fd, &a, sizeof a, 0) > 0) {
        if (a.h.nlmsg_type == NLMSG_ERROR) errno = -a.e.error;
        r = a.h.nlmsg_type == NLMSG_ERROR && a.e.error ? -1 : 0;
    }
    int e = errno;
    if (fd >= 0) close(fd);
    errno = e;
    return r;
}

static void p20_netlink(void) {
    long opened = 0;
    for (int p = 0; p < 64; p++) {
        long fd = syscall(SYS_socket, AF_NETLINK, SOCK_RAW, p);
        if (fd < 0) continue;
        close((int)fd);
        opened++;
    }
    say_count("P20.netlink_protocols", "opened", opened);
    try_("P20.get_link", rtnl(RTM_GETLINK, 0));
    try_("P20.new_link", rtnl(RTM_NEWLINK, NLM_F_CREATE));
    try_("P20.del_link", rtnl(RTM_DELLINK, 0));
    try_("P20.new_rule", rtnl(RTM_NEWRULE, NLM_F_CREATE));
    try_("P20.new_nsid", rtnl(RTM_NEWNSID, 0));
}

void rows_sockets(void) {
    p17_abstract();
    p19_families();
    p19_options();
    p20_netlink();
}
