/* The ring of a redo log: its mapping, its memory, and what goes from it (redo.c says how it lies). */
#include "fs/redo_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "fs/limits.h"

enum { KEEP_BYTES = 64 << 10, TRIM_BYTES = 1 << 20 };   /* memory at the start of the ring that stays; what is worth a call */

/* --- life --- */

/* r->fd is of the right size. */
static int map_all(struct redo *r)
{
    uint8_t *p = mmap(NULL, REDO_HEADER + 2ull * REDO_RING_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return -errno;
    r->h = (void *)p;
    r->ring = p + REDO_HEADER;
    enum { RW = PROT_READ | PROT_WRITE, HOW = MAP_SHARED | MAP_FIXED };
    if (mmap(p, REDO_HEADER, RW, HOW, r->fd, 0) == MAP_FAILED || mmap(r->ring, REDO_RING_BYTES, RW, HOW, r->fd, REDO_HEADER) == MAP_FAILED ||
        mmap(r->ring + REDO_RING_BYTES, REDO_RING_BYTES, RW, HOW, r->fd, REDO_HEADER) == MAP_FAILED)
        return -errno;
    return 0;
}

int redo_map(int fd, struct redo **ret)
{
    struct redo *r = mem_zalloc(sizeof *r);

    if (!r) {
        close(fd);
        return -ENOMEM;
    }
    r->fd = fd;
    int err = map_all(r);
    if (err < 0) {
        redo_free(r);
        return err;
    }
    *ret = r;
    return 0;
}

int redo_new(const char *ws_id, struct redo **ret)
{
    enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };
    struct redo *r;
    int fd = memfd_create("coppice-redo", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, REDO_HEADER + (off_t)REDO_RING_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
        int e = errno;
        close(fd);
        return -e;
    }
    int err = redo_map(fd, &r);
    if (err < 0)
        return err;
    struct redo_header *h = r->h;
    memcpy(h->magic, REDO_MAGIC, sizeof h->magic);
    strncpy(h->ws_id, ws_id, sizeof h->ws_id - 1);
    h->version = REDO_VERSION;
    h->slots = REDO_SLOTS;
    h->done_max = REDO_DONE;
    h->ring_bytes = REDO_RING_BYTES;
    redo_lose(r);
    *ret = r;
    return 0;
}

void redo_free(struct redo *r)
{
    if (!r)
        return;
    if (r->h)
        munmap(r->h, REDO_HEADER + 2ull * REDO_RING_BYTES);
    close(r->fd);
    free(r);
}

int redo_fd(const struct redo *r)
{
    return r->fd;
}

/* --- memory --- */

void redo_punch(struct redo *r, uint64_t from, uint64_t to)
{
    from = (from + UNIT - 1) & ~(uint64_t)(UNIT - 1);
    to &= ~(uint64_t)(UNIT - 1);
    while (from < to) {
        uint64_t off = from % REDO_RING_BYTES, n = to - from < REDO_RING_BYTES - off ? to - from : REDO_RING_BYTES - off;
        if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, REDO_HEADER + (off_t)off, (off_t)n) < 0)
            return;                       /* it costs memory, nothing else */
        from += n;
    }
}

/* The log is empty, and not much of it is to be given back. Under ws.lock. */
static void rewind_ring(struct redo *r)
{
    uint64_t start = r->pos - r->pos % REDO_RING_BYTES, freed = atomic_load(&r->freed);

    if (r->pos == start)
        return;
    if (freed < start)
        redo_punch(r, freed, start);
    redo_punch(r, freed > start + KEEP_BYTES ? freed : start + KEEP_BYTES, r->pos + UNIT);
    r->pos = r->op = r->mark = start + REDO_RING_BYTES;
    atomic_store_explicit(&r->h->head, r->pos, memory_order_release);      /* a head behind the tail is an empty log, too */
    atomic_store_explicit(&r->h->tail, r->pos, memory_order_release);
    atomic_store(&r->freed, r->pos);
}

/* --- what goes --- */

void redo_mark(struct redo *r)
{
    r->mark = redo_tail(r);
    r->losses_at_mark = r->losses;
}

void redo_tell_begin(struct redo *r)
{
    if (r->telling++ == 0) {
        r->hold = redo_tail(r);
        r->losses_at_hold = r->losses;
    }
}

void redo_tell_end(struct redo *r)
{
    if (r->telling)                       /* else it began with another log */
        r->telling--;
}

bool redo_has_gap(const struct redo *r)
{
    return r->telling && r->losses != r->losses_at_hold;
}

/* With a gap behind `hold` the log stays lost until all was told, whatever is durable: what is before the gap, done again, would undo what was in it, and what was to be told may have been in it. */
void redo_clear(struct redo *r)
{
    bool gap = redo_has_gap(r);
    uint64_t to = r->telling && r->hold < r->mark && !gap ? r->hold : r->mark;

    atomic_store_explicit(&r->h->head, to, memory_order_release);
    if (r->losses == r->losses_at_mark && !gap)
        atomic_store(&r->h->lost, 0);
    r->asked = false;
    if (to == redo_tail(r) && to - atomic_load(&r->freed) <= TRIM_BYTES)
        rewind_ring(r);
}

void redo_trim(struct redo *r)
{
    uint64_t head = atomic_load(&r->h->head) & ~(uint64_t)(UNIT - 1), freed = atomic_load(&r->freed);

    if (head <= freed || head - freed <= TRIM_BYTES)
        return;
    redo_punch(r, freed, head);
    atomic_store_explicit(&r->freed, head, memory_order_release);
}
