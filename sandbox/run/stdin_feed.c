#include "sandbox/run/stdin_feed.h"

struct feed { struct exec *e; GBytes *bytes; size_t off; };

static void feed_more(void *arg)
{
    struct feed *f = arg;
    size_t n;
    const uint8_t *p = g_bytes_get_data(f->bytes, &n);

    while (f->off < n && exec_stdin_room(f->e)) {
        size_t part = MIN(n - f->off, exec_stdin_room(f->e));
        if (exec_stdin(f->e, p + f->off, part) < 0)
            break;
        f->off += part;
    }
    if (f->off < n && exec_stdin_is_open(f->e)) {
        exec_on_stdin_room(f->e, feed_more, f);
        return;
    }
    exec_stdin_close(f->e);
    exec_unref(f->e);
    g_bytes_unref(f->bytes);
    g_free(f);
}

void stdin_feed(struct exec *e, const void *p, size_t n)
{
    struct feed *f = g_new0(struct feed, 1);

    f->e = exec_ref(e);
    f->bytes = g_bytes_new(p, n);
    feed_more(f);
}
