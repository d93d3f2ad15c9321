/* The tree against a sorted array: any history of changes gives the same root as building it fresh, and costs what the change costs. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "fs/key.h"
#include "fs/meta.h"
#include "fs/node_cache.h"
#include "fs/tree.h"

#include "tests/lib/seed.h"

/* --- a store of nodes --- */

static char dir[64];
static struct meta *meta;
static struct node_cache *cache;

static int setup(void **state)
{
    strcpy(dir, "/tmp/B-test-tree-XXXXXX");
    if (!mkdtemp(dir) || meta_open(dir, true, &meta))
        return -1;
    cache = node_cache_new(meta, 8 << 20);
    return cache ? 0 : -1;
}

static int teardown(void **state)
{
    char cmd[96];

    node_cache_free(cache);
    meta_close(meta);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

/* --- the model: entries sorted by key --- */

struct item { uint8_t key[40], val[64]; uint32_t key_len, val_len; };
struct model { struct item *v; size_t n, cap; };

static uint64_t rng_state;
static uint64_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state;
}

static void seed_of(const char *test, uint64_t fixed)
{
    rng_state = fixed ? fixed : test_seed();
    print_message("%s: COPPICE_SEED=%llu\n", test, (unsigned long long)rng_state);
    rng_state |= 1;
}

static int item_cmp(const struct item *a, const void *key, size_t len)
{
    return key_cmp(a->key, a->key_len, key, len);
}

static size_t model_find(const struct model *m, const void *key, size_t len)
{
    size_t lo = 0, hi = m->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (item_cmp(&m->v[mid], key, len) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool model_has(const struct model *m, size_t i, const void *key, size_t len)
{
    return i < m->n && !item_cmp(&m->v[i], key, len);
}

static void model_put(struct model *m, const struct item *it)
{
    size_t i = model_find(m, it->key, it->key_len);

    if (!model_has(m, i, it->key, it->key_len)) {
        if (m->n == m->cap) {
            m->cap = m->cap ? m->cap * 2 : 1024;
            m->v = realloc(m->v, m->cap * sizeof *m->v);
            assert_non_null(m->v);
        }
        memmove(m->v + i + 1, m->v + i, (m->n - i) * sizeof *m->v);
        m->n++;
    }
    m->v[i] = *it;
}

static void model_del(struct model *m, const void *key, size_t len, bool prefix)
{
    size_t i = model_find(m, key, len), j = i;

    while (j < m->n && (prefix ? m->v[j].key_len >= len && !memcmp(m->v[j].key, key, len) : j == i && model_has(m, j, key, len)))
        j++;
    if (i < j)
        memmove(m->v + i, m->v + j, (m->n - j) * sizeof *m->v);
    m->n -= j - i;
}

static struct model model_copy(const struct model *m)
{
    struct model c = { .n = m->n, .cap = m->n };

    c.v = malloc((m->n + 1) * sizeof *c.v);
    if (m->n)
        memcpy(c.v, m->v, m->n * sizeof *c.v);
    return c;
}

/* --- changes out of an array --- */

struct change_list { struct tree_changes head; struct { enum tree_op op; struct item it; } *v; size_t n, cap, at; int fail_at; };

static int list_next(struct tree_changes *self, struct tree_change *ret)
{
    struct change_list *l = (struct change_list *)self;

    if (l->fail_at && (int)l->at == l->fail_at)
        return -EIO;
    if (l->at == l->n)
        return 0;
    *ret = (struct tree_change){ .op = l->v[l->at].op, .key = l->v[l->at].it.key, .key_len = l->v[l->at].it.key_len,
                                 .val = l->v[l->at].it.val, .val_len = l->v[l->at].it.val_len };
    l->at++;
    return 1;
}

static void list_add(struct change_list *l, enum tree_op op, const struct item *it)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->v = realloc(l->v, l->cap * sizeof *l->v);
        assert_non_null(l->v);
    }
    l->v[l->n].op = op;
    l->v[l->n++].it = *it;
    l->head.next = list_next;
}

static int list_cmp(const void *a, const void *b)
{
    const struct { enum tree_op op; struct item it; } *x = a, *y = b;

    return key_cmp(x->it.key, x->it.key_len, y->it.key, y->it.key_len);
}

