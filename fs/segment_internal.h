/* Between segment.c and segment_io.c only. */
#pragma once
#include <pthread.h>
#include "fs/segment.h"

enum { SEGMENT_NAME_SIZE = 17 };          /* 16 hex digits and the end */

struct segment {
    struct segments *all;
    uint64_t id;
    struct segment *hash_next;            /* segments.lock */
    struct segment *ring_prev, *ring_next;/* segments.lock */
    pthread_mutex_t lock;                 /* opening and closing of the descriptor */
    pthread_mutex_t sync_lock;            /* one sync at a time: who finds it clean knows that it is durable */
    _Atomic int refs, pins, fd;
    _Atomic bool used, dirty, unnamed, broken;
    bool in_table;                        /* segments.lock */
};

struct segments {
    int dirfd;
    pthread_mutex_t lock;
    struct segment **table;
    size_t table_size, count, open_count;
    struct segment *ring;                 /* the next to be looked at for closing */
};

/* The descriptor for one call, or -errno; with segment_unpin() after a success. */
int segment_pin(struct segment *g);
void segment_unpin(struct segment *g);
void segment_name(uint64_t id, char out[SEGMENT_NAME_SIZE]);
/* The segment with a reference if it is in memory, else NULL. */
struct segment *segment_find(struct segments *s, uint64_t id);
/* Its file was unlinked: nobody finds it any more. */
void segment_forget(struct segment *g);
