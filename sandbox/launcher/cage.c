#include "sandbox/launcher/cage.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/launcher/husk.h"

/* --- the view --- */

/* A path below root, whose directories are made; the last component is a directory or, like a file, an empty file. An O_PATH descriptor. */
static int make_path(int root, const char *path, bool file)
{
    _cleanup_close_ int at = fcntl(root, F_DUPFD_CLOEXEC, 3);
    char name[256];

    for (const char *p = path; at >= 0 && *p;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        bool last = !p[n + strspn(p + n, "/")];
        snprintf(name, sizeof(name), "%.*s", (int)n, p);
        if (file && last) {
            int f = openat(at, name, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444);
            return f < 0 ? -errno : f;
        }
        /* Whatever our umask is: sandboxd, which is nobody's, goes through them to run coppice-tar. */
        if (n && (mkdirat(at, name, 0755) ? errno != EEXIST : fchmodat(at, name, 0755, 0)))
            return -errno;
        int next = n ? openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC) : fcntl(at, F_DUPFD_CLOEXEC, 3);
        close(at);
        at = next;
        p += n;
        if (last)
            break;
    }
    return at < 0 ? -errno : TAKE_FD(at);
}

/* Shows the host's path at the same place: a symlink as it is, a directory or device as a mount. What there is not is left out. */
static int show(int root, const char *path, unsigned attrs)
{
    char target[512];
    struct stat st;

    if (lstat(path, &st))
        return errno == ENOENT ? 0 : -errno;
    if (S_ISLNK(st.st_mode)) {
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
            return -errno;
        target[n] = 0;
        return symlinkat(target, root, path + 1) && errno != EEXIST ? -errno : 0;
    }
    struct mount_attr a = { .attr_set = attrs, .propagation = MS_PRIVATE };
    _cleanup_close_ int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);      /* not recursive: no mounts of workspaces */
    _cleanup_close_ int at = make_path(root, path, !S_ISDIR(st.st_mode));
    if (fd < 0 || at < 0)
        return fd < 0 ? -errno : at;
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof(a)))
        return -errno;
    return husk_attach(fd, at);
}

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return !strncmp(path, dir, n) && (!path[n] || path[n] == '/');
}

static int make_view(const struct cage *c)
{
    static const char *const dirs[] = { "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc" };
    static const char *const nodes[] = { "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom" };
    static const char *const options[] = { "size=65536", "nr_inodes=128", "mode=0755", NULL };
    static const char *const proc_options[] = { "hidepid=invisible", NULL };
    struct mount_attr private = { .propagation = MS_PRIVATE };
    enum { RO = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
    int r = 0;

    if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof(private)))
        return -errno;
    _cleanup_close_ int proc = husk_fs("proc", RO | MOUNT_ATTR_NOEXEC, proc_options);
    _cleanup_close_ int root = husk_fs("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, options);
    _cleanup_close_ int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0 || root < 0 || old < 0)
        return proc < 0 ? proc : root < 0 ? root : -errno;
    r = husk_attach(root, old);
    for (unsigned i = 0; !r && i < sizeof(dirs) / sizeof(dirs[0]); i++)
        r = show(root, dirs[i], RO);
    for (unsigned i = 0; !r && i < sizeof(nodes) / sizeof(nodes[0]); i++)
        r = show(root, nodes[i], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    for (unsigned i = 0; !r && i < 2 && c->dirs[i]; i++)
        if (!is_below(c->dirs[i], "/usr") && (!i || strcmp(c->dirs[i], c->dirs[0])))
            r = show(root, c->dirs[i], RO);       /* where its programs are */
    _cleanup_close_ int at = r ? -1 : make_path(root, "/proc", false);
    if (!r)
        r = at < 0 ? at : husk_attach(proc, at);
    if (!r)
        r = husk_attr(root, MOUNT_ATTR_RDONLY, 0);
    return r ? r : husk_pivot(root);
}

/* --- rights --- */

static int drop_rights(unsigned uid)
{
    struct rlimit files, none = { 0, 0 };

    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    setrlimit(RLIMIT_CORE, &none);
    for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap) && errno != EINVAL)
            return -errno;
    if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
        return -errno;
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { 0 };
    if (syscall(SYS_capset, &head, data) || prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
        return -errno;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0) || prctl(PR_SET_PDEATHSIG, SIGKILL))
        return -errno;
    return 0;
}

/* What neither GLib nor libsoup nor a forked reader of archives needs, and what attacks on a kernel begin with. */
static const char *const refused[] = {
    "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "open_tree_attr", "move_mount", "mount_setattr", "statmount",
    "listmount", "unshare", "setns", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "bpf", "perf_event_open", "io_uring_setup",
    "io_uring_enter", "io_uring_register", "userfaultfd", "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load", "init_module", "finit_module",
    "delete_module", "open_by_handle_at", "name_to_handle_at", "swapon", "swapoff", "reboot", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
    "sethostname", "setdomainname", "syslog", "iopl", "ioperm", "modify_ldt", "personality", "acct", "quotactl", "quotactl_fd", "fanotify_init", "move_pages",
    "mbind", "set_mempolicy", "migrate_pages", "lookup_dcookie", "nfsservctl", "vmsplice", "mknod", "mknodat", "uselib", "ustat", "sysfs", "vhangup",
    "process_madvise", "memfd_secret", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "setfsuid", "setfsgid", "capset",
};

static int filter(const struct cage *c)
{
    const uint64_t new_ns = CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int r = ctx ? 0 : -ENOMEM;

    for (unsigned i = 0; !r && i < sizeof(refused) / sizeof(refused[0]); i++) {
        int nr = seccomp_syscall_resolve_name(refused[i]);
        if (nr != __NR_SCMP_ERROR)        /* one that this libseccomp does not know yet */
            r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 0);
    }
    for (unsigned bit = 0; !r && bit < 32; bit++)
        if (new_ns >> bit & 1)
            r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, 1ull << bit, 1ull << bit));
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);       /* its flags cannot be seen; libc falls back */
    for (unsigned family = 0; !r && family < 64; family++)
        if (family != AF_UNIX && family != AF_INET && family != AF_INET6 && !(family == AF_NETLINK && c->netlink))
            r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, family));
    if (!r)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r;
}

int cage_enter(const struct cage *c, const char **ret_step)
{
    int r;

    *ret_step = "make its view of the host";
    r = make_view(c);
    if (!r) {
        *ret_step = "give up rights";
        r = drop_rights(c->uid);
    }
    if (!r) {
        *ret_step = "load the system call filter";
        umask(077);
        r = filter(c);
    }
    if (r)
        return r;
    *ret_step = c->program;
    execveat(c->program_fd, "", c->argv, c->env, AT_EMPTY_PATH);
    return -errno;
}

/* --- the end of the view --- */

/* In a process of the launcher's that has joined the namespace. pivot_root changes the root and the directory of every process that has the old ones. */
static int empty_view(void)
{
    static const char *const options[] = { "size=4096", "nr_inodes=1", "mode=0555", NULL };

    _cleanup_close_ int root = husk_fs("tmpfs", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, options);
    _cleanup_close_ int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r = root < 0 ? root : old < 0 ? -errno : husk_attach(root, old);
    return r ? r : husk_pivot(root);
}

int cage_empty(int pidfd)
{
    siginfo_t si = { 0 };

    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(setns(pidfd, CLONE_NEWNS) ? errno : -empty_view());
    }
    while (waitid(P_PID, (id_t)pid, &si, WEXITED) && errno == EINTR)
        ;
    return si.si_code == CLD_EXITED ? -si.si_status : -EIO;
}
