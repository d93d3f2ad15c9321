/* Between import.c, import_chain.c and import_place.c: an import going on. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fs/import.h"
#include "fs/inode.h"

enum { IMPORT_PATHS_MAX = 2 * 65536 };           /* `at`, a slash, a path */

struct import_level {
    uint64_t ino, path_hash;                 /* hash of its path: part of the inode numbers of what is in it */
    size_t path_len;
    struct inode saved;
    bool dirty, default_acl;
};

struct import_entry {
    bool open;
    uint64_t ino;
    struct inode want;
    uint64_t data_end;                       /* end of the furthest DATA */
};

struct importer {
    struct workspace *w;
    char *at;
    size_t at_len;
    struct import_level *levels;
    size_t level_count, level_cap;
    char *path, *full, *other;               /* IMPORT_PATHS_MAX each: of the top level; of the entry; of a link's target */
    size_t full_len;
    struct import_entry entry;
    bool started, ended;
    uint64_t entries, bytes;
    int failed;
    char error[640];
};

static inline void inode_times_from_mtime(struct inode *in)
{
    in->atime = in->ctime = in->btime = in->mtime;
}

/* Sets the text (path: quoted in front, NULL none) and returns err, which is for good. fail_op: "cannot OP: why", of the entry in work. */
int importer_fail(struct importer *im, int err, const char *path, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int importer_fail_op(struct importer *im, int err, const char *op);

/* import_chain.c: paths, and the chain of directories. */
int importer_path_check(struct importer *im, const char *path);
size_t importer_path_join(const struct importer *im, const char *path, char *out);   /* within the workspace: `at` and the entry's own */
size_t importer_parent_len(const char *path, size_t n);
const char *importer_leaf(const struct importer *im);                                /* the last component of full */
struct import_level *importer_top(struct importer *im);
int importer_pop_to(struct importer *im, size_t count);
/* Makes the chain end at the directory full[0..n); what is missing is made, like the entry that needs it. */
int importer_enter(struct importer *im, size_t n, const struct inode *like);

/* import_place.c: making and replacing, in the top level. */
int importer_make(struct importer *im, const char *name, const struct inode *want, const char *target,
                  uint64_t *ret_ino, struct inode *ret);
int importer_remove(struct importer *im, const char *name, uint64_t ino, const struct inode *in);
/* The entry's inode: made, or an existing directory taken, or something else replaced; it is then the entry in work. */
int importer_place(struct importer *im, const char *name, const struct inode *want, const char *target);
int importer_finish_entry(struct importer *im);
