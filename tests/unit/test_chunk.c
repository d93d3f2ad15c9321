#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/wire.h"
#include "fs/chunk.h"
#include "fs/limits.h"
#include "fs/meta.h"
#include "fs/segment.h"

static char dir[64];
static int datafd;
static struct meta *meta;
static struct segments *segs;
static struct chunks *chunks;
static uint64_t last_id;

static int next_id(void *arg, uint64_t *ret)
{
    *ret = ++last_id;
    return 0;
}

static void reopen(size_t cache)
{
    chunks_close(chunks);
    chunks = NULL;
    assert_int_equal(chunks_open(meta, segs, cache, &chunks), 0);
    chunks_set_id_source(chunks, next_id, NULL);
}

static int setup(void **state)
{
    char path[96];

    snprintf(dir, sizeof dir, "/tmp/X-chunk-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/data", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    datafd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/meta", dir);
    assert_int_equal(meta_open(path, true, &meta), 0);
    assert_int_equal(segments_open(datafd, &segs), 0);
    last_id = 100;
    reopen(0);
    return 0;
}

static int teardown(void **state)
{
    char cmd[96];

    disk = &disk_real;
    mem_fault = NULL;
    meta_fault = NULL;
    chunk_hash = addr_of;
    chunks_close(chunks);
    chunks = NULL;
    segments_close(segs);
    meta_close(meta);
    close(datafd);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

/* --- helpers --- */

/* Bytes made from a number; a text-like part compresses, else not. No zero at the end. */
static void make(uint8_t *p, uint32_t n, uint64_t seed, bool compressible)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;

    for (uint32_t i = 0; i < n; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        p[i] = compressible ? (uint8_t)("abcd"[x >> 62]) : (uint8_t)(x >> 56);
    }
    p[n - 1] |= 1;
}

static int commit(struct batch *b)
{
    int r = chunk_put_sync(chunks);

    if (r == 0)
        r = meta_write(meta, b, true);
    chunk_put_done(chunks, r == 0);
    return r;
}

static struct addr store(const uint8_t *p, uint32_t n, bool *ret_shared)
{
    struct batch *b = batch_new();
    struct addr a;

    assert_int_equal(chunk_put(chunks, b, p, n, NULL, &a, ret_shared), 0);
    assert_int_equal(commit(b), 0);
    batch_free(b);
    return a;
}

static struct addr store_made(uint32_t n, uint64_t seed, bool compressible)
{
    static uint8_t p[SLOT];
    bool shared;

    make(p, n, seed, compressible);
    return store(p, n, &shared);
}

static void assert_chunk(const struct addr *a, const uint8_t *p, uint32_t n)
{
    struct chunk_data d;

    assert_int_equal(chunk_get(chunks, a, &d), 0);
    assert_int_equal(d.n, n);
    assert_memory_equal(d.p, p, n);
    chunk_data_done(&d);
}

static void assert_made(const struct addr *a, uint32_t n, uint64_t seed, bool compressible)
{
    static uint8_t p[SLOT];

    make(p, n, seed, compressible);
    assert_chunk(a, p, n);
}

static void assert_bad(const struct addr *a)
{
    struct chunk_data d;

    assert_int_equal(chunk_get(chunks, a, &d), -EIO);
}

static int open_segment(uint64_t id, int flags)
{
    char name[24];

    snprintf(name, sizeof name, "%016llx", (unsigned long long)id);
    return openat(datafd, name, flags | O_CLOEXEC);
}

static void flip(const struct chunk_loc *loc, uint64_t at)
{
    int fd = open_segment(loc->seg, O_RDWR);
    uint8_t c;

    assert_int_equal(pread(fd, &c, 1, (off_t)(loc->off + at)), 1);
    c ^= 0x10;
    assert_int_equal(pwrite(fd, &c, 1, (off_t)(loc->off + at)), 1);
    close(fd);
}

static uint64_t allocated(uint64_t id)
{
    struct segment *s;
    uint64_t n;

    if (segment_get(segs, id, false, &s) < 0)
        return 0;
    n = segment_allocated(s);
    segment_unref(s);
    return n;
}

static bool exists(uint64_t id)
{
    int fd = open_segment(id, O_RDONLY);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static struct chunk_loc loc_of(const struct addr *a)
{
    struct chunk_loc loc = { 0 };

    assert_int_equal(chunk_stat(chunks, a, &loc), 0);
    return loc;
}

/* --- storing --- */

static void equal_bytes_are_stored_once(void **state)
{
    uint8_t p[5000];
    bool shared;
    struct chunk_totals t;

    make(p, sizeof p, 1, false);
    struct addr a = store(p, sizeof p, &shared);
    assert_false(shared);
    struct addr b = store(p, sizeof p, &shared);
    assert_true(shared);
    assert_true(addr_eq(&a, &b));
    struct addr c = store(p, 4999, &shared);
    assert_false(shared);
    assert_false(addr_eq(&a, &c));
    assert_int_equal(chunk_totals(chunks, &t), 0);
    assert_int_equal(t.chunks, 2);
    assert_int_equal(t.raw_bytes, 9999);
    assert_int_equal(t.stored_bytes, 9999);
    assert_int_equal(t.packed_chunks, 0);
    reopen(0);
    assert_chunk(&a, p, 5000);
    assert_chunk(&c, p, 4999);
    assert_int_equal(addr_disc(&a), 0);
    assert_true(addr_matches(&a, p, 5000));
}

static void what_is_not_written_yet_is_found_by_this_process_only(void **state)
{
    struct batch *b = batch_new();
    uint8_t p[3000];
    struct addr a, again;
    bool shared;

    make(p, sizeof p, 2, false);
    assert_int_equal(chunk_put(chunks, b, p, sizeof p, NULL, &a, &shared), 0);
    assert_chunk(&a, p, sizeof p);
    size_t puts = batch_count(b);
    assert_int_equal(chunk_put(chunks, b, p, sizeof p, NULL, &again, &shared), 0);
    assert_true(shared);
    assert_int_equal(batch_count(b), puts);
    chunk_put_done(chunks, false);
    struct chunk_loc loc;
    assert_int_equal(chunk_stat(chunks, &a, &loc), -ENOENT);
    assert_bad(&a);
    batch_free(b);
}

static void abandoned_bytes_leave_no_space_taken(void **state)
{
    static uint8_t p[SLOT];
    struct addr a = store_made(1000, 1, false), x;
    uint64_t seg = loc_of(&a).seg, before = allocated(seg);
    bool shared;

    for (int round = 0; round < 3; round++) {
        struct batch *b = batch_new();
        for (uint64_t i = 0; i < 10; i++) {
            make(p, SLOT, 100 + i, false);
            assert_int_equal(chunk_put(chunks, b, p, SLOT, NULL, &x, &shared), 0);
            assert_false(shared);
        }
        assert_true(allocated(seg) > before + SLOT);
        chunk_put_abandon(chunks);
        batch_free(b);
        assert_true(allocated(seg) <= before + 2 * UNIT);
    }
    assert_made(&a, 1000, 1, false);
    struct addr c = store_made(2000, 2, false);
    assert_made(&c, 2000, 2, false);
    assert_made(&a, 1000, 1, false);
    assert_int_equal(loc_of(&c).seg, seg);
}

static void bytes_in_a_layer_become_a_chunk_where_they_lie(void **state)
{
    static uint8_t p[3 * UNIT];
    struct batch *b = batch_new();
    struct segment *s;
    struct chunk_place place = { true, 5, 7 * UNIT };
    struct chunk_loc loc;
    struct addr a, c;
    bool shared;

    make(p, sizeof p, 3, false);
    assert_int_equal(segment_get(segs, 5, true, &s), 0);
    assert_int_equal(segment_write(s, p, sizeof p, 7 * UNIT), 0);
    assert_int_equal(segment_write(s, p, sizeof p, 20 * UNIT), 0);
    assert_int_equal(segment_sync(s), 0);
    segment_unref(s);
    assert_int_equal(chunk_put(chunks, b, p, sizeof p, &place, &a, &shared), 0);
    assert_false(shared);
    assert_int_equal(commit(b), 0);
    loc = loc_of(&a);
    assert_int_equal(loc.seg, 5);
    assert_int_equal(loc.off, 7 * UNIT);
    assert_chunk(&a, p, sizeof p);
    /* A fold that is done again finds its own place used, not shared: it must not be punched. */
    batch_clear(b);
    assert_int_equal(chunk_put(chunks, b, p, sizeof p, &place, &c, &shared), 0);
    assert_false(shared);
    assert_int_equal(batch_count(b), 0);
    place.off = 20 * UNIT;
    assert_int_equal(chunk_put(chunks, b, p, sizeof p, &place, &c, &shared), 0);
    assert_true(shared);
    assert_true(addr_eq(&a, &c));
    assert_int_equal(chunk_put_at(chunks, b, p, sizeof p, &place, &c, &loc), 0);
    assert_int_equal(loc.seg, 5);
    assert_int_equal(loc.off, 7 * UNIT);
    chunk_put_done(chunks, true);
    batch_free(b);
}

static void a_full_pack_segment_is_followed_by_another(void **state)
{
    static uint8_t p[SLOT];
    struct batch *b = batch_new();
    struct addr a, first = { 0 };
    bool shared;

    make(p, SLOT, 9, false);
    for (uint32_t i = 0; i < 2100; i++) {                 /* 262 MiB */
        put_le32(p, i);
        assert_int_equal(chunk_put(chunks, b, p, SLOT, NULL, &a, &shared), 0);
        assert_true(loc_of(&a).off % UNIT != 0);
        if (i == 0)
            first = a;
    }
    assert_true(loc_of(&a).seg > loc_of(&first).seg);
    assert_true(loc_of(&a).off < 60 * SLOT);
    uint64_t second = loc_of(&a).seg;
    chunk_put_abandon(chunks);
    assert_false(exists(second));
    batch_free(b);
    struct addr c = store_made(100, 1, false);
    assert_made(&c, 100, 1, false);
}

/* --- collisions --- */

static struct addr two_bit_hash(const void *p, size_t n)
{
    struct addr a = { 0 };

    a.b[3] = *(const uint8_t *)p & 3;
    return a;
}

static void colliding_chunks_are_told_apart(void **state)
{
    enum { N = 300 };
    struct addr a[N];
    uint8_t p[64];
    bool shared;

    chunk_hash = two_bit_hash;
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < N; i++) {
            struct addr x;

            make(p, sizeof p, i, false);
            p[0] = (uint8_t)(i * 7);
            x = store(p, sizeof p, &shared);
            if (round == 0) {
                assert_false(shared);
                a[i] = x;
            }
            if (i < 200)                                  /* up to 50 in a class: all found again */
                assert_true(addr_eq(&x, &a[i]));
        }
        reopen(round ? 1 << 20 : 0);
        for (uint64_t i = 0; i < N; i++) {
            make(p, sizeof p, i, false);
            p[0] = (uint8_t)(i * 7);
            assert_chunk(&a[i], p, sizeof p);
        }
    }
}

