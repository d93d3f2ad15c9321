/* Asks wait in a queue of requests until there is a connection, then in the table until they are answered.
 *
 *   NONE --asks the launcher--> ASKED --descriptor--> OPEN --it ends--> ASKED ; --there is no egress--> NONE, and again after RETRY_MS
 * Invariants: 1. every ask is in the table; `sent` says whether this connection has seen it. 2. fn is called exactly once for each ask that is not cancelled.
 * 3. out holds whole messages but for the first, of which out_off bytes are gone. */
#include "sandbox/egress_client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib-unix.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wire.h"
#include "sandbox/egress_proto.h"
#include "sandbox/http/codes.h"
#include "sandbox/launch_client.h"

enum { RETRY_MS = 2000, SOON_MS = 50 /* after a connection to one that was just dying */, YOUNG_MS = 200, TICK_MS = 1000, OUT_MAX = 16 << 20 };

struct ask { uint32_t tag; char *text; bool once, sent, follows; uint64_t due_ns; egress_event_fn *event; egress_fn *fn; void *arg; };
struct egress_client {
    struct sandboxd *sd;
    void (*begun)(void *arg);             /* a connection did */
    void *begun_arg;
    int fd;
    bool asked;                           /* the launcher, for a connection */
    guint in, room, retry, tick;          /* sources */
    uint32_t last_tag;
    GHashTable *asks;                     /* tag -> struct ask */
    struct buf out, got;
    size_t out_off;
    uint64_t since_ns;                    /* of the connection */
    char why[300];
};

static void connect_now(struct egress_client *c);
static gboolean retry_now(gpointer arg);

static void ask_free(void *p)
{
    struct ask *a = p;

    g_free(a->text);
    g_free(a);
}

/* Ends an ask: out of the table first, for fn may ask again. */
static void settle(struct egress_client *c, struct ask *a, json_t *ok, const struct fault *f, json_t *details)
{
    egress_fn *fn = a->fn;
    void *arg = a->arg;

    g_hash_table_remove(c->asks, GUINT_TO_POINTER(a->tag));
    fn(arg, ok, f, details);
}

/* Which asks: all, those that this connection took with it, those that are late. */
typedef bool which_fn(const struct ask *a, uint64_t now);
static bool any(const struct ask *a, uint64_t now) { return true; }
static bool lost(const struct ask *a, uint64_t now) { return a->sent && (a->once || a->follows); }
static bool late(const struct ask *a, uint64_t now) { return a->due_ns && now > a->due_ns; }

static void fail_all(struct egress_client *c, which_fn *which, const char *code, const char *text)
{
    GList *tags = g_hash_table_get_keys(c->asks);
    uint64_t now = clock_mono_ns();
    struct fault f;

    fault_set(&f, code, "%s", text);
    for (GList *l = tags; l; l = l->next) {
        struct ask *a = g_hash_table_lookup(c->asks, l->data);
        if (a && which(a, now))
            settle(c, a, NULL, &f, NULL);
    }
    g_list_free(tags);
}

/* --- out --- */

static gboolean writable(gint fd, GIOCondition cond, gpointer arg);

static void flush(struct egress_client *c)
{
    while (c->out_off < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->out_off, c->out.len - c->out_off, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            if (errno == EAGAIN && !c->room)
                c->room = g_unix_fd_add(c->fd, G_IO_OUT, writable, c);
            return;                       /* another error: its end, which `readable` sees */
        }
        c->out_off += (size_t)n;
    }
    buf_clear(&c->out);
    c->out_off = 0;
}

static gboolean writable(gint fd, GIOCondition cond, gpointer arg)
{
    struct egress_client *c = arg;

    c->room = 0;
    flush(c);
    return G_SOURCE_REMOVE;
}

static void put(struct egress_client *c, const char *text)
{
    uint8_t head[4];
    size_t n = strlen(text);

    put_le32(head, (uint32_t)n);
    buf_put(&c->out, head, sizeof(head));
    buf_put(&c->out, text, n);
}

static void send_one(struct egress_client *c, struct ask *a)
{
    if (a->sent)
        return;
    a->sent = true;
    put(c, a->text);
    flush(c);
}

static gint by_tag(gconstpointer a, gconstpointer b)
{
    return GPOINTER_TO_UINT(a) < GPOINTER_TO_UINT(b) ? -1 : 1;
}

/* What waited, in the order in which it was asked. */
static void send_all(struct egress_client *c)
{
    GList *tags = g_list_sort(g_hash_table_get_keys(c->asks), by_tag);

    for (GList *l = tags; l; l = l->next)
        send_one(c, g_hash_table_lookup(c->asks, l->data));
    g_list_free(tags);
}

/* --- in --- */

