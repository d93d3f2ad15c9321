#include "sandbox/http/wire.h"
#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "sandbox/http/gate.h"
#include "sandbox/http/metrics.h"

enum { HELD_MAX = 1024, SMALL_MAX = 512, LATE_MAX = 64, LINGER_S = 30, LINGER_TOTAL = 256 };
/* libsoup asks for a source whenever it has to wait; those that live are kept here, so that pausing takes their interest away. */
struct wait { GSource source; Wire *wire; gpointer tag; bool in; };
struct Wire {
    GIOStream parent;
    int fd;
    bool half_close, paused, websocket, blocked, cut, idle, ended, taken;
    struct gate gate;
    const struct wire_hooks *hooks;
    void *arg;
    GInputStream *in;
    GOutputStream *out;
    GList *waits;
    GSource *peer;
    size_t while_blocked;                     /* bytes read since the socket took no more */
    /* small writes, for which there is room in the socket: they go with the next, or when the loop turns (a head and its body wake the client once) */
    uint8_t held[HELD_MAX];
    size_t held_n;
    GSource *held_source;
    /* the frame that goes out: bytes of its head so far, its length, and how much of its payload is still to come */
    uint8_t head[10];
    unsigned head_n;
    uint64_t left;
};
typedef struct { GIOStreamClass parent; } WireClass;
typedef struct { GInputStream parent; Wire *wire; } WireIn;
typedef struct { GInputStreamClass parent; } WireInClass;
/* late: what libsoup wrote with the blocking function: GIO ends a chunked body in a helper thread. It must not wait there for a client that does not read (there are few such
 * threads), nor be lost: it goes out from the main loop, before anything else. The one thing here that another thread touches; under lock. */
typedef struct { GOutputStream parent; Wire *wire; GMutex lock; uint8_t late[LATE_MAX]; size_t late_n; GSource *late_source; } WireOut;
typedef struct { GOutputStreamClass parent; } WireOutClass;
static void in_pollable(GPollableInputStreamInterface *i);
static void out_pollable(GPollableOutputStreamInterface *i);
static GType wire_get_type(void);
static GType wire_in_get_type(void);
static GType wire_out_get_type(void);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
G_DEFINE_TYPE(Wire, wire, G_TYPE_IO_STREAM)
G_DEFINE_TYPE_WITH_CODE(WireIn, wire_in, G_TYPE_INPUT_STREAM, G_IMPLEMENT_INTERFACE(G_TYPE_POLLABLE_INPUT_STREAM, in_pollable))
G_DEFINE_TYPE_WITH_CODE(WireOut, wire_out, G_TYPE_OUTPUT_STREAM, G_IMPLEMENT_INTERFACE(G_TYPE_POLLABLE_OUTPUT_STREAM, out_pollable))
#pragma GCC diagnostic pop

static bool may_read(const Wire *w) { return !w->paused && w->gate.state != GATE_SHUT && !(w->blocked && w->while_blocked >= WIRE_BLOCKED_MAX); }
static GIOCondition interest(const struct wait *s) { return !s->in ? G_IO_OUT : may_read(s->wire) || s->wire->cut ? G_IO_IN : 0; }

static void renew_interest(Wire *w) {
    for (GList *i = w->waits; i; i = i->next) {
        struct wait *s = i->data;
        if (!s->in) continue;
        g_source_modify_unix_fd(&s->source, s->tag, interest(s));
        if (gate_pending(&w->gate) && may_read(w)) g_source_set_ready_time(&s->source, 0);      /* bytes that the socket does not know of any more */
    }
}

static gboolean wait_ready(gpointer arg) { return G_SOURCE_CONTINUE; }      /* GLib wants one for a child source's dummy callback */
static gboolean wait_dispatch(GSource *source, GSourceFunc fn, gpointer arg) {
    const struct wait *s = (struct wait *)source;
    if (s->wire && !s->wire->cut) g_source_set_ready_time(source, -1);
    return G_SOURCE_CONTINUE;
}
static void wait_finalize(GSource *source) {
    struct wait *s = (struct wait *)source;
    if (s->wire) s->wire->waits = g_list_remove(s->wire->waits, s);
}

