/* Standard output may be a pipe that nobody reads for an hour: meanwhile signals and input go on. A descriptor that says it can be written takes PIPE_BUF bytes
 * without waiting, whatever its flags are (they are shared with others, so they are not changed). */
#include <errno.h>
#include <glib-unix.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/box.h"

/* How many bytes went; 0: it would wait; -1: dead. */
static ssize_t put(struct out *o, const uint8_t *p, size_t n)
{
    struct pollfd f = { .fd = o->fd, .events = POLLOUT };
    struct stat st;
    bool file = !fstat(o->fd, &st) && S_ISREG(st.st_mode);
    size_t at = 0;

    while (at < n) {
        if (!file && poll(&f, 1, 0) <= 0)
            break;
        size_t part = file || n - at < PIPE_BUF ? n - at : PIPE_BUF;
        ssize_t k = write(o->fd, p + at, part);
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
    ssize_t n = put(o, o->left->data, o->left->len);

    (void)fd, (void)cond;
    if (n > 0)
        g_byte_array_remove_range(o->left, 0, (guint)n);
    o->dead |= n < 0;
    if (o->left->len && !o->dead)
        return G_SOURCE_CONTINUE;
    g_byte_array_set_size(o->left, 0);
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
