/* The redo log by itself, stopped at every instruction; and workspaces that a process takes over from one that was killed. tests/crash/adopt_loop.c does it at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/io.h"
#include "fs/fold.h"
#include "fs/meta.h"
#include "fs/redo_internal.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/ws_internal.h"
#include "tests/lib/log_keeper.h"
#include "tests/lib/tmp.h"

#define ID "ws-aaaaaaaaaa"
enum { LAYER = 7, OPCODE = 8 };

/* --- the log by itself --- */

static struct redo *fresh_log(void)
{
    struct redo *r;

    assert_int_equal(redo_new(ID, &r), 0);
    redo_mark(r);
    redo_clear(r);
    return r;
}

static void put(struct redo *r, uint64_t ino, const char *val)
{
    struct key k = key_simple(ino, KEY_BODY);

    redo_put(r, LAYER, k.b, k.len, val, val ? strlen(val) : 0, !val);
}

static void put_op(struct redo *r, uint64_t ino, const char *val)
{
    put(r, ino, val);
    redo_publish(r);
}

static int say_put(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, bool tombstone)
{
    buf_printf(arg, tombstone ? "%d-" : val_len > 100 ? "%d=.." : "%d=%.*s", (int)key_ino(key), (int)val_len, (const char *)val);
    buf_put_u8(arg, ' ');
    return 0;
}

static int say_op(void *arg, const struct redo_op *op)
{
    int r = 0;

    if (op->kind == REDO_STALES)
        buf_printf(arg, "stales");
    else if (op->kind == REDO_FREEZE)
        buf_printf(arg, "freeze %d %d %d", (int)op->layer, (int)op->base, (int)op->live);
    else
        r = redo_each_put(op, say_put, arg);
    buf_printf(arg, "|");
    return r;
}

