/* Previews without sandboxes: names and tokens, what is kept of them, heads on both sides, bodies in any pieces, and connections that go from the API to a guest and back. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <glib-unix.h>

#include "sandbox/http/http.h"
#include "sandbox/preview/flow.h"
#include "sandbox/preview/keep.h"
#include "sandbox/preview/rewrite.h"
#include "tests/lib/http_trial.h"

#define TOKEN "abcdefghijklmnopqrstuvwxyz"
static struct slice text(const char *s) { return (struct slice){ s, strlen(s) }; }

/* --- names --- */

static void names_are_read_and_nothing_else_is(void **state)
{
    static const struct { const char *label; unsigned port; const char *id, *token; } good[] = {
        { "3000-ws-abcdefghij-" TOKEN, 3000, "ws-abcdefghij", TOKEN }, { "1-a-" TOKEN, 1, "a", TOKEN }, { "65535-WS-ABCDEFGHIJ-" TOKEN, 65535, "ws-abcdefghij", TOKEN },
        { "8000-" TOKEN, 8000, TOKEN, "" }, { "8000-ws-abcdefghij", 8000, "ws-abcdefghij", "" }, { "65535-" TOKEN "-" TOKEN, 65535, TOKEN, TOKEN }, { "80-x--" TOKEN, 80, "x-", TOKEN },
    };
    static const char *bad[] = { "", "3000", "3000-", "-a", "a-b", "0-a", "03000-a", "65536-a", "99999-a", "123456-a", "3000-a.b", "3000-a_b", "3000--a", "3000-a b", "3000-\xc3\xa9", "+3000-a" };
    struct preview_name n;

    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        if (!preview_name_parse(text(good[i].label), &n))
            fail_msg("%s", good[i].label);
        assert_int_equal(n.port, good[i].port);
        assert_string_equal(n.id, good[i].id);
        assert_string_equal(n.token, good[i].token);
        assert_true(strlen(n.label) <= 63);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        if (preview_name_parse(text(bad[i]), &n))
            fail_msg("'%s' is a name", bad[i]);
    assert_false(preview_name_parse((struct slice){ "3000-a\0b", 8 }, &n));
}

static void hosts_and_paths_name_previews(void **state)
{
    static const char *domains[] = { "localhost", "box.example.com", NULL };
    struct preview_name n;
    struct slice rest;
    unsigned d;

    assert_true(preview_name_of_host(text("3000-a-" TOKEN ".localhost:8421"), domains, &n, &d) && d == 0);
    assert_true(preview_name_of_host(text("3000-a.LOCALHOST."), domains, &n, &d) && d == 0);
    assert_true(preview_name_of_host(text("3000-a.box.example.com"), domains, &n, &d) && d == 1);
    static const char *bad[] = { "localhost:8421", "3000-a", "3000-a.example.com", "x.3000-a.localhost", "3000-a.localhost.evil", "3000-a.notlocalhost", "3000-a@localhost", ".localhost", "", ":80", "3000-a.localhost@e" };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        if (preview_name_of_host(text(bad[i]), domains, &n, &d))
            fail_msg("%s", bad[i]);
    assert_true(preview_name_of_path(text("/p/3000-a-" TOKEN "/x/y?z"), &n, &rest));
    assert_true(slice_is(rest, "/x/y?z"));
    assert_true(preview_name_of_path(text("/p/3000-a?q"), &n, &rest) && slice_is(rest, "?q"));
    assert_false(preview_name_of_path(text("/p/3000-A/"), &n, &rest));
    assert_false(preview_name_of_path(text("/P/3000-a/"), &n, &rest));
    assert_false(preview_name_of_path(text("/p//3000-a/"), &n, &rest));
    assert_false(preview_name_of_path(text("/p/3000-%61/"), &n, &rest));
}

