/* The launcher, driven through the real control pair with real namespaces, mounts and control groups (launch_driver.h). Needs root and /dev/fuse. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "sandbox/confine/confine.h"
#include "sandbox/launcher/check.h"
#include "sandbox/launcher/ids.h"
#include "sandbox/launcher/sha256.h"
#include "tests/unit/launch_driver.h"

static struct driver D;

/* --- without a launcher --- */

static struct launch_packet start_packet(void)
{
    struct launch_packet p = { .op = LAUNCH_START, .tag = 7, .slot = 3, .box = "ws-abc", .host_name = "h", .limits = driver_limits() };

    p.mount_count = 1;
    snprintf(p.mounts[0].path, LAUNCH_PATH, "/workspace");
    return p;
}

static void packets_that_sandboxd_may_not_send_are_refused(void **state)
{
    (void)state;
    const char *why;
    struct launch_packet good = start_packet(), p;

    assert_int_equal(check_packet(&good, sizeof(good), 2, &why), 0);
    assert_int_equal(check_packet(&good, sizeof(good) - 1, 2, &why), -EINVAL);
    assert_int_equal(check_packet(&good, sizeof(good), 1, &why), -EINVAL);
    assert_int_equal(check_packet(&good, sizeof(good), 3, &why), -EINVAL);
#define BAD(change) do { p = good; change; assert_int_equal(check_packet(&p, sizeof(p), 2, &why), -EINVAL); } while (0)
    BAD(p.op = 0);
    BAD(p.op = LAUNCH_OK);
    BAD(p.op = LAUNCH_KILL);
    BAD(p.tag = 0);
    BAD(p.slot = LAUNCH_BOXES_MAX);
    BAD(p.mount_count = LAUNCH_MOUNTS_MAX + 1);
    BAD(p.flags = 2);
    BAD(memset(p.box, 'a', LAUNCH_NAME));
    BAD(memset(p.host_name, 'a', LAUNCH_NAME));
    BAD(memset(p.mounts[0].path, 'a', LAUNCH_PATH));
    BAD(p.limits.memory_bytes = 0);
    BAD(p.limits.memory_bytes = UINT64_MAX);
    BAD(p.limits.tmp_bytes = p.limits.memory_bytes + 1);
    BAD(p.limits.pids = 1);
    BAD(p.limits.cpu_weight = 0);
    BAD(p.limits.cpu_milli = 1);
    BAD(p.mounts[0].read_only = 2);
#undef BAD
}

static void names_and_paths_are_checked(void **state)
{
    (void)state;
    static const char *const bad_names[] = { "", "-a", "A", "a/b", "a..b", ".a", "a b", "a\n" };
    static const char *const bad_paths[] = { "", "/", "a", "a/b", "//a", "/a/", "/a//b", "/./a", "/a/.", "/a/..", "/..", "/proc", "/proc/x", "/dev", "/dev/shm", "/sys", "/sys/x" };
    static const char *const good_paths[] = { "/a", "/a/b", "/...", "/procs", "/a/proc", "/devel/x", "/home/user/.x", "/workspace" };
    char name[LAUNCH_NAME] = "ws-1.a_b", path[LAUNCH_PATH];

    assert_int_equal(check_box_name(name), 0);
    for (unsigned i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++) {
        snprintf(name, sizeof(name), "%s", bad_names[i]);
        assert_int_equal(check_box_name(name), -EINVAL);
    }
    for (unsigned i = 0; i < sizeof(bad_paths) / sizeof(bad_paths[0]); i++) {
        snprintf(path, sizeof(path), "%s", bad_paths[i]);
        assert_int_equal(check_mount_path(path), -EINVAL);
    }
    for (unsigned i = 0; i < sizeof(good_paths) / sizeof(good_paths[0]); i++) {
        snprintf(path, sizeof(path), "%s", good_paths[i]);
        assert_int_equal(check_mount_path(path), 0);
    }
}

static void ids_of_two_launchers_never_meet(void **state)
{
    (void)state;
    static struct ids a, b;
    char dir[] = "/tmp/coppice-ids-XXXXXX", file[64];
    uint32_t first, x, y;

    assert_non_null(mkdtemp(dir));
    assert_int_equal(ids_init(&a, dir), 0);
    assert_int_equal(ids_init(&b, dir), 0);
    assert_int_equal(ids_lease(&a, &first), 0);
    b.next = a.next = first;
    assert_int_equal(ids_lease(&b, &x), 0);
    assert_int_equal(ids_lease(&a, &y), 0);
    assert_int_equal(x, (first + 1) % IDS_BLOCKS);
    assert_int_equal(y, (first + 2) % IDS_BLOCKS);
    ids_release(&a, first);
    b.next = first;
    assert_int_equal(ids_lease(&b, &x), 0);
    assert_int_equal(x, first);               /* given back, it may be another's */
    for (unsigned i = 0; i < IDS_BLOCKS - 3; i++)
        assert_int_equal(ids_lease(&a, &x), 0);
    assert_int_equal(ids_lease(&a, &x), -EDQUOT);
    ids_fini(&a);
    assert_int_equal(ids_lease(&b, &x), 0);   /* a dead launcher holds nothing */
    assert_true(ids_base(IDS_BLOCKS - 1) + LAUNCH_ID_BLOCK - 1 == 0x7fffffffu);
    ids_fini(&b);
    snprintf(file, sizeof(file), "%s/ids", dir);
    unlink(file);
    rmdir(dir);
}

