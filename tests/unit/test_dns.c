/* DNS: what a sandbox is answered, and how the answers to our own questions are read. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "sandbox/egress/dns.h"

static uint8_t out[DNS_ANSWER_MAX];
static char name[DNS_NAME_MAX];
static uint16_t type;

/* A query of the sandbox: header, question, rest. */
static size_t query(uint8_t *q, const char *wire, size_t n, uint16_t t, uint16_t class)
{
    memcpy(q, "\x12\x34\x01\0\0\1\0\0\0\0\0\0", 12);
    memcpy(q + 12, wire, n);
    q[12 + n] = (uint8_t)(t >> 8), q[13 + n] = (uint8_t)t, q[14 + n] = (uint8_t)(class >> 8), q[15 + n] = (uint8_t)class;
    return 16 + n;
}

static void every_name_has_the_same_address(void **state)
{
    (void)state;
    uint8_t q[64], v6[16];

    size_t n = query(q, "\3foo\7example\0", 13, DNS_A, 1);
    assert_int_equal(dns_answer(q, n, true, out, name, &type), n + 16);
    assert_memory_equal(out, "\x12\x34\x81\x80\0\1\0\1\0\0\0\0", 12);
    assert_memory_equal(out + 12, q + 12, n - 12);
    assert_memory_equal(out + n, "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc6\x12\0\1", 16);
    assert_string_equal(name, "foo.example");
    assert_int_equal(type, DNS_A);
    n = query(q, "\1x\0", 3, DNS_AAAA, 1);
    assert_int_equal(dns_answer(q, n, true, out, name, &type), n + 28);
    inet_pton(AF_INET6, DNS_FAKE_V6, v6);
    assert_memory_equal(out + n + 12, v6, 16);
    assert_int_equal(dns_answer(q, n, false, out, name, &type), n);      /* no v6 there: no address, but the name exists */
    assert_memory_equal(out + 2, "\x81\x80\0\1\0\0", 6);
}

static void other_types_and_classes_are_empty_and_never_an_error(void **state)
{
    (void)state;
    static const uint16_t types[] = { 0, 2, 5, 6, 10, 12, 15, 16, 33, 64, 65, 251, 252, 255, 65535 };
    uint8_t q[64];

    for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        size_t n = query(q, "\3foo\0", 5, types[i], 1);
        assert_int_equal(dns_answer(q, n, true, out, name, &type), n);
        assert_memory_equal(out, "\x12\x34\x81\x80\0\1\0\0\0\0\0\0", 12);
    }
    size_t n = query(q, "\3foo\0", 5, DNS_A, 3);
    assert_int_equal(dns_answer(q, n, true, out, name, &type), n);
}

static void edns_is_answered_with_edns(void **state)
{
    (void)state;
    uint8_t q[64];

    size_t n = query(q, "\3foo\0", 5, DNS_A, 1);
    q[11] = 1;
    memcpy(q + n, "\0\0\x29\x10\0\0\0\0\0\0\0", 11);
    assert_int_equal(dns_answer(q, n + 11, true, out, name, &type), n + 16 + 11);
    assert_memory_equal(out + n + 16, "\0\0\x29\x04\xd0\0\0\0\0\0\0", 11);
    q[n + 6] = 1;                                   /* version 1: BADVERS, no address */
    assert_int_equal(dns_answer(q, n + 11, true, out, name, &type), n + 11);
    assert_int_equal(out[n + 5], 1);
    assert_int_equal(out[3] & 15, 0);
}

static void what_is_no_query_gets_an_error_or_nothing(void **state)
{
    (void)state;
    uint8_t q[600];

    assert_int_equal(dns_answer((const uint8_t *)"\x12\x34\1\0\0\1", 6, true, out, name, &type), 0);
    size_t n = query(q, "\3foo\0", 5, DNS_A, 1);
    q[2] = 0x81;                                    /* an answer: never answered, or two of us would not stop */
    assert_int_equal(dns_answer(q, n, true, out, name, &type), 0);
    q[2] = 0x11;                                    /* another opcode */
    assert_int_equal(dns_answer(q, n, true, out, name, &type), 12);
    assert_int_equal(out[3] & 15, 4);
    q[2] = 1;
    for (size_t cut = 12; cut < n; cut++) {
        assert_int_equal(dns_answer(q, cut, true, out, name, &type), 12);
        assert_int_equal(out[3] & 15, 1);
    }
    assert_int_equal(dns_answer(q, n + 1, true, out, name, &type), 12);      /* a byte too much */
    q[5] = 2;
    assert_int_equal(dns_answer(q, n, true, out, name, &type), 12);
    n = query(q, "\3foo\xc0\x0c", 6, DNS_A, 1);     /* a pointer in a question */
    assert_int_equal(dns_answer(q, n, true, out, name, &type), 12);
    assert_int_equal(out[3] & 15, 1);
}

