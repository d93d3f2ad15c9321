/* Which error a call gives for which path: every call on every path that leads nowhere, is too long, loops, or ends at something that the call is not
 * for. What tmpfs answers is what must be here. */
#include "tests/system/posix_twin.h"

#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <sys/xattr.h>

static char path[5000];                   /* of the case at hand */

static int watch_it(void)
{
    int fd = inotify_init1(IN_CLOEXEC), r = inotify_add_watch(fd, path, IN_ALL_EVENTS), e = errno;

    close(fd);
    errno = e;
    return r < 0 ? -1 : 0;
}

static int bind_it(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

    if (strlen(path) >= sizeof a.sun_path)
        return twin_shut(fd), 0;
    strcpy(a.sun_path, path);
    r = bind(fd, (struct sockaddr *)&a, sizeof a);
    int e = errno;
    close(fd);
    errno = e;
    return r;
}

static int execute_it(void)
{
    int e = 0, fd[2];

    if (pipe2(fd, O_CLOEXEC))
        return -1;
    pid_t pid = fork();
    if (!pid) {
        execl(path, "x", (char *)NULL);
        e = errno;
        _exit(write(fd[1], &e, sizeof e) != sizeof e);
    }
    close(fd[1]);
    bool failed_ = read(fd[0], &e, sizeof e) == sizeof e;
    close(fd[0]);
    waitpid(pid, NULL, 0);
    errno = e;
    return failed_ ? -1 : 0;
}

#define CALL(name, expr) static int name(const struct twin_case *c) { return (int)(expr) < 0 ? -1 : 0; }
CALL(to_read, twin_shut(open(path, O_RDONLY | O_NONBLOCK)))
CALL(to_write, twin_shut(open(path, O_WRONLY | O_NONBLOCK)))
CALL(to_truncate, twin_shut(open(path, O_RDWR | O_TRUNC | O_NONBLOCK)))
CALL(to_create, twin_shut(open(path, O_RDWR | O_CREAT | O_NONBLOCK, 0644)))
CALL(to_create_only, twin_shut(open(path, O_RDWR | O_CREAT | O_EXCL, 0644)))
CALL(to_list, twin_shut(open(path, O_RDONLY | O_DIRECTORY)))
CALL(to_create_dir, twin_shut(open(path, O_RDONLY | O_CREAT | O_DIRECTORY, 0755)))
CALL(not_follow, twin_shut(open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)))
CALL(nofollow_dir, twin_shut(open(path, O_RDONLY | O_NOFOLLOW | O_DIRECTORY)))
CALL(create_nofollow, twin_shut(open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0644)))
CALL(only_path, twin_shut(open(path, O_PATH)))
CALL(only_path_nofollow, twin_shut(open(path, O_PATH | O_NOFOLLOW)))
CALL(without_name, twin_shut(open(path, O_TMPFILE | O_RDWR, 0644)))
CALL(without_name_ever, twin_shut(open(path, O_TMPFILE | O_EXCL | O_WRONLY, 0644)))
CALL(direct, twin_shut(open(path, O_RDONLY | O_DIRECT | O_NONBLOCK)))
CALL(new_dir, mkdir(path, 0755))
CALL(new_fifo, mkfifo(path, 0644))
CALL(new_socket, mknod(path, S_IFSOCK | 0644, 0))
CALL(new_whiteout, mknod(path, S_IFCHR, 0))
CALL(new_link, symlink("target", path))
CALL(bound, bind_it())
CALL(linked, link(path, "new"))
CALL(linked_through, linkat(AT_FDCWD, path, AT_FDCWD, "new", AT_SYMLINK_FOLLOW))
CALL(link_to, link("mine", path))
CALL(removed, unlink(path))
CALL(removed_dir, rmdir(path))
CALL(renamed, rename(path, "new"))
CALL(renamed_over_dir, rename(path, "mydir"))
CALL(rename_to, rename("mine", path))
CALL(rename_dir_to, rename("mydir", path))
CALL(rename_keeping, renameat2(AT_FDCWD, "mine", AT_FDCWD, path, RENAME_NOREPLACE))
CALL(exchanged, renameat2(AT_FDCWD, "mine", AT_FDCWD, path, RENAME_EXCHANGE))
CALL(exchanged_dir, renameat2(AT_FDCWD, path, AT_FDCWD, "mydir", RENAME_EXCHANGE))
CALL(mode, chmod(path, 0700))
CALL(mode_of_link, fchmodat(AT_FDCWD, path, 0700, AT_SYMLINK_NOFOLLOW))
CALL(owner, chown(path, (uid_t)-1, (gid_t)-1))
CALL(owner_of_link, lchown(path, 5, 6))
CALL(size, truncate(path, 3))
CALL(negative_size, truncate(path, -1))
CALL(time_now, utimensat(AT_FDCWD, path, NULL, 0))
CALL(time_of_link, utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW))
CALL(asked, stat(path, &(struct stat){ 0 }))
CALL(asked_link, lstat(path, &(struct stat){ 0 }))
CALL(asked_x, statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_ALL, &(struct statx){ 0 }))
CALL(may, faccessat(AT_FDCWD, path, R_OK, AT_EACCESS))
CALL(target, readlink(path, (char[8]){ 0 }, 8))
CALL(no_room, readlink(path, (char[8]){ 0 }, 0))
CALL(attribute, getxattr(path, "user.none", NULL, 0))
CALL(new_attribute, setxattr(path, "user.a", "b", 1, 0))
CALL(link_attribute, lsetxattr(path, "trusted.a", "b", 1, 0))
CALL(replaced_attribute, setxattr(path, "user.a", "b", 1, XATTR_REPLACE))
CALL(odd_attribute, setxattr(path, "other.a", "b", 1, 0))
CALL(long_attribute, setxattr(path, "user.nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
     "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", "b", 1, 0))
