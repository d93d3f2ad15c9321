/* A store for fuzz targets that need one: in memory if there is /dev/shm, made anew every few thousand inputs so that it stays small. */
#pragma once
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/view.h"
#include "fs/workspace.h"

static struct store *fuzz_store;
static char fuzz_dir[64];

static int fuzz_rm_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    return remove(path);
}

static void fuzz_store_end(void)
{
    store_close(fuzz_store);
    fuzz_store = NULL;
    nftw(fuzz_dir, fuzz_rm_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* To be called at the start of every input. */
static void fuzz_store_ready(void)
{
    static unsigned uses;
    static bool registered;
    struct store_options o = store_defaults;

    if (fuzz_store && ++uses % 4096 == 0)
        fuzz_store_end();
    if (fuzz_store)
        return;
    log_threshold = LOG_ERROR_;
    o.no_background = true;
    snprintf(fuzz_dir, sizeof(fuzz_dir), "%s/coppice-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    if (!mkdtemp(fuzz_dir) || store_init(fuzz_dir) || store_open(fuzz_dir, &o, &fuzz_store))
        abort();
    if (!registered)
        atexit(fuzz_store_end);              /* after the first open: it must run before RocksDB's own statics go */
    registered = true;
}

static inline struct workspace *fuzz_ws(const char *name)
{
    struct create_args a = { .name = name, .kind = WS_BARE, .quota_bytes = 64 << 20, .quota_inodes = 10000 };
    struct workspace *w;
    struct ws_rec rec;

    if (verb_create(fuzz_store, &a, &rec) || workspace_open(fuzz_store, rec.id, &w))
        abort();
    return w;
}

static inline struct view *fuzz_snapshot(struct workspace *w)
{
    struct snapshot_args a = { .name = "s", .cause = SNAP_USER };
    struct snap_rec rec;
    struct view *v;

    if (verb_snapshot(fuzz_store, w, &a, &rec, NULL) || view_get(fuzz_store, rec.base, &v))
        abort();
    return v;
}

static inline void fuzz_remove(const char *name)
{
    struct object o;

    if (object_find(fuzz_store, name, &o) || verb_remove(fuzz_store, &o, true))
        abort();
}