/* Two inputs of equal XXH3-128: in one lane of two stripes of a block the low words cancel the secret, so the products are zero whatever
 * the high words are, and only the sum of the words counts. */
static void colliding_pair(uint8_t *x, uint8_t *y, uint32_t n)
{
    make(x, n, 77, false);
    memcpy(x, XXH3_kSecret, 4);                           /* stripe 0, lane 0: secret at 0 */
    memcpy(x + 64, XXH3_kSecret + 8, 4);                  /* stripe 1, lane 0: secret at 8 */
    put_le32(x + 4, 1000);
    put_le32(x + 68, 2000);
    memcpy(y, x, n);
    put_le32(y + 4, 1000 + 123);
    put_le32(y + 68, 2000 - 123);
}

static void chunks_made_to_collide_under_xxh3_are_told_apart(void **state)
{
    static const uint32_t sizes[] = { 241, 4096, SLOT };
    static uint8_t x[SLOT], y[SLOT];

    for (unsigned i = 0; i < 3; i++) {
        uint32_t n = sizes[i];
        bool shared;

        colliding_pair(x, y, n);
        assert_true(memcmp(x, y, n) != 0);
        assert_true(XXH128_isEqual(XXH3_128bits(x, n), XXH3_128bits(y, n)));
        struct addr ax = store(x, n, &shared);
        assert_false(shared);
        struct addr ay = store(y, n, &shared);
        assert_false(shared);
        assert_false(addr_eq(&ax, &ay));
        assert_int_equal(addr_disc(&ay), 1);
        assert_chunk(&ax, x, n);
        assert_chunk(&ay, y, n);
        struct addr again = store(y, n, &shared);
        assert_true(shared);
        assert_true(addr_eq(&again, &ay));
    }
}

