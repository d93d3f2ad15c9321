/* The change journal: a mirror made of its events is the workspace; cursors over closing, crashes, bounds and damage; what it costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "fs/feed_internal.h"
#include "fs/fold.h"
#include "fs/meta.h"
#include "fs/redo.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "tests/lib/feed_mirror.h"
#include "tests/lib/log_keeper.h"
#include "tests/lib/tmp.h"
#include "tests/lib/ws_fixture.h"

static int setup(void **state)
{
    struct fixture *f = fixture_new("feed");

    assert_int_equal(workspace_feed_on(f->w, NULL), 0);
    *state = f;
    return 0;
}

static struct feed_reader *reader(struct fixture *f, const struct feed_cursor *from)
{
    struct feed *feed = workspace_feed(f->w);
    struct feed_reader *r;

    assert_non_null(feed);
    assert_int_equal(feed_reader_new(feed, from, 0, &r), 0);
    feed_unref(feed);
    return r;
}

/* All that there is, with numbers that follow each other. */
static void drain(struct feed_reader *r, struct mirror *m)
{
    struct feed_cursor at;
    struct feed_event e;
    int q;

    for (;;) {
        feed_reader_at(r, &at);
        q = feed_read(r, &e);
        if (q <= 0)
            break;
        if (e.op != FEED_GAP)
            assert_int_equal(e.seq, at.seq + 1);
        assert_int_equal(e.time.ns < 1000000000, true);
        if (m)
            mirror_apply(m, &e);
    }
    assert_int_equal(q, 0);
}

static struct feed_event last_event(struct feed_reader *r, uint64_t *ret_count)
{
    struct feed_event e, last = { 0 };

    for (*ret_count = 0; feed_read(r, &e) > 0; ++*ret_count) {
        last = e;
        last.path = last.aux = NULL;
    }
    return last;
}

static uint64_t count_events(struct feed_reader *r)
{
    uint64_t n;

    last_event(r, &n);
    return n;
}

/* --- the model --- */

/* What random_op does not do. */
static void other_op(struct workspace *w)
{
    struct wtree t = wtree_read(w);
    struct wnode *x = t.n ? &t.v[rng() % t.n] : NULL, *y = t.n ? &t.v[rng() % t.n] : NULL;
    struct inode in;
    uint64_t ino, done;
    char name[16];
    int r = 0;

    snprintf(name, sizeof name, "t%u", (unsigned)(rng() % 8));
    switch (rng() % 4) {
    case 0:
        if (x && S_ISREG(x->in.mode))
            r = ws_fallocate(w, x->ino, rng() % 2 ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE, rng() % 200000, 1 + rng() % 100000, 0);
        break;
    case 1:
        if (x && y && S_ISREG(x->in.mode) && S_ISREG(y->in.mode) && x->ino != y->ino)
            r = ws_copy(w, x->ino, rng() % 2 * 4096, y->ino, rng() % 3 * 4096, rng() % 300000, 0, &done);
        break;
    case 2:
        r = ws_tmpfile(w, INO_ROOT, S_IFREG | 0600, &wcred, &ino, &in);
        if (!r)
            random_write(w, ino, &in);
        if (!r)
            r = ws_link(w, ino, INO_ROOT, name, &in);
        if (r == -EEXIST || rng() % 2 == 0)
            ws_forget(w, ino, 1);
        break;
    case 3:
        if (x)
            r = ws_rename(w, x->in.parent, strrchr(x->path, '/') ? strrchr(x->path, '/') + 1 : x->path, INO_ROOT, name, RENAME_WHITEOUT);
        break;
    }
    assert_true(r == 0 || r == -EEXIST || r == -ENOTEMPTY || r == -EISDIR || r == -ENOTDIR || r == -EINVAL || r == -ENOENT);
    free(t.v);
}

static void freeze(struct fixture *f, bool fold)
{
    struct view *v;

    if (view_depth(f->w->view) >= FROZEN_MAX)
        assert_int_equal(fold_view(f->s, f->w->view), 0);
    assert_int_equal(workspace_freeze(f->w, NULL, &v, NULL), 0);
    if (fold)
        assert_int_equal(fold_view(f->s, v), 0);
    view_unref(v);
}

