/* The library as a thing under test: a store in a directory, workspaces and snapshots opened by ws_* and verbs. */
#pragma once
#include "fs/store.h"
#include "fs/workspace.h"
#include "tests/model/fs_ops.h"

struct target_ws {
    char dir[512];
    struct store_options opt;
    struct store *s;
    struct workspace *ws[PLACES];         /* opened on demand */
    char id[PLACES][ID_MAX];              /* "" = place not in use */
    struct target_handle { struct workspace *w; uint64_t ino, lookups; unsigned at; bool linkable; } h[HANDLES];   /* lookups: to be given back at once, as the kernel does */
    uint64_t serial;                      /* makes names unique */
    bool verbose;
};
extern const struct fs_ops target_ws_ops;             /* context: struct target_ws * */
/* A new store in dir with workspace 0; or, fresh false, an existing one in which the workspaces w0.. and snapshots s0.. are found by name. */
int target_ws_open(struct target_ws *t, const char *dir, bool fresh, const struct store_options *opt);
void target_ws_close(struct target_ws *t);
/* The open workspace of a place. */
int target_ws_get(struct target_ws *t, unsigned at, struct workspace **ret);
/* fsck through the library; problems are printed; 0, -EUCLEAN, -errno. */
int target_ws_fsck(struct store *s);