/* Sorted, one per key. */
static void list_sort(struct change_list *l)
{
    size_t w = 0;

    if (l->n)
        qsort(l->v, l->n, sizeof *l->v, list_cmp);
    for (size_t i = 0; i < l->n; i++) {
        if (w && !list_cmp(&l->v[w - 1], &l->v[i]))
            w--;
        l->v[w++] = l->v[i];
    }
    l->n = w;
    l->head.next = list_next;
}

static void list_apply_to(const struct change_list *l, struct model *m)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i].op == TREE_PUT)
            model_put(m, &l->v[i].it);
        else
            model_del(m, l->v[i].it.key, l->v[i].it.key_len, l->v[i].op == TREE_DEL_PREFIX);
    }
}

static size_t last_puts;

static struct addr apply_ok(const struct addr *root, struct change_list *l)
{
    struct batch *b = batch_new();
    struct addr out;

    l->at = 0;
    assert_int_equal(tree_apply(cache, b, root, &l->head, &out), 0);
    last_puts = batch_count(b);
    assert_int_equal(meta_write(meta, b, false), 0);
    node_put_done(cache, true);
    batch_free(b);
    return out;
}

static struct addr build(const struct model *m)
{
    struct change_list l = { .head.next = list_next };
    struct addr zero = { 0 };

    for (size_t i = 0; i < m->n; i++)
        list_add(&l, TREE_PUT, &m->v[i]);
    struct addr a = apply_ok(&zero, &l);
    free(l.v);
    return a;
}

/* Keys as a filesystem has them: a number, a kind, sometimes more. */
static struct item random_item(unsigned inos)
{
    struct item it = { 0 };
    uint64_t ino = rng() % inos + 1;

    put_be64(it.key, ino);
    it.key[8] = (uint8_t)(rng() % 6 * 16);
    it.key_len = 9;
    if (it.key[8] >= 0x40) {
        put_be64(it.key + 9, rng() % 1000);
        it.key_len = 17 + (uint32_t)(rng() % 20);
        for (uint32_t i = 17; i < it.key_len; i++)
            it.key[i] = (uint8_t)('a' + rng() % 3);
    }
    it.val_len = (uint32_t)(rng() % 60);
    for (uint32_t i = 0; i < it.val_len; i++)
        it.val[i] = (uint8_t)rng();
    return it;
}

static struct item numbered(uint64_t n, uint8_t val)
{
    struct item it = { .key_len = 9, .val_len = 40 };

    put_be64(it.key, n);
    memset(it.val, val, it.val_len);
    return it;
}

static struct model filled(size_t n, uint64_t step)
{
    struct model m = { .v = malloc(n * sizeof(struct item)), .n = n, .cap = n };

    for (size_t i = 0; i < n; i++)
        m.v[i] = numbered((i + 1) * step, (uint8_t)i);
    return m;
}

static void assert_tree_is(const struct addr *root, const struct model *m)
{
    struct tree_cursor cur;
    uint64_t count;
    size_t i = 0;

    assert_int_equal(tree_count(cache, root, &count), 0);
    assert_int_equal(count, m->n);
    tree_cursor_init(&cur, cache, root);
    for (int r = tree_cursor_seek(&cur, "", 0); r; r = tree_cursor_next(&cur), i++) {
        assert_int_equal(r, 1);
        const struct node_entry *e = tree_cursor_entry(&cur);
        assert_true(i < m->n);
        assert_int_equal(e->key_len, m->v[i].key_len);
        assert_memory_equal(e->key, m->v[i].key, e->key_len);
        assert_int_equal(e->val_len, m->v[i].val_len);
        assert_memory_equal(e->val, m->v[i].val, e->val_len);
    }
    assert_int_equal(i, m->n);
    assert_null(tree_cursor_entry(&cur));
    assert_int_equal(tree_cursor_next(&cur), 0);
    tree_cursor_fini(&cur);
}

/* --- tests --- */

static void the_empty_tree_has_nothing_and_stays_the_zero_address(void **state)
{
    struct addr zero = { 0 };
    struct change_list l = { .head.next = list_next };
    struct tree_val v;
    struct item it = numbered(5, 1);
    struct model none = { 0 };

    assert_int_equal(tree_get(cache, &zero, "abc", 3, &v), 0);
    assert_tree_is(&zero, &none);
    list_add(&l, TREE_DEL, &it);
    struct addr a = apply_ok(&zero, &l);
    assert_true(addr_is_zero(&a));
    l.v[0].op = TREE_PUT;
    a = apply_ok(&zero, &l);
    assert_false(addr_is_zero(&a));
    l.v[0].op = TREE_DEL_PREFIX;
    l.v[0].it.key_len = 8;
    a = apply_ok(&a, &l);
    assert_true(addr_is_zero(&a));
    free(l.v);
}