static void a_mirror_made_of_the_events_is_the_tree(void **state)
{
    struct fixture *f = *state;
    struct feed_reader *r = reader(f, NULL);
    struct mirror m = { .w = f->w };
    struct feed_cursor at;
    struct snap_rec snap;
    bool have = false;

    seed_of("feed");
    for (unsigned i = 0; i < 4000; i++) {
        if (rng() % 8)
            random_op(f->w);
        else
            other_op(f->w);
        switch (rng() % 120) {
        case 0: assert_int_equal(workspace_commit(f->w), 0); break;
        case 1: freeze(f, rng() % 2); break;
        case 2:
            assert_int_equal(verb_snapshot(f->s, f->w, &(struct snapshot_args){ .cause = SNAP_USER }, &snap, NULL), 0);
            assert_int_equal(fold_view(f->s, f->w->view), 0);
            have = true;
            break;
        case 3:
            drain(r, &m);                 /* a rescan looks at the present: what was before it is to be through */
            if (have)
                assert_int_equal(verb_restore(f->s, f->w, &snap, NULL, 0, NULL), 0);
            drain(r, &m);
            break;
        case 4:
            drain(r, &m);
            if (have) {
                const char *path[] = { rng() % 2 ? "a0" : "b1/a2" };
                int q = verb_restore(f->s, f->w, &snap, path, 1, NULL);
                assert_true(q == 0 || q == -ENOENT || q == -ENOTDIR);
            }
            drain(r, &m);
            break;
        case 5:                           /* closed and opened */
            feed_reader_at(r, &at);
            feed_reader_free(r);
            fixture_close(f);
            fixture_open(f);
            m.w = f->w;
            r = reader(f, &at);
            break;
        }
        if (rng() % 6 == 0) {
            drain(r, &m);
            if (rng() % 4 == 0)
                mirror_compare(&m, true);
        }
    }
    drain(r, &m);
    mirror_compare(&m, true);
    assert_int_equal(m.gaps, 0);
    assert_true(m.events > 2000 && m.marks > 10);
    /* Once more from the start, by whoever comes late. Content is of now, so only what is left is compared. */
    mirror_fini(&m);
    feed_reader_free(r);
}

/* --- joining --- */

static uint64_t new_file(struct fixture *f, const char *name)
{
    return wmake(f->w, name, S_IFREG | 0644, NULL);
}

static void write_at(struct fixture *f, uint64_t ino, uint64_t off, size_t n)
{
    static uint8_t bytes[128 << 10];

    memset(bytes, 'x', n);
    assert_int_equal(ws_write(f->w, ino, off, bytes, n, false), 0);
}

static struct timespec fake_real = { 1700000000, 0 };
static uint64_t fake_mono;
static void real_now(struct timespec *ts) { *ts = fake_real; }
static uint64_t mono_now(void) { return fake_mono; }
static const struct clock_ops fake_clock = { real_now, mono_now, NULL };

static void repeated_writes_are_one_event_until_somebody_reads(void **state)
{
    struct fixture *f = *state;
    const struct clock_ops *was = clock_src;
    struct feed_reader *r = reader(f, NULL);
    uint64_t n, ino = new_file(f, "big"), other = new_file(f, "other");

    clock_src = &fake_clock;
    assert_int_equal(count_events(r), 2);
    for (unsigned i = 0; i < 400; i++) {
        write_at(f, ino, (uint64_t)i << 17, 128 << 10);
        write_at(f, other, i, 1);
    }
    struct feed_event e = last_event(r, &n);
    assert_int_equal(n, 2);
    assert_int_equal(e.ino, other);
    assert_int_equal(e.count, 400);
    assert_int_equal(e.to, 400);
    assert_int_equal(e.size, 400);

    write_at(f, ino, 5, 1);               /* what was read is not changed */
    e = last_event(r, &n);
    assert_int_equal(n, 1);
    assert_int_equal(e.from, 5);
    assert_int_equal(e.to, 6);
    assert_int_equal(e.size, 400ull << 17);

    write_at(f, ino, 1, 1);               /* nor what a commit knows */
    assert_int_equal(workspace_commit(f->w), 0);
    write_at(f, ino, 2, 1);
    fake_mono += 2000000000;              /* nor what is old */
    write_at(f, ino, 3, 1);
    assert_int_equal(count_events(r), 3);

    assert_int_equal(wrename(f->w, "big", "moved", 0), 0);
    write_at(f, ino, 4, 1);
    write_at(f, ino, 5, 1);
    e = last_event(r, &n);
    assert_int_equal(n, 2);
    assert_int_equal(e.count, 2);
    clock_src = was;
    feed_reader_free(r);
}

static void times_that_follow_a_write_belong_to_it(void **state)
{
    struct fixture *f = *state;
    struct feed_reader *r = reader(f, NULL);
    uint64_t n, ino = new_file(f, "a");
    struct inode want = { .mtime = { 1000, 7 }, .mode = 0600 }, now;

    count_events(r);
    wwrite(f->w, "a", 0, "text");
    assert_int_equal(ws_setattr(f->w, ino, WSA_MTIME, &want, &now), 0);
    struct feed_event e = last_event(r, &n);
    assert_int_equal(n, 1);
    assert_int_equal(e.op, FEED_WRITE);
    assert_int_equal(e.mtime.sec, 1000);
    assert_int_equal(ws_setattr(f->w, ino, WSA_ATIME, &want, &now), 0);
    assert_int_equal(count_events(r), 0);  /* that it was read is no change */
    assert_int_equal(ws_setattr(f->w, ino, WSA_MODE, &want, &now), 0);
    e = last_event(r, &n);
    assert_int_equal(n, 1);
    assert_int_equal(e.op, FEED_ATTR);
    assert_int_equal(e.what, FEED_MODE);
    feed_reader_free(r);
}