/* --- damage --- */

static void any_damage_gives_eio_never_wrong_bytes(void **state)
{
    static uint8_t p[2500];
    struct pack_stats st;
    struct addr a[2];

    make(p, sizeof p, 5, true);
    a[0] = store_made(2500, 4, false);
    a[1] = store_made(2500, 5, true);
    assert_int_equal(chunk_pack(chunks, UINT64_MAX, NULL, NULL, &st), 0);
    assert_int_equal(loc_of(&a[0]).codec, CODEC_STORED);
    assert_int_equal(loc_of(&a[1]).codec, CODEC_ZSTD);
    for (int k = 0; k < 2; k++) {
        struct chunk_loc loc = loc_of(&a[k]);

        for (uint32_t at = 0; at < loc.stored_len; at++) {
            struct chunk_data d;

            flip(&loc, at);
            int r = chunk_get(chunks, &a[k], &d);
            if (r == 0) {                                 /* zstd has bits that mean nothing */
                assert_memory_equal(d.p, p, sizeof p);
                assert_int_equal(k, 1);
                chunk_data_done(&d);
            } else {
                assert_int_equal(r, -EIO);
            }
            flip(&loc, at);
        }
        assert_made(&a[k], 2500, 4 + (uint64_t)k, k);
    }
}

static void truncated_and_missing_segments_give_eio(void **state)
{
    struct addr a = store_made(3000, 1, false), b = store_made(3000, 2, false);
    struct chunk_loc loc = loc_of(&b);
    int fd = open_segment(loc.seg, O_RDWR);

    assert_int_equal(ftruncate(fd, (off_t)(loc.off + 2999)), 0);
    assert_bad(&b);
    assert_made(&a, 3000, 1, false);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_bad(&a);
    close(fd);
    reopen(0);
    assert_int_equal(segment_remove(segs, loc.seg), 0);
    assert_bad(&a);
    struct addr none = { { 1, 2, 3 } };
    assert_bad(&none);
}