CALL(no_attribute, removexattr(path, "user.none"))
CALL(attributes, listxattr(path, NULL, 0))
CALL(link_attributes, llistxattr(path, NULL, 0))
CALL(space, statfs(path, &(struct statfs){ 0 }))
CALL(limits, pathconf(path, _PC_NAME_MAX))
CALL(enter, chdir(path))
CALL(watched, watch_it())
CALL(executed, execute_it())
CALL(handle, name_to_handle_at(AT_FDCWD, path, &(struct file_handle){ 0 }, &(int){ 0 }, 0))

#define C(name) { #name, name }
static const struct { const char *name; int (*fn)(const struct twin_case *c); } calls[] = { C(to_read), C(to_write), C(to_truncate), C(to_create), C(to_create_only), C(to_list),
    C(to_create_dir), C(not_follow), C(nofollow_dir), C(create_nofollow), C(only_path), C(only_path_nofollow), C(without_name), C(without_name_ever), C(direct), C(new_dir), C(new_fifo),
    C(new_socket), C(new_whiteout), C(new_link), C(bound), C(linked), C(linked_through), C(link_to), C(removed), C(removed_dir), C(renamed), C(renamed_over_dir), C(rename_to), C(rename_dir_to),
    C(rename_keeping), C(exchanged), C(exchanged_dir), C(mode), C(mode_of_link), C(owner), C(owner_of_link), C(size), C(negative_size), C(time_now), C(time_of_link), C(asked), C(asked_link),
    C(asked_x), C(may), C(target), C(no_room), C(attribute), C(new_attribute), C(link_attribute), C(replaced_attribute), C(odd_attribute), C(long_attribute), C(no_attribute), C(attributes),
    C(link_attributes), C(space), C(limits), C(enter), C(watched), C(executed), C(handle) };
enum { CALLS = sizeof calls / sizeof calls[0] };