/* --- crashes --- */

struct killed { struct feed_cursor at[2]; uint64_t first, synced; };

/* A power loss: what was not synced is there, or not, or something else is in its place. */
static void lose_unsynced(struct fixture *f, const struct killed *k, unsigned how)
{
    char path[600];
    struct stat st;

    snprintf(path, sizeof path, "%s/journal/%s/%016llx", f->dir, f->id, (unsigned long long)k->first);
    assert_int_equal(stat(path, &st), 0);
    assert_true((uint64_t)st.st_size > k->synced);
    if (how == 1)
        assert_int_equal(truncate(path, (off_t)k->synced), 0);
    int fd = open(path, O_WRONLY);
    for (off_t at = (off_t)k->synced; how == 2 && at < st.st_size; at++)
        assert_int_equal(pwrite(fd, at % 3 ? "\0" : "x", 1, at), 1);
    close(fd);
}

/* In a child that is killed: n1 operations, a commit, n2 more. Gives the cursors after both. */
static void killed_after(struct fixture *f, unsigned n1, unsigned n2, uint64_t seed, unsigned how, struct feed_cursor at[2])
{
    struct killed k;
    int p[2], status;

    fixture_close(f);
    assert_int_equal(pipe(p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        fixture_open(f);
        rng_state = seed | 1;
        struct feed_reader *r = reader(f, NULL);
        for (unsigned i = 0; i < n1 + n2; i++) {
            if (i == n1) {
                drain(r, NULL);
                feed_reader_at(r, &k.at[0]);
                if (workspace_commit(f->w))
                    _exit(1);
                k.first = f->w->feed->newest->first;
                k.synced = f->w->feed->newest->end;
            }
            random_op(f->w);
        }
        drain(r, NULL);
        feed_reader_at(r, &k.at[1]);
        if (write(p[1], &k, sizeof k) < 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_true(pid > 0);
    assert_int_equal(read(p[0], &k, sizeof k), sizeof k);
    memcpy(at, k.at, sizeof k.at);
    close(p[0]);
    close(p[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    lose_unsynced(f, &k, how);
    fixture_open(f);
}

static void after_a_kill_the_journal_and_the_state_agree(void **state)
{
    struct fixture *f = *state;
    struct feed_cursor seen = { f->w->feed->journal, 0, 0 };
    struct mirror m = { .w = f->w };

    for (unsigned round = 0; round < 6; round++) {
        struct feed_cursor at[2], now;
        struct feed_event e;
        killed_after(f, 30, 10 + round * 10, 77 + round, round % 3, at);
        assert_true(at[1].seq > at[0].seq);
        /* Who was away: the events before the gap make just the state that was committed. */
        m.w = f->w;
        struct feed_reader *follower = reader(f, &seen);
        while (feed_read(follower, &e) == 1 && e.op != FEED_GAP)
            mirror_apply(&m, &e);
        assert_int_equal(e.op, FEED_GAP);
        mirror_compare(&m, false);        /* bytes that were written in place may be there without their event: hence the gap after every crash */
        mirror_rescan(&m, "");
        mirror_compare(&m, true);
        /* Who had seen no more than the commit: the events up to it, and then that something is missing. */
        struct feed_reader *r = reader(f, &at[0]);
        assert_int_equal(feed_read(r, &e), 1);
        assert_int_equal(e.op, FEED_GAP);
        assert_int_equal(e.what, FEED_WHY_CRASH);
        assert_true(e.generation > at[0].generation);
        assert_int_equal(feed_read(r, &e), 0);
        feed_reader_free(r);
        /* Who had seen what is lost, whatever number it had, also when these numbers were given again. */
        for (unsigned more = 0; more < 2; more++) {
            r = reader(f, &at[1]);
            assert_int_equal(feed_read(r, &e), 1);
            assert_int_equal(e.op, FEED_GAP);
            assert_int_equal(feed_read(r, &e), 0);
            feed_reader_at(r, &now);
            for (unsigned i = 0; i < 60; i++)
                random_op(f->w);
            drain(r, NULL);
            feed_reader_free(r);
            assert_int_equal(now.journal, at[1].journal);
        }
        drain(follower, &m);
        mirror_compare(&m, true);
        assert_int_equal(m.gaps, 0);
        feed_reader_at(follower, &seen);
        feed_reader_free(follower);
    }
    mirror_fini(&m);
}

static void events_that_a_redo_log_vouches_for_are_kept(void **state)
{
    struct fixture *f = *state;
    struct feed_cursor at;
    struct feed *again;
    struct feed_event e;

    for (unsigned i = 0; i < 20; i++)
        new_file(f, (char[]){ 'f', (char)('a' + i), 0 });
    uint64_t vouched = feed_seq(f->w->feed) - 3;
    /* The journal as another process would find it after a kill: nothing was committed since the start. */
    assert_int_equal(feed_open(f->s, f->id, &vouched, &again), 0);
    struct feed_reader *r;
    assert_int_equal(feed_reader_new(again, NULL, 0, &r), 0);
    uint64_t n = 0;
    while (feed_read(r, &e) == 1) {
        assert_int_equal(e.op, FEED_CREATE);
        n++;
    }
    feed_reader_at(r, &at);
    assert_int_equal(n, 17);
    assert_int_equal(at.seq, vouched);
    assert_int_equal(feed_seq(again), vouched);
    feed_reader_free(r);
    feed_unref(again);
}

/* --- outliving the daemon --- */

struct watched { struct fixture *f; struct feed_cursor *seen; };

/* In the child: what a reader was shown, as far as it got. */
static void *watch(void *arg)
{
    struct watched *x = arg;
    struct feed_reader *r = reader(x->f, x->seen);
    struct feed_cursor at;
    struct feed_event e;

    for (;;) {
        while (feed_read(r, &e) > 0) {
            feed_reader_at(r, &at);
            *x->seen = at;
        }
        feed_wait(r, 100);
    }
    return NULL;
}

static void work_until_killed(struct fixture *f, struct log_keeper *k, struct feed_cursor *seen, _Atomic unsigned *done, uint64_t seed)
{
    struct watched x = { f, seen };
    pthread_t t;

    fixture_open(f);
    if (workspace_log(f->w) || pthread_create(&t, NULL, watch, &x))
        _exit(1);
    log_keeper_send(k, f->id, workspace_log_fd(f->w));
    rng_state = seed | 1;
    for (;; ++*done) {
        random_op(f->w);
        if (rng() % 40 == 0 && workspace_commit(f->w))
            _exit(1);
        if (rng() % 60 == 0)
            freeze(f, rng() % 2);
    }
}

static void a_taken_over_workspace_has_no_gap_and_no_event_twice(void **state)
{
    struct fixture *f = *state;
    struct { struct feed_cursor seen; _Atomic unsigned done; } *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct store_options late = options;
    struct feed_cursor at = { f->w->feed->journal, 0, 0 };
    struct mirror m = { 0 };
    struct log_keeper k;
    uint64_t beyond = 0;

    late.late = true;
    assert_int_equal(log_keeper_init(&k), 0);
    for (unsigned round = 0; round < 25; round++) {
        struct redo *redo;
        int status;
        shared->seen = at;
        shared->done = 0;
        uint64_t seed = test_seed() + round;
        fixture_close(f);
        pid_t pid = fork();
        if (pid == 0)
            work_until_killed(f, &k, &shared->seen, &shared->done, seed);
        while (shared->done < 20 + round * 3 && waitpid(pid, &status, WNOHANG) == 0)
            sched_yield();
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        log_keeper_take(&k);
        assert_int_equal(store_open(f->dir, &late, &f->s), 0);
        struct kept_log *log = log_keeper_find(&k, f->id);
        assert_int_equal(redo_open(TAKE_FD(log->fd), f->id, &redo), 0);
        assert_int_equal(workspace_adopt(f->s, f->id, redo, &f->w), 0);
        assert_int_equal(store_begin(f->s), 0);
        ws_lookups_settled(f->w);
        struct feed_info info;
        feed_info(f->w->feed, &info);
        assert_true(shared->seen.seq <= info.last.seq);      /* nobody was shown what is gone */
        beyond += info.last.seq - at.seq;
        struct feed_reader *r = reader(f, &shared->seen);
        drain(r, NULL);
        feed_reader_free(r);
        m.w = f->w;
        r = reader(f, &at);
        drain(r, &m);
        assert_int_equal(m.gaps, 0);
        mirror_compare(&m, true);
        feed_reader_at(r, &at);
        feed_reader_free(r);
        workspace_unlog(f->w);
    }
    assert_true(beyond > 500);
    mirror_fini(&m);
    log_keeper_fini(&k);
    munmap(shared, 4096);
}

static void a_clean_end_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct feed_cursor at;

    new_file(f, "a");
    struct feed_reader *r = reader(f, NULL);
    assert_int_equal(count_events(r), 1);
    feed_reader_at(r, &at);
    feed_reader_free(r);
    new_file(f, "b");
    for (unsigned i = 0; i < 3; i++) {
        fixture_close(f);
        fixture_open(f);
    }
    new_file(f, "c");
    r = reader(f, &at);
    struct mirror m = { .w = f->w };
    struct feed_event e;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(feed_read(r, &e), 1);
        assert_int_equal(e.op, FEED_CREATE);
        assert_int_equal(e.seq, at.seq + 1 + i);
    }
    assert_int_equal(feed_read(r, &e), 0);
    mirror_fini(&m);
    feed_reader_free(r);
}

/* --- bounds, damage, errors --- */

static void what_is_too_old_is_a_gap(void **state)
{
    struct fixture *f = *state;
    const struct feed_limits small = { FEED_BYTES_MIN, 3600 };
    struct mirror m = { .w = f->w };
    struct feed_event e;
    struct feed_info info;
    char name[32];

    assert_int_equal(workspace_feed_on(f->w, &small), 0);
    struct feed_reader *slow = reader(f, NULL), *fast = reader(f, NULL);
    for (unsigned i = 0; i < 8000; i++) {
        snprintf(name, sizeof name, "some-name-%u", i);
        new_file(f, name);
        if (i % 100 == 0)
            drain(fast, NULL);
        feed_info(f->w->feed, &info);
        assert_true(info.bytes <= FEED_BYTES_MIN + FEED_BYTES_MIN / 4);
    }
    drain(fast, NULL);
    assert_int_equal(feed_read(slow, &e), 1);
    assert_int_equal(e.op, FEED_GAP);
    assert_int_equal(e.what, FEED_WHY_OLD);
    assert_int_equal(e.from, 1);
    assert_true(e.to > 4000);
    uint64_t next = e.to + 1;
    for (; feed_read(slow, &e) == 1; next++) {
        assert_int_equal(e.op, FEED_CREATE);
        assert_int_equal(e.seq, next);
    }
    assert_int_equal(next, 8001);
    mirror_fini(&m);
    feed_reader_free(slow);
    feed_reader_free(fast);

    assert_int_equal(workspace_feed_on(f->w, &(struct feed_limits){ FEED_BYTES_MIN - 1, 3600 }), -ERANGE);
    assert_int_equal(workspace_feed_on(f->w, &(struct feed_limits){ FEED_BYTES_MIN, 1 }), -ERANGE);
}

/* A change that comes after the file of the last event of its inode was removed is an event of its own. */
static void nothing_is_joined_into_what_is_too_old(void **state)
{
    struct fixture *f = *state;
    const struct clock_ops *was = clock_src;
    const struct feed_limits small = { FEED_BYTES_MIN, 3600 };
    uint64_t ino = new_file(f, "a");
    struct feed_info info;
    struct feed_event e;

    clock_src = &fake_clock;
    assert_int_equal(workspace_feed_on(f->w, &small), 0);
    new_file(f, "b");
    struct feed_reader *slow = reader(f, NULL), *r;
    drain(slow, NULL);                    /* it stays in the first file */
    write_at(f, ino, 0, 1);
    for (unsigned i = 0; i < 4000; i++)
        assert_int_equal(wrename(f->w, i % 2 ? "c" : "b", i % 2 ? "b" : "c", 0), 0);
    feed_info(f->w->feed, &info);
    assert_true(info.first.seq > 100);
    write_at(f, ino, 5, 1);
    r = reader(f, &info.last);
    assert_int_equal(feed_read(r, &e), 1);
    assert_int_equal(e.op, FEED_WRITE);
    assert_int_equal(e.ino, ino);
    assert_int_equal(e.from, 5);
    clock_src = was;
    feed_reader_free(r);
    feed_reader_free(slow);
}

/* Who was told where the journal begins, and nothing more, goes on there. */
static void the_place_before_the_oldest_event_is_a_cursor(void **state)
{
    struct fixture *f = *state;
    const struct feed_limits small = { FEED_BYTES_MIN, 3600 };
    struct feed_info info;
    struct feed_event e;
    char name[32];

    assert_int_equal(workspace_feed_on(f->w, &small), 0);
    for (unsigned i = 0; i < 4000; i++) {
        snprintf(name, sizeof name, "some-name-%u", i);
        new_file(f, name);
    }
    feed_info(f->w->feed, &info);
    assert_true(info.first.seq > 100);
    struct feed_reader *r = reader(f, &info.first);
    assert_int_equal(feed_read(r, &e), 1);
    assert_int_equal(e.op, FEED_CREATE);
    assert_int_equal(e.seq, info.first.seq + 1);
    feed_reader_free(r);
}

/* The events that are there are told, whatever generation those had that are not. */
static void too_old_is_too_old_over_a_crash_too(void **state)
{
    struct fixture *f = *state;
    const struct feed_limits small = { FEED_BYTES_MIN, 3600 };
    struct feed_cursor at[2];
    struct feed_event e;
    char name[32];

    killed_after(f, 30, 10, 77, 0, at);
    assert_int_equal(workspace_feed_on(f->w, &small), 0);
    for (unsigned i = 0; i < 4000; i++) {
        snprintf(name, sizeof name, "some-name-%u", i);
        new_file(f, name);
    }
    struct feed_reader *r = reader(f, &at[0]);
    assert_int_equal(feed_read(r, &e), 1);
    assert_int_equal(e.op, FEED_GAP);
    assert_int_equal(e.what, FEED_WHY_OLD);
    assert_int_equal(e.from, at[0].seq + 1);
    assert_true(count_events(r) > 1000);
    feed_reader_free(r);
}

static void a_path_that_is_too_long_is_unknown_until_it_is_shorter(void **state)
{
    struct fixture *f = *state;
    struct feed_reader *r = reader(f, NULL);
    uint64_t dir[70], at = INO_ROOT, file, n;
    const struct ws_cred cred = { 0 };
    struct feed_event e;
    struct inode in;
    char name[251];

    memset(name, 'n', 250);
    name[250] = 0;
    for (unsigned i = 0; i < 70; i++, at = dir[i - 1])
        assert_int_equal(ws_create(f->w, at, name, S_IFDIR | 0755, 0, NULL, &cred, 0, true, &dir[i], &in), 0);
    assert_int_equal(ws_create(f->w, at, "file", S_IFREG | 0644, 0, NULL, &cred, 0, true, &file, &in), 0);
    count_events(r);
    for (unsigned i = 0; i < 3; i++) {
        write_at(f, file, i, 1);
        e = last_event(r, &n);
        assert_int_equal(n, 1);
        assert_true(e.what & FEED_PATH_CUT);
        assert_int_equal(e.path_len, 0);
    }
    assert_int_equal(ws_rename(f->w, dir[9], name, INO_ROOT, "up", 0), 0);
    write_at(f, file, 9, 1);
    while (feed_read(r, &e) > 0 && e.op != FEED_WRITE)
        ;
    assert_int_equal(e.op, FEED_WRITE);
    assert_false(e.what & FEED_PATH_CUT);
    assert_int_equal(e.path_len, 2 + 59 * 251 + 5);
    assert_memory_equal(e.path, "up/nnn", 6);
    feed_reader_free(r);
}

static bool same_cursor(const struct feed_cursor *a, const struct feed_cursor *b)
{
    return a->journal == b->journal && a->seq == b->seq && a->generation == b->generation;
}

static void a_cursor_of_something_else_is_a_gap(void **state)
{
    struct fixture *f = *state;
    struct feed_cursor at, bad;
    struct feed_event e;
    char text[FEED_CURSOR_TEXT];

    new_file(f, "a");
    struct feed_reader *r = reader(f, NULL);
    drain(r, NULL);
    feed_reader_at(r, &at);
    feed_reader_free(r);
    const struct feed_cursor tries[] = { { at.journal + 1, at.seq, at.generation }, { at.journal, at.seq + 1, at.generation }, { at.journal, at.seq, at.generation + 1 },
                                         { at.journal, UINT64_MAX, at.generation } };
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        r = reader(f, &tries[i]);
        assert_int_equal(feed_read(r, &e), 1);
        assert_int_equal(e.op, FEED_GAP);
        assert_int_equal(feed_read(r, &e), 0);
        feed_reader_at(r, &bad);
        assert_true(same_cursor(&bad, &at));
        feed_reader_free(r);
    }
    feed_cursor_format(&at, text);
    assert_true(feed_cursor_parse(text, &bad));
    assert_true(same_cursor(&bad, &at));
    static const char *const wrong[] = { "", "x", "1-1-1", "0000000000000001-1-1x", "0000000000000001-01-1", "0000000000000001--1-1", "000000000000000G-1-1" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(feed_cursor_parse(wrong[i], &bad));
}

static void damage_is_a_gap_and_never_an_event(void **state)
{
    struct fixture *f = *state;
    struct feed_event e;
    char name[32], path[600];

    for (unsigned i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "f%u", i);
        new_file(f, name);
    }
    snprintf(path, sizeof path, "%s/journal/%s/%016x", f->dir, f->id, 1);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\xff", 1, 12000), 1);
    close(fd);
    struct feed_reader *r = reader(f, NULL);
    unsigned good = 0, gaps = 0;
    while (feed_read(r, &e) == 1) {
        if (e.op == FEED_GAP) {
            gaps++;
            assert_int_equal(e.to, 200);
        } else {
            snprintf(name, sizeof name, "f%u", good++);
            assert_int_equal(e.path_len, strlen(name));
            assert_memory_equal(e.path, name, e.path_len);
        }
    }
    assert_true(good > 50 && good < 200);
    assert_int_equal(gaps, 1);
    feed_reader_free(r);
}

static void every_changed_byte_of_an_event_is_seen(void **state)
{
    struct feed_event e = { .op = FEED_RENAME, .kind = 8, .generation = 3, .what = 5, .count = 9, .seq = 77, .time = { -5, 999999999 }, .ino = 1ull << 62, .other = 4, .from = 1,
                            .to = UINT64_MAX, .size = 12, .mode = 0100644, .uid = 65535, .gid = 1, .rdev = 2, .links = 3, .mtime = { 1ll << 40, 1 }, .path = "a/b", .aux = "c/dd",
                            .path_len = 3, .aux_len = 4 }, got;
    uint8_t bytes[256], bad[256];
    uint32_t sum;
    size_t need, n = feed_encoded(&e);

    (void)state;
    feed_encode(&e, bytes, &sum);
    assert_int_equal(n, 128);
    assert_int_equal(feed_decode(bytes, n, &got, &need), n);
    assert_memory_equal(got.path, "a/b", 3);
    assert_memory_equal(got.aux, "c/dd", 4);
    feed_encode(&got, bad, &sum);
    assert_memory_equal(bad, bytes, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(feed_decode(bytes, i, &got, &need), 0);
    for (size_t i = 0; i < n * 8; i++) {
        memcpy(bad, bytes, sizeof bad);
        bad[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_true(feed_decode(bad, n, &got, &need) <= 0);
    }
}

static unsigned writes_left;
static ssize_t failing_pwrite(int fd, const void *buf, size_t n, off_t off)
{
    return writes_left && --writes_left ? disk_real.pwrite(fd, buf, n, off) : -ENOSPC;
}

static void a_full_disk_stops_the_journal_and_not_the_work(void **state)
{
    struct fixture *f = *state;
    struct disk_ops full = disk_real;
    struct mirror m = { .w = f->w };
    struct feed_reader *r = reader(f, NULL);
    char name[32];

    full.pwrite = failing_pwrite;
    for (unsigned i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "f%u", i);
        if (i == 10) {
            writes_left = 1;
            disk = &full;
        } else if (i == 20) {
            disk = &disk_real;
            drain(r, &m);                 /* told without waiting for what comes next */
            assert_int_equal(m.gaps, 1);
        }
        new_file(f, name);
    }
    drain(r, &m);
    assert_int_equal(m.gaps, 1);
    mirror_compare(&m, true);
    new_file(f, "after");
    drain(r, &m);
    mirror_compare(&m, true);
    mirror_fini(&m);
    feed_reader_free(r);
}

/* --- marks and life --- */

static void snapshots_forks_and_restores_are_marked_where_they_are(void **state)
{
    struct fixture *f = *state;
    struct snap_rec snap;
    struct ws_rec forks[2];
    struct object o;
    struct feed_event e;
    struct feed_reader *r = reader(f, NULL);
    static const enum feed_op expect[] = { FEED_CREATE, FEED_SNAPSHOT, FEED_CREATE, FEED_FORK, FEED_CREATE, FEED_SNAPSHOT /* before the restore */, FEED_REPLACE, FEED_RESTORE,
                                           FEED_SNAPSHOT, FEED_SNAPSHOT };

    new_file(f, "a");
    assert_int_equal(verb_snapshot(f->s, f->w, &(struct snapshot_args){ .name = "one", .cause = SNAP_USER }, &snap, NULL), 0);
    new_file(f, "b");
    assert_int_equal(object_find(f->s, "w", &o), 0);
    assert_int_equal(verb_fork(f->s, &o, (const char *[]){ "x", "y" }, 2, forks, NULL, NULL), 0);
    new_file(f, "c");
    assert_int_equal(fold_view(f->s, f->w->view), 0);
    assert_int_equal(verb_restore(f->s, f->w, &snap, NULL, 0, NULL), 0);
    assert_int_equal(verb_snapshot(f->s, f->w, &(struct snapshot_args){ .name = "two", .cause = SNAP_USER }, &snap, NULL), 0);
    assert_int_equal(verb_snapshot(f->s, f->w, &(struct snapshot_args){ .name = "three", .cause = SNAP_USER }, &snap, NULL), 0);
    for (size_t i = 0; i < sizeof expect / sizeof *expect; i++) {
        assert_int_equal(feed_read(r, &e), 1);
        assert_int_equal(e.op, expect[i]);
        if (i == 1)
            assert_memory_equal(e.path, "one", 3);
        if (i == 3)
            assert_int_equal(e.count, 2);
        if (i == 9)
            assert_memory_equal(e.aux, snap.id, strlen(snap.id));
    }
    assert_int_equal(feed_read(r, &e), 0);
    feed_reader_free(r);

    struct workspace *x;                  /* forks begin without */
    assert_int_equal(workspace_open(f->s, forks[0].id, &x), 0);
    assert_null(x->feed);
    workspace_unref(x);
}

static int exists(struct fixture *f)
{
    char path[400];

    snprintf(path, sizeof path, "%s/journal/%s", f->dir, f->id);
    return access(path, F_OK) == 0;
}

static void it_goes_with_off_and_with_rm_and_stays_with_a_rename(void **state)
{
    struct fixture *f = *state;
    struct feed_rec rec;
    struct object o;
    struct ws_rec again;

    new_file(f, "a");
    struct feed_reader *r = reader(f, NULL);
    assert_int_equal(object_find(f->s, "w", &o), 0);
    assert_int_equal(verb_rename(f->s, &o, "v"), 0);
    assert_int_equal(count_events(r), 1);
    assert_true(exists(f));
    assert_int_equal(workspace_feed_off(f->w), 0);
    assert_false(exists(f));
    assert_false(feed_wait(r, 1000000));  /* ended */
    feed_reader_free(r);
    assert_null(workspace_feed(f->w));
    new_file(f, "b");
    fixture_close(f);
    fixture_open(f);
    assert_null(workspace_feed(f->w));
    assert_int_equal(workspace_feed_on(f->w, NULL), 0);
    new_file(f, "c");
    r = reader(f, NULL);
    assert_int_equal(count_events(r), 1);
    feed_reader_free(r);

    workspace_unref(f->w);
    assert_int_equal(object_find(f->s, "v", &o), 0);
    assert_int_equal(verb_remove(f->s, &o, false), 0);
    assert_false(exists(f));
    assert_int_equal(feed_rec_get(f->s->meta, f->id, &rec), -ENOENT);
    /* Files without a workspace, as a crash in the middle of rm leaves them. */
    char path[400];
    snprintf(path, sizeof path, "%s/journal/%s", f->dir, f->id);
    assert_int_equal(mkdir(path, 0700), 0);
    strcat(path, "/0000000000000001");
    close(open(path, O_CREAT | O_WRONLY, 0600));
    store_close(f->s);
    assert_int_equal(store_open(f->dir, &options, &f->s), 0);
    assert_false(exists(f));
    assert_int_equal(verb_create(f->s, &(struct create_args){ .name = "w", .kind = WS_BARE }, &again), 0);
    memcpy(f->id, again.id, sizeof f->id);
    assert_int_equal(workspace_open(f->s, f->id, &f->w), 0);
}

/* --- many at once --- */

enum { WRITERS = 3, READERS = 4, EACH = 1500 };
struct writer { struct fixture *f; unsigned n; };
struct reading { struct feed_reader *r; uint64_t creates, gaps; bool in_order; };

static void *write_some(void *arg)
{
    struct writer *x = arg;
    char name[32];

    for (unsigned i = 0; i < EACH; i++) {
        struct inode in;
        uint64_t ino;
        snprintf(name, sizeof name, "w%u-%u", x->n, i);
        if (ws_create(x->f->w, INO_ROOT, name, S_IFREG | 0644, 0, NULL, &wcred, 0, false, &ino, &in) < 0)
            break;
        ws_write(x->f->w, ino, 0, (const uint8_t *)"abc", 3, false);
        ws_write(x->f->w, ino, 3, (const uint8_t *)"abc", 3, false);
        if (i % 500 == 0)
            workspace_commit(x->f->w);
    }
    return NULL;
}

static void *read_all(void *arg)
{
    struct reading *x = arg;
    struct feed_event e;
    uint64_t seq = 0;

    x->in_order = true;
    while (x->creates < WRITERS * EACH) {
        int r = feed_read(x->r, &e);
        if (r < 0)
            break;
        if (r == 0) {
            feed_wait(x->r, 1000);
            continue;
        }
        x->in_order = x->in_order && e.seq == ++seq;
        x->gaps += e.op == FEED_GAP;
        x->creates += e.op == FEED_CREATE;
    }
    return NULL;
}

static void readers_and_writers_at_once_all_see_the_same_order(void **state)
{
    struct fixture *f = *state;
    pthread_t w[WRITERS], r[READERS];
    struct writer ws[WRITERS];
    struct reading rs[READERS] = { 0 };

    for (unsigned i = 0; i < READERS; i++) {
        rs[i].r = reader(f, NULL);
        assert_int_equal(pthread_create(&r[i], NULL, read_all, &rs[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        ws[i] = (struct writer){ f, i };
        assert_int_equal(pthread_create(&w[i], NULL, write_some, &ws[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(w[i], NULL);
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(r[i], NULL);
        assert_int_equal(rs[i].creates, WRITERS * EACH);
        assert_int_equal(rs[i].gaps, 0);
        assert_true(rs[i].in_order);
        feed_reader_free(rs[i].r);
    }
}

/* test_feed [PATTERN]: those whose names match. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_mirror_made_of_the_events_is_the_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(repeated_writes_are_one_event_until_somebody_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(times_that_follow_a_write_belong_to_it, setup, teardown),
        cmocka_unit_test_setup_teardown(readers_and_writers_at_once_all_see_the_same_order, setup, teardown),
        cmocka_unit_test_setup_teardown(after_a_kill_the_journal_and_the_state_agree, setup, teardown),
        cmocka_unit_test_setup_teardown(events_that_a_redo_log_vouches_for_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_taken_over_workspace_has_no_gap_and_no_event_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clean_end_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_too_old_is_a_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_joined_into_what_is_too_old, setup, teardown),
        cmocka_unit_test_setup_teardown(the_place_before_the_oldest_event_is_a_cursor, setup, teardown),
        cmocka_unit_test_setup_teardown(too_old_is_too_old_over_a_crash_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_path_that_is_too_long_is_unknown_until_it_is_shorter, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cursor_of_something_else_is_a_gap, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_a_gap_and_never_an_event, setup, teardown),
        cmocka_unit_test(every_changed_byte_of_an_event_is_seen),
        cmocka_unit_test_setup_teardown(a_full_disk_stops_the_journal_and_not_the_work, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshots_forks_and_restores_are_marked_where_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(it_goes_with_off_and_with_rm_and_stays_with_a_rename, setup, teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
