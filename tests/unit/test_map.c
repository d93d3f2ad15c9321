/* The map of a layer against a sorted array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fs/key.h"
#include "fs/map.h"

#include "tests/lib/seed.h"

enum { KEYS = 3000, ROUNDS = 20000 };

struct cell {
    struct key k;
    bool there, tombstone, dirty;
    uint32_t len;
    uint8_t seed;
};

static struct cell *cells[KEYS];

static uint64_t rng_state;

static uint32_t rnd(uint32_t n)
{
    rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(rng_state >> 33) % n;
}

static int by_key(const void *a, const void *b)
{
    const struct cell *x = *(struct cell *const *)a, *y = *(struct cell *const *)b;

    return key_cmp(x->k.b, x->k.len, y->k.b, y->k.len);
}

static void make_keys(void)
{
    for (unsigned i = 0; i < KEYS; i++) {
        char name[32];
        uint64_t ino = 1 + i % 37;
        cells[i] = calloc(1, sizeof **cells);
        snprintf(name, sizeof name, "n%u", i);
        switch (i % 4) {
        case 0:
            cells[i]->k = key_dirent(ino, name_cookie(name, strlen(name)), name, strlen(name));
            break;
        case 1:
            cells[i]->k = key_extent(ino, i);
            break;
        case 2:
            cells[i]->k = key_xattr(ino, name, strlen(name));
            break;
        default:
            cells[i]->k = key_simple(1000 + i, KEY_INODE);
        }
    }
    qsort(cells, KEYS, sizeof *cells, by_key);
}

static void fill(uint8_t *p, uint32_t n, uint8_t seed)
{
    for (uint32_t i = 0; i < n; i++)
        p[i] = (uint8_t)(seed + i * 7);
}

static void check_entry(const struct map_entry *e, const struct cell *c)
{
    uint8_t want[5000];

    assert_non_null(e);
    assert_int_equal(e->key_len, c->k.len);
    assert_memory_equal(e->key, c->k.b, c->k.len);
    assert_int_equal(e->tombstone, c->tombstone);
    assert_int_equal(e->dirty, c->dirty);
    if (c->tombstone)
        return;
    fill(want, c->len, c->seed);
    assert_int_equal(e->val_len, c->len);
    if (c->len)
        assert_memory_equal(e->val, want, c->len);
}

static void check_all(const struct map *m)
{
    struct map_iter it;
    uint8_t none = 0;
    size_t n = 0;
    const struct map_entry *e = map_seek(m, &it, &none, 0);

    for (unsigned i = 0; i < KEYS; i++) {
        if (!cells[i]->there) {
            assert_null(map_get(m, cells[i]->k.b, cells[i]->k.len));
            continue;
        }
        check_entry(map_get(m, cells[i]->k.b, cells[i]->k.len), cells[i]);
        check_entry(e, cells[i]);
        e = map_next(&it);
        n++;
    }
    assert_null(e);
    assert_int_equal(map_count(m), n);
}

static int clean_one(void *arg, const struct map_entry *e)
{
    struct cell key = { 0 }, *k = &key, **found;

    if (arg && --*(int *)arg < 0)
        return -EIO;
    k->k.len = e->key_len;
    memcpy(k->k.b, e->key, e->key_len);
    found = bsearch(&k, cells, KEYS, sizeof *cells, by_key);
    assert_non_null(found);
    assert_true((*found)->dirty);
    return 0;
}

static void seek_at_random(const struct map *m)
{
    struct map_iter it;
    unsigned i = rnd(KEYS), j = i;
    const struct map_entry *e = map_seek(m, &it, cells[i]->k.b, cells[i]->k.len);

    while (j < KEYS && !cells[j]->there)
        j++;
    if (j == KEYS)
        assert_null(e);
    else
        check_entry(e, cells[j]);
}

static void random_changes_agree_with_a_sorted_array(void **state)
{
    struct map *m = map_new();
    uint8_t val[5000];

    rng_state = test_seed();
    print_message("seed %llu\n", (unsigned long long)rng_state);
    make_keys();
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct cell *c = cells[rnd(KEYS)];
        bool load = rnd(10) == 0 && !c->there;
        c->there = true;
        c->tombstone = rnd(4) == 0;
        c->len = rnd(3) ? rnd(200) : rnd(5000);
        c->seed = (uint8_t)rnd(256);
        c->dirty = c->dirty || !load;
        fill(val, c->len, c->seed);
        assert_int_equal((load ? map_load : map_put)(m, c->k.b, c->k.len, c->tombstone ? NULL : val, c->len), 0);
        seek_at_random(m);
        if (round % 5000 == 4999) {
            int allowed = 3;
            check_all(m);
            assert_int_equal(map_each_dirty(m, clean_one, &allowed), -EIO);
            check_all(m);                 /* a callback that failed left everything dirty */
            assert_int_equal(map_each_dirty(m, clean_one, NULL), 0);
            for (unsigned i = 0; i < KEYS; i++)
                cells[i]->dirty = false;
            assert_false(map_has_dirty(m));
        }
    }
    check_all(m);
    map_free(m);
    for (unsigned i = 0; i < KEYS; i++)
        free(cells[i]);
}

static int budget;

static _Bool fail_after_budget(size_t size)
{
    return budget-- <= 0;
}

static _Bool never_again(size_t size)
{
    fail_msg("an allocation of %zu bytes after a reservation", size);
    return true;
}

static void puts_after_a_reservation_allocate_nothing(void **state)
{
    struct map *m = map_new();
    uint8_t val[2048] = { 1 };

    rng_state = 7;
    for (unsigned i = 0; i < 20000; i += 8) {
        size_t lens[8], sum = 0;
        for (unsigned j = 0; j < 8; j++)
            sum += lens[j] = rnd(sizeof val);
        assert_int_equal(map_reserve(m, 8, sum), 0);
        mem_fault = never_again;
        for (unsigned j = 0; j < 8; j++) {
            struct key k = key_extent(1 + rnd(50), rnd(100000));
            assert_int_equal(map_put(m, k.b, k.len, val, lens[j]), 0);
        }
        mem_fault = NULL;
    }
    map_free(m);
}

static void a_failed_allocation_changes_nothing(void **state)
{
    struct map *m = map_new();
    struct key k;
    unsigned failures = 0;

    for (uint64_t i = 0; i < 3000; i++) {
        k = key_extent(i % 7, i * 11 % 3001);
        for (int n = 0;; n++) {
            size_t count = map_count(m);
            budget = n;
            mem_fault = fail_after_budget;
            int r = map_put(m, k.b, k.len, &i, sizeof i);
            mem_fault = NULL;
            if (r == 0)
                break;
            failures++;
            assert_int_equal(r, -ENOMEM);
            assert_int_equal(map_count(m), count);
            assert_null(map_get(m, k.b, k.len));
        }
        const struct map_entry *e = map_get(m, k.b, k.len);
        assert_non_null(e);
        assert_memory_equal(e->val, &i, sizeof i);
    }
    assert_true(failures > 0);
    map_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_agree_with_a_sorted_array),
        cmocka_unit_test(puts_after_a_reservation_allocate_nothing),
        cmocka_unit_test(a_failed_allocation_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
