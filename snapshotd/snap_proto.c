#include "snapshotd/snap_proto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/wire.h"

/* jansson recurses per level; foreign text must not choose how deep. Brackets in strings do not count. */
static bool too_deep(const char *p, size_t n)
{
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < n; i++) {
        char ch = p[i];
        if (in_string) {
            if (ch == '\\')
                i++;
            else if (ch == '"')
                in_string = false;
        } else if (ch == '"') {
            in_string = true;
        } else if (ch == '{' || ch == '[') {
            if (++depth > SNAP_DEPTH_MAX)
                return true;
        } else if (ch == '}' || ch == ']') {
            depth--;
        }
    }
    return false;
}

static int body_parse(const void *p, size_t n, json_t **ret)
{
    if (too_deep(p, n))
        return -EBADMSG;
    json_error_t err;
    json_t *v = json_loadb(p, n, JSON_REJECT_DUPLICATES, &err);
    if (!v)
        return json_error_code(&err) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
    if (!json_is_object(v)) {
        json_decref(v);
        return -EBADMSG;
    }
    *ret = v;
    return 0;
}

int snap_frame_parse(const uint8_t *p, size_t n, json_t **ret, size_t *ret_used)
{
    if (n < 4)
        return 1;
    uint32_t len = le32(p);
    if (!len || len > SNAP_FRAME_MAX)
        return -EMSGSIZE;
    if (n - 4 < len)
        return 1;
    int r = body_parse(p + 4, len, ret);
    if (!r)
        *ret_used = 4 + (size_t)len;
    return r;
}

static int dump_to(const char *text, size_t n, void *arg)
{
    struct buf *b = arg;
    buf_put(b, text, n);
    return buf_err(b) ? -1 : 0;
}

int snap_frame_put(struct buf *b, const json_t *msg)
{
    size_t at = b->len;

    buf_put_u32(b, 0);
    if (json_dump_callback(msg, dump_to, b, JSON_COMPACT))
        return -ENOMEM;
    if (buf_err(b))
        return buf_err(b);
    size_t n = b->len - at - 4;
    if (n > SNAP_FRAME_MAX) {
        b->len = at;
        return -EMSGSIZE;
    }
    put_le32(b->data + at, (uint32_t)n);
    return 0;
}

int snap_send_bytes(int sock, const void *p, size_t n, const int *fds, unsigned fd_count)
{
    union { char b[CMSG_SPACE(sizeof(int) * SNAP_FDS_MAX)]; struct cmsghdr align; } ctl;
    size_t done = 0;

    if (fd_count > SNAP_FDS_MAX)
        return -E2BIG;
    while (done < n) {
        struct iovec iov = { (char *)(uintptr_t)p + done, n - done };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
        if (!done && fd_count) {
            memset(&ctl, 0, sizeof(ctl));
            mh.msg_control = ctl.b;
            mh.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
            struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
            cm->cmsg_level = SOL_SOCKET;
            cm->cmsg_type = SCM_RIGHTS;
            cm->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
            memcpy(CMSG_DATA(cm), fds, sizeof(int) * fd_count);
        }
        ssize_t r = sendmsg(sock, &mh, MSG_NOSIGNAL);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        done += (size_t)r;
    }
    return 0;
}

int snap_send(int sock, const json_t *msg, const int *fds, unsigned fd_count)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;
    int r = snap_frame_put(&b, msg);

    return r ? r : snap_send_bytes(sock, b.data, b.len, fds, fd_count);
}

static void close_all(int *fds, unsigned *n)
{
    while (*n)
        close(fds[--*n]);
}

/* Takes the descriptors of one message. -E2BIG if the kernel or we had no room for all of them. */
static int take_fds(struct msghdr *mh, int *fds, unsigned *n)
{
    int r = mh->msg_flags & MSG_CTRUNC ? -E2BIG : 0;

    for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
        if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(fd));
            if (*n < SNAP_FDS_MAX) {
                fds[(*n)++] = fd;
            } else {
                close(fd);
                r = -E2BIG;
            }
        }
    }
    return r;
}

/* n bytes; descriptors may come with any of them (a hostile sender chooses where). */
static int recv_some(int sock, uint8_t *p, size_t n, int *fds, unsigned *fd_count, bool at_start)
{
    union { char b[CMSG_SPACE(sizeof(int) * SNAP_FDS_MAX)]; struct cmsghdr align; } ctl;
    size_t done = 0;

    while (done < n) {
        struct iovec iov = { p + done, n - done };
        struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.b, .msg_controllen = sizeof(ctl.b) };
        ssize_t r = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        int e = take_fds(&mh, fds, fd_count);
        if (e)
            return e;
        if (r == 0)
            return at_start && !done ? -ENODATA : -EPIPE;
        done += (size_t)r;
    }
    return 0;
}

