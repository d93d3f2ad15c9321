/* Terminals.
 *
 * A terminal has one reader of its execution (HOLD: it slows the program, so no byte is missed and no escape cut), its screen, and its clients. Each piece that comes goes to the screen
 * and to every client that has room. A client whose connection is behind gets nothing more until what is queued for it is out; then it gets the whole screen anew: so one slow client
 * costs neither memory nor the others' time, and sees the present instead of the past. Credit is given back at a pace (PACE_MS for PACE_BYTES), so that a program that floods its terminal
 * does not take the whole of this process.
 *
 * Answers (cursor reports and the like) are the clients' terminals' to give; while there is no client, libvterm's go to the program, which else would wait for them. After a restart of
 * sandboxd the screen is made again from what the agent's ring holds; names and sizes are in term/ID.json of its directory, an object of {exec id: {name, cols, rows}}, written whenever a
 * terminal is started, named or (SAVE_MS after it) resized, so that ids of a former run of the box are never in it beside those of this one. */
#include "sandbox/run/term_private.h"

#include <errno.h>
#include <string.h>

#include "sandbox/run/exec_private.h"
#include "sandbox/run/screen.h"
#include "sandbox/run/session_private.h"

enum { CLIENT_HIGH = 512 * 1024, CLIENT_LOW = 64 * 1024, PACE_BYTES = 64 * 1024, PACE_MS = 4, SAVE_MS = 300 };
struct term {
    struct exec *e;                    /* a reference */
    char name[TERM_NAME_MAX + 1];
    struct exec_reader *r;
    struct screen *screen;             /* NULL: nothing more comes, and nobody may attach */
    GPtrArray *clients;
    size_t taken;                      /* of the reader, not yet given back */
    guint pace, save;
    uint64_t replay_to;                /* after a restart: what is before it was said in a former life; clients get the screen when it is there. Else 0 */
    bool ended;
};
struct term_client {
    struct term *t;                    /* NULL: the terminal is gone */
    unsigned cols, rows;
    bool behind, waits;                /* waits: for room of stdin */
    const struct term_ops *ops; void *arg;
};

bool term_size_valid(int64_t cols, int64_t rows)
{
    return cols >= 0 && rows >= 0 && cols <= TERM_SIDE_MAX && rows <= TERM_SIDE_MAX && (cols ? cols : TERM_COLS) * (rows ? rows : TERM_ROWS) <= TERM_CELLS_MAX;
}

struct term *term_of(struct exec *e) { return e->term; }
struct exec *term_exec(struct term *t) { return t->e; }

struct term *term_find(struct box *b, const char *name)
{
    GHashTableIter i;
    gpointer p;

    if (!b->execs)
        return NULL;
    g_hash_table_iter_init(&i, b->execs->by_id);
    while (g_hash_table_iter_next(&i, NULL, &p)) {
        struct exec *e = p;
        if (e->term && !e->exited && !strcmp(e->term->name, name))
            return e->term;
    }
    return NULL;
}

unsigned terms_count(struct box *b)
{
    GHashTableIter i;
    gpointer p;
    unsigned n = 0;

    g_hash_table_iter_init(&i, execs_of(b)->by_id);
    while (g_hash_table_iter_next(&i, NULL, &p)) {
        struct exec *e = p;
        n += e->tty && (e->term ? e->term->screen != NULL : !e->started);
    }
    return n;
}

static void names_save(struct box *b)
{
    json_t *all = json_object();
    GHashTableIter i;
    gpointer p;

    g_hash_table_iter_init(&i, b->execs->by_id);
    while (g_hash_table_iter_next(&i, NULL, &p)) {
        struct exec *e = p;
        if (e->term && !e->exited)
            json_object_set_new(all, e->eid, json_pack("{s:s, s:i, s:i}", "name", e->term->name, "cols", e->cols, "rows", e->rows));
    }
    box_file_put(b, "term", all);
    json_decref(all);
}

