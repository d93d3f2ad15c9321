/* Mounts of a running daemon against the model, while others work with the same store and somebody may kill the daemon:
 * `soak_worker STORE NAME [SECONDS [SEED [OPS]]]`. NAME begins the names of its workspaces. Started by tests/soak/run. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/model/bytes.h"
#include "tests/model/model_run.h"
#include "tests/model/target_dir.h"
#include "tests/soak/daemon_calls.h"

struct soaked {
    struct target_dir t;
    struct daemon_calls d;
    char name[PLACES][128];               /* as verbs know it; "" = place not in use */
    uint64_t mount[PLACES];
};
static const char *stem;
static unsigned serial;                   /* names are never used twice */
static unsigned long breaks;

static struct soaked *of(void *c) {
    return ((struct target_dir *)c)->arg;
}

static int complain(struct soaked *s, const char *what, unsigned at, int r) {
    if (r && r != -ENOTEMPTY) printf("# %s of %s: %s: %s\n", what, s->name[at], strerror(-r), s->d.err.message);
    return r;
}

static int get_root(struct target_dir *t, unsigned at) {
    struct soaked *s = t->arg;
    if (!s->name[at][0]) return -EBADF;
    int r = complain(s, "mount", at, daemon_mount(&s->d, s->name[at], &t->root[at], &s->mount[at]));
    return r ? r : t->root[at];
}

/* Closed by the last who uses it, a mount ends; its changes are stored when the daemon says that it is gone. */
static int leave(struct soaked *s, unsigned at) {
    if (s->t.root[at] < 0) return 0;
    close(s->t.root[at]);
    s->t.root[at] = -1;
    json_t *q = json_pack("{s:s,s:I,s:i}", "verb", "wait_gone", "mount", (json_int_t)s->mount[at], "timeout_s", CALL_AGAIN_S);
    return complain(s, "unmount", at, daemon_call(&s->d, q, -1, NULL));
}

static int w_snapshot(void *c, unsigned ws, unsigned k) {
    struct soaked *s = of(c);
    char name[40], full[sizeof s->name[0]];
    if (!s->name[ws][0] || s->name[place_snap(k)][0]) return -EBADF;
    snprintf(name, sizeof name, "s%u", serial++);
    json_t *q = json_pack("{s:s,s:s,s:s}", "verb", "snapshot", "object", s->name[ws], "name", name);
    int r = complain(s, "snapshot", ws, daemon_call(&s->d, q, s->t.root[ws], "exists"));
    snprintf(full, sizeof full, "%.80s@%s", s->name[ws], name);
    if (!r) strcpy(s->name[place_snap(k)], full);
    return r;
}

static int w_fork(void *c, unsigned from, unsigned ws) {
    struct soaked *s = of(c);
    if (!s->name[from][0] || s->name[ws][0]) return -EBADF;
    char name[sizeof s->name[0]];
    snprintf(name, sizeof name, "%s-w%u", stem, serial++);
    json_t *q = json_pack("{s:s,s:s,s:s}", "verb", "fork", "source", s->name[from], "name", name);
    int r = complain(s, "fork", from, daemon_call(&s->d, q, from < PLACES_WS ? s->t.root[from] : -1, "exists"));
    if (!r) strcpy(s->name[ws], name);
    return r;
}

static int w_restore(void *c, unsigned ws, unsigned k, const char *path) {
    struct soaked *s = of(c);
    if (!s->name[ws][0] || !s->name[place_snap(k)][0] || target_dir_busy(c, ws)) return -EBADF;
    if (path) return -EOPNOTSUPP;
    json_t *q = json_pack("{s:s,s:s,s:s}", "verb", "restore", "object", s->name[ws], "to", s->name[place_snap(k)]);
    int r = complain(s, "restore", ws, daemon_call(&s->d, q, s->t.root[ws], NULL));
    return r;
}

static int w_drop(void *c, unsigned place) {
    struct soaked *s = of(c);
    if (!place || !s->name[place][0] || (place < PLACES_WS && target_dir_busy(c, place))) return -EBADF;
    int r = leave(s, place);
    if (r) return r;
    json_t *q = json_pack("{s:s,s:[s]}", "verb", "rm", "objects", s->name[place]);
    r = complain(s, "removal", place, daemon_call(&s->d, q, -1, "not_found"));
    if (!r) s->name[place][0] = 0;
    return r;
}

static int leave_all(struct soaked *s) {
    int r = 0, one;
    target_dir_close_handles(&s->t);
    for (unsigned i = 0; i < PLACES; i++)
        if ((one = leave(s, i))) r = one;
    return r;
}

/* The daemon folds by itself. What touches the whole store is done seldom here: all who work with it would do it, and so does tests/soak/run. */
static int w_care(void *c, enum care what) {
    struct soaked *s = of(c);
    if (what == CARE_REOPEN) return leave_all(s);
    if (what != CARE_GC && what != CARE_PACK) return 0;
    int r = daemon_call(&s->d, json_pack("{s:s,s:b}", "verb", "gc", "pack", what == CARE_PACK), -1, NULL);
    return complain(s, "gc", 0, r == -EBUSY ? 0 : r);      /* another's is under way */
}

static const struct fs_ops world = { .snapshot = w_snapshot, .fork = w_fork, .restore = w_restore, .drop = w_drop, .care = w_care };

static void *open_soaked(void *self) {
    struct soaked *s = xalloc(sizeof *s);
    target_dir_init(&s->t);
    s->t.get = get_root;
    s->t.world = &world;
    s->t.arg = s;
    s->d.store = self;
    snprintf(s->name[0], sizeof s->name[0], "%s-w%u", stem, serial++);
    json_t *q = json_pack("{s:s,s:s,s:s}", "verb", "create", "name", s->name[0], "kind", "bare");
    int r = daemon_call(&s->d, q, -1, "exists");
    if (!r) return &s->t;
    complain(s, "creation", 0, r);
    free(s);
    return NULL;
}

static void close_soaked(void *self, void *ctx) {
    struct soaked *s = of(ctx);
    leave_all(s);
    for (unsigned i = PLACES; i-- > 0;) {                  /* snapshots before what they are of */
        if (!s->name[i][0]) continue;
        daemon_call(&s->d, json_pack("{s:s,s:[s],s:b}", "verb", "rm", "objects", s->name[i], "with_snapshots", true), -1, "not_found");
    }
    breaks += s->d.broken;
    daemon_calls_end(&s->d);
    free(s);
}

int main(int argc, char **argv) {
    if (argc < 3) return fputs("usage: soak_worker STORE NAME [SECONDS [SEED [OPS]]]\n", stderr), 2;
    stem = argv[2];
    umask(0);
    struct model_target t = { .ops = &target_dir_ops, .caps = CAP_WORLD | CAP_BIG_XATTR | CAP_INO, .open = open_soaked, .close = close_soaked,
        .self = argv[1], .check_every = 100, .once = true };
    argv[2] = argv[0];
    int r = model_main(&t, stem, argc - 2, argv + 2);
    printf("# %s: %lu connections broke\n", stem, breaks);
    return r;
}
