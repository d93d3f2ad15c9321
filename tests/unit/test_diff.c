/* Diff against a naive walk-and-compare of both trees, on random histories; and the cases that people rely on, one by one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/meta.h"
#include "fs/node.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/view.h"
#include "tests/lib/ws_tree.h"

static char dir[64];
static struct store *store;

static int setup(void **state)
{
    struct store_options opt = store_defaults;

    strcpy(dir, "/tmp/B-test-diff-XXXXXX");
    opt.no_background = true;
    opt.node_cache_bytes = 8 << 20;
    return mkdtemp(dir) && !store_init(dir) && !store_open(dir, &opt, &store) ? 0 : -1;
}

static int teardown(void **state)
{
    char cmd[96];

    store_close(store);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

/* --- shorthands --- */

static struct workspace *made(const char *name)
{
    struct create_args a = { .name = name, .kind = WS_BARE };
    struct ws_rec rec;
    struct workspace *w;

    assert_int_equal(verb_create(store, &a, &rec), 0);
    assert_int_equal(workspace_open(store, rec.id, &w), 0);
    return w;
}

static struct workspace *forked(const char *from, const char *name)
{
    struct object o;
    struct ws_rec rec;
    struct workspace *w;
    unsigned bad;

    assert_int_equal(object_find(store, from, &o), 0);
    assert_int_equal(verb_fork(store, &o, &name, 1, &rec, &bad, NULL), 0);
    assert_int_equal(workspace_open(store, rec.id, &w), 0);
    return w;
}

static struct view *state_of(struct workspace *w)
{
    struct view *v;

    assert_int_equal(workspace_freeze(w, NULL, &v, NULL), 0);
    return v;
}

/* An entry as a line: "M path c" with c content, m mode, o owner, x xattr, t time; "R old -> new". */
struct lines { struct { char s[1100]; } *v; size_t n; };

static void line_add(struct lines *l, int kind, unsigned what, const char *path, const char *old)
{
    l->v = realloc(l->v, (l->n + 1) * sizeof *l->v);
    snprintf(l->v[l->n++].s, sizeof l->v->s, "%s %c %s%s%s%s%s%s%s", path, kind, old ? old : "", what ? " " : "", what & DIFF_CONTENT ? "c" : "",
             what & DIFF_MODE ? "m" : "", what & DIFF_OWNER ? "o" : "", what & DIFF_XATTR ? "x" : "", what & DIFF_MTIME ? "t" : "");
}

static int line_entry(void *arg, const struct diff_entry *e)
{
    struct lines *l = arg;
    char last[512];

    assert_int_equal(strlen(e->path), e->path_len);
    if (l->n) {
        snprintf(last, sizeof last, "%.*s", (int)strcspn(l->v[l->n - 1].s, " "), l->v[l->n - 1].s);
        assert_true(strcmp(last, e->path) <= 0);
    }
    assert_int_equal(e->kind == DIFF_RENAMED, e->old_path != NULL);
    assert_int_equal(e->ino_a != 0, e->kind != DIFF_ADDED);
    assert_int_equal(e->ino_b != 0, e->kind != DIFF_DELETED);
    assert_int_equal(e->a.mode != 0, e->ino_a != 0);
    assert_int_equal(e->b.mode != 0, e->ino_b != 0);
    line_add(l, e->kind, e->what, e->path, e->old_path);
    return 0;
}

static int line_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

static struct lines diff_lines(struct view *a, struct view *b, const struct diff_opts *o)
{
    struct lines l = { 0 };

    assert_int_equal(verb_diff(store, a, b, o, line_entry, &l), 0);
    if (l.n)
        qsort(l.v, l.n, sizeof *l.v, line_cmp);
    return l;
}

static void assert_lines(const struct lines *got, const struct lines *want)
{
    bool ok = got->n == want->n;

    for (size_t i = 0; ok && i < got->n; i++)
        ok = !strcmp(got->v[i].s, want->v[i].s);
    if (ok)
        return;
    for (size_t i = 0; i < got->n; i++)
        print_message("got:  %s\n", got->v[i].s);
    for (size_t i = 0; i < want->n; i++)
        print_message("want: %s\n", want->v[i].s);
    fail_msg("the differences differ");
}

