/* The agent's protocol: frames over a socket pair, the specs in them, and the file operations' requests. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/wire.h"
#include "sandbox/file_proto.h"
#include "sandbox/frame.h"

static uint8_t packet[FRAME_MAX + 1];

static void pair(int s[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), 0);
}

static void a_frame_comes_through_whole(void **state)
{
    (void)state;
    static uint8_t body[FRAME_BODY_MAX];
    int s[2];
    struct frame f;

    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)(i * 7);
    pair(s);
    assert_int_equal(frame_recv(s[1], packet, &f), -EAGAIN);
    assert_int_equal(frame_send(s[0], FRAME_DATA, STREAM_ERR, 0x01020304, 0x1122334455667788, body, 8, body + 8, sizeof body - 8, -1), 0);
    assert_int_equal(frame_recv(s[1], packet, &f), 1);
    assert_int_equal(f.type, FRAME_DATA);
    assert_int_equal(f.flags, STREAM_ERR);
    assert_int_equal(f.id, 0x01020304);
    assert_true(f.arg == 0x1122334455667788);
    assert_int_equal(f.n, sizeof body);
    assert_memory_equal(f.body, body, sizeof body);
    assert_int_equal(f.fd_count, 0);
    assert_int_equal(frame_send(s[0], FRAME_DATA, 0, 1, 0, body, 1, body, sizeof body, -1), -EMSGSIZE);
    close(s[0]);
    assert_int_equal(frame_recv(s[1], packet, &f), 0);
    assert_int_equal(frame_send(s[1], FRAME_HELLO, 0, 0, 0, NULL, 0, NULL, 0, -1), -EPIPE);
    close(s[1]);
}

static void a_full_socket_refuses_and_keeps_what_it_has(void **state)
{
    (void)state;
    static uint8_t body[FRAME_BODY_MAX];
    int s[2], r;
    unsigned sent = 0, got = 0;
    struct frame f;

    pair(s);
    while (!(r = frame_send(s[0], FRAME_STDIN, 0, 1, sent, NULL, 0, body, sizeof body, -1)))
        sent++;
    assert_int_equal(r, -EAGAIN);
    assert_true(sent > 0);
    while (frame_recv(s[1], packet, &f) == 1)
        assert_int_equal(f.arg, got++);
    assert_int_equal(got, sent);
    close(s[0]);
    close(s[1]);
}

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void send_fds(int sock, const void *p, size_t n, const int *fds, unsigned count)
{
    union { struct cmsghdr h; char b[CMSG_SPACE(8 * sizeof(int))]; } c = { 0 };
    struct iovec iov = { (void *)p, n };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = CMSG_SPACE(count * sizeof(int)) };

    c.h.cmsg_level = SOL_SOCKET;
    c.h.cmsg_type = SCM_RIGHTS;
    c.h.cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(&c.h), fds, count * sizeof(int));
    assert_int_equal(sendmsg(sock, &msg, 0), (ssize_t)n);
}

static void descriptors_come_with_it_and_too_many_are_closed(void **state)
{
    (void)state;
    int s[2], many[8];
    struct frame f;
    uint8_t head[FRAME_HEAD] = { FRAME_FILE_OP, 0, 0, 0, 7 };

    pair(s);
    assert_int_equal(frame_send(s[0], FRAME_FILE_OP, 0, 7, 0, NULL, 0, "x", 1, s[0]), 0);
    assert_int_equal(frame_recv(s[1], packet, &f), 1);
    assert_int_equal(f.fd_count, 1);
    assert_true(fcntl(f.fds[0], F_GETFD) & FD_CLOEXEC);
    close(f.fds[0]);
    unsigned before = open_fds();
    for (int i = 0; i < 8; i++)
        many[i] = s[0];
    send_fds(s[0], head, sizeof head, many, 3);
    assert_int_equal(frame_recv(s[1], packet, &f), -EBADMSG);
    send_fds(s[0], head, 3, many, 2);        /* too short to be a frame */
    assert_int_equal(frame_recv(s[1], packet, &f), -EBADMSG);
    for (int i = 0; i < 2; i++) {            /* more than even the control buffer holds */
        send_fds(s[0], head, sizeof head, many, 8);
        assert_int_equal(frame_recv(s[1], packet, &f), -EBADMSG);
    }
    assert_int_equal(open_fds(), before);
    close(s[0]);
    close(s[1]);
}

