/* The control protocol: framing, descriptors, bytes that are not UTF-8, and the client's reading of answers. */
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
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/wire.h"
#include "snapshotd/snap_proto.h"

#include "tests/lib/seed.h"

static void put_raw(struct buf *b, const char *body)
{
    buf_put_u32(b, (uint32_t)strlen(body));
    buf_put(b, body, strlen(body));
}

static void a_frame_comes_back_as_it_was(void **state)
{
    (void)state;
    json_t *in = json_pack("{s:s,s:i,s:[s,s]}", "verb", "fork", "count", 7, "l", "a", "\xc3\xa9"), *out;
    struct buf b = BUF_INIT;
    size_t used;

    assert_int_equal(snap_frame_put(&b, in), 0);
    assert_int_equal(snap_frame_put(&b, in), 0);
    assert_int_equal(snap_frame_parse(b.data, b.len, &out, &used), 0);
    assert_int_equal(used * 2, b.len);
    assert_true(json_equal(in, out));
    json_decref(in);
    json_decref(out);
    buf_fini(&b);
}

static void every_truncation_asks_for_more(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    json_t *out = NULL;
    size_t used;

    put_raw(&b, "{\"verb\":\"list\",\"x\":[1,2,{\"y\":null}]}");
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(snap_frame_parse(b.data, n, &out, &used), 1);
    assert_null(out);
    buf_fini(&b);
}

static void too_long_and_empty_frames_are_refused_by_their_length_alone(void **state)
{
    (void)state;
    uint8_t head[4];
    json_t *out;
    size_t used;

    put_le32(head, 0);
    assert_int_equal(snap_frame_parse(head, 4, &out, &used), -EMSGSIZE);
    put_le32(head, SNAP_FRAME_MAX + 1);
    assert_int_equal(snap_frame_parse(head, 4, &out, &used), -EMSGSIZE);
    put_le32(head, UINT32_MAX);
    assert_int_equal(snap_frame_parse(head, 4, &out, &used), -EMSGSIZE);
    put_le32(head, SNAP_FRAME_MAX);
    assert_int_equal(snap_frame_parse(head, 4, &out, &used), 1);
}

static void what_is_not_one_object_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "[]",
                                       "1",
                                       "\"x\"",
                                       "null",
                                       "{",
                                       "{}{}",
                                       "{\"a\":1,\"a\":2}",
                                       "{\"a\":\"\xff\"}",
                                       "{'a':1}",
                                       "{\"a\":1}x",
                                       " ",
                                       "{\"a\":1e999}",
                                       "{\"a\":\"\\u0000\"}" };
    json_t *out = NULL;
    size_t used;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf b = BUF_INIT;
        put_raw(&b, bad[i]);
        assert_int_equal(snap_frame_parse(b.data, b.len, &out, &used), -EBADMSG);
        buf_fini(&b);
    }
    assert_null(out);
}

