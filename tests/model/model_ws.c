/* The library against the model, in this process: `model_ws [SECONDS [SEED [OPS]]]`. Every fifth run has the background thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/lib/tmp.h"
#include "tests/model/bytes.h"
#include "tests/model/model_run.h"
#include "tests/model/target_ws.h"

static unsigned runs;

static void *open_ws(void *self) {
    struct target_ws *t = xalloc(sizeof *t);
    char dir[512];
    if (tmp_make("model-ws", dir, sizeof dir)) { free(t); return NULL; }
    struct store_options o = { .node_cache_bytes = 8 << 20, .chunk_cache_bytes = 4 << 20, .no_background = runs++ % 5 != 4, .commit_interval_ms = 50 };
    int r = target_ws_open(t, dir, true, &o);
    if (!r) return t;
    fprintf(stderr, "cannot make a store in %s: %s\n", dir, strerror(-r));
    tmp_remove(dir);
    free(t);
    return NULL;
}

static void close_ws(void *self, void *ctx) {
    struct target_ws *t = ctx;
    target_ws_close(t);
    tmp_remove(t->dir);
    free(t);
}

int main(int argc, char **argv) {
    const char *caps = getenv("MODEL_CAPS");
    struct model_target t = { &target_ws_ops, caps ? (unsigned)atoi(caps) : target_ws_ops.caps, open_ws, close_ws, NULL, 50 };
    return model_main(&t, "model_ws", argc, argv);
}
