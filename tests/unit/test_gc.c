#include "tests/lib/verbs_fixture.h"

/* --- gc --- */

static void gc_frees_what_was_removed_and_keeps_the_rest(void **state)
{
    struct chunk_totals before, after;
    struct gc_report rep;

    create("keep");
    create("gone");
    put_noise("keep", "a", 1, 1 << 20);
    put_noise("keep", "both", 2, 1 << 20);
    put_noise("gone", "both", 2, 1 << 20);
    put_noise("gone", "b", 3, 1 << 20);
    snapshot("keep", "s");
    snapshot("gone", "s");
    fold("keep@s");
    fold("gone@s");
    assert_int_equal(gc().chunks, 0);
    assert_int_equal(chunk_totals(store->chunks, &before), 0);
    assert_int_equal(before.chunks, 24);     /* `both` is stored once */
    assert_int_equal(remove_object("gone", true), 0);
    assert_int_equal(verb_gc(store, true, false, &rep), 0);
    assert_int_equal(rep.chunks, 8);
    assert_int_equal(chunk_totals(store->chunks, &after), 0);
    assert_int_equal(after.chunks, 24);      /* a dry run changes nothing */
    rep = gc();
    assert_int_equal(rep.chunks, 8);
    assert_true(rep.nodes > 0 && rep.node_bytes > 0 && rep.bases > 0);
    assert_int_equal(chunk_totals(store->chunks, &after), 0);
    assert_int_equal(after.chunks, 16);
    for (int i = 0; i < 2; i++) {
        assert_noise("keep", "a", 1, 1 << 20);
        assert_noise("keep@s", "both", 2, 1 << 20);
        assert_clean();
        rep = gc();
        assert_int_equal(rep.chunks + rep.nodes + rep.bases + rep.layers, 0);
        reopen(&quiet);
    }
}

static void gc_keeps_unfolded_layers_live_data_and_open_snapshots(void **state)
{
    struct object o;
    struct view *v;
    struct workspace *r;

    create("w");
    put_noise("w", "base", 1, 300000);
    snapshot("w", "s0");
    fold("w@s0");
    put_noise("w", "frozen", 2, 300000);
    snapshot("w", "s1");
    put_noise("w", "live", 3, 300000);
    struct workspace *w = open_ws("w");
    struct inode in;
    uint64_t from, to, copied;
    assert_int_equal(ws_lookup(w, INO_ROOT, "base", &from, &in), 0);
    assert_int_equal(ws_create(w, INO_ROOT, "copy", S_IFREG | 0644, 0, NULL, &cred, 0, false, &to, &in), 0);
    assert_int_equal(ws_copy(w, from, 0, to, 0, 300000, 0, &copied), 0);
    assert_int_equal(copied, 300000);
    assert_int_equal(ws_unlink(w, INO_ROOT, "base"), 0);
    assert_int_equal(object_find(store, "w@s1", &o), 0);
    assert_int_equal(object_view(store, &o, &v), 0);
    assert_int_equal(workspace_open_view(store, v, &r), 0);
    view_unref(v);
    assert_int_equal(remove_object("w@s0", false), 0);
    assert_int_equal(remove_object("w@s1", false), 0);
    gc();
    uint8_t *got = malloc(300000), *want = noise(1, 300000);
    size_t n;
    assert_int_equal(get_from(r, "base", got, 300000, &n), 0);      /* the removed snapshot that is still open */
    assert_memory_equal(got, want, 300000);
    free(got);
    free(want);
    workspace_unref(r);
    gc();
    assert_noise("w", "copy", 1, 300000);     /* shares chunks that no tree of a record refers to but by its own base */
    assert_noise("w", "frozen", 2, 300000);
    assert_noise("w", "live", 3, 300000);
    workspace_unref(w);
    assert_clean();
    reopen(&quiet);
    gc();
    assert_noise("w", "copy", 1, 300000);
    assert_noise("w", "frozen", 2, 300000);
    assert_noise("w", "live", 3, 300000);
    snapshot("w", "s2");
    fold("w@s2");
    gc();
    assert_noise("w@s2", "copy", 1, 300000);
    assert_noise("w", "live", 3, 300000);
    assert_clean();
}

static int count_seg(void *arg, uint64_t id)
{
    ++*(unsigned *)arg;
    return 0;
}

