/* What the files of the verbs share. Not for use outside fs/. */
#pragma once
#include "fs/verbs.h"

struct meta; struct batch;

/* A name that is checked to be free and then kept for one verb, so that a second one cannot give it meanwhile. ws_id "": a workspace's.
 * The strings are borrowed until name_release. 0; -EEXIST; -EIO... */
struct name_hold { struct name_hold *next; const char *ws_id, *name; };
int name_hold(struct store *s, const char *ws_id, const char *name, struct name_hold *h);
void name_release(struct store *s, struct name_hold *h);

/* An id that no record has. */
int fresh_ws_id(struct store *s, char ret[ID_MAX]);
int fresh_snap_id(struct store *s, char ret[ID_MAX]);
int labels_check(const struct labels *l);                     /* -EINVAL: too many, an empty key, or one twice. NULL is fine. */
/* The view of a snapshot that is not removed: from then on gc sees either the record or the view. -ENOENT. */
int snap_view(struct store *s, const struct snap_rec *snap, struct view **ret);
/* Changes a workspace's record on disk and in memory, atomically with what is in b. change() must touch name, labels and parent_snap only; it
 * is called for the one on disk first; if that gives an error nothing is changed and it is returned. */
int ws_update(struct store *s, const char *id, int (*change)(void *arg, struct ws_rec *rec), void *arg, struct batch *b);
/* verb_fork with the attributes of a create (NULL: those of the source). */
int fork_many(struct store *s, const struct object *src, const char *const *names, unsigned n, const struct create_args *attrs, struct ws_rec *ret,
              unsigned *ret_bad, struct snapshot_timing *timing);
/* A workspace over a state, for work that nobody else is to see: no snapshot is made of the state, and there is no quota. v is held by the caller. -EEXIST: the name is in use. */
int fork_view(struct store *s, struct view *v, const struct ws_rec *of, const char *name, const struct labels *labels, struct ws_rec *ret);
/* A snapshot, without a name, of a state that the workspace had when it stood on the snapshot `parent` ("": on none). v is held by the caller. If the workspace still stands there, it stands on
 * the new one from now on. */
int snapshot_view(struct store *s, const char *ws_id, struct view *v, const char *parent, const struct snapshot_args *a, struct snap_rec *ret);

/* --- checking (tree_check.c) --- */
struct node_cache; struct addr_set;
/* "a/b/c" of an inode of a tree, by its primary links upwards; "inode N" if that leads nowhere. Appended to out. */
void tree_path(struct node_cache *c, const struct addr *root, uint64_t ino, struct buf *out);
/* tree_check, with a set (value 4 bytes: raw length) of chunks known to be there, shared by several trees; it is added to. */
int tree_check_with(struct store *s, const struct addr *root, struct addr_set *chunks, int (*fn)(void *arg, const struct problem *p), void *arg,
                    struct base_rec *ret_counts);
