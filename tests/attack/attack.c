/* attack all | attack ROWS | attack scan SECONDS | attack leaks TEXT... | attack bomb-mem, bomb-pids, bomb-tmpfs, bomb-pipes, bomb-files, forkers */
#include "tests/attack/attack.h"
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void say(const char *id, const char *result, const char *detail) { printf("%s %s %s\n", id, result, detail); }
void say_count(const char *id, const char *what, long n) { printf("%s %s %ld\n", id, what, n); }

void try_(const char *id, long result) {
    int e = errno;
    if (result >= 0) say(id, "ok", "0");
    else say(id, "refused", strerrorname_np(e) ? strerrorname_np(e) : "?");
}

void try_fd(const char *id, long fd) {
    try_(id, fd);
    if (fd >= 0) close((int)fd);
}

int in_child(int (*fn)(void *arg), void *arg) {
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) _exit(fn(arg) & 0xff);
    int status;
    if (pid < 0) return 255;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static char dir[64];

const char *scratch(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f) { return remove(path); }

static const struct { const char *name; void (*fn)(void); } rows[] = { { "calls", rows_calls }, { "sockets", rows_sockets }, { "proc", rows_proc }, { "files", rows_files },
    { "process", rows_process } };

static int usage(void) {
    fputs("usage: attack all | calls | sockets | proc | files | process | scan SECONDS | leaks TEXT... | bomb-NAME | forkers\n", stderr);
    return 2;
}

int main(int argc, char **argv) {
    if (argc < 2) return usage();
    const char *verb = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(verb, "scan")) return scan(argc > 2 ? (unsigned)atoi(argv[2]) : 1);
    if (!strcmp(verb, "leaks")) return leaks(argv + 2);
    if (!strncmp(verb, "bomb-", 5) || !strcmp(verb, "forkers")) return bomb(verb);
    snprintf(dir, sizeof dir, "/tmp/attack-%d", getpid());
    if (mkdir(dir, 0700)) return perror(dir), 2;
    bool known = false;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(verb, "all") || !strcmp(verb, rows[i].name)) {
            rows[i].fn();
            known = true;
        }
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return known ? 0 : usage();
}
