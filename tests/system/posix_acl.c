/* POSIX ACLs by their raw attributes: acl(5). */
#include "tests/system/posix.h"

#include <endian.h>
#include <sys/xattr.h>

enum { U_OBJ = 1, U = 2, G_OBJ = 4, G = 8, MASK = 16, O = 32 };
static const char ACCESS[] = "system.posix_acl_access", DEFAULT[] = "system.posix_acl_default";

struct entry { uint16_t tag, perm; uint32_t id; };
struct acl { uint32_t version; struct entry e[12]; };
#define ANY UINT32_MAX

static size_t size_of(const struct acl *a)
{
    size_t n = 0;

    while (n < 12 && a->e[n].tag)
        n++;
    return 4 + n * sizeof(struct entry);
}

#define ACL(...) (&(const struct acl){ 2, { __VA_ARGS__ } })

static int set(const char *path, const char *name, const struct acl *a)
{
    return setxattr(path, name, a, size_of(a), 0);
}

static void same(int line, const char *path, const char *name, const struct acl *want)
{
    struct acl a = { 0 };
    ssize_t n = getxattr(path, name, &a, sizeof a);

    if (n == (ssize_t)size_of(want) && !memcmp(&a, want, (size_t)n))
        return;
    failed(__FILE__, line, "%s of %s: %zd bytes (%s)", name, path, n, strerror(errno));
    for (ssize_t i = 0; i < (n - 4) / 8; i++)
        fprintf(stderr, "    tag %#x perm %o id %d\n", a.e[i].tag, a.e[i].perm, (int)a.e[i].id);
}
#define IS(path, name, ...) same(__LINE__, path, name, ACL(__VA_ARGS__))

static bool supported(void)
{
    bool ok;

    make("probe", 'f');
    ok = !set("probe", ACCESS, ACL({ U_OBJ, 6, ANY }, { G_OBJ, 4, ANY }, { O, 0, ANY }));
    if (!ok)
        skipped("no ACLs here: %s", strerror(errno));
    OK(unlink("probe"));
    return ok;
}

static void an_acl_gives_and_takes(void)
{
    if (!supported())
        return;
    put("f", "x");
    OK(chmod("f", 0600));
    OK(set("f", ACCESS, ACL({ U_OBJ, 6, ANY }, { U, 6, USER }, { U, 0, FRIEND }, { G_OBJ, 0, ANY }, { G, 4, CREW }, { MASK, 4, ANY }, { O, 4, ANY })));
    SAME(mode_of("f"), 0644);             /* the group bits are the mask */
    AS(USER) {
        OK(open("f", O_RDONLY));
        FAILS(open("f", O_RDWR), EACCES); /* masked */
    }
    AS_GROUP(FRIEND, FRIEND, CREW) {
        FAILS(open("f", O_RDONLY), EACCES);
    }
    AS_GROUP(3000, 3000, CREW) {
        OK(open("f", O_RDONLY));
        FAILS(open("f", O_WRONLY), EACCES);
    }
    AS_GROUP(3000, 3000, 0) {             /* in the owning group, which may nothing: "other" is not for it */
        FAILS(open("f", O_RDONLY), EACCES);
    }
    AS(3000) {
        OK(open("f", O_RDONLY));
    }
    OK(chmod("f", 0666));                 /* raises the mask, leaves the rest */
    IS("f", ACCESS, { U_OBJ, 6, ANY }, { U, 6, USER }, { U, 0, FRIEND }, { G_OBJ, 0, ANY }, { G, 4, CREW }, { MASK, 6, ANY }, { O, 6, ANY });
    AS(USER) {
        OK(open("f", O_RDWR));
    }
    OK(chmod("f", 0600));
    AS(USER) {
        FAILS(open("f", O_RDONLY), EACCES);
    }
    remount();
    IS("f", ACCESS, { U_OBJ, 6, ANY }, { U, 6, USER }, { U, 0, FRIEND }, { G_OBJ, 0, ANY }, { G, 4, CREW }, { MASK, 0, ANY }, { O, 0, ANY });
    SAME(mode_of("f"), 0600);
    OK(set("f", ACCESS, ACL({ U_OBJ, 7, ANY }, { G_OBJ, 5, ANY }, { O, 1, ANY })));      /* no more than a mode: not kept */
    FAILS(getxattr("f", ACCESS, NULL, 0), ENODATA);
    SAME(mode_of("f"), 0751);
}

