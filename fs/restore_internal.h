/* What the files of restore share. */
#pragma once
#include "fs/diff_internal.h"
#include "fs/ws_internal.h"

/* What the kernel must forget: inodes, and names (ino = the directory). */
struct stale { uint64_t ino; struct text name; };
struct stales { struct stale *v; size_t count, cap; };

/* The number 0 is none; a directory or child is a number of the workspace (node false) or an index of graft.nodes. */
struct ref { bool node; uint64_t n; };
struct made { struct ref dir; uint64_t cookie; struct text name; size_t child; };          /* a name to be put */
struct removed { uint64_t dir, cookie, ino; struct text name; uint8_t type; bool top; };   /* a name that goes */
/* An inode of the snapshot that is to be in the workspace. */
struct gnode { uint64_t src, dst; struct inode in; bool partial, keep; uint32_t names, subdirs, entries; size_t primary; };
/* An inode of the workspace that loses names. */
struct gone { uint64_t ino; struct inode in; uint32_t names; bool dead, kept; };
/* A directory of the workspace that stays and has other entries. */
struct parent { uint64_t ino; struct inode in; int64_t entries, subdirs; };
/* A key and what it is to have, or has. below: the value is of a tree. live: an EXTENT whose space in the live layer is in use. hidden: a BODY under
 * a layer that says slots (view.h, data_body): it does not count. */
struct item { struct text key, val; bool below, live, hidden; };
struct items { struct item *v; size_t count, cap; };
struct op { struct text key, val; bool del, release; };

struct graft {
    struct workspace *w;
    struct side snap;
    struct diff text;                     /* only its text buffer is used: for names and values */
    struct { struct made *v; size_t count, cap; } made;
    struct { struct removed *v; size_t count, cap; } removed;
    struct { struct gnode *v; size_t count, cap; } nodes;
    struct { struct gone *v; size_t count, cap; } gone;
    struct { struct parent *v; size_t count, cap; } parents;
    struct ino_map *node_of, *gone_of, *parent_of;               /* number -> index */
    struct items want, have;
    struct itime now;
    struct { struct op *v; size_t count, cap; } ops;
    uint64_t next_ino;
    int64_t inodes, units;                /* change of the workspace's counters */
};

/* graft.c: what is to be done, found with the locks of a change held. */
int graft_init(struct graft *g, struct workspace *w, const struct addr *root);
void graft_fini(struct graft *g);
int graft_path(struct graft *g, const char *path);
int graft_spread(struct graft *g);                               /* from the named ones to all below them */
int graft_number(struct graft *g);
/* graft_keys.c: which keys that makes. */
int graft_keys(struct graft *g);
/* graft_apply.c: doing it: 0, -EDQUOT, -ENOMEM and nothing was done. What the kernel is to be told is put together before. */
int graft_apply(struct graft *g);
int text_add(struct graft *g, const void *p, size_t n, struct text *ret);
static inline const uint8_t *bytes_of(const struct graft *g, struct text t) { return g->text.text.data + t.off; }
static inline uint64_t ref_ino(const struct graft *g, struct ref r) { return r.node ? g->nodes.v[r.n].dst : r.n; }
int graft_stales(struct graft *g, struct stales *out);

/* restore.c: makes these paths, none below another, as they are in v; all or nothing. may_miss: one that is on neither side is passed over. */
/* expected: the inode that each path leads to now, 0 for none, or NULL for whatever: if one leads elsewhere, or the live layer has anything of what is replaced, -EAGAIN. */
int restore_paths(struct store *s, struct workspace *w, struct view *v, const char *const *paths, const uint64_t *expected, size_t count, bool may_miss,
                  uint64_t *ret_changed);
/* restore_live.c: makes a mounted workspace, whose state was `from`, what `to` is, by the paths in which they differ. unchanged: only if none of them was changed since `from`,
 * which was frozen then: else -EAGAIN. */
int restore_live(struct store *s, struct workspace *w, struct view *from, struct view *to, const char *snap_id, bool unchanged, uint64_t *ret_changed);
/* Makes the extended attributes of one inode those of another. */
int xattrs_copy(struct workspace *from, uint64_t src, struct workspace *to, uint64_t dst);
