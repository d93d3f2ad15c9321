/* Automatic history: policies, what they keep, and passes over a store with a clock that is set by hand. */
#include <limits.h>

#include "base/clock.h"
#include "snapshotd/history.h"
#include "snapshotd/keep.h"
#include "tests/lib/verbs_fixture.h"

enum { HOUR = 3600, DAY = 86400 };
#define START 1800000000ll                /* a Friday, 08:00 UTC */

static int64_t now_s;
static const struct clock_ops *clock_was;
static struct history h;

static void fake_real(struct timespec *ts)
{
    *ts = (struct timespec){ .tv_sec = now_s };
}

static uint64_t fake_mono(void)
{
    return (uint64_t)now_s * 1000000000;
}

static const struct clock_ops fake_clock = { .real = fake_real, .mono_ns = fake_mono };

static int begin(void **state)
{
    now_s = START;
    clock_was = clock_src;
    clock_src = &fake_clock;
    if (setup(state))
        return -1;
    h = (struct history){ .store = store };
    return 0;
}

static int end(void **state)
{
    history_fini(&h);
    int r = teardown(state);
    clock_src = clock_was;
    return r;
}

static struct history_report pass_at(int64_t at, int64_t *ret_next)
{
    struct history_report rep;
    int64_t next;

    now_s = at;
    history_pass(&h, at, &rep, &next);
    assert_int_equal(rep.failed, 0);
    if (ret_next)
        *ret_next = next;
    return rep;
}

static void label_as(const char *object, const char *key, const char *val)
{
    struct label_change c = { key, val };
    struct object o;

    assert_int_equal(object_find(store, object, &o), 0);
    assert_int_equal(verb_label(store, &o, &c, 1), 0);
}

struct listing { struct snap_rec *v; size_t n; };

static int list_one(void *arg, const struct snap_rec *r)
{
    struct listing *l = arg;

    l->v[l->n++] = *r;
    return 0;
}

static int by_seq(const void *a, const void *b)
{
    const struct snap_rec *x = a, *y = b;

    return (x->seq > y->seq) - (x->seq < y->seq);
}

/* All snapshots, oldest first; in a static array. */
static struct listing snaps(void)
{
    static struct snap_rec v[256];
    struct listing l = { .v = v };

    assert_int_equal(snap_rec_each(store->meta, list_one, &l), 0);
    qsort(v, l.n, sizeof *v, by_seq);
    return l;
}

static void change(const char *ws)
{
    static unsigned n;
    char text[32];

    snprintf(text, sizeof text, "%u", n++);
    put(ws, "f", text);
}

/* --- policies --- */

static void a_policy_is_read_as_it_is_written_and_nothing_else_is_taken(void **state)
{
    static const char *const bad[] = { "", "every", "every=", "every=5", "every=9s", "every=1y", "every=1m,", ",every=1m", "every=1m,every=1m", "hourly=3", "every=1m,hourly=-1",
        "every=1m,hourly=10001", "every=1m,hourly=", "every=1m,hourly=1x", "every=1m,yearly=1", "every=99999999999999999999d", "every=1m hourly=1", "off" };
    const char *why;
    struct keep k;

    assert_int_equal(keep_parse("every=10m,keep-last=12,hourly=24,daily=7,weekly=4", &k, &why), 0);
    assert_int_equal(k.every_s, 600);
    assert_true(k.last == 12 && k.hourly == 24 && k.daily == 7 && k.weekly == 4 && !k.all);
    assert_int_equal(keep_parse("every=2w", &k, &why), 0);
    assert_int_equal(k.every_s, 14 * DAY);
    assert_true(k.all);
    assert_int_equal(keep_parse("keep-last=0,every=10s", &k, &why), 0);
    assert_false(k.all);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        why = NULL;
        assert_int_equal(keep_parse(bad[i], &k, &why), -EINVAL);
        assert_non_null(why);
    }
}

