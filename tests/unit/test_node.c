/* The node codec and the cache of nodes. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/log.h"
#include "fs/key.h"
#include "fs/meta.h"
#include "fs/node_cache.h"

#include "tests/lib/seed.h"

/* Where the source tree is: the tests run in the build directory. */
static const char *source_path(const char *rel)
{
    static char path[512];
    const char *file = __FILE__, *end = strstr(file, "tests/unit/");

    snprintf(path, sizeof path, "%.*s%s", (int)(end - file), file, rel);
    return path;
}

static uint64_t rng_state;
static uint64_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state;
}

static void seed(const char *test)
{
    rng_state = test_seed();
    print_message("%s: COPPICE_SEED=%llu\n", test, (unsigned long long)rng_state);
    rng_state |= 1;
}

#define ENTRY(k, v) { .key = (const uint8_t *)(k), .key_len = sizeof(k) - 1, .val = (const uint8_t *)(v), .val_len = sizeof(v) - 1 }
#define CHILD "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x00\x00\x00\x01"

static const struct node_entry leaf_entries[] = {
    ENTRY("\0\0\0\0\0\0\0\x01\0", "root inode"),
    ENTRY("\0\0\0\0\0\0\0\x01\x20user.a", ""),
    ENTRY("\0\0\0\0\0\0\0\x01\x20user.ab", "\0\xff"),
    ENTRY("\0\0\0\0\0\0\0\x02\0", "another inode"),
    ENTRY("\0\0\0\0\0\0\0\x02\x10",
          "a body of more than 127 bytes, so that its length takes two bytes: ........................................................................"),
    ENTRY("\x40\0\0\0\0\0\0\x02\x50\0\0\0\0\0\0\0\0", "x"),
};
static const struct node_entry inner_entries[] = {
    ENTRY("\0\0\0\0\0\0\0\x01\0", CHILD "\x05\0\0\0\0\0\0\0"),
    ENTRY("\0\0\0\0\0\0\x02\x01\0", CHILD "\0\0\0\0\0\x01\0\0"),
};
enum { LEAVES = sizeof leaf_entries / sizeof *leaf_entries, INNERS = sizeof inner_entries / sizeof *inner_entries };

static struct buf encoded(int level)
{
    struct buf b = BUF_INIT;

    node_encode((uint8_t)level, level ? inner_entries : leaf_entries, level ? INNERS : LEAVES, &b);
    assert_int_equal(buf_err(&b), 0);
    return b;
}

static void assert_entries(const struct node *n, const struct node_entry *want, uint32_t count)
{
    assert_int_equal(n->count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(n->entries[i].key_len, want[i].key_len);
        assert_memory_equal(n->entries[i].key, want[i].key, want[i].key_len);
        assert_int_equal(n->entries[i].val_len, want[i].val_len);
        assert_memory_equal(n->entries[i].val, want[i].val, want[i].val_len);
    }
}

/* --- codec --- */

/* Set GOLDEN_WRITE to make the file anew, when the format's version changes. */
static void the_bytes_are_those_of_the_golden_files(void **state)
{
    static const char *const names[] = { "tests/golden/node_leaf.bin", "tests/golden/node_inner.bin" };

    for (int level = 0; level < 2; level++) {
        struct buf b = encoded(level);
        uint8_t want[1024];
        if (getenv("GOLDEN_WRITE")) {
            FILE *f = fopen(source_path(names[level]), "w");
            assert_non_null(f);
            fwrite(b.data, 1, b.len, f);
            fclose(f);
        }
        FILE *f = fopen(source_path(names[level]), "r");
        assert_non_null(f);
        size_t n = fread(want, 1, sizeof want, f);
        fclose(f);
        assert_int_equal(b.len, n);
        assert_memory_equal(b.data, want, n);
        struct node *node;
        assert_int_equal(node_decode(want, n, &node), 0);
        assert_int_equal(node->level, level);
        assert_entries(node, level ? inner_entries : leaf_entries, level ? INNERS : LEAVES);
        node_unref(node);
        buf_fini(&b);
    }
}

