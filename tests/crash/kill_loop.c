/* kill -9 at random moments, in a loop on one store: `kill_loop [SECONDS [SEED]]` (default: tests/lib/seed.h). On failure the store is kept and its
 * path printed. */
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
#include "tests/lib/seed.h"
#include "tests/lib/tmp.h"
#include "tests/model/bytes.h"

enum { OPS = 250, LIVES = 12 };           /* operations per life; lives of one store */

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Lets a child work and kills it. Number of operations done, or -1: it failed by itself. */
static int one_life(const char *dir, bool fresh, const struct history *h, uint64_t seed, struct rng *r) {
    struct shared *s = shared_new();
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(crash_work(dir, fresh, h, s, seed, NULL, NULL));
    }
    int target = (int)rng_below(r, OPS + 10), st = 0;
    unsigned extra = (unsigned)rng_below(r, 4000);
    bool over = false;
    while (s->done < target && !(over = waitpid(pid, &st, WNOHANG) == pid)) usleep(20);
    if (!over) {
        usleep(extra);
        kill(pid, SIGKILL);
        waitpid(pid, &st, 0);
    }
    bool running = s->state != CHILD_STARTING;
    int done = s->done;
    shared_free(s);
    if (WIFEXITED(st) && WEXITSTATUS(st)) return -1;
    if (WIFSIGNALED(st) && WTERMSIG(st) != SIGKILL) return printf("# the working process died of signal %d\n", WTERMSIG(st)), -1;
    return !running && fresh ? -2 : done;
}

static int resume(const char *dir, struct model *m) {
    struct target_ws t;
    struct store_options o = crash_options(1);
    int r = target_ws_open(&t, dir, false, &o);
    if (r) return r;
    r = history_resume(&t, m);
    target_ws_close(&t);
    return r;
}

/* Several lives of one store. 0, 1 failed. */
static int one_store(uint64_t seed, unsigned long *kills) {
    char dir[512];
    if (tmp_make("kill", dir, sizeof dir)) return 1;
    struct rng r = { seed };
    struct model *m = model_new();
    int bad = 0;
    for (int life = 0; life < LIVES && !bad; life++) {
        struct history h;
        history_make(&h, m, seed + (uint64_t)life, OPS);
        char save[2000];                                   /* KILL_KEEP=1: the store as it was before this life, for comparison */
        snprintf(save, sizeof save, "rm -rf %s.before && cp -a %s %s.before", dir, dir, dir);
        if (getenv("KILL_KEEP") && system(save)) return 1;
        int done = one_life(dir, life == 0, &h, seed + (uint64_t)life, &r);
        if (done == -2) {                                  /* killed while the store was made: start again */
            history_fini(&h);
            break;
        }
        bad = done < 0 || crash_verify(dir, &h, done, seed + (uint64_t)life);
        char path[600];
        snprintf(path, sizeof path, "%s.operations", dir);
        if (bad) history_dump(&h, path);
        if (bad) printf("not ok: seed %llu, life %d, killed after operation %d; store kept in %s\n", (unsigned long long)seed, life, done, dir);
        history_fini(&h);
        ++*kills;
        model_free(m);
        m = xalloc(sizeof *m);
        int e = bad ? 0 : resume(dir, m);
        if (e) bad = printf("not ok: seed %llu: cannot be read again: %s\n", (unsigned long long)seed, strerror(-e));
    }
    model_free(m);
    if (!bad) tmp_remove(dir);
    return bad != 0;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 50, end = now_s() + seconds;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : test_seed();
    unsigned long kills = 0;
    int failed = 0;
    log_threshold = LOG_ERROR_;
    printf("# kill_loop: %.0f s from seed %llu\n", seconds, (unsigned long long)seed);
    do failed += one_store(seed, &kills), seed += 100; while (now_s() < end && !failed && argc <= 2);
    printf("kill_loop: %lu kills, %d failed\n", kills, failed);
    return failed != 0;
}
