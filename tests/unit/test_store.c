#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/io.h"
#include "fs/store.h"

static char top[64], dir[96];
static const struct store_options quiet = { .node_cache_bytes = 1 << 20, .chunk_cache_bytes = 1 << 20, .no_background = true };

static int setup(void **state)
{
    strcpy(top, "/tmp/coppice-test-store-XXXXXX");
    if (!mkdtemp(top))
        return -1;
    snprintf(dir, sizeof dir, "%s/store", top);
    return 0;
}

static int teardown(void **state)
{
    char cmd[128];

    disk = &disk_real;
    snprintf(cmd, sizeof cmd, "rm -rf %s", top);
    return system(cmd);
}

static void put_file(const char *name, const char *text)
{
    char path[160];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void a_store_is_made_once_opened_and_keeps_its_identity(void **state)
{
    struct store *s = NULL;
    char instance[33];

    assert_int_equal(store_open(dir, &quiet, &s), -ENOENT);
    assert_int_equal(store_init(dir), 0);
    assert_int_equal(store_init(dir), -EEXIST);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_open(dir, &quiet, &s), 0);
        assert_int_equal(strlen(s->instance), 32);
        if (i)
            assert_string_equal(s->instance, instance);
        strcpy(instance, s->instance);
        store_close(s);
    }
    assert_int_equal(store_open(dir, NULL, &s), 0);      /* with its thread */
    store_close(s);
    store_close(NULL);
}

static void a_directory_with_other_things_in_it_is_not_made_a_store(void **state)
{
    assert_int_equal(mkdir(dir, 0700), 0);
    put_file("precious", "data");
    assert_int_equal(store_init(dir), -ENOTEMPTY);
    assert_int_equal(store_init("/dev/null"), -ENOTDIR);
    char deep[sizeof dir + 16];
    snprintf(deep, sizeof deep, "%s/missing/deep", dir);
    assert_int_equal(store_init(deep), -ENOENT);
}

static void a_store_in_use_is_busy(void **state)
{
    struct store *s = NULL, *other = NULL;

    assert_int_equal(store_init(dir), 0);
    assert_int_equal(store_open(dir, &quiet, &s), 0);
    assert_int_equal(store_open(dir, &quiet, &other), -EBUSY);
    assert_null(other);
    store_close(s);
    assert_int_equal(store_open(dir, &quiet, &s), 0);
    store_close(s);
}

static void a_newer_format_is_refused_and_a_damaged_one_told_apart(void **state)
{
    static const struct { const char *text; int want; } table[] = {
        { "coppice store 2\ninstance 00112233445566778899aabbccddeeff\n", -EPROTONOSUPPORT },
        { "coppice store 99999999999999999999\n", -EPROTONOSUPPORT },
        { "coppice store 1\ninstance 00112233445566778899aabbccddeeff\n", 0 },
        { "coppice store 1\ninstance 00112233445566778899aabbccddee\n", -EUCLEAN },
        { "coppice store 1\ninstance 00112233445566778899aabbccddeeff", -EUCLEAN },
        { "coppice store 1\ninstance 00112233445566778899aabbccddeeff\nmore\n", -EUCLEAN },
        { "coppice store 1", -EUCLEAN }, { "coppice store \n", -EUCLEAN }, { "coppice store 0\n", -EUCLEAN }, { "", -EUCLEAN }, { "something", -EUCLEAN },
    };
    struct store *s = NULL;

    assert_int_equal(store_init(dir), 0);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        put_file("format", table[i].text);
        assert_int_equal(store_open(dir, &quiet, &s), table[i].want);
        if (table[i].want == 0)
            store_close(s);
    }
}

static void a_relative_path_still_works_after_the_process_changed_directory(void **state)
{
    struct store *s = NULL;
    char old[4096];

    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(top), 0);
    assert_int_equal(store_init("store"), 0);
    assert_int_equal(store_open("store", &quiet, &s), 0);
    assert_int_equal(chdir("/"), 0);
    store_close(s);
    assert_int_equal(chdir(old), 0);
    assert_int_equal(store_open(dir, &quiet, &s), 0);
    store_close(s);
}

static unsigned calls_left;

static bool fails(void)
{
    return calls_left-- == 0;
}

static int faulty_open(int d, const char *name, int flags, unsigned mode) { return fails() ? -EIO : disk_real.open(d, name, flags, mode); }
static ssize_t faulty_pwrite(int fd, const void *p, size_t n, off_t off) { return fails() ? -ENOSPC : disk_real.pwrite(fd, p, n > 3 ? 3 : n, off); }
static ssize_t faulty_pread(int fd, void *p, size_t n, off_t off) { return fails() ? -EIO : disk_real.pread(fd, p, n > 5 ? 5 : n, off); }
static int faulty_fsync(int fd) { return fails() ? -EIO : disk_real.fsync(fd); }
static int faulty_rename(int d, const char *a, const char *b) { return fails() ? -EIO : disk_real.rename(d, a, b); }

static void init_and_open_survive_the_failure_of_every_disk_call_and_go_on_later(void **state)
{
    struct disk_ops faulty = disk_real;
    struct store *s = NULL;
    int r = -1;

    faulty.open = faulty_open;
    faulty.pwrite = faulty_pwrite;
    faulty.pread = faulty_pread;
    faulty.fsync = faulty_fsync;
    faulty.rename = faulty_rename;
    for (unsigned n = 0; r != 0 && r != -EEXIST; n++) {
        assert_true(n < 200);
        calls_left = n;
        disk = &faulty;
        r = store_init(dir);
        disk = &disk_real;
        if (r < 0 && r != -EEXIST)
            assert_true(r == -EIO || r == -ENOSPC);
    }
    r = -1;
    for (unsigned n = 0; r != 0; n++) {
        assert_true(n < 200);
        calls_left = n;
        disk = &faulty;
        r = store_open(dir, &quiet, &s);
        disk = &disk_real;
        if (r < 0)
            assert_int_equal(r, -EIO);
    }
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_store_is_made_once_opened_and_keeps_its_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_with_other_things_in_it_is_not_made_a_store, setup, teardown),
        cmocka_unit_test_setup_teardown(a_store_in_use_is_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(a_newer_format_is_refused_and_a_damaged_one_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(a_relative_path_still_works_after_the_process_changed_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(init_and_open_survive_the_failure_of_every_disk_call_and_go_on_later, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
