/* The Landlock domain of a sandbox: agent and all commands. What it adds to the mounts (docs/profile.md 3):
 *  - a directory or file outside the sandbox's root cannot be opened, even through a descriptor that leaked or a mount that should not be there: rights are
 *    granted beneath "/" as the sandbox sees it, and what is outside has no such parent;
 *  - mounts cannot be changed, whatever namespaces and capabilities a process gets;
 *  - no device node is made anywhere, and device ioctls work only on what was opened beneath /dev;
 *  - signals and abstract sockets end at the domain.
 * TCP is not handled: servers inside are useful, and the network namespace has nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include "sandbox/confine/parts.h"

/* Of newer kernels than the headers at hand. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
enum { LL_VERSION = 1, LL_PATH_BENEATH = 1, LL_LOG_SAME_EXEC_OFF = 1, LL_LOG_SUBDOMAINS_OFF = 4 };
enum { LL_ABI_NEEDED = 6, LL_ABI_LOG = 7, LL_ABI_UNIX = 9 };
#define LL_MAKE_CHAR (1ULL << 6)
#define LL_MAKE_BLOCK (1ULL << 11)
#define LL_IOCTL_DEV (1ULL << 15)
#define LL_FS_ABI6 ((1ULL << 16) - 1)          /* execute ... ioctl_dev */
#define LL_FS_RESOLVE_UNIX (1ULL << 16)        /* ABI 9: connect to a socket in the file system that was made outside */
#define LL_SCOPES 3ULL                         /* abstract Unix sockets, signals */
struct ll_ruleset { uint64_t fs, net, scoped; };
struct ll_beneath { uint64_t allowed; int32_t parent_fd; } __attribute__((packed));

/* A socket made before the domain, in the abstract namespace: outside for every process of the domain, so reaching it must fail. Kept for the life of the agent: the proof
 * can be repeated at any time, by the attack program too. */
static struct sockaddr_un canary;
static socklen_t canary_len;

static int make_canary(void) {
    if (canary_len) return 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    socklen_t len = sizeof canary;
    if (bind(fd, (struct sockaddr *)&(struct sockaddr_un){ .sun_family = AF_UNIX }, sizeof(sa_family_t)) || getsockname(fd, (struct sockaddr *)&canary, &len)) {
        int e = errno;
        close(fd);
        return -e;
    }
    canary_len = len;
    return 0;
}

static int allow(int ruleset, const char *path, uint64_t rights) {
    struct ll_beneath rule = { .allowed = rights, .parent_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) };
    if (rule.parent_fd < 0) return -errno;
    int e = syscall(SYS_landlock_add_rule, ruleset, LL_PATH_BENEATH, &rule, 0) ? -errno : 0;
    close(rule.parent_fd);
    return e;
}

int confine_landlock(void) {
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LL_VERSION);
    if (abi < 0) return -errno;
    if (abi < LL_ABI_NEEDED) return -EOPNOTSUPP;
    int e = make_canary();
    if (e) return e;
    struct ll_ruleset attr = { .fs = LL_FS_ABI6 | (abi >= LL_ABI_UNIX ? LL_FS_RESOLVE_UNIX : 0), .scoped = LL_SCOPES };
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0) return -errno;
    e = allow(ruleset, "/", attr.fs & ~(LL_MAKE_CHAR | LL_MAKE_BLOCK | LL_IOCTL_DEV));
    if (!e) e = allow(ruleset, "/dev", LL_IOCTL_DEV);
    /* Refusals are not written to the host's audit log: a workload could flood it. */
    unsigned flags = abi >= LL_ABI_LOG ? LL_LOG_SAME_EXEC_OFF | LL_LOG_SUBDOMAINS_OFF : 0;
    if (!e && syscall(SYS_landlock_restrict_self, ruleset, flags)) e = -errno;
    close(ruleset);
    return e;
}

/* The canary cannot be reached. (EPERM is Landlock's; without it the connection is made, as the socket exists.) */
uint64_t confine_prove_landlock(void) {
    if (!canary_len) return 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return 0;
    int refused = connect(fd, (struct sockaddr *)&canary, canary_len) && errno == EPERM;
    close(fd);
    return refused ? LAYER_LANDLOCK : 0;
}
