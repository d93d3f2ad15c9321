/* Handlers as egress sees them: a request goes to a process (handler_host.c), an answer comes back or does not. Where the answer names a secret, the value is put in here. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/wire.h"
#include "sandbox/egress/handler_result.h"
#include "sandbox/egress/inject.h"

/* Who runs one now: no box has more than its part, so that one with slow handlers does not stop the others. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;      /* guards `running`; nothing is called under it */
static pthread_cond_t less = PTHREAD_COND_INITIALIZER;
static char running[HANDLERS_AT_ONCE][64];
static int host_fd = -1;

int handlers_start(void)
{
    int s[2];

    if (host_fd >= 0)
        return 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s))
        return -errno;
    pid_t child = fork();
    if (child < 0) {
        int e = errno;
        close(s[0]);
        close(s[1]);
        return -e;
    }
    if (!child) {
        if (s[1] != 3 && dup3(s[1], 3, O_CLOEXEC) < 0)
            _exit(1);
        syscall(SYS_close_range, 4u, ~0u, 0u);
        handler_host(3);
    }
    close(s[1]);
    setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ HANDLER_CLOCK_MS / 1000, 0 }, sizeof(struct timeval));
    host_fd = s[0];
    return 0;
}

void handlers_stop(void)
{
    if (host_fd >= 0)
        close(host_fd);
    host_fd = -1;
}

/* A place among those that run; -1: none became free in time. */
static int enter(const char *box)
{
    struct timespec until;
    int slot = -1;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += HANDLER_CLOCK_MS / 1000;
    pthread_mutex_lock(&lock);
    for (int late = 0; slot < 0 && !late;) {
        unsigned own = 0;
        for (int i = 0; i < HANDLERS_AT_ONCE; i++) {
            own += !strcmp(running[i], box);
            if (!running[i][0])
                slot = i;
        }
        if (own >= HANDLERS_OF_A_BOX)
            slot = -1;
        if (slot < 0)
            late = pthread_cond_timedwait(&less, &lock, &until);
    }
    if (slot >= 0)
        snprintf(running[slot], sizeof running[slot], "%s", box);
    pthread_mutex_unlock(&lock);
    return slot;
}

static void leave(int slot)
{
    pthread_mutex_lock(&lock);
    running[slot][0] = 0;
    pthread_cond_broadcast(&less);
    pthread_mutex_unlock(&lock);
}

static void text(struct buf *b, char tag, const char *p)
{
    record_put(b, tag, p, strlen(p));
}

static void put_box(struct buf *b, const struct rule *r, const struct policy_box *box)
{
    struct timespec now;
    uint8_t when[8];
    const char *key;
    json_t *v;

    clock_real(&now);
    put_le64(when, (uint64_t)now.tv_sec);
    text(b, 'i', box->id);
    text(b, 'n', box->name ? box->name : box->id);
    if (box->labels)
        json_object_foreach (box->labels, key, v) {
            text(b, 'k', key);
            text(b, 'v', json_is_string(v) ? json_string_value(v) : "");
        }
    record_put(b, 'w', when, 8);
    text(b, 'r', r->name);
    for (unsigned i = 0; i < r->secrets.n; i++)
        text(b, 's', r->secrets.v[i]);
}

static void put_request(struct buf *b, const struct rule *r, const struct policy_box *box, const struct authority *a, const struct message *m)
{
    uint8_t port[2] = { (uint8_t)a->port, (uint8_t)(a->port >> 8) };
    size_t path = strcspn(m->target, "?");

    buf_put_u32(b, 0);
    text(b, 'l', r->handler);
    text(b, 'm', m->method);
    text(b, 'u', a->tls ? "https" : "http");
    text(b, 'o', a->host);
    record_put(b, 'P', port, 2);
    record_put(b, 'p', m->target, path);
    if (m->target[path])
        text(b, 'q', m->target + path + 1);
    for (unsigned i = 0; i < m->count; i++) {
        text(b, 'h', m->fields[i].name);
        text(b, 't', m->fields[i].value);
    }
    put_box(b, r, box);
    if (!buf_err(b))
        put_le32(b->data, (uint32_t)b->len - 4);
}

/* The line to a process that waits for a request. Which of several askers gets which is all the same. egress itself may make no sockets of this kind. */
static int get_job(void)
{
    union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } control = { 0 };
    char byte;
    struct iovec v = { &byte, 1 };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    int fd = -1;

    if (send(host_fd, "j", 1, MSG_NOSIGNAL) != 1)
        return -EPIPE;
    ssize_t n = recvmsg(host_fd, &m, MSG_CMSG_CLOEXEC);       /* SO_RCVTIMEO */
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return n < 0 ? -errno : fd < 0 ? -EAGAIN : fd;
}

/* Both ways at once, until the other end is closed. -ETIMEDOUT: too long. */
static int talk(int fd, const struct buf *out, struct buf *in)
{
    uint64_t until = clock_mono_ns() + HANDLER_CLOCK_MS * 1000000ull;
    size_t sent = 0;

    for (;;) {
        struct pollfd p = { fd, POLLIN | (sent < out->len ? POLLOUT : 0), 0 };
        uint64_t now = clock_mono_ns();
        uint8_t piece[16384];
        ssize_t n;
        if (now >= until || in->len > HANDLER_ANSWER_MAX)
            return now >= until ? -ETIMEDOUT : -E2BIG;
        if (poll(&p, 1, (int)((until - now) / 1000000 + 1)) <= 0)
            continue;
        if (p.revents & POLLOUT && sent < out->len && (n = send(fd, out->data + sent, out->len - sent, MSG_NOSIGNAL)) > 0)
            sent += (size_t)n;
        if (!(p.revents & (POLLIN | POLLHUP | POLLERR)))
            continue;
        n = recv(fd, piece, sizeof piece, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return buf_err(in);
        buf_put(in, piece, (size_t)n);
    }
}

static int ask(const struct buf *out, struct buf *in)
{
    int fd = get_job(), e;

    if (fd < 0)
        return fd;
    e = fcntl(fd, F_SETFL, O_NONBLOCK) ? -errno : talk(fd, out, in);
    close(fd);
    return e;
}

enum apply_result handler_run(const struct rule *r, const struct policy_box *box, struct secrets *s, const struct authority *a, const struct authority *upstream, struct message *m,
                              struct message *ret_answer, char why[160])
{
    struct buf out = BUF_INIT, in = BUF_INIT;
    enum apply_result result = APPLY_DENY;
    int slot = host_fd < 0 ? -1 : enter(box->id), e;

    if (slot < 0) {
        snprintf(why, 160, host_fd < 0 ? "handlers are not running" : "too many handlers of this sandbox are running");
        return APPLY_DENY;
    }
    put_request(&out, r, box, a, m);
    e = buf_err(&out) ? -ENOMEM : out.len - 4 > HANDLER_REQUEST_MAX ? -E2BIG : ask(&out, &in);
    leave(slot);
    if (e == -ETIMEDOUT || (!e && !in.len))
        snprintf(why, 160, "the handler took too long (half a second of processor at most; is there a pattern that can match in very many ways?)");
    else if (e)
        snprintf(why, 160, "the handler could not be run: %s", e == -E2BIG ? "the request or its result is too large" : strerror(-e));
    else
        result = handler_result(r, s, upstream, &in, m, ret_answer, why);
    buf_fini(&out);
    buf_fini(&in);
    return result;
}
