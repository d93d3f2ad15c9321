#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "fs/meta.h"
#include "fs/object.h"

static char dir[64];
static struct meta *meta;

static int setup(void **state)
{
    strcpy(dir, "/tmp/coppice-test-object-XXXXXX");
    return mkdtemp(dir) && meta_open(dir, true, &meta) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    char cmd[128];

    meta_close(meta);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

static struct base_rec sample_base(void)
{
    struct base_rec r = { .id = 0x0102030405060708, .next_ino = 99, .inodes = 1000000, .units = 77 };

    for (int i = 0; i < ADDR_BYTES; i++)
        r.root.b[i] = (uint8_t)(0xa0 + i);
    return r;
}

static struct ws_rec sample_ws(void)
{
    struct ws_rec r = { .id = "ws-abcdefg234", .name = "my-work.1", .kind = WS_ROOT, .base = 5, .live = 6, .next_ino = 7, .inodes = 8, .units = 9,
        .quota_bytes = 1ull << 40, .quota_inodes = 12, .created = -1, .seq = 14, .parent_snap = "snap-aaaaaaaaaa" };

    r.labels.count = 2;
    strcpy(r.labels.l[0].key, "team");
    strcpy(r.labels.l[0].val, "storage \xc3\xa4");
    strcpy(r.labels.l[1].key, "empty");
    return r;
}

static struct snap_rec sample_snap(void)
{
    struct snap_rec r = { .id = "snap-zzzzzzzzz7", .name = "before", .ws_id = "ws-abcdefg234", .ws_name = "my-work.1", .parent = "snap-aaaaaaaaaa",
        .base = 15, .seq = 16, .created = 1700000000, .cause = SNAP_RESTORE, .kind = WS_ROOT };

    strcpy(r.message, "line one\nline two");
    r.labels.count = 1;
    strcpy(r.labels.l[0].key, "k");
    strcpy(r.labels.l[0].val, "v");
    return r;
}

/* One table entry per kind of record, so that each test runs over all of them. */
union record { struct base_rec base; struct ws_rec ws; struct snap_rec snap; };

static void encode_base(struct buf *b) { struct base_rec r = sample_base(); base_encode(&r, b); }
static void encode_ws(struct buf *b) { struct ws_rec r = sample_ws(); ws_rec_encode(&r, b); }
static void encode_snap(struct buf *b) { struct snap_rec r = sample_snap(); snap_rec_encode(&r, b); }
static void reencode_base(const union record *r, struct buf *b) { base_encode(&r->base, b); }
static void reencode_ws(const union record *r, struct buf *b) { ws_rec_encode(&r->ws, b); }
static void reencode_snap(const union record *r, struct buf *b) { snap_rec_encode(&r->snap, b); }
static int decode_base(const uint8_t *p, size_t n, union record *r) { return base_decode(p, n, &r->base); }
static int decode_ws(const uint8_t *p, size_t n, union record *r) { return ws_rec_decode(p, n, &r->ws); }
static int decode_snap(const uint8_t *p, size_t n, union record *r) { return snap_rec_decode(p, n, &r->snap); }

static const struct codec {
    const char *name;
    void (*encode)(struct buf *b);
    int (*decode)(const uint8_t *p, size_t n, union record *r);
    void (*reencode)(const union record *r, struct buf *b);
} codecs[] = {
    { "object_base", encode_base, decode_base, reencode_base },
    { "object_ws", encode_ws, decode_ws, reencode_ws },
    { "object_snap", encode_snap, decode_snap, reencode_snap },
};
enum { CODECS = sizeof codecs / sizeof *codecs };

static void records_come_back_from_their_bytes_unchanged(void **state)
{
    for (int i = 0; i < CODECS; i++) {
        struct buf a = BUF_INIT, b = BUF_INIT;
        union record r;

        codecs[i].encode(&a);
        assert_int_equal(codecs[i].decode(a.data, a.len, &r), 0);
        codecs[i].reencode(&r, &b);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len);
        buf_fini(&a);
        buf_fini(&b);
    }
    union record r;
    struct buf a = BUF_INIT;
    struct ws_rec want = sample_ws();
    encode_ws(&a);
    assert_int_equal(ws_rec_decode(a.data, a.len, &r.ws), 0);
    assert_string_equal(r.ws.name, want.name);
    assert_int_equal(r.ws.created, -1);
    assert_string_equal(r.ws.labels.l[0].val, want.labels.l[0].val);
    assert_string_equal(r.ws.parent_snap, want.parent_snap);
    buf_fini(&a);
}

