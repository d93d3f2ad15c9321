/* Slots of address and value in one block; the zero address marks a free one. Addresses are hashes, so their own bytes place them. */
#include "fs/addr_set.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/wire.h"

void addr_set_fini(struct addr_set *s)
{
    free(s->slots);
    s->slots = NULL;
    s->cap = s->count = 0;
}

static size_t slot_bytes(const struct addr_set *s)
{
    return ADDR_BYTES + s->val_bytes;
}

static bool slot_is_free(const uint8_t *slot)
{
    static const uint8_t zero[ADDR_BYTES];

    return !memcmp(slot, zero, ADDR_BYTES);
}

/* The slot that holds a, or the free one where it belongs. There is always a free one. */
static uint8_t *find_slot(const struct addr_set *s, const uint8_t *a)
{
    for (size_t i = le64(a) + le32(a + 16); ; i++) {
        uint8_t *slot = s->slots + (i & (s->cap - 1)) * slot_bytes(s);

        if (slot_is_free(slot) || !memcmp(slot, a, ADDR_BYTES))
            return slot;
    }
}

static int grow(struct addr_set *s)
{
    struct addr_set bigger = { .cap = s->cap ? s->cap * 2 : 256, .count = s->count, .val_bytes = s->val_bytes };

    bigger.slots = mem_zalloc(bigger.cap * slot_bytes(s));
    if (!bigger.slots)
        return -ENOMEM;
    for (size_t i = 0; i < s->cap; i++) {
        const uint8_t *slot = s->slots + i * slot_bytes(s);

        if (!slot_is_free(slot))
            memcpy(find_slot(&bigger, slot), slot, slot_bytes(s));
    }
    free(s->slots);
    *s = bigger;
    return 0;
}

int addr_set_add(struct addr_set *s, const struct addr *a, void **ret_val)
{
    if (addr_is_zero(a))
        return -EINVAL;
    if (s->count + s->count / 3 >= s->cap && grow(s) < 0)
        return -ENOMEM;
    uint8_t *slot = find_slot(s, a->b);
    bool fresh = slot_is_free(slot);
    if (fresh) {
        memcpy(slot, a->b, ADDR_BYTES);
        s->count++;
    }
    if (ret_val)
        *ret_val = slot + ADDR_BYTES;
    return fresh;
}

void *addr_set_val(const struct addr_set *s, const struct addr *a)
{
    if (!s->cap)
        return NULL;
    uint8_t *slot = find_slot(s, a->b);
    return slot_is_free(slot) ? NULL : slot + ADDR_BYTES;
}

bool addr_set_has(const struct addr_set *s, const struct addr *a)
{
    return addr_set_val(s, a);
}

void id_vec_fini(struct id_vec *x)
{
    free(x->v);
    *x = (struct id_vec){ 0 };
}

int id_vec_add(struct id_vec *x, uint64_t id)
{
    if (x->count == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 64;
        uint64_t *v = mem_realloc(x->v, cap * sizeof *v);

        if (!v)
            return -ENOMEM;
        x->v = v;
        x->cap = cap;
    }
    x->v[x->count++] = id;
    return 0;
}

static int cmp_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

void id_vec_sort(struct id_vec *x)
{
    size_t n = 0;

    if (!x->count)
        return;
    qsort(x->v, x->count, sizeof *x->v, cmp_id);
    for (size_t i = 0; i < x->count; i++) {
        if (n == 0 || x->v[n - 1] != x->v[i])
            x->v[n++] = x->v[i];
    }
    x->count = n;
}

bool id_vec_has(const struct id_vec *x, uint64_t id)
{
    return x->count && bsearch(&id, x->v, x->count, sizeof id, cmp_id);
}
