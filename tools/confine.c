/* Takes from a child what it could do harm with. The order matters: descriptors first, then identity, then limits, the filter last.
 *
 * The filter lets through what decompressors and malloc() need on open descriptors; everything else fails with EPERM, so a library that
 * tries to open a file or to run a program goes on without. Sanitizers need more, so builds with them leave out the filter and the
 * address space limit. */
#include "tools/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { NOBODY = 65534 };

static int descriptors(int in_fd, int out_fd)
{
    int in = fcntl(in_fd, F_DUPFD, 3), out = fcntl(out_fd, F_DUPFD, 3);

    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0)
        return -errno;
    return close_range(3, ~0u, 0) < 0 ? -errno : 0;
}

static int identity(void)
{
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0))
        return -errno;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return -errno;
    return 0;
}

static int limit(int what, unsigned long n)
{
    struct rlimit l = { n, n };

    return setrlimit((__rlimit_resource_t)what, &l) < 0 ? -errno : 0;
}

#ifndef SANITIZED
#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef ARCH
#define LET(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static int filter(void)
{
    static struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        LET(__NR_read), LET(__NR_write), LET(__NR_lseek), LET(__NR_fstat), LET(__NR_close), LET(__NR_brk), LET(__NR_mmap), LET(__NR_munmap),
        LET(__NR_mremap), LET(__NR_mprotect), LET(__NR_madvise), LET(__NR_futex), LET(__NR_exit), LET(__NR_exit_group),
        LET(__NR_rt_sigreturn),
        LET(__NR_rt_sigprocmask), LET(__NR_rt_sigaction), LET(__NR_getpid), LET(__NR_gettid), LET(__NR_tgkill), LET(__NR_clock_gettime),
        LET(__NR_getrandom), LET(__NR_sched_yield), LET(__NR_restart_syscall),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0 ? -errno : 0;
}
#else
static int filter(void)
{
    return 0;                                /* another machine: identity and limits stand alone */
}
#endif
#endif

int confine_reader(int in_fd, int out_fd, unsigned long memory_bytes)
{
    int r = descriptors(in_fd, out_fd);

    if (!r)
        r = identity();
    if (!r)
        r = limit(RLIMIT_CORE, 0);
    if (!r)
        r = limit(RLIMIT_FSIZE, 0);
    if (!r)
        r = limit(RLIMIT_NOFILE, 0);
    if (!r)
        r = limit(RLIMIT_NPROC, 0);
#ifndef SANITIZED
    if (!r)
        r = limit(RLIMIT_AS, memory_bytes);
    if (!r)
        r = filter();
#endif
    return r;
}