static void depth_is_limited_and_brackets_in_strings_do_not_count(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    json_t *out = NULL;
    size_t used;

    buf_put_u32(&b, 0);
    buf_printf(&b, "{\"a\":\"\\\"%s\",\"b\":", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[");
    for (int i = 0; i < SNAP_DEPTH_MAX - 1; i++)
        buf_put_u8(&b, '[');
    for (int i = 0; i < SNAP_DEPTH_MAX - 1; i++)
        buf_put_u8(&b, ']');
    buf_put_u8(&b, '}');
    put_le32(b.data, (uint32_t)b.len - 4);
    assert_int_equal(snap_frame_parse(b.data, b.len, &out, &used), 0);
    json_decref(out);
    buf_clear(&b);
    buf_put_u32(&b, 0);
    buf_printf(&b, "{\"b\":");
    for (int i = 0; i < SNAP_DEPTH_MAX; i++)
        buf_put_u8(&b, '[');
    for (int i = 0; i < SNAP_DEPTH_MAX; i++)
        buf_put_u8(&b, ']');
    buf_put_u8(&b, '}');
    put_le32(b.data, (uint32_t)b.len - 4);
    assert_int_equal(snap_frame_parse(b.data, b.len, &out, &used), -EBADMSG);
    buf_fini(&b);
}

static void a_message_over_the_limit_is_not_sent(void **state)
{
    (void)state;
    char *text = malloc(SNAP_FRAME_MAX);
    struct buf b = BUF_INIT;

    memset(text, 'x', SNAP_FRAME_MAX - 1);
    text[SNAP_FRAME_MAX - 1] = 0;
    json_t *m = json_pack("{s:s}", "t", text);
    assert_int_equal(snap_frame_put(&b, m), -EMSGSIZE);
    assert_int_equal(b.len, 0);
    json_decref(m);
    free(text);
    buf_fini(&b);
}

static void random_bytes_survive_as_json(void **state)
{
    (void)state;
    unsigned seed = (unsigned)test_seed();
    printf("COPPICE_SEED=%u\n", seed);
    for (int round = 0; round < 2000; round++) {
        uint8_t in[64];
        size_t n = (size_t)(rand_r(&seed) % 64), back_n;
        int err;
        for (size_t i = 0; i < n; i++)
            in[i] = (uint8_t)(1 + rand_r(&seed) % (round & 1 ? 255 : 127));
        json_t *v = snap_bytes(in, n);
        assert_non_null(v);
        if (!(round & 1))
            assert_true(json_is_string(v));
        char *back = snap_bytes_get(v, &back_n, &err);
        assert_non_null(back);
        assert_int_equal(back_n, n);
        assert_memory_equal(back, in, n);
        assert_int_equal(back[n], 0);
        free(back);
        json_decref(v);
    }
}

static void bytes_in_no_form_of_ours_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "[1]",
                                       "[null]",
                                       "[{}]",
                                       "[{\"base64\":1}]",
                                       "[{\"base64\":\"abc\"}]",
                                       "[{\"base64\":\"ab=c\"}]",
                                       "[{\"base64\":\"!!!!\"}]",
                                       "[{\"base64\":\"AAAA\"}]",
                                       "[{\"base64\":\"YQ==\",\"x\":1}]",
                                       "[{\"base64\":\"====\"}]" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *a = json_loads(bad[i], 0, NULL);
        size_t n;
        int err = 0;
        assert_non_null(a);
        assert_null(snap_bytes_get(json_array_get(a, 0), &n, &err));
        assert_int_equal(err, -EINVAL);
        json_decref(a);
    }
}

/* --- over a socket --- */

