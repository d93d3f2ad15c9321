/* Who may do what to which file: every kind of caller, mode and call; what tmpfs answers and leaves is what must be here. */
#include "tests/system/posix_twin.h"

#include <sys/statfs.h>
#include <sys/xattr.h>

/* --- who --- */
struct who { const char *name; uid_t uid; gid_t gid, also; };
static const struct who callers[] = { { "root", 0, 0, 0 }, { "the owner", USER, USER, USER }, { "the owner, in the file's group", USER, CREW, USER },
    { "the owner, with the file's group too", USER, USER, CREW }, { "one of the group", FRIEND, CREW, FRIEND }, { "one with the group too", FRIEND, FRIEND, CREW },
    { "a stranger", FRIEND, FRIEND, FRIEND } };
enum { CALLERS = sizeof callers / sizeof callers[0] };

/* --- what: calls on the path "d/it"; "mine" is the caller's --- */
static const char it[] = "d/it";
static int times(time_t a, time_t m, long a_ns, long m_ns)
{
    return utimensat(AT_FDCWD, it, (struct timespec[]){ { a, a_ns }, { m, m_ns } }, 0);
}

static const uint8_t acl_of_a_friend[] = { 2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 0xe9, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
    16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 1, 0, 255, 255, 255, 255 };
static int set_acl(const char *which) { return setxattr(it, which, acl_of_a_friend, sizeof acl_of_a_friend, 0); }

/* VFS_CAP_REVISION_2, cap_net_bind_service, effective */
static const uint8_t capability[20] = { 1, 0, 0, 2, 0, 4 };

#define CALL(name, expr) static int name(const struct twin_case *c) { return (int)(expr); }
CALL(open_to_read, twin_shut(open(it, O_RDONLY | O_NONBLOCK)))
CALL(open_to_write, twin_shut(open(it, O_WRONLY | O_NONBLOCK)))
CALL(open_both, twin_shut(open(it, O_RDWR | O_NONBLOCK)))
CALL(open_to_empty, twin_shut(open(it, O_WRONLY | O_TRUNC | O_NONBLOCK)))
CALL(open_read_truncate, twin_shut(open(it, O_RDONLY | O_TRUNC | O_NONBLOCK)))
CALL(open_or_make, twin_shut(open(it, O_RDWR | O_CREAT | O_NONBLOCK, 0600)))
CALL(open_quietly, twin_shut(open(it, O_RDONLY | O_NOATIME | O_NONBLOCK)))
CALL(open_append, twin_shut(open(it, O_WRONLY | O_APPEND | O_NONBLOCK)))
CALL(open_path, twin_shut(open(it, O_PATH)))
CALL(may_read, faccessat(AT_FDCWD, it, R_OK, AT_EACCESS))
CALL(may_write, faccessat(AT_FDCWD, it, W_OK, AT_EACCESS))
CALL(may_run, faccessat(AT_FDCWD, it, X_OK, AT_EACCESS))
CALL(to_644, chmod(it, 0644))
CALL(to_2775, chmod(it, 02775))
CALL(to_6711, chmod(it, 06711))
CALL(to_1777, chmod(it, 01777))
CALL(to_nobody, chown(it, 65534, (gid_t)-1))
CALL(to_same_owner, chown(it, USER, (gid_t)-1))
CALL(to_own_group, chown(it, (uid_t)-1, USER))
CALL(to_same_group, chown(it, (uid_t)-1, CREW))
CALL(to_both_same, chown(it, USER, CREW))
CALL(to_others_group, chown(it, (uid_t)-1, FRIEND))
CALL(to_none, chown(it, (uid_t)-1, (gid_t)-1))
CALL(cut_short, truncate(it, 1))
CALL(make_longer, truncate(it, 9000))
CALL(times_now, utimensat(AT_FDCWD, it, NULL, 0))
CALL(times_both_now, times(0, 0, UTIME_NOW, UTIME_NOW))
CALL(times_set, times(1000, 2000, 5, 6))
CALL(times_one_now, times(1000, 0, 5, UTIME_NOW))
CALL(times_one_left, times(1000, 0, 5, UTIME_OMIT))
CALL(times_now_and_left, times(0, 0, UTIME_NOW, UTIME_OMIT))
CALL(times_left, times(0, 0, UTIME_OMIT, UTIME_OMIT))
CALL(give_attribute, setxattr(it, "user.a", "b", 1, 0))
CALL(take_attribute, removexattr(it, "user.there"))
CALL(read_attribute, getxattr(it, "user.there", NULL, 0))
CALL(list_attributes, listxattr(it, NULL, 0))
CALL(give_trusted, setxattr(it, "trusted.a", "b", 1, 0))
CALL(read_trusted, getxattr(it, "trusted.t", NULL, 0))
CALL(take_trusted, removexattr(it, "trusted.t"))
CALL(give_security, setxattr(it, "security.a", "b", 1, 0))
CALL(give_acl, set_acl("system.posix_acl_access"))
CALL(give_default, set_acl("system.posix_acl_default"))
CALL(take_acl, removexattr(it, "system.posix_acl_access"))
CALL(take_default, removexattr(it, "system.posix_acl_default"))
CALL(read_acl, getxattr(it, "system.posix_acl_access", NULL, 0))
CALL(give_capability, setxattr(it, "security.capability", capability, sizeof capability, 0))
CALL(take_capability, removexattr(it, "security.capability"))
CALL(read_capability, getxattr(it, "security.capability", NULL, 0))
CALL(link_it, link(it, "new"))
CALL(link_into, link("mine", "d/new"))
CALL(remove_it, unlink(it))
CALL(remove_dir, rmdir(it))
CALL(rename_out, rename(it, "new"))
CALL(rename_in, rename("mine", "d/new"))
CALL(make_file, twin_shut(open("d/new", O_CREAT | O_EXCL | O_RDWR, 0666)))
CALL(make_dir, mkdir("d/new", 0777))
CALL(make_fifo, mkfifo("d/new", 0666))
CALL(make_socket, mknod("d/new", S_IFSOCK | 0666, 0))
CALL(make_link, symlink("x", "d/new"))
CALL(make_whiteout, mknod("d/new", S_IFCHR, 0))
CALL(make_nameless, twin_shut(open("d", O_TMPFILE | O_RDWR, 0666)))
CALL(enter, chdir(it))
CALL(look_into, twin_shut(open("d/it/in", O_RDONLY)))
CALL(make_inside, twin_shut(open("d/it/new", O_CREAT | O_RDWR, 0666)))
CALL(listing, twin_shut(open(it, O_RDONLY | O_DIRECTORY)))
CALL(space, statfs(it, &(struct statfs){ 0 }))
static int write_to(const struct twin_case *c)
{
    int fd = open(it, O_WRONLY | O_NONBLOCK), r = fd < 0 ? -1 : (int)write(fd, "new", 3);

    return fd < 0 ? -1 : (close(fd), r);
}
static int allocate(const struct twin_case *c)
{
    int fd = open(it, O_WRONLY | O_NONBLOCK), r = fd < 0 ? -1 : fallocate(fd, 0, 0, 8192);

    return fd < 0 ? -1 : (close(fd), r);
}
static int shorten_open(const struct twin_case *c)
{
    int fd = open(it, O_WRONLY | O_NONBLOCK), r = fd < 0 ? -1 : ftruncate(fd, 2);

    return fd < 0 ? -1 : (close(fd), r);
}
static int chown_link(const struct twin_case *c) { return lchown(it, (uid_t)-1, USER); }