/* The golden file of a record lies beside this source: ../golden/NAME.bin. COPPICE_WRITE_GOLDEN=1 writes it anew. */
static void the_bytes_of_records_are_the_golden_ones(void **state)
{
    for (int i = 0; i < CODECS; i++) {
        char path[4096];
        uint8_t golden[8192];
        struct buf b = BUF_INIT;
        const char *slash = strrchr(__FILE__, '/');

        snprintf(path, sizeof path, "%.*s/../golden/%s.bin", slash ? (int)(slash - __FILE__) : 1, slash ? __FILE__ : ".", codecs[i].name);
        codecs[i].encode(&b);
        if (getenv("COPPICE_WRITE_GOLDEN")) {
            FILE *w = fopen(path, "w");
            assert_non_null(w);
            assert_int_equal(fwrite(b.data, 1, b.len, w), b.len);
            fclose(w);
        }
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        size_t n = fread(golden, 1, sizeof golden, f);
        fclose(f);
        assert_int_equal(n, b.len);
        assert_memory_equal(golden, b.data, n);
        buf_fini(&b);
    }
}

static void records_cut_or_prolonged_anywhere_are_refused(void **state)
{
    for (int i = 0; i < CODECS; i++) {
        struct buf b = BUF_INIT;
        union record r;

        codecs[i].encode(&b);
        for (size_t n = 0; n < b.len; n++) {
            uint8_t *exact = mem_dup(b.data, n);      /* so that a sanitizer sees a read past the end */
            assert_int_equal(codecs[i].decode(exact, n, &r), -EUCLEAN);
            free(exact);
        }
        buf_put_u8(&b, 0);
        assert_int_equal(codecs[i].decode(b.data, b.len, &r), -EUCLEAN);
        b.len--;
        for (int v = 0; v < 256; v++) {
            b.data[0] = (uint8_t)v;
            assert_int_equal(codecs[i].decode(b.data, b.len, &r), v == 1 ? 0 : -EUCLEAN);
        }
        buf_fini(&b);
    }
}

static void changed_bytes_are_refused_or_mean_something_else(void **state)
{
    for (int i = 0; i < CODECS; i++) {
        struct buf b = BUF_INIT, again = BUF_INIT;
        union record r;

        codecs[i].encode(&b);
        for (size_t at = 0; at < b.len * 8; at++) {
            b.data[at / 8] ^= (uint8_t)(1 << at % 8);
            if (codecs[i].decode(b.data, b.len, &r) == 0) {
                buf_clear(&again);
                codecs[i].reencode(&r, &again);
                assert_int_equal(again.len, b.len);
                assert_memory_equal(again.data, b.data, b.len);
            }
            b.data[at / 8] ^= (uint8_t)(1 << at % 8);
        }
        buf_fini(&b);
        buf_fini(&again);
    }
}

static void a_base_is_a_root_or_a_layer_over_a_parent_never_both(void **state)
{
    struct base_rec out, r = sample_base();
    struct buf b = BUF_INIT;
    struct { uint64_t id, parent, layer; bool root; int want; } table[] = {
        { 1, 0, 0, true, 0 }, { 1, 0, 0, false, 0 }, { 1, 2, 3, false, 0 }, { 1, 2, 3, true, -EUCLEAN }, { 1, 2, 0, true, -EUCLEAN },
        { 1, 0, 3, false, -EUCLEAN }, { 0, 0, 0, true, -EUCLEAN },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        r.id = table[i].id;
        r.parent = table[i].parent;
        r.layer = table[i].layer;
        r.root = table[i].root ? sample_base().root : (struct addr){ 0 };
        buf_clear(&b);
        base_encode(&r, &b);
        assert_int_equal(base_decode(b.data, b.len, &out), table[i].want);
    }
    buf_fini(&b);
}

