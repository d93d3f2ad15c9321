#include "snapshotd/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

void privilege_limits(void)
{
    struct rlimit rl;

    if (!getrlimit(RLIMIT_NOFILE, &rl)) {
        /* root may go to what the kernel allows at most in one process */
        struct rlimit most = { 1048576, 1048576 };
        rl.rlim_cur = rl.rlim_max;
        if (rl.rlim_max >= most.rlim_max || setrlimit(RLIMIT_NOFILE, &most))
            setrlimit(RLIMIT_NOFILE, &rl);
    }
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = write(fd, "-500", 4);
        (void)n;              /* only root may, and it is a wish */
        close(fd);
    }
}

int privilege_shed(void)
{
    static const unsigned keep[] = { CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER };
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];
    uint64_t mask = 0;

    for (unsigned i = 0; i < sizeof(keep) / sizeof(keep[0]); i++)
        mask |= 1ull << keep[i];
    if (syscall(SYS_capget, &head, data))
        return -errno;
    if (!data[0].effective && !data[1].effective)
        return 0;
    for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if (!(mask >> cap & 1) && prctl(PR_CAPBSET_DROP, cap) && errno != EPERM)
            return -errno;
    for (int i = 0; i < 2; i++) {
        uint32_t m = (uint32_t)(mask >> (32 * i));
        data[i].effective &= m;
        data[i].permitted &= m;
        data[i].inheritable = 0;
    }
    return syscall(SYS_capset, &head, data) ? -errno : 0;
}
