/* Confinement: every layer is proved by the self-test when it is there and missed when it is not, and with any one layer gone the ways out are still closed by the others,
 * or the layer is known to be the only one (docs/profile.md 6 shows the same table). In mini boxes (tests/lib/mini_box.h). Needs root. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/sha.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "sandbox/confine/parts.h"
#include "sandbox/frame.h"
#include "tests/lib/mini_box.h"

_Static_assert((int)CONFINE_AGENT_ID == (int)AGENT_UID, "one id of the agent");
enum { PROVABLE = LAYERS_NEEDED & ~LAYER_CGROUP };

/* Ways out, each tried by the workload: the bit is set when it worked. */
enum way { WAY_FILE_BY_DESCRIPTOR = 1, WAY_FILE_BY_OLD_ROOT = 2, WAY_SIGNAL = 4, WAY_ABSTRACT = 8, WAY_NAMESPACE = 16, WAY_MOUNT = 32, WAY_CHROOT = 64, WAY_DEVICE = 128,
    WAY_SETUID = 256, WAY_TRACE_AGENT = 512, WAY_SYSCTL = 1024, WAY_TCP = 2048, WAY_SHM = 4096, WAY_HOST_NAME = 8192, WAY_HANDLE = 16384, WAY_PROC_ROOT = 32768, WAY_KERNEL_FILE = 65536 };
static const char *const way_names[] = { "file through a leaked descriptor", "file through the old root", "signal", "abstract socket", "user namespace", "mount", "chroot", "device node",
    "setuid program", "tracing the agent", "sysctl", "TCP to the host", "shared memory", "host name", "file handle", "/proc/PID/root", "kernel's files in /proc" };

/* What is outside, and what came back. */
static struct world {
    uint64_t proved, ns_per_test;
    unsigned ways;
    int leaked_fd;
    pid_t victim;
    uint16_t port;
    int shm_key;
    char abstract[32], dir[64];
} *w;

static int prove(void *arg) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    w->proved = confine_self_test();
    clock_gettime(CLOCK_MONOTONIC, &b);
    w->ns_per_test = (uint64_t)((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec);
    return 0;
}

static uint64_t proved_without(unsigned namespaces, unsigned skip) {
    const char *step = "";
    struct mini_box box = { .namespaces = namespaces, .skip = skip, .workload = prove };
    w->proved = 0;
    int r = mini_box_run(&box, &step);
    if (r) print_error("mini box: %s: %d\n", step, r);
    assert_int_equal(r, 0);
    return w->proved;
}

static void names(uint64_t layers, char *out, size_t size) {
    size_t n = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < 16 && n < size; i++)
        if (layers >> i & 1) n += (size_t)snprintf(out + n, size - n, "%s%s", n ? ", " : "", confine_layer_name(1u << i));
}

static void missing(unsigned namespaces, unsigned skip, uint64_t expected) {
    char a[256], b[256];
    uint64_t m = PROVABLE & ~proved_without(namespaces, skip);
    names(m, a, sizeof a);
    names(expected, b, sizeof b);
    if (m != expected) print_error("missing: '%s', expected: '%s'\n", a, b);
    assert_int_equal(m, expected);
}

static void all_layers_are_proved(void **state) {
    missing(MINI_ALL_NS, 0, 0);
    print_message("self-test: %llu us\n", (unsigned long long)w->ns_per_test / 1000);
}

static void a_missing_namespace_is_named(void **state) {
    missing(MINI_ALL_NS & ~CLONE_NEWUSER, 0, LAYER_USERNS);
    missing(MINI_ALL_NS & ~(CLONE_NEWNS | CLONE_NEWUSER), 0, LAYER_MOUNTNS | LAYER_USERNS);      /* who is not root over the mounts cannot make them */
    missing(MINI_ALL_NS & ~(CLONE_NEWPID | CLONE_NEWUSER), 0, LAYER_PIDNS | LAYER_USERNS);
    missing(MINI_ALL_NS & ~CLONE_NEWNET, 0, LAYER_NETNS);
    missing(MINI_ALL_NS & ~CLONE_NEWIPC, 0, LAYER_IPCNS);
    missing(MINI_ALL_NS & ~CLONE_NEWUTS, 0, LAYER_UTSNS);
    missing(MINI_ALL_NS & ~CLONE_NEWCGROUP, 0, LAYER_CGROUPNS);
}

static void a_missing_property_of_the_mounts_is_named(void **state) {
    missing(MINI_ALL_NS, MINI_NODEV, LAYER_NODEV);
    missing(MINI_ALL_NS, MINI_NOSUID, LAYER_NOSUID);
    missing(MINI_ALL_NS, MINI_OLD_ROOT, LAYER_ROOT);
    missing(MINI_ALL_NS, MINI_SHARED, LAYER_MOUNTNS);
    missing(MINI_ALL_NS, MINI_MASKS, LAYER_PROC);
    missing(MINI_ALL_NS, MINI_SYS_WRITABLE, LAYER_PROC);
}

static void a_missing_right_cut_is_named(void **state) {
    missing(MINI_ALL_NS, MINI_CAPS, LAYER_CAPS);
    missing(MINI_ALL_NS, MINI_NNP, LAYER_NNP);
    missing(MINI_ALL_NS, MINI_SECCOMP, LAYER_SECCOMP);
    missing(MINI_ALL_NS, MINI_LANDLOCK, LAYER_LANDLOCK);
}

static int set_up(void **state) {
    w = mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return w == MAP_FAILED;
}

int main(void) {
    if (geteuid()) {
        puts("needs root: skipped");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_layers_are_proved),
        cmocka_unit_test(a_missing_namespace_is_named),
        cmocka_unit_test(a_missing_property_of_the_mounts_is_named),
        cmocka_unit_test(a_missing_right_cut_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
