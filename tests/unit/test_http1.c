/* sandbox/egress/http1: the tables of tests/egress/cases (what Http11Probe and the HTTP Garden know, and more), whole and split at every place; and what the tables do not say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/egress/case_file.h"
#include "tests/egress/http_stream.h"
#include "tests/egress/slice_of.h"

enum { SPLITS_MAX = 2000 };

/* Feeds the bytes in pieces of these sizes (the last again and again) and compares with the text that all at once gave. */
static void read_pieces(const struct buf *bytes, const char *answers, size_t first, size_t then, const char *text, const char *outline, const char *name)
{
    struct http_stream s;

    http_stream_init(&s, answers);
    for (size_t at = 0, n = first; at < bytes->len; at += n, n = then)
        http_stream_feed(&s, bytes->data + at, n < bytes->len - at ? n : (n = bytes->len - at));
    http_stream_end(&s);
    if (strcmp((char *)s.text.data, text) || strcmp((char *)s.outline.data, outline))
        fail_msg("%s: split at %zu and then every %zu: '%s', in one piece '%s'\n%s---\n%s", name, first, then, (char *)s.outline.data, outline, (char *)s.text.data, text);
    http_stream_fini(&s);
}

static void one_case(void *arg, char **fields, unsigned count)
{
    const char *answers = arg;
    struct buf bytes = BUF_INIT;
    struct http_stream s;

    if (count != 3)
        fail_msg("%s: %u fields", fields[0], count);
    case_unescape(fields[2], &bytes);
    http_stream_init(&s, answers);
    http_stream_feed(&s, bytes.data, bytes.len);
    http_stream_end(&s);
    const char *text = (char *)s.text.data, *outline = (char *)s.outline.data;
    if (strcmp(outline, fields[1]))
        fail_msg("%s: '%s', expected '%s'\n%s", fields[0], outline, fields[1], text);
    for (size_t at = 0; at < bytes.len && at < SPLITS_MAX; at++)
        read_pieces(&bytes, answers, at, bytes.len, text, outline, fields[0]);
    for (size_t step = bytes.len < SPLITS_MAX ? 1 : 997; step < 10 || (step > 900 && step < 1000); step++)
        read_pieces(&bytes, answers, step, step, text, outline, fields[0]);
    http_stream_fini(&s);
    buf_fini(&bytes);
}

static void run_table(const char *file, const char *answers, unsigned at_least)
{
    char path[512];
    unsigned n;

    snprintf(path, sizeof path, "%s/%s", CASES, file);
    n = case_file_read(path, one_case, (void *)answers);
    print_message("%s: %u cases\n", file, n);
    assert_true(n >= at_least);
}

static void bodies_that_could_end_at_two_places_are_refused(void **state) { run_table("smuggling.txt", NULL, 87); }
static void what_is_malformed_is_refused(void **state) { run_table("malformed.txt", NULL, 26); }
static void first_lines(void **state) { run_table("request_line.txt", NULL, 26); }
static void header_lines(void **state) { run_table("headers.txt", NULL, 15); }
static void lines_end_with_cr_lf_only(void **state) { run_table("line_endings.txt", NULL, 4); }
static void chunked_bodies(void **state) { run_table("chunks.txt", NULL, 40); }
static void bugs_of_the_http_garden_are_not_ours(void **state) { run_table("garden.txt", NULL, 72); }
static void what_real_clients_send_is_accepted(void **state) { run_table("clients.txt", NULL, 25); }
static void responses_of_a_hostile_upstream(void **state) { run_table("responses.txt", "GET", 40); }

static struct http1_head head;
static int request(const char *text)
{
    return http1_request(text, strlen(text), &head);
}

static int response(const char *text, const char *method)
{
    return http1_response(text, strlen(text), method, &head);
}

