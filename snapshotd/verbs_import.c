/* Verbs that bring trees in and out: import, import_archive, export.
 *
 * An import makes its workspace first, with LABEL_IMPORTING, which keeps the name and keeps other verbs away; the label goes when the first
 * snapshot is there. Whatever ends before (an error, the client, a crash) leaves a workspace with the label, which is removed at once or at
 * the daemon's next start. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/wire.h"
#include "fs/archive.h"
#include "fs/import.h"
#include "fs/store.h"
#include "fs/view.h"
#include "fs/workspace.h"
#include "snapshotd/call.h"

DEFINE_CLEANUP(struct workspace *, workspace_unref)
DEFINE_CLEANUP(struct view *, view_unref)

/* --- taking import frames --- */

struct feed { int fd; struct daemon *d; uint8_t *p; size_t have, cap; };

/* More bytes. 0; -ENODATA: the end; -ESHUTDOWN. Looks up now and then for the daemon's end: the sender may be silent for ever. */
static int feed_more(struct feed *f)
{
    for (;;) {
        struct pollfd pfd = { .fd = f->fd, .events = POLLIN };
        int n = poll(&pfd, 1, 500);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (daemon_stopping(f->d))
            return -ESHUTDOWN;
        if (n <= 0)
            continue;
        ssize_t r = read(f->fd, f->p + f->have, f->cap - f->have);
        if (r > 0) {
            f->have += (size_t)r;
            return 0;
        }
        if (r == 0)
            return -ENODATA;
        if (errno != EINTR && errno != EAGAIN)
            return -errno;
    }
}

/* All whole frames in the buffer. 0, or an error of the importer; 1: END was seen. */
static int feed_frames(struct feed *f, struct importer *im)
{
    size_t at = 0;
    int r = 0;

    while (!r && f->have - at >= 4) {
        uint32_t len = le32(f->p + at);
        if (len > IMPORT_FRAME_MAX)
            return -EMSGSIZE;
        if (f->have - at - 4 < len)
            break;
        r = importer_frame(im, f->p + at + 4, len);
        at += 4 + (size_t)len;
        if (!r && importer_ended(im))
            r = 1;
    }
    memmove(f->p, f->p + at, f->have - at);
    f->have -= at;
    return r;
}

static int feed_all(struct call *c, const char *name, int fd, struct importer *im)
{
    struct feed f = { .fd = fd, .d = c->d, .cap = 2 * (IMPORT_FRAME_MAX + 4) };
    int r = 0;

    if (!(f.p = mem_alloc(f.cap)))
        return call_errno(c, -ENOMEM, "import", name);
    while (!r) {
        r = feed_more(&f);
        if (r == -ENODATA)
            r = call_fail(c, -EPIPE, "disconnected",
                          "cannot import '%s': the sender ended before the whole tree was there; nothing was kept", name);
        else if (r)
            call_errno(c, r, "import", name);
        else if ((r = feed_frames(&f, im)) < 0)
            call_fail(c, r,
                      r == -ENOSPC  ? "no_space"
                      : r == -EPERM ? "no_permission"
                                    : "invalid",
                      "cannot import '%s': %s; nothing was kept", name,
                      r == -EMSGSIZE ? "a frame is too long"
                      : r == -ENOSPC ? "the disk of the store is full"
                                     : importer_error(im));
    }
    free(f.p);
    return r < 0 ? r : 0;
}

static int unlabel(struct call *c, const char *id)
{
    struct label_change ch = { LABEL_IMPORTING, NULL };
    struct object o;
    int r = object_find(c->store, id, &o);

    return r ? r : verb_label(c->store, &o, &ch, 1);
}

void import_discard(struct store *s, const char *id)
{
    struct object o;
    int r = object_find(s, id, &o);

    if (!r)
        r = verb_remove(s, &o, true);
    if (r)
        log_warn("object=%s import removal err=%s", id, errno_name(r));
}

/* Fills the workspace and takes its first snapshot. */
static int import_into(struct call *c, const struct ws_rec *rec, const char *at, const char *message, int fd, json_t **ret)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    static const struct labels none;
    struct importer *im = NULL;
    struct snap_rec s;

    int r = workspace_open(c->store, rec->id, &w);
    if (!r)
        r = importer_new(w, at, &im);
    if (r)
        return call_errno(c, r, "import", rec->name);
    r = feed_all(c, rec->name, fd, im);
    uint64_t entries = importer_entries(im), bytes = importer_bytes(im);
    importer_free(im);
    if (r)
        return r;
    struct snapshot_args a = { .name = "", .cause = SNAP_IMPORT, .message = message, .labels = &none };
    r = verb_snapshot(c->store, w, &a, &s, NULL);
    if (r)
        return call_errno(c, r, "import", rec->name);
    *ret = json_pack("{s:s,s:s,s:s,s:I,s:I}", "id", rec->id, "name", rec->name, "snapshot", s.id, "entries", (json_int_t)entries, "bytes",
                     (json_int_t)bytes);
    return 0;
}

