/* The life of an interpreter:
 *
 *   STARTING  the execution was asked for; the driver's text and what it needs are on their way through the channel
 *   IDLE      the driver said `ready`, or `done`
 *   BUSY      interp_run() was called; until `done`
 *   GONE      it exited, the box stopped, or it broke the protocol (then it is killed); gone() was called
 *
 * Invariants: at most CODE_MESSAGE_MAX + 4 bytes of an unfinished message are kept; what was read and is not acknowledged is at most the reader's credit, and is acknowledged at once
 * while a message is unfinished or the owner is not full, so an owner that is full costs that credit and the workload waits; results, errors and done are passed on only while BUSY.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/wire.h"
#include "sandbox/code/drivers.h"
#include "sandbox/code/interp.h"
#include "sandbox/code/utf8.h"

enum state { STARTING, IDLE, BUSY, GONE };
enum { LENGTH_BYTES = 4, FORGET_MS = 2000 };
struct interp {
    unsigned refs;                         /* the owner, the start, each signal */
    enum code_language language;
    enum state state;
    bool freed, waiting;                   /* the owner let go; waits for room */
    bool began;                            /* BUSY: an interrupt will reach the code */
    struct interrupt *early;               /* asked for before that */
    char *box_id, driver[64];
    struct exec *e;                        /* NULL: not started */
    struct exec_reader *r;
    GQueue out;                            /* GBytes, what is still to be written */
    size_t out_at;                         /* of the first */
    GByteArray *in;                        /* an unfinished message, with its length */
    struct utf8 utf8[2];
    size_t owed;                           /* read and not acknowledged */
    struct fault *late;                    /* why it could not start */
    const struct interp_ops *ops; void *arg;
};
static const struct language { const char *name, *other[3], *program, *option, *boot; } languages[CODE_LANGUAGES] = {
    [CODE_PYTHON] = { "python", { "py", "python3" }, "python3", "-c", code_boot_python },
    [CODE_JAVASCRIPT] = { "javascript", { "js", "node" }, "node", "-e", code_boot_node },
    [CODE_TYPESCRIPT] = { "typescript", { "ts" }, "node", "-e", code_boot_node },
};

const char *code_language_name(enum code_language l) { return languages[l].name; }

int code_language_find(const char *name)
{
    for (int l = 0; l < CODE_LANGUAGES; l++) {
        if (!strcmp(name, languages[l].name))
            return l;
        for (unsigned k = 0; k < G_N_ELEMENTS(languages[l].other) && languages[l].other[k]; k++)
            if (!strcmp(name, languages[l].other[k]))
                return l;
    }
    return -1;
}

/* Nobody can want its output, which was messages; the agent forgets what has ended with all that it started. Takes the reference. */
static gboolean forget_late(gpointer arg)
{
    struct exec *e = arg;

    if (exec_exit(e))
        exec_forget(e);
    exec_unref(e);
    return G_SOURCE_REMOVE;
}

static void interp_unref(struct interp *i)
{
    if (--i->refs)
        return;
    g_queue_clear_full(&i->out, (GDestroyNotify)g_bytes_unref);
    g_byte_array_unref(i->in);
    if (i->e)
        g_timeout_add(FORGET_MS, forget_late, i->e);
    g_free(i->box_id);
    g_free(i->late);
    g_free(i);
}

/* --- to the driver --- */
static void flush(void *arg)
{
    struct interp *i = arg;
    GBytes *part;

    i->waiting = false;
    while (i->e && exec_stdin_is_open(i->e) && (part = g_queue_peek_head(&i->out))) {
        size_t size, room = exec_stdin_room(i->e), n;
        const char *p = g_bytes_get_data(part, &size);
        if (!room) {
            i->waiting = true;
            exec_on_stdin_room(i->e, flush, i);
            return;
        }
        n = MIN(room, size - i->out_at);
        if (exec_stdin(i->e, p + i->out_at, n) < 0)
            return;                        /* it is ending */
        i->out_at += n;
        if (i->out_at == size) {
            g_bytes_unref(g_queue_pop_head(&i->out));
            i->out_at = 0;
        }
    }
}

static void put(struct interp *i, GBytes *bytes)
{
    uint8_t length[LENGTH_BYTES];

    put_le32(length, (uint32_t)g_bytes_get_size(bytes));
    g_queue_push_tail(&i->out, g_bytes_new(length, sizeof(length)));
    g_queue_push_tail(&i->out, bytes);
}

static void put_static(struct interp *i, const char *begin, const char *end) { put(i, g_bytes_new_static(begin, (size_t)(end - begin))); }

static void put_json(struct interp *i, json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);

    put(i, g_bytes_new(text, strlen(text)));
    free(text);
    json_decref(o);
}

static void put_driver(struct interp *i)
{
    if (i->language == CODE_PYTHON) {
        put_static(i, code_driver_python, code_driver_python_end);
        return;
    }
    put_static(i, code_driver_node, code_driver_node_end);
    put_json(i, json_pack("{s:s}", "language", languages[i->language].name));
    put_static(i, code_acorn, code_acorn_end);
    if (i->language == CODE_TYPESCRIPT)
        put_static(i, code_typescript, code_typescript_end);
}

