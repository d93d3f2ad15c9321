/* The real agent in new namespaces (tests/lib/agent_box.h), driven by frames. `test_agent AGENT`. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/entry_stream.h"
#include "base/io.h"
#include "base/wire.h"
#include "sandbox/file_proto.h"
#include "sandbox/frame.h"
#include "tests/lib/agent_box.h"

enum { PATIENCE_MS = 60000 };
static struct agent_box box;
static uint32_t last_id;
static uint8_t packet[FRAME_MAX];
static const char *program;

/* --- one execution, as a client sees it --- */
struct run {
    uint32_t id, pid;
    int failed;                              /* -errno of FAILED */
    char step[32];
    bool started, exited, ended;
    struct exit_info info;
    struct buf out[4];                       /* by stream; [0]: all, in order */
    uint64_t next, lost, acked, stdin_acked, ack_every;
    bool stdin_closed, hold, no_ack;
    int results, result;
};
enum { RUNS_MAX = 1200, CREDIT = 256 * 1024 };
static struct run *runs[RUNS_MAX];
static unsigned run_count;

static struct run *find(uint32_t id)
{
    for (unsigned i = 0; i < run_count; i++)
        if (runs[i]->id == id)
            return runs[i];
    return NULL;
}

static struct frame next_frame(void);
/* As sandboxd does: who sends must read, for the agent reads no requests while its answers wait. */
static void send_frame(uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *p, size_t n, int fd)
{
    int r;

    while ((r = frame_send(box.sock, type, flags, id, arg, NULL, 0, p, n, fd)) == -EAGAIN) {
        struct pollfd w = { box.sock, POLLIN | POLLOUT, 0 };
        assert_int_equal(poll(&w, 1, PATIENCE_MS), 1);
        if (w.revents & POLLIN)
            next_frame();
    }
    assert_int_equal(r, 0);
}

static void read_from(struct run *r, uint64_t seq, uint32_t credit, uint8_t flags)
{
    uint8_t b[9];

    put_le32(b, 0);                          /* reader 0 */
    put_le32(b + 4, credit);
    b[8] = flags;
    send_frame(FRAME_READ, 0, r->id, seq, b, sizeof b, -1);
}

static void on_data(struct run *r, const struct frame *f)
{
    uint32_t lost = le32(f->body + 4);

    assert_true(f->n >= 8);
    assert_true(f->arg == r->next + lost);
    r->lost += lost;
    r->next = f->arg + f->n - 8;
    buf_put(&r->out[f->flags], f->body + 8, f->n - 8);
    buf_put(&r->out[0], f->body + 8, f->n - 8);
    if (!r->no_ack && r->next - r->acked >= (r->ack_every ? r->ack_every : CREDIT / 4)) {
        r->acked = r->next;
        read_from(r, r->next, CREDIT, r->hold ? READ_HOLD : 0);
    }
}

/* The next frame, told to its run. */
static struct frame next_frame(void)
{
    struct pollfd p = { box.sock, POLLIN, 0 };
    struct frame f;

    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    int got = frame_recv(box.sock, packet, &f);
    if (got == -EAGAIN)
        return next_frame();
    assert_int_equal(got, 1);
    struct run *r = find(f.id);
    if (!r)
        return f;
    struct reader b = reader_of(f.body, f.n);
    switch (f.type) {
    case FRAME_STARTED: r->started = true; r->pid = get_u32(&b); break;
    case FRAME_FAILED: r->failed = (int)get_u32(&b); get_str(&b, r->step, sizeof r->step); break;
    case FRAME_DATA: on_data(r, &f); break;
    case FRAME_DATA_END: r->ended = true; break;
    case FRAME_EXITED: r->exited = true; exit_info_get(&b, &r->info); break;
    case FRAME_STDIN_ACK: r->stdin_acked = f.arg; r->stdin_closed |= f.flags & 1; break;
    case FRAME_RESULT: r->results++; r->result = (int)get_u32(&b); break;
    default: break;
    }
    assert_false(b.bad);
    return f;
}

static bool over(const struct run *r)
{
    return r->failed || (r->exited && r->ended);
}

static void finish(struct run *r)
{
    while (!over(r))
        next_frame();
}

static char *default_env[] = { (char *)"PATH=/usr/bin:/bin", NULL };

struct how { const char *user, *cwd; char **env; uint32_t ring, credit, timeout_ms; uint8_t flags; uint16_t cols, rows; bool memfd; int program_fd; };

static struct run *begin(const struct how *h, char **argv)
{
    struct exec_spec s = { .ring = h->ring, .credit = h->credit ? h->credit : CREDIT, .timeout_ms = h->timeout_ms, .cols = h->cols, .rows = h->rows,
        .user = (char *)(h->user ? h->user : "root"), .cwd = (char *)(h->cwd ? h->cwd : "/tmp"), .argv = argv, .env = h->env ? h->env : default_env };
    struct buf b = BUF_INIT;
    struct run *r = calloc(1, sizeof *r);
    int fd = -1;

    assert_true(r && run_count < RUNS_MAX);
    r->id = ++last_id;
    r->hold = h->flags & EXEC_READ;
    runs[run_count++] = r;
    exec_spec_put(&b, &s);
    assert_int_equal(buf_err(&b), 0);
    if (h->memfd) {
        fd = memfd_create("spec", MFD_CLOEXEC);
        assert_int_equal(io_pwrite_full(fd, b.data, b.len, 0), 0);
        b.len = 0;
    }
    send_frame(FRAME_EXEC, h->flags, r->id, 0, b.data, b.len, h->program_fd ? h->program_fd : fd);
    if (fd >= 0)
        close(fd);
    buf_fini(&b);
    return r;
}

static struct run *shell(const struct how *h, const char *text)
{
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)text, NULL };

    return begin(h, argv);
}

static const struct how plain = { .flags = EXEC_READ };

static struct run *run_shell(const char *text)
{
    struct run *r = shell(&plain, text);

    finish(r);
    return r;
}

