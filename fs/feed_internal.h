/* What the files of the change journal share. */
#pragma once
#include <pthread.h>
#include <sys/types.h>
#include "base/buf.h"
#include "fs/feed.h"
#include "fs/object.h"

enum { FEED_HEAD = 64, FEED_RECORD = 120, FEED_PAGE = 4096, FEED_OPEN = 64, FEED_PATHS = 256, FEED_RECORD_MAX = FEED_RECORD + 2 * UINT16_MAX + 8 };

/* One file. */
struct feed_segment {
    struct feed_segment *next;
    _Atomic unsigned refs;
    int fd;
    uint64_t first;                       /* number of its first event, and its name */
    uint64_t end;                         /* bytes; under feed.lock */
    int64_t made, newest;                 /* seconds */
    bool unsynced;                        /* under feed.lock */
};

/* An event that later ones of the same inode may still go into: the last one of this inode, published and not yet read by anybody. */
struct feed_open_event { uint64_t epoch, born_ns, off; struct feed_segment *seg; uint32_t strings_sum; struct feed_event e; };

struct feed_path { uint64_t ino; char *path; uint16_t len; };

struct feed {
    _Atomic unsigned refs;
    struct store *store;
    char ws_id[ID_MAX];
    int dirfd;
    uint64_t journal;
    int64_t since;
    uint32_t generation;

    /* under ws.lock */
    struct { struct feed_event *v; size_t count, cap; } staged;
    struct buf text;                      /* their strings; paths in them are offsets until they are published */
    struct feed_path paths[FEED_PATHS];   /* of inodes, as they are now */
    struct buf climb, line;               /* paths being put together */
    uint64_t committed;                   /* what the record in the database says, or will */
    bool record_due;                      /* limits were changed */

    pthread_mutex_t lock;                 /* guards what follows; leaf, under ws.lock. Held across writes into the page cache, never across a sync */
    pthread_cond_t more;
    struct feed_limits limits;
    struct feed_segment *oldest, *newest;
    uint64_t bytes;
    uint64_t written, shown;              /* numbers: in the file; and for readers to see */
    uint32_t shown_generation, written_generation;
    uint64_t epoch;                       /* of feed_open_event: grows when all of them are closed */
    struct feed_open_event open[FEED_OPEN];
    struct buf out;
    unsigned waiting;
    bool ended, failing, dir_unsynced;
};

/* feed_codec.c. Sizes are multiples of 8. */
size_t feed_encoded(const struct feed_event *e);
void feed_encode(const struct feed_event *e, uint8_t *out, uint32_t *ret_strings_sum);
void feed_encode_head(const struct feed_event *e, uint32_t strings_sum, uint8_t out[FEED_RECORD]);
void feed_encode_pad(uint8_t *out, size_t n);
/* Length of the record, and the event with its strings in place (op 0: padding); 0: more bytes are needed (*ret_need in all); -EUCLEAN. */
ssize_t feed_decode(const uint8_t *p, size_t n, struct feed_event *ret, size_t *ret_need);
void feed_head_encode(uint64_t journal, uint64_t first, int64_t made, uint8_t out[FEED_HEAD]);
int feed_head_decode(const uint8_t p[FEED_HEAD], uint64_t *ret_journal, uint64_t *ret_first, int64_t *ret_made);
struct feed_rec { uint64_t journal, seq; uint32_t generation; bool clean; struct feed_limits limits; int64_t since; };
enum { FEED_REC_BYTES = 1 + 8 + 8 + 4 + 1 + 8 + 4 + 8 };
void feed_rec_encode(const struct feed_rec *r, uint8_t out[FEED_REC_BYTES]);
int feed_rec_decode(const uint8_t *p, size_t n, struct feed_rec *ret);

/* feed_file.c; feed.lock is held, or nobody else has the journal yet */
int feed_dir_open(struct store *s, const char *ws_id, int *ret);
int feed_segments_load(struct feed *f, uint64_t last);         /* what is there, up to number last; the rest is removed */
int feed_segment_new(struct feed *f, uint64_t first, int64_t now);
void feed_segments_trim(struct feed *f, int64_t now);
struct feed_segment *feed_segment_ref(struct feed_segment *s);
void feed_segment_unref(struct feed_segment *s);
uint64_t feed_segment_max(const struct feed *f);

/* feed.c */
int feed_make(struct store *s, const char *ws_id, const struct feed_rec *rec, struct feed **ret);      /* an empty one, to be written to */
void feed_rec_of(const struct feed *f, bool clean, struct feed_rec *ret);
void feed_rec_put(struct batch *b, const char *ws_id, const struct feed_rec *r);
int feed_rec_get(struct meta *m, const char *ws_id, struct feed_rec *ret);
/* Strings are copied. Without memory the events of this change become a gap. */
void feed_stage(struct feed *f, const struct feed_event *e);
void feed_close_events(struct feed *f, uint64_t ino);          /* 0: all */

/* feed_path.c, with ws.lock held */
/* Path of a directory, or of an inode by its first name; valid until the next call. false: it has none, or one that is too long (*ret_cut). */
bool feed_path_of(struct workspace *w, uint64_t ino, const struct inode *in, const char **ret, size_t *ret_len, bool *ret_cut);
void feed_path_learn(struct feed *f, uint64_t ino, const char *path, size_t len);
void feed_path_forget(struct feed *f, uint64_t ino);           /* 0: all */
