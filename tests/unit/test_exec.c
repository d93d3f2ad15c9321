/* Executions over an agent that lies: a socket pair whose other end is this test. What an agent says is believed only as far as it can be true, readers get each byte once and in order or an end that says why, nobody is told twice, and what a box held is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/wire.h"
#include "sandbox/egress_proto.h"
#include "sandbox/http/metrics.h"
#include "sandbox/run/exec_private.h"
#include "sandbox/term.h"
#include "tests/lib/tmp.h"

/* --- a box: what of it executions use --- */
uint64_t metrics[METRIC_COUNT];
static int holds;
static bool gone_link;
void box_hold(struct box *b)
{
    holds++;
}
void box_release(struct box *b)
{
    assert_int_not_equal(holds--, 0);
}
struct box *box_ref(struct box *b)
{
    b->refs++;
    return b;
}
void box_unref(struct box *b)
{
    b->refs--;
}
const char *box_default_user(const struct box *b)
{
    return "user";
}
int box_config_save(struct box *b)
{
    return 0;
}
static bool bundle;
bool box_has_bundle(const struct box *b)
{
    return bundle;
}
struct bed { struct box b; struct sandboxd sd; int agent; char dir[256]; uint8_t in[FRAME_MAX]; struct frame f; };
static void on_link(void *arg, struct frame *f)
{
    struct bed *t = arg;
    if (f)
        exec_hooks.frame(&t->b, f);
    else
        gone_link = true;
}
static void bed_begin(struct bed *t)
{
    int p[2];
    memset(t, 0, sizeof *t);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p), 0);
    t->agent = p[1];
    assert_int_equal(tmp_make("exec", t->dir, sizeof t->dir), 0);
    t->sd.dir_fd = open(t->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    t->b.sd = &t->sd;
    t->b.refs = 1;
    t->b.state = BOX_RUNNING;
    strcpy(t->b.id, "ws-aaaaaaaaaa");
    strcpy(t->b.name, "box");
    t->b.config.env = json_object();
    t->b.link = agent_link_new(p[0], on_link, t);
    holds = 0;
    gone_link = false;
    exec_hooks.started(&t->b);
}
static void bed_end(struct bed *t)
{
    exec_hooks.stopping(&t->b);
    agent_link_free(t->b.link);
    assert_int_equal(holds, 0);
    assert_int_equal(t->b.refs, 1);
    assert_int_equal(g_hash_table_size(t->b.execs->by_id), 0);
    exec_hooks.deleted(&t->b);
    exec_hooks.freed(&t->b);
    json_decref(t->b.config.env);
    close(t->agent);
    close(t->sd.dir_fd);
    tmp_remove(t->dir);
}
static void turn(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}
/* The agent sends; the parts of a body are given as they stand in frame.h */
static void say(struct bed *t, uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *body, size_t n)
{
    assert_int_equal(frame_send(t->agent, type, flags, id, arg, NULL, 0, body, n, -1), 0);
    turn();
}
static void say_data(struct bed *t, uint32_t id, uint32_t reader, uint8_t stream, uint64_t seq, const char *text, size_t n)
{
    struct buf b = BUF_INIT;
    buf_put_u32(&b, reader);
    buf_put_u32(&b, 0);
    buf_put(&b, text, n);
    say(t, FRAME_DATA, stream, id, seq, b.data, b.len);
    buf_fini(&b);
}
static void say_data_end(struct bed *t, uint32_t id, uint32_t reader, uint64_t seq)
{
    uint8_t body[4];
    put_le32(body, reader);
    say(t, FRAME_DATA_END, 0, id, seq, body, 4);
}
static void say_exited(struct bed *t, uint32_t id, uint64_t seq, int code, int signal)
{
    struct buf b = BUF_INIT;
    struct exit_info i = {.code = code, .signal = signal, .wall_us = 1000};
    exit_info_put(&b, &i);
    say(t, FRAME_EXITED, 0, id, seq, b.data, b.len);
    buf_fini(&b);
}
/* The next frame of sandboxd of this type, others are skipped; false: none. */
static bool hear(struct bed *t, uint8_t type)
{
    turn();
    while (frame_recv(t->agent, t->in, &t->f) == 1)
        if (t->f.type == type)
            return true;
    return false;
}

