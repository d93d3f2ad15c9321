/* Extended attributes. */
#include "tests/system/posix.h"

#include <sys/xattr.h>

static bool listed(const char *path, const char *name)
{
    char b[4096];
    ssize_t n = llistxattr(path, b, sizeof b);

    for (ssize_t i = 0; i < n; i += (ssize_t)strlen(b + i) + 1)
        if (!strcmp(b + i, name))
            return true;
    return false;
}

static void attributes_are_set_read_listed_and_removed(void)
{
    char b[16], name[260];

    put("f", "x");
    FAILS(getxattr("f", "user.a", b, sizeof b), ENODATA);
    FAILS(removexattr("f", "user.a"), ENODATA);
    SAME(listxattr("f", NULL, 0), 0);
    FAILS(setxattr("f", "user.a", "1", 1, XATTR_REPLACE), ENODATA);
    OK(setxattr("f", "user.a", "1", 1, XATTR_CREATE));
    FAILS(setxattr("f", "user.a", "2", 1, XATTR_CREATE), EEXIST);
    OK(setxattr("f", "user.a", "three", 5, XATTR_REPLACE));
    SAME(getxattr("f", "user.a", NULL, 0), 5);
    SAME(getxattr("f", "user.a", b, sizeof b), 5);
    T(!memcmp(b, "three", 5));
    FAILS(getxattr("f", "user.a", b, 4), ERANGE);
    OK(setxattr("f", "user.empty", "", 0, 0));
    SAME(getxattr("f", "user.empty", b, sizeof b), 0);
    SAME(listxattr("f", NULL, 0), 7 + 11);
    FAILS(listxattr("f", b, 5), ERANGE);
    T(listed("f", "user.a") && listed("f", "user.empty"));
    OK(removexattr("f", "user.a"));
    T(!listed("f", "user.a") && listed("f", "user.empty"));
    FAILS(setxattr("f", "odd.a", "1", 1, 0), EOPNOTSUPP);
    FAILS(setxattr("f", "user.", "1", 1, 0), EINVAL);
    FAILS(setxattr("f", "user", "1", 1, 0), EOPNOTSUPP);
    FAILS(setxattr("f", "", "1", 1, 0), ERANGE);
    memset(name, 'n', sizeof name);
    memcpy(name, "user.", 5);
    name[255] = 0;
    OK(setxattr("f", name, "1", 1, 0));
    T(listed("f", name));
    name[255] = 'n';
    name[256] = 0;
    FAILS(setxattr("f", name, "1", 1, 0), ERANGE);
    FAILS(setxattr("f", "user.x", "1", 1, 4), EINVAL);
    FAILS(getxattr("none", "user.a", b, 1), ENOENT);
    FAILS(getxattr("f/x", "user.a", b, 1), ENOTDIR);
}

static void values_have_up_to_64_kib(void)
{
    static char v[65537], b[65537];
    static const size_t sizes[] = { 1, 100, 2000, 3500, 4095, 4096, 4097, 10000, 65535, 65536 };
    char name[32];
    size_t n = sizeof sizes / sizeof sizes[0];
    int fd = open_new("f", 0644);

    for (size_t i = 0; i < sizeof v; i++)
        v[i] = (char)(i * 7 + i / 256);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "user.%zu", sizes[i]);
        if (fsetxattr(fd, name, v, sizes[i], 0)) {
            if (on_coppice)
                failed(__FILE__, __LINE__, "%s: %s", name, strerror(errno));
            else
                skipped("%s: %s", name, strerror(errno));
            n = i;
        }
    }
    FAILS(fsetxattr(fd, "user.more", v, 65537, 0), E2BIG);
    close(fd);
    remount();
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "user.%zu", sizes[i]);
        memset(b, 0, sizeof b);
        SAME(getxattr("f", name, b, sizeof b), sizes[i]);
        T(!memcmp(b, v, sizes[i]));
        if (i % 2)
            OK(setxattr("f", name, v + 1, 3, XATTR_REPLACE));
    }
    for (size_t i = 1; i < n; i += 2) {
        snprintf(name, sizeof name, "user.%zu", sizes[i]);
        SAME(getxattr("f", name, b, sizeof b), 3);
        T(!memcmp(b, v + 1, 3));
    }
    OK(unlink("f"));
}