/* --- the end --- */
struct interrupt { struct interp *i; void (*fn)(void *arg); void *arg; };

static void on_signalled(void *arg, const struct fault *fault)
{
    struct interrupt *k = arg;

    (void)fault;                           /* it has ended meanwhile: gone() says so */
    if (!k->i->freed)
        k->fn(k->arg);
    interp_unref(k->i);
    g_free(k);
}

static void interrupt_send(struct interrupt *k)
{
    if (k->i->e)
        exec_signal(k->i->e, 2 /* SIGINT */, SIGNAL_GROUP, on_signalled, k);
    else
        on_signalled(k, NULL);
}

/* The code is over without it. */
static void early_drop(struct interp *i)
{
    struct interrupt *k = i->early;

    i->early = NULL;
    if (k)
        on_signalled(k, NULL);
}

static void began(struct interp *i)
{
    struct interrupt *k = i->early;

    i->began = true;
    i->early = NULL;
    if (k)
        interrupt_send(k);
}

static void let_go(struct interp *i)
{
    exec_reader_free(i->r);
    i->r = NULL;
    if (i->waiting)
        exec_off_stdin_room(i->e, i);
    i->waiting = false;
}

static void kill_it(struct interp *i)
{
    if (i->e)
        exec_signal(i->e, 9 /* SIGKILL */, SIGNAL_TREE, NULL, NULL);
}

static void gone(struct interp *i, const struct exit_info *info, const struct fault *why)
{
    if (i->state == GONE)
        return;
    i->state = GONE;
    i->refs++;
    let_go(i);
    early_drop(i);
    kill_it(i);                            /* and what it left behind */
    if (!i->freed)
        i->ops->gone(i->arg, info, why);
    interp_unref(i);
}

static void broken(struct interp *i, const char *what)
{
    struct fault f;

    log_info("box=%s exec=%s step=message err=%s", i->box_id, exec_id(i->e), what);
    fault_set(&f, "conflict", "the interpreter was ended: what came through its channel is no message of its driver (%s); code must leave descriptor 3 (and higher ones that it did not open) alone", what);
    gone(i, NULL, &f);
}

/* --- from the driver --- */
static const char *text_at(json_t *m, const char *key)
{
    const char *s = json_string_value(json_object_get(m, key));
    return s ? s : "";
}

static void say(struct interp *i, unsigned stream, const char *p, size_t n)
{
    if (n && !i->freed)
        i->ops->text(i->arg, stream, p, n);
}

static void on_result(struct interp *i, json_t *m, size_t size)
{
    json_t *data = json_object_get(m, "data");

    if (i->state != BUSY || !json_is_object(data) || json_object_size(data) > CODE_BUNDLE_KEYS)
        return;
    i->ops->result(i->arg, data, size, json_is_true(json_object_get(m, "main")));
}

static void on_message(struct interp *i, json_t *m, size_t size)
{
    const char *t = text_at(m, "t");

    if (!strcmp(t, "out")) {
        json_t *text = json_object_get(m, "text");
        say(i, json_integer_value(json_object_get(m, "s")) == 2 ? STREAM_ERR : STREAM_OUT, json_string_value(text), json_string_length(text));
    } else if (!strcmp(t, "result")) {
        on_result(i, m, size);
    } else if (!strcmp(t, "error") && i->state == BUSY) {
        i->ops->error(i->arg, text_at(m, "name"), text_at(m, "value"), text_at(m, "traceback"));
    } else if (!strcmp(t, "done") && i->state == BUSY) {
        json_int_t count = json_integer_value(json_object_get(m, "count"));
        i->state = IDLE;
        early_drop(i);
        i->ops->done(i->arg, count > 0 ? (uint64_t)count : 0, json_is_true(json_object_get(m, "ok")));
    } else if (!strcmp(t, "began") && i->state == BUSY) {
        began(i);
    } else if (!strcmp(t, "ready") && i->state == STARTING) {
        i->state = IDLE;
        snprintf(i->driver, sizeof(i->driver), "%.30s %.30s", text_at(m, "driver"), text_at(m, "version"));
        i->ops->ready(i->arg);
    }
}

/* A message that is no JSON that we can read (an integer of 100 digits in somebody's result) is dropped with a word about it. */
static void on_bytes(struct interp *i, const uint8_t *p, size_t n)
{
    json_error_t error;
    json_t *m = json_loadb((const char *)p, n, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &error);

    if (json_is_object(m)) {
        on_message(i, m, n);
    } else {
        g_autofree char *note = g_strdup_printf("[a message of %zu bytes from the interpreter was dropped: %.200s]\n", n, m ? "not an object" : error.text);
        g_autofree char *valid = g_utf8_make_valid(note, -1);
        say(i, STREAM_ERR, valid, strlen(valid));
    }
    json_decref(m);
}

