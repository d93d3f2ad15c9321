/* Secrets at rest and in use: what is kept, what does not open, what a disk that fails leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "sandbox/egress/authority.h"
#include "sandbox/egress/durable.h"
#include "sandbox/egress/seal.h"
#include "sandbox/egress/secret.h"
#include "tests/lib/tmp.h"

static const uint8_t key[SECRET_KEY_BYTES] = { 7, 7, 7 }, other_key[SECRET_KEY_BYTES] = { 8 };
static const struct authority any = { .tls = true, .kind = HOST_NAME, .host = "a.test", .port = 443 }, clear = { .kind = HOST_NAME, .host = "a.test", .port = 80 };
static char tmp[256];
static int dir = -1;

/* What the log says of each is seen in the other tests. */
static void quiet(bool on)
{
    static int was = -1;
    int null = on ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;

    if (on)
        was = fcntl(2, F_DUPFD_CLOEXEC, 10);
    dup2(on ? null : was, 2);
    close(on ? null : was);
}

static int setup(void **state)
{
    dir = tmp_open("secret", tmp, sizeof tmp);
    return dir < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    disk = &disk_real;
    tmp_close(tmp, dir);
    return 0;
}

static struct secrets *open_with(const uint8_t *k)
{
    struct secrets *s = NULL;
    assert_int_equal(secrets_open(dir, k, &s), 0);
    return s;
}

static int put(struct secrets *s, const char *name, const char *value)
{
    const char *why;
    return secret_put(s, name, value, strlen(value), NULL, false, &why);
}

static void is(struct secrets *s, const char *name, const char *value)
{
    char *p = NULL;
    size_t n = 0;
    int r = secret_get(s, name, &any, &p, &n);

    if (r)
        fail_msg("%s: %s", name, errno_name(r));
    assert_int_equal(n, strlen(value));
    assert_string_equal(p, value);
    secret_wipe(p, n);
}

static int gives(struct secrets *s, const char *name, const struct authority *a)
{
    char *p = NULL;
    size_t n;
    int r = secret_get(s, name, a, &p, &n);

    if (!r)
        secret_wipe(p, n);
    return r;
}

static void secrets_are_kept_and_never_listed(void **state)
{
    struct secrets *s = open_with(key);
    uint64_t generation = secret_generation(s);

    assert_int_equal(put(s, "A", "canary-one"), 0);
    assert_int_equal(put(s, "B", "canary-two"), 0);
    assert_int_equal(put(s, "A", "canary-three"), 0);
    assert_int_not_equal(secret_generation(s), generation);
    is(s, "A", "canary-three");
    secrets_free(s);
    s = open_with(key);
    is(s, "A", "canary-three");
    is(s, "B", "canary-two");
    json_t *list = secret_list(s);
    char *text = json_dumps(list, 0);
    assert_int_equal(json_array_size(list), 2);
    assert_null(strstr(text, "canary"));
    assert_non_null(strstr(text, "\"created\""));
    free(text);
    json_decref(list);
    generation = secret_generation(s);
    assert_int_equal(secret_delete(s, "A"), 0);
    assert_int_not_equal(secret_generation(s), generation);
    assert_int_equal(secret_delete(s, "A"), -ENOENT);
    assert_int_equal(gives(s, "A", &any), -ENOENT);
    secrets_free(s);
    s = open_with(key);
    assert_false(secret_is(s, "A"));
    assert_true(secret_is(s, "B"));
    secrets_free(s);
}