/* The source that libsoup waits on: ready when the socket is, unless the wire is paused. */
static GSource *wait_source(GObject *stream, Wire *w, bool in, GCancellable *cancel) {
    static GSourceFuncs funcs = { .dispatch = wait_dispatch, .finalize = wait_finalize, .closure_callback = wait_ready };
    struct wait *s = (struct wait *)g_source_new(&funcs, sizeof *s);
    s->in = in;
    if (w && w->fd >= 0) {
        s->wire = w;
        w->waits = g_list_prepend(w->waits, s);
        s->tag = g_source_add_unix_fd(&s->source, w->fd, interest(s));
        if (in && gate_pending(&w->gate) && may_read(w)) g_source_set_ready_time(&s->source, 0);
    } else g_source_set_ready_time(&s->source, 0);
    GSource *all = g_pollable_source_new_full(stream, &s->source, cancel);
    g_source_unref(&s->source);
    return all;
}

static gssize fail(GError **error, int err) {
    g_set_error_literal(error, G_IO_ERROR, g_io_error_from_errno(err), g_strerror(err));
    return -1;
}

/* --- in --- */
/* libsoup 3.2 forgets a connection that ends between two requests: neither closed nor freed. With a last byte it is a request that broke off, and that it does close. */
static gssize end(Wire *w, uint8_t *p) {
    if (!w->idle || w->ended) return 0;
    w->ended = true;
    *p = 'X';
    return 1;
}

static gssize take_in(Wire *w, void *p, size_t n) {
    gssize got;
    do got = recv(w->fd, p, n, MSG_DONTWAIT); while (got < 0 && errno == EINTR);
    if (got <= 0) return got;
    metrics_add(METRIC_HTTP_IN_BYTES, (uint64_t)got);
    if (w->blocked) {
        w->while_blocked += (size_t)got;
        if (!may_read(w)) renew_interest(w);
    }
    if (w->hooks->in) w->hooks->in(w->arg, (size_t)got);
    return got;
}

/* The connection is somebody else's from here on. */
static void give_away(Wire *w) {
    struct gate g = w->gate;
    int fd = w->fd;
    if (w->peer) { g_source_destroy(w->peer); g_source_unref(w->peer); w->peer = NULL; }
    for (GList *i = w->waits; i; i = i->next) {
        struct wait *s = i->data;
        g_source_remove_unix_fd(&s->source, s->tag);
        s->wire = NULL;
        g_source_set_ready_time(&s->source, 0);
    }
    g_list_free(w->waits);
    w->waits = NULL;
    w->gate = (struct gate){ .state = GATE_OPEN };
    w->fd = -1;
    w->taken = true;
    w->hooks->taken(w->arg, fd, g.p, g.n);
    gate_fini(&g);
}

/* Reads until there is a head to judge. 1: libsoup may have it; 0: it was given away; -1 and errno. */
static int judge(Wire *w) {
    struct gate *g = &w->gate;
    bool whole = g->n && gate_add(g, 0);
    while (!whole) {
        uint8_t *at;
        size_t room = gate_room(g, &at);
        gssize got = take_in(w, at, room);
        if (got < 0) return -1;
        if (w->cut) return 0;
        if (!got) g->state = GATE_OPEN;
        whole = !got || gate_add(g, (size_t)got);
    }
    if (g->state == GATE_OPEN) return 1;
    if (w->hooks->head(w->arg, (char *)g->p, g->head)) { give_away(w); return 0; }
    gate_pass(g);
    return 1;
}