/* --- a reader that writes down what it is told --- */
struct log { char text[4096]; size_t n; struct exec *e; struct exec_reader *r; unsigned starts, fails, exits, ends; char code[32], end_code[32]; uint64_t lost; bool free_in_data, free_in_exit, free_in_end, take; int exit_code; };
static void log_data(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n)
{
    struct log *l = arg;
    assert_int_equal(l->ends, 0);
    l->lost += lost;
    if (l->n + n < sizeof l->text)
        memcpy(l->text + l->n, p, n);
    l->n += n;
    if (l->free_in_data) {
        exec_reader_free(l->r);
        l->r = NULL;
    } else if (l->take) {
        exec_reader_taken(l->r, n);
    }
}
static void log_exit(void *arg, const struct exit_info *i)
{
    struct log *l = arg;
    l->exits++;
    l->exit_code = i->code;
    if (l->free_in_exit) {
        exec_reader_free(l->r);
        l->r = NULL;
    }
}
static void log_end(void *arg, const struct fault *f)
{
    struct log *l = arg;
    l->ends++;
    if (f)
        g_strlcpy(l->end_code, f->code, sizeof l->end_code);
    if (l->free_in_end) {
        exec_reader_free(l->r);
        l->r = NULL;
    }
}
static const struct exec_reader_ops log_ops = {.data = log_data, .exit = log_exit, .end = log_end};
static void log_started(void *arg, struct exec *e, const struct fault *f)
{
    struct log *l = arg;
    l->starts += e != NULL;
    l->fails += f != NULL;
    l->e = e ? exec_ref(e) : NULL;
    l->r = e ? exec_first_reader(e) : NULL;
    if (f)
        g_strlcpy(l->code, f->code, sizeof l->code);
}
static uint32_t start(struct bed *t, struct log *l, struct exec_request q, bool agree)
{
    static char prog[] = "prog";
    char *argv[] = {prog, prog, NULL};
    uint8_t pid[4];
    memset(l, 0, sizeof *l);
    if (!q.argv)
        q.argv = argv;
    exec_start(&t->b, &q, &log_ops, l, log_started, l);
    assert_true(hear(t, FRAME_EXEC));
    uint32_t id = t->f.id;
    put_le32(pid, 7);
    if (agree) {
        say(t, FRAME_STARTED, 0, id, 0, pid, 4);
        assert_int_equal(l->starts, 1);
    }
    return id;
}
static void done(struct log *l)
{
    exec_reader_free(l->r);
    exec_unref(l->e);
}
static void an_ordinary_one_is_told_in_order(void **state)
{
    struct bed t;
    struct log l;
    bed_begin(&t);
    uint32_t id = start(&t, &l, (struct exec_request){.hold = true}, true);
    assert_int_equal(holds, 1);
    say_data(&t, id, 0, STREAM_OUT, 0, "abc", 3);
    say_exited(&t, id, 6, 3, 0);
    assert_int_equal(l.exits, 0); /* three bytes of its own are still to come */
    say_data(&t, id, 0, STREAM_ERR, 3, "def", 3);
    assert_int_equal(l.exits, 1);
    assert_int_equal(l.exit_code, 3);
    assert_int_equal(holds, 0);
    say_data_end(&t, id, 0, 6);
    assert_int_equal(l.ends, 1);
    assert_string_equal(l.end_code, "");
    assert_memory_equal(l.text, "abcdef", 6);
    say_exited(&t, id, 6, 9, 0); /* a second end is none */
    assert_int_equal(exec_exit(l.e)->code, 3);
    assert_int_equal(l.exits + l.ends, 2);
    done(&l);
    bed_end(&t);
}
static void a_failed_start_is_told_once(void **state)
{
    struct bed t;
    struct log l;
    struct buf b = BUF_INIT;
    bed_begin(&t);
    uint32_t id = start(&t, &l, (struct exec_request){0}, false);
    buf_put_u32(&b, (uint32_t)-ENOENT);
    buf_put_str(&b, "exec");
    say(&t, FRAME_FAILED, 0, id, 0, b.data, b.len);
    say(&t, FRAME_FAILED, 0, id, 0, b.data, b.len);
    buf_fini(&b);
    assert_int_equal(l.fails, 1);
    assert_int_equal(l.starts + l.ends + l.exits, 0);
    assert_string_equal(l.code, "program_not_found");
    assert_int_equal(holds, 0);
    id = start(&t, &l, (struct exec_request){0}, false); /* a body that is none */
    say(&t, FRAME_FAILED, 0, id, 0, "x", 1);
    assert_int_equal(l.fails, 1);
    assert_string_equal(l.code, "agent_lost");
    start(&t, &l, (struct exec_request){0}, false); /* never answered: the box stops */
    struct log *late = &l;
    agent_link_free(t.b.link);
    assert_int_equal(late->fails, 1);
    assert_string_equal(late->code, "agent_lost");
    assert_int_equal(holds, 0);
    t.b.link = NULL;
    bed_end(&t);
}
static void frames_of_nothing_do_nothing(void **state)
{
    static const uint8_t types[] = {FRAME_DATA, FRAME_DATA_END, FRAME_EXITED, FRAME_STDIN_ACK, FRAME_GONE, FRAME_STARTED, FRAME_FAILED, FRAME_RESULT, FRAME_WELCOME, FRAME_SYNCED, 200};
    uint8_t junk[64];
    struct bed t;
    struct log l;
    bed_begin(&t);
    uint32_t id = start(&t, &l, (struct exec_request){0}, true);
    memset(junk, 0xff, sizeof junk);
    for (unsigned i = 0; i < sizeof types; i++)
        for (size_t n = 0; n <= sizeof junk; n += 7) {
            say(&t, types[i], 0xff, 0, UINT64_MAX, junk, n);
            say(&t, types[i], 0xff, id + 1000, UINT64_MAX, junk, n);
        }
    say(&t, FRAME_DATA, STREAM_OUT, id, 0, junk, 7);   /* too short for its head */
    say_data(&t, id, 77, STREAM_OUT, 0, "x", 1);       /* a reader that is none */
    say(&t, FRAME_DATA_END, 0, id, 0, junk, 3);
    assert_int_equal(l.n + l.exits + l.ends, 0);
    say_data(&t, id, 0, STREAM_OUT, 0, "ok", 2);
    assert_int_equal(l.n, 2);
    say(&t, FRAME_EXITED, 0, id, 2, junk, 5); /* ended, but how is not said: nobody knows */
    assert_int_equal(exec_exit(l.e)->code, EXIT_UNKNOWN);
    assert_int_equal(exec_exit(l.e)->signal, 0);
    assert_false(gone_link);
    done(&l);
    bed_end(&t);
}
static void exits_that_wait_cannot_say_are_unknown(void **state)
{
    static const struct { int code, signal, want; } t_[] = {{256, 0, EXIT_UNKNOWN}, {-2, 0, EXIT_UNKNOWN}, {0, 65, EXIT_UNKNOWN}, {0, -1, EXIT_UNKNOWN}, {255, 0, 255}, {EXIT_UNKNOWN, 0, EXIT_UNKNOWN}};
    struct bed t;
    struct log l;
    bed_begin(&t);
    for (unsigned i = 0; i < sizeof t_ / sizeof *t_; i++) {
        uint32_t id = start(&t, &l, (struct exec_request){0}, true);
        say_exited(&t, id, 0, t_[i].code, t_[i].signal);
        assert_int_equal(l.exits, 1);
        assert_int_equal(l.exit_code, t_[i].want);
        done(&l);
    }
    bed_end(&t);
}
static void lies_about_bytes_end_the_reader(void **state)
{
    struct bed t;
    struct log l;
    static char big[5000];
    bed_begin(&t);
    for (int lie = 0; lie < 5; lie++) {
        uint32_t id = start(&t, &l, (struct exec_request){.credit = 4096}, true);
        say_data(&t, id, 0, STREAM_OUT, 0, "abc", 3);
        switch (lie) {
        case 0: say_data(&t, id, 0, STREAM_OUT, 3, big, 4094); break;            /* beyond its credit */
        case 1: say_data(&t, id, 0, STREAM_OUT, 2, "cd", 2); break;              /* again */
        case 2: say_data(&t, id, 0, STREAM_OUT, UINT64_MAX, "cd", 2); break;     /* around the end of numbers */
        case 3: say_data(&t, id, 0, 9, 3, "cd", 2); break;                       /* of no stream */
        case 4: say_data(&t, id, 0, 0, 3, "cd", 2); break;
        }
        assert_int_equal(l.n, 3);
        assert_int_equal(l.ends, 1);
        assert_string_equal(l.end_code, "agent_lost");
        say_data(&t, id, 0, STREAM_OUT, 3, "more", 4);
        say_data_end(&t, id, 0, 7);
        say_exited(&t, id, 7, 0, 0);
        assert_int_equal(l.n, 3);
        assert_int_equal(l.ends, 1);
        assert_int_equal(l.exits, 0);
        done(&l);
    }
    bed_end(&t);
}
static void data_after_its_end_reaches_nobody(void **state)
{
    struct bed t;
    struct log l;
    bed_begin(&t);
    uint32_t id = start(&t, &l, (struct exec_request){0}, true);
    say_exited(&t, id, 0, 0, 0);
    say_data_end(&t, id, 0, 0);
    assert_int_equal(l.ends, 1);
    say_data(&t, id, 0, STREAM_OUT, 0, "late", 4);
    say_data_end(&t, id, 0, 4);
    assert_int_equal(l.n, 0);
    assert_int_equal(l.ends, 1);
    done(&l);
    bed_end(&t);
}
static void what_was_lost_is_told(void **state)
{
    struct bed t;
    struct log l;
    bed_begin(&t);
    uint32_t id = start(&t, &l, (struct exec_request){0}, true);
    say_data(&t, id, 0, STREAM_OUT, 0, "ab", 2);
    say_data(&t, id, 0, STREAM_OUT, 1000, "cd", 2);
    assert_int_equal(l.lost, 998);
    assert_memory_equal(l.text, "abcd", 4);
    done(&l);
    bed_end(&t);
}
static void credit_is_given_as_it_is_taken(void **state)
{
    struct bed t;
    struct log l;
    static char part[1000];
    bed_begin(&t);
    uint32_t id = start(&t, &l, (struct exec_request){.credit = 4000}, true);
    for (unsigned i = 0; i < 4; i++)
        say_data(&t, id, 0, STREAM_OUT, 1000 * i, part, 1000);
    assert_false(hear(&t, FRAME_READ)); /* nothing was taken: nothing is asked for */
    exec_reader_taken(l.r, 1999);
    assert_false(hear(&t, FRAME_READ));
    exec_reader_taken(l.r, 1);
    assert_true(hear(&t, FRAME_READ));
    assert_int_equal(t.f.arg, 2000); /* acknowledged */
    assert_int_equal(le32(t.f.body + 4), 4000);
    exec_reader_taken(l.r, 1 << 20); /* more than there is: what there is */
    assert_true(hear(&t, FRAME_READ));
    assert_int_equal(t.f.arg, 4000);
    assert_int_equal(l.ends, 0);
    done(&l);
    assert_true(hear(&t, FRAME_UNREAD));
    bed_end(&t);
}
static void readers_may_go_in_their_own_calls(void **state)
{
    struct bed t;
    struct log l;
    bed_begin(&t);
    for (int when = 0; when < 3; when++) {
        uint32_t id = start(&t, &l, (struct exec_request){0}, true);
        l.free_in_data = when == 0;
        l.free_in_exit = when == 1;
        l.free_in_end = when == 2;
        say_data(&t, id, 0, STREAM_OUT, 0, "abc", 3);
        say_exited(&t, id, 3, 0, 0);
        say_data_end(&t, id, 0, 3);
        say_data(&t, id, 0, STREAM_OUT, 3, "abc", 3);
        assert_int_equal(l.n, 3);
        assert_int_equal(l.exits, when > 0);
        assert_int_equal(l.ends, when > 1);
        assert_null(l.r);
        done(&l);
    }
    bed_end(&t);
}
static void readers_are_bounded_and_each_has_its_own(void **state)
{
    struct bed t;
    struct log l, more[READERS_MAX + 1];
    bed_begin(&t);
    memset(more, 0, sizeof more);
    uint32_t id = start(&t, &l, (struct exec_request){0}, true);
    unsigned n = 0;
    while (n <= READERS_MAX && (more[n].r = exec_read(l.e, 0, 0, &log_ops, &more[n])))
        n++;
    assert_int_equal(n, READERS_MAX - 1); /* with the first */
    say_data(&t, id, 1, STREAM_OUT, 0, "one", 3);
    assert_int_equal(more[0].n, 3);
    assert_int_equal(l.n + more[1].n, 0);
    exec_hooks.stopping(&t.b);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(more[i].ends, 1);
        assert_string_equal(more[i].end_code, "not_running");
        exec_reader_free(more[i].r);
    }
    assert_int_equal(l.ends, 1);
    assert_null(exec_box(l.e));
    assert_null(exec_read(l.e, 0, 0, &log_ops, &l));
    assert_int_equal(exec_stdin(l.e, "x", 1), -EPIPE);
    exec_resize(l.e, 10, 10);
    exec_forget(l.e);
    done(&l);
    bed_end(&t);
}
static unsigned rooms;
static void on_room(void *arg)
{
    rooms++;
}
static void stdin_keeps_to_its_window(void **state)
{
    static char bytes[STDIN_WINDOW];
    struct bed t;
    struct log l;
    bed_begin(&t);
    uint32_t id = start(&t, &l, (struct exec_request){.stdin_open = true}, true);
    rooms = 0;
    assert_int_equal(exec_stdin_room(l.e), STDIN_WINDOW);
    assert_int_equal(exec_stdin(l.e, bytes, STDIN_WINDOW), 0);
    assert_int_equal(exec_stdin(l.e, bytes, 1), -EAGAIN);
    exec_on_stdin_room(l.e, on_room, &l);
    size_t sent = 0;
    while (hear(&t, FRAME_STDIN))
        sent += t.f.n;
    assert_int_equal(sent, STDIN_WINDOW);
    say(&t, FRAME_STDIN_ACK, 0, id, (uint64_t)STDIN_WINDOW + 1, NULL, 0); /* more than was sent */
    assert_int_equal(rooms, 0);
    assert_int_equal(exec_stdin_room(l.e), 0);
    say(&t, FRAME_STDIN_ACK, 0, id, 1000, NULL, 0);
    assert_int_equal(rooms, 1);
    assert_int_equal(exec_stdin_room(l.e), 1000);
    say(&t, FRAME_STDIN_ACK, 0, id, 10, NULL, 0); /* back */
    assert_int_equal(exec_stdin_room(l.e), 1000);
    exec_on_stdin_room(l.e, on_room, &l);
    exec_off_stdin_room(l.e, &l);
    say(&t, FRAME_STDIN_ACK, 1, id, 1000, NULL, 0); /* the program closed it */
    assert_int_equal(rooms, 1);
    assert_int_equal(exec_stdin(l.e, bytes, 1), -EPIPE);
    done(&l);
    bed_end(&t);
}
static void say_state(struct bed *t, uint32_t id, uint8_t flags, uint64_t in_sent, uint64_t in_acked, bool whole)
{
    struct buf b = BUF_INIT;
    struct exit_info i = {.code = 4};
    buf_put_u32(&b, 12);
    buf_put_u64(&b, 100);
    buf_put_u64(&b, 200);
    buf_put_u64(&b, 5);
    buf_put_u64(&b, in_sent);
    buf_put_u64(&b, in_acked);
    if (flags & STATE_EXITED)
        exit_info_put(&b, &i);
    buf_put_str(&b, "sleep");
    say(t, FRAME_EXEC_STATE, flags, id, 0, b.data, whole ? b.len : b.len - 3);
    buf_fini(&b);
}
static void a_former_life_is_taken_up(void **state)
{
    struct bed t;
    struct log l = {0};
    bed_begin(&t);
    say_state(&t, 9, EXEC_STDIN, 300, 200, true);
    say_state(&t, 9, STATE_EXITED, 0, 0, true); /* one id, one execution */
    say_state(&t, 10, STATE_EXITED, 0, 0, true);
    say_state(&t, 11, 0, 0, 0, false);
    say_state(&t, 12, 0, 100, 200, true); /* more consumed than sent */
    say_state(&t, 13, EXEC_STDIN, (uint64_t)STDIN_WINDOW * 4, 0, true); /* more under way than the window */
    say_state(&t, 0, 0, 0, 0, true);
    struct exec *e = exec_find(&t.b, "e9");
    assert_non_null(e);
    assert_null(exec_exit(e));
    assert_int_equal(exec_stdin_room(e), STDIN_WINDOW - 100);
    assert_int_equal(exec_exit(exec_find(&t.b, "e10"))->code, 4);
    assert_null(exec_find(&t.b, "e11"));
    assert_null(exec_find(&t.b, "e12"));
    assert_null(exec_find(&t.b, "e13"));
    assert_null(exec_find(&t.b, "e09"));
    assert_int_equal(holds, 1);
    l.r = exec_read(e, 150, 0, &log_ops, &l);
    assert_non_null(l.r);
    assert_true(hear(&t, FRAME_READ));
    assert_int_equal(t.f.arg, 150);
    say_data(&t, 9, le32(t.f.body), STREAM_OUT, 160, "x", 1);
    assert_int_equal(l.lost, 10);
    say(&t, FRAME_GONE, 0, 9, 0, NULL, 0); /* forgotten: its reader is told */
    assert_string_equal(l.end_code, "not_found");
    assert_int_equal(holds, 0);
    exec_reader_free(l.r);
    bed_end(&t);
}
static void terminals_keep_their_names_and_are_bounded(void **state)
{
    struct bed t;
    static char sh[] = "sh";
    static struct log l[TERMS_MAX + 1];
    uint32_t id = 0;
    bed_begin(&t);
    for (unsigned i = 0; i < TERMS_MAX; i++) {
        uint8_t pid[4] = {1};
        char *argv[] = {sh, NULL};
        struct exec_request q = {.argv = argv, .tty = true, .cols = 90, .rows = 30};
        memset(&l[i], 0, sizeof l[i]);
        exec_start(&t.b, &q, NULL, NULL, log_started, &l[i]);
        assert_true(hear(&t, FRAME_EXEC));
        id = t.f.id;
        say(&t, FRAME_STARTED, 0, id, 0, pid, 4);
        assert_int_equal(l[i].starts, 1);
    }
    term_name(term_of(l[TERMS_MAX - 1].e), "mine");
    memset(&l[TERMS_MAX], 0, sizeof l[0]);
    char *argv[] = {sh, NULL};
    exec_start(&t.b, &(struct exec_request){.argv = argv, .tty = true}, NULL, NULL, log_started, &l[TERMS_MAX]);
    assert_string_equal(l[TERMS_MAX].code, "too_many");
    for (unsigned i = 0; i < TERMS_MAX; i++)
        exec_unref(l[i].e);
    exec_hooks.stopping(&t.b); /* another sandboxd: what is in its directory, and what the agent says */
    assert_int_equal(holds, 0);
    exec_hooks.started(&t.b);
    assert_null(term_find(&t.b, "mine"));
    say_state(&t, id, EXEC_TTY, 0, 0, true);
    say_state(&t, id - 1, EXEC_TTY, 0, 0, true);
    struct term *mine = term_find(&t.b, "mine");
    assert_non_null(mine);
    assert_int_equal(term_exec(mine)->id, id);
    assert_int_equal(term_exec(mine)->cols, 90);
    assert_int_equal(term_exec(mine)->rows, 30);
    for (uint32_t more = id + 1; more < id + 2 * TERMS_MAX; more++)
        say_state(&t, more, EXEC_TTY, 0, 0, true);
    unsigned with_screen = 0;
    for (uint32_t k = id - 1; k < id + 2 * TERMS_MAX; k++) {
        char eid[16];
        snprintf(eid, sizeof eid, "e%u", k);
        struct exec *e = exec_find(&t.b, eid);
        assert_non_null(e);
        with_screen += term_of(e) != NULL;
    }
    assert_int_equal(with_screen, TERMS_MAX);
    bed_end(&t);
}
static void programs_are_told_where_the_certificates_are_unless_somebody_says_otherwise(void **state)
{
    struct box b = { .config.env = json_pack("{s:s,s:s}", "PIP_CERT", "/mine.pem", "A", "1") };
    struct exec_request q = { .env = json_pack("{s:s}", "SSL_CERT_FILE", "/his.pem") };

    bundle = false;
    char **env = exec_environment(&b, &q);
    assert_null(g_environ_getenv(env, "CURL_CA_BUNDLE"));
    assert_string_equal(g_environ_getenv(env, "SSL_CERT_FILE"), "/his.pem");
    g_strfreev(env);
    bundle = true;
    env = exec_environment(&b, &q);
    assert_string_equal(g_environ_getenv(env, "CURL_CA_BUNDLE"), EGRESS_BUNDLE_PATH);
    assert_string_equal(g_environ_getenv(env, "NODE_EXTRA_CA_CERTS"), EGRESS_BUNDLE_PATH);
    assert_string_equal(g_environ_getenv(env, "PIP_CERT"), "/mine.pem");
    assert_string_equal(g_environ_getenv(env, "SSL_CERT_FILE"), "/his.pem");
    g_strfreev(env);
    json_decref(b.config.env);
    json_decref(q.env);
    bundle = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_are_told_where_the_certificates_are_unless_somebody_says_otherwise),
        cmocka_unit_test(an_ordinary_one_is_told_in_order),
        cmocka_unit_test(a_failed_start_is_told_once),
        cmocka_unit_test(frames_of_nothing_do_nothing),
        cmocka_unit_test(exits_that_wait_cannot_say_are_unknown),
        cmocka_unit_test(lies_about_bytes_end_the_reader),
        cmocka_unit_test(data_after_its_end_reaches_nobody),
        cmocka_unit_test(what_was_lost_is_told),
        cmocka_unit_test(credit_is_given_as_it_is_taken),
        cmocka_unit_test(readers_may_go_in_their_own_calls),
        cmocka_unit_test(readers_are_bounded_and_each_has_its_own),
        cmocka_unit_test(stdin_keeps_to_its_window),
        cmocka_unit_test(a_former_life_is_taken_up),
        cmocka_unit_test(terminals_keep_their_names_and_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
