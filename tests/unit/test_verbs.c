#include "tests/lib/verbs_fixture.h"

/* --- names --- */

static void objects_are_found_by_every_form_of_name(void **state)
{
    struct ws_rec a = create("alpha");
    struct object o;
    char text[200];

    create("beta");
    struct snap_rec s = snapshot("alpha", "one");
    assert_int_equal(object_find(store, "alpha", &o), 0);
    assert_string_equal(o.ws.id, a.id);
    assert_string_equal(o.snap.id, "");
    assert_int_equal(object_find(store, a.id, &o), 0);
    assert_string_equal(o.ws.name, "alpha");
    assert_int_equal(object_find(store, s.id, &o), 0);
    assert_string_equal(o.snap.name, "one");
    assert_string_equal(o.ws.id, "");
    assert_int_equal(object_find(store, "alpha@one", &o), 0);
    assert_string_equal(o.snap.id, s.id);
    snprintf(text, sizeof text, "%s@one", a.id);
    assert_int_equal(object_find(store, text, &o), 0);
    assert_int_equal(object_find(store, "one", &o), 0);
    assert_string_equal(o.snap.id, s.id);
    snapshot("beta", "one");
    assert_int_equal(find("one"), -ENOTUNIQ);
    assert_int_equal(find("beta@one"), 0);
    static const char *const bad[] = { "gamma", "", "alpha@", "alpha@two", "@one", "nosuch@one", "ws-aaaaaaaaaa", "snap-aaaaaaaaaa", "UPPER", "a/b", "alpha@one@one" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(find(bad[i]), -ENOENT);
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(find(text), -ENOENT);
    text[150] = '@';
    assert_int_equal(find(text), -ENOENT);
    create("one");          /* a workspace's name goes before snapshots' */
    assert_int_equal(object_find(store, "one", &o), 0);
    assert_true(o.ws.id[0]);
    assert_clean();
}

static void names_in_use_and_bad_names_are_refused(void **state)
{
    struct create_args a = { .name = "alpha" };
    struct ws_rec rec;

    create("alpha");
    assert_int_equal(verb_create(store, &a, &rec), -EEXIST);
    static const char *const bad[] = { "", "A", "-a", "a b", "ws-abcdefghij", "a@b", "a/b" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        a.name = bad[i];
        assert_int_equal(verb_create(store, &a, &rec), -EINVAL);
    }
    a = (struct create_args){ .name = "beta", .from = "nosuch" };
    assert_int_equal(verb_create(store, &a, &rec), -ENOENT);
    snapshot("alpha", "one");
    snapshot_as("alpha", "one", -EEXIST);
    snapshot_as("alpha", "Not Valid", -EINVAL);
    assert_clean();
}

/* --- snapshots and forks --- */

static void a_snapshot_stays_what_it_was_and_so_after_reopening(void **state)
{
    create("w");
    put("w", "f", "one");
    struct snap_rec s1 = snapshot("w", "s1");
    put("w", "f", "two");
    put("w", "g", "new");
    struct snap_rec s2 = snapshot("w", NULL);
    assert_string_equal(s1.parent, "");
    assert_string_equal(s2.parent, s1.id);
    assert_true(s2.seq > s1.seq);
    assert_true(s2.base != s1.base);
    for (int i = 0; i < 3; i++) {
        assert_text("w@s1", "f", "one");
        assert_text("w@s1", "g", NULL);
        assert_text(s2.id, "f", "two");
        assert_text("w", "g", "new");
        assert_clean();
        if (i == 0)
            reopen(&quiet);
        else if (i == 1)
            fold(s2.id);
    }
    struct snap_rec s3 = snapshot("w", "same");
    assert_int_equal(s3.base, s2.base);      /* nothing changed: the same state */
    assert_string_equal(s3.parent, s2.id);
}

static void timing_and_texts_of_a_snapshot_are_kept(void **state)
{
    struct labels labels = { .count = 1, .l = { { "team", "storage" } } };
    struct snapshot_args a = { .name = "s", .cause = SNAP_IMPORT, .message = "why\nnot", .labels = &labels };
    struct snapshot_timing t = { .flush_ns = 7 };
    struct snap_rec rec, got;

    create("w");
    struct workspace *w = open_ws("w");
    assert_int_equal(verb_snapshot(store, w, &a, &rec, &t), 0);
    assert_int_equal(t.flush_ns, 7);
    assert_true(t.total_ns > 0 && t.held_ns <= t.total_ns);
    assert_int_equal(snap_rec_get(store->meta, rec.id, &got), 0);
    assert_string_equal(got.message, "why\nnot");
    assert_string_equal(got.labels.l[0].val, "storage");
    assert_int_equal(got.cause, SNAP_IMPORT);
    assert_int_equal(got.kind, WS_BARE);
    char *longer = malloc(MESSAGE_MAX + 2);
    memset(longer, 'm', MESSAGE_MAX + 1);
    longer[MESSAGE_MAX + 1] = '\0';
    a = (struct snapshot_args){ .cause = SNAP_USER, .message = longer };
    assert_int_equal(verb_snapshot(store, w, &a, &rec, NULL), -EINVAL);
    longer[MESSAGE_MAX] = '\0';
    assert_int_equal(verb_snapshot(store, w, &a, &rec, NULL), 0);
    free(longer);
    workspace_unref(w);
}

static void forks_are_independent_of_their_source_and_of_each_other(void **state)
{
    static const char *const names[] = { "f-1", "f-2", "f-3" };
    struct ws_rec recs[3];

    create("w");
    put("w", "f", "source");
    assert_int_equal(fork_of("w", names, 3, recs, NULL), 0);
    assert_true(recs[0].base == recs[1].base && recs[0].live != recs[1].live);
    assert_string_equal(recs[0].parent_snap, recs[2].parent_snap);
    put("w", "f", "changed");
    put("f-1", "f", "first");
    put("f-2", "only", "second");
    for (int i = 0; i < 2; i++) {
        assert_text("w", "f", "changed");
        assert_text("f-1", "f", "first");
        assert_text("f-1", "only", NULL);
        assert_text("f-2", "f", "source");
        assert_text("f-2", "only", "second");
        assert_text("f-3", "f", "source");
        assert_text(recs[0].parent_snap, "f", "source");
        assert_clean();
        reopen(&quiet);
    }
    struct snap_rec snap;
    assert_int_equal(snap_rec_get(store->meta, recs[0].parent_snap, &snap), 0);
    assert_int_equal(snap.cause, SNAP_FORK);
    assert_string_equal(snap.ws_name, "w");
}

static int count_snaps(void *arg, const struct snap_rec *r)
{
    ++*(unsigned *)arg;
    return 0;
}

static unsigned snaps(void)
{
    unsigned n = 0;

    assert_int_equal(snap_rec_each(store->meta, count_snaps, &n), 0);
    return n;
}

static void forking_an_unchanged_workspace_makes_no_further_snapshot(void **state)
{
    struct object o;

    create("w");
    put("w", "f", "x");
    struct snap_rec s = snapshot("w", "s");
    fork_one("w", "a");
    fork_one("w", "b");
    assert_int_equal(snaps(), 1);
    assert_int_equal(object_find(store, "a", &o), 0);
    assert_string_equal(o.ws.parent_snap, s.id);
    put("w", "f", "y");
    fork_one("w", "c");
    assert_int_equal(snaps(), 2);
    assert_text("c", "f", "y");
    fork_one("w@s", "d");
    assert_int_equal(snaps(), 2);
    assert_text("d", "f", "x");
    assert_clean();
}

static void forks_are_made_all_or_none(void **state)
{
    static const char *const clash[] = { "a", "b", "w" }, *const twice[] = { "a", "b", "a" }, *const bad[] = { "a", "B" };
    struct ws_rec recs[3];
    unsigned at = 99;

    create("w");
    put("w", "f", "x");
    assert_int_equal(fork_of("w", clash, 3, recs, &at), -EEXIST);
    assert_int_equal(at, 2);
    assert_int_equal(fork_of("w", twice, 3, recs, &at), -EEXIST);
    assert_int_equal(at, 2);
    assert_int_equal(fork_of("w", bad, 2, recs, &at), -EINVAL);
    assert_int_equal(at, 1);
    assert_int_equal(find("a"), -ENOENT);
    assert_int_equal(find("b"), -ENOENT);
    assert_int_equal(snaps(), 0);
    fork_one("w", "a");       /* names held before were given back */
    assert_clean();
}

static void a_chain_of_forks_stays_flat(void **state)
{
    char from[32] = "f-0", to[32];

    create("f-0");
    put("f-0", "f", "deep");
    for (int i = 1; i <= 60; i++) {
        snprintf(to, sizeof to, "f-%d", i);
        fork_one(from, to);
        put(to, to, to);
        strcpy(from, to);
    }
    struct workspace *w = open_ws("f-60");
    assert_true(view_depth(w->view) <= FROZEN_MAX);
    assert_text_in(w, "f", "deep");
    assert_text_in(w, "f-1", "f-1");
    assert_text_in(w, "f-60", "f-60");
    workspace_unref(w);
    assert_clean();
}

static void create_from_a_snapshot_or_workspace_takes_its_tree_but_own_attributes(void **state)
{
    struct labels labels = { .count = 1, .l = { { "k", "v" } } };
    struct create_args a = { .name = "n", .from = "w@s", .quota_bytes = 1 << 30, .quota_inodes = 100, .labels = &labels };
    struct create_args root = { .name = "r", .kind = WS_ROOT };
    struct ws_rec rec;

    create("w");
    put("w", "f", "x");
    snapshot("w", "s");
    put("w", "f", "y");
    assert_int_equal(verb_create(store, &a, &rec), 0);
    assert_int_equal(rec.quota_inodes, 100);
    assert_int_equal(rec.kind, WS_BARE);
    assert_string_equal(rec.labels.l[0].key, "k");
    assert_text("n", "f", "x");
    a.name = "m";
    a.from = "w";
    assert_int_equal(verb_create(store, &a, &rec), 0);
    assert_text("m", "f", "y");
    assert_int_equal(verb_create(store, &root, &rec), 0);
    snapshot("r", "s");
    a = (struct create_args){ .name = "q", .from = "r@s" };
    assert_int_equal(verb_create(store, &a, &rec), 0);
    assert_int_equal(rec.kind, WS_ROOT);      /* as what it came from */
    assert_clean();
}

/* --- rename, label, remove --- */

static void renaming_moves_the_name_and_nothing_else(void **state)
{
    struct object o;

    struct ws_rec w = create("w");
    create("x");
    put("w", "f", "1");
    snapshot("w", "s");
    assert_int_equal(object_find(store, "w", &o), 0);
    assert_int_equal(verb_rename(store, &o, "x"), -EEXIST);
    assert_int_equal(verb_rename(store, &o, "Bad"), -EINVAL);
    assert_int_equal(verb_rename(store, &o, "w"), 0);
    struct workspace *held = open_ws("w");
    put_file(held, "late", "not yet committed", 17);
    assert_int_equal(verb_rename(store, &o, "new"), 0);
    assert_int_equal(find("w"), -ENOENT);
    workspace_unref(held);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(object_find(store, "new", &o), 0);
        assert_string_equal(o.ws.id, w.id);
        assert_text("new", "late", "not yet committed");
        assert_text("new@s", "f", "1");
        reopen(&quiet);
    }
    create("w");              /* the old name is free */
    assert_int_equal(object_find(store, "new@s", &o), 0);
    assert_int_equal(verb_rename(store, &o, "t"), 0);
    assert_int_equal(find("new@s"), -ENOENT);
    assert_int_equal(object_find(store, "new@t", &o), 0);
    snapshot("new", "u");
    assert_int_equal(verb_rename(store, &o, "u"), -EEXIST);
    struct snap_rec unnamed = snapshot("new", NULL);
    assert_int_equal(object_find(store, unnamed.id, &o), 0);
    assert_int_equal(verb_rename(store, &o, "named"), 0);
    assert_int_equal(find("new@named"), 0);
    assert_clean();
}