static void sha256_gives_the_published_values(void **state)
{
    (void)state;
    char out[65], a[200];

    sha256_hex("", 0, out);
    assert_string_equal(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_hex("abc", 3, out);
    assert_string_equal(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, out);
    assert_string_equal(out, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(a, 'a', sizeof(a));
    sha256_hex(a, 64, out);
    assert_string_equal(out, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}

/* --- with one --- */

static void hello_tells_what_the_host_has(void **state)
{
    (void)state;
    struct launch_packet p = { .op = LAUNCH_HELLO }, a;

    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
    assert_int_equal(a.value[0], LAUNCH_VERSION);
    assert_int_equal(a.value[1], LAYERS_NEEDED);
    assert_true(a.value[2] == 1 || a.value[2] == 2);
    assert_string_equal(a.text, "");
    assert_int_equal(a.value[3], 0);
}

static void sandboxd_is_caged(void **state)
{
    (void)state;
    char text[9000] = "";

    assert_int_equal(write(D.door, "r", 1), 1);
    ssize_t n = read(D.door, text, sizeof(text) - 1);
    assert_true(n > 0);
    assert_non_null(strstr(text, "Uid:\t1073676288\t1073676288\t1073676288\t1073676288"));
    assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
    assert_non_null(strstr(text, "CapPrm:\t0000000000000000"));
    assert_non_null(strstr(text, "CapBnd:\t0000000000000000"));
    assert_non_null(strstr(text, "NoNewPrivs:\t1"));
    assert_non_null(strstr(text, "Seccomp:\t2"));
    assert_non_null(strstr(text, "Pid:\t1\n"));
    assert_non_null(strstr(text, "root:-1 home:-1 run:-1 usr_ro:-1 unshare:-1 state:1 socket:-1"));
}

static void the_store_link_leads_to_snapshotd(void **state)
{
    (void)state;
    struct launch_packet p = { .op = LAUNCH_STORE }, a;
    int fds[2];
    char text[256] = "";

    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, fds), 0);
    assert_true(fds[0] >= 0);
    static const char ping[] = "\x0f\0\0\0{\"verb\":\"ping\"}";
    assert_int_equal(send(fds[0], ping, sizeof(ping) - 1, MSG_NOSIGNAL), sizeof(ping) - 1);
    assert_true(recv(fds[0], text, sizeof(text) - 1, 0) > 4);
    assert_non_null(strstr(text + 4, "\"ok\""));
    close(fds[0]);
}

static void a_box_sees_its_workspace_and_nothing_else(void **state)
{
    (void)state;
    struct started s;
    char want[64];
    const char *t;

    assert_true(driver_create(&D, "look", "bare"));
    assert_true(driver_box(&D, "look", LAUNCH_HOST_USR, &s));
    assert_string_equal(standin(s.sock, "id"), "1 0 0 0");
    snprintf(want, sizeof(want), "         0 %10u      65536\n", s.uid_base);
    assert_string_equal(standin(s.sock, "cat /proc/self/uid_map"), want);
    assert_string_equal(standin(s.sock, "cat /proc/self/gid_map"), want);
    assert_string_equal(standin(s.sock, "cat /proc/sys/kernel/hostname"), "host-look\n");
    assert_string_equal(standin(s.sock, "list /"), "dev proc usr ");
    assert_string_equal(standin(s.sock, "list /proc/self/fd"), "0 1 2 3 4 ");      /* 4: the listing itself */
    assert_string_equal(standin(s.sock, "list /sys"), "!ENOENT");
    assert_non_null(strstr(standin(s.sock, "list /usr"), "bin "));
    assert_string_equal(standin(s.sock, "write /usr/x y"), "!EROFS");
    assert_string_equal(standin(s.sock, "write /file text"), "ok");
    assert_string_equal(standin(s.sock, "cat /file"), "text");
    assert_string_equal(standin(s.sock, "write /dev/null x"), "ok");
    assert_string_equal(standin(s.sock, "write /dev/x x"), "!EROFS");
    assert_string_equal(standin(s.sock, "write /dev/shm/x x"), "ok");
    assert_string_equal(standin(s.sock, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0\n");
    assert_string_equal(standin(s.sock, "write /proc/sys/net/ipv4/ip_unprivileged_port_start 1"), "!EROFS");
    t = standin(s.sock, "cat /proc/self/cgroup");
    for (const char *p = t; *p; p = strchr(p, '\n') + 1)
        assert_int_equal(strncmp(strchr(strchr(p, ':') + 1, ':'), ":/\n", 3), 0);      /* "7:pids:/": its own group is the root */
    static const char *const masked[] = { "cat kcore", "cat kallsyms", "cat timer_list", "cat interrupts", "cat keys", "cat modules", "cat slabinfo", "cat partitions",
                                          "list irq", "list fs", "list bus", "list driver", "list pressure", "cat sysrq-trigger" };
    for (unsigned i = 0; i < sizeof(masked) / sizeof(masked[0]); i++) {
        char host[64];
        const char *name = strchr(masked[i], ' ') + 1;
        snprintf(host, sizeof(host), "/proc/%s", name);
        assert_string_equal(standin(s.sock, "%.*s/proc/%s", (int)(name - masked[i]), masked[i], name), access(host, F_OK) ? "!ENOENT" : "");
    }
    if (!access("/proc/sysrq-trigger", F_OK))
        assert_string_equal(standin(s.sock, "write /proc/sysrq-trigger b"), "!EROFS");
    t = standin(s.sock, "cat /proc/net/dev");
    assert_non_null(strstr(t, "lo:"));
    assert_null(strstr(t, "eth"));
    t = standin(s.sock, "list /dev");
    for (unsigned i = 0; i < 6; i++)
        assert_non_null(strstr(t, ((const char *[]){ "null ", "zero ", "full ", "random ", "urandom ", "tty " })[i]));
    assert_int_not_equal(standin(s.sock, "env CONFINE_OUTSIDE")[0], '!');
    assert_true(driver_kill(&D, "look", &s));
}

/* Each line of mountinfo: flags, no propagation, no path or name of the host. */
static void every_mount_is_private_and_closed(void **state)
{
    (void)state;
    struct started s;
    char *copy, *save = NULL;
    unsigned n = 0;

    assert_true(driver_create(&D, "mounts", "bare"));
    assert_true(driver_box(&D, "mounts", LAUNCH_HOST_USR, &s));
    const char *t = standin(s.sock, "cat /proc/self/mountinfo");
    assert_non_null(t);
    assert_null(strstr(t, "shared:"));
    assert_null(strstr(t, "master:"));
    assert_null(strstr(t, D.dir));
    copy = strdup(t);
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save), n++) {
        char at[512], flags[256];
        assert_int_equal(sscanf(line, "%*d %*d %*s %*s %511s %255s", at, flags), 2);
        assert_non_null(strstr(flags, "nosuid"));
        bool device = !strncmp(at, "/dev/", 5) && strcmp(at, "/dev/shm");
        if (!device)
            assert_non_null(strstr(flags, "nodev"));
        if (!strcmp(at, "/"))
            assert_non_null(strstr(line, " fuse.coppice "));
        else
            assert_true(!strncmp(at, "/proc", 5) || !strncmp(at, "/dev", 4) || !strncmp(at, "/usr", 4));
    }
    assert_true(n > 20 && n < 80);
    free(copy);
    /* even the root of the namespace with all capabilities, who can make /usr writable in his view, is nobody for the host's files */
    assert_string_equal(standin(s.sock, "remount /usr"), "ok");
    assert_string_equal(standin(s.sock, "write /usr/coppice-test x"), "!EACCES");
    assert_true(driver_kill(&D, "mounts", &s));
}

static void a_root_that_is_not_what_it_should_be_is_refused(void **state)
{
    (void)state;
    static const struct { const char *name, *path, *target; } hostile[] = {
        { "h1", "proc", "/proc" }, { "h2", "proc", "." }, { "h3", "dev", "/dev" }, { "h4", "dev", "/proc/self/root/dev" }, { "h5", "usr", "/etc" },
        { "h6", "dev", NULL }, { "h7", "proc", NULL },
    };
    struct started s;
    char at[400], path[500];
    struct snap_error e;

    for (unsigned i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        json_int_t mount;
        assert_true(driver_create(&D, hostile[i].name, "bare"));
        int fd = driver_mount(&D, hostile[i].name, 0, false, &mount);
        assert_true(fd >= 0);
        snprintf(at, sizeof(at), "%s/mnt", D.dir);
        mkdir(at, 0700);
        assert_int_equal(move_mount(fd, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH), 0);
        snprintf(path, sizeof(path), "%s/%s", at, hostile[i].path);
        if (hostile[i].target) {
            assert_int_equal(symlink(hostile[i].target, path), 0);
        } else {
            int f = open(path, O_CREAT | O_WRONLY, 0600);
            assert_true(f >= 0);
            close(f);
        }
        assert_int_equal(umount2(at, MNT_DETACH), 0);
        close(fd);
        assert_int_equal(snap_call(D.stock, json_pack("{s:s,s:I}", "verb", "wait_gone", "mount", mount), NULL, 0, NULL, NULL, NULL, &e), 0);

        assert_false(driver_box(&D, hostile[i].name, LAUNCH_HOST_USR, &s));
        assert_int_equal(s.answer.op, LAUNCH_FAILED);
        snprintf(path, sizeof(path), "/%s", hostile[i].path);
        assert_non_null(strstr(s.answer.text, path));
        assert_non_null(strstr(s.answer.text, "not a real directory"));
        assert_true(driver_kill(&D, NULL, &s));       /* nothing of it is left: the mount ends at once */
    }
}

static void what_is_not_a_mount_of_this_box_is_refused(void **state)
{
    (void)state;
    struct launch_packet p = { .op = LAUNCH_PREPARE }, a;
    struct launch_packet start = { .op = LAUNCH_START, .box = "nomount", .limits = driver_limits() };
    struct snap_error e;
    json_int_t mount;

    assert_true(driver_create(&D, "nomount", "bare"));
    int dirs[] = { open("/", O_RDONLY | O_DIRECTORY), open("/usr", O_PATH), open("/etc/passwd", O_RDONLY), memfd_create("x", 0) };
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
        start.slot = a.slot;
        assert_true(driver_ask(&D, &start, &dirs[i], 1, &a, NULL) < 0);
        assert_int_equal(a.op, LAUNCH_FAILED);
        close(dirs[i]);
    }
    /* the ids of another box */
    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
    int fd = driver_mount(&D, "nomount", (uint32_t)a.value[0] + LAUNCH_ID_BLOCK, false, &mount);
    start.slot = a.slot;
    assert_true(driver_ask(&D, &start, &fd, 1, &a, NULL) < 0);
    assert_non_null(strstr(a.text, "uid_base"));
    close(fd);
    assert_int_equal(snap_call(D.stock, json_pack("{s:s,s:I}", "verb", "wait_gone", "mount", mount), NULL, 0, NULL, NULL, NULL, &e), 0);
    /* a slot that was not prepared, or is of another state */
    int root = open("/", O_RDONLY | O_DIRECTORY);
    start.slot = 1000;
    assert_int_equal(driver_ask(&D, &start, &root, 1, &a, NULL), -EBADSLT);
    close(root);
}

