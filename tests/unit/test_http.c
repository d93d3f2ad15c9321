/* The HTTP server of sandboxd, from outside: requests as clients and as attackers send them. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>
#include "sandbox/http/codes.h"
#include "tests/lib/http_trial.h"

#define HEAD "Host: x\r\nConnection: close\r\n"
static void has(const char *answer, unsigned status, const char *text) {
    if (http_status(answer) != status || !strstr(answer, text)) fail_msg("expected %u with '%s', got: %.600s", status, text, answer);
}
/* One request on the Unix socket. */
static void expect(unsigned status, const char *text, const char *request) {
    char *a = http_ask(http_unix(), "%s", request);
    has(a, status, text);
    g_free(a);
}

static void paths_keep_their_bytes(void **state) {
    expect(200, "\"hex\":\"612f622fff\"", "GET /t/path/a%2Fb/%ff HTTP/1.1\r\n" HEAD "\r\n");
    expect(200, "\"hex\":\"2f612f2f62\"", "GET /t/path/%2fa//b HTTP/1.1\r\n" HEAD "\r\n");
    expect(200, "\"hex\":\"25346325\"", "GET /t/path/%254c%25 HTTP/1.1\r\n" HEAD "\r\n");      /* decoded once */
    expect(200, "\"q\":\"a b+&=\"", "GET /t/path/x?q=a+b%2B%26%3d HTTP/1.1\r\n" HEAD "\r\n");
    static const char *bad[] = { "/t/path/a%00b", "/t/path/%zz", "/t/path/%2", "/t/path/x?q=%00", "/t/path/x?q=%4", "/t/path/x?q=1&q=2", "/t/path/x?=1" };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        char *r = g_strdup_printf("GET %s HTTP/1.1\r\n" HEAD "\r\n", bad[i]);
        char *a = http_ask(http_unix(), "%s", r);
        if (http_status(a) != 400) fail_msg("%s: %.200s", bad[i], a);
        g_free(a);
        g_free(r);
    }
}

static void unknown_paths_and_methods(void **state) {
    expect(404, "\"not_found\"", "GET /nothing HTTP/1.1\r\n" HEAD "\r\n");
    expect(404, "\"not_found\"", "GET /t/one//end HTTP/1.1\r\n" HEAD "\r\n");
    expect(405, "Allow: GET, HEAD", "DELETE /health HTTP/1.1\r\n" HEAD "\r\n");
    expect(405, "\"method_not_allowed\"", "OPTIONS /health HTTP/1.1\r\n" HEAD "\r\n");
    expect(405, "\"method_not_allowed\"", "TRACE /health HTTP/1.1\r\n" HEAD "\r\n");
    char *a = http_ask(http_unix(), "HEAD /health HTTP/1.1\r\n" HEAD "\r\n");
    has(a, 200, "Content-Length: 11");
    assert_string_equal(http_content(a), "");
    g_free(a);
    a = http_ask(http_unix(), "HEAD /t/source?n=5000000 HTTP/1.1\r\n" HEAD "\r\n");
    has(a, 200, "Transfer-Encoding: chunked");
    assert_string_equal(http_content(a), "");
    g_free(a);
}

static void pipelined_requests_are_answered_in_order(void **state) {
    int fd = http_unix();
    GString *s = g_string_new(NULL);
    for (int i = 0; i < 50; i++) g_string_append_printf(s, "GET /t/path/%d HTTP/1.1\r\nHost: x\r\n\r\nPOST /t/json HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{\"name\":\"%d\"}", i, i < 10 ? 12 : 13, i);
    g_string_append(s, "GET /health HTTP/1.1\r\n" HEAD "\r\n");
    char *a = http_ask(fd, "%s", s->str), *p = a;
    for (int i = 0; i < 50; i++) {
        char *name = g_strdup_printf("\"name\":\"%d\"", i);
        assert_non_null(p = strstr(p, "\"hex\""));
        assert_non_null(p = strstr(p, name));
        g_free(name);
    }
    assert_non_null(strstr(p, "{\"ok\":true}"));
    g_free(a);
    g_string_free(s, TRUE);
}

