/* An event whose entry is wanted waits for it in a queue, and what comes later behind it. What is gone by then has none. A rename is two: RENAME of the old name, CREATE of the new one. */
#include "sandbox/e2b/watching.h"

#include <string.h>

#include "sandbox/e2b/entry.h"
#include "sandbox/files.h"

enum { WAITING_MAX = 4096, ENTRY_MAX = 32 * 1024 };
struct item { json_t *event; char *path; /* NULL: no entry wanted */ };
struct e2b_watching {
    struct box *b;
    char *user, *root;
    bool entries, dead, busy;
    struct watch *w;
    GQueue queue;
    struct file_call *f;                  /* for the entry of the queue's head */
    GByteArray *in;
    const struct e2b_watching_ops *ops; void *arg;
};

static void item_free(gpointer p)
{
    struct item *i = p;

    json_decref(i->event);
    g_free(i->path);
    g_free(i);
}

static void destroy(struct e2b_watching *w)
{
    watch_free(w->w);
    file_free(w->f);
    g_queue_clear_full(&w->queue, item_free);
    g_byte_array_unref(w->in);
    box_unref(w->b);
    g_free(w->user);
    g_free(w->root);
    g_free(w);
}

void e2b_watching_free(struct e2b_watching *w)
{
    if (!w)
        return;
    w->dead = true;
    if (!w->busy)
        destroy(w);
}

/* --- the queue --- */
static void pump(struct e2b_watching *w);

/* The record of FILE_ENTRY (file_proto.h), without its attributes: an event tells what, not all about it. */
static void entry_done(struct e2b_watching *w)
{
    struct item *i = g_queue_peek_head(&w->queue);
    struct reader r = reader_of(w->in->data, w->in->len);
    char path[4097], target[4097];
    struct file_stat st = { 0 };

    get_str(&r, path, sizeof(path));
    file_stat_get(&r, &st);
    get_str(&r, target, sizeof(target));
    if (w->in->len && !r.bad)
        json_object_set_new(i->event, "entry", e2b_entry(w->b, i->path, &st, target, NULL));
    g_byte_array_set_size(w->in, 0);
    file_free(w->f);
    w->f = NULL;
    g_clear_pointer(&i->path, g_free);
    pump(w);
}

static void on_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    if (status)
        entry_done(arg);
}

static bool on_data(void *arg, const uint8_t *p, size_t n)
{
    struct e2b_watching *w = arg;

    g_byte_array_append(w->in, p, (guint)MIN(n, (size_t)ENTRY_MAX - w->in->len));      /* a longer one is none, and then has no entry */
    return true;
}

static void on_end(void *arg, int status) { entry_done(arg); }
static const struct file_ops entry_ops = { .head = on_head, .data = on_data, .end = on_end };

static bool ask(struct e2b_watching *w, const char *path)
{
    struct file_request *q = g_new0(struct file_request, 1);
    struct fault f;

    q->op = FILE_ENTRY;
    g_strlcpy(q->path, path, sizeof(q->path));
    w->f = w->b->state == BOX_RUNNING ? file_start(w->b, w->user, q, &entry_ops, w, &f) : NULL;
    g_free(q);
    return w->f;
}

static void pump(struct e2b_watching *w)
{
    struct item *i;
    bool outer = w->busy;

    w->busy = true;
    while (!w->dead && !w->f && (i = g_queue_peek_head(&w->queue))) {
        if (i->path && ask(w, i->path))
            break;
        g_queue_pop_head(&w->queue);
        w->ops->event(w->arg, json_incref(i->event));
        item_free(i);
    }
    w->busy = outer;
    if (w->dead && !outer)
        destroy(w);
}

/* --- from the watch --- */
static const char *relative(const struct e2b_watching *w, const char *path)
{
    size_t n = strlen(w->root);

    if (strncmp(path, w->root, n))
        return path;
    path += n;
    return path + strspn(path, "/");
}

static void add(struct e2b_watching *w, const char *type, const char *path, bool entry)
{
    g_autofree char *name = g_utf8_make_valid(relative(w, path), -1);
    struct item *i = g_new0(struct item, 1);

    i->event = json_pack("{s:s,s:s}", "name", name, "type", type);
    if (entry && w->entries)
        i->path = g_strdup(path);
    g_queue_push_tail(&w->queue, i);
}

static void on_event(void *arg, const struct watch_event *e)
{
    struct e2b_watching *w = arg;

    switch (e->type) {
    case WATCH_CREATE: add(w, "EVENT_TYPE_CREATE", e->path, true); break;
    case WATCH_MODIFY: add(w, "EVENT_TYPE_WRITE", e->path, true); break;
    case WATCH_DELETE: add(w, "EVENT_TYPE_REMOVE", e->path, false); break;
    case WATCH_ATTRIB: add(w, "EVENT_TYPE_CHMOD", e->path, true); break;
    case WATCH_MOVE:
        add(w, "EVENT_TYPE_RENAME", e->path, false);
        if (e->to)
            add(w, "EVENT_TYPE_CREATE", e->to, true);
        break;
    case WATCH_CLOSE_WRITE: break;
    }
    pump(w);
}

static void on_ready(void *arg, const char *path)
{
    struct e2b_watching *w = arg;

    g_free(w->root);
    w->root = g_strdup(path);
    w->ops->ready(w->arg);
}

/* The protocol has no word for it: events were missed, as with any inotify. */
static void on_overflow(void *arg, uint64_t lost, const char *reason) { (void)arg; }

static void on_watch_end(void *arg, const struct fault *fault)
{
    struct e2b_watching *w = arg;

    w->ops->end(w->arg, fault);
}

static bool on_full(void *arg)
{
    struct e2b_watching *w = arg;

    return g_queue_get_length(&w->queue) > WAITING_MAX || (w->ops->full && w->ops->full(w->arg));
}

static const struct watch_ops ops = { .ready = on_ready, .event = on_event, .overflow = on_overflow, .end = on_watch_end, .full = on_full };

struct e2b_watching *e2b_watching_new(struct box *b, const char *user, const char *path, const json_t *q, const struct e2b_watching_ops *own, void *arg, struct fault *fault)
{
    struct e2b_watching *w = g_new0(struct e2b_watching, 1);
    struct watch_request r = { .path = path, .user = user, .recursive = json_is_true(json_object_get(q, "recursive")) };

    w->b = box_ref(b);
    w->user = g_strdup(user);
    w->root = g_strdup(path);
    w->entries = json_is_true(e2b_get(q, "includeEntry", "include_entry"));
    w->in = g_byte_array_new();
    w->ops = own;
    w->arg = arg;
    g_queue_init(&w->queue);
    w->w = watch_start(b, &r, &ops, w, fault);
    if (w->w)
        return w;
    destroy(w);
    return NULL;
}

void e2b_watching_flow(struct e2b_watching *w) { watch_flow(w->w); }
