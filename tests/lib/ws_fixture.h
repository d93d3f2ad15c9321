/* A store with one open workspace "w", empty. For tests of its live tree; include after cmocka. */
#pragma once
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/workspace.h"
#include "tests/lib/tmp.h"

static const struct store_options options = { .node_cache_bytes = 8 << 20, .chunk_cache_bytes = 8 << 20, .no_background = true };

struct fixture {
    char dir[256];
    struct store *s;
    struct workspace *w;
    char id[ID_MAX];
};

static void fixture_open(struct fixture *f)
{
    assert_int_equal(store_open(f->dir, &options, &f->s), 0);
    assert_int_equal(workspace_open(f->s, f->id, &f->w), 0);
}

static void fixture_close(struct fixture *f)
{
    workspace_unref(f->w);
    store_close(f->s);
}

/* Open; its directory's name begins with prefix. */
static struct fixture *fixture_new(const char *prefix)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct ws_rec rec;

    assert_non_null(f);
    assert_int_equal(tmp_make(prefix, f->dir, sizeof f->dir), 0);
    rmdir(f->dir);
    assert_int_equal(store_init(f->dir), 0);
    assert_int_equal(store_open(f->dir, &options, &f->s), 0);
    assert_int_equal(verb_create(f->s, &(struct create_args){ .name = "w", .kind = WS_BARE }, &rec), 0);
    memcpy(f->id, rec.id, sizeof f->id);
    assert_int_equal(workspace_open(f->s, f->id, &f->w), 0);
    return f;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fixture_close(f);
    tmp_remove(f->dir);
    free(f);
    return 0;
}