/* What a process would find that took the log over now, in words. The log itself stays as it is. */
static const char *found(int fd, uint64_t unique, bool *ret_done)
{
    static char out[4096];
    static uint8_t bytes[REDO_HEADER + 65536];
    struct buf b = BUF_INIT;
    struct redo *r;
    uint64_t ino;
    int copy = memfd_create("copy", MFD_CLOEXEC);

    assert_int_equal(pread(fd, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(pwrite(copy, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(ftruncate(copy, REDO_HEADER + (off_t)REDO_RING_BYTES), 0);
    int e = redo_open(copy, ID, &r);
    if (e) {
        snprintf(out, sizeof out, "%s", strerror(-e));
        return out;
    }
    assert_int_equal(redo_each(r, say_op, &b), 0);
    snprintf(out, sizeof out, "%.*s", (int)b.len, (const char *)b.data);
    if (ret_done)
        *ret_done = redo_was_done(r, unique, OPCODE, &ino);
    buf_fini(&b);
    redo_free(r);
    return out;
}

static void what_was_published_is_found_and_nothing_else(void **state)
{
    struct redo *r = fresh_log();

    put(r, 1, "one");
    put(r, 2, NULL);
    redo_publish(r);
    redo_publish(r);
    put_op(r, 3, "");
    redo_freeze(r, LAYER, 8, 9);
    put(r, 4, "four");
    assert_string_equal(found(redo_fd(r), 0, NULL), "1=one 2- |3= |freeze 7 8 9|");
    redo_publish(r);
    assert_string_equal(found(redo_fd(r), 0, NULL), "1=one 2- |3= |freeze 7 8 9|4=four |");
    redo_free(r);
}

static void a_commit_takes_what_it_marked_and_a_failed_one_nothing(void **state)
{
    struct redo *r = fresh_log();

    put_op(r, 1, "one");
    redo_mark(r);
    put_op(r, 2, "two");                  /* that commit failed */
    redo_mark(r);
    put_op(r, 3, "three");
    assert_string_equal(found(redo_fd(r), 0, NULL), "1=one |2=two |3=three |");
    redo_clear(r);
    assert_string_equal(found(redo_fd(r), 0, NULL), "3=three |");
    redo_mark(r);
    redo_clear(r);
    assert_string_equal(found(redo_fd(r), 0, NULL), "");
    assert_int_equal(redo_bytes(r), 0);
    redo_free(r);
}

/* Far more than the ring holds goes through it, in ops of all sizes; what is in it is right all the time, and memory is given back. */
static void it_goes_round(void **state)
{
    struct redo *r = fresh_log();
    char *val = calloc(1, XATTR_VALUE_MAX);
    uint64_t n = 0, of = 0;

    memset(val, 'x', XATTR_VALUE_MAX - 1);
    for (int round = 0; round < 60; round++) {
        redo_mark(r);
        of = n;
        for (int i = 0; i < 100; i++) {
            val[(round * 37 + i * 631) % (XATTR_VALUE_MAX - 1)] = 0;
            put_op(r, ++n % 1000 + 1, val);
            memset(val, 'x', XATTR_VALUE_MAX - 1);
        }
        redo_clear(r);
        redo_trim(r);
    }
    struct buf b = BUF_INIT;
    assert_int_equal(redo_each(r, say_op, &b), 0);
    for (uint64_t i = of + 1; i <= n; i++) {
        char want[32];
        int len = snprintf(want, sizeof want, "%d=", (int)(i % 1000 + 1));
        assert_memory_equal(b.data, want, (size_t)len);
        uint8_t *bar = memchr(b.data, '|', b.len);
        memmove(b.data, bar + 1, b.len -= (size_t)(bar + 1 - b.data));
    }
    assert_int_equal(b.len, 0);
    assert_false(redo_is_lost(r));
    struct stat st;
    assert_int_equal(fstat(redo_fd(r), &st), 0);
    assert_true(st.st_blocks * 512 < REDO_RING_BYTES / 4);
    buf_fini(&b);
    free(val);
    redo_free(r);
}

static void what_does_not_fit_makes_it_lost_until_a_commit_has_everything(void **state)
{
    struct redo *r = fresh_log();
    char *val = calloc(1, XATTR_VALUE_MAX);

    memset(val, 'x', XATTR_VALUE_MAX - 1);
    put_op(r, 1, "one");
    redo_mark(r);
    for (int i = 0; !redo_is_lost(r); i++) {
        assert_true(i <= REDO_RING_BYTES / XATTR_VALUE_MAX + 1);
        put_op(r, 2, val);
    }
    assert_true(redo_is_due(r));
    assert_false(redo_is_due(r));
    assert_string_equal(found(redo_fd(r), 0, NULL), strerror(ENODATA));
    redo_clear(r);                        /* of the commit that began before */
    assert_true(redo_is_lost(r));
    redo_mark(r);
    redo_clear(r);
    redo_trim(r);
    put_op(r, 3, "three");
    assert_false(redo_is_lost(r));
    free(val);
    redo_free(r);
}

static int say_stale(void *arg, uint64_t ino, const char *name, uint32_t n)
{
    buf_printf(arg, "%d%s%s ", (int)ino, n ? "/" : "", n ? name : "");
    return 0;
}

static void what_the_kernel_is_to_be_told_stays_until_it_was(void **state)
{
    struct redo *r = fresh_log(), *next;
    struct buf b = BUF_INIT;

    put_op(r, 1, "one");
    redo_tell_begin(r);
    put(r, 2, "two");
    redo_stale(r, 2, NULL, 0);
    redo_stale(r, 1, "name", 4);
    redo_publish(r);
    assert_string_equal(found(redo_fd(r), 0, NULL), "1=one |2=two |stales|");
    redo_mark(r);
    redo_clear(r);
    put_op(r, 3, "three");
    assert_string_equal(found(redo_fd(r), 0, NULL), "2=two |stales|3=three |");
    assert_int_equal(redo_open(fcntl(redo_fd(r), F_DUPFD_CLOEXEC, 3), ID, &next), 0);
    redo_free(r);
    redo_mark(next);
    redo_clear(next);
    assert_int_equal(redo_each_stale(next, say_stale, &b), 0);
    assert_int_equal(b.len, strlen("2 1/name "));
    assert_memory_equal(b.data, "2 1/name ", b.len);
    redo_tell_end(next);
    put_op(next, 4, "four");
    redo_clear(next);
    assert_string_equal(found(redo_fd(next), 0, NULL), "4=four |");
    redo_tell_end(next);                  /* nobody was telling */
    redo_mark(next);
    redo_clear(next);
    assert_int_equal(redo_bytes(next), 0);
    buf_fini(&b);
    redo_free(next);
}

/* What is kept for the telling is older than what did not fit, and what did not fit may have been to be told: no commit makes such a log good before all was told. */
static void what_is_lost_while_the_kernel_is_told_stays_lost_until_it_was(void **state)
{
    struct redo *r = fresh_log();
    char *val = calloc(1, XATTR_VALUE_MAX);

    memset(val, 'x', XATTR_VALUE_MAX - 1);
    redo_tell_begin(r);
    put_op(r, 1, "old");
    while (!redo_is_lost(r))
        put_op(r, 2, val);
    put_op(r, 1, "new");                  /* does not fit either */
    redo_mark(r);
    redo_clear(r);
    redo_trim(r);
    assert_true(redo_is_lost(r));
    assert_false(redo_is_due(r));         /* a commit is of no use */
    assert_string_equal(found(redo_fd(r), 0, NULL), strerror(ENODATA));
    put_op(r, 3, "three");
    redo_tell_end(r);
    assert_true(redo_is_due(r));
    redo_mark(r);
    redo_clear(r);
    put_op(r, 4, "four");
    assert_string_equal(found(redo_fd(r), 0, NULL), "4=four |");
    redo_tell_begin(r);
    put_op(r, 5, "five");
    redo_mark(r);
    redo_clear(r);
    assert_string_equal(found(redo_fd(r), 0, NULL), "5=five |");
    free(val);
    redo_free(r);
}

static void what_is_not_a_log_of_this_workspace_is_refused(void **state)
{
    struct redo *r = fresh_log(), *other;
    uint32_t version = REDO_VERSION + 1, length = 1;

    assert_int_equal(redo_open(fcntl(redo_fd(r), F_DUPFD_CLOEXEC, 3), "ws-bbbbbbbbbb", &other), -EUCLEAN);
    assert_int_equal(redo_open(memfd_create("small", MFD_CLOEXEC), ID, &other), -EUCLEAN);
    put_op(r, 1, "one");
    length += (uint32_t)redo_bytes(r);
    assert_int_equal(pwrite(redo_fd(r), &length, 4, REDO_HEADER), 4);
    assert_string_equal(found(redo_fd(r), 0, NULL), strerror(EUCLEAN));
    assert_int_equal(pwrite(redo_fd(r), &version, 4, offsetof(struct redo_header, version)), 4);
    assert_string_equal(found(redo_fd(r), 0, NULL), strerror(EPROTONOSUPPORT));
    redo_free(r);
}

static void notes_of_requests_live_through_every_takeover(void **state)
{
    struct redo *r = fresh_log(), *next;
    uint64_t ino = 0;

    redo_now = (struct redo_request){ .unique = 42, .opcode = OPCODE, .slot = 3 };
    redo_note(r, 5);
    redo_publish(r);                      /* nothing was put: nothing was done */
    put(r, 5, "five");
    redo_note(r, 5);
    bool done;
    found(redo_fd(r), 42, &done);
    assert_false(done);
    redo_publish(r);
    for (uint64_t life = 0; life < 3; life++) {
        assert_int_equal(redo_open(fcntl(redo_fd(r), F_DUPFD_CLOEXEC, 3), ID, &next), 0);
        redo_free(r);
        r = next;
        assert_true(redo_was_done(r, 42 | 1ull << 63, OPCODE, &ino));
        assert_int_equal(ino, 5);
        assert_false(redo_was_done(r, 42, OPCODE + 1, &ino));
        assert_false(redo_was_done(r, 43 + life, OPCODE, &ino));
        redo_now.unique = 43 + life;      /* in the same slot */
        put(r, 6, "six");
        redo_note(r, 6);
        redo_publish(r);
        redo_mark(r);
        redo_clear(r);
    }
    redo_now.unique = 0;
    redo_free(r);
}

/* What is logged while each instruction is looked at from outside. */
static void work(struct redo *r)
{
    redo_now = (struct redo_request){ .unique = 42, .opcode = OPCODE, .slot = 3 };
    put(r, 2, "two");
    put(r, 3, NULL);
    redo_note(r, 2);
    redo_publish(r);
    redo_mark(r);
    redo_clear(r);
    put(r, 4, "four");
    redo_publish(r);
}

static void it_is_right_after_every_instruction(void **state)
{
    static const char *const steps[] = { "1=one |", "1=one |2=two 3- |", "", "4=four |" };
    struct redo *r = fresh_log();
    unsigned at = 0, st, count = 0;
    int status;

    put_op(r, 1, "one");
    pid_t pid = fork();
    if (!pid) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        work(r);
        _exit(0);
    }
    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
        bool done;
        const char *now = found(redo_fd(r), 42, &done);
        for (st = at; st < 4 && strcmp(now, steps[st]); st++)
            ;
        if (st == 4)
            fail_msg("after instruction %u, step %u: %s", count, at, now);
        at = st;
        if (done != (at >= 1))
            fail_msg("after instruction %u, step %u: the request counts as %s", count, at, done ? "done" : "not done");
        count++;
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(at, 3);
    redo_free(r);
}

/* --- processes --- */

static const struct ws_cred root_cred = { 0, 0, 022 };
struct fixture { char dir[512], id[ID_MAX]; struct log_keeper keeper; struct store *s; struct workspace *w; };

/* In a child: what does not hold ends it. */
#define CHECK(x) do { if (!(x)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); _exit(9); } } while (0)

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_int_equal(tmp_make("redo", f->dir, sizeof f->dir), 0);
    assert_int_equal(log_keeper_init(&f->keeper), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    log_keeper_fini(&f->keeper);
    tmp_remove(f->dir);
    free(f);
    return 0;
}

static void open_store(struct fixture *f, bool late)
{
    struct store_options o = { .node_cache_bytes = 4 << 20, .chunk_cache_bytes = 4 << 20, .no_background = true, .late = late };

    CHECK(store_open(f->dir, &o, &f->s) == 0);
}

static void log_it(struct fixture *f)
{
    CHECK(workspace_log(f->w) == 0);
    log_keeper_send(&f->keeper, f->w->rec.id, workspace_log_fd(f->w));
}

static void begin(struct fixture *f)
{
    struct ws_rec rec;

    CHECK(store_init(f->dir) == 0);
    open_store(f, false);
    CHECK(verb_create(f->s, &(struct create_args){ .name = "w", .kind = WS_BARE }, &rec) == 0);
    CHECK(workspace_open(f->s, rec.id, &f->w) == 0);
    log_it(f);
}

static void adopt(struct fixture *f)
{
    struct kept_log *k = &f->keeper.kept[0];
    struct redo *redo;

    open_store(f, true);
    CHECK(redo_open(k->fd, k->id, &redo) == 0);
    CHECK(workspace_adopt(f->s, k->id, redo, &f->w) == 0);
    CHECK(store_begin(f->s) == 0);
    ws_lookups_settled(f->w);
}

/* Runs fn in a process of its own, which is to be killed by itself, or (killed false) to end well. */
static void live(struct fixture *f, void (*fn)(struct fixture *f), bool killed)
{
    int st;

    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        fn(f);
        if (killed)
            kill(getpid(), SIGKILL);
        unsigned bad = 0;
        workspace_unref(f->w);
        uint64_t checked;
        CHECK(verb_fsck(f->s, NULL, &bad, &checked) == 0);
        store_close(f->s);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &st, 0), pid);
    if (killed)
        assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
    else
        assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
    log_keeper_take(&f->keeper);
}

static uint64_t create(struct fixture *f, const char *name)
{
    struct inode in;
    uint64_t ino;

    CHECK(ws_create(f->w, INO_ROOT, name, S_IFREG | 0644, 0, NULL, &root_cred, 0, true, &ino, &in) == 0);
    return ino;
}

static uint64_t lookup(struct fixture *f, const char *name)
{
    struct inode in;
    uint64_t ino;
    int r = ws_lookup(f->w, INO_ROOT, name, &ino, &in);

    return r ? 0 : ino;
}

static uint8_t content[300000];

static void fill(struct fixture *f, uint64_t ino, int seed)
{
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (uint8_t)(i / 7 * (size_t)seed);
    CHECK(ws_write(f->w, ino, 0, content, sizeof content, false) == 0);
}

static bool is_filled(struct fixture *f, uint64_t ino, int seed)
{
    static uint8_t have[sizeof content];
    size_t n = 0;

    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (uint8_t)(i / 7 * (size_t)seed);
    return ws_read(f->w, ino, 0, sizeof have, have, &n) == 0 && n == sizeof have && !memcmp(have, content, n);
}

static struct fixture *hooked;
static void (*hook)(struct fixture *f);
static int hook_result;

static int on_meta(bool is_write)
{
    void (*fn)(struct fixture *f) = hook;

    if (!is_write)
        return 0;
    hook = NULL;                          /* what it does may come here, too */
    if (fn)
        fn(hooked);
    if (!hook)
        hook = hook_result ? fn : NULL;
    return hook_result;
}

static void hook_on(struct fixture *f, void (*fn)(struct fixture *f), int result)
{
    hooked = f;
    hook = fn;
    hook_result = result;
    meta_fault = on_meta;
}

static void hook_off(void)
{
    meta_fault = NULL;
}

static void create_during(struct fixture *f)
{
    fill(f, create(f, "during"), 3);
}

static void commit_and_go_on(struct fixture *f)
{
    begin(f);
    fill(f, create(f, "before"), 2);
    hook_on(f, create_during, 0);
    CHECK(workspace_commit(f->w) == 0);
    hook_off();
    create(f, "after");
}

static void find_before_during_after(struct fixture *f)
{
    adopt(f);
    CHECK(is_filled(f, lookup(f, "before"), 2) && is_filled(f, lookup(f, "during"), 3) && lookup(f, "after"));
    CHECK(f->w->rec.inodes == 4 && f->w->rec.units == 2 * 74 + 1);   /* the root's names take one */
}

static void what_is_done_during_a_commit_is_kept(void **state)
{
    live(*state, commit_and_go_on, true);
    live(*state, find_before_during_after, true);
    live(*state, find_before_during_after, false);
}

static void create_after_the_freeze_and_die(struct fixture *f)
{
    static uint64_t layer;

    if (!layer)
        layer = f->w->live->id;
    if (f->w->live->id == layer) {        /* the commit before the freeze */
        hook = create_after_the_freeze_and_die;
        return;
    }
    fill(f, create(f, "after"), 3);
    kill(getpid(), SIGKILL);
}

static void freeze_and_die(struct fixture *f)
{
    struct view *v;

    begin(f);
    fill(f, create(f, "before"), 2);
    create(f, "during");
    hook_on(f, create_after_the_freeze_and_die, 0);
    workspace_freeze(f->w, NULL, &v, NULL);
    CHECK(false);
}

static void find_frozen(struct fixture *f)
{
    adopt(f);
    CHECK(view_depth(f->w->view) == 1 && is_filled(f, lookup(f, "before"), 2) && is_filled(f, lookup(f, "after"), 3) && lookup(f, "during"));
}

static void find_frozen_and_fold(struct fixture *f)
{
    find_frozen(f);
    CHECK(fold_view(f->s, f->w->view) == 0);
    CHECK(is_filled(f, lookup(f, "before"), 2) && is_filled(f, lookup(f, "after"), 3) && lookup(f, "during"));
    CHECK(f->w->rec.inodes == 4 && f->w->rec.units == 2 * 74 + 1);
}

static void a_freeze_that_did_not_reach_the_disk_is_done_again(void **state)
{
    live(*state, freeze_and_die, true);
    live(*state, find_frozen, true);
    live(*state, find_frozen_and_fold, false);
}

static void nothing_more(struct fixture *f)
{
    (void)f;
}

static void fail_commits_and_die(struct fixture *f)
{
    begin(f);
    fill(f, create(f, "before"), 2);
    hook_on(f, nothing_more, -ENOSPC);
    CHECK(workspace_commit(f->w) == -ENOSPC);
    fill(f, create(f, "during"), 3);
    CHECK(workspace_commit(f->w) == -ENOSPC);
    hook_off();
    create(f, "after");
}

static void a_failed_commit_loses_nothing(void **state)
{
    live(*state, fail_commits_and_die, true);
    live(*state, find_before_during_after, false);
}

static int no_sync(int fd)
{
    return -EIO;
}

static void break_and_die(struct fixture *f)
{
    static struct disk_ops broken;

    begin(f);
    fill(f, create(f, "before"), 2);
    broken = *disk;
    broken.fdatasync = no_sync;
    disk = &broken;
    CHECK(workspace_commit(f->w) == -EIO);
}

static void find_broken(struct fixture *f)
{
    struct inode in;
    uint64_t ino;

    adopt(f);
    CHECK(is_filled(f, lookup(f, "before"), 2));
    CHECK(ws_create(f->w, INO_ROOT, "x", S_IFREG, 0, NULL, &root_cred, 0, true, &ino, &in) == -EROFS);
}

static void what_became_readonly_stays_so(void **state)
{
    live(*state, break_and_die, true);
    live(*state, find_broken, true);
}

/* --- inodes without links --- */

static uint64_t *open_inos;               /* shared */

static void unlink_and_die(struct fixture *f)
{
    struct view *v;

    begin(f);
    for (int i = 0; i < 3; i++) {
        char name[2] = { (char)('a' + i) };
        open_inos[i] = create(f, name);
        fill(f, open_inos[i], i + 2);
        if (i == 1)
            CHECK(ws_unlink(f->w, INO_ROOT, "b") == 0);               /* frozen without a name */
    }
    CHECK(workspace_freeze(f->w, NULL, &v, NULL) == 0);
    CHECK(ws_unlink(f->w, INO_ROOT, "a") == 0);
}

static void find_unlinked(struct fixture *f)
{
    struct inode in;

    adopt(f);
    CHECK(f->w->orphan_inodes == 2 && f->w->orphan_units == 2 * 74);
    CHECK(ws_unlink(f->w, INO_ROOT, "c") == 0);                       /* nothing is known of it, so somebody may have it open */
    CHECK(fold_view(f->s, f->w->view) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(is_filled(f, open_inos[i], i + 2));
    ws_nlookup_add(f->w, open_inos[1], 3);
    ws_forget(f->w, open_inos[0], 1);
    ws_forget(f->w, open_inos[1], 1);
    CHECK(ws_getattr(f->w, open_inos[0], &in) == -ENOENT && is_filled(f, open_inos[1], 3));
    ws_forget(f->w, open_inos[1], 7);
    CHECK(ws_getattr(f->w, open_inos[1], &in) == -ENOENT && f->w->orphan_inodes == 1);
    ws_forget_all(f->w);
    CHECK(ws_getattr(f->w, open_inos[2], &in) == -ENOENT && f->w->orphan_inodes == 0 && f->w->orphan_units == 0 && f->w->rec.inodes == 1);
}

static void find_unlinked_and_die(struct fixture *f)
{
    adopt(f);
    CHECK(fold_view(f->s, f->w->view) == 0 && is_filled(f, open_inos[0], 2) && is_filled(f, open_inos[1], 3));
    CHECK(ws_unlink(f->w, INO_ROOT, "c") == 0);
    struct inode in;
    CHECK(ws_link(f->w, open_inos[2], INO_ROOT, "c", &in) == 0);
}

static void open_files_without_a_name_are_kept_until_they_are_closed(void **state)
{
    open_inos = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    live(*state, unlink_and_die, true);
    live(*state, find_unlinked_and_die, true);
    live(*state, find_unlinked, false);
    munmap(open_inos, 4096);
}

static void forget_early(struct fixture *f)
{
    struct inode in;

    adopt(f);
    f->w->settled = false;
    uint64_t ino = lookup(f, "before");
    ws_nlookup_add(f->w, ino, 1);
    CHECK(ws_unlink(f->w, INO_ROOT, "before") == 0);
    ws_forget(f->w, ino, 4);              /* queued before the takeover: what was looked up since is in use */
    CHECK(is_filled(f, ino, 2));
    ws_lookups_settled(f->w);
    ws_forget(f->w, ino, 1);
    CHECK(ws_getattr(f->w, ino, &in) == -ENOENT);
}

static void a_forget_from_before_the_takeover_does_not_count_against_lookups_after_it(void **state)
{
    live(*state, commit_and_go_on, true);
    live(*state, forget_early, false);
}

/* --- space --- */

static uint64_t unit_of(struct fixture *f, uint64_t ino)
{
    struct slot s;

    CHECK(slot_load(f->w, ino, 0, true, &s) == 0 && s.runs[0].kind == RUN_SEG);
    return s.runs[0].unit;
}

static void two_files_and_die(struct fixture *f)
{
    begin(f);
    fill(f, create(f, "forgotten"), 2);
    fill(f, create(f, "looked up"), 3);
}

/* A restore removes both. The kernel says that it has neither of them: of the one that was looked up since, it speaks of a time before. */
static void remove_what_the_kernel_does_not_have(struct fixture *f)
{
    adopt(f);
    uint64_t one = lookup(f, "forgotten"), two = lookup(f, "looked up");
    struct inode in;
    f->w->settled = false;
    ws_nlookup_add(f->w, two, 1);
    CHECK(ws_unlink(f->w, INO_ROOT, "forgotten") == 0 && ws_unlink(f->w, INO_ROOT, "looked up") == 0);
    CHECK(f->w->orphan_inodes == 2 && f->w->orphan_units > 0);
    ws_unknown(f->w, one);
    CHECK(f->w->orphan_inodes == 2);      /* not before all that the kernel sends again was taken */
    ws_lookups_settled(f->w);
    ws_unknown(f->w, one);
    ws_unknown(f->w, two);
    CHECK(f->w->orphan_inodes == 1 && ws_getattr(f->w, one, &in) == -ENOENT && ws_getattr(f->w, two, &in) == 0);
    ws_forget(f->w, two, 1);
    CHECK(f->w->orphan_inodes == 0 && f->w->orphan_units == 0);
}

static void what_the_kernel_does_not_have_is_not_kept_for_it(void **state)
{
    live(*state, two_files_and_die, true);
    live(*state, remove_what_the_kernel_does_not_have, false);
}

static void remove_and_die(struct fixture *f)
{
    begin(f);
    uint64_t ino = create(f, "before");
    fill(f, ino, 2);
    CHECK(unit_of(f, ino) == 0 && workspace_commit(f->w) == 0 && ws_unlink(f->w, INO_ROOT, "before") == 0);
    ws_forget(f->w, ino, 1);
}

static void space_of_the_last_commit_is_not_used_before_the_next(struct fixture *f)
{
    adopt(f);
    uint64_t a = create(f, "a"), b = create(f, "b");
    fill(f, a, 3);
    CHECK(unit_of(f, a) >= sizeof content / UNIT);
    CHECK(workspace_commit(f->w) == 0);
    fill(f, b, 4);
    CHECK(unit_of(f, b) < sizeof content / UNIT && is_filled(f, a, 3) && is_filled(f, b, 4));
}

static void what_the_disk_may_still_refer_to_is_not_overwritten(void **state)
{
    live(*state, remove_and_die, true);
    live(*state, space_of_the_last_commit_is_not_used_before_the_next, false);
}

static unsigned data_syncs, name_syncs;

static int count_fdatasync(int fd)
{
    data_syncs++;
    return disk_real.fdatasync(fd);
}

static int count_fsync(int fd)
{
    name_syncs++;
    return disk_real.fsync(fd);
}

static void sync_what_another_wrote(struct fixture *f)
{
    static struct disk_ops counting;

    adopt(f);
    counting = *disk;
    counting.fdatasync = count_fdatasync;
    counting.fsync = count_fsync;
    disk = &counting;
    CHECK(workspace_commit(f->w) == 0 && data_syncs == 1 && name_syncs == 1);
    CHECK(workspace_commit(f->w) == 0 && data_syncs == 1);
}

static void fill_and_die(struct fixture *f)
{
    begin(f);
    fill(f, create(f, "before"), 2);
}

static void data_that_another_process_wrote_is_synced_by_the_next_commit(void **state)
{
    live(*state, fill_and_die, true);
    live(*state, sync_what_another_wrote, false);
}

static ssize_t write_and_die(int fd, const struct iovec *iov, int count, off_t off)
{
    disk_real.pwritev(fd, iov, count, off);
    kill(getpid(), SIGKILL);
    return -EIO;
}

static void append_and_die(struct fixture *f)
{
    static struct disk_ops mortal;

    begin(f);
    uint64_t ino = create(f, "before");
    fill(f, ino, 2);
    mortal = *disk;
    mortal.pwritev = write_and_die;
    disk = &mortal;
    ws_write(f->w, ino, sizeof content, content, 500, false);
    CHECK(false);
}

static void grow(struct fixture *f)
{
    uint8_t have[500];
    struct inode in = { .size = sizeof content + sizeof have };
    size_t n;

    adopt(f);
    uint64_t ino = lookup(f, "before");
    CHECK(is_filled(f, ino, 2) && ws_setattr(f->w, ino, WSA_SIZE, &in, &in) == 0);
    CHECK(ws_read(f->w, ino, sizeof content, sizeof have, have, &n) == 0 && n == sizeof have);
    for (size_t i = 0; i < n; i++)
        CHECK(have[i] == 0);
}

static void what_a_killed_append_wrote_does_not_come_up(void **state)
{
    live(*state, append_and_die, true);
    live(*state, grow, false);
}

/* --- the rest of a workspace's life --- */

static uint64_t layer_before;

/* What could be done in the new state before that is on the disk would be lost, as no op leads there. */
static void create_in_the_new_state_and_die(struct fixture *f)
{
    if (f->w->live->id == layer_before) {
        hook = create_in_the_new_state_and_die;
    } else if (!pthread_mutex_trylock(&f->w->lock)) {
        pthread_mutex_unlock(&f->w->lock);
        create(f, "too early");
        kill(getpid(), SIGKILL);
    }
}

static void restore_and_die(struct fixture *f)
{
    struct snapshot_args a = { .name = "s", .cause = SNAP_USER, .message = "" }, b = { .name = "t", .cause = SNAP_USER, .message = "" };
    struct snap_rec snap, other;
    struct restore_report rep;

    begin(f);
    fill(f, create(f, "before"), 2);
    CHECK(verb_snapshot(f->s, f->w, &a, &snap, NULL) == 0);
    create(f, "gone");
    CHECK(verb_snapshot(f->s, f->w, &b, &other, NULL) == 0);
    layer_before = f->w->live->id;
    hook_on(f, create_in_the_new_state_and_die, 0);
    CHECK(verb_restore(f->s, f->w, &snap, NULL, 0, &rep) == 0);
    hook_off();
    CHECK(f->w->live->id != layer_before);
    fill(f, create(f, "during"), 3);
    create(f, "after");
}

static void a_restored_state_goes_on(void **state)
{
    live(*state, restore_and_die, true);
    live(*state, find_before_during_after, false);
}

static void requests(struct fixture *f)
{
    begin(f);
    redo_now = (struct redo_request){ .unique = 10, .opcode = OPCODE };
    CHECK(create(f, "a"));
    redo_now.unique = 12;
    struct inode in;
    uint64_t ino;
    CHECK(ws_create(f->w, INO_ROOT, "a", S_IFREG, 0, NULL, &root_cred, 0, true, &ino, &in) == -EEXIST);
}

static void ask_requests(struct fixture *f)
{
    uint64_t ino = 0;

    adopt(f);
    CHECK(redo_applied(f->w, 10, OPCODE, &ino) && ino == lookup(f, "a") && !redo_applied(f->w, 12, OPCODE, &ino));
    log_it(f);                            /* a new mount counts its requests anew */
    CHECK(!redo_applied(f->w, 10, OPCODE, &ino));
    workspace_unlog(f->w);
    CHECK(workspace_log_fd(f->w) == -1 && !redo_applied(f->w, 10, OPCODE, &ino));
}

static void a_request_that_was_done_is_known(void **state)
{
    live(*state, requests, true);
    live(*state, ask_requests, false);
}

static void much(struct fixture *f)
{
    static uint8_t val[XATTR_VALUE_MAX];
    struct store_options o = { .node_cache_bytes = 4 << 20, .chunk_cache_bytes = 4 << 20, .commit_interval_ms = 3600000 };
    struct ws_rec rec;

    CHECK(store_init(f->dir) == 0 && store_open(f->dir, &o, &f->s) == 0);
    CHECK(verb_create(f->s, &(struct create_args){ .name = "w", .kind = WS_BARE }, &rec) == 0 && workspace_open(f->s, rec.id, &f->w) == 0);
    log_it(f);
    for (int i = 0; i < 3 * REDO_RING_BYTES / XATTR_VALUE_MAX; i++) {
        val[0] = (uint8_t)i;
        CHECK(ws_setxattr(f->w, INO_ROOT, "user.x", val, sizeof val, 0, false) == 0);
        CHECK(!redo_is_lost(f->w->redo));
    }
}

static void one_that_fills_is_committed_in_time(void **state)
{
    live(*state, much, false);
}

int main(void)
{
#define PROCESSES(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_published_is_found_and_nothing_else),
        cmocka_unit_test(a_commit_takes_what_it_marked_and_a_failed_one_nothing),
        cmocka_unit_test(it_goes_round),
        cmocka_unit_test(what_does_not_fit_makes_it_lost_until_a_commit_has_everything),
        cmocka_unit_test(what_the_kernel_is_to_be_told_stays_until_it_was),
        cmocka_unit_test(what_is_lost_while_the_kernel_is_told_stays_lost_until_it_was),
        cmocka_unit_test(what_is_not_a_log_of_this_workspace_is_refused),
        cmocka_unit_test(notes_of_requests_live_through_every_takeover),
        cmocka_unit_test(it_is_right_after_every_instruction),
        PROCESSES(what_is_done_during_a_commit_is_kept),
        PROCESSES(a_freeze_that_did_not_reach_the_disk_is_done_again),
        PROCESSES(a_failed_commit_loses_nothing),
        PROCESSES(what_became_readonly_stays_so),
        PROCESSES(open_files_without_a_name_are_kept_until_they_are_closed),
        PROCESSES(a_forget_from_before_the_takeover_does_not_count_against_lookups_after_it),
        PROCESSES(what_the_kernel_does_not_have_is_not_kept_for_it),
        PROCESSES(what_the_disk_may_still_refer_to_is_not_overwritten),
        PROCESSES(data_that_another_process_wrote_is_synced_by_the_next_commit),
        PROCESSES(what_a_killed_append_wrote_does_not_come_up),
        PROCESSES(a_restored_state_goes_on),
        PROCESSES(a_request_that_was_done_is_known),
        PROCESSES(one_that_fills_is_committed_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
