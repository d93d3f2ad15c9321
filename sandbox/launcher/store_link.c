#include "sandbox/launcher/store_link.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/launcher/launch.h"
#include "snapshotd/snap_client.h"
#include "snapshotd/snap_proto.h"

struct answer { int32_t err; char text[220]; };

static void say(int sock, const struct answer *a, int fd)
{
    union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } c = { 0 };
    struct iovec v = { .iov_base = (void *)(uintptr_t)a, .iov_len = sizeof(*a) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

    if (fd >= 0) {
        m.msg_control = &c;
        m.msg_controllen = sizeof(c);
        *CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(fd));
    }
    sendmsg(sock, &m, MSG_NOSIGNAL);
}

static _Noreturn void run_child(struct launch *l, int sock)
{
    struct answer a = { 0 };
    struct snap_client *c;
    struct snap_error e;
    int fd = -1;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int keep = dup3(sock, 3, O_CLOEXEC) < 0 ? -1 : 3;
    if (sock == 3)
        keep = 3;
    close_range(4, ~0u, 0);
    a.err = snap_socket(l->options.store, -1, &fd);
    if (a.err) {
        /* the first one to ask starts it; it ends by itself when nothing is mounted and nobody connected */
        a.err = snap_start(l->options.snapshotd, l->options.store, false, 0, &c, &e);
        if (a.err)
            snprintf(a.text, sizeof(a.text), "%.*s", (int)sizeof(a.text) - 1, e.message);
        else
            a.err = snap_socket(l->options.store, -1, &fd);
    }
    say(keep, &a, fd);
    _exit(0);
}

static void link_end(struct store_link *k)
{
    siginfo_t si;

    loop_unwatch(&k->l->loop, &k->on_sock);
    close(k->sock);
    syscall(SYS_pidfd_send_signal, k->pidfd, SIGKILL, NULL, 0);
    waitid(P_PIDFD, (id_t)k->pidfd, &si, WEXITED);        /* it was killed, or has exited: no wait worth the name */
    close(k->pidfd);
    k->sock = k->pidfd = -1;
}

static void on_answer(void *arg, uint32_t events)
{
    struct store_link *k = arg;
    union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } c;
    struct answer a;
    struct iovec v = { .iov_base = &a, .iov_len = sizeof(a) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
    struct launch_packet p = { 0 };
    int fd = -1;

    (void)events;
    ssize_t n = recvmsg(k->sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    struct cmsghdr *cm = n == sizeof(a) ? CMSG_FIRSTHDR(&m) : NULL;
    if (cm && cm->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
    if (n == sizeof(a) && !a.err && fd >= 0) {
        control_send(k->l, &k->ask, LAUNCH_OK, &p, &fd, 1);
    } else {
        int err = n == sizeof(a) && a.err ? a.err : -EIO;
        a.text[sizeof(a.text) - 1] = 0;
        log_error("step=store err=%s", errno_name(err));
        control_failed(k->l, k->ask, err, "snapshotd cannot be reached: %s", n == sizeof(a) && a.text[0] ? a.text : strerror(-err));
    }
    if (fd >= 0)
        close(fd);
    link_end(k);
}

void store_links_init(struct launch *l)
{
    for (unsigned i = 0; i < STORE_LINKS_MAX; i++)
        l->links.one[i] = (struct store_link){ .l = l, .sock = -1, .pidfd = -1, .on_sock.fd = -1 };
}

void store_link_ask(struct launch *l, struct ask ask)
{
    struct clone_args args = { .flags = CLONE_PIDFD, .exit_signal = SIGCHLD };
    struct store_link *k = NULL;
    int pair[2];

    for (unsigned i = 0; i < STORE_LINKS_MAX && !k; i++)
        k = l->links.one[i].sock < 0 ? &l->links.one[i] : NULL;
    if (!k || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        control_failed(l, ask, k ? -errno : -EBUSY, "too many connections to snapshotd are being made");
        return;
    }
    args.pidfd = (uintptr_t)&k->pidfd;
    long pid = syscall(SYS_clone3, &args, sizeof(args));
    if (!pid)
        run_child(l, pair[1]);
    int err = -errno;
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        control_failed(l, ask, err, "start a helper: %s", strerror(-err));
        return;
    }
    k->sock = pair[0];
    k->ask = ask;
    if (loop_watch(&l->loop, &k->on_sock, k->sock, EPOLLIN, on_answer, k)) {
        control_failed(l, ask, -ENOMEM, "start a helper");
        link_end(k);
    }
}

void store_links_end(struct launch *l)
{
    for (unsigned i = 0; i < STORE_LINKS_MAX; i++)
        if (l->links.one[i].sock >= 0)
            link_end(&l->links.one[i]);
}