static void random_batch(struct change_list *l, unsigned size, unsigned inos)
{
    for (unsigned i = 0; i < size; i++) {
        struct item it = random_item(inos);
        unsigned what = rng() % 20;
        if (what == 0) {
            it.key_len = rng() % 3 ? 8 : 1 + (uint32_t)(rng() % it.key_len);
            list_add(l, TREE_DEL_PREFIX, &it);
        } else {
            list_add(l, what < 7 ? TREE_DEL : TREE_PUT, &it);
        }
    }
    list_sort(l);
    /* A short prefix deletes nearly everything: rarely. */
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i].op == TREE_DEL_PREFIX && l->v[i].it.key_len < 8 && rng() % 8)
            l->v[i].op = TREE_DEL;
    }
}

static void any_history_of_the_same_entries_has_the_same_root(void **state)
{
    seed_of(__func__, 0);
    for (int round = 0; round < 12; round++) {
        unsigned inos = round % 3 == 0 ? 20 : round % 3 == 1 ? 2000 : 100000;
        struct model m = { 0 };
        struct addr root = { 0 };
        for (int step = 0; step < 25; step++) {
            struct change_list l = { .head.next = list_next };
            random_batch(&l, 1 + (unsigned)(rng() % (step % 5 ? 60 : 4000)), inos);
            root = apply_ok(&root, &l);
            list_apply_to(&l, &m);
            free(l.v);
            struct addr fresh = build(&m);
            assert_memory_equal(&fresh, &root, sizeof root);
        }
        assert_tree_is(&root, &m);
        free(m.v);
    }
}

static void shrinking_to_any_size_gives_the_fresh_root(void **state)
{
    struct model m = filled(20000, 3);
    struct addr full = build(&m);
    size_t cuts[] = { 0, 1, 2, 50, 70, 100, 101, 150, 500, 5000, 12000, 19999 };

    for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
        /* keep a head, then keep a tail */
        for (int tail = 0; tail < 2; tail++) {
            struct change_list l = { .head.next = list_next };
            struct model want = { .v = m.v + (tail ? m.n - cuts[c] : 0), .n = cuts[c] };
            for (size_t i = 0; i < m.n; i++) {
                if (tail ? i < m.n - cuts[c] : i >= cuts[c])
                    list_add(&l, TREE_DEL, &m.v[i]);
            }
            struct addr a = apply_ok(&full, &l), fresh = build(&want);
            assert_memory_equal(&a, &fresh, sizeof a);
            free(l.v);
        }
    }
    free(m.v);
}

static void a_deleted_prefix_spares_what_is_put_under_it_afterwards(void **state)
{
    struct model m = filled(30000, 1), want;
    struct addr root = build(&m);
    struct change_list l = { .head.next = list_next };
    struct item prefix = numbered(0x4000, 0), inside = numbered(0x4123, 9), odd = numbered(0x4124, 8), nested = numbered(0x4130, 0);

    prefix.key_len = 7;                                   /* 0x4000 .. 0x40ff and, shifted, nothing else */
    prefix.key[6] = 0x41;
    odd.key_len = 8;
    nested.key_len = 8;
    list_add(&l, TREE_DEL_PREFIX, &prefix);
    list_add(&l, TREE_PUT, &inside);
    list_add(&l, TREE_PUT, &odd);
    list_add(&l, TREE_DEL_PREFIX, &nested);
    want = model_copy(&m);
    list_apply_to(&l, &want);
    assert_int_equal(want.n, m.n - 256 + 2);
    struct addr a = apply_ok(&root, &l), fresh = build(&want);
    assert_memory_equal(&a, &fresh, sizeof a);
    free(l.v);
    free(want.v);
    free(m.v);
}

static void a_prefix_and_a_put_of_the_same_key_both_count(void **state)
{
    struct model m = filled(1000, 1), want;
    struct addr root = build(&m);
    struct change_list l = { .head.next = list_next };
    struct item it = numbered(500, 77);

    list_add(&l, TREE_DEL_PREFIX, &it);
    list_add(&l, TREE_PUT, &it);
    want = model_copy(&m);
    list_apply_to(&l, &want);
    struct addr a = apply_ok(&root, &l), fresh = build(&want);
    assert_memory_equal(&a, &fresh, sizeof a);
    free(l.v);
    free(want.v);
    free(m.v);
}

