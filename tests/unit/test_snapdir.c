#include "tests/lib/verbs_fixture.h"

#include "fs/snapdir.h"

/* .snap without a mount: what its names, nodes and numbers mean, what it keeps, and that it lets go. */

static struct snapdir *dir_of(const char *ws)
{
    struct object o;
    struct snapdir *d;

    assert_int_equal(object_find(store, ws, &o), 0);
    assert_int_equal(snapdir_new(store, o.ws.id, &d), 0);
    return d;
}

/* The node of the root of a snapshot, as the kernel gets it. */
static uint64_t look_root(struct snapdir *d, const char *name)
{
    struct workspace *w;
    struct snap *sn;
    uint64_t node;

    assert_int_equal(snapdir_open(d, name, &sn, &w), 0);
    node = snapdir_look(d, sn, INO_ROOT);
    assert_true(node & SNAPDIR_BIT);
    snapdir_put(d, sn, w);
    return node;
}

/* The node of a name in a directory that is a node. */
static uint64_t look(struct snapdir *d, uint64_t parent, const char *name)
{
    struct workspace *w;
    struct inode in;
    struct snap *sn;
    uint64_t ino, node;

    assert_int_equal(snapdir_get(d, parent, &sn, &w, &ino), 0);
    assert_int_equal(ws_lookup(w, ino, name, &ino, &in), 0);
    node = snapdir_look(d, sn, ino);
    snapdir_put(d, sn, w);
    return node;
}

static void assert_node_noise(struct snapdir *d, uint64_t node, uint32_t seed, size_t n)
{
    uint8_t *want = noise(seed, n), *got = malloc(n);
    struct workspace *w;
    struct snap *sn;
    uint64_t ino;
    size_t len = 0;

    assert_int_equal(snapdir_get(d, node, &sn, &w, &ino), 0);
    assert_int_equal(ws_read(w, ino, 0, n, got, &len), 0);
    assert_int_equal(len, n);
    assert_memory_equal(got, want, n);
    snapdir_put(d, sn, w);
    free(want);
    free(got);
}

static void assert_stale(struct snapdir *d, uint64_t node)
{
    struct workspace *w;
    struct snap *sn;
    uint64_t ino;

    assert_int_equal(snapdir_get(d, node, &sn, &w, &ino), -ESTALE);
}

static struct snapdir_stats stats(struct snapdir *d)
{
    struct snapdir_stats st;

    snapdir_stats(d, &st);
    return st;
}

struct names { char text[4096]; unsigned n, stop_at; uint64_t last; };

static int note_name(void *arg, const char *name, uint64_t seq)
{
    struct names *x = arg;

    assert_true(seq > x->last);
    if (x->stop_at && x->n == x->stop_at)
        return 1;
    x->last = seq;
    x->n++;
    if (strlen(x->text) + strlen(name) + 2 < sizeof x->text)
        strcat(strcat(x->text, name), " ");
    return 0;
}

static int opens(struct snapdir *d, const char *name)
{
    struct workspace *w;
    struct snap *sn;
    int r = snapdir_open(d, name, &sn, &w);

    if (!r)
        snapdir_put(d, sn, w);
    return r;
}

static void names_are_those_of_the_workspace_now(void **state)
{
    struct names x = { 0 };
    char want[256];

    create("w");
    create("other");
    put("w", "f", "1");
    struct snapdir *d = dir_of("w");
    snapshot("w", "b");
    struct snap_rec elsewhere = snapshot("other", NULL), named = snapshot("w", "a"), unnamed = snapshot("w", NULL);
    snapshot("other", "o");
    snprintf(want, sizeof want, "b a %s ", unnamed.id);
    assert_int_equal(snapdir_each(d, true, 0, note_name, &x), 0);
    assert_string_equal(x.text, want);       /* in the order in which they were made */
    assert_int_equal(opens(d, "a"), 0);
    assert_int_equal(opens(d, unnamed.id), 0);
    assert_int_equal(opens(d, named.id), -ENOENT);           /* a directory has one name */
    assert_int_equal(opens(d, "o"), -ENOENT);
    assert_int_equal(opens(d, elsewhere.id), -ENOENT);
    assert_int_equal(opens(d, "w@a"), -ENOENT);
    assert_int_equal(opens(d, ".."), -ENOENT);
    assert_int_equal(opens(d, ""), -ENOENT);

    assert_int_equal(remove_object("w@b", false), 0);
    snapshot("w", "c");
    x = (struct names){ 0 };
    snprintf(want, sizeof want, "a %s c ", unnamed.id);
    assert_int_equal(snapdir_each(d, true, 0, note_name, &x), 0);
    assert_string_equal(x.text, want);
    assert_int_equal(opens(d, "b"), -ENOENT);
    assert_int_equal(stats(d).snaps, 0);
    snapdir_free(d);
}

