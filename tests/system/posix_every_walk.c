/* Random calls of several users, one after the other on one tree, here and in a tmpfs: what one call left in the caches of the kernel must not
 * show in the next. Results and the whole tree are compared after each. */
#include "tests/system/posix_twin.h"

#include <sys/xattr.h>

static uint64_t state;

static unsigned pick(unsigned n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % n;
}

static const char *const paths[] = { "a", "b", "c", "d", "e", "d/a", "d/b", "d/c", "e/a", "e/b", "d/d", "d/d/a", "e/d", "e/d/a", "a/a" };
enum { PATHS = sizeof paths / sizeof paths[0] };
static const mode_t modes[] = { 0, 0400, 0600, 0644, 0666, 0700, 0711, 0755, 0770, 0777, 01777, 02775, 03777, 04755, 06711, 02644, 0070, 0007 };
enum { MODES = sizeof modes / sizeof modes[0] };
static const uid_t ids[] = { (uid_t)-1, 0, USER, FRIEND, CREW };

struct entry { uint16_t tag, perm; uint32_t id; };
struct acl { uint32_t version; struct entry e[6]; };
#define ANY UINT32_MAX

static int put_acl(const char *path, const char *which, unsigned n)
{
    struct acl a = { 2, { { 1, (uint16_t)(n & 7), ANY }, { 2, (uint16_t)(n >> 3 & 7), n & 1 ? USER : FRIEND }, { 4, (uint16_t)(n >> 6 & 7), ANY }, { 8, (uint16_t)(n >> 9 & 7), CREW },
        { 16, (uint16_t)(n >> 12 & 7), ANY }, { 32, (uint16_t)(n >> 2 & 7), ANY } } };

    return setxattr(path, which, &a, sizeof a, 0);
}

static int written(const char *path, int flags, const char *text)
{
    int fd = open(path, O_WRONLY | O_NONBLOCK | flags), r = fd < 0 ? -1 : (int)write(fd, text, strlen(text)), e = errno;

    if (fd >= 0)
        close(fd);
    errno = e;
    return r;
}

static int read_whole(const char *path)
{
    char b[64];
    int fd = open(path, O_RDONLY | O_NONBLOCK), r = fd < 0 ? -1 : (int)read(fd, b, sizeof b), e = errno;

    if (fd >= 0)
        close(fd);
    errno = e;
    return r;
}

static int nameless(const char *dir, const char *to, mode_t mode)
{
    char path[64];
    int fd = open(dir, O_TMPFILE | O_RDWR, mode);

    if (fd < 0)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int r = linkat(AT_FDCWD, path, AT_FDCWD, to, AT_SYMLINK_FOLLOW), e = errno;
    close(fd);
    errno = e;
    return r;
}

/* a: which call; b, c: paths; d: a mode; e: anything. */
static const char *const names[] = { "open", "create", "write", "append", "truncate", "mkdir", "symlink", "mkfifo", "link", "unlink", "rmdir", "rename", "exchange", "keep", "chmod", "chown", "lchown",
    "access acl", "default acl", "no access acl", "no default acl", "setxattr", "removexattr", "read acl", "access", "times", "now", "nameless", "read", "stat", "list", "getxattr" };
enum { CALLS = sizeof names / sizeof names[0] };

