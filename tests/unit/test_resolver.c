/* The resolver against servers on loopback that this test plays, and what egress may still do once it is confined. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "sandbox/egress/isolate.h"
#include "sandbox/egress/resolver.h"

enum how { GOOD, SILENT, CUT_OFF, SERVFAIL, NOT_FOUND, FORGED_FIRST, NO_ADDRESS };
struct server { int udp, tcp, stop[2]; struct sockaddr_in at; enum how how; pthread_t thread; unsigned asked, tcp_asked; char name[DNS_NAME_MAX]; uint16_t ports[64]; uint16_t ids[64]; };

/* The answer to q, as the server is. */
static size_t answer(struct server *s, const uint8_t *q, size_t n, uint8_t *a, bool tcp)
{
    bool is_a = q[n - 14] == DNS_A;
    size_t k = n - 11;

    memcpy(a, q, k);
    memcpy(a + 2, s->how == SERVFAIL ? "\x81\x82" : s->how == NOT_FOUND ? "\x81\x83" : s->how == CUT_OFF && !tcp ? "\x83\x80" : "\x81\x80", 2);
    memcpy(a + 6, "\0\0\0\0\0\0", 6);
    if (a[3] != 0x80 || a[2] != 0x81 || s->how == NO_ADDRESS)
        return k;
    a[7] = 1;
    memcpy(a + k, "\xc0\x0c\0\1\0\1\0\0\0\5\0", 11);
    a[k + 3] = is_a ? DNS_A : DNS_AAAA;
    a[k + 11] = is_a ? 4 : 16;
    memset(a + k + 12, is_a ? 7 : 0x26, 16);
    return k + 12 + (is_a ? 4 : 16);
}

static void serve_udp(struct server *s)
{
    uint8_t q[512], a[600];
    struct sockaddr_in from;
    socklen_t from_n = sizeof(from);
    ssize_t n = recvfrom(s->udp, q, sizeof(q), 0, (struct sockaddr *)&from, &from_n);

    if (n < 30)
        return;
    if (s->asked < 64) {
        s->ports[s->asked] = from.sin_port;
        memcpy(&s->ids[s->asked], q, 2);
    }
    s->asked++;
    if (s->how == SILENT)
        return;
    size_t k = answer(s, q, (size_t)n, a, false);
    if (s->how == FORGED_FIRST) {
        a[0] ^= 0x55;
        memset(a + k - 4, 9, 4);
        sendto(s->udp, a, k, 0, (struct sockaddr *)&from, from_n);
        k = answer(s, q, (size_t)n, a, false);
    }
    sendto(s->udp, a, k, 0, (struct sockaddr *)&from, from_n);
}

static void serve_tcp(struct server *s)
{
    uint8_t q[514], a[602];
    int c = accept(s->tcp, NULL, NULL);
    ssize_t n = recv(c, q, 2, MSG_WAITALL);

    if (n == 2 && (n = recv(c, q, (size_t)(q[0] << 8 | q[1]), MSG_WAITALL)) > 30) {
        s->tcp_asked++;
        size_t k = answer(s, q, (size_t)n, a + 2, true);
        a[0] = (uint8_t)(k >> 8);
        a[1] = (uint8_t)k;
        if (send(c, a, 1, MSG_NOSIGNAL) == 1)       /* in pieces */
            send(c, a + 1, k + 1, MSG_NOSIGNAL);
    }
    close(c);
}

static void *run(void *arg)
{
    struct server *s = arg;
    struct pollfd p[3] = { { s->udp, POLLIN, 0 }, { s->tcp, POLLIN, 0 }, { s->stop[0], POLLIN, 0 } };

    while (poll(p, 3, -1) > 0 && !p[2].revents) {
        if (p[0].revents)
            serve_udp(s);
        if (p[1].revents)
            serve_tcp(s);
    }
    return NULL;
}