static const char *text_of(struct run *r, unsigned stream)
{
    buf_put_u8(&r->out[stream], 0);
    r->out[stream].len--;
    return (const char *)r->out[stream].data;
}

static void forget(void)
{
    while (run_count) {
        struct run *r = runs[--run_count];
        for (int i = 0; i < 4; i++)
            buf_fini(&r->out[i]);
        free(r);
    }
}

static int clean(void **state)
{
    (void)state;
    forget();
    return 0;
}

static int result_of(struct run *r)
{
    int had = r->results;

    while (r->results == had)
        next_frame();
    return r->result;
}

static void send_signal(struct run *r, int sig, unsigned flags)
{
    send_frame(FRAME_SIGNAL, (uint8_t)flags, r->id, (uint64_t)sig, NULL, 0, -1);
}

/* --- executions --- */

static void a_command_gets_argv_env_cwd_and_user(void **state)
{
    (void)state;
    char *env[] = { (char *)"PATH=/usr/bin:/bin", (char *)"A=a b\nc", (char *)"HOME=/here", NULL };
    char *argv[] = { (char *)"sh", (char *)"-c", (char *)"printf '%s|' \"$0\" \"$@\" \"$A\" \"$HOME\" \"$PWD\"; id -u; id -g; id -G", (char *)"zero", (char *)"", (char *)"x y", NULL };
    struct how h = { .flags = EXEC_READ, .env = env, .user = "1000:7", .cwd = "/usr" };
    struct run *r = begin(&h, argv);

    finish(r);
    assert_string_equal(text_of(r, STREAM_OUT), "zero||x y|a b\nc|/here|/usr|1000\n7\n7\n");
    assert_int_equal(r->info.code, 0);
    assert_true(r->info.wall_us > 0 && r->info.peak_kb > 0);
    char *big[3000];
    for (int i = 0; i < 2999; i++)
        big[i] = (char *)"0123456789012345678901234567890123456789";
    big[0] = (char *)"/bin/echo";
    big[2999] = NULL;
    struct how m = { .flags = EXEC_READ, .memfd = true };
    r = begin(&m, big);                      /* larger than a frame */
    finish(r);
    assert_int_equal(r->out[STREAM_OUT].len, 2998 * 41);
}

static void without_home_the_users_own_is_added(void **state)
{
    (void)state;
    struct how h = { .flags = EXEC_READ, .cwd = "" };
    struct run *r = shell(&h, "echo $HOME");

    finish(r);
    assert_string_equal(text_of(r, STREAM_OUT), "/root\n");
}

static void what_cannot_run_says_why(void **state)
{
    (void)state;
    char *none[] = { (char *)"/does/not/exist", NULL }, *search[] = { (char *)"no-such-program", NULL }, *denied[] = { (char *)"/etc/passwd", NULL }, *ok[] = { (char *)"true", NULL };
    struct { struct how h; char **argv; int err; const char *step; } table[] = {
        { plain, none, -ENOENT, "exec" },
        { plain, search, -ENOENT, "exec" },
        { plain, denied, -EACCES, "exec" },
        { { .flags = EXEC_READ, .cwd = "/nowhere" }, ok, -ENOENT, "cwd" },
        { { .flags = EXEC_READ, .user = "nobody-here" }, ok, -ENOENT, "user" },
        { { .flags = EXEC_READ, .user = "65533" }, ok, -EINVAL, "user" },        /* the agent's own */
        { { .flags = EXEC_READ, .user = "1:65533" }, ok, -EINVAL, "user" },
        { { .flags = EXEC_READ, .user = "70000" }, ok, -EINVAL, "user" },
        { { .flags = EXEC_READ, .user = "-1" }, ok, -ENOENT, "user" },
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct run *r = begin(&table[i].h, table[i].argv);
        finish(r);
        assert_int_equal(r->failed, table[i].err);
        assert_string_equal(r->step, table[i].step);
        assert_false(r->started || r->exited);
    }
    struct run *r = runs[0];
    send_frame(FRAME_EXEC, 0, ++last_id, 0, "bad", 3, -1);
    struct frame f = next_frame();
    assert_int_equal(f.type, FRAME_FAILED);
    (void)r;
}

static void programs_are_found_as_execvp_does(void **state)
{
    (void)state;
    struct run *r = run_shell("mkdir -p /tmp/p1 /tmp/p2 && echo 'echo first' >/tmp/p1/tool && echo 'echo second $1' >/tmp/p2/tool && chmod 755 /tmp/p2/tool");
    char *env[] = { (char *)"PATH=/nowhere:/tmp/p1:/tmp/p2:/usr/bin", NULL }, *argv[] = { (char *)"tool", (char *)"arg", NULL };
    struct how h = { .flags = EXEC_READ, .env = env };

    assert_int_equal(r->info.code, 0);
    r = begin(&h, argv);                     /* p1 may not be executed; p2's has no interpreter line */
    finish(r);
    assert_int_equal(r->failed, 0);
    assert_string_equal(text_of(r, STREAM_OUT), "second arg\n");
}

static void streams_are_apart_and_in_order(void **state)
{
    (void)state;
    struct run *r = run_shell("i=0; while [ $i -lt 200 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done; printf '\\0\\377\\n'");

    assert_int_equal(r->out[STREAM_OUT].len, 10 * 5 + 90 * 6 + 100 * 7 + 3);
    assert_int_equal(r->out[STREAM_ERR].len, 10 * 5 + 90 * 6 + 100 * 7);
    assert_memory_equal(r->out[STREAM_OUT].data + r->out[STREAM_OUT].len - 3, "\0\377\n", 3);
    assert_non_null(memmem(r->out[STREAM_ERR].data, r->out[STREAM_ERR].len, "err199\n", 7));
}

