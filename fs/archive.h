/* The portable archive of a snapshot: its keys and the chunks they name, with SHA-256; complete, or a delta against another snapshot. And tar. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fs/object.h"
struct store; struct view;

/* Little-endian; strings: u16 length, bytes without NUL.
 *  magic "COPPICE\1", u32 version, u32 length of the header, header:
 *    u32 flags (ARCHIVE_DELTA), root address (20), base root address (20; zero if complete), u64 next_ino, inodes, units, u8 workspace kind,
 *    i64 created, name, message, u32 labels, (key, value) each
 *  then records, keys strictly ascending:
 *    'C' SHA-256 (32), u32 raw length, u8 codec (chunk_codec), u32 length, bytes     a chunk, once, right before the first PUT that names it
 *    'P' u16 length, key, u32 length, value                                          EXTENT: SHA-256 of the chunk and u32 raw length instead of an address
 *    'D' u16 length, key                                                             delta only
 *    'E' u64 records before it, u8 flags (ARCHIVE_DISC), SHA-256 of every byte before; then the end of the file */
#define ARCHIVE_MAGIC "COPPICE\1"
enum { ARCHIVE_MAGIC_BYTES = 8, ARCHIVE_VERSION = 1, ARCHIVE_HEADER_MAX = 65536, ARCHIVE_SHA = 32, ARCHIVE_EXTENT_BYTES = ARCHIVE_SHA + 4 };
enum { ARCHIVE_DELTA = 1 /* header */, ARCHIVE_DISC = 1 /* END: an address with a discriminator was met */ };

/* Writes to fd. since may be NULL. progress may be NULL (bytes written). 0 or -errno of the descriptor or store. */
int archive_export(struct store *s, struct view *v, const struct snap_rec *rec, struct view *since, int fd, void (*progress)(void *arg, uint64_t bytes), void *arg);
/* Reads from fd into a new workspace `name` with the snapshot of the archive. Strict; verifies every digest and the root, and checks the tree before
 * anything is named. 0; -EUCLEAN (text in err); -EPROTONOSUPPORT newer version; -ESTALE: delta whose base snapshot is not in this store; -EEXIST. */
int archive_import(struct store *s, int fd, const char *name, struct ws_rec *ret_ws, struct snap_rec *ret_snap, char *err, size_t err_size,
                   void (*progress)(void *arg, uint64_t bytes), void *arg);
bool archive_is(const void *first_bytes, size_t n);       /* by magic */

/* Between archive_export.c and archive_import.c: what a digest stands for. Open addressing over 52-byte entries; both directions need it. */
struct archive_chunk { uint8_t sha[ARCHIVE_SHA]; struct addr addr; uint32_t raw_len; };
struct archive_chunks { struct archive_chunk *v; size_t count, cap; bool by_addr; };
/* The entry with this key (sha, or addr if by_addr), or an unused one (raw_len 0) which the caller fills, then counts. NULL: out of memory. */
struct archive_chunk *archive_chunks_find(struct archive_chunks *c, const void *key);
