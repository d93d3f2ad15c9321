/* The link to an agent: order, the bounded queue, answers by id, its end, and being freed from within a callback. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "sandbox/agent_link.h"

struct seen { struct agent_link *l; unsigned frames, ends; uint32_t last_id; bool free_it; };

static void on_frame(void *arg, struct frame *f)
{
    struct seen *s = arg;

    if (!f) {
        s->ends++;
    } else {
        s->frames++;
        s->last_id = f->id;
    }
    if (s->free_it)
        agent_link_free(s->l);
}

static int open_link(struct seen *s)
{
    int p[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p), 0);
    memset(s, 0, sizeof(*s));
    s->l = agent_link_new(p[0], on_frame, s);
    return p[1];
}

static void turn(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

static void a_full_socket_queues_in_order_and_the_queue_is_bounded(void **state)
{
    static uint8_t body[FRAME_BODY_MAX], in[FRAME_MAX];
    struct seen s;
    int agent = open_link(&s), r = 0;
    uint32_t sent = 0, got = 0;
    struct frame f;

    while (!(r = agent_link_send(s.l, FRAME_STDIN, 0, sent + 1, 0, body, sizeof(body), -1)))
        assert_in_range(++sent, 1, 10000);
    assert_int_equal(r, -ENOBUFS);
    assert_in_range(sent, LINK_QUEUE_BYTES / FRAME_BODY_MAX / 2, 2 * LINK_QUEUE_BYTES / FRAME_BODY_MAX + 100);
    while (got < sent) {
        int n = frame_recv(agent, in, &f);
        if (n == -EAGAIN) {
            g_main_context_iteration(NULL, TRUE);
            continue;
        }
        assert_int_equal(n, 1);
        assert_int_equal(f.id, ++got);
        assert_int_equal(f.n, sizeof(body));
    }
    assert_int_equal(agent_link_send(s.l, FRAME_STDIN, 0, 1, 0, body, sizeof(body), -1), 0);
    assert_int_equal(agent_link_send(s.l, FRAME_STDIN, 0, 1, 0, body, sizeof(body) + 1, -1), -EMSGSIZE);
    agent_link_free(s.l);
    close(agent);
}

static void a_descriptor_that_waits_in_the_queue_arrives(void **state)
{
    static uint8_t body[FRAME_BODY_MAX], in[FRAME_MAX];
    struct seen s;
    int agent = open_link(&s), fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    unsigned sent = 0, got = 0;
    struct frame f;

    for (; sent < 60; sent++)
        assert_int_equal(agent_link_send(s.l, FRAME_STDIN, 0, sent + 1, 0, body, sizeof(body), -1), 0);
    assert_int_equal(agent_link_send(s.l, FRAME_FILE_OP, 0, 99, 0, NULL, 0, fd), 0);
    close(fd);                            /* the caller's may go at once */
    for (f.id = 0; f.id != 99;) {
        int n = frame_recv(agent, in, &f);
        if (n == -EAGAIN)
            g_main_context_iteration(NULL, TRUE);
        else
            got++;
    }
    assert_int_equal(got, sent + 1);
    assert_int_equal(f.fd_count, 1);
    close(f.fds[0]);
    agent_link_free(s.l);
    close(agent);
}

static void result(int agent, uint8_t type, uint32_t id, int32_t err)
{
    struct buf b = BUF_INIT;

    buf_put_u32(&b, (uint32_t)err);
    assert_int_equal(frame_send(agent, type, 0, id, 0, NULL, 0, b.data, b.len, -1), 0);
    buf_fini(&b);
}

struct order { char text[32]; };
struct who { struct order *o; char name; };

static void on_answer(void *arg, struct frame *f)
{
    struct who *w = arg;
    size_t n = strlen(w->o->text);

    w->o->text[n] = f ? w->name : (char)(w->name - 32);
    w->o->text[n + 1] = 0;
}

