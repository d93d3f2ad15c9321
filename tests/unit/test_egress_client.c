/* sandboxd's connection to egress: the launcher and egress are this test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/wire.h"
#include "sandbox/egress_client.h"
#include "sandbox/egress_proto.h"
#include "sandbox/launch_client.h"

static struct { struct sandboxd sd; int control, egress; } w;
static struct { unsigned calls, events; char code[40], text[200]; json_t *ok; } got;

static void no_event(void *arg, const struct launch_packet *p, int *fds, unsigned n) { }

static int begin(void **state)
{
    int p[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p), 0);
    w.control = p[1];
    w.egress = -1;
    w.sd.launcher = launcher_new(&w.sd, p[0], no_event, NULL);
    w.sd.egress = egress_client_new(&w.sd);
    memset(&got, 0, sizeof(got));
    return 0;
}

static int end(void **state)
{
    (void)state;
    egress_client_free(w.sd.egress);
    launcher_free(w.sd.launcher);
    close(w.control);
    if (w.egress >= 0)
        close(w.egress);
    json_decref(got.ok);
    return 0;
}

static void answer(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    got.calls++;
    json_decref(got.ok);
    got.ok = json_incref(ok);
    g_strlcpy(got.code, f ? f->code : "", sizeof(got.code));
    g_strlcpy(got.text, f ? f->text : "", sizeof(got.text));
}

static void event(void *arg, json_t *e) { got.events++; }

/* The launcher's answer to LAUNCH_EGRESS: a connection, or why not. */
static void launcher_answers(const char *why)
{
    union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } c = { 0 };
    struct launch_packet p;
    struct iovec v = { &p, sizeof(p) };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
    int pair[2];

    while (recv(w.control, &(char){ 0 }, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
        g_main_context_iteration(NULL, TRUE); /* it may wait a moment before it asks again */
    assert_int_equal(recv(w.control, &p, sizeof(p), 0), sizeof(p));
    assert_int_equal(p.op, LAUNCH_EGRESS);
    p.op = why ? LAUNCH_FAILED : LAUNCH_OK;
    if (why) {
        p.err = -ENOTCONN;
        g_strlcpy(p.text, why, sizeof(p.text));
        assert_int_equal(sendmsg(w.control, &m, 0), sizeof(p));
        return;
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    m.msg_control = &c;
    m.msg_controllen = sizeof(c);
    *CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &pair[0], sizeof(int));
    assert_int_equal(sendmsg(w.control, &m, 0), sizeof(p));
    close(pair[0]);
    if (w.egress >= 0)
        close(w.egress);
    w.egress = pair[1];
}

static void turn(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

static json_t *heard(void)
{
    uint8_t head[4], text[8192];

    assert_int_equal(recv(w.egress, head, 4, MSG_WAITALL), 4);
    struct reader r = reader_of(head, 4);
    uint32_t n = get_u32(&r);
    assert_true(n < sizeof(text));
    assert_int_equal(recv(w.egress, text, n, MSG_WAITALL), n);
    json_t *j = json_loadb((char *)text, n, 0, NULL);
    assert_non_null(j);
    return j;
}

static void say(const char *text, size_t piece)
{
    uint8_t all[600];
    size_t n = strlen(text);

    put_le32(all, (uint32_t)n);
    memcpy(all + 4, text, n);
    for (size_t at = 0; at < n + 4; at += piece) {
        size_t k = MIN(piece, n + 4 - at);
        assert_int_equal(send(w.egress, all + at, k, MSG_NOSIGNAL), (ssize_t)k);
        turn();
    }
}

static json_int_t next_tag(const char *op)
{
    json_t *j = heard();
    json_int_t tag = json_integer_value(json_object_get(j, "tag"));

    assert_string_equal(json_string_value(json_object_get(j, "op")), op);
    assert_true(tag > 0);
    json_decref(j);
    return tag;
}

static void what_is_asked_before_there_is_a_connection_waits_for_it(void **state)
{
    char text[100];

    egress_ask(w.sd.egress, json_pack("{s:s}", "op", "status"), false, answer, NULL);
    turn();
    assert_int_equal(got.calls, 0);
    launcher_answers(NULL);
    turn();
    g_snprintf(text, sizeof(text), "{\"tag\":%d,\"ok\":{\"boxes\":3}}", (int)next_tag("status"));
    say(text, 1);                             /* in any pieces */
    assert_int_equal(got.calls, 1);
    assert_int_equal(json_integer_value(json_object_get(got.ok, "boxes")), 3);
    assert_null(egress_why(w.sd.egress));
}

static void errors_come_with_codes_of_the_list_only(void **state)
{
    char text[200];

    launcher_answers(NULL);
    turn();
    egress_ask(w.sd.egress, json_pack("{s:s}", "op", "rules_put"), true, answer, NULL);
    g_snprintf(text, sizeof(text), "{\"tag\":%d,\"error\":{\"code\":\"precondition_failed\",\"text\":\"changed\"}}", (int)next_tag("rules_put"));
    say(text, 500);
    assert_string_equal(got.code, "precondition_failed");
    assert_string_equal(got.text, "changed");
    egress_ask(w.sd.egress, json_pack("{s:s}", "op", "rules_put"), true, answer, NULL);
    g_snprintf(text, sizeof(text), "{\"tag\":%d,\"error\":{\"code\":\"made_up\",\"text\":\"x\"}}", (int)next_tag("rules_put"));
    say(text, 500);
    assert_string_equal(got.code, "internal");
    assert_int_equal(got.calls, 2);
}

static void what_was_asked_is_asked_again_after_the_connection_was_lost(void **state)
{
    char text[100];

    launcher_answers(NULL);
    turn();
    egress_ask(w.sd.egress, json_pack("{s:s}", "op", "box"), false, answer, NULL);
    egress_ask(w.sd.egress, json_pack("{s:s}", "op", "rules_patch"), true, answer, NULL);
    json_int_t tag = next_tag("box");
    next_tag("rules_patch");
    close(w.egress);
    w.egress = -1;
    turn();
    assert_int_equal(got.calls, 1);           /* only what must not be done twice fails */
    assert_string_equal(got.code, "unavailable");
    launcher_answers(NULL);
    turn();
    assert_int_equal(next_tag("box"), tag);
    g_snprintf(text, sizeof(text), "{\"tag\":%d,\"ok\":{}}", (int)tag);
    say(text, 500);
    assert_int_equal(got.calls, 2);
    assert_string_equal(got.code, "");
}

static void a_log_is_followed_until_it_is_cancelled(void **state)
{
    char text[100];

    launcher_answers(NULL);
    turn();
    uint32_t tag = egress_follow(w.sd.egress, json_pack("{s:s}", "op", "log"), event, answer, NULL);
    assert_int_equal(next_tag("log"), tag);
    g_snprintf(text, sizeof(text), "{\"tag\":%u,\"event\":{\"seq\":1}}", tag);
    say(text, 500);
    say(text, 500);
    assert_int_equal(got.events, 2);
    egress_cancel(w.sd.egress, tag);
    json_t *j = heard();
    assert_string_equal(json_string_value(json_object_get(j, "op")), "cancel");
    assert_int_equal(json_integer_value(json_object_get(j, "of")), tag);
    json_decref(j);
    say(text, 500);
    assert_int_equal(got.events, 2);
    assert_int_equal(got.calls, 0);
    assert_int_equal(egress_follow(w.sd.egress, json_pack("{s:s}", "op", "log"), event, answer, NULL) > tag, 1);
    close(w.egress);
    w.egress = -1;
    turn();
    assert_string_equal(got.code, "unavailable");
}

static void without_an_egress_everybody_is_told_why(void **state)
{
    egress_ask(w.sd.egress, json_pack("{s:s}", "op", "status"), false, answer, NULL);
    launcher_answers("the egress proxy ends as soon as it is started");
    turn();
    assert_int_equal(got.calls, 1);
    assert_string_equal(got.code, "unavailable");
    assert_string_equal(egress_why(w.sd.egress), "the egress proxy ends as soon as it is started");
    egress_ask(w.sd.egress, json_pack("{s:s}", "op", "status"), false, answer, NULL);
    assert_int_equal(got.calls, 1);           /* not from within the call */
    turn();
    assert_int_equal(got.calls, 2);
    launcher_answers(NULL);                   /* it is asked for again by itself */
    turn();
    assert_null(egress_why(w.sd.egress));
}

static void what_is_not_of_the_protocol_ends_the_connection(void **state)
{
    static const char *const bad[] = { "{", "[]", "{}", "{\"tag\":\"1\",\"ok\":{}}", "{\"tag\":1}", "{\"tag\":1,\"tag\":1,\"ok\":{}}" };
    uint8_t huge[4];
    char byte;

    for (size_t i = 0; i <= G_N_ELEMENTS(bad); i++) {
        launcher_answers(NULL);
        turn();
        if (i < G_N_ELEMENTS(bad)) {
            say(bad[i], 500);
        } else {
            put_le32(huge, EGRESS_JSON_MAX + 1);
            assert_int_equal(send(w.egress, huge, 4, 0), 4);
            turn();
        }
        assert_int_equal(recv(w.egress, &byte, 1, MSG_DONTWAIT), 0);
    }
    launcher_answers(NULL);                   /* and it is asked for anew each time */
    turn();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
        T(what_is_asked_before_there_is_a_connection_waits_for_it), T(errors_come_with_codes_of_the_list_only), T(what_was_asked_is_asked_again_after_the_connection_was_lost),
        T(a_log_is_followed_until_it_is_cancelled), T(without_an_egress_everybody_is_told_why), T(what_is_not_of_the_protocol_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