static void a_truncated_or_extended_node_is_refused(void **state)
{
    for (int level = 0; level < 2; level++) {
        struct buf b = encoded(level);
        struct node *n;
        for (size_t len = 0; len < b.len; len++) {
            uint8_t *exact = malloc(len ? len : 1);       /* so that the sanitizer sees a read past the end */
            memcpy(exact, b.data, len);
            assert_int_equal(node_decode(exact, len, &n), -EUCLEAN);
            free(exact);
        }
        buf_put_u8(&b, 0);
        assert_int_equal(node_decode(b.data, b.len, &n), -EUCLEAN);
        buf_fini(&b);
    }
}

/* As the fuzzer does; true if it was accepted. */
static bool check_bytes(const uint8_t *p, size_t size)
{
    struct node *n;
    struct buf again = BUF_INIT;
    int r = node_decode(p, size, &n);

    if (r) {
        assert_int_equal(r, -EUCLEAN);
        return false;
    }
    for (uint32_t i = 1; i < n->count; i++)
        assert_true(key_cmp(n->entries[i - 1].key, n->entries[i - 1].key_len, n->entries[i].key, n->entries[i].key_len) < 0);
    node_encode(n->level, n->entries, n->count, &again);
    assert_int_equal(again.len, size);
    assert_memory_equal(again.data, p, size);
    buf_fini(&again);
    node_unref(n);
    return true;
}

static void flipped_bits_are_refused_or_give_another_node_but_never_a_crash(void **state)
{
    for (int level = 0; level < 2; level++) {
        struct buf b = encoded(level);
        int accepted = 0;
        for (size_t bit = 0; bit < b.len * 8; bit++) {
            b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            accepted += check_bytes(b.data, b.len);
            b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        assert_true(accepted > 0 && accepted < (int)b.len * 8);
        buf_fini(&b);
    }
}

static void random_bytes_never_crash(void **state)
{
    uint8_t bytes[256] = { 'N', 1 };

    seed(__func__);
    for (int i = 0; i < 200000; i++) {
        size_t n = rng() % sizeof bytes;
        for (size_t k = 2; k < n; k++)
            bytes[k] = rng() % 4 ? (uint8_t)(rng() % 5) : (uint8_t)rng();
        check_bytes(bytes, n);
    }
}

static void the_corpus_of_the_fuzzer_is_handled(void **state)
{
    char dirname[512], path[800];
    uint8_t bytes[8192];
    int files = 0, accepted = 0;

    snprintf(dirname, sizeof dirname, "%s", source_path("tests/fuzz/corpus/node"));
    DIR *d = opendir(dirname);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", dirname, e->d_name);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        size_t n = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        accepted += check_bytes(bytes, n);
        files++;
    }
    closedir(d);
    assert_true(files >= 8);
    assert_true(accepted >= 2);
}

static void forms_that_are_not_canonical_are_refused(void **state)
{
    static const struct { const char *why; const char *bytes; size_t n; } bad[] = {
#define B(why, s) { why, s, sizeof(s) - 1 }
        B("magic", "M\1\0\1\0\0\0\0\1\0a"),
        B("version", "N\2\0\1\0\0\0\0\1\0a"),
        B("level", "N\1\x0c\1\0\0\0\0\1\0a"),
        B("no entries", "N\1\0\0\0\0\0"),
        B("empty key", "N\1\0\1\0\0\0\0\0\0"),
        B("long varint", "N\1\0\1\0\0\0\x80\0\1\0a"),
        B("varint without end", "N\1\0\1\0\0\0\x80\x80\x80\x80\0\1\0a"),
        B("equal keys", "N\1\0\2\0\0\0\0\1\0a\0\1\0a"),
        B("descending keys", "N\1\0\2\0\0\0\0\1\0b\0\1\0a"),
        B("shared too little", "N\1\0\2\0\0\0\0\2\0ab\0\2\0ac"),
        B("shared too much", "N\1\0\2\0\0\0\0\1\0a\2\1\0b"),
        B("nothing after what is shared", "N\1\0\2\0\0\0\0\2\0ab\2\0\0"),
        B("count too large", "N\1\0\2\0\0\0\0\1\0a"),
        B("count absurd", "N\1\0\xff\xff\xff\xff\0\1\0a"),
        B("inner value short", "N\1\1\1\0\0\0\0\1\1ab"),
        B("inner count zero", "N\1\1\1\0\0\0\0\1\x1c" "a" CHILD "\0\0\0\0\0\0\0\0"),
    };
    static const char good[] = "N\1\0\2\0\0\0\0\2\0ab\1\1\1c!";
    struct node *n;

    assert_int_equal(node_decode((const uint8_t *)good, sizeof good - 1, &n), 0);
    node_unref(n);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (node_decode((const uint8_t *)bad[i].bytes, bad[i].n, &n) != -EUCLEAN)
            fail_msg("accepted: %s", bad[i].why);
    }
}