static void changes_out_of_order_are_refused(void **state)
{
    struct item x = numbered(2, 0), y = numbered(1, 0);
    struct change_list l = { .head.next = list_next };
    struct batch *b = batch_new();
    struct addr zero = { 0 }, out;

    list_add(&l, TREE_PUT, &x);
    list_add(&l, TREE_PUT, &y);
    assert_int_equal(tree_apply(cache, b, &zero, &l.head, &out), -EINVAL);
    l.at = 0;
    l.v[1] = l.v[0];
    assert_int_equal(tree_apply(cache, b, &zero, &l.head, &out), -EINVAL);
    assert_int_equal(batch_count(b), 0);
    batch_free(b);
    free(l.v);
}

static void one_change_in_a_large_tree_puts_a_few_nodes(void **state)
{
    struct model m = filled(100000, 2);
    struct addr root = build(&m);
    size_t total = 0, worst = 0, tries = 300;

    seed_of(__func__, 4711);
    for (size_t i = 0; i < tries; i++) {
        struct change_list l = { .head.next = list_next };
        struct item it = numbered(rng() % 200001, 0xee);
        list_add(&l, rng() % 4 ? TREE_PUT : TREE_DEL, &it);
        apply_ok(&root, &l);
        total += last_puts;
        worst = last_puts > worst ? last_puts : worst;
        free(l.v);
    }
    print_message("puts per change: %.2f on average, %zu at worst\n", (double)total / (double)tries, worst);
    assert_true(total <= tries * 5);
    assert_true(worst <= 24);
    free(m.v);
}

static int reads;
static int count_reads(bool is_write)
{
    reads += !is_write;
    return 0;
}

static void a_large_prefix_is_deleted_without_reading_what_it_covers(void **state)
{
    struct model m = filled(1 << 16, 1);
    struct addr root = build(&m);
    struct change_list l = { .head.next = list_next };
    struct item it = numbered(0, 0);

    it.key_len = 7;
    it.key[6] = 0;
    for (int i = 0x10; i < 0xf0; i++) {                   /* 57,344 of 65,536 entries, in adjoining prefixes of one byte */
        it.key[6] = (uint8_t)i;
        list_add(&l, TREE_DEL_PREFIX, &it);
    }
    struct model want = model_copy(&m);
    list_apply_to(&l, &want);
    struct addr most = apply_ok(&root, &l), most_fresh = build(&want);
    assert_memory_equal(&most, &most_fresh, sizeof most);
    it.key_len = 6;                                       /* all but the last entry, whose number has one bit more */
    l.n = 0;
    list_add(&l, TREE_DEL_PREFIX, &it);
    node_cache_free(cache);
    cache = node_cache_new(meta, 8 << 20);
    reads = 0;
    meta_fault = count_reads;
    struct addr a = apply_ok(&root, &l);
    meta_fault = NULL;
    assert_true(reads <= 12);
    struct model last = { .v = &m.v[m.n - 1], .n = 1 };
    struct addr fresh = build(&last);
    assert_memory_equal(&a, &fresh, sizeof a);
    free(want.v);
    free(l.v);
    free(m.v);
}

static void get_finds_what_is_there_and_nothing_else(void **state)
{
    struct model m = { 0 };

    seed_of(__func__, 0);
    for (int i = 0; i < 20000; i++) {
        struct item it = random_item(3000);
        model_put(&m, &it);
    }
    struct addr root = build(&m);
    for (int i = 0; i < 60000; i++) {
        struct item it = random_item(3001);
        if (i % 2)
            it = m.v[rng() % m.n];
        if (i % 5 == 0)
            it.key_len = 1 + (uint32_t)(rng() % it.key_len);
        size_t at = model_find(&m, it.key, it.key_len);
        bool there = model_has(&m, at, it.key, it.key_len);
        struct tree_val v = { 0 };
        assert_int_equal(tree_get(cache, &root, it.key, it.key_len, &v), there);
        if (there) {
            assert_int_equal(v.n, m.v[at].val_len);
            assert_memory_equal(v.p, m.v[at].val, v.n);
        }
        tree_val_done(&v);
        struct tree_cursor cur;
        tree_cursor_init(&cur, cache, &root);
        for (int k = 0; k < 3; k++) {
            int r = k ? tree_cursor_next(&cur) : tree_cursor_seek(&cur, it.key, it.key_len);
            assert_int_equal(r, at + (size_t)k < m.n);
            if (!r)
                break;
            const struct node_entry *e = tree_cursor_entry(&cur);
            assert_int_equal(item_cmp(&m.v[at + (size_t)k], e->key, e->key_len), 0);
        }
        tree_cursor_fini(&cur);
    }
    free(m.v);
}

