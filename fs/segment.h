/* Segments: sparse files in data/, named by 16 hex digits. Descriptors are opened on demand and a bounded number is kept. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct segments;                          /* all segments of a store */
struct segment;                           /* one, reference counted; holds a descriptor while open */

int segments_open(int data_dirfd, struct segments **ret);             /* borrows nothing: dups the descriptor */
void segments_close(struct segments *s);
/* The segment with this id, made if create and absent. 0 and a reference; -ENOENT; -EMFILE... At most 512 descriptors are kept open by
 * segments nobody has a reference on; a referenced one keeps its own only during a call. */
int segment_get(struct segments *s, uint64_t id, bool create, struct segment **ret);
struct segment *segment_ref(struct segment *s);
void segment_unref(struct segment *s);
uint64_t segment_id(const struct segment *s);
/* Whole transfers or an error: -EIO also when a read ends early (what is past the end of the file reads as missing, not zero). */
int segment_read(struct segment *s, void *buf, size_t n, uint64_t off);
/* As read, but a short file reads as zeros: for live layers (units reserved and never written). */
int segment_read_sparse(struct segment *s, void *buf, size_t n, uint64_t off);
int segment_write(struct segment *s, const void *buf, size_t n, uint64_t off);
int segment_writev(struct segment *s, const struct iovec *iov, int count, uint64_t off);   /* iov may be changed */
/* Durable on return. Once it fails the segment is broken for good: every later sync and write gives -EIO (the kernel may have dropped pages). */
int segment_sync(struct segment *s);
/* Another process has written to it, or made it, and may not have synced: the next sync does. */
void segment_unsynced(struct segment *s);
bool segment_is_broken(const struct segment *s);
int segment_punch(struct segment *s, uint64_t off, uint64_t len);     /* 4 KiB-aligned */
uint64_t segment_size(struct segment *s);                              /* 0 if it cannot be told */
uint64_t segment_allocated(struct segment *s);                         /* bytes that it takes on the disk; 0 if it cannot be told */
int segment_remove(struct segments *s, uint64_t id);                  /* unlinks; absent is fine */
/* Calls fn for every id present (directory order). */
int segments_each(struct segments *s, int (*fn)(void *arg, uint64_t id), void *arg);
/* Makes names durable after create: fsync of the directory. Done by segment_sync on a segment made since. */

/* Allocation of space inside a live segment, in units; in memory only, rebuilt at open from the layer's slot records. Not thread-safe (ws.lock). */
struct space;
struct space *space_new(void);
void space_free(struct space *s);
/* Units [off, off+n) are in use: for rebuilding. */
int space_claim(struct space *s, uint64_t unit, uint64_t n);
/* n units in one piece (n a power of two up to 32, aligned to n). 0 or -ENOMEM. */
int space_alloc(struct space *s, uint32_t n, uint64_t *ret_unit);
/* Gives units back; they may be handed out only after space_commit_done() of a commit that began after this call. */
void space_release(struct space *s, uint64_t unit, uint32_t n);
/* Gives back all that is in use here and not there. */
void space_release_unused(struct space *s, const struct space *used);
void space_commit_begin(struct space *s);
void space_commit_done(struct space *s, bool ok);
uint64_t space_end(const struct space *s);                            /* first unit never used */
