/* What the files of the live tree share: locking, transactions on inodes, dirents, slots. Not for use outside fs/. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "fs/feed.h"
#include "fs/key.h"
#include "fs/map.h"
#include "fs/workspace.h"

/* --- life (workspace.c, ws_load.c, adopt.c) --- */
int workspace_make(struct store *s, struct view *v, bool readonly, struct workspace **ret);   /* takes the view's reference, also on failure */
void workspace_free(struct workspace *w);
/* From the disk, and the log of a daemon before or NULL (then it is not attached yet); not in the table. */
int workspace_load(struct store *s, const char *id, struct redo *redo, struct workspace **ret);
int workspace_add(struct workspace *w);                                          /* into the table; -EBUSY: there is one of this id */
/* Makes the live layer (and the view) of a workspace that was just loaded what the log says. */
int redo_replay(struct workspace *w, const struct redo *redo);
void redo_put_feed(struct workspace *w);                                         /* the number of the journal's last event; ws.lock held, w->feed and w->redo are there */
/* A freeze with numbers that were given before; durable. */
int workspace_refreeze(struct workspace *w, uint64_t base_id, uint64_t live_id);
/* The counters, anew: while nobody had the workspace open its view may have been folded, and then counts other units than it did. Nobody else has it yet. */
int ws_count_anew(struct workspace *w);

/* --- locks: ws.lock and view_lock (read) --- */
void ws_lock(struct workspace *w);
void ws_unlock(struct workspace *w);
/* For a change: -EROFS (read-only or broken); then as ws_lock. wait_room: waits while the live layer is over its hard limit, which a freeze ends: so
 * never with the gate held. */
int ws_lock_change(struct workspace *w, bool wait_room);
/* The live layer is so full that ws_lock_change may wait soon. */
bool ws_is_crowded(struct workspace *w);

/* --- changes that the kernel does not know of (adopt.c): begin and stale with the lock held, in the hold of the change or before; then tell it, then ws_told() --- */
void ws_tell_begin(struct workspace *w);
void ws_stale(struct workspace *w, uint64_t ino, const char *name, size_t n);    /* n 0: the inode itself */

/* --- values over the levels of the workspace (ws_lock held) --- */
static inline int ws_get(struct workspace *w, const struct key *k, struct view_val *ret) { return view_get_over(w->view, w->live, k->b, k->len, ret); }
int ws_each(struct workspace *w, const struct key *from, const struct key *to, view_each_fn *fn, void *arg);
int ws_get_inode(struct workspace *w, uint64_t ino, struct inode *ret);          /* -ENOENT: no such inode (ESTALE to the kernel) */
/* Puts that cannot fail: room was reserved with ws_reserve in this hold of the lock. */
int ws_reserve(struct workspace *w, unsigned keys, size_t bytes);
void ws_put(struct workspace *w, const struct key *k, const void *val, size_t n);
void ws_del(struct workspace *w, const struct key *k);
void ws_changed(struct workspace *w, bool times_only);

/* --- a transaction: up to TXN_INODES inodes read, changed in place, and written together --- */
enum { TXN_INODES = 8 };
struct txn {
    struct workspace *w;
    struct itime now;
    bool times_only;                      /* set by the operation: it changes nothing but times */
    unsigned count;
    struct txn_inode { uint64_t ino; bool fresh; struct inode old, in; } e[TXN_INODES];
};
/* Locks for a change and reserves room for TXN_INODES inodes and as many other keys, and bytes of other values. On failure nothing is held. */
int txn_begin(struct txn *t, struct workspace *w, size_t bytes);
/* The same for a caller that holds the gate: does not wait for room. */
int txn_begin_gated(struct txn *t, struct workspace *w, size_t bytes);
/* The inode in the transaction, loaded once. -ENOENT. */
int txn_inode(struct txn *t, uint64_t ino, struct inode **ret);
/* A new inode: number, zeroed record with times and mode set. -EDQUOT, -ENOSPC. */
int txn_new_inode(struct txn *t, uint64_t want_ino, uint32_t mode, uint64_t *ret_ino, struct inode **ret);
/* True if what the transaction has so far, and this many units more, takes something and does not fit into the workspace's quota. What frees or
 * leaves things as they are is always let through. To be asked before the first put. */
bool txn_over_quota(const struct txn *t, uint64_t more);
uint64_t ws_charged(const struct workspace *w);                                  /* units in use, those of inodes without links too */
bool ws_inodes_full(const struct workspace *w);
/* Writes what changed, keeps the counters, handles inodes that lost their last link, unlocks. */
void txn_commit(struct txn *t);
void txn_abort(struct txn *t);                                                   /* unlocks; the changes in place are dropped */
struct itime itime_now(void);