static void close_connection(struct egress_client *c)
{
    GHashTableIter it;
    void *a;

    if (c->in)
        g_source_remove(c->in);
    if (c->room)
        g_source_remove(c->room);
    c->in = c->room = 0;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    buf_clear(&c->out);
    buf_clear(&c->got);
    c->out_off = 0;
    g_hash_table_iter_init(&it, c->asks);
    while (g_hash_table_iter_next(&it, NULL, &a))
        if (!((struct ask *)a)->once && !((struct ask *)a)->follows)
            ((struct ask *)a)->sent = false;
}

/* The list of codes is closed; what is not in it is our bug, and shows as one. */
static const char *known_code(const char *code)
{
#define X(name, status) #name,
    static const char *const codes[] = { HTTP_CODES(X) };
#undef X

    for (size_t i = 0; code && i < G_N_ELEMENTS(codes); i++)
        if (!strcmp(code, codes[i]))
            return codes[i];
    return "internal";
}

static bool dispatch(struct egress_client *c, json_t *j)
{
    json_t *tag = json_object_get(j, "tag"), *event = json_object_get(j, "event"), *ok = json_object_get(j, "ok"), *error = json_object_get(j, "error");
    struct ask *a = g_hash_table_lookup(c->asks, GUINT_TO_POINTER((uint32_t)json_integer_value(tag)));
    const char *text = json_string_value(json_object_get(error, "text"));
    struct fault f;

    if (!json_is_integer(tag) || (!event && !ok && !error))
        return false;
    if (!a)
        return true;                      /* cancelled, or too late */
    if (event && a->event) {
        a->event(a->arg, event);
    } else if (ok) {
        settle(c, a, ok, NULL, NULL);
    } else {
        fault_set(&f, known_code(json_string_value(json_object_get(error, "code"))), "%s", text ? text : "egress gives no reason");
        settle(c, a, NULL, &f, json_object_get(error, "details"));
    }
    return true;
}

/* All whole messages that have come. False: not of the protocol. */
static bool take_messages(struct egress_client *c)
{
    size_t at = 0;
    bool good = !buf_err(&c->got);

    while (good && c->got.len - at >= 4) {
        struct reader r = reader_of(c->got.data + at, 4);
        uint32_t n = get_u32(&r);
        if (n > EGRESS_JSON_MAX)
            return false;
        if (c->got.len - at - 4 < n)
            break;
        json_t *j = json_loadb((const char *)c->got.data + at + 4, n, JSON_REJECT_DUPLICATES, NULL);
        at += 4 + n;
        good = j && dispatch(c, j);
        json_decref(j);
    }
    memmove(c->got.data, c->got.data + at, c->got.len - at);
    c->got.len -= at;
    return good;
}

