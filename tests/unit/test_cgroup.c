/* Control groups: version 2 against a made-up tree (its files are filled by a seam, as the kernel would), version 1 and the finding of hierarchies too,
 * and version 1 or 2 for real if we are root on a host that has the controllers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/launcher/cgroup.h"
#include "tests/lib/tmp.h"

static char root[256];

static void put(const char *path, const char *text)
{
    char full[700];

    snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(full, 0755);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static const char *get(const char *path)
{
    static char text[4096];
    char full[700];

    snprintf(full, sizeof(full), "%s%s", root, path);
    FILE *f = fopen(full, "r");
    if (!f)
        return NULL;
    text[fread(text, 1, sizeof(text) - 1, f)] = 0;
    fclose(f);
    return text;
}

static void fill(int dir, const char *const *names)
{
    for (; *names; names++) {
        int fd = openat(dir, *names, O_CREAT | O_WRONLY, 0644);
        assert_true(fd >= 0);
        close(fd);
    }
}

static void fill_v2(int dir)
{
    static const char *const names[] = { "cgroup.procs", "cgroup.freeze", "cgroup.kill", "cgroup.events", "memory.max", "memory.swap.max", "pids.max", "cpu.max",
                                         "cpu.weight", "cpu.stat", "memory.current", "memory.peak", "memory.events", "pids.current", "cgroup.subtree_control", NULL };

    fill(dir, names);
    int fd = openat(dir, "cgroup.controllers", O_CREAT | O_WRONLY, 0644);
    assert_int_equal(write(fd, "cpuset cpu io memory pids\n", 26), 26);
    close(fd);
}

static void fill_v1(int dir)
{
    static const char *const names[] = { "cgroup.procs", "freezer.state", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "pids.max", "cpu.cfs_period_us",
                                         "cpu.cfs_quota_us", "cpu.shares", "cpuacct.usage", "memory.oom_control", NULL };

    fill(dir, names);
}

static int fresh(void **state)
{
    (void)state;
    return tmp_make("cgroup", root, sizeof(root));
}

static int remove_root(void **state)
{
    (void)state;
    tmp_remove(root);
    return 0;
}

static struct cgroup_place place(void (*made)(int))
{
    return (struct cgroup_place){ .root = root, .name = "test", .made = made };
}

static const struct launch_limits limits = { .memory_bytes = 64 << 20, .pids = 100, .cpu_milli = 1500, .cpu_weight = 200 };

static void put_v2(const char *own, const char *controllers, const char *on)
{
    char text[300];

    snprintf(text, sizeof(text), "0::%s\n", own);
    put("/proc/self/cgroup", text);
    put("/proc/self/mountinfo", "27 1 254:0 / / rw - ext4 /dev/vda rw\n30 27 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
    snprintf(text, sizeof(text), "/sys/fs/cgroup%s/cgroup.controllers", strcmp(own, "/") ? own : "");
    put(text, controllers);
    snprintf(text, sizeof(text), "/sys/fs/cgroup%s/cgroup.subtree_control", strcmp(own, "/") ? own : "");
    put(text, on);
}

static void version_2_sets_limits_and_reads_usage(void **state)
{
    (void)state;
    struct cgroup_place at = place(fill_v2);
    struct cgroups cs;
    uint64_t v[LAUNCH_VALUES];
    const char *step;
#define G "/sys/fs/cgroup/system.slice/c.service/coppice-test"

    put_v2("/system.slice/c.service", "cpuset cpu io memory pids\n", "\n");
    assert_int_equal(cgroups_open(&cs, &at), 0);
    assert_int_equal(cs.version, 2);
    assert_string_equal(cs.missing, "");
    assert_string_equal(get("/sys/fs/cgroup/system.slice/c.service/cgroup.subtree_control"), "+memory +pids +cpu");
    assert_string_equal(get(G "/cgroup.subtree_control"), "+memory +pids +cpu");
    assert_int_equal(cgroup_make(&cs, 5), 0);
    assert_int_equal(cgroup_make(&cs, 5), -EEXIST);
    assert_int_equal(cgroup_enter(&cs, 5), 0);
    assert_string_equal(get(G "/slot-5/cgroup.procs"), "0");
    assert_int_equal(cgroup_limit(&cs, 5, &limits, &step), 0);
    assert_string_equal(get(G "/slot-5/memory.max"), "67108864");
    assert_string_equal(get(G "/slot-5/memory.swap.max"), "0");
    assert_string_equal(get(G "/slot-5/pids.max"), "100");
    assert_string_equal(get(G "/slot-5/cpu.max"), "150000 100000");
    assert_string_equal(get(G "/slot-5/cpu.weight"), "200");
    put(G "/slot-5/cpu.stat", "usage_usec 900\nuser_usec 600\nsystem_usec 300\nnr_throttled 2\nthrottled_usec 77\n");
    put(G "/slot-5/memory.current", "4096\n");
    put(G "/slot-5/memory.peak", "8192\n");
    put(G "/slot-5/memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n");
    put(G "/slot-5/pids.current", "3\n");
    assert_int_equal(cgroup_usage(&cs, 5, v), 0);
    assert_int_equal(v[USAGE_CPU_US], 900);
    assert_int_equal(v[USAGE_USER_US], 600);
    assert_int_equal(v[USAGE_SYSTEM_US], 300);
    assert_int_equal(v[USAGE_THROTTLED_US], 77);
    assert_int_equal(v[USAGE_MEMORY], 4096);
    assert_int_equal(v[USAGE_MEMORY_PEAK], 8192);
    assert_int_equal(v[USAGE_OOM_KILLS], 1);
    assert_int_equal(v[USAGE_PIDS], 3);
    cgroups_close(&cs);
}

static void version_2_freezes_and_kills_by_the_group(void **state)
{
    (void)state;
    struct cgroup_place at = place(fill_v2);
    struct cgroups cs;

    put_v2("/", "cpu memory pids\n", "memory pids cpu\n");
    assert_int_equal(cgroups_open(&cs, &at), 0);
    assert_string_equal(get("/sys/fs/cgroup/cgroup.subtree_control"), "memory pids cpu\n");      /* was on already: not written */
    assert_int_equal(cgroup_make(&cs, 0), 0);
    put("/sys/fs/cgroup/coppice-test/slot-0/cgroup.events", "populated 1\nfrozen 0\n");
    assert_int_equal(cgroup_freeze(&cs, 0, true), 0);
    assert_string_equal(get("/sys/fs/cgroup/coppice-test/slot-0/cgroup.freeze"), "1");
    assert_int_equal(cgroup_frozen(&cs, 0), 0);
    put("/sys/fs/cgroup/coppice-test/slot-0/cgroup.events", "populated 1\nfrozen 1\n");
    assert_int_equal(cgroup_frozen(&cs, 0), 1);
    assert_int_equal(cgroup_kill(&cs, 0), 0);
    assert_string_equal(get("/sys/fs/cgroup/coppice-test/slot-0/cgroup.kill"), "1");
    put("/sys/fs/cgroup/coppice-test/slot-0/cgroup.procs", "12\n13\n14\n");
    assert_int_equal(cgroup_count(&cs, 0), 3);
    cgroups_close(&cs);
}