static void what_is_no_frame_is_refused(void **state)
{
    (void)state;
    int s[2];
    struct frame f;
    static uint8_t big[FRAME_MAX + 1];
    uint8_t head[FRAME_HEAD] = { FRAME_HELLO };

    pair(s);
    for (size_t n = 1; n < FRAME_HEAD; n++) {
        assert_int_equal(send(s[0], head, n, 0), (ssize_t)n);
        assert_int_equal(frame_recv(s[1], packet, &f), -EBADMSG);
    }
    assert_int_equal(send(s[0], big, sizeof big, 0), (ssize_t)sizeof big);
    assert_int_equal(frame_recv(s[1], packet, &f), -EBADMSG);
    head[2] = 1;
    assert_int_equal(send(s[0], head, sizeof head, 0), FRAME_HEAD);
    assert_int_equal(frame_recv(s[1], packet, &f), -EBADMSG);
    head[2] = 0;
    assert_int_equal(send(s[0], head, sizeof head, 0), FRAME_HEAD);
    assert_int_equal(frame_recv(s[1], packet, &f), 1);
    close(s[0]);
    close(s[1]);
}

static char *some_argv[] = { (char *)"sh", (char *)"-c", (char *)"", NULL }, *some_env[] = { (char *)"A=1", (char *)"B=\xff\n", NULL }, *no_env[] = { NULL };

static void put_spec(struct buf *b)
{
    struct exec_spec s = { .ring = 1, .credit = 2, .timeout_ms = 3, .cols = 4, .rows = 5, .user = (char *)"user", .cwd = (char *)"/w", .argv = some_argv, .env = some_env };

    exec_spec_put(b, &s);
    assert_int_equal(buf_err(b), 0);
}

static void a_spec_comes_back_as_it_was(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, again = BUF_INIT;
    struct exec_spec s;

    put_spec(&b);
    assert_int_equal(exec_spec_get(b.data, b.len, &s), 0);
    assert_int_equal(s.ring, 1);
    assert_int_equal(s.credit, 2);
    assert_int_equal(s.timeout_ms, 3);
    assert_int_equal(s.cols, 4);
    assert_int_equal(s.rows, 5);
    assert_string_equal(s.user, "user");
    assert_string_equal(s.cwd, "/w");
    assert_string_equal(s.argv[1], "-c");
    assert_string_equal(s.argv[2], "");
    assert_null(s.argv[3]);
    assert_string_equal(s.env[1], "B=\xff\n");
    assert_null(s.env[2]);
    exec_spec_put(&again, &s);
    assert_int_equal(again.len, b.len);
    assert_memory_equal(again.data, b.data, b.len);
    exec_spec_fini(&s);
    buf_fini(&b);
    buf_fini(&again);
}

static void a_spec_is_read_strictly(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct exec_spec s;

    put_spec(&b);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(exec_spec_get(b.data, n, &s), -EBADMSG);
    buf_put_u8(&b, 0);
    assert_int_equal(exec_spec_get(b.data, b.len, &s), -EBADMSG);      /* trailing bytes */
    b.len--;
    ((uint8_t *)memmem(b.data, b.len, "user", 4))[2] = 0;
    assert_int_equal(exec_spec_get(b.data, b.len, &s), -EBADMSG);      /* NUL in a string */
    buf_clear(&b);
    struct exec_spec none = { .argv = no_env, .env = no_env };
    exec_spec_put(&b, &none);
    assert_int_equal(exec_spec_get(b.data, b.len, &s), -EBADMSG);      /* no argv */
    buf_clear(&b);
    static char *many[ARGV_MAX + 2];
    for (int i = 0; i <= ARGV_MAX; i++)
        many[i] = (char *)"x";
    none.argv = many;
    exec_spec_put(&b, &none);
    assert_int_equal(exec_spec_get(b.data, b.len, &s), -EBADMSG);
    many[ARGV_MAX] = NULL;
    buf_clear(&b);
    exec_spec_put(&b, &none);
    assert_int_equal(exec_spec_get(b.data, b.len, &s), 0);
    exec_spec_fini(&s);
    buf_fini(&b);
}

static bool fail_always(size_t n) { (void)n; return true; }

static void no_memory_is_an_answer(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, q = BUF_INIT;
    struct exec_spec s;
    static struct file_request request, back;
    char *extra[] = { (char *)"*.o" };

    put_spec(&b);
    request = (struct file_request){ .op = FILE_TREE_OUT, .extra = extra, .extra_count = 1 };
    file_request_put(&q, &request);
    struct reader r = reader_of(q.data, q.len);
    mem_fault = fail_always;
    int spec = exec_spec_get(b.data, b.len, &s), req = file_request_get(&r, &back);
    mem_fault = NULL;
    assert_int_equal(spec, -ENOMEM);
    assert_int_equal(req, -ENOMEM);
    buf_fini(&b);
    buf_fini(&q);
}

