/* What the change journal costs: `feed_cost DIR` makes a store in DIR (which must not be there) and prints the CPU time of operations on one workspace, without and with a journal, in turns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/op_cost.h"
#include "fs/feed.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/workspace.h"

enum { TURNS = 9, FILES = 20000, KINDS = 5 };
static const char *const what[KINDS] = { "create", "write 4 KiB, each to another file", "write 4 KiB, again and again to one", "rename", "unlink" };

/* Nanoseconds for one of each kind. */
static void turn(struct workspace *w, double ret[KINDS])
{
    static const struct ws_cred cred = { 0, 0, 022 };
    static uint8_t page[4096];
    static uint64_t ino[FILES];
    char name[32], to[32];
    struct inode in;
    uint64_t dir;

    must(ws_create(w, INO_ROOT, "dir", S_IFDIR | 0755, 0, NULL, &cred, 0, false, &dir, &in), "mkdir");
    for (unsigned kind = 0; kind < KINDS; kind++) {
        double start = now_s();
        for (unsigned i = 0; i < FILES; i++) {
            snprintf(name, sizeof name, "file-%u", i);
            snprintf(to, sizeof to, "other-%u", i);
            switch (kind) {
            case 0: must(ws_create(w, dir, name, S_IFREG | 0644, 0, NULL, &cred, 0, false, &ino[i], &in), "create"); break;
            case 1: must(ws_write(w, ino[i], 0, page, sizeof page, false), "write"); break;
            case 2: must(ws_write(w, ino[0], (uint64_t)i * sizeof page, page, sizeof page, false), "write"); break;
            case 3: must(ws_rename(w, dir, name, dir, to, 0), "rename"); break;
            case 4: must(ws_unlink(w, dir, to), "unlink"); break;
            }
        }
        ret[kind] = (now_s() - start) * 1e9 / FILES;
    }
    must(ws_rmdir(w, INO_ROOT, "dir"), "rmdir");
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    double ns[KINDS][2][TURNS], one[KINDS];
    struct workspace *w;
    struct ws_rec rec;
    struct store *s;

    if (argc != 2)
        return fprintf(stderr, "usage: feed_cost DIR\n"), 2;
    must(store_init(argv[1]), "init");
    must(store_open(argv[1], NULL, &s), "open");
    must(verb_create(s, &(struct create_args){ .name = "w", .kind = WS_BARE }, &rec), "workspace");
    must(workspace_open(s, rec.id, &w), "workspace");
    for (unsigned i = 0; i < 2 * TURNS; i++) {
        must(i % 2 ? workspace_feed_on(w, NULL) : workspace_feed_off(w), "journal");
        turn(w, one);
        for (unsigned k = 0; k < KINDS; k++)
            ns[k][i % 2][i / 2] = one[k];
    }
    for (unsigned k = 0; k < KINDS; k++) {
        for (unsigned on = 0; on < 2; on++)
            qsort(ns[k][on], TURNS, sizeof(double), by_value);
        printf("%-38s %6.0f ns off, %6.0f ns on (median of %d)\n", what[k], ns[k][0][TURNS / 2], ns[k][1][TURNS / 2], TURNS);
    }
    workspace_unref(w);
    store_close(s);
    return 0;
}