static void what_is_no_secret_is_refused(void **state)
{
    static const struct { const char *name, *value; size_t n; } cases[] = {
        { "", "v", 1 }, { "a b", "v", 1 }, { "../x", "v", 1 }, { ".x", "v", 1 }, { "a/b", "v", 1 }, { "-x", "v", 1 }, { "A", "", 0 }, { "A", "a\r\nb", 4 }, { "A", "a\nb", 3 }, { "A", "a\0b", 3 }, { "A", "caf\xc3\xa9", 5 },
        { "A", "a\tb", 3 }, { "A", "\x7f", 1 }, { "0123456789012345678901234567890123456789012345678901234567890123x", "v", 1 },
    };
    static const char *const hosts[] = { "[]", "{}", "[1]", "[\"*.com\"]", "[\"a b\"]", "\"a.test\"" };
    struct secrets *s = open_with(key);
    const char *why;
    char *big = malloc(SECRET_VALUE_MAX + 1);

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        why = NULL;
        assert_int_equal(secret_put(s, cases[i].name, cases[i].value, cases[i].n, NULL, false, &why), -EINVAL);
        assert_non_null(why);
    }
    for (unsigned i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        json_t *j = json_loads(hosts[i], JSON_DECODE_ANY, NULL);
        assert_int_equal(secret_put(s, "A", "v", 1, j, false, &why), -EINVAL);
        json_decref(j);
    }
    memset(big, 'x', SECRET_VALUE_MAX + 1);
    assert_int_equal(secret_put(s, "BIG", big, SECRET_VALUE_MAX, NULL, false, &why), 0);
    assert_int_equal(secret_put(s, "BIG", big, SECRET_VALUE_MAX + 1, NULL, false, &why), -EINVAL);
    free(big);
    json_t *list = secret_list(s);
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
    secrets_free(s);
}

static void a_secret_goes_only_where_it_is_bound(void **state)
{
    struct secrets *s = open_with(key);
    json_t *hosts = json_pack("[s, s]", "b.test", "*.c.test");
    struct authority b = any, c = any;
    const char *why;

    strcpy(b.host, "b.test");
    strcpy(c.host, "x.c.test");
    assert_int_equal(secret_put(s, "A", "v", 1, hosts, false, &why), 0);
    json_decref(hosts);
    assert_int_equal(gives(s, "A", &any), -EPERM);
    assert_int_equal(gives(s, "A", &b), 0);
    assert_int_equal(gives(s, "A", &c), 0);
    b.tls = false;
    assert_int_equal(gives(s, "A", &b), -EPERM);
    assert_int_equal(secret_put(s, "P", "v", 1, NULL, true, &why), 0);
    assert_int_equal(gives(s, "P", &clear), 0);
    secrets_free(s);
    s = open_with(key);
    assert_int_equal(gives(s, "A", &any), -EPERM);
    assert_int_equal(gives(s, "P", &clear), 0);
    secrets_free(s);
}

static char *slurp(const char *name, size_t *ret_n)
{
    char *p = NULL;
    int fd = openat(dir, "secret", O_RDONLY | O_DIRECTORY);

    assert_int_equal(durable_get(fd, name, 1 << 20, &p, ret_n), 0);
    close(fd);
    return p;
}

static void spill(const char *name, const void *p, size_t n)
{
    int fd = openat(dir, "secret", O_RDONLY | O_DIRECTORY);

    assert_int_equal(durable_put(fd, name, p, n), 0);
    close(fd);
}

