/* Bodies from one stream to another, over socket pairs: in any pieces, with each framing; what is cut short, too slow, or cut off. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "sandbox/egress/pump.h"
#include "tests/model/rng.h"

enum { SOURCE, SINK };
/* From feed to from.fd, pumped to to.fd, read at drain. The client of the connection is the source. */
struct trial { struct conn c; struct stream to; int feed, drain; };

static void trial_new(struct trial *t)
{
    int a[2], b[2];

    *t = (struct trial){ .c = { .client = STREAM_INIT }, .to = STREAM_INIT };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
    t->feed = a[0];
    t->c.client.fd = a[1];
    t->to.fd = b[0];
    t->drain = b[1];
}

static void trial_free(struct trial *t)
{
    stream_close(&t->c.client, false);
    stream_close(&t->to, false);
    if (t->feed >= 0)
        close(t->feed);
    close(t->drain);
}

static size_t drain(struct trial *t, char *out, size_t n, size_t size)
{
    ssize_t k;

    while (n < size && (k = recv(t->drain, out + n, size - n, MSG_DONTWAIT)) > 0)
        n += (size_t)k;
    return n;
}

/* Pumps in[0..n), which comes in pieces chosen by `seed`, to its end. Returns the last result, and what came out. */
static int pump(struct trial *t, struct half *h, const char *in, size_t n, uint64_t seed, char *out, size_t size, size_t *ret_n)
{
    struct rng r = { seed };
    size_t at = 0, got = 0;
    int k = 0;

    while (!h->done) {
        if (at < n) {
            size_t piece = 1 + (size_t)rng_below(&r, seed % 3 ? 7 : 5000);
            ssize_t sent = send(t->feed, in + at, piece < n - at ? piece : n - at, MSG_DONTWAIT);
            at += sent > 0 ? (size_t)sent : 0;
        } else if (t->feed >= 0) {
            close(t->feed);
            t->feed = -1;
        }
        while ((k = half_step(h)) > 0)
            ;
        got = drain(t, out, got, size);
        if (k < 0)
            break;
    }
    *ret_n = drain(t, out, got, size);
    return k;
}

static void a_body_of_known_length_passes_as_it_came(void **state)
{
    (void)state;
    static char in[200000], out[200100];
    struct trial t;
    struct half h;
    size_t n;

    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (char)(i * 31 + i / 251);
    for (uint64_t seed = 1; seed < 7; seed++) {
        size_t length = seed % 3 ? 3000 : sizeof(in) - 50;
        trial_new(&t);
        assert_int_equal(half_init(&h, &t.c.client, &t.to, HTTP1_LENGTH, length, HTTP1_LENGTH), 0);
        assert_int_equal(pump(&t, &h, in, length + 50, seed, out, sizeof(out), &n), 0);
        assert_int_equal(n, length);                /* what is behind it is the next message's */
        assert_memory_equal(in, out, length);
        assert_true(h.bytes == length);
        half_fini(&h);
        trial_free(&t);
    }
}

static void chunks_come_out_as_the_same_bytes_with_their_trailers(void **state)
{
    (void)state;
    static const char in[] = "5;x=y\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\nGET /next";
    char out[400], plain[400];
    struct trial t;
    struct half h;
    size_t n;

    for (uint64_t seed = 1; seed < 30; seed++) {
        trial_new(&t);
        assert_int_equal(half_init(&h, &t.c.client, &t.to, HTTP1_CHUNKED, 0, HTTP1_CHUNKED), 0);
        assert_int_equal(pump(&t, &h, in, sizeof(in) - 1, seed, out, sizeof(out), &n), 0);
        /* read again with the reader that is trusted: the same body, the same trailer */
        struct http1_chunks c;
        size_t at = 0, body = 0, used;
        struct slice data;
        int k = HTTP1_MORE;
        http1_chunks_init(&c);
        while (k == HTTP1_MORE && at < n) {
            k = http1_chunks_feed(&c, out + at, n - at, &used, &data);
            memcpy(plain + body, data.p, data.n);
            body += data.n;
            at += used;
        }
        assert_int_equal(k, HTTP1_OK);
        assert_int_equal(at, n);
        assert_int_equal(body, 16);
        assert_memory_equal(plain, "hello 0123456789", 16);
        struct http1_header x[4];
        assert_int_equal(http1_trailers(&c, x, 4), 1);
        assert_memory_equal(x[0].value.p, "7", 1);
        half_fini(&h);
        trial_free(&t);
    }
}

static void trailers_are_dropped_where_they_could_tell_a_secret(void **state)
{
    (void)state;
    static const char in[] = "2\r\nab\r\n0\r\nX-Sum: 7\r\n\r\n";
    char out[100];
    struct trial t;
    struct half h;
    size_t n;

    trial_new(&t);
    assert_int_equal(half_init(&h, &t.c.client, &t.to, HTTP1_CHUNKED, 0, HTTP1_CHUNKED), 0);
    h.no_trailers = true;
    assert_int_equal(pump(&t, &h, in, sizeof(in) - 1, 3, out, sizeof(out), &n), 0);
    assert_memory_equal(out + n - 7, "\r\n0\r\n\r\n", 7);
    half_fini(&h);
    trial_free(&t);
}