static void server_start(struct server *s, enum how how, struct resolver *r)
{
    socklen_t n = sizeof(s->at);

    *s = (struct server){ .how = how, .at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
    do {
        s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        s->at.sin_port = 0;
        assert_int_equal(bind(s->udp, (struct sockaddr *)&s->at, n), 0);
        assert_int_equal(getsockname(s->udp, (struct sockaddr *)&s->at, &n), 0);
        if (!bind(s->tcp, (struct sockaddr *)&s->at, n))
            break;
        close(s->udp);
        close(s->tcp);
    } while (true);
    assert_int_equal(listen(s->tcp, 8), 0);
    assert_int_equal(pipe(s->stop), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
    memcpy(&r->servers[r->count++], &s->at, sizeof(s->at));
}

static void server_stop(struct server *s)
{
    assert_int_equal(write(s->stop[1], "", 1), 1);
    pthread_join(s->thread, NULL);
    close(s->udp);
    close(s->tcp);
    close(s->stop[0]);
    close(s->stop[1]);
}

static uint64_t soon(void)
{
    return clock_mono_ns() + 20000000000ull;
}

static int look_up(struct resolver *r, struct dns_addresses *a)
{
    return resolver_lookup(r, "www.example.org", -1, soon(), a);
}

static void both_kinds_of_addresses_are_found(void **state)
{
    (void)state;
    struct resolver r = { .timeout_ms = 5000 };
    struct dns_addresses a;
    struct server s;

    server_start(&s, GOOD, &r);
    assert_int_equal(look_up(&r, &a), 0);
    assert_int_equal(a.count, 2);
    assert_int_equal(a.at[0].ss_family, AF_INET6);
    assert_int_equal(((struct sockaddr_in *)&a.at[1])->sin_addr.s_addr, 0x07070707);
    server_stop(&s);
    assert_int_equal(s.asked, 2);
}

static void each_lookup_has_ports_and_ids_of_its_own(void **state)
{
    (void)state;
    struct resolver r = { .timeout_ms = 5000 };
    struct dns_addresses a;
    struct server s;
    unsigned same_port = 0, same_id = 0;

    server_start(&s, GOOD, &r);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(look_up(&r, &a), 0);
    server_stop(&s);
    assert_int_equal(s.asked, 40);
    for (unsigned i = 2; i < 40; i += 2) {
        same_port += s.ports[i] == s.ports[0];
        same_id += s.ids[i] == s.ids[0] || s.ids[i] == s.ids[i + 1];
    }
    assert_in_range(same_port, 0, 2);
    assert_in_range(same_id, 0, 2);
}

static void an_answer_that_is_cut_off_is_asked_for_over_tcp(void **state)
{
    (void)state;
    struct resolver r = { .timeout_ms = 5000 };
    struct dns_addresses a;
    struct server s;

    server_start(&s, CUT_OFF, &r);
    assert_int_equal(look_up(&r, &a), 0);
    assert_int_equal(a.count, 2);
    server_stop(&s);
    assert_int_equal(s.tcp_asked, 2);
}

static void a_forged_answer_is_not_taken(void **state)
{
    (void)state;
    struct resolver r = { .timeout_ms = 5000 };
    struct dns_addresses a;
    struct server s;

    server_start(&s, FORGED_FIRST, &r);
    assert_int_equal(look_up(&r, &a), 0);
    assert_int_equal(a.count, 2);
    assert_int_equal(((struct sockaddr_in *)&a.at[1])->sin_addr.s_addr, 0x07070707);
    server_stop(&s);
}

static void the_next_server_is_asked_when_one_is_silent_or_cannot(void **state)
{
    (void)state;
    static const enum how bad[] = { SILENT, SERVFAIL };

    for (unsigned i = 0; i < 2; i++) {
        struct resolver r = { .timeout_ms = bad[i] == SILENT ? 50 : 5000 };
        struct dns_addresses a;
        struct server s, good;
        server_start(&s, bad[i], &r);
        server_start(&good, GOOD, &r);
        assert_int_equal(look_up(&r, &a), 0);
        assert_int_equal(a.count, 2);
        server_stop(&s);
        server_stop(&good);
        assert_true(s.asked >= 1);
    }
}

static void what_there_is_not_is_said_at_once_and_silence_after_all_tries(void **state)
{
    (void)state;
    static const struct { enum how how; int r; unsigned asked; } all[] = { { NOT_FOUND, -ENOENT, 2 }, { NO_ADDRESS, -ENOENT, 2 }, { SERVFAIL, -EREMOTEIO, 0 }, { SILENT, -ETIMEDOUT, 2 * RESOLVER_TRIES } };

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct resolver r = { .timeout_ms = all[i].how == SILENT ? 50 : 5000 };
        struct dns_addresses a;
        struct server s;
        server_start(&s, all[i].how, &r);
        assert_int_equal(look_up(&r, &a), all[i].r);
        server_stop(&s);
        if (all[i].asked)
            assert_int_equal(s.asked, all[i].asked);
    }
}

static void who_hangs_up_is_not_looked_up_for(void **state)
{
    (void)state;
    struct resolver r = { .timeout_ms = 60000 };
    struct dns_addresses a;
    struct server s;
    int pair[2];

    server_start(&s, SILENT, &r);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[1]);
    assert_int_equal(resolver_lookup(&r, "www.example.org", pair[0], clock_mono_ns() + 600000000000ull, &a), -ECANCELED);
    close(pair[0]);
    server_stop(&s);
}

