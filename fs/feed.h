/* The change journal of a workspace: a bounded sequence of events, one for each change, in the order of the changes. Off (NULL) until it is asked for.
 * docs/architecture.md 7.7 says what is promised, docs/formats.md 13 how it lies on disk.
 *
 * Recording: with ws.lock held an operation stages its events; ws_unlock() publishes them. Reading: any thread, with no lock of the workspace. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fs/inode.h"

struct batch; struct meta; struct feed; struct feed_reader; struct store; struct workspace;

enum feed_op {
    FEED_CREATE = 1, FEED_LINK, FEED_UNLINK, FEED_RENAME, FEED_EXCHANGE,         /* names */
    FEED_WRITE, FEED_TRUNCATE, FEED_CLONE,                                       /* content */
    FEED_ATTR, FEED_XATTR,                                                       /* attributes */
    FEED_REPLACE,                                                                /* a restore put something else at the path, with all below it */
    FEED_SNAPSHOT, FEED_FORK, FEED_RESTORE, FEED_MERGE, FEED_FAILED,             /* marks; failed: what the mark before said did not come to be */
    FEED_GAP,                                                                    /* not stored: events are missing before the next one */
    FEED_OPS
};
/* Bits of `what`. */
enum { FEED_MODE = 1, FEED_OWNER = 2, FEED_TIMES = 4, FEED_ACL = 8, FEED_SET = 16, FEED_REMOVED = 32, FEED_ZEROED = 64, FEED_PATH_CUT = 128, FEED_WHOLE = 256 };
enum feed_why { FEED_WHY_OLD = 1, FEED_WHY_CRASH, FEED_WHY_ERROR, FEED_WHY_CURSOR };     /* `what` of a gap */

struct feed_event {
    enum feed_op op;
    uint8_t kind;                         /* DT_* */
    uint32_t generation, what, count;     /* count: operations that this event stands for; of a gap: see to */
    uint64_t seq;
    struct itime time;
    uint64_t ino, other;                  /* other: of a rename the inode that lost the name, of an exchange the other one, of a clone the source */
    uint64_t from, to;                    /* bytes [from, to) of a write; of a gap the first and last number that is missing */
    uint64_t size;
    uint32_t mode, uid, gid, rdev, links;
    struct itime mtime;
    const char *path, *aux;               /* aux: new path of a rename, target of a symlink, name of an attribute, id of a snapshot */
    uint16_t path_len, aux_len;
};
enum { FEED_PATH_MAX = 16384, FEED_BYTES_MIN = 256 << 10, FEED_KEEP_MIN_S = 60 };
#define FEED_BYTES_DEFAULT (16ull << 20)
#define FEED_BYTES_MAX (64ull << 30)
#define FEED_KEEP_DEFAULT_S (7u * 86400)

struct feed_limits { uint64_t bytes; uint32_t keep_s; };
/* Where a reader is: it has seen all events of the journal up to seq. */
struct feed_cursor { uint64_t journal, seq; uint32_t generation; };
enum { FEED_CURSOR_TEXT = 64 };
void feed_cursor_format(const struct feed_cursor *c, char out[FEED_CURSOR_TEXT]);
bool feed_cursor_parse(const char *s, struct feed_cursor *ret);

/* --- on and off, by the workspace (feed_ws.c) --- */
/* On; or, where it is on, other limits (NULL: those it has). Durable. -ERANGE: limits out of bounds. -EROFS, -errno. */
int workspace_feed_on(struct workspace *w, const struct feed_limits *limits);
/* Off: its events are gone, its readers end. Durable. 0 also where it was off. */
int workspace_feed_off(struct workspace *w);
/* A reference to the journal, or NULL: it is off. */
struct feed *workspace_feed(struct workspace *w);
struct feed *feed_ref(struct feed *f);
void feed_unref(struct feed *f);
struct feed_info { struct feed_cursor first /* before the oldest event */, last; struct feed_limits limits; uint64_t bytes; int64_t since; };
void feed_info(struct feed *f, struct feed_info *ret);

