/* Standard output may be a pipe that nobody reads for an hour: meanwhile signals and input go on. Its flags are shared with others, so they are not changed: pipes
 * and sockets take what goes without waiting by RWF_NOWAIT; where that is unknown (terminals) a descriptor that says it can be written takes PIPE_BUF bytes. */
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tools/box.h"

enum { PIPE_WIDE = 512 * 1024 };

static ssize_t put_some(struct out *o, const uint8_t *p, size_t n)
{
    struct iovec v = { (void *)(uintptr_t)p, n };
    struct pollfd f = { .fd = o->fd, .events = POLLOUT };

    if (o->file)
        return write(o->fd, p, n);
    if (!o->plain) {
        ssize_t k = pwritev2(o->fd, &v, 1, -1, RWF_NOWAIT);
        if (k >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL && errno != ESPIPE))
            return k;
        o->plain = true;
    }
    if (poll(&f, 1, 0) <= 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(o->fd, p, n < PIPE_BUF ? n : PIPE_BUF);
}

/* How many bytes went; 0: it would wait; -1: dead. */
static ssize_t put(struct out *o, const uint8_t *p, size_t n)
{
    struct stat st;
    size_t at = 0;

    if (!o->known) {
        o->known = true;
        o->file = !fstat(o->fd, &st) && S_ISREG(st.st_mode);
    }
    while (at < n) {
        ssize_t k = put_some(o, p + at, n - at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno == EAGAIN)
            break;
        if (k < 0)
            return -1;
        at += (size_t)k;
    }
    return (ssize_t)at;
}

static gboolean on_room(gint fd, GIOCondition cond, gpointer arg)
{
    struct out *o = arg;
    ssize_t n = put(o, o->left->data + o->left_at, o->left->len - o->left_at);

    (void)fd, (void)cond;
    o->left_at += n > 0 ? (size_t)n : 0;
    o->dead |= n < 0;
    if (o->left_at < o->left->len && !o->dead)
        return G_SOURCE_CONTINUE;
    g_byte_array_set_size(o->left, 0);
    o->left_at = 0;
    o->watch = 0;
    o->fn(o->arg);
    return G_SOURCE_REMOVE;
}

bool out_write(struct out *o, const void *p, size_t n, void (*fn)(void *arg), void *arg)
{
    ssize_t k = o->dead ? (ssize_t)n : put(o, p, n);

    if (k < 0) {
        o->dead = true;
        return true;
    }
    if ((size_t)k < n && !o->widened) {       /* a pipe that is too narrow for what comes at once: fewer turns */
        o->widened = true;
        if (fcntl(o->fd, F_SETPIPE_SZ, PIPE_WIDE) >= 0)
            return out_write(o, (const uint8_t *)p + k, n - (size_t)k, fn, arg);
    }
    if ((size_t)k == n)
        return true;
    if (!o->left)
        o->left = g_byte_array_new();
    g_byte_array_append(o->left, (const guint8 *)p + k, (guint)(n - (size_t)k));
    o->fn = fn;
    o->arg = arg;
    o->watch = g_unix_fd_add(o->fd, G_IO_OUT | G_IO_ERR | G_IO_HUP, on_room, o);
    return false;
}

void out_fini(struct out *o)
{
    if (o->watch)
        g_source_remove(o->watch);
    if (o->left)
        g_byte_array_unref(o->left);
}