static void assert_diff_opts(struct workspace *a, struct workspace *b, const struct diff_opts *o, const char *const *want)
{
    struct view *va = state_of(a), *vb = state_of(b);
    struct lines got = diff_lines(va, vb, o), l = { 0 };

    for (; *want; want++) {
        l.v = realloc(l.v, (l.n + 1) * sizeof *l.v);
        snprintf(l.v[l.n++].s, sizeof l.v->s, "%s", *want);
    }
    if (l.n)
        qsort(l.v, l.n, sizeof *l.v, line_cmp);
    assert_lines(&got, &l);
    free(got.v);
    free(l.v);
    view_unref(va);
    view_unref(vb);
}
#define ASSERT_DIFF(a, b, ...) assert_diff_opts(a, b, NULL, (const char *const[]){ __VA_ARGS__, NULL })
#define ASSERT_NO_DIFF(a, b) assert_diff_opts(a, b, NULL, (const char *const[]){ NULL })

/* --- the naive way --- */

static bool same_identity(const struct wnode *a, const struct wnode *b)
{
    return a->ino == b->ino && !memcmp(&a->in.btime.sec, &b->in.btime.sec, 8) && a->in.btime.ns == b->in.btime.ns &&
           (a->in.mode & S_IFMT) == (b->in.mode & S_IFMT);
}

static const struct wnode *identity_in(const struct wnode *x, const struct wtree *t)
{
    for (size_t i = 0; i < t->n; i++) {
        if (same_identity(x, &t->v[i]))
            return &t->v[i];
    }
    return NULL;
}

/* Where the name of x would be in the other tree; false: its directory stands for none there. */
static bool counterpart(const struct wtree *from, const struct wnode *x, const struct wtree *to, char *ret)
{
    char parent[512] = "";
    const char *slash = strrchr(x->path, '/');

    if (!slash) {
        strcpy(ret, x->path);
        return true;
    }
    snprintf(parent, sizeof parent, "%.*s", (int)(slash - x->path), x->path);
    const struct wnode *p = wtree_find(from, parent), *q = identity_in(p, to);
    char at[512];
    if (!q) {
        if (!counterpart(from, p, to, at))
            return false;
        q = wtree_find(to, at);
        if (!q || !S_ISDIR(q->in.mode) || identity_in(q, from))
            return false;
    }
    snprintf(ret, 512, "%.400s/%.100s", q->path, slash + 1);
    return true;
}

static unsigned naive_what(const struct wnode *a, const struct wnode *b)
{
    bool d = S_ISDIR(a->in.mode);
    unsigned what = 0;

    if (!d && (a->content != b->content || a->in.size != b->in.size))
        what |= DIFF_CONTENT;
    if (a->in.mode != b->in.mode)
        what |= DIFF_MODE;
    if (a->in.uid != b->in.uid || a->in.gid != b->in.gid)
        what |= DIFF_OWNER;
    if (a->xattrs != b->xattrs)
        what |= DIFF_XATTR;
    if (!d && (a->in.mtime.sec != b->in.mtime.sec || a->in.mtime.ns != b->in.mtime.ns))
        what |= DIFF_MTIME;
    return what;
}

static void add_modified(struct lines *l, const struct wnode *a, const struct wnode *b, bool times)
{
    unsigned what = naive_what(a, b);

    if (what & ~(unsigned)DIFF_MTIME || (times && what))
        line_add(l, DIFF_MODIFIED, what, b->path, NULL);
}

/* Names of x's file in `t` that have no counterpart of the same file in `other`, in order of path. */
static size_t loose_names(const struct wtree *t, const struct wnode *x, const struct wtree *other, const struct wnode **ret)
{
    char at[512];
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++) {
        if (!same_identity(&t->v[i], x))
            continue;
        const struct wnode *c = counterpart(t, &t->v[i], other, at) ? wtree_find(other, at) : NULL;
        if (!c || !same_identity(c, x))
            ret[n++] = &t->v[i];
    }
    return n;
}