#define C(name) { #name, name }
static const struct { const char *name; int (*fn)(const struct twin_case *c); } calls[] = { C(open_to_read), C(open_to_write), C(open_both), C(open_to_empty), C(open_read_truncate), C(open_or_make),
    C(open_quietly), C(open_append), C(open_path), C(may_read), C(may_write), C(may_run), C(to_644), C(to_2775), C(to_6711), C(to_1777), C(to_nobody), C(to_same_owner), C(to_own_group),
    C(to_same_group), C(to_both_same), C(to_others_group), C(to_none), C(cut_short), C(make_longer), C(times_now), C(times_both_now), C(times_set), C(times_one_now), C(times_one_left),
    C(times_now_and_left), C(times_left), C(give_attribute), C(take_attribute), C(read_attribute), C(list_attributes), C(give_trusted), C(read_trusted), C(take_trusted), C(give_security), C(give_capability), C(take_capability), C(read_capability),
    C(give_acl), C(give_default), C(take_acl), C(take_default), C(read_acl), C(link_it), C(link_into), C(remove_it), C(remove_dir), C(rename_out), C(rename_in), C(make_file), C(make_dir),
    C(make_fifo), C(make_socket), C(make_link), C(make_whiteout), C(make_nameless), C(enter), C(look_into), C(make_inside), C(listing), C(space), C(write_to), C(allocate), C(shorten_open),
    C(chown_link) };

/* --- the scene: d/it of USER and CREW with mode b, of kind a, with e besides; d with mode d --- */
enum { PLAIN, WITH_ACL, WITH_CAPABILITY };

