/* What snapdir.c, snapdir_node.c and snapdir_list.c share. Nobody else includes this. */
#pragma once
#include <pthread.h>
#include <stddef.h>
#include "fs/snapdir.h"

struct view;
enum { SNAP_BUCKETS = 1024, SNAP_OPEN_MAX = 64 };

/* A snapshot that the kernel, or a request, refers to. Its view keeps what it shows from gc, also when the snapshot is removed. */
struct snap {
    struct snap *next;                    /* in its bucket */
    uint64_t seq;                         /* of its record: no two ever have the same */
    struct view *view;                    /* owned reference */
    struct workspace *ws;                 /* its tree, or NULL: made when asked for. At most SNAP_OPEN_MAX are kept */
    unsigned slot;                        /* ws: in snapdir.open */
    uint64_t refs;                        /* nodes + requests */
};

/* An inode of a snapshot that the kernel knows. */
struct snap_node {
    struct snap_node *next_node, *next_key;
    struct snap *sn;                      /* counts in its refs */
    uint64_t node, ino, lookups;
};

struct snap_list { struct snap_name { uint64_t seq; char name[OBJECT_NAME_MAX + 1]; } *v; size_t count, cap; uint64_t as_of; unsigned refs; };

struct snapdir {
    struct store *store;
    char ws_id[ID_MAX];
    pthread_mutex_t lock;                 /* all below, and what is in it; a leaf: memory only */
    struct snap *snaps[SNAP_BUCKETS];
    unsigned snap_count;
    struct snap *open[SNAP_OPEN_MAX];     /* those with a ws */
    unsigned hand;                        /* who goes next */
    struct snap_node **by_node, **by_key; /* mask + 1 buckets each */
    size_t count, mask;
    uint64_t next_node;                   /* highest bit set, next one clear at first: it never gets to the numbers at the end */
    struct snap_list *list;               /* NULL: not made yet */
    uint64_t seen;                        /* meta_snaps() at the time `changed` */
    int64_t changed;
};

/* --- snapdir.c; with the lock --- */
/* The last reference is gone: takes it out; the caller frees it without the lock. */
struct snap *snap_unref(struct snapdir *d, struct snap *sn);
void snap_free(struct snap *sn);          /* without the lock; NULL is fine */
/* --- snapdir_node.c --- */
int snap_nodes_init(struct snapdir *d);
void snap_nodes_fini(struct snapdir *d);  /* frees the nodes, and not what they refer to */
struct snap_node *snap_node_find(struct snapdir *d, uint64_t node);
/* --- snapdir_list.c --- */
void snap_list_unref(struct snap_list *l);      /* with the lock */
