/* egress: what leaves the sandboxes of one store (docs/egress.md). Started by the launcher with descriptors (sandbox/egress_proto.h), in the host's network, without anything else.
 * Order: the process for handlers; limits; keys, roots, servers, state are read; confined for good; the launcher is told; then the loop. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "sandbox/egress/control.h"
#include "sandbox/egress/egress_box.h"
#include "sandbox/egress/isolate.h"
#include "sandbox/egress/listener.h"
#include "sandbox/egress/own.h"
#include "sandbox/egress/stream.h"

enum { ROOTS_MAX = 4 << 20, RESOLV_MAX = 64 * 1024, EVENTS = 64, LOOK_MS = 60000, PAUSED_MS = 100, CA_LAST_S = 86400 };

/* The whole file, from its start, and closes it. *ret owned. */
static int read_all(int fd, size_t most, char **ret, size_t *ret_n)
{
    char *p = malloc(most + 1);
    ssize_t n = p ? io_pread_full(fd, p, most, 0) : -ENOMEM;

    close(fd);
    if (n < 0 || (size_t)n == most) {
        free(p);
        return n < 0 ? (int)n : -EFBIG;
    }
    p[n] = 0;
    *ret = p;
    *ret_n = (size_t)n;
    return 0;
}

static int open_state(struct egress *e)
{
    uint8_t key[SECRET_KEY_BYTES];
    ssize_t n = io_pread_full(EGRESS_FD_KEY, key, sizeof(key), 0);

    close(EGRESS_FD_KEY);
    int r = n == sizeof(key) ? state_open(EGRESS_FD_DIR, key, &e->state) : n < 0 ? (int)n : -ENODATA;
    explicit_bzero(key, sizeof(key));
    if (!r)
        r = audit_open(EGRESS_FD_DIR, &e->audit);
    if (!r)
        e->secrets = state_secrets(e->state);
    return r;
}

static int open_tls(struct egress *e)
{
    struct timespec now;
    char *roots = NULL;
    size_t n = 0;

    clock_real(&now);
    int r = OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL) == 1 ? stream_init() : -ENOMEM;
    if (!r)
        r = ca_open(e->secrets, now.tv_sec, &e->ca);
    if (!r)
        r = read_all(EGRESS_FD_ROOTS, ROOTS_MAX, &roots, &n);
    if (!r)
        r = tls_init(&e->tls, &e->ca, roots, n);
    if (r == -EINVAL)
        log_error("step=roots there is no certificate in the bundle of roots: no upstream can be verified");
    if (!r && !(e->leaves = leaves_new(&e->ca)))
        r = -ENOMEM;
    free(roots);
    return r;
}

static int open_resolver(struct egress *e)
{
    const char *key_life = getenv("EGRESS_KEY");
    char *text = NULL;
    size_t n = 0;

    int r = read_all(EGRESS_FD_RESOLV, RESOLV_MAX, &text, &n);
    if (!r)
        resolver_init(&e->resolver, text, n);
    free(text);
    e->key_life = key_life && !strcmp(key_life, "file") ? "file" : "memory";
    return r ? r : own_init(getenv("EGRESS_SELF"));
}

static int open_loop(struct egress *e)
{
    struct epoll_event ev = { .events = EPOLLIN };
    struct rlimit files;

    e->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (!e->cpus || e->cpus > 1024)
        e->cpus = 1;
    mallopt(M_ARENA_MAX, (int)e->cpus * 2);
    /* Two descriptors for each connection, and listeners, and files. */
    getrlimit(RLIMIT_NOFILE, &files);
    e->connections_max = files.rlim_cur > ALL_CONNECTIONS * 2 + LAUNCH_BOXES_MAX * EGRESS_DOORS ? ALL_CONNECTIONS : files.rlim_cur > 1024 ? (unsigned)(files.rlim_cur - 512) / 4 : 64;
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    e->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (e->epoll_fd < 0 || e->wake_fd < 0 || fcntl(EGRESS_FD_CONTROL, F_SETFD, FD_CLOEXEC) || fcntl(EGRESS_FD_DIR, F_SETFD, FD_CLOEXEC))
        return -errno;
    if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, EGRESS_FD_CONTROL, &ev))
        return -errno;
    ev.data.ptr = &e->wake_fd;
    return epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->wake_fd, &ev) ? -errno : 0;
}

static void drain_wake(struct egress *e)
{
    uint64_t n;

    if (read(e->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
        log_error("step=wake err=%s", errno_name(errno));
}

/* The CA ends: a new start makes a new one. */
static bool ca_ended(struct egress *e)
{
    struct timespec now;

    clock_real(&now);
    return now.tv_sec > ca_not_after(&e->ca) - CA_LAST_S;
}

static int run(struct egress *e)
{
    struct epoll_event ev[EVENTS];
    bool paused = false;

    while (!ca_ended(e)) {
        int n = epoll_wait(e->epoll_fd, ev, EVENTS, paused ? PAUSED_MS : LOOK_MS);
        if (n < 0 && errno != EINTR)
            return -errno;
        bool control = false;
        for (int i = 0; i < n; i++) {
            if (!ev[i].data.ptr)
                control = true;
            else if (ev[i].data.ptr == &e->wake_fd)
                drain_wake(e);
            else
                listener_event(e, ev[i].data.ptr);
        }
        /* Last, for doors of this turn may go with it. */
        int r = control ? control_event(e) : 0;
        if (r)
            return r > 0 ? 0 : r;
        paused = listener_resume(e);
    }
    log_warn("step=ca the CA ends within a day: a new one is made by the next start");
    return 0;
}

int main(void)
{
    static struct egress e = { .lock = PTHREAD_MUTEX_INITIALIZER };
    static const struct { const char *name; int (*run)(struct egress *e); } steps[] = {
        { "state", open_state }, { "tls", open_tls }, { "resolver", open_resolver }, { "loop", open_loop },
    };

    int pem_fd = -1;

    signal(SIGPIPE, SIG_IGN);
    int r = handlers_start();
    if (r)
        log_error("step=handlers err=%s rules with handlers deny", errno_name(r));
    const char *step = "limits";
    r = isolate_begin();
    for (unsigned i = 0; !r && i < sizeof(steps) / sizeof(steps[0]); i++) {
        step = steps[i].name;
        r = steps[i].run(&e);
    }
    if (!r) {
        step = "isolate";
        r = control_open(&e, &pem_fd);
    }
    if (!r) {
        r = isolate_end();
    }
    if (!r) {
        step = "hello";
        r = control_hello(pem_fd);
    }
    if (!r) {
        log_info("step=ready ca=%s roots=%u connections=%u cpus=%u", e.ca.sha256, e.tls.roots, e.connections_max, e.cpus);
        step = "loop";
        r = run(&e);
    }
    if (r)
        log_error("step=%s err=%s", step, errno_name(r));
    _exit(r ? 1 : 0);                       /* threads are still at work: nothing is taken from under them */
}
