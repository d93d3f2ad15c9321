/* The agent's own confinement, inherited by all that it starts; and the rest that each command's process does for itself. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "sandbox/confine/parts.h"

static const char *const layer_names[] = { "user namespace", "mount namespace", "pid namespace", "network namespace", "ipc namespace", "uts namespace", "cgroup namespace",
    "root", "nodev", "nosuid", "proc", "capabilities", "no_new_privs", "seccomp", "landlock", "cgroup limits" };
_Static_assert(LAYERS_NEEDED == (1 << (sizeof layer_names / sizeof *layer_names)) - 1, "a name for each layer");

const char *confine_layer_name(unsigned layer) {
    if (!layer || layer & (layer - 1) || layer > LAYERS_NEEDED) return NULL;
    return layer_names[__builtin_ctz(layer)];
}

long confine_read_file(const char *path, char *buf, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    size_t n = 0;
    ssize_t k;
    while (n < size - 1 && (k = read(fd, buf + n, size - 1 - n)) != 0) {
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) {
            int e = errno;
            close(fd);
            return -e;
        }
        n += (size_t)k;
    }
    close(fd);
    buf[n] = '\0';
    return n < size - 1 ? (long)n : -E2BIG;
}

/* Lowers soft and hard. */
static int limit(int what, rlim_t max) {
    struct rlimit r;
    if (getrlimit(what, &r)) return -errno;
    if (r.rlim_max > max) r.rlim_max = max;
    r.rlim_cur = r.rlim_max;
    return setrlimit(what, &r) ? -errno : 0;
}

/* RLIMIT_CORE is 1, not 0: with 0 a core handler of the host would still be started for a workload's crash, with 1 it is not (core(5)). */
int confine_limits(void) {
    static const struct { int what; rlim_t max; } limits[] = { { RLIMIT_CORE, 1 }, { RLIMIT_MEMLOCK, 64 * 1024 }, { RLIMIT_NICE, 0 }, { RLIMIT_RTPRIO, 0 },
        { RLIMIT_SIGPENDING, 4096 }, { RLIMIT_MSGQUEUE, 0 } };
    for (unsigned i = 0; i < sizeof limits / sizeof *limits; i++) {
        int e = limit(limits[i].what, limits[i].max);
        if (e) return e;
    }
    return 0;
}

int confine_no_new_privs(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0; }

/* From the environment, which is then without it. */
static int take_outside(void) {
    const char *text = getenv(CONFINE_OUTSIDE);
    if (!text) return -ENOENT;
    int e = confine_outside_parse(text);
    unsetenv(CONFINE_OUTSIDE);
    return e;
}

static int not_dumpable(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ? -errno : 0; }

int confine_init(const char **ret_step) {
    static const struct { const char *step; int (*fn)(void); } steps[] = { { "outside", take_outside }, { "limits", confine_limits }, { "dumpable", not_dumpable },
        { "capabilities", confine_caps_cut }, { "no_new_privs", confine_no_new_privs }, { "landlock", confine_landlock }, { "seccomp", confine_seccomp } };
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        int e = steps[i].fn();
        if (e) return *ret_step = steps[i].step, e;
    }
    return 0;
}

/* The kernel's OOM killer takes commands before the agent. /proc/self belongs to the process only while it is dumpable; it still has capabilities then that
 * no command has, so none may trace it. */
static int raise_oom_score(void) {
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)) return -errno;
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC), e = 0;
    if (fd < 0 || write(fd, "300", 3) != 3) e = -errno;
    if (fd >= 0) close(fd);
    int d = not_dumpable();
    return e ? e : d;
}

static int file_limit(void) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r)) return -errno;
    if (r.rlim_max > 65536) r.rlim_max = 65536;
    r.rlim_cur = r.rlim_max < 1024 ? r.rlim_max : 1024;
    return setrlimit(RLIMIT_NOFILE, &r) ? -errno : 0;
}

int confine_workload(uid_t uid, gid_t gid, const char **ret_step) {
    int e;
    *ret_step = "user";
    if (uid > 65534 || gid > 65534 || uid == CONFINE_AGENT_ID || gid == CONFINE_AGENT_ID) return -EINVAL;
    *ret_step = "oom";
    if ((e = raise_oom_score())) return e;
    *ret_step = "limit";
    if ((e = file_limit())) return e;
    *ret_step = "user";      /* raw calls: libc's would make all threads of a process follow, and take locks */
    if (syscall(SYS_setgroups, 0, NULL) || syscall(SYS_setresgid, gid, gid, gid) || syscall(SYS_setresuid, uid, uid, uid)) return -errno;
    *ret_step = "capabilities";
    if ((e = confine_caps_drop())) return e;
    *ret_step = "dumpable";
    return not_dumpable();   /* until execve: it still has the agent's memory */
}

uint64_t confine_self_test(void) {
    uint64_t namespaces = confine_prove_namespaces(), mounts = confine_prove_mounts();
    uint64_t proved = (namespaces & ~(uint64_t)LAYER_MOUNTNS) | (mounts & ~(uint64_t)LAYER_MOUNTNS) | (namespaces & mounts & LAYER_MOUNTNS);
    proved |= confine_prove_proc() | confine_prove_caps() | confine_prove_landlock() | confine_prove_seccomp();
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) proved |= LAYER_NNP;
    return proved;
}
