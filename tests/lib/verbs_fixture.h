/* A store with workspaces in it, and shorthands to fill, change and check them. For tests of the verbs; include once, last. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/wire.h"
#include "fs/chunk.h"
#include "fs/fold.h"
#include "fs/key.h"
#include "fs/meta.h"
#include "fs/node.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/tree.h"
#include "fs/verbs.h"
#include "fs/view.h"
#include "fs/workspace.h"

#include "tests/lib/tmp.h"

static char dir[4096];
static struct store *store;
static const struct store_options quiet __attribute__((unused)) = { .node_cache_bytes = 4 << 20, .chunk_cache_bytes = 4 << 20, .no_background = true };
static const struct store_options busy __attribute__((unused)) = { .node_cache_bytes = 4 << 20, .chunk_cache_bytes = 4 << 20, .commit_interval_ms = 20 };
static const struct ws_cred cred = { 0, 0, 022 };

static inline int setup_with(const struct store_options *opt)
{
    return tmp_make("verbs", dir, sizeof dir) == 0 && store_init(dir) == 0 && store_open(dir, opt, &store) == 0 ? 0 : -1;
}

static inline int setup(void **state) { return setup_with(&quiet); }
static inline int setup_busy(void **state) { return setup_with(&busy); }

static inline int teardown(void **state)
{
    meta_fault = NULL;
    mem_fault = NULL;
    store_close(store);
    store = NULL;
    tmp_remove(dir);
    return 0;
}

static inline void reopen(const struct store_options *opt)
{
    store_close(store);
    store = NULL;
    assert_int_equal(store_open(dir, opt, &store), 0);
}

/* --- shorthands --- */

static inline struct ws_rec create(const char *name)
{
    struct create_args a = { .name = name, .kind = WS_BARE };
    struct ws_rec rec;

    assert_int_equal(verb_create(store, &a, &rec), 0);
    return rec;
}

static inline struct workspace *open_ws(const char *name)
{
    struct object o;
    struct workspace *w;

    assert_int_equal(object_find(store, name, &o), 0);
    assert_true(o.ws.id[0]);
    assert_int_equal(workspace_open(store, o.ws.id, &w), 0);
    return w;
}

static inline void put_file(struct workspace *w, const char *name, const void *p, size_t n)
{
    struct inode in = { .size = n };
    uint64_t ino;
    int r = ws_lookup(w, INO_ROOT, name, &ino, &in);

    if (r == -ENOENT)
        r = ws_create(w, INO_ROOT, name, S_IFREG | 0644, 0, NULL, &cred, 0, false, &ino, &in);
    assert_int_equal(r, 0);
    in.size = 0;
    assert_int_equal(ws_setattr(w, ino, WSA_SIZE, &in, &in), 0);
    assert_int_equal(ws_write(w, ino, 0, p, n, false), 0);
}

static inline void put(const char *ws, const char *name, const char *text)
{
    struct workspace *w = open_ws(ws);

    put_file(w, name, text, strlen(text));
    workspace_unref(w);
}

/* Pseudo-random and incompressible, so that chunks of different seeds differ. */
static inline uint8_t *noise(uint32_t seed, size_t n)
{
    uint8_t *p = malloc(n);

    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        p[i] = (uint8_t)(seed >> 24) | 1;
    }
    return p;
}

static inline void put_noise(const char *ws, const char *name, uint32_t seed, size_t n)
{
    struct workspace *w = open_ws(ws);
    uint8_t *p = noise(seed, n);

    put_file(w, name, p, n);
    free(p);
    workspace_unref(w);
}

/* 0 and the content, or the error of looking it up or reading it. */
static inline int get_from(struct workspace *w, const char *name, uint8_t *out, size_t cap, size_t *ret_n)
{
    struct inode in;
    uint64_t ino;
    int r = ws_lookup(w, INO_ROOT, name, &ino, &in);

    return r < 0 ? r : ws_read(w, ino, 0, cap, out, ret_n);
}

