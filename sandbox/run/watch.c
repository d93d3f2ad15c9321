/* A watch is a passive execution of coppice-watch with a channel. What comes through that is the workload's word (it runs with the user's rights inside): bounded, checked, told only to
 * those who watch this box.
 *
 * Life: STARTING (the execution was asked for) -> RUNNING (the request is on its way; READY and all that follows comes) -> over (end() was called, or it was freed: the execution is killed
 * and forgotten).
 * Back-pressure: what a client that is full has not taken is not acknowledged; so the helper's socket fills, then its bounded queue, then it counts what it drops and says so. */
#include "sandbox/watch.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/wire.h"
#include "sandbox/exec.h"
#include "sandbox/run/program.h"
#include "sandbox/watch/proto.h"

enum { LENGTH_BYTES = 4, FORGET_MS = 2000, GLOB_MAX = 1024 };
struct watch {
    unsigned refs;                         /* the owner, the start, a call */
    struct box *b;                         /* a reference */
    struct exec *e;
    struct exec_reader *r;
    struct buf request;
    GByteArray *in;
    size_t owed;
    uint64_t seq;
    bool over, waiting;
    struct fault *late;
    const struct watch_ops *ops; void *arg;
};
static int program_fd = -ENOENT;
static GPtrArray *watches;                 /* borrowed: those that are not over */

void watch_init(void)
{
    program_fd = program_load("COPPICE_WATCH", "watch", "coppice-watch");
    if (program_fd < 0)
        log_warn("step=coppice-watch err=%s: no change events", errno_name(program_fd));
}

static void watch_unref(struct watch *w)
{
    if (--w->refs)
        return;
    buf_fini(&w->request);
    g_byte_array_unref(w->in);
    box_unref(w->b);
    g_free(w->late);
    g_free(w);
}

static gboolean forget_late(gpointer arg)
{
    struct exec *e = arg;

    if (exec_exit(e))
        exec_forget(e);
    exec_unref(e);
    return G_SOURCE_REMOVE;
}

/* It tells no more. */
static void let_go(struct watch *w)
{
    w->over = true;
    g_ptr_array_remove_fast(watches, w);
    exec_reader_free(w->r);
    w->r = NULL;
    if (!w->e)
        return;
    if (w->waiting)
        exec_off_stdin_room(w->e, w);
    w->waiting = false;
    exec_signal(w->e, 9 /* SIGKILL */, SIGNAL_TREE, NULL, NULL);
    g_timeout_add(FORGET_MS, forget_late, w->e);
    w->e = NULL;
}

static void end(struct watch *w, const struct fault *fault)
{
    if (w->over)
        return;
    w->refs++;
    let_go(w);
    w->ops->end(w->arg, fault);
    watch_unref(w);
}

/* --- to the helper --- */
static void flush(void *arg)
{
    struct watch *w = arg;

    w->waiting = false;
    if (w->over || !w->e || !w->request.len || !exec_stdin_is_open(w->e))
        return;
    size_t n = MIN(exec_stdin_room(w->e), w->request.len);
    if (n && exec_stdin(w->e, w->request.data, n) == 0) {
        memmove(w->request.data, w->request.data + n, w->request.len - n);
        w->request.len -= n;
    }
    if (w->request.len) {
        w->waiting = true;
        exec_on_stdin_room(w->e, flush, w);
    }
}

static void put_message(struct watch *w, const struct buf *body)
{
    buf_put_u32(&w->request, (uint32_t)body->len);
    buf_put(&w->request, body->data, body->len);
}

static unsigned count(char **v) { return v ? g_strv_length(v) : 0; }

static void put_request(struct watch *w, const struct watch_request *q)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;

    buf_put_u8(&b, WATCH_REQUEST);
    buf_put_u8(&b, q->recursive);
    buf_put_u32(&b, q->types);
    buf_put_u32(&b, WATCH_COALESCE_MS);
    buf_put_str(&b, q->path ? q->path : "");
    buf_put_u16(&b, (uint16_t)count(q->include));
    buf_put_u16(&b, (uint16_t)count(q->exclude));
    for (char **p = q->include; p && *p; p++)
        buf_put_str(&b, *p);
    for (char **p = q->exclude; p && *p; p++)
        buf_put_str(&b, *p);
    put_message(w, &b);
}

