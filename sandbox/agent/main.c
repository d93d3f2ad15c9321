/* The agent: pid 1 of a sandbox.
 *
 * Started by the launcher by execveat with descriptor 3, its end of a SOCK_SEQPACKET pair, as root of the sandbox's user namespace, in the finished root. Then, in this order:
 * descriptors 0-2 become /dev/null; it becomes AGENT_UID, with which nothing else runs; it confines itself (confine_init); a child that is confined as a command will be proves
 * the layers; one missing: FATAL, and it ends. Then the loop. It ends, and with it everything in the sandbox, when its peer is gone, after SHUTDOWN, or when it cannot go on.
 *
 * The loop never blocks: what may block (files of the sandbox, waiting, execve) happens in children. Children: supervisors (super.h), file workers (worker.c), and, if a
 * supervisor was killed, what was left of its execution: such orphans are killed as soon as they are seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <malloc.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/wire.h"
#include "sandbox/agent/agent.h"
#include "sandbox/agent/tree.h"
#include "sandbox/confine/confine.h"

enum { PEER_FD = 3, EVENTS = 64, PROOF_MS = 10000, FRAMES_A_ROUND = 64, ORPHAN_SEARCHES = 3, ORPHANS_MANY = 64, MMAP_FROM = 64 * 1024 };
struct agent agent = { .epoll_fd = -1, .proc_fd = -1, .lock_fd = -1, .peer = { .fd = -1 }, .signals = { .fd = -1 } };
static uint8_t packet[FRAME_MAX];

/* --- sources --- */

int source_add(struct source *s, int fd, uint32_t events, void (*fn)(struct source *s, uint32_t events))
{
    *s = (struct source){ .fd = fd, .fn = fn };
    source_want(s, events);
    if (events && !s->events) {
        source_close(s);
        return -ENOSPC;
    }
    return 0;
}

void source_want(struct source *s, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.ptr = s };

    if (s->fd < 0 || s->events == events)
        return;
    if (!epoll_ctl(agent.epoll_fd, !events ? EPOLL_CTL_DEL : s->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &ev))
        s->events = events;
}

void source_close(struct source *s)
{
    if (s->fd < 0)
        return;
    source_want(s, 0);
    close(s->fd);
    s->fd = -1;
    s->fn = NULL;
}

void keep_fds(int *keep, unsigned count)
{
    unsigned from = 3;

    for (unsigned i = 0; i < count; i++)
        for (unsigned k = i + 1; k < count; k++)
            if (keep[k] < keep[i]) {
                int t = keep[i];
                keep[i] = keep[k];
                keep[k] = t;
            }
    for (unsigned i = 0; i < count; i++) {
        if (keep[i] < (int)from)
            continue;
        if (keep[i] > (int)from)
            close_range(from, (unsigned)keep[i] - 1, 0);
        from = (unsigned)keep[i] + 1;
    }
    close_range(from, ~0U, 0);
}

/* --- beginning --- */

static _Noreturn void fatal(int err, const char *step)
{
    uint8_t body[4 + 2 + 64];
    size_t n = strnlen(step, 64);

    put_le32(body, (uint32_t)err);
    put_le16(body + 4, (uint16_t)n);
    memcpy(body + 6, step, n);
    int r = frame_send(PEER_FD, FRAME_FATAL, 0, 0, 0, NULL, 0, body, 6 + n, -1);
    _exit(r ? 3 : 2);
}

static void open_null(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_NOCTTY);
    while (fd >= 0 && fd < 3);
    if (fd < 0)
        fatal(-errno, "null");
    close(fd);
}

/* Another id than any command's, root's too: so that no command may set its limits, priority or affinity. */
static int become_agent(void)
{
    struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct d[2];

    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || syscall(SYS_setgroups, 0, NULL) < 0)
        return -errno;
    if (syscall(SYS_setresgid, AGENT_UID, AGENT_UID, AGENT_UID) < 0 || syscall(SYS_setresuid, AGENT_UID, AGENT_UID, AGENT_UID) < 0)
        return -errno;
    if (syscall(SYS_capget, &h, d) < 0)
        return -errno;
    d[0].effective = d[0].permitted;
    d[1].effective = d[1].permitted;
    return syscall(SYS_capset, &h, d) < 0 || prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 ? -errno : 0;
}