static void nothing_of_a_value_is_on_the_disk(void **state)
{
    struct secrets *s = open_with(key);
    size_t n, m;
    struct stat st;

    assert_int_equal(put(s, "A", "canary-canary-canary"), 0);
    char *first = slurp("A", &n);
    assert_null(memmem(first, n, "canary", 6));
    assert_int_equal(put(s, "A", "canary-canary-canary"), 0);
    char *second = slurp("A", &m);
    assert_int_equal(n, m);
    assert_memory_not_equal(first + 8, second + 8, 12);
    assert_int_equal(fstatat(dir, "secret/A", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fstatat(dir, "secret", &st, 0), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    free(first);
    free(second);
    secrets_free(s);
}

static void a_wrong_key_opens_nothing_and_breaks_nothing(void **state)
{
    struct secrets *s = open_with(key);

    assert_int_equal(put(s, "A", "canary"), 0);
    secrets_free(s);
    s = open_with(other_key);
    assert_int_equal(gives(s, "A", &any), -EBADMSG);
    assert_true(secret_is(s, "A"));
    json_t *list = secret_list(s);
    assert_true(json_is_false(json_object_get(json_array_get(list, 0), "usable")));
    json_decref(list);
    assert_int_equal(put(s, "B", "new"), 0);
    secrets_free(s);
    s = open_with(key);
    is(s, "A", "canary");
    assert_int_equal(gives(s, "B", &any), -EBADMSG);
    assert_int_equal(put(s, "B", "again"), 0);
    is(s, "B", "again");
    secrets_free(s);
}

/* Every byte changed, every length: it does not open, and nothing else happens. */
static void a_file_that_was_changed_does_not_open(void **state)
{
    struct secrets *s = open_with(key);
    json_t *hosts = json_pack("[s]", "a.test");
    const char *why;
    size_t n;

    assert_int_equal(secret_put(s, "A", "canary", 6, hosts, false, &why), 0);
    json_decref(hosts);
    secrets_free(s);
    char *good = slurp("A", &n), *bad = malloc(n + 1);
    quiet(true);
    for (size_t i = 0; i < 2 * n + 1; i++) {
        memcpy(bad, good, n);
        bad[n] = 0;
        if (i < n)
            bad[i] ^= (char)(1 << (i % 8));
        spill("A", bad, i < n ? n : i < 2 * n ? i - n : n + 1);
        s = open_with(key);
        assert_int_equal(gives(s, "A", &any), -EBADMSG);
        secrets_free(s);
    }
    quiet(false);
    spill("A", good, n);
    s = open_with(key);
    is(s, "A", "canary");
    secrets_free(s);
    free(good);
    free(bad);
}

static void a_file_in_anothers_place_does_not_open(void **state)
{
    struct secrets *s = open_with(key);
    size_t n, m;

    assert_int_equal(put(s, "A", "for-a"), 0);
    assert_int_equal(put(s, "B", "for-b"), 0);
    assert_int_equal(secrets_seal(s, "ca", "private", 7), 0);
    secrets_free(s);
    char *a = slurp("A", &n), *b = slurp("B", &m);
    spill("A", b, m);
    spill("B", a, n);
    spill("ca", a, n);
    assert_int_equal(renameat(dir, "sealed/ca", dir, "secret/C"), 0);
    quiet(true);
    s = open_with(key);
    quiet(false);
    assert_int_equal(gives(s, "A", &any), -EBADMSG);
    assert_int_equal(gives(s, "B", &any), -EBADMSG);
    assert_int_equal(gives(s, "C", &any), -EBADMSG);
    assert_int_equal(gives(s, "ca", &any), -EBADMSG);
    secrets_free(s);
    free(a);
    free(b);
}

/* Sealed by the right key, but by a newer coppice: what it binds the secret to is not known here. */
static void bounds_that_are_not_understood_make_it_unusable(void **state)
{
    static const struct { const char *meta; int got; } cases[] = {
        { "{\"plain_http\":false,\"created\":1,\"updated\":1}", 0 }, { "{\"plain_http\":false,\"created\":1,\"updated\":1,\"hosts\":[\"a.test\"]}", 0 },
        { "{\"plain_http\":false,\"created\":1,\"updated\":1,\"paths\":[\"/x\"]}", -EBADMSG }, { "{\"plain_http\":false,\"created\":1,\"updated\":1,\"hosts\":[]}", -EBADMSG },
        { "{\"plain_http\":false,\"created\":1,\"updated\":1,\"hosts\":[{\"name\":\"a.test\"}]}", -EBADMSG }, { "{\"created\":1,\"updated\":1}", -EBADMSG }, { "[]", -EBADMSG }, { "", -EBADMSG },
    };
    struct seal_key *k;

    assert_int_equal(seal_key_new(key, &k), 0);
    secrets_free(open_with(key));                       /* the directories are there */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = openat(dir, "secret", O_RDONLY | O_DIRECTORY);
        uint8_t *sealed;
        char *value = NULL;
        size_t n;
        assert_int_equal(seal_close(k, "secret", "S", cases[i].meta, strlen(cases[i].meta), "value", 5, &sealed, &n), 0);
        assert_int_equal(durable_put(fd, "S", sealed, n), 0);
        free(sealed);
        close(fd);
        quiet(true);
        struct secrets *s = open_with(key);
        quiet(false);
        int got = secret_get(s, "S", &any, &value, &n);
        if (got != cases[i].got)
            fail_msg("%s: %d", cases[i].meta, got);
        secret_wipe(value, got ? 0 : n);
        secrets_free(s);
    }
    seal_key_free(k);
}

static void other_things_are_sealed_too(void **state)
{
    struct secrets *s = open_with(key);
    void *p = NULL;
    size_t n;

    assert_int_equal(secrets_unseal(s, "ca", &p, &n), -ENOENT);
    assert_int_equal(secrets_seal(s, "ca", "bytes\0\xff\n", 8), 0);
    assert_int_equal(secrets_seal(s, "../ca", "x", 1), -EINVAL);
    secrets_free(s);
    s = open_with(key);
    assert_int_equal(secrets_unseal(s, "ca", &p, &n), 0);
    assert_int_equal(n, 8);
    assert_memory_equal(p, "bytes\0\xff\n", 8);
    secret_wipe(p, n);
    assert_int_equal(gives(s, "ca", &any), -ENOENT);
    secrets_free(s);
    s = open_with(other_key);
    assert_int_equal(secrets_unseal(s, "ca", &p, &n), -EBADMSG);
    secrets_free(s);
}

/* ---- a disk that fails ---- */
static int fail_at, calls, with;

static int fault(void)
{
    return ++calls == fail_at ? with : 0;
}

static int bad_open(int d, const char *name, int flags, unsigned mode)
{
    int e = flags & O_CREAT ? fault() : 0;
    return e ? e : disk_real.open(d, name, flags, mode);
}

/* Half of it is written before it fails. */
static ssize_t bad_pwrite(int fd, const void *p, size_t n, off_t off)
{
    int e = fault();
    if (e)
        disk_real.pwrite(fd, p, n / 2, off);
    return e ? e : disk_real.pwrite(fd, p, n, off);
}

static int bad_fsync(int fd)
{
    int e = fault();
    return e ? e : disk_real.fsync(fd);
}

static int bad_rename(int d, const char *from, const char *to)
{
    int e = fault();
    return e ? e : disk_real.rename(d, from, to);
}

static void a_disk_that_fails_leaves_the_old_or_the_new(void **state)
{
    struct disk_ops bad = disk_real;
    struct secrets *s = open_with(key);

    bad.open = bad_open;
    bad.pwrite = bad_pwrite;
    bad.fsync = bad_fsync;
    bad.rename = bad_rename;
    assert_int_equal(put(s, "A", "old"), 0);
    for (fail_at = 1;; fail_at++) {
        calls = 0;
        with = fail_at % 2 ? -ENOSPC : -EIO;
        disk = &bad;
        int r = put(s, "A", "new");
        disk = &disk_real;
        if (!r)
            break;
        assert_int_equal(r, with);
        is(s, "A", "old");
        /* what another process would read now: whole. After the last step, the sync of the directory, it may be the new one */
        struct secrets *again = open_with(key);
        if (gives(again, "A", &any))
            fail_msg("step %d left a file that does not open", fail_at);
        if (fail_at < 5)
            is(again, "A", "old");
        secrets_free(again);
        assert_int_equal(put(s, "A", "old"), 0);
    }
    assert_int_equal(fail_at, 6);       /* open, write, sync, rename, sync */
    is(s, "A", "new");
    secrets_free(s);
    s = open_with(key);
    is(s, "A", "new");
    secrets_free(s);
}

static unsigned left;

static bool no_memory(size_t size)
{
    return left-- == 0;
}

static void no_memory_changes_nothing(void **state)
{
    struct secrets *s = open_with(key);

    assert_int_equal(put(s, "A", "old"), 0);
    for (unsigned n = 0;; n++) {
        left = n;
        mem_fault = no_memory;
        int r = put(s, "A", "new");
        mem_fault = NULL;
        if (!r)
            break;
        assert_int_equal(r, -ENOMEM);
        is(s, "A", "old");
        assert_true(n < 100);
    }
    is(s, "A", "new");
    secrets_free(s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(secrets_are_kept_and_never_listed), T(what_is_no_secret_is_refused), T(a_secret_goes_only_where_it_is_bound), T(nothing_of_a_value_is_on_the_disk), T(a_wrong_key_opens_nothing_and_breaks_nothing),
        T(a_file_that_was_changed_does_not_open), T(a_file_in_anothers_place_does_not_open), T(other_things_are_sealed_too), T(bounds_that_are_not_understood_make_it_unusable), T(a_disk_that_fails_leaves_the_old_or_the_new), T(no_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