static void scene(const struct twin_case *c)
{
    twin_dir("d", 0, 0, 0777);
    twin_file("mine", c->uid, c->gid, 0644);
    switch (c->a) {
    case 'd':
        OK(mkdir(it, 0777));
        twin_file("d/it/in", USER, CREW, 0644);
        break;
    case 'p': OK(mkfifo(it, 0644)); break;
    case 'l': OK(symlink("../mine", it)); break;
    default: put(it, "some text");
    }
    if (c->a == 'f' || c->a == 'd') {
        OK(setxattr(it, "user.there", "1", 1, 0));
        (void)!setxattr(it, "trusted.t", "1", 1, 0);      /* not in a user namespace */
    }
    OK(lchown(it, USER, CREW));
    if (c->a != 'l')
        OK(chmod(it, (mode_t)c->b));
    if (c->e == WITH_ACL)
        OK(set_acl("system.posix_acl_access"));
    if (c->e == WITH_CAPABILITY)
        OK(setxattr(it, "security.capability", capability, sizeof capability, 0));
    OK(chmod("d", (mode_t)c->d));
}

static bool both(const char *result, const char *here, const char *there)
{
    return !strncmp(here, result, strlen(result)) && !strncmp(there, result, strlen(result));
}

static bool known(const struct twin_case *c, const char *here, const char *there)
{
    if (c->call == take_acl || c->call == take_default)            /* where there is none tmpfs changes the ctime all the same */
        return both("0\n", here, there);
    if (!on_coppice)                                               /* ext4 does nothing where the value is the same already */
        return (c->call == give_acl || c->call == give_capability) && both("0\n", here, there);
    /* chown(-1, -1) by a stranger: the kernel has had the capability removed (setattr_prepare), as it does for files without setuid, before we are asked. */
    return c->call == to_none && c->e == WITH_CAPABILITY && both("EPERM\n", here, there);
}

static void table(const char *kinds, const mode_t *modes, size_t count, mode_t dir_mode, int with, unsigned one_in)
{
    twin_begin(known, one_in);
    for (size_t k = 0; k < sizeof calls / sizeof calls[0]; k++)
        for (const char *kind = kinds; *kind; kind++)
            for (size_t m = 0; m < count; m++)
                for (int w = 0; w < CALLERS; w++)
                    twin(&(struct twin_case){ scene, calls[k].fn, callers[w].uid, callers[w].gid, callers[w].also, .a = *kind, .b = (int)modes[m], .d = (int)dir_mode, .e = with },
                         "%s on %c %o in %o by %s", calls[k].name, *kind, modes[m], dir_mode, callers[w].name);
    twin_end();
}

static void calls_with_modes(void)
{
    static const mode_t modes[] = { 0, 0400, 0200, 0040, 0020, 0004, 0002, 0644, 0666, 0750, 0705, 0057 };

    table("fd", modes, sizeof modes / sizeof modes[0], 0777, PLAIN, 40);
}

static void calls_with_setuid(void)
{
    static const mode_t modes[] = { 06777, 04777, 02777, 02767, 06711, 01777, 02666 };

    table("fdpl", modes, sizeof modes / sizeof modes[0], 0777, PLAIN, 40);
}

static void calls_in_directories(void)
{
    static const mode_t modes[] = { 0666, 01777 }, dirs[] = { 0755, 0766, 0711, 01777, 02777, 0700 };

    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        table("fd", modes, 2, dirs[i], PLAIN, 40);
}

static void calls_with_acls(void)
{
    static const mode_t modes[] = { 0751, 02771, 0700, 0070, 06777 };

    table("fd", modes, sizeof modes / sizeof modes[0], 0777, WITH_ACL, 15);
}

static void calls_with_capabilities(void)
{
    static const mode_t modes[] = { 0777, 06777, 0666 };

    table("f", modes, sizeof modes / sizeof modes[0], 0777, WITH_CAPABILITY, 8);
}

static void modes_say_who_may_as_elsewhere(void) { twin_everywhere(calls_with_modes); }
static void setuid_and_setgid_go_as_elsewhere(void) { twin_everywhere(calls_with_setuid); }
static void directories_say_who_may_as_elsewhere(void) { twin_everywhere(calls_in_directories); }
static void acls_say_who_may_as_elsewhere(void) { twin_everywhere(calls_with_acls); }
static void capabilities_go_as_elsewhere(void) { twin_everywhere(calls_with_capabilities); }

const struct posix_test posix_every_right_tests[] = {
    { "modes_say_who_may_as_elsewhere", modes_say_who_may_as_elsewhere },
    { "setuid_and_setgid_go_as_elsewhere", setuid_and_setgid_go_as_elsewhere },
    { "directories_say_who_may_as_elsewhere", directories_say_who_may_as_elsewhere },
    { "acls_say_who_may_as_elsewhere", acls_say_who_may_as_elsewhere },
    { "capabilities_go_as_elsewhere", capabilities_go_as_elsewhere },
    { 0 }
};