struct diff_check { const struct model *a, *b; size_t i, j, seen; };

/* The next difference of the models, and that it is the one reported. */
static int diff_check_fn(void *arg, const struct node_entry *a, const struct node_entry *b)
{
    struct diff_check *d = arg;

    for (;; d->i++, d->j++) {
        assert_true(d->i < d->a->n || d->j < d->b->n);
        int c = d->i == d->a->n ? 1 : d->j == d->b->n ? -1 : item_cmp(&d->a->v[d->i], d->b->v[d->j].key, d->b->v[d->j].key_len);
        if (c || d->a->v[d->i].val_len != d->b->v[d->j].val_len || memcmp(d->a->v[d->i].val, d->b->v[d->j].val, d->b->v[d->j].val_len)) {
            assert_int_equal(a != NULL, c <= 0);
            assert_int_equal(b != NULL, c >= 0);
            if (a)
                assert_int_equal(item_cmp(&d->a->v[d->i], a->key, a->key_len), 0);
            if (b)
                assert_int_equal(item_cmp(&d->b->v[d->j], b->key, b->key_len), 0);
            d->i += c <= 0;
            d->j += c >= 0;
            d->seen++;
            return 0;
        }
    }
}

static void assert_diff(const struct model *a, const struct addr *ra, const struct model *b, const struct addr *rb)
{
    struct diff_check d = { .a = a, .b = b };

    assert_int_equal(tree_diff(cache, ra, rb, diff_check_fn, &d), 0);
    for (; d.i < a->n || d.j < b->n; d.i++, d.j++) {      /* what is left must be equal */
        assert_true(d.i < a->n && d.j < b->n);
        assert_int_equal(item_cmp(&a->v[d.i], b->v[d.j].key, b->v[d.j].key_len), 0);
        assert_int_equal(a->v[d.i].val_len, b->v[d.j].val_len);
        assert_memory_equal(a->v[d.i].val, b->v[d.j].val, b->v[d.j].val_len);
    }
}

static void diff_reports_exactly_the_differences_in_key_order(void **state)
{
    seed_of(__func__, 0);
    for (int round = 0; round < 30; round++) {
        struct model a = { 0 };
        unsigned inos = round % 2 ? 50 : 5000;
        for (unsigned i = 0, n = (unsigned)(rng() % 8000); i < n; i++) {
            struct item it = random_item(inos);
            model_put(&a, &it);
        }
        struct model b = model_copy(&a);
        struct change_list l = { .head.next = list_next };
        random_batch(&l, (unsigned)(rng() % (round % 3 ? 20 : 3000)), inos);
        list_apply_to(&l, &b);
        struct addr ra = build(&a), rb = apply_ok(&ra, &l);
        assert_diff(&a, &ra, &b, &rb);
        assert_diff(&b, &rb, &a, &ra);
        free(l.v);
        free(a.v);
        free(b.v);
    }
}

static void diff_of_trees_of_different_height_and_of_nothing_is_right(void **state)
{
    struct model big = filled(60000, 1), none = { 0 }, small = { .v = big.v + 30000, .n = 20 }, mid = { .v = big.v + 100, .n = 9000 };
    struct addr rbig = build(&big), rsmall = build(&small), rmid = build(&mid), zero = { 0 };

    assert_diff(&big, &rbig, &small, &rsmall);
    assert_diff(&small, &rsmall, &big, &rbig);
    assert_diff(&mid, &rmid, &big, &rbig);
    assert_diff(&none, &zero, &mid, &rmid);
    assert_diff(&mid, &rmid, &none, &zero);
    assert_diff(&none, &zero, &none, &zero);
    free(big.v);
}

static int count_fn(void *arg, const struct node_entry *a, const struct node_entry *b)
{
    ++*(int *)arg;
    return 0;
}

