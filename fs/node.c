/*
 * The encoding of a node, and nodes in memory.
 *
 *   'N', version 1, level (1), count (4, LE), then per entry:
 *   varint shared, varint suffix length, varint value length, suffix bytes, value bytes
 *
 * `shared` is exactly the number of leading bytes the key has in common with the one before it (0 for the first). Varints are LEB128 in
 * their shortest form. So a sequence of entries has one encoding only, and the parser takes no other: what it accepts, node_encode()
 * gives back byte for byte. The tree's canonical form stands on this.
 *
 * In memory keys are whole again and lie together, apart from the values. A search compares 8 bytes per step from the dense array of
 * heads (the key bytes after the prefix common to all keys) and looks at keys only among equal heads.
 */
#include "fs/node.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "fs/node_cache.h"

enum { NODE_MAGIC = 'N', NODE_VERSION = 1 };

/* --- writing --- */

static void put_varint(struct buf *b, uint32_t v)
{
    uint8_t bytes[5];
    size_t n = 0;

    for (; v >= 0x80; v >>= 7)
        bytes[n++] = (uint8_t)(v | 0x80);
    bytes[n++] = (uint8_t)v;
    buf_put(b, bytes, n);
}

static size_t shared_prefix(const uint8_t *a, size_t an, const uint8_t *b, size_t bn)
{
    size_t n = an < bn ? an : bn, i = 0;

    while (i < n && a[i] == b[i])
        i++;
    return i;
}

void node_writer_start(struct node_writer *w, uint8_t level)
{
    w->at = w->out.len;
    w->count = 0;
    w->prev.len = 0;
    buf_put_u8(&w->out, NODE_MAGIC);
    buf_put_u8(&w->out, NODE_VERSION);
    buf_put_u8(&w->out, level);
    buf_put_u32(&w->out, 0);
}

void node_writer_add(struct node_writer *w, const struct node_entry *e)
{
    size_t shared = shared_prefix(w->prev.b, w->prev.len, e->key, e->key_len);

    put_varint(&w->out, (uint32_t)shared);
    put_varint(&w->out, (uint32_t)(e->key_len - shared));
    put_varint(&w->out, e->val_len);
    buf_put(&w->out, e->key + shared, e->key_len - shared);
    buf_put(&w->out, e->val, e->val_len);
    memcpy(w->prev.b + shared, e->key + shared, e->key_len - shared);
    w->prev.len = e->key_len;
    w->count++;
}

void node_writer_end(struct node_writer *w)
{
    if (!buf_err(&w->out))
        put_le32(w->out.data + w->at + 3, w->count);
}

void node_encode(uint8_t level, const struct node_entry *entries, uint32_t count, struct buf *out)
{
    struct node_writer w = { .out = *out };

    node_writer_start(&w, level);
    for (uint32_t i = 0; i < count; i++)
        node_writer_add(&w, &entries[i]);
    node_writer_end(&w);
    *out = w.out;
}

/* --- reading --- */

static uint32_t get_varint(struct reader *r)
{
    uint32_t v = 0;

    for (int shift = 0; shift < 21; shift += 7) {
        uint8_t b = get_u8(r);
        v |= (uint32_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            if (b == 0 && shift > 0)
                r->bad = true;
            return v;
        }
    }
    r->bad = true;
    return 0;
}

/* The next entry's suffix and value in place; key is the previous key and becomes this one. */
struct raw_entry { const uint8_t *suffix, *val; uint32_t shared, suffix_len, val_len; };

static bool get_entry(struct reader *r, struct key *key, struct raw_entry *ret)
{
    struct raw_entry e;

    e.shared = get_varint(r);
    e.suffix_len = get_varint(r);
    e.val_len = get_varint(r);
    if (r->bad || e.shared > key->len || e.suffix_len == 0 || e.suffix_len > KEY_MAX - e.shared || e.val_len > XATTR_VALUE_MAX)
        return false;
    e.suffix = get_bytes(r, e.suffix_len);
    e.val = get_bytes(r, e.val_len);
    if (r->bad || (e.shared < key->len && e.suffix[0] <= key->b[e.shared]))
        return false;
    memcpy(key->b + e.shared, e.suffix, e.suffix_len);
    key->len = (uint16_t)(e.shared + e.suffix_len);
    *ret = e;
    return true;
}

/* Checks everything and adds up the sizes. */
static bool node_measure(struct reader r, uint8_t level, uint32_t count, size_t *ret_key_bytes, size_t *ret_val_bytes)
{
    struct key key = { 0 };
    struct raw_entry e;
    size_t keys = 0, vals = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (!get_entry(&r, &key, &e))
            return false;
        if (level > 0 && (e.val_len != NODE_CHILD_BYTES || le64(e.val + ADDR_BYTES) == 0))
            return false;
        keys += key.len;
        vals += e.val_len;
    }
    *ret_key_bytes = keys;
    *ret_val_bytes = vals;
    return reader_left(&r) == 0;
}

