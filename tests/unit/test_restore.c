/* Restore: the whole state, and paths grafted into a workspace that has gone on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/wire.h"
#include "fs/meta.h"
#include "fs/node.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/view.h"
#include "fs/ws_internal.h"
#include "tests/lib/ws_tree.h"

static char dir[64];
static struct store *store;

static void store_start(void)
{
    struct store_options opt = store_defaults;

    opt.no_background = true;
    opt.node_cache_bytes = 8 << 20;
    assert_int_equal(store_open(dir, &opt, &store), 0);
}

static int setup(void **state)
{
    strcpy(dir, "/tmp/B-test-restore-XXXXXX");
    if (!mkdtemp(dir) || store_init(dir))
        return -1;
    store_start();
    return 0;
}

static int teardown(void **state)
{
    char cmd[96];

    store_close(store);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

static struct workspace *opened(const char *id)
{
    struct workspace *w;

    assert_int_equal(workspace_open(store, id, &w), 0);
    return w;
}

static struct workspace *made(const char *name)
{
    struct create_args a = { .name = name, .kind = WS_BARE };
    struct ws_rec rec;

    assert_int_equal(verb_create(store, &a, &rec), 0);
    return opened(rec.id);
}

static struct snap_rec snapped(struct workspace *w)
{
    struct snapshot_args a = { .cause = SNAP_USER };
    struct snap_rec snap;

    assert_int_equal(verb_snapshot(store, w, &a, &snap, NULL), 0);
    return snap;
}

static struct wtree tree_of_snap(const struct snap_rec *snap)
{
    struct workspace *w;
    struct view *v;

    assert_int_equal(view_get(store, snap->base, &v), 0);
    assert_int_equal(workspace_open_view(store, v, &w), 0);
    struct wtree t = wtree_read(w);
    workspace_unref(w);
    view_unref(v);
    return t;
}

static void restore_ok(struct workspace *w, const struct snap_rec *snap, const char *path, struct restore_report *rep)
{
    struct restore_report none;

    assert_int_equal(verb_restore(store, w, snap, &path, path ? 1 : 0, rep ? rep : &none), 0);
}

static bool in_path(const char *path, const char *of)
{
    size_t n = strlen(of);

    return !strncmp(path, of, n) && (!path[n] || path[n] == '/');
}

static bool is_above(const char *path, const char *of)
{
    size_t n = strlen(path);

    return !strncmp(path, of, n) && of[n] == '/';
}

static void assert_same_node(const struct wnode *got, const struct wnode *want)
{
    if (got->content != want->content || got->xattrs != want->xattrs || got->in.mode != want->in.mode || got->in.uid != want->in.uid ||
        got->in.size != want->in.size)
        fail_msg("%s: content %llx not %llx, xattrs %llx not %llx, mode %o not %o, size %llu not %llu", want->path, (unsigned long long)got->content,
                 (unsigned long long)want->content, (unsigned long long)got->xattrs, (unsigned long long)want->xattrs, got->in.mode, want->in.mode,
                 (unsigned long long)got->in.size, (unsigned long long)want->in.size);
}

/* The counters and link counts of a workspace are what a walk finds. */
static void assert_sound(struct workspace *w, const struct wtree *t)
{
    uint64_t inodes = 1;

    for (size_t i = 0; i < t->n; i++) {
        const struct wnode *x = &t->v[i];
        unsigned names = 0, subdirs = 0, entries = 0;
        bool first = true;
        for (size_t k = 0; k < t->n; k++) {
            const char *slash = strrchr(t->v[k].path, '/');
            if (t->v[k].ino == x->ino) {
                names++;
                first = first && k >= i;
            }
            if (slash && (size_t)(slash - t->v[k].path) == strlen(x->path) && in_path(t->v[k].path, x->path)) {
                entries++;
                subdirs += S_ISDIR(t->v[k].in.mode);
            }
        }
        inodes += first;
        assert_int_equal(x->in.nlink, S_ISDIR(x->in.mode) ? 2 + subdirs : names);
        if (S_ISDIR(x->in.mode)) {
            assert_int_equal(names, 1);
            assert_int_equal(x->in.size, entries);
        }
    }
    assert_int_equal(w->rec.inodes, inodes);
}