static int call(const struct twin_case *c)
{
    const char *p = paths[c->b], *q = paths[c->c], *const *name = &names[c->a];
    mode_t mode = modes[c->d];
    struct stat st;

#define IS(x) (!strcmp(*name, x))
    if (IS("open")) return twin_shut(open(p, (c->e & 3) | O_NONBLOCK));
    if (IS("create")) return twin_shut(open(p, O_RDWR | O_CREAT | O_NONBLOCK | (c->e & 4 ? O_EXCL : 0) | (c->e & 8 ? O_TRUNC : 0), mode));
    if (IS("write")) return written(p, 0, q);
    if (IS("append")) return written(p, O_APPEND, "+");
    if (IS("truncate")) return truncate(p, c->e % 7);
    if (IS("mkdir")) return mkdir(p, mode);
    if (IS("symlink")) return symlink(c->e & 1 ? q : "a", p);
    if (IS("mkfifo")) return mkfifo(p, mode);
    if (IS("link")) return link(p, q);
    if (IS("unlink")) return unlink(p);
    if (IS("rmdir")) return rmdir(p);
    if (IS("rename")) return rename(p, q);
    if (IS("exchange")) return renameat2(AT_FDCWD, p, AT_FDCWD, q, RENAME_EXCHANGE);
    if (IS("keep")) return renameat2(AT_FDCWD, p, AT_FDCWD, q, RENAME_NOREPLACE);
    if (IS("chmod")) return chmod(p, mode);
    if (IS("chown")) return chown(p, ids[c->e % 5], ids[c->e / 5 % 5]);
    if (IS("lchown")) return lchown(p, ids[c->e % 5], ids[c->e / 5 % 5]);
    if (IS("access acl")) return put_acl(p, "system.posix_acl_access", (unsigned)c->e);
    if (IS("default acl")) return put_acl(p, "system.posix_acl_default", (unsigned)c->e);
    if (IS("no access acl")) return removexattr(p, "system.posix_acl_access");
    if (IS("no default acl")) return removexattr(p, "system.posix_acl_default");
    if (IS("setxattr")) return setxattr(p, c->e & 1 ? "user.a" : "user.b", q, strlen(q), c->e & 2 ? XATTR_CREATE : 0);
    if (IS("removexattr")) return removexattr(p, c->e & 1 ? "user.a" : "user.b");
    if (IS("read acl")) return (int)getxattr(p, c->e & 1 ? "system.posix_acl_access" : "system.posix_acl_default", NULL, 0);
    if (IS("access")) return faccessat(AT_FDCWD, p, c->e & 7, AT_EACCESS);
    if (IS("times")) return utimensat(AT_FDCWD, p, (struct timespec[]){ { 1, 2 }, { 3, 4 } }, 0);
    if (IS("now")) return utimensat(AT_FDCWD, p, NULL, c->e & 1 ? AT_SYMLINK_NOFOLLOW : 0);
    if (IS("nameless")) return nameless(p, q, mode);
    if (IS("read")) return read_whole(p);
    if (IS("stat")) return stat(p, &st) ? -1 : (int)st.st_mode;
    if (IS("list")) return twin_shut(open(p, O_RDONLY | O_DIRECTORY));
    return (int)getxattr(p, "user.a", NULL, 0);
}

static void scene(const struct twin_case *c)
{
    twin_dir("d", USER, CREW, 0775);
    twin_dir("e", 0, 0, 01777);
    twin_file("a", USER, CREW, 0664);
}

static void walks(void)
{
    enum { WALKS = 3, STEPS = 350 };
    static const struct { uid_t uid; gid_t gid, also; } who[] = { { 0, 0, 0 }, { USER, USER, CREW }, { FRIEND, FRIEND, FRIEND }, { FRIEND, CREW, FRIEND }, { USER, USER, USER } };
    static const mode_t umasks[] = { 0, 022, 077, 0117 };
    const char *more = getenv("COPPICE_WALKS");
    int walks_ = more ? atoi(more) : WALKS;

    state = seed_of("random calls");
    for (int w = 0; w < walks_; w++) {
        twin_walk_begin(&(struct twin_case){ .scene = scene });
        for (int i = 0; i < STEPS; i++) {
            if (i % 40 == 39)
                freeze();
            if (i % 120 == 119)
                remount();
            unsigned by = pick(4) ? pick(5) : 0;
            struct twin_case c = { scene, call, who[by].uid, who[by].gid, who[by].also, umasks[pick(4)], (int)pick(CALLS), (int)pick(PATHS), (int)pick(PATHS), (int)pick(MODES), (int)pick(1 << 15) };
            if (!strcmp(names[c.a], "no access acl"))          /* by an owner who is not in the group tmpfs clears setgid, ext4 does not */
                c.uid = 0;
            if (!twin_step(&c, "walk %d, step %d: %s %s, %s, %o, %d", w, i, names[c.a], paths[c.b], paths[c.c], modes[c.d], c.e))
                break;
        }
        twin_walk_end();
    }
}

static void random_calls_of_several_users_do_as_elsewhere(void) { twin_everywhere(walks); }

const struct posix_test posix_every_walk_tests[] = {
    { "random_calls_of_several_users_do_as_elsewhere", random_calls_of_several_users_do_as_elsewhere },
    { 0 }
};