static void naive_same_file(struct lines *l, const struct wtree *a, const struct wtree *b, const struct wnode *xa, const struct wnode *xb, bool times)
{
    const struct wnode **gone = calloc(a->n + 1, sizeof *gone), **come = calloc(b->n + 1, sizeof *come);
    size_t ng = loose_names(a, xa, b, gone), nc = loose_names(b, xb, a, come);

    for (size_t i = 0; i < ng || i < nc; i++) {
        if (i < ng && i < nc)
            line_add(l, DIFF_RENAMED, naive_what(xa, xb), come[i]->path, gone[i]->path);
        else
            line_add(l, i < ng ? DIFF_DELETED : DIFF_ADDED, 0, i < ng ? gone[i]->path : come[i]->path, NULL);
    }
    for (size_t i = 0; i < b->n; i++) {
        bool reported = !same_identity(&b->v[i], xb);
        for (size_t k = 0; k < nc; k++)
            reported = reported || come[k] == &b->v[i];
        if (!reported)
            add_modified(l, xa, &b->v[i], times);
    }
    free(gone);
    free(come);
}

static struct lines naive_diff(const struct wtree *a, const struct wtree *b, bool times)
{
    struct lines l = { 0 };
    char at[512];

    for (size_t i = 0; i < a->n; i++) {
        const struct wnode *x = &a->v[i], *same = identity_in(x, b), *c;
        if (same) {
            if (identity_in(x, a) == x)                   /* once per file */
                naive_same_file(&l, a, b, x, same, times);
            continue;
        }
        c = counterpart(a, x, b, at) ? wtree_find(b, at) : NULL;
        if (!c || identity_in(c, a))
            line_add(&l, DIFF_DELETED, 0, x->path, NULL);
        else if ((c->in.mode & S_IFMT) != (x->in.mode & S_IFMT))
            line_add(&l, DIFF_TYPE, 0, c->path, NULL);
        else
            add_modified(&l, x, c, times);
    }
    for (size_t i = 0; i < b->n; i++) {
        const struct wnode *x = &b->v[i], *c;
        if (identity_in(x, a))
            continue;
        c = counterpart(b, x, a, at) ? wtree_find(a, at) : NULL;
        if (!c || identity_in(c, b))
            line_add(&l, DIFF_ADDED, 0, x->path, NULL);
    }
    if (l.n)
        qsort(l.v, l.n, sizeof *l.v, line_cmp);
    return l;
}

static void assert_as_naive(struct workspace *a, struct workspace *b)
{
    struct wtree ta = wtree_read(a), tb = wtree_read(b);
    struct view *va = state_of(a), *vb = state_of(b);

    for (int times = 0; times < 2; times++) {
        struct diff_opts o = { .times = times };
        struct lines got = diff_lines(va, vb, &o), want = naive_diff(&ta, &tb, times);
        assert_lines(&got, &want);
        free(got.v);
        free(want.v);
        got = diff_lines(vb, va, &o);
        want = naive_diff(&tb, &ta, times);
        assert_lines(&got, &want);
        free(got.v);
        free(want.v);
    }
    view_unref(va);
    view_unref(vb);
    free(ta.v);
    free(tb.v);
}

/* --- tests --- */

static void forks_with_random_histories_differ_as_a_walk_says(void **state)
{
    seed_of(__func__);
    for (int round = 0; round < 14; round++) {
        char base[16], name[16];
        snprintf(base, sizeof base, "base%d", round);
        snprintf(name, sizeof name, "fork%d", round);
        struct workspace *a = made(base);
        for (unsigned i = 0, n = 20 + (unsigned)(rng() % 60); i < n; i++)
            random_op(a);
        struct workspace *b = forked(base, name);
        for (int step = 0; step < 3; step++) {
            for (unsigned i = 0, n = (unsigned)(rng() % 12); i < n; i++)
                random_op(a);
            for (unsigned i = 0, n = (unsigned)(rng() % 40); i < n; i++)
                random_op(b);
            assert_as_naive(a, b);
        }
        workspace_unref(a);
        workspace_unref(b);
    }
}

static void unrelated_workspaces_differ_as_a_walk_says(void **state)
{
    seed_of(__func__);
    for (int round = 0; round < 6; round++) {
        char x[16], y[16];
        snprintf(x, sizeof x, "x%d", round);
        snprintf(y, sizeof y, "y%d", round);
        struct workspace *a = made(x), *b = made(y);
        for (int i = 0; i < 60; i++)
            random_op(a);
        for (int i = 0; i < 60; i++)
            random_op(b);
        assert_as_naive(a, b);
        workspace_unref(a);
        workspace_unref(b);
    }
}

static struct workspace *ws_a, *ws_b;