void watches_changed(struct box *b, const char *reason)
{
    _cleanup_(buf_fini) struct buf body = BUF_INIT;

    buf_put_u8(&body, WATCH_AGAIN);
    buf_put_str(&body, reason);
    for (unsigned i = 0; watches && i < watches->len; i++) {
        struct watch *w = watches->pdata[i];
        if (w->b != b || w->request.len > (1 << 20))
            continue;
        put_message(w, &body);
        flush(w);
    }
}

/* --- from it --- */
static void broken(struct watch *w, const char *what)
{
    struct fault f;

    log_info("box=%s exec=%s step=watch err=%s", w->b->id, w->e ? exec_id(w->e) : "", what);
    fault_set(&f, "agent_lost", "the watch ended: what came from its program in sandbox %s is no message (%s): begin again", w->b->name, what);
    end(w, &f);
}

static void on_event(struct watch *w, struct reader *r)
{
    static char path[WATCH_STRING_MAX + 1], to[WATCH_STRING_MAX + 1];
    struct watch_event e = { .type = get_u8(r), .is_dir = get_u8(r) & 1, .path = path, .seq = w->seq + 1 };

    e.time_ns = get_u64(r);
    get_str(r, path, sizeof(path));
    get_str(r, to, sizeof(to));
    if (r->bad || reader_left(r) || e.type > WATCH_ATTRIB || path[0] != '/' || (e.type == WATCH_MOVE ? to[0] != '/' : to[0])) {
        broken(w, "event");
        return;
    }
    e.to = to[0] ? to : NULL;
    w->seq++;
    w->ops->event(w->arg, &e);
}

static void on_end_message(struct watch *w, struct reader *r)
{
    static const char *const codes[] = { "not_found", "not_a_directory", "permission_denied", "too_many", "not_running" };
    char code[64], text[500];
    struct fault f;
    const char *known = "internal";

    get_str(r, code, sizeof(code));
    get_str(r, text, sizeof(text));
    if (r->bad) {
        broken(w, "end");
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(codes); i++)
        if (!strcmp(code, codes[i]))
            known = codes[i];
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    fault_set(&f, known, "%s", valid);
    end(w, &f);
}

static void on_message(struct watch *w, const uint8_t *p, size_t n)
{
    static char text[WATCH_STRING_MAX + 1];
    struct reader r = reader_of(p, n);
    uint64_t lost;

    switch (get_u8(&r)) {
    case WATCH_READY:
        get_str(&r, text, sizeof(text));
        if (r.bad || text[0] != '/')
            broken(w, "ready");
        else
            w->ops->ready(w->arg, text);
        break;
    case WATCH_EVENT:
        on_event(w, &r);
        break;
    case WATCH_LOST:
        lost = get_u64(&r);
        get_str(&r, text, 32);
        if (r.bad || !g_str_is_ascii(text))
            broken(w, "lost");
        else
            w->ops->overflow(w->arg, lost, text);
        break;
    case WATCH_END:
        on_end_message(w, &r);
        break;
    default:
        broken(w, "kind");
    }
}

static void on_channel(struct watch *w, const uint8_t *p, size_t n)
{
    size_t at = 0;

    g_byte_array_append(w->in, p, (guint)n);
    while (!w->over && w->in->len - at >= LENGTH_BYTES) {
        size_t size = le32(w->in->data + at);
        if (!size || size > WATCH_MESSAGE_MAX) {
            broken(w, "length");
            return;
        }
        if (w->in->len - at < LENGTH_BYTES + size)
            break;
        on_message(w, w->in->data + at + LENGTH_BYTES, size);
        at += LENGTH_BYTES + size;
    }
    if (at)
        g_byte_array_remove_range(w->in, 0, (guint)at);
}

void watch_flow(struct watch *w)
{
    bool full = !w->in->len && w->ops->full && w->ops->full(w->arg);

    if (!w->r || !w->owed || full)
        return;
    size_t n = w->owed;
    w->owed = 0;
    exec_reader_taken(w->r, n);
}

