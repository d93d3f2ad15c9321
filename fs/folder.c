/* The background of a store: two threads.
 *
 * The committer (normal priority) commits each open workspace that has been dirty for an interval.
 * The folder (low priority) does, in this order: freezing of live layers grown too large, which queues them; what is queued, first in first
 * out; and, after a minute without anything to fold, a step of packing. The queue holds references. A view that cannot be folded goes to
 * the end of the queue and is not tried again before a pause that doubles up to a minute: an error like ENOSPC costs nothing but memory,
 * and does not spin.
 *
 * folder.lock guards the queue and is innermost: it may be taken with a workspace's commit_lock held. Nothing is called with it held.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/fold_internal.h"
#include "fs/redo.h"
#include "fs/ws_internal.h"

#define SECOND_NS 1000000000ull
#define TICK_NS (SECOND_NS / 4)           /* how often live layers are looked at */
#define PAUSE_MAX_NS (60 * SECOND_NS)
#define IDLE_NS (60 * SECOND_NS)          /* without a fold, before packing */
#define PACK_STEP_BYTES (8ull << 20)
#define ALL_LAYERS_BYTES (4 * LAYER_SOFT_BYTES)
enum { NICENESS = 10 };

struct item { struct item *next; struct view *view; uint64_t not_before_ns, pause_ns; };

struct folder {
    struct store *store;
    uint64_t interval_ns;
    pthread_t committer, folder;
    bool committer_runs, folder_runs;
    pthread_mutex_t lock;
    pthread_cond_t wake;                  /* work for the folder, or stop; monotonic */
    pthread_cond_t stopped;               /* stop, for the committer */
    _Atomic bool stop;
    bool hurry;                           /* a redo log wants a commit */
    struct item *first, *last;

    /* of the folder thread alone */
    uint64_t busy_ns;                     /* when something was folded last */
    uint64_t freeze_after_ns, freeze_pause_ns;
    uint64_t pack_after_ns;
    uint64_t skip_seg;                    /* the last answer of segment_is_layers */
    bool skip_answer;
};

static uint64_t longer(uint64_t pause_ns)
{
    pause_ns = pause_ns ? 2 * pause_ns : SECOND_NS;
    return pause_ns < PAUSE_MAX_NS ? pause_ns : PAUSE_MAX_NS;
}

/* --- the queue --- */

static void item_free(struct item *i)
{
    if (!i)
        return;
    view_unref(i->view);
    free(i);
}

static void append(struct folder *f, struct item *i)
{
    i->next = NULL;
    if (f->last)
        f->last->next = i;
    else
        f->first = i;
    f->last = i;
}

static bool is_queued(const struct folder *f, const struct view *v)
{
    for (const struct item *i = f->first; i; i = i->next)
        if (i->view == v)
            return true;
    return false;
}

void folder_queue(struct store *s, struct view *v)
{
    struct folder *f = s->folder;
    struct item *i = f ? mem_zalloc(sizeof *i) : NULL;

    if (!f)
        return;
    if (!i) {                             /* whoever has to wait for it folds it; else the next freeze brings it along */
        log_warn("base=%llu step=queue err=ENOMEM", (unsigned long long)v->rec.id);
        return;
    }
    i->view = view_ref(v);
    pthread_mutex_lock(&f->lock);
    bool queued = is_queued(f, v);
    if (!queued)
        append(f, i);
    pthread_cond_signal(&f->wake);
    pthread_mutex_unlock(&f->lock);
    if (queued)
        item_free(i);
}

void folder_hurry(struct store *s)
{
    struct folder *f = s->folder;

    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->hurry = true;
    pthread_cond_broadcast(&f->stopped);
    pthread_mutex_unlock(&f->lock);
}

int folder_wait(struct store *s, struct view *v)
{
    return fold_view(s, v);               /* at the caller's priority; waits for the thread if that is at it */
}

/* The first item that is due, taken out; NULL if none. f->lock is held. */
static struct item *take_due(struct folder *f, uint64_t now)
{
    struct item *before = NULL;

    for (struct item *i = f->first; i; before = i, i = i->next) {
        if (i->not_before_ns > now)
            continue;
        if (before)
            before->next = i->next;
        else
            f->first = i->next;
        if (f->last == i)
            f->last = before;
        return i;
    }
    return NULL;
}