static void a_missing_controller_is_named_and_no_limit_is_pretended(void **state)
{
    (void)state;
    struct cgroup_place at = place(fill_v2);
    struct cgroups cs;
    const char *step;

    put_v2("/a", "cpu io\n", "\n");
    assert_int_equal(cgroups_open(&cs, &at), 0);
    assert_non_null(strstr(cs.missing, "memory"));
    assert_int_equal(cgroup_limit(&cs, 0, &limits, &step), -ENODEV);
    cgroups_close(&cs);
}

static void version_1_finds_each_hierarchy_and_those_that_share_one(void **state)
{
    (void)state;
    struct cgroup_place at = place(fill_v1);
    struct cgroups cs;
    const char *step;
    char list[2000];

    put("/proc/self/cgroup", "9:name=systemd:/\n5:freezer:/\n4:memory:/outer/id\n3:pids:/x\n2:cpu,cpuacct:/\n0::/\n");
    put("/proc/self/mountinfo", "31 27 0:28 / /cg rw - tmpfs tmpfs rw\n32 31 0:29 / /cg/cpu\\040acct rw - cgroup cgroup rw,cpu,cpuacct\n33 31 0:30 /outer /cg/memory rw - cgroup cgroup rw,memory\n"
                                "34 31 0:31 / /cg/pids rw - cgroup cgroup rw,pids\n35 31 0:32 / /cg/freezer rw - cgroup cgroup rw,freezer\n41 31 0:38 / /cg/unified rw - cgroup2 cgroup2 rw\n");
    put("/cg/unified/cgroup.controllers", "\n");
    put("/cg/cpu acct/x", "");
    put("/cg/memory/id/x", "");
    put("/cg/pids/x/x", "");
    put("/cg/freezer/x", "");
    assert_int_equal(cgroups_open(&cs, &at), 0);
    assert_int_equal(cs.version, 1);
    assert_string_equal(cs.missing, "");
    assert_int_equal(cs.dir[CG_CPU], cs.dir[CG_CPUACCT]);
    assert_string_equal(cs.path[CG_MEMORY], "/cg/memory/id/coppice-test");       /* the mount shows /outer */
    assert_string_equal(cs.path[CG_CPU], "/cg/cpu acct/coppice-test");
    cgroups_list(&cs, list, sizeof(list));
    assert_string_equal(list, "/cg/memory/id/coppice-test\n/cg/pids/x/coppice-test\n/cg/cpu acct/coppice-test\n/cg/freezer/coppice-test\n");
    assert_int_equal(cgroup_make(&cs, 1), 0);
    assert_int_equal(cgroup_limit(&cs, 1, &limits, &step), 0);
    assert_string_equal(get("/cg/memory/id/coppice-test/slot-1/memory.limit_in_bytes"), "67108864");
    assert_string_equal(get("/cg/memory/id/coppice-test/slot-1/memory.memsw.limit_in_bytes"), "67108864");
    assert_string_equal(get("/cg/cpu acct/coppice-test/slot-1/cpu.cfs_quota_us"), "150000");
    assert_string_equal(get("/cg/cpu acct/coppice-test/slot-1/cpu.shares"), "2048");
    assert_int_equal(cgroup_freeze(&cs, 1, true), 0);
    assert_string_equal(get("/cg/freezer/coppice-test/slot-1/freezer.state"), "FROZEN");
    assert_int_equal(cgroup_frozen(&cs, 1), 1);
    put("/cg/freezer/coppice-test/slot-1/freezer.state", "FREEZING\n");
    assert_int_equal(cgroup_frozen(&cs, 1), 0);
    assert_int_equal(cgroup_kill(&cs, 1), -EOPNOTSUPP);       /* but thawed, so that they can die */
    assert_string_equal(get("/cg/freezer/coppice-test/slot-1/freezer.state"), "THAWEDNG\n");      /* an ordinary file keeps its tail */
    cgroups_close(&cs);
}