static void labels_are_set_changed_and_removed_together(void **state)
{
    struct label_change add[] = { { "a", "1" }, { "b", "2" } }, change[] = { { "a", "9" }, { "b", NULL }, { "none", NULL } };
    struct label_change many[LABEL_MAX + 1], bad[] = { { "c", "3" }, { "", "x" } };
    char keys[LABEL_MAX + 1][8];
    struct object o;

    create("w");
    snapshot("w", "s");
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "w@s" : "w";
        assert_int_equal(object_find(store, name, &o), 0);
        assert_int_equal(verb_label(store, &o, add, 2), 0);
        assert_int_equal(verb_label(store, &o, change, 3), 0);
        assert_int_equal(verb_label(store, &o, bad, 2), -EINVAL);
        for (int k = 0; k <= LABEL_MAX; k++) {
            snprintf(keys[k], sizeof keys[k], "k%d", k);
            many[k] = (struct label_change){ keys[k], "v" };
        }
        assert_int_equal(verb_label(store, &o, many, LABEL_MAX + 1), -E2BIG);
        reopen(&quiet);
        assert_int_equal(object_find(store, name, &o), 0);
        const struct labels *l = i ? &o.snap.labels : &o.ws.labels;
        assert_int_equal(l->count, 1);
        assert_string_equal(l->l[0].key, "a");
        assert_string_equal(l->l[0].val, "9");
    }
}