/* got: `path` as in snap, everything else as before. */
static void assert_restored(const struct wtree *got, const struct wtree *before, const struct wtree *snap, const char *path)
{
    for (size_t i = 0; i < got->n; i++) {
        const struct wnode *x = &got->v[i], *want;
        if (in_path(x->path, path)) {
            want = wtree_find(snap, x->path);
            assert_non_null(want);
            assert_same_node(x, want);
            assert_int_equal(x->in.mtime.sec, want->in.mtime.sec);
            assert_int_equal(x->in.mtime.ns, want->in.mtime.ns);
            /* Hard links among what was restored are hard links again. */
            for (size_t k = 0; k < got->n; k++) {
                if (in_path(got->v[k].path, path))
                    assert_int_equal(got->v[k].ino == x->ino, wtree_find(snap, got->v[k].path)->ino == want->ino);
                else
                    assert_true(got->v[k].ino != x->ino);
            }
            continue;
        }
        want = wtree_find(before, x->path);
        if (is_above(x->path, path)) {
            assert_non_null(want ? want : wtree_find(snap, x->path));
            continue;
        }
        assert_non_null(want);
        assert_int_equal(x->ino, want->ino);
        assert_same_node(x, want);
    }
    for (size_t i = 0; i < snap->n; i++) {
        if (in_path(snap->v[i].path, path))
            assert_non_null(wtree_find(got, snap->v[i].path));
    }
    for (size_t i = 0; i < before->n; i++) {
        if (!in_path(before->v[i].path, path))
            assert_non_null(wtree_find(got, before->v[i].path));
    }
}

static void assert_equal_trees(const struct wtree *a, const struct wtree *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_string_equal(a->v[i].path, b->v[i].path);
        assert_int_equal(a->v[i].ino, b->v[i].ino);
        assert_same_node(&a->v[i], &b->v[i]);
    }
}

static struct addr fold_now(struct workspace *w)
{
    struct addr root;
    struct view *v;

    assert_int_equal(workspace_freeze(w, NULL, &v, NULL), 0);
    assert_int_equal(view_fold_now(store, v, &root), 0);
    view_unref(v);
    return root;
}

static int print_problem(void *arg, const struct problem *p)
{
    print_message("%s: %s\n", p->where, p->what);
    return 0;
}

/* What stands after a fold, and after the store was opened again, is the same. */
static struct workspace *assert_lasts(struct workspace *w, const struct wtree *t)
{
    struct base_rec counts;
    char id[ID_MAX];

    memcpy(id, w->rec.id, sizeof id);
    workspace_unref(w);
    store_close(store);
    store_start();
    w = opened(id);
    struct wtree again = wtree_read(w);
    assert_equal_trees(&again, t);
    free(again.v);
    struct addr root = fold_now(w);
    again = wtree_read(w);
    assert_equal_trees(&again, t);
    free(again.v);
    assert_int_equal(tree_check(store, &root, print_problem, NULL, &counts), 0);
    assert_int_equal(counts.inodes, w->rec.inodes);
    return w;
}