static void every_exit_code_and_signal_is_what_wait_said(void **state)
{
    (void)state;
    char text[64];

    for (int code = 0; code < 256; code += code < 3 || code > 124 ? 1 : 11) {
        snprintf(text, sizeof text, "exit %d", code);
        struct run *r = run_shell(text);
        assert_int_equal(r->info.code, code);
        assert_int_equal(r->info.signal, 0);
        forget();
    }
    for (int sig = 1; sig <= 64; sig++) {
        if (sig == SIGCHLD || sig == SIGCONT || sig == SIGURG || sig == SIGWINCH || sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU || sig == 32 || sig == 33)
            continue;
        snprintf(text, sizeof text, "kill -%d $$; sleep 60", sig);
        struct run *r = run_shell(text);
        assert_int_equal(r->info.signal, sig);
        assert_int_equal(r->info.code, 0);
        forget();
    }
}

static void stdin_goes_in_and_comes_out(void **state)
{
    (void)state;
    enum { TOTAL = 100 << 20, PART = 48 * 1024 };
    static uint8_t part[PART];
    char *argv[] = { (char *)"cat", NULL };
    struct how h = { .flags = EXEC_READ | EXEC_STDIN };
    struct run *r = begin(&h, argv);
    uint64_t sent = 0, checked = 0, x = 1, y = 1;
    bool closed = false;

    while (!over(r)) {
        while (sent < TOTAL && sent + PART - r->stdin_acked <= STDIN_WINDOW) {
            size_t n = TOTAL - sent < PART ? (size_t)(TOTAL - sent) : PART;
            for (size_t i = 0; i < n; i++)
                part[i] = (uint8_t)((x = x * 6364136223846793005ull + 1) >> 56);
            send_frame(FRAME_STDIN, 0, r->id, 0, part, n, -1);
            sent += n;
        }
        if (sent == TOTAL && !closed) {
            send_frame(FRAME_STDIN_CLOSE, 0, r->id, 0, NULL, 0, -1);
            closed = true;
        }
        next_frame();
        bool same = true;
        for (size_t i = 0; i < r->out[0].len; i++)
            same &= r->out[0].data[i] == (uint8_t)((y = y * 6364136223846793005ull + 1) >> 56);
        assert_true(same);
        checked += r->out[0].len;
        buf_clear(&r->out[0]);
        buf_clear(&r->out[STREAM_OUT]);
    }
    assert_true(checked == TOTAL);
    assert_int_equal(r->info.code, 0);
    assert_true(r->stdin_acked == TOTAL);
}

static void a_program_that_closes_its_stdin_is_told_of(void **state)
{
    (void)state;
    struct how h = { .flags = EXEC_READ | EXEC_STDIN };
    struct run *r = shell(&h, "exec <&-; echo closed; sleep 0.3");

    while (!r->stdin_closed)
        next_frame();
    send_frame(FRAME_STDIN, 0, r->id, 0, "dropped", 7, -1);
    finish(r);
    assert_string_equal(text_of(r, STREAM_OUT), "closed\n");
}

static void a_held_flood_costs_no_memory(void **state)
{
    (void)state;
    enum { TOTAL = 256 << 20 };
    struct run *r = shell(&plain, "head -c 268435456 /dev/zero");
    long before = agent_box_memory_kb(box.pid, "Rss"), most = 0;
    uint64_t got = 0;
    unsigned frames = 0;

    while (!over(r)) {
        next_frame();
        got += r->out[0].len;
        buf_clear(&r->out[0]);
        buf_clear(&r->out[STREAM_OUT]);
        if (++frames % 512 == 0) {
            long now = agent_box_memory_kb(box.pid, "Rss");
            most = now > most ? now : most;
        }
    }
    assert_true(got == TOTAL);
    assert_int_equal(r->lost, 0);
    assert_true(most < before + 1024);
}

static void a_program_waits_for_a_reader_that_holds(void **state)
{
    (void)state;
    struct how h = { .flags = EXEC_READ, .ring = 64 * 1024, .credit = 4096 };
    struct run *r = shell(&h, "head -c 1000000 /dev/zero; echo done >/tmp/held");

    r->no_ack = true;
    while (r->next < 4096)
        next_frame();
    struct run *look = run_shell("test -e /tmp/held");
    assert_int_equal(look->info.code, 1);
    assert_int_equal(r->next, 4096);         /* no more than the credit */
    r->no_ack = false;
    read_from(r, r->next, CREDIT, READ_HOLD);
    r->acked = r->next;
    finish(r);
    assert_true(r->next == 1000000);
    assert_int_equal(r->lost, 0);
    look = run_shell("test -e /tmp/held");
    assert_int_equal(look->info.code, 0);
}

static void without_a_reader_the_oldest_go_and_the_loss_is_told(void **state)
{
    (void)state;
    struct how h = { .ring = 64 * 1024 };
    struct run *r = shell(&h, "seq 1 200000 | head -c 1000000");

    while (!r->exited)
        next_frame();
    read_from(r, 0, 1 << 20, 0);
    finish(r);
    assert_int_equal(r->out[0].len, 64 * 1024);
    assert_true(r->lost == 1000000 - 64 * 1024);
    FILE *f = popen("seq 1 200000 | head -c 1000000 | tail -c 65536", "re");
    static char want[64 * 1024];
    assert_int_equal(fread(want, 1, sizeof want, f), sizeof want);
    pclose(f);
    assert_memory_equal(r->out[0].data, want, sizeof want);
}

static void a_stream_change_per_byte_is_bounded_too(void **state)
{
    (void)state;
    struct how h = { .ring = 1 << 20 };
    char *argv[] = { (char *)"perl", (char *)"-e", (char *)"for (1..20000) { syswrite(STDOUT, 'o'); syswrite(STDERR, 'e'); }", NULL };
    struct run *r = begin(&h, argv);

    while (!r->exited && !r->failed)
        next_frame();
    assert_int_equal(r->failed, 0);
    read_from(r, 0, 1 << 20, 0);
    finish(r);
    assert_true(r->next == 40000);
    assert_true(r->lost + r->out[0].len == 40000);
}