/* Keys with long common prefixes, lengths on both sides of the 8 bytes of a head, zero bytes at the end. */
static void search_agrees_with_a_scan(void **state)
{
    seed(__func__);
    for (int round = 0; round < 300; round++) {
        uint8_t keys[64][24];
        struct node_entry e[64], probe;
        uint32_t count = 0;
        size_t common = rng() % 10;
        for (int i = 0; i < 64; i++) {
            uint8_t k[24];
            size_t len = common + 1 + rng() % 12;
            memset(k, 'p', common);
            for (size_t j = common; j < len; j++)
                k[j] = (uint8_t)(rng() % 3 * 127);
            uint32_t at = 0;
            while (at < count && key_cmp(e[at].key, e[at].key_len, k, len) < 0)
                at++;
            if (at < count && !key_cmp(e[at].key, e[at].key_len, k, len))
                continue;
            memcpy(keys[count], k, sizeof k);
            memmove(e + at + 1, e + at, (count - at) * sizeof *e);
            e[at] = (struct node_entry){ .key = keys[count], .key_len = (uint16_t)len, .val = keys[count], .val_len = 3 };
            count++;
        }
        struct buf b = BUF_INIT;
        struct node *n;
        node_encode(0, e, count, &b);
        assert_int_equal(node_decode(b.data, b.len, &n), 0);
        for (int i = 0; i < 300; i++) {
            uint8_t k[24];
            size_t len = rng() % (common + 14);
            memset(k, rng() % 20 ? 'p' : 'o' + (int)(rng() % 3), sizeof k);
            for (size_t j = common; j < sizeof k; j++)
                k[j] = (uint8_t)(rng() % 3 * 127);
            probe = (struct node_entry){ .key = k, .key_len = (uint16_t)len };
            uint32_t want = 0;
            bool exact, there;
            while (want < count && key_cmp(e[want].key, e[want].key_len, probe.key, len) < 0)
                want++;
            there = want < count && !key_cmp(e[want].key, e[want].key_len, k, len);
            assert_int_equal(node_search(n, k, len, &exact), want);
            assert_int_equal(exact, there);
        }
        node_unref(n);
        buf_fini(&b);
    }
}

static bool always_fails(size_t size)
{
    return true;
}

static void decoding_without_memory_says_so(void **state)
{
    struct buf b = encoded(0);
    struct node *n;

    mem_fault = always_fails;
    assert_int_equal(node_decode(b.data, b.len, &n), -ENOMEM);
    mem_fault = NULL;
    buf_fini(&b);
}

/* --- cache --- */

static char dir[64];
static struct meta *meta;
static struct node_cache *cache;

static int setup(void **state)
{
    strcpy(dir, "/tmp/B-test-node-XXXXXX");
    if (!mkdtemp(dir) || meta_open(dir, true, &meta))
        return -1;
    cache = node_cache_new(meta, 1 << 20);
    return cache ? 0 : -1;
}