/* d1/d2/f1, d1/f2, f3, and a fork of it. */
static void two_forks(void)
{
    ws_a = made("a");
    wmake(ws_a, "d1", S_IFDIR | 0755, NULL);
    wmake(ws_a, "d1/d2", S_IFDIR | 0755, NULL);
    wmake(ws_a, "d1/d2/f1", S_IFREG | 0644, "one");
    wmake(ws_a, "d1/f2", S_IFREG | 0644, "two");
    wmake(ws_a, "f3", S_IFREG | 0644, "three");
    ws_b = forked("a", "b");
}

static void done(void)
{
    workspace_unref(ws_a);
    workspace_unref(ws_b);
}

static void equal_states_have_no_difference(void **state)
{
    two_forks();
    ASSERT_NO_DIFF(ws_a, ws_b);
    ASSERT_NO_DIFF(ws_a, ws_a);
    done();
}

static void a_renamed_directory_is_one_entry_and_changes_in_it_have_the_new_path(void **state)
{
    two_forks();
    assert_int_equal(wrename(ws_b, "d1", "e1", 0), 0);
    ASSERT_DIFF(ws_a, ws_b, "e1 R d1");
    wwrite(ws_b, "e1/f2", 0, "TWO");
    wmake(ws_b, "e1/d2/new", S_IFREG | 0644, "x");
    ASSERT_DIFF(ws_a, ws_b, "e1 R d1", "e1/f2 M  ct", "e1/d2/new A ");
    done();
}

static void files_made_under_equal_numbers_in_two_forks_are_told_apart(void **state)
{
    two_forks();
    uint64_t x = wmake(ws_a, "new", S_IFREG | 0644, "of a"), y = wmake(ws_b, "new", S_IFREG | 0644, "of b");
    assert_int_equal(x, y);
    wmake(ws_a, "here", S_IFREG | 0644, "only a");
    wmake(ws_b, "there", S_IFREG | 0644, "only b");
    wmake(ws_a, "same", S_IFREG | 0644, "equal");
    wmake(ws_b, "same", S_IFREG | 0644, "equal");
    ASSERT_DIFF(ws_a, ws_b, "new M  ct", "here D ", "there A ");
    done();
}

static void a_file_replaced_as_editors_do_is_modified(void **state)
{
    two_forks();
    wmake(ws_b, "f3.tmp", S_IFREG | 0644, "THREE!");
    assert_int_equal(wrename(ws_b, "f3.tmp", "f3", 0), 0);
    ASSERT_DIFF(ws_a, ws_b, "f3 M  ct");
    done();
}

static void exchanged_names_are_two_renames(void **state)
{
    two_forks();
    assert_int_equal(wrename(ws_b, "f3", "d1/f2", RENAME_EXCHANGE), 0);
    ASSERT_DIFF(ws_a, ws_b, "f3 R d1/f2", "d1/f2 R f3");
    done();
}

static void another_type_and_attributes_are_named(void **state)
{
    struct inode in = { .mode = 0600, .uid = 7 }, out;
    uint64_t ino;

    two_forks();
    assert_int_equal(ws_unlink(ws_b, INO_ROOT, "f3"), 0);
    wmake(ws_b, "f3", S_IFLNK | 0777, "d1");
    assert_int_equal(ws_path(ws_b, "d1", &ino, &out), 0);
    assert_int_equal(ws_setattr(ws_b, ino, WSA_UID, &in, &out), 0);
    assert_int_equal(ws_path(ws_b, "d1/f2", &ino, &out), 0);
    assert_int_equal(ws_setattr(ws_b, ino, WSA_MODE, &in, &out), 0);
    assert_int_equal(ws_setxattr(ws_b, ino, "user.x", (const uint8_t *)"y", 1, 0, false), 0);
    assert_int_equal(ws_setattr(ws_b, INO_ROOT, WSA_UID, &in, &out), 0);
    ASSERT_DIFF(ws_a, ws_b, "f3 T ", "d1 M  o", "d1/f2 M  mx", ". M  o");
    done();
}

