#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/io.h"
#include "base/wire.h"
#include "sandbox/agent/file.h"

/* SIGPIPE is ignored in the agent and so here. */
static int send_two(struct file_job *j, const void *a, size_t an, const void *b, size_t bn)
{
    struct iovec iov[2] = { { (void *)a, an }, { (void *)b, bn } };

    while (iov[0].iov_len + iov[1].iov_len) {
        ssize_t n = writev(j->sock, iov, 2);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        for (int i = 0; i < 2; i++) {
            size_t k = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;
            iov[i].iov_base = (uint8_t *)iov[i].iov_base + k;
            iov[i].iov_len -= k;
            n -= (ssize_t)k;
        }
    }
    return 0;
}

static int head_send(struct file_job *j, struct buf *body)
{
    uint8_t n[4];

    if (buf_err(body))
        return buf_err(body);
    put_le32(n, (uint32_t)body->len);
    j->headed = true;
    int r = send_two(j, n, sizeof n, body->data, body->len);
    buf_fini(body);
    return r;
}

int file_head(struct file_job *j, const struct file_stat *st)
{
    struct buf b = BUF_INIT;

    buf_put_u32(&b, 0);
    buf_put_str(&b, "");
    file_stat_put(&b, st);
    return head_send(j, &b);
}

int file_head_failed(struct file_job *j, int err)
{
    struct buf b = BUF_INIT;

    buf_put_u32(&b, (uint32_t)err);
    buf_put_str(&b, j->step);
    return head_send(j, &b);
}

int file_chunk(struct file_job *j, const void *p, size_t n)
{
    uint8_t h[4];

    put_le32(h, (uint32_t)n);
    return send_two(j, h, sizeof h, p, n);
}

int file_chunk_broken(struct file_job *j, int err)
{
    uint8_t h[8];

    put_le32(h, FILE_BROKEN);
    put_le32(h + 4, (uint32_t)err);
    return send_two(j, h, sizeof h, NULL, 0);
}

ssize_t file_chunk_recv(struct file_job *j, uint8_t *p)
{
    uint8_t h[4];
    int r = io_read_full(j->sock, h, sizeof h);

    if (r < 0)
        return -ECONNABORTED;
    uint32_t n = le32(h);
    if (n == FILE_BROKEN)
        return -ECONNABORTED;
    if (n > FILE_CHUNK_MAX)
        return -EBADMSG;
    return n && io_read_full(j->sock, p, n) < 0 ? -ECONNABORTED : (ssize_t)n;
}