void term_name(struct term *t, const char *name)
{
    g_strlcpy(t->name, name, sizeof(t->name));
    if (t->e->b)
        names_save(t->e->b);
}

void terms_deleted(struct box *b) { box_file_remove(b, "term"); }

/* --- output --- */
static gboolean on_pace(gpointer arg)
{
    struct term *t = arg;

    t->pace = 0;
    if (t->r) {
        size_t n = t->taken;
        t->taken = 0;
        exec_reader_taken(t->r, n);
    }
    return G_SOURCE_REMOVE;
}

static void take(struct term *t, size_t n)
{
    t->taken += n;
    if (t->taken >= PACE_BYTES) {
        if (!t->pace)
            t->pace = g_timeout_add(PACE_MS, on_pace, t);
    } else if (!t->pace && t->r) {
        size_t now = t->taken;
        t->taken = 0;
        exec_reader_taken(t->r, now);
    }
}

static void client_dump(struct term_client *c)
{
    struct buf b = BUF_INIT;

    if (!c->t->screen)
        return;
    screen_dump(c->t->screen, &b);
    if (!buf_err(&b))
        c->ops->bytes(c->arg, b.data, b.len);
    buf_fini(&b);
}

static void on_data(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n)
{
    struct term *t = arg;

    screen_write(t->screen, p, n);
    if (t->replay_to) {
        if (seq + n >= t->replay_to) {
            t->replay_to = 0;
            for (unsigned i = 0; i < t->clients->len; i++)
                client_dump(t->clients->pdata[i]);
        }
        return take(t, n);
    }
    for (unsigned i = 0; i < t->clients->len; i++) {
        struct term_client *c = t->clients->pdata[i];
        c->behind |= c->ops->queued(c->arg) > CLIENT_HIGH;
        if (!c->behind)
            c->ops->bytes(c->arg, p, n);
    }
    take(t, n);
}

void term_sent(struct term_client *c)
{
    if (!c->t || !c->behind || c->ops->queued(c->arg) > CLIENT_LOW)
        return;
    c->behind = false;
    client_dump(c);
}

static void on_exit_info(void *arg, const struct exit_info *info)
{
    struct term *t = arg;

    g_autoptr(GPtrArray) now = g_ptr_array_copy(t->clients, NULL, NULL);
    for (unsigned i = 0; i < now->len; i++) {
        struct term_client *c = now->pdata[i];
        if (c->behind)
            client_dump(c);
        c->ops->exit(c->arg, info);
    }
}

static void on_end(void *arg, const struct fault *fault)
{
    struct term *t = arg;
    g_autoptr(GPtrArray) now = g_ptr_array_copy(t->clients, NULL, NULL);

    t->ended = true;
    exec_reader_free(t->r);
    t->r = NULL;
    for (unsigned i = 0; i < now->len; i++) {
        struct term_client *c = now->pdata[i];
        if (c->behind)
            client_dump(c);
        c->behind = false;
    }
    screen_free(t->screen);
    t->screen = NULL;
    for (unsigned i = 0; fault && i < now->len; i++) {
        struct term_client *c = now->pdata[i];
        c->ops->end(c->arg, fault);
    }
}

static const struct exec_reader_ops reader_ops = { .data = on_data, .exit = on_exit_info, .end = on_end };

/* --- the terminal --- */
static void on_reply(void *arg, const char *p, size_t n)
{
    struct term *t = arg;

    if (!t->replay_to && !t->clients->len && exec_stdin_room(t->e) >= n)
        exec_stdin(t->e, p, n);
}

static struct term *term_new(struct exec *e)
{
    struct term *t = g_new0(struct term, 1);

    t->e = e;                          /* which owns it: freed by term_gone() before it */
    t->clients = g_ptr_array_new();
    t->screen = screen_new(e->cols ? e->cols : TERM_COLS, e->rows ? e->rows : TERM_ROWS, on_reply, t);
    e->term = t;
    t->r = exec_read(e, 0, READ_HOLD, &reader_ops, t);
    return t;
}

