/* The life of an interpreter:
 *
 *   STARTING  the execution was asked for; the driver's text and what it needs are on their way through the channel
 *   IDLE      the driver said `ready`, or `done`
 *   BUSY      interp_run() was called; until `done`
 *   GONE      it exited, the box stopped, or it broke the protocol (then it is killed); gone() was called
 *
 * The execution, the messages and how much of them is kept: talk.h. Invariant: results, errors and done are passed on only while BUSY.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "sandbox/code/drivers.h"
#include "sandbox/code/interp.h"
#include "sandbox/code/utf8.h"
#include "sandbox/run/talk.h"

enum state { STARTING, IDLE, BUSY, GONE };
struct interp {
    unsigned refs;                         /* the owner, a call, each signal */
    enum code_language language;
    enum state state;
    bool freed;                            /* the owner let go */
    bool began;                            /* BUSY: an interrupt will reach the code */
    struct interrupt *early;               /* asked for before that */
    char *box_id, driver[64];
    struct talk *t;
    struct utf8 utf8[2];
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

static void interp_unref(struct interp *i)
{
    if (--i->refs)
        return;
    talk_free(i->t);
    g_free(i->box_id);
    g_free(i);
}

/* --- to the driver --- */
static void put_static(struct interp *i, const char *begin, const char *end) { talk_put(i->t, g_bytes_new_static(begin, (size_t)(end - begin))); }

static void put_json(struct interp *i, json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);

    talk_put(i->t, g_bytes_new(text, strlen(text)));
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
    struct exec *e = talk_exec(k->i->t);

    if (e)
        exec_signal(e, 2 /* SIGINT */, SIGNAL_GROUP, on_signalled, k);
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

static void on_end(void *arg, const struct talk_end *how)
{
    struct interp *i = arg;
    struct fault f;

    if (how->broken) {
        log_info("box=%s exec=%s step=message err=%s", i->box_id, interp_exec_id(i), how->broken);
        fault_set(&f, "conflict", "the interpreter was ended: what came through its channel is no message of its driver (%s); code must leave descriptor 3 (and higher ones that it did not open) alone", how->broken);
    } else {
        fault_set(&f, "conflict", "the interpreter closed its channel");
    }
    i->state = GONE;
    i->refs++;
    early_drop(i);
    if (!i->freed)
        i->ops->gone(i->arg, how->exit, how->exit || how->fault ? how->fault : &f);
    interp_unref(i);
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
static void on_bytes(void *arg, const uint8_t *p, size_t n)
{
    struct interp *i = arg;
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

static void on_output(void *arg, unsigned stream, const uint8_t *p, size_t n)
{
    struct interp *i = arg;
    g_autoptr(GString) text = g_string_sized_new(n + 8);

    utf8_feed(&i->utf8[stream == STREAM_ERR], p, n, false, text);
    say(i, stream, text->str, text->len);
}

static bool on_full(void *arg)
{
    struct interp *i = arg;

    return !i->freed && i->ops->full(i->arg);
}

static const struct talk_ops talk_ops = { .message = on_bytes, .output = on_output, .full = on_full, .end = on_end };

void interp_flow(struct interp *i) { talk_flow(i->t); }

/* --- start, run, stop --- */
struct interp *interp_new(struct box *b, enum code_language l, const char *cwd, json_t *env, const struct interp_ops *ops, void *arg)
{
    struct interp *i = g_new0(struct interp, 1);
    char *argv[] = { (char *)(uintptr_t)languages[l].program, (char *)(uintptr_t)languages[l].option, (char *)(uintptr_t)languages[l].boot, NULL };
    struct exec_request q = { .argv = argv, .env = env, .cwd = cwd };

    i->refs = 1;
    i->language = l;
    i->box_id = g_strdup(b->id);
    i->ops = ops;
    i->arg = arg;
    i->t = talk_start(b, &q, CODE_MESSAGE_MAX, &talk_ops, i);
    put_driver(i);
    return i;
}

void interp_own(struct interp *i, const struct interp_ops *ops, void *arg)
{
    i->ops = ops;
    i->arg = arg;
}

bool interp_ready(const struct interp *i) { return i->state == IDLE; }
const char *interp_driver(const struct interp *i) { return i->driver; }
const char *interp_exec_id(const struct interp *i) 
{
    const struct exec *e = talk_exec(i->t);

    return e ? exec_id(e) : "";
}

void interp_run(struct interp *i, const char *code, size_t n)
{
    i->state = BUSY;
    i->began = i->language != CODE_PYTHON;     /* the others are told through the channel, in order */
    put_json(i, json_pack("{s:s, s:s%}", "op", "run", "code", code, n));
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
    if (i->language != CODE_PYTHON && !talk_waiting(i->t) && i->state == BUSY)
        put_json(i, json_pack("{s:s}", "op", "interrupt"));
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
        talk_stop(i->t);
    }
    interp_unref(i);
}