static void prove_child(int fd)
{
    const char *step = NULL;
    uint64_t layers = 0;

    if (!confine_workload(0, 0, &step))
        layers = confine_self_test();
    _exit(write(fd, &layers, sizeof layers) == sizeof layers ? 0 : 1);
}

/* By a child, as a command would be. */
static uint64_t prove(void)
{
    uint64_t layers = 0;
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        fatal(-errno, "self-test");
    pid_t pid = fork();
    if (pid < 0)
        fatal(-errno, "self-test");
    if (pid == 0) {
        int keep[1] = { p[1] };
        keep_fds(keep, 1);
        prove_child(p[1]);
    }
    close(p[1]);
    struct pollfd w = { p[0], POLLIN, 0 };
    if (poll(&w, 1, PROOF_MS) != 1 || read(p[0], &layers, sizeof layers) != sizeof layers)
        layers = 0;
    close(p[0]);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return layers;
}

/* The launcher proves the limits; all else must be proved from inside. */
static void check_layers(uint64_t layers)
{
    for (unsigned bit = 1; bit & LAYERS_NEEDED; bit <<= 1)
        if (bit != LAYER_CGROUP && !(layers & bit))
            fatal(-EPERM, confine_layer_name(bit));
}

static void raise_files(void)
{
    struct rlimit l;

    if (!getrlimit(RLIMIT_NOFILE, &l)) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

/* --- the loop --- */

static bool is_known(pid_t pid)
{
    return exec_is_super(pid) || worker_is(pid);
}

/* As a supervisor ends its tree (super.c), but a search at a time, each time that one of them has ended: the loop goes on. */
static void end_orphans(void)
{
    static unsigned searches;
    struct tree_found f = tree_kill(agent.proc_fd, searches == 0, ORPHANS_MANY, is_known);

    searches = f.alive ? searches + 1 : 0;
    if (f.fresh && (searches >= ORPHAN_SEARCHES || f.fresh >= ORPHANS_MANY))
        halt_and_kill(agent.proc_fd, is_known);
    agent.orphans = f.alive > 0;
}

/* A supervisor that did not end by itself leaves its execution to pid 1; so does an orphan that ends. */
static void reap(void)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        bool super = exec_reaped(pid);
        halt_over(agent.proc_fd, pid);       /* also of one whose execution is over in every other way */
        if (!super && worker_reaped(pid))
            continue;
        if (!super || !WIFEXITED(status) || WEXITSTATUS(status))
            agent.orphans = true;
    }
    if (agent.orphans)
        end_orphans();
}

static void signals_event(struct source *s, uint32_t events)
{
    struct signalfd_siginfo si;

    (void)events;
    while (read(s->fd, &si, sizeof si) > 0)
        ;
    reap();
}

static _Noreturn void end(void)
{
    kill(-1, SIGKILL);
    _exit(0);                                /* pid 1: whatever is left ends with it */
}

static void hello(void)
{
    uint8_t body[16];

    put_le64(body, agent.start_boot_ns);
    put_le64(body + 8, agent.layers);
    out_frame(FRAME_WELCOME, 0, 0, FRAME_VERSION, body, sizeof body);
    execs_hello();
}

static void begin_shutdown(uint64_t ms)
{
    if (ms > 3600000)
        ms = 3600000;
    agent.shutdown_ns = agent.now_ns + ms * 1000000 + 1;
    kill(-1, SIGTERM);                       /* supervisors block it */
    kill(-1, SIGCONT);
}

/* Frames about an execution. */
static void exec_dispatch(struct exec *e, const struct frame *f)
{
    struct reader r = reader_of(f->body, f->n);
    uint32_t a = 0, b = 0;
    uint8_t flags = 0;

    switch (f->type) {
    case FRAME_READ:
        a = get_u32(&r);
        b = get_u32(&r);
        flags = get_u8(&r);
        if (!r.bad)
            exec_read(e, f->arg, a, b, flags);
        break;
    case FRAME_UNREAD:
        a = get_u32(&r);
        if (!r.bad)
            exec_unread(e, a);
        break;
    case FRAME_STDIN: exec_stdin(e, f->body, f->n); break;
    case FRAME_STDIN_CLOSE: exec_stdin_close(e); break;
    case FRAME_SIGNAL: exec_signal(e, f->arg > 64 ? -1 : (int)f->arg, f->flags); break;
    case FRAME_RESIZE:
        a = get_u16(&r);
        b = get_u16(&r);
        if (!r.bad)
            exec_resize(e, a, b);
        break;
    case FRAME_FORGET: exec_forget(e); break;
    default: break;
    }
}

