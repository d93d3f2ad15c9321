/* A folded state read as a file system: inodes, names, paths. For diff and restore. Not thread-safe (it caches paths). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "fs/inode.h"
#include "fs/tree.h"

struct ino_map;                           /* inode number -> pointer-sized number */
struct side { struct node_cache *c; struct addr root; struct ino_map *paths; struct buf text; };

void side_init(struct side *s, struct node_cache *c, const struct addr *root);
void side_fini(struct side *s);
/* 1, 0 no such inode, negative. */
int side_inode(const struct side *s, uint64_t ino, struct inode *ret);
/* A name in a directory. len 0: none. */
struct side_name { uint64_t dir, cookie, ino; uint8_t type, len; char name[NAME_BYTES_MAX + 1]; };
/* The name with this cookie: 1; 0 none; negative. */
int side_name_at(const struct side *s, uint64_t dir, uint64_t cookie, struct side_name *ret);
/* Calls fn for every name of an inode (of the root: none), or for every name in a directory. Non-zero stops and is returned. */
typedef int side_name_fn(void *arg, const struct side_name *n);
int side_links(const struct side *s, uint64_t ino, const struct inode *in, side_name_fn *fn, void *arg);
int side_entries(const struct side *s, uint64_t dir, side_name_fn *fn, void *arg);
/* Only those whose cookie has the hash part of this one. */
int side_same_hash(const struct side *s, uint64_t dir, uint64_t cookie, side_name_fn *fn, void *arg);
/* Calls fn for the keys of one inode whose kind is from `first` to `last`. */
int side_keys(const struct side *s, uint64_t ino, uint8_t first, uint8_t last, int (*fn)(void *arg, const struct node_entry *e), void *arg);
/* The path of a name, appended to out without NUL; -EUCLEAN if the directories above it do not lead to the root. */
int side_path(struct side *s, uint64_t dir, const char *name, size_t len, struct buf *out);

/* --- numbers by inode number --- */
struct ino_map *ino_map_new(void);
void ino_map_free(struct ino_map *m);
bool ino_map_get(const struct ino_map *m, uint64_t ino, uint64_t *ret);
int ino_map_put(struct ino_map *m, uint64_t ino, uint64_t val);      /* 0 or -ENOMEM */