static void names_and_ids_follow_their_rules(void **state)
{
    static const struct { const char *s; bool name, id; } table[] = {
        { "a", true, false }, { "0", true, false }, { "a-b_c.d", true, false }, { "", false, false }, { "-a", false, false }, { ".a", false, false },
        { "_a", false, false }, { "A", false, false }, { "a b", false, false }, { "a/b", false, false }, { "a@b", false, false }, { "\xc3\xa4", false, false },
        { "a\n", false, false }, { "..", false, false },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true, false },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false, false },
        { "ws-abcdefghij", false, true }, { "snap-2345672345", false, true }, { "ws-abcdefghi", true, false }, { "ws-abcdefghijk", true, false },
        { "ws-abcdefghi1", true, false }, { "snap-abcdefghi_", true, false }, { "ws-", true, false }, { "xws-abcdefghij", true, false },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(object_name_valid(table[i].s), table[i].name);
        assert_int_equal(object_id_is(table[i].s), table[i].id);
    }
    char a[ID_MAX], b[ID_MAX];
    for (int i = 0; i < 100; i++) {
        assert_int_equal(object_new_id("ws-", a), 0);
        assert_true(object_id_is(a));
        assert_int_equal(object_new_id("snap-", b), 0);
        assert_true(object_id_is(b));
    }
    object_new_id("ws-", b);
    assert_string_not_equal(a, b);
}

static void write_and_free(struct batch *b)
{
    assert_int_equal(meta_write(meta, b, false), 0);
    batch_free(b);
}

static void records_and_names_are_stored_found_and_deleted(void **state)
{
    struct base_rec base = sample_base(), base_got;
    struct ws_rec ws = sample_ws(), ws_got;
    struct snap_rec snap = sample_snap(), snap_got;
    struct batch *b = batch_new();
    char id[ID_MAX], longer[200];

    base_put(b, &base);
    ws_rec_put(b, &ws);
    snap_rec_put(b, &snap);
    ws_name_put(b, ws.name, ws.id);
    snap_name_put(b, ws.id, snap.name, snap.id);
    write_and_free(b);
    assert_int_equal(base_get(meta, base.id, &base_got), 0);
    assert_int_equal(base_got.inodes, base.inodes);
    assert_int_equal(base_get(meta, base.id + 1, &base_got), -ENOENT);
    assert_int_equal(ws_rec_get(meta, ws.id, &ws_got), 0);
    assert_int_equal(ws_rec_get(meta, "ws-aaaaaaaaaa", &ws_got), -ENOENT);
    assert_int_equal(snap_rec_get(meta, snap.id, &snap_got), 0);
    assert_string_equal(snap_got.message, snap.message);
    assert_int_equal(ws_name_get(meta, ws.name, id), 0);
    assert_string_equal(id, ws.id);
    assert_int_equal(snap_name_get(meta, ws.id, snap.name, id), 0);
    assert_string_equal(id, snap.id);
    assert_int_equal(snap_name_get(meta, "ws-aaaaaaaaaa", snap.name, id), -ENOENT);
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(ws_name_get(meta, longer, id), -ENOENT);
    assert_int_equal(snap_name_get(meta, longer, longer, id), -ENOENT);

    b = batch_new();
    base_delete(b, base.id);
    ws_rec_delete(b, ws.id);
    snap_rec_delete(b, snap.id);
    ws_name_delete(b, ws.name);
    snap_name_delete(b, ws.id, snap.name);
    write_and_free(b);
    assert_int_equal(base_get(meta, base.id, &base_got), -ENOENT);
    assert_int_equal(ws_rec_get(meta, ws.id, &ws_got), -ENOENT);
    assert_int_equal(snap_rec_get(meta, snap.id, &snap_got), -ENOENT);
    assert_int_equal(ws_name_get(meta, ws.name, id), -ENOENT);
    assert_int_equal(snap_name_get(meta, ws.id, snap.name, id), -ENOENT);
}

static uint64_t seen[4];
static unsigned seen_count;