static void removing_takes_a_workspace_but_not_what_was_forked_from_it(void **state)
{
    struct object o;

    create("w");
    put("w", "f", "x");
    fork_one("w", "fork");
    struct snap_rec s = snapshot("w", "s");
    assert_int_equal(remove_object("w", false), -ENOTEMPTY);
    assert_text("w", "f", "x");
    put("w", "g", "still writable");
    struct workspace *w = open_ws("w");
    struct mount *pretend = (struct mount *)&o;
    w->mount = pretend;
    assert_int_equal(remove_object("w", true), -EBUSY);
    w->mount = NULL;
    assert_int_equal(remove_object("w", true), 0);
    assert_int_equal(find("w"), -ENOENT);
    assert_int_equal(find(s.id), -ENOENT);
    workspace_unref(w);       /* the last reference brings nothing back */
    assert_int_equal(find("w"), -ENOENT);
    create("w");
    assert_text("w", "f", NULL);
    gc();
    assert_text("fork", "f", "x");
    assert_clean();
    reopen(&quiet);
    assert_text("fork", "f", "x");
    assert_clean();
}

/* A fold under way holds the workspaces that stand on its view, and corrects their counts when it is done. */
static void what_changes_in_a_removed_workspace_until_it_is_closed_is_not_lost_data(void **state)
{
    struct view *v;

    create("w");
    put("w", "f", "x");
    struct workspace *w = open_ws("w");
    assert_int_equal(remove_object("w", true), 0);
    pthread_mutex_lock(&w->lock);
    w->rec_dirty = true;
    pthread_mutex_unlock(&w->lock);
    assert_int_equal(workspace_commit(w), -ENOENT);
    assert_int_equal(workspace_freeze(w, NULL, &v, NULL), -ENOENT);
    workspace_unref(w);
    assert_false(store->lost);
    assert_int_equal(find("w"), -ENOENT);
    assert_clean();
}

