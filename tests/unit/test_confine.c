/* Confinement: every layer is proved by the self-test when it is there and missed when it is not, and with any one layer gone the ways out are still closed by the others,
 * or the layer is known to be the only one (docs/profile.md 6 shows the same table). In mini boxes (tests/lib/mini_box.h). Needs root. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "sandbox/confine/parts.h"
#include "sandbox/frame.h"
#include "tests/lib/mini_box.h"
#include "tests/unit/confine_ways.h"

_Static_assert((int)CONFINE_AGENT_ID == (int)AGENT_UID, "one id of the agent");
enum { PROVABLE = LAYERS_NEEDED & ~LAYER_CGROUP };

/* What came back from the workload. */
static struct world { uint64_t proved, ns_per_test; struct outside_world out; } *w;

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

/* A kernel without this call. */
static int without_call(int nr, int (*step)(void)) {
    int p[2], e = 1;
    assert_int_equal(pipe(p), 0);
    pid_t pid = fork();
    if (!pid) {
        struct sock_filter f[] = { { BPF_LD | BPF_W | BPF_ABS, 0, 0, 0 }, { BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)nr }, { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | ENOSYS },
            { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW } };
        struct sock_fprog prog = { .len = 4, .filter = f };
        e = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) ? 1 : step();
        _exit(write(p[1], &e, sizeof e) != sizeof e);
    }
    close(p[1]);
    if (read(p[0], &e, sizeof e) != sizeof e) e = 1;
    close(p[0]);
    waitpid(pid, NULL, 0);
    return e;
}

/* P40: what the kernel lacks is an error of that step, never passed over. */
static void a_kernel_without_a_layer_is_refused(void **state) {
    assert_int_equal(without_call(444 /* landlock_create_ruleset */, confine_landlock), -ENOSYS);
    assert_int_equal(without_call(445 /* landlock_add_rule */, confine_landlock), -ENOSYS);
    assert_int_equal(without_call(446 /* landlock_restrict_self */, confine_landlock), -ENOSYS);
    assert_int_equal(without_call(SYS_seccomp, confine_seccomp), -ENOSYS);
    assert_int_equal(without_call(SYS_capset, confine_caps_drop), -ENOSYS);
    assert_int_equal(without_call(SYS_prctl, confine_no_new_privs), -ENOSYS);
    assert_int_equal(without_call(-2, confine_no_new_privs), 0);
}

/* Without the launcher's numbers nothing about namespaces is believed. */
static int prove_blind(void *arg) {
    confine_outside.known = false;
    return prove(arg);
}

static void without_the_launchers_numbers_no_namespace_is_proved(void **state) {
    const char *step = "";
    struct mini_box box = { .namespaces = MINI_ALL_NS, .workload = prove_blind };
    assert_int_equal(mini_box_run(&box, &step), 0);
    assert_int_equal(w->proved, LAYER_PROC | LAYER_CAPS | LAYER_NNP | LAYER_SECCOMP | LAYER_LANDLOCK);
    static const char *const bad[] = { "", "1,2,3", "1,2,3,4,5,6,7,8", "1,2,3,4,5,6,7,8,9,", "x,2,3,4,5,6,7,8,9", "1,2,3,4,5,6,7,8,fffffffffffffffff", "1;2;3;4;5;6;7;8;9" };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(confine_outside_parse(bad[i]), -EINVAL);
    char text[CONFINE_OUTSIDE_MAX];
    assert_int_equal(confine_outside_text(text, 8), -ENOSPC);
    assert_int_equal(confine_outside_text(text, sizeof text), 0);
    assert_int_equal(confine_outside_parse(text), 0);
}

static void ids_that_nobody_may_have_are_refused(void **state) {
    const char *step = NULL;
    assert_int_equal(confine_workload(CONFINE_AGENT_ID, 0, &step), -EINVAL);
    assert_int_equal(confine_workload(0, CONFINE_AGENT_ID, &step), -EINVAL);
    assert_int_equal(confine_workload(65535, 0, &step), -EINVAL);
    assert_int_equal(confine_workload(0, (gid_t)-1, &step), -EINVAL);
    assert_string_equal(step, "user");
}

static void every_layer_has_a_name(void **state) {
    for (unsigned i = 0; i < 16; i++) assert_non_null(confine_layer_name(1u << i));
    assert_null(confine_layer_name(0));
    assert_null(confine_layer_name(3));
    assert_null(confine_layer_name(1u << 16));
}

