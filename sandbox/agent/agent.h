/* The agent: pid 1 of a sandbox, one thread, one epoll loop, one socket (frame.h). See main.c for how it begins and ends. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "sandbox/agent/log.h"
#include "sandbox/agent/super.h"
#include "sandbox/frame.h"

/* What epoll watches. fn NULL: it went during this round of events. */
struct source { int fd; uint32_t events; void (*fn)(struct source *s, uint32_t events); };
#define source_owner(type, member, s) ((type *)((char *)(s) - offsetof(type, member)))
int source_add(struct source *s, int fd, uint32_t events, void (*fn)(struct source *s, uint32_t events));   /* takes fd; on error it is closed */
/* events 0: not watched at all, not even for hang-up. */
void source_want(struct source *s, uint32_t events);
void source_close(struct source *s);

struct agent {
    int epoll_fd, proc_fd, lock_fd;          /* lock_fd: memory on which file workers lock (file_write.c) */
    struct source peer, signals;
    uint64_t start_boot_ns, layers;
    uint64_t shutdown_ns;                    /* SIGKILL and end at that time; 0: not asked for */
    uint64_t now_ns;                         /* of this round */
    bool orphans;                            /* there may be some */
};
extern struct agent agent;

/* --- out.c: frames to the peer. They are sent in order; while one waits, no request is read, so what waits is bounded by what runs. --- */
void out_frame(uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *body, size_t n);
void out_result(uint32_t id, int err, int fd);      /* takes fd */
void out_failed(uint32_t id, int err, const char *step);
bool out_idle(void);                         /* nothing waits */
void out_flush(void);
/* DATA: straight from the log, never queued. 0 or -EAGAIN. */
int out_data(uint32_t id, uint8_t stream, uint64_t seq, uint32_t reader, uint32_t lost, const uint8_t *p, size_t n);

/* --- exec.c: executions --- */
enum { OUTS = 3 };
struct reader_at { uint32_t id; bool hold, ended; uint64_t pos, acked, limit, jumped_to /* after lost bytes */, stop /* of READ_ONCE */; };
struct exec {
    uint32_t id;
    uint8_t flags;                           /* EXEC_* */
    bool started, exited, told, dead;        /* STARTED came; it was waited for; EXITED is out; freed at the end of this round */
    pid_t super_pid, pid;
    uint64_t start_ns;                       /* CLOCK_BOOTTIME */
    struct source super, out[OUTS], in;      /* out[0]: also a terminal's master; then `in` is a copy of it; out[2]: a channel; `in` is a copy of that */
    uint64_t drain[OUTS];                       /* exited: bytes of out[] that belong before EXITED */
    unsigned orders;                         /* SIGNALs not answered yet */
    struct log log;
    struct reader_at *readers;
    unsigned reader_count, reader_cap;
    uint64_t grace_seq;                      /* held from there while agent's grace lasts; UINT64_MAX: nothing */
    uint8_t *in_data;                        /* STDIN_WINDOW bytes, when something waits */
    uint32_t in_at, in_count;
    uint64_t in_taken, in_acked;             /* bytes */
    bool in_close, in_closed;                /* close when empty; it is */
    bool in_broken, in_told;                 /* the program closed it; the peer knows */
    struct exit_info info;
    struct exec *hash_next, *next, *prev, *ready_next;     /* next, prev: in order of start (running) or of end (ended) */
    bool ready;
    char argv0[64];
};
void exec_frame(struct frame *f);            /* EXEC */
struct exec *exec_get(uint32_t id);
void exec_signal(struct exec *e, int sig, unsigned flags);
void exec_forget(struct exec *e);
bool exec_reaped(pid_t pid);                 /* true: it was a supervisor */
bool exec_is_super(pid_t pid);
void execs_hello(void);                      /* forgets readers, tells what there is */
unsigned execs_running(void);
void execs_keep_few(void);                   /* forgets the oldest ended ones that are too many */
void execs_bury(void);                       /* frees what died in this round */
uint64_t execs_deadline_ns(void);
void execs_on_time(void);

/* --- exec_io.c: their bytes --- */
int exec_io_start(struct exec *e, const int *fds, unsigned count);     /* takes fds */
void exec_io_exited(struct exec *e);         /* fixes what belongs before EXITED */
bool exec_io_drained(const struct exec *e);
bool exec_io_over(const struct exec *e);     /* nothing will come any more */
void exec_io_close(struct exec *e);
void exec_io_resume(struct exec *e);         /* there may be room again */
void exec_io_settled(struct exec *e);        /* exec.c: called when drained or over may have become true */
void exec_stdin(struct exec *e, const uint8_t *p, size_t n);
void exec_stdin_close(struct exec *e);
void exec_stdin_flush(struct exec *e);
void exec_resize(struct exec *e, unsigned cols, unsigned rows);

/* --- exec_read.c: readers --- */
void exec_read(struct exec *e, uint64_t seq, uint32_t reader, uint32_t credit, uint8_t flags);
void exec_unread(struct exec *e, uint32_t reader);
void exec_readers_drop(struct exec *e, bool grace);
bool exec_is_held(const struct exec *e);      /* a HOLD reader has not got its end */
uint64_t exec_keep(const struct exec *e);    /* the first byte that is held, or UINT64_MAX */
void exec_ready(struct exec *e);             /* there may be something to send */
void exec_unready(struct exec *e);
void execs_pump(void);                       /* sends what readers want, in turns, while the socket takes it */
bool execs_pump_waits(void);

/* --- net.c --- */
void net_wait(uint32_t id, uint64_t port, uint32_t timeout_ms);
void net_dial(uint32_t id, uint64_t port);
void net_cancel(uint32_t id);
uint64_t net_deadline_ns(void);
void net_on_time(void);

/* --- worker.c: file operations --- */
void worker_start(struct frame *f);          /* takes the descriptor */
bool worker_reaped(pid_t pid);               /* true: it was a worker */
bool worker_is(pid_t pid);
_Noreturn void worker_main(int sock, int lock_fd, const uint8_t *p, size_t n);   /* file_main.c */

/* In a forked child: closes all descriptors but 0-2 and these (-1: none). */
void keep_fds(int *keep, unsigned count);