static void resolv_conf_gives_servers_and_never_search_domains(void **state)
{
    (void)state;
    static const char text[] = "# comment\nsearch corp.example\ndomain x\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\nnameserver name.example\n"
                               "options ndots:5 timeout:3 rotate\nnameserver 192.0.2.3\nnameserver 192.0.2.4";
    struct resolver r;

    resolver_init(&r, text, sizeof(text) - 1);
    assert_int_equal(r.count, 3);
    assert_int_equal(r.timeout_ms, 3000);
    assert_int_equal(r.servers[1].ss_family, AF_INET6);
    assert_int_equal(ntohs(((struct sockaddr_in *)&r.servers[2])->sin_port), 53);
    assert_int_equal(((struct sockaddr_in *)&r.servers[2])->sin_addr.s_addr, inet_addr("192.0.2.3"));
    resolver_init(&r, "", 0);
    assert_int_equal(r.count, 1);
    assert_int_equal(((struct sockaddr_in *)&r.servers[0])->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}

/* --- confined --- */

static void *thread(void *arg)
{
    return arg;
}

/* What must still work, then what must not; the number of the first that is otherwise. */
static int confined(int dir)
{
    char program[] = "/bin/true", *const argv[] = { program, NULL };
    pthread_t t;
    void *p = NULL;
    int fd;

    if (isolate_begin() || isolate_end())
        return 1;
    if ((fd = socket(AF_INET, SOCK_STREAM, 0)) < 0 || close(fd) || (fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0 || close(fd))
        return 2;
    if ((fd = openat(dir, "confined", O_CREAT | O_RDWR | O_CLOEXEC, 0600)) < 0 || write(fd, "x", 1) != 1 || fsync(fd) || close(fd) || renameat(dir, "confined", dir, "moved") ||
        unlinkat(dir, "moved", 0))
        return 3;
    if (pthread_create(&t, NULL, thread, &fd) || pthread_join(t, &p) || p != &fd)
        return 4;
    if (execve(argv[0], argv, NULL) != -1 || errno != EPERM)
        return 5;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != -1 || errno != EPERM)
        return 6;
    if (open("/etc/passwd", O_RDONLY) != -1 || errno != EPERM || openat(AT_FDCWD, "x", O_RDONLY) != -1 || errno != EPERM)
        return 7;
    if (fork() != -1 || socket(AF_UNIX, SOCK_STREAM, 0) != -1 || socket(AF_PACKET, SOCK_RAW, 0) != -1 || socket(AF_INET, SOCK_RAW, 1) != -1)
        return 8;
    if (kill(getppid(), 0) != -1 || chdir("/") != -1 || unlink("/tmp/x") != -1 || errno != EPERM || mkdir("/tmp/x", 0700) != -1 || errno != EPERM)
        return 9;
    return 0;
}

static void a_confined_process_talks_and_keeps_files_and_can_do_nothing_else(void **state)
{
    (void)state;
    char path[] = "/tmp/test_resolver.XXXXXX";
    int st, dir;

    assert_non_null(mkdtemp(path));
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    pid_t pid = fork();
    if (!pid)
        _exit(confined(dir));
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFEXITED(st));
    assert_int_equal(WEXITSTATUS(st), 0);
    close(dir);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_kinds_of_addresses_are_found), cmocka_unit_test(each_lookup_has_ports_and_ids_of_its_own), cmocka_unit_test(an_answer_that_is_cut_off_is_asked_for_over_tcp),
        cmocka_unit_test(a_forged_answer_is_not_taken), cmocka_unit_test(the_next_server_is_asked_when_one_is_silent_or_cannot),
        cmocka_unit_test(what_there_is_not_is_said_at_once_and_silence_after_all_tries), cmocka_unit_test(who_hangs_up_is_not_looked_up_for),
        cmocka_unit_test(resolv_conf_gives_servers_and_never_search_domains), cmocka_unit_test(a_confined_process_talks_and_keeps_files_and_can_do_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