static void removing_a_snapshot_closes_the_gap_in_the_lineage(void **state)
{
    struct snap_rec got;
    struct object o;

    create("w");
    put("w", "f", "1");
    struct snap_rec a = snapshot("w", "a");
    put("w", "f", "2");
    struct snap_rec b = snapshot("w", "b");
    fork_one("w", "fork");
    put("w", "f", "3");
    struct snap_rec c = snapshot("w", "c");
    assert_int_equal(remove_object("w@b", false), 0);
    assert_int_equal(find(b.id), -ENOENT);
    assert_int_equal(find("w@b"), -ENOENT);
    assert_int_equal(snap_rec_get(store->meta, c.id, &got), 0);
    assert_string_equal(got.parent, a.id);
    assert_int_equal(object_find(store, "fork", &o), 0);
    assert_string_equal(o.ws.parent_snap, a.id);
    assert_text("fork", "f", "2");
    gc();
    assert_text("fork", "f", "2");
    assert_text("w@a", "f", "1");
    assert_text("w@c", "f", "3");
    assert_clean();
}

/* --- usage --- */

static struct usage used[8];
static unsigned used_count;

static int note_usage(void *arg, const struct usage *u)
{
    used[used_count++] = *u;
    return 0;
}

static const struct usage *usage_of(const char *name)
{
    struct object o;

    assert_int_equal(object_find(store, name, &o), 0);
    for (unsigned i = 0; i < used_count; i++) {
        if (!strcmp(used[i].id, o.ws.id[0] ? o.ws.id : o.snap.id))
            return &used[i];
    }
    fail_msg("no usage of %s", name);
    return NULL;
}

