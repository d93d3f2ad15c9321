#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/wire.h"
#include "fs/addr_set.h"

static struct addr nth(uint64_t i)
{
    return addr_of(&i, sizeof i);
}

static void what_was_added_is_there_with_its_value_and_nothing_else(void **state)
{
    struct addr_set s = ADDR_SET(8);

    assert_false(addr_set_has(&s, &(struct addr){ { 1 } }));
    for (uint64_t i = 0; i < 20000; i++) {
        struct addr a = nth(i);
        void *val;

        assert_int_equal(addr_set_add(&s, &a, &val), 1);
        assert_int_equal(le64(val), 0);
        put_le64(val, i * 3);
        assert_int_equal(addr_set_add(&s, &a, &val), 0);
        assert_int_equal(le64(val), i * 3);
    }
    assert_int_equal(s.count, 20000);
    for (uint64_t i = 0; i < 40000; i++) {
        struct addr a = nth(i);
        void *val = addr_set_val(&s, &a);

        assert_int_equal(addr_set_has(&s, &a), i < 20000);
        if (i < 20000)
            assert_int_equal(le64(val), i * 3);
    }
    assert_int_equal(addr_set_add(&s, &(struct addr){ 0 }, NULL), -EINVAL);
    addr_set_fini(&s);
}

static void addresses_that_fall_on_one_place_are_told_apart(void **state)
{
    struct addr_set s = ADDR_SET(0);
    struct addr a = { { 1 } };

    for (uint8_t i = 0; i < 200; i++) {
        a.b[15] = i;      /* what places an address is the same for all */
        assert_int_equal(addr_set_add(&s, &a, NULL), 1);
    }
    a.b[15] = 77;
    assert_true(addr_set_has(&s, &a));
    a.b[15] = 250;
    assert_false(addr_set_has(&s, &a));
    addr_set_fini(&s);
}

static bool no_memory(size_t size)
{
    return true;
}

static void a_set_without_memory_keeps_what_it_has(void **state)
{
    struct addr_set s = ADDR_SET(4);
    uint64_t i = 0;
    int r = 1;

    for (; r == 1; i++) {
        struct addr a = nth(i);

        mem_fault = i ? no_memory : NULL;
        r = addr_set_add(&s, &a, NULL);
    }
    mem_fault = NULL;
    assert_int_equal(r, -ENOMEM);
    for (uint64_t j = 0; j < i; j++) {
        struct addr a = nth(j);
        assert_int_equal(addr_set_has(&s, &a), j + 1 < i);
    }
    addr_set_fini(&s);
}

static void a_vector_of_numbers_is_sorted_without_doubles(void **state)
{
    struct id_vec x = { 0 };

    id_vec_sort(&x);
    assert_false(id_vec_has(&x, 1));
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(id_vec_add(&x, i * 7919 % 500), 0);
    id_vec_sort(&x);
    assert_int_equal(x.count, 500);
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(id_vec_has(&x, i), i < 500);
    id_vec_fini(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_there_with_its_value_and_nothing_else),
        cmocka_unit_test(addresses_that_fall_on_one_place_are_told_apart),
        cmocka_unit_test(a_set_without_memory_keeps_what_it_has),
        cmocka_unit_test(a_vector_of_numbers_is_sorted_without_doubles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
