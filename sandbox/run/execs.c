/* The table of executions of a box: what there is, what the agent tells of it, the end of all of it.
 *
 * An execution enters the table when it is asked for (exec.c) or when an agent that outlived sandboxd tells of it (EXEC_STATE), and leaves it when it could not start, when the
 * agent forgets it (GONE), or when the box stops. It holds the box from its start to EXITED. What holds a reference to one that has left finds exec->b NULL. */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "sandbox/http/metrics.h"
#include "sandbox/run/exec_private.h"
#include "sandbox/run/session.h"
#include "sandbox/run/term_private.h"
#include "sandbox/service.h"
#include "sandbox/watch.h"

enum { FORGET_MS = 2000 };

static void exec_unref_table(gpointer p) { exec_unref(p); }

struct execs *execs_of(struct box *b)
{
    if (b->execs)
        return b->execs;
    b->execs = g_new0(struct execs, 1);
    b->execs->b = b;
    b->execs->by_id = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, exec_unref_table);
    b->execs->files = g_hash_table_new(g_direct_hash, g_direct_equal);
    return b->execs;
}

struct exec *exec_ref(struct exec *e)
{
    e->refs++;
    return e;
}

void exec_unref(struct exec *e)
{
    if (!e || --e->refs)
        return;
    g_strfreev(e->argv);
    g_ptr_array_unref(e->readers);
    g_array_unref(e->room);
    g_array_unref(e->exit_waits);
    g_free(e);
}

static gboolean forget_late(gpointer arg)
{
    struct exec *e = arg;

    if (e->exited)
        exec_forget(e);
    exec_unref(e);
    return G_SOURCE_REMOVE;
}

void exec_forget_later(struct exec *e) { g_timeout_add(FORGET_MS, forget_late, e); }

struct exec *exec_new(struct execs *t, uint32_t id)
{
    struct exec *e = g_new0(struct exec, 1);

    e->refs = 1;
    e->b = t->b;
    e->id = id;
    snprintf(e->eid, sizeof(e->eid), "e%u", id);
    e->readers = g_ptr_array_new();
    e->room = g_array_new(false, false, sizeof(struct wait));
    e->exit_waits = g_array_new(false, false, sizeof(struct wait));
    g_hash_table_insert(t->by_id, GUINT_TO_POINTER(id), e);
    return e;
}

struct exec *exec_find(struct box *b, const char *eid)
{
    char text[16];
    guint64 id;

    if (!b->execs || eid[0] != 'e' || !g_ascii_string_to_unsigned(eid + 1, 10, 1, UINT32_MAX, &id, NULL))
        return NULL;
    snprintf(text, sizeof(text), "e%u", (unsigned)id);
    if (strcmp(text, eid))                    /* one name for each: no e012 */
        return NULL;
    struct exec *e = g_hash_table_lookup(b->execs->by_id, GUINT_TO_POINTER((guint)id));
    return e && e->started ? e : NULL;
}

static void exec_unhold(struct exec *e)
{
    if (e->holds && e->b) {
        e->holds = false;
        box_release(e->b);
    }
}

bool exec_is_program(const struct exec *e, const char *argv0) { return e->argv && e->argv[0] && !strcmp(e->argv[0], argv0); }

void exec_let_idle(struct exec *e) { exec_unhold(e); }

void exec_remove(struct exec *e, const struct fault *why)
{
    struct box *b = e->b;

    if (!b)
        return;
    exec_ref(e);
    box_ref(b);
    exec_unhold(e);
    e->stdin_open = false;
    readers_end(e, why);
    term_gone(e);
    e->b = NULL;
    g_hash_table_remove(b->execs->by_id, GUINT_TO_POINTER(e->id));
    exec_waits_call(e, e->room);
    exec_waits_call(e, e->exit_waits);
    exec_unref(e);
    box_unref(b);
}

/* --- frames --- */
static void on_exited(struct exec *e, struct frame *f)
{
    struct reader r = reader_of(f->body, f->n);

    if (e->exited)
        return;
    exit_info_get(&r, &e->exit);
    if (r.bad || e->exit.signal < 0 || e->exit.signal > 64 || (!e->exit.signal && (e->exit.code < EXIT_UNKNOWN || e->exit.code > 255)))
        e->exit = (struct exit_info){ .code = EXIT_UNKNOWN };
    e->exited = true;
    e->end_seq = f->arg;
    e->next = MAX(e->next, f->arg);
    e->stdin_open = false;
    exec_ref(e);
    readers_exited(e);
    exec_waits_call(e, e->room);
    exec_waits_call(e, e->exit_waits);
    exec_unhold(e);
    exec_unref(e);
}

static void on_stdin_ack(struct exec *e, struct frame *f)
{
    if (f->arg > e->in_acked && f->arg <= e->in_sent)
        e->in_acked = f->arg;
    if (f->flags & 1)
        e->stdin_open = false;
    if (!e->stdin_open || exec_stdin_room(e))
        exec_waits_call(e, e->room);
}