static void once_ends_where_the_log_ended(void **state)
{
    (void)state;
    struct run *r = shell(&(struct how){ .flags = EXEC_STDIN }, "echo one; read x; echo two");

    while (!r->next) {                       /* until something is there, as a client of `logs` may try again */
        read_from(r, 0, 4096, READ_ONCE);
        while (!r->ended)
            next_frame();
        r->ended = false;
        uint8_t reader[4] = { 0 };
        send_frame(FRAME_UNREAD, 0, r->id, 0, reader, 4, -1);
    }
    assert_string_equal(text_of(r, 0), "one\n");
    send_frame(FRAME_STDIN, 0, r->id, 0, "\n", 1, -1);
    read_from(r, 4, 4096, 0);
    finish(r);
    assert_string_equal(text_of(r, 0), "one\ntwo\n");
}

static void who_asked_for_a_command_gets_its_output_however_many_end_meanwhile(void **state)
{
    (void)state;
    struct run *slow = shell(&(struct how){ .flags = EXEC_READ, .credit = 4 }, "echo 0123456789");

    slow->no_ack = true;
    while (!slow->exited || slow->next < 4)
        next_frame();
    for (int i = 0; i < EXECS_KEPT + 8; i++)
        run_shell(":");
    read_from(slow, 4, CREDIT, READ_HOLD);
    finish(slow);
    assert_string_equal(text_of(slow, STREAM_OUT), "0123456789\n");
    assert_int_equal(slow->lost, 0);
}

static void a_new_peer_finds_everything_again(void **state)
{
    (void)state;
    struct run *done = run_shell("echo ended"), *r = shell(&(struct how){ .flags = EXEC_READ | EXEC_STDIN, .ring = 16 * 1024 }, "echo before; read x; echo $x; head -c 100000 /dev/zero");
    uint32_t seen = 0, states = 0;

    while (r->next < 7)
        next_frame();
    r->no_ack = true;                        /* it died before it acknowledged */
    send_frame(FRAME_STDIN, 0, r->id, 0, "word\n", 5, -1);
    send_frame(FRAME_HELLO, 0, 0, FRAME_VERSION, NULL, 0, -1);
    for (;;) {
        struct frame f = next_frame();
        if (f.type == FRAME_SYNCED)
            break;
        if (f.type != FRAME_EXEC_STATE)
            continue;
        struct reader b = reader_of(f.body, f.n);
        get_bytes(&b, 4 + 8 * 5);
        if (f.flags & STATE_EXITED)
            get_bytes(&b, EXIT_INFO_BYTES);
        char name[128];
        get_str(&b, name, sizeof name);
        assert_false(b.bad);
        assert_int_equal(reader_left(&b), 0);
        states++;
        if (f.id == r->id) {
            assert_string_equal(name, "/bin/sh");
            assert_false(f.flags & STATE_EXITED);
            assert_true(f.flags & EXEC_STDIN);
            seen++;
        }
        if (f.id == done->id) {
            assert_true(f.flags & STATE_EXITED);
            seen++;
        }
    }
    assert_int_equal(seen, 2);
    assert_true(states <= EXECS_KEPT + 1);
    for (int i = 0; i < 4; i++)
        buf_clear(&r->out[i]);
    r->next = r->acked = 0;
    r->no_ack = false;
    r->ack_every = 4096;
    read_from(r, 0, CREDIT, READ_HOLD);      /* nothing was overwritten meanwhile, although the ring is small and the program wrote on */
    finish(r);
    assert_int_equal(r->lost, 0);
    assert_memory_equal(r->out[0].data, "before\nword\n", 12);
    assert_int_equal(r->out[0].len, 12 + 100000);
}

/* A second box, used until box_back(): what it does or what it bears is none of the others' business. */
static struct agent_box box_other(unsigned pids)
{
    struct agent_box was = box, b;
    const char *why = agent_box_start(&b, program, pids);

    if (why)
        fprintf(stderr, "%s\n", why);
    assert_null(why);
    fcntl(b.sock, F_SETFL, O_NONBLOCK);
    box = b;
    return was;
}

static int box_back(struct agent_box was)
{
    struct agent_box b = box;

    box = was;
    return agent_box_stop(&b);
}

static void a_thousand_at_once(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    struct agent_box was = box_other(2 * MANY + 100);        /* each is a command and its supervisor */
    char text[96];

    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "echo %d; read x; exit %d", i, i % 200);
        struct run *r = shell(&(struct how){ .flags = EXEC_READ | EXEC_STDIN, .credit = 4096 }, text);
        while (i % 16 == 15 && !r->started)
            next_frame();
    }
    for (int i = 0; i < MANY; i++)
        while (!runs[i]->next)
            next_frame();
    for (int i = 0; i < MANY; i++)
        assert_false(runs[i]->exited);
    for (int i = 0; i < MANY; i++) {
        send_frame(FRAME_STDIN, 0, runs[i]->id, 0, "\n", 1, -1);
        if (i % 16 == 15)
            finish(runs[i]);
    }
    for (int i = 0; i < MANY; i++) {
        finish(runs[i]);
        snprintf(text, sizeof text, "%d\n", i);
        assert_string_equal(text_of(runs[i], STREAM_OUT), text);
        assert_int_equal(runs[i]->info.code, i % 200);
    }
    assert_int_equal(box_back(was), 0);
}

static void a_timeout_ends_what_ignores_it(void **state)
{
    (void)state;
    struct run *r = shell(&(struct how){ .flags = EXEC_READ, .timeout_ms = 200 }, "trap 'echo term' TERM; while :; do sleep 0.05; done");

    finish(r);
    assert_true(r->info.timed_out);
    assert_int_equal(r->info.signal, SIGKILL);
    assert_non_null(strstr(text_of(r, STREAM_OUT), "term"));
    r = shell(&(struct how){ .flags = EXEC_READ, .timeout_ms = 200 }, "sleep 60");
    finish(r);
    assert_true(r->info.timed_out);
    assert_int_equal(r->info.signal, SIGTERM);
    r = shell(&(struct how){ .flags = EXEC_READ, .timeout_ms = 60000 }, "exit 3");
    finish(r);
    assert_false(r->info.timed_out);
    assert_int_equal(r->info.code, 3);
}

