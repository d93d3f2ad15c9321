/* What the runs of a service wrote: the last SERVICE_LOG_BYTES, in pieces, and who follows it. */
#include <string.h>

#include "sandbox/run/service_private.h"

struct piece { uint64_t seq; unsigned stream; size_t n; uint8_t bytes[]; };
struct follower { void (*fn)(void *arg, bool over); void *arg; };

void service_log_init(struct service_log *log)
{
    g_queue_init(&log->pieces);
    log->followers = g_array_new(false, false, sizeof(struct follower));
}

void service_log_fini(struct service_log *log)
{
    g_queue_clear_full(&log->pieces, g_free);
    g_array_unref(log->followers);
}

static void followers_call(struct service *s, bool over)
{
    GArray *all = s->log.followers;

    service_ref(s);
    for (unsigned i = all->len; i-- > 0;)
        if (i < all->len) {
            struct follower f = g_array_index(all, struct follower, i);
            f.fn(f.arg, over);
        }
    service_unref(s);
}

void service_log_over(struct service *s)
{
    followers_call(s, true);
    g_array_set_size(s->log.followers, 0);
}

void service_log_put(struct service *s, unsigned stream, const uint8_t *p, size_t n)
{
    struct service_log *log = &s->log;

    while (n) {
        size_t part = MIN(n, (size_t)SERVICE_LOG_BYTES / 8);
        struct piece *k = g_malloc(sizeof(*k) + part);
        *k = (struct piece){ .seq = log->next, .stream = stream, .n = part };
        memcpy(k->bytes, p, part);
        g_queue_push_tail(&log->pieces, k);
        log->bytes += part + sizeof(*k);
        log->next += part;
        p += part;
        n -= part;
        while (log->bytes > SERVICE_LOG_BYTES) {
            struct piece *old = g_queue_pop_head(&log->pieces);
            log->bytes -= old->n + sizeof(*old);
            g_free(old);
        }
    }
    followers_call(s, false);
}

size_t service_log(struct box *b, const char *name, uint64_t *io_seq, unsigned *ret_stream, const uint8_t **ret_p)
{
    struct service *s = service_find(b, name);

    for (GList *l = s ? s->log.pieces.head : NULL; l; l = l->next) {
        struct piece *k = l->data;
        if (k->seq + k->n <= *io_seq)
            continue;
        *io_seq = MAX(*io_seq, k->seq);
        *ret_stream = k->stream;
        *ret_p = k->bytes + (*io_seq - k->seq);
        return k->n - (size_t)(*io_seq - k->seq);
    }
    return 0;
}

bool service_log_follow(struct box *b, const char *name, void (*fn)(void *arg, bool over), void *arg)
{
    struct service *s = service_find(b, name);
    struct follower f = { fn, arg };

    if (s)
        g_array_append_val(s->log.followers, f);
    return s;
}

void service_log_unfollow(struct box *b, const char *name, void *arg)
{
    struct service *s = service_find(b, name);

    for (unsigned i = s ? s->log.followers->len : 0; i-- > 0;)
        if (g_array_index(s->log.followers, struct follower, i).arg == arg)
            g_array_remove_index(s->log.followers, i);
}