static bool any_due(const struct folder *f, uint64_t now)
{
    for (const struct item *i = f->first; i; i = i->next)
        if (i->not_before_ns <= now)
            return true;
    return false;
}

static void fold_item(struct folder *f, struct item *i)
{
    int r = fold_view_until(f->store, i->view, &f->stop);

    f->busy_ns = clock_mono_ns();
    if (r == 0 || r == -ENOENT) {         /* ENOENT: gc took the record, nobody needs this state */
        item_free(i);
        return;
    }
    if (r != -ECANCELED)
        log_error("base=%llu step=fold err=%s what=\"the layer is kept and tried again\"", (unsigned long long)i->view->rec.id,
                  errno_name(r));
    i->pause_ns = longer(i->pause_ns);
    i->not_before_ns = clock_mono_ns() + i->pause_ns;
    pthread_mutex_lock(&f->lock);
    append(f, i);
    pthread_mutex_unlock(&f->lock);
}

/* --- workspaces --- */

static struct workspace *workspace_at(struct store *s, size_t n)
{
    struct workspace *w;

    pthread_mutex_lock(&s->lock);
    for (w = s->workspaces; w && n > 0; w = w->next)
        n--;
    if (w)
        workspace_ref(w);
    pthread_mutex_unlock(&s->lock);
    return w;
}

static size_t live_bytes(struct workspace *w)
{
    pthread_mutex_lock(&w->lock);
    size_t n = w->live && !w->broken ? map_bytes(w->live->map) : 0;
    pthread_mutex_unlock(&w->lock);
    return n;
}

/* The workspace whose live layer is to be frozen, or NULL. */
static struct workspace *too_large(struct store *s)
{
    struct workspace *largest = NULL, *w;
    size_t most = 0, all = 0;

    for (size_t n = 0; (w = workspace_at(s, n)); n++) {
        size_t bytes = live_bytes(w);

        all += bytes;
        if (bytes > most) {
            workspace_unref(largest);
            largest = workspace_ref(w);
            most = bytes;
        }
        workspace_unref(w);
    }
    if (most > LAYER_SOFT_BYTES || all > ALL_LAYERS_BYTES)
        return largest;
    workspace_unref(largest);
    return NULL;
}

static void freeze_large(struct folder *f, uint64_t now)
{
    struct workspace *w = now < f->freeze_after_ns ? NULL : too_large(f->store);
    struct view *v;
    int r;

    if (now >= f->freeze_after_ns)
        f->freeze_after_ns = now + TICK_NS;
    if (!w)
        return;
    r = workspace_freeze(w, NULL, &v, NULL);
    if (r == 0) {
        folder_queue(f->store, v);
        view_unref(v);
        f->freeze_pause_ns = 0;
    } else {
        log_error("workspace=%s step=freeze_large err=%s", w->rec.id, errno_name(r));
        f->freeze_pause_ns = longer(f->freeze_pause_ns);
        f->freeze_after_ns = now + f->freeze_pause_ns;
    }
    workspace_unref(w);
}

/* Commits what has been dirty for an interval; how long until the next may be due. */
static uint64_t commit_due(struct folder *f)
{
    struct workspace *w;
    uint64_t soonest = f->interval_ns;

    for (size_t n = 0; !f->stop && (w = workspace_at(f->store, n)); n++) {
        pthread_mutex_lock(&w->lock);
        uint64_t since = w->dirty_since_ns, now = clock_mono_ns();
        bool broken = w->broken, full = w->redo && !w->commit_failed && (redo_bytes(w->redo) > REDO_SOFT_BYTES || redo_is_lost(w->redo));
        pthread_mutex_unlock(&w->lock);
        uint64_t age = since && now > since ? now - since : 0;
        if (since && !broken && (full || age >= f->interval_ns))
            workspace_commit(w);          /* says itself what went wrong, and is dirty anew then */
        else if (since && !broken && f->interval_ns - age < soonest)
            soonest = f->interval_ns - age;
        workspace_unref(w);
    }
    return soonest;
}

/* --- packing --- */

bool layer_has_keys(struct store *s, uint64_t id)
{
    struct meta_iter *it = meta_iter_new(s->meta, CF_LAYER);
    uint8_t prefix[8];
    size_t n;

    if (!it)
        return true;                      /* the safe answer */
    put_be64(prefix, id);
    meta_iter_seek(it, prefix, 8);
    bool found = meta_iter_valid(it) ? !memcmp(meta_iter_key(it, &n), prefix, 8) : meta_iter_err(it) < 0;
    meta_iter_free(it);
    return found;
}

