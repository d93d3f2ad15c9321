/* Mounts that outlive the daemon: what the holder is told of each, and taking them over.
 *
 * All are opened (several at a time: a workspace's redo log is replayed) before any is served, so that what is done in one finds the space that
 * the others use marked as theirs. Entries of snapshots have no redo log: nothing changes there. */
#include "snapshotd/mounts_internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/redo.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/view.h"
#include "fs/workspace.h"
#include "snapshotd/snap_proto.h"

enum { ADOPT_THREADS = 4 };

/* --- what the holder keeps of a mount --- */

static json_t *opts_json(const struct mount_opts *o)
{
    return json_pack("{s:b,s:b,s:b,s:b,s:b,s:b,s:I,s:I,s:s}", "ro", o->ro, "suid", o->suid, "dev", o->dev, "noexec", o->noexec, "no_allow_other", o->no_allow_other, "snapdir", o->snapdir,
                     "uid_base", (json_int_t)o->uid_base, "max_background", (json_int_t)o->max_background, "source", o->source);
}

static json_t *state_json(const struct mount_state *s)
{
    return json_pack("{s:I,s:I,s:b}", "device", (json_int_t)s->dev, "minor", (json_int_t)s->minor, "second_root", s->second_root);
}

bool mounts_hold_entry(struct mounts *t, const struct mount_entry *e, const struct mount_request *q)
{
    struct mount_state state;
    int fd = mount_device(e->mount, &state), log_fd = e->snapshot ? -1 : workspace_log_fd(q->w);

    if (!holding_is(t->holding))
        return false;
    if (fd < 0 || (!e->snapshot && log_fd < 0)) {
        holding_mount(t->holding, e->id, json_pack("{s:o}", "state", state_json(&state)), -1, -1);
        return false;
    }
    json_t *meta = json_pack("{s:s,s:b,s:o,s:i,s:b,s:I,s:o,s:o}", "object", e->object, "snapshot", e->snapshot, "dir",
                             e->dir ? snap_bytes(e->dir, strlen(e->dir)) : json_null(), "pid", (int)e->pid, "foreign", e->foreign,
                             "since", (json_int_t)e->since, "opts", opts_json(&q->opts), "state", state_json(&state));
    return holding_mount(t->holding, e->id, meta, fd, log_fd);
}

/* --- and back --- */

struct adoption {
    struct mounts *t;
    struct store *s;
    _Atomic unsigned next;
    struct mount **made;                  /* by index of holding->mounts; NULL: failed */
    struct mount_entry **entries;
};

static int get_opts(const json_t *v, struct mount_opts *ret)
{
    int ro, suid, dev, noexec, closed, snapdir = 0;
    json_int_t uid_base, background;
    const char *source;

    if (json_unpack((json_t *)(uintptr_t)v, "{s:b,s:b,s:b,s:b,s:b,s?b,s:I,s:I,s:s}", "ro", &ro, "suid", &suid, "dev", &dev, "noexec", &noexec, "no_allow_other", &closed, "snapdir", &snapdir,
                    "uid_base", &uid_base, "max_background", &background, "source", &source))
        return -EBADMSG;
    *ret = (struct mount_opts){ .ro = ro, .suid = suid, .dev = dev, .noexec = noexec, .no_allow_other = closed, .snapdir = snapdir, .uid_base = (uint32_t)uid_base,
                                .max_background = (uint32_t)background };
    snprintf(ret->source, sizeof(ret->source), "%s", source);
    return 0;
}

static int get_state(const json_t *v, struct mount_state *ret)
{
    json_int_t dev, minor;
    int second;

    if (json_unpack((json_t *)(uintptr_t)v, "{s:I,s:I,s:b}", "device", &dev, "minor", &minor, "second_root", &second))
        return -EBADMSG;
    *ret = (struct mount_state){ .dev = (uint64_t)dev, .minor = (uint32_t)minor, .second_root = second };
    return 0;
}

/* The log is the last of its descriptors. */
static int open_workspace(struct store *s, struct held_mount *h, const char *id, struct workspace **ret)
{
    struct redo *log;
    int r = redo_open(TAKE_FD(h->fds[h->fd_count - 1]), id, &log);

    return r ? r : workspace_adopt(s, id, log, ret);
}

/* What was done in a mount that is given up. */
static int keep_changes(struct store *s, struct held_mount *h)
{
    const char *id = json_string_value(json_object_get(h->meta, "object"));
    struct workspace *w;
    int r = id ? open_workspace(s, h, id, &w) : -EBADMSG;

    if (r)
        return r;
    r = workspace_commit(w);
    workspace_unlog(w);
    ws_forget_all(w);
    workspace_unref(w);
    return r;
}

static int open_snapshot(struct store *s, const char *id, struct workspace **ret)
{
    struct object o;
    struct view *v;
    int r = object_find(s, id, &o);

    if (!r)
        r = view_get(s, o.snap.base, &v);
    if (r)
        return r;
    r = workspace_open_view(s, v, ret);
    view_unref(v);
    return r;
}