static void usage_tells_shared_from_private(void **state)
{
    create("w");
    put_noise("w", "common", 1, 1 << 20);
    snapshot("w", "s");
    fork_one("w@s", "fork");
    put_noise("fork", "own", 2, 1 << 19);
    snapshot("fork", "t");
    put_noise("fork", "live", 3, 1 << 18);
    used_count = 0;
    assert_int_equal(verb_usage(store, note_usage, NULL), 0);
    assert_int_equal(used_count, 4);
    assert_int_equal(usage_of("w")->private_bytes, 0);
    assert_int_equal(usage_of("w")->shared_bytes, 1 << 20);
    assert_int_equal(usage_of("w@s")->shared_bytes, 1 << 20);
    assert_int_equal(usage_of("w@s")->logical_bytes, UNIT + (1 << 20));
    assert_true(usage_of("w@s")->is_snapshot);
    assert_int_equal(usage_of("fork@t")->shared_bytes, 3 << 19);
    assert_int_equal(usage_of("fork")->private_bytes, 1 << 18);
    assert_int_equal(usage_of("fork")->logical_bytes, UNIT + (1 << 20) + (1 << 19) + (1 << 18));
    assert_int_equal(usage_of("fork")->files, 3);
    assert_int_equal(usage_of("fork")->dirs, 1);
    assert_int_equal(remove_object("fork@t", false), 0);
    used_count = 0;
    assert_int_equal(verb_usage(store, note_usage, NULL), 0);
    assert_int_equal(usage_of("fork")->private_bytes, (1 << 19) + (1 << 18));
    assert_int_equal(usage_of("fork")->shared_bytes, 1 << 20);
    assert_true(usage_of("fork")->meta_private_bytes > 0);
    assert_int_equal(usage_of("w")->meta_private_bytes, 0);
}

/* --- faults --- */

static int writes_left;

static int fail_nth_write(bool is_write)
{
    return is_write && writes_left-- == 0 ? -ENOSPC : 0;
}

/* Each is run again and again with faults, so nothing in them asserts. */
static int do_create(void)
{
    struct ws_rec r;

    return verb_create(store, &(struct create_args){ .name = "new" }, &r);
}

static int fork_two(const char *from, const char *const *names)
{
    struct ws_rec recs[2];
    struct object o;
    int r = object_find(store, from, &o);

    return r < 0 ? r : verb_fork(store, &o, names, 2, recs, NULL, NULL);
}

static int do_fork(void)
{
    return fork_two("w", (const char *const[]){ "f-1", "f-2" });
}

static int do_fork_snap(void)
{
    return fork_two("w@s", (const char *const[]){ "g-1", "g-2" });
}

static int do_rename(void)
{
    struct object o;
    int r = object_find(store, "w2", &o);

    return r < 0 ? r : verb_rename(store, &o, "w3");
}

static int do_label(void)
{
    struct object o;
    int r = object_find(store, "w", &o);

    return r < 0 ? r : verb_label(store, &o, &(struct label_change){ "k", "v" }, 1);
}