static char *post(const char *path, const char *type, const char *body, size_t n) {
    int fd = http_unix();
    char *head = g_strdup_printf("POST %s HTTP/1.1\r\n" HEAD "%s%s%sContent-Length: %zu\r\n\r\n", path, type ? "Content-Type: " : "", type ? type : "", type ? "\r\n" : "", n);
    http_put(fd, head, strlen(head));
    http_put(fd, body, n);
    g_free(head);
    return http_rest(fd);
}

static void json_is_strict(void **state) {
    static const struct { const char *body; unsigned status; const char *text; } all[] = {
        { "{\"name\":\"a\"}", 201, "\"count\":7" }, { " {\"name\":\"\xc3\xa9\", \"count\": 3, \"flag\": true}\n", 201, "\"count\":3" },
        { "{\"name\":\"a\",\"cuont\":3}", 400, "\"field\":\"cuont\"" }, { "{\"count\":3}", 400, "\"field\":\"name\"" }, { "{}", 400, "\"field\":\"name\"" },
        { "{\"name\":3}", 400, "\"field\":\"name\"" }, { "{\"name\":\"a\",\"count\":\"3\"}", 400, "\"field\":\"count\"" }, { "{\"name\":\"a\",\"flag\":1}", 400, "\"field\":\"flag\"" },
        { "{\"name\":\"a\",\"name\":\"b\"}", 400, "duplicate" }, { "{\"name\":\"a\"}x", 400, "strict" }, { "{\"name\":\"a\"}{}", 400, "strict" }, { "{\"name\":\"a\\u0000b\"}", 400, "strict" },
        { "{\"name\":\"\\ud800\"}", 400, "strict" }, { "{\"name\":\"\xff\"}", 400, "strict" }, { "{\"name\":NaN}", 400, "strict" }, { "{\"name\":\"a\",\"count\":1e999}", 400, "strict" },
        { "{\"name\":\"a\",\"count\":99999999999999999999}", 400, "strict" }, { "[]", 400, "object" }, { "\"x\"", 400, "" }, { "{'name':1}", 400, "strict" }, { "{\"name\":\"a\",}", 400, "strict" },
        { "{\"name\" \"a\"}", 400, "strict" }, { "\xef\xbb\xbf{\"name\":\"a\"}", 400, "strict" }, { "{\"name\":\"a\"/**/}", 400, "strict" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        char *a = post("/t/json", "application/json", all[i].body, strlen(all[i].body));
        if (http_status(a) != all[i].status || !strstr(a, all[i].text)) fail_msg("%s: %s", all[i].body, a);
        g_free(a);
    }
    char *a = post("/t/bridge", NULL, "{\"name\":\"a\",\"other\":[1]}", 24);
    has(a, 201, "\"name\":\"a\"");
    g_free(a);
    a = post("/t/json", "text/plain", "{\"name\":\"a\"}", 12);
    has(a, 415, "unsupported_media_type");
    g_free(a);
    char nul[] = "{\"name\":\"a\0b\"}";
    a = post("/t/json", "application/json", nul, sizeof nul - 1);
    has(a, 400, "invalid_request");
    g_free(a);
}

static void json_is_bounded(void **state) {
    size_t n = 4 << 20;
    char *big = g_malloc(n);
    memset(big, '[', n);
    char *a = post("/t/json", "application/json", big, 1 << 20);
    has(a, 400, "nested deeper");
    g_free(a);
    a = post("/t/json", "application/json", big, n);
    has(a, 413, "payload_too_large");
    g_free(a);
    int fd = http_unix();
    static const char head[] = "POST /t/json HTTP/1.1\r\n" HEAD "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n";
    http_put(fd, head, sizeof head - 1);
    http_put(fd, big, 0x200000);
    http_put(fd, "\r\n0\r\n\r\n", 7);
    a = http_rest(fd);
    has(a, 413, "payload_too_large");
    g_free(a);
    g_free(big);
}

/* What two programs could read differently is refused, and nothing after it on the connection is taken for a request. */
static void ambiguous_heads_are_refused(void **state) {
    static const char *all[] = {
        "POST /t/json HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST /t/json HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST /t/json HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde", "POST /t/json HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nabcde", "POST /t/json HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /t/json HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nabcde", "POST /t/json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /t/json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST /t/json HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "GET /health HTTP/1.1\r\n\r\n", "GET /health HTTP/1.1\r\nHost: x\r\nOrigin: a\r\nOrigin: b\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\n\r\n", "GET health HTTP/1.1\r\nHost: x\r\n\r\n", "GET /health\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n", "GET /health HTTP/3.0\r\nHost: x\r\n\r\n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        int fd = http_unix();
        char *r = g_strconcat(all[i], "GET /t/path/smuggled HTTP/1.1\r\n" HEAD "\r\n", NULL);
        http_put(fd, r, strlen(r));
        shutdown(fd, SHUT_WR);
        char *a = http_rest(fd);
        if (http_status(a) == 200 || http_status(a) == 201 || strstr(a, "736d7567676c6564")) fail_msg("%s: %s", all[i], a);
        g_free(a);
        g_free(r);
    }
    expect(200, "{\"ok\":true}", "GET /health HTTP/1.0\r\n\r\n");       /* without a Host, on a Unix socket */
}

static void a_head_is_bounded(void **state) {
    static char big[200000];
    memset(big, 'a', sizeof big - 1);
    int fd = http_unix();
    http_put(fd, "GET /", 5);
    http_put(fd, big, sizeof big - 1);
    char *a = http_rest(fd);
    assert_string_equal(a, "");           /* cut */
    g_free(a);
    big[9000] = 0;
    a = http_ask(http_unix(), "GET /t/path/%s HTTP/1.1\r\n" HEAD "\r\n", big);
    has(a, 400, "longer than");
    g_free(a);
    GString *many = g_string_new("GET /health HTTP/1.1\r\n" HEAD);
    for (int i = 0; i < 120; i++) g_string_append_printf(many, "X-%d: 1\r\n", i);
    a = http_ask(http_unix(), "%s\r\n", many->str);
    has(a, 400, "too many headers");
    g_free(a);
    g_string_free(many, TRUE);
}

static void tokens_hosts_and_origins(void **state) {
    char host[64], evil[64];
    g_snprintf(host, sizeof host, "127.0.0.1:%u", server.port);
    g_snprintf(evil, sizeof evil, "127.0.0.1:%u", server.port + 1);
    const struct { const char *host, *extra; unsigned status; const char *text; } all[] = {
        { host, "", 401, "a token is needed" }, { host, "", 401, "WWW-Authenticate: Bearer" }, { host, "Authorization: Bearer wrong\r\n", 401, "not the token" }, { host, "Authorization: Bearer secre\r\n", 401, "unauthorized" },
        { host, "Authorization: Bearer secret2\r\n", 401, "unauthorized" }, { host, "Authorization: Basic c2VjcmV0\r\n", 401, "unauthorized" }, { host, "Authorization: Bearer secret\r\n", 200, "\"hex\"" },
        { "evil.example", "Authorization: Bearer secret\r\n", 403, "forbidden" }, { evil, "Authorization: Bearer secret\r\n", 403, "forbidden" },
        { host, "Authorization: Bearer secret\r\nOrigin: http://evil.example\r\n", 403, "forbidden" }, { host, "Authorization: Bearer secret\r\nOrigin: null\r\n", 403, "forbidden" },
        { host, "Authorization: Bearer secret\r\nAuthorization: Bearer secret\r\n", 400, "invalid_request" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        char *a = http_ask(http_tcp(), "GET /t/path/x?token=secret HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", all[i].host, all[i].extra);
        if (http_status(a) != all[i].status || !strstr(a, all[i].text)) fail_msg("%s %s: %s", all[i].host, all[i].extra, a);
        assert_null(strstr(a, "Access-Control"));
        g_free(a);
    }
    char *a = http_ask(http_tcp(), "GET /t/path/x HTTP/1.1\r\nHost: localhost:%u\r\nConnection: close\r\nAuthorization: Bearer secret\r\nOrigin: http://localhost:%u\r\n\r\n", server.port, server.port);
    has(a, 200, "\"hex\"");
    g_free(a);
    a = http_ask(http_tcp(), "GET /nothing HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
    has(a, 401, "unauthorized");          /* a stranger does not learn which paths there are */
    g_free(a);
    expect(403, "forbidden", "GET /health HTTP/1.1\r\n" HEAD "Origin: http://x\r\n\r\n");
    unsigned limited = 0;
    for (int i = 0; i < 100; i++) {
        a = http_ask(http_tcp(), "GET /t/path/x HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuthorization: Bearer guess%d\r\n\r\n", host, i);
        limited += http_status(a) == 429;
        g_free(a);
    }
    assert_true(limited > 0);
    a = http_ask(http_tcp(), "GET /t/path/x HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuthorization: Bearer secret\r\n\r\n", host);
    has(a, 200, "\"hex\"");                /* the right token is never limited */
    g_free(a);
}

/* --- streams --- */
static bool pattern(const uint8_t *p, size_t n, uint64_t at) {
    for (size_t i = 0; i < n; i++) if (p[i] != (uint8_t)((at + i) * 31 >> 3)) return false;
    return true;
}

static void a_known_length_comes_whole_and_right(void **state) {
    int fd = http_unix();
    char *r = g_strdup("GET /t/source?n=20000000&known=true HTTP/1.1\r\n" HEAD "\r\n");
    http_put(fd, r, strlen(r));
    g_free(r);
    GByteArray *b = g_byte_array_new();
    uint8_t piece[65536];
    size_t n;
    while ((n = http_get(fd, piece, sizeof piece))) g_byte_array_append(b, piece, (guint)n);
    close(fd);
    uint8_t *body = memmem(b->data, b->len, "\r\n\r\n", 4);
    assert_non_null(body);
    assert_int_equal(b->data + b->len - (body + 4), 20000000);
    assert_true(pattern(body + 4, 20000000, 0));
    g_byte_array_unref(b);
}

static void a_slow_reader_costs_only_the_credit(void **state) {
    int slow[20];
    double before = http_metric("coppice_sandboxd_resident_bytes");
    for (int i = 0; i < 20; i++) {
        slow[i] = http_unix();
        static const char r[] = "GET /t/source?n=1073741824 HTTP/1.1\r\n" HEAD "\r\n";
        http_put(slow[i], r, sizeof r - 1);
        char first[64];
        assert_true(http_get(slow[i], first, sizeof first) > 0);
    }
    expect(200, "{\"ok\":true}", "GET /health HTTP/1.1\r\n" HEAD "\r\n");       /* others are served */
    assert_true(http_value("most_queued") <= 256 * 1024);
    assert_true(http_metric("coppice_sandboxd_resident_bytes") - before < 64 << 20);
    long gone = http_value("gone");
    for (int i = 0; i < 20; i++) close(slow[i]);
    http_await("gone", gone + 20);
}

static void an_upload_is_whole_with_and_without_pauses(void **state) {
    uint8_t *p = g_malloc(8 << 20);
    for (size_t i = 0; i < 8 << 20; i++) p[i] = (uint8_t)(i * 31 >> 3);
    for (int i = 0; i < 4; i++) {
        int fd = http_unix();
        char *r = g_strdup_printf("PUT /t/sink%s HTTP/1.1\r\n" HEAD "%s\r\n\r\n", i & 1 ? "?pause=1" : "", i & 2 ? "Transfer-Encoding: chunked" : "Content-Length: 8388608");
        http_put(fd, r, strlen(r));
        g_free(r);
        if (i & 2) for (size_t at = 0; at < 8 << 20; at += 100000) {
            size_t n = (8 << 20) - at < 100000 ? (8 << 20) - at : 100000;
            char size[24];
            http_put(fd, size, (size_t)g_snprintf(size, sizeof size, "%zx\r\n", n));
            http_put(fd, p + at, n);
            http_put(fd, "\r\n", 2);
        } else http_put(fd, p, 8 << 20);
        if (i & 2) http_put(fd, "0\r\n\r\n", 5);
        char *a = http_rest(fd);
        has(a, 200, "{\"bytes\":8388608}");
        g_free(a);
    }
    assert_int_equal(http_value("wrong"), 0);
    g_free(p);
}

/* How much a socket takes before it is full, and stays so. */
static size_t stuff(int fd, const void *p, size_t n) {
    size_t all = 0;
    for (;;) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k > 0) { all += (size_t)k; continue; }
        struct pollfd f = { fd, POLLOUT, 0 };
        if (k < 0 && errno == EAGAIN && poll(&f, 1, 300) == 0) return all;
        if (k < 0 && errno != EAGAIN) return all;
    }
}

static void a_held_upload_waits_in_its_socket(void **state) {
    static uint8_t p[65536];
    int fd = http_unix();
    static const char r[] = "PUT /t/sink?hold=1 HTTP/1.1\r\n" HEAD "Content-Length: 10737418240\r\n\r\n";
    http_put(fd, r, sizeof r - 1);
    assert_true(stuff(fd, p, sizeof p) < 4 << 20);
    long gone = http_value("gone"), freed = http_value("freed");
    close(fd);
    http_await("gone", gone + 1);
    http_await("freed", freed + 1);
}

static void a_refusal_before_the_body_reaches_the_client(void **state) {
    int fd = http_unix();
    static const char r[] = "PUT /t/sink?refuse=1 HTTP/1.1\r\n" HEAD "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n";
    http_put(fd, r, sizeof r - 1);
    char *a = http_rest(fd);
    has(a, 507, "no_space");              /* and no 100 before it */
    g_free(a);
    fd = http_unix();
    static const char r2[] = "PUT /t/sink HTTP/1.1\r\n" HEAD "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    http_put(fd, r2, sizeof r2 - 1);
    char go[64] = "";
    assert_true(http_get(fd, go, sizeof go - 1) > 0);
    assert_true(g_str_has_prefix(go, "HTTP/1.1 100"));
    http_put(fd, "\0\0\0", 3);
    a = http_rest(fd);
    has(a, 200, "{\"bytes\":3}");
    g_free(a);
}

static void clients_that_leave_are_noticed(void **state) {
    static const char *all[] = { "GET /t/wait HTTP/1.1\r\nHost: x\r\n\r\n", "PUT /t/sink HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc", "GET /t/source?n=100000000 HTTP/1.1\r\nHost: x\r\n\r\n",
                                 "PUT /t/sink?hold=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\n" };
    for (int tcp = 0; tcp < 2; tcp++)
        for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
            long gone = http_value("gone"), freed = http_value("freed"), waiting = http_value("waiting"), sunk = http_value("sunk");
            int fd = tcp ? http_tcp() : http_unix();
            char host[96], *r;
            g_snprintf(host, sizeof host, "Host: 127.0.0.1:%u\r\nAuthorization: Bearer secret", server.port);
            char **parts = g_strsplit(all[i], "Host: x", 2);
            r = g_strjoinv(host, parts);
            http_put(fd, r, strlen(r));
            if (i == 0) http_await("waiting", waiting + 1);
            else if (i == 2) { char b[64]; assert_true(http_get(fd, b, sizeof b) > 0); }
            else http_await("sunk", sunk + 1);
            close(fd);
            http_await("gone", gone + 1);
            http_await("freed", freed + 1);
            g_free(r);
            g_strfreev(parts);
        }
}