static void what_is_cut_short_is_never_whole(void **state)
{
    (void)state;
    static const struct { const char *in; enum http1_body how; int r; } all[] = {
        { "only nine", HTTP1_LENGTH, -ECONNRESET }, { "", HTTP1_LENGTH, -ECONNRESET }, { "5\r\nhell", HTTP1_CHUNKED, -ECONNRESET }, { "5\r\nhello\r\n", HTTP1_CHUNKED, -ECONNRESET },
        { "5\r\nhello\r\n0\r\n", HTTP1_CHUNKED, -ECONNRESET }, { "5\r\nhelloX", HTTP1_CHUNKED, -EPROTO }, { "x\r\n", HTTP1_CHUNKED, -EPROTO },
    };
    char out[100];
    struct trial t;
    struct half h;
    size_t n;

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        trial_new(&t);
        assert_int_equal(half_init(&h, &t.c.client, &t.to, all[i].how, 10, all[i].how), 0);
        assert_int_equal(pump(&t, &h, all[i].in, strlen(all[i].in), 3, out, sizeof(out), &n), all[i].r);
        assert_false(h.done);
        assert_true(n < 5 || memcmp(out + n - 5, "0\r\n\r\n", 5) != 0);
        half_fini(&h);
        trial_free(&t);
    }
}

static void bytes_without_framing_pass_and_so_does_their_end(void **state)
{
    (void)state;
    char out[100];
    struct trial t;
    struct half h;
    size_t n;

    trial_new(&t);
    assert_int_equal(half_init(&h, &t.c.client, &t.to, HTTP1_CLOSE, 0, HTTP1_CLOSE), 0);
    assert_int_equal(pump(&t, &h, "some bytes", 10, 1, out, sizeof(out), &n), 0);
    assert_int_equal(n, 10);
    assert_int_equal(recv(t.drain, out, 1, 0), 0);
    half_fini(&h);
    trial_free(&t);
}

/* --- time: a clock that runs a thousand times faster --- */

static void fast_real(struct timespec *ts) { clock_gettime(CLOCK_REALTIME, ts); }
static uint64_t fast_mono(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ((uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec) * 1000;
}
static const struct clock_ops fast = { .real = fast_real, .mono_ns = fast_mono };

struct drip { int fd; atomic_bool stop; size_t piece; };

static void *drip(void *arg)
{
    static const char bytes[1024];
    struct drip *d = arg;

    while (!atomic_load(&d->stop) && send(d->fd, bytes, d->piece, MSG_NOSIGNAL) != 0)
        nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);        /* two of the clock's seconds */
    return NULL;
}

static int pump_dripping(size_t piece, uint64_t length)
{
    struct drip d = { .piece = piece };
    static char out[1 << 20];
    struct trial t;
    struct half h;
    pthread_t thread;
    int k = 0, r = 0;

    trial_new(&t);
    d.fd = t.feed;
    clock_src = &fast;
    assert_int_equal(half_init(&h, &t.c.client, &t.to, HTTP1_LENGTH, length, HTTP1_LENGTH), 0);
    assert_int_equal(pthread_create(&thread, NULL, drip, &d), 0);
    while (!r && !h.done) {
        while ((k = half_step(&h)) > 0)
            ;
        drain(&t, out, 0, sizeof(out));
        r = k < 0 ? k : h.done ? 0 : pump_wait(&t.c, &h, NULL, NULL, &h);
    }
    atomic_store(&d.stop, true);
    pthread_join(thread, NULL);
    half_fini(&h);
    trial_free(&t);
    return r;
}

static const struct clock_ops *usual;
static int clock_back(void **state)
{
    (void)state;
    clock_src = usual;
    return 0;
}

static void who_sends_a_body_too_slowly_is_ended(void **state)
{
    (void)state;
    usual = clock_src;
    assert_int_equal(pump_dripping(1, 1 << 20), -ETIMEDOUT);         /* a byte in two seconds */
}

static void who_sends_slowly_but_enough_is_not(void **state)
{
    (void)state;
    usual = clock_src;
    assert_int_equal(pump_dripping(1024, 100 * 1024), 0);            /* three minutes of the clock */
}

static void a_cut_ends_the_wait(void **state)
{
    (void)state;
    struct trial t;
    struct half h;

    trial_new(&t);
    assert_int_equal(half_init(&h, &t.c.client, &t.to, HTTP1_LENGTH, 10, HTTP1_LENGTH), 0);
    assert_int_equal(half_step(&h), 0);
    conn_cut(&t.c);
    assert_int_equal(pump_wait(&t.c, &h, NULL, NULL, NULL), -ECANCELED);
    half_fini(&h);
    trial_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_of_known_length_passes_as_it_came), cmocka_unit_test(chunks_come_out_as_the_same_bytes_with_their_trailers),
        cmocka_unit_test(trailers_are_dropped_where_they_could_tell_a_secret), cmocka_unit_test(what_is_cut_short_is_never_whole),
        cmocka_unit_test(bytes_without_framing_pass_and_so_does_their_end), cmocka_unit_test_teardown(who_sends_a_body_too_slowly_is_ended, clock_back),
        cmocka_unit_test_teardown(who_sends_slowly_but_enough_is_not, clock_back), cmocka_unit_test(a_cut_ends_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