static void signals_reach_the_process_or_its_group(void **state)
{
    (void)state;
    struct run *r = shell(&plain, "trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.05; done");

    while (!r->next)
        next_frame();
    send_signal(r, SIGUSR1, 0);
    assert_int_equal(result_of(r), 0);
    finish(r);
    assert_int_equal(r->info.code, 5);
    send_signal(r, SIGUSR1, 0);
    assert_int_equal(result_of(r), -ESRCH);
    r = shell(&plain, "sleep 60 & sleep 60 & echo ready; wait");
    while (!r->next)
        next_frame();
    send_signal(r, SIGTERM, SIGNAL_GROUP);
    assert_int_equal(result_of(r), 0);
    finish(r);
    assert_int_equal(r->info.signal, SIGTERM);
}

/* Processes in the sandbox with that word in their command line, but for who looks. */
static long count_processes(const char *word)
{
    char text[256];

    snprintf(text, sizeof text, "pgrep -c -f '[%c]%s'", word[0], word + 1);
    struct run *r = run_shell(text);
    return strtol(text_of(r, STREAM_OUT), NULL, 10);
}

static void children_that_daemonise_go_with_the_tree(void **state)
{
    (void)state;
    struct run *r = run_shell("cp /bin/sleep /tmp/daemon1; (setsid setsid /tmp/daemon1 1000 >/dev/null 2>&1 & ) ; (/tmp/daemon1 1000 & ) >/dev/null 2>&1; exit 0");

    assert_int_equal(r->info.code, 0);       /* it has ended, they go on */
    assert_int_equal(count_processes("daemon1"), 2);
    send_signal(r, SIGKILL, SIGNAL_TREE);
    assert_int_equal(result_of(r), 0);
    assert_int_equal(count_processes("daemon1"), 0);
}

static void output_of_children_left_behind_still_comes(void **state)
{
    (void)state;
    struct run *r = shell(&plain, "(sleep 0.3; echo later) & echo now");

    while (!r->exited)
        next_frame();
    assert_false(r->ended);
    finish(r);
    assert_string_equal(text_of(r, STREAM_OUT), "now\nlater\n");
}

/* Other executions of the box, while bombs are ended: one that is waiting for input, one that has stopped itself, and one whose child is stopped and whose shell has job control. */
struct bystanders { struct run *reader, *stopped, *jobs; };

static char state_of(struct run *r)
{
    char text[96];

    snprintf(text, sizeof text, "cut -d' ' -f3 /proc/%u/stat", r->pid);
    struct run *look = run_shell(text);
    assert_true(look->out[STREAM_OUT].len >= 1);
    return text_of(look, STREAM_OUT)[0];
}

static void bystanders_start(struct bystanders *b)
{
    b->reader = shell(&(struct how){ .flags = EXEC_READ | EXEC_STDIN }, "while read x; do echo got $x; done");
    b->stopped = shell(&plain, "echo ready; kill -STOP $$; echo continued");
    b->jobs = shell(&(struct how){ .flags = EXEC_READ | EXEC_STDIN }, "exec bash -c 'set -m; sleep 1000 & read x; jobs; kill %1; wait; echo end'");
    while (!b->stopped->next || !b->reader->started || !b->jobs->started)
        next_frame();
    while (state_of(b->stopped) != 'T')
        ;
}

static void bystanders_go_on(struct bystanders *b)
{
    struct run *r = b->reader;
    uint64_t had = r->next;

    send_frame(FRAME_STDIN, 0, r->id, 0, "it\n", 3, -1);
    while (r->next == had)
        next_frame();
    assert_false(b->stopped->exited || b->jobs->exited);
    assert_int_equal(state_of(b->stopped), 'T');
}

static void bystanders_end(struct bystanders *b)
{
    assert_int_equal(b->stopped->next, 6);
    send_signal(b->stopped, SIGCONT, 0);
    assert_int_equal(result_of(b->stopped), 0);
    finish(b->stopped);
    assert_string_equal(text_of(b->stopped, STREAM_OUT), "ready\ncontinued\n");
    send_frame(FRAME_STDIN, 0, b->jobs->id, 0, "\n", 1, -1);
    finish(b->jobs);
    assert_non_null(strstr(text_of(b->jobs, STREAM_OUT), "Running"));
    assert_non_null(strstr(text_of(b->jobs, STREAM_OUT), "end\n"));
    send_frame(FRAME_STDIN_CLOSE, 0, b->reader->id, 0, NULL, 0, -1);
    finish(b->reader);
    assert_int_equal(b->reader->info.code, 0);
}

/* Each writes a byte for each fork; grows: to whatever the box allows. */
static const struct bomb { const char *text; bool grows; } bombs[] = {
    { "perl -e 'while (1) { exit if fork; setpgrp; syswrite STDOUT, 1 }' x-bomb", false },             /* a chain: each forks one and ends */
    { "perl -MPOSIX -e 'while (1) { exit if fork; POSIX::setsid; syswrite STDOUT, 1 }' x-bomb", false },
    { "perl -e 'while (1) { if (fork) { wait } else { exit if fork; syswrite STDOUT, 1 } }' x-bomb", true },
    { "perl -MPOSIX -e 'for (1..8) { fork; POSIX::setsid; syswrite STDOUT, 1 } $SIG{TERM} = \"IGNORE\"; sleep 1000 while 1' x-bomb", false },
    { "perl -e 'while (1) { fork; syswrite STDOUT, 1 }' x-bomb", true },
    { "perl -e '$SIG{CHLD} = \"IGNORE\"; while (1) { fork; syswrite STDOUT, 1 }' x-bomb", true },       /* the kernel reaps: whoever is killed makes room at once */
    { "perl -MPOSIX -e '$SIG{CHLD} = \"IGNORE\"; while (1) { if (!fork) { POSIX::setsid } elsif (++$n > 20) { exit } syswrite STDOUT, 1 }' x-bomb", true },
};
enum { BOMB_FORKS = 200, BOMB_GROWN = AGENT_BOX_PIDS * 9 / 10 };

