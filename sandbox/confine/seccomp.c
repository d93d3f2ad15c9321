/* Loading the generated filters, and the proof that they judge. */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "sandbox/confine/filter.h"
#include "sandbox/confine/parts.h"

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif

static int load(const struct sock_filter *filter, unsigned short count) {
    struct sock_fprog prog = { .len = count, .filter = (struct sock_filter *)(uintptr_t)filter };
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) ? -errno : 0;
}

int confine_seccomp(void) {
    int e = load(confine_filter_calls, confine_filter_calls_count);
    return e ? e : load(confine_filter_arguments, confine_filter_arguments_count);
}

static int answers(long result, int err) { return result == -1 && errno == err; }

/* Each of these has another answer without the filters, and no effect in either case. */
uint64_t confine_prove_seccomp(void) {
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER) return 0;
    if (!answers(syscall(SYS_clone3, NULL, 0), ENOSYS) || !answers(syscall(SYS_io_uring_setup, 0, NULL), ENOSYS)) return 0;
    if (!answers(syscall(SYS_bpf, 0, NULL, 0), ENOSYS) || !answers(syscall(SYS_keyctl, -1, 0, 0, 0, 0), ENOSYS)) return 0;
    if (!answers(syscall(SYS_mount, NULL, NULL, NULL, 0, NULL), ENOSYS) || !answers(syscall(SYS_setns, -1, 0), EPERM)) return 0;
    if (!answers(syscall(SYS_mknodat, -1, NULL, S_IFCHR, 0), EPERM) || !answers(syscall(SYS_ioctl, -1, 0x5412 /* TIOCSTI */, NULL), EPERM)) return 0;
    if (!answers(syscall(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), EPROTONOSUPPORT)) return 0;
    if (!answers(syscall(SYS_unshare, CLONE_NEWUSER), EPERM)) return 0;      /* last: without a filter it would have an effect */
    return LAYER_SECCOMP;
}
