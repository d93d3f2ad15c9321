/* Theory: frames go out at once while the socket takes them; else they wait in a queue of at most LINK_QUEUE_BYTES, in order, until it is writable. Incoming packets are read
 * some at a time into one buffer (body points into it), so that one busy agent does not starve the others.
 *
 * Callbacks may free the link: whoever calls one holds `refs` and looks at `dead` after it. An agent is not trusted: an answer is matched by id only, and what does not match goes to `fn`,
 * which drops what it does not know. */
#include "sandbox/agent_link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <glib-unix.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

enum { READ_AT_ONCE = 32 };
struct out { struct out *next; uint8_t type, flags; uint32_t id; uint64_t arg; int fd; size_t n; uint8_t body[]; };
struct ask { struct ask *next; agent_frame_fn *fn; void *arg; };      /* of one id, in the order asked; fn NULL: nobody waits */

struct agent_link {
    int sock;
    unsigned refs;
    bool dead;                            /* freed by its owner */
    bool ended;                           /* the socket is of no use */
    guint in, room;
    uint32_t last_id;
    GHashTable *asks;                     /* id -> first struct ask */
    unsigned ask_count;
    struct out *first, **last;
    size_t queued;
    agent_frame_fn *fn;
    void *arg;
    struct agent_link_times times;
};

/* One buffer for all links: a frame is handled before the next is read, on one thread. Handlers that turn the loop are not allowed. */
static uint8_t *frame_buf(void)
{
    static uint8_t *b;
    return b ? b : (b = g_malloc(FRAME_MAX));
}

static void link_unref(struct agent_link *l)
{
    if (--l->refs)
        return;
    g_hash_table_unref(l->asks);
    g_free(l);
}

static void frame_done(struct frame *f)
{
    for (unsigned i = 0; i < f->fd_count; i++)
        close_p(&f->fds[i]);
}

static bool answer(struct agent_link *l, struct frame *f)
{
    struct ask *a = g_hash_table_lookup(l->asks, GUINT_TO_POINTER(f->id)), was;

    if (!a)
        return false;
    was = *a;
    if (was.next)
        g_hash_table_insert(l->asks, GUINT_TO_POINTER(f->id), was.next);
    else
        g_hash_table_remove(l->asks, GUINT_TO_POINTER(f->id));
    g_free(a);
    l->ask_count--;
    if (was.fn)
        was.fn(was.arg, f);
    return true;
}

static void dispatch(struct agent_link *l, struct frame *f)
{
    if (f->type == FRAME_EXEC_STATE)
        agent_link_seen(l, f->id);
    if (f->type == FRAME_STARTED && !l->times.started_ns)
        l->times.started_ns = clock_mono_ns();
    if (f->type == FRAME_EXITED && !l->times.exited_ns)
        l->times.exited_ns = clock_mono_ns();
    if ((f->type == FRAME_RESULT || f->type == FRAME_FAILED || f->type == FRAME_STARTED) && answer(l, f))
        return;
    l->fn(l->arg, f);
}

static void link_ended(struct agent_link *l)
{
    if (l->ended)
        return;
    l->ended = true;
    if (l->room)
        g_source_remove(l->room);
    l->room = 0;
    l->fn(l->arg, NULL);
}

static gboolean readable(gint fd, GIOCondition cond, gpointer arg)
{
    struct agent_link *l = arg;
    struct frame f;
    int r = 1;

    l->refs++;
    for (unsigned i = 0; i < READ_AT_ONCE && r > 0 && !l->dead; i++) {
        r = frame_recv(l->sock, frame_buf(), &f);
        if (r == 1) {
            dispatch(l, &f);
            frame_done(&f);
        } else if (r == -EBADMSG) {
            log_warn("agent frame=bad");
            r = 1;                        /* a packet of its own: the next may be good */
        }
    }
    if (r == -EAGAIN || r == -EINTR)
        r = 1;
    bool keep = r > 0 && !l->dead;
    if (r <= 0 && !l->dead) {
        l->in = 0;
        link_ended(l);
    }
    link_unref(l);
    return keep;
}

struct agent_link *agent_link_new(int sock, agent_frame_fn *fn, void *arg)
{
    struct agent_link *l = g_new0(struct agent_link, 1);

    fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) | O_NONBLOCK);
    l->sock = sock;
    l->refs = 1;
    l->fn = fn;
    l->arg = arg;
    l->last = &l->first;
    l->asks = g_hash_table_new(NULL, NULL);
    l->in = g_unix_fd_add(sock, G_IO_IN | G_IO_HUP, readable, l);
    return l;
}

