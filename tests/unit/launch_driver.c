#include "tests/unit/launch_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <poll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "tests/lib/tmp.h"

enum { ANSWER_MS = 60000 };

static bool readable(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };

    return poll(&p, 1, ANSWER_MS) == 1;
}

static int send_fds(int sock, const void *p, size_t n, const int *fds, unsigned count)
{
    union { char space[CMSG_SPACE(sizeof(int) * 16)]; struct cmsghdr align; } c = { 0 };
    struct iovec v = { (void *)(uintptr_t)p, n };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

    if (count) {
        m.msg_control = &c;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        *CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int) * count), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, sizeof(int) * count);
    }
    return sendmsg(sock, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static ssize_t recv_fds(int sock, void *p, size_t n, int fds[2])
{
    union { char space[CMSG_SPACE(sizeof(int) * 2)]; struct cmsghdr align; } c;
    struct iovec v = { p, n };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };

    fds[0] = fds[1] = -1;
    if (!readable(sock))
        return -1;
    ssize_t r = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
    struct cmsghdr *cm = r > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (cm && cm->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(cm), cm->cmsg_len - CMSG_LEN(0));
    return r;
}

int fake_sandboxd(void)
{
    struct launch_packet p = { .op = LAUNCH_HELLO, .tag = 1 };
    int fds[2], control = LAUNCH_FD_CONTROL;
    char byte = '+';

    if (getenv("FAKE_DIES") || send_fds(control, &p, sizeof(p), NULL, 0) || recv_fds(control, &p, sizeof(p), fds) != sizeof(p))
        return 3;
    fcntl(LAUNCH_FD_UNIX, F_SETFL, 0);
    int c = accept4(LAUNCH_FD_UNIX, NULL, NULL, SOCK_CLOEXEC);
    if (c < 0 || send_fds(c, &byte, 1, &control, 1))
        return 4;
    close(control);
    /* "r": reports on its surroundings; its end: exits */
    while (read(c, &byte, 1) == 1) {
        FILE *f = fopen("/proc/self/status", "r");
        char text[8192];
        size_t n = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
        n += (size_t)snprintf(text + n, sizeof(text) - n, "root:%d home:%d run:%d usr_ro:%d unshare:%d state:%d socket:%d\n", access("/root", F_OK), access("/home", F_OK),
                              access("/run", F_OK), open("/usr/x", O_CREAT | O_WRONLY, 0600), (int)syscall(SYS_unshare, 0x10000000),
                              openat(LAUNCH_FD_DIR, "f", O_CREAT | O_RDWR, 0600) >= 0, socket(AF_PACKET, SOCK_RAW, 0));
        if (write(c, text, n) < 0)
            return 5;
    }
    return 0;
}

/* --- processes --- */

static bool run(char *const *argv)
{
    int st;

    pid_t pid = fork();
    if (!pid) {
        execv(argv[0], argv);
        _exit(127);
    }
    return waitpid(pid, &st, 0) == pid && WIFEXITED(st) && !WEXITSTATUS(st);
}

bool driver_launch(struct driver *d, const char *const *more)
{
    const char *argv[20] = { d->launcher, "--store", d->store, "--snapshotd", d->snapshotd, "--sandboxd", d->self, "--agent", d->agent };
    unsigned n = 9;

    while (more && *more && n < 19)
        argv[n++] = *more++;
    return run((char *const *)argv);
}

pid_t driver_pid(const struct driver *d)
{
    char path[400], text[32] = "";

    snprintf(path, sizeof(path), "%s/sandbox/pid", d->store);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    close(fd);
    return n > 0 ? atoi(text) : -1;
}

bool driver_meet(struct driver *d)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    char byte;
    int fds[2];

    if (d->door >= 0)
        close(d->door);
    if (d->control >= 0)
        close(d->control);
    if ((size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/sandbox/api.sock", d->store) >= sizeof(sa.sun_path))
        return false;
    d->door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(d->door, (struct sockaddr *)&sa, sizeof(sa)) || recv_fds(d->door, &byte, 1, fds) != 1)
        return false;
    d->control = fds[0];
    return d->control >= 0;
}

bool driver_args(struct driver *d, int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s LAUNCHER SNAPSHOTD STANDIN\n", argv[0]);
        return false;
    }
    *d = (struct driver){ .launcher = argv[1], .snapshotd = argv[2], .agent = argv[3], .self = realpath(argv[0], NULL) };
    return true;
}

bool driver_start(struct driver *d, const char *const *more)
{
    struct snap_error e;

    d->door = d->control = -1;
    d->tag = 100;
    if (tmp_make("launcher", d->dir, sizeof(d->dir)))
        return false;
    snprintf(d->store, sizeof(d->store), "%s/store", d->dir);
    if (snap_start(d->snapshotd, d->store, true, 0, &d->stock, &e)) {
        fprintf(stderr, "snapshotd: %s\n", e.message);
        return false;
    }
    return driver_launch(d, more) && driver_meet(d);
}

void driver_quit(struct driver *d)
{
    pid_t pid = driver_pid(d);
    int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

    if (d->control >= 0)
        close(d->control);
    d->control = -1;
    if (fd >= 0) {
        struct pollfd p = { fd, POLLIN, 0 };
        syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0);
        if (d->door >= 0)
            shutdown(d->door, SHUT_WR);   /* the fake ends by this: as pid 1 it has no handler */
        poll(&p, 1, ANSWER_MS);
        close(fd);
    }
    if (d->door >= 0)
        close(d->door);
    d->door = -1;
}

