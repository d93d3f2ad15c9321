#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/log.h"
#include "fs/meta.h"

static char dir[64];

static int setup(void **state)
{
    strcpy(dir, "/tmp/coppice-test-meta-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    char cmd[128];

    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

static struct meta *open_ok(bool create)
{
    struct meta *m = NULL;

    assert_int_equal(meta_open(dir, create, &m), 0);
    return m;
}

static void write_one(struct meta *m, enum meta_cf cf, const char *key, const char *val, bool sync)
{
    struct batch *b = batch_new();

    if (val)
        batch_put(b, cf, key, strlen(key), val, strlen(val));
    else
        batch_delete(b, cf, key, strlen(key));
    assert_int_equal(meta_write(m, b, sync), 0);
    batch_free(b);
}

static void assert_value(struct meta *m, enum meta_cf cf, const char *key, const char *want)
{
    uint8_t *val = NULL;
    size_t n = 0;
    int r = meta_get(m, cf, key, strlen(key), &val, &n);

    if (!want) {
        assert_int_equal(r, -ENOENT);
        return;
    }
    assert_int_equal(r, 0);
    assert_int_equal(n, strlen(want));
    assert_memory_equal(val, want, n);
    free(val);
}

static void what_was_written_is_read_in_its_own_family_only(void **state)
{
    struct meta *m = open_ok(true);

    write_one(m, CF_OBJECT, "k", "object", false);
    write_one(m, CF_CHUNK, "k", "", false);
    assert_value(m, CF_OBJECT, "k", "object");
    assert_value(m, CF_CHUNK, "k", "");
    assert_value(m, CF_NODE, "k", NULL);
    write_one(m, CF_OBJECT, "k", NULL, false);
    assert_value(m, CF_OBJECT, "k", NULL);
    assert_false(meta_has_error(m));
    meta_close(m);
}

static void a_batch_is_applied_whole_in_order_and_can_be_written_again(void **state)
{
    struct meta *m = open_ok(true);
    struct batch *b = batch_new();

    batch_put(b, CF_LAYER, "a1", 2, "x", 1);
    batch_put(b, CF_LAYER, "a2", 2, "y", 1);
    batch_put(b, CF_LAYER, "b", 1, "z", 1);
    batch_delete_range(b, CF_LAYER, "a", 1, "b", 1);
    batch_put(b, CF_LAYER, "a3", 2, "w", 1);
    assert_int_equal(batch_count(b), 5);
    assert_true(batch_bytes(b) > 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(meta_write(m, b, i), 0);
        assert_value(m, CF_LAYER, "a1", NULL);
        assert_value(m, CF_LAYER, "a2", NULL);
        assert_value(m, CF_LAYER, "a3", "w");
        assert_value(m, CF_LAYER, "b", "z");
    }
    batch_clear(b);
    assert_int_equal(batch_count(b), 0);
    assert_int_equal(meta_write(m, b, false), 0);
    batch_free(b);
    meta_close(m);
}

static void an_iterator_sees_the_state_of_its_making_in_byte_order(void **state)
{
    struct meta *m = open_ok(true);
    struct meta_iter *it;
    size_t n;

    write_one(m, CF_NODE, "b", "2", false);
    write_one(m, CF_NODE, "\xff", "3", false);
    write_one(m, CF_NODE, "a", "1", false);
    it = meta_iter_new(m, CF_NODE);
    write_one(m, CF_NODE, "aa", "late", false);
    meta_iter_seek(it, "a", 1);
    for (int i = 0; i < 3; i++) {
        assert_true(meta_iter_valid(it));
        assert_memory_equal(meta_iter_key(it, &n), &"ab\xff"[i], 1);
        assert_int_equal(n, 1);
        assert_int_equal(*meta_iter_val(it, &n), '1' + i);
        meta_iter_next(it);
    }
    assert_false(meta_iter_valid(it));
    assert_int_equal(meta_iter_err(it), 0);
    meta_iter_free(it);
    meta_close(m);
}

static void a_synced_write_and_all_before_it_survive_a_killed_process(void **state)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct meta *m;
        struct batch *b = batch_new();

        if (meta_open(dir, true, &m) < 0)
            _exit(1);
        batch_put(b, CF_OBJECT, "first", 5, "1", 1);
        if (meta_write(m, b, false) < 0)
            _exit(1);
        batch_clear(b);
        batch_put(b, CF_LAYER, "second", 6, "2", 1);
        _exit(meta_write(m, b, true) < 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct meta *m = open_ok(false);
    assert_value(m, CF_OBJECT, "first", "1");
    assert_value(m, CF_LAYER, "second", "2");
    meta_close(m);
}

static void a_database_in_use_is_busy_and_one_that_is_not_there_is_not_made(void **state)
{
    struct meta *m = NULL, *other = NULL;

    assert_int_equal(meta_open(dir, false, &other), -ENOENT);
    m = open_ok(true);
    assert_int_equal(meta_open(dir, false, &other), -EBUSY);
    pid_t pid = fork();
    if (pid == 0)
        _exit(meta_open(dir, false, &other) == -EBUSY ? 0 : 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_null(other);
    meta_close(m);
}

static void corrupt_bookkeeping_is_refused_as_unclean(void **state)
{
    struct meta *m = open_ok(true);
    char path[128];

    write_one(m, CF_OBJECT, "k", "v", true);
    meta_close(m);
    snprintf(path, sizeof path, "%s/CURRENT", dir);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "nonsense", 8), 8);
    close(fd);
    assert_int_equal(meta_open(dir, false, &m), -EUCLEAN);
}

static unsigned alloc_left;

static bool fail_nth_alloc(size_t size)
{
    return alloc_left-- == 0;
}

static void every_failed_allocation_is_reported_and_nothing_is_applied(void **state)
{
    struct meta *m = open_ok(true);
    char val[500] = { 0 };
    int r = -1;

    for (unsigned n = 0; r < 0; n++) {
        struct batch *b;

        assert_true(n < 100);
        alloc_left = n;
        mem_fault = fail_nth_alloc;
        b = batch_new();
        for (int i = 0; b && i < 4; i++)
            batch_put(b, CF_OBJECT, &"abcd"[i], 1, val, sizeof val);
        r = b ? meta_write(m, b, false) : -ENOMEM;
        mem_fault = NULL;
        batch_free(b);
        if (r < 0) {
            assert_int_equal(r, -ENOMEM);
            assert_value(m, CF_OBJECT, "a", NULL);
        }
    }
    uint8_t *got = NULL;
    size_t len;
    alloc_left = 0;
    mem_fault = fail_nth_alloc;
    r = meta_get(m, CF_OBJECT, "a", 1, &got, &len);
    mem_fault = NULL;
    assert_int_equal(r, -ENOMEM);
    assert_null(got);
    meta_close(m);
}

static void a_batch_without_memory_does_not_look_empty_and_can_be_rewound(void **state)
{
    struct meta *m = open_ok(true);
    struct batch *b = batch_new();
    struct batch_mark mark = batch_mark(b);
    static char val[5000];

    alloc_left = 0;
    mem_fault = fail_nth_alloc;
    batch_put(b, CF_OBJECT, "a", 1, "1", 1);
    mem_fault = NULL;
    assert_int_equal(batch_err(b), -ENOMEM);
    assert_int_equal(batch_count(b), 1);
    assert_int_equal(meta_write(m, b, false), -ENOMEM);
    batch_rewind(b, mark);
    assert_int_equal(batch_count(b), 0);
    batch_put(b, CF_OBJECT, "b", 1, "2", 1);
    mark = batch_mark(b);
    alloc_left = 0;
    mem_fault = fail_nth_alloc;
    batch_put(b, CF_OBJECT, "c", 1, val, sizeof val);
    mem_fault = NULL;
    assert_int_equal(meta_write(m, b, false), -ENOMEM);
    batch_rewind(b, mark);
    assert_int_equal(batch_err(b), 0);
    assert_int_equal(meta_write(m, b, false), 0);
    assert_value(m, CF_OBJECT, "a", NULL);
    assert_value(m, CF_OBJECT, "b", "2");
    assert_value(m, CF_OBJECT, "c", NULL);
    batch_free(b);
    meta_close(m);
}

static bool fault_writes;

static int inject(bool is_write)
{
    return is_write == fault_writes ? -EIO : 0;
}

static void the_seam_fails_writes_and_gets_apart(void **state)
{
    struct meta *m = open_ok(true);
    struct batch *b = batch_new();
    uint8_t *val;
    size_t n;

    write_one(m, CF_OBJECT, "k", "v", false);
    batch_put(b, CF_OBJECT, "k", 1, "w", 1);
    meta_fault = inject;
    fault_writes = true;
    assert_int_equal(meta_write(m, b, true), -EIO);
    assert_value(m, CF_OBJECT, "k", "v");
    fault_writes = false;
    assert_int_equal(meta_get(m, CF_OBJECT, "k", 1, &val, &n), -EIO);
    assert_int_equal(meta_write(m, b, true), 0);
    meta_fault = NULL;
    assert_value(m, CF_OBJECT, "k", "w");
    batch_free(b);
    meta_close(m);
}

static void a_full_disk_is_enospc_and_what_was_written_stays(void **state)
{
    static char val[65536];
    struct batch *b;
    unsigned n = 0;
    struct meta *m;
    int r = 0;

    if (mount("tmpfs", dir, "tmpfs", 0, "size=24m") < 0) {
        print_message("skipped: cannot mount a tmpfs (%s)\n", errno_name(errno));
        skip();
    }
    m = open_ok(true);
    memset(val, 'v', sizeof val);
    for (; r == 0 && n < 2000; n++) {
        b = batch_new();
        val[0] = (char)n;
        batch_put(b, CF_CHUNK, &n, sizeof n, val, sizeof val);
        r = meta_write(m, b, true);
        batch_free(b);
    }
    assert_int_equal(r, -ENOSPC);
    assert_true(meta_has_error(m));
    for (unsigned i = 0; i + 1 < n; i++) {
        uint8_t *got;
        size_t len;

        assert_int_equal(meta_get(m, CF_CHUNK, &i, sizeof i, &got, &len), 0);
        assert_int_equal(len, sizeof val);
        free(got);
    }
    meta_close(m);
    assert_int_equal(umount(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_read_in_its_own_family_only, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_is_applied_whole_in_order_and_can_be_written_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_iterator_sees_the_state_of_its_making_in_byte_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_synced_write_and_all_before_it_survive_a_killed_process, setup, teardown),
        cmocka_unit_test_setup_teardown(a_database_in_use_is_busy_and_one_that_is_not_there_is_not_made, setup, teardown),
        cmocka_unit_test_setup_teardown(corrupt_bookkeeping_is_refused_as_unclean, setup, teardown),
        cmocka_unit_test_setup_teardown(every_failed_allocation_is_reported_and_nothing_is_applied, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_without_memory_does_not_look_empty_and_can_be_rewound, setup, teardown),
        cmocka_unit_test_setup_teardown(the_seam_fails_writes_and_gets_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_enospc_and_what_was_written_stays, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
