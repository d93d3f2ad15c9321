#include "tests/unit/egress_standin.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/egress_proto.h"

enum { BOXES = 8 };
static struct { char name[LAUNCH_NAME]; int doors[EGRESS_DOORS]; } boxes[BOXES];
static int client = -1;

static int send_packet(uint32_t op, uint32_t zero, int fd)
{
    union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } c = { 0 };
    struct egress_packet p = { .op = op, .zero = zero };
    struct iovec v = { &p, sizeof(p) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

    if (fd >= 0) {
        m.msg_control = &c;
        m.msg_controllen = sizeof(c);
        *CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(fd));
    }
    return sendmsg(EGRESS_FD_CONTROL, &m, MSG_NOSIGNAL) < 0;
}

static int hello(void)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----\nstand-in ", end[] = "\n-----END CERTIFICATE-----\n";
    int ca = memfd_create("ca", MFD_CLOEXEC | MFD_ALLOW_SEALING), more = openat(EGRESS_FD_DIR, "ca", O_RDONLY);
    char text[64];
    ssize_t n = more < 0 ? 0 : read(more, text, sizeof(text));

    close(more);
    if (write(ca, begin, sizeof(begin) - 1) < 0 || (n > 0 && write(ca, text, (size_t)n) < 0) || write(ca, end, sizeof(end) - 1) < 0)
        return 1;
    fcntl(ca, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    return send_packet(EGRESS_HELLO, EGRESS_VERSION, ca);
}

static bool take_control(void)
{
    union { char space[CMSG_SPACE(sizeof(int) * EGRESS_DOORS)]; struct cmsghdr align; } c;
    struct egress_packet p;
    struct iovec v = { &p, sizeof(p) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
    unsigned i = 0;

    if (recvmsg(EGRESS_FD_CONTROL, &m, 0) != sizeof(p))
        return false;
    struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
    if (p.op == EGRESS_CLIENT) {
        close(client);
        memcpy(&client, CMSG_DATA(cm), sizeof(client));
        return true;
    }
    while (i < BOXES - 1 && (p.op == EGRESS_ADD ? boxes[i].name[0] != 0 : strcmp(boxes[i].name, p.box) != 0))
        i++;
    for (unsigned k = 0; p.op == EGRESS_REMOVE && k < EGRESS_DOORS; k++)
        close(boxes[i].doors[k]);
    memset(boxes[i].name, 0, sizeof(boxes[i].name));
    if (p.op == EGRESS_REMOVE)
        return !send_packet(EGRESS_REMOVED, 0, -1);
    memcpy(boxes[i].name, p.box, sizeof(p.box));
    memcpy(boxes[i].doors, CMSG_DATA(cm), sizeof(boxes[i].doors));
    int on = 1;
    setsockopt(boxes[i].doors[EGRESS_DOOR_DNS_UDP], IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
    return true;
}

/* From the address that was asked. */
static void answer_datagram(int fd, const char *text, size_t n)
{
    union { char space[CMSG_SPACE(sizeof(struct in6_pktinfo))]; struct cmsghdr align; } c;
    struct sockaddr_storage from;
    char word;
    struct iovec v = { &word, 1 };
    struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };

    if (recvmsg(fd, &m, 0) < 0)
        return;
    ((struct in6_pktinfo *)(void *)CMSG_DATA(CMSG_FIRSTHDR(&m)))->ipi6_ifindex = 0;
    v = (struct iovec){ (void *)(uintptr_t)text, n };
    if (sendmsg(fd, &m, 0) < 0)
        dprintf(2, "standin: datagram: %s\n", strerror(errno));
}

/* The word first, so that no close with unread bytes resets what was said. */
static void answer(unsigned i, unsigned door)
{
    char text[96], word;
    int fd = boxes[i].doors[door], n = snprintf(text, sizeof(text), "%s %u", boxes[i].name, door);

    if (door == EGRESS_DOOR_DNS_UDP) {
        answer_datagram(fd, text, (size_t)n);
        return;
    }
    int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (c >= 0 && read(c, &word, 1) == 1)
        send(c, text, (size_t)n, MSG_NOSIGNAL);
    close(c);
}

static void look(void)
{
    char text[512];
    unsigned entries = 0;
    struct stat up;
    DIR *d = opendir("/");
    uint8_t key[40];

    for (struct dirent *e; d && (e = readdir(d));)
        entries += e->d_name[0] != '.';
    unsigned bounding = 0;
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        bounding += prctl(PR_CAPBSET_READ, cap) == 1;
    int n = snprintf(text, sizeof(text), "entries:%u usr:%d etc:%d proc:%d uid:%u gid:%u groups:%d pid:%d bounding:%u nnp:%d up:%d key:%d dir:%d packet:%d mkdir:%d", entries,
                     access("/usr", F_OK), access("/etc/passwd", F_OK), access("/proc/self", F_OK), getuid(), getgid(), getgroups(0, NULL), getpid(), bounding,
                     prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), !fstatat(EGRESS_FD_DIR, "../lock", &up, 0), (int)pread(EGRESS_FD_KEY, key, sizeof(key), 0),
                     openat(EGRESS_FD_DIR, "kept", O_CREAT | O_WRONLY, 0600) >= 0, socket(AF_PACKET, SOCK_RAW, 0), mkdir("/x", 0700));
    send(client, text, (size_t)n, MSG_NOSIGNAL);
}

static void serve_client(void)
{
    char text[16];
    ssize_t n = read(client, text, sizeof(text));

    if (n <= 0) {
        close(client);
        client = -1;
    } else if (text[0] == 'l') {
        look();
    } else {
        _exit(9);
    }
}

int fake_egress(void)
{
    if (!faccessat(EGRESS_FD_DIR, "early", F_OK, 0) || hello())
        return 3;
    for (;;) {
        struct pollfd p[2 + BOXES * EGRESS_DOORS] = { { EGRESS_FD_CONTROL, POLLIN, 0 }, { client, POLLIN, 0 } };
        for (unsigned i = 0; i < BOXES * EGRESS_DOORS; i++)
            p[2 + i] = (struct pollfd){ boxes[i / EGRESS_DOORS].name[0] ? boxes[i / EGRESS_DOORS].doors[i % EGRESS_DOORS] : -1, POLLIN, 0 };
        if (poll(p, 2 + BOXES * EGRESS_DOORS, -1) < 0)
            return 4;
        for (unsigned i = 0; i < BOXES * EGRESS_DOORS; i++)
            if (p[2 + i].revents & POLLIN)
                answer(i / EGRESS_DOORS, i % EGRESS_DOORS);
        if (client >= 0 && p[1].revents)
            serve_client();
        if (p[0].revents && !take_control())
            return 0;
    }
}
