/* scale_store DIR WORKSPACES SNAPSHOTS: a store for benchmarks/scale.py. One workspace of 1,000 files, WORKSPACES - 1 forks of it, and SNAPSHOTS snapshots
 * over all of them, each after one changed file: the 10th part of them in one line, the rest spread evenly. Made with the library, as a client would
 * take an hour for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/workspace.h"

enum { FILES = 1000, DIRS = 20, BATCH = 500 };

static const struct ws_cred root = { 0 };

static void need(int r, const char *what)
{
    if (r < 0) {
        fprintf(stderr, "scale_store: %s: %s\n", what, strerror(-r));
        exit(1);
    }
}

static void fill(struct store *s, const char *id)
{
    struct workspace *w;
    struct inode in;
    uint64_t dir[DIRS], ino;
    char text[64];

    need(workspace_open(s, id, &w), "open");
    for (int i = 0; i < DIRS; i++) {
        snprintf(text, sizeof text, "d%d", i);
        need(ws_create(w, 1, text, S_IFDIR | 0755, 0, NULL, &root, 0, false, &dir[i], &in), "mkdir");
    }
    for (int i = 0; i < FILES; i++) {
        snprintf(text, sizeof text, "file %d", i);
        need(ws_create(w, dir[i % DIRS], text, S_IFREG | 0644, 0, NULL, &root, 0, false, &ino, &in), "create");
        need(ws_write(w, ino, 0, (const uint8_t *)text, strlen(text), false), "write");
    }
    workspace_unref(w);
}

/* count snapshots of one workspace, a file changed before each. */
static void snapshots(struct store *s, const char *id, unsigned count, unsigned *number)
{
    struct snapshot_args a = { .cause = SNAP_USER };
    struct snap_rec rec;
    struct workspace *w;
    struct inode in;
    uint64_t ino;
    char text[64];

    need(workspace_open(s, id, &w), "open");
    need(ws_path(w, "d0/file 0", &ino, &in), "path");
    for (unsigned i = 0; i < count; i++) {
        snprintf(text, sizeof text, "change %u", ++*number);
        need(ws_write(w, ino, 0, (const uint8_t *)text, strlen(text), false), "write");
        need(verb_snapshot(s, w, &a, &rec, NULL), "snapshot");
    }
    workspace_unref(w);
}

static void forks(struct store *s, const struct object *from, unsigned first, unsigned n, struct ws_rec *ret)
{
    static char text[BATCH][32];
    const char *names[BATCH];
    unsigned bad;

    for (unsigned i = 0; i < n; i++) {
        snprintf(text[i], sizeof text[i], "fork-%u", first + i);
        names[i] = text[i];
    }
    need(verb_fork(s, from, names, n, ret, &bad, NULL), "fork");
}

int main(int argc, char **argv)
{
    unsigned workspaces = argc == 4 ? (unsigned)atoi(argv[2]) : 0, snaps = argc == 4 ? (unsigned)atoi(argv[3]) : 0, number = 0;
    struct create_args c = { .name = "base", .kind = WS_BARE };
    struct ws_rec *made = calloc(BATCH, sizeof *made), base;
    struct object from = { 0 };
    struct store *s;

    if (workspaces < 2 || snaps < 10 || !made) {
        fprintf(stderr, "usage: scale_store DIR WORKSPACES SNAPSHOTS\n");
        return 2;
    }
    need(store_init(argv[1]), "init");
    need(store_open(argv[1], NULL, &s), "open");
    need(verb_create(s, &c, &base), "create");
    fill(s, base.id);
    snapshots(s, base.id, snaps / 10, &number);
    need(object_find(s, "base", &from), "find");
    unsigned each = (snaps - snaps / 10) / (workspaces - 1), rest = (snaps - snaps / 10) % (workspaces - 1);
    for (unsigned done = 0; done < workspaces - 1;) {
        unsigned n = workspaces - 1 - done < BATCH ? workspaces - 1 - done : BATCH;

        forks(s, &from, done, n, made);
        for (unsigned i = 0; i < n; i++, done++)
            snapshots(s, made[i].id, each + (done < rest), &number);
    }
    store_close(s);
    free(made);
    return 0;
}