static void malformed_index_entries_are_refused(void **state)
{
    struct addr a = store_made(3000, 1, false);
    struct chunk_loc loc = loc_of(&a);
    uint8_t v[CHUNK_LOC_BYTES];
    struct batch *b = batch_new();

    put_le64(v, loc.seg), put_le64(v + 8, loc.off), put_le32(v + 16, 3000), put_le32(v + 20, 3000), v[24] = 0;
    for (int k = 0; k < 7; k++) {
        uint8_t w[CHUNK_LOC_BYTES + 1] = { 0 };
        size_t n = CHUNK_LOC_BYTES;

        memcpy(w, v, sizeof v);
        if (k == 0) w[24] = 3;
        if (k == 1) put_le32(w + 20, SLOT + 1);
        if (k == 2) put_le32(w + 20, 0);
        if (k == 3) put_le32(w + 16, 2999);
        if (k == 4) put_le64(w + 8, UINT64_MAX);
        if (k == 5) n--;
        if (k == 6) n++;
        batch_clear(b);
        batch_put(b, CF_CHUNK, a.b, ADDR_BYTES, w, n);
        assert_int_equal(meta_write(meta, b, false), 0);
        assert_int_equal(chunk_stat(chunks, &a, &loc), -EIO);
        assert_bad(&a);
    }
    batch_free(b);
}

static int note_bad(void *arg, const struct addr *a, const struct chunk_loc *loc, int err)
{
    assert_int_equal(err, -EIO);
    memcpy(arg, a, sizeof *a);
    return 0;
}

static void scrub_finds_the_bad_one_and_storing_it_again_repairs_it(void **state)
{
    struct addr a[5], bad = { 0 };

    for (uint64_t i = 0; i < 5; i++)
        a[i] = store_made(4000, i, i % 2);
    assert_int_equal(chunk_scrub(chunks, note_bad, NULL, &bad), 0);
    assert_true(addr_is_zero(&bad));
    struct chunk_loc loc = loc_of(&a[3]);
    flip(&loc, 1234);
    assert_int_equal(chunk_scrub(chunks, note_bad, NULL, &bad), 0);
    assert_true(addr_eq(&bad, &a[3]));
    assert_bad(&a[3]);
    struct addr again = store_made(4000, 3, true);
    assert_true(addr_eq(&again, &a[3]));
    assert_made(&a[3], 4000, 3, true);
    bad = (struct addr){ 0 };
    assert_int_equal(chunk_scrub(chunks, note_bad, NULL, &bad), 0);
    assert_true(addr_is_zero(&bad));
}