static void on_data(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n)
{
    struct watch *w = arg;

    (void)seq;
    w->refs++;
    w->owed += n;
    if (lost)
        broken(w, "lost bytes");
    else if (stream == STREAM_CHANNEL)
        on_channel(w, p, n);
    if (!w->over)
        watch_flow(w);
    watch_unref(w);
}

static void on_exec_end(void *arg, const struct fault *fault)
{
    struct watch *w = arg;
    struct fault f;

    if (w->b->state == BOX_STOPPING || w->b->state == BOX_ASLEEP || w->b->state == BOX_DELETING)
        fault_set(&f, "not_running", "sandbox %s has stopped, and the watch with it: the next request starts it again", w->b->name);
    else
        fault_set(&f, "agent_lost", "the watch of sandbox %s ended: its program was ended (was it killed, or was there no memory in the sandbox?): begin again", w->b->name);
    end(w, fault ? fault : &f);
}

static const struct exec_reader_ops reader_ops = { .data = on_data, .end = on_exec_end };

/* --- start --- */
static gboolean on_failed_late(gpointer arg)
{
    struct watch *w = arg;

    end(w, w->late);
    watch_unref(w);
    return G_SOURCE_REMOVE;
}

static void on_started(void *arg, struct exec *e, const struct fault *fault)
{
    struct watch *w = arg;

    if (fault) {
        w->late = g_memdup2(fault, sizeof(*fault));
        w->r = NULL;
        w->refs++;
        g_idle_add(on_failed_late, w);
    } else {
        struct exec_reader *r = exec_first_reader(e);
        w->e = exec_ref(e);
        w->r = r;
        if (w->over) {
            w->r = NULL;
            exec_reader_free(r);
            exec_signal(e, 9, SIGNAL_TREE, NULL, NULL);
            g_timeout_add(FORGET_MS, forget_late, w->e);
            w->e = NULL;
        } else {
            flush(w);
        }
    }
    watch_unref(w);
}

static bool globs_ok(char **v)
{
    for (char **p = v; p && *p; p++)
        if (!**p || strlen(*p) > GLOB_MAX)
            return false;
    return count(v) <= WATCH_GLOBS_MAX;
}

static unsigned watches_of(const struct box *b)
{
    unsigned n = 0;

    for (unsigned i = 0; watches && i < watches->len; i++)
        n += ((struct watch *)watches->pdata[i])->b == b;
    return n;
}

struct watch *watch_start(struct box *b, const struct watch_request *q, const struct watch_ops *ops, void *arg, struct fault *fault)
{
    char *argv[] = { (char *)(uintptr_t)"coppice-watch", NULL };
    struct exec_request run = { .argv = argv, .user = q->user, .cwd = q->path ? "" : NULL, .program_fd = program_fd, .channel = true, .passive = true, .hold = true };
    struct watch *w;

    if (program_fd < 0)
        return fault_set(fault, "not_supported", "this installation has no coppice-watch (it lies beside sandboxd): no change events"), NULL;
    if (watches_of(b) >= WATCHES_MAX)
        return fault_set(fault, "too_many", "sandbox %s is watched as often as it can be (%d): end a watch", b->name, WATCHES_MAX), NULL;
    if (!globs_ok(q->include) || !globs_ok(q->exclude))
        return fault_set(fault, "invalid_request", "include, exclude: at most %d patterns each, of 1 to %d bytes", WATCH_GLOBS_MAX, GLOB_MAX), NULL;
    if (q->path && (!*q->path || strlen(q->path) > 4095))
        return fault_set(fault, "invalid_request", "path: 1 to 4095 bytes"), NULL;
    w = g_new0(struct watch, 1);
    w->refs = 2;
    w->b = box_ref(b);
    w->in = g_byte_array_new();
    w->ops = ops;
    w->arg = arg;
    put_request(w, q);
    if (!watches)
        watches = g_ptr_array_new();
    g_ptr_array_add(watches, w);
    exec_start(b, &run, &reader_ops, w, on_started, w);
    return w;
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    if (!w->over)
        let_go(w);
    watch_unref(w);
}
