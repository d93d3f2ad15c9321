/* Records in CF_OBJECT: bases, workspaces, snapshots, names; their encodings and the rules for names and ids. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "fs/addr.h"
#include "fs/limits.h"
#include "base/buf.h"

struct meta; struct batch;
enum { ID_MAX = 24, MERGED_MAX = 64, LABEL_MAX = 16, LABEL_KEY_MAX = 63, LABEL_VAL_MAX = 255, MESSAGE_MAX = 1024 };

/* A base: an immutable state. Key 'b' id(8 BE). */
struct base_rec {
    uint64_t id;
    struct addr root;                     /* valid if !layer */
    uint64_t parent, layer;               /* not folded yet: parent base and frozen layer; layer 0 = folded */
    uint64_t next_ino, inodes, units;     /* counters of this state; units: what its inodes are charged (inode_charge) */
    uint64_t data_units;                  /* of tree_check only, not stored: their data alone, which `units` was in older records */
};
struct label { char key[LABEL_KEY_MAX + 1], val[LABEL_VAL_MAX + 1]; };
struct labels { uint32_t count; struct label l[LABEL_MAX]; };

/* ROOT: a sandbox's whole /; HOST: the same, made from the built-in template: /usr is an empty directory on which the host's is put. */
enum ws_kind { WS_BARE = 1, WS_ROOT = 2, WS_HOST = 3 };
/* Key 'w' id. */
struct ws_rec {
    char id[ID_MAX], name[OBJECT_NAME_MAX + 1];
    enum ws_kind kind;
    uint64_t base, live;                  /* base record, live layer id (its keys in CF_LAYER, its segment of the same id) */
    uint64_t next_ino, inodes, units;
    uint64_t quota_bytes, quota_inodes;   /* 0 = none */
    int64_t created;                      /* unix seconds, shown only */
    uint64_t seq;                         /* order of creation in the store */
    char parent_snap[ID_MAX];             /* the snapshot that it stands on: forked from, its last own, or restored to; "" none */
    struct labels labels;
};
enum snap_cause { SNAP_USER = 1, SNAP_FORK, SNAP_IMPORT, SNAP_RESTORE, SNAP_AUTO, SNAP_MERGE };
/* Key 's' id. */
struct snap_rec {
    char id[ID_MAX], name[OBJECT_NAME_MAX + 1];      /* name "" = none */
    char ws_id[ID_MAX], ws_name[OBJECT_NAME_MAX + 1];
    char parent[ID_MAX];
    uint64_t base, seq;
    int64_t created;
    enum snap_cause cause;
    enum ws_kind kind;                    /* of the workspace; 0 = not known (as WS_BARE) */
    char message[MESSAGE_MAX + 1];
    struct labels labels;
    uint32_t merged_count;                /* of a merge: the snapshots that were merged into the parent */
    char merged[MERGED_MAX][ID_MAX];
};

bool object_name_valid(const char *name);             /* [a-z0-9][a-z0-9._-]{0,63}, and not of the form of an id */
bool object_id_is(const char *s);                     /* "ws-" or "snap-" and 10 of [a-z2-7] */
int object_new_id(const char *prefix, char out[ID_MAX]);   /* from getrandom */

void base_put(struct batch *b, const struct base_rec *r);
int base_get(struct meta *m, uint64_t id, struct base_rec *ret);              /* -ENOENT, -EUCLEAN */
void base_delete(struct batch *b, uint64_t id);
void ws_rec_put(struct batch *b, const struct ws_rec *r);
int ws_rec_get(struct meta *m, const char *id, struct ws_rec *ret);
void ws_rec_delete(struct batch *b, const char *id);
void snap_rec_put(struct batch *b, const struct snap_rec *r);
int snap_rec_get(struct meta *m, const char *id, struct snap_rec *ret);
void snap_rec_delete(struct batch *b, const char *id);
/* Iterate in id order; non-zero result of fn stops and is returned. A bad record: -EUCLEAN. */
int base_each(struct meta *m, int (*fn)(void *arg, const struct base_rec *r), void *arg);
int ws_rec_each(struct meta *m, int (*fn)(void *arg, const struct ws_rec *r), void *arg);
int snap_rec_each(struct meta *m, int (*fn)(void *arg, const struct snap_rec *r), void *arg);
/* Only those that name `id` somewhere (their own, their workspace, their parent, what was merged), and perhaps a few others: a look at 100,000 records
 * costs a tenth of decoding them. */
int ws_rec_each_naming(struct meta *m, const char *id, int (*fn)(void *arg, const struct ws_rec *r), void *arg);
int snap_rec_each_naming(struct meta *m, const char *id, int (*fn)(void *arg, const struct snap_rec *r), void *arg);
/* How many workspaces and snapshots there are; counts to `max` only. */
uint64_t object_count(struct meta *m, uint64_t max);
/* Workspace names: key 'n' name -> workspace id. Snapshot names: key 'm' ws_id NUL name -> snapshot id. */
int ws_name_get(struct meta *m, const char *name, char ret_id[ID_MAX]);       /* -ENOENT */
void ws_name_put(struct batch *b, const char *name, const char *id);
void ws_name_delete(struct batch *b, const char *name);
int snap_name_get(struct meta *m, const char *ws_id, const char *name, char ret_id[ID_MAX]);
void snap_name_put(struct batch *b, const char *ws_id, const char *name, const char *id);
void snap_name_delete(struct batch *b, const char *ws_id, const char *name);
/* Every name in the store: of workspaces with ws_id "", of snapshots with their workspace's. As written: nothing is checked. */
int snap_name_each(struct meta *m, int (*fn)(void *arg, const char *ws_id, const char *name, const char *id), void *arg);   /* of snapshots only */
int name_each(struct meta *m, int (*fn)(void *arg, const char *ws_id, const char *name, const char *id), void *arg);
/* Numbers for bases, layers and segments (one sequence) and for seq: never handed out twice, also after a crash (reserved in blocks of 1024). */
struct counter;
int counter_open(struct meta *m, struct counter **ret);
void counter_close(struct counter *c);
int counter_next(struct counter *c, uint64_t *ret);                            /* >= 1 */
/* Codecs, for golden files and fuzzing: strict, -EUCLEAN. */
void base_encode(const struct base_rec *r, struct buf *out);
int base_decode(const uint8_t *p, size_t n, struct base_rec *ret);
void ws_rec_encode(const struct ws_rec *r, struct buf *out);
int ws_rec_decode(const uint8_t *p, size_t n, struct ws_rec *ret);
void snap_rec_encode(const struct snap_rec *r, struct buf *out);
int snap_rec_decode(const uint8_t *p, size_t n, struct snap_rec *ret);
