/* Executions: the table and their life.
 *
 *   STARTING  the supervisor is forked; STARTED or FAILED will come from it
 *   RUNNING   STARTED is out; output is read
 *   EXITED    the supervisor has reported the command's end; EXITED goes out when what the pipes held is in the log
 *   ended     ... and the supervisor has gone (no descendants are left): kept for readers, among the last EXECS_KEPT; and beyond
 *             them while a HOLD reader has not got its end: who asked for a command gets its output however many end meanwhile
 *
 * Lists: `running` until ended, in order of start; `kept`, in order of end. Memory: EXECS_MAX running; logs as in log.h; kept ones' logs are cut to what they hold and together
 * to KEPT_BYTES_MAX, with those that are held to HELD_BYTES_MAX.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/wire.h"
#include "sandbox/agent/agent.h"

enum { BUCKETS = 1024, ORDERS_MAX = 64, KEPT_BYTES_MAX = 16 << 20, HELD_BYTES_MAX = 64 << 20, SPEC_FIXED = 16 };
struct list { struct exec *first, *last; unsigned count; };
static struct exec *buckets[BUCKETS], *dead;
static struct list running, kept;
static uint64_t grace_ns;                    /* until then what was held for a former peer is kept; 0: nothing is */

static void list_add(struct list *l, struct exec *e)
{
    e->prev = l->last;
    e->next = NULL;
    *(l->last ? &l->last->next : &l->first) = e;
    l->last = e;
    l->count++;
}

static void list_remove(struct list *l, struct exec *e)
{
    *(e->prev ? &e->prev->next : &l->first) = e->next;
    *(e->next ? &e->next->prev : &l->last) = e->prev;
    l->count--;
}

struct exec *exec_get(uint32_t id)
{
    struct exec *e = buckets[id % BUCKETS];

    while (e && e->id != id)
        e = e->hash_next;
    return e;
}

unsigned execs_running(void)
{
    return running.count;
}

/* Out of the table; its memory goes when this round of events is over. */
static void bury(struct exec *e, struct list *l)
{
    struct exec **p = &buckets[e->id % BUCKETS];

    while (*p != e)
        p = &(*p)->hash_next;
    *p = e->hash_next;
    list_remove(l, e);
    exec_unready(e);
    exec_io_close(e);
    source_close(&e->super);
    exec_readers_drop(e, false);
    log_fini(&e->log);
    e->dead = true;
    e->next = dead;
    dead = e;
}

void execs_bury(void)
{
    while (dead) {
        struct exec *e = dead;
        dead = e->next;
        free(e);
    }
}

static size_t kept_bytes(void)
{
    size_t n = 0;

    for (struct exec *e = kept.first; e; e = e->next)
        n += log_bytes(&e->log);
    return n;
}

/* The oldest that nobody still waits for; held: if there is none, the oldest. */
static struct exec *least_wanted(bool held)
{
    struct exec *e = kept.first;

    while (e && exec_is_held(e))
        e = e->next;
    return e || !held ? e : kept.first;
}

void execs_keep_few(void)
{
    for (;;) {
        size_t bytes = kept_bytes();
        bool many = kept.count > EXECS_KEPT || (kept.count > 1 && bytes > KEPT_BYTES_MAX);
        bool too_many = kept.count > EXECS_KEPT + EXECS_MAX || bytes > HELD_BYTES_MAX;
        struct exec *e = many ? least_wanted(too_many) : NULL;

        if (!e)
            return;
        uint32_t id = e->id;
        bury(e, &kept);
        out_frame(FRAME_GONE, 0, id, 0, NULL, 0);
    }
}

static bool has_ended(const struct exec *e)
{
    return e->told && e->super.fd < 0;
}

static void tell_exited(struct exec *e)
{
    struct buf b = BUF_INIT;

    exit_info_put(&b, &e->info);
    if (buf_err(&b))
        _exit(1);
    out_frame(FRAME_EXITED, 0, e->id, e->log.next, b.data, b.len);
    buf_fini(&b);
    e->told = true;
}

static void settle(struct exec *e)
{
    bool was = has_ended(e);

    if (e->dead || !e->started)
        return;
    if (e->exited && !e->told && exec_io_drained(e))
        tell_exited(e);
    if (exec_io_over(e))
        exec_ready(e);
    if (has_ended(e) && !was) {
        list_remove(&running, e);
        list_add(&kept, e);
        execs_keep_few();
    }
}

void exec_io_settled(struct exec *e)
{
    settle(e);
    if (!e->dead && exec_io_over(e) && has_ended(e))
        log_trim(&e->log);
}

/* EXIT_UNKNOWN: whatever the supervisor would have said is not known. */
static void exited(struct exec *e, const struct exit_info *info)
{
    e->exited = true;
    e->info = *info;
    exec_io_exited(e);
    settle(e);
}