static inline void assert_text_in(struct workspace *w, const char *name, const char *want)
{
    uint8_t got[256];
    size_t n;
    int r = get_from(w, name, got, sizeof got, &n);

    if (!want) {
        assert_int_equal(r, -ENOENT);
        return;
    }
    assert_int_equal(r, 0);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(got, want, n);
}

static inline struct workspace *open_any(const char *object)
{
    struct workspace *w;
    struct object o;
    struct view *v;

    assert_int_equal(object_find(store, object, &o), 0);
    if (o.ws.id[0])
        return open_ws(object);
    assert_int_equal(object_view(store, &o, &v), 0);
    assert_int_equal(workspace_open_view(store, v, &w), 0);
    view_unref(v);
    return w;
}

static inline void assert_text(const char *object, const char *name, const char *want)
{
    struct workspace *w = open_any(object);

    assert_text_in(w, name, want);
    workspace_unref(w);
}

static inline void assert_noise(const char *object, const char *name, uint32_t seed, size_t n)
{
    struct workspace *w = open_any(object);
    uint8_t *want = noise(seed, n), *got = malloc(n + 1);
    size_t len = 0;

    assert_int_equal(get_from(w, name, got, n + 1, &len), 0);
    assert_int_equal(len, n);
    assert_memory_equal(got, want, n);
    free(want);
    free(got);
    workspace_unref(w);
}

static inline struct snap_rec snapshot_as(const char *ws, const char *name, int want)
{
    struct snapshot_args a = { .name = name, .cause = SNAP_USER };
    struct workspace *w = open_ws(ws);
    struct snap_rec rec = { 0 };

    assert_int_equal(verb_snapshot(store, w, &a, &rec, NULL), want);
    workspace_unref(w);
    return rec;
}

static inline struct snap_rec snapshot(const char *ws, const char *name)
{
    return snapshot_as(ws, name, 0);
}

static inline int fork_of(const char *from, const char *const *names, unsigned n, struct ws_rec *ret, unsigned *ret_bad)
{
    struct object o;

    assert_int_equal(object_find(store, from, &o), 0);
    return verb_fork(store, &o, names, n, ret, ret_bad, NULL);
}

static inline void fork_one(const char *from, const char *name)
{
    struct ws_rec rec;

    assert_int_equal(fork_of(from, &name, 1, &rec, NULL), 0);
    assert_string_equal(rec.name, name);
}

static inline int remove_object(const char *name, bool with_snapshots)
{
    struct object o;

    assert_int_equal(object_find(store, name, &o), 0);
    return verb_remove(store, &o, with_snapshots);
}

static inline int find(const char *name)
{
    struct object o;

    return object_find(store, name, &o);
}

static char problems[4096];

static inline int note_problem(void *arg, const struct problem *p)
{
    size_t n = strlen(problems);

    snprintf(problems + n, sizeof problems - n, "%s: %s\n", p->where, p->what);
    return 0;
}

static inline void assert_clean(void)
{
    uint64_t checked = 0;

    problems[0] = '\0';
    assert_int_equal(verb_fsck(store, note_problem, NULL, &checked), 0);
    if (problems[0])
        print_error("fsck:\n%s", problems);
    assert_string_equal(problems, "");
    assert_true(checked > 0);
}

static inline void assert_unclean(const char *part)
{
    uint64_t checked;

    problems[0] = '\0';
    assert_int_equal(verb_fsck(store, note_problem, NULL, &checked), 0);
    if (!strstr(problems, part))
        print_error("wanted \"%s\", fsck says:\n%s", part, problems);
    assert_non_null(strstr(problems, part));
}

static inline struct gc_report gc(void)
{
    struct gc_report rep;

    assert_int_equal(verb_gc(store, false, false, &rep), 0);
    return rep;
}

static inline void fold(const char *object)
{
    struct object o;
    struct view *v;
    struct addr root;

    assert_int_equal(object_find(store, object, &o), 0);
    assert_int_equal(object_view(store, &o, &v), 0);
    assert_int_equal(view_fold_now(store, v, &root), 0);
    view_unref(v);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
