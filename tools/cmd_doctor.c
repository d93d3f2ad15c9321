/* What this machine offers. Nothing is changed; what needs root says so. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/magic.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tools/args.h"
#include "tools/doctor.h"
#include "tools/text.h"

enum state { GOOD, LESS, MISSING };       /* LESS: it works, but something costs more; MISSING: something does not work */
struct doctor { bool json; json_t *checks; enum state worst; const char *store; };

static void say(struct doctor *d, const char *name, enum state s, const char *cost, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static void say(struct doctor *d, const char *name, enum state s, const char *cost, const char *fmt, ...)
{
    static const char *const words[] = { "ok", "less", "missing" };
    char found[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(found, sizeof(found), fmt, ap);
    va_end(ap);
    if (s > d->worst)
        d->worst = s;
    if (d->json) {
        json_array_append_new(
            d->checks, json_pack("{s:s,s:s,s:s,s:s*}", "check", name, "state", words[s], "found", found, "cost", s == GOOD ? NULL : cost));
        return;
    }
    printf("%-8s %-18s %s\n", words[s], name, found);
    if (s != GOOD)
        printf("%-8s %-18s   costs: %s\n", "", "", cost);
}

static bool read_line(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;

    close_p(&fd);
    if (n < 0)
        return false;
    out[n] = 0;
    out[strcspn(out, "\n")] = 0;
    return true;
}

static void check_kernel(struct doctor *d, unsigned *ret_version)
{
    struct utsname u;
    unsigned major = 0, minor = 0;

    uname(&u);
    sscanf(u.release, "%u.%u", &major, &minor);
    *ret_version = major * 1000 + minor;
    say(d, "kernel",
        *ret_version < 5002   ? MISSING
        : *ret_version < 6001 ? LESS
                              : GOOD,
        "before 5.2 mounts cannot be made by descriptor, so `mount` does not work; before 6.1 FUSE lacks features that make it fast",
        "Linux %s", u.release);
}

static void check_fuse(struct doctor *d)
{
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    struct stat st;

    if (fd >= 0 && !fstat(fd, &st) && S_ISCHR(st.st_mode) && st.st_rdev == makedev(10, 229))
        say(d, "/dev/fuse", GOOD, "", "can be opened");
    else if (fd >= 0)
        say(d, "/dev/fuse", MISSING, "nothing can be mounted; make it with `mknod /dev/fuse c 10 229`", "is not the FUSE device");
    else
        say(d, "/dev/fuse", MISSING, "nothing can be mounted; `modprobe fuse`, or give the container the device", "%s", strerror(errno));
    close_p(&fd);
    int fs = (int)syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC);
    if (fs >= 0)
        say(d, "fsopen", GOOD, "", "FUSE mounts can be made by descriptor");
    else
        say(d, "fsopen", MISSING, errno == EPERM ? "mounting needs root (CAP_SYS_ADMIN)" : "nothing can be mounted", "%s", strerror(errno));
    close_p(&fs);
}

/* transport=auto is classic everywhere, so nothing here costs anything unless transport=uring is wanted. */
static void check_uring(struct doctor *d)
{
    static const char parameter[] = "/sys/module/fuse/parameters/enable_uring";
    static const char cost[] = "mounts with transport=uring are refused; the classic transport, which is the default, is not concerned";
    char text[64], off[64] = "";
    struct io_uring_params p = { .flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
    int fd;

    if (!read_line(parameter, text, sizeof(text))) {
        say(d, "fuse io_uring", LESS, cost, "not in this kernel (6.14 with CONFIG_FUSE_IO_URING has it)");
        return;
    }
    fd = (int)syscall(SYS_io_uring_setup, 4, &p);
    if (fd < 0)
        say(d, "fuse io_uring", LESS, cost, "io_uring: %s%s%s", strerror(errno),
            read_line("/proc/sys/kernel/io_uring_disabled", off, sizeof(off)) ? "; kernel.io_uring_disabled=" : "", off);
    else if (text[0] == 'Y' || !access(parameter, W_OK))
        say(d, "fuse io_uring", GOOD, "", "enable_uring=%s%s", text, text[0] == 'Y' ? "" : "; the first mount with transport=uring turns it on");
    else
        say(d, "fuse io_uring", LESS, cost, "enable_uring=%s, and it cannot be written", text);
    close_p(&fd);
}

static void check_fuse_features(struct doctor *d, unsigned version)
{
    check_uring(d);
    int r = doctor_resend();
    say(d, "fuse resend", r == 1 || (r < 0 && version >= 6009) ? GOOD : LESS,
        "mounts end when snapshotd is killed, upgraded or ends by an error: programs in them see ENOTCONN (none hangs), what was not synced for up to 5 s is lost; "
        "`umount` and `mount` work again then",
        r < 0 ? "NOTIFY_RESEND %s (by version: %s)" : "NOTIFY_RESEND %s%s", r == 1 || (r < 0 && version >= 6009) ? "is there" : "comes with Linux 6.9",
        r < 0 ? strerror(-r) : r == 1 ? "; mounts outlive snapshotd" : "");
}

/* One clone with all of them, as a sandbox is made. */
static void check_namespaces(struct doctor *d)
{
    static const struct { int flag; const char *name; } all[] = {
        { CLONE_NEWUSER, "user" }, { CLONE_NEWNS, "mount" }, { CLONE_NEWPID, "pid" }, { CLONE_NEWNET, "network" }, { CLONE_NEWIPC, "ipc" }, { CLONE_NEWUTS, "uts" },
        { CLONE_NEWCGROUP, "cgroup" },
    };
    char missing[128] = "";
    int err = 0;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        int status = 0;
        pid_t pid = fork();
        if (!pid)
            _exit(unshare(all[i].flag == CLONE_NEWUSER ? CLONE_NEWUSER : CLONE_NEWUSER | all[i].flag) ? errno : 0);
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        int e = pid < 0 ? errno : WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
        if (e) {
            err = e;
            snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), "%s%s", missing[0] ? ", " : "", all[i].name);
        }
    }
    if (err)
        say(d, "namespaces", LESS, "no sandbox can start (the file system does not need them); look at user.max_*_namespaces, kernel.unprivileged_userns_clone and "
            "the container's seccomp profile", "%s: %s", missing, strerror(err));
    else
        say(d, "namespaces", GOOD, "", "user, mount, pid, network, ipc, uts and cgroup can be made");
}

