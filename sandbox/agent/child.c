/* From the fork to the execve of a command. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/agent/super.h"
#include "sandbox/agent/user.h"
#include "sandbox/confine/confine.h"

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static _Noreturn void fail(int fd, int err, const char *step)
{
    struct child_failure f = { .err = err };

    snprintf(f.step, sizeof f.step, "%s", step ? step : "confine");
    if (write(fd, &f, sizeof f) < 0)
        _exit(126);
    _exit(127);
}

static const char *env_get(char *const *env, const char *name)
{
    size_t n = strlen(name);

    for (; *env; env++)
        if (!strncmp(*env, name, n) && (*env)[n] == '=')
            return *env + n + 1;
    return NULL;
}

/* execve, and for a file without an interpreter line that the kernel does not know: by the shell, as execvp does. */
static int run_file(const char *file, char *const *argv, char *const *env)
{
    static char *sh[ARGV_MAX + 2];
    unsigned n = 0;

    execve(file, argv, env);
    if (errno != ENOEXEC)
        return -errno;
    sh[n++] = (char *)"/bin/sh";
    sh[n++] = (char *)file;
    for (unsigned i = 1; argv[i] && n <= ARGV_MAX; i++)
        sh[n++] = argv[i];
    sh[n] = NULL;
    execve(sh[0], sh, env);
    return -errno;
}

static int run_program(int fd, char *const *argv, char *const *env)
{
    syscall(SYS_execveat, fd, "", argv, env, AT_EMPTY_PATH);
    return -errno;
}

/* The directories of PATH one after the other; -EACCES if that was met on the way and nothing else was found. */
static int run_search(char *const *argv, char *const *env)
{
    const char *path = env_get(env, "PATH"), *file = argv[0];
    char full[PATH_MAX];
    bool denied = false;

    if (!*file)
        return -ENOENT;
    if (strchr(file, '/'))
        return run_file(file, argv, env);
    for (const char *p = path && *path ? path : PATH_DEFAULT;; p++) {
        size_t n = strcspn(p, ":");
        int len = n ? snprintf(full, sizeof full, "%.*s/%s", n < PATH_MAX ? (int)n : PATH_MAX, p, file) : snprintf(full, sizeof full, "%s", file);
        if (len < (int)sizeof full) {
            int r = run_file(full, argv, env);
            if (r == -EACCES)
                denied = true;
            else if (r != -ENOENT && r != -ENOTDIR && r != -ESTALE && r != -ENODEV && r != -ETIMEDOUT && r != -ENAMETOOLONG && r != -ELOOP)
                return r;
        }
        p += n;
        if (!*p)
            return denied ? -EACCES : -ENOENT;
    }
}

static void signals_reset(void)
{
    sigset_t none;
    struct sigaction dfl = { .sa_handler = SIG_DFL };

    for (int s = 1; s < NSIG; s++)
        sigaction(s, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* HOME is the user's when the spec has none: it cannot know who lives where in this root. */
static char *const *with_home(const struct exec_spec *s, const struct user *u)
{
    static char *env[UINT16_MAX + 2], home[USER_HOME_MAX + 8];
    unsigned n = 0;

    if (env_get(s->env, "HOME"))
        return s->env;
    for (; s->env[n]; n++)
        env[n] = s->env[n];
    snprintf(home, sizeof home, "HOME=%s", u->home);
    env[n++] = home;
    env[n] = NULL;
    return env;
}

_Noreturn void child_main(const struct exec_spec *s, const struct user *u, bool tty, const struct super_stdio *io, int status_fd, int program_fd)
{
    const char *step = NULL;
    int r;

    signals_reset();
    setpriority(PRIO_PROCESS, 0, 0);         /* the agent and its supervisors may run before commands (the launcher's choice): they end fork bombs */
    if (setsid() < 0)
        fail(status_fd, -errno, "session");
    if (tty && ioctl(io->child[0], TIOCSCTTY, 0) < 0)
        fail(status_fd, -errno, "terminal");
    if (status_fd == 3 && (status_fd = fcntl(3, F_DUPFD_CLOEXEC, CHILD_FDS)) < 0)
        _exit(127);
    if (program_fd >= 0 && program_fd < CHILD_FDS && (program_fd = fcntl(program_fd, F_DUPFD_CLOEXEC, CHILD_FDS)) < 0)
        fail(status_fd, -errno, "descriptors");
    for (int i = 0; i < CHILD_FDS; i++)      /* ascending: a source below CHILD_FDS is in its place before it is overwritten */
        if (io->child[i] >= 0 && (io->child[i] == i ? fcntl(i, F_SETFD, 0) : dup2(io->child[i], i)) < 0)
            fail(status_fd, -errno, "descriptors");
    if (close_range(io->child[3] >= 0 ? CHILD_FDS : 3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
        fail(status_fd, -errno, "descriptors");
    if ((r = confine_workload(u->uid, u->gid, &step)) < 0)
        fail(status_fd, r, step);
    if (*s->cwd ? chdir(s->cwd) < 0 : chdir(u->home) < 0 && chdir("/") < 0)
        fail(status_fd, -errno, "cwd");
    if (program_fd >= 0)                     /* marked close-on-exec, as all but 0 to 3: it is not there in the program */
        fail(status_fd, run_program(program_fd, s->argv, with_home(s, u)), "exec");
    fail(status_fd, run_search(s->argv, with_home(s, u)), "exec");
}