static void a_date_is_a_day_a_moment_or_a_duration(void **state)
{
    int64_t at;

    assert_true(keep_expiry("2027-01-15", 5, &at));
    assert_int_equal(at, 1799971200);
    assert_true(keep_expiry("2027-01-15T08:00:01Z", 5, &at));
    assert_int_equal(at, START + 1);
    assert_true(keep_expiry("2h", 5, &at));
    assert_int_equal(at, 5 + 2 * HOUR);
    assert_false(keep_expiry("", 5, &at) || keep_expiry("tomorrow", 5, &at) || keep_expiry("2027-01-15T08:00:01", 5, &at) || keep_expiry("2027-01-15x", 5, &at) || keep_expiry("7", 5, &at));
}

/* The newest of each of the last days that have one, and so on; told from the definition, not by the code. */
static void each_rule_keeps_the_newest_of_its_last_periods(void **state)
{
    enum { N = 400 };
    struct keep k = { .last = 3, .hourly = 5, .daily = 4, .weekly = 3 };
    int64_t at[N];
    const char *kept[N];

    for (unsigned i = 0; i < N; i++)
        at[i] = START - (int64_t)i * 100 * 60 - (i % 7) * 60;
    keep_choose(&k, at, N, kept);
    for (unsigned i = 0; i < N; i++) {
        static const struct { int64_t len, shift; unsigned n; } rules[] = { { HOUR, 0, 5 }, { DAY, 0, 4 }, { 7 * DAY, 3 * DAY, 3 } };
        bool want = i < k.last;
        for (unsigned q = 0; q < 3; q++) {
            unsigned newer = 0;           /* periods with a snapshot in them, after the one of i */
            bool newest = true;
            int64_t mine = (at[i] + rules[q].shift) / rules[q].len, last = INT64_MAX;
            for (unsigned j = 0; j < i; j++) {
                int64_t p = (at[j] + rules[q].shift) / rules[q].len;
                newest = newest && p != mine;
                newer += p != last;
                last = p;
            }
            want = want || (newest && newer < rules[q].n);
        }
        assert_int_equal(kept[i] != NULL, want);
    }
    struct keep all = { .all = true };
    keep_choose(&all, at, N, kept);
    for (unsigned i = 0; i < N; i++)
        assert_non_null(kept[i]);
}

/* --- passes --- */

static void a_snapshot_is_made_when_it_is_due_and_only_of_a_tree_that_changed(void **state)
{
    int64_t next;

    create("w");
    create("other");
    change("w");
    assert_int_equal(pass_at(START, &next).made, 0);
    assert_true(next == INT64_MAX);                        /* nobody wants anything */
    label_as("w", LABEL_AUTO, "every=10m");
    assert_int_equal(pass_at(START, &next).made, 1);
    assert_int_equal(next, START + 600);
    change("w");
    assert_int_equal(pass_at(START + 599, &next).made, 0);
    assert_int_equal(next, START + 600);
    assert_int_equal(pass_at(START + 600, &next).made, 1);
    struct history_report rep = pass_at(START + 1200, &next);
    assert_true(rep.made == 0 && rep.unchanged == 1);
    assert_int_equal(next, START + 1800);
    assert_int_equal(pass_at(START + 1201, &next).unchanged, 0);
    assert_int_equal(snaps().n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(snaps().v[i].cause, SNAP_AUTO);
        assert_int_equal(snaps().v[i].name[0], 0);
    }
    label_as("w", LABEL_AUTO, NULL);
    change("w");
    assert_int_equal(pass_at(START + DAY, &next).made, 0);
    assert_clean();
}

static void a_new_daemon_goes_on_where_the_last_one_was_and_a_clock_set_back_stops_nothing(void **state)
{
    int64_t next;

    create("w");
    change("w");
    label_as("w", LABEL_AUTO, "every=1h");
    assert_int_equal(pass_at(START, NULL).made, 1);
    change("w");
    history_fini(&h);
    reopen(&quiet);
    h = (struct history){ .store = store };
    assert_int_equal(pass_at(START + 10, &next).made, 0);
    assert_int_equal(next, START + HOUR);
    assert_int_equal(pass_at(START - 30 * DAY, NULL).made, 1);         /* else nothing would be made for a month */
    assert_int_equal(snaps().n, 2);
}