/* A10: 10,000 tokens: none twice, each character and each bit near its share (5 sigma). */
static void tokens_are_random(void **state)
{
    enum { N = 10000 };
    GHashTable *all = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    unsigned counts[NAME_TOKEN][32] = { 0 };

    for (unsigned i = 0; i < N; i++) {
        char t[NAME_TOKEN + 1];
        preview_token_make(t);
        assert_int_equal(strlen(t), NAME_TOKEN);
        for (unsigned k = 0; k < NAME_TOKEN; k++)
            counts[k][strchr("abcdefghijklmnopqrstuvwxyz234567", t[k]) - "abcdefghijklmnopqrstuvwxyz234567"]++;
        assert_true(g_hash_table_add(all, g_strdup(t)));
    }
    for (unsigned k = 0; k < NAME_TOKEN - 1; k++)          /* the last one holds 3 bits */
        for (unsigned c = 0; c < 32; c++)
            if (counts[k][c] < 225 || counts[k][c] > 400)
                fail_msg("character %u is '%u' in %u of %d tokens", k, c, counts[k][c], N);
    unsigned last = 0;
    for (unsigned c = 0; c < 32; c++)
        last += counts[NAME_TOKEN - 1][c] > 0;
    assert_int_equal(last, 8);            /* 25 * 5 + 3 = 128 bits */
    g_hash_table_unref(all);
}

/* --- what is kept --- */

static bool allows(const json_t *keep, const char *label, const char *traffic)
{
    struct preview_name n;
    return preview_name_parse(text(label), &n) && preview_keep_allows(keep, &n, text(traffic));
}

static void only_hashes_are_kept_and_tokens_can_be_taken_back(void **state)
{
    json_t *keep = json_object();
    char token[KEEP_TOKENS_MAX + 1][NAME_TOKEN + 1], label[100];

    assert_false(allows(keep, "3000-a-" TOKEN, ""));
    for (unsigned i = 0; i <= KEEP_TOKENS_MAX; i++) {
        preview_token_make(token[i]);
        assert_true(preview_keep_add(keep, 3000, token[i], 1));
    }
    char *dump = json_dumps(keep, 0);
    for (unsigned i = 0; i <= KEEP_TOKENS_MAX; i++) {
        g_snprintf(label, sizeof label, "3000-a-%s", token[i]);
        assert_int_equal(allows(keep, label, ""), i > 0);          /* the oldest made place */
        label[3] = '1';
        assert_false(allows(keep, label, ""));
        assert_null(strstr(dump, token[i]));
    }
    free(dump);
    assert_true(preview_keep_valid(keep));
    g_snprintf(label, sizeof label, "3000-a-%s", token[1]);
    label[strlen(label) - 5] ^= 1;
    assert_false(allows(keep, label, ""));
    assert_true(preview_keep_remove(keep, 3000));
    assert_false(preview_keep_remove(keep, 3000));
    label[strlen(label) - 5] ^= 1;
    assert_false(allows(keep, label, ""));
    for (unsigned i = 0; i < KEEP_PORTS_MAX; i++)
        assert_true(preview_keep_add(keep, 1000 + i, token[0], 1));
    assert_false(preview_keep_add(keep, 3000, token[0], 1));
    json_decref(keep);
}

static void public_ports_need_what_they_need(void **state)
{
    json_t *keep = json_object();

    assert_false(allows(keep, "3000-a", ""));
    preview_keep_public(keep, true, NULL);
    assert_true(allows(keep, "3000-a", "") && allows(keep, "3000-a", "any"));
    static const char *never[] = { "53-a", "80-a", "443-a", "3128-a", "49983-a", "49999-a", "50005-a" };
    for (size_t i = 0; i < G_N_ELEMENTS(never); i++)
        assert_false(allows(keep, never[i], ""));
    assert_false(allows(keep, "3000-a-" TOKEN, ""));
    preview_keep_public(keep, true, "traffic");
    assert_true(allows(keep, "3000-a", "traffic") && !allows(keep, "3000-a", "") && !allows(keep, "3000-a", "traffiC") && preview_keep_valid(keep));
    preview_keep_public(keep, false, NULL);
    assert_false(allows(keep, "3000-a", "traffic"));
    assert_int_equal(json_object_size(keep), 0);
    json_decref(keep);
}

