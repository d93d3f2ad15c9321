#include "sandbox/run/talk.h"

#include "base/wire.h"

enum { LENGTH_BYTES = 4 };
struct talk {
    unsigned refs;                         /* the owner, the start, a call */
    bool over, waits;                      /* for room */
    size_t max;
    struct exec *e;                        /* NULL: not started */
    struct exec_reader *r;
    GQueue out;                            /* GBytes: what is still to be written */
    size_t out_at, out_bytes;              /* of the first that is; of all that is not */
    GByteArray *in;                        /* an unfinished message, with its length */
    size_t owed;                           /* read and not acknowledged */
    struct fault *late;                    /* why it could not start */
    const struct talk_ops *ops; void *arg;
};

static void talk_unref(struct talk *t)
{
    if (--t->refs)
        return;
    g_queue_clear_full(&t->out, (GDestroyNotify)g_bytes_unref);
    g_byte_array_unref(t->in);
    if (t->e)
        exec_forget_later(t->e);
    g_free(t->late);
    g_free(t);
}

static void let_go(struct talk *t)
{
    exec_reader_free(t->r);
    t->r = NULL;
    if (t->waits)
        exec_off_stdin_room(t->e, t);
    t->waits = false;
    if (t->e)
        exec_signal(t->e, 9 /* SIGKILL */, SIGNAL_TREE, NULL, NULL);       /* and what it left behind */
}

void talk_stop(struct talk *t)
{
    if (t->over)
        return;
    t->over = true;
    let_go(t);
}

static void end(struct talk *t, struct talk_end how)
{
    if (t->over)
        return;
    t->refs++;
    talk_stop(t);
    t->ops->end(t->arg, &how);
    talk_unref(t);
}

void talk_broken(struct talk *t, const char *what) { end(t, (struct talk_end){ .broken = what }); }

/* --- to it --- */
static void flush(void *arg)
{
    struct talk *t = arg;
    GBytes *part;

    t->waits = false;
    while (!t->over && t->e && exec_stdin_is_open(t->e) && (part = g_queue_peek_head(&t->out))) {
        size_t size, room = exec_stdin_room(t->e), n;
        const char *p = g_bytes_get_data(part, &size);
        if (!room) {
            t->waits = true;
            exec_on_stdin_room(t->e, flush, t);
            return;
        }
        n = MIN(room, size - t->out_at);
        if (exec_stdin(t->e, p + t->out_at, n) < 0)
            return;                        /* it is ending */
        t->out_at += n;
        t->out_bytes -= n;
        if (t->out_at == size) {
            g_bytes_unref(g_queue_pop_head(&t->out));
            t->out_at = 0;
        }
    }
}

void talk_put(struct talk *t, GBytes *message)
{
    size_t n = g_bytes_get_size(message);
    uint8_t length[LENGTH_BYTES];

    put_le32(length, (uint32_t)n);
    g_queue_push_tail(&t->out, g_bytes_new(length, sizeof(length)));
    g_queue_push_tail(&t->out, message);
    t->out_bytes += LENGTH_BYTES + n;
    if (!t->waits)
        flush(t);
}

size_t talk_waiting(const struct talk *t) { return t->out_bytes; }
struct exec *talk_exec(const struct talk *t) { return t->e; }

/* --- from it --- */
static void on_channel(struct talk *t, const uint8_t *p, size_t n)
{
    size_t at = 0;

    g_byte_array_append(t->in, p, (guint)n);
    while (!t->over && t->in->len - at >= LENGTH_BYTES) {
        size_t size = le32(t->in->data + at);
        if (!size || size > t->max) {
            talk_broken(t, "length");
            return;
        }
        if (t->in->len - at < LENGTH_BYTES + size)
            break;
        t->ops->message(t->arg, t->in->data + at + LENGTH_BYTES, size);
        at += LENGTH_BYTES + size;
    }
    if (at)
        g_byte_array_remove_range(t->in, 0, (guint)at);
}

void talk_flow(struct talk *t)
{
    if (!t->r || !t->owed || (!t->in->len && t->ops->full && t->ops->full(t->arg)))
        return;
    size_t n = t->owed;
    t->owed = 0;
    exec_reader_taken(t->r, n);
}

static void on_data(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n)
{
    struct talk *t = arg;

    (void)seq;
    t->refs++;
    t->owed += n;
    if (lost)                              /* cannot be while we hold; without the lost bytes the channel makes no sense */
        talk_broken(t, "lost bytes");
    else if (stream == STREAM_CHANNEL)
        on_channel(t, p, n);
    else if (n && t->ops->output)
        t->ops->output(t->arg, stream, p, n);
    talk_flow(t);
    talk_unref(t);
}

static void on_exit_info(void *arg, const struct exit_info *info) { end(arg, (struct talk_end){ .exit = info }); }
static void on_end(void *arg, const struct fault *fault) { end(arg, (struct talk_end){ .fault = fault }); }

static const struct exec_reader_ops reader_ops = { .data = on_data, .exit = on_exit_info, .end = on_end };

/* --- start --- */
/* talk_start() has returned. */
static gboolean on_failed_late(gpointer arg)
{
    struct talk *t = arg;

    end(t, (struct talk_end){ .fault = t->late });
    talk_unref(t);
    return G_SOURCE_REMOVE;
}

static void on_started(void *arg, struct exec *e, const struct fault *fault)
{
    struct talk *t = arg;

    if (fault) {
        t->late = g_memdup2(fault, sizeof(*fault));
        g_idle_add(on_failed_late, t);     /* with the reference of the start */
        return;
    }
    t->e = exec_ref(e);
    t->r = exec_first_reader(e);
    if (t->over)
        let_go(t);
    else
        flush(t);
    talk_unref(t);
}

struct talk *talk_start(struct box *b, struct exec_request *q, size_t max, const struct talk_ops *ops, void *arg)
{
    struct talk *t = g_new0(struct talk, 1);

    t->refs = 2;
    t->max = max;
    t->in = g_byte_array_new();
    t->ops = ops;
    t->arg = arg;
    g_queue_init(&t->out);
    q->channel = q->passive = q->hold = true;
    exec_start(b, q, &reader_ops, t, on_started, t);
    return t;
}

void talk_free(struct talk *t)
{
    if (!t)
        return;
    talk_stop(t);
    talk_unref(t);
}
