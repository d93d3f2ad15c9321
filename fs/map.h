/* The map of a layer: an in-memory B+tree from key to value or tombstone. Insert-only: deleting is a tombstone.
 * One writer at a time (the workspace's lock); a frozen map is read by anyone. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map;
struct map_entry {
    struct map_entry *dirty_next;         /* list of changed entries, newest first */
    uint32_t val_len, val_cap;
    uint16_t key_len;
    bool dirty, tombstone;
    uint8_t *val;                         /* owned by the map; valid until the key is put again */
    uint8_t key[];
};

struct map *map_new(void);                               /* NULL: out of memory */
void map_free(struct map *m);
/* Sets the value (or, val NULL, a tombstone) and marks the entry dirty. 0 or -ENOMEM (nothing changed). */
int map_put(struct map *m, const void *key, size_t key_len, const void *val, size_t val_len);
/* Same without marking dirty: for loading what the disk has. */
int map_load(struct map *m, const void *key, size_t key_len, const void *val, size_t val_len);
/* Makes sure that the next n map_put()s of new keys cannot fail in the tree itself and of values up to bytes in all. 0 or -ENOMEM.
 * So an operation of several puts is all or nothing: reserve first, then put. */
int map_reserve(struct map *m, unsigned n, size_t bytes);
const struct map_entry *map_get(const struct map *m, const void *key, size_t key_len);   /* NULL: not in this map */
size_t map_count(const struct map *m);
size_t map_bytes(const struct map *m);                   /* memory used, estimated */
/* Takes the dirty list (entries stay in the map): returned through the callback once each, then all are clean. On a negative result
 * from the callback stops, leaves all entries dirty, returns it. */
int map_each_dirty(struct map *m, int (*fn)(void *arg, const struct map_entry *e), void *arg);
bool map_has_dirty(const struct map *m);

/* In key order. The iterator is invalid after a put of a new key; seek again. */
struct map_iter { const void *leaf; unsigned pos; };
const struct map_entry *map_seek(const struct map *m, struct map_iter *it, const void *key, size_t key_len);  /* first >= key, or NULL */
const struct map_entry *map_next(struct map_iter *it);   /* NULL at the end */