static void extra_mounts_are_where_they_should_be(void **state)
{
    (void)state;
    struct launch_packet p = { .op = LAUNCH_PREPARE }, a;
    struct started s = { 0 };
    json_int_t mounts[2];
    struct snap_error e;
    int fds[3], got[2];

    assert_true(driver_create(&D, "extra", "bare") && driver_create(&D, "extra-a", "bare") && driver_create(&D, "extra-b", "bare"));
    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
    fds[0] = driver_mount(&D, "extra", (uint32_t)a.value[0], false, &s.mount);
    fds[1] = driver_mount(&D, "extra-a", (uint32_t)a.value[0], false, &mounts[0]);
    fds[2] = driver_mount(&D, "extra-b", (uint32_t)a.value[0], false, &mounts[1]);
    p = (struct launch_packet){ .op = LAUNCH_START, .slot = a.slot, .box = "extra", .limits = driver_limits(), .mount_count = 2,
                                .mounts = { { .path = "/workspace" }, { .path = "/mnt/deep/ro", .read_only = 1 } } };
    assert_int_equal(driver_ask(&D, &p, fds, 3, &a, got), 0);
    assert_string_equal(standin(got[0], "write /workspace/f x"), "ok");
    assert_string_equal(standin(got[0], "write /mnt/deep/ro/f x"), "!EROFS");
    close(got[0]);
    for (unsigned i = 0; i < 3; i++)
        close(fds[i]);
    s.sock = s.root_fd = -1;
    assert_true(driver_kill(&D, "extra", &s));
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(snap_call(D.stock, json_pack("{s:s,s:I}", "verb", "wait_gone", "mount", mounts[i]), NULL, 0, NULL, NULL, NULL, &e), 0);
}

