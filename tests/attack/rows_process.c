/* Signals, limits, scheduling, identity, prctl, executable memory. */
#include "tests/attack/attack.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void signals(void) {
    try_("kill.agent.kill", kill(1, SIGKILL));
    try_("kill.agent.stop", kill(1, SIGSTOP));
    try_("kill.agent.term", kill(1, SIGTERM));
    try_("kill.agent.zero", kill(1, 0));
    try_("kill.agent.thread", syscall(SYS_tgkill, 1, 1, SIGKILL));
    siginfo_t info = { .si_code = -6 };
    try_("kill.agent.queue", syscall(SYS_rt_sigqueueinfo, 1, SIGUSR1, &info));
    /* A pipe whose end signals the agent. */
    int p[2];
    if (pipe(p)) return;
    try_("kill.agent.setown", fcntl(p[0], F_SETOWN, 1));
    close(p[0]);
    close(p[1]);
}

static void limits(void) {
    static const struct { const char *id; int what; } l[] = { { "limit.nofile", RLIMIT_NOFILE }, { "limit.core", RLIMIT_CORE }, { "limit.memlock", RLIMIT_MEMLOCK }, { "limit.rtprio", RLIMIT_RTPRIO },
        { "limit.nice", RLIMIT_NICE }, { "limit.sigpending", RLIMIT_SIGPENDING }, { "limit.msgqueue", RLIMIT_MSGQUEUE } };
    for (unsigned i = 0; i < sizeof l / sizeof *l; i++) {
        struct rlimit r;
        getrlimit(l[i].what, &r);
        r.rlim_max++;
        try_(l[i].id, setrlimit(l[i].what, &r));
    }
    struct rlimit none = { 0, 0 };
    try_("limit.agent", prlimit(1, RLIMIT_NOFILE, &none, NULL));
    try_("nice.self", setpriority(PRIO_PROCESS, 0, -1));
    try_("nice.agent", setpriority(PRIO_PROCESS, 1, 19));
    struct sched_param sp = { .sched_priority = 1 }, zero = { 0 };
    try_("sched.fifo", syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &sp));
    try_("sched.rr", syscall(SYS_sched_setscheduler, 0, SCHED_RR, &sp));
    try_("sched.fifo.reset_on_fork", syscall(SYS_sched_setscheduler, 0, SCHED_FIFO | 0x40000000, &sp));
    try_("sched.fifo.high_bits", syscall(SYS_sched_setscheduler, 0, 0x100000000L | SCHED_FIFO, &sp));
    try_("sched.batch", syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &zero));
    try_("sched.setattr", syscall(SYS_sched_setattr, 0, NULL, 0));
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    try_("sched.agent", sched_setaffinity(1, sizeof set, &set));
    try_("ioprio.realtime", syscall(SYS_ioprio_set, 1, 0, 1 << 13));
    try_("ioprio.agent", syscall(SYS_ioprio_set, 1, 1, 3 << 13));
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    try_("oom.below_agent", write(fd, "-1", 2));
    if (fd >= 0) close(fd);
}

/* ids to which this process has no right: another user's. */
static void identity(void) {
    unsigned other = getuid() ? 0 : 1000;
    try_("id.setuid", setuid(other));
    try_("id.setresuid", setresuid(other, other, other));
    try_("id.setgid", setgid(other));
    try_("id.agent", setuid(65533));
    try_("id.setgroups", setgroups(1, (gid_t[]){ 0 }));
    try_("id.same", setresuid(getuid(), getuid(), getuid()));
    int groups = getgroups(0, NULL);
    say_count("id.groups", "count", groups);
    try_("id.chown", chown(scratch("file"), other, other));
    try_("id.sethostname", sethostname("x", 1));
}

static void prctls(void) {
    long through = 0;
    for (int option = 1; option < 256; option++) {
        static const unsigned char fine[] = { 1, 2, 3, 4, 7, 8, 13, 15, 16, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 36, 37, 38, 39, 40, 41, 42, 47, 52, 53, 65, 66 };
        if (memchr(fine, option, sizeof fine)) continue;
        long r = syscall(SYS_prctl, option, -1, -1, -1, -1);
        if (r != -1 || (errno != ENOSYS && errno != EPERM)) {
            printf("prctl.%d through %s\n", option, r < 0 ? strerrorname_np(errno) : "0");
            through++;
        }
    }
    say_count("prctl.unnamed", "through", through);
    try_("prctl.set_mm", prctl(PR_SET_MM, 1, 0, 0, 0));
    try_("prctl.set_ptracer", prctl(PR_SET_PTRACER, -1, 0, 0, 0));
    try_("prctl.high_bits", syscall(SYS_prctl, 0x100000000L | PR_SET_MM, 1, 0, 0, 0));
}

static int exec_memfd(void *arg) {
    char buf[65536], *argv[] = { (char *)"attack", NULL };
    int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), out = memfd_create("x", MFD_CLOEXEC);
    ssize_t n;
    while ((n = read(in, buf, sizeof buf)) > 0)
        if (write(out, buf, (size_t)n) != n) return 99;
    close(2);
    syscall(SYS_execveat, out, "", argv, argv + 1, AT_EMPTY_PATH);
    return 99;
}

void rows_process(void) {
    signals();
    limits();
    identity();
    prctls();
    /* Allowed, and documented: own code from memory. Without arguments the program says how it is used, 2. */
    say("P41.memfd_exec", in_child(exec_memfd, NULL) == 2 ? "ok" : "refused", "-");
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("P41.writable_code", p != MAP_FAILED ? "ok" : "refused", "-");
}
