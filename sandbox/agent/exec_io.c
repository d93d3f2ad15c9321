/* The bytes of an execution: from its pipes or terminal into its log, and from the peer into its stdin.
 *
 * Invariants: a descriptor is watched for reading only while there is room in the log (a descriptor without room is not watched at all: hang-up would spin); EXITED waits
 * until what the pipes held when the command had ended is in the log (`drain`), DATA_END until nothing can come (both ends closed).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/wire.h"
#include "sandbox/agent/agent.h"

enum { READ_MAX = FRAME_BODY_MAX - 8 /* one frame of DATA */, PIPE_LARGE = 256 * 1024, ACK_EVERY = 32 * 1024, WINDOW_MAX = 4096 };
static uint8_t scratch[READ_MAX];

static void in_break(struct exec *e);

static bool is_tty(const struct exec *e)
{
    return e->flags & EXEC_TTY;
}

static void out_close(struct exec *e, unsigned i)
{
    source_close(&e->out[i]);
    e->drain[i] = 0;
    if (is_tty(e)) {
        in_break(e);
    }
}

/* false: nothing is there, or no room. */
static bool out_read(struct exec *e, unsigned i)
{
    size_t room = log_room(&e->log, exec_keep(e));
    uint8_t stream = is_tty(e) ? STREAM_TTY : i == 2 ? STREAM_CHANNEL : i ? STREAM_ERR : STREAM_OUT;

    if (!room) {
        source_want(&e->out[i], 0);
        return false;
    }
    ssize_t n = read(e->out[i].fd, scratch, room < sizeof scratch ? room : sizeof scratch);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        e->drain[i] = 0;                     /* what it held has been read */
        return false;
    }
    if (n <= 0) {                            /* end, or EIO of a terminal that nobody has open */
        out_close(e, i);
        return false;
    }
    if (n == READ_MAX && !is_tty(e) && i < 2)
        fcntl(e->out[i].fd, F_SETPIPE_SZ, PIPE_LARGE);      /* a busy one: fewer wake-ups, if the user may have it */
    log_put(&e->log, stream, scratch, (size_t)n);
    e->drain[i] -= (uint64_t)n < e->drain[i] ? (uint64_t)n : e->drain[i];
    return true;
}

static void out_event(struct exec *e, unsigned i)
{
    if (out_read(e, i))
        exec_ready(e);
    exec_io_settled(e);
}

static void out0_event(struct source *s, uint32_t events)
{
    (void)events;
    out_event(source_owner(struct exec, out[0], s), 0);
}

static void out1_event(struct source *s, uint32_t events)
{
    (void)events;
    out_event(source_owner(struct exec, out[1], s), 1);
}

/* What was printed before a message was written comes before it. */
static void out2_event(struct source *s, uint32_t events)
{
    struct exec *e = source_owner(struct exec, out[2], s);

    (void)events;
    for (unsigned i = 0; i < 2; i++)
        while (e->out[i].fd >= 0 && out_read(e, i))
            exec_ready(e);
    out_event(e, 2);
}

static void in_event(struct source *s, uint32_t events)
{
    struct exec *e = source_owner(struct exec, in, s);

    if (events & (EPOLLERR | EPOLLHUP) && !is_tty(e))       /* nobody reads it any more */
        in_break(e);
    exec_stdin_flush(e);
}

int exec_io_start(struct exec *e, const int *fds, unsigned count)
{
    unsigned want = is_tty(e) ? 1 : e->flags & (EXEC_STDIN | EXEC_CHANNEL) ? 3 : 2;
    int r = 0;

    if (count != want) {
        for (unsigned i = 0; i < count; i++)
            close(fds[i]);
        return -EPROTO;
    }
    int in = is_tty(e) || e->flags & EXEC_CHANNEL ? fcntl(fds[is_tty(e) ? 0 : 2], F_DUPFD_CLOEXEC, 3) : count == 3 ? fds[2] : -1;
    r = source_add(&e->out[0], fds[0], EPOLLIN, out0_event);
    if (!is_tty(e)) {
        int r2 = source_add(&e->out[1], fds[1], EPOLLIN, out1_event);
        r = r ? r : r2;
    }
    if (e->flags & EXEC_CHANNEL) {
        int r2 = source_add(&e->out[2], fds[2], EPOLLIN, out2_event);
        r = r ? r : r2;
    }
    if (in >= 0) {
        int r2 = source_add(&e->in, in, 0, in_event);
        r = r ? r : r2;
        if (!r && !is_tty(e))
            source_want(&e->in, EPOLLERR);   /* to learn when it is closed */
    }
    e->in_closed = e->in.fd < 0;
    exec_stdin_flush(e);
    return r;
}

void exec_io_exited(struct exec *e)
{
    for (unsigned i = 0; i < OUTS; i++) {
        int n = 0;
        e->drain[i] = e->out[i].fd >= 0 && !ioctl(e->out[i].fd, FIONREAD, &n) && n > 0 ? (uint64_t)n : 0;
    }
    exec_io_resume(e);
}

bool exec_io_drained(const struct exec *e)
{
    return !e->drain[0] && !e->drain[1] && !e->drain[2];
}

bool exec_io_over(const struct exec *e)
{
    return e->started && e->out[0].fd < 0 && e->out[1].fd < 0 && e->out[2].fd < 0;
}

