/* What this machine offers. Nothing is changed; what needs root says so. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
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

static void check_fuse_features(struct doctor *d, unsigned version)
{
    char text[64];

    if (read_line("/sys/module/fuse/parameters/enable_uring", text, sizeof(text)))
        say(d, "fuse io_uring", text[0] == 'Y' || text[0] == '1' ? GOOD : LESS,
            "requests go over the classic device, about 20 us each instead of 7 (coppice uses that today in any case)", "enable_uring=%s",
            text);
    else
        say(d, "fuse io_uring", LESS,
            "requests go over the classic device, about 20 us each instead of 7 (coppice uses that today in any case)",
            "not in this kernel (6.14 has it)");
    say(d, "fuse resend", version >= 6009 ? GOOD : LESS,
        "mounts cannot survive a restart of the daemon (a later version of coppice will use it)", "NOTIFY_RESEND %s",
        version >= 6009 ? "is there (by version)" : "comes with Linux 6.9");
}

static void check_namespaces(struct doctor *d)
{
    int status = 0;
    pid_t pid = fork();

    if (!pid)
        _exit(unshare(CLONE_NEWUSER) ? errno : 0);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    int err = pid < 0 ? errno : WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
    say(d, "user namespaces", err ? LESS : GOOD,
        "sandboxes (a later version) cannot be isolated by user; the file system does not need them", "%s",
        err ? strerror(err) : "can be made");
}

static void check_cgroup(struct doctor *d)
{
    struct statfs s;

    if (!statfs("/sys/fs/cgroup", &s) && s.f_type == CGROUP2_SUPER_MAGIC)
        say(d, "cgroup", GOOD, "", "version 2");
    else if (!access("/sys/fs/cgroup/memory", F_OK) || !access("/sys/fs/cgroup/cpu", F_OK))
        say(d, "cgroup", LESS, "limits of sandboxes (a later version) work per controller, without pressure figures", "version 1");
    else
        say(d, "cgroup", LESS, "sandboxes (a later version) have no limits; the file system does not need them",
            "not mounted at /sys/fs/cgroup");
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
        check_cgroup(&d);
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