static gssize in_read(GPollableInputStream *s, void *p, gsize n, GError **error) {
    Wire *w = ((WireIn *)s)->wire;
    if (!w) return 0;
    if (w->fd < 0 || w->cut) return end(w, p);
    if (!may_read(w)) return fail(error, EAGAIN);
    int r = w->gate.state == GATE_HEAD ? judge(w) : 1;
    if (r < 0) return fail(error, errno);
    if (!r) return end(w, p);
    size_t ready = MIN(gate_ready(&w->gate), n);
    if (ready) memcpy(p, w->gate.p + w->gate.at, ready);
    gssize got = ready ? (gssize)ready : take_in(w, p, gate_may_read(&w->gate, n));
    if (got < 0) return fail(error, errno);
    if (!got) return end(w, p);
    gate_given(&w->gate, (size_t)got);
    if (!may_read(w)) renew_interest(w);
    return got;
}
static gssize in_read_fn(GInputStream *s, void *p, gsize n, GCancellable *c, GError **error) { return in_read(G_POLLABLE_INPUT_STREAM(s), p, n, error); }
static gboolean in_is_readable(GPollableInputStream *s) {
    Wire *w = ((WireIn *)s)->wire;
    if (!w || w->fd < 0 || w->cut) return TRUE;
    struct pollfd f = { w->fd, POLLIN, 0 };
    return may_read(w) && (gate_pending(&w->gate) || poll(&f, 1, 0) > 0);
}
static GSource *in_create_source(GPollableInputStream *s, GCancellable *c) { return wait_source(G_OBJECT(s), ((WireIn *)s)->wire, true, c); }
static void in_pollable(GPollableInputStreamInterface *i) { i->is_readable = in_is_readable; i->create_source = in_create_source; i->read_nonblocking = in_read; }
static void wire_in_class_init(WireInClass *k) { G_INPUT_STREAM_CLASS(k)->read_fn = in_read_fn; }
static void wire_in_init(WireIn *s) { }

/* --- out --- */
/* Follows the frames that libsoup sends (never masked), to tell data from control. */
static size_t data_bytes(Wire *w, const uint8_t *p, size_t n) {
    size_t data = 0;
    while (n) {
        if (!w->left) {
            w->head[w->head_n++] = *p++;
            n--;
            unsigned len = w->head[1] & 127, need = w->head_n < 2 ? 2 : len == 126 ? 4 : len == 127 ? 10 : 2;
            if (w->head_n < need) continue;
            w->left = need == 2 ? len : 0;
            for (unsigned i = 2; i < need; i++) w->left = w->left << 8 | w->head[i];
            w->head_n = 0;
            continue;
        }
        size_t take = n < w->left ? n : (size_t)w->left;
        if (!(w->head[0] & 8)) data += take;
        w->left -= take;
        p += take;
        n -= take;
    }
    return data;
}

/* What is held goes first. -1 and errno; how much of p went. */
static gssize put_out(Wire *w, const void *p, size_t n) {
    struct iovec v[2] = { { w->held, w->held_n }, { (void *)(uintptr_t)p, n } };
    struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
    gssize put;
    do put = sendmsg(w->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL); while (put < 0 && errno == EINTR);
    if (put < 0) return put;
    size_t of_held = MIN((size_t)put, w->held_n);
    memmove(w->held, w->held + of_held, w->held_n - of_held);
    w->held_n -= of_held;
    if (w->held_n || (n && (size_t)put == of_held)) { errno = EAGAIN; return -1; }
    return put - (gssize)of_held;
}

/* True: nothing is late any more. */
static bool put_late(Wire *w) {
    WireOut *o = (WireOut *)w->out;
    g_mutex_lock(&o->lock);
    gssize put = o->late_n ? put_out(w, o->late, o->late_n) : 0;
    if (put < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) put = (gssize)o->late_n;      /* the next write finds the error */
    if (put > 0) {
        memmove(o->late, o->late + put, o->late_n - (size_t)put);
        o->late_n -= (size_t)put;
    }
    bool none = !o->late_n;
    g_mutex_unlock(&o->lock);
    return none;
}

static void forget_late_source(WireOut *o) {
    if (!o->late_source) return;
    g_source_destroy(o->late_source);
    g_source_unref(o->late_source);
    o->late_source = NULL;
}

static gboolean on_late_room(gint fd, GIOCondition ev, gpointer arg) {
    WireOut *o = arg;
    if (put_late(o->wire)) forget_late_source(o);
    return G_SOURCE_CONTINUE;
}

