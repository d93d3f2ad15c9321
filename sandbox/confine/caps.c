/* Capabilities: the agent's three, a command's none, and no way to get one back. */
#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "sandbox/confine/parts.h"

_Static_assert(CONFINE_SECUREBITS == (SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
    SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED), "locked");
enum { CAPS_END = 64 };       /* of the sets' 64 bits; the kernel says where its own end */

static int set_caps(uint32_t mask) {
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { { .effective = mask, .permitted = mask } };
    return syscall(SYS_capset, &head, data) ? -errno : 0;
}

int confine_caps_drop(void) { return set_caps(0); }

int confine_caps_cut(void) {
    for (unsigned long cap = 0; cap < CAPS_END; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)) {
            if (errno == EINVAL) break;      /* past the last that this kernel knows */
            return -errno;
        }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) || prctl(PR_SET_SECUREBITS, CONFINE_SECUREBITS, 0, 0, 0)) return -errno;
    return set_caps(1u << CAP_KILL | 1u << CAP_SETUID | 1u << CAP_SETGID);
}

/* All sets empty and locked; and what they would allow is refused. */
uint64_t confine_prove_caps(void) {
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2], none[2];
    memset(none, 0, sizeof none);
    if (syscall(SYS_capget, &head, data) || memcmp(data, none, sizeof data)) return 0;
    for (unsigned long cap = 0; cap < CAPS_END; cap++) {
        int bound = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
        if (bound < 0) break;
        if (bound || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) != 0) return 0;
    }
    if (prctl(PR_GET_SECUREBITS, 0, 0, 0, 0) != CONFINE_SECUREBITS) return 0;
    if (syscall(SYS_getgroups, 0, NULL) != 0) return 0;
    if (syscall(SYS_setgroups, 0, NULL) != -1 || errno != EPERM) return 0;
    if (syscall(SYS_setresuid, -1, CONFINE_AGENT_ID, -1) != -1 || errno != EPERM) return 0;
    return LAYER_CAPS;
}