static void check_confinement(struct doctor *d)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */);
    int filter = prctl(PR_GET_SECCOMP, 0, 0, 0, 0);

    say(d, "seccomp", filter >= 0 ? GOOD : LESS, "no sandbox can start: it would not be confined; the kernel needs CONFIG_SECCOMP_FILTER", "%s",
        filter >= 0 ? "filters can be set" : strerror(errno));
    if (abi > 0)
        say(d, "landlock", GOOD, "", "version %ld", abi);
    else
        say(d, "landlock", LESS, "no sandbox can start: this layer is proved at each start; add landlock to the kernel's lsm= list", "%s", strerror(errno));
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    say(d, "pidfd", pidfd >= 0 ? GOOD : LESS, "sandboxes cannot be ended safely, so none starts; Linux 5.3 has it", "%s", pidfd >= 0 ? "is there" : strerror(errno));
    close_p(&pidfd);
    if (geteuid())
        say(d, "root", LESS, "sandboxes and mounts need root; run as root", "this is uid %u", (unsigned)geteuid());
}

/* Merged into /usr: what the built-in template is made of. */
static void check_template(struct doctor *d)
{
    static const char *const names[] = { "/bin", "/sbin", "/lib" };
    struct stat st;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!lstat(names[i], &st) && !S_ISLNK(st.st_mode)) {
            say(d, "template host", LESS, "`create` has no built-in template here; import a root file system (`import --kind root`) and create from that",
                "%s is not a link into /usr", names[i]);
            return;
        }
    say(d, "template host", GOOD, "", "/usr is merged");
}

static void check_cgroup(struct doctor *d)
{
    static const char *const v1[] = { "memory", "pids", "cpu", "cpuacct", "freezer" };
    char missing[64] = "", path[64];
    struct statfs s;

    if (!statfs("/sys/fs/cgroup", &s) && s.f_type == CGROUP2_SUPER_MAGIC) {
        say(d, "cgroup", GOOD, "", "version 2");
        return;
    }
    for (size_t i = 0; i < sizeof(v1) / sizeof(v1[0]); i++) {
        snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", v1[i]);
        if (access(path, F_OK))
            snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), " %s", v1[i]);
    }
    if (missing[0])
        say(d, "cgroup", LESS, "no sandbox can start: its limits could not be set (the file system does not need them); mount the controllers, or cgroup2", "version 1 without%s",
            missing);
    else
        say(d, "cgroup", LESS, "sandboxes work, without pressure figures and with one controller at a time", "version 1");
}

static void check_memory(struct doctor *d)
{
    FILE *f = fopen("/proc/meminfo", "re");
    char line[128], size[TEXT_SIZE];
    unsigned long long kib = 0;

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    say(d, "memory", kib < 512 * 1024 ? LESS : GOOD, "the daemon's caches take up to about 400 MiB; with less, it competes with the work",
        "%s available", text_bytes(size, kib << 10));
}

/* The store, or the nearest directory above that exists. */
static char *store_place(const char *store)
{
    char *p = NULL;

    if (asprintf(&p, "%s", store) < 0)
        return NULL;
    while (access(p, F_OK)) {
        char *slash = strrchr(p, '/');
        if (!slash || slash == p) {
            free(p);
            return strdup(store[0] == '/' ? "/" : ".");
        }
        *slash = 0;
    }
    return p;
}

