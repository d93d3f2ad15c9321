/* A workspace's journal goes on and off, and its record in the database: key 'f' workspace id. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "fs/feed_internal.h"
#include "fs/meta.h"
#include "fs/store.h"
#include "fs/ws_internal.h"

struct rec_key { uint8_t b[1 + ID_MAX]; size_t len; };

static struct rec_key key_of(const char *ws_id)
{
    struct rec_key k = { .b = { 'f' }, .len = 1 + strnlen(ws_id, ID_MAX) };

    memcpy(k.b + 1, ws_id, k.len - 1);
    return k;
}

void feed_rec_put(struct batch *b, const char *ws_id, const struct feed_rec *r)
{
    struct rec_key k = key_of(ws_id);
    uint8_t bytes[FEED_REC_BYTES];

    feed_rec_encode(r, bytes);
    batch_put(b, CF_OBJECT, k.b, k.len, bytes, sizeof bytes);
}

int feed_rec_get(struct meta *m, const char *ws_id, struct feed_rec *ret)
{
    struct rec_key k = key_of(ws_id);
    _cleanup_free_ uint8_t *val = NULL;
    size_t n;
    int r = meta_get(m, CF_OBJECT, k.b, k.len, &val, &n);

    return r < 0 ? r : feed_rec_decode(val, n, ret);
}

void feed_rec_delete(struct batch *b, const char *ws_id)
{
    struct rec_key k = key_of(ws_id);

    batch_delete(b, CF_OBJECT, k.b, k.len);
}

struct feed *workspace_feed(struct workspace *w)
{
    pthread_mutex_lock(&w->lock);
    struct feed *f = w->feed ? feed_ref(w->feed) : NULL;
    pthread_mutex_unlock(&w->lock);
    return f;
}

static bool limits_ok(const struct feed_limits *l)
{
    return l->bytes >= FEED_BYTES_MIN && l->bytes <= FEED_BYTES_MAX && l->keep_s >= FEED_KEEP_MIN_S;
}

static int make_new(struct workspace *w, const struct feed_limits *limits, struct feed **ret)
{
    struct feed_rec rec = { .generation = 1, .limits = limits ? *limits : (struct feed_limits){ FEED_BYTES_DEFAULT, FEED_KEEP_DEFAULT_S } };
    struct timespec now;

    if (getrandom(&rec.journal, sizeof rec.journal, 0) != sizeof rec.journal)
        return -EIO;
    clock_real(&now);
    rec.since = now.tv_sec;
    feed_remove_files(w->store, w->rec.id);      /* of an earlier one, if it could not be removed then */
    return feed_make(w->store, w->rec.id, &rec, ret);
}

static void set_limits(struct feed *f, const struct feed_limits *limits, int64_t now)
{
    pthread_mutex_lock(&f->lock);
    f->limits = *limits;
    f->record_due = true;
    feed_segments_trim(f, now);
    pthread_mutex_unlock(&f->lock);
}

/* commit_lock is held, so what is pending goes into the next commit after what was pending before. */
static int switch_on(struct workspace *w, const struct feed_limits *limits)
{
    struct feed *made = NULL;
    struct timespec now;
    struct feed_rec rec;
    int r = w->feed ? 0 : make_new(w, limits, &made);

    if (r < 0)
        return r;
    clock_real(&now);
    pthread_mutex_lock(&w->lock);
    if (w->broken) {
        r = w->broken;
    } else if (made) {
        feed_rec_of(made, false, &rec);
        feed_rec_put(w->pending, w->rec.id, &rec);
        w->feed = made;
        made = NULL;
    } else if (limits) {
        set_limits(w->feed, limits, now.tv_sec);
        w->rec_dirty = true;
    }
    pthread_mutex_unlock(&w->lock);
    feed_unref(made);
    return r;
}

int workspace_feed_on(struct workspace *w, const struct feed_limits *limits)
{
    if (w->readonly)
        return -EROFS;
    if (limits && !limits_ok(limits))
        return -ERANGE;
    pthread_mutex_lock(&w->commit_lock);
    int r = switch_on(w, limits);
    pthread_mutex_unlock(&w->commit_lock);
    return r == 0 ? workspace_commit(w) : r;
}

int workspace_feed_off(struct workspace *w)
{
    if (w->readonly)
        return -EROFS;
    pthread_mutex_lock(&w->commit_lock);
    pthread_mutex_lock(&w->lock);
    struct feed *f = w->feed;
    w->feed = NULL;
    if (f)
        feed_rec_delete(w->pending, w->rec.id);
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_unlock(&w->commit_lock);
    if (!f)
        return 0;
    int r = workspace_commit(w);
    feed_end(f);
    pthread_mutex_lock(&w->commit_lock);
    if (r == 0 && !w->feed)               /* not those of one that was switched on meanwhile, which removed these */
        feed_remove_files(w->store, w->rec.id);
    pthread_mutex_unlock(&w->commit_lock);
    feed_unref(f);
    return r;
}