static void many_attributes_are_listed(void)
{
    static char b[65536];
    char name[32];
    int n = on_coppice ? 1000 : 40;

    make("f", 'f');
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "user.number%d", i);
        OK(setxattr("f", name, name, strlen(name), 0));
    }
    ssize_t len = listxattr("f", b, sizeof b);
    int seen = 0;
    for (ssize_t i = 0; i < len; i += (ssize_t)strlen(b + i) + 1)
        seen++;
    SAME(seen, n);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "user.number%d", i);
        OK(removexattr("f", name));
    }
    SAME(listxattr("f", b, sizeof b), 0);
}

static void namespaces_have_their_rules(void)
{
    char b[8];
    static const char types[] = "fdlps";
    char a[2] = { 0 };

    for (int i = 0; i < 5; i++) {
        a[0] = types[i];
        make(a, types[i]);
        OK(lsetxattr(a, "trusted.t", "1", 1, 0));
        SAME(lgetxattr(a, "trusted.t", b, sizeof b), 1);
        T(listed(a, "trusted.t"));
        OK(lsetxattr(a, "security.s", "22", 2, 0));
        SAME(lgetxattr(a, "security.s", b, sizeof b), 2);
        if (types[i] == 'f' || types[i] == 'd') {
            OK(lsetxattr(a, "user.u", "1", 1, 0));
        } else {
            FAILS(lsetxattr(a, "user.u", "1", 1, 0), EPERM);
            FAILS(lgetxattr(a, "user.u", b, sizeof b), ENODATA);
            FAILS(lremovexattr(a, "user.u"), EPERM);
        }
    }
    OK(chmod("f", 0644));
    OK(chmod("d", 01777));
    AS(USER) {
        FAILS(setxattr("f", "trusted.t", "2", 1, 0), EPERM);
        FAILS(getxattr("f", "trusted.t", b, sizeof b), ENODATA);
        T(!listed("f", "trusted.t"));     /* what one cannot read is not told */
        T(listed("f", "user.u") && listed("f", "security.s"));
        FAILS(setxattr("f", "security.s", "2", 1, 0), EPERM);
        SAME(getxattr("f", "security.s", b, sizeof b), 2);
        SAME(getxattr("f", "user.u", b, sizeof b), 1);
        FAILS(setxattr("f", "user.u", "2", 1, 0), EACCES);
        FAILS(removexattr("f", "user.u"), EACCES);
        FAILS(setxattr("d", "user.u", "2", 1, 0), EPERM);     /* sticky, and not the owner */
    }
    OK(chmod("f", 0600));
    AS(USER) {
        FAILS(getxattr("f", "user.u", b, sizeof b), EACCES);
        OK(listxattr("f", b, 0));
    }
    OK(chmod("f", 0666));
    AS(USER) {
        OK(setxattr("f", "user.u", "2", 1, 0));
    }
}

static void capabilities_go_when_the_file_is_written(void)
{
    static const unsigned char cap[20] = { 1, 0, 0, 2, 0, 4 };   /* VFS_CAP_REVISION_2, cap_net_bind_service, effective */
    char b[64];

    for (int how = 0; how < 3; how++) {
        put("f", "x");
        if (setxattr("f", "security.capability", cap, sizeof cap, 0)) {
            skipped("security.capability: %s", strerror(errno));
            return;
        }
        SAME(getxattr("f", "security.capability", b, sizeof b), sizeof cap);
        int fd = open("f", O_WRONLY);
        if (how == 0)
            SAME(write(fd, "y", 1), 1);
        else if (how == 1)
            OK(ftruncate(fd, 0));
        else
            OK(fchown(fd, USER, USER));
        close(fd);
        FAILS(getxattr("f", "security.capability", b, sizeof b), ENODATA);
        OK(unlink("f"));
    }
}

const struct posix_test posix_xattr_tests[] = {
    { "attributes_are_set_read_listed_and_removed", attributes_are_set_read_listed_and_removed },
    { "values_have_up_to_64_kib", values_have_up_to_64_kib },
    { "many_attributes_are_listed", many_attributes_are_listed },
    { "namespaces_have_their_rules", namespaces_have_their_rules },
    { "capabilities_go_when_the_file_is_written", capabilities_go_when_the_file_is_written },
    { 0 }
};
