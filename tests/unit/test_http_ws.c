/* WebSockets of sandboxd, from outside, frame by frame. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/lib/http_trial.h"

#define UPGRADE "GET /t/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
static bool all_of(int fd, void *p, size_t n) {
    for (size_t at = 0, k; at < n; at += k) if (!(k = http_get(fd, (char *)p + at, n - at))) return false;
    return true;
}

/* Sends one frame, masked. */
static void put(int fd, unsigned first, const void *p, size_t n) {
    uint8_t head[14] = { (uint8_t)first }, *body = g_malloc(n + 1);
    size_t h = 2;
    if (n < 126) head[1] = (uint8_t)(0x80 | n);
    else if (n < 65536) { head[1] = 0x80 | 126; head[2] = (uint8_t)(n >> 8); head[3] = (uint8_t)n; h = 4; }
    else { head[1] = 0x80 | 127; for (int i = 0; i < 8; i++) head[2 + i] = (uint8_t)((uint64_t)n >> (56 - 8 * i)); h = 10; }
    memcpy(head + h, "\x01\x02\x03\x04", 4);
    for (size_t i = 0; i < n; i++) body[i] = ((const uint8_t *)p)[i] ^ (uint8_t)(1 + (i & 3));
    http_put(fd, head, h + 4);
    http_put(fd, body, n);
    g_free(body);
}

/* One frame: its first byte, or -1 at the end. Content into p (n: room, then its length). */
static int get(int fd, uint8_t *p, size_t *io_n) {
    uint8_t head[10];
    if (!all_of(fd, head, 2)) return -1;
    uint64_t len = head[1] & 127;
    unsigned more = len == 126 ? 2 : len == 127 ? 8 : 0;
    if (more) {
        if (!all_of(fd, head + 2, more)) return -1;
        len = 0;
        for (unsigned i = 0; i < more; i++) len = len << 8 | head[2 + i];
    }
    assert_true(len <= *io_n);
    if (!all_of(fd, p, (size_t)len)) return -1;
    *io_n = (size_t)len;
    return head[0];
}

static uint8_t room[2 << 20];
static void expect(int fd, int first, const void *p, size_t n) {
    size_t k = sizeof room;
    int got = get(fd, room, &k);
    if (got != first || k != n || memcmp(room, p, n)) fail_msg("expected %#x and %zu bytes, got %#x and %zu", (unsigned)first, n, (unsigned)got, k);
}
/* The server closes with this code (any frames before are dropped), or at once. */
static void expect_close(int fd, unsigned code) {
    size_t k = sizeof room;
    int got;
    while ((got = get(fd, room, &k)) >= 0 && got != 0x88) k = sizeof room;
    if (got == 0x88 && code && (k < 2 || (unsigned)(room[0] << 8 | room[1]) != code)) fail_msg("closed with %u, expected %u", room[0] << 8 | room[1], code);
    close(fd);
}