/* --- reading --- */
/* From a cursor; NULL: from the oldest event that there is; since: the first event of this time or later (unix seconds; 0: none). Takes a reference of f of its own. -ENOMEM. */
int feed_reader_new(struct feed *f, const struct feed_cursor *from, int64_t since, struct feed_reader **ret);
void feed_reader_free(struct feed_reader *r);
/* 1 and the next event, valid until the next call; 0: there is none now; -EIO, -ENOMEM. What cannot be read any more comes as FEED_GAP. */
int feed_read(struct feed_reader *r, struct feed_event *ret);
/* Where the reader is after the last event it was given. */
void feed_reader_at(const struct feed_reader *r, struct feed_cursor *ret);
/* Waits at most ms for something behind the reader. True: there is something; false: time is up, or the journal ended. */
bool feed_wait(struct feed_reader *r, unsigned ms);
bool feed_ended(struct feed *f);           /* switched off, or its workspace was removed or closed */

/* --- recording: what the operations of the live tree call with ws.lock held, when nothing can fail any more; nothing where it is off (feed_note.c) --- */
struct txn;
void feed_named(struct workspace *w, enum feed_op op, uint64_t dir, const char *name, size_t n, uint64_t ino, const struct inode *in, const char *target, struct itime now);
void feed_renamed(struct workspace *w, bool exchange, uint64_t dir, const char *name, size_t n, uint64_t to_dir, const char *to, size_t to_n,
                  uint64_t ino, const struct inode *in, uint64_t other, struct itime now);
void feed_content(struct workspace *w, enum feed_op op, uint64_t ino, const struct inode *in, uint64_t from, uint64_t to, unsigned what, uint64_t other, struct itime now);
void feed_attr(struct workspace *w, uint64_t ino, const struct inode *in, unsigned what, struct itime now);
void feed_xattr(struct workspace *w, uint64_t ino, const struct inode *in, const char *name, unsigned what, struct itime now);
void feed_replaced(struct workspace *w, const char *path);
/* A mark: id of the snapshot it is about, a name, a number (forks). */
void feed_mark(struct workspace *w, enum feed_op op, const char *snap_id, const char *name, uint32_t count);

/* --- the workspace's part (feed.c) --- */
/* In ws_unlock, ws.lock held. What is staged gets its numbers and goes into the page cache; a redo log publishes its operation, with feed_seq(), between the two; then readers may
 * see it. So no reader has seen an event that a kill takes back. publish: true if there are new numbers. */
bool feed_publish(struct feed *f);
void feed_show(struct feed *f);
void feed_drop(struct feed *f);            /* txn_abort */
/* In the commit, ws.lock held: the record that says how far the journal belongs to this commit. */
void feed_commit_put(struct feed *f, struct batch *b);
void feed_commit_undo(struct feed *f);     /* the batch was rewound to before that */
/* In the commit, no lock but commit_lock: what was published before the last feed_commit_put() is on disk. Failure is logged; the journal then has a gap after a power loss. */
void feed_sync(struct feed *f);
/* Opens the journal of a workspace that is being opened, if it has one: *ret, or NULL. Makes durable that it is in use. What the last commit does not know is cut, and readers
 * are told of a gap there, unless the last end was clean or recovered is given: the number of the last event that a redo log vouches for (feed_seq()), 0 if it has none: then what is
 * behind the later of the two is cut, and nothing is missing. Only for one opener at a time, before anything changes. 0, -errno: the database failed. */
int feed_open(struct store *s, const char *ws_id, const uint64_t *recovered, struct feed **ret);
/* The last published event: what a redo log has to carry with each operation, as its last word before the operation counts. ws.lock held. */
uint64_t feed_seq(const struct feed *f);
/* The clean end: no change can come any more and all is committed. Does not free. */
void feed_close(struct feed *f);
void feed_end(struct feed *f);             /* wakes readers: they see that it ended */
/* Removes the records of a workspace's journal (in a batch), and its files. */
void feed_rec_delete(struct batch *b, const char *ws_id);
void feed_remove_files(struct store *s, const char *ws_id);
/* Files of journals whose workspace is not there: left by a crash during rm. At store_open. */
void feed_clean(struct store *s);
