/* Segments and their descriptors.
 *
 * A segment in memory is found by its id in the table. Its descriptor is opened when a call needs one and stays open for the
 * next; at most IDLE_MAX stay open beyond those in use, the ones not used for longest are closed (second chance, ring `open`).
 *
 *   free --get--> referenced --unref--> cached (no reference, descriptor still open) --evicted--> freed
 *
 * Invariants
 * 1. fd >= 0 exactly when the segment is on the ring; both change under its `lock`.
 * 2. A call pins first and reads fd then; the evictor takes fd away first and looks at pins then. So a descriptor in use is
 *    never closed, without a lock in the path of reads and writes.
 * 3. Written and not synced, made and its name not synced, or broken: the descriptor is not closed and the segment not freed.
 *    (A descriptor opened later might not be told of a failed write-back.)
 * Locks: segment.sync_lock, segment.lock, segments.lock. No system call under segments.lock.
 */
#include "fs/segment_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/io.h"

enum { IDLE_MAX = 512, TABLE_MIN = 256 };

void segment_name(uint64_t id, char out[SEGMENT_NAME_SIZE])
{
    snprintf(out, SEGMENT_NAME_SIZE, "%016llx", (unsigned long long)id);
}

static struct segment **bucket(struct segments *s, uint64_t id)
{
    return &s->table[(id * 0x9e3779b97f4a7c15ull >> 20) & (s->table_size - 1)];
}

static struct segment *table_find(struct segments *s, uint64_t id)
{
    struct segment *g = *bucket(s, id);

    while (g && g->id != id)
        g = g->hash_next;
    return g;
}

static void table_remove(struct segments *s, struct segment *g)
{
    struct segment **p = bucket(s, g->id);

    if (!g->in_table)
        return;
    while (*p != g)
        p = &(*p)->hash_next;
    *p = g->hash_next;
    g->in_table = false;
    s->count--;
}

/* Doubling is best effort: longer chains are correct too. */
static void table_grow(struct segments *s)
{
    size_t old_size = s->table_size;
    struct segment **old = s->table, **bigger = mem_zalloc(2 * old_size * sizeof(*bigger));

    if (!bigger)
        return;
    s->table = bigger;
    s->table_size = 2 * old_size;
    for (size_t i = 0; i < old_size; i++) {
        while (old[i]) {
            struct segment *g = old[i];
            struct segment **p = bucket(s, g->id);

            old[i] = g->hash_next;
            g->hash_next = *p;
            *p = g;
        }
    }
    free(old);
}

static void table_insert(struct segments *s, struct segment *g)
{
    if (s->count >= 2 * s->table_size)
        table_grow(s);
    g->hash_next = *bucket(s, g->id);
    *bucket(s, g->id) = g;
    g->in_table = true;
    s->count++;
}

static void ring_insert(struct segments *s, struct segment *g)
{
    if (s->ring) {
        g->ring_next = s->ring;
        g->ring_prev = s->ring->ring_prev;
        g->ring_prev->ring_next = g->ring_next->ring_prev = g;
    } else {
        s->ring = g->ring_next = g->ring_prev = g;
    }
    s->open_count++;
}

static void ring_remove(struct segments *s, struct segment *g)
{
    if (s->ring == g)
        s->ring = g->ring_next == g ? NULL : g->ring_next;
    g->ring_prev->ring_next = g->ring_next;
    g->ring_next->ring_prev = g->ring_prev;
    g->ring_prev = g->ring_next = NULL;
    s->open_count--;
}

static void segment_free(struct segment *g)
{
    pthread_mutex_destroy(&g->lock);
    pthread_mutex_destroy(&g->sync_lock);
    free(g);
}

static bool must_stay(const struct segment *g)
{
    return g->dirty || g->unnamed || g->broken;
}

/* Takes the descriptor away if nobody uses it. Both locks are held. -1: not now. */
static int take_fd(struct segment *g)
{
    int fd = atomic_load(&g->fd);

    if (fd < 0 || atomic_load(&g->pins) || (g->in_table && must_stay(g)))
        return -1;
    atomic_store(&g->fd, -1);
    if (atomic_load(&g->pins)) {          /* invariant 2: somebody may have read it just before */
        atomic_store(&g->fd, fd);
        return -1;
    }
    ring_remove(g->all, g);
    return fd;
}

/* Closes descriptors until at most `keep` are open or none can be closed; frees segments that only their descriptor kept. */
static void evict(struct segments *s, size_t keep)
{
    for (;;) {
        int fd = -1;

        pthread_mutex_lock(&s->lock);
        for (size_t looked = 0, n = 2 * s->open_count; s->open_count > keep && looked < n && fd < 0; looked++) {
            struct segment *g = s->ring;

            s->ring = g->ring_next;
            if (atomic_exchange(&g->used, false) || pthread_mutex_trylock(&g->lock) != 0)
                continue;
            fd = take_fd(g);
            bool dead = fd >= 0 && g->refs == 0;
            if (dead)
                table_remove(s, g);
            pthread_mutex_unlock(&g->lock);
            if (dead)
                segment_free(g);
        }
        pthread_mutex_unlock(&s->lock);
        if (fd < 0)
            return;
        close(fd);
    }
}

static int open_file(struct segments *s, uint64_t id, int flags)
{
    char name[SEGMENT_NAME_SIZE];
    int fd;

    segment_name(id, name);
    fd = disk->open(s->dirfd, name, flags, 0600);
    if (fd == -EMFILE || fd == -ENFILE) {
        evict(s, 0);
        fd = disk->open(s->dirfd, name, flags, 0600);
    }
    return fd;
}