static void pair(int s[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
}

static void descriptors_come_with_their_frame_and_close_on_exec(void **state)
{
    (void)state;
    int s[2], p[2], got[SNAP_FDS_MAX];
    unsigned n = 9;
    char c = 0;
    json_t *m = json_pack("{s:s}", "verb", "x"), *out;

    pair(s);
    assert_int_equal(pipe(p), 0);
    assert_int_equal(snap_send(s[0], m, NULL, 0), 0);
    assert_int_equal(snap_send(s[0], m, p, 2), 0);
    assert_int_equal(snap_recv(s[1], &out, got, &n), 0);
    assert_int_equal(n, 0);
    json_decref(out);
    assert_int_equal(snap_recv(s[1], &out, got, &n), 0);
    assert_int_equal(n, 2);
    json_decref(out);
    assert_int_equal(write(got[1], "z", 1), 1);
    assert_int_equal(read(p[0], &c, 1), 1);
    assert_int_equal(c, 'z');
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(fcntl(got[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        close(got[i]);
        close(p[i]);
    }
    close(s[0]);
    close(s[1]);
    json_decref(m);
}

static int lowest_fd(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

enum { TOO_MANY = SNAP_FDS_MAX + 16 };

static void too_many_descriptors_are_refused_and_none_stays_open(void **state)
{
    (void)state;
    union { char b[CMSG_SPACE(sizeof(int) * TOO_MANY)]; struct cmsghdr align; } ctl;
    struct buf b = BUF_INIT;
    int s[2], got[SNAP_FDS_MAX];
    unsigned n;
    json_t *out = NULL;

    pair(s);
    int before = lowest_fd();
    put_raw(&b, "{}");
    memset(&ctl, 0, sizeof(ctl));
    struct iovec iov = { b.data, b.len };
    struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.b, .msg_controllen = sizeof(ctl.b) };
    struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);
    cm->cmsg_level = SOL_SOCKET;
    cm->cmsg_type = SCM_RIGHTS;
    cm->cmsg_len = CMSG_LEN(sizeof(int) * TOO_MANY);
    for (int i = 0; i < TOO_MANY; i++)
        memcpy(CMSG_DATA(cm) + (size_t)i * sizeof(int), &s[0], sizeof(int));
    assert_int_equal(sendmsg(s[0], &mh, 0), b.len);
    assert_int_equal(snap_recv(s[1], &out, got, &n), -E2BIG);
    assert_int_equal(n, 0);
    assert_null(out);
    assert_int_equal(lowest_fd(), before);
    buf_fini(&b);
    close(s[0]);
    close(s[1]);
}

static void an_end_between_frames_is_not_an_end_within_one(void **state)
{
    (void)state;
    static const char *const cut[] = { "\x05", "\x05\0\0\0", "\x05\0\0\0{\"a" };
    static const size_t len[] = { 1, 4, 7 };
    int s[2], got[SNAP_FDS_MAX];
    unsigned n;
    json_t *out;

    pair(s);
    close(s[0]);
    assert_int_equal(snap_recv(s[1], &out, got, &n), -ENODATA);
    close(s[1]);
    for (int i = 0; i < 3; i++) {
        pair(s);
        assert_int_equal(write(s[0], cut[i], len[i]), len[i]);
        close(s[0]);
        assert_int_equal(snap_recv(s[1], &out, got, &n), -EPIPE);
        close(s[1]);
    }
}

static void an_oversize_header_is_refused_before_its_body_comes(void **state)
{
    (void)state;
    int s[2], got[SNAP_FDS_MAX];
    uint8_t head[4];
    unsigned n;
    json_t *out;

    pair(s);
    put_le32(head, SNAP_FRAME_MAX + 1);
    assert_int_equal(write(s[0], head, 4), 4);
    assert_int_equal(snap_recv(s[1], &out, got, &n), -EMSGSIZE);
    close(s[0]);
    close(s[1]);
}

static unsigned fail_at;
static bool fail_nth(size_t size)
{
    (void)size;
    return fail_at && !--fail_at;
}

static void every_failed_allocation_is_an_error_and_leaks_nothing(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    json_t *out;
    bool done = false;

    put_raw(&b, "{\"path\":{\"base64\":\"/////w==\"}}");
    for (unsigned at = 1; !done; at++) {
        int s[2], got[SNAP_FDS_MAX], err = 0;
        unsigned n;
        size_t len;
        pair(s);
        assert_int_equal(write(s[0], b.data, b.len), b.len);
        fail_at = at;
        mem_fault = fail_nth;
        int r = snap_recv(s[1], &out, got, &n);
        char *p = r ? NULL : snap_bytes_get(json_object_get(out, "path"), &len, &err);
        json_t *again = p ? snap_bytes(p, len) : NULL;
        mem_fault = NULL;
        done = fail_at != 0;
        if (!done)
            assert_true(r == -ENOMEM || (!p && err == -ENOMEM) || !again);
        else
            assert_true(again != NULL);
        if (!r)
            json_decref(out);
        json_decref(again);
        free(p);
        close(s[0]);
        close(s[1]);
        assert_true(at < 100);
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_comes_back_as_it_was),
        cmocka_unit_test(every_truncation_asks_for_more),
        cmocka_unit_test(too_long_and_empty_frames_are_refused_by_their_length_alone),
        cmocka_unit_test(what_is_not_one_object_is_refused),
        cmocka_unit_test(depth_is_limited_and_brackets_in_strings_do_not_count),
        cmocka_unit_test(a_message_over_the_limit_is_not_sent),
        cmocka_unit_test(random_bytes_survive_as_json),
        cmocka_unit_test(bytes_in_no_form_of_ours_are_refused),
        cmocka_unit_test(descriptors_come_with_their_frame_and_close_on_exec),
        cmocka_unit_test(too_many_descriptors_are_refused_and_none_stays_open),
        cmocka_unit_test(an_end_between_frames_is_not_an_end_within_one),
        cmocka_unit_test(an_oversize_header_is_refused_before_its_body_comes),
        cmocka_unit_test(every_failed_allocation_is_an_error_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