static void a_name_is_at_most_255_bytes_and_its_text_is_harmless(void **state)
{
    (void)state;
    char wire[260];
    uint8_t q[600];

    memset(wire, 0, sizeof(wire));
    for (unsigned i = 0; i < 4; i++) {
        wire[i * 63] = i == 3 ? 61 : 62;
        memset(wire + i * 63 + 1, 'a', 62);
    }
    wire[3 * 63 + 62] = 0;
    wire[3 * 63] = 61;
    size_t n = query(q, wire, 3 * 63 + 63, DNS_A, 1);
    assert_int_equal(dns_answer(q, n, true, out, name, &type), n + 16);
    assert_int_equal(strlen(name), 250);
    memset(wire, 'b', sizeof(wire));
    for (unsigned i = 0; i < 4; i++)
        wire[i * 64] = 63;
    wire[256] = 0;
    n = query(q, wire, 257, DNS_A, 1);
    assert_int_equal(dns_answer(q, n, true, out, name, &type), 12);
    n = query(q, "\4a\n\x1b\"\0", 6, DNS_A, 1);
    assert_int_equal(dns_answer(q, n, true, out, name, &type), n + 16);
    assert_string_equal(name, "a???");
}

/* --- answers to our own questions --- */

static uint8_t asked[DNS_QUERY_MAX];
static size_t asked_n;

static void ask(const char *what, uint16_t t)
{
    int n = dns_query(0xbeef, what, t, asked);

    assert_true(n > 0);
    asked_n = (size_t)n;
}

/* The question of `asked` again, with these flags and records. */
static size_t reply(uint8_t *p, const char *flags, unsigned count, const char *records, size_t n)
{
    memcpy(p, asked, asked_n - 11);
    memcpy(p + 2, flags, 2);
    memcpy(p + 6, (uint8_t[]){ 0, (uint8_t)count, 0, 0, 0, 0 }, 6);
    memcpy(p + asked_n - 11, records, n);
    return asked_n - 11 + n;
}

static int read_reply(const char *flags, unsigned count, const char *records, size_t n, struct dns_addresses *ret)
{
    uint8_t p[1024];

    ret->count = 0;
    return dns_read(p, reply(p, flags, count, records, n), asked, asked_n, ret);
}
#define READ(flags, count, records, ret) read_reply(flags, count, records, sizeof(records) - 1, ret)

static void addresses_of_the_name_are_read(void **state)
{
    (void)state;
    struct dns_addresses a;

    ask("a.example", DNS_A);
    assert_int_equal(READ("\x81\x80", 2, "\xc0\x0c\0\1\0\1\0\0\0\5\0\4\1\2\3\4" "\xc0\x0c\0\1\0\1\0\0\0\5\0\4\5\6\7\10", &a), 0);
    assert_int_equal(a.count, 2);
    assert_int_equal(((struct sockaddr_in *)&a.at[1])->sin_addr.s_addr, htonl(0x05060708));
    assert_int_equal(READ("\x81\x80", 1, "\1B\7EXAMPLE\0\0\1\0\1\0\0\0\5\0\4\1\2\3\4", &a), 0);
    assert_int_equal(a.count, 0);                   /* another name's */
    assert_int_equal(READ("\x81\x80", 1, "\1A\7EXAMPLE\0\0\1\0\1\0\0\0\5\0\4\1\2\3\4", &a), 0);
    assert_int_equal(a.count, 1);                   /* case does not matter */
    assert_int_equal(READ("\x81\x80", 1, "\xc0\x0c\0\x1c\0\1\0\0\0\5\0\x10" "0123456789abcdef", &a), 0);
    assert_int_equal(a.count, 0);                   /* not the type that was asked */
}

static void a_cname_is_followed_in_the_same_answer_only(void **state)
{
    (void)state;
    struct dns_addresses a;

    ask("a.example", DNS_A);
    /* the address first, then the CNAME: any order */
    assert_int_equal(READ("\x81\x80", 2, "\1b\1c\0\0\1\0\1\0\0\0\5\0\4\1\2\3\4" "\xc0\x0c\0\5\0\1\0\0\0\5\0\5\1b\1c\0", &a), 0);
    assert_int_equal(a.count, 1);
    assert_int_equal(READ("\x81\x80", 1, "\xc0\x0c\0\5\0\1\0\0\0\5\0\5\1b\1c\0", &a), 0);
    assert_int_equal(a.count, 0);                   /* it leads out of the answer: nobody is asked */
    assert_int_equal(READ("\x81\x80", 1, "\xc0\x0c\0\5\0\1\0\0\0\5\0\2\xc0\x0c", &a), -EBADMSG);     /* to itself */
    assert_int_equal(a.count, 0);
}