static gboolean on_late(gpointer arg) {
    WireOut *o = arg;
    if (!o->wire || o->wire->fd < 0 || o->late_source || put_late(o->wire)) return G_SOURCE_REMOVE;
    o->late_source = g_unix_fd_source_new(o->wire->fd, G_IO_OUT);
    g_source_set_callback(o->late_source, G_SOURCE_FUNC(on_late_room), o, NULL);
    g_source_attach(o->late_source, NULL);
    return G_SOURCE_REMOVE;
}

/* A closed wire whose last bytes the socket did not take yet: it is closed when they went, or after LINGER_S. */
struct last { int fd; guint ready, timeout; size_t n; uint8_t bytes[HELD_MAX + LATE_MAX]; };
static unsigned lingering;

static void last_end(struct last *l) {
    if (l->ready) g_source_remove(l->ready);
    if (l->timeout) g_source_remove(l->timeout);
    close(l->fd);
    lingering--;
    g_free(l);
}

static gboolean last_ready(gint fd, GIOCondition ev, gpointer arg) {
    struct last *l = arg;
    ssize_t put = send(fd, l->bytes, l->n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && (errno == EAGAIN || errno == EINTR)) return G_SOURCE_CONTINUE;
    if (put > 0) memmove(l->bytes, l->bytes + put, l->n -= (size_t)put);
    if (put > 0 && l->n) return G_SOURCE_CONTINUE;
    l->ready = 0;
    last_end(l);
    return G_SOURCE_REMOVE;
}

static gboolean last_timeout(gpointer arg) {
    ((struct last *)arg)->timeout = 0;
    last_end(arg);
    return G_SOURCE_REMOVE;
}

static void close_when_sent(Wire *w) {
    WireOut *o = (WireOut *)w->out;
    forget_late_source(o);
    if (w->cut || (!w->held_n && put_late(w)) || lingering >= LINGER_TOTAL) { close(w->fd); return; }
    struct last *l = g_new0(struct last, 1);
    l->fd = w->fd;
    memcpy(l->bytes, w->held, w->held_n);
    memcpy(l->bytes + w->held_n, o->late, o->late_n);
    l->n = w->held_n + o->late_n;
    lingering++;
    l->ready = g_unix_fd_add(l->fd, G_IO_OUT, last_ready, l);
    l->timeout = g_timeout_add_seconds(LINGER_S, last_timeout, l);
}

/* An error is for the next write, or the reading side, to find. */
static void flush(Wire *w) {
    if (w->held_source) { g_source_destroy(w->held_source); g_source_unref(w->held_source); w->held_source = NULL; }
    if (w->held_n && w->fd >= 0 && !w->cut) put_out(w, NULL, 0);
}

static void flush_later(Wire *w, GSource *when);

/* The kernel may be short of memory even so: again in a moment. */
static gboolean on_turn(gpointer arg) {
    Wire *w = arg;
    flush(w);
    if (w->held_n && w->fd >= 0 && !w->cut && (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM)) flush_later(w, g_timeout_source_new(10));
    return G_SOURCE_REMOVE;
}

static void flush_later(Wire *w, GSource *when) {
    w->held_source = when;
    g_source_set_priority(when, G_PRIORITY_HIGH);
    g_source_set_callback(when, on_turn, w, NULL);
    g_source_attach(when, NULL);
}

/* Only what fits: a socket that says it can be written has room for HELD_MAX, and nobody else writes to it. So nothing that was taken here is lost when the wire is closed. */
static bool hold(Wire *w, const void *p, size_t n) {
    struct pollfd f = { w->fd, POLLOUT, 0 };
    if (w->websocket || n > SMALL_MAX || n > HELD_MAX - w->held_n || (!w->held_n && (poll(&f, 1, 0) != 1 || f.revents != POLLOUT))) return false;
    memcpy(w->held + w->held_n, p, n);
    w->held_n += n;
    if (!w->held_source) flush_later(w, g_idle_source_new());
    return true;
}

