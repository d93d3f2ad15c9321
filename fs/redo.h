/* The redo log of a mounted workspace: what its live layer was told since its last commit, so that a daemon that comes after a kill -9 has it
 * again. It is in a memfd that the holder keeps: it survives the daemon, not a power loss (that is what commits are for).
 *
 * An op is what one hold of ws.lock put into the live layer: whole values, so that doing it again changes nothing. Counters and kernel lookup
 * counts are not in it: they follow from the rest, or are counted anew. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redo;
enum {
    REDO_SLOTS = 256,                     /* threads that may serve requests at a time */
    REDO_SOFT_BYTES = 32 << 20,           /* a commit is wanted */
    REDO_HARD_BYTES = 64 << 20,           /* who may wait waits for it */
    REDO_RING_BYTES = 128 << 20,          /* what does not fit makes the log "lost" until a commit has everything */
};

/* The kernel's request that this thread has in hand; unique 0: none. Set by the FUSE face around each request. slot < REDO_SLOTS is this thread's alone. */
struct redo_request { uint64_t unique; uint32_t opcode; unsigned slot; };
extern _Thread_local struct redo_request redo_now;

/* An empty log, which is "lost" until the first commit of its workspace has ended well. 0; -errno. */
int redo_new(const char *ws_id, struct redo **ret);
/* A log from the daemon before. fd: taken, also on errors. 0; -ENODATA: it is lost; -EUCLEAN: not a log of this workspace, or damaged; -EPROTONOSUPPORT: of another
 * version; -errno. */
int redo_open(int fd, const char *ws_id, struct redo **ret);
int redo_fd(const struct redo *r);        /* for the holder; stays the log's own */
void redo_free(struct redo *r);           /* NULL is fine */

/* --- writing: under ws.lock; nothing of it can fail --- */
void redo_put(struct redo *r, uint64_t layer, const void *key, size_t key_len, const void *val, size_t val_len, bool tombstone);
/* The request in hand is done when what was put is published. ino: of the inode that it made, or 0. */
void redo_note(struct redo *r, uint64_t ino);
/* From now on bytes may lie behind the end of this file, in space of its own; until what is put before the next redo_publish after redo_written counts. */
int redo_writing(struct redo *r, uint64_t ino);
void redo_written(struct redo *r, int place);
/* What was put since the last time counts from now on, all of it or, if the process is killed before, nothing. */
void redo_publish(struct redo *r);
/* The layer `layer` is frozen as the base `base`, what follows goes into the layer `live`. Published. */
void redo_freeze(struct redo *r, uint64_t layer, uint64_t base, uint64_t live);
/* Nothing that can be written here would bring back what the workspace is: lost until the next commit. */
void redo_lose(struct redo *r);
/* A commit is wanted: said once until the next redo_clear. */
bool redo_is_due(struct redo *r);
/* Everything published so far is what a commit has taken. Commit_lock is held too. */
void redo_mark(struct redo *r);
/* That commit is done: what was marked goes. Commit_lock is held too. */
void redo_clear(struct redo *r);

/* Changes that did not come from the kernel, of which it is to be told (restore): nothing goes from redo_tell_begin until redo_tell_end, so that who comes after a kill
 * can tell it; redo_stale goes with the change into one hold. name: in the directory ino; n 0: the inode itself. Under ws.lock; they nest. */
void redo_tell_begin(struct redo *r);
void redo_stale(struct redo *r, uint64_t ino, const char *name, size_t n);
void redo_tell_end(struct redo *r);
/* Something was lost since redo_tell_begin: until redo_tell_end no commit makes the log good. Under ws.lock. */
bool redo_has_gap(const struct redo *r);
/* So full that who can should wait for a commit. Any thread. */
bool redo_is_full(const struct redo *r);

/* After it, under commit_lock alone: gives memory back. */
void redo_trim(struct redo *r);

uint64_t redo_bytes(const struct redo *r);       /* published and not cleared; any thread */
bool redo_is_lost(const struct redo *r);         /* any thread */
/* A sync of file data failed: the workspace is to be read-only also after. */
void redo_break(struct redo *r);
bool redo_is_broken(const struct redo *r);

/* --- reading, before anything is written --- */
enum redo_kind { REDO_PUTS = 1, REDO_FREEZE = 2, REDO_STALES = 3 };
struct redo_op { enum redo_kind kind; uint64_t layer, base, live; const uint8_t *body; size_t body_len; };   /* body: of PUTS and STALES */
/* Each op in order; non-zero of fn stops and is returned. -EUCLEAN. */
int redo_each(const struct redo *r, int (*fn)(void *arg, const struct redo_op *op), void *arg);
typedef int redo_put_fn(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, bool tombstone);
int redo_each_put(const struct redo_op *op, redo_put_fn *fn, void *arg);
typedef int redo_stale_fn(void *arg, uint64_t ino, const char *name, uint32_t n);        /* name: NULL for the inode itself; ends with a NUL */
int redo_each_stale(const struct redo *r, redo_stale_fn *fn, void *arg);
/* The files that were being written when the daemon ended; all true: any may have been. */
int redo_each_writing(const struct redo *r, int (*fn)(void *arg, uint64_t ino), void *arg, bool *ret_all);
void redo_writing_reset(struct redo *r);
/* True if the daemon before has done this request (bit 63 of unique, set in one that is sent again, does not count). ino: of what it made, or 0. */
bool redo_was_done(const struct redo *r, uint64_t unique, uint32_t opcode, uint64_t *ret_ino);
