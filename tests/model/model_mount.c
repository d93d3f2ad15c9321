/* Mounted workspaces against the model: `model_mount [SECONDS [SEED [OPS]]]`. Needs root and /dev/fuse; else says so and exits 77. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/lib/tmp.h"
#include "tests/model/bytes.h"
#include "tests/model/model_run.h"
#include "tests/model/mount_server.h"
#include "tests/model/target_dir.h"
#include "tests/lib/transport.h"

struct mounted { struct target_dir t; struct mount_server sv; bool used[PLACES]; char dir[512]; };

static int get_root(struct target_dir *t, unsigned at) {
    struct mounted *m = t->arg;
    if (!m->used[at]) return -EBADF;
    int fd = -1, r = mount_server_call(&m->sv, CALL_MOUNT, at, 0, &fd);
    if (r) return r;
    t->root[at] = fd;
    return fd;
}

static int leave(struct mounted *m, unsigned at) {
    if (m->t.root[at] < 0) return 0;
    close(m->t.root[at]);
    m->t.root[at] = -1;
    return mount_server_call(&m->sv, CALL_UNMOUNT, at, 0, NULL);
}

static struct mounted *of(void *c) {
    return ((struct target_dir *)c)->arg;
}

static int w_snapshot(void *c, unsigned ws, unsigned k) {
    struct mounted *m = of(c);
    if (!m->used[ws] || m->used[place_snap(k)]) return -EBADF;
    int r = mount_server_call(&m->sv, CALL_SNAPSHOT, ws, k, NULL);
    if (!r) m->used[place_snap(k)] = true;
    return r;
}

static int w_fork(void *c, unsigned from, unsigned ws) {
    struct mounted *m = of(c);
    if (!m->used[from] || m->used[ws]) return -EBADF;
    int r = mount_server_call(&m->sv, CALL_FORK, from, ws, NULL);
    if (!r) m->used[ws] = true;
    return r;
}

static int w_restore(void *c, unsigned ws, unsigned k, const char *path) {
    struct mounted *m = of(c);
    if (!m->used[ws] || !m->used[place_snap(k)] || target_dir_busy(c, ws)) return -EBADF;
    return path ? -EOPNOTSUPP : mount_server_call(&m->sv, CALL_RESTORE, ws, k, NULL);
}

static int w_drop(void *c, unsigned place) {
    struct mounted *m = of(c);
    if (!place || !m->used[place] || (place < PLACES_WS && target_dir_busy(c, place))) return -EBADF;
    int r = leave(m, place);
    if (r || (r = mount_server_call(&m->sv, CALL_DROP, place, 0, NULL))) return r;
    m->used[place] = false;
    return 0;
}

static int w_care(void *c, enum care what) {
    struct mounted *m = of(c);
    if (what == CARE_REOPEN) {
        target_dir_close_handles(&m->t);
        for (unsigned i = 0; i < PLACES; i++) {
            int r = leave(m, i);
            if (r) return r;
        }
    }
    return mount_server_call(&m->sv, CALL_CARE, what, 0, NULL);
}

static const struct fs_ops world = { .snapshot = w_snapshot, .fork = w_fork, .restore = w_restore, .drop = w_drop, .care = w_care };

static void *open_mount(void *self) {
    struct mounted *m = xalloc(sizeof *m);
    if (tmp_make("model-mount", m->dir, sizeof m->dir)) return NULL;
    target_dir_init(&m->t);
    m->t.get = get_root;
    m->t.world = &world;
    m->t.arg = m;
    m->used[0] = true;
    int r = mount_server_start(&m->sv, m->dir);
    if (!r) return &m->t;
    fprintf(stderr, "cannot start the server: %s\n", strerror(-r));
    tmp_remove(m->dir);
    free(m);
    return NULL;
}

static void close_mount(void *self, void *ctx) {
    struct mounted *m = of(ctx);
    target_dir_close_handles(&m->t);
    for (unsigned i = 0; i < PLACES; i++) leave(m, i);
    int r = mount_server_end(&m->sv);
    if (r) fprintf(stderr, "# server ended with %d\n", r);
    tmp_remove(m->dir);
    free(m);
}

int main(int argc, char **argv) {
    if (geteuid() || access("/dev/fuse", R_OK | W_OK)) {
        puts("SKIP model_mount: needs root and /dev/fuse");
        return 77;
    }
    test_transport();                                     /* skips, if need be */
    umask(0);
    struct model_target t = { &target_dir_ops, CAP_WORLD | CAP_BIG_XATTR | CAP_INO, open_mount, close_mount, NULL, 100 };
    return model_main(&t, "model_mount", argc, argv);
}