static struct run *bomb_start(const struct bomb *b)
{
    struct run *r = shell(&(struct how){ .user = "1000", .ring = 64 * 1024 }, b->text);

    read_from(r, 0, CREDIT, 0);
    while (r->next < BOMB_FORKS || (b->grows && pids_group_current(&box.group) < BOMB_GROWN))
        next_frame();
    return r;
}

static void fork_bombs_and_chains_are_ended(void **state)
{
    (void)state;
    struct bystanders others;

    if (box.unbounded) {
        print_message("skipped: bombs: %s\n", box.unbounded);
        skip();
    }
    bystanders_start(&others);
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        long before = pids_group_current(&box.group);
        struct run *r = bomb_start(&bombs[i]);
        print_message("%s: %ld processes\n", bombs[i].text, pids_group_current(&box.group) - before);
        send_signal(r, SIGKILL, SIGNAL_TREE);
        assert_int_equal(result_of(r), 0);   /* which it must say within SUPER_KILL_MS */
        for (int tries = 0; tries < PATIENCE_MS && pids_group_current(&box.group) > before + 1; tries++)
            poll(NULL, 0, 1);                /* the kernel may count what has been waited for a moment longer */
        assert_true(pids_group_current(&box.group) <= before + 1);      /* the supervisor may still be there */
        finish(r);
        bystanders_go_on(&others);
    }
    bystanders_end(&others);
}

/* A field of /proc/PID/status, outside: its last number. */
static pid_t status_number(pid_t pid, const char *field)
{
    char path[64], line[256];
    pid_t n = -1;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, field, strlen(field)))
            n = (pid_t)strtol(strpbrk(line, "\t ") ? strrchr(line, '\t') : line, NULL, 10);
    if (f)
        fclose(f);
    return n;
}

/* Outside's number of the supervisor of a run whose command is there. */
static pid_t supervisor_of(const struct run *r)
{
    DIR *d = opendir("/proc");
    struct dirent *e;
    pid_t found = -1;

    assert_non_null(d);
    while (found < 0 && (e = readdir(d))) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10), parent = pid > 0 && status_number(pid, "NSpid:") == (pid_t)r->pid ? status_number(pid, "PPid:") : -1;
        if (parent > 0 && status_number(parent, "PPid:") == box.pid)
            found = parent;
    }
    closedir(d);
    return found;
}

/* It goes on until it has stopped everything, and no further. */
static void kill_when_it_has_stopped_all(pid_t super)
{
    struct __ptrace_syscall_info call;
    bool stopped = false;
    int status;

    while (waitpid(super, &status, __WALL) == super && WIFSTOPPED(status)) {
        bool at_call = WSTOPSIG(status) == (SIGTRAP | 0x80), event = status >> 16;
        if (at_call && ptrace(PTRACE_GET_SYSCALL_INFO, super, sizeof call, &call) > 0) {
            if (stopped) {
                kill(super, SIGKILL);
                continue;
            }
            stopped = call.op == PTRACE_SYSCALL_INFO_ENTRY && call.entry.nr == SYS_kill && (int)call.entry.args[0] == -1 && call.entry.args[1] == SIGSTOP;
        }
        ptrace(PTRACE_SYSCALL, super, NULL, (long)(at_call || event ? 0 : WSTOPSIG(status)));
    }
    assert_true(stopped && WIFSIGNALED(status));
}

static void a_supervisor_that_dies_when_it_has_stopped_all_leaves_nobody_so(void **state)
{
    (void)state;
    struct bystanders others;

    if (box.unbounded) {
        print_message("skipped: bombs: %s\n", box.unbounded);
        skip();
    }
    bystanders_start(&others);
    long before = pids_group_current(&box.group);
    struct run *r = bomb_start(&bombs[5]);
    pid_t super = supervisor_of(r);
    assert_true(super > 0);
    if (ptrace(PTRACE_SEIZE, super, NULL, (long)PTRACE_O_TRACESYSGOOD) < 0) {
        print_message("skipped: supervisors cannot be traced here: %s\n", strerror(errno));
        skip();
    }
    assert_int_equal(ptrace(PTRACE_INTERRUPT, super, NULL, NULL), 0);
    send_signal(r, SIGKILL, SIGNAL_TREE);
    kill_when_it_has_stopped_all(super);
    assert_int_equal(result_of(r), -ESRCH);
    finish(r);
    assert_int_equal(r->info.code, EXIT_UNKNOWN);
    struct run *look;
    do {
        look = run_shell("true");            /* until the agent has ended what was left to it */
    } while (look->failed || pids_group_current(&box.group) > before + 1);
    bystanders_go_on(&others);
    bystanders_end(&others);
}

static void nothing_reaches_the_agent_and_its_supervisors(void **state)
{
    (void)state;
    const char *users[] = { "root", "user" };

    for (int i = 0; i < 2; i++) {
        struct how h = { .flags = EXEC_READ, .user = users[i] };
        struct run *r = shell(&h, "kill -9 $PPID && echo killed; kill -9 1 && echo killed; cat /proc/1/environ && echo read; ls /proc/1/fd && echo listed; "
            "cat /proc/$PPID/mem && echo read; prlimit --pid 1 --nofile=3 && echo limited; prlimit --pid $PPID --nofile=3 && echo limited; renice 5 1 && echo reniced; true");
        finish(r);
        assert_int_equal(r->out[STREAM_OUT].len, 0);
        assert_int_equal(r->info.code, 0);
    }
}

