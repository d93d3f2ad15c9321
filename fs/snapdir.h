/* What the directory .snap of a mount shows: the snapshots of its workspace, and which of their inodes the kernel knows. Thread-safe.
 * A node is what the kernel calls an inode by: numbers of the live tree have the highest bit clear, numbers from here have it set, are never used twice,
 * and mean the same inode of the same snapshot until the kernel has forgotten them. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "fs/object.h"

struct store; struct workspace; struct snapdir; struct snap;

#define SNAPDIR_NAME ".snap"
#define SNAPDIR_NODE (UINT64_MAX - 1)     /* .snap itself; also its st_ino */
#define SNAPDIR_BIT (1ull << 63)

int snapdir_new(struct store *s, const char *ws_id, struct snapdir **ret);
/* Nobody uses it any more, nor any of its nodes. NULL is fine. */
void snapdir_free(struct snapdir *d);
/* A snapshot of the workspace by its name, an unnamed one by its id. 0 and references on it and on its tree for snapdir_put(); -ENOENT; -errno. May read the disk. */
int snapdir_open(struct snapdir *d, const char *name, struct snap **ret, struct workspace **ret_ws);
/* What a node means. 0 and references for snapdir_put(); -ESTALE: not known (any more). */
int snapdir_get(struct snapdir *d, uint64_t node, struct snap **ret, struct workspace **ret_ws, uint64_t *ret_ino);
/* NULL is fine for both. */
void snapdir_put(struct snapdir *d, struct snap *sn, struct workspace *w);
/* Tells that the kernel gets one more reference on an inode of the snapshot. Its node; 0: out of memory. Never waits: may be called with a workspace locked. */
uint64_t snapdir_look(struct snapdir *d, struct snap *sn, uint64_t ino);
void snapdir_forget(struct snapdir *d, uint64_t node, uint64_t n);
/* st_ino: the same whenever asked for, and no number of the live tree. */
uint64_t snap_st_ino(uint64_t seq, uint64_t ino);
uint64_t snap_seq(const struct snap *sn);
/* The names in .snap, in order of seq, those with a seq above `after`. The list is made anew when there were changes and `fresh`. fn non-zero stops and is returned. */
typedef int snapdir_each_fn(void *arg, const char *name, uint64_t seq);
int snapdir_each(struct snapdir *d, bool fresh, uint64_t after, snapdir_each_fn *fn, void *arg);
/* Unix seconds: when the list last changed, as far as was seen. */
int64_t snapdir_changed(struct snapdir *d);
/* For tests and for those who count memory. */
struct snapdir_stats { uint64_t nodes; unsigned snaps, open; };
void snapdir_stats(struct snapdir *d, struct snapdir_stats *ret);