static void random_paths_are_as_in_the_snapshot_and_nothing_else_changes(void **state)
{
    unsigned restored = 0;

    seed_of(__func__);
    for (int round = 0; round < 8; round++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", round);
        struct workspace *w = made(name);
        for (int i = 0; i < 50; i++)
            random_op(w);
        struct snap_rec snap = snapped(w);
        struct wtree old = tree_of_snap(&snap);
        for (int step = 0; step < 8; step++) {
            for (unsigned i = 0, n = (unsigned)(rng() % 25); i < n; i++)
                random_op(w);
            if (rng() % 4 == 0)
                fold_now(w);
            struct wtree before = wtree_read(w);
            const struct wtree *from = rng() % 4 && old.n ? &old : &before;
            if (from->n == 0) {
                free(before.v);
                continue;
            }
            char path[512];
            const char *paths[] = { path };
            struct restore_report rep;
            strcpy(path, from->v[rng() % from->n].path);
            int r = verb_restore(store, w, &snap, paths, 1, &rep);
            struct wtree after = wtree_read(w);
            if (r == -ENOTDIR) {                          /* something else stands where a parent should be */
                assert_equal_trees(&after, &before);
            } else {
                assert_int_equal(r, 0);
                assert_restored(&after, &before, &old, path);
                assert_sound(w, &after);
                restored++;
                /* Once more: nothing to do, or nothing there any more. */
                assert_int_equal(verb_restore(store, w, &snap, paths, 1, &rep), wtree_find(&old, path) ? 0 : -ENOENT);
                struct wtree same = wtree_read(w);
                assert_restored(&same, &after, &old, path);
                assert_sound(w, &same);
                free(after.v);
                after = same;
            }
            if (step % 4 == 3)
                w = assert_lasts(w, &after);
            free(after.v);
            free(before.v);
        }
        free(old.v);
        workspace_unref(w);
    }
    assert_true(restored > 20);
}

static void the_whole_tree_comes_back_and_the_state_before_is_kept(void **state)
{
    seed_of(__func__);
    for (int round = 0; round < 4; round++) {
        char name[16];
        struct restore_report rep;
        struct snap_rec back;
        snprintf(name, sizeof name, "w%d", round);
        struct workspace *w = made(name);
        for (int i = 0; i < 40; i++)
            random_op(w);
        struct snap_rec snap = snapped(w);
        struct wtree old = wtree_read(w);
        for (int i = 0; i < 30; i++)
            random_op(w);
        struct wtree before = wtree_read(w);
        restore_ok(w, &snap, NULL, &rep);
        struct wtree after = wtree_read(w);
        assert_equal_trees(&after, &old);
        assert_sound(w, &after);
        assert_int_equal(snap_rec_get(store->meta, rep.before, &back), 0);
        assert_int_equal(back.cause, SNAP_RESTORE);
        assert_string_equal(back.name, "");
        assert_string_equal(w->rec.parent_snap, snap.id);
        struct wtree kept = tree_of_snap(&back);
        assert_equal_trees(&kept, &before);
        /* New files get numbers that neither state has. */
        uint64_t fresh = wmake(w, "fresh-one", S_IFREG | 0644, "x");
        for (size_t i = 0; i < before.n; i++)
            assert_true(before.v[i].ino != fresh);
        restore_ok(w, &back, "/", &rep);
        struct wtree again = wtree_read(w);
        assert_equal_trees(&again, &before);
        w = assert_lasts(w, &again);
        free(again.v);
        free(kept.v);
        free(after.v);
        free(before.v);
        free(old.v);
        workspace_unref(w);
    }
}

/* a/b/f (small), a/big (three slots), top; snapshot. */
static struct workspace *sample(struct snap_rec *ret)
{
    struct workspace *w = made("sample");
    char text[3000];

    wmake(w, "a", S_IFDIR | 0755, NULL);
    wmake(w, "a/b", S_IFDIR | 0750, NULL);
    wmake(w, "a/b/f", S_IFREG | 0644, "small");
    wmake(w, "a/big", S_IFREG | 0644, NULL);
    wmake(w, "top", S_IFREG | 0644, "top");
    memset(text, 't', sizeof text);
    text[sizeof text - 1] = '\0';
    wwrite(w, "a/big", 0, text);
    wwrite(w, "a/big", 140000, text);
    wwrite(w, "a/big", 300000, text);
    *ret = snapped(w);
    return w;
}

static uint64_t ino_of(struct workspace *w, const char *path)
{
    struct inode in;
    uint64_t ino;

    return ws_path(w, path, &ino, &in) ? 0 : ino;
}

