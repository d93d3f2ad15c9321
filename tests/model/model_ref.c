/* The model against a file system that is right: `model_ref [SECONDS [SEED [OPS [DIR]]]]` (default: below /tmp, ext4; tmpfs lacks
 * FALLOC_FL_ZERO_RANGE). What fails here is a mistake of the model. With DIR in a mounted workspace: a test of that. */
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
#include "tests/model/target_dir.h"

struct ref { const char *base; char dir[600]; struct target_dir t; };

static void *ref_open(void *self) {
    struct ref *r = self;
    snprintf(r->dir, sizeof r->dir, "%s/coppice-ref-XXXXXX", r->base);
    if (!mkdtemp(r->dir) || chmod(r->dir, 0755)) { perror(r->dir); return NULL; }
    target_dir_init(&r->t);
    r->t.root[0] = open(r->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return &r->t;
}

static void ref_close(void *self, void *ctx) {
    struct ref *r = self;
    target_dir_close_handles(&r->t);
    close(r->t.root[0]);
    tmp_remove(r->dir);
}

int main(int argc, char **argv) {
    struct ref r = { .base = argc > 4 ? argv[4] : "/tmp" };
    umask(0);
    struct model_target t = { &target_dir_ops, 0, ref_open, ref_close, &r, 100 };
    return model_main(&t, "model_ref", argc, argv);
}
