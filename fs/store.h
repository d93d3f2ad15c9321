/* A store: the directory, its lock and format, and everything that its workspaces share. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct meta; struct segments; struct chunks; struct node_cache; struct counter; struct view; struct workspace; struct folder; struct name_hold;

struct store {
    int dirfd;                            /* the store directory */
    int lockfd;                           /* holds the exclusive OFD lock */
    char instance[33];                    /* random id of the store, from `format` */
    struct meta *meta;
    struct segments *segments;
    struct chunks *chunks;
    struct node_cache *nodes;
    struct counter *counter;

    pthread_rwlock_t view_lock;           /* read: walking views; write: publishing a fold. Prefers writers. */
    pthread_mutex_t lock;                 /* guards the two tables and object records being changed (verbs) */
    struct view *views;                   /* loaded views, list by next; under lock */
    struct workspace *workspaces;         /* open workspaces, list by next; under lock */
    _Atomic bool lost;                    /* a workspace was closed whose last commit failed: what it did since the one before is gone */
    _Atomic uint64_t states_made;         /* snapshots written since the store was opened; grows with the commit_lock of the workspace they are of */
    uint64_t closes;                      /* workspaces that have left the table; under lock */
    struct name_hold *names_held;         /* names that a verb under way is about to give (verbs_internal.h); under lock */

    pthread_mutex_t fold_lock;            /* one of: fold, gc, pack, import's final build. Outermost of all locks. */
    unsigned commit_interval_ms;
    struct folder *folder;                /* background thread: folds, periodic commits, packs */

    /* For gc, fixed at open: layers numbered below opened_at that were not frozen then and have no owner are garbage of a crash. */
    uint64_t opened_at;
    uint64_t *frozen_at_open;             /* layer numbers, sorted */
    size_t frozen_at_open_count;
};

/* late: the background begins with store_begin(), after the workspaces that a daemon before left have been adopted. */
struct store_options { uint64_t node_cache_bytes, chunk_cache_bytes; bool no_background, late; unsigned commit_interval_ms; };
extern const struct store_options store_defaults;     /* 128 MiB, 64 MiB, false, false, 5000 */

/* Makes an empty store in DIR (made if absent; must be empty else). 0; -EEXIST it is one already; -ENOTEMPTY; -errno. */
int store_init(const char *dir);
/* Opens. 0; -ENOENT no store there; -EPROTONOSUPPORT newer or unknown format; -EBUSY another daemon has it; -EUCLEAN; -errno.
 * Unfolded layers are queued for folding. */
int store_open(const char *dir, const struct store_options *opt, struct store **ret);
/* The background of a store that was opened late. 0 or -errno. */
int store_begin(struct store *s);
/* Commits and closes all open workspaces (there must be no mounts), ends the thread. NULL is fine. */
void store_close(struct store *s);
