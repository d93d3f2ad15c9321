#include "snapshotd/mounts_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "fs/workspace.h"
#include "snapshotd/snap_proto.h"

void mounts_init(struct mounts *t, struct holding *h)
{
    pthread_condattr_t attr;

    memset(t, 0, sizeof(*t));
    t->holding = h;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &attr);
    pthread_condattr_destroy(&attr);
    t->next_id = 1;
}

struct timespec mounts_deadline(unsigned timeout_ms)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += timeout_ms % 1000 * 1000000L;
    ts.tv_sec += timeout_ms / 1000 + ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    return ts;
}

void mounts_entry_unref(struct mount_entry *e)
{
    if (--e->refs)
        return;
    free(e->dir);
    free(e);
}

static struct mount_entry *entry_find(struct mounts *t, uint64_t id)
{
    for (struct mount_entry *e = t->list; e; e = e->next)
        if (e->id == id)
            return e;
    return NULL;
}

struct mount_entry *mounts_entry_of(struct mounts *t, const char *object)
{
    for (struct mount_entry *e = t->list; e; e = e->next)
        if (!strcmp(e->object, object))
            return e;
    return NULL;
}

/* With the table's lock. */
static void wait_users(struct mount_entry *e)
{
    while (e->users)
        pthread_cond_wait(&e->table->changed, &e->table->lock);
}

/* From a pool thread: the kernel is done with the mount, and its workspace is committed. */
void mounts_on_gone(void *arg, struct mount *m)
{
    struct mount_entry *e = arg;
    struct mounts *t = e->table;

    (void)m;
    pthread_mutex_lock(&t->lock);
    e->gone = true;
    wait_users(e);                        /* one of them may be about to let the holder keep it */
    pthread_mutex_unlock(&t->lock);
    holding_drop(t->holding, e->id);      /* before its object can be mounted again: the holder must never have two of one */
    pthread_mutex_lock(&t->lock);
    for (struct mount_entry **at = &t->list; *at; at = &(*at)->next) {
        if (*at != e)
            continue;
        *at = e->next;
        t->count--;
        break;
    }
    pthread_cond_broadcast(&t->changed);
    wait_users(e);
    mounts_entry_unref(e);
    pthread_mutex_unlock(&t->lock);
}

struct mount_entry *mounts_entry_new(struct mounts *t, const struct mount_request *q)
{
    struct mount_entry *e = mem_zalloc(sizeof(*e));
    struct timespec now;

    if (!e)
        return NULL;
    if (q->dir && !(e->dir = mem_strdup(q->dir))) {
        free(e);
        return NULL;
    }
    clock_real(&now);
    e->table = t;
    e->since = now.tv_sec;
    e->snapshot = q->snapshot;
    e->ro = q->snapshot || q->opts.ro;
    e->foreign = q->foreign;
    e->pid = q->pid;
    e->refs = 2;          /* on_gone's, and the maker's */
    snprintf(e->object, sizeof(e->object), "%s", q->object);
    return e;
}

/* Made outside the lock; if two make one at the same time, one is thrown away. */
int mounts_pool_get(struct mounts *t)
{
    struct fuse_pool *fresh = NULL;

    pthread_mutex_lock(&t->lock);
    bool stopping = t->stopping, there = t->pool;
    pthread_mutex_unlock(&t->lock);
    int r = stopping ? -ESHUTDOWN : there ? 0 : fuse_pool_new(0, &fresh);
    if (!fresh)
        return r;
    pthread_mutex_lock(&t->lock);
    if (t->stopping) {
        r = -ESHUTDOWN;
    } else if (!t->pool) {
        t->pool = fresh;
        fresh = NULL;
    }
    pthread_mutex_unlock(&t->lock);
    if (fresh)
        fuse_pool_free(fresh);
    return r;
}

void mounts_entry_insert(struct mounts *t, struct mount_entry *e)
{
    e->next = t->list;
    t->list = e;
    t->count++;
}