static void every_byte_but_the_allowed_ones_is_refused_everywhere(void **state)
{
    static const struct { const char *before, *after, *allowed; } places[] = {
        { "GE", "T / HTTP/1.1\r\nHost: a.test\r\n\r\n", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-" },
        { "GET /a", "b HTTP/1.1\r\nHost: a.test\r\n\r\n",
          "!\"$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~" },
        { "GET / HTTP/1.1\r\nHost: a.test\r\nA", "B: c\r\n\r\n", "!#$%&'*+-.0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~" },
        { "GET / HTTP/1.1\r\nHost: a.test\r\nA: b", "c\r\n\r\n",
          "\t !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~" },
        { "GET / HTTP/1.1\r\nHost: a", ".test\r\n\r\n", "-.0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz" },
        { "GET / HTTP/1.", "\r\nHost: a.test\r\n\r\n", "01" },
    };

    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (int c = 0; c < 256; c++) {
            char text[200];
            int n = snprintf(text, sizeof text, "%s?%s", places[i].before, places[i].after);
            text[strlen(places[i].before)] = (char)c;
            int r = http1_request(text, (size_t)n, &head), expected = c && strchr(places[i].allowed, c) ? HTTP1_OK : HTTP1_BAD;
            if (r != expected)
                fail_msg("place %zu, byte %02x: %d (%s)", i, (unsigned)c, r, head.why ? head.why : "");
        }
}

static void a_request_says_what_it_asks(void **state)
{
    assert_int_equal(request("POST /a?b HTTP/1.1\r\nHOST: A.test:80\r\nExpect: 100-Continue\r\nContent-Length: 12\r\nX:  y z \t\r\n\r\nrest"), HTTP1_OK);
    assert_true(slice_is(head.method, "POST") && slice_is(head.target, "/a?b") && slice_is(head.host, "A.test:80"));
    assert_true(head.form == HTTP1_ORIGIN && head.body == HTTP1_LENGTH && head.length == 12 && head.keep_alive && head.expect_continue && !head.upgrade && head.minor == 1);
    assert_int_equal(head.count, 4);
    assert_true(slice_is(head.headers[3].name, "X") && slice_is(head.headers[3].value, "y z"));
    assert_true(http1_find(&head, "x") == &head.headers[3] && !http1_find(&head, "xx") && http1_count(&head, "host") == 1);
    assert_int_equal(request("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: a, Keep-Alive\r\n\r\n"), HTTP1_OK);
    assert_true(head.keep_alive && head.minor == 0 && http1_has_token(&head, "connection", "A") && !http1_has_token(&head, "connection", "keep"));
    assert_int_equal(request("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n"), HTTP1_OK);
    assert_false(head.keep_alive);
    assert_int_equal(request("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n"), HTTP1_OK);
    assert_int_equal(head.form, HTTP1_ASTERISK);
    assert_int_equal(request("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"), HTTP1_OK);
    assert_int_equal(head.form, HTTP1_AUTHORITY);
    assert_int_equal(request("GET https://a.test HTTP/1.1\r\nHost: a.test\r\n\r\n"), HTTP1_OK);
    assert_int_equal(head.form, HTTP1_ABSOLUTE);
}

static void only_a_whole_websocket_handshake_is_an_upgrade(void **state)
{
    static const char up[] = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    static const struct { const char *line, *headers; bool upgrade; } rows[] = {
        { "GET / HTTP/1.1", up, true }, { "POST / HTTP/1.1", up, false }, { "GET / HTTP/1.0", up, false },
        { "GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: h2c\r\n", false }, { "GET / HTTP/1.1", "Upgrade: websocket\r\n", false },
        { "GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", false },
        { "GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", false },
        { "GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", false },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[300];
        snprintf(text, sizeof text, "%s\r\nHost: a.test\r\n%s\r\n", rows[i].line, rows[i].headers);
        assert_int_equal(request(text), HTTP1_OK);
        if (head.upgrade != rows[i].upgrade)
            fail_msg("row %zu", i);
    }
    assert_int_equal(response("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "GET"), HTTP1_OK);
    assert_true(head.upgrade);
    assert_int_equal(response("HTTP/1.1 200 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "GET"), HTTP1_OK);
    assert_false(head.upgrade);
}

static void the_body_of_a_response_depends_on_the_request(void **state)
{
    static const struct { const char *status, *headers, *method; enum http1_body body; bool keep; } rows[] = {
        { "200", "Content-Length: 5\r\n", "GET", HTTP1_LENGTH, true },  { "200", "Content-Length: 5\r\n", "HEAD", HTTP1_NONE, true },
        { "200", "Transfer-Encoding: chunked\r\n", "HEAD", HTTP1_NONE, true }, { "200", "", "GET", HTTP1_CLOSE, false },
        { "200", "", "HEAD", HTTP1_NONE, true },                        { "304", "Content-Length: 5\r\n", "GET", HTTP1_NONE, true },
        { "200", "", "CONNECT", HTTP1_NONE, true },                     { "403", "Content-Length: 5\r\n", "CONNECT", HTTP1_LENGTH, true },
        { "404", "Transfer-Encoding: chunked\r\n", "GET", HTTP1_CHUNKED, true }, { "200", "Content-Length: 5\r\nConnection: close\r\n", "GET", HTTP1_LENGTH, false },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[300];
        snprintf(text, sizeof text, "HTTP/1.1 %s x\r\n%s\r\n", rows[i].status, rows[i].headers);
        if (response(text, rows[i].method) != HTTP1_OK || head.body != rows[i].body || head.keep_alive != rows[i].keep)
            fail_msg("row %zu: body %d keep %d", i, head.body, head.keep_alive);
    }
}

static void hop_by_hop_headers_are_known(void **state)
{
    static const char hops[] = "Connection: close, X-Mine\r\nKeep-Alive: 5\r\nProxy-Authorization: x\r\nProxy-Connection: x\r\nproxy-anything: x\r\nTE: trailers\r\nTrailer: x\r\n"
                               "Transfer-Encoding: chunked\r\nUpgrade: h2c\r\nx-mine: 1\r\n";
    static const char ends[] = "Accept: x\r\nAuthorization: y\r\nX-Min: 1\r\nProxy: x\r\n";
    char text[600];
    unsigned hop = 0;

    snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a.test\r\n%s%s\r\n", hops, ends);
    assert_int_equal(request(text), HTTP1_OK);
    for (unsigned i = 0; i < head.count; i++)
        hop += http1_is_hop(&head, &head.headers[i]);
    assert_int_equal(hop, 10);
    assert_int_equal(head.count, 15);
    for (unsigned i = 11; i < 15; i++)
        assert_false(http1_is_hop(&head, &head.headers[i]));
}

static void nothing_is_written_that_ends_a_line(void **state)
{
    static const char *const bad_values[] = { "a\rb", "a\nb", "a\r\nX: y" }, *const bad_names[] = { "", "a b", "a:", "a\r\n", "\xc3\xa9" };
    static const char *const bad_targets[] = { "", "/ HTTP/1.1\r\n", "/a b", "/\xc3\xa9", "/#" };
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < 3; i++, buf_clear(&b)) {
        http1_put_header(&b, slice("a"), slice(bad_values[i]));
        assert_int_not_equal(buf_err(&b), 0);
        assert_false(http1_is_value(slice(bad_values[i])));
        buf_clear(&b);
        http1_put_status(&b, 200, slice(bad_values[i]));
        assert_int_not_equal(buf_err(&b), 0);
    }
    http1_put_header(&b, slice("a"), (struct slice){ "a\0b", 3 });
    assert_int_not_equal(buf_err(&b), 0);
    for (size_t i = 0; i < 5; i++) {
        buf_clear(&b);
        http1_put_header(&b, slice(bad_names[i]), slice("x"));
        assert_int_not_equal(buf_err(&b), 0);
        assert_false(http1_is_name(slice(bad_names[i])));
        buf_clear(&b);
        http1_put_request(&b, slice("GET"), slice(bad_targets[i]));
        assert_int_not_equal(buf_err(&b), 0);
    }
    buf_clear(&b);
    http1_put_status(&b, 1000, slice("x"));
    assert_int_not_equal(buf_err(&b), 0);
    buf_clear(&b);
    http1_put_request(&b, slice("GET"), slice("/a?b"));
    http1_put_header(&b, slice("Host"), slice("a.test"));
    http1_put_header(&b, slice("A"), slice(""));
    http1_put_end(&b);
    assert_int_equal(buf_err(&b), 0);
    assert_int_equal(b.len, strlen("GET /a?b HTTP/1.1\r\nHost: a.test\r\nA: \r\n\r\n"));
    assert_memory_equal(b.data, "GET /a?b HTTP/1.1\r\nHost: a.test\r\nA: \r\n\r\n", b.len);
    buf_fini(&b);
}

static void chunks_after_the_end_or_an_error_stay_so(void **state)
{
    static struct http1_chunks c;
    struct slice data;
    size_t used;

    http1_chunks_init(&c);
    assert_int_equal(http1_chunks_feed(&c, "0\r\n\r\nGET", 8, &used, &data), HTTP1_OK);
    assert_int_equal(used, 5);
    assert_int_equal(http1_chunks_feed(&c, "GET", 3, &used, &data), HTTP1_OK);
    assert_int_equal(used, 0);
    http1_chunks_init(&c);
    assert_int_equal(http1_chunks_feed(&c, "z", 1, &used, &data), HTTP1_BAD);
    assert_int_equal(http1_chunks_feed(&c, "0\r\n\r\n", 5, &used, &data), HTTP1_BAD);
    assert_non_null(c.why);
}

/* What a head of a usual size costs: shown, not judged. */
static void speed_is_shown(void **state)
{
    static const char text[] = "GET /repos/a/b/contents/file.txt?ref=main HTTP/1.1\r\nHost: api.github.com\r\nUser-Agent: python-requests/2.31.0\r\nAccept-Encoding: gzip, deflate\r\n"
                               "Accept: application/vnd.github+json\r\nConnection: keep-alive\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef01234567\r\n"
                               "X-GitHub-Api-Version: 2022-11-28\r\nCookie: a=b; session=0123456789abcdef0123456789abcdef; logged_in=yes\r\n\r\n";
    struct timespec from, to;
    enum { ROUNDS = 20000 };

    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < ROUNDS; i++)
        assert_int_equal(http1_request(text, sizeof text - 1, &head), HTTP1_OK);
    clock_gettime(CLOCK_MONOTONIC, &to);
    print_message("a head of %zu bytes and %u headers: %.0f ns\n", sizeof text - 1, head.count,
                  ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_that_could_end_at_two_places_are_refused),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(first_lines),
        cmocka_unit_test(header_lines),
        cmocka_unit_test(lines_end_with_cr_lf_only),
        cmocka_unit_test(chunked_bodies),
        cmocka_unit_test(bugs_of_the_http_garden_are_not_ours),
        cmocka_unit_test(what_real_clients_send_is_accepted),
        cmocka_unit_test(responses_of_a_hostile_upstream),
        cmocka_unit_test(every_byte_but_the_allowed_ones_is_refused_everywhere),
        cmocka_unit_test(a_request_says_what_it_asks),
        cmocka_unit_test(only_a_whole_websocket_handshake_is_an_upgrade),
        cmocka_unit_test(the_body_of_a_response_depends_on_the_request),
        cmocka_unit_test(hop_by_hop_headers_are_known),
        cmocka_unit_test(nothing_is_written_that_ends_a_line),
        cmocka_unit_test(chunks_after_the_end_or_an_error_stay_so),
        cmocka_unit_test(speed_is_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
