/* Executions, from sandboxd's side: a table per box, readers of their output, stdin with back-pressure. Terminals are executions with EXEC_TTY (term.h adds the screen).
 * Main loop only. What an agent says is checked (lengths, order, credit) and believed only about its own box. */
#pragma once
#include <jansson.h>
#include "sandbox/box.h"

struct exec; struct exec_reader;
struct exec_request {
    char **argv;                  /* NULL-terminated, borrowed (all are) */
    json_t *env;                  /* object of strings, over the box's and the session's; null takes a variable away; may be NULL */
    char **base_env;              /* of the session, "K=V", or "K" to take one away; may be NULL */
    const char *cwd, *user;       /* NULL: /workspace if it is there, else the home; "user" */
    uint32_t timeout_ms, ring, credit;     /* ring, credit 0: the defaults */
    uint16_t cols, rows;
    bool tty, stdin_open, hold;   /* hold: the first reader is in the foreground: it slows the program */
    bool channel;                 /* EXEC_CHANNEL: exec_stdin() writes to its descriptor 3, and the first reader (only) gets STREAM_CHANNEL too */
    int program_fd;               /* > 0: EXEC_PROGRAM: this sealed memory file is what runs; argv[0] is its name. It has no environment of the box's, session's or request's */
    bool passive;                 /* it does not hold the box: it may be frozen while it has nothing to do, and ends when the box sleeps */
};
/* Of one reader. In this order: data*, exit, data*, end. */
struct exec_reader_ops {
    /* bytes with the seq of their first; lost > 0: so many before them are gone */
    void (*data)(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n);
    /* it ended, and all that it had written itself was given (children may go on writing). May be NULL */
    void (*exit)(void *arg, const struct exit_info *info);
    /* nothing more comes: fault NULL, everything was read; else why not (the box stopped, it was forgotten). The reader is still to be freed. May be NULL */
    void (*end)(void *arg, const struct fault *fault);
};
typedef void exec_fn(void *arg, struct exec *e, const struct fault *fault);
typedef void done_fn(void *arg, const struct fault *fault);
/* The box is RUNNING and held; the execution holds it itself while it runs. ops may be NULL (detach): then there is no first reader. fn comes before any data, perhaps
 * before this returns. */
void exec_start(struct box *b, const struct exec_request *q, const struct exec_reader_ops *ops, void *ops_arg, exec_fn *fn, void *arg);
struct exec *exec_find(struct box *b, const char *eid);
struct exec *exec_ref(struct exec *e);           /* for who keeps it beyond a call: it stays valid, though perhaps ended with its box */
void exec_unref(struct exec *e);
const char *exec_id(const struct exec *e);       /* "e12": its number in the box */
uint64_t exec_start_ns(const struct exec *e);    /* CLOCK_BOOTTIME as the agent said: with the id it names one execution over restarts */
struct box *exec_box(const struct exec *e);      /* NULL: it is no more in its box */
bool exec_is_tty(const struct exec *e);
bool exec_holds(const struct exec *e);           /* it runs and keeps its box awake: not one of the daemon's own (interpreters, watches) */
json_t *exec_json(const struct exec *e);         /* exec_id, argv, state running|exited, pid, exit_code, signal, cpu_ms, wall_ms, peak_kb, started, tty, stdin, seq {first, next} */
json_t *execs_json(struct box *b);
void exec_exit_json(const struct exit_info *i, json_t *into);    /* exit_code (128+N for a signal), signal (name), cpu_ms, wall_ms, peak_kb, timed_out, oom */
/* A further reader from seq (0: what is kept). flags: READ_HOLD: it slows the program; READ_ONCE: it ends at what there is now. NULL: READERS_MAX are there, or the box has
 * stopped. Nothing comes before this returns. */
struct exec_reader *exec_read(struct exec *e, uint64_t since, unsigned flags, const struct exec_reader_ops *ops, void *arg);
/* That many bytes were taken by the client: credit for more. Nothing comes beyond the credit: a slow client costs CREDIT_DEFAULT bytes. */
void exec_reader_taken(struct exec_reader *r, size_t n);
struct exec_reader *exec_first_reader(struct exec *e);
void exec_reader_free(struct exec_reader *r);    /* no more calls; NULL is fine; may be called from its own ops. Of a hold reader: the program goes on unslowed */
/* stdin: how much may be sent now (0: wait for the hook), and sending. -EPIPE: it is closed or ended. -EAGAIN: more than there is room for. */
size_t exec_stdin_room(const struct exec *e);
bool exec_stdin_is_open(const struct exec *e);
int exec_stdin(struct exec *e, const void *p, size_t n);
int exec_stdin_close(struct exec *e);
/* fn, once, when there is room or it is closed or ended. Several may wait. */
void exec_on_stdin_room(struct exec *e, void (*fn)(void *arg), void *arg);
void exec_off_stdin_room(struct exec *e, void *arg);
/* fn, once, when it has ended, or has left its box (exec_exit() is NULL then). Not after exec_off_exit. */
void exec_on_exit(struct exec *e, void (*fn)(void *arg), void *arg);
void exec_off_exit(struct exec *e, void *arg);
/* The environment with which it would start, NULL-terminated; free with g_strfreev(). */
char **exec_environment(const struct box *b, const struct exec_request *q);
void exec_signal(struct exec *e, int signal, unsigned flags, done_fn *fn, void *arg);
void exec_resize(struct exec *e, unsigned cols, unsigned rows);
const struct exit_info *exec_exit(const struct exec *e);      /* NULL: it runs */
bool exec_is_program(const struct exec *e, const char *argv0);   /* its argv[0], of which an agent that outlived sandboxd kept 63 bytes */
void exec_let_idle(struct exec *e);              /* passive from now on (of one that was taken over) */
void exec_forget(struct exec *e);                /* it has ended: its output and state go */
void exec_forget_later(struct exec *e);          /* takes the reference of one that has ended or was killed, whose output nobody wants: when its end has been told, it is forgotten */
/* Text of a failed start for people: what, which, why, what to do. step as in FAILED. */
void exec_fault(struct fault *ret, int err, const char *step, const char *program, const char *cwd, const char *user);
int signal_number(const char *name);             /* "TERM", "SIGTERM", "15"; 0: no such */
const char *signal_name(int number);             /* "SIGTERM" */
void sessions_delete(struct box *b);             /* the box is being deleted: what is stored of its sessions goes */
extern const struct box_hooks exec_hooks;        /* for boxes_set_hooks() */