static gssize out_write(GPollableOutputStream *s, const void *p, gsize n, GError **error) {
    Wire *w = ((WireOut *)s)->wire;
    if (!w || w->fd < 0 || w->cut) return fail(error, EPIPE);
    if (!put_late(w)) return fail(error, EAGAIN);
    bool held = hold(w, p, n);
    gssize put = held ? (gssize)n : put_out(w, p, n);
    if (put < 0) {
        if (errno == EAGAIN && w->websocket && !w->blocked) { w->blocked = true; w->while_blocked = 0; }
        return fail(error, errno);
    }
    if (w->blocked) { w->blocked = false; renew_interest(w); }
    metrics_add(METRIC_HTTP_OUT_BYTES, (uint64_t)put);
    size_t data = w->websocket ? data_bytes(w, p, (size_t)put) : 0;
    if (data) w->hooks->data_out(w->arg, data);
    return put;
}
/* In any thread. */
static gssize out_write_fn(GOutputStream *s, const void *p, gsize n, GCancellable *c, GError **error) {
    WireOut *o = (WireOut *)s;
    g_mutex_lock(&o->lock);
    bool room = n <= LATE_MAX - o->late_n;
    if (room) {
        memcpy(o->late + o->late_n, p, n);
        o->late_n += n;
    }
    g_mutex_unlock(&o->lock);
    if (!room) return fail(error, ENOBUFS);
    g_main_context_invoke_full(NULL, G_PRIORITY_HIGH, on_late, g_object_ref(o), g_object_unref);
    return (gssize)n;
}
static gboolean out_is_writable(GPollableOutputStream *s) {
    Wire *w = ((WireOut *)s)->wire;
    if (!w || w->fd < 0 || w->cut) return TRUE;
    struct pollfd f = { w->fd, POLLOUT, 0 };
    return poll(&f, 1, 0) > 0;
}
static GSource *out_create_source(GPollableOutputStream *s, GCancellable *c) { return wait_source(G_OBJECT(s), ((WireOut *)s)->wire, false, c); }
static void out_pollable(GPollableOutputStreamInterface *i) { i->is_writable = out_is_writable; i->create_source = out_create_source; i->write_nonblocking = out_write; }
static void out_finalize(GObject *s) {
    g_mutex_clear(&((WireOut *)s)->lock);
    G_OBJECT_CLASS(wire_out_parent_class)->finalize(s);
}
static void wire_out_class_init(WireOutClass *k) {
    G_OBJECT_CLASS(k)->finalize = out_finalize;
    G_OUTPUT_STREAM_CLASS(k)->write_fn = out_write_fn;
}
static void wire_out_init(WireOut *s) { g_mutex_init(&s->lock); }

/* --- the whole --- */
static void close_fd(Wire *w) {
    if (w->taken) { w->taken = false; w->hooks->closed(w->arg); return; }
    if (w->fd < 0) return;
    flush(w);
    if (w->peer) { g_source_destroy(w->peer); g_source_unref(w->peer); w->peer = NULL; }
    for (GList *i = w->waits; i; i = i->next) {          /* a poll of a closed number would see another file */
        struct wait *s = i->data;
        g_source_remove_unix_fd(&s->source, s->tag);
        s->wire = NULL;
        g_source_set_ready_time(&s->source, 0);
    }
    g_list_free(w->waits);
    w->waits = NULL;
    close_when_sent(w);
    w->fd = -1;
    if (w->hooks->closed) w->hooks->closed(w->arg);
}

static gboolean on_peer(gint fd, GIOCondition ev, gpointer arg) {
    Wire *w = arg;
    g_source_unref(w->peer);
    w->peer = NULL;
    w->hooks->left(w->arg, (ev & (G_IO_HUP | G_IO_ERR)) != 0);
    return G_SOURCE_REMOVE;
}