/* A reserved port is refused though a file says otherwise; a file of another shape is none of ours. */
static void what_a_file_says_is_checked(void **state)
{
    static const char *bad[] = { "{\"x\":1}", "{\"ports\":3}", "{\"ports\":[{\"port\":80,\"created\":1,\"tokens\":[\"%s\"]}]}", "{\"ports\":[{\"port\":3000,\"created\":1,\"tokens\":[]}]}",
                                 "{\"ports\":[{\"port\":3000,\"created\":1,\"tokens\":[\"short\"]}]}", "{\"ports\":[{\"port\":70000,\"created\":1,\"tokens\":[\"%s\"]}]}", "{\"public\":1}", "{\"traffic\":\"x\"}" };
    char hash[TOKEN_HASH + 1];

    preview_token_hash(TOKEN, hash);
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        GString *s = g_string_new(bad[i]);
        g_string_replace(s, "%s", hash, 0);
        json_t *j = json_loads(s->str, 0, NULL);
        assert_non_null(j);
        if (preview_keep_valid(j))
            fail_msg("%s", s->str);
        json_decref(j);
        g_string_free(s, TRUE);
    }
}

/* --- heads --- */

static bool is_secret(void *arg, const char *authorization) { return !strcmp(authorization, "Bearer secret"); }

static char *request(bool path, const char *head)
{
    static struct preview_name name = { 3000, "a", TOKEN, "3000-a-" TOKEN };
    struct rewrite w = { .path = path, .name = &name, .is_api_token = is_secret };
    struct http1_head *h = g_new(struct http1_head, 1);
    struct buf out = BUF_INIT;

    if (http1_request(head, strlen(head), h) != HTTP1_OK)
        fail_msg("%s: %s", head, h->why);
    rewrite_request(&w, h, path ? text("/rest") : h->target, &out);
    assert_int_equal(buf_err(&out), 0);
    buf_put(&out, "", 1);
    g_free(h);
    return (char *)out.data;
}

static char *response(bool path, unsigned minor, const char *method, bool close, const char *head)
{
    static struct preview_name name = { 3000, "a", TOKEN, "3000-a-" TOKEN };
    struct rewrite w = { .path = path, .name = &name };
    struct http1_head *h = g_new(struct http1_head, 1);
    struct buf out = BUF_INIT;

    if (http1_response(head, strlen(head), method, h) != HTTP1_OK)
        fail_msg("%s: %s", head, h->why);
    rewrite_response(&w, h, minor, !strcmp(method, "HEAD"), close, &out);
    assert_int_equal(buf_err(&out), 0);
    buf_put(&out, "", 1);
    g_free(h);
    return (char *)out.data;
}

static void has(char *t, const char *const *with, const char *const *without)
{
    for (; *with; with++)
        if (!strstr(t, *with))
            fail_msg("no '%s' in: %s", *with, t);
    for (; *without; without++)
        if (strcasestr(t, *without))
            fail_msg("'%s' in: %s", *without, t);
    free(t);
}
#define L(...) (const char *const[]){ __VA_ARGS__, NULL }

