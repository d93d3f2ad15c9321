/* Verb journal: the change journal of a workspace goes on or off, and is read, as far as it goes or for as long as somebody listens. A reader has its connection's thread; one that does not
 * take what it is sent holds up nobody else. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/feed.h"
#include "fs/store.h"
#include "fs/workspace.h"
#include "snapshotd/call.h"

DEFINE_CLEANUP(struct workspace *, workspace_unref)
DEFINE_CLEANUP(struct feed *, feed_unref)
DEFINE_CLEANUP(struct feed_reader *, feed_reader_free)

/* A batch is gathered for so long, so that what is written to a file in many pieces is few events. */
enum { READERS_MAX = PEERS_MAX / 2, TICK_MS = 250, GATHER_MS = 50, SEND_AT_ONCE = 16 << 10 };

static _Atomic unsigned readers;

static const char *const op_names[FEED_OPS] = {
    [FEED_CREATE] = "create", [FEED_LINK] = "link", [FEED_UNLINK] = "unlink", [FEED_RENAME] = "rename", [FEED_EXCHANGE] = "exchange", [FEED_WRITE] = "write",
    [FEED_TRUNCATE] = "truncate", [FEED_CLONE] = "clone", [FEED_ATTR] = "attr", [FEED_XATTR] = "xattr", [FEED_REPLACE] = "replace", [FEED_SNAPSHOT] = "snapshot",
    [FEED_FORK] = "fork", [FEED_RESTORE] = "restore", [FEED_MERGE] = "merge", [FEED_FAILED] = "failed", [FEED_GAP] = "gap",
};

static const char *kind_name(uint8_t kind)
{
    switch (kind) {
    case DT_REG: return "file";
    case DT_DIR: return "directory";
    case DT_LNK: return "symlink";
    case DT_FIFO: return "fifo";
    case DT_SOCK: return "socket";
    case DT_CHR: return "character";
    case DT_BLK: return "block";
    default: return "unknown";
    }
}

static void put_int(json_t *j, const char *key, uint64_t n)
{
    json_object_set_new(j, key, json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n));
}

static json_t *what_changed(unsigned what)
{
    static const struct { unsigned bit; const char *name; } names[] = { { FEED_MODE, "mode" }, { FEED_OWNER, "owner" }, { FEED_TIMES, "times" }, { FEED_ACL, "acl" } };
    json_t *a = json_array();

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (what & names[i].bit)
            json_array_append_new(a, json_string(names[i].name));
    return a;
}

static void put_gap(json_t *j, const struct feed_event *e)
{
    static const char *const reasons[] = { "error", "old", "crash", "error", "cursor" };

    json_object_set_new(j, "reason", json_string(e->what < sizeof(reasons) / sizeof(reasons[0]) ? reasons[e->what] : "error"));
    put_int(j, "from", e->from);
    put_int(j, "to", e->to);
}

/* What only some events have. */
static void put_more(json_t *j, const struct feed_event *e)
{
    switch (e->op) {
    case FEED_CREATE:
        if (e->kind == DT_LNK)
            json_object_set_new(j, "target", snap_bytes(e->aux, e->aux_len));
        else if (e->kind == DT_CHR || e->kind == DT_BLK)
            put_int(j, "rdev", e->rdev);
        break;
    case FEED_RENAME: case FEED_EXCHANGE:
        json_object_set_new(j, "to", snap_bytes(e->aux, e->aux_len));
        if (e->other)
            put_int(j, e->op == FEED_RENAME ? "replaced" : "other", e->other);
        break;
    case FEED_CLONE: case FEED_WRITE: case FEED_TRUNCATE:
        put_int(j, "offset", e->from);
        put_int(j, "length", e->to - e->from);
        if (e->op == FEED_CLONE)
            put_int(j, "source", e->other);
        if (e->what & FEED_ZEROED)
            json_object_set_new(j, "zeroed", json_true());
        break;
    case FEED_ATTR:
        json_object_set_new(j, "what", what_changed(e->what));
        break;
    case FEED_XATTR:
        json_object_set_new(j, "name", snap_bytes(e->aux, e->aux_len));
        json_object_set_new(j, "removed", json_boolean(e->what & FEED_REMOVED));
        break;
    default:
        break;
    }
    if (e->what & FEED_PATH_CUT)
        json_object_set_new(j, "path_unknown", json_true());
}