static gboolean readable(gint fd, GIOCondition cond, gpointer arg)
{
    struct egress_client *c = arg;
    uint8_t piece[65536];

    ssize_t n = recv(c->fd, piece, sizeof(piece), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    if (n > 0) {
        buf_put(&c->got, piece, (size_t)n);
        if (take_messages(c))
            return G_SOURCE_CONTINUE;
    }
    log_warn("step=egress %s", n > 0 ? "it says what is not of the protocol: asked for anew" : "connection lost");
    c->in = 0;
    close_connection(c);
    if (clock_mono_ns() - c->since_ns < YOUNG_MS * 1000000ull && !c->retry)
        c->retry = g_timeout_add(SOON_MS, retry_now, c);
    fail_all(c, lost, "unavailable", "the egress proxy ended before it answered, and is started again; look at what is so, and try again");
    connect_now(c);
    return G_SOURCE_REMOVE;
}

/* --- the connection --- */

static gboolean retry_now(gpointer arg)
{
    struct egress_client *c = arg;

    c->retry = 0;
    connect_now(c);
    return G_SOURCE_REMOVE;
}

static void connected(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count)
{
    struct egress_client *c = arg;

    c->asked = false;
    if (p->op == LAUNCH_OK && fd_count == 1) {
        c->fd = fds[0];
        c->why[0] = 0;
        c->since_ns = clock_mono_ns();
        c->in = g_unix_fd_add(c->fd, G_IO_IN | G_IO_HUP, readable, c);
        if (c->begun)
            c->begun(c->begun_arg);
        send_all(c);
        return;
    }
    for (unsigned i = 0; i < fd_count; i++)
        close(fds[i]);
    g_snprintf(c->why, sizeof(c->why), "%s", p->text[0] ? p->text : "the launcher gives no connection to the egress proxy");
    c->retry = g_timeout_add(RETRY_MS, retry_now, c);
    fail_all(c, any, "unavailable", c->why);
}

static void connect_now(struct egress_client *c)
{
    struct launch_packet q = { .op = LAUNCH_EGRESS };

    if (c->asked || c->fd >= 0 || c->retry)
        return;
    c->asked = true;
    launcher_ask(c->sd->launcher, &q, NULL, 0, connected, c);
}

static gboolean tick(gpointer arg)
{
    struct egress_client *c = arg;

    fail_all(c, late, "timeout", "the egress proxy did not answer in time");
    return G_SOURCE_CONTINUE;
}

struct egress_client *egress_client_new(struct sandboxd *sd)
{
    struct egress_client *c = g_new0(struct egress_client, 1);

    c->sd = sd;
    c->fd = -1;
    c->asks = g_hash_table_new_full(NULL, NULL, NULL, ask_free);
    c->tick = g_timeout_add(TICK_MS, tick, c);
    connect_now(c);
    return c;
}

void egress_client_begun(struct egress_client *c, void (*fn)(void *arg), void *arg)
{
    c->begun = fn;
    c->begun_arg = arg;
}

void egress_client_free(struct egress_client *c)
{
    if (!c)
        return;
    close_connection(c);
    if (c->retry)
        g_source_remove(c->retry);
    g_source_remove(c->tick);
    g_hash_table_unref(c->asks);
    buf_fini(&c->out);
    buf_fini(&c->got);
    g_free(c);
}

/* --- asking --- */

struct refused { egress_fn *fn; void *arg; struct fault f; };

static gboolean refuse_now(gpointer arg)
{
    struct refused *r = arg;

    r->fn(r->arg, NULL, &r->f, NULL);
    g_free(r);
    return G_SOURCE_REMOVE;
}

static void refuse(egress_fn *fn, void *arg, const char *code, const char *text)
{
    struct refused *r = g_new(struct refused, 1);

    *r = (struct refused){ .fn = fn, .arg = arg };
    fault_set(&r->f, code, "%s", text);
    g_idle_add(refuse_now, r);
}

static struct ask *add(struct egress_client *c, json_t *req, egress_fn *fn, void *arg)
{
    struct ask *a;

    do
        c->last_tag++;
    while (!c->last_tag || g_hash_table_contains(c->asks, GUINT_TO_POINTER(c->last_tag)));
    json_object_set_new(req, "tag", json_integer(c->last_tag));
    a = g_new0(struct ask, 1);
    *a = (struct ask){ .tag = c->last_tag, .fn = fn, .arg = arg };
    char *text = json_dumps(req, JSON_COMPACT);
    json_decref(req);
    a->text = g_strdup(text ? text : "");
    free(text);
    return a;
}

/* False: refused, and freed. */
static bool enter(struct egress_client *c, struct ask *a)
{
    const char *code = NULL, *text = NULL;

    if (!a->text[0] || strlen(a->text) > EGRESS_JSON_MAX) {
        code = "payload_too_large";
        text = "what is asked of the egress proxy is larger than 1 MiB";
    } else if (g_hash_table_size(c->asks) >= EGRESS_ASKS_WAITING_MAX || c->out.len > OUT_MAX) {
        code = "too_many";
        text = "too many requests wait for the egress proxy";
    } else if (c->fd < 0 && c->why[0]) {
        code = "unavailable";
        text = c->why;
    }
    if (code) {
        refuse(a->fn, a->arg, code, text);
        ask_free(a);
        return false;
    }
    g_hash_table_insert(c->asks, GUINT_TO_POINTER(a->tag), a);
    if (c->fd >= 0)
        send_one(c, a);
    else
        connect_now(c);
    return true;
}

void egress_ask(struct egress_client *c, json_t *req, bool once, egress_fn *fn, void *arg)
{
    struct ask *a = add(c, req, fn, arg);

    a->once = once;
    a->due_ns = clock_mono_ns() + EGRESS_ANSWER_S * 1000000000ull;
    enter(c, a);
}

uint32_t egress_follow(struct egress_client *c, json_t *req, egress_event_fn *event, egress_fn *fn, void *arg)
{
    struct ask *a = add(c, req, fn, arg);
    uint32_t tag = a->tag;

    a->follows = true;
    a->event = event;
    return enter(c, a) ? tag : 0;
}

void egress_cancel(struct egress_client *c, uint32_t tag)
{
    struct ask *a = tag ? g_hash_table_lookup(c->asks, GUINT_TO_POINTER(tag)) : NULL;
    char text[96];

    if (!a)
        return;
    if (a->sent && c->fd >= 0) {
        g_snprintf(text, sizeof(text), "{\"op\":\"cancel\",\"tag\":%u,\"of\":%u}", ++c->last_tag ? c->last_tag : ++c->last_tag, tag);
        put(c, text);
        flush(c);
    }
    g_hash_table_remove(c->asks, GUINT_TO_POINTER(tag));
}

const char *egress_why(const struct egress_client *c)
{
    return c->why[0] ? c->why : NULL;
}
