/* kill -9 at random moments, in a loop on one store, and a process that takes up where the killed one was: `adopt_loop [SECONDS [SEED]]`.
 *
 * Unlike after a crash (kill_loop) nothing may be missing: what was answered is there, open files without a name too, and the operation under way is done again as
 * the kernel would send it again, unless the log says that it was done. The parent is what the holder is: it keeps the redo logs that the child sends it.
 * The operations follow from the seed and the model alone, so each child knows what the ones before did.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "fs/meta.h"
#include "fs/redo.h"
#include "fs/verbs.h"
#include "fs/ws_internal.h"
#include "tests/crash/crash_child.h"
#include "tests/lib/log_keeper.h"
#include "tests/lib/seed.h"
#include "tests/lib/tmp.h"
#include "tests/model/check.h"

enum { OPS = 900, CHECK_EVERY = 60 };
#define CAPS (CAP_WORLD | CAP_BIG_XATTR | CAP_INO)

/* Of the target, after the operations that are done: what the kernel, and the daemon's own records, would remember. */
struct memory { char id[PLACES][ID_MAX]; struct target_handle h[HANDLES]; uint64_t serial; };
struct life_shared { _Atomic int done; _Atomic bool running, over; struct memory memory[2]; unsigned long adopted, lost, replayed; };

/* --- dying at a chosen call --- */

static _Atomic long calls_left;
static _Thread_local bool may_not_write;

static void called(void) {
    if (calls_left > 0 && --calls_left == 0) kill(getpid(), SIGKILL);
}

static int on_meta(bool is_write) {
    called();
    return is_write && may_not_write ? -ENOSPC : 0;
}

static ssize_t on_pwritev(int fd, const struct iovec *iov, int count, off_t off) {
    called();
    return disk_real.pwritev(fd, iov, count, off);
}

static int on_fdatasync(int fd) {
    called();
    return disk_real.fdatasync(fd);
}

static struct disk_ops mortal;

/* Before there are threads. */
static void hooks(void) {
    mortal = disk_real;
    mortal.pwritev = on_pwritev;
    mortal.fdatasync = on_fdatasync;
    disk = &mortal;
    meta_fault = on_meta;
}

/* --- the child --- */

struct life { struct target_ws t; struct model *m; struct rng r; struct life_shared *s; struct log_keeper *holder; int64_t start_s; };

/* As the kernel gives it: an append has a place, a copy ends where the file ended when it was asked for. */
static struct op draw(struct rng *r, struct model *m) {
    struct op o = op_random(r, m, CAPS);
    struct mnode *n = o.kind >= OP_OPEN && o.kind < OP_SNAPSHOT ? m->h[o.h].n : NULL;
    if (o.kind == OP_APPEND && n) o.kind = OP_PWRITE, o.off = n->data.size;
    if (o.kind == OP_COPY && n && o.off < n->data.size && o.len > n->data.size - o.off) o.len = n->data.size - o.off;
    return o;
}

static int put_logs(struct life *l) {
    for (unsigned i = 0; i < PLACES_WS; i++) {
        struct workspace *w;
        if (!l->t.id[i][0]) continue;
        int r = target_ws_get(&l->t, i, &w);
        if (!r && !w->redo && !(r = workspace_log(w))) log_keeper_send(l->holder, l->t.id[i], workspace_log_fd(w));
        if (r && r != -ENOENT) return r;                      /* ENOENT: it was being removed; else the next operation on it says so */
    }
    return 0;
}

static void remember(struct life *l, int done) {
    struct memory *m = &l->s->memory[done & 1];
    memcpy(m->id, l->t.id, sizeof m->id);
    memcpy(m->h, l->t.h, sizeof m->h);
    m->serial = l->t.serial;
    l->s->done = done;
}

static int adopt_one(struct life *l, unsigned at) {
    struct kept_log *k = log_keeper_find(l->holder, l->t.id[at]);
    struct redo *redo;
    int r = k ? redo_open(k->fd, k->id, &redo) : -ENODATA;
    if (k) k->fd = -1;
    if (r == -ENODATA) return l->s->lost++, 0;                /* killed while it got its log: it was committed then */
    if (r) return r;
    l->s->replayed += redo_bytes(redo);
    r = workspace_adopt(l->t.s, l->t.id[at], redo, &l->t.ws[at]);
    if (r == -ENOENT) return 0;                               /* killed while it was being removed */
    if (r) return r;
    l->s->adopted++;
    ws_lookups_settled(l->t.ws[at]);
    return 0;
}