static void a_memory_bomb_and_a_fork_bomb_stay_inside(void **state)
{
    (void)state;
    struct launch_packet p = { .op = LAUNCH_USAGE, .box = "bomb" }, a;
    struct started s;
    char want[32];

    assert_true(driver_create(&D, "bomb", "bare"));
    assert_true(driver_box(&D, "bomb", 0, &s));
    assert_string_equal(standin(s.sock, "eat 8"), "exit 0");
    assert_string_equal(standin(s.sock, "eat 256"), "signal 9");
    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
    assert_true(a.value[USAGE_OOM_KILLS] >= 1);
    assert_true(a.value[USAGE_MEMORY_PEAK] > (8 << 20) && a.value[USAGE_MEMORY_PEAK] <= (64 << 20));
    snprintf(want, sizeof(want), "%u EAGAIN", driver_limits().pids - 1);
    assert_string_equal(standin(s.sock, "pids"), want);
    /* more room by LIMITS, then the same fits */
    p = (struct launch_packet){ .op = LAUNCH_LIMITS, .box = "bomb", .limits = driver_limits() };
    p.limits.memory_bytes = 512 << 20;
    p.limits.pids = 32;
    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
    assert_string_equal(standin(s.sock, "eat 128"), "exit 0");
    assert_string_equal(standin(s.sock, "pids"), "31 EAGAIN");
    p.limits.memory_bytes = 32 << 20;
    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
    assert_string_equal(standin(s.sock, "eat 128"), "signal 9");
    assert_true(driver_kill(&D, "bomb", &s));
}