static void what_is_not_the_answer_is_left_for_the_right_one(void **state)
{
    (void)state;
    struct dns_addresses a = { .count = 0 };
    uint8_t p[512];
    static const char one[] = "\xc0\x0c\0\1\0\1\0\0\0\5\0\4\1\2\3\4";

    ask("a.example", DNS_A);
    size_t n = reply(p, "\x81\x80", 1, one, sizeof(one) - 1);
    for (unsigned at = 0; at < 2; at++) {           /* the id */
        p[at] ^= 1;
        assert_int_equal(dns_read(p, n, asked, asked_n, &a), -EAGAIN);
        p[at] ^= 1;
    }
    p[13]++;                                        /* the name */
    assert_int_equal(dns_read(p, n, asked, asked_n, &a), -EAGAIN);
    p[13]--;
    p[2] &= 0x7f;                                   /* a question */
    assert_int_equal(dns_read(p, n, asked, asked_n, &a), -EAGAIN);
    p[2] |= 0x80;
    p[asked_n - 11 - 3] = DNS_AAAA;                 /* the type */
    assert_int_equal(dns_read(p, n, asked, asked_n, &a), -EAGAIN);
    p[asked_n - 11 - 3] = DNS_A;
    assert_int_equal(dns_read(p, n, asked, asked_n, &a), 0);
    assert_int_equal(a.count, 1);
}

static void refusals_and_broken_answers_are_told_apart(void **state)
{
    (void)state;
    struct dns_addresses a;
    uint8_t p[512];
    static const char one[] = "\xc0\x0c\0\1\0\1\0\0\0\5\0\4\1\2\3\4";

    ask("a.example", DNS_A);
    assert_int_equal(READ("\x81\x83", 0, "", &a), -ENOENT);
    assert_int_equal(READ("\x81\x82", 0, "", &a), -EREMOTEIO);
    assert_int_equal(READ("\x81\x85", 0, "", &a), -EREMOTEIO);
    assert_int_equal(READ("\x83\x80", 0, "", &a), -EMSGSIZE);
    assert_int_equal(READ("\x81\x80", 0, "", &a), 0);
    assert_int_equal(READ("\x81\x80", 2, "\xc0\x0c\0\1\0\1\0\0\0\5\0\4\1\2\3\4", &a), -EBADMSG);
    assert_int_equal(READ("\x81\x80", 1, "\xc0\x0c\0\1\0\1\0\0\0\5\0\5\1\2\3\4\5", &a), -EBADMSG);
    assert_int_equal(READ("\x81\x80", 1, "\xc0\x30\0\1\0\1\0\0\0\5\0\4\1\2\3\4", &a), -EBADMSG);      /* a pointer forwards */
    size_t n = reply(p, "\x81\x80", 1, one, sizeof(one) - 1);
    for (size_t cut = asked_n - 11; cut < n; cut++)
        assert_int_equal(dns_read(p, cut, asked, asked_n, &a), -EBADMSG);
}

static void only_absolute_names_are_asked_for(void **state)
{
    (void)state;
    uint8_t q[DNS_QUERY_MAX];
    char longest[300];

    assert_true(dns_query(1, "a-b.c_d.example", DNS_A, q) > 0);
    assert_int_equal(dns_query(1, "", DNS_A, q), -EINVAL);
    assert_int_equal(dns_query(1, "a..b", DNS_A, q), -EINVAL);
    assert_int_equal(dns_query(1, ".a", DNS_A, q), -EINVAL);
    assert_int_equal(dns_query(1, "a.b.", DNS_A, q), -EINVAL);
    memset(longest, 'a', sizeof(longest));
    longest[64] = 0;
    assert_int_equal(dns_query(1, longest, DNS_A, q), -EINVAL);
    longest[64] = 'a';
    longest[299] = 0;
    assert_int_equal(dns_query(1, longest, DNS_A, q), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_has_the_same_address), cmocka_unit_test(other_types_and_classes_are_empty_and_never_an_error), cmocka_unit_test(edns_is_answered_with_edns),
        cmocka_unit_test(what_is_no_query_gets_an_error_or_nothing), cmocka_unit_test(a_name_is_at_most_255_bytes_and_its_text_is_harmless),
        cmocka_unit_test(addresses_of_the_name_are_read), cmocka_unit_test(a_cname_is_followed_in_the_same_answer_only), cmocka_unit_test(what_is_not_the_answer_is_left_for_the_right_one),
        cmocka_unit_test(refusals_and_broken_answers_are_told_apart), cmocka_unit_test(only_absolute_names_are_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