static int try_ways(void *arg) { return ways_try(&w->out); }
static int prepare(void *arg) { return ways_prepare(); }

/* The ways out that are open without these layers, as root and as another user. */
static unsigned ways_without(unsigned namespaces, unsigned skip) {
    unsigned ways = 0;
    for (uid_t uid = 0; uid <= 1000; uid += 1000) {
        const char *step = "";
        struct mini_box box = { .namespaces = namespaces, .skip = skip, .uid = uid, .before = prepare, .workload = try_ways };
        w->out.ways = 0;
        int r = mini_box_run(&box, &step);
        if (r) print_error("mini box: %s: %d\n", step, r);
        assert_int_equal(r, 0);
        ways |= w->out.ways;
    }
    return ways;
}

static void open_ways(const char *without, unsigned namespaces, unsigned skip, unsigned expected) {
    unsigned ways = ways_without(namespaces, skip);
    for (unsigned i = 0; i < WAYS; i++)
        if ((ways ^ expected) >> i & 1)
            print_error("without %s: %s is %s, which docs/profile.md 6 does not say\n", without, way_names[i], ways >> i & 1 ? "open" : "closed");
    assert_int_equal(ways, expected);
}

static int open_world(void **state) { return outside_open(&w->out); }
static int close_world(void **state) { return outside_close(&w->out), 0; }

/* What the next test finds closed is open where nothing is in the way: root of the host, all capabilities, no filter. */
static void without_all_layers_every_way_is_open(void **state) {
    open_ways("all of them", 0, MINI_CAPS | MINI_NNP | MINI_LANDLOCK | MINI_SECCOMP | MINI_NODEV | MINI_NOSUID | MINI_MASKS | MINI_SYS_WRITABLE | MINI_OLD_ROOT | MINI_AGENT_OPEN,
        (1u << WAYS) - 1);
}

/* The second lock behind each: with one layer gone, what is open is what the document calls single-layer, and nothing else. */
static void without_any_one_layer_the_other_layers_hold(void **state) {
    open_ways("nothing", MINI_ALL_NS, 0, 0);
    open_ways("the user namespace", MINI_ALL_NS & ~CLONE_NEWUSER, 0, 0);
    open_ways("the pid namespace", MINI_ALL_NS & ~(CLONE_NEWPID | CLONE_NEWUSER), 0, 0);
    open_ways("the network namespace", MINI_ALL_NS & ~CLONE_NEWNET, 0, WAY_TCP);
    open_ways("the ipc namespace", MINI_ALL_NS & ~CLONE_NEWIPC, 0, WAY_SHM);
    open_ways("the uts namespace", MINI_ALL_NS & ~CLONE_NEWUTS, 0, 0);
    open_ways("the cgroup namespace", MINI_ALL_NS & ~CLONE_NEWCGROUP, 0, 0);
    open_ways("a root of its own", MINI_ALL_NS, MINI_OLD_ROOT, WAY_OLD_ROOT);
    open_ways("nodev", MINI_ALL_NS, MINI_NODEV, 0);
    open_ways("nosuid", MINI_ALL_NS, MINI_NOSUID, 0);
    open_ways("masks of /proc", MINI_ALL_NS, MINI_MASKS, 0);
    open_ways("a read-only /proc/sys", MINI_ALL_NS, MINI_SYS_WRITABLE, 0);
    open_ways("capabilities dropped", MINI_ALL_NS, MINI_CAPS, 0);
    open_ways("no_new_privs", MINI_ALL_NS, MINI_NNP, 0);
    open_ways("seccomp", MINI_ALL_NS, MINI_SECCOMP, WAY_USERNS);
    open_ways("Landlock", MINI_ALL_NS, MINI_LANDLOCK, WAY_DESCRIPTOR);
    open_ways("a closed agent", MINI_ALL_NS, MINI_AGENT_OPEN, 0);
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
        cmocka_unit_test(a_kernel_without_a_layer_is_refused),
        cmocka_unit_test(without_the_launchers_numbers_no_namespace_is_proved),
        cmocka_unit_test(ids_that_nobody_may_have_are_refused),
        cmocka_unit_test(every_layer_has_a_name),
        cmocka_unit_test_setup_teardown(without_all_layers_every_way_is_open, open_world, close_world),
        cmocka_unit_test_setup_teardown(without_any_one_layer_the_other_layers_hold, open_world, close_world),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
