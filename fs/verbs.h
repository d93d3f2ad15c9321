/* What an operator does to a store: workspaces, snapshots, forks, and their care. Records are changed under store->lock. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "fs/inode.h"
#include "fs/object.h"

struct store; struct workspace; struct view; struct buf;

/* An object named by a person: workspace name or id; snapshot id; WS@NAME; a bare snapshot name that is unique in the store.
 * Exactly one of the two is filled (the other's id is ""). 0; -ENOENT; -ENOTUNIQ: several snapshots have this name. */
struct object { struct ws_rec ws; struct snap_rec snap; };
int object_find(struct store *s, const char *name, struct object *ret);

struct create_args { const char *name; enum ws_kind kind; uint64_t quota_bytes, quota_inodes; const char *from; /* object or NULL */ const struct labels *labels; };
/* -EEXIST name in use; -EINVAL bad name; -ENOENT from. */
int verb_create(struct store *s, const struct create_args *a, struct ws_rec *ret);
struct snapshot_args { const char *name; enum snap_cause cause; const char *message; const struct labels *labels; const char (*merged)[ID_MAX]; unsigned merged_count; };
/* flush: the kernel's dirty pages into the daemon (filled by the caller); sync: file data from the daemon to the disk; held: programs could change nothing. */
struct snapshot_timing { uint64_t flush_ns, sync_ns, held_ns, total_ns; };
/* w may be mounted or not. -EEXIST: the workspace has a snapshot of this name. timing may be NULL. */
int verb_snapshot(struct store *s, struct workspace *w, const struct snapshot_args *a, struct snap_rec *ret, struct snapshot_timing *timing);
/* n new workspaces from one state, in one atomic batch. names: n valid unused names. From a workspace: its state now, kept as an unnamed
 * snapshot with cause SNAP_FORK. ret: n records. -EEXIST and *ret_bad = index of the name in use. */
int verb_fork(struct store *s, const struct object *src, const char *const *names, unsigned n, struct ws_rec *ret, unsigned *ret_bad, struct snapshot_timing *timing);
/* Workspace: must not be mounted (-EBUSY); its unnamed snapshots go with it; named ones: -ENOTEMPTY unless with_snapshots. Snapshot: any time; forks keep their data. */
int verb_remove(struct store *s, const struct object *o, bool with_snapshots);
/* For many, one after the other: all snapshots are looked at once, in remove_begin (NULL: no memory, or a record cannot be read; verb_remove_of takes that and looks each time). */
struct removal;
struct removal *remove_begin(struct store *s);
void remove_end(struct removal *x);       /* NULL is fine */
int verb_remove_of(struct store *s, const struct removal *all, const struct object *o, bool with_snapshots);
int verb_rename(struct store *s, const struct object *o, const char *new_name);
/* Sets (val) or removes (val NULL) labels; one atomic change. -E2BIG: more than LABEL_MAX. */
struct label_change { const char *key, *val; };
int verb_label(struct store *s, const struct object *o, const struct label_change *c, unsigned n);
/* The view an object means, with a reference; a workspace is its state now without making a snapshot (frozen if dirty). */
int object_view(struct store *s, const struct object *o, struct view **ret);
/* Waits until the view is folded (folding it now if need be). *ret_root. */
int view_fold_now(struct store *s, struct view *v, struct addr *ret_root);

/* --- diff --- */
enum diff_kind { DIFF_ADDED = 'A', DIFF_DELETED = 'D', DIFF_MODIFIED = 'M', DIFF_RENAMED = 'R', DIFF_TYPE = 'T' };
enum { DIFF_CONTENT = 1, DIFF_MODE = 2, DIFF_OWNER = 4, DIFF_MTIME = 8, DIFF_XATTR = 16 };
struct diff_entry {
    enum diff_kind kind; unsigned what;   /* what: for M and R */
    const char *path; uint32_t path_len;  /* in B (in A for D), without leading slash; bytes, may hold anything but NUL */
    const char *old_path; uint32_t old_path_len;   /* R only */
    uint64_t ino_a, ino_b;                /* 0 = none */
    struct inode a, b;
};
struct diff_opts { const char *const *paths; unsigned path_count; bool times; /* report entries where only mtime differs */ };
/* Entries sorted by path. O(changes) for related states. Non-zero result of fn stops and is returned. */
int verb_diff(struct store *s, struct view *a, struct view *b, const struct diff_opts *o, int (*fn)(void *arg, const struct diff_entry *e), void *arg);
/* Whole content of a file in a view, for --patch; at most max bytes, else -EFBIG. */
int view_file(struct store *s, struct view *v, uint64_t ino, uint64_t max, struct buf *out);

/* --- restore --- */
/* Whole tree (path_count 0): the state before is kept as an unnamed snapshot (cause SNAP_RESTORE). Paths: each is made as it is in the
 * snapshot (absent there: removed; absent in both: -ENOENT), with missing parents made (-ENOTDIR: something else stands there); all or nothing per
 * call. Live mounts are told: so call it with the mount flushed but NOT held (mount_hold), else kernel and daemon wait for each other. */
struct restore_report { uint64_t changed; char before[ID_MAX]; };
int verb_restore(struct store *s, struct workspace *w, const struct snap_rec *to, const char *const *paths, unsigned path_count, struct restore_report *ret);

/* --- care --- */
struct gc_report { uint64_t nodes, node_bytes, chunks, chunk_bytes, bases, layers, packed_chunks, packed_in, packed_out; };
int verb_gc(struct store *s, bool dry_run, bool pack, struct gc_report *ret);
struct usage { uint64_t files, dirs, logical_bytes, shared_bytes, private_bytes, meta_private_bytes; char id[ID_MAX]; bool is_snapshot; };
/* Sizes of every object (one walk of the store); fn per object. Bytes stored after dedup; private = only this object refers to it. */
int verb_usage(struct store *s, int (*fn)(void *arg, const struct usage *u), void *arg);
/* Of one object. 1; 0: the store has more than objects_max objects, so what is shared and what is private, which takes a walk of all of them, is not measured; -ENOENT. */
int verb_usage_of(struct store *s, const char *id, bool is_snapshot, uint64_t objects_max, struct usage *ret);
struct problem { const char *where; const char *what; };     /* where: object or path or address; what: one sentence */
int verb_fsck(struct store *s, int (*fn)(void *arg, const struct problem *p), void *arg, uint64_t *ret_checked);
int verb_scrub(struct store *s, bool repair, int (*fn)(void *arg, const struct problem *p), void *arg, uint64_t *ret_checked);
/* Checks one tree as fsck does (for imports): 0, or -EUCLEAN after fn. */
int tree_check(struct store *s, const struct addr *root, int (*fn)(void *arg, const struct problem *p), void *arg, struct base_rec *ret_counts);