/* --- names --- */
int name_check(const char *name);                                                /* -ENOENT empty, -ENAMETOOLONG, -EINVAL */
struct dirent_at { uint64_t ino, cookie; uint8_t type; };
int dirent_find(struct workspace *w, uint64_t dir, const char *name, size_t n, struct dirent_at *ret);   /* -ENOENT */
int dirent_free_cookie(struct workspace *w, uint64_t dir, const char *name, size_t n, uint64_t *ret);    /* -ENOSPC */
void dirent_put(struct workspace *w, uint64_t dir, uint64_t cookie, const char *name, size_t n, uint64_t ino, uint32_t mode);
/* A directory of the transaction that new names may go into: -ENOTDIR, -ENOENT if it was removed. */
int txn_dir(struct txn *t, uint64_t dir, struct inode **ret);
/* Link bookkeeping of one inode: adds, drops or moves the name (parent, cookie). */
void link_add(struct txn *t, uint64_t ino, struct inode *in, uint64_t parent, uint64_t cookie);
int link_drop(struct txn *t, uint64_t ino, struct inode *in, uint64_t parent, uint64_t cookie);
void link_move(struct txn *t, uint64_t ino, struct inode *in, uint64_t from, uint64_t from_cookie, uint64_t to, uint64_t to_cookie);

/* --- content (slot.c, extent.c) --- */
bool inode_kill_priv(struct inode *in);                                          /* clears setuid, and setgid if group-executable; true if changed */
int ws_drop_caps(struct workspace *w, uint64_t ino, struct inode *in);           /* removes security.capability */
/* The live slot record, or what it would be before its first change: BELOW where lower levels have data, ZERO elsewhere. */
int slot_load(struct workspace *w, uint64_t ino, uint64_t slot, bool fresh, struct slot *ret);
void slot_store(struct workspace *w, uint64_t ino, uint64_t slot, const struct slot *s);
unsigned slot_units(const struct slot *s);                                       /* units that hold data */
void slot_release(struct workspace *w, const struct slot *s, unsigned from, unsigned to);   /* gives back own unshared units */
void slot_share(struct workspace *w, struct run *r);                             /* marks a SEG run as used by several slots */
int slot_next(struct workspace *w, uint64_t ino, uint64_t from, uint64_t *ret);  /* 1: first slot >= from that may hold data; 0: none */
/* True if the inode is only in the live layer (nothing of it below). */
int inode_is_fresh(struct workspace *w, uint64_t ino, bool *ret);
/* Drops content from new_size on; the inode's size is set. Within a transaction. May do I/O for a partial unit. */
int content_truncate(struct txn *t, uint64_t ino, struct inode *in, uint64_t new_size);
/* After a crash, before anyone writes: a crash may undo an append whose bytes went in place into a unit that was owned already. They lie behind the
 * end then, and must not come up when the file grows over them: made zero for all files of the live layer. */
int content_clear_tails(struct workspace *w);
/* The same for one file: after a write that failed half way. */
int content_clear_tail(struct workspace *w, uint64_t ino, const struct inode *in);
int content_zero(struct txn *t, uint64_t ino, struct inode *in, uint64_t off, uint64_t len);
/* If the content is a BODY, moves it into slot 0. Within a transaction. 1 if it did, 0 if there was nothing to do. */
int content_unfold_body(struct txn *t, uint64_t ino, struct inode *in);
/* Units that hold data, counted anew: goes through all slots. */
int content_units(struct workspace *w, uint64_t ino, uint64_t *ret);
int live_segment(struct workspace *w);                                           /* makes w->seg; ws_lock held */
int alloc_units(struct workspace *w, uint64_t ino, uint64_t slot, unsigned unit, unsigned count, uint64_t *ret_unit);

/* --- inodes without links --- */
void orphan_add(struct workspace *w, uint64_t ino, const struct inode *in);      /* or drops it at once if nobody refers to it */
void orphan_gone(struct workspace *w, uint64_t ino, const struct inode *in);     /* it got a name, or is about to be dropped */
void inode_drop(struct workspace *w, uint64_t ino);                              /* tombstone, space given back */
/* Makes the live layer alone hold all of the inode: for one that gets a name, as a fold of a layer where it had none leaves it out. May reserve. */
int orphan_carry(struct workspace *w, uint64_t ino);
/* Before a fold of v is published: content of open inodes without links that only v's layers hold is copied into the live layer. */
int ws_carry_orphans(struct workspace *w, struct view *v);

/* The kernel may refer to it. */
bool ws_is_known(const struct workspace *w, uint64_t ino);

/* --- kernel lookup counts --- */
struct nlook *nlook_new(void);
void nlook_free(struct nlook *n);
int nlook_add(struct nlook *n, uint64_t ino, uint64_t by);                       /* -ENOMEM */
uint64_t nlook_get(const struct nlook *n, uint64_t ino);
uint64_t nlook_sub(struct nlook *n, uint64_t ino, uint64_t by);                  /* what is left; 0 removes it */
int nlook_each(const struct nlook *n, int (*fn)(void *arg, uint64_t ino), void *arg);

/* --- ACLs (acl.c): the xattr format of linux/posix_acl_xattr.h --- */
enum { ACL_BYTES_MAX = 4 + 8 * 512 };
int acl_check(const uint8_t *p, size_t n);                                       /* -EINVAL if malformed */
/* Mode bits that the access ACL stands for; *ret_minimal if it says no more than the mode. */
uint32_t acl_to_mode(const uint8_t *p, size_t n, uint32_t mode, bool *ret_minimal);
void acl_chmod(uint8_t *p, size_t n, uint32_t mode);
/* From a default ACL: the access ACL (into p, in place) and the mode of a new inode. */
uint32_t acl_create(uint8_t *p, size_t n, uint32_t mode, bool *ret_minimal);