int mounts_add(struct mounts *t, const struct mount_request *q, uint64_t *ret_id, int *ret_fd)
{
    int r = mounts_pool_get(t);
    if (r)
        return r;
    struct mount_entry *e = mounts_entry_new(t, q);
    if (!e)
        return -ENOMEM;

    /* In the table before the mount exists: on_gone may come at any time after, and takes it out. */
    pthread_mutex_lock(&t->lock);
    if (t->stopping)
        r = -ESHUTDOWN;
    else if (!q->snapshot && mounts_entry_of(t, q->object))
        r = -EBUSY;
    if (r) {
        e->refs = 1;
        mounts_entry_unref(e);
        pthread_mutex_unlock(&t->lock);
        return r;
    }
    e->id = t->next_id++;
    mounts_entry_insert(t, e);
    pthread_mutex_unlock(&t->lock);

    struct mount *m = NULL;
    bool log = !q->snapshot && q->opts.transport != TRANSPORT_URING && holding_is(t->holding);
    r = log ? workspace_log(q->w) : 0;
    if (!r)
        r = mount_new(t->pool, q->w, &q->opts, mounts_on_gone, e, &m, ret_fd);
    if (r && log)
        workspace_unlog(q->w);
    if (r)
        mounts_on_gone(e, NULL);
    pthread_mutex_lock(&t->lock);
    *ret_id = e->id;
    bool there = !r && !e->gone;
    if (there) {
        e->mount = m;
        e->dev = mount_dev(m);
        e->uring = mount_transport(m) == TRANSPORT_URING;
        e->users++;                       /* on_gone waits, and drops it from the holder after */
    }
    pthread_mutex_unlock(&t->lock);
    bool held = there && mounts_hold_entry(t, e, q);
    pthread_mutex_lock(&t->lock);
    if (there) {
        e->held = held;
        e->users--;
        pthread_cond_broadcast(&t->changed);
    }
    mounts_entry_unref(e);
    pthread_mutex_unlock(&t->lock);
    return r;
}

void mounts_attached(struct mounts *t, uint64_t id, bool ok)
{
    pthread_mutex_lock(&t->lock);
    struct mount_entry *e = entry_find(t, id);
    if (e && ok)
        e->attached = true;
    struct mount *cut = e && !ok && !e->gone ? e->mount : NULL;
    if (cut)
        e->users++;
    pthread_mutex_unlock(&t->lock);
    if (!cut)
        return;
    mount_abort(cut);
    pthread_mutex_lock(&t->lock);
    e->users--;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

int mounts_wait_gone(struct mounts *t, uint64_t id, unsigned timeout_ms)
{
    struct timespec end = mounts_deadline(timeout_ms);
    int r = 0;

    pthread_mutex_lock(&t->lock);
    while (!r && entry_find(t, id)) {
        if (t->stopping)
            r = -ESHUTDOWN;
        else
            r = -pthread_cond_timedwait(&t->changed, &t->lock, &end);
    }
    if (!entry_find(t, id))
        r = 0;
    pthread_mutex_unlock(&t->lock);
    return r;
}

/* {"LOOKUP": 12, ...}: what the kernel has asked since it was mounted. m: NULL while it is being made. */
static json_t *messages_json(struct mount *m)
{
    json_t *o = json_object();
    struct mount_stats s = { 0 };

    if (m)
        mount_stats(m, &s);
    for (unsigned i = 0; i < sizeof(s.by_opcode) / sizeof(s.by_opcode[0]); i++)
        if (s.by_opcode[i])
            json_object_set_new(o, fuse_message_name(i), json_integer((json_int_t)s.by_opcode[i]));
    return o;
}

/* With t->lock: an entry in the list has its mount. */
static json_t *entry_json(const struct mount_entry *e)
{
    return json_pack("{s:I,s:s,s:b,s:b,s:b,s:b,s:b,s:s,s:o,s:i,s:I,s:I,s:o}", "mount", (json_int_t)e->id, "object", e->object, "snapshot", e->snapshot,
                     "read_only", e->ro, "attached", e->attached, "foreign", e->foreign, "protected", e->held && holding_is(e->table->holding),
                     "transport", e->uring ? "uring" : "classic",
                     "dir", e->dir ? snap_bytes(e->dir, strlen(e->dir)) : json_null(), "pid", (int)e->pid, "dev", (json_int_t)e->dev,
                     "since", (json_int_t)e->since, "messages", messages_json(e->mount));
}

json_t *mounts_json(struct mounts *t, const char *object)
{
    json_t *all = json_array();

    pthread_mutex_lock(&t->lock);
    for (struct mount_entry *e = t->list; e; e = e->next)
        if (!object || !strcmp(e->object, object))
            json_array_append_new(all, entry_json(e));
    pthread_mutex_unlock(&t->lock);
    return all;
}

unsigned mounts_count(struct mounts *t)
{
    pthread_mutex_lock(&t->lock);
    unsigned n = t->count;
    pthread_mutex_unlock(&t->lock);
    return n;
}

char *mounts_dir(struct mounts *t, const char *object)
{
    pthread_mutex_lock(&t->lock);
    struct mount_entry *e = mounts_entry_of(t, object);
    char *dir = e && e->dir ? mem_strdup(e->dir) : NULL;
    pthread_mutex_unlock(&t->lock);
    return dir;
}