/* --- packing and sweeping --- */

static bool only_layer_5(void *arg, uint64_t seg)
{
    return seg == 5;
}

static void packing_compresses_and_frees_and_changes_no_byte(void **state)
{
    enum { N = 20 };
    struct segment *s;
    static uint8_t p[SLOT];
    struct addr a[N];
    struct pack_stats st;
    struct chunk_totals t;
    struct batch *b = batch_new();
    uint64_t chunks_packed = 0;
    bool shared;

    assert_int_equal(segment_get(segs, 5, true, &s), 0);
    for (uint64_t i = 0; i < N; i++) {
        struct chunk_place place = { true, 5, i * SLOT };

        make(p, SLOT - 100, i, i % 2);
        assert_int_equal(segment_write(s, p, SLOT - 100, place.off), 0);
        assert_int_equal(chunk_put(chunks, b, p, SLOT - 100, &place, &a[i], &shared), 0);
    }
    segment_unref(s);
    assert_int_equal(commit(b), 0);
    batch_free(b);
    uint64_t before = allocated(5);
    assert_int_equal(chunk_pack(chunks, UINT64_MAX, only_layer_5, NULL, &st), 0);
    assert_int_equal(st.chunks, 0);
    int steps = 0;
    do {
        assert_int_equal(chunk_pack(chunks, 3 * SLOT, NULL, NULL, &st), 0);
        chunks_packed += st.chunks;
        assert_true(st.chunks <= 4);
        steps++;
    } while (st.more);
    assert_true(steps >= 5);
    assert_int_equal(chunks_packed, N);
    assert_true(allocated(5) <= before / 2 + 2 * UNIT);
    assert_int_equal(chunk_totals(chunks, &t), 0);
    assert_int_equal(t.packed_chunks, N);
    assert_true(t.stored_bytes < t.raw_bytes * 7 / 10);
    for (uint64_t i = 0; i < N; i++) {
        assert_made(&a[i], SLOT - 100, i, i % 2);
        assert_int_equal(loc_of(&a[i]).codec, i % 2 ? CODEC_ZSTD : CODEC_STORED);
        assert_true((loc_of(&a[i]).seg == 5) == !(i % 2));
    }
    assert_int_equal(chunk_pack(chunks, UINT64_MAX, NULL, NULL, &st), 0);
    assert_int_equal(st.chunks, 0);
    assert_false(st.more);
}

struct keep { struct addr a[64]; unsigned n; };

static bool keep_listed(void *arg, const struct addr *a)
{
    struct keep *k = arg;

    for (unsigned i = 0; i < k->n; i++)
        if (addr_eq(&k->a[i], a))
            return true;
    return false;
}

static bool skip_5(void *arg, uint64_t seg)
{
    return seg == 5;
}