static int take_over(struct life *l, const char *dir, const struct store_options *opt) {
    const struct memory *m = &l->s->memory[l->s->done & 1];
    l->t = (struct target_ws){ .opt = *opt, .serial = m->serial };
    snprintf(l->t.dir, sizeof l->t.dir, "%s", dir);
    memcpy(l->t.id, m->id, sizeof m->id);
    memcpy(l->t.h, m->h, sizeof m->h);
    struct store_options late = *opt;
    late.late = true;
    int r = store_open(dir, &late, &l->t.s);
    for (unsigned i = 0; i < PLACES_WS && !r; i++)
        if (l->t.id[i][0]) r = adopt_one(l, i);
    if (!r) r = store_begin(l->t.s);
    for (unsigned h = 0; h < HANDLES && !r; h++)
        if (l->t.h[h].w) r = target_ws_get(&l->t, l->t.h[h].at, &l->t.h[h].w);
    return r;
}

static bool is_once(enum op_kind k) {
    return k == OP_MK || k == OP_LINK || k == OP_UNLINK || k == OP_RMDIR || k == OP_RENAME || k == OP_SETXATTR || k == OP_REMOVEXATTR ||
        k == OP_CREATE || k == OP_TMPFILE || k == OP_LINK_HANDLE;
}

/* A verb that may have been done: what it makes or removes has a name. True if it was. */
static bool verb_was_done(struct life *l, const struct op *o) {
    struct object obj;
    char name[32];
    unsigned place = o->kind == OP_SNAPSHOT ? place_snap(o->to) : o->kind == OP_FORK ? o->to : o->at;
    if ((o->kind == OP_SNAPSHOT && (!l->t.id[o->at][0] || l->t.id[place][0])) || (o->kind == OP_FORK && (!l->t.id[o->at][0] || l->t.id[place][0])) ||
        (o->kind == OP_DROP && (!place || !l->t.id[place][0]))) return false;
    if (o->kind != OP_SNAPSHOT && o->kind != OP_FORK && o->kind != OP_DROP) return false;
    snprintf(name, sizeof name, place < PLACES_WS ? "w%u" : "s%u", place < PLACES_WS ? place : place - PLACES_WS);
    bool there = !object_find(l->t.s, o->kind == OP_DROP ? l->t.id[place] : name, &obj);
    if (o->kind == OP_DROP) return there ? false : (l->t.id[place][0] = 0, true);
    if (there) snprintf(l->t.id[place], ID_MAX, "%s", place < PLACES_WS ? obj.ws.id : obj.snap.id);
    return there;
}

/* The operation under way when the process before was killed, as the kernel sends it again. True: it was done, *ret is its answer. */
static bool was_done(struct life *l, const struct op *o, int i, struct outcome *ret) {
    uint64_t ino;
    *ret = (struct outcome){0};
    if (!is_once(o->kind)) return verb_was_done(l, o);
    bool by_handle = o->kind == OP_LINK_HANDLE;
    struct workspace *w = by_handle ? l->t.h[o->h].w : NULL;
    if ((by_handle && !w) || (!by_handle && (o->at >= PLACES_WS || !l->t.id[o->at][0] || target_ws_get(&l->t, o->at, &w)))) return false;
    if (!redo_applied(w, (uint64_t)i + 1 + (1ull << 63), o->kind, &ino)) return false;
    if (by_handle) l->t.h[o->h].linkable = false;
    if (o->kind == OP_CREATE || o->kind == OP_TMPFILE) {
        ws_nlookup_add(w, ino, 1);
        l->t.h[o->h] = (struct target_handle){ .w = w, .ino = ino, .lookups = 1, .at = o->at, .linkable = o->kind == OP_TMPFILE };
    }
    return true;
}

/* Now and then a commit that fails. */
static void fail_commit(struct life *l, struct rng *r) {
    unsigned at = (unsigned)rng_below(r, PLACES_WS);
    if (!rng_chance(r, 4) || !l->t.ws[at]) return;
    may_not_write = true;
    workspace_commit(l->t.ws[at]);
    may_not_write = false;
    workspace_commit(l->t.ws[at]);
}

static const char *one(struct life *l, int i, bool again) {
    struct outcome a, b;
    struct op o = draw(&l->r, l->m);
    const char *w = NULL;
    static char out[1200];
    char line[600];
    op_run(&o, &model_ops, l->m, &a);
    redo_now = (struct redo_request){ .unique = (uint64_t)i + 1, .opcode = o.kind, .slot = (unsigned)i % 5 };
    if (!again || !was_done(l, &o, i, &b)) {
        op_run(&o, &target_ws_ops, &l->t, &b);
        w = o.kind == OP_SEEK ? NULL : outcome_differs(&o, &a, &b, CAPS, l->start_s);
    } else if (a.res) {
        w = "the log says that it was done, and it cannot have been";
    }
    redo_now.unique = 0;
    op_print(&o, line, sizeof line);
    if (getenv("ADOPT_TRACE")) fprintf(stderr, "# %d %s%s\n", i, line, again ? " (again)" : "");
    if (w) snprintf(out, sizeof out, "operation %d (%s)%s: %s", i, line, again ? ", again" : "", w);
    op_fini(&o);
    return w ? out : NULL;
}

