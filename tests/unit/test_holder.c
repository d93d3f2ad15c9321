/* What the holder keeps and how it is told; and errands, without which a killed daemon's locks would stay. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/errand.h"
#include "snapshotd/holder_table.h"

static int file_of(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

static void assert_is(int fd, const char *text)
{
    char got[64] = "";

    assert_int_equal(pread(fd, got, sizeof(got) - 1, 0), strlen(text));
    assert_string_equal(got, text);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void put(struct held_table *t, json_int_t id, const char *device, const char *log)
{
    int fds[2] = { file_of(device), log ? file_of(log) : -1 };
    json_t *meta = json_pack("{s:s}", "object", device);

    assert_int_equal(held_put(t, id, meta, fds, log ? 2 : 1), 0);
    json_decref(meta);
}

static void one_message(int sock, json_int_t *ret_id, json_t **ret, int fds[HOLD_FDS_MAX], unsigned *ret_n)
{
    assert_int_equal(hold_recv(sock, ret, fds, ret_n), 0);
    *ret_id = json_integer_value(json_object_get(*ret, "hold"));
}

static void what_is_held_is_told_in_order_with_its_descriptors(void **state)
{
    static const struct { json_int_t id; const char *device, *log; } all[] = { { 1, "one", "log one" }, { 7, "seven", NULL }, { 3, "three", "log three" } };
    struct held_table t;
    int pair[2], fds[HOLD_FDS_MAX];
    unsigned n;

    (void)state;
    held_table_init(&t);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    for (size_t i = 0; i < 3; i++)
        put(&t, all[i].id, all[i].device, all[i].log);
    put(&t, 9, "gone", NULL);
    held_drop(&t, 9);
    held_drop(&t, 1000);
    assert_int_equal(t.count, 3);
    assert_int_equal(held_tell(&t, pair[0]), 0);
    for (size_t i = 0; i < 3; i++) {
        json_int_t id;
        json_t *msg;
        one_message(pair[1], &id, &msg, fds, &n);
        assert_int_equal(id, all[i].id);
        assert_int_equal(n, all[i].log ? 2 : 1);
        assert_is(fds[0], all[i].device);
        if (all[i].log)
            assert_is(fds[1], all[i].log);
        while (n)
            close(fds[--n]);
        json_decref(msg);
    }
    held_drop_all(&t);
    assert_null(t.list);
    close(pair[0]);
    assert_int_equal(hold_recv(pair[1], &(json_t *){ NULL }, fds, &n), -ENODATA);
    close(pair[1]);
}

static void an_id_that_comes_again_replaces_what_was_held(void **state)
{
    struct held_table t;

    (void)state;
    held_table_init(&t);
    put(&t, 1, "old", "log");
    int old = t.list->fds[0];
    put(&t, 1, "new", NULL);
    assert_int_equal(t.count, 1);
    assert_is(t.list->fds[0], "new");
    assert_true(!is_open(old) || old == t.list->fds[0]);
    held_drop_all(&t);
}

static void a_program_that_is_executed_finds_the_table(void **state)
{
    struct held_table t, again;
    int fd;

    (void)state;
    held_table_init(&t);
    t.listen_fd = file_of("socket");
    t.restarts = 4;
    t.stay = true;
    t.lost_ns = 123456789012345;
    put(&t, 5, "five", "log five");
    put(&t, 2, "two", NULL);
    assert_int_equal(held_save(&t, &fd), 0);
    /* What would not survive an exec would be missing after it. */
    assert_int_equal(fcntl(fd, F_GETFD) | fcntl(t.listen_fd, F_GETFD) | fcntl(t.list->fds[0], F_GETFD) | fcntl(t.list->fds[1], F_GETFD), 0);
    assert_int_equal(held_load(fd, &again), 0);
    close(fd);
    assert_int_equal(again.count, 2);
    assert_int_equal(again.restarts, 4);
    assert_true(again.stay);
    assert_int_equal(again.lost_ns, 123456789012345);
    assert_is(again.listen_fd, "socket");
    assert_int_equal(again.list->id, 5);
    assert_is(again.list->fds[1], "log five");
    assert_string_equal(json_string_value(json_object_get(again.list->meta, "object")), "five");
    assert_int_equal(fcntl(again.list->fds[0], F_GETFD), FD_CLOEXEC);
    assert_is(again.list->next->fds[0], "two");
    held_drop_all(&again);                /* the same descriptors as t's, of which only the memory is left */
    for (struct held *h = t.list, *next; h; h = next) {
        next = h->next;
        json_decref(h->meta);
        free(h);
    }
    close(t.listen_fd);
}

