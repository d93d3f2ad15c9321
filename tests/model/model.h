/* The model: a POSIX tree in plain memory, as simple as can be; workspaces and snapshots are deep copies. Reached by model_ops. */
#pragma once
#include "tests/model/bytes.h"
#include "tests/model/fs_ops.h"

struct mxattr { char *name; uint8_t *v; size_t n; };
struct ment { char *name; struct mnode *node; };
struct mnode {
    uint64_t uid_;                        /* the model's number: unique in the run, kept by clones */
    uint32_t mode, uid, gid, rdev, nlink, open;
    int64_t mtime_s, atime_s;
    uint32_t mtime_ns, atime_ns;
    uint8_t mtime_rule, atime_rule;
    bool linkable;                        /* made by tmpfile, never linked */
    struct bytes data;
    char *target;
    struct mxattr *xattrs;
    size_t xattr_count;
    struct ment *ents;                    /* sorted by name */
    size_t ent_count;
    struct mnode *parent;                 /* directories */
    struct mnode *clone;                  /* while cloning */
    unsigned mark;
};
struct mtree {
    struct mnode *root;                   /* NULL: place not in use */
    struct ino_pair { uint64_t ino, node; } *inos;   /* what was seen below this place: real number -> model's number */
    size_t ino_count, ino_cap;
    uint64_t number, of;                  /* this workspace; of a snapshot: its workspace */
};
struct model {
    struct mtree place[PLACES];
    struct { struct mnode *n; unsigned at; } h[HANDLES];
    uint64_t next;
};

struct model *model_new(void);            /* workspace 0 is there, its root 0755 root:root */
void model_free(struct model *m);
extern const struct fs_ops model_ops;     /* context: struct model * */

struct mtree mtree_clone(const struct mtree *t);
void mtree_fini(struct mtree *t);
struct mnode *mnode_new(uint64_t number, uint32_t mode);
void mnode_add(struct mnode *dir, const char *name, struct mnode *n);      /* the caller counts links */
struct mnode *mtree_find(const struct mtree *t, const char *path);
/* Every name in the tree, directories before what is in them. path is without leading slash. */
typedef void mtree_fn(void *arg, const char *path, struct mnode *n);
void mtree_each(const struct mtree *t, mtree_fn *fn, void *arg);
/* Notes that the real number ino belongs to the model's node: false if either was seen with another partner. */
bool mtree_saw(struct mtree *t, uint64_t ino, uint64_t node);