static void retention_leaves_what_has_a_name_a_pin_or_another_cause(void **state)
{
    char pinned[ID_MAX], kept[ID_MAX], plain[ID_MAX], fork_point[ID_MAX];

    create("w");
    change("w");
    label_as("w", LABEL_AUTO, "every=10m,keep-last=2");
    snapshot("w", "");                                     /* asked for, without a name */
    for (int i = 0; i < 8; i++) {
        change("w");
        assert_int_equal(pass_at(START + i * 600, NULL).made, 1);
        struct listing l = snaps();
        const char *id = l.v[l.n - 1].id;
        if (i == 0) {
            memcpy(pinned, id, ID_MAX);
            label_as(id, LABEL_PIN, "true");
        } else if (i == 1) {
            memcpy(kept, id, ID_MAX);
            label_as(id, LABEL_KEEP, "because");
        } else if (i == 2) {
            struct object o;
            assert_int_equal(object_find(store, id, &o), 0);
            assert_int_equal(verb_rename(store, &o, "named"), 0);
        } else if (i == 3) {
            memcpy(fork_point, id, ID_MAX);
            fork_one(id, "f");
        } else if (i == 4) {
            memcpy(plain, id, ID_MAX);
            label_as(id, LABEL_PIN, "false");
        }
    }
    assert_int_equal(find(pinned), 0);
    assert_int_equal(find(kept), 0);
    assert_int_equal(find("w@named"), 0);
    assert_int_equal(find(fork_point), 0);                 /* f stands on it */
    assert_int_equal(find(plain), -ENOENT);
    assert_int_equal(snaps().n, 1 + 4 + 2);
    label_as(pinned, LABEL_PIN, NULL);
    pass_at(START + 8 * 600, NULL);
    assert_int_equal(find(pinned), -ENOENT);
    change("f");                                           /* the record may go when f stands on another; its data stays f's */
    snapshot("f", "own");
    assert_int_equal(pass_at(START + 9 * 600, NULL).removed, 1);
    assert_int_equal(find(fork_point), -ENOENT);
    gc();
    assert_clean();
    assert_int_equal(find("f@own"), 0);
}

static void a_year_of_snapshots_is_thinned_to_the_policy(void **state)
{
    create("w");
    label_as("w", LABEL_AUTO, "every=6h,keep-last=3,daily=4,weekly=3");
    for (int64_t i = 0; i < 120; i++) {
        change("w");
        assert_int_equal(pass_at(START + i * 6 * HOUR, NULL).made, 1);
    }
    struct listing l = snaps();
    assert_in_range(l.n, 3 + 2, 3 + 4 + 3);
    const char *kept[256];
    int64_t at[256];
    struct keep k = { .last = 3, .daily = 4, .weekly = 3 };
    for (size_t i = 0; i < l.n; i++)
        at[i] = l.v[l.n - 1 - i].created;
    keep_choose(&k, at, l.n, kept);
    for (size_t i = 0; i < l.n; i++)
        assert_non_null(kept[i]);
    assert_int_equal(l.v[l.n - 1].created, START + 119 * 6 * HOUR);
    assert_true(l.v[0].created < START + 119 * 6 * HOUR - 13 * DAY);
    gc();
    assert_clean();
}

static void a_snapshot_with_a_date_goes_then_and_not_if_it_is_pinned(void **state)
{
    int64_t next;

    create("w");
    change("w");
    snapshot("w", "short");
    snapshot("w", "long");
    snapshot("w", "odd");
    change("w");
    snapshot("w", "last");
    label_as("w@short", LABEL_EXPIRES, "2h");
    label_as("w@long", LABEL_EXPIRES, "2027-01-16");
    label_as("w@odd", LABEL_EXPIRES, "soon");
    assert_int_equal(pass_at(START, &next).removed, 0);
    assert_int_equal(next, START + 2 * HOUR);
    label_as("w@long", LABEL_PIN, "true");
    assert_int_equal(pass_at(START + 2 * HOUR, NULL).removed, 1);
    assert_int_equal(find("w@short"), -ENOENT);
    assert_int_equal(pass_at(START + 9 * DAY, NULL).removed, 0);
    label_as("w@long", LABEL_PIN, NULL);
    assert_int_equal(pass_at(START + 9 * DAY, NULL).removed, 1);
    assert_int_equal(find("w@odd"), 0);
}