static void a_table_with_a_descriptor_that_is_not_there_is_refused(void **state)
{
    static const char *const bad[] = { "{\"listen\":-1,\"restarts\":0,\"lost_ns\":0,\"held\":[{\"id\":1,\"meta\":{},\"fds\":[9999]}]}",
                                       "{\"listen\":-1,\"restarts\":0,\"lost_ns\":0,\"held\":[{\"id\":1,\"meta\":3,\"fds\":[]}]}", "{\"listen\":-1}", "nonsense", "" };
    struct held_table t;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int fd = file_of(bad[i]);
        lseek(fd, 0, SEEK_SET);
        assert_true(held_load(fd, &t) < 0);
        held_drop_all(&t);
        close(fd);
    }
}

static void mounts_that_are_given_up_leave_their_logs(void **state)
{
    struct held_table t;

    (void)state;
    held_table_init(&t);
    put(&t, 1, "workspace", "log");
    put(&t, 2, "snapshot", NULL);
    int device = t.list->fds[0];
    for (int i = 0; i < 2; i++) {         /* the second time there is nothing more to drop */
        held_drop_devices(&t);
        assert_int_equal(t.count, 1);
        assert_int_equal(t.list->fd_count, 1);
        assert_is(t.list->fds[0], "log");
        assert_true(json_is_true(json_object_get(t.list->meta, "log_only")));
        assert_false(is_open(device));
    }
    held_drop_all(&t);
}

static void messages_that_are_none_are_refused_and_leave_nothing_open(void **state)
{
    static const char *const bad[] = { "", "[]", "{", "7", "{\"hold\":1} x" };
    int pair[2], fds[HOLD_FDS_MAX];
    json_t *msg;
    unsigned n;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    for (size_t i = 1; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(send(pair[0], bad[i], strlen(bad[i]), 0), strlen(bad[i]));
        assert_int_equal(hold_recv(pair[1], &msg, fds, &n), -EBADMSG);
    }
    int fd = file_of("x"), three[3] = { fd, fd, fd }, before = dup(fd);
    close(before);
    char *big = malloc(HOLD_BYTES_MAX + 2);
    memset(big, 'a', HOLD_BYTES_MAX + 1);
    big[HOLD_BYTES_MAX + 1] = 0;
    assert_int_equal(hold_send(pair[0], json_pack("{s:s}", "x", big), NULL, 0), -EMSGSIZE);
    assert_int_equal(hold_send(pair[0], json_pack("{s:i}", "x", 1), three, 3), -EMSGSIZE);
    assert_int_equal(hold_send(pair[0], NULL, NULL, 0), -ENOMEM);
    free(big);
    int after = dup(fd);
    assert_int_equal(after, before);
    close(after);
    close(fd);
    close(pair[0]);
    close(pair[1]);
}

struct seen { int fd, other; bool fd_open, other_open, std_open; };

static int look(void *arg, int fd)
{
    struct seen *s = arg;

    s->fd_open = is_open(fd);
    s->other_open = is_open(s->other);
    s->std_open = is_open(2);
    close(fd);
    return 42;
}

static void an_errand_has_only_the_descriptor_it_needs(void **state)
{
    struct seen s = { 0 };

    (void)state;
    for (int i = 0; i < 2; i++) {
        int a = file_of("a"), b = file_of("b");
        s.other = i ? a : b;              /* one below and one above */
        s.fd = i ? b : a;
        assert_int_equal(errand_run(s.fd, look, &s), 42);
        assert_true(s.fd_open && s.std_open);
        assert_false(s.other_open);
        assert_true(is_open(a) && is_open(b));
        close(a);
        close(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_held_is_told_in_order_with_its_descriptors),
        cmocka_unit_test(an_id_that_comes_again_replaces_what_was_held),
        cmocka_unit_test(a_program_that_is_executed_finds_the_table),
        cmocka_unit_test(a_table_with_a_descriptor_that_is_not_there_is_refused),
        cmocka_unit_test(mounts_that_are_given_up_leave_their_logs),
        cmocka_unit_test(messages_that_are_none_are_refused_and_leave_nothing_open),
        cmocka_unit_test(an_errand_has_only_the_descriptor_it_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
