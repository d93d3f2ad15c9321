/* Workspaces that outlive the daemon: the redo log of an open one, and what it brings back (redo.h).
 *
 * Replay: the disk has a state as of some commit, the log everything since one that was not later. An op of the layer that is live on the disk is done (again); one of a
 * layer before it is in a state that was frozen, and durable with that freeze; and a freeze that did not get as far as the disk is done again, with the numbers that it gave.
 */
#include <errno.h>

#include "base/log.h"
#include "fs/fold.h"
#include "fs/redo.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/ws_internal.h"

/* An attribute of a name that no program can set: it is in no map. */
static struct key feed_key(void)
{
    static const char name[] = "coppice.journal";

    return key_xattr(INO_ROOT, name, sizeof name - 1);
}

void redo_put_feed(struct workspace *w)
{
    struct key k = feed_key();
    uint8_t seq[8];

    put_le64(seq, feed_seq(w->feed));
    redo_put(w->redo, w->live->id, k.b, k.len, seq, sizeof seq, false);
}

/* --- replay: the workspace is nobody else's yet --- */

static int take_put(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, bool tombstone)
{
    struct workspace *w = arg;
    uint64_t ino = key_ino(key);

    struct key feed = feed_key();
    if (key_len == feed.len && !memcmp(key, feed.b, feed.len)) {
        w->feed_seq = val_len == 8 && !tombstone ? le64(val) : w->feed_seq;
        return 0;
    }
    if (key_kind_of(key) == KEY_INODE && ino < INO_IMPORT && ino >= w->rec.next_ino)
        w->rec.next_ino = ino + 1;
    return map_put(w->live->map, key, key_len, tombstone ? NULL : val, val_len);
}

/* Data of the live layer that the daemon before has written and perhaps not synced. */
static int find_segment(struct workspace *w)
{
    int r = segment_get(w->store->segments, w->live->id, false, &w->seg);

    if (r == 0)
        segment_unsynced(w->seg);
    return r == -ENOENT ? 0 : r;
}

static int take_freeze(struct workspace *w, const struct redo_op *op)
{
    int r = ws_count_anew(w);

    if (r == 0)
        r = workspace_refreeze(w, op->base, op->live);
    return r < 0 ? r : find_segment(w);
}

static int take_op(void *arg, const struct redo_op *op)
{
    struct workspace *w = arg;

    if (op->kind == REDO_STALES || op->layer < w->live->id)
        return 0;
    if (op->layer > w->live->id)
        return -EUCLEAN;
    return op->kind == REDO_FREEZE ? take_freeze(w, op) : redo_each_put(op, take_put, w);
}

int redo_replay(struct workspace *w, const struct redo *redo)
{
    int r = find_segment(w);

    return r < 0 ? r : redo_each(redo, take_op, w);
}

int workspace_adopt(struct store *s, const char *id, struct redo *redo, struct workspace **ret)
{
    struct workspace *w;
    int r = workspace_load(s, id, redo, &w);

    if (r < 0) {
        log_error("workspace=%s step=adopt err=%s", id, errno_name(r));
        redo_free(redo);
        return r;
    }
    w->redo = redo;
    r = feed_open(s, id, &w->feed_seq, &w->feed);
    if (r == 0)
        r = workspace_add(w);
    if (r < 0) {
        workspace_free(w);
        return r;
    }
    *ret = w;
    return 0;
}

/* --- the log of an open workspace --- */

/* Changes hands under both locks, so that either is enough to look. */
static void set_log(struct workspace *w, struct redo *redo)
{
    pthread_mutex_lock(&w->commit_lock);
    pthread_mutex_lock(&w->lock);
    struct redo *old = w->redo;
    w->redo = redo;
    pthread_cond_broadcast(&w->frozen);
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_unlock(&w->commit_lock);
    redo_free(old);
}

/* The log begins as lost; the commit makes it good: what was changed before is durable then, what comes after is in it. */
int workspace_log(struct workspace *w)
{
    struct redo *redo;
    int r = w->readonly ? -EROFS : redo_new(w->rec.id, &redo);

    if (r < 0)
        return r;
    set_log(w, redo);
    r = workspace_commit(w);
    if (r < 0)
        workspace_unlog(w);
    return r;
}

void workspace_unlog(struct workspace *w)
{
    if (!w->readonly)
        set_log(w, NULL);
}

int workspace_log_fd(struct workspace *w)
{
    pthread_mutex_lock(&w->lock);
    int fd = w->redo ? redo_fd(w->redo) : -1;
    pthread_mutex_unlock(&w->lock);
    return fd;
}

bool redo_applied(struct workspace *w, uint64_t unique, uint32_t opcode, uint64_t *ret_ino)
{
    pthread_mutex_lock(&w->lock);
    bool done = w->redo && redo_was_done(w->redo, unique, opcode, ret_ino);
    pthread_mutex_unlock(&w->lock);
    return done;
}

/* --- what the kernel is to be told --- */

void ws_tell_begin(struct workspace *w)
{
    if (!w->redo)
        return;
    redo_tell_begin(w->redo);
    pthread_cond_broadcast(&w->frozen);
}

void ws_stale(struct workspace *w, uint64_t ino, const char *name, size_t n)
{
    if (w->redo)
        redo_stale(w->redo, ino, name, n);
}

void ws_told(struct workspace *w)
{
    pthread_mutex_lock(&w->lock);
    if (w->redo) {
        redo_tell_end(w->redo);
        if (redo_is_lost(w->redo))        /* now a commit makes it good */
            ws_changed(w, true);
    }
    pthread_mutex_unlock(&w->lock);
}

/* Without the lock: fn may wait for who wants it. Nothing goes from the log before ws_told. */
int ws_untold(struct workspace *w, int (*fn)(void *arg, uint64_t ino, const char *name, uint32_t len), void *arg)
{
    return w->redo ? redo_each_stale(w->redo, fn, arg) : 0;
}