static void only_standard_descriptors_are_passed_on(void **state)
{
    (void)state;
    struct run *r = run_shell("cd /proc/self/fd; for f in *; do readlink $f; done | grep -v pipe; echo again >/dev/stdout; echo user >/dev/stderr");

    assert_non_null(strstr(text_of(r, STREAM_OUT), "again\n"));
    assert_string_equal(text_of(r, STREAM_ERR), "user\n");
    struct how h = { .flags = EXEC_READ, .user = "user" };
    r = shell(&h, "ls -l /proc/self/fd | wc -l; echo again >/dev/stdout");
    finish(r);
    assert_string_equal(text_of(r, STREAM_OUT), "5\nagain\n");      /* "total", 0-2, and the directory itself */
}

/* A memory file with the content of a program. */
static int program_of(const char *path, int seals)
{
    int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("program", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct stat st;

    assert_true(from >= 0 && to >= 0 && !fstat(from, &st));
    assert_int_equal(sendfile(to, from, NULL, (size_t)st.st_size), st.st_size);
    close(from);
    assert_int_equal(fchmod(to, 0555), 0);
    assert_int_equal(fcntl(to, F_ADD_SEALS, seals), 0);
    return to;
}

static void program_refused(int fd, const char *why)
{
    struct how h = { .flags = EXEC_READ | EXEC_PROGRAM, .program_fd = fd };
    char *argv[] = { (char *)"ls", NULL };
    struct run *r = begin(&h, argv);

    finish(r);
    if (!r->failed || strcmp(r->step, "program"))
        fail_msg("%s was not refused (%d %s)", why, r->failed, r->step);
}

static void a_sealed_program_is_executed_and_nothing_else_is(void **state)
{
    (void)state;
    int fd = program_of("/bin/ls", PROGRAM_SEALS), file = open("/bin/ls", O_RDONLY | O_CLOEXEC);
    struct how h = { .flags = EXEC_READ | EXEC_PROGRAM | EXEC_CHANNEL, .user = "user", .program_fd = fd };
    char *argv[] = { (char *)"my-name", (char *)"/proc/self/fd", (char *)"/no/such", NULL };
    struct run *r = begin(&h, argv);

    finish(r);
    assert_string_equal(text_of(r, STREAM_OUT), "/proc/self/fd:\n0\n1\n2\n3\n4\n");       /* 3 is the channel, 4 the directory itself: the program's descriptor is not there */
    assert_non_null(strstr(text_of(r, STREAM_ERR), "my-name: "));                          /* no other program of that name was looked for */
    h.flags = EXEC_READ | EXEC_PROGRAM;
    r = begin(&h, argv);
    finish(r);
    assert_string_equal(text_of(r, STREAM_OUT), "/proc/self/fd:\n0\n1\n2\n3\n");
    close(fd);
    fd = program_of("/bin/sh", PROGRAM_SEALS);
    h.program_fd = fd;
    char *write_it[] = { (char *)"sh", (char *)"-c", (char *)"id -u; echo x >>/proc/$$/exe || echo no", NULL };
    r = begin(&h, write_it);
    finish(r);
    assert_string_equal(text_of(r, STREAM_OUT), "1000\nno\n");                              /* it is not the workload's to change */
    close(fd);
    program_refused(0, "no descriptor");
    program_refused(file, "a file of a file system");
    close(file);
    program_refused(fd = program_of("/bin/ls", 0), "a memory file without seals");
    close(fd);
    program_refused(fd = program_of("/bin/ls", PROGRAM_SEALS & ~F_SEAL_WRITE), "one that can be written");
    close(fd);
    program_refused(fd = program_of("/bin/ls", PROGRAM_SEALS & ~F_SEAL_SEAL), "one that is not sealed for good");
    close(fd);
    program_refused(fd = program_of("/dev/null", PROGRAM_SEALS), "an empty one");
    close(fd);
}

static void a_supervisor_that_is_killed_is_not_made_up_for(void **state)
{
    (void)state;
    struct run *r = shell(&plain, "/tmp/daemon2 1000 & echo ready; exec sleep 1000");

    while (r->next < 6)
        next_frame();
    pid_t super = supervisor_of(r);
    assert_true(super > 0);
    assert_int_equal(kill(super, SIGKILL), 0);               /* from outside, as the kernel's OOM killer would */
    finish(r);
    assert_int_equal(r->info.code, EXIT_UNKNOWN);
    assert_int_equal(r->info.signal, 0);
    for (int tries = 0; tries < 200 && count_processes("sleep 1000"); tries++)
        ;
    assert_int_equal(count_processes("sleep 1000"), 0);
}

/* --- terminals --- */

static void a_terminal_echoes_resizes_and_ends(void **state)
{
    (void)state;
    struct how h = { .flags = EXEC_READ | EXEC_TTY, .cols = 91, .rows = 27, .user = "user" };
    struct run *r = shell(&h, "stty size; tty; test -O $(tty) && echo mine; read x; echo \"<$x>\"; stty size; cat; echo end");
    uint8_t size[4] = { 120, 0, 40, 0 };

    while (!strstr(text_of(r, STREAM_TTY), "mine"))
        next_frame();
    assert_non_null(strstr(text_of(r, STREAM_TTY), "27 91\r\n/dev/pts/"));
    send_frame(FRAME_RESIZE, 0, r->id, 0, size, 4, -1);
    send_frame(FRAME_STDIN, 0, r->id, 0, "hello\r", 6, -1);
    while (!strstr(text_of(r, STREAM_TTY), "40 120"))
        next_frame();
    assert_non_null(strstr(text_of(r, STREAM_TTY), "hello\r\n<hello>\r\n"));
    send_frame(FRAME_STDIN_CLOSE, 0, r->id, 0, NULL, 0, -1);
    finish(r);
    assert_non_null(strstr(text_of(r, STREAM_TTY), "end\r\n"));
    assert_int_equal(r->info.code, 0);
    r = shell(&h, "echo ready; exec sleep 1000");
    while (!r->next)
        next_frame();
    send_frame(FRAME_STDIN, 0, r->id, 0, "\003", 1, -1);    /* ^C */
    finish(r);
    assert_int_equal(r->info.signal, SIGINT);
}

/* --- ports --- */

static void ports_are_waited_for_and_dialled(void **state)
{
    (void)state;
    uint8_t ms[4];
    const char *server = "use Socket; socket(S, %s, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1); bind(S, %s) or die; listen(S, 5); "
        "accept(C, S); close C; accept(C, S); syswrite(C, \"hi \" . <C>);";
    const char *families[][2] = { { "AF_INET", "sockaddr_in(%d, inet_aton(\"127.0.0.1\"))" }, { "AF_INET6", "sockaddr_in6(%d, Socket::inet_pton(AF_INET6, \"::1\"))" } };

    put_le32(ms, 20000);
    for (int i = 0; i < 2; i++) {
        char address[128], text[512];
        snprintf(address, sizeof address, families[i][1], 4000 + i);
        snprintf(text, sizeof text, server, families[i][0], address);
        uint32_t wait = ++last_id, dial;
        send_frame(FRAME_PORT_WAIT, 0, wait, (uint64_t)(4000 + i), ms, 4, -1);
        char *argv[] = { (char *)"perl", (char *)"-e", text, NULL };
        struct run *r = begin(&plain, argv);
        struct frame f;
        do
            f = next_frame();
        while (f.id != wait);
        assert_int_equal((int)le32(f.body), 0);
        send_frame(FRAME_DIAL, 0, dial = ++last_id, (uint64_t)(4000 + i), NULL, 0, -1);
        do
            f = next_frame();
        while (f.id != dial);
        assert_int_equal((int)le32(f.body), 0);
        assert_int_equal(f.fd_count, 1);
        char answer[32] = "";
        assert_int_equal(write(f.fds[0], "you\n", 4), 4);
        assert_int_equal(read(f.fds[0], answer, sizeof answer - 1), 7);
        assert_string_equal(answer, "hi you\n");
        close(f.fds[0]);
        finish(r);
    }
    put_le32(ms, 50);
    struct { uint8_t type; uint64_t port; int err; } none[] = { { FRAME_PORT_WAIT, 4999, -ETIMEDOUT }, { FRAME_DIAL, 4999, -ECONNREFUSED }, { FRAME_DIAL, 0, -EINVAL },
        { FRAME_PORT_WAIT, 70000, -EINVAL } };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        send_frame(none[i].type, 0, ++last_id, none[i].port, ms, 4, -1);
        struct frame f;
        do
            f = next_frame();
        while (f.id != last_id);             /* ends of what ran before may come yet */
        assert_int_equal((int)le32(f.body), none[i].err);
    }
    put_le32(ms, 60000);
    send_frame(FRAME_PORT_WAIT, 0, ++last_id, 4999, ms, 4, -1);
    send_frame(FRAME_CANCEL, 0, last_id, 0, NULL, 0, -1);
    struct frame f;
    do
        f = next_frame();
    while (f.id != last_id);
    assert_int_equal((int)le32(f.body), -ECANCELED);
}