static void a_listing_goes_on_where_it_was_when_the_list_changes(void **state)
{
    struct names x = { .stop_at = 2 };

    create("w");
    struct snapdir *d = dir_of("w");
    for (const char *const *p = (const char *const[]){ "a", "b", "c", "d", NULL }; *p; p++)
        snapshot("w", *p);
    assert_int_equal(snapdir_each(d, true, 0, note_name, &x), 1);
    assert_int_equal(remove_object("w@a", false), 0);
    assert_int_equal(remove_object("w@c", false), 0);
    snapshot("w", "e");
    struct names second = { 0 };
    assert_int_equal(snapdir_each(d, true, 0, note_name, &second), 0);      /* somebody else begins: the list is another now */
    x.stop_at = 0;
    assert_int_equal(snapdir_each(d, false, x.last, note_name, &x), 0);
    assert_string_equal(x.text, "a b d e ");
    assert_string_equal(second.text, "b d e ");
    snapdir_free(d);
}

static void a_node_means_one_inode_until_it_is_forgotten_and_is_never_given_again(void **state)
{
    create("w");
    put("w", "f", "1");
    snapshot("w", "a");
    snapshot("w", "b");                      /* the same state */
    struct snapdir *d = dir_of("w");
    uint64_t a = look_root(d, "a"), b = look_root(d, "b"), fa = look(d, a, "f"), fb = look(d, b, "f");
    assert_true(a != b && fa != fb && a != fa);
    assert_int_equal(look(d, a, "f"), fa);
    assert_int_equal(look_root(d, "a"), a);
    assert_int_equal(stats(d).snaps, 2);
    snapdir_forget(d, fa, 1);
    snapdir_forget(d, a, 1);
    assert_int_equal(look(d, a, "f"), fa);   /* each was looked up twice */
    snapdir_forget(d, fa, 2);
    snapdir_forget(d, a, 1);
    assert_stale(d, fa);
    assert_stale(d, a);
    assert_int_equal(stats(d).snaps, 1);
    uint64_t again = look_root(d, "a");
    assert_true(again != a && again != fa && again != b && again != fb);
    snapdir_forget(d, a - 1, 5);  /* not known: nothing happens */
    snapdir_forget(d, again, 1);
    snapdir_forget(d, b, 1);
    snapdir_forget(d, fb, 1);
    assert_int_equal(stats(d).nodes + stats(d).snaps + stats(d).open, 0);

    struct snapdir *next = dir_of("w");      /* as of a daemon that takes the mount over: what the kernel knows is not given to something else */
    uint64_t other = look_root(next, "b");
    assert_true(other != a && other != b && other != fa && other != fb && other != again);
    assert_stale(next, b);
    snapdir_free(next);
    snapdir_free(d);
}

static void what_is_removed_stays_as_it_was_as_long_as_it_is_known_and_goes_then(void **state)
{
    create("w");
    put_noise("w", "f", 1, 1 << 20);
    snapshot("w", "a");
    fold("w@a");
    put_noise("w", "f", 2, 1 << 20);
    snapshot("w", "b");
    fold("w@b");
    struct snapdir *d = dir_of("w");
    uint64_t root = look_root(d, "a"), f = look(d, root, "f");
    assert_int_equal(remove_object("w@a", false), 0);
    assert_int_equal(opens(d, "a"), -ENOENT);
    assert_int_equal(gc().chunks, 0);
    assert_node_noise(d, f, 1, 1 << 20);
    snapdir_forget(d, root, 1);
    snapshot("w", "a");                      /* another of that name */
    uint64_t second = look_root(d, "a");
    assert_true(second != root);
    assert_node_noise(d, look(d, second, "f"), 2, 1 << 20);
    assert_node_noise(d, f, 1, 1 << 20);
    snapdir_forget(d, f, 1);
    assert_int_equal(gc().chunks, 8);
    assert_stale(d, f);
    snapdir_free(d);
    assert_clean();
}

/* 40 more than trees are kept open for. */
static void of_many_snapshots_few_trees_are_open_and_all_can_be_read(void **state)
{
    enum { MANY = 104 };
    uint64_t root[MANY], f[MANY];
    char name[16];

    create("w");
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "s%u", i);
        put_noise("w", "f", i, 5000);
        snapshot("w", name);
        if (i % 8 == 7)
            fold("w");
    }
    struct snapdir *d = dir_of("w");
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "s%u", i);
        root[i] = look_root(d, name);
        f[i] = look(d, root[i], "f");
    }
    for (unsigned i = 0; i < 3 * MANY; i++)
        assert_node_noise(d, f[i * 7 % MANY], i * 7 % MANY, 5000);
    assert_int_equal(stats(d).snaps, MANY);
    assert_int_equal(stats(d).nodes, 2 * MANY);
    assert_true(stats(d).open <= 64);
    for (unsigned i = 0; i < MANY; i++) {
        snapdir_forget(d, root[i], UINT64_MAX);
        snapdir_forget(d, f[i], 1);
    }
    assert_int_equal(stats(d).nodes + stats(d).snaps + stats(d).open, 0);
    snapdir_free(d);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void inode_numbers_are_distinct_and_none_is_of_the_live_tree(void **state)
{
    enum { SNAPS = 300, INOS = 300 };
    uint64_t *v = malloc(SNAPS * INOS * sizeof *v), ino = INO_IMPORT;
    size_t n = 0;

    for (uint64_t s = 1; s <= SNAPS; s++)
        for (uint64_t i = 0; i < INOS; i++) {
            ino = ino * 6364136223846793005ull + 1442695040888963407ull;
            v[n++] = snap_st_ino(s, i % 2 ? i : (ino >> 2) | INO_IMPORT);
            assert_true(v[n - 1] & SNAPDIR_BIT && v[n - 1] < SNAPDIR_NODE);
        }
    qsort(v, n, sizeof *v, by_number);
    for (size_t i = 1; i < n; i++)
        assert_true(v[i] != v[i - 1]);
    free(v);
    assert_int_equal(snap_st_ino(5, 9), snap_st_ino(5, 9));
}