static void on_channel(struct interp *i, const uint8_t *p, size_t n)
{
    size_t at = 0;

    g_byte_array_append(i->in, p, (guint)n);
    while (i->state != GONE && !i->freed && i->in->len - at >= LENGTH_BYTES) {
        size_t size = le32(i->in->data + at);
        if (!size || size > CODE_MESSAGE_MAX) {
            broken(i, "length");
            return;
        }
        if (i->in->len - at < LENGTH_BYTES + size)
            break;
        on_bytes(i, i->in->data + at + LENGTH_BYTES, size);
        at += LENGTH_BYTES + size;
    }
    if (at)
        g_byte_array_remove_range(i->in, 0, (guint)at);
}

void interp_flow(struct interp *i)
{
    if (!i->r || !i->owed || (!i->in->len && !i->freed && i->ops->full(i->arg)))
        return;
    size_t n = i->owed;
    i->owed = 0;
    exec_reader_taken(i->r, n);
}

static void on_data(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n)
{
    struct interp *i = arg;

    (void)seq;
    i->refs++;
    i->owed += n;
    if (lost) {                            /* cannot be while we hold; without the lost bytes the channel makes no sense */
        broken(i, "lost bytes");
    } else if (stream == STREAM_CHANNEL) {
        on_channel(i, p, n);
    } else if (n) {
        g_autoptr(GString) text = g_string_sized_new(n + 8);
        utf8_feed(&i->utf8[stream == STREAM_ERR], p, n, false, text);
        say(i, stream, text->str, text->len);
    }
    interp_flow(i);
    interp_unref(i);
}

static void on_exit_info(void *arg, const struct exit_info *info)
{
    struct interp *i = arg;

    gone(i, info, NULL);
}

static void on_end(void *arg, const struct fault *fault)
{
    struct interp *i = arg;
    struct fault f;

    if (!fault)
        fault_set(&f, "conflict", "the interpreter closed its channel");
    gone(i, NULL, fault ? fault : &f);
}

static const struct exec_reader_ops reader_ops = { .data = on_data, .exit = on_exit_info, .end = on_end };

/* --- start, run, stop --- */
/* interp_new() has returned. */
static gboolean on_failed_late(gpointer arg)
{
    struct interp *i = arg;

    gone(i, NULL, i->late);
    interp_unref(i);
    return G_SOURCE_REMOVE;
}

static void on_started(void *arg, struct exec *e, const struct fault *fault)
{
    struct interp *i = arg;

    if (fault) {
        i->late = g_memdup2(fault, sizeof(*fault));
        i->refs++;
        g_idle_add(on_failed_late, i);
    } else {
        i->e = exec_ref(e);
        i->r = exec_first_reader(e);
        if (i->freed) {
            kill_it(i);
            let_go(i);
        } else {
            flush(i);
        }
    }
    interp_unref(i);
}

struct interp *interp_new(struct box *b, enum code_language l, const char *cwd, json_t *env, const struct interp_ops *ops, void *arg)
{
    struct interp *i = g_new0(struct interp, 1);
    char *argv[] = { (char *)(uintptr_t)languages[l].program, (char *)(uintptr_t)languages[l].option, (char *)(uintptr_t)languages[l].boot, NULL };
    struct exec_request q = { .argv = argv, .env = env, .cwd = cwd, .channel = true, .passive = true, .hold = true };

    i->refs = 2;
    i->language = l;
    i->box_id = g_strdup(b->id);
    i->in = g_byte_array_new();
    i->ops = ops;
    i->arg = arg;
    g_queue_init(&i->out);
    put_driver(i);
    exec_start(b, &q, &reader_ops, i, on_started, i);
    return i;
}

void interp_own(struct interp *i, const struct interp_ops *ops, void *arg)
{
    i->ops = ops;
    i->arg = arg;
}

bool interp_ready(const struct interp *i) { return i->state == IDLE; }
const char *interp_driver(const struct interp *i) { return i->driver; }
const char *interp_exec_id(const struct interp *i) { return i->e ? exec_id(i->e) : ""; }

void interp_run(struct interp *i, const char *code, size_t n)
{
    i->state = BUSY;
    i->began = i->language != CODE_PYTHON;     /* the others are told through the channel, in order */
    put_json(i, json_pack("{s:s, s:s%}", "op", "run", "code", code, n));
    flush(i);
}

void interp_interrupt(struct interp *i, void (*fn)(void *arg), void *arg)
{
    struct interrupt *k = g_new0(struct interrupt, 1);

    *k = (struct interrupt){ i, fn, arg };
    i->refs++;
    if (i->state == BUSY && !i->began && !i->early) {
        i->early = k;
        return;
    }
    if (i->language != CODE_PYTHON && !i->waiting && i->state == BUSY) {
        put_json(i, json_pack("{s:s}", "op", "interrupt"));
        flush(i);
    }
    interrupt_send(k);
}

void interp_free(struct interp *i)
{
    if (!i)
        return;
    i->freed = true;
    if (i->state != GONE) {
        i->state = GONE;
        early_drop(i);
        kill_it(i);
        let_go(i);
    }
    interp_unref(i);
}