static void a_changed_file_is_restored_in_place_under_its_number(void **state)
{
    struct snap_rec snap;
    struct restore_report rep;
    struct workspace *w = sample(&snap);
    struct wtree old = wtree_read(w);
    uint64_t big = ino_of(w, "a/big"), n;

    wwrite(w, "a/big", 5000, "changed");
    wwrite(w, "a/big", 400000, "longer");
    restore_ok(w, &snap, "a/big", &rep);
    assert_int_equal(ino_of(w, "a/big"), big);
    struct wtree now = wtree_read(w);
    assert_equal_trees(&now, &old);
    assert_string_equal(rep.before, "");
    /* A write after it does not touch what the snapshot has. */
    wwrite(w, "a/big", 10, "written after");
    free(now.v);
    now = tree_of_snap(&snap);
    assert_equal_trees(&now, &old);
    restore_ok(w, &snap, "a/big", &rep);
    restore_ok(w, &snap, "a/big", &rep);
    assert_int_equal(rep.changed, 0);                     /* nothing to do the second time */
    restore_ok(w, &snap, "a/big", &rep);
    free(now.v);
    now = wtree_read(w);
    assert_equal_trees(&now, &old);
    n = now.n;
    assert_int_equal(n, 5);
    w = assert_lasts(w, &now);
    free(now.v);
    free(old.v);
    workspace_unref(w);
}

static int only_the_root(void *arg, const struct node_entry *a, const struct node_entry *b)
{
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(a->key_len, 9);
    assert_int_equal(be64(a->key), INO_ROOT);
    ++*(int *)arg;
    return 0;
}

static void a_deleted_directory_comes_back_with_its_numbers_and_shares_its_data(void **state)
{
    struct snap_rec snap;
    struct workspace *w = sample(&snap);
    struct wtree old = wtree_read(w);
    uint64_t d1 = ino_of(w, "a"), d2 = ino_of(w, "a/b");
    struct inode in = { .mtime = { .sec = 1 } };
    assert_int_equal(ws_setattr(w, INO_ROOT, WSA_MTIME, &in, &in), 0);      /* so that its time differs after, however fast this machine is */
    struct addr before = fold_now(w);

    assert_int_equal(ws_unlink(w, d2, "f"), 0);
    assert_int_equal(ws_rmdir(w, d1, "b"), 0);
    assert_int_equal(ws_unlink(w, d1, "big"), 0);
    assert_int_equal(ws_rmdir(w, INO_ROOT, "a"), 0);
    restore_ok(w, &snap, "a", NULL);
    struct wtree now = wtree_read(w);
    assert_equal_trees(&now, &old);
    assert_int_equal(ws_getattr(w, INO_ROOT, &in), 0);
    assert_int_equal(in.size, 2);
    assert_int_equal(in.nlink, 3);
    w = assert_lasts(w, &now);
    /* In the folded tree nothing but the root directory's own record differs: contents are the chunks there were. */
    struct addr after = fold_now(w);
    int keys = 0;
    assert_int_equal(tree_diff(store->nodes, &before, &after, only_the_root, &keys), 0);
    assert_int_equal(keys, 1);
    free(now.v);
    free(old.v);
    workspace_unref(w);
}

static void a_file_that_moved_stays_where_it_is_and_a_copy_comes_back(void **state)
{
    struct snap_rec snap;
    struct workspace *w = sample(&snap);
    uint64_t f = ino_of(w, "a/b/f");

    assert_int_equal(wrename(w, "a/b/f", "moved", 0), 0);
    restore_ok(w, &snap, "a/b/f", NULL);
    assert_int_equal(ino_of(w, "moved"), f);
    assert_int_not_equal(ino_of(w, "a/b/f"), 0);
    assert_int_not_equal(ino_of(w, "a/b/f"), f);
    struct wtree now = wtree_read(w);
    assert_sound(w, &now);
    free(now.v);
    workspace_unref(w);
}