static json_t *event_json(const struct feed_event *e, const struct feed_cursor *at)
{
    char cursor[FEED_CURSOR_TEXT];

    feed_cursor_format(at, cursor);
    json_t *j = json_pack("{s:I,s:I,s:[I,I],s:s}", "seq", (json_int_t)e->seq, "generation", (json_int_t)e->generation, "time", (json_int_t)e->time.sec, (json_int_t)e->time.ns, "op",
                          op_names[e->op]);
    if (e->op == FEED_GAP) {
        put_gap(j, e);
    } else if (e->op >= FEED_SNAPSHOT) {
        json_object_set_new(j, "snapshot", snap_bytes(e->aux, e->aux_len));
        json_object_set_new(j, "name", snap_bytes(e->path, e->path_len));
        if (e->op == FEED_FORK)
            put_int(j, "count", e->count);
    } else {
        json_object_set_new(j, "path", snap_bytes(e->path, e->path_len));
        if (e->op != FEED_REPLACE) {
            json_object_update_new(j, json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:[I,I],s:I}", "kind", kind_name(e->kind), "inode", (json_int_t)e->ino, "mode", (json_int_t)(e->mode & 07777),
                                                "uid", (json_int_t)e->uid, "gid", (json_int_t)e->gid, "size", (json_int_t)e->size, "links", (json_int_t)e->links, "mtime",
                                                (json_int_t)e->mtime.sec, (json_int_t)e->mtime.ns, "count", (json_int_t)e->count));
            put_more(j, e);
        }
    }
    json_object_set_new(j, "cursor", json_string(cursor));
    return j;
}

/* Waits until the peer takes more; what is sent then fits. False: it went away, or the daemon ends. */
static bool peer_listens(struct call *c, bool to_send)
{
    struct pollfd p = { .fd = c->sock, .events = POLLRDHUP | (to_send ? POLLOUT : 0) };

    do {
        if (poll(&p, 1, to_send ? TICK_MS : 0) < 0 && errno != EINTR)
            return false;
        if (daemon_stopping(c->d))
            return false;
        if (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) {
            c->broken = -EPIPE;
            return false;
        }
    } while (to_send && !(p.revents & POLLOUT));
    return true;
}

/* Where another daemon takes over, the connection just ends: who reads asks that one for what comes next. */
static int not_listening(struct call *c)
{
    if (daemon_is_followed(c->d))
        c->broken = -EPIPE;
    return c->broken ? c->broken : -ESHUTDOWN;
}

static int send_now(struct call *c)
{
    if (!c->more.len)
        return 0;
    return peer_listens(c, true) ? call_more_flush(c) : not_listening(c);
}

/* All that there is now. */
static int tell_all(struct call *c, struct feed_reader *r)
{
    struct feed_cursor at;
    struct feed_event e;
    int q;

    while ((q = feed_read(r, &e)) > 0) {
        feed_reader_at(r, &at);
        q = call_more(c, "events", event_json(&e, &at));
        if (q == 0 && c->more.len > SEND_AT_ONCE)
            q = send_now(c);
        if (q < 0)
            return q;
    }
    return q < 0 ? q : send_now(c);
}

static int follow(struct call *c, struct feed *f, struct feed_reader *r)
{
    const struct timespec gather = { .tv_nsec = GATHER_MS * 1000000 };
    int q = tell_all(c, r);

    while (q == 0) {
        if (!peer_listens(c, false))
            return not_listening(c);
        if (!feed_wait(r, TICK_MS)) {
            if (feed_ended(f))
                return -ENOENT;
            continue;
        }
        nanosleep(&gather, NULL);
        q = tell_all(c, r);
    }
    return q;
}

struct journal_args { const char *name, *cursor, *from; json_int_t since, bytes, keep; int follow, off; };