static int see_base(void *arg, const struct base_rec *r)
{
    seen[seen_count++] = r->id;
    return seen_count == *(unsigned *)arg ? 7 : 0;
}

static int see_ws(void *arg, const struct ws_rec *r)
{
    seen_count++;
    return 0;
}

static void each_goes_in_id_order_stops_when_told_and_reports_bad_records(void **state)
{
    static const uint64_t ids[] = { 300, 2, 0x100000000 };
    struct base_rec base = sample_base();
    struct ws_rec ws = sample_ws();
    struct batch *b = batch_new();
    unsigned stop = 99;

    for (int i = 0; i < 3; i++) {
        base.id = ids[i];
        base_put(b, &base);
    }
    ws_rec_put(b, &ws);
    write_and_free(b);
    seen_count = 0;
    assert_int_equal(base_each(meta, see_base, &stop), 0);
    assert_int_equal(seen_count, 3);
    assert_true(seen[0] == 2 && seen[1] == 300 && seen[2] == 0x100000000);
    seen_count = 0;
    stop = 2;
    assert_int_equal(base_each(meta, see_base, &stop), 7);
    assert_int_equal(seen_count, 2);
    seen_count = 0;
    assert_int_equal(ws_rec_each(meta, see_ws, NULL), 0);
    assert_int_equal(seen_count, 1);

    b = batch_new();
    batch_put(b, CF_OBJECT, "wws-bbbbbbbbbb", 14, "\1nonsense", 9);
    write_and_free(b);
    assert_int_equal(ws_rec_each(meta, see_ws, NULL), -EUCLEAN);
    struct ws_rec got;
    assert_int_equal(ws_rec_get(meta, "ws-bbbbbbbbbb", &got), -EUCLEAN);
}

static void a_record_under_another_ones_key_is_refused(void **state)
{
    struct ws_rec ws = sample_ws(), got;
    struct batch *b = batch_new();
    struct buf rec = BUF_INIT;

    ws_rec_encode(&ws, &rec);
    batch_put(b, CF_OBJECT, "wws-bbbbbbbbbb", 14, rec.data, rec.len);
    write_and_free(b);
    assert_int_equal(ws_rec_get(meta, "ws-bbbbbbbbbb", &got), -EUCLEAN);
    buf_fini(&rec);
}

static int fail_writes(bool is_write)
{
    return is_write ? -ENOSPC : 0;
}

static void numbers_are_never_given_twice_not_even_after_a_crash(void **state)
{
    struct counter *c = NULL;
    uint64_t last = 0, n;

    for (int round = 0; round < 5; round++) {
        assert_int_equal(counter_open(meta, &c), 0);
        for (int i = 0; i < 700; i++) {
            assert_int_equal(counter_next(c, &n), 0);
            assert_true(n > last);
            last = n;
        }
        counter_close(c);      /* closing writes nothing: this is what a crash leaves too */
    }
    assert_int_equal(counter_open(meta, &c), 0);
    meta_fault = fail_writes;
    assert_int_equal(counter_next(c, &n), -ENOSPC);
    meta_fault = NULL;
    assert_int_equal(counter_next(c, &n), 0);
    assert_true(n > last);
    counter_close(c);
    struct batch *b = batch_new();
    batch_put(b, CF_OBJECT, "c", 1, "short", 5);
    write_and_free(b);
    assert_int_equal(counter_open(meta, &c), -EUCLEAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back_from_their_bytes_unchanged),
        cmocka_unit_test(the_bytes_of_records_are_the_golden_ones),
        cmocka_unit_test(records_cut_or_prolonged_anywhere_are_refused),
        cmocka_unit_test(changed_bytes_are_refused_or_mean_something_else),
        cmocka_unit_test(a_base_is_a_root_or_a_layer_over_a_parent_never_both),
        cmocka_unit_test(names_and_ids_follow_their_rules),
        cmocka_unit_test_setup_teardown(records_and_names_are_stored_found_and_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(each_goes_in_id_order_stops_when_told_and_reports_bad_records, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_under_another_ones_key_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_are_never_given_twice_not_even_after_a_crash, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