static int child(const char *dir, uint64_t seed, unsigned number, struct life_shared *s, struct log_keeper *holder, long calls) {
    struct store_options opt = crash_options(seed);
    struct life l = { .m = model_new(), .r = { seed }, .s = s, .holder = holder, .start_s = time(NULL) };
    struct rng own = { seed * 1000 + number };
    bool first = number == 0;
    const char *w = NULL;
    for (int i = 0; i < s->done; i++) {
        struct outcome a;
        struct op o = draw(&l.r, l.m);
        op_run(&o, &model_ops, l.m, &a);
        op_fini(&o);
    }
    hooks();
    l.start_s -= 3600;                                        /* times of the lives before are as recent */
    int r = first ? target_ws_open(&l.t, dir, true, &opt) : take_over(&l, dir, &opt);
    if (!r) r = put_logs(&l);
    if (r) return printf("# cannot be taken over: %s\n", strerror(-r)), 1;
    if (first) remember(&l, 0);
    s->running = true;
    calls_left = calls;
    for (int i = s->done, from = i; i < OPS && !w; i++) {
        fail_commit(&l, &own);
        w = one(&l, i, !first && i == from);
        if (!w && (i == from || i % CHECK_EVERY == 0)) w = check_all(l.m, &target_ws_ops, &l.t, l.start_s);
        if (!w && (r = put_logs(&l))) return printf("# no log: %s\n", strerror(-r)), 1;
        if (!w) remember(&l, i + 1);
    }
    calls_left = 0;
    if (!w) w = check_all(l.m, &target_ws_ops, &l.t, l.start_s);
    if (w) return printf("# %s\n", w), 1;
    s->over = true;                                           /* from here on nobody has anything open */
    target_ws_close(&l.t);
    if ((r = target_ws_open(&l.t, dir, false, &opt)) || (r = target_ws_fsck(l.t.s))) return printf("# fsck at the end: %s\n", strerror(-r)), 1;
    target_ws_close(&l.t);
    return 0;
}

/* --- the parent --- */

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* 0 killed, 1 failed, 2 it came to the end. */
static int one_life(const char *dir, uint64_t seed, unsigned number, struct life_shared *s, struct log_keeper *h, struct rng *r) {
    long calls = rng_chance(r, 50) ? (long)(1 + rng_below(r, 120)) : 0;
    int target = s->done + (int)rng_below(r, 60), st = 0;
    useconds_t extra = (useconds_t)rng_below(r, 1500);
    s->running = s->over = false;
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(child(dir, seed, number, s, h, calls));
    }
    bool over = false;
    while (!over && (!s->running || calls || s->done < target)) {
        log_keeper_take(h);
        over = waitpid(pid, &st, WNOHANG) == pid;
        if (!over) usleep(20);
    }
    if (!over) {
        usleep(extra);
        if (!s->over) kill(pid, SIGKILL);
        waitpid(pid, &st, 0);
    }
    log_keeper_take(h);
    if (WIFEXITED(st)) return WEXITSTATUS(st) ? 1 : 2;
    if (WTERMSIG(st) == SIGKILL && s->over) return 2;
    if (WTERMSIG(st) != SIGKILL) return printf("# the working process died of signal %d\n", WTERMSIG(st)), 1;
    return 0;
}

static int one_store(uint64_t seed, unsigned long *kills, struct life_shared *s) {
    char dir[512];
    struct log_keeper h;
    struct rng r = { seed ^ 0xadadad };
    int res = 0;
    if (tmp_make("adopt", dir, sizeof dir) || log_keeper_init(&h)) return 1;
    s->done = 0;
    unsigned number = 0;
    while (!res) {
        res = one_life(dir, seed, number, s, &h, &r);
        ++*kills;
        if (!s->running && !number) break;                    /* killed while the store was made */
        number++;
    }
    log_keeper_fini(&h);
    if (res == 1) return printf("not ok: seed %llu, life %u, operation %d; store kept in %s\n", (unsigned long long)seed, number, s->done, dir), 1;
    tmp_remove(dir);
    return 0;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 20, end = now_s() + seconds;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : test_seed();
    struct life_shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned long kills = 0;
    int failed = 0;
    if (s == MAP_FAILED) return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!getenv("ADOPT_TRACE") && !freopen("/dev/null", "w", stderr)) return 1;   /* it is told of each failed commit */
    printf("# adopt_loop: %.0f s from seed %llu\n", seconds, (unsigned long long)seed);
    do failed += one_store(seed++, &kills, s); while (now_s() < end && !failed && argc <= 2);
    printf("adopt_loop: %lu kills, %lu workspaces taken over with %lu bytes of log, %lu without a log, %d failed\n", kills, s->adopted, s->replayed, s->lost, failed);
    return failed != 0;
}