static void super_gone(struct exec *e)
{
    bool was = has_ended(e);

    source_close(&e->super);
    for (; e->orders; e->orders--)
        out_result(e->id, -ESRCH, -1);
    if (!e->started) {
        out_failed(e->id, -ENOMEM, "supervisor");
        bury(e, &running);
        return;
    }
    if (!e->exited) {
        struct exit_info unknown = { .code = EXIT_UNKNOWN };
        exited(e, &unknown);
    } else if (has_ended(e) && !was) {
        list_remove(&running, e);
        list_add(&kept, e);
        if (exec_io_over(e))
            log_trim(&e->log);
        execs_keep_few();
    }
}

static void started(struct exec *e, const struct super_report *r, const int *fds, unsigned count)
{
    uint8_t body[4];

    e->pid = (pid_t)r->pid;
    put_le32(body, r->pid);
    out_frame(FRAME_STARTED, 0, e->id, 0, body, sizeof body);
    e->started = true;
    if (exec_io_start(e, fds, count))        /* it runs, but cannot be read: its output ends here */
        exec_io_close(e);
    exec_io_resume(e);
    settle(e);
}

static void super_event(struct source *s, uint32_t events)
{
    struct exec *e = source_owner(struct exec, super, s);
    struct super_report r;
    int fds[SUPER_FDS];
    unsigned count;
    ssize_t n = super_recv(s->fd, &r, sizeof r, fds, &count);

    (void)events;
    if (n == -EAGAIN)
        return;
    if (n != (ssize_t)sizeof r) {
        super_gone(e);
        return;
    }
    if (r.op == SUPER_STARTED && !e->started) {
        started(e, &r, fds, count);
    } else if (r.op == SUPER_FAILED && !e->started) {
        out_failed(e->id, r.err, r.step);
        bury(e, &running);
    } else if (r.op == SUPER_EXITED && e->started && !e->exited) {
        exited(e, &r.info);
    } else if (r.op == SUPER_RESULT && e->orders) {
        e->orders--;
        out_result(e->id, r.err, -1);
    }
}

/* What the agent needs of a spec: the numbers at its head and argv[0]. The supervisor reads it strictly. */
static bool spec_peek(struct exec *e, const uint8_t *p, size_t n, uint32_t *ret_ring, uint32_t *ret_credit)
{
    struct reader r = reader_of(p, n);

    *ret_ring = get_u32(&r);
    *ret_credit = get_u32(&r);
    get_bytes(&r, SPEC_FIXED - 8);
    get_bytes(&r, get_u16(&r));
    get_bytes(&r, get_u16(&r));
    if (get_u16(&r) < 1)
        r.bad = true;
    size_t len = get_u16(&r);
    const uint8_t *arg = get_bytes(&r, len);
    if (!r.bad)
        memcpy(e->argv0, arg, len < sizeof e->argv0 - 1 ? len : sizeof e->argv0 - 1);
    return !r.bad;
}

static int super_fork(struct exec *e, const struct frame *f)
{
    int pair[2], given = f->fd_count ? f->fds[0] : -1, spec_fd = e->flags & EXEC_PROGRAM ? -1 : given, program_fd = e->flags & EXEC_PROGRAM ? given : -1;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    e->super_pid = fork();
    if (e->super_pid == 0) {
        int keep[3] = { pair[1], agent.proc_fd, given };
        keep_fds(keep, 3);
        super_main(pair[1], agent.proc_fd, e->flags, f->body, f->n, spec_fd, program_fd);
    }
    int err = errno;
    close(pair[1]);
    if (e->super_pid < 0) {
        close(pair[0]);
        return -err;
    }
    return source_add(&e->super, pair[0], EPOLLIN, super_event);
}

static uint64_t boot_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* A program that nobody can change any more, neither its sender nor what it will run beside. */
static bool program_ok(const struct frame *f)
{
    struct stat st;

    int seals = f->fd_count == 1 ? fcntl(f->fds[0], F_GET_SEALS) : -1;

    return seals >= 0 && (seals & PROGRAM_SEALS) == PROGRAM_SEALS && f->n && !fstat(f->fds[0], &st) && S_ISREG(st.st_mode) && st.st_size > 0;
}

