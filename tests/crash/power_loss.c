/* Power loss at any moment: `power_loss [SECONDS [SEED [CUT]]]` (default: tests/lib/seed.h). A workload is recorded below the C library (shim.c),
 * RocksDB included; then for many records of the log a disk that forgets (disk_image.c) is made, opened, checked and judged (history.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <signal.h>
#include "base/log.h"
#include "tests/crash/crash_child.h"
#include "tests/crash/disk_image.h"
#include "tests/crash/shim.h"
#include "tests/lib/seed.h"
#include "tests/lib/tmp.h"
#include "tests/model/bytes.h"

enum { OPS = 300, CUTS = 60 };
static struct shim shim;

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void mark(void *arg, int i) {
    shim.mark((uint64_t)i + 1);
}

/* Runs the workload in a child, recorded. The store is open from mark 1000000 on. */
static int record_run(const char *dir, const char *log, const struct history *h, uint64_t seed) {
    struct shared *s = shared_new();
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        shim.watch(dir, fd);
        int r = crash_work(dir, true, h, s, seed, mark, NULL);
        shim.flush();
        fflush(stdout);
        _exit(r);
    }
    int st;
    waitpid(pid, &st, 0);
    shared_free(s);
    if (st) printf("# the recorded process ended with %x\n", st);
    return st;
}

static int cmp(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? -1 : x > y;
}

/* 0 right, 1 wrong. done < 0: the store was not made yet, so it need not be there. */
static int try_cut(const struct disk_image *d, size_t cut, int done, enum loss loss, struct rng *r, const struct history *h, const char *base, uint64_t seed) {
    char dir[600];
    snprintf(dir, sizeof dir, "%s/image", base);
    int e = disk_image_write(d, loss, r, dir);
    if (e) return printf("# cannot write the image: %s\n", strerror(-e)), 1;
    int bad = crash_verify(dir, h, done, seed);
    if (bad) printf("not ok: seed %llu, power lost after record %zu of %zu (operation %d), %s; store kept in %s\n", (unsigned long long)seed, cut,
        disk_image_records(d), done, loss == LOSS_NONE ? "all kept" : loss == LOSS_ALL ? "all unsynced lost" : "some unsynced lost", dir);
    else tmp_remove(dir);
    return bad;
}

/* First record after which the store was made: before it there is nothing to keep. */
static int one_log(uint64_t seed, unsigned cuts, size_t only, unsigned long *tried, double end) {
    char base[512], dir[600], log[600];
    if (tmp_make("power", base, sizeof base)) return 1;
    snprintf(dir, sizeof dir, "%s/store", base);
    snprintf(log, sizeof log, "%s/log", base);
    if (mkdir(dir, 0755)) return 1;
    struct model *m = model_new();
    struct history h;
    history_make(&h, m, seed, OPS);
    int bad = record_run(dir, log, &h, seed);
    if (bad) printf("not ok: seed %llu: the workload itself failed\n", (unsigned long long)seed);
    struct disk_image *d = bad ? NULL : disk_image_new(log);
    struct rng r = { seed ^ 0x5555 };
    size_t n = d ? disk_image_records(d) : 0, *at = xalloc((cuts + 1) * sizeof *at), next = 0;
    for (unsigned i = 0; i < cuts; i++) at[i] = only ? only : (size_t)rng_below(&r, n + 1);
    qsort(at, cuts, sizeof *at, cmp);
    int done = -1;
    for (size_t rec = 0; d && rec <= n && next < cuts && !bad && now_s() < end; rec++) {
        for (; next < cuts && at[next] == rec && !bad; next++) {
            struct rng own = { seed * 7919 + rec + next };
            if (done < 0) continue;
            bad = try_cut(d, rec, done, next % 4 == 0 ? LOSS_ALL : next % 4 == 1 ? LOSS_NONE : LOSS_RANDOM, &own, &h, base, seed);
            ++*tried;
        }
        if (rec == n) break;
        int64_t v = disk_image_step(d);
        if (v >= 0) done = (int)v;
    }
    if (d) disk_image_free(d);
    free(at);
    history_fini(&h);
    model_free(m);
    if (!bad) tmp_remove(base);
    return bad != 0;
}

int main(int argc, char **argv) {
    shim_exec(argv);
    shim_find(&shim);
    double seconds = argc > 1 ? atof(argv[1]) : 50, end = now_s() + seconds;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : test_seed();
    size_t only = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
    unsigned long tried = 0, logs = 0;
    int failed = 0;
    log_threshold = LOG_ERROR_;
    printf("# power_loss: %.0f s from seed %llu\n", seconds, (unsigned long long)seed);
    do failed += one_log(seed++, CUTS, only, &tried, argc > 2 ? now_s() + 1e6 : end), logs++; while (now_s() < end && !failed && argc <= 2);
    printf("power_loss: %lu workloads, %lu cuts, %d failed\n", logs, tried, failed);
    return failed != 0;
}
