/* Runs a program as a workload in a mini box, to see what the profile does to it without the runner: minibox [--uid N] [--writable DIR] [--cwd DIR] PROGRAM ARG... */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/lib/mini_box.h"

static int run(void *arg) {
    static const char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "TERM=xterm-256color", NULL };
    char **argv = arg;
    closefrom(3);
    execvpe(argv[0], argv, (char **)(uintptr_t)env);
    perror(argv[0]);
    return 127;
}

int main(int argc, char **argv) {
    struct mini_box box = { .namespaces = MINI_ALL_NS, .cwd = "/tmp", .workload = run };
    int i = 1;
    for (; i + 1 < argc && !strncmp(argv[i], "--", 2); i += 2) {
        if (!strcmp(argv[i], "--uid")) box.uid = (uid_t)atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--writable")) box.writable = argv[i + 1];
        else if (!strcmp(argv[i], "--cwd")) box.cwd = argv[i + 1];
        else return fprintf(stderr, "minibox: unknown option %s\n", argv[i]), 2;
    }
    if (i >= argc) return fprintf(stderr, "usage: minibox [--uid N] [--writable DIR] [--cwd DIR] PROGRAM ARG...\n"), 2;
    box.arg = argv + i;
    const char *step;
    int r = mini_box_run(&box, &step);
    if (r < 0) fprintf(stderr, "minibox: %s: %s\n", step, strerror(-r));
    return r < 0 ? 125 : r;
}
