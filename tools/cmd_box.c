/* What the command does by way of coppice-box: the sandbox verbs, and calls of the API for its own verbs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "tools/tool.h"
#include "tools/tool_runner.h"

static char *find_box(void)
{
    return tool_program("tools/coppice-box", "coppice-box");
}

int cmd_box(struct tool *t, int argc, char **argv)
{
    _cleanup_free_ char *program = find_box();
    const char **v = calloc((size_t)argc + 5, sizeof(*v));
    int n = 0;

    if (!program || !v) {
        free(v);
        return tool_fail("cannot find the program coppice-box beside this command or in $PATH");
    }
    v[n++] = "coppice-box";
    v[n++] = "--store";
    v[n++] = t->store;
    if (t->json)
        v[n++] = "--json";
    for (int i = 0; i < argc; i++)
        v[n++] = argv[i];
    fflush(NULL);
    execv(program, (char *const *)(uintptr_t)v);
    free(v);
    return tool_fail("cannot run %s: %s", program, strerror(errno));
}

/* All of what a child says. */
static json_t *take_answer(int fd)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;
    uint8_t piece[16384];
    ssize_t n;

    while ((n = read(fd, piece, sizeof(piece))) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            buf_put(&b, piece, (size_t)n);
    return buf_err(&b) ? NULL : json_loadb((const char *)b.data, b.len, 0, NULL);
}

json_t *tool_api(struct tool *t, const char *method, const char *path, json_t *body)
{
    _cleanup_free_ char *program = find_box(), *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    int p[2], status;

    json_decref(body);
    if (!program || pipe2(p, O_CLOEXEC))
        return NULL;
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        dup2(p[1], 1);
        execl(program, "coppice-box", "--store", t->store, "request", method, path, text, (char *)NULL);
        _exit(127);
    }
    close(p[1]);
    json_t *v = pid > 0 ? take_answer(p[0]) : NULL;
    close(p[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return v;
}

bool tool_runner_runs(const struct tool *t)
{
    int dir = -1, r = runner_find(t, &dir, NULL);

    close_p(&dir);
    return !r;
}