static int teardown(void **state)
{
    char cmd[96];

    node_hash = addr_of;
    node_cache_free(cache);
    meta_close(meta);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

/* A leaf of its own for every i. */
static struct buf leaf(uint32_t i, size_t val_len)
{
    uint8_t key[4], *val = calloc(1, val_len + 1);
    struct node_entry e = { .key = key, .key_len = 4, .val = val, .val_len = (uint32_t)val_len };
    struct buf b = BUF_INIT;

    put_le32(key, i);
    node_encode(0, &e, 1, &b);
    free(val);
    return b;
}

static struct addr put_leaf(struct batch *batch, uint32_t i, size_t val_len)
{
    struct buf b = leaf(i, val_len);
    struct addr a;

    assert_int_equal(node_put(cache, batch, b.data, b.len, &a), 0);
    buf_fini(&b);
    return a;
}

static void assert_leaf(const struct addr *a, uint32_t i)
{
    struct node *n;

    assert_int_equal(node_get(cache, a, &n), 0);
    assert_int_equal(le32(n->entries[0].key), i);
    assert_true(addr_eq(&n->addr, a));
    node_unref(n);
}

static void write_out(struct batch *b)
{
    assert_int_equal(meta_write(meta, b, false), 0);
    node_put_done(cache, true);
    batch_clear(b);
}

static void a_node_is_found_before_and_after_its_batch_is_written(void **state)
{
    struct batch *b = batch_new();
    struct addr a = put_leaf(b, 1, 10), same = put_leaf(b, 1, 10), other = put_leaf(b, 2, 10);

    assert_true(addr_eq(&a, &same));
    assert_false(addr_eq(&a, &other));
    assert_int_equal(batch_count(b), 2);
    assert_leaf(&a, 1);
    write_out(b);
    same = put_leaf(b, 1, 10);
    assert_true(addr_eq(&a, &same));
    assert_int_equal(batch_count(b), 0);
    assert_leaf(&a, 1);
    node_cache_free(cache);
    cache = node_cache_new(meta, 1 << 20);
    assert_leaf(&a, 1);
    batch_free(b);
}

static void a_node_whose_batch_was_given_up_is_put_again(void **state)
{
    struct batch *b = batch_new();
    struct addr a = put_leaf(b, 1, 10);

    assert_leaf(&a, 1);                                   /* now it is decoded in the cache, which proves nothing about the store */
    node_put_done(cache, false);
    batch_clear(b);
    put_leaf(b, 1, 10);
    assert_int_equal(batch_count(b), 1);
    batch_free(b);
}

static void a_node_pending_in_one_batch_is_put_into_another_too(void **state)
{
    struct batch *x = batch_new(), *y = batch_new();
    struct addr a = put_leaf(x, 1, 10);

    put_leaf(y, 1, 10);
    assert_int_equal(batch_count(y), 1);
    node_batch_forget(cache, x);
    assert_leaf(&a, 1);
    assert_int_equal(node_batch_flush(cache, y), 0);
    assert_int_equal(batch_count(y), 0);
    node_cache_free(cache);
    cache = node_cache_new(meta, 1 << 20);
    assert_leaf(&a, 1);
    batch_free(x);
    batch_free(y);
}

static struct addr one_hash(const void *bytes, size_t n)
{
    struct addr a = { 0 };

    memset(a.b, 7, ADDR_BYTES - 4);
    return a;
}

static void nodes_with_one_hash_get_discriminators(void **state)
{
    struct batch *b = batch_new();
    struct addr a[10];

    node_hash = one_hash;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < 10; i++) {
            a[i] = put_leaf(b, i, 10);
            assert_int_equal(addr_disc(&a[i]), i);
            if (i == 4)
                write_out(b);
        }
        for (uint32_t i = 0; i < 10; i++)
            assert_leaf(&a[i], i);
        write_out(b);
        assert_int_equal(batch_count(b), 0);
    }
    batch_free(b);
}

static void wrong_or_missing_bytes_are_an_input_output_error(void **state)
{
    struct batch *b = batch_new();
    struct addr a = put_leaf(b, 1, 10), gone = put_leaf(b, 2, 10), junk = addr_of("junk", 4);
    struct node *n;

    write_out(b);
    batch_put(b, CF_NODE, a.b, ADDR_BYTES, "something else", 14);
    batch_delete(b, CF_NODE, gone.b, ADDR_BYTES);
    batch_put(b, CF_NODE, junk.b, ADDR_BYTES, "junk", 4); /* what the address says, but no node */
    assert_int_equal(meta_write(meta, b, false), 0);
    batch_clear(b);
    assert_int_equal(node_get(cache, &a, &n), -EIO);
    assert_int_equal(node_get(cache, &gone, &n), -EIO);
    assert_int_equal(node_get(cache, &junk, &n), -EIO);
    /* The next to store the right bytes mends it. */
    struct addr again = put_leaf(b, 1, 10);
    assert_true(addr_eq(&a, &again));
    assert_int_equal(batch_count(b), 1);
    write_out(b);
    assert_leaf(&a, 1);
    batch_free(b);
}