static void an_acl_is_checked_and_removed(void)
{
    char b[8];

    if (!supported())
        return;
    put("f", "x");
    OK(mkdir("d", 0755));
    OK(symlink("f", "l"));
    FAILS(setxattr("f", ACCESS, "abc", 3, 0), EINVAL);
    FAILS(set("f", ACCESS, ACL({ U_OBJ, 6, ANY }, { U, 6, USER }, { G_OBJ, 4, ANY }, { O, 0, ANY })), EINVAL);     /* no mask */
    FAILS(set("f", ACCESS, ACL({ U_OBJ, 6, ANY }, { O, 0, ANY })), EINVAL);
    FAILS(set("f", ACCESS, ACL({ U_OBJ, 8, ANY }, { G_OBJ, 4, ANY }, { O, 0, ANY })), EINVAL);
    FAILS(set("f", ACCESS, ACL({ O, 0, ANY }, { G_OBJ, 4, ANY }, { U_OBJ, 6, ANY })), EINVAL);
    FAILS(set("f", DEFAULT, ACL({ U_OBJ, 6, ANY }, { G_OBJ, 4, ANY }, { O, 0, ANY })), EACCES);
    FAILS(lsetxattr("l", ACCESS, ACL({ U_OBJ, 6, ANY }, { G_OBJ, 4, ANY }, { O, 0, ANY }), 28, 0), EOPNOTSUPP);
    OK(chown("f", USER, USER));
    OK(chmod("f", 0666));
    AS(FRIEND) {
        FAILS(set("f", ACCESS, ACL({ U_OBJ, 7, ANY }, { G_OBJ, 4, ANY }, { O, 0, ANY })), EPERM);
        FAILS(removexattr("f", ACCESS), EPERM);
    }
    AS(USER) {
        OK(set("f", ACCESS, ACL({ U_OBJ, 6, ANY }, { U, 4, FRIEND }, { G_OBJ, 4, ANY }, { MASK, 4, ANY }, { O, 0, ANY })));
    }
    SAME(mode_of("f"), 0640);
    AS(FRIEND) {
        OK(open("f", O_RDONLY));
        SAME(getxattr("f", ACCESS, NULL, 0), 44);
        FAILS(getxattr("f", ACCESS, b, 8), ERANGE);
    }
    OK(removexattr("f", ACCESS));
    SAME(mode_of("f"), 0640);
    AS(FRIEND) {
        FAILS(open("f", O_RDONLY), EACCES);
    }
    FAILS(getxattr("f", ACCESS, NULL, 0), ENODATA);
    OK(set("d", DEFAULT, ACL({ U_OBJ, 7, ANY }, { G_OBJ, 5, ANY }, { O, 5, ANY })));     /* minimal ones of directories are kept */
    IS("d", DEFAULT, { U_OBJ, 7, ANY }, { G_OBJ, 5, ANY }, { O, 5, ANY });
    OK(removexattr("d", DEFAULT));
    FAILS(getxattr("d", DEFAULT, NULL, 0), ENODATA);
    OK(set("f", ACCESS, ACL({ U_OBJ, 6, ANY }, { U, 4, FRIEND }, { G_OBJ, 4, ANY }, { MASK, 4, ANY }, { O, 0, ANY })));
    OK(chmod("f", 02670));
    AS(USER) {                            /* the owner, but not in... its group is his: setgid stays */
        OK(set("f", ACCESS, ACL({ U_OBJ, 6, ANY }, { U, 4, FRIEND }, { G_OBJ, 4, ANY }, { MASK, 7, ANY }, { O, 0, ANY })));
    }
    SAME(mode_of("f"), 02670);
    OK(chown("f", USER, CREW));
    OK(chmod("f", 02670));
    AS(USER) {
        OK(set("f", ACCESS, ACL({ U_OBJ, 6, ANY }, { U, 4, FRIEND }, { G_OBJ, 4, ANY }, { MASK, 7, ANY }, { O, 0, ANY })));
    }
    SAME(mode_of("f"), 0670);
}