static unsigned fail_in;

static bool fail_later(size_t size)
{
    return fail_in && !--fail_in;
}

static void every_failing_allocation_is_an_error_and_leaves_nothing(void **state)
{
    struct names x;
    bool failed = true;

    create("w");
    put("w", "f", "1");
    snapshot("w", "a");
    for (unsigned n = 1; failed; n++) {
        struct snapdir *d = NULL;
        struct workspace *w;
        struct snap *sn;
        struct object o;

        assert_int_equal(object_find(store, "w", &o), 0);
        failed = false;
        x = (struct names){ 0 };
        fail_in = n;
        mem_fault = fail_later;
        int r = snapdir_new(store, o.ws.id, &d);
        if (!r)
            r = snapdir_open(d, "a", &sn, &w);
        if (!r) {
            failed = !snapdir_look(d, sn, 1) || failed;
            r = snapdir_each(d, true, 0, note_name, &x);
            mem_fault = NULL;
            snapdir_put(d, sn, w);
        }
        mem_fault = NULL;
        failed = failed || r;
        assert_true(!r || r == -ENOMEM);
        if (!failed)
            assert_string_equal(x.text, "a ");
        snapdir_free(d);
    }
    assert_int_equal(remove_object("w@a", false), 0);
    gc();
    assert_clean();
}

struct racer { pthread_t thread; struct snapdir *d; unsigned seed; };

static void *race(void *arg)
{
    struct racer *r = arg;

    for (unsigned i = 0; i < 400; i++) {
        struct workspace *w;
        struct snap *sn;
        char name[16];
        uint64_t root, f;
        struct inode in;

        snprintf(name, sizeof name, "s%u", (i * 7 + r->seed) % 80);
        if (snapdir_open(r->d, name, &sn, &w))
            continue;                        /* removed meanwhile */
        root = snapdir_look(r->d, sn, INO_ROOT);
        if (ws_lookup(w, INO_ROOT, name, &f, &in))
            abort();                         /* it shows another's tree */
        f = snapdir_look(r->d, sn, f);
        snapdir_put(r->d, sn, w);
        if (snapdir_get(r->d, f, &sn, &w, &root))
            abort();
        snapdir_put(r->d, sn, w);
        snapdir_forget(r->d, f, 1);
    }
    return NULL;
}

static void threads_may_look_forget_list_and_remove_at_once(void **state)
{
    struct racer r[4];
    char name[16];

    create("w");
    for (unsigned i = 0; i < 80; i++) {      /* each has a file of its own name */
        snprintf(name, sizeof name, "s%u", i);
        put("w", name, name);
        snapshot("w", name);
    }
    struct snapdir *d = dir_of("w");
    for (unsigned i = 0; i < 4; i++) {
        r[i] = (struct racer){ .d = d, .seed = i * 20 };
        assert_int_equal(pthread_create(&r[i].thread, NULL, race, &r[i]), 0);
    }
    for (unsigned i = 0; i < 40; i++) {
        struct names x = { 0 };
        snprintf(name, sizeof name, "w@s%u", i * 2);
        assert_int_equal(remove_object(name, false), 0);
        assert_int_equal(snapdir_each(d, true, 0, note_name, &x), 0);
        assert_int_equal(x.n, 79 - i);
        if (i % 10 == 0)
            gc();
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(r[i].thread, NULL);
    snapdir_free(d);
    assert_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_are_those_of_the_workspace_now),
        TEST(a_listing_goes_on_where_it_was_when_the_list_changes),
        TEST(a_node_means_one_inode_until_it_is_forgotten_and_is_never_given_again),
        TEST(what_is_removed_stays_as_it_was_as_long_as_it_is_known_and_goes_then),
        TEST(of_many_snapshots_few_trees_are_open_and_all_can_be_read),
        TEST(inode_numbers_are_distinct_and_none_is_of_the_live_tree),
        TEST(every_failing_allocation_is_an_error_and_leaves_nothing),
        TEST(threads_may_look_forget_list_and_remove_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