void wire_watch(Wire *w, bool on) {
    if (w->fd < 0 || on == (w->peer != NULL)) return;
    if (!on) { g_source_destroy(w->peer); g_source_unref(w->peer); w->peer = NULL; return; }
    w->peer = g_unix_fd_source_new(w->fd, (GIOCondition)(G_IO_HUP | G_IO_ERR | (w->half_close ? 0 : POLLRDHUP)));
    g_source_set_callback(w->peer, G_SOURCE_FUNC(on_peer), w, NULL);
    g_source_attach(w->peer, NULL);
}

void wire_pause(Wire *w, bool on) { w->paused = on; renew_interest(w); }
void wire_idle(Wire *w, bool on) {
    w->idle = on;
    if (on) gate_next(&w->gate);
    if (on) renew_interest(w);
}
void wire_websocket(Wire *w) {
    w->websocket = true;
    w->gate.state = GATE_OPEN;
    flush(w);
    renew_interest(w);
}
void wire_preload(Wire *w, const void *p, size_t n) { gate_preload(&w->gate, p, n); }

void wire_end(Wire *w) { close_fd(w); }

void wire_cut(Wire *w, bool reset) {
    if (w->fd < 0 || w->cut) return;
    flush(w);
    struct linger now = { .l_onoff = 1 };
    if (reset) setsockopt(w->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    w->cut = true;
    w->paused = false;
    if (!reset) shutdown(w->fd, SHUT_RDWR);
    for (GList *i = w->waits; i; i = i->next) g_source_set_ready_time(i->data, 0);
}

static gboolean wire_close_fn(GIOStream *s, GCancellable *c, GError **error) { close_fd((Wire *)s); return TRUE; }

/* GLib's own closes on another thread: closed() would run beside the loop. libsoup ends WebSockets so, also from within a send that failed: hence from the loop. */
static gboolean close_turn(gpointer task) {
    close_fd(g_task_get_source_object(task));
    g_task_return_boolean(task, TRUE);
    return G_SOURCE_REMOVE;
}
static void wire_close_async(GIOStream *s, int priority, GCancellable *c, GAsyncReadyCallback fn, gpointer arg) {
    g_idle_add_full(priority, close_turn, g_task_new(s, c, fn, arg), g_object_unref);
}
static gboolean wire_close_finish(GIOStream *s, GAsyncResult *r, GError **error) { return g_task_propagate_boolean(G_TASK(r), error); }
static GInputStream *wire_input(GIOStream *s) { return ((Wire *)s)->in; }
static GOutputStream *wire_output(GIOStream *s) { return ((Wire *)s)->out; }

static void wire_finalize(GObject *o) {
    Wire *w = (Wire *)o;
    close_fd(w);
    gate_fini(&w->gate);
    ((WireIn *)w->in)->wire = NULL;
    ((WireOut *)w->out)->wire = NULL;
    g_object_unref(w->in);
    g_object_unref(w->out);
    G_OBJECT_CLASS(wire_parent_class)->finalize(o);
}

static void wire_class_init(WireClass *k) {
    G_OBJECT_CLASS(k)->finalize = wire_finalize;
    G_IO_STREAM_CLASS(k)->close_fn = wire_close_fn;
    G_IO_STREAM_CLASS(k)->close_async = wire_close_async;
    G_IO_STREAM_CLASS(k)->close_finish = wire_close_finish;
    G_IO_STREAM_CLASS(k)->get_input_stream = wire_input;
    G_IO_STREAM_CLASS(k)->get_output_stream = wire_output;
}
static void wire_init(Wire *w) { w->fd = -1; }

Wire *wire_new(int fd, bool half_close, const struct wire_hooks *hooks, void *arg) {
    Wire *w = g_object_new(wire_get_type(), NULL);
    w->fd = fd;
    w->half_close = half_close;
    w->hooks = hooks;
    w->arg = arg;
    w->gate.state = hooks->head ? GATE_HEAD : GATE_OPEN;
    w->in = g_object_new(wire_in_get_type(), NULL);
    w->out = g_object_new(wire_out_get_type(), NULL);
    ((WireIn *)w->in)->wire = w;
    ((WireOut *)w->out)->wire = w;
    return w;
}