static void an_answer_to_nobody_is_dropped(void **state) {
    long freed = http_value("freed");
    int fd = http_unix();
    static const char r[] = "GET /t/later?ms=200 HTTP/1.1\r\nHost: x\r\n\r\n";
    http_put(fd, r, sizeof r - 1);
    close(fd);
    http_await("freed", freed + 1);
    expect(200, "\"late\"", "GET /t/later?ms=1 HTTP/1.1\r\n" HEAD "\r\n");
}

static void a_stream_that_breaks_is_seen_to_break(void **state) {
    char *a = http_ask(http_unix(), "GET /t/cut HTTP/1.1\r\nHost: x\r\n\r\n");
    has(a, 200, "half");
    assert_null(strstr(a, "\r\n0\r\n\r\n"));
    g_free(a);
}

/* Bytes as they are, and documents where the other forms have them, each behind a head of 16 bytes. */
static void events_as_frames(void **state) {
    static const struct { uint8_t kind, id; const char *text; } want[] = { { 0, 0, "{\"event\":\"start\",\"exec_id\":\"e1\"}" }, { 1, 2, "hi" }, { 0, 0, "{\"event\":\"exit\",\"exit_code\":0}" } };
    static const char ask[] = "GET /t/events HTTP/1.0\r\nHost: x\r\nAccept: application/vnd.coppice.exec-stream\r\n\r\n";
    uint8_t all[4096], *p;
    size_t n = 0, k;
    int fd = http_unix();
    assert_true(http_put(fd, ask, sizeof ask - 1));
    while (n < sizeof all && (k = http_get(fd, all + n, sizeof all - n))) n += k;
    close(fd);
    p = memmem(all, n, "\r\n\r\n", 4);
    assert_non_null(p);
    assert_non_null(memmem(all, (size_t)(p - all) + 2, "\r\nContent-Type: application/vnd.coppice.exec-stream\r\n", 53));
    p += 4;
    for (size_t i = 0; i < G_N_ELEMENTS(want); i++) {
        size_t len = strlen(want[i].text);
        const uint8_t head[16] = { want[i].kind, 0, 0, 0, (uint8_t)len, 0, 0, 0, want[i].id };
        assert_true((size_t)(all + n - p) >= sizeof head + len);
        assert_memory_equal(p, head, sizeof head);
        assert_memory_equal(p + sizeof head, want[i].text, len);
        p += sizeof head + len;
    }
    assert_ptr_equal(p, all + n);
}