static int remove_it(const char *name)
{
    struct object o;
    int r = object_find(store, name, &o);

    return r < 0 ? r : verb_remove(store, &o, true);
}

static int do_remove_snap(void)
{
    return remove_it("w@old");
}

static int do_remove(void)
{
    return remove_it("gone");
}

static int do_gc(void)
{
    struct gc_report rep;

    return verb_gc(store, false, true, &rep);
}

static int do_snapshot(void)
{
    struct workspace *w = open_ws("w");
    struct snap_rec rec;
    int r;

    put_file(w, "more", "changed again", 13);
    r = verb_snapshot(store, w, &(struct snapshot_args){ .name = "next", .cause = SNAP_USER }, &rec, NULL);
    workspace_unref(w);
    return r;
}

static const struct { const char *name; int (*run)(void); const char *makes; } verbs[] = {
    { "create", do_create, "new" }, { "fork", do_fork, "f-2" }, { "fork from a snapshot", do_fork_snap, "g-2" }, { "snapshot", do_snapshot, "w@next" },
    { "rename", do_rename, "w3" }, { "label", do_label, NULL }, { "remove snapshot", do_remove_snap, NULL }, { "remove", do_remove, NULL }, { "gc", do_gc, NULL },
};

static void fill(void)
{
    create("w");
    put_noise("w", "f", 1, 300000);
    snapshot("w", "old");
    put("w", "g", "small");
    snapshot("w", "s");
    create("w2");
    create("gone");
    put_noise("gone", "f", 9, 300000);
    snapshot("gone", "s");
    fold("w@s");
    fold("gone@s");
    put("w", "live", "dirty");
}

static void a_verb_whose_write_fails_leaves_everything_as_it_was_and_works_later(void **state)
{
    fill();
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        int r = -1;

        for (int n = 0; r != 0; n++) {
            assert_true(n < 50);
            writes_left = n;
            meta_fault = fail_nth_write;
            r = verbs[i].run();
            meta_fault = NULL;
            if (r != 0) {
                if (r != -ENOSPC)
                    print_error("%s, write %d: %d\n", verbs[i].name, n, r);
                assert_int_equal(r, -ENOSPC);
                if (verbs[i].makes)
                    assert_int_equal(find(verbs[i].makes), -ENOENT);
            }
            assert_clean();
        }
        if (verbs[i].makes)
            assert_int_equal(find(verbs[i].makes), 0);
        reopen(&quiet);
        assert_clean();
        assert_noise("w", "f", 1, 300000);
        assert_text("w", "live", "dirty");
    }
    assert_text("g-1", "g", "small");
    assert_text("f-2", "live", "dirty");
}

static unsigned allocs_left;

static bool fail_nth_alloc(size_t size)
{
    return allocs_left-- == 0;
}

static void a_verb_that_runs_out_of_memory_leaves_everything_as_it_was(void **state)
{
    struct workspace *held;

    fill();
    held = open_ws("w");      /* as a mount does */
    put_file(held, "kept", "by a workspace that stays open", 30);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        int r = -1;

        if (verbs[i].run == do_snapshot)
            continue;            /* it writes files first: test_workspace has that */
        for (unsigned n = 0; r != 0; n++) {
            assert_true(n < 5000);
            allocs_left = n;
            mem_fault = fail_nth_alloc;
            r = verbs[i].run();
            mem_fault = NULL;
            if (r != 0 && r != -ENOMEM)
                print_error("%s, allocation %u: %d\n", verbs[i].name, n, r);
            if (r != 0)
                assert_int_equal(r, -ENOMEM);
            if (r != 0 && verbs[i].makes)
                assert_int_equal(find(verbs[i].makes), -ENOENT);
        }
        assert_clean();
    }
    assert_int_equal(workspace_commit(held), 0);
    workspace_unref(held);
    reopen(&quiet);
    assert_text("w", "kept", "by a workspace that stays open");
    assert_text("f-1", "kept", "by a workspace that stays open");
    assert_clean();
}