static void the_cache_keeps_to_its_budget_and_to_what_is_used(void **state)
{
    struct batch *b = batch_new();
    struct addr a[2000], hot;

    for (uint32_t i = 0; i < 2000; i++)
        a[i] = put_leaf(b, i, 4000);
    hot = a[0];
    write_out(b);
    for (uint32_t i = 0; i < 2000; i++) {
        assert_leaf(&a[i], i);
        assert_leaf(&hot, 0);
        assert_true(node_cache_bytes(cache) <= 1 << 20);
    }
    assert_true(node_cache_bytes(cache) > 3 << 18);
    /* What was used all along is still there, though the store has lost it. */
    batch_delete(b, CF_NODE, hot.b, ADDR_BYTES);
    batch_delete(b, CF_NODE, a[1].b, ADDR_BYTES);
    assert_int_equal(meta_write(meta, b, false), 0);
    assert_leaf(&hot, 0);
    struct node *n;
    assert_int_equal(node_get(cache, &a[1], &n), -EIO);
    batch_free(b);
}

static void a_cache_without_budget_still_gives_nodes(void **state)
{
    struct batch *b = batch_new();
    struct addr a = put_leaf(b, 1, 100);

    write_out(b);
    node_cache_free(cache);
    cache = node_cache_new(meta, 0);
    assert_leaf(&a, 1);
    assert_leaf(&a, 1);
    assert_int_equal(node_cache_bytes(cache), 0);
    batch_free(b);
}

static struct addr shared_addrs[500];
static void *reader_thread(void *arg)
{
    uint64_t x = (uintptr_t)arg * 7919 + 1;

    for (int i = 0; i < 20000; i++) {
        struct node *n;
        x = x * 6364136223846793005u + 1442695040888963407u;
        uint32_t k = (uint32_t)(x >> 40) % 500;
        if (node_get(cache, &shared_addrs[k], &n) || le32(n->entries[0].key) != k)
            return (void *)1;
        node_unref(n);
    }
    return NULL;
}

static void many_threads_read_through_a_small_cache(void **state)
{
    struct batch *b = batch_new();
    pthread_t t[4];

    for (uint32_t i = 0; i < 500; i++)
        shared_addrs[i] = put_leaf(b, i, 4000);
    write_out(b);
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, reader_thread, (void *)i), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    batch_free(b);
}

static int fault_at, fault_calls;
static bool nth_fails(size_t size)
{
    return ++fault_calls == fault_at;
}

static void every_failing_allocation_is_survived(void **state)
{
    struct batch *b = batch_new();
    struct addr a = put_leaf(b, 1, 100);
    struct buf bytes = leaf(2, 100);
    int failures = 0;

    write_out(b);
    for (fault_at = 1;; fault_at++) {
        struct node *n = NULL;
        struct addr other;
        fault_calls = 0;
        mem_fault = nth_fails;
        struct node_cache *c = node_cache_new(meta, 1 << 20);
        int r = c ? node_get(c, &a, &n) : -ENOMEM;
        if (!r)
            r = node_put(c, b, bytes.data, bytes.len, &other);
        mem_fault = NULL;
        node_unref(n);
        node_cache_free(c);
        batch_clear(b);
        if (fault_calls < fault_at) {
            assert_int_equal(r, 0);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        failures++;
    }
    assert_true(failures >= 19);
    buf_fini(&bytes);
    batch_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_those_of_the_golden_files),
        cmocka_unit_test(a_truncated_or_extended_node_is_refused),
        cmocka_unit_test(flipped_bits_are_refused_or_give_another_node_but_never_a_crash),
        cmocka_unit_test(random_bytes_never_crash),
        cmocka_unit_test(the_corpus_of_the_fuzzer_is_handled),
        cmocka_unit_test(forms_that_are_not_canonical_are_refused),
        cmocka_unit_test(search_agrees_with_a_scan),
        cmocka_unit_test(decoding_without_memory_says_so),
        cmocka_unit_test_setup_teardown(a_node_is_found_before_and_after_its_batch_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_whose_batch_was_given_up_is_put_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_node_pending_in_one_batch_is_put_into_another_too, setup, teardown),
        cmocka_unit_test_setup_teardown(nodes_with_one_hash_get_discriminators, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_or_missing_bytes_are_an_input_output_error, setup, teardown),
        cmocka_unit_test_setup_teardown(the_cache_keeps_to_its_budget_and_to_what_is_used, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cache_without_budget_still_gives_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(many_threads_read_through_a_small_cache, setup, teardown),
        cmocka_unit_test_setup_teardown(every_failing_allocation_is_survived, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
