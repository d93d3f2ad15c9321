#include "sandbox/launcher/doors.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "sandbox/launcher/launch.h"
#include "sandbox/launcher/sha256.h"

enum { BACKLOG = 4096, TOKEN_BYTES = 32 };
#define SOCKET_NAME "api.sock"

/* By the directory's descriptor: the path of a store may be longer than a socket's address. */
static struct sockaddr_un unix_address(int dir_fd)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };

    snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/" SOCKET_NAME, dir_fd);
    return sa;
}

int doors_knock(int dir_fd)
{
    struct sockaddr_un sa = unix_address(dir_fd);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
        return -errno;
    /* The socket can outlive the launcher for a moment, in its children: is the process that listens alive? */
    struct ucred peer;
    socklen_t n = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n))
        return -errno;
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
    struct pollfd p = { .fd = pidfd, .events = POLLIN };
    return pidfd < 0 || poll(&p, 1, 0) != 0 ? -ECONNREFUSED : 0;
}

int doors_unix(struct launch *l)
{
    struct sockaddr_un sa = unix_address(l->dir_fd);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    unlinkat(l->dir_fd, SOCKET_NAME, 0);      /* we have the lock: it is a dead one's */
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || fchmodat(l->dir_fd, SOCKET_NAME, 0600, 0) || listen(fd, BACKLOG))
        return -errno;
    l->unix_fd = TAKE_FD(fd);
    return 0;
}

/* "127.0.0.1:8421", "[::1]:8421". *ret_loopback: nobody else can reach it. */
static int parse_address(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len, int *ret_loopback)
{
    struct sockaddr_in *v4 = (void *)ret;
    struct sockaddr_in6 *v6 = (void *)ret;
    const char *colon = strrchr(text, ':');
    char host[64], *end;

    if (!colon || !colon[1] || (size_t)(colon - text) >= sizeof(host))
        return -EINVAL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end || port > 65535 || colon[1] < '0' || colon[1] > '9')
        return -EINVAL;
    int v6_text = text[0] == '[' && colon > text + 1 && colon[-1] == ']';
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text) - 2 * v6_text, text + v6_text);
    memset(ret, 0, sizeof(*ret));
    if (v6_text && inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        *ret_len = sizeof(*v6);
        *ret_loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    } else if (!v6_text && inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *ret_len = sizeof(*v4);
        *ret_loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    } else {
        return -EINVAL;
    }
    return 0;
}

static void address_text(int fd, char *out, size_t size)
{
    struct sockaddr_storage sa;
    struct sockaddr_in *v4 = (void *)&sa;
    struct sockaddr_in6 *v6 = (void *)&sa;
    socklen_t n = sizeof(sa);
    char host[INET6_ADDRSTRLEN] = "";

    if (getsockname(fd, (struct sockaddr *)&sa, &n))
        return;
    if (sa.ss_family == AF_INET6)
        snprintf(out, size, "[%s]:%u", inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host)), ntohs(v6->sin6_port));
    else
        snprintf(out, size, "%s:%u", inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host)), ntohs(v4->sin_port));
}

/* The token is made once and stays; what sandboxd gets is its hash. */
static int token_init(struct launch *l)
{
    uint8_t bytes[TOKEN_BYTES];
    char text[2 * TOKEN_BYTES + 2] = "";

    _cleanup_close_ int fd = openat(l->dir_fd, "token", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t n = fd < 0 ? -1 : io_pread_full(fd, text, sizeof(text) - 1, 0);
    if (fd < 0 || n < 0)
        return fd < 0 ? -errno : (int)n;
    if (n < 2 * TOKEN_BYTES) {
        if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
            return -EIO;
        for (unsigned i = 0; i < TOKEN_BYTES; i++)
            snprintf(text + 2 * i, 3, "%02x", bytes[i]);
        text[2 * TOKEN_BYTES] = '\n';
        int r = io_pwrite_full(fd, text, 2 * TOKEN_BYTES + 1, 0);
        if (r)
            return r;
    }
    sha256_hex(text, 2 * TOKEN_BYTES, l->token_hash);
    explicit_bzero(text, sizeof(text));
    explicit_bzero(bytes, sizeof(bytes));
    return 0;
}

int doors_tcp(struct launch *l, char *ret_why, unsigned long size)
{
    const char *text = l->options.listen;
    struct sockaddr_storage sa;
    socklen_t n;
    int loopback, one = 1;

    int r = parse_address(text, &sa, &n, &loopback);
    if (r) {
        snprintf(ret_why, size, "--listen %s is not ADDRESS:PORT with a numeric address ([ADDRESS]:PORT for IPv6)", text);
        return r;
    }
    if (!loopback && !l->options.listen_any) {
        snprintf(ret_why, size, "--listen %s could be reached from other machines, without encryption; use a loopback address behind a proxy, or say --listen-any", text);
        return -EPERM;
    }
    if (!loopback)
        log_warn("listen=%s can be reached from other machines and is not encrypted", text);
    _cleanup_close_ int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) || bind(fd, (struct sockaddr *)&sa, n) || listen(fd, BACKLOG)) {
        r = -errno;
        snprintf(ret_why, size, "cannot listen on %s: %s", text, strerror(-r));
        return r;
    }
    r = token_init(l);
    if (r) {
        snprintf(ret_why, size, "cannot make the token %s/sandbox/token: %s", l->options.store, strerror(-r));
        return r;
    }
    address_text(fd, l->listen_text, sizeof(l->listen_text));
    l->tcp_fd = TAKE_FD(fd);
    return 0;
}

void doors_close(struct launch *l)
{
    if (l->unix_fd >= 0)
        unlinkat(l->dir_fd, SOCKET_NAME, 0);
    unlinkat(l->dir_fd, "listen", 0);
    if (l->unix_fd >= 0)
        close(l->unix_fd);
    if (l->tcp_fd >= 0)
        close(l->tcp_fd);
    l->unix_fd = l->tcp_fd = -1;
}