static void requests_carry_no_credential_of_the_api(void **state)
{
    has(request(false, "GET /x?a=b HTTP/1.1\r\nHost: 3000-a.localhost:1\r\nAuthorization: Bearer secret\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\nx_forwarded_host: evil\r\nX-Real-IP: 1\r\nForwarded: for=1\r\n"
                       "Via: x\r\nE2B-Traffic-Access-Token: t\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-App: kept\r\nTE: gzip\r\n\r\n"),
        L("GET /x?a=b HTTP/1.1\r\nHost: 3000-a.localhost:1\r\n", "Cookie: a=b", "X-App: kept", "X-Forwarded-Host: 3000-a.localhost:1", "X-Forwarded-Proto: http\r\n"),
        L("secret", "1.2.3.4", "evil", "X-Real", "for=1", "Via:", "Traffic", "X-Hop", "Connection:", "TE:", "X-Forwarded-Prefix"));
    has(request(false, "GET / HTTP/1.1\r\nHost: h\r\nX-API-KEY: secret\r\nX_Api_Key: e2b_secret\r\nx-api-key: of the application\r\n\r\n"), L("x-api-key: of the application\r\n"), L("secret"));
    has(request(true, "POST /p/3000-a-" TOKEN "/rest HTTP/1.1\r\nHost: 127.0.0.1:1\r\nAuthorization: Bearer other\r\nCookie: of=others\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"),
        L("POST /rest HTTP/1.1\r\n", "Authorization: Bearer other", "X-Forwarded-Prefix: /p/3000-a-" TOKEN "\r\n", "Content-Length: 3\r\n", "Expect: 100-continue"), L("Cookie"));
    has(request(false, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n\r\n"), L("Transfer-Encoding: chunked", "TE: trailers", "Connection: TE"), L("Content-Length"));
    has(request(false, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: vite-hmr\r\nOrigin: http://h\r\n\r\n"),
        L("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k", "Sec-WebSocket-Protocol: vite-hmr", "Origin: http://h"), L("keep-alive"));
}

static void answers_stay_within_their_origin(void **state)
{
    has(response(false, 1, "GET", false, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b; Path=/; domain = .localhost ; HttpOnly\r\nSet-Cookie: domain=x\r\nAlt-Svc: h3\r\nConnection: close\r\nServer: s\r\n\r\n"),
        L("HTTP/1.1 200 OK\r\n", "Set-Cookie: a=b; Path=/; HttpOnly\r\n", "Set-Cookie: domain=x\r\n", "Content-Length: 5", "Referrer-Policy: no-referrer", "Server: s"), L(".localhost", "Alt-Svc", "Connection", "sandbox"));
    has(response(false, 1, "GET", true, "HTTP/1.0 200 Fine\r\nReferrer-Policy: origin\r\n\r\n"), L("HTTP/1.1 200 Fine", "Referrer-Policy: origin", "Connection: close"), L("no-referrer", "Content-Length"));
    has(response(true, 1, "GET", false, "HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: /login?x\r\nSet-Cookie: a=b\r\nClear-Site-Data: \"*\"\r\nService-Worker-Allowed: /\r\nContent-Security-Policy: sandbox allow-same-origin\r\n\r\n"),
        L("Location: /p/3000-a-" TOKEN "/login?x\r\n", "Content-Security-Policy: sandbox allow-scripts"), L("Set-Cookie", "Clear-Site", "Service-Worker"));
    has(response(true, 1, "GET", false, "HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: //other/x\r\n\r\n"), L("Location: //other/x"), L("/p/"));
    has(response(false, 1, "HEAD", false, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"), L("Content-Length: 500"), L("chunked"));
    has(response(false, 1, "GET", false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), L("Transfer-Encoding: chunked"), L("Content-Length"));
    has(response(false, 0, "GET", true, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), L("Connection: close"), L("chunked"));
    has(response(false, 1, "GET", false, "HTTP/1.1 304 N\r\nETag: \"x\"\r\n\r\n"), L("ETag"), L("Content-Length"));
    has(response(false, 1, "GET", false, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), L("103 Early", "Link"), L("Referrer", "Connection"));
}

/* --- bodies --- */

static void nothing(void *arg, GIOCondition got) { }

/* What comes out when `in` is written in pieces of `piece`; bad: the flow broke. */
static char *through(struct flow *f, const char *in, size_t n, size_t piece, size_t *ret_n)
{
    int a[2], b[2];
    struct side from, to;
    GString *out = g_string_new(NULL);
    char got[65536];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
    side_open(&from, a[1], nothing, NULL);
    side_open(&to, b[0], nothing, NULL);
    for (size_t at = 0; !f->done && !f->bad;) {
        size_t k = MIN(piece, n - at);
        ssize_t w = k ? write(a[0], in + at, k) : 0;
        at += w > 0 ? (size_t)w : 0;
        if (at == n)
            shutdown(a[0], SHUT_WR);
        to.full = false;
        flow_run(f, &from, &to);
        assert_true(to.out.cap < 256 * 1024);
        ssize_t r;
        while ((r = read(b[1], got, sizeof got)) > 0)
            g_string_append_len(out, got, r);
    }
    for (ssize_t r; !side_drain(&to) || (r = read(b[1], got, sizeof got)) > 0;)
        if ((r = read(b[1], got, sizeof got)) > 0)
            g_string_append_len(out, got, r);
        else
            break;
    ssize_t r;
    while ((r = read(b[1], got, sizeof got)) > 0)
        g_string_append_len(out, got, r);
    side_close(&from, false);
    side_close(&to, false);
    close(a[0]);
    close(b[1]);
    *ret_n = out->len;
    return g_string_free(out, FALSE);
}

static int tcp_pair(int *ret_other)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof in;
    int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(l, (struct sockaddr *)&in, sizeof in), 0);
    assert_int_equal(listen(l, 1), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&in, &n), 0);
    assert_int_equal(connect(c, (struct sockaddr *)&in, sizeof in), 0);
    *ret_other = accept(l, NULL, NULL);
    assert_false(side_is_connection(l));
    close(l);
    return c;
}

static void only_a_tcp_connection_is_taken(void **state)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(9) };
    int other, good = tcp_pair(&other), pair[2], p[2];

    assert_true(side_is_connection(good) && side_is_connection(other));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(pipe(p), 0);
    int udp = socket(AF_INET, SOCK_DGRAM, 0), loose = socket(AF_INET, SOCK_STREAM, 0), file = open("/dev/null", O_RDONLY);
    assert_int_equal(connect(udp, (struct sockaddr *)&in, sizeof in), 0);
    int bad[] = { pair[0], pair[1], p[0], p[1], udp, loose, file };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        if (side_is_connection(bad[i]))
            fail_msg("number %zu was taken", i);
        close(bad[i]);
    }
    close(good);
    close(other);
}