static void asks_end(struct agent_link *l)
{
    GHashTableIter it;
    gpointer v;

    for (;;) {                            /* answers may ask again: -EPIPE by now */
        g_hash_table_iter_init(&it, l->asks);
        if (!g_hash_table_iter_next(&it, NULL, &v))
            return;
        g_hash_table_iter_remove(&it);
        for (struct ask *a = v, *next; a; a = next) {
            next = a->next;
            if (a->fn)
                a->fn(a->arg, NULL);
            g_free(a);
        }
    }
}

void agent_link_free(struct agent_link *l)
{
    if (!l || l->dead)
        return;
    l->dead = l->ended = true;
    if (l->in)
        g_source_remove(l->in);
    if (l->room)
        g_source_remove(l->room);
    l->in = l->room = 0;
    while (l->first) {
        struct out *o = l->first;
        l->first = o->next;
        close_p(&o->fd);
        g_free(o);
    }
    asks_end(l);
    close(l->sock);
    link_unref(l);
}

uint32_t agent_link_id(struct agent_link *l)
{
    if (!++l->last_id)
        l->last_id = 1;
    return l->last_id;
}

void agent_link_seen(struct agent_link *l, uint32_t id)
{
    if (id > l->last_id)
        l->last_id = id;
}

struct agent_link_times agent_link_times(const struct agent_link *l)
{
    return l->times;
}

/* --- sending --- */

static gboolean writable(gint fd, GIOCondition cond, gpointer arg)
{
    struct agent_link *l = arg;
    int r = 0;

    while (l->first && !r) {
        struct out *o = l->first;
        r = frame_send(l->sock, o->type, o->flags, o->id, o->arg, NULL, 0, o->body, o->n, o->fd);
        if (r == -EAGAIN)
            return G_SOURCE_CONTINUE;
        if (!(l->first = o->next))
            l->last = &l->first;
        l->queued -= sizeof(*o) + o->n;
        close_p(&o->fd);
        g_free(o);
    }
    l->room = 0;                          /* on an error the reading side tells the end */
    return G_SOURCE_REMOVE;
}

static int enqueue(struct agent_link *l, const struct out *head, const void *body)
{
    struct out *o;
    int fd = -1;

    if (l->queued + sizeof(*o) + head->n > LINK_QUEUE_BYTES)
        return -ENOBUFS;
    if (head->fd >= 0 && (fd = fcntl(head->fd, F_DUPFD_CLOEXEC, 3)) < 0)
        return -ENOBUFS;
    o = g_malloc(sizeof(*o) + head->n);
    *o = *head;
    o->next = NULL;
    o->fd = fd;
    if (head->n)
        memcpy(o->body, body, head->n);
    *l->last = o;
    l->last = &o->next;
    l->queued += sizeof(*o) + o->n;
    if (!l->room)
        l->room = g_unix_fd_add(l->sock, G_IO_OUT, writable, l);
    return 0;
}

int agent_link_send(struct agent_link *l, uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *body, size_t n, int fd)
{
    struct out head = { .type = type, .flags = flags, .id = id, .arg = arg, .fd = fd, .n = n };
    int r;

    if (l->ended)
        return -EPIPE;
    if (n > FRAME_BODY_MAX)
        return -EMSGSIZE;
    if (type == FRAME_EXEC && !l->times.exec_ns)
        l->times.exec_ns = clock_mono_ns();
    r = l->first ? -EAGAIN : frame_send(l->sock, type, flags, id, arg, NULL, 0, body, n, fd);
    return r == -EAGAIN ? enqueue(l, &head, body) : r;
}

int agent_link_ask(struct agent_link *l, uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *body, size_t n, int fd, agent_frame_fn *fn, void *arg_fn)
{
    struct ask *a, *last;
    int r;

    if (l->ask_count >= LINK_ASKS_MAX)
        return -ENOBUFS;
    r = agent_link_send(l, type, flags, id, arg, body, n, fd);
    if (r)
        return r;
    a = g_new(struct ask, 1);
    *a = (struct ask){ NULL, fn, arg_fn };
    l->ask_count++;
    last = g_hash_table_lookup(l->asks, GUINT_TO_POINTER(id));
    if (!last)
        g_hash_table_insert(l->asks, GUINT_TO_POINTER(id), a);
    while (last && last->next)
        last = last->next;
    if (last)
        last->next = a;
    return 0;
}

void agent_link_unask(struct agent_link *l, uint32_t id, void *arg_fn)
{
    for (struct ask *a = g_hash_table_lookup(l->asks, GUINT_TO_POINTER(id)); a; a = a->next)
        if (a->arg == arg_fn)
            a->fn = NULL;
}