int verb_do_import(struct call *c)
{
    struct labels mark = { .count = 1 };
    const char *name, *message = "", *kind = "bare";
    _cleanup_free_ char *at = NULL;
    json_t *where = NULL;
    struct ws_rec rec;
    size_t len;

    int r = call_args(c, ",s:s,s?o,s?s,s?s", "name", &name, "at", &where, "message", &message, "kind", &kind);
    bool root = !strcmp(kind, "root");
    if (!r && !root && strcmp(kind, "bare"))
        r = call_bad(c, "kind is \"bare\" or \"root\"");
    if (!r && where && !(at = snap_bytes_get(where, &len, &r)))
        r = r == -ENOMEM ? r : call_bad(c, "at is a path");
    if (!r && c->fd_count != 1)
        r = call_bad(c, "one descriptor to read frames from must come with it");
    if (r)
        return r;
    if (strlen(message) > MESSAGE_MAX)
        return call_bad(c, "the message is too long");
    strcpy(mark.l[0].key, LABEL_IMPORTING);
    struct create_args a = { .name = name, .kind = root ? WS_ROOT : WS_BARE, .labels = &mark };
    r = verb_create(c->store, &a, &rec);
    if (r)
        return call_name_errno(c, r, "import into", name);
    r = import_into(c, &rec, at ? at : "", message, c->fds[0], &c->result);
    if (!r && (r = unlabel(c, rec.id)))
        call_errno(c, r, "import", name);
    /* The sender learns of an error by its pipe breaking: it may still be writing. */
    close_p(&c->fds[0]);
    c->fds[0] = -1;
    if (r)
        import_discard(c->store, rec.id);
    return r;
}

struct leftovers { struct store *s; char (*ids)[ID_MAX]; size_t n; };

static int leftover(void *arg, const struct ws_rec *w)
{
    struct leftovers *l = arg;

    if (!ws_importing(w))
        return 0;
    char (*ids)[ID_MAX] = mem_realloc(l->ids, (l->n + 1) * sizeof(*ids));
    if (!ids)
        return -ENOMEM;
    l->ids = ids;
    strcpy(l->ids[l->n++], w->id);
    return 0;
}

void imports_clean(struct store *s)
{
    struct leftovers l = { .s = s };
    int r = ws_rec_each(s->meta, leftover, &l);

    if (r)
        log_warn("looking for imports that did not end err=%s", errno_name(r));
    for (size_t i = 0; i < l.n; i++) {
        log_info("object=%s removed: its import did not end", l.ids[i]);
        import_discard(s, l.ids[i]);
    }
    free(l.ids);
}

/* --- archives --- */

static void tell_bytes(void *arg, uint64_t bytes)
{
    if (call_progress_due(arg))
        call_progress(arg, json_pack("{s:I}", "bytes", (json_int_t)bytes), false);
}

static void tell_entries(void *arg, uint64_t entries, uint64_t bytes)
{
    if (call_progress_due(arg))
        call_progress(arg, json_pack("{s:I,s:I}", "entries", (json_int_t)entries, "bytes", (json_int_t)bytes), false);
}

int verb_do_import_archive(struct call *c)
{
    char text[512] = "";
    const char *name;
    struct snap_rec s;
    struct ws_rec w;

    int r = call_args(c, ",s:s", "name", &name);
    if (!r && c->fd_count != 1)
        r = call_bad(c, "one descriptor to read the archive from must come with it");
    if (r)
        return r;
    if (!object_name_valid(name))
        return call_name_errno(c, -EINVAL, "import into", name);
    r = archive_import(c->store, c->fds[0], name, &w, &s, text, sizeof(text), tell_bytes, c);
    if (r == -EUCLEAN)
        return call_fail(c, r, "damaged", "cannot import '%s': %s; nothing was kept", name, text[0] ? text : "the archive is damaged");
    if (r == -EPROTONOSUPPORT)
        return call_fail(c, r, "newer_format", "cannot import '%s': the archive was written by a newer coppice; use that version", name);
    if (r)
        return call_errno(c, r, "import into", name);
    c->result = json_pack("{s:s,s:s,s:s}", "id", w.id, "name", w.name, "snapshot", s.id);
    return 0;
}

/* A snapshot by name, and its view. */
static int snapshot_view(struct call *c, const char *name, struct object *o, struct view **ret)
{
    int r = call_object(c, "export", name, o);

    if (r)
        return r;
    if (!object_is_snapshot(o))
        return call_fail(c, -EINVAL, "invalid", "cannot export '%s': it is a workspace; take a snapshot and export that", name);
    r = view_get(c->store, o->snap.base, ret);
    return r ? call_errno(c, r, "export", name) : 0;
}

int verb_do_export(struct call *c)
{
    _cleanup_(view_unref_p) struct view *v = NULL;
    _cleanup_(view_unref_p) struct view *vs = NULL;
    const char *name, *since = NULL, *format = "archive";
    struct object o, os;

    int r = call_args(c, ",s:s,s?s,s?s", "object", &name, "since", &since, "format", &format);
    bool stream = !r && !strcmp(format, "stream");
    if (!r && !stream && strcmp(format, "archive"))
        r = call_bad(c, "format is \"archive\" or \"stream\"");
    if (!r && stream && since)
        r = call_bad(c, "a stream is always complete");
    if (!r && c->fd_count != 1)
        r = call_bad(c, "one descriptor to write to must come with it");
    if (!r)
        r = snapshot_view(c, name, &o, &v);
    if (!r && since)
        r = snapshot_view(c, since, &os, &vs);
    if (r)
        return r;
    if (stream)
        r = export_stream(c->store, v, "", c->fds[0], tell_entries, c);
    else
        r = archive_export(c->store, v, &o.snap, vs, c->fds[0], tell_bytes, c);
    if (r == -ENOSPC)
        return call_fail(c, r, "no_space", "cannot export '%s': no space left where the archive is written", name);
    if (r)
        return call_errno(c, r, "export", name);
    c->result = json_pack("{s:s}", "snapshot", o.snap.id);
    return 0;
}
