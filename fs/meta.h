/* The one RocksDB of a store, with the errors, the seam and the settings in one place. Thread-safe. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct meta;
enum meta_cf { CF_OBJECT, CF_LAYER, CF_NODE, CF_CHUNK, CF_COUNT };

/* Opens (create: makes) DIR. Results: 0; -EUCLEAN corrupt; -ENOSPC; -EIO; -EBUSY locked by another process; -ENOMEM.
 * Memory is bounded: write buffers 4 x 8 MiB, one shared block cache of 32 MiB, bloom filters; CF_LAYER and CF_CHUNK uncompressed, CF_NODE zstd. */
int meta_open(const char *dir, bool create, struct meta **ret);
void meta_close(struct meta *m);

/* 0 and an owned copy (free()); -ENOENT; -EIO; -EUCLEAN. */
int meta_get(struct meta *m, enum meta_cf cf, const void *key, size_t key_len, uint8_t **ret, size_t *ret_len);
bool meta_has_error(struct meta *m);       /* a background error made the database read-only */

struct batch;                              /* an atomic set of changes; not thread-safe */
struct batch *batch_new(void);
void batch_free(struct batch *b);
void batch_put(struct batch *b, enum meta_cf cf, const void *key, size_t key_len, const void *val, size_t val_len);
void batch_delete(struct batch *b, enum meta_cf cf, const void *key, size_t key_len);
void batch_delete_range(struct batch *b, enum meta_cf cf, const void *from, size_t from_len, const void *to, size_t to_len); /* [from, to) */
size_t batch_count(const struct batch *b);                   /* changes asked for, also those that found no memory */
/* Running out of memory is sticky: 0 or -ENOMEM, which meta_write() then returns. Rewinding to a mark taken before (a state without error) drops what
 * was added since, and the error with it. */
int batch_err(const struct batch *b);
struct batch_mark { size_t bytes, count; };
struct batch_mark batch_mark(const struct batch *b);
void batch_rewind(struct batch *b, struct batch_mark mark);
size_t batch_bytes(const struct batch *b);
void batch_clear(struct batch *b);
/* That it changes snapshot records. meta_snaps() differs after each write of such a batch, as long as the database is open. */
void batch_note_snaps(struct batch *b);
uint64_t meta_snaps(struct meta *m);
/* Applies it atomically; sync: durable on return (and with it all earlier writes). 0, or -ENOSPC, -EIO, and nothing applied. The batch is kept. */
int meta_write(struct meta *m, struct batch *b, bool sync);

struct meta_iter;                          /* a consistent view as of its making */
struct meta_iter *meta_iter_new(struct meta *m, enum meta_cf cf);
void meta_iter_free(struct meta_iter *it);
void meta_iter_seek(struct meta_iter *it, const void *key, size_t key_len);
bool meta_iter_valid(struct meta_iter *it);
void meta_iter_next(struct meta_iter *it);
const uint8_t *meta_iter_key(struct meta_iter *it, size_t *len);
const uint8_t *meta_iter_val(struct meta_iter *it, size_t *len);
int meta_iter_err(struct meta_iter *it);   /* after valid() became false: 0 or -EIO/-EUCLEAN */

/* Test seam: called before each write (is_write) and get; a negative result is returned instead. */
extern int (*meta_fault)(bool is_write);