static void missing_parents_are_made_and_only_they(void **state)
{
    struct snap_rec snap;
    struct workspace *w = sample(&snap);
    uint64_t d1 = ino_of(w, "a"), d2 = ino_of(w, "a/b");
    struct inode in;

    assert_int_equal(ws_unlink(w, d2, "f"), 0);
    assert_int_equal(ws_rmdir(w, d1, "b"), 0);
    assert_int_equal(ws_unlink(w, d1, "big"), 0);
    assert_int_equal(ws_rmdir(w, INO_ROOT, "a"), 0);
    restore_ok(w, &snap, "//a/b//f/", NULL);
    assert_int_equal(ws_getattr(w, ino_of(w, "a/b"), &in), 0);
    assert_int_equal(in.mode, S_IFDIR | 0750);
    assert_int_equal(ino_of(w, "a/big"), 0);
    struct wtree now = wtree_read(w);
    assert_int_equal(now.n, 4);
    assert_sound(w, &now);
    w = assert_lasts(w, &now);
    free(now.v);
    workspace_unref(w);
}

static void what_the_snapshot_does_not_have_is_removed_and_unknown_paths_are_refused(void **state)
{
    struct snap_rec snap;
    struct restore_report rep;
    struct workspace *w = sample(&snap);
    const char *paths[] = { "top", "nowhere" };

    wmake(w, "new", S_IFDIR | 0755, NULL);
    wmake(w, "new/file", S_IFREG | 0644, "x");
    restore_ok(w, &snap, "new", NULL);
    assert_int_equal(ino_of(w, "new"), 0);
    wwrite(w, "top", 0, "TOP");
    struct wtree before = wtree_read(w);
    assert_int_equal(verb_restore(store, w, &snap, paths, 2, &rep), -ENOENT);
    paths[1] = "a/../top";
    assert_int_equal(verb_restore(store, w, &snap, paths, 2, &rep), -EINVAL);
    struct wtree after = wtree_read(w);
    assert_equal_trees(&after, &before);                  /* all or nothing */
    paths[1] = "/top/";
    assert_int_equal(verb_restore(store, w, &snap, paths, 2, &rep), 0);
    free(after.v);
    free(before.v);
    workspace_unref(w);
}

static void an_open_file_that_is_removed_by_a_restore_can_still_be_read(void **state)
{
    struct snap_rec snap;
    struct workspace *w = sample(&snap);
    uint8_t bytes[8];
    size_t n;

    uint64_t ino = wmake(w, "new", S_IFREG | 0644, "content");
    ws_nlookup_add(w, ino, 1);
    restore_ok(w, &snap, "new", NULL);
    assert_int_equal(ino_of(w, "new"), 0);
    assert_int_equal(ws_read(w, ino, 0, sizeof bytes, bytes, &n), 0);
    assert_int_equal(n, 7);
    assert_memory_equal(bytes, "content", 7);
    ws_forget(w, ino, 1);
    assert_int_equal(ws_read(w, ino, 0, sizeof bytes, bytes, &n), -ENOENT);
    workspace_unref(w);
}

static void quotas_hold_for_a_restore(void **state)
{
    struct snap_rec snap;
    struct restore_report rep;
    struct workspace *w = sample(&snap);
    const char *path = "a";
    uint64_t d1 = ino_of(w, "a");

    assert_int_equal(ws_unlink(w, d1, "big"), 0);
    w->rec.quota_inodes = w->rec.inodes;
    assert_int_equal(verb_restore(store, w, &snap, &path, 1, &rep), -EDQUOT);
    assert_int_equal(ino_of(w, "a/big"), 0);
    w->rec.quota_inodes++;
    restore_ok(w, &snap, path, NULL);
    assert_int_not_equal(ino_of(w, "a/big"), 0);
    workspace_unref(w);
}

/* A layer that says "slots" hides a BODY below it, equal or not: it has to be put anew. */
static void an_inline_content_under_slots_is_put_again(void **state)
{
    for (int frozen = 0; frozen < 2; frozen++) {
        struct snap_rec snap;
        struct workspace *w = made(frozen ? "frozen" : "live");
        struct view *v = NULL;
        uint64_t top = wmake(w, "top", S_IFREG | 0644, "top");
        snap = snapped(w);
        struct wtree old = wtree_read(w);
        fold_now(w);
        struct key k = key_extent(top, 0);
        ws_lock(w);
        assert_int_equal(ws_reserve(w, 1, 0), 0);
        ws_del(w, &k);
        ws_unlock(w);
        if (frozen)
            assert_int_equal(workspace_freeze(w, NULL, &v, NULL), 0);
        restore_ok(w, &snap, "top", NULL);
        view_unref(v);
        struct wtree now = wtree_read(w);
        assert_equal_trees(&now, &old);
        w = assert_lasts(w, &now);
        free(now.v);
        free(old.v);
        workspace_unref(w);
    }
}