static uint64_t key_head(const uint8_t *key, size_t len, size_t prefix)
{
    uint64_t h = 0;

    if (len >= prefix + 8)
        return be64(key + prefix);
    for (size_t i = prefix; i < prefix + 8; i++)
        h = h << 8 | (i < len ? key[i] : 0);
    return h;
}

static struct node_box *box_new(uint32_t count, size_t key_bytes, size_t val_bytes)
{
    size_t bytes = sizeof(struct node_box) + count * (sizeof(struct node_entry) + sizeof(uint64_t)) + key_bytes + val_bytes;
    struct node_box *box = mem_alloc(bytes);

    if (!box)
        return NULL;
    *box = (struct node_box){ .refs = 1, .bytes = bytes, .n.count = count };
    box->n.entries = (struct node_entry *)(box + 1);
    box->heads = (uint64_t *)(box->n.entries + count);
    return box;
}

static void box_fill(struct node_box *box, struct reader r, size_t key_bytes)
{
    struct node *n = &box->n;
    uint8_t *key_at = (uint8_t *)(box->heads + n->count), *val_at = key_at + key_bytes;
    struct key key = { 0 };
    struct raw_entry e;

    for (uint32_t i = 0; i < n->count; i++) {
        get_entry(&r, &key, &e);
        memcpy(key_at, key.b, key.len);
        memcpy(val_at, e.val, e.val_len);
        n->entries[i] = (struct node_entry){ .key = key_at, .key_len = key.len, .val = val_at, .val_len = e.val_len };
        key_at += key.len;
        val_at += e.val_len;
    }
    const struct node_entry *first = &n->entries[0], *last = &n->entries[n->count - 1];
    box->prefix = (uint16_t)shared_prefix(first->key, first->key_len, last->key, last->key_len);
    for (uint32_t i = 0; i < n->count; i++)
        box->heads[i] = key_head(n->entries[i].key, n->entries[i].key_len, box->prefix);
}

int node_decode(const uint8_t *p, size_t n, struct node **ret)
{
    struct reader r = reader_of(p, n);
    size_t key_bytes, val_bytes;

    if (n > NODE_BYTES_MAX || get_u8(&r) != NODE_MAGIC || get_u8(&r) != NODE_VERSION)
        return -EUCLEAN;
    uint8_t level = get_u8(&r);
    uint32_t count = get_u32(&r);
    /* An entry has at least four bytes. A level of NODE_LEVELS_MAX would not fit into a cursor. */
    if (r.bad || level >= NODE_LEVELS_MAX || count == 0 || count > reader_left(&r) / 4)
        return -EUCLEAN;
    if (!node_measure(r, level, count, &key_bytes, &val_bytes))
        return -EUCLEAN;
    struct node_box *box = box_new(count, key_bytes, val_bytes);
    if (!box)
        return -ENOMEM;
    box->n.level = level;
    box_fill(box, r, key_bytes);
    *ret = &box->n;
    return 0;
}

/* --- in memory --- */

/* First i in [lo, count) whose key >= key, where all heads before lo are smaller. */
static uint32_t search_keys(const struct node_box *box, uint32_t lo, uint64_t head, const uint8_t *key, size_t len, bool *ret_exact)
{
    const struct node *n = &box->n;
    uint32_t hi = n->count;

    *ret_exact = false;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        const struct node_entry *e = &n->entries[mid];
        int c = box->heads[mid] > head ? 1 : key_cmp(e->key + box->prefix, e->key_len - box->prefix, key + box->prefix, len - box->prefix);
        if (c < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
            if (c == 0) {
                *ret_exact = true;
                return mid;
            }
        }
    }
    return lo;
}

uint32_t node_search(const struct node *n, const void *key, size_t key_len, bool *ret_exact)
{
    const struct node_box *box = node_box_of(n);
    const uint64_t *heads = box->heads;
    uint32_t base = 0, left = n->count;
    size_t common = key_len < box->prefix ? key_len : box->prefix;
    int c = memcmp(key, n->entries[0].key, common);

    *ret_exact = false;
    if (c || key_len < box->prefix)
        return c > 0 ? n->count : 0;
    uint64_t head = key_head(key, key_len, box->prefix);
    while (left > 1) {
        uint32_t half = left / 2;
        base += heads[base + half - 1] < head ? half : 0;
        left -= half;
    }
    base += heads[base] < head;
    if (base == n->count || heads[base] != head)
        return base;
    return search_keys(box, base, head, key, key_len, ret_exact);
}

struct node *node_ref(struct node *n)
{
    atomic_fetch_add_explicit(&node_box_of(n)->refs, 1, memory_order_relaxed);
    return n;
}

void node_unref(struct node *n)
{
    if (n && atomic_fetch_sub_explicit(&node_box_of(n)->refs, 1, memory_order_acq_rel) == 1)
        free(node_box_of(n));
}