void exec_io_close(struct exec *e)
{
    source_close(&e->out[0]);
    source_close(&e->out[1]);
    source_close(&e->out[2]);
    source_close(&e->in);
    e->drain[0] = e->drain[1] = e->drain[2] = 0;
    e->in_closed = true;
    pages_free(e->in_data, STDIN_WINDOW);
    e->in_data = NULL;
    e->in_count = 0;
}

void exec_io_resume(struct exec *e)
{
    bool room = log_room(&e->log, exec_keep(e)) > 0;

    for (unsigned i = 0; i < OUTS; i++)
        if (e->out[i].fd >= 0)
            source_want(&e->out[i], room ? EPOLLIN : 0);
}

/* --- stdin --- */

static void ack(struct exec *e)
{
    if (e->in_taken == e->in_acked && e->in_told == e->in_broken)
        return;
    e->in_acked = e->in_taken;
    e->in_told = e->in_broken;
    out_frame(FRAME_STDIN_ACK, e->in_broken, e->id, e->in_taken, NULL, 0);
}

static void in_break(struct exec *e)
{
    source_close(&e->in);
    e->in_closed = e->in_broken = true;
}

/* n bytes as far as they go now. */
static size_t in_write(struct exec *e, const uint8_t *p, size_t n)
{
    size_t done = 0;

    while (done < n && e->in.fd >= 0) {
        ssize_t r = write(e->in.fd, p + done, n - done);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 && errno != EAGAIN)        /* EPIPE, or EIO of a terminal */
            in_break(e);
        if (r <= 0)
            break;
        done += (size_t)r;
    }
    e->in_taken += done;
    return done;
}

/* Closing is not asked for before everything has been written; a terminal's end is a character that is typed. */
static void in_end(struct exec *e)
{
    struct termios t;
    uint8_t eof = 4;

    if (!e->in_close || e->in_count || e->in.fd < 0)
        return;
    if (is_tty(e)) {
        if (!ioctl(e->in.fd, TCGETS, &t) && t.c_cc[VEOF])
            eof = t.c_cc[VEOF];
        if (write(e->in.fd, &eof, 1) == 1 || errno != EAGAIN)
            e->in_close = false;
        return;
    }
    if (e->flags & EXEC_CHANNEL)
        shutdown(e->in.fd, SHUT_WR);
    source_close(&e->in);
    e->in_closed = true;
}

void exec_stdin_flush(struct exec *e)
{
    while (e->in_count && e->in.fd >= 0) {
        uint32_t part = STDIN_WINDOW - e->in_at < e->in_count ? STDIN_WINDOW - e->in_at : e->in_count;
        uint32_t n = (uint32_t)in_write(e, e->in_data + e->in_at, part);
        e->in_at = (e->in_at + n) % STDIN_WINDOW;
        e->in_count -= n;
        if (n < part)
            break;
    }
    if (e->in_closed && e->started)
        e->in_count = 0;
    if (!e->in_count) {
        pages_free(e->in_data, STDIN_WINDOW);
        e->in_data = NULL;
    }
    in_end(e);
    if (e->in.fd >= 0)
        source_want(&e->in, e->in_count || e->in_close ? EPOLLOUT : is_tty(e) ? 0 : EPOLLERR);
    if (e->started && (!e->in_count || e->in_taken - e->in_acked >= ACK_EVERY || e->in_broken))
        ack(e);
}

static void in_keep(struct exec *e, const uint8_t *p, size_t n)
{
    if (n > STDIN_WINDOW - e->in_count)      /* beyond the window: the peer's error */
        return;
    if (!e->in_data && !(e->in_data = pages_new(STDIN_WINDOW))) {
        in_break(e);
        return;
    }
    if (!e->in_count)
        e->in_at = 0;
    for (size_t done = 0; done < n;) {
        size_t at = (e->in_at + e->in_count) % STDIN_WINDOW, k = STDIN_WINDOW - at < n - done ? STDIN_WINDOW - at : n - done;
        memcpy(e->in_data + at, p + done, k);
        e->in_count += (uint32_t)k;
        done += k;
    }
}

void exec_stdin(struct exec *e, const uint8_t *p, size_t n)
{
    if (!(e->flags & (EXEC_STDIN | EXEC_TTY | EXEC_CHANNEL)) || e->in_closed || (e->in_close && !is_tty(e)))
        return;
    if (!e->in_count && e->in.fd >= 0) {
        size_t done = in_write(e, p, n);
        p += done;
        n -= done;
    }
    if (n && !e->in_closed)
        in_keep(e, p, n);
    exec_stdin_flush(e);
}

void exec_stdin_close(struct exec *e)
{
    if (e->in_closed || !(e->flags & (EXEC_STDIN | EXEC_TTY | EXEC_CHANNEL)))
        return;
    e->in_close = true;
    exec_stdin_flush(e);
}

void exec_resize(struct exec *e, unsigned cols, unsigned rows)
{
    struct winsize ws = { .ws_col = (unsigned short)cols, .ws_row = (unsigned short)rows };

    if (is_tty(e) && e->out[0].fd >= 0 && cols && rows && cols <= WINDOW_MAX && rows <= WINDOW_MAX)
        ioctl(e->out[0].fd, TIOCSWINSZ, &ws);
}
