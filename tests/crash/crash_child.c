#include "tests/crash/crash_child.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"

enum { VERIFY_LIMIT_S = 60 };

struct shared *shared_new(void) {
    struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED) abort();
    return s;
}

void shared_free(struct shared *s) {
    munmap(s, sizeof *s);
}

/* With and without the background thread, which commits often. */
struct store_options crash_options(uint64_t seed) {
    return (struct store_options){ .node_cache_bytes = 4 << 20, .chunk_cache_bytes = 4 << 20, .no_background = seed % 2, .commit_interval_ms = 3 };
}

int crash_work(const char *dir, bool fresh, const struct history *h, struct shared *s, uint64_t seed, void (*each)(void *arg, int i), void *arg) {
    struct target_ws t;
    struct store_options o = crash_options(seed);
    int r = target_ws_open(&t, dir, fresh, &o);
    if (r) {
        printf("# cannot open the store: %s\n", strerror(-r));
        return 1;
    }
    s->state = CHILD_RUNNING;
    const char *w;
    for (int i = 0; i < h->count; i++) {
        int64_t res;
        w = history_step(h, i, &t, &res);
        if (w) {
            printf("# seed %llu: %s\n", (unsigned long long)seed, w);
            fflush(stdout);
            return 1;
        }
        s->done = i + 1;
        if (each) each(arg, i);
    }
    w = history_judge(h, h->count, &t);                     /* still alive: then a mistake is not the crash's */
    if (w) {
        printf("# seed %llu: before any crash: %s\n", (unsigned long long)seed, w);
        fflush(stdout);
        return 1;
    }
    s->state = CHILD_FINISHED;
    target_ws_close(&t);
    return 0;
}

static int judge(const char *dir, const struct history *h, int done, uint64_t seed) {
    struct target_ws t;
    struct store_options o = crash_options(1);
    int r = target_ws_open(&t, dir, false, &o);
    if (r) return printf("# the store does not open: %s\n", strerror(-r)), 1;
    if ((r = target_ws_fsck(t.s))) return printf("# fsck after the crash: %s\n", strerror(-r)), 1;
    const char *w = history_judge(h, done, &t);
    if (w) return printf("# %s\n", w), 1;
    const struct fs_ops *f = &target_ws_ops;
    if ((r = f->care(&t, CARE_FOLD)) || (r = f->care(&t, CARE_PACK)) || (r = f->care(&t, CARE_REOPEN)) || (r = f->care(&t, CARE_SCRUB)))
        return printf("# care after the crash: %s\n", strerror(-r)), 1;
    if (seed % 4 == 0 && (w = history_judge(h, done, &t))) return printf("# after fold and gc: %s\n", w), 1;
    /* It must also be fit for more work. */
    static const uint8_t bytes[70000] = { 1 };
    for (unsigned p = 0; p < PLACES_WS; p++) {
        if (!t.id[p][0]) continue;
        if ((r = f->open(&t, p, "after-the-crash", 0, 0600)) == -EEXIST) r = f->open(&t, p, "after-the-crash", 0, 0);
        if (r || (r = f->pwrite(&t, 0, 5000, bytes, sizeof bytes)) < 0 || (r = f->fsync(&t, 0)) || (r = f->close(&t, 0)))
            return printf("# writing after the crash: %s\n", strerror(-r)), 1;
        if ((r = f->unlink(&t, p, "after-the-crash"))) return printf("# unlink after the crash: %s\n", strerror(-r)), 1;
    }
    if ((r = f->care(&t, CARE_FSCK))) return printf("# fsck after more work: %s\n", strerror(-r)), 1;
    target_ws_close(&t);
    return 0;
}

int crash_verify(const char *dir, const struct history *h, int done, uint64_t seed) {
    fflush(stdout);
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(VERIFY_LIMIT_S);
        log_threshold = LOG_ERROR_;
        int r = judge(dir, h, done, seed);
        fflush(stdout);
        _exit(r);
    }
    int st;
    if (pid < 0 || waitpid(pid, &st, 0) < 0) return 1;
    if (WIFSIGNALED(st)) printf("# the judging process died of signal %d%s\n", WTERMSIG(st), WTERMSIG(st) == SIGALRM ? " (hung)" : "");
    return st != 0;
}