static void times_alone_are_reported_only_when_asked_for(void **state)
{
    struct inode in = { .mtime = { .sec = 12345 } }, out;
    struct diff_opts o = { .times = true };
    uint64_t ino;

    two_forks();
    assert_int_equal(ws_path(ws_b, "d1/f2", &ino, &out), 0);
    assert_int_equal(ws_setattr(ws_b, ino, WSA_MTIME, &in, &out), 0);
    ASSERT_NO_DIFF(ws_a, ws_b);
    assert_diff_opts(ws_a, ws_b, &o, (const char *const[]){ "d1/f2 M  t", NULL });
    done();
}

static void hard_links_come_go_and_are_modified_at_each_name(void **state)
{
    struct inode in;
    uint64_t ino, d;

    two_forks();
    assert_int_equal(ws_path(ws_b, "f3", &ino, &in), 0);
    assert_int_equal(ws_path(ws_b, "d1/d2", &d, &in), 0);
    assert_int_equal(ws_link(ws_b, ino, d, "l1", &in), 0);
    ASSERT_DIFF(ws_a, ws_b, "d1/d2/l1 A ");
    ASSERT_DIFF(ws_b, ws_a, "d1/d2/l1 D ");
    struct workspace *c = forked("b", "c");
    wwrite(c, "f3", 1, "HREE");
    ASSERT_DIFF(ws_b, c, "d1/d2/l1 M  ct", "f3 M  ct");
    assert_int_equal(ws_unlink(c, INO_ROOT, "f3"), 0);
    ASSERT_DIFF(ws_b, c, "d1/d2/l1 M  ct", "f3 D ");
    workspace_unref(c);
    done();
}

static void paths_limit_what_is_reported(void **state)
{
    const char *paths[] = { "/d1/d2/" };
    struct diff_opts o = { .paths = paths, .path_count = 1 };

    two_forks();
    wwrite(ws_b, "f3", 0, "X");
    wwrite(ws_b, "d1/d2/f1", 0, "X");
    wmake(ws_b, "d1/d2x", S_IFREG | 0644, "x");
    assert_int_equal(wrename(ws_b, "d1/d2", "d1/moved", 0), 0);
    assert_diff_opts(ws_a, ws_b, &o, (const char *const[]){ "d1/moved R d1/d2", NULL });
    assert_int_equal(wrename(ws_b, "d1/moved", "d1/d2", 0), 0);
    assert_diff_opts(ws_a, ws_b, &o, (const char *const[]){ "d1/d2/f1 M  ct", NULL });
    done();
}

static int reads;
static int count_reads(bool is_write)
{
    reads += !is_write;
    return 0;
}

static void one_change_among_many_files_costs_a_few_reads(void **state)
{
    struct workspace *a = made("many");
    char name[32];

    for (int d = 0; d < 100; d++) {
        snprintf(name, sizeof name, "d%d", d);
        uint64_t at = wmake(a, name, S_IFDIR | 0755, NULL), ino;
        for (int f = 0; f < 100; f++) {
            struct inode in;
            snprintf(name, sizeof name, "file%d", f);
            assert_int_equal(ws_create(a, at, name, S_IFREG | 0644, 0, NULL, &wcred, 0, false, &ino, &in), 0);
        }
    }
    struct workspace *b = forked("many", "one");
    wwrite(b, "d50/file50", 0, "changed");
    struct view *va = state_of(a), *vb = state_of(b);
    struct addr root;
    assert_int_equal(view_fold_now(store, va, &root), 0);
    assert_int_equal(view_fold_now(store, vb, &root), 0);
    node_cache_free(store->nodes);
    store->nodes = node_cache_new(store->meta, 8 << 20);
    reads = 0;
    meta_fault = count_reads;
    struct lines l = diff_lines(va, vb, NULL);
    meta_fault = NULL;
    print_message("%d nodes read\n", reads);
    assert_int_equal(l.n, 1);
    assert_string_equal(l.v[0].s, "d50/file50 M  ct");
    assert_true(reads < 30);
    free(l.v);
    view_unref(va);
    view_unref(vb);
    workspace_unref(a);
    workspace_unref(b);
}