/* --- many --- */

static int count_named(void *arg, const struct snap_rec *r)
{
    ++*(unsigned *)arg;
    return 0;
}

static unsigned snapshots_of(const char *ws_id)
{
    unsigned n = 0;

    assert_int_equal(snap_rec_each_naming(store->meta, ws_id, count_named, &n), 0);
    return n;
}

static void many_workspaces_are_removed_with_one_look_and_none_of_their_snapshots_stays(void **state)
{
    struct ws_rec a = create("a"), b = create("b"), c = create("c");
    struct removal *all;
    struct object o;

    snapshot("a", "one");
    snapshot("a", "two");
    snapshot("b", "one");
    snapshot("c", "one");
    assert_int_equal(snapshots_of(a.id), 2);
    all = remove_begin(store);
    assert_non_null(all);
    assert_int_equal(object_find(store, "a", &o), 0);
    assert_int_equal(verb_remove_of(store, all, &o, false), -ENOTEMPTY);
    assert_int_equal(verb_remove_of(store, all, &o, true), 0);
    snapshot("b", "made-after-the-look");
    assert_int_equal(object_find(store, "b", &o), 0);
    assert_int_equal(verb_remove_of(store, all, &o, true), 0);
    remove_end(all);
    assert_int_equal(snapshots_of(a.id) + snapshots_of(b.id), 0);
    assert_int_equal(snapshots_of(c.id), 1);
    assert_int_equal(find("made-after-the-look"), -ENOENT);
    assert_int_equal(find("c@one"), 0);
    assert_clean();
}

static void usage_of_one_object_is_what_usage_of_all_says(void **state)
{
    struct usage alone, whole;
    struct ws_rec a = create("a");

    put("a", "file", "some text");
    struct snap_rec s = snapshot("a", "one");
    create("b");
    assert_int_equal(verb_usage_of(store, s.id, true, 3, &whole), 1);
    assert_int_equal(verb_usage_of(store, s.id, true, 2, &alone), 0);
    assert_int_equal(whole.files, 1);
    assert_int_equal(alone.files, whole.files);
    assert_int_equal(alone.dirs, whole.dirs);
    assert_int_equal(alone.logical_bytes, whole.logical_bytes);
    assert_int_equal(alone.private_bytes + alone.shared_bytes, 0);
    assert_int_equal(verb_usage_of(store, a.id, false, 2, &alone), 0);
    assert_int_equal(verb_usage_of(store, "ws-aaaaaaaaaa", false, 2, &alone), -ENOENT);
    assert_int_equal(object_count(store->meta, 100), 3);
    assert_int_equal(object_count(store->meta, 2), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(objects_are_found_by_every_form_of_name),
        TEST(names_in_use_and_bad_names_are_refused),
        TEST(a_snapshot_stays_what_it_was_and_so_after_reopening),
        TEST(timing_and_texts_of_a_snapshot_are_kept),
        TEST(forks_are_independent_of_their_source_and_of_each_other),
        TEST(forking_an_unchanged_workspace_makes_no_further_snapshot),
        TEST(forks_are_made_all_or_none),
        TEST(a_chain_of_forks_stays_flat),
        TEST(create_from_a_snapshot_or_workspace_takes_its_tree_but_own_attributes),
        TEST(renaming_moves_the_name_and_nothing_else),
        TEST(labels_are_set_changed_and_removed_together),
        TEST(removing_takes_a_workspace_but_not_what_was_forked_from_it),
        TEST(what_changes_in_a_removed_workspace_until_it_is_closed_is_not_lost_data),
        TEST(removing_a_snapshot_closes_the_gap_in_the_lineage),
        TEST(usage_tells_shared_from_private),
        TEST(many_workspaces_are_removed_with_one_look_and_none_of_their_snapshots_stays),
        TEST(usage_of_one_object_is_what_usage_of_all_says),
        TEST(a_verb_whose_write_fails_leaves_everything_as_it_was_and_works_later),
        TEST(a_verb_that_runs_out_of_memory_leaves_everything_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