static void events_in_both_forms(void **state) {
    expect(200, "event: start\ndata: {\"exec_id\":\"e1\"}\n\n", "GET /t/events HTTP/1.0\r\nHost: x\r\n\r\n");
    expect(200, "event: stdout\nid: 2\ndata: aGk=\n\n", "GET /t/events HTTP/1.0\r\nHost: x\r\n\r\n");
    expect(200, "{\"event\":\"stdout\",\"id\":2,\"data\":\"aGk=\"}\n{\"event\":\"exit\",\"exit_code\":0}\n", "GET /t/events HTTP/1.0\r\nHost: x\r\nAccept: application/x-ndjson\r\n\r\n");
}

static void a_thousand_connections(void **state) {
    struct rlimit l;
    getrlimit(RLIMIT_NOFILE, &l);
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
    enum { N = 1000 };
    int fd[N];
    static const char part[] = "GET /health HTTP/1.1\r\nHo", rest[] = "st: x\r\n" "Connection: close\r\n\r\n";
    for (int i = 0; i < N; i++) { fd[i] = http_unix(); assert_true(http_put(fd[i], part, sizeof part - 1)); }
    for (int i = N - 1; i >= 0; i--) http_put(fd[i], rest, sizeof rest - 1);
    for (int i = 0; i < N; i++) {
        char *a = http_rest(fd[i]);
        has(a, 200, "{\"ok\":true}");
        g_free(a);
    }
    for (int i = 0; http_metric("coppice_http_connections{socket=\"unix\"}") > 1; i++) {
        assert_true(i < 2000);
        poll(NULL, 0, 5);
    }
}