static uint64_t cpu_us(const char *box)
{
    struct launch_packet p = { .op = LAUNCH_USAGE }, a;

    snprintf(p.box, sizeof(p.box), "%s", box);
    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
    return a.value[USAGE_CPU_US];
}

static void frozen_boxes_use_no_cpu_and_go_on_when_thawed(void **state)
{
    (void)state;
    struct started s;

    assert_true(driver_create(&D, "cold", "bare"));
    assert_true(driver_box(&D, "cold", 0, &s));
    assert_string_equal(standin(s.sock, "burn"), "ok");
    for (uint64_t first = cpu_us("cold"); cpu_us("cold") < first + 2000;)
        ;
    assert_int_equal(driver_simple(&D, LAUNCH_FREEZE, "cold"), 0);
    uint64_t used = cpu_us("cold");
    for (unsigned i = 0; i < 200; i++)
        assert_int_equal(cpu_us("cold"), used);
    assert_int_equal(driver_simple(&D, LAUNCH_THAW, "cold"), 0);
    assert_string_equal(standin(s.sock, "id"), "1 0 0 0");
    while (cpu_us("cold") < used + 2000)
        ;
    assert_int_equal(driver_simple(&D, LAUNCH_FREEZE, "cold"), 0);
    assert_true(driver_kill(&D, "cold", &s));         /* frozen ones end as well */
    assert_int_equal(driver_simple(&D, LAUNCH_KILL, "cold"), -ESRCH);
}

static void forkers_are_all_gone_when_the_kill_is_answered(void **state)
{
    (void)state;
    struct started s;

    assert_true(driver_create(&D, "forkers", "bare"));
    for (unsigned round = 0; round < 10; round++) {
        assert_true(driver_box(&D, "forkers", 0, &s));
        assert_string_equal(standin(s.sock, "forkers 8"), "ok");
        assert_true(driver_kill(&D, "forkers", &s));  /* also waits until snapshotd sees the mount gone: no process holds it */
    }
}

/* The husk asks the file system for its root's attributes, and nobody answers: the kill ends the start too. */
static void a_kill_ends_a_start_that_hangs(void **state)
{
    (void)state;
    struct launch_packet p = { .op = LAUNCH_PREPARE }, a;
    struct started s = { .sock = -1 };
    struct snap_error e;
    json_t *status = NULL;

    assert_int_equal(snap_call(D.stock, json_pack("{s:s}", "verb", "ping"), NULL, 0, NULL, NULL, &status, &e), 0);
    pid_t server = (pid_t)json_integer_value(json_object_get(status, "pid"));
    json_decref(status);
    assert_true(server > 1);
    assert_true(driver_create(&D, "hangs", "bare"));
    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
    s.root_fd = driver_mount(&D, "hangs", (uint32_t)a.value[0], false, &s.mount);
    assert_true(s.root_fd >= 0);
    assert_int_equal(kill(server, SIGSTOP), 0);
    p = (struct launch_packet){ .op = LAUNCH_START, .tag = UINT32_MAX, .slot = a.slot, .box = "hangs", .limits = driver_limits() };
    int r = driver_send(&D, &p, &s.root_fd, 1);
    if (!r)
        r = driver_simple(&D, LAUNCH_KILL, "hangs");
    kill(server, SIGCONT);
    assert_int_equal(r, 0);
    assert_true(driver_kill(&D, NULL, &s));
}

