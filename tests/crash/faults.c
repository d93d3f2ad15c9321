/* Every disk call of a workload fails once: `faults [SECONDS [SEED [CLASS N]]]` (default: tests/lib/seed.h). For each class of calls (reads, writes,
 * syncs, opens, names, space) the calls of a workload are counted; then the n-th fails with EIO or ENOSPC, comes short, or fails from then on.
 * What must hold: no operation answers anything but the right answer or an error; nothing hangs or dies; after a restart without faults fsck is
 * clean and all that was acknowledged is there. Few n are left out within the time: they are taken in an order that spreads. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "tests/crash/crash_child.h"
#include "tests/crash/shim.h"
#include "tests/lib/seed.h"
#include "tests/lib/tmp.h"
#include "tests/model/bytes.h"

enum { OPS = 250, LIMIT_S = 60 };
static struct shim shim;
static const char *const class_names[SHIM_CLASSES] = { "reads", "writes", "syncs", "opens", "names", "space" };
struct attempt { _Atomic int done, failed_op, res, wrong, hit;    /* hit: operation in which the call was made to fail, unseen */ _Atomic uint64_t calls; };

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool is_fault(int64_t res) {
    return res == -EIO || res == -ENOSPC || res == -EROFS || res == -ENOMEM;
}

/* Goes on until an operation fails that should not have; that must be with an error that fits. Then closes as if nothing was. */
static int work(const char *dir, const struct history *h, struct attempt *run, uint64_t seed, unsigned class, uint64_t n, int err, enum shim_how how) {
    struct target_ws t;
    struct store_options o = crash_options(1);            /* no thread: the n-th call is always the same one */
    log_threshold = LOG_ERROR_ - 1;
    if (target_ws_open(&t, dir, true, &o)) return 2;
    shim.watch(dir, -1);
    shim.arm(1u << class, n, err, how);
    uint64_t before = 0;                                   /* calls counted before the last reopening */
    for (int i = 0; i < h->count; i++) {
        int64_t res;
        /* A store is opened again with a disk that works: RocksDB (with assertions, as Debian builds it) aborts when the second line that it
         * writes to its LOG at opening follows one that failed. */
        bool reopens = h->ops[i].kind == OP_CARE && h->ops[i].flags == CARE_REOPEN;
        if (reopens) before += shim.count(), shim.arm(0, 0, 0, SHIM_ONCE);
        const char *w = history_step(h, i, &t, &res);
        if (reopens) shim.arm(n && before >= n && how != SHIM_FROM_THEN_ON ? 0 : 1u << class, !n ? 0 : before >= n ? 1 : n - before, err, how);
        if (w && n && is_fault(res) && how != SHIM_SHORT) {
            run->failed_op = i + 1;
            run->res = (int)res;
            break;
        }
        if (w) {
            printf("# %s\n", w);
            fflush(stdout);
            run->wrong = 1;
            break;
        }
        run->done = i + 1;
        if (!run->hit && n && before + shim.count() >= n) run->hit = i + 1;
    }
    run->calls = before + shim.count();
    shim.arm(0, 0, 0, SHIM_ONCE);
    if (t.s) target_ws_close(&t);
    return 0;
}

/* 0 ok, 1 wrong. */
static int one(const struct history *h, uint64_t seed, unsigned class, uint64_t n, int err, enum shim_how how, uint64_t *ret_calls) {
    char dir[512];
    if (tmp_make("faults", dir, sizeof dir)) return 1;
    struct attempt *run = (void *)shared_new();
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(LIMIT_S);
        int r = work(dir, h, run, seed, class, n, err, how);
        fflush(stdout);
        _exit(r);
    }
    int st;
    waitpid(pid, &st, 0);
    if (ret_calls) *ret_calls = run->calls;
    /* The operation that failed may have been done, or not, or a write in part: that is the window the judge has for one under way. */
    int done = run->done, bad = st != 0 || run->wrong;
    /* Debian builds RocksDB with its assertions, and one of them ends the process when a log that once failed is closed. That is a crash like any
     * other: nothing that was acknowledged may be lost. We have no assertions of our own in fs/. */
    if (WIFSIGNALED(st) && WTERMSIG(st) == SIGABRT && !run->wrong) {
        printf("# RocksDB gave up (signal 6) after operation %d; judged as a crash\n", done);
        bad = crash_verify(dir, h, done, seed);
    } else if (WIFSIGNALED(st)) printf("# died of signal %d%s after operation %d\n", WTERMSIG(st), WTERMSIG(st) == SIGALRM ? " (hung)" : "", done);
    else if (!bad) bad = crash_verify(dir, h, done, seed);
    if (bad) {
        char line[600] = "";
        if (done < h->count) op_print(&h->ops[done], line, sizeof line);
        if (run->hit) op_print(&h->ops[run->hit - 1], line, sizeof line);
        char path[600];
        snprintf(path, sizeof path, "%s.operations", dir);
        history_dump(h, path);
        if (run->hit) printf("# the call failed in operation %d, which did not say so\n", run->hit - 1);
        printf("not ok: seed %llu, %s %llu, %s %s: after operation %d (%s) answered %d; store kept in %s\n", (unsigned long long)seed, class_names[class],
            (unsigned long long)n, strerror(err), how == SHIM_ONCE ? "once" : how == SHIM_SHORT ? "(short)" : "from then on", done, line, run->res, dir);
    } else tmp_remove(dir);
    shared_free((void *)run);
    return bad != 0;
}

/* Every call of one class in one workload. */
static int one_class(const struct history *h, uint64_t seed, unsigned class, uint64_t only, double end, unsigned long *tried, unsigned long *there) {
    uint64_t calls = 0;
    int failed = one(h, seed, class, 0, 0, SHIM_ONCE, &calls);
    *there += calls;
    uint64_t step = calls / 2 | 1;                         /* an order that spreads over the workload */
    for (uint64_t i = 0, n = 1; i < calls && now_s() < end && !failed; i++, n = (n + step) % calls + 1) {
        static const enum shim_how hows[] = { SHIM_ONCE, SHIM_FROM_THEN_ON, SHIM_ONCE, SHIM_SHORT };
        if (only) n = only, i = calls;
        enum shim_how how = hows[(n + seed) % 4];
        if (how == SHIM_SHORT && class > 1) how = SHIM_FROM_THEN_ON;
        failed = one(h, seed, class, n, (n + class) % 3 && class != 0 ? ENOSPC : EIO, how, NULL);
        ++*tried;
    }
    return failed;
}

int main(int argc, char **argv) {
    shim_exec(argv);
    shim_find(&shim);
    double seconds = argc > 1 ? atof(argv[1]) : 50, end = now_s() + seconds;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : test_seed();
    unsigned long tried = 0, there = 0;
    int failed = 0;
    log_threshold = LOG_ERROR_;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("# faults: %.0f s from seed %llu\n", seconds, (unsigned long long)seed);
    do {
        struct model *m = model_new();
        struct history h;
        history_make(&h, m, seed, OPS);
        for (unsigned class = 0; class < SHIM_CLASSES && !failed; class++)
            if (argc <= 4 || class == (unsigned)atoi(argv[3]))
                failed += one_class(&h, seed, class, argc > 4 ? strtoull(argv[4], NULL, 0) : 0, argc > 2 ? end + 1e6 : end, &tried, &there);
        history_fini(&h);
        model_free(m);
        seed++;
    } while (now_s() < end && !failed && argc <= 2);
    printf("faults: %lu of %lu calls made to fail, %d failed\n", tried, there, failed);
    return failed != 0;
}