/* An execution of a former life of sandboxd. */
static void on_state(struct box *b, struct frame *f)
{
    struct execs *t = execs_of(b);
    struct reader r = reader_of(f->body, f->n);
    char argv0[4096];
    struct exec *e;

    if (!f->id || g_hash_table_contains(t->by_id, GUINT_TO_POINTER(f->id)) || g_hash_table_size(t->by_id) >= EXECS_MAX + EXECS_KEPT)
        return;
    e = exec_new(t, f->id);
    e->pid = get_u32(&r);
    e->first = get_u64(&r);
    e->next = get_u64(&r);
    e->start_ns = get_u64(&r);
    e->in_sent = get_u64(&r);
    e->in_acked = get_u64(&r);
    if (f->flags & STATE_EXITED)
        exit_info_get(&r, &e->exit);
    get_str(&r, argv0, sizeof(argv0));
    if (r.bad || e->in_acked > e->in_sent || e->in_sent - e->in_acked > STDIN_WINDOW) {
        log_warn("box=%s exec=%s step=state err=EBADMSG", b->id, e->eid);
        exec_remove(e, NULL);
        return;
    }
    e->argv = g_new0(char *, 2);
    e->argv[0] = g_strdup(argv0);
    e->tty = f->flags & EXEC_TTY;
    e->started = true;
    e->reader_high = 1;
    e->exited = f->flags & STATE_EXITED;
    e->end_seq = e->exited ? e->next : 0;
    e->stdin_open = !e->exited && (f->flags & (EXEC_STDIN | EXEC_CHANNEL) || e->tty);
    if (!e->exited) {
        box_hold(b);
        e->holds = true;
    }
    terms_adopt(e);
}

static void on_failed(struct box *b, struct frame *f)
{
    struct reader r = reader_of(f->body, f->n);
    int32_t err = (int32_t)get_u32(&r);
    struct file_call *call = g_hash_table_lookup(b->execs->files, GUINT_TO_POINTER(f->id));
    char step[64];

    get_str(&r, step, sizeof(step));
    if (call)
        file_failed(call, r.bad || err >= 0 ? -EIO : err, r.bad ? "worker" : step);
}

static void on_frame(struct box *b, struct frame *f)
{
    struct exec *e;

    if (f->type == FRAME_EXEC_STATE)
        return on_state(b, f);
    if (!b->execs)
        return;
    if (f->type == FRAME_FAILED)
        return on_failed(b, f);
    e = g_hash_table_lookup(b->execs->by_id, GUINT_TO_POINTER(f->id));
    if (!e || !e->started)
        return;                               /* forgotten while it was on its way */
    switch (f->type) {
    case FRAME_DATA:
        metrics_add(METRIC_OUTPUT_BYTES, f->n > 8 ? f->n - 8 : 0);
        return reader_data(e, f);
    case FRAME_DATA_END:
        return reader_data_end(e, f);
    case FRAME_EXITED:
        return on_exited(e, f);
    case FRAME_STDIN_ACK:
        return on_stdin_ack(e, f);
    case FRAME_GONE: {
        struct fault why;
        fault_set(&why, "not_found", "%s ended, and its output has been forgotten (%d ended executions are kept): start it again or read the output earlier", e->eid, EXECS_KEPT);
        return exec_remove(e, &why);
    }
    default:
        break;                                /* not ours, or of a version that we do not know */
    }
}

static void on_started(struct box *b)
{
    execs_of(b);
    sessions_started(b);
}

static void on_stopping(struct box *b)
{
    struct fault why;

    if (!b->execs)
        return;
    services_stopping(b);
    fault_set(&why, "not_running", "sandbox %s has stopped and its processes have ended: the next request starts it again", b->name);
    files_stopping(b, &why);
    while (g_hash_table_size(b->execs->by_id)) {
        GHashTableIter i;
        gpointer e;

        g_hash_table_iter_init(&i, b->execs->by_id);
        g_hash_table_iter_next(&i, NULL, &e);
        exec_remove(e, &why);
    }
    sessions_stopping(b);
}

static void on_deleted(struct box *b)
{
    sessions_delete(b);
    terms_deleted(b);
}

/* It is asleep: nothing is in the tables, and what sessions keep is in their file. */
static void on_freed(struct box *b)
{
    if (b->execs) {
        g_hash_table_unref(b->execs->by_id);
        g_hash_table_unref(b->execs->files);
        g_free(b->execs);
    }
    sessions_free(b);
}

const struct box_hooks exec_hooks = { .started = on_started, .running = services_running, .frame = on_frame, .stopping = on_stopping, .changed = watches_changed, .deleted = on_deleted, .freed = on_freed };
