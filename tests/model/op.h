/* One random operation with all that it needs, so that it means the same whatever was run before it: lists of them can be cut. */
#pragma once
#include "tests/model/fs_ops.h"
#include "tests/model/model.h"
#include "tests/model/rng.h"

enum op_kind {
    OP_MK, OP_LINK, OP_UNLINK, OP_RMDIR, OP_RENAME, OP_STAT, OP_CHMOD, OP_CHOWN, OP_UTIMENS, OP_TRUNCATE, OP_READLINK,
    OP_SETXATTR, OP_GETXATTR, OP_LISTXATTR, OP_REMOVEXATTR, OP_READDIR,
    OP_OPEN, OP_CREATE, OP_TMPFILE, OP_CLOSE, OP_LINK_HANDLE, OP_FSTAT, OP_PREAD, OP_PWRITE, OP_APPEND, OP_MAP_WRITE, OP_FTRUNCATE,
    OP_FALLOCATE, OP_COPY, OP_SEEK, OP_FSYNC,
    OP_SNAPSHOT, OP_FORK, OP_RESTORE, OP_DROP, OP_SYNC, OP_CARE, OP_COUNT
};
enum fill { FILL_RANDOM, FILL_ZERO, FILL_SAME, FILL_TEXT, FILL_COUNT };

struct op {
    enum op_kind kind;
    unsigned at, to, h, h2, flags;
    uint32_t mode, uid, gid;
    uint64_t off, off2, len, seed;
    enum fill fill;
    struct timespec ts[2];
    char *p1, *p2;                        /* owned */
};

/* A fitting operation for the present state. caps of the thing under test. */
struct op op_random(struct rng *r, const struct model *m, unsigned caps);
void op_fini(struct op *o);
struct op op_dup(const struct op *o);
void op_print(const struct op *o, char *out, size_t size);
/* The bytes that a writing operation writes. */
void op_bytes(const struct op *o, uint8_t *out, size_t n);

/* Result and everything that was answered beside it, for comparison. */
struct outcome { int64_t res; uint64_t sum; struct st st; bool has_st; char note[160]; };
void op_run(const struct op *o, const struct fs_ops *ops, void *ctx, struct outcome *ret);
/* NULL if b (of the thing under test) is what a (of the model) allows; else the difference in words, in a static buffer. */
const char *outcome_differs(const struct op *o, const struct outcome *a, const struct outcome *b, unsigned caps, int64_t start_s);
const char *st_differs(const struct st *a, const struct st *b, int64_t start_s);