static void answers_go_to_who_asked_in_order_and_what_was_not_asked_to_the_link(void **state)
{
    struct seen s;
    int agent = open_link(&s);
    struct order o = { "" };
    struct who a = { &o, 'a' }, b = { &o, 'b' }, c = { &o, 'c' }, d = { &o, 'd' };

    assert_int_equal(agent_link_ask(s.l, FRAME_SIGNAL, 0, 5, 9, NULL, 0, -1, on_answer, &a), 0);
    assert_int_equal(agent_link_ask(s.l, FRAME_SIGNAL, 0, 5, 15, NULL, 0, -1, on_answer, &b), 0);
    assert_int_equal(agent_link_ask(s.l, FRAME_SIGNAL, 0, 6, 15, NULL, 0, -1, on_answer, &c), 0);
    assert_int_equal(agent_link_ask(s.l, FRAME_SIGNAL, 0, 7, 15, NULL, 0, -1, on_answer, &d), 0);
    result(agent, FRAME_RESULT, 6, 0);
    result(agent, FRAME_RESULT, 5, 0);
    result(agent, FRAME_RESULT, 5, 0);
    result(agent, FRAME_RESULT, 5, 0);    /* one too many */
    result(agent, FRAME_DATA, 7, 0);      /* not an answer */
    turn();
    assert_string_equal(o.text, "cab");
    assert_int_equal(s.frames, 2);
    agent_link_unask(s.l, 7, &c);         /* not his */
    agent_link_free(s.l);                 /* d is told that nothing comes */
    assert_string_equal(o.text, "cabD");
    close(agent);
}

static void who_unasks_is_not_told_but_the_order_stays(void **state)
{
    struct seen s;
    int agent = open_link(&s);
    struct order o = { "" };
    struct who a = { &o, 'a' }, b = { &o, 'b' };

    agent_link_ask(s.l, FRAME_SIGNAL, 0, 5, 9, NULL, 0, -1, on_answer, &a);
    agent_link_ask(s.l, FRAME_SIGNAL, 0, 5, 9, NULL, 0, -1, on_answer, &b);
    agent_link_unask(s.l, 5, &a);
    result(agent, FRAME_RESULT, 5, 0);
    turn();
    assert_string_equal(o.text, "");
    result(agent, FRAME_RESULT, 5, 0);
    turn();
    assert_string_equal(o.text, "b");
    agent_link_free(s.l);
    close(agent);
}

static void the_end_is_told_once_and_garbage_is_passed_over(void **state)
{
    struct seen s;
    int agent = open_link(&s);

    assert_int_equal(send(agent, "short", 5, 0), 5);
    result(agent, FRAME_RESULT, 3, 0);
    turn();
    assert_int_equal(s.frames, 1);
    close(agent);
    turn();
    turn();
    assert_int_equal(s.ends, 1);
    assert_int_equal(agent_link_send(s.l, FRAME_HELLO, 0, 0, 1, NULL, 0, -1), -EPIPE);
    agent_link_free(s.l);
}

static void it_may_be_freed_from_within_its_own_callback(void **state)
{
    struct seen s;
    int agent = open_link(&s);

    s.free_it = true;
    result(agent, FRAME_DATA, 1, 0);
    result(agent, FRAME_DATA, 2, 0);
    turn();
    assert_int_equal(s.frames, 1);
    assert_int_equal(s.last_id, 1);
    close(agent);
    agent = open_link(&s);
    s.free_it = true;
    close(agent);
    turn();
    assert_int_equal(s.ends, 1);
}

static void ids_go_on_above_what_a_former_life_used(void **state)
{
    struct seen s;
    int agent = open_link(&s);

    assert_int_equal(agent_link_id(s.l), 1);
    result(agent, FRAME_EXEC_STATE, 41, 0);
    turn();
    assert_int_equal(agent_link_id(s.l), 42);
    agent_link_seen(s.l, 7);
    assert_int_equal(agent_link_id(s.l), 43);
    agent_link_free(s.l);
    close(agent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_socket_queues_in_order_and_the_queue_is_bounded),
        cmocka_unit_test(a_descriptor_that_waits_in_the_queue_arrives),
        cmocka_unit_test(answers_go_to_who_asked_in_order_and_what_was_not_asked_to_the_link),
        cmocka_unit_test(who_unasks_is_not_told_but_the_order_stays),
        cmocka_unit_test(the_end_is_told_once_and_garbage_is_passed_over),
        cmocka_unit_test(it_may_be_freed_from_within_its_own_callback),
        cmocka_unit_test(ids_go_on_above_what_a_former_life_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
