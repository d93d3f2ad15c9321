/* Operations hold all that they need, so any part of a failing list can be run again; it fails if anything differs at its end or before.
 * Cutting: remove halves, quarters, ... single ones as long as the rest still fails (delta debugging), for at most MINIMISE_S seconds. */
#include "tests/model/model_run.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "tests/lib/seed.h"
#include "tests/model/check.h"
#include "tests/model/op.h"

enum { MINIMISE_S = 90, HUNG_S = 60 };
struct list { struct op *v; size_t n; };

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static char now_running[700];
static volatile sig_atomic_t stopped;     /* by SIGTERM: the time is over, after one more whole comparison */

/* Where this process and its child stand: by gdb if there is one, else what the kernel says. */
static const char where[] = "for p in $0 $(cat /proc/$0/task/*/children); do echo \"# process $p\"; "
    "gdb -p $p -batch -ex 'thread apply all bt 20' 2>/dev/null || for t in /proc/$p/task/*; do echo $(cat $t/comm $t/wchan); cat $t/stack; done; done";

static void hung(int sig) {
    static const char what[] = "not ok: hung in: ";
    char pid[16];
    if (write(STDOUT_FILENO, what, sizeof what - 1) < 0 || write(STDOUT_FILENO, now_running, strlen(now_running)) < 0) abort();
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    pid_t p = fork();
    if (!p) {
        dup2(STDOUT_FILENO, STDERR_FILENO);
        execl("/bin/sh", "sh", "-c", where, pid, NULL);
        _exit(127);
    }
    if (p > 0) waitpid(p, NULL, 0);
    abort();
}

/* Runs one operation on both. NULL or the difference. */
static const char *step(const struct model_target *t, struct model *m, void *ctx, const struct op *o, int64_t start_s) {
    struct outcome a, b;
    static char out[700];
    const struct bytes *d = o->kind == OP_SEEK && m->h[o->h].n ? &m->h[o->h].n->data : NULL;
    op_print(o, now_running, sizeof now_running - 1);
    strcat(now_running, "\n");
    alarm(HUNG_S);
    op_run(o, &model_ops, m, &a);
    op_run(o, t->ops, ctx, &b);
    const char *w = outcome_differs(o, &a, &b, t->caps, start_s);
    if (!w && d && !check_seek(d, o->off, (int)o->flags, b.res)) {
        snprintf(out, sizeof out, "seek from %llu gave %lld", (unsigned long long)o->off, (long long)b.res);
        return out;
    }
    return w;
}

/* 0 equal, 1 differs (why in out), 2 cannot run. */
static int replay(const struct model_target *t, const struct list *l, char *out, size_t size) {
    struct model *m = model_new();
    void *ctx = t->open(t->self);
    int64_t start_s = time(NULL);
    const char *w = NULL;
    if (!ctx) return 2;
    for (size_t i = 0; i < l->n && !w; i++) w = step(t, m, ctx, &l->v[i], start_s);
    if (!w) w = check_all(m, t->ops, ctx, start_s);
    if (w) snprintf(out, size, "%s", w);
    t->close(t->self, ctx);
    model_free(m);
    return w != NULL;
}

static void minimise(const struct model_target *t, struct list *l, char *why, size_t size) {
    double end = now_s() + MINIMISE_S;
    char w[700];
    for (size_t part = l->n / 2; part >= 1;) {
        bool less = false;
        for (size_t at = 0; at < l->n && now_s() < end;) {
            size_t n = part < l->n - at ? part : l->n - at;
            struct list cut = { xalloc(l->n * sizeof *cut.v), 0 };
            for (size_t i = 0; i < l->n; i++)
                if (i < at || i >= at + n) cut.v[cut.n++] = l->v[i];
            if (cut.n < l->n && replay(t, &cut, w, sizeof w) == 1) {
                free(l->v);
                *l = cut;
                less = true;
                snprintf(why, size, "%s", w);
            } else {
                free(cut.v);
                at += n;
            }
        }
        if (now_s() >= end) break;
        if (part == 1 && !less) break;
        if (!less || part > l->n) part = part > 1 ? part / 2 : 1;
    }
}

static int fail(const struct model_target *t, uint64_t seed, unsigned count, struct list *l, const char *first) {
    char why[700], w[700];
    snprintf(why, sizeof why, "%s", first);
    char line[600];
    op_print(&l->v[l->n - 1], line, sizeof line);
    printf("not ok: seed %llu, operation %zu of %u, %s: %s\n", (unsigned long long)seed, l->n, count, line, why);
    fflush(stdout);
    if (t->once) {
        printf("# the last operations were\n");
    } else if (replay(t, l, w, sizeof w) == 1) {
        snprintf(why, sizeof why, "%s", w);
        minimise(t, l, why, sizeof why);
        printf("# minimal list (%zu operations): %s\n", l->n, why);
    } else {
        printf("# the same list ran well when run again: not deterministic; the last operations were\n");
    }
    for (size_t i = l->n > 60 ? l->n - 60 : 0; i < l->n; i++) {
        op_print(&l->v[i], line, sizeof line);
        printf("#   %s\n", line);
    }
    fflush(stdout);
    return 1;
}

int model_run(const struct model_target *t, uint64_t seed, unsigned count, struct model_result *res) {
    struct rng r = { seed };
    struct list l = { xalloc(count * sizeof(struct op)), 0 };
    struct model *m = model_new();
    void *ctx = t->open(t->self);
    int64_t start_s = time(NULL);
    const char *w = NULL;
    if (!ctx) return 2;
    res->runs++;
    while (l.n < count && !w && !stopped) {
        l.v[l.n] = op_random(&r, m, t->caps);
        if (getenv("MODEL_TRACE")) {
            char line[600];
            op_print(&l.v[l.n], line, sizeof line);
            fprintf(stderr, "# %zu %s\n", l.n, line);
        }
        w = step(t, m, ctx, &l.v[l.n++], start_s);
        res->ops++;
        if (!w && (l.n % t->check_every == 0 || l.n == count || stopped)) w = check_all(m, t->ops, ctx, start_s);
    }
    char why[700] = "";
    if (w) snprintf(why, sizeof why, "%s", w);
    if (w && t->ops->why) printf("# %s\n", t->ops->why(ctx));
    t->close(t->self, ctx);
    model_free(m);
    struct op *all = xalloc(l.n * sizeof *all);
    size_t n = l.n;
    memcpy(all, l.v, n * sizeof *all);
    int result = why[0] ? fail(t, seed, count, &l, why) : 0;
    for (size_t i = 0; i < n; i++) op_fini(&all[i]);
    free(all);
    free(l.v);
    return result;
}

static void stop(int sig) {
    (void)sig;
    stopped = 1;
}

int model_main(const struct model_target *t, const char *name, int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGALRM, hung);
    signal(SIGTERM, stop);
    double seconds = argc > 1 ? atof(argv[1]) : 45, end = now_s() + seconds;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : test_seed();
    unsigned count = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
    struct model_result res = {0};
    int failed = 0;
    printf("# %s: %.0f s from seed %llu (again: %s %.0f SEED [OPS])\n", name, seconds, (unsigned long long)seed, argv[0], seconds);
    do {
        unsigned n = count ? count : seed % 3 == 0 ? 150 : seed % 3 == 1 ? 600 : 2500;
        int r = model_run(t, seed, n, &res);
        if (r == 2) { printf("not ok: could not run\n"); return 1; }
        failed += r;
        seed++;
    } while (now_s() < end && !failed && !stopped);
    printf("%s: %lu runs, %lu operations, %d failed\n", name, res.runs, res.ops, failed);
    return failed != 0;
}