static void a_box_that_ends_by_itself_is_reported(void **state)
{
    (void)state;
    struct launch_packet e;
    struct started s;

    assert_true(driver_create(&D, "ends", "bare"));
    assert_true(driver_box(&D, "ends", 0, &s));
    assert_null(standin(s.sock, "exit 7"));
    assert_true(driver_event(&D, &e));
    assert_int_equal(e.op, LAUNCH_GONE);
    assert_string_equal(e.box, "ends");
    assert_int_equal(e.value[0], 7 << 8);
    assert_true(driver_kill(&D, NULL, &s));
    assert_true(driver_box(&D, "ends", 0, &s));       /* the name is free again */
    /* but not twice */
    struct launch_packet p = { .op = LAUNCH_PREPARE }, a;
    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
    p = (struct launch_packet){ .op = LAUNCH_START, .slot = a.slot, .box = "ends", .limits = driver_limits() };
    assert_int_equal(driver_ask(&D, &p, &s.root_fd, 1, &a, NULL), -EEXIST);
    p.op = LAUNCH_ABANDON;
    assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
    assert_true(driver_kill(&D, "ends", &s));
}

/* --- leaks --- */

static unsigned entries(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

struct baseline { unsigned fds, mounts, children, groups, hierarchies; };

static struct baseline look_around(void)
{
    struct baseline b = { 0 };
    char path[600], text[4096];
    pid_t pid = driver_pid(&D);

    snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(text, sizeof(text), f))
        b.mounts += strstr(text, "fuse.coppice") && strstr(text, D.dir) ? 1 : 0;
    fclose(f);
    DIR *d = opendir("/proc");
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof(path), "/proc/%.20s/status", e->d_name);
        f = e->d_name[0] >= '0' && e->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        while (f && fgets(text, sizeof(text), f))
            b.children += !strncmp(text, "PPid:", 5) && atoi(text + 5) == pid;
        if (f)
            fclose(f);
    }
    closedir(d);
    snprintf(path, sizeof(path), "%s/sandbox/groups", D.store);
    f = fopen(path, "r");
    while (f && fgets(text, sizeof(text), f)) {
        text[strcspn(text, "\n")] = 0;
        b.hierarchies++;
        d = opendir(text);
        for (struct dirent *e; d && (e = readdir(d));)
            b.groups += !strncmp(e->d_name, "slot-", 5);
        if (d)
            closedir(d);
    }
    if (f)
        fclose(f);
    snprintf(path, sizeof(path), "/proc/%d/fd", pid);         /* last: no maker that was counted above is left */
    b.fds = entries(path);
    return b;
}

/* The spare husks are a part of what there is at rest: waits until they are there again. */
static struct baseline at_rest(unsigned children)
{
    struct baseline b;
    uint64_t end = clock_mono_ns() + 20000000000ull;

    do
        b = look_around();
    while ((b.children != children || b.groups != LAUNCH_HUSKS * b.hierarchies) && clock_mono_ns() < end);
    return b;
}

/* Takes them and gives them back: then each has said READY, and the launcher has its listeners. */
static void have_husks_ready(void)
{
    struct launch_packet p = { .op = LAUNCH_PREPARE }, a[LAUNCH_HUSKS];

    for (unsigned i = 0; i < LAUNCH_HUSKS; i++)
        assert_int_equal(driver_ask(&D, &p, NULL, 0, &a[i], NULL), 0);
    for (unsigned i = 0; i < LAUNCH_HUSKS; i++) {
        p = (struct launch_packet){ .op = LAUNCH_ABANDON, .slot = a[i].slot };
        struct launch_packet b;
        assert_int_equal(driver_ask(&D, &p, NULL, 0, &b, NULL), 0);
    }
}

static void fifty_starts_and_kills_leave_nothing(void **state)
{
    (void)state;
    const unsigned children = 1 + LAUNCH_HUSKS;       /* sandboxd and the husks */
    have_husks_ready();
    struct baseline before = at_rest(children);
    uint64_t prepare = 0, start = 0;
    struct started s;

    assert_int_equal(before.children, children);
    assert_true(driver_create(&D, "leak", "bare"));
    for (unsigned i = 0; i < 50; i++) {
        assert_true(driver_box(&D, "leak", LAUNCH_HOST_USR, &s));
        prepare += s.prepare_us;
        start += s.start_us;
        assert_true(driver_kill(&D, "leak", &s));
    }
    at_rest(children);
    have_husks_ready();
    struct baseline after = at_rest(children);
    assert_int_equal(after.children, before.children);
    assert_int_equal(after.fds, before.fds);
    assert_int_equal(after.mounts, before.mounts);
    assert_int_equal(after.groups, before.groups);
    print_message("PREPARE %llu us, START %llu us on average\n", (unsigned long long)prepare / 50, (unsigned long long)start / 50);
}