static int refuse(void *arg, const struct ws_rec *w, void **ret)
{
    ++*(unsigned *)arg;
    return -EXDEV;
}

static void a_mount_out_of_reach_is_no_reason_to_make_none_but_is_told(void **state)
{
    static const struct history_ops ops = { .flush = refuse };
    unsigned asked = 0;

    h.ops = &ops;
    h.arg = &asked;
    create("w");
    change("w");
    label_as("w", LABEL_AUTO, "every=10m");
    assert_int_equal(pass_at(START, NULL).made, 1);
    assert_int_equal(asked, 1);
    assert_non_null(strstr(snaps().v[0].message, "not written back"));
}

static unsigned long countdown;

static bool hit(size_t size)
{
    (void)size;
    return countdown && --countdown == 0;
}

static void a_pass_without_memory_removes_nothing_wrong_and_the_next_does_it(void **state)
{
    bool failed = true;

    create("w");
    label_as("w", LABEL_AUTO, "every=10m,keep-last=1");
    change("w");
    assert_int_equal(pass_at(START, NULL).made, 1);
    for (unsigned long n = 1; failed; n++) {               /* the n-th allocation, until none fails */
        struct history_report rep;
        int64_t next;
        change("w");
        now_s += 600;
        countdown = n;
        mem_fault = hit;
        history_pass(&h, now_s, &rep, &next);
        mem_fault = NULL;
        failed = countdown == 0;
        struct listing l = snaps();
        assert_true(l.n >= 1);
    }
    pass_at(now_s + 600, NULL);
    assert_int_equal(snaps().n, 1);
    assert_clean();
}

/* --- undo --- */

static void restore_to(const char *ws, const struct snap_rec *to)
{
    struct workspace *w = open_ws(ws);
    struct restore_report rep;

    assert_int_equal(verb_restore(store, w, to, NULL, 0, &rep), 0);
    workspace_unref(w);
}

static void undo_goes_back_and_forth_between_the_states_around_a_restore(void **state)
{
    struct snap_rec s, before;
    struct ws_rec w = create("w");

    assert_int_equal(history_before(store, w.id, &before), -ENOENT);
    put("w", "f", "one");
    s = snapshot("w", "s");
    put("w", "f", "two");
    assert_int_equal(history_before(store, w.id, &before), -ENOENT);
    restore_to("w", &s);
    assert_text("w", "f", "one");
    for (int i = 0; i < 4; i++) {
        assert_int_equal(history_before(store, w.id, &before), 0);
        restore_to("w", &before);
        assert_text("w", "f", i % 2 ? "one" : "two");
    }
    put("w", "f", "three");
    assert_int_equal(history_before(store, w.id, &before), 0);
    restore_to("w", &before);
    assert_text("w", "f", "two");
    assert_int_equal(history_before(store, w.id, &before), 0);
    restore_to("w", &before);                              /* what was written after is not lost */
    assert_text("w", "f", "three");
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_policy_is_read_as_it_is_written_and_nothing_else_is_taken), cmocka_unit_test(a_date_is_a_day_a_moment_or_a_duration),
        cmocka_unit_test(each_rule_keeps_the_newest_of_its_last_periods),
        T(a_snapshot_is_made_when_it_is_due_and_only_of_a_tree_that_changed), T(a_new_daemon_goes_on_where_the_last_one_was_and_a_clock_set_back_stops_nothing),
        T(retention_leaves_what_has_a_name_a_pin_or_another_cause), T(a_year_of_snapshots_is_thinned_to_the_policy),
        T(a_snapshot_with_a_date_goes_then_and_not_if_it_is_pinned), T(a_mount_out_of_reach_is_no_reason_to_make_none_but_is_told),
        T(a_pass_without_memory_removes_nothing_wrong_and_the_next_does_it),
        T(undo_goes_back_and_forth_between_the_states_around_a_restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