static void version_1_without_one_controller_says_which(void **state)
{
    (void)state;
    struct cgroup_place at = place(fill_v1);
    struct cgroups cs;

    put("/proc/self/cgroup", "5:freezer:/\n2:cpu,cpuacct:/\n");
    put("/proc/self/mountinfo", "32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n35 31 0:32 / /cg/freezer rw - cgroup cgroup rw,freezer\n");
    put("/cg/cpu/x", "");
    put("/cg/freezer/x", "");
    assert_int_equal(cgroups_open(&cs, &at), 0);
    assert_string_equal(cs.missing, "memory, pids");
    cgroups_close(&cs);
}

static void no_cgroups_at_all_is_an_answer_too(void **state)
{
    (void)state;
    struct cgroup_place at = place(NULL);
    struct cgroups cs;
    uint64_t v[LAUNCH_VALUES];

    put("/proc/self/cgroup", "");
    put("/proc/self/mountinfo", "27 1 254:0 / / rw - ext4 /dev/vda rw\n");
    assert_int_equal(cgroups_open(&cs, &at), 0);
    assert_int_equal(cs.version, 0);
    assert_non_null(strstr(cs.missing, "no cgroup file system"));
    assert_int_equal(cgroup_freeze(&cs, 0, true), -ENODEV);
    assert_int_equal(cgroup_usage(&cs, 0, v), -ENODEV);
    cgroups_close(&cs);
}

