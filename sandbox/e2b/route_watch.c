/* WatchDir: a stream of events. CreateWatcher, GetWatcherEvents, RemoveWatcher: the same, collected and fetched; a watcher that nobody fetches from for WATCHER_IDLE_S goes. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/names.h"
#include "sandbox/e2b/watching.h"
#include "sandbox/files.h"

enum { QUEUE_LOW = 128 * 1024, WATCHER_IDLE_S = 600, WATCHER_EVENTS_MAX = 10000 };

/* --- what both begin with: the path is a directory --- */
struct begin { struct e2b_call k; char *path; struct file_call *f; void (*then)(struct begin *g); };

static void begin_fini(struct begin *g)
{
    file_free(g->f);
    g_free(g->path);
    e2b_call_fini(g);
}

static void refuse(struct begin *g, const struct fault *f)
{
    if (!g->k.x.c)
        return;
    if (g->k.stream) {
        e2b_stream_begin(g->k.x.c);
        e2b_stream_end(g->k.x.c, f->code, f->text);
    } else {
        http_fault(g->k.x.c, f);
    }
}

static void looked(void *arg, int status, const char *step, const struct file_stat *st)
{
    struct begin *g = arg;
    struct fault f;

    if (!g->k.x.c)
        return;
    if (!status && S_ISDIR(st->mode)) {
        g->then(g);
        return;
    }
    file_fault(&f, status ? status : -ENOTDIR, step, g->path);
    refuse(g, &f);
}

static const struct file_ops look_ops = { .head = looked };

static void named(void *self)
{
    struct begin *g = self;
    const char *path = e2b_str(g->k.req, "path");
    struct file_request *q = g_new0(struct file_request, 1);
    struct fault f;

    g->path = e2b_path(g->k.x.b, g->k.user, *path ? path : "~");
    q->op = FILE_STAT;
    g_strlcpy(q->path, g->path, sizeof(q->path));
    g->f = file_start(g->k.x.b, g->k.user, q, &look_ops, g, &f);
    g_free(q);
    if (!g->f)
        refuse(g, &f);
}

static void begin_go(void *self) { e2b_names_need(self, named); }

/* --- WatchDir --- */
struct stream { struct begin g; struct e2b_watching *w; guint alive, deadline; guint64 every; bool begun; };

static void stream_over(void *self)
{
    struct stream *s = self;

    if (s->alive)
        g_source_remove(s->alive);
    if (s->deadline)
        g_source_remove(s->deadline);
    s->alive = s->deadline = 0;
    e2b_watching_free(s->w);
    s->w = NULL;
}

static void stream_fini(void *self) { begin_fini(self); }

static gboolean keep_alive(gpointer arg)
{
    e2b_stream_json(((struct stream *)arg)->g.k.x.c, json_pack("{s:{}}", "keepalive"));
    return G_SOURCE_CONTINUE;
}

static void finish(struct stream *s, const char *code, const char *text)
{
    struct http_call *c = s->g.k.x.c;

    if (!c)
        return;
    stream_over(s);
    e2b_stream_end(c, code, text);
}

static gboolean too_late(gpointer arg)
{
    ((struct stream *)arg)->deadline = 0;
    finish(arg, "timeout", "the time of this watch is over");
    return G_SOURCE_REMOVE;
}

static void stream_ready(void *arg)
{
    struct stream *s = arg;

    s->begun = true;
    e2b_stream_begin(s->g.k.x.c);
    e2b_stream_json(s->g.k.x.c, json_pack("{s:{}}", "start"));
    if (s->every)
        s->alive = g_timeout_add((guint)s->every * 1000, keep_alive, s);
}

static void stream_event(void *arg, json_t *event) { e2b_stream_json(((struct stream *)arg)->g.k.x.c, json_pack("{s:o}", "filesystem", event)); }

static void stream_end(void *arg, const struct fault *fault)
{
    struct stream *s = arg;

    if (s->begun)
        finish(s, fault->code, fault->text);
    else
        refuse(&s->g, fault);
}

static bool stream_full(void *arg) { return http_queued(((struct stream *)arg)->g.k.x.c) > QUEUE_LOW; }
static const struct e2b_watching_ops stream_ops = { .ready = stream_ready, .event = stream_event, .end = stream_end, .full = stream_full };

static void stream_then(struct begin *g)
{
    struct stream *s = (struct stream *)g;
    struct fault f;

    s->w = e2b_watching_new(g->k.x.b, g->k.user, g->path, g->k.req, &stream_ops, s, &f);
    if (!s->w)
        refuse(g, &f);
}

static void sent(void *state, size_t n)
{
    struct stream *s = state;

    if (s->w && !stream_full(s))
        e2b_watching_flow(s->w);
}

static void route_watch(struct http_call *c)
{
    struct stream *s = e2b_call_new(c, sizeof(*s), stream_over, stream_fini);
    const char *ms = http_header(c, "Connect-Timeout-Ms"), *ping = http_header(c, "Keepalive-Ping-Interval");
    guint64 v;

    if (!s)
        return;
    s->g.k.stream = true;
    s->g.then = stream_then;
    if (ping && g_ascii_string_to_unsigned(ping, 10, 1, 3600, &v, NULL))
        s->every = v;
    if (ms && g_ascii_string_to_unsigned(ms, 10, 1, G_MAXUINT32, &v, NULL))
        s->deadline = g_timeout_add((guint)v, too_late, s);
    http_on_sent(c, sent);
    e2b_call_rpc(s, begin_go);
}