/* --- its end --- */

static void it_ends_with_its_peer_and_takes_all_along(void **state)
{
    (void)state;
    struct agent_box b;
    const char *why = agent_box_start(&b, program, AGENT_BOX_PIDS);

    assert_null(why);
    int status = agent_box_stop(&b);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void shutdown_asks_first(void **state)
{
    (void)state;
    struct agent_box was = box_other(AGENT_BOX_PIDS);
    struct frame f;
    struct run *r = shell(&plain, "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    while (!r->next)
        next_frame();
    send_frame(FRAME_SHUTDOWN, 0, 0, 30000, NULL, 0, -1);
    finish(r);
    assert_string_equal(text_of(r, STREAM_OUT), "ready\nbye\n");
    fcntl(box.sock, F_SETFL, 0);
    while (frame_recv(box.sock, packet, &f) == 1)
        ;
    assert_int_equal(box_back(was), 0);
}

static int open_box(void **state)
{
    (void)state;
    const char *why = agent_box_start(&box, program, AGENT_BOX_PIDS);

    if (!why) {
        fcntl(box.sock, F_SETFL, O_NONBLOCK);
        return 0;
    }
    fprintf(stderr, "no agent: %s\n", why);
    return -1;
}

static int close_box(void **state)
{
    (void)state;
    return agent_box_stop(&box) != 0;
}

#define t(f) cmocka_unit_test_teardown(f, clean)
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        t(a_command_gets_argv_env_cwd_and_user), t(without_home_the_users_own_is_added), t(what_cannot_run_says_why), t(programs_are_found_as_execvp_does),
        t(streams_are_apart_and_in_order), t(every_exit_code_and_signal_is_what_wait_said), t(stdin_goes_in_and_comes_out), t(a_program_that_closes_its_stdin_is_told_of),
        t(a_held_flood_costs_no_memory), t(a_program_waits_for_a_reader_that_holds), t(without_a_reader_the_oldest_go_and_the_loss_is_told),
        t(a_stream_change_per_byte_is_bounded_too), t(once_ends_where_the_log_ended), t(who_asked_for_a_command_gets_its_output_however_many_end_meanwhile), t(a_new_peer_finds_everything_again), t(a_thousand_at_once),
        t(a_timeout_ends_what_ignores_it), t(signals_reach_the_process_or_its_group), t(children_that_daemonise_go_with_the_tree),
        t(output_of_children_left_behind_still_comes), t(fork_bombs_and_chains_are_ended),
        t(a_supervisor_that_dies_when_it_has_stopped_all_leaves_nobody_so), t(nothing_reaches_the_agent_and_its_supervisors),
        t(only_standard_descriptors_are_passed_on), t(a_sealed_program_is_executed_and_nothing_else_is), t(a_supervisor_that_is_killed_is_not_made_up_for), t(a_terminal_echoes_resizes_and_ends),
        t(ports_are_waited_for_and_dialled), t(it_ends_with_its_peer_and_takes_all_along), t(shutdown_asks_first),
    };

    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    program = agent_box_program(argc, argv);
    return cmocka_run_group_tests_name("agent", tests, open_box, close_box);
}