/* The other holder of the socket makes it blocking, fills it and has it linger: neither writing nor closing waits (else the test's own time limit ends it). */
static void a_socket_that_lingers_holds_nobody_up(void **state)
{
    struct linger hour = { 1, 3600 };
    static char block[1 << 20];
    struct side s;
    int other, mine = tcp_pair(&other);

    assert_true(side_is_connection(mine));
    fcntl(mine, F_SETFL, fcntl(mine, F_GETFL) & ~O_NONBLOCK);
    setsockopt(mine, SOL_SOCKET, SO_LINGER, &hour, sizeof hour);
    side_open(&s, mine, nothing, NULL);
    s.foreign = true;
    while (!s.full)
        side_send(&s, block, sizeof block);
    assert_int_equal(side_fill(&s), 0);
    side_close(&s, false);
    char piece[65536];
    ssize_t n;
    while ((n = recv(other, piece, sizeof piece, 0)) > 0) { }
    assert_true(n < 0 && errno == ECONNRESET);      /* it was cut, not drained */
    close(other);
}

static void bodies_are_whole_in_any_pieces(void **state)
{
    static const char chunked[] = "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\n\r\nGET next";
    enum { BIG = 3 << 20 };
    char *big = g_malloc(BIG);
    size_t n;

    for (size_t piece = 1; piece < sizeof chunked; piece++) {
        struct flow f;
        flow_init(&f, FLOW_CHUNKED, 0);
        char *out = through(&f, chunked, sizeof chunked - 1, piece, &n);
        assert_true(f.done && !f.bad);
        assert_non_null(strstr(out, "0\r\nX-Sum: 1\r\n\r\n"));
        assert_null(strstr(out, "GET"));
        assert_null(strstr(out, "x=y"));
        struct http1_chunks *c = g_new(struct http1_chunks, 1);      /* read again: the same bytes */
        GString *body = g_string_new(NULL);
        http1_chunks_init(c);
        for (size_t at = 0, used; at < n; at += used) {
            struct slice data;
            assert_true(http1_chunks_feed(c, out + at, n - at, &used, &data) != HTTP1_BAD);
            g_string_append_len(body, data.p, (gssize)data.n);
        }
        assert_string_equal(body->str, "hello world");
        g_string_free(body, TRUE);
        g_free(c);
        g_free(out);
        flow_fini(&f);
        flow_init(&f, FLOW_CHUNKED, 0);
        f.plain = true;
        out = through(&f, chunked, sizeof chunked - 1, piece, &n);
        assert_true(n == 11 && !memcmp(out, "hello world", 11));
        g_free(out);
        flow_fini(&f);
    }
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)(i * 2654435761u >> 11);
    for (unsigned kind = FLOW_LENGTH; kind <= FLOW_CLOSE; kind += FLOW_CLOSE - FLOW_LENGTH) {
        struct flow f;
        flow_init(&f, kind, BIG - 10);
        char *out = through(&f, big, BIG, 100000, &n);
        assert_int_equal(n, kind == FLOW_LENGTH ? BIG - 10 : BIG);
        assert_memory_equal(out, big, n);
        assert_true(f.done && !f.bad);
        g_free(out);
        flow_fini(&f);
    }
    struct flow f;
    flow_init(&f, FLOW_LENGTH, 100);
    g_free(through(&f, big, 50, 50, &n));
    assert_true(f.bad && n == 50);        /* it ended too early */
    flow_fini(&f);
    g_free(big);
}