static void sweeping_frees_what_is_not_kept_and_only_that(void **state)
{
    enum { N = 40 };
    struct addr a[N];
    struct keep keep = { .n = 0 };
    struct sweep_stats st;
    struct segment *s;

    assert_int_equal(segment_get(segs, 5, true, &s), 0);  /* a live layer's, nothing of it in the index */
    assert_int_equal(segment_write(s, "x", 1, 0), 0);
    segment_unref(s);
    assert_int_equal(segment_get(segs, 6, true, &s), 0);  /* left by a crash */
    segment_unref(s);
    for (uint64_t i = 0; i < N; i++)
        a[i] = store_made(SLOT - 1, i, false);
    uint64_t old = loc_of(&a[0]).seg;
    for (int i = 0; i < N; i += 4)
        keep.a[keep.n++] = a[i];
    uint64_t size = allocated(old);
    assert_int_equal(chunk_sweep(chunks, keep_listed, skip_5, &keep, true, &st), 0);
    assert_int_equal(st.chunks, 30);
    assert_int_equal(st.chunk_bytes, 30 * (SLOT - 1));
    assert_int_equal(st.segments, 1);
    assert_int_equal(allocated(old), size);
    assert_true(exists(6));
    assert_int_equal(chunk_sweep(chunks, keep_listed, skip_5, &keep, false, &st), 0);
    assert_int_equal(st.chunks, 30);
    assert_int_equal(st.segments, 2);
    assert_false(exists(6));
    assert_true(exists(5));
    assert_false(exists(old));                            /* rewritten: less than half full */
    for (uint64_t i = 0; i < N; i++) {
        if (i % 4)
            assert_bad(&a[i]);
        else
            assert_made(&a[i], SLOT - 1, i, false);
    }
    assert_int_equal(chunk_sweep(chunks, keep_listed, skip_5, &keep, false, &st), 0);
    assert_int_equal(st.chunks, 0);
    assert_int_equal(st.segments, 0);
    keep.n = 0;
    assert_int_equal(chunk_sweep(chunks, keep_listed, skip_5, &keep, false, &st), 0);
    assert_int_equal(st.chunks, 10);
    assert_int_equal(st.segments, 1);
    assert_true(exists(5));
}

static void sweeping_punches_gaps_of_segments_that_stay(void **state)
{
    enum { N = 40 };
    struct addr a[N];
    struct keep keep = { .n = 0 };
    struct sweep_stats st;

    for (uint64_t i = 0; i < N; i++)
        a[i] = store_made(SLOT, i, false);
    uint64_t seg = loc_of(&a[0]).seg, size = allocated(seg);
    for (int i = 0; i < N; i++)
        if (i % 3)
            keep.a[keep.n++] = a[i];
    assert_int_equal(chunk_sweep(chunks, keep_listed, NULL, &keep, false, &st), 0);
    assert_int_equal(st.chunks, 14);
    assert_true(allocated(seg) < size - 12 * SLOT);
    for (uint64_t i = 0; i < N; i++)
        if (i % 3)
            assert_made(&a[i], SLOT, i, false);
    struct addr c = store_made(SLOT, 999, false);         /* the current one goes on being appended to */
    assert_int_equal(loc_of(&c).seg, seg);
    assert_made(&c, SLOT, 999, false);
}

static void a_bad_chunk_is_not_moved_nor_its_segment_removed(void **state)
{
    struct addr a[8];
    struct keep keep = { .n = 2 };
    struct sweep_stats st;

    for (uint64_t i = 0; i < 8; i++)
        a[i] = store_made(SLOT, i, false);
    keep.a[0] = a[1];
    keep.a[1] = a[2];
    struct chunk_loc loc = loc_of(&a[1]);
    flip(&loc, 5);
    assert_int_equal(chunk_sweep(chunks, keep_listed, NULL, &keep, false, &st), 0);
    assert_true(exists(loc.seg));
    assert_bad(&a[1]);
    flip(&loc, 5);
    assert_made(&a[1], SLOT, 1, false);
    assert_made(&a[2], SLOT, 2, false);
}

/* Readers while everything is packed, then rewritten, again and again. */
enum { READ_N = 24 };
static struct addr read_addr[READ_N];
static _Atomic bool stop;

static void *reader(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    uint8_t *p = malloc(20000);
    uintptr_t done = 0;

    while (!stop) {
        uint64_t i = (uint64_t)rand_r(&seed) % READ_N;
        struct chunk_data d;

        assert_int_equal(chunk_get(chunks, &read_addr[i], &d), 0);
        make(p, 20000, i, true);
        assert_int_equal(d.n, 20000);
        assert_memory_equal(d.p, p, 20000);
        chunk_data_done(&d);
        done++;
    }
    free(p);
    return (void *)done;
}

