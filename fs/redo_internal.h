/* What redo.c and redo_read.c share: how the log lies in its memfd (see redo.c). */
#pragma once
#include <stdatomic.h>
#include "base/wire.h"
#include "fs/object.h"
#include "fs/redo.h"

#define REDO_MAGIC "coppredo"
#define REDO_NEVER UINT64_MAX
#define REDO_RESEND_BIT (1ull << 63)      /* FUSE_UNIQUE_RESEND */
#define REDO_NO_VALUE UINT32_MAX
enum {
    REDO_VERSION = 1, REDO_DONE = 512, REDO_HEADER = 32768,
    OP_HEAD = 16, PUT_HEAD = 6, STALE_HEAD = 10, FREEZE_BYTES = OP_HEAD + 16,
};

struct redo_slot { _Atomic uint64_t at; uint64_t unique, ino; uint32_t opcode, spare; };
struct redo_done { uint64_t unique, ino; uint32_t opcode, spare; };
struct redo_header {
    char magic[8], ws_id[ID_MAX];
    uint32_t version, slots, done_max, spare;
    uint64_t ring_bytes;
    _Atomic uint64_t head, tail;
    _Atomic uint32_t lost, broken, done_count, writing_all;
    _Atomic uint64_t writing[64];
    _Alignas(64) struct redo_slot slot[REDO_SLOTS];
    struct redo_done done[REDO_DONE];
};
_Static_assert(sizeof(struct redo_header) <= REDO_HEADER, "the header's place");

struct redo {
    int fd;
    struct redo_header *h;
    uint8_t *ring;
    uint64_t pos, op, mark;               /* op: where the one being written begins; pos: none is */
    uint64_t busy, ended;                 /* bits of header.writing: in use; to be given back when published */
    uint64_t hold;                        /* while `telling`: nothing goes from here on */
    _Atomic unsigned telling;
    _Atomic uint64_t freed;
    uint32_t losses, losses_at_mark, losses_at_hold;      /* under ws.lock */
    bool overflow;                        /* the op being written did not fit */
    bool asked;                           /* redo_is_due() said so */
    bool noted;
    uint64_t note_ino;
};

static inline uint8_t *redo_at(const struct redo *r, uint64_t pos) { return r->ring + pos % REDO_RING_BYTES; }
static inline uint64_t redo_tail(const struct redo *r) { return atomic_load_explicit(&r->h->tail, memory_order_relaxed); }
/* Gives back the memory of the whole pages in between. */
void redo_punch(struct redo *r, uint64_t from, uint64_t to);
/* A log in this memfd, which has the right size. fd: taken, also on errors. */
int redo_map(int fd, struct redo **ret);