static void frames_of_websockets_are_followed(void **state)
{
    uint8_t wire[400], *p = wire;
    *p++ = 0x81; *p++ = 5; p += 5;                                   /* 5 bytes of text */
    *p++ = 0x89; *p++ = 2; p += 2;                                   /* a ping */
    *p++ = 0x82; *p++ = 0x80 | 126; *p++ = 1; *p++ = 0; p += 4 + 256;    /* masked, 256 bytes */
    *p++ = 0x81; *p++ = 0;                                           /* empty */
    size_t n = (size_t)(p - wire);

    for (size_t piece = 1; piece <= n; piece++) {
        struct frames f = { 0 };
        unsigned between = 0;
        for (size_t at = 0; at < n; at += piece) {
            frames_pass(&f, wire + at, MIN(piece, n - at));
            between += frames_between(&f);
        }
        assert_true(frames_between(&f) && !f.closing && between >= 1);
        assert_int_equal(f.data, 5 + 256 + 3);
        frames_pass(&f, (const uint8_t *)"\x88\x02\x03\xf4", 4);
        assert_true(f.closing);
    }
}

/* --- going over --- */
/* A guest of the trial server: it answers "guest:" and the head it was given, and gives back a connection whose next head is not for it. */
struct visitor { struct http_guest *g; int fd; GString *in; guint source; };

static bool guest_wants(void *arg, bool tcp, const char *head, size_t n) { return memmem(head, n, "Host: guest", 11) != NULL; }

static void visitor_end(struct visitor *v, bool back)
{
    if (v->source)
        g_source_remove(v->source);
    if (back)
        http_guest_back(v->g, v->fd, v->in->str, v->in->len);
    else {
        close(v->fd);
        http_guest_end(v->g);
    }
    g_string_free(v->in, TRUE);
    g_free(v);
}

/* False: it is over. */
static bool visitor_serve(struct visitor *v)
{
    char *end;
    while ((end = strstr(v->in->str, "\r\n\r\n"))) {
        size_t n = (size_t)(end - v->in->str) + 4;
        if (!guest_wants(NULL, false, v->in->str, n)) {
            visitor_end(v, true);
            return false;
        }
        char *answer = g_strdup_printf("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\nguest:%.*s", n + 6, (int)n, v->in->str);
        ssize_t put = send(v->fd, answer, strlen(answer), MSG_NOSIGNAL);
        (void)put;
        g_free(answer);
        bool close_it = memmem(v->in->str, n, "Connection: close", 17) != NULL;
        g_string_erase(v->in, 0, (gssize)n);
        if (close_it) {
            visitor_end(v, false);
            return false;
        }
    }
    return true;
}

static gboolean visitor_in(gint fd, GIOCondition got, gpointer arg)
{
    struct visitor *v = arg;
    char piece[4096];
    ssize_t n = recv(fd, piece, sizeof piece, MSG_DONTWAIT);
    if (n > 0)
        g_string_append_len(v->in, piece, n);
    else {
        visitor_end(v, false);
        return FALSE;
    }
    return visitor_serve(v);
}

static void guest_take(void *arg, struct http_guest *g, bool tcp, int fd, const void *p, size_t n)
{
    struct visitor *v = g_new0(struct visitor, 1);
    *v = (struct visitor){ .g = g, .fd = fd, .in = g_string_new_len(p, (gssize)n) };
    http_guest_state(g, v);
    if (visitor_serve(v))
        v->source = g_unix_fd_add(fd, G_IO_IN, visitor_in, v);
}

static void guest_cut(void *state) { visitor_end(state, false); }
static bool guest_alias(void *arg, const char *host, char id[64], char port[8]) { return false; }
static const struct http_guest_ops guest_ops = { guest_wants, guest_take, guest_cut, guest_alias };
static void add_guests(struct http *h) { http_set_guests(h, &guest_ops, NULL); }

#define API(path) "GET /t/path/" path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define GUEST(mark) "GET /" mark " HTTP/1.1\r\nHost: guest\r\n\r\n"
#define API_END "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define GUEST_END "GET /last HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n"

