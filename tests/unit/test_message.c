/* sandbox/egress/message: what is passed on, and changed. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "sandbox/egress/message.h"

static void read_message(const char *text, struct message *m)
{
    static struct http1_head head;

    assert_int_equal(http1_request(text, strlen(text), &head), HTTP1_OK);
    assert_int_equal(message_from(&head, m), 0);
}

static void a_message_keeps_what_may_be_passed_on(void **state)
{
    struct message m;
    struct buf b = BUF_INIT;

    read_message("PUT /a?b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close, x-drop\r\nX-Drop: 1\r\nTE: trailers\r\nAccept: */*\r\naccept: b\r\n\r\n", &m);
    assert_string_equal(m.method, "PUT");
    assert_string_equal(m.target, "/a?b");
    assert_int_equal(m.count, 2);
    assert_string_equal(message_get(&m, "ACCEPT"), "*/*");
    assert_null(message_get(&m, "host"));
    assert_int_equal(message_set(&m, "Accept", "c"), 0);
    assert_int_equal(message_add(&m, "X-A", ""), 0);
    assert_int_equal(m.count, 2);
    assert_int_equal(message_set(&m, "a b", "c"), -EINVAL);
    assert_int_equal(message_set(&m, "a", "c\r\nX: y"), -EINVAL);
    assert_int_equal(message_add(&m, "a", "caf\xc3\xa9"), -EINVAL);
    message_put_fields(&m, &b);
    assert_int_equal(buf_err(&b), 0);
    assert_int_equal(b.len, strlen("Accept: c\r\nX-A: \r\n"));
    assert_memory_equal(b.data, "Accept: c\r\nX-A: \r\n", b.len);
    buf_fini(&b);
    message_fini(&m);
}

static void all_spellings_of_a_header_are_taken_away(void **state)
{
    struct message m;

    read_message("GET / HTTP/1.1\r\nHost: a.test\r\nX-API-Key: 1\r\nx_api_key: 2\r\nx.api.key: 3\r\nX-Api_Key: 4\r\nx~api!key: 5\r\nx-api-key-: 6\r\n_X-Api-Key: 7\r\nx__api-.key: 8\r\nx-api-key.: 9\r\nxapikey: no\r\nx-api-key2: no\r\nx-api: no\r\n\r\n", &m);
    assert_int_equal(message_remove_folded(&m, "x-api-key"), 9);
    assert_int_equal(m.count, 3);
    message_fini(&m);
}

static int fail_at;
static _Bool fail_nth(size_t size)
{
    return fail_at-- == 0;
}

static void without_memory_a_message_stays_as_it_was(void **state)
{
    static struct http1_head head;
    static const char text[] = "GET / HTTP/1.1\r\nHost: a.test\r\nA: 1\r\nB: 2\r\n\r\n";
    struct message m;
    int r = -ENOMEM, n;

    assert_int_equal(http1_request(text, sizeof text - 1, &head), HTTP1_OK);
    mem_fault = fail_nth;
    for (n = 0; r == -ENOMEM; n++) {
        fail_at = n;
        r = message_from(&head, &m);
    }
    assert_int_equal(r, 0);
    assert_true(n > 6);
    for (n = 0, r = -ENOMEM; r == -ENOMEM; n++) {
        fail_at = n;
        r = message_set(&m, "A", "3");
        assert_string_equal(message_get(&m, "A"), r ? "1" : "3");
        assert_int_equal(m.count, 2);
    }
    mem_fault = NULL;
    message_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_keeps_what_may_be_passed_on),
        cmocka_unit_test(all_spellings_of_a_header_are_taken_away),
        cmocka_unit_test(without_memory_a_message_stays_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