static void a_file_of_a_view_is_read_whole_up_to_a_limit(void **state)
{
    struct workspace *w = made("w");
    uint64_t small = wmake(w, "small", S_IFREG | 0644, "hello"), link = wmake(w, "link", S_IFLNK | 0777, "to/there");
    uint64_t big = wmake(w, "big", S_IFREG | 0644, NULL), d = wmake(w, "d", S_IFDIR | 0755, NULL);
    struct buf b = BUF_INIT;

    wwrite(w, "big", 200000, "end");
    for (int folded = 0; folded < 2; folded++) {
        struct view *v = state_of(w);
        struct addr root;
        if (folded)
            assert_int_equal(view_fold_now(store, v, &root), 0);
        assert_int_equal(view_file(store, v, small, 100, &b), 0);
        assert_int_equal(b.len, 5);
        assert_memory_equal(b.data, "hello", 5);
        buf_clear(&b);
        assert_int_equal(view_file(store, v, big, 200003, &b), 0);
        assert_int_equal(b.len, 200003);
        assert_memory_equal(b.data + 199999, "\0end", 4);
        buf_clear(&b);
        assert_int_equal(view_file(store, v, big, 200002, &b), -EFBIG);
        assert_int_equal(view_file(store, v, link, 100, &b), 0);
        assert_memory_equal(b.data, "to/there", 8);
        buf_clear(&b);
        assert_int_equal(view_file(store, v, d, 100, &b), -EISDIR);
        assert_int_equal(view_file(store, v, 9999, 100, &b), -ENOENT);
        view_unref(v);
    }
    buf_fini(&b);
    workspace_unref(w);
}

static int stop_at_once(void *arg, const struct diff_entry *e)
{
    return 7;
}

static int fault_at, fault_calls;
static bool nth_fails(size_t size)
{
    return ++fault_calls == fault_at;
}
static int nth_read_fails(bool is_write)
{
    return ++fault_calls == fault_at ? -EIO : 0;
}

static void every_failing_allocation_and_read_is_reported(void **state)
{
    two_forks();
    assert_int_equal(wrename(ws_b, "d1", "e1", 0), 0);
    wmake(ws_b, "d1", S_IFREG | 0644, "x");
    wwrite(ws_b, "e1/f2", 0, "TWO");
    struct view *va = state_of(ws_a), *vb = state_of(ws_b);
    struct lines want = diff_lines(va, vb, NULL);
    for (int kind = 0; kind < 2; kind++) {
        for (fault_at = 1;; fault_at++) {
            struct lines got = { 0 };
            node_cache_free(store->nodes);
            store->nodes = node_cache_new(store->meta, 8 << 20);
            fault_calls = 0;
            mem_fault = kind ? NULL : nth_fails;
            meta_fault = kind ? nth_read_fails : NULL;
            int r = verb_diff(store, va, vb, NULL, line_entry, &got);
            mem_fault = NULL;
            meta_fault = NULL;
            assert_true(r == 0 || r == (kind ? -EIO : -ENOMEM));
            if (r == 0) {
                qsort(got.v, got.n, sizeof *got.v, line_cmp);
                assert_lines(&got, &want);
            }
            free(got.v);
            if (fault_calls < fault_at)
                break;
            assert_true(r != 0);
        }
        assert_true(fault_at > 2);
    }
    assert_int_equal(verb_diff(store, va, vb, NULL, stop_at_once, NULL), 7);
    free(want.v);
    view_unref(va);
    view_unref(vb);
    done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(equal_states_have_no_difference, setup, teardown),
        cmocka_unit_test_setup_teardown(a_renamed_directory_is_one_entry_and_changes_in_it_have_the_new_path, setup, teardown),
        cmocka_unit_test_setup_teardown(files_made_under_equal_numbers_in_two_forks_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_replaced_as_editors_do_is_modified, setup, teardown),
        cmocka_unit_test_setup_teardown(exchanged_names_are_two_renames, setup, teardown),
        cmocka_unit_test_setup_teardown(another_type_and_attributes_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(times_alone_are_reported_only_when_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(hard_links_come_go_and_are_modified_at_each_name, setup, teardown),
        cmocka_unit_test_setup_teardown(paths_limit_what_is_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(forks_with_random_histories_differ_as_a_walk_says, setup, teardown),
        cmocka_unit_test_setup_teardown(unrelated_workspaces_differ_as_a_walk_says, setup, teardown),
        cmocka_unit_test_setup_teardown(one_change_among_many_files_costs_a_few_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_of_a_view_is_read_whole_up_to_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(every_failing_allocation_and_read_is_reported, setup, teardown),
    };
    struct clock_ops exact = *clock_src;

    exact.file = NULL;                    /* two changes, however close, have two times */
    clock_src = &exact;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