static void dispatch(struct frame *f)
{
    struct reader r = reader_of(f->body, f->n);
    struct exec *e;

    switch (f->type) {
    case FRAME_HELLO: hello(); break;
    case FRAME_EXEC: exec_frame(f); break;
    case FRAME_FILE_OP: worker_start(f); break;
    case FRAME_PORT_WAIT: net_wait(f->id, f->arg, get_u32(&r)); break;
    case FRAME_DIAL: net_dial(f->id, f->arg); break;
    case FRAME_CANCEL: net_cancel(f->id); break;
    case FRAME_SHUTDOWN: begin_shutdown(f->arg); break;
    default:
        e = exec_get(f->id);
        if (e)
            exec_dispatch(e, f);
        else if (f->type == FRAME_SIGNAL)
            out_result(f->id, -ESRCH, -1);
    }
    for (unsigned i = 0; i < f->fd_count; i++)
        if (f->fds[i] >= 0)
            close(f->fds[i]);
}

static void peer_event(struct source *s, uint32_t events)
{
    struct frame f;

    (void)events;
    out_flush();
    for (int i = 0; i < FRAMES_A_ROUND && out_idle(); i++) {
        int r = frame_recv(s->fd, packet, &f);
        if (r == -EAGAIN)
            break;
        if (r == 0 || (r < 0 && r != -EBADMSG))
            end();
        if (r > 0)
            dispatch(&f);
    }
}

static int wait_ms(void)
{
    uint64_t at = execs_deadline_ns(), net = net_deadline_ns(), now = clock_mono_ns();

    at = net < at ? net : at;
    if (agent.shutdown_ns && agent.shutdown_ns < at)
        at = agent.shutdown_ns;
    if (at == UINT64_MAX)
        return -1;
    return at <= now ? 0 : at - now > 60000000000ull ? 60000 : (int)((at - now + 999999) / 1000000);
}

static void round_end(void)
{
    agent.now_ns = clock_mono_ns();
    execs_on_time();
    net_on_time();
    execs_bury();
    out_flush();
    if (agent.shutdown_ns && (agent.now_ns >= agent.shutdown_ns || (!execs_running() && out_idle() && !execs_pump_waits())))
        end();
}

static _Noreturn void loop(void)
{
    struct epoll_event ev[EVENTS];

    for (;;) {
        int n = epoll_wait(agent.epoll_fd, ev, EVENTS, wait_ms());
        agent.now_ns = clock_mono_ns();
        for (int i = 0; i < n; i++) {
            struct source *s = ev[i].data.ptr;
            if (s->fn)
                s->fn(s, ev[i].events);
        }
        round_end();
    }
}

static void prepare(void)
{
    struct timespec t;
    sigset_t all;

    clock_gettime(CLOCK_BOOTTIME, &t);
    agent.start_boot_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGPIPE, SIG_IGN);
    mallopt(M_MMAP_THRESHOLD, MMAP_FROM);    /* stdin windows and readers: pages go back */
    mallopt(M_TRIM_THRESHOLD, MMAP_FROM);
    open_null();
    raise_files();
    agent.proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    agent.lock_fd = memfd_create("lock", MFD_CLOEXEC);
    agent.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (agent.proc_fd < 0 || agent.lock_fd < 0 || agent.epoll_fd < 0)
        fatal(-errno, "descriptors");
    sigemptyset(&all);
    sigaddset(&all, SIGCHLD);
    int r = halt_init();
    if (r)
        fatal(r, "memory");
    r = fcntl(PEER_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(PEER_FD, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
    if (!r)
        r = source_add(&agent.signals, signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK), EPOLLIN, signals_event);
    if (!r)
        r = source_add(&agent.peer, PEER_FD, EPOLLIN, peer_event);
    if (r)
        fatal(r, "events");
}

int main(void)
{
    const char *step = "id";
    int r;

    if (fcntl(PEER_FD, F_GETFD) < 0)
        return 3;                            /* not by hand */
    prepare();
    if ((r = become_agent()) || (r = confine_init(&step)))
        fatal(r, step);
    agent.layers = prove();
    check_layers(agent.layers);
    agent.now_ns = clock_mono_ns();
    loop();
}