void driver_stop(struct driver *d)
{
    struct snap_error e;

    driver_quit(d);
    if (d->stock)
        snap_call(d->stock, json_pack("{s:s}", "verb", "shutdown"), NULL, 0, NULL, NULL, NULL, &e);
    snap_close(d->stock);
    d->stock = NULL;
    if (!getenv("COPPICE_TEST_KEEP"))       /* the log is there */
        tmp_remove(d->dir);
}

/* --- packets --- */

static struct launch_packet kept_events[64];
static unsigned kept_count;

int driver_ask(struct driver *d, struct launch_packet *p, const int *fds, unsigned fd_count, struct launch_packet *ret, int ret_fds[2])
{
    int none[2] = { -1, -1 }, *to = ret_fds ? ret_fds : none;

    p->tag = ++d->tag;
    int r = send_fds(d->control, p, sizeof(*p), fds, fd_count);
    while (!r) {
        if (recv_fds(d->control, ret, sizeof(*ret), to) != sizeof(*ret))
            return -EPIPE;
        if (ret->tag == p->tag)
            break;
        if (!ret->tag && kept_count < 64)
            kept_events[kept_count++] = *ret;
    }
    for (unsigned i = 0; !ret_fds && i < 2; i++)
        if (none[i] >= 0)
            close(none[i]);
    return r ? r : ret->op == LAUNCH_FAILED ? ret->err : 0;
}

int driver_send(struct driver *d, const struct launch_packet *p, const int *fds, unsigned fd_count)
{
    return send_fds(d->control, p, sizeof(*p), fds, fd_count);
}

bool driver_event(struct driver *d, struct launch_packet *ret)
{
    int fds[2];

    if (!kept_count)
        return recv_fds(d->control, ret, sizeof(*ret), fds) == sizeof(*ret) && !ret->tag;
    *ret = kept_events[0];
    memmove(kept_events, kept_events + 1, --kept_count * sizeof(*ret));
    return true;
}

int driver_simple(struct driver *d, uint32_t op, const char *box)
{
    struct launch_packet p = { .op = op, .limits = driver_limits() }, a;

    snprintf(p.box, sizeof(p.box), "%s", box);
    return driver_ask(d, &p, NULL, 0, &a, NULL);
}

/* --- boxes --- */

struct launch_limits driver_limits(void)
{
    return (struct launch_limits){ .memory_bytes = 64 << 20, .tmp_bytes = 8 << 20, .pids = 64, .cpu_milli = 1000, .cpu_weight = 100 };
}

bool driver_create(struct driver *d, const char *name, const char *kind)
{
    struct snap_error e;

    int r = snap_call(d->stock, json_pack("{s:s,s:s,s:s}", "verb", "create", "name", name, "kind", kind), NULL, 0, NULL, NULL, NULL, &e);
    if (r)
        fprintf(stderr, "create %s: %s\n", name, e.message);
    return !r;
}

static int keep_mount(void *arg, int fd)
{
    *(int *)arg = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return 0;
}

int driver_mount(struct driver *d, const char *name, uint32_t uid_base, bool ro, json_int_t *ret_mount)
{
    struct snap_error e;
    json_t *ok = NULL;
    int fd = -1;

    if (snap_mount(d->stock, name, NULL, json_pack("{s:I,s:b}", "uid_base", (json_int_t)uid_base, "ro", ro), keep_mount, &fd, &ok, &e)) {
        fprintf(stderr, "mount %s: %s\n", name, e.message);
        return -1;
    }
    *ret_mount = json_integer_value(json_object_get(ok, "mount"));
    json_decref(ok);
    return fd;
}

static uint64_t us_since(uint64_t t)
{
    return (clock_mono_ns() - t) / 1000;
}

bool driver_box(struct driver *d, const char *name, uint32_t flags, struct started *s)
{
    struct launch_packet p = { .op = LAUNCH_PREPARE };
    int fds[2];

    *s = (struct started){ .sock = -1, .root_fd = -1 };
    uint64_t t = clock_mono_ns();
    if (driver_ask(d, &p, NULL, 0, &s->answer, NULL))
        return false;
    s->prepare_us = us_since(t);
    s->uid_base = (uint32_t)s->answer.value[0];
    s->slot = s->answer.slot;
    t = clock_mono_ns();
    s->root_fd = driver_mount(d, name, s->uid_base, false, &s->mount);
    if (s->root_fd < 0)
        return false;
    s->mount_us = us_since(t);
    p = (struct launch_packet){ .op = LAUNCH_START, .slot = s->slot, .flags = flags, .limits = driver_limits() };
    snprintf(p.box, sizeof(p.box), "%s", name);
    snprintf(p.host_name, sizeof(p.host_name), "host-%s", name);
    t = clock_mono_ns();
    int r = driver_ask(d, &p, &s->root_fd, 1, &s->answer, fds);
    s->start_us = us_since(t);
    s->sock = fds[0];
    return !r && s->sock >= 0;
}

bool driver_kill(struct driver *d, const char *name, struct started *s)
{
    struct snap_error e;

    if (s->sock >= 0)
        close(s->sock);
    if (s->root_fd >= 0)
        close(s->root_fd);
    s->sock = s->root_fd = -1;
    if (name && driver_simple(d, LAUNCH_KILL, name))
        return false;
    return !snap_call(d->stock, json_pack("{s:s,s:I}", "verb", "wait_gone", "mount", s->mount), NULL, 0, NULL, NULL, NULL, &e);
}

const char *standin(int sock, const char *fmt, ...)
{
    static char text[65536];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    fcntl(sock, F_SETFL, 0);
    if (send(sock, text, strlen(text), MSG_NOSIGNAL) < 0 || !readable(sock))
        return NULL;
    ssize_t n = recv(sock, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return NULL;
    text[n] = 0;
    return text;
}
