#include "sandbox/launcher/husk.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "sandbox/frame.h"
#include "sandbox/launcher/bundle.h"

enum { HUSK_NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP, AGENT_SOCK = 3 };

void husk_step(struct husk *h, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(h->step, sizeof(h->step), fmt, ap);
    va_end(ap);
}

/* fds: the doors, or NULL. */
static void say(int sock, struct husk_msg *m, const int *fds)
{
    union { char space[CMSG_SPACE(sizeof(int) * EGRESS_DOORS)]; struct cmsghdr align; } c = { 0 };
    struct iovec v = { .iov_base = m, .iov_len = sizeof(*m) };
    struct msghdr mh = { .msg_iov = &v, .msg_iovlen = 1 };

    if (fds) {
        mh.msg_control = &c;
        mh.msg_controllen = sizeof(c);
        *CMSG_FIRSTHDR(&mh) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int) * EGRESS_DOORS), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&mh)), fds, sizeof(int) * EGRESS_DOORS);
    }
    while (sendmsg(sock, &mh, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

static _Noreturn void fail(int sock, int err, const char *step)
{
    struct husk_msg m = { .word = HUSK_FAILED, .err = err };

    snprintf(m.text, sizeof(m.text), "%s", step);
    say(sock, &m, NULL);
    _exit(1);
}

static uint32_t us_since(uint64_t t)
{
    return (uint32_t)((clock_mono_ns() - t) / 1000);
}

/* --- the husk --- */

static int write_file(const char *path, const char *text)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int become_root(struct husk *h)
{
    husk_step(h, "become root of the user namespace");
    if (setgroups(0, NULL) || setresgid(0, 0, 0) || setresuid(0, 0, 0))
        return -errno;
    umask(022);
    /* After the change of ids, which clears it. The launcher may have died before: then its end of the socket is closed and we see that. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || prctl(PR_SET_DUMPABLE, 0) || setsid() < 0)
        return -errno;
    return 0;
}

/* Waits for START; its descriptors: the agent's socket, the root, the mounts. Ends the process when the launcher is gone or says nothing sensible. */
static unsigned wait_start(struct husk *h, struct launch_packet *p, int fds[HUSK_FDS_MAX])
{
    union { char space[CMSG_SPACE(sizeof(int) * HUSK_FDS_MAX)]; struct cmsghdr align; } c;
    struct iovec v = { .iov_base = p, .iov_len = sizeof(*p) };
    struct msghdr mh = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
    ssize_t n;

    do
        n = recvmsg(h->plan->sock, &mh, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
    if (n != sizeof(*p) || (mh.msg_flags & MSG_CTRUNC) || !cm || cm->cmsg_type != SCM_RIGHTS)
        _exit(0);
    unsigned count = (unsigned)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    if (count != 2 + p->mount_count)
        _exit(1);
    memcpy(fds, CMSG_DATA(cm), count * sizeof(int));
    return count;
}

/* The agent: descriptors 0-2 /dev/null, 3 its socket, no other. */
static int become_agent(struct husk *h, int agent_sock)
{
    static const char *const argv[] = { "agent", NULL };
    const char *const envp[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", h->plan->outside, NULL };
    sigset_t none;

    husk_step(h, "set up the agent's descriptors");
    int program = fcntl(h->plan->agent_fd, F_DUPFD_CLOEXEC, 10), sock = fcntl(agent_sock, F_DUPFD_CLOEXEC, 10);
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    int last = fcntl(h->plan->sock, F_DUPFD_CLOEXEC, 10);
    if (program < 0 || sock < 0 || null_fd < 0 || last < 0 || dup2(sock, AGENT_SOCK) < 0)
        return -errno;
    int null_high = null_fd < 3 ? fcntl(null_fd, F_DUPFD_CLOEXEC, 10) : null_fd;
    for (int i = 0; i < 3; i++)
        if (dup2(null_high, i) < 0)
            return -errno;
    if (close_range(4, ~0u, CLOSE_RANGE_CLOEXEC))
        return -errno;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    husk_step(h, "execute the agent");
    execveat(program, "", (char *const *)argv, (char *const *)envp, AT_EMPTY_PATH);
    return -errno;
}

static _Noreturn void husk_main(const struct husk_plan *plan, int go)
{
    struct husk h = { .plan = plan, .stage = -1, .proc = -1, .dev = -1, .mask = -1, .usr = -1, .shm_at = -1, .bundle = -1 };
    struct husk_msg m = { .word = HUSK_READY };
    struct launch_packet p;
    uint64_t t = clock_mono_ns();
    int fds[HUSK_FDS_MAX], doors[EGRESS_DOORS];
    char byte;

    if (read(go, &byte, 1) != 1)
        _exit(1);
    close(go);
    m.us[0] = us_since(t);
    t = clock_mono_ns();
    int r = become_root(&h);
    if (!r)
        r = husk_net(&h, doors);
    m.us[1] = us_since(t);
    t = clock_mono_ns();
    if (!r)
        r = husk_mounts(&h);
    m.us[2] = us_since(t);
    if (r)
        fail(plan->sock, r, h.step);
    say(plan->sock, &m, doors);
    for (unsigned i = 0; i < EGRESS_DOORS; i++)
        close(doors[i]);

    wait_start(&h, &p, fds);
    t = clock_mono_ns();
    husk_step(&h, "set the host name");
    r = sethostname(p.host_name, strlen(p.host_name)) ? -errno : 0;
    if (!r)
        r = husk_root(&h, &p, fds[1], fds + 2);
    if (r)
        fail(plan->sock, r, h.step);
    m = (struct husk_msg){ .word = HUSK_ROOTED, .us = { us_since(t) } };
    say(plan->sock, &m, NULL);
    r = become_agent(&h, fds[0]);
    fail(plan->sock, r, h.step);
}

/* --- the maker --- */

static int write_maps(pid_t pid, uint32_t base)
{
    char path[64], text[64];
    int r;

    snprintf(text, sizeof(text), "0 %u %d\n", base, LAUNCH_ID_BLOCK);
    snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
    r = write_file(path, text);
    snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
    return r ? r : write_file(path, text);
}

/* What the launcher has open is not for us: only the pair, the agent's program, the bundle, and until they are entered the groups. Their places: 3 and up. */
static int keep_only(struct husk_plan *plan, struct cgroups *groups)
{
    int old[3 + CG_CONTROLLERS] = { plan->sock, plan->agent_fd }, high[3 + CG_CONTROLLERS], now[3 + CG_CONTROLLERS];
    unsigned n = 2, fixed;

    if (plan->bundle_fd >= 0)
        old[n++] = plan->bundle_fd;
    fixed = n;
    for (unsigned c = 0; c < CG_CONTROLLERS; c++)
        if (groups->dir[c] >= 0)
            old[n++] = groups->dir[c];
    for (unsigned i = 0; i < n; i++)
        if ((high[i] = fcntl(old[i], F_DUPFD_CLOEXEC, 64)) < 0)
            return -errno;
    for (unsigned i = 0; i < n; i++)
        if ((now[i] = dup3(high[i], 3 + (int)i, O_CLOEXEC)) < 0)
            return -errno;
    plan->sock = now[0];
    plan->agent_fd = now[1];
    plan->bundle_fd = fixed == 3 ? now[2] : -1;
    for (unsigned c = 0; c < CG_CONTROLLERS; c++)
        for (unsigned i = fixed; i < n && groups->dir[c] >= 0; i++)
            if (old[i] == groups->dir[c]) {           /* controllers of one hierarchy go on having one number */
                groups->dir[c] = now[i];
                break;
            }
    return close_range(3 + n, ~0u, 0) ? -errno : 0;
}

static pid_t clone_husk(void)
{
    struct clone_args args = { .flags = (uint64_t)HUSK_NAMESPACES | CLONE_PARENT };

    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    return pid < 0 ? -errno : pid;
}

_Noreturn void husk_maker(const struct husk_plan *given)
{
    struct husk_plan plan = *given;
    struct cgroups groups = *plan.cgroups;
    struct husk_msg m = { .word = HUSK_BORN };
    uint64_t t = clock_mono_ns();
    int go[2], r;

    /* Until its descriptors are closed it holds the store's lock and doors like the launcher, so it must not outlive that. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || (r = keep_only(&plan, &groups)))
        fail(plan.sock, -EMFILE, "close descriptors");
    plan.cgroups = &groups;
    write_file("/proc/self/oom_score_adj", "0");      /* not the launcher's; a wish */
    if ((r = cgroup_make(plan.cgroups, plan.slot)))
        fail(plan.sock, r, "make the control group");
    m.us[0] = us_since(t);
    t = clock_mono_ns();
    if ((r = cgroup_enter(plan.cgroups, plan.slot)))
        fail(plan.sock, r, "enter the control group");
    m.us[1] = us_since(t);
    t = clock_mono_ns();
    close_range(plan.bundle_fd < 0 ? 5 : 6, ~0u, 0);      /* the groups */
    if (plan.bundle_fd >= 0) {
        int bundle = bundle_clone(plan.bundle_fd);
        if (bundle < 0)
            fail(plan.sock, bundle, "take the bundle of certificates");
        close(plan.bundle_fd);
        plan.bundle_fd = bundle;
    }
    setpriority(PRIO_PROCESS, 0, AGENT_NICE); /* among the processes of its control group, which gets no more by it; a wish */
    if (pipe2(go, O_CLOEXEC))
        fail(plan.sock, -errno, "make a pipe");
    pid_t pid = clone_husk();
    if (pid < 0)
        fail(plan.sock, pid, "make the namespaces (user, mount, pid, net, ipc, uts, cgroup)");
    if (!pid) {
        close(go[1]);
        husk_main(&plan, go[0]);
    }
    m.us[2] = us_since(t);
    m.pid = pid;
    say(plan.sock, &m, NULL);
    if ((r = write_maps(pid, plan.uid_base)))
        fail(plan.sock, r, "map the ids");
    r = write(go[1], "+", 1) == 1 ? 0 : -errno;
    _exit(r ? 1 : 0);
}