int snap_recv(int sock, json_t **ret, int fds[SNAP_FDS_MAX], unsigned *ret_fd_count)
{
    uint8_t head[4];
    unsigned n = 0;
    _cleanup_free_ uint8_t *body = NULL;

    int r = recv_some(sock, head, sizeof(head), fds, &n, true);
    if (!r && (!le32(head) || le32(head) > SNAP_FRAME_MAX))
        r = -EMSGSIZE;
    if (!r && !(body = mem_alloc(le32(head))))
        r = -ENOMEM;
    if (!r)
        r = recv_some(sock, body, le32(head), fds, &n, false);
    if (!r)
        r = body_parse(body, le32(head), ret);
    if (r)
        close_all(fds, &n);
    *ret_fd_count = n;
    return r;
}

int snap_recv_raw(int sock, void *p, size_t n)
{
    int fds[SNAP_FDS_MAX];
    unsigned count = 0;
    int r = recv_some(sock, p, n, fds, &count, false);

    close_all(fds, &count);
    return r;
}

static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static json_t *base64_json(const uint8_t *p, size_t n)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;

    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        char q[4] = { b64[v >> 18], b64[v >> 12 & 63], i + 1 < n ? b64[v >> 6 & 63] : '=', i + 2 < n ? b64[v & 63] : '=' };
        buf_put(&b, q, 4);
    }
    if (buf_err(&b))
        return NULL;
    return json_pack("{s:s%}", "base64", b.data ? (char *)b.data : "", b.len);
}

json_t *snap_bytes(const void *p, size_t n)
{
    /* json_stringn() refuses what is not UTF-8, but lets NUL pass. */
    json_t *v = n && memchr(p, 0, n) ? NULL : json_stringn(n ? p : "", n);
    return v ? v : base64_json(p, n);
}

static char *base64_get(const char *s, size_t n, size_t *ret_len, int *ret_err)
{
    *ret_err = -EINVAL;
    if (n % 4)
        return NULL;
    size_t pad = n && s[n - 1] == '=' ? 1 + (s[n - 2] == '=') : 0, out = 0;
    _cleanup_free_ char *p = mem_alloc(n / 4 * 3 + 1);
    if (!p) {
        *ret_err = -ENOMEM;
        return NULL;
    }
    for (size_t i = 0; i < n; i += 4) {
        uint32_t v = 0;
        for (size_t j = 0; j < 4; j++) {
            const char *at = i + j >= n - pad ? b64 : s[i + j] ? strchr(b64, s[i + j]) : NULL;
            if (!at)
                return NULL;
            v = v << 6 | (uint32_t)(at - b64);
        }
        p[out++] = (char)(v >> 16);
        p[out++] = (char)(v >> 8);
        p[out++] = (char)v;
    }
    out -= pad;
    if (out && memchr(p, 0, out))
        return NULL;
    p[out] = 0;
    *ret_len = out;
    *ret_err = 0;
    return TAKE_PTR(p);
}

char *snap_bytes_get(const json_t *v, size_t *ret_len, int *ret_err)
{
    if (json_is_string(v)) {
        size_t n = json_string_length(v);
        const char *s = json_string_value(v);
        *ret_err = -EINVAL;
        if (memchr(s, 0, n))
            return NULL;
        char *p = mem_dup(s, n + 1);
        *ret_err = p ? 0 : -ENOMEM;
        *ret_len = n;
        return p;
    }
    const json_t *t = json_object_size(v) == 1 ? json_object_get(v, "base64") : NULL;
    if (!json_is_string(t)) {
        *ret_err = -EINVAL;
        return NULL;
    }
    return base64_get(json_string_value(t), json_string_length(t), ret_len, ret_err);
}

int snap_socket(const char *store, int listen_backlog, int *ret_fd)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    _cleanup_close_ int dir = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return -errno;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* Through the descriptor, for a store path may be longer than sun_path. */
    snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/" SNAP_SOCKET, dir);
    if (listen_backlog < 0) {
        if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
            return -errno;
    } else {
        if (unlinkat(dir, SNAP_SOCKET, 0) && errno != ENOENT)
            return -errno;
        mode_t old = umask(0177);
        int r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) ? -errno : 0;
        umask(old);
        if (r)
            return r;
        if (listen(fd, listen_backlog))
            return -errno;
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}
