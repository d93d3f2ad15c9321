/* What the files of executions share. */
#pragma once
#include "base/log.h"
#include "base/wire.h"
#include "sandbox/exec.h"

struct file_call; struct term;
struct execs {                         /* of a box, from its first start on */
    struct box *b;
    GHashTable *by_id;                 /* number -> struct exec, a reference */
    GHashTable *files;                 /* number -> struct file_call, borrowed: FAILED goes there */
};
struct wait { void (*fn)(void *arg); void *arg; };
struct exec {
    unsigned refs;
    struct box *b;                     /* NULL: it is out of the table, nothing can be asked of it */
    uint32_t id, pid, reader_high;
    char eid[16];
    char **argv;
    bool tty, started, stdin_open, exited, holds;
    uint64_t start_ns, end_seq;        /* CLOCK_BOOTTIME; end_seq of EXITED */
    uint64_t first, next;              /* as last known: kept from, written to */
    struct exit_info exit;
    uint64_t in_sent, in_acked;
    GPtrArray *readers;                /* borrowed */
    struct exec_reader *first_reader;
    struct term *term;                 /* of a terminal: owned */
    uint16_t cols, rows;
    GArray *room, *exit_waits;         /* struct wait */
};
struct exec_reader {
    struct exec *e;                    /* NULL: it has ended */
    uint32_t id, credit;
    uint64_t next;                     /* seq of what comes next */
    uint64_t untaken, unacked;         /* given and not taken; taken and the agent not told */
    uint8_t flags;                     /* READ_* */
    bool begun, drained, told_exit, ended, busy, dead;    /* busy: one of its ops runs: then freeing waits for its return (dead) */
    const struct exec_reader_ops *ops; void *arg;
};
struct execs *execs_of(struct box *b);
struct exec *exec_new(struct execs *t, uint32_t id);
void exec_remove(struct exec *e, const struct fault *why);     /* out of the table: readers end, holds go */
void exec_waits_call(struct exec *e, GArray *waits);           /* once each */
struct exec_reader *reader_new(struct exec *e, uint64_t since, unsigned flags, uint32_t credit, const struct exec_reader_ops *ops, void *arg);
void reader_data(struct exec *e, struct frame *f);
void reader_data_end(struct exec *e, struct frame *f);
void reader_check_exit(struct exec_reader *r);
void reader_end(struct exec_reader *r, const struct fault *why);
void readers_exited(struct exec *e);
void readers_end(struct exec *e, const struct fault *why);
/* run/files.c: the agent could not start a worker. */
void file_failed(struct file_call *f, int err, const char *step);
void files_stopping(struct box *b, const struct fault *why);