static void readers_never_notice_that_chunks_move(void **state)
{
    struct keep keep = { .n = READ_N };
    pthread_t t[3];
    void *done;

    for (uint64_t i = 0; i < READ_N; i++) {
        store_made(60000, 1000 + i, false);               /* garbage between */
        keep.a[i] = read_addr[i] = store_made(20000, i, true);
    }
    stop = false;
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, reader, (void *)(i + 1)), 0);
    for (uint64_t round = 0; round < 12; round++) {
        struct pack_stats st;
        struct sweep_stats sw;

        do
            assert_int_equal(chunk_pack(chunks, 100000, NULL, NULL, &st), 0);
        while (st.more);
        for (uint64_t i = 0; i < 10; i++)
            store_made(100000, 5000 + round * 10 + i, false);
        assert_int_equal(chunk_sweep(chunks, keep_listed, NULL, &keep, false, &sw), 0);
        assert_true(sw.segments > 0);
    }
    stop = true;
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], &done);
        assert_true((uintptr_t)done > 0);
    }
}

/* --- faults --- */

static _Atomic long calls, fail_at;
static int fail_with;

static bool hit(void)
{
    return ++calls == fail_at;
}
static int f_open(int d, const char *n, int fl, unsigned m) { return hit() ? -fail_with : disk_real.open(d, n, fl, m); }
static ssize_t f_pread(int fd, void *b, size_t n, off_t o) { return hit() ? -fail_with : disk_real.pread(fd, b, n, o); }
static ssize_t f_pwrite(int fd, const void *b, size_t n, off_t o) { return hit() ? -fail_with : disk_real.pwrite(fd, b, n, o); }
static ssize_t f_pwritev(int fd, const struct iovec *v, int c, off_t o) { return hit() ? -fail_with : disk_real.pwritev(fd, v, c, o); }
static int f_fdatasync(int fd) { return hit() ? -fail_with : 0; }
static int f_fsync(int fd) { return hit() ? -fail_with : 0; }
static int f_punch(int fd, off_t o, off_t l) { return hit() ? -fail_with : disk_real.punch(fd, o, l); }
static int f_unlink(int d, const char *n) { return hit() ? -fail_with : disk_real.unlink(d, n); }
static const struct disk_ops faulty = { f_open, f_pread, f_pwrite, f_pwritev, f_fdatasync, f_fsync, f_punch, f_unlink, NULL };
static _Bool mem_hit(size_t n) { return hit(); }
static int meta_hit(bool w) { return hit() ? -fail_with : 0; }

enum fault { FAULT_DISK, FAULT_MEM, FAULT_META, FAULTS };

static void faults_on(enum fault f, long n)
{
    calls = 0;
    fail_at = n;
    fail_with = f == FAULT_DISK ? ENOSPC : EIO;
    disk = f == FAULT_DISK ? &faulty : &disk_real;
    mem_fault = f == FAULT_MEM ? mem_hit : NULL;
    meta_fault = f == FAULT_META ? meta_hit : NULL;
}

static bool faults_off(void)
{
    bool was = calls >= fail_at;

    disk = &disk_real;
    mem_fault = NULL;
    meta_fault = NULL;
    return was;
}

/* store, pack, drop and sweep with one fault at step n; whatever went wrong, what was there is there, and it works afterwards. */
static int life(uint64_t seed, struct addr *a, unsigned *stored)
{
    static uint8_t p[20000];
    struct batch *b = batch_new();
    struct pack_stats pst;
    struct sweep_stats sst;
    struct keep keep = { .n = 0 };
    bool shared;
    int r = b ? 0 : -ENOMEM;

    for (uint64_t i = 0; r == 0 && i < 6; i++) {
        make(p, sizeof p, seed + i, i % 2);
        r = chunk_put(chunks, b, p, sizeof p, NULL, &a[i], &shared);
    }
    if (r == 0)
        r = chunk_put_sync(chunks);
    if (r < 0) {
        chunk_put_abandon(chunks);
    } else {
        r = meta_write(meta, b, true);
        chunk_put_done(chunks, r == 0);
        if (r == 0)
            *stored = 6;
    }
    batch_free(b);
    if (r == 0)
        r = chunk_pack(chunks, UINT64_MAX, NULL, NULL, &pst);
    for (unsigned i = 0; i < 6; i += 3)
        keep.a[keep.n++] = a[i];
    keep.a[keep.n++] = a[6];
    if (r == 0)
        r = chunk_sweep(chunks, keep_listed, NULL, &keep, false, &sst);
    return r;
}