/* Readers of a layer that is not retired go to its segment directly: chunks adopted there must not move. */
static bool segment_is_layers(void *arg, uint64_t seg)
{
    struct folder *f = arg;

    if (seg != f->skip_seg) {
        f->skip_answer = layer_has_keys(f->store, seg);
        f->skip_seg = seg;
    }
    return f->skip_answer;
}

static void pack_if_idle(struct folder *f, uint64_t now)
{
    struct pack_stats st = { 0 };
    int r;

    if (now < f->busy_ns + IDLE_NS || now < f->pack_after_ns || pthread_mutex_trylock(&f->store->fold_lock) != 0)
        return;
    f->skip_seg = 0;
    r = chunk_pack(f->store->chunks, PACK_STEP_BYTES, segment_is_layers, f, &st);
    pthread_mutex_unlock(&f->store->fold_lock);
    if (r < 0)
        log_warn("step=pack err=%s", errno_name(r));
    f->pack_after_ns = r < 0 || !st.more ? now + IDLE_NS : 0;
}

/* --- threads --- */

static void wait_ns(struct folder *f, pthread_cond_t *cond, uint64_t ns)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    ns += (uint64_t)ts.tv_nsec;
    ts.tv_sec += (time_t)(ns / SECOND_NS);
    ts.tv_nsec = (long)(ns % SECOND_NS);
    pthread_cond_timedwait(cond, &f->lock, &ts);
}

static void *committer_main(void *arg)
{
    struct folder *f = arg;

    while (!f->stop) {
        uint64_t ns = commit_due(f);

        pthread_mutex_lock(&f->lock);
        if (!f->stop && !f->hurry)
            wait_ns(f, &f->stopped, ns);
        f->hurry = false;
        pthread_mutex_unlock(&f->lock);
    }
    return NULL;
}

static void *folder_main(void *arg)
{
    struct folder *f = arg;

    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICENESS);
    f->busy_ns = clock_mono_ns();
    while (!f->stop) {
        uint64_t now = clock_mono_ns();

        pthread_mutex_lock(&f->lock);
        struct item *i = take_due(f, now);
        pthread_mutex_unlock(&f->lock);
        freeze_large(f, now);
        if (i) {
            fold_item(f, i);
            continue;
        }
        pack_if_idle(f, now);
        pthread_mutex_lock(&f->lock);
        if (!f->stop && !any_due(f, now))
            wait_ns(f, &f->wake, TICK_NS);
        pthread_mutex_unlock(&f->lock);
    }
    return NULL;
}

int folder_start(struct store *s, unsigned commit_interval_ms, struct folder **ret)
{
    struct folder *f = commit_interval_ms ? mem_zalloc(sizeof *f) : NULL;
    pthread_condattr_t attr;
    int r;

    if (!commit_interval_ms) {
        *ret = NULL;
        return 0;
    }
    if (!f)
        return -ENOMEM;
    f->store = s;
    f->interval_ns = commit_interval_ms * 1000000ull;
    pthread_mutex_init(&f->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&f->wake, &attr);
    pthread_cond_init(&f->stopped, &attr);
    pthread_condattr_destroy(&attr);
    *ret = f;                             /* before the threads: they may queue */
    r = -pthread_create(&f->folder, NULL, folder_main, f);
    f->folder_runs = r == 0;
    if (r == 0)
        r = -pthread_create(&f->committer, NULL, committer_main, f);
    f->committer_runs = r == 0;
    if (r < 0) {
        *ret = NULL;
        folder_stop(f);
    }
    return r;
}

void folder_stop(struct folder *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_broadcast(&f->wake);
    pthread_cond_broadcast(&f->stopped);
    pthread_mutex_unlock(&f->lock);
    if (f->folder_runs)
        pthread_join(f->folder, NULL);
    if (f->committer_runs)
        pthread_join(f->committer, NULL);
    while (f->first) {
        struct item *i = f->first;

        f->first = i->next;
        item_free(i);
    }
    pthread_cond_destroy(&f->wake);
    pthread_cond_destroy(&f->stopped);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
