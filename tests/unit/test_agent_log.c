/* The output log against a simple model, and the reading of /etc/passwd, without a sandbox. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sandbox/agent/log.h"
#include "sandbox/agent/user.h"
#include "sandbox/frame.h"
#include "tests/lib/seed.h"
#include "tests/model/rng.h"

enum { MODEL_MAX = 1 << 20 };
static uint8_t bytes[MODEL_MAX], streams[MODEL_MAX];

/* What is kept is what was put, byte for byte, with its stream. */
static void check(const struct log *l)
{
    assert_true(l->first <= l->next && l->next - l->first <= l->cap && l->cap <= l->max);
    for (uint64_t s = l->first; s < l->next;) {
        const uint8_t *p;
        uint8_t stream;
        size_t n = log_peek(l, s, &p, &stream);
        assert_true(n > 0 && n <= l->next - s);
        assert_memory_equal(p, bytes + s, n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(streams[s + i], stream);
        s += n;
    }
}

static void a_log_keeps_the_last_bytes_with_their_streams(void **state)
{
    (void)state;
    struct rng r = { test_seed() };

    for (int round = 0; round < 30; round++) {
        struct log l;
        uint64_t next = 0;
        log_init(&l, (uint32_t)(1 + rng_below(&r, 100000)));
        while (next < MODEL_MAX) {
            uint64_t keep = rng_below(&r, 3) ? UINT64_MAX : l.first + rng_below(&r, l.next - l.first + 1);
            size_t n = (size_t)rng_below(&r, rng_below(&r, 4) ? 5 : 70000), room = log_room(&l, keep);
            uint8_t stream = (uint8_t)(1 + rng_below(&r, 2));
            n = n < room ? n : room;
            n = n < MODEL_MAX - next ? n : (size_t)(MODEL_MAX - next);
            if (!n && next + 100000 > MODEL_MAX)
                break;
            for (size_t i = 0; i < n; i++) {
                bytes[next + i] = (uint8_t)rng_next(&r);
                streams[next + i] = stream;
            }
            log_put(&l, stream, bytes + next, n);
            next += n;
            assert_true(l.next == next);
            assert_true(keep == UINT64_MAX || l.first <= keep);
            if (!rng_below(&r, 50))
                check(&l);
        }
        check(&l);
        log_trim(&l);
        check(&l);
        log_fini(&l);
        assert_int_equal(logs_bytes(), 0);
    }
}

static bool fail_always(size_t n) { (void)n; return true; }

static void without_memory_bytes_are_lost_not_counted_wrong(void **state)
{
    (void)state;
    struct log l;

    log_init(&l, 65536);
    mem_fault = fail_always;                 /* of the table of streams */
    log_put(&l, 1, (const uint8_t *)"abc", 3);
    mem_fault = NULL;
    assert_true(l.next == 3 && l.first == 3);
    log_put(&l, 2, (const uint8_t *)"def", 3);
    const uint8_t *p;
    uint8_t stream;
    assert_int_equal(log_peek(&l, 3, &p, &stream), 3);
    assert_int_equal(stream, 2);
    log_fini(&l);
}

static void all_logs_together_are_bounded(void **state)
{
    (void)state;
    enum { LOGS = 200 };
    static struct log l[LOGS];
    static uint8_t part[1 << 20];

    for (int i = 0; i < LOGS; i++) {
        log_init(&l[i], 8 << 20);
        log_put(&l[i], 1, part, sizeof part);
        assert_true(l[i].next == sizeof part);
    }
    assert_true(logs_bytes() <= LOGS_BYTES_MAX + LOGS * (LOG_LEAST + 4096));
    assert_true(l[LOGS - 1].next - l[LOGS - 1].first > 0);
    for (int i = 0; i < LOGS; i++)
        log_fini(&l[i]);
    assert_int_equal(logs_bytes(), 0);
}

static void users_are_found_in_any_file(void **state)
{
    (void)state;
    static const char file[] = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:5:5::/:\nbig:x:70000:1::/:\nneg:x:-1:1::/:\nagent:x:65533:65533::/:\nann:x:1001:7:Ann:/home/ann:/bin/sh\n"
        "rel:x:1002:7::relative:\nann:x:0:0::/:\nlast:x:1003:8::/l:/bin/sh";
    struct { const char *spec; int err; unsigned uid, gid; const char *home; } table[] = {
        { "root", 0, 0, 0, "/root" }, { "ann", 0, 1001, 7, "/home/ann" }, { "1001", 0, 1001, 7, "/home/ann" }, { "1001:9", 0, 1001, 9, "/home/ann" }, { "rel", 0, 1002, 7, "/" },
        { "last", 0, 1003, 8, "/l" }, { "user", 0, 1000, 1000, "/home/user" }, { "", 0, 1000, 1000, "/home/user" }, { "1000", 0, 1000, 1000, "/home/user" },
        { "4711", 0, 4711, 4711, "/" }, { "big", -ENOENT, 0, 0, NULL }, { "neg", -ENOENT, 0, 0, NULL }, { "agent", -EINVAL, 0, 0, NULL }, { "65533", -EINVAL, 0, 0, NULL },
        { "1:65533", -EINVAL, 0, 0, NULL }, { "70000", -EINVAL, 0, 0, NULL }, { "1:", -EINVAL, 0, 0, NULL }, { "1x", -EINVAL, 0, 0, NULL }, { "ann:1", -EINVAL, 0, 0, NULL },
        { "99999999999", -EINVAL, 0, 0, NULL }, { "broken", -ENOENT, 0, 0, NULL },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct user u;
        assert_int_equal(user_find_in(file, sizeof file - 1, table[i].spec, &u), table[i].err);
        if (table[i].err)
            continue;
        assert_int_equal(u.uid, table[i].uid);
        assert_int_equal(u.gid, table[i].gid);
        assert_string_equal(u.home, table[i].home);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_keeps_the_last_bytes_with_their_streams), cmocka_unit_test(without_memory_bytes_are_lost_not_counted_wrong),
        cmocka_unit_test(all_logs_together_are_bounded), cmocka_unit_test(users_are_found_in_any_file),
    };
    return cmocka_run_group_tests_name("agent_log", tests, NULL, NULL);
}
