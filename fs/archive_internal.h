/* Between archive_read.c, archive_records.c and archive_import.c: an archive being read. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zstd.h>
#include "base/buf.h"
#include "fs/archive.h"
#include "fs/key.h"
#include "fs/object.h"
#include "fs/tree.h"

struct store; struct batch;
enum { ARCHIVE_PIECE = 1 << 18 };

struct archive_header {
    bool delta;
    struct addr root, base;
    uint64_t next_ino;
    enum ws_kind kind;
    struct snap_rec snap;                    /* created, name, message, labels */
};

struct archive_in {
    struct tree_changes changes;             /* first: the stream given to tree_apply() */
    struct store *s;
    int client, spool;
    uint64_t size, off;                      /* of the spool: all of it; what the buffer's end is at */
    uint8_t *piece;
    size_t at, have;                         /* in piece */
    struct archive_header h;
    struct archive_chunks chunks;
    struct batch *chunk_batch;
    unsigned chunk_pending;
    ZSTD_DCtx *zstd;
    uint8_t *raw;                            /* SLOT */
    struct buf val;
    struct key key, last_key;
    bool any_key, chunk_waiting, disc;       /* chunk_waiting: the next record must name the chunk just read */
    uint8_t waiting[ARCHIVE_SHA];
    uint64_t records;
    char *err;
    size_t err_size;
    void (*progress)(void *arg, uint64_t bytes);
    void *arg;
};

/* Sets the text of the error and returns result; bad: -EUCLEAN. */
int archive_refuse(struct archive_in *in, int result, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int archive_bad(struct archive_in *in, const char *what);
/* archive_read.c: pass 1; then n (at most ARCHIVE_PIECE) bytes of the archive before its digest, in place, valid until the next call. */
int archive_spool(struct archive_in *in);
int archive_parse_header(struct archive_in *in);
int archive_take(struct archive_in *in, size_t n, const uint8_t **ret);
bool archive_at_end(const struct archive_in *in);
/* archive_records.c: the stream given to tree_apply(), and what it stored but not indexed yet. */
int archive_next_change(struct tree_changes *self, struct tree_change *ret);
int archive_chunks_flush(struct archive_in *in);