static void an_exit_comes_back_as_it_was(void **state)
{
    (void)state;
    struct exit_info e = { .code = EXIT_UNKNOWN, .signal = 9, .user_us = 1, .sys_us = 2, .wall_us = UINT64_MAX, .peak_kb = 4, .core = 1, .timed_out = 1, .oom = 0 }, back;
    struct buf b = BUF_INIT;

    exit_info_put(&b, &e);
    assert_int_equal(b.len, EXIT_INFO_BYTES);
    struct reader r = reader_of(b.data, b.len);
    exit_info_get(&r, &back);
    assert_false(r.bad);
    assert_int_equal(back.code, EXIT_UNKNOWN);
    assert_int_equal(back.signal, 9);
    assert_true(back.user_us == 1 && back.sys_us == 2 && back.wall_us == UINT64_MAX && back.peak_kb == 4 && back.core == 1 && back.timed_out == 1 && !back.oom);
    r = reader_of(b.data, b.len - 1);
    exit_info_get(&r, &back);
    assert_true(r.bad);
    buf_fini(&b);
}

static void a_file_request_comes_back_as_it_was(void **state)
{
    (void)state;
    static struct file_request q, back;
    char *extra[] = { (char *)".git", (char *)"", (char *)"*.o" };
    struct buf b = BUF_INIT;

    q = (struct file_request){ .op = FILE_TREE_OUT, .flags = FILE_PARENTS | FILE_ADDRESS, .mode = 0644, .depth = 3, .off = 5, .len = UINT64_MAX, .extra = extra, .extra_count = 3 };
    memset(q.path, 'p', sizeof q.path - 1);
    memcpy(q.path2, "/a\xff", 4);
    file_request_put(&b, &q);
    assert_int_equal(buf_err(&b), 0);
    struct reader r = reader_of(b.data, b.len);
    assert_int_equal(file_request_get(&r, &back), 0);
    assert_int_equal(reader_left(&r), 0);
    assert_string_equal(back.path, q.path);
    assert_string_equal(back.path2, q.path2);
    assert_true(back.op == q.op && back.flags == q.flags && back.mode == q.mode && back.depth == 3 && back.off == 5 && back.len == UINT64_MAX && back.extra_count == 3);
    assert_string_equal(back.extra[0], ".git");
    assert_string_equal(back.extra[1], "");
    assert_string_equal(back.extra[2], "*.o");
    file_request_fini(&back);
    for (size_t n = 0; n < b.len; n++) {
        r = reader_of(b.data, n);
        assert_int_equal(file_request_get(&r, &back), -EBADMSG);
        assert_null(back.extra);
    }
    uint8_t op = b.data[0];
    for (unsigned v = 0; v < 256; v++) {
        b.data[0] = (uint8_t)v;
        r = reader_of(b.data, b.len);
        assert_int_equal(file_request_get(&r, &back), v >= FILE_STAT && v <= FILE_ENTRY ? 0 : -EBADMSG);
        file_request_fini(&back);
    }
    b.data[0] = op;
    b.data[4] = 0x80;                        /* a flag that nobody knows */
    r = reader_of(b.data, b.len);
    assert_int_equal(file_request_get(&r, &back), -EBADMSG);
    buf_fini(&b);
}

static void a_file_stat_is_read_strictly(void **state)
{
    (void)state;
    struct file_stat s = { .mode = 0100644, .uid = 1, .gid = 2, .nlink = 3, .size = 4, .ino = 5, .mtime_s = -6, .mtime_ns = 999999999, .address = "s12-ab-0" }, back;
    struct buf b = BUF_INIT;

    file_stat_put(&b, &s);
    struct reader r = reader_of(b.data, b.len);
    file_stat_get(&r, &back);
    assert_false(r.bad);
    assert_int_equal(reader_left(&r), 0);
    assert_true(back.mode == s.mode && back.uid == 1 && back.gid == 2 && back.nlink == 3 && back.size == 4 && back.ino == 5 && back.mtime_s == -6 && back.mtime_ns == 999999999);
    assert_string_equal(back.address, s.address);
    const char *bad[] = { "ab\r\ncd", "\"", "xyz", " " };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buf_clear(&b);
        strcpy(s.address, bad[i]);
        file_stat_put(&b, &s);
        r = reader_of(b.data, b.len);
        file_stat_get(&r, &back);
        assert_true(r.bad);
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_comes_through_whole),
        cmocka_unit_test(a_full_socket_refuses_and_keeps_what_it_has),
        cmocka_unit_test(descriptors_come_with_it_and_too_many_are_closed),
        cmocka_unit_test(what_is_no_frame_is_refused),
        cmocka_unit_test(a_spec_comes_back_as_it_was),
        cmocka_unit_test(a_spec_is_read_strictly),
        cmocka_unit_test(no_memory_is_an_answer),
        cmocka_unit_test(an_exit_comes_back_as_it_was),
        cmocka_unit_test(a_file_request_comes_back_as_it_was),
        cmocka_unit_test(a_file_stat_is_read_strictly),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