static int exec_new(struct frame *f, struct exec **ret, const char **ret_step)
{
    uint32_t ring, credit;
    uint8_t head[1024];
    ssize_t n = (ssize_t)f->n;
    struct exec *e = mem_zalloc(sizeof *e);

    *ret_step = "limit";
    if (!e)
        return -ENOMEM;
    e->id = f->id;
    e->flags = f->flags & (EXEC_TTY | EXEC_STDIN | EXEC_READ | EXEC_CHANNEL | EXEC_PROGRAM);
    e->super.fd = e->out[0].fd = e->out[1].fd = e->out[2].fd = e->in.fd = -1;
    e->grace_seq = UINT64_MAX;
    e->start_ns = boot_ns();
    if (e->flags & EXEC_PROGRAM && !program_ok(f)) {
        free(e);
        *ret_step = "program";
        return -EBADMSG;
    }
    bool elsewhere = f->fd_count && !(e->flags & EXEC_PROGRAM);
    if (elsewhere)                           /* a memory file does not block; a head with long strings before argv goes without argv[0] */
        n = pread(f->fds[0], head, sizeof head, 0);
    bool ok = n >= SPEC_FIXED && !(e->flags & EXEC_CHANNEL && e->flags & (EXEC_TTY | EXEC_STDIN)) && (spec_peek(e, elsewhere ? head : f->body, (size_t)n, &ring, &credit) || elsewhere);
    if (!ok) {
        free(e);
        *ret_step = "spec";
        return -EBADMSG;
    }
    log_init(&e->log, !ring ? RING_DEFAULT : ring > RING_MAX ? RING_MAX : ring);
    e->hash_next = buckets[e->id % BUCKETS];
    buckets[e->id % BUCKETS] = e;
    list_add(&running, e);
    if (e->flags & EXEC_READ)
        exec_read(e, 0, 0, credit, READ_HOLD);
    *ret = e;
    return 0;
}

void exec_frame(struct frame *f)
{
    const char *step = "limit";
    struct exec *e = NULL;
    int r = 0;

    if (!f->id || exec_get(f->id))
        r = -EEXIST;
    else if (running.count >= EXECS_MAX || agent.shutdown_ns)
        r = -EAGAIN;
    if (!r)
        r = exec_new(f, &e, &step);
    if (!r && (r = super_fork(e, f)) < 0) {
        step = "fork";
        bury(e, &running);
    }
    if (r)
        out_failed(f->id, r, step);
}

void exec_signal(struct exec *e, int sig, unsigned flags)
{
    struct super_order o = { .signal = sig, .flags = flags };
    int r = e->super.fd < 0 ? -ESRCH : e->orders >= ORDERS_MAX ? -EAGAIN : 0;

    if (!r && send(e->super.fd, &o, sizeof o, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        r = errno == EPIPE || errno == ECONNRESET ? -ESRCH : -errno;
    if (r)
        out_result(e->id, r, -1);
    else
        e->orders++;
}

void exec_forget(struct exec *e)
{
    if (has_ended(e))
        bury(e, &kept);
}

bool exec_reaped(pid_t pid)
{
    for (struct exec *e = running.first; e; e = e->next)
        if (e->super_pid == pid) {
            e->super_pid = 0;                /* its socket says the rest, in order */
            return true;
        }
    return false;
}

bool exec_is_super(pid_t pid)
{
    for (struct exec *e = running.first; e; e = e->next)
        if (e->super_pid == pid)
            return true;
    return false;
}

static void tell_state(struct exec *e)
{
    struct buf b = BUF_INIT;

    buf_put_u32(&b, (uint32_t)e->pid);
    buf_put_u64(&b, e->log.first);
    buf_put_u64(&b, e->log.next);
    buf_put_u64(&b, e->start_ns);
    buf_put_u64(&b, e->in_taken + e->in_count);
    buf_put_u64(&b, e->in_taken);
    if (e->told)
        exit_info_put(&b, &e->info);
    buf_put_str(&b, e->argv0);
    if (buf_err(&b))
        _exit(1);
    uint8_t flags = e->flags & (e->in_closed || e->in_close ? ~EXEC_STDIN : 0xff);
    out_frame(FRAME_EXEC_STATE, (uint8_t)(flags | (e->told ? STATE_EXITED : 0)), e->id, 0, b.data, b.len);
    buf_fini(&b);
}

/* What speaks over a channel spoke with the former peer. */
static void channel_end(struct exec *e)
{
    struct super_order o = { .signal = SIGKILL, .flags = SIGNAL_TREE };

    if (send(e->super.fd, &o, sizeof o, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        exec_io_close(e);                    /* then it reads an end */
}

void execs_hello(void)
{
    for (struct list *l = &kept; l; l = l == &kept ? &running : NULL)
        for (struct exec *e = l->first; e; e = e->next) {
            exec_readers_drop(e, true);
            tell_state(e);
            e->in_acked = e->in_taken;
            if (e->flags & EXEC_CHANNEL && !e->exited && e->super.fd >= 0)
                channel_end(e);
        }
    grace_ns = agent.now_ns + HOLD_GRACE_MS * 1000000ull;
    out_frame(FRAME_SYNCED, 0, 0, 0, NULL, 0);
}

uint64_t execs_deadline_ns(void)
{
    return grace_ns ? grace_ns : UINT64_MAX;
}

void execs_on_time(void)
{
    if (!grace_ns || agent.now_ns < grace_ns)
        return;
    grace_ns = 0;
    for (struct exec *e = running.first; e; e = e->next) {
        e->grace_seq = UINT64_MAX;
        exec_io_resume(e);
    }
    for (struct exec *e = kept.first; e; e = e->next)
        e->grace_seq = UINT64_MAX;
}