/* Opens the descriptor if it is not; the segment is pinned or not yet known to others. */
static int open_fd(struct segment *g, bool create)
{
    struct segments *s = g->all;
    bool made = false, crowded;
    int fd;

    pthread_mutex_lock(&g->lock);
    if (atomic_load(&g->fd) >= 0) {
        pthread_mutex_unlock(&g->lock);
        return 0;
    }
    fd = open_file(s, g->id, O_RDWR);
    if (fd == -ENOENT && create) {
        fd = open_file(s, g->id, O_RDWR | O_CREAT | O_EXCL);
        made = fd >= 0;
    }
    if (fd < 0) {
        pthread_mutex_unlock(&g->lock);
        return fd;
    }
    if (made)
        g->unnamed = true;
    pthread_mutex_lock(&s->lock);
    atomic_store(&g->fd, fd);
    ring_insert(s, g);
    crowded = s->open_count > IDLE_MAX;
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&g->lock);
    if (crowded)
        evict(s, IDLE_MAX);
    return 0;
}

int segment_pin(struct segment *g)
{
    int fd, r;

    if (!atomic_load_explicit(&g->used, memory_order_relaxed))
        atomic_store_explicit(&g->used, true, memory_order_relaxed);
    atomic_fetch_add(&g->pins, 1);
    fd = atomic_load(&g->fd);
    if (fd >= 0)
        return fd;
    r = open_fd(g, false);
    if (r < 0) {
        atomic_fetch_sub(&g->pins, 1);
        return r;
    }
    return atomic_load(&g->fd);           /* pinned since before it was opened: nobody closed it again */
}

void segment_unpin(struct segment *g)
{
    atomic_fetch_sub(&g->pins, 1);
}

int segments_open(int data_dirfd, struct segments **ret)
{
    _cleanup_free_ struct segments *s = mem_zalloc(sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->table_size = TABLE_MIN;
    s->table = mem_zalloc(TABLE_MIN * sizeof(*s->table));
    if (!s->table)
        return -ENOMEM;
    s->dirfd = fcntl(data_dirfd, F_DUPFD_CLOEXEC, 3);
    if (s->dirfd < 0) {
        int e = errno;

        free(s->table);
        return -e;
    }
    pthread_mutex_init(&s->lock, NULL);
    *ret = TAKE_PTR(s);
    return 0;
}

void segments_close(struct segments *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->table_size; i++) {
        while (s->table[i]) {
            struct segment *g = s->table[i];

            s->table[i] = g->hash_next;
            if (g->fd >= 0)
                close(g->fd);
            segment_free(g);
        }
    }
    close(s->dirfd);
    pthread_mutex_destroy(&s->lock);
    free(s->table);
    free(s);
}

static struct segment *segment_new(struct segments *s, uint64_t id)
{
    struct segment *g = mem_zalloc(sizeof(*g));

    if (!g)
        return NULL;
    g->all = s;
    g->id = id;
    g->refs = 1;
    g->fd = -1;
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->sync_lock, NULL);
    return g;
}

struct segment *segment_find(struct segments *s, uint64_t id)
{
    struct segment *g;

    pthread_mutex_lock(&s->lock);
    g = table_find(s, id);
    if (g)
        atomic_fetch_add(&g->refs, 1);
    pthread_mutex_unlock(&s->lock);
    return g;
}

int segment_get(struct segments *s, uint64_t id, bool create, struct segment **ret)
{
    struct segment *g = segment_find(s, id);
    int r;

    if (!g) {
        struct segment *fresh = segment_new(s, id);

        if (!fresh)
            return -ENOMEM;
        pthread_mutex_lock(&s->lock);
        g = table_find(s, id);
        if (g)
            atomic_fetch_add(&g->refs, 1);
        else
            table_insert(s, g = fresh);
        pthread_mutex_unlock(&s->lock);
        if (g != fresh)
            segment_free(fresh);
    }
    if (atomic_load(&g->fd) < 0) {        /* so that an absent one is told here */
        r = open_fd(g, create);
        if (r < 0) {
            segment_unref(g);
            return r;
        }
    }
    *ret = g;
    return 0;
}

struct segment *segment_ref(struct segment *g)
{
    atomic_fetch_add(&g->refs, 1);
    return g;
}

void segment_unref(struct segment *g)
{
    int refs, fd = -1;
    bool dead = false;
    struct segments *s;

    if (!g)
        return;
    refs = atomic_load(&g->refs);
    while (refs > 1)
        if (atomic_compare_exchange_weak(&g->refs, &refs, refs - 1))
            return;
    s = g->all;
    pthread_mutex_lock(&g->lock);
    pthread_mutex_lock(&s->lock);
    if (atomic_fetch_sub(&g->refs, 1) == 1) {
        if (!g->in_table)                 /* removed from the store: nobody can find it any more */
            fd = take_fd(g);
        dead = g->fd < 0 && !(g->in_table && must_stay(g));
        if (dead)
            table_remove(s, g);
    }
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&g->lock);
    if (fd >= 0)
        close(fd);
    if (dead)
        segment_free(g);
}

void segment_forget(struct segment *g)
{
    pthread_mutex_lock(&g->all->lock);
    table_remove(g->all, g);
    pthread_mutex_unlock(&g->all->lock);
}
