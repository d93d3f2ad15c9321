/* multipart/form-data, given in every way to cut it, to a taker that stops as often as it can. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandbox/http/multipart.h"

struct seen { GString *text; unsigned stop, slow; };

static bool on_begin(void *arg, const char *name, const char *filename)
{
    struct seen *s = arg;

    g_string_append_printf(s->text, "[%s|%s:", name, filename);
    return !(s->stop && ++s->stop % 2);
}

static size_t on_data(void *arg, const uint8_t *p, size_t n)
{
    struct seen *s = arg;

    if (s->slow)
        n = ++s->slow % 2 ? 0 : MIN(n, (size_t)1 + s->slow % 3);
    g_string_append_len(s->text, (const char *)p, (gssize)n);
    return n;
}

static bool on_end(void *arg)
{
    struct seen *s = arg;

    g_string_append_c(s->text, ']');
    return !(s->stop && ++s->stop % 2);
}

static const struct multipart_ops ops = { on_begin, on_data, on_end };

/* Goes on until nothing more comes of it: who stopped is ready again at once. */
static int drain(struct multipart *m)
{
    int r = 0;

    for (unsigned i = 0; i < 400 && r == 0; i++)
        r = multipart_pump(m);
    return r;
}

static char *run(const char *type, const char *body, size_t n, size_t cut, bool stops, int *ret)
{
    struct seen s = { g_string_new(NULL), stops, stops };
    struct multipart *m = type ? multipart_new(type, &ops, &s) : multipart_whole(&ops, &s);

    assert_non_null(m);
    multipart_add(m, (const uint8_t *)body, cut);
    *ret = drain(m);
    if (*ret >= 0) {
        multipart_add(m, (const uint8_t *)body + cut, n - cut);
        multipart_finish(m);
        *ret = drain(m);
    }
    multipart_free(m);
    return g_string_free(s.text, false);
}

#define TYPE "multipart/form-data; boundary=----x1"
#define PART(head, body) "------x1\r\n" head "\r\n\r\n" body "\r\n"
static const char two[] = PART("Content-Disposition: form-data; name=\"file\"; filename=\"/home/user/a b.txt\"\r\nContent-Type: text/plain", "one\r\n------x\r\n--two")
    PART("content-disposition: form-data; name=file; filename=\"q%22\xc3\xa4.txt\"", "") PART("Content-Disposition: form-data; name=\"other\"", "ignored?") "------x1--\r\n";

static void parts_are_the_same_however_the_body_is_cut_and_taken(void **state)
{
    static const char want[] = "[file|/home/user/a b.txt:one\r\n------x\r\n--two][file|q\"\xc3\xa4.txt:][other|:ignored?]";

    for (size_t cut = 0; cut < sizeof(two); cut++)
        for (int stops = 0; stops < 2; stops++) {
            int r;
            g_autofree char *seen = run(TYPE, two, sizeof(two) - 1, cut, stops, &r);
            assert_int_equal(r, 1);
            assert_string_equal(seen, want);
        }
}

static void a_body_without_framing_is_one_part(void **state)
{
    static const char body[] = "anything\r\n--x\0--";

    for (size_t cut = 0; cut < sizeof(body); cut++) {
        int r;
        g_autofree char *seen = run(NULL, body, sizeof(body), cut, cut % 2, &r);
        assert_int_equal(r, 1);
        assert_memory_equal(seen, "[file|:anything\r\n--x\0--\0]", sizeof("[file|:anything\r\n--x\0--\0]") - 1);
    }
}

static void what_ends_too_early_is_refused_at_every_length(void **state)
{
    size_t whole = sizeof(two) - 1 - 4;       /* "--" CRLF behind the last delimiter */

    for (size_t n = 0; n <= whole; n++) {
        int r;
        g_free(run(TYPE, two, n, n, false, &r));
        assert_int_equal(r, -EBADMSG);
    }
}

static void what_is_no_multipart_is_told(void **state)
{
    static const char *const types[] = { "", "text/plain", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=a",
                                         "multipart/form-data; boundary=aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggghhh" };
    int r;

    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
        assert_null(multipart_new(types[i], &ops, NULL));
    assert_null(multipart_new(NULL, &ops, NULL));
    g_free(run(TYPE, "no delimiter here", 17, 5, false, &r));
    assert_int_equal(r, -EBADMSG);
    g_free(run(TYPE, "------x1 junk\r\n\r\nx\r\n------x1--", 31, 0, false, &r));
    assert_int_equal(r, -EBADMSG);
}

static void a_head_has_a_bound(void **state)
{
    GString *body = g_string_new("------x1\r\nX-Long: ");
    int r;

    for (unsigned i = 0; i < MULTIPART_HEAD_MAX; i++)
        g_string_append_c(body, 'a');
    g_free(run(TYPE, body->str, body->len, body->len, false, &r));
    assert_int_equal(r, -EBADMSG);
    g_string_free(body, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(parts_are_the_same_however_the_body_is_cut_and_taken), cmocka_unit_test(a_body_without_framing_is_one_part),
                                        cmocka_unit_test(what_ends_too_early_is_refused_at_every_length), cmocka_unit_test(what_is_no_multipart_is_told),
                                        cmocka_unit_test(a_head_has_a_bound) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
