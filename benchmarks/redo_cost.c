/* What the redo log costs: `redo_cost DIR` makes a store in DIR (which must not be there) and prints operations per second of CPU time of their thread on one workspace, without and with a log, in turns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmarks/op_cost.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/workspace.h"

enum { TURNS = 9, CREATES = 40000, WRITES = 60000, FILE_UNITS = 4096 };

static uint64_t make(struct workspace *w, uint64_t dir, const char *name, uint32_t mode)
{
    struct ws_cred cred = { 0, 0, 022 };
    struct inode in;
    uint64_t ino;

    must(ws_create(w, dir, name, mode, 0, NULL, &cred, 0, true, &ino, &in), "create");
    return ino;
}

static double creates(struct workspace *w, int turn)
{
    char name[32];

    snprintf(name, sizeof name, "d%d", turn);
    uint64_t dir = make(w, INO_ROOT, name, S_IFDIR | 0755);
    double start = now_s();
    for (int i = 0; i < CREATES; i++) {
        snprintf(name, sizeof name, "f%d", i);
        make(w, dir, name, S_IFREG | 0644);
    }
    return CREATES / (now_s() - start);
}

static double writes(struct workspace *w, uint64_t ino, bool in_place)
{
    static uint8_t page[4096];
    double start = now_s();

    for (uint64_t i = 0; i < WRITES; i++) {
        uint64_t unit = in_place ? i * 2654435761u % FILE_UNITS : i;
        page[0] = (uint8_t)i;
        must(ws_write(w, ino, unit * sizeof page, page, sizeof page, false), "write");
    }
    return WRITES / (now_s() - start);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static const char *const what[] = { "creates", "appends of 4 KiB", "4 KiB in place" };
    struct store_options o = store_defaults;
    double rate[3][2][TURNS];
    struct store *s;
    struct workspace *w;
    struct ws_rec rec;
    char name[32];

    if (argc != 2)
        return fprintf(stderr, "usage: redo_cost DIR\n"), 2;
    must(store_init(argv[1]), "init");
    must(store_open(argv[1], &o, &s), "open");
    for (int turn = 0; turn < 2 * TURNS; turn++) {
        bool logged = turn % 2;
        snprintf(name, sizeof name, "w%d", turn);
        must(verb_create(s, &(struct create_args){ .name = name, .kind = WS_BARE }, &rec), "workspace");
        must(workspace_open(s, rec.id, &w), "workspace");
        if (logged)
            must(workspace_log(w), "log");
        rate[0][logged][turn / 2] = creates(w, turn);
        uint64_t ino = make(w, INO_ROOT, "data", S_IFREG | 0644);
        rate[1][logged][turn / 2] = writes(w, ino, false);
        rate[2][logged][turn / 2] = writes(w, ino, true);
        workspace_unlog(w);
        workspace_unref(w);
    }
    for (int i = 0; i < 3; i++) {
        qsort(rate[i][0], TURNS, sizeof(double), by_value);
        qsort(rate[i][1], TURNS, sizeof(double), by_value);
        double without = rate[i][0][TURNS / 2], with = rate[i][1][TURNS / 2];
        printf("%-18s %9.0f/s without, %9.0f/s with a log: %+.2f us each\n", what[i], without, with, 1e6 / with - 1e6 / without);
    }
    store_close(s);
    return 0;
}