static void husks_can_be_taken_and_given_back(void **state)
{
    (void)state;
    struct launch_packet p = { .op = LAUNCH_PREPARE }, a;
    uint32_t slots[12];

    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(driver_ask(&D, &p, NULL, 0, &a, NULL), 0);
        slots[i] = a.slot;
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(slots[k], slots[i]);
    }
    for (unsigned i = 0; i < 12; i++) {
        struct launch_packet q = { .op = LAUNCH_ABANDON, .slot = slots[i] };
        assert_int_equal(driver_ask(&D, &q, NULL, 0, &a, NULL), 0);
        assert_int_equal(driver_ask(&D, &q, NULL, 0, &a, NULL), -EBADSLT);
    }
    assert_int_equal(at_rest(1 + LAUNCH_HUSKS).children, 1 + LAUNCH_HUSKS);
}

/* --- lives of sandboxd and of the launcher --- */

static void boxes_outlive_sandboxd(void **state)
{
    (void)state;
    struct launch_packet p = { .op = LAUNCH_LIST, .tag = 5 }, a;
    struct started s, t;
    int fds[2];

    assert_true(driver_create(&D, "adopt", "bare"));
    assert_true(driver_box(&D, "adopt", 0, &s));
    assert_int_equal(driver_ask(&D, &(struct launch_packet){ .op = LAUNCH_PREPARE }, NULL, 0, &a, NULL), 0);      /* never given back */
    close(s.sock);
    assert_true(driver_meet(&D));         /* the door is closed: the fake ends; a new one is started */
    assert_int_equal(send(D.control, &p, sizeof(p), 0), sizeof(p));
    union { char space[CMSG_SPACE(sizeof(fds))]; struct cmsghdr align; } c;
    struct iovec v = { &a, sizeof(a) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
    assert_int_equal(recvmsg(D.control, &m, 0), sizeof(a));
    assert_int_equal(a.op, LAUNCH_BOX);
    assert_string_equal(a.box, "adopt");
    assert_int_equal(a.value[1], s.uid_base);
    memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fds));
    assert_string_equal(standin(fds[0], "id"), "1 0 0 0");
    assert_int_equal(recv(D.control, &a, sizeof(a), 0), sizeof(a));
    assert_int_equal(a.op, LAUNCH_OK);
    close(fds[0]);
    close(fds[1]);
    t = (struct started){ .sock = -1, .root_fd = s.root_fd, .mount = s.mount };
    assert_true(driver_kill(&D, "adopt", &t));
    assert_int_equal(at_rest(1 + LAUNCH_HUSKS).children, 1 + LAUNCH_HUSKS);      /* the lost PREPARE is back */
}

static void a_second_launcher_leaves_the_first_alone(void **state)
{
    (void)state;
    pid_t pid = driver_pid(&D);

    assert_true(driver_launch(&D, NULL));
    assert_int_equal(driver_pid(&D), pid);
}

static void killed_with_frozen_boxes_it_leaves_nothing_to_the_next(void **state)
{
    (void)state;
    struct snap_error e;
    struct started s;

    assert_true(driver_create(&D, "stale", "bare"));
    assert_true(driver_box(&D, "stale", 0, &s));
    assert_string_equal(standin(s.sock, "burn"), "ok");
    assert_int_equal(driver_simple(&D, LAUNCH_FREEZE, "stale"), 0);
    int pidfd = (int)syscall(SYS_pidfd_open, driver_pid(&D), 0);
    assert_true(pidfd >= 0);
    assert_int_equal(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0), 0);
    assert_int_equal(poll(&(struct pollfd){ pidfd, POLLIN, 0 }, 1, 60000), 1);
    close(pidfd);
    close(s.sock);
    close(s.root_fd);
    assert_true(driver_launch(&D, NULL));
    assert_true(driver_meet(&D));
    assert_int_equal(snap_call(D.stock, json_pack("{s:s,s:I}", "verb", "wait_gone", "mount", s.mount), NULL, 0, NULL, NULL, NULL, &e), 0);
    assert_true(driver_box(&D, "stale", 0, &s));
    assert_true(driver_kill(&D, "stale", &s));
    struct baseline b = at_rest(1 + LAUNCH_HUSKS);
    assert_int_equal(b.children, 1 + LAUNCH_HUSKS);
}