static int read_args(struct call *c, struct journal_args *a, struct feed_cursor *ret_cursor)
{
    *a = (struct journal_args){ .from = "oldest" };
    int r = call_args(c, ",s:s,s?s,s?s,s?I,s?b,s?b,s?I,s?I", "object", &a->name, "cursor", &a->cursor, "from", &a->from, "since", &a->since, "follow", &a->follow, "off", &a->off, "bytes",
                      &a->bytes, "keep_s", &a->keep);
    if (!r && strcmp(a->from, "oldest") && strcmp(a->from, "now"))
        r = call_bad(c, "from is \"oldest\" or \"now\"");
    if (!r && a->cursor && !feed_cursor_parse(a->cursor, ret_cursor))
        r = call_fail(c, -EINVAL, "invalid", "'%.64s' is not a cursor of a change journal", a->cursor);
    if (!r && (a->since < 0 || a->bytes < 0 || a->keep < 0 || a->keep > UINT32_MAX))
        r = call_bad(c, "since, bytes and keep_s are not negative");
    return r;
}

/* On, with the limits asked for. */
static int switch_on(struct call *c, struct workspace *w, const struct journal_args *a, struct feed **ret)
{
    struct feed_limits l = { FEED_BYTES_DEFAULT, FEED_KEEP_DEFAULT_S };
    struct feed_info info;
    int r = 0;

    *ret = workspace_feed(w);
    if (*ret && !a->bytes && !a->keep)
        return 0;
    if (*ret) {
        feed_info(*ret, &info);
        l = info.limits;
        feed_unref(TAKE_PTR(*ret));
    }
    l.bytes = a->bytes ? (uint64_t)a->bytes : l.bytes;
    l.keep_s = a->keep ? (uint32_t)a->keep : l.keep_s;
    r = workspace_feed_on(w, &l);
    if (r == -ERANGE)
        return call_fail(c, r, "invalid", "a change journal has from 256 KiB to 64 GiB, and keeps events for at least 60 seconds");
    if (r)
        return call_errno(c, r, "keep a journal of", a->name);
    *ret = workspace_feed(w);
    return *ret ? 0 : call_errno(c, -EBUSY, "keep a journal of", a->name);
}

static int read_journal(struct call *c, struct feed *f, const struct journal_args *a, const struct feed_cursor *cursor)
{
    _cleanup_(feed_reader_free_p) struct feed_reader *r = NULL;
    char text[FEED_CURSOR_TEXT];
    struct feed_info info;
    struct feed_cursor at;

    feed_info(f, &info);
    bool now = !cursor && !a->since && !strcmp(a->from, "now");
    int q = feed_reader_new(f, cursor ? cursor : now ? &info.last : NULL, a->since, &r);
    if (q)
        return call_errno(c, q, "read the journal of", a->name);
    feed_cursor_format(now ? &info.last : cursor ? cursor : &info.first, text);
    q = call_more(c, "start", json_pack("{s:s,s:I,s:I,s:I,s:I}", "cursor", text, "bytes", (json_int_t)info.bytes, "bytes_max", (json_int_t)info.limits.bytes, "keep_s",
                                        (json_int_t)info.limits.keep_s, "since", (json_int_t)info.since));
    if (!q)
        q = send_now(c);
    if (!q)
        q = a->follow ? follow(c, f, r) : tell_all(c, r);
    if (q == -ENOENT)
        return call_fail(c, q, "ended", "the journal of '%s' ended: it was switched off, or the workspace was removed", a->name);
    if (q)
        return c->broken ? q : call_errno(c, q, "read the journal of", a->name);
    feed_reader_at(r, &at);
    feed_cursor_format(&at, text);
    c->result = json_pack("{s:s,s:[],s:[]}", "cursor", text, "start", "events");
    return 0;
}

int verb_do_journal(struct call *c)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    _cleanup_(feed_unref_p) struct feed *f = NULL;
    struct feed_cursor cursor;
    struct journal_args a;
    struct object o;

    int r = read_args(c, &a, &cursor);
    if (!r)
        r = call_workspace(c, "keep a journal of", a.name, &o);
    if (r)
        return r;
    if ((r = workspace_open(c->store, o.ws.id, &w)))
        return call_errno(c, r, "keep a journal of", a.name);
    if (a.off) {
        r = workspace_feed_off(w);
        return r ? call_errno(c, r, "end the journal of", a.name) : 0;
    }
    if ((r = switch_on(c, w, &a, &f)))
        return r;
    if (readers++ >= READERS_MAX)
        r = call_fail(c, -EBUSY, "busy", "%d journals are being read already; try again when one of them has ended", READERS_MAX);
    else
        r = read_journal(c, f, &a, a.cursor ? &cursor : NULL);
    readers--;
    return r;
}