/* The marks must be found one after the other. */
static void in_order(const char *answer, const char *const *marks)
{
    const char *p = answer;
    for (; *marks; marks++)
        if (!(p = strstr(p, *marks)))
            fail_msg("no '%s' (in this order) in: %.2000s", *marks, answer);
}

static void a_connection_goes_over_at_any_head(void **state)
{
    static const char all[] = API("6131") GUEST("g1") GUEST("g2") API("6132")
        "POST /t/json HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"name\":\"b\"}" GUEST("g3") API("6133") GUEST_END;

    for (size_t piece = 1; piece < sizeof all; piece = piece < 8 ? piece + 1 : piece * 2) {
        int fd = http_unix();
        for (size_t at = 0; at < sizeof all - 1; at += piece)
            if (!http_put(fd, all + at, MIN(piece, sizeof all - 1 - at)))
                break;
        char *a = http_rest(fd);
        in_order(a, L("\"hex\":\"36313331\"", "guest:GET /g1", "guest:GET /g2", "36313332", "\"name\":\"b\"", "guest:GET /g3", "36313333", "guest:GET /last"));
        g_free(a);
    }
}

static void what_stands_in_a_body_is_no_head(void **state)
{
    char *a = http_ask(http_unix(), "PUT /t/sink HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s%s", strlen(GUEST("evil")), GUEST("evil"), API_END);
    in_order(a, L("{\"ok\":true}"));
    assert_null(strstr(a, "guest:"));
    g_free(a);
    /* behind a chunked body the end is libsoup's to know: the client is sent to ask again */
    a = http_ask(http_unix(), "PUT /t/sink HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n%s", strlen(GUEST("evil")), GUEST("evil"), GUEST("again"));
    assert_null(strstr(a, "guest:"));
    in_order(a, L("HTTP/1.1 307", "Location: /again"));
    g_free(a);
}

static void what_is_no_head_is_libsoups(void **state)
{
    static const char *bad[] = { "\x16\x03\x01\x02", "GARBAGE\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\r\n\r\n", " GET / HTTP/1.1\r\nHost: guest\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        int fd = http_unix();
        http_put(fd, bad[i], strlen(bad[i]));
        shutdown(fd, SHUT_WR);
        char *a = http_rest(fd);
        if (strstr(a, "guest:") || (*a && http_status(a) < 400))
            fail_msg("%s: %.200s", bad[i], a);
        g_free(a);
    }
}

static void many_go_over_and_none_is_left(void **state)
{
    enum { N = 300 };
    int fd[N];
    for (unsigned i = 0; i < N; i++) {
        fd[i] = http_unix();
        http_put(fd[i], i % 3 ? GUEST("x") : GUEST("x") API("61"), strlen(i % 3 ? GUEST("x") : GUEST("x") API("61")));
    }
    for (unsigned i = 0; i < N; i++) {
        char piece[4096];
        assert_true(http_get(fd[i], piece, sizeof piece) > 0);
        close(fd[i]);
    }
    for (unsigned i = 0; i < N; i++) {    /* the server serves on, and has places */
        char *a = http_ask(http_unix(), "%s", i % 2 ? API_END : GUEST_END);
        assert_int_equal(http_status(a), 200);
        g_free(a);
    }
}

static int start(void **state) { http_trial_more = add_guests; return http_trial_start(state); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_and_nothing_else_is), cmocka_unit_test(hosts_and_paths_name_previews), cmocka_unit_test(tokens_are_random),
        cmocka_unit_test(only_hashes_are_kept_and_tokens_can_be_taken_back), cmocka_unit_test(public_ports_need_what_they_need), cmocka_unit_test(what_a_file_says_is_checked),
        cmocka_unit_test(requests_carry_no_credential_of_the_api), cmocka_unit_test(answers_stay_within_their_origin), cmocka_unit_test(only_a_tcp_connection_is_taken), cmocka_unit_test(a_socket_that_lingers_holds_nobody_up),
        cmocka_unit_test(bodies_are_whole_in_any_pieces),
        cmocka_unit_test(frames_of_websockets_are_followed), cmocka_unit_test(a_connection_goes_over_at_any_head), cmocka_unit_test(what_stands_in_a_body_is_no_head),
        cmocka_unit_test(what_is_no_head_is_libsoups), cmocka_unit_test(many_go_over_and_none_is_left),
    };
    return cmocka_run_group_tests(tests, start, http_trial_stop);
}
