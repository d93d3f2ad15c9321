/* The redo log as a new daemon finds it. The holder keeps it, so it is as the daemon before left it; it is read with care all the same. */
#include "fs/redo_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/key.h"
#include "fs/limits.h"

static int check_header(const struct redo_header *h, const char *ws_id)
{
    if (memcmp(h->magic, REDO_MAGIC, sizeof h->magic))
        return -EUCLEAN;
    if (h->version != REDO_VERSION || h->slots != REDO_SLOTS || h->done_max != REDO_DONE || h->ring_bytes != REDO_RING_BYTES)
        return -EPROTONOSUPPORT;
    return strncmp(h->ws_id, ws_id, sizeof h->ws_id) ? -EUCLEAN : 0;
}

/* --- requests that were done --- */

static const struct redo_done *find_done(const struct redo *r, uint64_t unique, uint32_t opcode)
{
    uint32_t n = atomic_load(&r->h->done_count);

    for (uint32_t i = 0; i < n && i < REDO_DONE; i++)
        if (r->h->done[i].unique == unique && r->h->done[i].opcode == opcode)
            return &r->h->done[i];
    return NULL;
}

/* What the slots say goes into `done`. Killed at any point in between it is done again. */
static void carry_notes(struct redo *r)
{
    struct redo_header *h = r->h;

    for (unsigned i = 0; i < REDO_SLOTS; i++) {
        struct redo_slot *s = &h->slot[i];
        uint64_t at = atomic_load_explicit(&s->at, memory_order_acquire);
        if (at != REDO_NEVER && at <= redo_tail(r) && s->unique && !find_done(r, s->unique, s->opcode)) {
            uint32_t n = atomic_load(&h->done_count);
            h->done[n % REDO_DONE] = (struct redo_done){ .unique = s->unique, .ino = s->ino, .opcode = s->opcode };
            atomic_store_explicit(&h->done_count, n + 1, memory_order_release);
        }
        atomic_store_explicit(&s->at, REDO_NEVER, memory_order_release);
    }
}

bool redo_was_done(const struct redo *r, uint64_t unique, uint32_t opcode, uint64_t *ret_ino)
{
    const struct redo_done *d = find_done(r, unique & ~REDO_RESEND_BIT, opcode);

    if (d)
        *ret_ino = d->ino;
    return d;
}

int redo_each_writing(const struct redo *r, int (*fn)(void *arg, uint64_t ino), void *arg, bool *ret_all)
{
    int err = 0;

    *ret_all = atomic_load(&r->h->writing_all);
    for (unsigned i = 0; !err && !*ret_all && i < 64; i++) {
        uint64_t ino = atomic_load(&r->h->writing[i]);
        if (ino)
            err = fn(arg, ino);
    }
    return err;
}

void redo_writing_reset(struct redo *r)
{
    for (unsigned i = 0; i < 64; i++)
        atomic_store(&r->h->writing[i], 0);
    atomic_store(&r->h->writing_all, 0);
}

/* --- ops --- */

static int op_read(const uint8_t *p, size_t left, struct redo_op *ret, size_t *ret_len)
{
    if (left < OP_HEAD)
        return -EUCLEAN;
    size_t n = le32(p);
    uint32_t kind = le32(p + 4);
    if (n < OP_HEAD || n > left || kind < REDO_PUTS || kind > REDO_STALES || (kind == REDO_FREEZE && n != FREEZE_BYTES))
        return -EUCLEAN;
    *ret = (struct redo_op){ .kind = kind, .layer = le64(p + 8) };
    if (kind == REDO_FREEZE) {
        ret->base = le64(p + OP_HEAD);
        ret->live = le64(p + OP_HEAD + 8);
    } else {
        ret->body = p + OP_HEAD;
        ret->body_len = n - OP_HEAD;
    }
    *ret_len = n;
    return 0;
}

int redo_each(const struct redo *r, int (*fn)(void *arg, const struct redo_op *op), void *arg)
{
    uint64_t at = atomic_load(&r->h->head), tail = redo_tail(r);
    int err = 0;

    while (!err && at < tail) {
        struct redo_op op;
        size_t n;
        err = op_read(redo_at(r, at), tail - at, &op, &n);
        if (!err) {
            err = fn(arg, &op);
            at += n;
        }
    }
    return err;
}