/* %L: 255 letters, %M: 256 of them, %U: 85 signs of three bytes, %V: one more, %P: slashes up to 4095 bytes in all, %Q: one more. */
static const char *const paths[] = { "f", "d", "full", "l_f", "l_d", "dead", "p", "s", "w", "none", "f/", "d/", "full/", "l_f/", "l_d/", "dead/", "none/", "p/", "f/x", "none/x", "p/x", "dead/x", "l_f/x",
    "d/new", "l_d/new", "full/in", "full/in/", "closed/x", "closed/", "listed/in", "listed/new", "loop", "loop/", "loop/x", "self/self/self/f", "d/.", "d/..", "d/./", "f/.", "f/..", "none/..", ".", "",
    "%L", "%M", "%U", "%V", "d/%L", "d/%M", "%M/x", "none/%M", "f/%M", "%P", "%Q", "l_long", "l_long/x", "chain40", "chain41", "\xff\xfe bytes", "new\nline", "..." };

static bool is_winding(const char *p)
{
    return !strncmp(p, "loop", 4) || !strncmp(p, "self", 4) || !strncmp(p, "chain", 5) || !strncmp(p, "l_long", 6);
}

static void scene(const struct twin_case *c)
{
    char to[16];

    twin_file("f", c->uid, c->gid, 0755);
    twin_dir("d", c->uid, c->gid, 0755);
    twin_dir("full", c->uid, c->gid, 0755);
    put("full/in", "in");
    OK(symlink("f", "l_f"));
    OK(symlink("d", "l_d"));
    OK(symlink("nowhere", "dead"));
    OK(mkfifo("p", 0644));
    OK(mknod("s", S_IFSOCK | 0644, 0));
    OK(mknod("w", S_IFCHR | 0644, 0));
    twin_file("mine", c->uid, c->gid, 0644);
    twin_dir("mydir", c->uid, c->gid, 0755);
    if (c->c == 1) {
        OK(symlink("loop", "loop"));
        OK(symlink(".", "self"));
        memset(path, 'n', 256);
        path[256] = 0;
        OK(symlink(path, "l_long"));
        OK(symlink("f", "chain0"));
        for (int i = 1; i <= 41; i++) {
            snprintf(path, sizeof path, "chain%d", i);
            snprintf(to, sizeof to, "chain%d", i - 1);
            OK(symlink(to, path));
        }
    }
    twin_dir("closed", 0, 0, 0700);
    put("closed/x", "x");
    twin_dir("listed", 0, 0, 0744);
    put("listed/in", "in");
}

static void set_path(const char *from)
{
    size_t n = 0;

    for (; *from; from++) {
        if (*from != '%') {
            path[n++] = *from;
            continue;
        }
        from++;
        if (*from == 'L' || *from == 'M') {
            size_t k = *from == 'L' ? 255 : 256;
            memset(path + n, 'n', k);
            n += k;
        } else if (*from == 'U' || *from == 'V') {
            for (int i = 0; i < (*from == 'U' ? 85 : 86); i++, n += 3)
                memcpy(path + n, "\xe4\xb8\xad", 3);
        } else {
            size_t k = *from == 'P' ? 4095 : 4096;
            memset(path, '/', k);
            path[0] = '.';
            path[k - 1] = 'f';
            n = k;
        }
    }
    path[n] = 0;
}

static int call_it(const struct twin_case *c)
{
    set_path(paths[c->b]);
    return calls[c->a].fn(c);
}

static void table(uid_t uid, unsigned one_in)
{
    twin_begin(NULL, one_in);
    for (size_t p = 0; p < sizeof paths / sizeof paths[0]; p++)
        for (int k = 0; k < CALLS; k++)
            twin(&(struct twin_case){ scene, call_it, uid, uid, uid, .a = k, .b = (int)p, .c = is_winding(paths[p]) }, "%s of '%s'", calls[k].name, paths[p]);
    twin_end();
}

static void a_user_s_errors(void) { table(USER, 20); }
static void errors_of_root_are_those_of_elsewhere(void) { table(0, 20); }
static void errors_of_users_are_those_of_elsewhere(void) { twin_everywhere(a_user_s_errors); }

const struct posix_test posix_every_error_tests[] = {
    { "errors_of_root_are_those_of_elsewhere", errors_of_root_are_those_of_elsewhere },
    { "errors_of_users_are_those_of_elsewhere", errors_of_users_are_those_of_elsewhere },
    { 0 }
};