/* Under a tombstone in a frozen layer there may be more than the snapshot has: data, names, attributes. Putting the inode again uncovers none of it. */
static void what_was_deleted_in_a_frozen_layer_does_not_come_up_again(void **state)
{
    struct workspace *w = made("deleted");
    uint64_t top = wmake(w, "top", S_IFREG | 0644, "top"), d = wmake(w, "d", S_IFDIR | 0755, NULL), ino;
    static uint8_t data[4096] = { 1 };
    struct inode in, size = { .size = 5 * SLOT };
    struct ws_cred cred = { 0 };
    struct view *v;

    assert_int_equal(ws_setattr(w, top, WSA_SIZE, &size, &in), 0);
    struct snap_rec snap = snapped(w);
    struct wtree old = wtree_read(w);
    assert_int_equal(ws_write(w, top, 3 * SLOT, data, sizeof data, false), 0);
    assert_int_equal(ws_setxattr(w, top, "user.more", data, 1, 0, false), 0);
    assert_int_equal(ws_create(w, d, "more", S_IFREG, 0, NULL, &cred, 0, false, &ino, &in), 0);
    fold_now(w);
    assert_int_equal(ws_unlink(w, d, "more"), 0);
    assert_int_equal(ws_unlink(w, INO_ROOT, "top"), 0);
    assert_int_equal(ws_rmdir(w, INO_ROOT, "d"), 0);
    assert_int_equal(workspace_freeze(w, NULL, &v, NULL), 0);
    view_unref(v);
    restore_ok(w, &snap, "top", NULL);
    restore_ok(w, &snap, "d", NULL);
    assert_int_equal(ino_of(w, "top"), top);
    struct wtree now = wtree_read(w);
    assert_equal_trees(&now, &old);
    w = assert_lasts(w, &now);
    free(now.v);
    free(old.v);
    workspace_unref(w);
}

static void numbers_used_before_a_restore_are_not_used_again_by_a_fork(void **state)
{
    struct workspace *w = made("numbers");
    struct snap_rec first = snapped(w), again;
    uint64_t used = wmake(w, "new", S_IFREG | 0644, "new");
    const char *name = "numbers-fork";
    struct restore_report rep;
    struct ws_rec fork;
    unsigned bad;

    assert_int_equal(verb_restore(store, w, &first, NULL, 0, &rep), 0);
    again = snapped(w);
    struct object from = { .snap = again };
    assert_int_equal(verb_fork(store, &from, &name, 1, &fork, &bad, NULL), 0);
    struct workspace *f = opened(fork.id);
    assert_true(wmake(f, "other", S_IFREG | 0644, "other") > used);
    workspace_unref(f);
    workspace_unref(w);
}

static _Atomic bool stop_writing;
static void *writer_thread(void *arg)
{
    struct workspace *w = arg;
    uint8_t bytes[9000];
    uint64_t ino;
    struct inode in;

    for (unsigned i = 0; !stop_writing; i++) {
        memset(bytes, (int)i, sizeof bytes);
        if (ws_path(w, i % 2 ? "a/big" : "a/b/f", &ino, &in))
            continue;
        int r = ws_write(w, ino, i * 7919 % 310000, bytes, 1 + i % sizeof bytes, false);
        if (r && r != -ENOENT)
            return (void *)1;
        if (i % 64 == 0 && workspace_commit(w))
            return (void *)1;
    }
    return NULL;
}

