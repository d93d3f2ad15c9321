/* Starting the daemon when none runs. Starters take a lock on the store directory itself, so exactly one daemon is started, and the losers
 * find it running. The program detaches itself and exits when the daemon answers, so nothing here waits for a time. */
#include "snapshotd/snap_client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "snapshotd/snap_proto.h"
#include "snapshotd/snap_start.h"

static int fail(struct snap_error *e, int err, const char *code, const char *what, const char *why)
{
    snprintf(e->code, sizeof(e->code), "%s", code);
    snprintf(e->message, sizeof(e->message), "%s: %s", what, why);
    return err;
}

static _Noreturn void run_child(const char *const *argv, int err_fd)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null_fd = open("/dev/null", O_RDWR);
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(err_fd, 2) < 0)
        _exit(127);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    dprintf(2, "cannot run %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* All that the starter says, without the last newline. It ends when the starter has exited and the daemon has its own log. */
static void read_text(int fd, char *out, size_t size)
{
    size_t n = 0;
    char drop[256];

    for (;;) {
        bool full = n + 1 >= size;
        ssize_t r = full ? read(fd, drop, sizeof(drop)) : read(fd, out + n, size - 1 - n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            break;
        n += full ? 0 : (size_t)r;
    }
    while (n && out[n - 1] == '\n')
        n--;
    out[n] = 0;
}

int start_daemon(const char *const *argv, char *ret_text, size_t size)
{
    int p[2], status = 0;

    if (pipe2(p, O_CLOEXEC))
        return -errno;
    pid_t pid = fork();
    if (!pid)
        run_child(argv, p[1]);
    int err = errno;
    close(p[1]);
    if (pid < 0) {
        close(p[0]);
        return -err;
    }
    read_text(p[0], ret_text, size);
    close(p[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -ECONNREFUSED;
}

static int run(const char *program, const char *store, bool create, unsigned idle_exit_s, struct snap_error *e)
{
    char idle[24];

    snprintf(idle, sizeof(idle), "%u", idle_exit_s);
    const char *argv[] = { program, "--store", store, "--idle-exit", idle, create ? "--create" : NULL, NULL };
    int r = start_daemon(argv, e->message, sizeof(e->message));
    if (!r)
        return 0;
    if (r != -ECONNREFUSED)
        return fail(e, r, "internal", "cannot start snapshotd", strerror(-r));
    snprintf(e->code, sizeof(e->code), "not_started");
    if (!e->message[0])
        snprintf(e->message, sizeof(e->message), "snapshotd for the store %s did not start; look into its %s", store, SNAP_LOG);
    return r;
}

int snap_start(const char *program, const char *store, bool create, unsigned idle_exit_s, struct snap_client **ret,
               struct snap_error *ret_err)
{
    ret_err->code[0] = ret_err->message[0] = 0;
    if (create && mkdir(store, 0700) && errno != EEXIST)
        return fail(ret_err, -errno, "no_store", store, strerror(errno));
    _cleanup_close_ int dir = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return fail(ret_err, -errno, errno == EACCES ? "no_permission" : "no_store", store, strerror(errno));
    while (flock(dir, LOCK_EX))
        if (errno != EINTR)
            return fail(ret_err, -errno, "internal", store, strerror(errno));
    int r = snap_connect(store, ret);
    if (r != -ECONNREFUSED)
        return r ? fail(ret_err, r, "no_permission", store, strerror(-r)) : 0;
    r = run(program, store, create, idle_exit_s, ret_err);
    if (r)
        return r;
    r = snap_connect(store, ret);
    return r ? fail(ret_err, r, "not_started", "snapshotd started, and ended at once", strerror(-r)) : 0;
}

int snap_program_id(const char *path, char ret[PROGRAM_ID])
{
    struct stat st;

    if (stat(path, &st))
        return -errno;
    snprintf(ret, PROGRAM_ID, "%llu.%lld.%lld.%09ld", (unsigned long long)st.st_ino, (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    return 0;
}