static void one_fault(enum fault f, long n, bool *ret_hit)
{
    struct addr a[7];
    unsigned stored = 0;
    uint64_t seed = (uint64_t)n * 1000;

    a[6] = store_made(15000, 7, true);
    reopen(n % 2 ? 1 << 20 : 0);
    faults_on(f, n);
    int r = life(seed, a, &stored);
    *ret_hit = faults_off();
    if (!*ret_hit)
        assert_int_equal(r, 0);
    reopen(0);
    assert_made(&a[6], 15000, 7, true);
    if (stored)
        for (unsigned i = 0; i < 6; i += 3)
            assert_made(&a[i], 20000, seed + i, i % 2);
    assert_int_equal(life(seed, a, &stored), 0);
    reopen(0);
    assert_int_equal(stored, 6);
    assert_made(&a[6], 15000, 7, true);
    for (unsigned i = 0; i < 6; i++) {
        if (i % 3 == 0)
            assert_made(&a[i], 20000, seed + i, i % 2);
        else
            assert_bad(&a[i]);
    }
}

static void after_any_fault_nothing_kept_is_lost_and_the_next_attempt_works(void **state)
{
    static const long at_least[FAULTS] = { 15, 15, 6 };

    for (int f = 0; f < FAULTS; f++) {
        bool was_hit = true;
        long n;

        for (n = 1; was_hit; n++)
            one_fault((enum fault)f, n, &was_hit);
        assert_true(n > at_least[f]);
        assert_true(n < 1000);
    }
}

static void reading_under_any_fault_gives_the_bytes_or_an_error(void **state)
{
    struct pack_stats pst;
    struct addr a = store_made(20000, 1, true);

    assert_int_equal(chunk_pack(chunks, UINT64_MAX, NULL, NULL, &pst), 0);
    for (int f = 0; f < FAULTS; f++) {
        bool was_hit = true;

        for (long n = 1; was_hit; n++) {
            struct chunk_data d;

            chunks_close(chunks);
            chunks = NULL;
            segments_close(segs);
            assert_int_equal(segments_open(datafd, &segs), 0);
            reopen(1 << 20);
            faults_on((enum fault)f, n);
            int r = chunk_get(chunks, &a, &d);
            was_hit = faults_off();
            assert_true(r == 0 || was_hit);
            if (r == 0) {
                assert_int_equal(d.n, 20000);
                assert_true(chunk_hash(d.p, d.n).b[0] == a.b[0]);
                chunk_data_done(&d);
            }
            assert_made(&a, 20000, 1, true);
            assert_true(n < 100);
        }
    }
}

static void the_cache_keeps_to_its_budget(void **state)
{
    struct addr a[100];

    for (uint64_t i = 0; i < 100; i++)
        a[i] = store_made(50000, i, false);
    reopen(1 << 20);
    for (int round = 0; round < 3; round++)
        for (uint64_t i = 0; i < 100; i++)
            assert_made(&a[i], 50000, i, false);
    /* What is cached is served without the disk. */
    struct chunk_data d;
    assert_int_equal(chunk_get(chunks, &a[0], &d), 0);
    chunk_data_done(&d);
    faults_on(FAULT_DISK, 1);
    assert_int_equal(chunk_get(chunks, &a[0], &d), 0);
    assert_false(faults_off());
    chunk_data_done(&d);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(equal_bytes_are_stored_once), T(what_is_not_written_yet_is_found_by_this_process_only), T(abandoned_bytes_leave_no_space_taken),
        T(bytes_in_a_layer_become_a_chunk_where_they_lie), T(a_full_pack_segment_is_followed_by_another),
        T(colliding_chunks_are_told_apart),
        T(chunks_made_to_collide_under_xxh3_are_told_apart), T(any_damage_gives_eio_never_wrong_bytes),
        T(truncated_and_missing_segments_give_eio), T(malformed_index_entries_are_refused),
        T(scrub_finds_the_bad_one_and_storing_it_again_repairs_it), T(packing_compresses_and_frees_and_changes_no_byte),
        T(sweeping_frees_what_is_not_kept_and_only_that), T(sweeping_punches_gaps_of_segments_that_stay),
        T(a_bad_chunk_is_not_moved_nor_its_segment_removed), T(readers_never_notice_that_chunks_move),
        T(after_any_fault_nothing_kept_is_lost_and_the_next_attempt_works), T(reading_under_any_fault_gives_the_bytes_or_an_error),
        T(the_cache_keeps_to_its_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