static int join(void) {
    int fd = http_unix();
    char head[2048] = "";
    http_put(fd, UPGRADE "\r\n", sizeof UPGRADE + 1);
    for (size_t n = 0; !strstr(head, "\r\n\r\n"); n++) assert_true(all_of(fd, head + n, 1));
    assert_true(g_str_has_prefix(head, "HTTP/1.1 101"));
    assert_non_null(strstr(head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_null(strcasestr(head, "Sec-WebSocket-Extensions"));
    expect(fd, 0x81, "{\"type\":\"ready\"}", 16);
    return fd;
}

static void handshakes_are_checked(void **state) {
    static const char *bad[] = { "GET /t/ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET /t/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        "GET /t/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n", UPGRADE "Origin: http://evil.example\r\n\r\n",
        "GET /t/ws HTTP/1.0\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        int fd = http_unix();
        char line[16] = "";
        http_put(fd, bad[i], strlen(bad[i]));
        assert_true(all_of(fd, line, 12));
        if (atoi(line + 9) != 400 && atoi(line + 9) != 403) fail_msg("%s: %s", bad[i], line);
        close(fd);
    }
    char *a = http_ask(http_tcp(), "GET /t/ws HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                       "Sec-WebSocket-Protocol: coppice.terminal, ticket.00112233445566778899aabbccddeeff\r\nConnection: close\r\n\r\n", server.port);
    assert_int_equal(http_status(a), 401);        /* a made-up ticket */
    g_free(a);
}

static void messages_come_back_whole(void **state) {
    int fd = join();
    static const size_t sizes[] = { 0, 1, 125, 126, 127, 65535, 65536, 1 << 20 };
    uint8_t *p = g_malloc(1 << 20);
    for (size_t i = 0; i < 1 << 20; i++) p[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) { put(fd, 0x82, p, sizes[i]); expect(fd, 0x82, p, sizes[i]); }
    put(fd, 0x01, "frag", 4);
    put(fd, 0x89, "between", 7);
    put(fd, 0x00, "men", 3);
    put(fd, 0x80, "ts", 2);
    expect(fd, 0x8a, "between", 7);
    expect(fd, 0x81, "fragments", 9);
    put(fd, 0x81, "bye", 3);
    expect(fd, 0x88, "\x03\xe8" "bye", 5);
    put(fd, 0x88, "\x03\xe8", 2);
    size_t k = sizeof room;
    assert_int_equal(get(fd, room, &k), -1);
    close(fd);
    g_free(p);
}

static void broken_frames_end_it(void **state) {
    long closed = http_value("closed");
    int fd = join();
    http_put(fd, "\x82\x03" "abc", 5);    /* not masked */
    expect_close(fd, 1002);
    fd = join();
    put(fd, 0xc2, "abc", 3);              /* a reserved bit */
    expect_close(fd, 1002);
    fd = join();
    put(fd, 0x83, "abc", 3);              /* an unknown opcode */
    expect_close(fd, 1002);
    fd = join();
    put(fd, 0x80, "abc", 3);              /* the end of what did not begin */
    expect_close(fd, 1002);
    fd = join();
    put(fd, 0x81, "\xff\xfe", 2);         /* text that is none */
    expect_close(fd, 1007);
    fd = join();
    http_put(fd, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\1\2\3\4", 14);
    expect_close(fd, 1009);
    http_await("closed", closed + 6);
}

static void fragments_do_not_add_up_without_bound(void **state) {
    static uint8_t p[65536];
    int fd = join();
    put(fd, 0x02, p, sizeof p);
    for (int i = 0; i < 200; i++) put(fd, 0x00, p, sizeof p);     /* 13 MB of one message */
    expect_close(fd, 0);
    assert_true(http_metric("coppice_sandboxd_resident_bytes") < 512e6);
}

static void a_client_that_does_not_read_costs_the_credit(void **state) {
    int fd = join();
    put(fd, 0x81, "flood 100000000", 15);
    long most = 0;
    for (int i = 0; i < 20; i++) { most = http_value("most_queued"); poll(NULL, 0, 5); }
    assert_true(most > 0 && most <= 256 * 1024);
    size_t all = 0;
    while (all < 100000000) {
        size_t k = sizeof room;
        assert_int_equal(get(fd, room, &k), 0x82);
        all += k;
    }
    assert_int_equal(all, 100000000);
    close(fd);
}

/* How much the socket takes until it is full, and stays so. */
static size_t stuff(int fd, const uint8_t *p, size_t n) {
    size_t all = 0, at = 0;
    for (;;) {
        ssize_t k = send(fd, p + at, n - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k > 0) { all += (size_t)k; at = (at + (size_t)k) % n; continue; }
        struct pollfd f = { fd, POLLOUT, 0 };
        if (k < 0 && errno == EAGAIN && poll(&f, 1, 300) == 0) return all;
        if (k < 0 && errno != EAGAIN) return all;
    }
}

static void a_paused_handler_slows_the_client(void **state) {
    uint8_t frames[8192];
    for (size_t i = 0; i < sizeof frames; i += 8) memcpy(frames + i, "\x82\x82\0\0\0\0ab", 8);
    int fd = join();
    put(fd, 0x81, "hold", 4);
    assert_true(stuff(fd, frames, sizeof frames) < 4 << 20);
    close(fd);
}

static void pings_of_a_client_that_reads_nothing_are_bounded(void **state) {
    uint8_t frames[131 * 64];
    for (size_t i = 0; i < sizeof frames; i += 131) { memcpy(frames + i, "\x89\xfd\0\0\0\0", 6); memset(frames + i + 6, 'p', 125); }
    long closed = http_value("closed");
    int fd = join();
    assert_true(stuff(fd, frames, sizeof frames) < 8 << 20);
    close(fd);
    http_await("closed", closed + 1);
}

static void leaving_without_a_close_frame_is_noticed(void **state) {
    long closed = http_value("closed"), freed = http_value("freed");
    for (int i = 0; i < 20; i++) close(join());
    http_await("closed", closed + 20);
    http_await("freed", freed + 20);
    closed = http_value("closed");
    int fd = join();
    put(fd, 0x82, "last", 4);             /* what is sent before leaving is still taken */
    long messages = http_value("messages");
    close(fd);
    http_await("closed", closed + 1);
    http_await("messages", messages);
    assert_int_equal(http_value("strayed"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshakes_are_checked), cmocka_unit_test(messages_come_back_whole), cmocka_unit_test(broken_frames_end_it), cmocka_unit_test(fragments_do_not_add_up_without_bound),
        cmocka_unit_test(a_client_that_does_not_read_costs_the_credit), cmocka_unit_test(a_paused_handler_slows_the_client), cmocka_unit_test(pings_of_a_client_that_reads_nothing_are_bounded),
        cmocka_unit_test(leaving_without_a_close_frame_is_noticed),
    };
    return cmocka_run_group_tests_name("http_ws", tests, http_trial_start, http_trial_stop);
}