/* --- watchers --- */
struct watcher { char id[LAUNCH_NAME], box[LAUNCH_NAME]; struct e2b_watching *w; json_t *events; guint idle; bool ready; struct begin *asker; };
static GHashTable *watchers;

static void watcher_free(gpointer p)
{
    struct watcher *r = p;

    if (r->idle)
        g_source_remove(r->idle);
    e2b_watching_free(r->w);
    json_decref(r->events);
    g_free(r);
}

static gboolean watcher_idle(gpointer arg)
{
    struct watcher *r = arg;

    r->idle = 0;
    g_hash_table_remove(watchers, r->id);
    return G_SOURCE_REMOVE;
}

static void watcher_used(struct watcher *r)
{
    if (r->idle)
        g_source_remove(r->idle);
    r->idle = g_timeout_add_seconds(WATCHER_IDLE_S, watcher_idle, r);
}

static void watcher_ready(void *arg)
{
    struct watcher *r = arg;
    struct begin *g = r->asker;

    r->asker = NULL;
    if (g->k.x.c)
        http_reply(g->k.x.c, 200, json_pack("{s:s}", "watcherId", r->id));
    boxed_unref(g);
}

static void watcher_event(void *arg, json_t *event)
{
    struct watcher *r = arg;

    json_array_append_new(r->events, event);
}

static void watcher_end(void *arg, const struct fault *fault)
{
    struct watcher *r = arg;
    struct begin *g = r->asker;

    r->asker = NULL;
    if (g) {
        refuse(g, fault);
        boxed_unref(g);
    }
    g_hash_table_remove(watchers, r->id);
}

static bool watcher_full(void *arg) { return json_array_size(((struct watcher *)arg)->events) >= WATCHER_EVENTS_MAX; }
static const struct e2b_watching_ops watcher_ops = { .ready = watcher_ready, .event = watcher_event, .end = watcher_end, .full = watcher_full };

static void watcher_then(struct begin *g)
{
    struct watcher *r = g_new0(struct watcher, 1);
    struct fault f;

    if (!watchers)
        watchers = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, watcher_free);
    box_make_name(r->id);
    g_strlcpy(r->box, g->k.x.b->id, sizeof(r->box));
    r->events = json_array();
    r->asker = boxed_ref(g);
    g_hash_table_insert(watchers, r->id, r);
    watcher_used(r);
    r->w = e2b_watching_new(g->k.x.b, g->k.user, g->path, g->k.req, &watcher_ops, r, &f);
    if (r->w)
        return;
    watcher_end(r, &f);
}

static void create_fini(void *self) { begin_fini(self); }

static void route_create(struct http_call *c)
{
    struct begin *g = e2b_call_new(c, sizeof(*g), NULL, create_fini);

    if (!g)
        return;
    g->then = watcher_then;
    e2b_call_rpc(g, begin_go);
}

/* The watcher of the request; NULL: answered. */
static struct watcher *watcher_of(struct e2b_call *k)
{
    const char *id = json_string_value(e2b_get(k->req, "watcherId", "watcher_id"));
    struct watcher *r = watchers && id ? g_hash_table_lookup(watchers, id) : NULL;

    if (r && !strcmp(r->box, k->x.b->id))
        return r;
    http_fail(k->x.c, "not_found", "watcher with id %.80s not found", id ? id : "");
    return NULL;
}

static void events_go(void *self)
{
    struct e2b_call *k = self;
    struct watcher *r = watcher_of(k);

    if (!r)
        return;
    watcher_used(r);
    http_reply(k->x.c, 200, json_pack("{s:o}", "events", r->events));
    r->events = json_array();
    e2b_watching_flow(r->w);
}

static void remove_go(void *self)
{
    struct e2b_call *k = self;
    struct watcher *r = watcher_of(k);

    if (!r)
        return;
    g_hash_table_remove(watchers, r->id);
    http_reply(k->x.c, 200, json_object());
}

static void plain(struct http_call *c, void (*go)(void *self))
{
    struct e2b_call *k = e2b_call_new(c, sizeof(*k), NULL, NULL);

    if (k)
        e2b_call_rpc(k, go);
}

static void route_events(struct http_call *c) { plain(c, events_go); }
static void route_remove(struct http_call *c) { plain(c, remove_go); }

const struct http_route e2b_watch_routes[] = {
    E2B_RPC("/filesystem.Filesystem/WatchDir", route_watch, "Stream the changes of a directory"),
    E2B_RPC("/filesystem.Filesystem/CreateWatcher", route_create, "Collect the changes of a directory"),
    E2B_RPC("/filesystem.Filesystem/GetWatcherEvents", route_events, "What a watcher has collected"),
    E2B_RPC("/filesystem.Filesystem/RemoveWatcher", route_remove, "End a watcher"),
    { 0 }
};