void terms_started(struct exec *e)
{
    if (!e->tty)
        return;
    term_new(e);
    names_save(e->b);
}

void terms_adopt(struct exec *e)
{
    json_t *all, *o;
    json_int_t cols, rows;
    const char *name;

    if (!e->tty || e->exited || terms_count(e->b) >= TERMS_MAX)
        return;
    all = box_file_get(e->b, "term");
    o = json_object_get(all, e->eid);
    name = json_string_value(json_object_get(o, "name"));
    cols = json_integer_value(json_object_get(o, "cols"));
    rows = json_integer_value(json_object_get(o, "rows"));
    if (cols > 0 && rows > 0 && term_size_valid(cols, rows)) {
        e->cols = (uint16_t)cols;
        e->rows = (uint16_t)rows;
    }
    struct term *t = term_new(e);
    t->replay_to = e->first < e->next ? e->next : 0;
    if (name)
        g_strlcpy(t->name, name, sizeof(t->name));
    json_decref(all);
}

void term_gone(struct exec *e)
{
    struct term *t = e->term;

    if (!t)
        return;
    e->term = NULL;
    if (t->pace)
        g_source_remove(t->pace);
    if (t->save)
        g_source_remove(t->save);
    exec_reader_free(t->r);
    for (unsigned i = 0; i < t->clients->len; i++)
        ((struct term_client *)t->clients->pdata[i])->t = NULL;
    g_ptr_array_unref(t->clients);
    screen_free(t->screen);
    g_free(t);
}

/* --- clients --- */
static void client_room(void *arg)
{
    struct term_client *c = arg;

    c->waits = false;
    c->ops->room(c->arg);
}

static gboolean on_save(gpointer arg)
{
    struct term *t = arg;

    t->save = 0;
    names_save(t->e->b);
    return G_SOURCE_REMOVE;
}

static void term_size(struct term_client *c)
{
    struct term *t = c->t;

    if (!c->cols || (t->e->cols == c->cols && t->e->rows == c->rows))
        return;
    t->e->cols = (uint16_t)c->cols;
    t->e->rows = (uint16_t)c->rows;
    if (!t->screen)
        return;
    screen_resize(t->screen, c->cols, c->rows);
    exec_resize(t->e, c->cols, c->rows);
    if (!t->save && t->e->b)
        t->save = g_timeout_add(SAVE_MS, on_save, t);
}

struct term_client *term_attach(struct term *t, unsigned cols, unsigned rows, const struct term_ops *ops, void *arg)
{
    struct term_client *c;

    if (t->clients->len >= TERM_CLIENTS_MAX || !t->screen)
        return NULL;
    c = g_new0(struct term_client, 1);
    *c = (struct term_client){ .t = t, .cols = cols, .rows = rows, .ops = ops, .arg = arg };
    term_size(c);
    if (!t->replay_to && !screen_untouched(t->screen))
        client_dump(c);
    g_ptr_array_add(t->clients, c);
    return c;
}

void term_detach(struct term_client *c)
{
    if (!c)
        return;
    if (c->t) {
        exec_off_stdin_room(c->t->e, c);
        g_ptr_array_remove(c->t->clients, c);
    }
    g_free(c);
}

void term_resize(struct term_client *c, unsigned cols, unsigned rows)
{
    c->cols = cols;
    c->rows = rows;
    if (c->t)
        term_size(c);
}

ssize_t term_input(struct term_client *c, const void *p, size_t n)
{
    struct term *t = c->t;
    size_t part;

    if (!t || !exec_stdin_is_open(t->e))
        return -EPIPE;
    term_size(c);
    part = MIN(n, exec_stdin_room(t->e));
    if (part && exec_stdin(t->e, p, part) < 0)
        return -EPIPE;
    if (part < n && !c->waits) {
        c->waits = true;
        exec_on_stdin_room(t->e, client_room, c);
    }
    return (ssize_t)part;
}
