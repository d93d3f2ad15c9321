/* Snapshots as .snap shows them: opened when somebody asks, kept as long as the kernel knows anything in them.
 *
 * 1. A snap is in the table as long as refs > 0: one for each snap_node, one for each request under way.
 * 2. Its view is held as long: a snapshot that is removed meanwhile stays as it was for who has something of it open, and gc leaves its data.
 * 3. What is found by name is looked up in the store each time, so a removed one is not found and a new one is; the kernel asks each time (fuse_snap.c).
 * 4. d->lock is a leaf. Views and trees are made and freed without it. */
#include "fs/snapdir_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "fs/store.h"
#include "fs/verbs_internal.h"
#include "fs/view.h"
#include "fs/workspace.h"

int snapdir_new(struct store *s, const char *ws_id, struct snapdir **ret)
{
    struct snapdir *d = mem_zalloc(sizeof *d);

    if (!d)
        return -ENOMEM;
    /* At random: the kernel may have nodes of this mount from a daemon before. */
    if (getrandom(&d->next_node, sizeof d->next_node, 0) != sizeof d->next_node) {
        free(d);
        return -EIO;
    }
    d->store = s;
    memccpy(d->ws_id, ws_id, 0, sizeof d->ws_id);
    d->next_node = SNAPDIR_BIT | (d->next_node & (SNAPDIR_BIT - 1) >> 1);
    d->seen = UINT64_MAX;
    pthread_mutex_init(&d->lock, NULL);
    if (snap_nodes_init(d)) {
        snapdir_free(d);
        return -ENOMEM;
    }
    *ret = d;
    return 0;
}

void snap_free(struct snap *sn)
{
    if (!sn)
        return;
    workspace_unref(sn->ws);
    view_unref(sn->view);
    free(sn);
}

void snapdir_free(struct snapdir *d)
{
    if (!d)
        return;
    snap_nodes_fini(d);
    for (unsigned i = 0; i < SNAP_BUCKETS; i++)
        while (d->snaps[i]) {
            struct snap *sn = d->snaps[i];
            d->snaps[i] = sn->next;
            snap_free(sn);
        }
    snap_list_unref(d->list);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static struct snap **bucket(struct snapdir *d, uint64_t seq)
{
    return &d->snaps[seq % SNAP_BUCKETS];
}

static struct snap *find(struct snapdir *d, uint64_t seq)
{
    struct snap *sn = *bucket(d, seq);

    while (sn && sn->seq != seq)
        sn = sn->next;
    return sn;
}

struct snap *snap_unref(struct snapdir *d, struct snap *sn)
{
    struct snap **at = bucket(d, sn->seq);

    if (--sn->refs)
        return NULL;
    while (*at != sn)
        at = &(*at)->next;
    *at = sn->next;
    d->snap_count--;
    if (sn->ws)
        d->open[sn->slot] = NULL;
    return sn;
}

/* A reference on the snap of this record; made if there is none. */
static int snap_ref(struct snapdir *d, const struct snap_rec *rec, struct snap **ret)
{
    struct snap *mine = NULL, *sn;
    int r = 0;

    pthread_mutex_lock(&d->lock);
    sn = find(d, rec->seq);
    if (!sn) {
        pthread_mutex_unlock(&d->lock);
        mine = mem_zalloc(sizeof *mine);
        r = mine ? snap_view(d->store, rec, &mine->view) : -ENOMEM;
        if (r) {
            free(mine);
            return r;
        }
        mine->seq = rec->seq;
        pthread_mutex_lock(&d->lock);
        sn = find(d, rec->seq);
        if (!sn) {
            sn = mine;
            mine = NULL;
            sn->next = *bucket(d, sn->seq);
            *bucket(d, sn->seq) = sn;
            d->snap_count++;
        }
    }
    sn->refs++;
    pthread_mutex_unlock(&d->lock);
    snap_free(mine);
    *ret = sn;
    return 0;
}

/* The tree of a snap that the caller has a reference on. Those not asked for lately are closed: a snap takes little without it. */
static int snap_tree(struct snapdir *d, struct snap *sn, struct workspace **ret)
{
    struct workspace *w, *old = NULL;
    struct snap *out;
    int r;

    pthread_mutex_lock(&d->lock);
    w = sn->ws ? workspace_ref(sn->ws) : NULL;
    pthread_mutex_unlock(&d->lock);
    if (w) {
        *ret = w;
        return 0;
    }
    r = workspace_open_view(d->store, sn->view, &w);
    if (r)
        return r;
    pthread_mutex_lock(&d->lock);
    if (!sn->ws) {
        sn->slot = d->hand++ % SNAP_OPEN_MAX;
        out = d->open[sn->slot];
        if (out) {
            old = out->ws;
            out->ws = NULL;
        }
        d->open[sn->slot] = sn;
        sn->ws = workspace_ref(w);
    }
    pthread_mutex_unlock(&d->lock);
    workspace_unref(old);
    *ret = w;
    return 0;
}

/* The record of what has this name in .snap. */
static int record_of(struct snapdir *d, const char *name, struct snap_rec *ret)
{
    char id[ID_MAX];
    int r;

    if (!strncmp(name, "snap-", 5) && object_id_is(name)) {
        r = snap_rec_get(d->store->meta, name, ret);
        return r ? r : strcmp(ret->ws_id, d->ws_id) || ret->name[0] ? -ENOENT : 0;
    }
    if (!object_name_valid(name))
        return -ENOENT;
    r = snap_name_get(d->store->meta, d->ws_id, name, id);
    return r ? r : snap_rec_get(d->store->meta, id, ret);
}

int snapdir_open(struct snapdir *d, const char *name, struct snap **ret, struct workspace **ret_ws)
{
    struct snap_rec rec;
    struct snap *sn;
    int r = record_of(d, name, &rec);

    if (!r)
        r = snap_ref(d, &rec, &sn);
    if (r)
        return r;
    r = snap_tree(d, sn, ret_ws);
    if (r)
        snapdir_put(d, sn, NULL);
    else
        *ret = sn;
    return r;
}

int snapdir_get(struct snapdir *d, uint64_t node, struct snap **ret, struct workspace **ret_ws, uint64_t *ret_ino)
{
    struct snap_node *n;
    struct snap *sn = NULL;
    uint64_t ino = 0;
    int r;

    pthread_mutex_lock(&d->lock);
    n = snap_node_find(d, node);
    if (n) {
        sn = n->sn;
        ino = n->ino;
        sn->refs++;
    }
    pthread_mutex_unlock(&d->lock);
    r = sn ? snap_tree(d, sn, ret_ws) : -ESTALE;
    if (r) {
        snapdir_put(d, sn, NULL);
        return r;
    }
    *ret = sn;
    *ret_ino = ino;
    return 0;
}

void snapdir_put(struct snapdir *d, struct snap *sn, struct workspace *w)
{
    workspace_unref(w);
    if (!sn)
        return;
    pthread_mutex_lock(&d->lock);
    sn = snap_unref(d, sn);
    pthread_mutex_unlock(&d->lock);
    snap_free(sn);
}

uint64_t snap_seq(const struct snap *sn)
{
    return sn->seq;
}

void snapdir_stats(struct snapdir *d, struct snapdir_stats *ret)
{
    pthread_mutex_lock(&d->lock);
    *ret = (struct snapdir_stats){ .nodes = d->count, .snaps = d->snap_count };
    for (unsigned i = 0; i < SNAP_OPEN_MAX; i++)
        ret->open += d->open[i] != NULL;
    pthread_mutex_unlock(&d->lock);
}
