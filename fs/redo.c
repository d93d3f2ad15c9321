/* The redo log: a ring in a memfd.
 *
 *   header | slots | done | ring .........
 *
 * `head` and `tail` are positions that only grow; a byte stands at its position modulo the ring's size. The ring is mapped twice, one behind the other, so
 * that an op is always in one piece. What is behind tail does not count: an op is written there and counts with the one store of tail. All else is
 * under ws.lock, so that a process killed at any instruction leaves a log that is right as of some moment.
 *
 *   head <= mark <= tail <= op <= pos     pos: end of the op being written; mark: what the commit under way has taken
 *   pos <= freed + REDO_RING_BYTES        freed: below it the ring's memory was given back
 *
 * op:    length (4), kind (4), layer (8), then puts, or stales, or base (8) and live (8); several may be published at once
 * put:   length of the key (2), of the value (4; ~0: tombstone), key, value
 * stale: inode (8), length of the name (2), the name and a NUL, or nothing
 *
 * Slots say which of the kernel's requests the ops belong to. `at` is the tail that the op made: a slot counts if that was reached; it is written
 * first as never to be reached, so that half a slot never counts. A new daemon's threads use the slots anew while requests of the old one's may still wait: so
 * redo_open() carries over what they say into `done`, a ring of its own.
 *
 * When a commit leaves the log empty it goes on at the start of the ring, where there is memory still.
 */
#include "fs/redo_internal.h"

#include <string.h>

_Thread_local struct redo_request redo_now;

void redo_lose(struct redo *r)
{
    r->losses++;
    atomic_store(&r->h->lost, 1);
}

static bool room(struct redo *r, size_t n)
{
    r->overflow = r->overflow || r->pos + n > atomic_load_explicit(&r->freed, memory_order_acquire) + REDO_RING_BYTES;
    return !r->overflow;
}

static void op_end(struct redo *r)
{
    if (r->op < r->pos)
        put_le32(redo_at(r, r->op), (uint32_t)(r->pos - r->op));
    r->op = r->pos;
}

/* Goes on with an op of this kind, or begins one. */
static void op_of(struct redo *r, enum redo_kind kind, uint64_t layer)
{
    if (r->op < r->pos && le32(redo_at(r, r->op) + 4) == kind)
        return;
    op_end(r);
    uint8_t *p = redo_at(r, r->pos);
    put_le32(p + 4, kind);
    put_le64(p + 8, layer);
    r->pos += OP_HEAD;
}

void redo_put(struct redo *r, uint64_t layer, const void *key, size_t key_len, const void *val, size_t val_len, bool tombstone)
{
    size_t n = PUT_HEAD + key_len + (tombstone ? 0 : val_len);

    if (!room(r, n + OP_HEAD))
        return;
    op_of(r, REDO_PUTS, layer);
    uint8_t *p = redo_at(r, r->pos);
    put_le16(p, (uint16_t)key_len);
    put_le32(p + 2, tombstone ? REDO_NO_VALUE : (uint32_t)val_len);
    memcpy(p + PUT_HEAD, key, key_len);
    if (!tombstone && val_len)
        memcpy(p + PUT_HEAD + key_len, val, val_len);
    r->pos += n;
}

void redo_stale(struct redo *r, uint64_t ino, const char *name, size_t n)
{
    size_t bytes = STALE_HEAD + (n ? n + 1 : 0);

    if (!room(r, bytes + OP_HEAD))
        return;
    op_of(r, REDO_STALES, 0);
    uint8_t *p = redo_at(r, r->pos);
    put_le64(p, ino);
    put_le16(p + 8, (uint16_t)n);
    if (n) {
        memcpy(p + STALE_HEAD, name, n);
        p[STALE_HEAD + n] = 0;
    }
    r->pos += bytes;
}

int redo_writing(struct redo *r, uint64_t ino)
{
    if (!~r->busy) {
        atomic_store(&r->h->writing_all, 1);
        return -1;
    }
    int place = __builtin_ctzll(~r->busy);
    r->busy |= 1ull << place;
    atomic_store_explicit(&r->h->writing[place], ino, memory_order_release);
    return place;
}

void redo_written(struct redo *r, int place)
{
    if (place >= 0)
        r->ended |= 1ull << place;
}

static void end_writing(struct redo *r)
{
    for (; r->ended; r->ended &= r->ended - 1) {
        int place = __builtin_ctzll(r->ended);
        atomic_store_explicit(&r->h->writing[place], 0, memory_order_release);
        r->busy &= ~(1ull << place);
    }
}

void redo_note(struct redo *r, uint64_t ino)
{
    r->noted = true;
    r->note_ino = ino;
}

static void write_note(struct redo *r)
{
    struct redo_slot *s = &r->h->slot[redo_now.slot % REDO_SLOTS];

    atomic_store_explicit(&s->at, REDO_NEVER, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    s->unique = redo_now.unique & ~REDO_RESEND_BIT;
    s->opcode = redo_now.opcode;
    s->ino = r->note_ino;
    atomic_store_explicit(&s->at, r->pos, memory_order_release);
}

static void publish(struct redo *r)
{
    uint64_t tail = redo_tail(r);
    bool noted = r->noted && redo_now.unique;

    r->noted = false;
    if (r->overflow) {
        r->overflow = false;
        r->pos = r->op = tail;
        redo_lose(r);
        return;
    }
    if (r->pos == tail)
        return;
    op_end(r);
    if (noted)
        write_note(r);
    atomic_store_explicit(&r->h->tail, r->pos, memory_order_release);
}

void redo_publish(struct redo *r)
{
    publish(r);
    if (r->ended)
        end_writing(r);
}

void redo_freeze(struct redo *r, uint64_t layer, uint64_t base, uint64_t live)
{
    if (room(r, FREEZE_BYTES)) {
        op_of(r, REDO_FREEZE, layer);
        put_le64(redo_at(r, r->pos), base);
        put_le64(redo_at(r, r->pos) + 8, live);
        r->pos += 16;
    }
    redo_publish(r);
}

bool redo_is_due(struct redo *r)
{
    bool due = !r->asked && ((redo_is_lost(r) && !redo_has_gap(r)) || redo_bytes(r) > REDO_SOFT_BYTES);

    r->asked = r->asked || due;
    return due;
}

uint64_t redo_bytes(const struct redo *r)
{
    uint64_t head = atomic_load(&r->h->head), tail = atomic_load(&r->h->tail);

    return tail > head ? tail - head : 0;
}

bool redo_is_full(const struct redo *r)
{
    return redo_bytes(r) > REDO_HARD_BYTES && !r->telling;     /* to be told, the kernel may wait for one who would wait here */
}

bool redo_is_lost(const struct redo *r)
{
    return atomic_load(&r->h->lost);
}

void redo_break(struct redo *r)
{
    atomic_store(&r->h->broken, 1);
}

bool redo_is_broken(const struct redo *r)
{
    return atomic_load(&r->h->broken);
}