int redo_each_put(const struct redo_op *op, redo_put_fn *fn, void *arg)
{
    const uint8_t *p = op->body, *end = p + op->body_len;
    int err = 0;

    while (!err && p < end) {
        if (end - p < PUT_HEAD)
            return -EUCLEAN;
        size_t key_len = le16(p), val_len = le32(p + 2);
        bool tombstone = val_len == REDO_NO_VALUE;
        val_len = tombstone ? 0 : val_len;
        if ((size_t)(end - p) - PUT_HEAD < key_len + val_len || val_len > XATTR_VALUE_MAX || !key_valid(p + PUT_HEAD, key_len))
            return -EUCLEAN;
        err = fn(arg, p + PUT_HEAD, key_len, p + PUT_HEAD + key_len, val_len, tombstone);
        p += PUT_HEAD + key_len + val_len;
    }
    return err;
}

struct stales { redo_stale_fn *fn; void *arg; };

static int op_stales(void *arg, const struct redo_op *op)
{
    const struct stales *s = arg;
    const uint8_t *p = op->body, *end = p + op->body_len;
    int err = 0;

    if (op->kind != REDO_STALES)
        return 0;
    while (!err && p < end) {
        if (end - p < STALE_HEAD)
            return -EUCLEAN;
        size_t n = le16(p + 8), bytes = n ? n + 1 : 0;
        if ((size_t)(end - p) - STALE_HEAD < bytes || n > NAME_BYTES_MAX || (n && p[STALE_HEAD + n]))
            return -EUCLEAN;
        err = s->fn(s->arg, le64(p), n ? (const char *)p + STALE_HEAD : NULL, (uint32_t)n);
        p += STALE_HEAD + bytes;
    }
    return err;
}

int redo_each_stale(const struct redo *r, redo_stale_fn *fn, void *arg)
{
    return redo_each(r, op_stales, &(struct stales){ fn, arg });
}

static int count_stale(void *arg, uint64_t ino, const char *name, uint32_t n)
{
    ++*(size_t *)arg;
    return 0;
}

static int no_put(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, bool tombstone)
{
    return 0;
}

static int check_op(void *arg, const struct redo_op *op)
{
    return op->kind == REDO_PUTS ? redo_each_put(op, no_put, NULL) : 0;
}

/* Nothing is changed before all of it was found good. */
static int take_over(struct redo *r, const char *ws_id)
{
    struct redo_header *h = r->h;
    int err = check_header(h, ws_id);

    if (err < 0)
        return err;
    if (atomic_load(&h->lost))
        return -ENODATA;
    uint64_t head = atomic_load(&h->head), tail = atomic_load(&h->tail);
    if (tail > head && tail - head > REDO_RING_BYTES)
        return -EUCLEAN;
    size_t stales = 0;
    err = redo_each(r, check_op, NULL);
    if (err == 0)
        err = redo_each_stale(r, count_stale, &stales);
    if (err < 0)
        return err;
    if (tail < head)                      /* killed while it went back to the start of the ring */
        atomic_store(&h->tail, tail = head);
    carry_notes(r);
    r->pos = r->op = tail;
    r->mark = r->hold = head;
    r->telling = stales > 0;              /* until ws_told() */
    atomic_store(&r->freed, head & ~(uint64_t)(UNIT - 1));
    redo_punch(r, tail + UNIT, (head & ~(uint64_t)(UNIT - 1)) + REDO_RING_BYTES);
    return 0;
}

int redo_open(int fd, const char *ws_id, struct redo **ret)
{
    struct redo *r;
    struct stat st;

    if (fstat(fd, &st) < 0 || st.st_size != REDO_HEADER + (off_t)REDO_RING_BYTES) {
        close(fd);
        return -EUCLEAN;
    }
    int err = redo_map(fd, &r);
    if (err < 0)
        return err;
    err = take_over(r, ws_id);
    if (err < 0) {
        redo_free(r);
        return err;
    }
    *ret = r;
    return 0;
}
