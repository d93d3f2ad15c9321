/* The change journal of a workspace.
 *
 * An event is staged by an operation, gets its number and its place in the newest file when ws.lock is let go (written: in the page cache, so it survives the process), and is then
 * shown to readers. Nothing is synced but by commits.
 *
 * What belongs together: the commit's batch has the record of the journal with the number of the last event whose change is in this batch, and the files are synced before the batch. So
 * for every state that can be found on disk the events up to the record's number are all there, and those after it are of changes that are lost: opening cuts them, and puts FEED_GAP
 * there unless the end was clean. Numbers are used again then, in another generation, which is in each event and in each cursor.
 *
 * Invariants (feed.lock): 1. numbers ascend in the files, generations do not fall. 2. shown <= written. 3. An event up to `shown` that a reader was let at, or that a commit knows, is
 * never changed again: `epoch` has grown since. 4. A number that is in no file, between two that are, is a loss: readers get FEED_GAP for it.
 */
#include "fs/feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/diff_internal.h"
#include "fs/feed_internal.h"
#include "fs/meta.h"
#include "fs/store.h"

enum { JOIN_NS = 1000000000, STAGED_MAX = 4096 };

/* --- life --- */

int feed_make(struct store *s, const char *ws_id, const struct feed_rec *rec, struct feed **ret)
{
    struct feed *f = mem_zalloc(sizeof *f);
    pthread_condattr_t attr;

    if (!f)
        return -ENOMEM;
    *f = (struct feed){ .refs = 1, .store = s, .dirfd = -1, .journal = rec->journal, .since = rec->since, .generation = rec->generation, .limits = rec->limits, .committed = rec->seq,
                        .written = rec->seq, .shown = rec->seq, .epoch = 1 };
    memcpy(f->ws_id, ws_id, strlen(ws_id) + 1);
    pthread_mutex_init(&f->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->more, &attr);
    pthread_condattr_destroy(&attr);
    int r = feed_dir_open(s, ws_id, &f->dirfd);
    if (r < 0) {
        feed_unref(f);
        return r;
    }
    *ret = f;
    return 0;
}

struct feed *feed_ref(struct feed *f)
{
    f->refs++;
    return f;
}