static void diff_of_one_change_reads_a_few_nodes(void **state)
{
    struct model m = filled(100000, 2);
    struct addr root = build(&m);
    int worst = 0, sum = 0;

    seed_of(__func__, 99);
    for (int i = 0; i < 40; i++) {
        struct change_list l = { .head.next = list_next };
        struct item it = numbered(rng() % 200001, 0xee);
        int n = 0;
        it.val_len--;                                     /* no entry has this value already */
        list_add(&l, TREE_PUT, &it);
        struct addr other = apply_ok(&root, &l);
        node_cache_free(cache);
        cache = node_cache_new(meta, 8 << 20);
        reads = 0;
        meta_fault = count_reads;
        assert_int_equal(tree_diff(cache, &root, &other, count_fn, &n), 0);
        meta_fault = NULL;
        assert_int_equal(n, 1);
        worst = reads > worst ? reads : worst;
        sum += reads;
        free(l.v);
    }
    print_message("nodes read per diff: %.1f on average, %d at worst\n", sum / 40.0, worst);
    assert_true(worst <= 40);
    assert_true(sum <= 40 * 12);
    free(m.v);
}

static int stop_fn(void *arg, const struct node_entry *a, const struct node_entry *b)
{
    return ++*(int *)arg == 3 ? 42 : 0;
}

static void diff_stops_when_told(void **state)
{
    struct model m = filled(1000, 1);
    struct addr root = build(&m), zero = { 0 };
    int n = 0;

    assert_int_equal(tree_diff(cache, &zero, &root, stop_fn, &n), 42);
    assert_int_equal(n, 3);
    free(m.v);
}

struct walk_count { size_t nodes, entries; uint8_t above; int left_out; };

static int walk_enter(void *arg, const struct addr *a)
{
    struct walk_count *w = arg;

    return w->left_out-- != 0;
}

static int walk_fn(void *arg, const struct addr *a, uint8_t level, const struct node *n)
{
    struct walk_count *w = arg;

    assert_true(addr_eq(a, &n->addr));
    assert_int_equal(level, n->level);
    w->nodes++;
    w->entries += level ? 0 : n->count;
    return 1;
}

static void walk_visits_every_node_but_those_left_out(void **state)
{
    struct model m = filled(30000, 1);
    struct addr root = build(&m);
    struct walk_count w = { .left_out = -1 }, w2 = { .left_out = 3 };

    assert_int_equal(tree_walk(cache, &root, walk_enter, walk_fn, &w), 0);
    assert_int_equal(w.entries, m.n);
    assert_int_equal(w.nodes, last_puts);
    assert_int_equal(tree_walk(cache, &root, walk_enter, walk_fn, &w2), 0);
    assert_true(w2.nodes < w.nodes && w2.entries < w.entries);
    w = (struct walk_count){ 0 };
    assert_int_equal(tree_walk(cache, &root, NULL, walk_fn, &w), 0);
    assert_int_equal(w.entries, m.n);
    free(m.v);
}

static int fault_at, fault_calls;
static bool alloc_faulty(size_t size)
{
    return ++fault_calls == fault_at;
}
static int meta_faulty(bool is_write)
{
    return ++fault_calls == fault_at ? -EIO : 0;
}

static void a_failing_allocation_or_disk_call_changes_nothing(void **state)
{
    struct model m = filled(20000, 2);
    struct addr root = build(&m), out;
    struct change_list l = { .head.next = list_next };
    struct model want = model_copy(&m);

    for (unsigned i = 0; i < 6; i++) {
        struct item it = numbered(i * 6001 + 1, 0xcc);
        list_add(&l, TREE_PUT, &it);
    }
    list_apply_to(&l, &want);
    for (int kind = 0; kind < 2; kind++) {
        int r = -1;
        for (fault_at = 1; r; fault_at++) {
            struct batch *b = batch_new();
            node_cache_free(cache);
            cache = node_cache_new(meta, 1 << 20);
            fault_calls = 0;
            l.at = 0;
            mem_fault = kind ? NULL : alloc_faulty;
            meta_fault = kind ? meta_faulty : NULL;
            r = tree_apply(cache, b, &root, &l.head, &out);
            mem_fault = NULL;
            meta_fault = NULL;
            assert_true(r == 0 || r == (kind ? -EIO : -ENOMEM));
            if (r == 0) {
                assert_int_equal(meta_write(meta, b, false), 0);
                if (fault_calls < fault_at)
                    assert_tree_is(&out, &want);
                else
                    r = -1;                               /* a failure that did no harm (a table that did not grow): go on */
            }
            batch_free(b);
        }
        print_message("kind %d: %d calls\n", kind, fault_at);
        assert_true(fault_at > 10);
    }
    for (l.fail_at = 1; l.fail_at < 6; l.fail_at++) {
        struct batch *b = batch_new();
        l.at = 0;
        assert_int_equal(tree_apply(cache, b, &root, &l.head, &out), -EIO);
        batch_free(b);
    }
    free(l.v);
    free(want.v);
    free(m.v);
}

