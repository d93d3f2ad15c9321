/* Frames of the agent's socket (frame.h). Linked by the static agent and by sandboxd: libc and base only. */
#include "sandbox/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/wire.h"

static void fds_close(struct frame *f)
{
    for (unsigned i = 0; i < f->fd_count; i++)
        close(f->fds[i]);
    f->fd_count = 0;
}

/* Whatever the kernel installed is ours now; what does not fit is closed. */
static int fds_take(struct msghdr *msg, struct frame *ret)
{
    int r = msg->msg_flags & MSG_CTRUNC ? -EBADMSG : 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (ret->fd_count < FRAME_FDS_MAX) {
                ret->fds[ret->fd_count++] = fd;
            } else {
                close(fd);
                r = -EBADMSG;
            }
        }
    }
    return r;
}

int frame_recv(int sock, uint8_t *buf, struct frame *ret)
{
    union { struct cmsghdr h; char b[CMSG_SPACE(8 * sizeof(int))]; } control;
    struct iovec iov = { buf, FRAME_MAX };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    struct frame f = { 0 };
    ssize_t n;

    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == ECONNRESET ? 0 : errno == EWOULDBLOCK ? -EAGAIN : -errno;
    int r = fds_take(&msg, &f);
    if (n == 0 && !r && !f.fd_count)         /* an empty packet looks the same; frame_send() makes none */
        return 0;
    if (r || n < FRAME_HEAD || msg.msg_flags & MSG_TRUNC || le16(buf + 2)) {
        fds_close(&f);
        return -EBADMSG;
    }
    f.type = buf[0];
    f.flags = buf[1];
    f.id = le32(buf + 4);
    f.arg = le64(buf + 8);
    f.body = buf + FRAME_HEAD;
    f.n = (size_t)n - FRAME_HEAD;
    *ret = f;
    return 1;
}

int frame_send(int sock, uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *head, size_t head_n, const void *body, size_t n, int fd)
{
    uint8_t h[FRAME_HEAD] = { type, flags };
    struct iovec iov[3] = { { h, sizeof h }, { (void *)head, head_n }, { (void *)body, n } };
    union { struct cmsghdr h; char b[CMSG_SPACE(sizeof(int))]; } control = { 0 };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };
    ssize_t r;

    if (head_n > FRAME_BODY_MAX || n > FRAME_BODY_MAX - head_n)
        return -EMSGSIZE;
    put_le32(h + 4, id);
    put_le64(h + 8, arg);
    if (fd >= 0) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof control;
        control.h.cmsg_level = SOL_SOCKET;
        control.h.cmsg_type = SCM_RIGHTS;
        control.h.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.h), &fd, sizeof fd);
    }
    do
        r = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    if (r >= 0)
        return 0;
    return errno == EWOULDBLOCK || errno == ENOBUFS ? -EAGAIN : errno == ECONNRESET ? -EPIPE : -errno;
}

static unsigned vec_count(char *const *v)
{
    unsigned n = 0;

    while (v && v[n])
        n++;
    return n;
}

static void vec_put(struct buf *b, char *const *v)
{
    unsigned n = vec_count(v);

    if (n > UINT16_MAX) {
        b->err = -ENOMEM;
        return;
    }
    buf_put_u16(b, (uint16_t)n);
    for (unsigned i = 0; i < n; i++)
        buf_put_str(b, v[i]);
}

void exec_spec_put(struct buf *b, const struct exec_spec *s)
{
    buf_put_u32(b, s->ring);
    buf_put_u32(b, s->credit);
    buf_put_u32(b, s->timeout_ms);
    buf_put_u16(b, s->cols);
    buf_put_u16(b, s->rows);
    buf_put_str(b, s->user);
    buf_put_str(b, s->cwd);
    vec_put(b, s->argv);
    vec_put(b, s->env);
}

/* Adds what the next string needs in memory to *total; bad if it holds a NUL. */
static void str_skip(struct reader *r, size_t *total)
{
    size_t n = get_u16(r);
    const uint8_t *p = get_bytes(r, n);

    if (p && memchr(p, 0, n))
        r->bad = true;
    *total += n + 1;
}

static char *str_copy(struct reader *r, char **at)
{
    size_t n = get_u16(r);
    const uint8_t *p = get_bytes(r, n);
    char *s = *at;

    if (n && p)
        memcpy(s, p, n);
    s[n] = '\0';
    *at += n + 1;
    return s;
}

static char **vec_copy(struct reader *r, char **vec, char **at)
{
    unsigned n = get_u16(r);

    for (unsigned i = 0; i < n; i++)
        vec[i] = str_copy(r, at);
    vec[n] = NULL;
    return vec;
}

/* Twice over the bytes: first to check them and to know the size, then to copy into one block. */
int exec_spec_get(const uint8_t *p, size_t n, struct exec_spec *ret)
{
    struct reader r = reader_of(p, n);
    size_t bytes = 0;
    struct exec_spec s = { 0 };

    if (n > EXEC_SPEC_MAX)
        return -EBADMSG;
    s.ring = get_u32(&r);
    s.credit = get_u32(&r);
    s.timeout_ms = get_u32(&r);
    s.cols = get_u16(&r);
    s.rows = get_u16(&r);
    struct reader strings = r;
    str_skip(&r, &bytes);
    str_skip(&r, &bytes);
    unsigned argc = get_u16(&r);
    for (unsigned i = 0; i < argc && !r.bad; i++)
        str_skip(&r, &bytes);
    unsigned envc = get_u16(&r);
    for (unsigned i = 0; i < envc && !r.bad; i++)
        str_skip(&r, &bytes);
    if (r.bad || reader_left(&r) || argc < 1 || argc > ARGV_MAX)
        return -EBADMSG;
    size_t pointers = ((size_t)argc + envc + 2) * sizeof(char *);
    char **block = mem_alloc(pointers + bytes);
    if (!block)
        return -ENOMEM;
    char *at = (char *)block + pointers;
    s.user = str_copy(&strings, &at);
    s.cwd = str_copy(&strings, &at);
    s.argv = vec_copy(&strings, block, &at);
    s.env = vec_copy(&strings, block + argc + 1, &at);
    *ret = s;
    return 0;
}

void exec_spec_fini(struct exec_spec *s)
{
    if (!s)
        return;
    free(s->argv);
    *s = (struct exec_spec){ 0 };
}

void exit_info_put(struct buf *b, const struct exit_info *e)
{
    buf_put_u32(b, (uint32_t)e->code);
    buf_put_u32(b, (uint32_t)e->signal);
    buf_put_u64(b, e->user_us);
    buf_put_u64(b, e->sys_us);
    buf_put_u64(b, e->wall_us);
    buf_put_u64(b, e->peak_kb);
    buf_put_u8(b, e->core);
    buf_put_u8(b, e->timed_out);
    buf_put_u8(b, e->oom);
}

void exit_info_get(struct reader *r, struct exit_info *ret)
{
    struct exit_info e = { 0 };

    e.code = (int32_t)get_u32(r);
    e.signal = (int32_t)get_u32(r);
    e.user_us = get_u64(r);
    e.sys_us = get_u64(r);
    e.wall_us = get_u64(r);
    e.peak_kb = get_u64(r);
    e.core = get_u8(r) != 0;
    e.timed_out = get_u8(r) != 0;
    e.oom = get_u8(r) != 0;
    *ret = e;
}
