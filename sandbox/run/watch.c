/* A watch is a passive execution of coppice-watch with a channel. What comes through that is the workload's word (it runs with the user's rights inside): bounded, checked, told only to
 * those who watch this box.
 *
 * Its life is that of its talk (talk.h): the request is put at once, then READY and all that follows comes, until end() is called or it is freed.
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
#include "sandbox/run/talk.h"
#include "sandbox/watch/proto.h"

enum { GLOB_MAX = 1024, WAITING_MAX = 1 << 20 };
struct watch {
    struct box *b;                         /* a reference */
    struct talk *t;
    uint64_t seq;
    bool ready, over;                      /* READY came: it comes once, and first */
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

static void let_go(struct watch *w)
{
    w->over = true;
    g_ptr_array_remove_fast(watches, w);
    talk_stop(w->t);
}

static void end(struct watch *w, const struct fault *fault)
{
    let_go(w);
    w->ops->end(w->arg, fault);
}

/* --- to the helper --- */
static void put_message(struct watch *w, const struct buf *body) { talk_put(w->t, g_bytes_new(body->data, body->len)); }

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
        if (w->b == b && talk_waiting(w->t) <= WAITING_MAX)
            put_message(w, &body);
    }
}

/* --- from it --- */
static void on_event(struct watch *w, struct reader *r)
{
    static char path[WATCH_STRING_MAX + 1], to[WATCH_STRING_MAX + 1];
    struct watch_event e = { .type = get_u8(r), .is_dir = get_u8(r) & 1, .path = path, .seq = w->seq + 1 };

    e.time_ns = get_u64(r);
    get_str(r, path, sizeof(path));
    get_str(r, to, sizeof(to));
    if (r->bad || reader_left(r) || e.type > WATCH_ATTRIB || path[0] != '/' || (e.type == WATCH_MOVE ? to[0] != '/' : to[0])) {
        talk_broken(w->t, "event");
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
        talk_broken(w->t, "end");
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(codes); i++)
        if (!strcmp(code, codes[i]))
            known = codes[i];
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    fault_set(&f, known, "%s", valid);
    end(w, &f);
}

static void on_message(void *arg, const uint8_t *p, size_t n)
{
    static char text[WATCH_STRING_MAX + 1];
    struct reader r = reader_of(p, n);
    struct watch *w = arg;
    uint64_t lost;

    switch (get_u8(&r)) {
    case WATCH_READY:
        get_str(&r, text, sizeof(text));
        if (r.bad || text[0] != '/' || w->ready) {
            talk_broken(w->t, "ready");
            break;
        }
        w->ready = true;
        w->ops->ready(w->arg, text);
        break;
    case WATCH_EVENT:
        if (w->ready)
            on_event(w, &r);
        else
            talk_broken(w->t, "an event first");
        break;
    case WATCH_LOST:
        lost = get_u64(&r);
        get_str(&r, text, 32);
        if (r.bad || !w->ready || !g_str_is_ascii(text))
            talk_broken(w->t, "lost");
        else
            w->ops->overflow(w->arg, lost, text);
        break;
    case WATCH_END:
        on_end_message(w, &r);
        break;
    default:
        talk_broken(w->t, "kind");
    }
}

static bool on_full(void *arg)
{
    struct watch *w = arg;

    return w->ops->full && w->ops->full(w->arg);
}

void watch_flow(struct watch *w) { talk_flow(w->t); }

static void on_end(void *arg, const struct talk_end *how)
{
    struct watch *w = arg;
    const struct exec *e = talk_exec(w->t);
    struct fault f;

    if (how->broken) {
        log_info("box=%s exec=%s step=watch err=%s", w->b->id, e ? exec_id(e) : "", how->broken);
        fault_set(&f, "agent_lost", "the watch ended: what came from its program in sandbox %s is no message (%s): begin again", w->b->name, how->broken);
    } else if (w->b->state == BOX_STOPPING || w->b->state == BOX_ASLEEP || w->b->state == BOX_DELETING) {
        fault_set(&f, "not_running", "sandbox %s has stopped, and the watch with it: the next request starts it again", w->b->name);
    } else {
        fault_set(&f, "agent_lost", "the watch of sandbox %s ended: its program was ended (was it killed, or was there no memory in the sandbox?): begin again", w->b->name);
    }
    end(w, how->fault ? how->fault : &f);
}

static const struct talk_ops talk_ops = { .message = on_message, .full = on_full, .end = on_end };

/* --- start --- */
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
    struct exec_request run = { .argv = argv, .user = q->user, .cwd = q->path ? "" : NULL, .program_fd = program_fd };
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
    w->b = box_ref(b);
    w->ops = ops;
    w->arg = arg;
    if (!watches)
        watches = g_ptr_array_new();
    g_ptr_array_add(watches, w);
    w->t = talk_start(b, &run, WATCH_MESSAGE_MAX, &talk_ops, w);
    put_request(w, q);
    return w;
}

void watch_free(struct watch *w)
{
    if (!w)
        return;
    if (!w->over)
        let_go(w);
    talk_free(w->t);
    box_unref(w->b);
    g_free(w);
}
