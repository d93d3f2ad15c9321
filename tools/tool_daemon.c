/* Finding and starting the store's daemon. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tools/tool.h"

/* A copy of fmt's result, NULL if it is no program. */
static char *if_program(const char *dir, const char *a, const char *b)
{
    char *p = NULL;

    if (asprintf(&p, "%s%s%s", dir, a, b) < 0)
        return NULL;
    if (!access(p, X_OK))
        return p;
    free(p);
    return NULL;
}

static char *in_path(const char *name)
{
    const char *path = getenv("PATH");
    char dir[4096];

    for (const char *p = path ? path : ""; *p;) {
        size_t n = strcspn(p, ":");
        if (n && n < sizeof(dir)) {
            memcpy(dir, p, n);
            dir[n] = 0;
            char *found = if_program(dir, "/", name);
            if (found)
                return found;
        }
        p += n;
        p += *p == ':';
    }
    return NULL;
}

char *tool_program(const char *in_build, const char *name)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *found = NULL;

    if (n > 0) {
        self[n] = 0;
        char *slash = strrchr(self, '/');
        if (slash)
            *slash = 0;
        if (!(found = if_program(self, "/../", in_build)))
            found = if_program(self, "/../libexec/coppice/", name);
        if (!found)
            found = if_program(self, "/", name);
    }
    return found ? found : in_path(name);
}

bool tool_store_exists(const struct tool *t)
{
    _cleanup_free_ char *p = NULL;
    return asprintf(&p, "%s/format", t->store) >= 0 && !access(p, F_OK);
}

static int no_access(const struct tool *t)
{
    return tool_fail("no permission to use the store %s; run as root", t->store);
}

/* A store that is not there: why, and what to do. */
static int check_there(const struct tool *t)
{
    struct stat st;

    if (stat(t->store, &st)) {
        if (errno == EACCES)
            return no_access(t);
        return tool_fail("no store at %s (%s); `coppice init` makes one, --store or $COPPICE_STORE names another", t->store,
                         strerror(errno));
    }
    if (!S_ISDIR(st.st_mode))
        return tool_fail("the store %s is not a directory", t->store);
    if (access(t->store, R_OK | X_OK))
        return no_access(t);
    if (!tool_store_exists(t))
        return tool_fail("the directory %s is not a store; `coppice init` makes one in an empty directory", t->store);
    return 0;
}

/* A daemon that is about to end may still take a connection. It then answers that it ends, or nothing; and by the time it has closed the
 * connection its socket's name is gone, so that the next try starts another one. 0; -ECONNREFUSED: try again; 1: said why not. */
static int check_alive(struct tool *t)
{
    bool ending = false;
    int r;

    while ((r = snap_call(t->client, json_pack("{s:s}", "verb", "ping"), NULL, 0, NULL, NULL, NULL, &t->error)) &&
           !strcmp(t->error.code, "stopping"))
        ending = true;
    if (!r)
        return 0;
    ending |= !strcmp(t->error.code, "disconnected");
    snap_close(t->client);
    t->client = NULL;
    return ending ? -ECONNREFUSED : tool_error(t);
}

int tool_start(struct tool *t, bool create, unsigned idle_exit_s)
{
    _cleanup_free_ char *program = tool_program("snapshotd/snapshotd", "snapshotd");
    int r = -ECONNREFUSED;

    if (!program)
        return tool_fail("cannot find the program snapshotd beside this command or in $PATH");
    for (int tries = 0; r == -ECONNREFUSED && tries < 3; tries++) {
        if (snap_start(program, t->store, create, idle_exit_s, &t->client, &t->error))
            return tool_error(t);
        r = check_alive(t);
    }
    return r == -ECONNREFUSED ? tool_error(t) : r;
}

int tool_open(struct tool *t, enum need need)
{
    if (t->client)
        return 0;
    int r = snap_connect(t->store, &t->client);
    if (!r)
        r = check_alive(t);
    if (r >= 0)
        return r;
    if (r == -EACCES)
        return no_access(t);
    if (r != -ENOENT && r != -ECONNREFUSED)
        return tool_fail("cannot reach the daemon of the store %s: %s", t->store, strerror(-r));
    if (need == NEED_STORE && (r = check_there(t)))
        return r;
    return tool_start(t, need == NEED_CREATE, IDLE_EXIT_S);
}

void tool_close(struct tool *t)
{
    snap_close(t->client);
    t->client = NULL;
}
