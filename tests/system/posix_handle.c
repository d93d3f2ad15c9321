/* File handles: what name_to_handle_at gives, open_by_handle_at opens, also after everybody has forgotten the file but the disk. */
#include "tests/system/posix.h"

#include <sys/xattr.h>

struct handle { struct file_handle h; unsigned char bytes[MAX_HANDLE_SZ + 8]; };      /* a little more, for sizes that are wrong */

static int handle_of(const char *path, struct handle *ret)
{
    int id;

    ret->h.handle_bytes = MAX_HANDLE_SZ;
    return name_to_handle_at(AT_FDCWD, path, &ret->h, &id, 0);
}

static int open_handle(struct handle *h, int flags)
{
    int top = open(".", O_RDONLY | O_DIRECTORY), fd = open_by_handle_at(top, &h->h, flags), e = errno;

    close(top);
    errno = e;
    return fd;
}

static bool available(void)
{
    struct handle h;
    int r;

    put("probe", "x");
    r = handle_of("probe", &h);
    if (r)
        skipped("name_to_handle_at: %s", strerror(errno));
    OK(unlink("probe"));
    return !r;
}

static void holds(int line, struct handle *h, const char *text)
{
    char b[64];
    int fd = open_handle(h, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, b, sizeof b);

    if (n != (ssize_t)strlen(text) || memcmp(b, text, strlen(text)))
        failed(__FILE__, line, "by handle: %zd bytes (%s), not \"%s\"", n, strerror(errno), text);
    if (fd >= 0)
        close(fd);
}
#define HOLDS(h, text) holds(__LINE__, h, text)

static void a_handle_opens_what_it_was_of(void)
{
    struct handle f, again, d, l, deep;
    char b[PATH_MAX], link[64];
    struct stat st;
    int fd;

    if (!available())
        return;
    put("f", "content");
    OK(mkdir("d", 0755));
    OK(mkdir("d/e", 0755));
    put("d/e/deep", "deep");
    OK(symlink("f", "l"));
    OK(handle_of("f", &f));
    OK(handle_of("d/e", &d));
    OK(handle_of("l", &l));
    OK(handle_of("d/e/deep", &deep));
    OK(handle_of("f", &again));
    T(f.h.handle_bytes == again.h.handle_bytes && !memcmp(f.h.f_handle, again.h.f_handle, f.h.handle_bytes));
    HOLDS(&f, "content");
    HOLDS(&deep, "deep");
    OK(rename("f", "g"));
    OK(rename("d/e", "moved"));
    HOLDS(&f, "content");
    remount();
    HOLDS(&f, "content");                 /* nothing of it is known to the kernel now */
    HOLDS(&deep, "deep");
    remount();
    fd = open_handle(&d, O_RDONLY | O_DIRECTORY);
    OK(fd);
    OK(fstat(fd, &st));
    SAME(st.st_ino, stat_of("moved").st_ino);
    OK(faccessat(fd, "deep", F_OK, 0));
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, b, sizeof b - 1);
    b[n > 0 ? n : 0] = 0;
    T(strlen(b) > 6 && !strcmp(b + strlen(b) - 6, "/moved"));       /* reconnected up to the root */
    close(fd);
    fd = open_handle(&l, O_PATH | O_NOFOLLOW);
    OK(fd);
    SAME(readlinkat(fd, "", b, sizeof b), 1);
    close(fd);
    fd = open_handle(&f, O_RDWR | O_APPEND);
    SAME(write(fd, "+", 1), 1);
    close(fd);
    HAS("g", "content+");
}

static void a_handle_of_what_is_gone_is_stale(void)
{
    struct handle f, d, linked;
    char b[8];
    int fd;

    if (!available())
        return;
    put("f", "x");
    put("two", "y");
    OK(link("two", "names"));
    OK(mkdir("d", 0755));
    OK(handle_of("f", &f));
    OK(handle_of("d", &d));
    OK(handle_of("two", &linked));
    fd = open("f", O_RDONLY);
    OK(unlink("f"));
    int by = open_handle(&f, O_RDONLY);   /* still open by somebody */
    OK(by);
    SAME(read(by, b, sizeof b), 1);
    close(by);
    close(fd);
    FAILS(open_handle(&f, O_RDONLY), ESTALE);
    OK(rmdir("d"));
    FAILS(open_handle(&d, O_RDONLY), ESTALE);
    OK(unlink("two"));
    HOLDS(&linked, "y");
    put("f", "new");                      /* another of this name is another */
    FAILS(open_handle(&f, O_RDONLY), ESTALE);
    remount();
    FAILS(open_handle(&f, O_RDONLY), ESTALE);
    FAILS(open_handle(&d, O_RDONLY), ESTALE);
    HOLDS(&linked, "y");
    OK(unlink("names"));
    FAILS(open_handle(&linked, O_RDONLY), ESTALE);
}

static void handles_are_checked(void)
{
    struct handle h = { 0 };
    int id;

    if (!available())
        return;
    put("f", "x");
    h.h.handle_bytes = 0;
    FAILS(name_to_handle_at(AT_FDCWD, "f", &h.h, &id, 0), EOVERFLOW);
    T(h.h.handle_bytes > 0);              /* how much it takes */
    OK(name_to_handle_at(AT_FDCWD, "f", &h.h, &id, 0));
    FAILS(handle_of("none", &(struct handle){ 0 }), ENOENT);
    FAILS(name_to_handle_at(AT_FDCWD, "f", &h.h, &id, 1 << 20), EINVAL);
    AS(USER) {
        OK(handle_of("f", &(struct handle){ 0 }));
        FAILS(open_handle(&h, O_RDONLY), EPERM);
    }
    struct handle wrong = h;
    memset(wrong.h.f_handle, 0x5a, wrong.h.handle_bytes);
    FAILS(open_handle(&wrong, O_RDONLY), ESTALE);
    wrong = h;
    wrong.h.handle_bytes = MAX_HANDLE_SZ + 1;
    FAILS(open_handle(&wrong, O_RDONLY), EINVAL);
    wrong.h.handle_bytes = 0;
    FAILS(open_handle(&wrong, O_RDONLY), EINVAL);
    FAILS(open_by_handle_at(-1, &h.h, O_RDONLY), EBADF);
}

/* Many at once, after all was forgotten, half of them gone. */
static void many_handles_are_good_or_stale(void)
{
    enum { N = 300 };
    static struct handle h[N];
    char name[16], text[16];
    unsigned wrong = 0;

    if (!available())
        return;
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "f%d", i);
        put(name, name);
        OK(handle_of(name, &h[i]));
    }
    for (int i = 0; i < N; i += 2) {
        snprintf(name, sizeof name, "f%d", i);
        OK(unlink(name));
    }
    for (int turn = 0; turn < 2; turn++) {
        for (int i = N; i-- > 0;) {
            int fd = open_handle(&h[i], O_RDONLY), e = errno;
            snprintf(name, sizeof name, "f%d", i);
            ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);
            wrong += i % 2 ? n != (ssize_t)strlen(name) || memcmp(text, name, (size_t)n) : fd >= 0 || e != ESTALE;
            if (fd >= 0)
                close(fd);
        }
        remount();
    }
    SAME(wrong, 0);
}

const struct posix_test posix_handle_tests[] = {
    { "a_handle_opens_what_it_was_of", a_handle_opens_what_it_was_of },
    { "a_handle_of_what_is_gone_is_stale", a_handle_of_what_is_gone_is_stale },
    { "handles_are_checked", handles_are_checked },
    { "many_handles_are_good_or_stale", many_handles_are_good_or_stale },
    { 0 }
};