void feed_unref(struct feed *f)
{
    if (!f || --f->refs)
        return;
    feed_path_forget(f, 0);
    for (struct feed_segment *s = f->oldest, *next; s; s = next) {
        next = s->next;
        feed_segment_unref(s);
    }
    close_p(&f->dirfd);
    free(f->staged.v);
    buf_fini(&f->text);
    buf_fini(&f->climb);
    buf_fini(&f->line);
    buf_fini(&f->out);
    pthread_cond_destroy(&f->more);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

void feed_end(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    f->ended = true;
    pthread_cond_broadcast(&f->more);
    pthread_mutex_unlock(&f->lock);
}

bool feed_ended(struct feed *f)
{
    pthread_mutex_lock(&f->lock);
    bool ended = f->ended;
    pthread_mutex_unlock(&f->lock);
    return ended;
}

void feed_info(struct feed *f, struct feed_info *ret)
{
    pthread_mutex_lock(&f->lock);
    *ret = (struct feed_info){ .first = { f->journal, f->oldest ? f->oldest->first - 1 : f->shown, 0 }, .last = { f->journal, f->shown, f->shown_generation }, .limits = f->limits,
                               .bytes = f->bytes, .since = f->since };
    pthread_mutex_unlock(&f->lock);
}

/* --- staging --- */

void feed_stage(struct feed *f, const struct feed_event *e)
{
    struct feed_event *to = f->staged.count < STAGED_MAX ? LIST_ADD(&f->staged) : NULL;

    if (!to) {
        f->text.err = -ENOMEM;            /* seen in feed_publish: the whole change is a gap */
        return;
    }
    *to = *e;
    to->path = (const char *)(uintptr_t)f->text.len;
    buf_put(&f->text, e->path, e->path_len);
    to->aux = (const char *)(uintptr_t)f->text.len;
    buf_put(&f->text, e->aux, e->aux_len);
}

void feed_drop(struct feed *f)
{
    f->staged.count = 0;
    buf_clear(&f->text);
}

/* --- joining: repeated changes of one inode are one event --- */

static struct feed_open_event *open_place(struct feed *f, uint64_t ino)
{
    return &f->open[(ino * 0x9e3779b97f4a7c15ull) >> 58];
}
_Static_assert(FEED_OPEN == 64, "open_place");

void feed_close_events(struct feed *f, uint64_t ino)
{
    pthread_mutex_lock(&f->lock);
    if (!ino)
        f->epoch++;
    else if (open_place(f, ino)->e.ino == ino)
        open_place(f, ino)->epoch = 0;
    pthread_mutex_unlock(&f->lock);
}

static void widen(struct feed_event *e, const struct feed_event *by)
{
    e->from = by->from < e->from ? by->from : e->from;
    e->to = by->to > e->to ? by->to : e->to;
}

static bool can_join(const struct feed_event *e, const struct feed_event *by)
{
    if (by->op == FEED_ATTR && by->what == FEED_TIMES)
        return e->op == FEED_CREATE || e->op == FEED_WRITE || e->op == FEED_TRUNCATE || e->op == FEED_CLONE || e->op == FEED_ATTR;   /* they belong to the change before */
    if (by->op == FEED_CLONE)
        return e->op == FEED_CLONE && e->other == by->other;
    return e->op == by->op && (by->op == FEED_ATTR || by->op == FEED_WRITE || by->op == FEED_TRUNCATE);
}

/* Into an event that is in the file already: its head does not cross a page, so a kill leaves the one or the other. */
static bool join(struct feed *f, const struct feed_event *by)
{
    struct feed_open_event *o = open_place(f, by->ino);
    uint8_t head[FEED_RECORD];
    struct feed_event e = o->e;

    if (o->epoch != f->epoch || e.ino != by->ino || !can_join(&e, by) || clock_mono_ns() - o->born_ns > JOIN_NS)
        return false;
    if (e.op == by->op && e.op != FEED_ATTR)
        widen(&e, by);
    if (e.op == by->op)
        e.what |= by->what;
    e.count++;
    e.size = by->size;
    e.mode = by->mode;
    e.uid = by->uid;
    e.gid = by->gid;
    e.links = by->links;
    e.mtime = by->mtime;
    feed_encode_head(&e, o->strings_sum, head);
    if (io_pwrite_full(o->seg->fd, head, sizeof head, (off_t)o->off) < 0)
        return false;
    o->seg->unsynced = true;
    o->e = e;
    return true;
}

/* --- publishing --- */

static int flush_out(struct feed *f)
{
    int r = buf_err(&f->out);

    if (r == 0 && f->out.len)
        r = io_pwrite_full(f->newest->fd, f->out.data, f->out.len, (off_t)f->newest->end);
    if (r == 0 && f->out.len) {
        f->newest->end += f->out.len;
        f->bytes += f->out.len;
        f->newest->unsynced = true;
    }
    buf_clear(&f->out);
    return r;
}

/* A file with room for n more bytes. */
static int make_room(struct feed *f, size_t n, uint64_t seq, int64_t now)
{
    struct feed_segment *s = f->newest;

    if (s && !f->failing && s->end + f->out.len + n + FEED_RECORD <= feed_segment_max(f) && s->made + (int64_t)f->limits.keep_s / 4 >= now)
        return 0;
    if (s && !f->failing && s->end + f->out.len == FEED_HEAD)
        return 0;                         /* nothing in it yet */
    int r = s ? flush_out(f) : 0;
    if (r == 0)
        r = feed_segment_new(f, seq, now);
    if (r == 0)
        feed_segments_trim(f, now);
    return r;
}

static int put_event(struct feed *f, struct feed_event *e)
{
    size_t n = feed_encoded(e);
    uint32_t sum;
    int r = make_room(f, n, e->seq, e->time.sec);

    if (r < 0)
        return r;
    uint64_t left = FEED_PAGE - (f->newest->end + f->out.len) % FEED_PAGE;
    uint8_t *pad = left < FEED_RECORD ? buf_extend(&f->out, left) : NULL;
    if (pad)
        feed_encode_pad(pad, left);
    uint64_t off = f->newest->end + f->out.len;
    uint8_t *to = buf_extend(&f->out, n);
    if (!to)
        return -ENOMEM;
    feed_encode(e, to, &sum);
    f->newest->newest = e->time.sec;
    if (e->ino) {
        struct feed_open_event *o = open_place(f, e->ino);
        *o = (struct feed_open_event){ f->epoch, clock_mono_ns(), off, f->newest, sum, *e };
        o->e.path = o->e.aux = NULL;
    }
    return 0;
}

static int publish_all(struct feed *f)
{
    int r = buf_err(&f->text);

    for (size_t i = 0; r == 0 && i < f->staged.count; i++) {
        struct feed_event *e = &f->staged.v[i];
        e->path = (const char *)f->text.data + (uintptr_t)e->path;
        e->aux = (const char *)f->text.data + (uintptr_t)e->aux;
        e->generation = f->generation;
        e->count = e->count ? e->count : 1;
        if (f->out.len == 0 && join(f, e))
            continue;
        e->seq = ++f->written;
        r = put_event(f, e);
    }
    return r == 0 ? flush_out(f) : r;
}

bool feed_publish(struct feed *f)
{
    if (!f->staged.count && !f->text.err)
        return false;
    pthread_mutex_lock(&f->lock);
    uint64_t before = f->written;
    int r = publish_all(f);
    if (r < 0) {                          /* these numbers stay without events */
        f->written = before + f->staged.count + 1;
        f->epoch++;
        buf_clear(&f->out);
        if (!f->failing)
            log_error("workspace=%s step=journal err=%s what=\"changes are not told\"", f->ws_id, errno_name(r));
    }
    f->failing = r < 0;
    f->written_generation = f->generation;
    bool more = f->written > before;
    pthread_mutex_unlock(&f->lock);
    feed_drop(f);
    return more;
}

void feed_show(struct feed *f)
{
    if (f->shown == f->written)
        return;
    pthread_mutex_lock(&f->lock);
    f->shown = f->written;
    f->shown_generation = f->written_generation;
    if (f->waiting)
        pthread_cond_broadcast(&f->more);
    pthread_mutex_unlock(&f->lock);
}

uint64_t feed_seq(const struct feed *f)
{
    return f->written;
}

/* --- commits --- */

void feed_rec_of(const struct feed *f, bool clean, struct feed_rec *ret)
{
    *ret = (struct feed_rec){ .journal = f->journal, .seq = f->committed, .generation = f->generation, .clean = clean, .limits = f->limits, .since = f->since };
}

void feed_commit_put(struct feed *f, struct batch *b)
{
    struct feed_rec rec;

    if (f->written == f->committed && !f->record_due)
        return;
    pthread_mutex_lock(&f->lock);
    f->epoch++;
    f->committed = f->written;
    f->record_due = false;
    feed_rec_of(f, false, &rec);
    pthread_mutex_unlock(&f->lock);
    feed_rec_put(b, f->ws_id, &rec);
}

void feed_commit_undo(struct feed *f)
{
    f->record_due = true;
}

/* One that is to be synced, with a reference. */
static struct feed_segment *unsynced(struct feed *f, bool *ret_dir)
{
    struct feed_segment *s;

    pthread_mutex_lock(&f->lock);
    for (s = f->oldest; s && !s->unsynced; s = s->next)
        ;
    if (s) {
        s->unsynced = false;
        feed_segment_ref(s);
    }
    *ret_dir = !s && f->dir_unsynced;
    if (*ret_dir)
        f->dir_unsynced = false;
    pthread_mutex_unlock(&f->lock);
    return s;
}

void feed_sync(struct feed *f)
{
    struct feed_segment *s;
    bool dir;
    int r = 0;

    while ((s = unsynced(f, &dir))) {
        int q = disk->fdatasync(s->fd);
        r = r ? r : q;
        feed_segment_unref(s);
    }
    if (dir) {
        int q = disk->fsync(f->dirfd);
        r = r ? r : q;
    }
    if (r < 0)
        log_error("workspace=%s step=sync_journal err=%s", f->ws_id, errno_name(r));
}

/* --- opening --- */

static int write_rec(struct feed *f, bool clean, bool sync)
{
    struct batch *b = batch_new();
    struct feed_rec rec;

    feed_rec_of(f, clean, &rec);
    if (b)
        feed_rec_put(b, f->ws_id, &rec);
    int r = b ? meta_write(f->store->meta, b, sync) : -ENOMEM;
    batch_free(b);
    return r;
}

/* Numbers up to `last` are of changes that are there. One more says that others were lost. */
static int stage_crash(struct feed *f, uint64_t last)
{
    struct timespec now;

    clock_real(&now);
    struct feed_event e = { .op = FEED_GAP, .what = FEED_WHY_CRASH, .from = last + 1, .to = last + 1, .time = { now.tv_sec, (uint32_t)now.tv_nsec } };
    feed_stage(f, &e);
    feed_publish(f);
    feed_show(f);
    return f->failing ? -EIO : 0;
}

int feed_open(struct store *s, const char *ws_id, const uint64_t *recovered, struct feed **ret)
{
    struct feed_rec rec;
    struct feed *f;
    int r = feed_rec_get(s->meta, ws_id, &rec);

    *ret = NULL;
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    bool clean = rec.clean || recovered;
    uint64_t last = recovered && *recovered > rec.seq ? *recovered : rec.seq;
    rec.generation++;
    r = feed_make(s, ws_id, &rec, &f);
    if (r < 0)
        return r;
    r = write_rec(f, false, true);
    if (r < 0) {
        feed_unref(f);
        return r;
    }
    r = feed_segments_load(f, last);
    if (r < 0)                            /* what was read of it can still be read; the rest is a loss */
        log_error("workspace=%s step=load_journal err=%s", ws_id, errno_name(r));
    clean = clean && r == 0 && (f->written == last || last == 0);
    f->written = f->shown = last;         /* what the files miss of it is a loss that readers find */
    f->shown_generation = f->written_generation;
    if (!clean && (r = stage_crash(f, last)) < 0)
        log_error("workspace=%s step=open_journal err=%s", ws_id, errno_name(r));
    *ret = f;
    return 0;
}

void feed_close(struct feed *f)
{
    if (f->written == f->committed && !f->failing && write_rec(f, true, false) < 0)
        log_warn("workspace=%s step=close_journal what=\"its readers will be told of a gap\"", f->ws_id);
    feed_end(f);
}