static void ending_it_ends_all(void **state)
{
    (void)state;
    char path[600], list[4096] = "";
    struct snap_error e;
    struct started s;

    assert_true(driver_create(&D, "last", "bare"));
    assert_true(driver_box(&D, "last", 0, &s));
    assert_string_equal(standin(s.sock, "forkers 4"), "ok");
    snprintf(path, sizeof(path), "%s/sandbox/groups", D.store);
    int fd = open(path, O_RDONLY);
    assert_true(read(fd, list, sizeof(list) - 1) > 0);
    close(fd);
    close(s.sock);
    close(s.root_fd);
    driver_quit(&D);
    assert_int_equal(snap_call(D.stock, json_pack("{s:s,s:I}", "verb", "wait_gone", "mount", s.mount), NULL, 0, NULL, NULL, NULL, &e), 0);
    for (char *save = NULL, *p = strtok_r(list, "\n", &save); p; p = strtok_r(NULL, "\n", &save))
        assert_int_equal(access(p, F_OK), -1);
    snprintf(path, sizeof(path), "%s/sandbox/pid", D.store);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/sandbox/api.sock", D.store);
    assert_int_equal(access(path, F_OK), -1);
}

static void tcp_needs_a_loopback_address_and_makes_a_token(void **state)
{
    (void)state;
    char path[600], text[80] = "";
    struct stat st;

    assert_false(driver_launch(&D, (const char *const[]){ "--listen", "0.0.0.0:0", NULL }));
    assert_false(driver_launch(&D, (const char *const[]){ "--listen", "localhost:1", NULL }));
    assert_true(driver_launch(&D, (const char *const[]){ "--listen", "127.0.0.1:0", NULL }));
    assert_true(driver_meet(&D));
    snprintf(path, sizeof(path), "%s/sandbox/token", D.store);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, 65);
    snprintf(path, sizeof(path), "%s/sandbox/listen", D.store);
    int fd = open(path, O_RDONLY);
    assert_true(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    assert_int_equal(strncmp(text, "127.0.0.1:", 10), 0);
    assert_true(atoi(text + 10) > 0);
    driver_quit(&D);
}

static void it_says_so_when_sandboxd_cannot_run(void **state)
{
    (void)state;
    const char *self = D.self;

    D.self = "/bin/false";
    assert_false(driver_launch(&D, NULL));
    D.self = self;
    assert_true(driver_launch(&D, NULL) && driver_meet(&D));      /* and is gone by then */
}

static int group_start(void **state)
{
    (void)state;
    return driver_start(&D, NULL) ? 0 : -1;
}

static int group_stop(void **state)
{
    (void)state;
    driver_stop(&D);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest pure[] = {
        cmocka_unit_test(packets_that_sandboxd_may_not_send_are_refused), cmocka_unit_test(names_and_paths_are_checked),
        cmocka_unit_test(ids_of_two_launchers_never_meet), cmocka_unit_test(sha256_gives_the_published_values),
    };
    const struct CMUnitTest real[] = {
        cmocka_unit_test(hello_tells_what_the_host_has), cmocka_unit_test(sandboxd_is_caged), cmocka_unit_test(the_store_link_leads_to_snapshotd),
        cmocka_unit_test(a_box_sees_its_workspace_and_nothing_else), cmocka_unit_test(every_mount_is_private_and_closed),
        cmocka_unit_test(a_root_that_is_not_what_it_should_be_is_refused), cmocka_unit_test(what_is_not_a_mount_of_this_box_is_refused),
        cmocka_unit_test(extra_mounts_are_where_they_should_be), cmocka_unit_test(a_memory_bomb_and_a_fork_bomb_stay_inside),
        cmocka_unit_test(frozen_boxes_use_no_cpu_and_go_on_when_thawed), cmocka_unit_test(forkers_are_all_gone_when_the_kill_is_answered),
        cmocka_unit_test(a_kill_ends_a_start_that_hangs),
        cmocka_unit_test(a_box_that_ends_by_itself_is_reported), cmocka_unit_test(husks_can_be_taken_and_given_back),
        cmocka_unit_test(fifty_starts_and_kills_leave_nothing), cmocka_unit_test(boxes_outlive_sandboxd), cmocka_unit_test(a_second_launcher_leaves_the_first_alone),
        cmocka_unit_test(killed_with_frozen_boxes_it_leaves_nothing_to_the_next), cmocka_unit_test(ending_it_ends_all),
        cmocka_unit_test(tcp_needs_a_loopback_address_and_makes_a_token), cmocka_unit_test(it_says_so_when_sandboxd_cannot_run),
    };

    if (getenv("COPPICE_STORE_NAME"))
        return fake_sandboxd();
    if (!driver_args(&D, argc, argv))
        return 2;
    int failed = cmocka_run_group_tests(pure, NULL, NULL);
    if (geteuid() || access("/dev/fuse", W_OK)) {
        printf("# SKIP boxes: needs root and /dev/fuse\n");
        return failed ? 1 : 77;
    }
    return failed + cmocka_run_group_tests(real, group_start, group_stop) ? 1 : 0;
}