static void a_large_build_goes_to_the_store_in_parts(void **state)
{
    struct model m = { .v = malloc(200000 * sizeof(struct item)), .n = 200000 };
    struct change_list l = { .head.next = list_next };
    struct addr zero = { 0 }, out;
    struct batch *b = batch_new();

    for (size_t i = 0; i < m.n; i++) {
        m.v[i] = numbered(i + 1, (uint8_t)i);
        list_add(&l, TREE_PUT, &m.v[i]);
    }
    assert_int_equal(tree_apply(cache, b, &zero, &l.head, &out), 0);
    assert_true(batch_bytes(b) < 5 << 20);
    assert_tree_is(&out, &m);                             /* also before what is left is written */
    assert_int_equal(meta_write(meta, b, false), 0);
    node_put_done(cache, true);
    node_cache_free(cache);
    cache = node_cache_new(meta, 8 << 20);
    assert_tree_is(&out, &m);
    batch_free(b);
    free(l.v);
    free(m.v);
}

static void a_child_that_does_not_fit_its_parent_is_an_error(void **state)
{
    struct model m = filled(5000, 1);
    struct addr root = build(&m), wrong;
    struct node *n;
    struct buf buf = BUF_INIT;
    struct batch *b = batch_new();
    struct tree_val v;
    struct item it = numbered(1, 0);

    assert_int_equal(node_get(cache, &root, &n), 0);
    assert_true(n->level > 0 && n->count > 2);
    struct node_entry *e = malloc(n->count * sizeof *e);
    memcpy(e, n->entries, n->count * sizeof *e);
    e[0].val = n->entries[1].val;                         /* the second child under the first one's key */
    node_encode(n->level, e, n->count, &buf);
    assert_int_equal(node_put(cache, b, buf.data, buf.len, &wrong), 0);
    assert_int_equal(tree_get(cache, &wrong, it.key, it.key_len, &v), -EIO);
    buf_clear(&buf);
    e[0].val = n->entries[0].val;
    node_encode((uint8_t)(n->level + 1), e, n->count, &buf);
    assert_int_equal(node_put(cache, b, buf.data, buf.len, &wrong), 0);
    assert_int_equal(tree_get(cache, &wrong, it.key, it.key_len, &v), -EIO);
    node_unref(n);
    node_put_done(cache, false);
    batch_free(b);
    buf_fini(&buf);
    free(e);
    free(m.v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_empty_tree_has_nothing_and_stays_the_zero_address, setup, teardown),
        cmocka_unit_test_setup_teardown(any_history_of_the_same_entries_has_the_same_root, setup, teardown),
        cmocka_unit_test_setup_teardown(shrinking_to_any_size_gives_the_fresh_root, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deleted_prefix_spares_what_is_put_under_it_afterwards, setup, teardown),
        cmocka_unit_test_setup_teardown(a_prefix_and_a_put_of_the_same_key_both_count, setup, teardown),
        cmocka_unit_test_setup_teardown(changes_out_of_order_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(one_change_in_a_large_tree_puts_a_few_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_prefix_is_deleted_without_reading_what_it_covers, setup, teardown),
        cmocka_unit_test_setup_teardown(get_finds_what_is_there_and_nothing_else, setup, teardown),
        cmocka_unit_test_setup_teardown(diff_reports_exactly_the_differences_in_key_order, setup, teardown),
        cmocka_unit_test_setup_teardown(diff_of_trees_of_different_height_and_of_nothing_is_right, setup, teardown),
        cmocka_unit_test_setup_teardown(diff_of_one_change_reads_a_few_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(diff_stops_when_told, setup, teardown),
        cmocka_unit_test_setup_teardown(walk_visits_every_node_but_those_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failing_allocation_or_disk_call_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_build_goes_to_the_store_in_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_child_that_does_not_fit_its_parent_is_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
