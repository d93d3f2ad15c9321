/* Executions, from sandboxd's side: a table per box, readers of their output, stdin with back-pressure. Terminals are executions with EXEC_TTY (term.h adds the screen). */
#pragma once
#include <jansson.h>
#include "sandbox/box.h"

struct exec; struct exec_reader;
struct exec_request {
    char **argv;                  /* NULL-terminated, borrowed (all are) */
    json_t *env;                  /* object of strings, over the box's and the session's; may be NULL */
    const char *cwd, *user, *session;
    uint32_t timeout_ms, ring, credit;
    uint16_t cols, rows;
    bool tty, stdin_open, hold;   /* hold: reader 0 in the foreground, with `read` below */
};
/* Of one reader. data: bytes with their seq (lost > 0: so many before them are gone); end: everything was read (info NULL while it runs only if the box stopped: fault says so). */
struct exec_reader_ops {
    void (*data)(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n);
    void (*end)(void *arg, const struct exit_info *info, const struct fault *fault);
};
typedef void exec_fn(void *arg, struct exec *e, const struct fault *fault);
/* The box is RUNNING and held; the execution holds it itself while it runs. ops may be NULL (detach). fn comes before any data. */
void exec_start(struct box *b, const struct exec_request *q, const struct exec_reader_ops *ops, void *ops_arg, exec_fn *fn, void *arg);
struct exec *exec_find(struct box *b, const char *eid);
const char *exec_id(const struct exec *e);       /* "e12": its number in the box */
json_t *exec_json(const struct exec *e);         /* exec_id, argv, state running|exited, pid, exit_code, signal, cpu_ms, wall_ms, peak_kb, started, tty, seq {first, next} */
json_t *execs_json(struct box *b);
/* A further reader from seq (0: what is kept). hold: it slows the program. */
struct exec_reader *exec_read(struct exec *e, uint64_t since, bool hold, const struct exec_reader_ops *ops, void *arg);
/* That many bytes were taken by the client: credit for more. Nothing comes beyond the credit: a slow client costs CREDIT_DEFAULT bytes. */
void exec_reader_taken(struct exec_reader *r, size_t n);
struct exec_reader *exec_first_reader(struct exec *e);
void exec_reader_free(struct exec_reader *r);    /* no more calls; NULL is fine */
/* stdin: how much may be sent now (0: wait for the hook), and sending. -EPIPE: it is closed or ended. */
size_t exec_stdin_room(const struct exec *e);
int exec_stdin(struct exec *e, const void *p, size_t n);
int exec_stdin_close(struct exec *e);
void exec_on_stdin_room(struct exec *e, void (*fn)(void *arg), void *arg);
typedef void done_fn(void *arg, const struct fault *fault);
void exec_signal(struct exec *e, int signal, unsigned flags, done_fn *fn, void *arg);
void exec_resize(struct exec *e, unsigned cols, unsigned rows);
const struct exit_info *exec_exit(const struct exec *e);      /* NULL: it runs */
extern const struct box_hooks exec_hooks;        /* for boxes_set_hooks() */