static void gc_removes_what_a_crash_left(void **state)
{
    struct batch *b = batch_new();
    struct base_rec base = { .parent = 1, .next_ino = 2 };
    struct key k = key_simple(7, KEY_SYMLINK);
    struct segment *seg;
    uint64_t layer;
    unsigned before = 0, after = 0;

    create("w");
    put_noise("w", "f", 1, 300000);
    snapshot("w", "s");
    assert_int_equal(counter_next(store->counter, &layer), 0);
    assert_int_equal(counter_next(store->counter, &base.id), 0);
    base.layer = layer + 100;       /* that one never got its keys */
    assert_int_equal(segment_get(store->segments, layer, true, &seg), 0);
    assert_int_equal(segment_write(seg, "left", 4, 0), 0);
    segment_unref(seg);
    layer_batch_put(b, layer, k.b, k.len, "x", 1, false);
    base_put(b, &base);
    batch_put(b, CF_NODE, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x20", 20, "garbage", 7);
    assert_int_equal(meta_write(store->meta, b, true), 0);
    batch_free(b);
    reopen(&quiet);
    assert_clean();          /* garbage is no problem */
    assert_int_equal(segments_each(store->segments, count_seg, &before), 0);
    struct gc_report rep = gc();
    assert_int_equal(rep.layers, 1);
    assert_int_equal(rep.nodes, 1);
    assert_int_equal(rep.bases, 1);
    assert_int_equal(segments_each(store->segments, count_seg, &after), 0);
    assert_int_equal(after, before - 1);
    assert_noise("w@s", "f", 1, 300000);
    assert_clean();
}

static _Atomic bool stop;
static _Atomic int failures;

static void *churn(void *arg)
{
    const char *name = arg;
    char fork_name[64], last[64] = "", snap_name[64];
    struct object o;
    struct ws_rec rec;

    for (unsigned i = 0; !stop; i++) {
        struct workspace *w;
        struct snap_rec snap;
        uint8_t *p = noise(i % 7, 200000), *got = malloc(200000);
        struct inode in;
        uint64_t ino;
        size_t n;
        int r = object_find(store, name, &o);

        if (r == 0)
            r = workspace_open(store, o.ws.id, &w);
        if (r < 0) {
            failures++;
            return NULL;
        }
        r = ws_lookup(w, INO_ROOT, "f", &ino, &in);
        if (r == -ENOENT)
            r = ws_create(w, INO_ROOT, "f", S_IFREG | 0644, 0, NULL, &cred, 0, false, &ino, &in);
        if (r == 0)
            r = ws_write(w, ino, 0, p, 200000, false);
        snprintf(snap_name, sizeof snap_name, "s%u", i);
        if (r == 0)
            r = verb_snapshot(store, w, &(struct snapshot_args){ .name = snap_name, .cause = SNAP_USER }, &snap, NULL);
        snprintf(fork_name, sizeof fork_name, "%s-fork-%u", name, i);
        const char *names[] = { fork_name };
        if (r == 0 && object_find(store, snap.id, &o) == 0)
            r = verb_fork(store, &o, names, 1, &rec, NULL, NULL);
        if (r == 0)
            r = ws_read(w, ino, 0, 200000, got, &n);
        if (r == 0 && (n != 200000 || memcmp(got, p, n)))
            r = -EIO;
        workspace_unref(w);
        if (r == 0 && last[0] && object_find(store, last, &o) == 0)
            r = verb_remove(store, &o, true);
        strcpy(last, fork_name);
        if (r == 0 && i >= 3) {
            snprintf(snap_name, sizeof snap_name, "%s@s%u", name, i - 3);
            if (object_find(store, snap_name, &o) == 0)
                r = verb_remove(store, &o, false);
        }
        free(p);
        free(got);
        if (r < 0) {
            print_error("%s round %u: %d\n", name, i, r);
            failures++;
            return NULL;
        }
    }
    return NULL;
}

static void gc_runs_while_others_write_snapshot_fork_and_remove(void **state)
{
    static const char *const names[] = { "a", "b" };
    pthread_t t[2];

    stop = false;
    failures = 0;
    for (int i = 0; i < 2; i++) {
        create(names[i]);
        assert_int_equal(pthread_create(&t[i], NULL, churn, (void *)names[i]), 0);
    }
    for (int i = 0; i < 25; i++) {
        struct gc_report rep;

        assert_int_equal(verb_gc(store, false, i % 5 == 4, &rep), 0);
        assert_clean();
    }
    stop = true;
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(failures, 0);
    gc();
    assert_clean();
    reopen(&busy);
    assert_clean();
    gc();
    assert_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gc_frees_what_was_removed_and_keeps_the_rest),
        TEST(gc_keeps_unfolded_layers_live_data_and_open_snapshots),
        TEST(gc_removes_what_a_crash_left),
        cmocka_unit_test_setup_teardown(gc_runs_while_others_write_snapshot_fork_and_remove, setup_busy, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