static void torn_files_of_proc_do_not_confuse(void **state)
{
    (void)state;
    static const char *const bad[] = { "\n\n", "4", "4:", "4:memory", "::::\n", "4:memory:/a\n", "memory\n4:memory:\n", "0::" };
    struct cgroup_place at = place(NULL);
    struct cgroups cs;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put("/proc/self/cgroup", bad[i]);
        put("/proc/self/mountinfo", "32 31 0:29\n- - -\n33 31 0:30 / /cg\\0 rw - cgroup\n34 31 0:31 / / rw - cgroup cgroup\n35 1 2 / /nowhere rw - cgroup2 x rw\n");
        assert_int_equal(cgroups_open(&cs, &at), 0);
        assert_true(cs.missing[0]);
        cgroups_close(&cs);
    }
}

static void real_groups_hold_freeze_and_go(void **state)
{
    (void)state;
    struct cgroup_place at = { .root = "", .name = "unittest" };
    struct cgroups cs;
    char name[40], list[3000];
    const char *step;
    uint64_t v[LAUNCH_VALUES];
    int st, go[2];

    if (geteuid()) {
        print_message("SKIP: needs root\n");
        skip();
    }
    snprintf(name, sizeof(name), "unittest%d", getpid());
    at.name = name;
    assert_int_equal(cgroups_open(&cs, &at), 0);
    if (cs.missing[0]) {
        print_message("SKIP: no controllers here: %s\n", cs.missing);
        cgroups_close(&cs);
        skip();
    }
    assert_int_equal(cgroup_make(&cs, 0), 0);
    assert_int_equal(cgroup_limit(&cs, 0, &limits, &step), 0);
    assert_int_equal(pipe(go), 0);
    pid_t pid = fork();
    if (!pid) {
        char c = cgroup_enter(&cs, 0) ? '-' : '+';
        _exit(write(go[1], &c, 1) == 1 ? pause() : 1);
    }
    char c = 0;
    assert_int_equal(read(go[0], &c, 1), 1);
    assert_int_equal(c, '+');
    assert_int_equal(cgroup_count(&cs, 0), 1);
    assert_int_equal(cgroup_usage(&cs, 0, v), 0);
    assert_int_equal(v[USAGE_PIDS], 1);
    assert_int_equal(cgroup_freeze(&cs, 0, true), 0);
    while (cgroup_frozen(&cs, 0) == 0)
        ;
    assert_int_equal(cgroup_frozen(&cs, 0), 1);
    assert_int_equal(cgroup_remove(&cs, 0), -EBUSY);
    /* the next life finds it frozen and ends it */
    cgroups_list(&cs, list, sizeof(list));
    cgroups_clean(list, "othername");
    assert_int_equal(waitpid(pid, &st, WNOHANG), 0);
    cgroups_clean(list, name);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
    assert_int_equal(access(cs.path[CG_MEMORY], F_OK), -1);
    cgroups_close(&cs);
    close(go[0]);
    close(go[1]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fresh, remove_root)
    const struct CMUnitTest tests[] = {
        T(version_2_sets_limits_and_reads_usage), T(version_2_freezes_and_kills_by_the_group), T(a_missing_controller_is_named_and_no_limit_is_pretended),
        T(version_1_finds_each_hierarchy_and_those_that_share_one), T(version_1_without_one_controller_says_which), T(no_cgroups_at_all_is_an_answer_too),
        T(torn_files_of_proc_do_not_confuse), T(real_groups_hold_freeze_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