/* A writer that goes on all the while: nothing is torn, and what was written before a restore is gone after it. */
static void restores_and_writers_do_not_disturb_each_other(void **state)
{
    struct snap_rec snap;
    struct workspace *w = sample(&snap);
    struct wtree old = wtree_read(w);
    const char *paths[] = { "a/b", "a/big" };
    struct restore_report rep;
    pthread_t t;
    void *bad;

    stop_writing = false;
    assert_int_equal(pthread_create(&t, NULL, writer_thread, w), 0);
    for (int i = 0; i < 150; i++) {
        assert_int_equal(verb_restore(store, w, &snap, paths, 2, &rep), 0);
        if (i % 10 == 0)
            fold_now(w);
        if (i % 50 == 49)
            restore_ok(w, &snap, NULL, NULL);
    }
    stop_writing = true;
    pthread_join(t, &bad);
    assert_null(bad);
    assert_int_equal(verb_restore(store, w, &snap, paths, 2, &rep), 0);
    struct wtree now = wtree_read(w);
    assert_equal_trees(&now, &old);
    assert_sound(w, &now);
    w = assert_lasts(w, &now);
    free(now.v);
    now = tree_of_snap(&snap);
    assert_equal_trees(&now, &old);
    free(now.v);
    free(old.v);
    workspace_unref(w);
}

static int fault_at, fault_calls;
static bool nth_fails(size_t size)
{
    return ++fault_calls == fault_at;
}
static int nth_call_fails(bool is_write)
{
    return ++fault_calls == fault_at ? -EIO : 0;
}

/* Paths only: after a fault in the commit the change stands in memory, as after any failed fsync; before it nothing is changed. */
static void a_failure_leaves_all_or_nothing(void **state)
{
    struct snap_rec snap;
    struct workspace *w = sample(&snap);
    const char *paths[] = { "a", "top" };

    struct wtree want = wtree_read(w);
    for (int kind = 0; kind < 2; kind++) {
        bool done = false;
        for (fault_at = 1; !done; fault_at++) {
            struct restore_report rep;
            uint64_t big = ino_of(w, "a/big");
            if (big)
                wwrite(w, "a/big", 7000, "other");
            if (ino_of(w, "top"))
                assert_int_equal(ws_unlink(w, INO_ROOT, "top"), 0);
            assert_int_equal(workspace_commit(w), 0);
            struct wtree before = wtree_read(w);
            node_cache_free(store->nodes);
            store->nodes = node_cache_new(store->meta, 8 << 20);
            fault_calls = 0;
            mem_fault = kind ? NULL : nth_fails;
            meta_fault = kind ? nth_call_fails : NULL;
            int r = verb_restore(store, w, &snap, paths, 2, &rep);
            mem_fault = NULL;
            meta_fault = NULL;
            done = fault_calls < fault_at;
            assert_true(done ? r == 0 : true);
            struct wtree after = wtree_read(w);
            assert_true(after.n == before.n || after.n == want.n);
            assert_equal_trees(&after, after.n == before.n && r ? &before : &want);
            free(after.v);
            free(before.v);
            assert_true(fault_at < 2000);
        }
        assert_true(fault_at > 3);
    }
    free(want.v);
    workspace_unref(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_changed_file_is_restored_in_place_under_its_number, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deleted_directory_comes_back_with_its_numbers_and_shares_its_data, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_moved_stays_where_it_is_and_a_copy_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_parents_are_made_and_only_they, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_snapshot_does_not_have_is_removed_and_unknown_paths_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(an_open_file_that_is_removed_by_a_restore_can_still_be_read, setup, teardown),
        cmocka_unit_test_setup_teardown(quotas_hold_for_a_restore, setup, teardown),
        cmocka_unit_test_setup_teardown(the_whole_tree_comes_back_and_the_state_before_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(random_paths_are_as_in_the_snapshot_and_nothing_else_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(an_inline_content_under_slots_is_put_again, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_used_before_a_restore_are_not_used_again_by_a_fork, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_deleted_in_a_frozen_layer_does_not_come_up_again, setup, teardown),
        cmocka_unit_test_setup_teardown(restores_and_writers_do_not_disturb_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_leaves_all_or_nothing, setup, teardown),
    };
    cmocka_set_test_filter(getenv("TEST"));               /* NULL: all */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
