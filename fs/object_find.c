/* From what a person writes to an object, and from an object to its view. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/cleanup.h"
#include "fs/fold.h"
#include "fs/meta.h"
#include "fs/store.h"
#include "fs/verbs_internal.h"
#include "fs/view.h"
#include "fs/workspace.h"

/* An open workspace's record in memory is ahead of the one on disk. */
static int find_ws(struct store *s, const char *id, struct ws_rec *ret)
{
    bool found = false;

    pthread_mutex_lock(&s->lock);
    for (struct workspace *w = s->workspaces; w && !found; w = w->next) {
        pthread_mutex_lock(&w->lock);
        found = !strcmp(w->rec.id, id);
        if (found)
            *ret = w->rec;
        pthread_mutex_unlock(&w->lock);
    }
    pthread_mutex_unlock(&s->lock);
    if (found) {
        /* One that was removed while someone still holds it is gone for all others. */
        struct ws_rec on_disk;
        return ws_rec_get(s->meta, id, &on_disk);
    }
    return ws_rec_get(s->meta, id, ret);
}

static int find_ws_name(struct store *s, const char *name, struct ws_rec *ret)
{
    char id[ID_MAX];
    int r = ws_name_get(s->meta, name, id);

    return r < 0 ? r : find_ws(s, id, ret);
}

struct by_name { const char *name; char id[ID_MAX]; unsigned count; };

static int match_name(void *arg, const char *ws_id, const char *name, const char *id)
{
    struct by_name *b = arg;

    if (!strcmp(name, b->name) && b->count++ == 0)
        strcpy(b->id, id);
    return b->count > 1 ? -ENOTUNIQ : 0;
}

static int find_bare_snap(struct store *s, const char *name, struct snap_rec *ret)
{
    struct by_name b = { .name = name };
    int r = snap_name_each(s->meta, match_name, &b);

    return r < 0 ? r : b.count ? snap_rec_get(s->meta, b.id, ret) : -ENOENT;
}

static int find_qualified(struct store *s, const char *text, const char *at, struct snap_rec *ret)
{
    char ws_name[OBJECT_NAME_MAX + 1], id[ID_MAX];
    size_t n = (size_t)(at - text);
    struct ws_rec ws;
    int r;

    if (n == 0 || n >= sizeof ws_name)
        return -ENOENT;
    memcpy(ws_name, text, n);
    ws_name[n] = '\0';
    r = object_id_is(ws_name) ? find_ws(s, ws_name, &ws) : find_ws_name(s, ws_name, &ws);
    if (r == 0)
        r = snap_name_get(s->meta, ws.id, at + 1, id);
    return r < 0 ? r : snap_rec_get(s->meta, id, ret);
}

int object_find(struct store *s, const char *name, struct object *ret)
{
    struct object o = { 0 };
    const char *at = strchr(name, '@');
    int r;

    if (at) {
        r = find_qualified(s, name, at, &o.snap);
    } else if (object_id_is(name)) {
        r = name[0] == 'w' ? find_ws(s, name, &o.ws) : snap_rec_get(s->meta, name, &o.snap);
    } else if (!object_name_valid(name)) {
        r = -ENOENT;
    } else {
        r = find_ws_name(s, name, &o.ws);
        if (r == -ENOENT) {
            o.ws = (struct ws_rec){ 0 };
            r = find_bare_snap(s, name, &o.snap);
        }
    }
    if (r < 0)
        return r;
    *ret = o;
    return 0;
}

int snap_view(struct store *s, const struct snap_rec *snap, struct view **ret)
{
    struct snap_rec again;
    struct view *v;
    int r = view_get(s, snap->base, &v);

    if (r < 0)
        return r;
    r = snap_rec_get(s->meta, snap->id, &again);
    if (r < 0) {
        view_unref(v);
        return r;
    }
    *ret = v;
    return 0;
}

int object_view(struct store *s, const struct object *o, struct view **ret)
{
    struct workspace *w;
    int r;

    if (o->snap.id[0])
        return snap_view(s, &o->snap, ret);
    r = workspace_open(s, o->ws.id, &w);
    if (r < 0)
        return r;
    r = workspace_freeze(w, NULL, ret, NULL);
    workspace_unref(w);
    return r;
}

int view_fold_now(struct store *s, struct view *v, struct addr *ret_root)
{
    for (;;) {
        pthread_rwlock_rdlock(&s->view_lock);
        bool folded = !v->layer;
        struct addr root = v->rec.root;
        pthread_rwlock_unlock(&s->view_lock);
        if (folded) {
            *ret_root = root;
            return 0;
        }
        int r = fold_view(s, v);
        if (r < 0)
            return r;
    }
}

/* --- names being given --- */

static int name_is_used(struct store *s, const char *ws_id, const char *name)
{
    char id[ID_MAX];

    for (const struct name_hold *h = s->names_held; h; h = h->next) {
        if (!strcmp(h->ws_id, ws_id) && !strcmp(h->name, name))
            return -EEXIST;
    }
    int r = ws_id[0] ? snap_name_get(s->meta, ws_id, name, id) : ws_name_get(s->meta, name, id);
    return r == 0 ? -EEXIST : r == -ENOENT ? 0 : r;
}

int name_hold(struct store *s, const char *ws_id, const char *name, struct name_hold *h)
{
    pthread_mutex_lock(&s->lock);
    int r = name_is_used(s, ws_id, name);
    if (r == 0) {
        *h = (struct name_hold){ .next = s->names_held, .ws_id = ws_id, .name = name };
        s->names_held = h;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

void name_release(struct store *s, struct name_hold *h)
{
    pthread_mutex_lock(&s->lock);
    for (struct name_hold **p = &s->names_held; *p; p = &(*p)->next) {
        if (*p == h) {
            *p = h->next;
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
}

int fresh_ws_id(struct store *s, char ret[ID_MAX])
{
    struct ws_rec rec;
    int r;

    do {
        r = object_new_id("ws-", ret);
    } while (r == 0 && (r = ws_rec_get(s->meta, ret, &rec)) == 0);
    return r == -ENOENT ? 0 : r;
}

int fresh_snap_id(struct store *s, char ret[ID_MAX])
{
    struct snap_rec rec;
    int r;

    do {
        r = object_new_id("snap-", ret);
    } while (r == 0 && (r = snap_rec_get(s->meta, ret, &rec)) == 0);
    return r == -ENOENT ? 0 : r;
}