static void check_punch(struct doctor *d, const char *place)
{
    int fd = open(place, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
        say(d, "hole punching", LESS, "whether freed space returns to the disk cannot be told", "cannot be tried in %s: %s", place,
            strerror(errno));
    else if (fd < 0)
        say(d, "hole punching", LESS, "the store cannot be written by this user; run as root", "cannot write in %s: %s", place,
            strerror(errno));
    else if (ftruncate(fd, 8192) || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096))
        say(d, "hole punching", LESS,
            "space freed inside segments does not return to the disk: a store grows until `gc --pack` rewrites it", "%s: %s", place,
            strerror(errno));
    else
        say(d, "hole punching", GOOD, "", "works in %s", place);
    close_p(&fd);
}

static void check_store(struct doctor *d)
{
    _cleanup_free_ char *place = store_place(d->store);
    struct statvfs v;
    char size[TEXT_SIZE];

    if (!place || statvfs(place, &v)) {
        say(d, "store disk", MISSING, "no store can be made there", "%s: %s", d->store, strerror(errno));
        return;
    }
    uint64_t left = (uint64_t)v.f_bavail * v.f_frsize;
    bool ro = v.f_flag & ST_RDONLY;
    say(d, "store disk",
        ro                  ? MISSING
        : left < 1ull << 30 ? LESS
                            : GOOD,
        ro ? "the file system is read-only" : "less than 1 GiB: writes may soon fail with ENOSPC", "%s free at %s", text_bytes(size, left),
        place);
    check_punch(d, place);
}

/* In a namespace of its own, as a sandbox will: the route that makes every address local. 0 or an errno. */
static int try_local_route(void)
{
    struct { struct nlmsghdr n; struct rtmsg r; struct rtattr a; uint32_t oif; } q = {
        .n = { .nlmsg_len = sizeof(q), .nlmsg_type = RTM_NEWROUTE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE },
        .r = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_LOCAL, .rtm_protocol = RTPROT_BOOT, .rtm_scope = RT_SCOPE_HOST, .rtm_type = RTN_LOCAL },
        .a = { .rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = RTA_OIF }, .oif = 1,
    };
    struct { struct nlmsghdr n; struct nlmsgerr e; char rest[256]; } a;
    struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
    int status;

    pid_t pid = fork();
    if (!pid) {
        int dgram = unshare(CLONE_NEWUSER | CLONE_NEWNET) ? -1 : socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        if (dgram < 0 || netlink < 0 || ioctl(dgram, SIOCSIFFLAGS, &up) || send(netlink, &q, sizeof(q), 0) < 0 || recv(netlink, &a, sizeof(a), 0) < 0)
            _exit(errno);
        _exit(-a.e.error);
    }
    return pid < 0 ? errno : waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ? EIO : WEXITSTATUS(status);
}

/* What the proxy needs of this host, and how the one that runs is. */
static void check_network(struct doctor *d, struct tool *t)
{
    int err = try_local_route();

    say(d, "network", err ? MISSING : GOOD, err ? "no sandbox can start: every address must lead to its proxy" : "", err ? "a local route for all addresses: %s" : "every address can be made local%s",
        err ? strerror(err) : "");
    if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) && access("/etc/pki/tls/certs/ca-bundle.crt", R_OK) && access("/etc/ssl/ca-bundle.pem", R_OK) && access("/etc/ssl/cert.pem", R_OK))
        say(d, "certificates", LESS, "sandboxes have no network: install ca-certificates, or name a file with `coppice up --upstream-roots`", "this host has no file of trusted certificates");
    if (!tool_runner_runs(t))
        return;
    json_t *ans = tool_api(t, "GET", "/egress", NULL), *body = json_object_get(ans, "body");
    if (field_int(ans, "status") == 200)
        say(d, "egress", GOOD, "", "runs: key in %s, CA until %.10s, %lld connections", field_str(body, "key"), field_str(json_object_get(body, "ca"), "not_after"),
            (long long)field_int(body, "connections"));
    else
        say(d, "egress", LESS, "sandboxes have no network", "%.200s", field_str(ans, "error"));
    json_decref(ans);
}

int cmd_doctor(struct tool *t, int argc, char **argv)
{
    struct doctor d = { .checks = json_array() };
    unsigned version = 0;
    struct args a;

    int r = args_parse(t, "doctor", argc, argv, NULL, 0, 0, &a);
    if (!r) {
        d.json = t->json;
        d.store = t->store;
        check_kernel(&d, &version);
        check_fuse(&d);
        check_fuse_features(&d, version);
        check_namespaces(&d);
        check_confinement(&d);
        check_cgroup(&d);
        check_template(&d);
        check_network(&d, t);
        check_memory(&d);
        check_store(&d);
        if (t->json) {
            json_t *doc = json_pack("{s:s,s:O}", "store", t->store, "checks", d.checks);
            tool_print_json(doc);
            json_decref(doc);
        }
        r = d.worst == MISSING ? 1 : 0;
    }
    json_decref(d.checks);
    return r;
}