/* More than it may have at once: the idle make place for the new, and the Unix socket is not touched by TCP. */
static void a_flood_of_tcp_leaves_the_unix_socket_free(void **state) {
    enum { N = 2300 };
    static int fd[N];
    for (int i = 0; i < N; i++) {
        struct pollfd f;
        fd[i] = http_tcp();
        f = (struct pollfd){ fd[i], POLLIN, 0 };
        poll(&f, 1, 0);
    }
    expect(200, "{\"ok\":true}", "GET /health HTTP/1.1\r\n" HEAD "\r\n");
    assert_true(http_metric("coppice_http_connections{socket=\"tcp\"}") <= 2048 + 64);
    for (int i = 0; i < N; i++) close(fd[i]);
    for (int i = 0; http_metric("coppice_http_connections{socket=\"tcp\"}") > 0; i++) {
        assert_true(i < 4000);
        poll(NULL, 0, 5);
    }
}

/* The codes of codes.h and the table of docs/http.md are the same. */
static void the_documented_codes_are_the_codes(void **state) {
    static const struct { const char *code; unsigned status; } all[] = {
#define X(code, status) { #code, status },
        HTTP_CODES(X)
#undef X
    };
    char *path = g_build_filename(SOURCE_ROOT, "docs/http.md", NULL), *text = NULL;
    assert_true(g_file_get_contents(path, &text, NULL, NULL));
    unsigned rows = 0;
    for (const char *p = text; (p = strstr(p, "\n| `")); p++) rows += g_ascii_isdigit(*(strstr(p + 4, "` | ") + 4));
    assert_int_equal(rows, G_N_ELEMENTS(all));
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        char *row = g_strdup_printf("\n| `%s` | %u |", all[i].code, all[i].status);
        if (!strstr(text, row)) fail_msg("docs/http.md has no row%s", row);
        g_free(row);
    }
    g_free(text);
    g_free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_keep_their_bytes), cmocka_unit_test(unknown_paths_and_methods), cmocka_unit_test(pipelined_requests_are_answered_in_order), cmocka_unit_test(json_is_strict),
        cmocka_unit_test(json_is_bounded), cmocka_unit_test(ambiguous_heads_are_refused), cmocka_unit_test(a_head_is_bounded), cmocka_unit_test(tokens_hosts_and_origins), cmocka_unit_test(a_known_length_comes_whole_and_right),
        cmocka_unit_test(a_slow_reader_costs_only_the_credit), cmocka_unit_test(an_upload_is_whole_with_and_without_pauses), cmocka_unit_test(a_held_upload_waits_in_its_socket),
        cmocka_unit_test(a_refusal_before_the_body_reaches_the_client), cmocka_unit_test(clients_that_leave_are_noticed), cmocka_unit_test(an_answer_to_nobody_is_dropped),
        cmocka_unit_test(a_stream_that_breaks_is_seen_to_break), cmocka_unit_test(events_in_both_forms), cmocka_unit_test(events_as_frames), cmocka_unit_test(a_thousand_connections),
        cmocka_unit_test(a_flood_of_tcp_leaves_the_unix_socket_free), cmocka_unit_test(the_documented_codes_are_the_codes),
    };
    return cmocka_run_group_tests_name("http", tests, http_trial_start, http_trial_stop);
}