static int adopt(struct adoption *a, unsigned i)
{
    struct held_mount *h = &a->t->holding->mounts[i];
    struct mount_request q = { 0 };
    struct mount_state state;
    json_t *dir, *opts, *st;
    _cleanup_free_ char *path = NULL;
    int snapshot, pid, foreign;
    json_int_t since;
    size_t len;
    int r = json_unpack(h->meta, "{s:s,s:b,s:o,s:i,s:b,s:I,s:o,s:o}", "object", &q.object, "snapshot", &snapshot, "dir", &dir, "pid", &pid, "foreign", &foreign,
                        "since", &since, "opts", &opts, "state", &st)
                ? -EBADMSG : 0;

    if (!r)
        r = get_opts(opts, &q.opts);
    if (!r)
        r = get_state(st, &state);
    if (!r && !json_is_null(dir) && !(path = snap_bytes_get(dir, &len, &r)))
        r = r ? r : -ENOMEM;
    if (!r && !snapshot && h->fd_count < 2)
        r = -EBADMSG;
    if (!r)
        r = snapshot ? open_snapshot(a->s, q.object, &q.w) : open_workspace(a->s, h, q.object, &q.w);
    if (r)
        return r;
    q.snapshot = snapshot;
    q.dir = path;
    q.pid = pid;
    q.foreign = foreign;
    struct mount_entry *e = mounts_entry_new(a->t, &q);
    if (e) {
        e->id = h->id;
        e->since = since;
        e->held = e->attached = true;     /* attached: whoever was about to do it cannot tell us any more */
        e->dev = state.dev;
        a->entries[i] = e;
        r = mount_adopt(a->t->pool, q.w, &q.opts, &state, h->fds[0], mounts_on_gone, e, &a->made[i]);
        h->fds[0] = -1;
        e->mount = a->made[i];
    }
    workspace_unref(q.w);
    return e ? r : -ENOMEM;
}

static void *adopt_some(void *arg)
{
    struct adoption *a = arg;
    struct holding *h = a->t->holding;

    for (unsigned i; (i = atomic_fetch_add(&a->next, 1)) < h->count;) {
        bool log_only = json_is_true(json_object_get(h->mounts[i].meta, "log_only"));
        int r = log_only ? keep_changes(a->s, &h->mounts[i]) : adopt(a, i);
        for (unsigned k = 0; k < h->mounts[i].fd_count; k++)
            close_p(&h->mounts[i].fds[k]);
        if (!r && log_only)
            holding_drop(h, h->mounts[i].id);
        if (!r)
            continue;
        log_error("mount=%llu not taken over err=%s what=\"its programs see ENOTCONN\"", (unsigned long long)h->mounts[i].id, errno_name(r));
        holding_drop(h, h->mounts[i].id);
    }
    return NULL;
}

static void adopt_all(struct adoption *a)
{
    pthread_t threads[ADOPT_THREADS - 1];
    unsigned n = 0;

    while (n < ADOPT_THREADS - 1 && n + 1 < a->t->holding->count && !pthread_create(&threads[n], NULL, adopt_some, a))
        n++;
    adopt_some(a);
    while (n)
        pthread_join(threads[--n], NULL);
}

/* May wait for requests of the mounts, so nobody waits for it. */
static void *retell_all(void *arg)
{
    struct mount **m = arg;

    for (unsigned i = 0; m[i]; i++) {
        mount_retell(m[i]);
        mount_put(m[i]);
    }
    free(m);
    return NULL;
}

/* A list of the mounts of workspaces, with references, NULL at its end. NULL: no memory. */
static struct mount **changed_mounts(struct adoption *a)
{
    struct mount **v = mem_zalloc((a->t->holding->count + 1) * sizeof(*v));
    unsigned n = 0;

    for (unsigned i = 0; v && i < a->t->holding->count; i++)
        if (a->made[i] && !a->entries[i]->snapshot)
            v[n++] = mount_of(mount_workspace(a->made[i]));
    return v;
}

static int start_retelling(struct mount **v)
{
    pthread_attr_t attr;
    pthread_t t;
    int r = v ? -pthread_attr_init(&attr) : -ENOMEM;

    if (r)
        return r;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    r = -pthread_create(&t, &attr, retell_all, v);
    pthread_attr_destroy(&attr);
    return r;
}

/* Entries in the table, mounts served. */
static void start_all(struct adoption *a, struct adopted *ret)
{
    struct mounts *t = a->t;
    struct holding *h = t->holding;

    t->next_id = ((uint64_t)h->restarts << 32) + 1;
    pthread_mutex_lock(&t->lock);
    for (unsigned i = 0; i < h->count; i++) {
        if (h->mounts[i].id >= t->next_id)
            t->next_id = h->mounts[i].id + 1;
        if (a->made[i]) {
            mounts_entry_insert(t, a->entries[i]);
            mounts_entry_unref(a->entries[i]);
        }
    }
    pthread_mutex_unlock(&t->lock);
    struct mount **changed = changed_mounts(a);
    for (unsigned i = 0; i < h->count; i++) {
        if (a->made[i]) {
            mount_start(a->made[i]);
            ret->count++;
        } else {
            free(a->entries[i] ? a->entries[i]->dir : NULL);
            free(a->entries[i]);
            ret->failed++;
        }
    }
    int r = start_retelling(changed);
    if (r)
        log_error("mounts taken over, kernel not told of changes err=%s", errno_name(r));
}

int mounts_adopt(struct mounts *t, struct store *s, struct adopted *ret)
{
    struct holding *h = t->holding;
    struct adoption a = { .t = t, .s = s };
    uint64_t began = clock_mono_ns();

    *ret = (struct adopted){ 0 };
    a.made = mem_zalloc((h->count + 1) * sizeof(*a.made));
    a.entries = mem_zalloc((h->count + 1) * sizeof(*a.entries));
    int r = !h->count ? 0 : !a.made || !a.entries ? -ENOMEM : mounts_pool_get(t);
    if (r)
        log_error("mounts not taken over err=%s", errno_name(r));
    if (h->count && !r) {
        adopt_all(&a);
        ret->open_ns = clock_mono_ns() - began;
        start_all(&a, ret);
    }
    ret->start_ns = clock_mono_ns() - began - ret->open_ns;
    free(a.made);
    free(a.entries);
    holding_done(h);
    return r;
}