static void a_default_acl_is_inherited(void)
{
    if (!supported())
        return;
    OK(mkdir("d", 0777));
    OK(set("d", DEFAULT, ACL({ U_OBJ, 7, ANY }, { U, 7, USER }, { G_OBJ, 5, ANY }, { MASK, 7, ANY }, { O, 1, ANY })));
    SAME(mode_of("d"), 0777);
    umask(077);                           /* has no say where there is a default ACL */
    OK(close(open_new("d/f", 0666)));
    OK(mkdir("d/sub", 0777));
    OK(close(open_new("d/tight", 0600)));
    OK(mkfifo("d/p", 0666));
    OK(symlink("x", "d/l"));
    int fd = open("d", O_TMPFILE | O_RDWR, 0666);
    OK(fd);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    OK(linkat(AT_FDCWD, path, AT_FDCWD, "d/t", AT_SYMLINK_FOLLOW));
    close(fd);
    remount();
    SAME(mode_of("d/f"), 0660);
    IS("d/f", ACCESS, { U_OBJ, 6, ANY }, { U, 7, USER }, { G_OBJ, 5, ANY }, { MASK, 6, ANY }, { O, 0, ANY });
    IS("d/t", ACCESS, { U_OBJ, 6, ANY }, { U, 7, USER }, { G_OBJ, 5, ANY }, { MASK, 6, ANY }, { O, 0, ANY });
    IS("d/p", ACCESS, { U_OBJ, 6, ANY }, { U, 7, USER }, { G_OBJ, 5, ANY }, { MASK, 6, ANY }, { O, 0, ANY });
    SAME(mode_of("d/tight"), 0600);
    IS("d/tight", ACCESS, { U_OBJ, 6, ANY }, { U, 7, USER }, { G_OBJ, 5, ANY }, { MASK, 0, ANY }, { O, 0, ANY });
    SAME(mode_of("d/sub"), 0771);
    IS("d/sub", ACCESS, { U_OBJ, 7, ANY }, { U, 7, USER }, { G_OBJ, 5, ANY }, { MASK, 7, ANY }, { O, 1, ANY });
    IS("d/sub", DEFAULT, { U_OBJ, 7, ANY }, { U, 7, USER }, { G_OBJ, 5, ANY }, { MASK, 7, ANY }, { O, 1, ANY });
    AS(USER) {
        OK(open("d/f", O_RDWR));
        FAILS(open("d/tight", O_RDONLY), EACCES);
        put("d/sub/mine", "x");
    }
    FAILS(lgetxattr("d/l", ACCESS, NULL, 0), EOPNOTSUPP);
    OK(set("d", DEFAULT, ACL({ U_OBJ, 7, ANY }, { G_OBJ, 0, ANY }, { O, 5, ANY })));     /* a minimal one gives modes only */
    OK(close(open_new("d/g", 0666)));
    SAME(mode_of("d/g"), 0604);
    FAILS(getxattr("d/g", ACCESS, NULL, 0), ENODATA);
    OK(mkdir("d/sub2", 0777));
    SAME(mode_of("d/sub2"), 0705);
    OK(removexattr("d", DEFAULT));
    OK(close(open_new("d/h", 0666)));
    SAME(mode_of("d/h"), 0600);
    umask(0);
}

static void what_one_process_sets_holds_for_the_next(void)
{
    if (!supported())
        return;
    put("f", "x");
    OK(chmod("f", 0600));
    for (int i = 0; i < 5; i++) {
        OK(set("f", ACCESS, ACL({ U_OBJ, 6, ANY }, { U, 4, USER }, { G_OBJ, 0, ANY }, { MASK, 4, ANY }, { O, 0, ANY })));
        AS(USER) {
            OK(open("f", O_RDONLY));
            OK(access("f", R_OK));
        }
        CHILD {
            OK(removexattr("f", ACCESS));
            OK(chmod("f", 0600));
        }
        AS(USER) {
            FAILS(open("f", O_RDONLY), EACCES);
        }
    }
}

const struct posix_test posix_acl_tests[] = {
    { "an_acl_gives_and_takes", an_acl_gives_and_takes },
    { "an_acl_is_checked_and_removed", an_acl_is_checked_and_removed },
    { "a_default_acl_is_inherited", a_default_acl_is_inherited },
    { "what_one_process_sets_holds_for_the_next", what_one_process_sets_holds_for_the_next },
    { 0 }
};
