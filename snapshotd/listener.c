#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "snapshotd/daemon.h"

/* Nobody connected, nothing mounted, since so long. Milliseconds until it may be so: 0 = now. */
static int idle_wait_ms(struct daemon *d, unsigned idle_exit_s)
{
    if (!idle_exit_s)
        return -1;
    bool mounted = mounts_count(&d->mounts) > 0;
    pthread_mutex_lock(&d->lock);
    if (mounted || d->peer_count || d->stay)
        d->last_active_ns = clock_mono_ns();
    uint64_t idle_ms = (clock_mono_ns() - d->last_active_ns) / 1000000, limit_ms = idle_exit_s * 1000ull;
    pthread_mutex_unlock(&d->lock);
    if (idle_ms >= limit_ms)
        return 0;
    return limit_ms - idle_ms > 3600000 ? 3600000 : (int)(limit_ms - idle_ms);
}

static void accept_one(struct daemon *d, int listen_fd)
{
    int sock = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (sock >= 0) {
        peer_start(d, sock);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        /* The connection stays in the queue; turning round for it at once would burn the CPU until a descriptor is free. */
        log_error("accept err=%s", errno_name(errno));
        poll(NULL, 0, 100);
    }
}

/* With a holder, SIGTERM to us means that another is to take over, and SIGINT (from a terminal, to both) is for the holder to act on. */
static void on_signal(struct daemon *d, int signal_fd)
{
    struct signalfd_siginfo si;

    if (read(signal_fd, &si, sizeof(si)) != sizeof(si) || (si.ssi_signo == SIGINT && holding_is(&d->holding)))
        return;
    log_info("signal=%u ending", si.ssi_signo);
    if (daemon_again(d, NULL))
        daemon_stop(d);
}

void listener_run(struct daemon *d, int listen_fd, int signal_fd, unsigned idle_exit_s)
{
    struct pollfd p[4] = { { .fd = listen_fd, .events = POLLIN },
                           { .fd = signal_fd, .events = POLLIN },
                           { .fd = d->wake_fd, .events = POLLIN },
                           { .fd = d->holding.sock, .events = POLLIN } };

    while (!daemon_stopping(d)) {
        int wait_ms = idle_wait_ms(d, idle_exit_s);
        p[3].fd = holding_is(&d->holding) ? d->holding.sock : -1;
        int n = poll(p, 4, wait_ms);
        if (n < 0 && errno != EINTR) {
            log_error("poll err=%s", errno_name(errno));
            break;
        }
        if (n > 0 && (p[1].revents & POLLIN))
            on_signal(d, signal_fd);
        else if (n > 0 && p[3].revents && holding_told(&d->holding))
            break;
        else if (n > 0 && (p[0].revents & POLLIN) && !daemon_stopping(d))    /* else it waits for the next daemon */
            accept_one(d, listen_fd);
        if (n == 0 && idle_wait_ms(d, idle_exit_s) == 0) {
            log_info("idle ending");
            break;
        }
    }
    daemon_stop(d);
}
