/* coppice-box: the verbs about sandboxes, by HTTP. */
#pragma once
#include "tools/api.h"
#include "tools/args.h"

enum { BOX_FAILED = 125, BOX_CANNOT_RUN = 126, BOX_NO_PROGRAM = 127 };

/* Output to a descriptor without ever blocking the main loop. */
struct out { int fd; bool dead, known, file, widened, plain /* RWF_NOWAIT is not for it */; GByteArray *left; size_t left_at; guint watch; void (*fn)(void *arg); void *arg; };
/* Writes n bytes, all that goes without waiting. True: all is out. False: fn(arg) is called once the rest is (or nobody takes it any more: dead). */
bool out_write(struct out *o, const void *p, size_t n, void (*fn)(void *arg), void *arg);
void out_fini(struct out *o);

/* What an execution says and how it ends, followed over lost connections (box_stream.c). */
struct stream;
struct stream_ops {
    void (*started)(void *arg, const char *exec_id);      /* once, if the stream says so */
    void (*output_gone)(void *arg);                        /* nobody takes our output any more */
};
struct stream_end { bool ended; int code; struct api_error error; };      /* ended: code is its status; else error says what went wrong */
/* Sends m (taken), copies output to 1 and 2 until its end; m's answer are events (its Accept is set here). exec_id: of which it is, "" if the answer tells. json: events go to stdout
 * as lines. Runs the main loop. since: where output begins, for coming again. */
void stream_run(struct api *a, const char *ws, const char *exec_id, SoupMessage *m, uint64_t since, bool json, const struct stream_ops *ops, void *arg,
                struct stream_end *ret);

/* Terminal joined to a WebSocket (box_tty.c): path is a route of it. The status for the command: its own; 0 when detached. what: to come again with, for the message. */
int tty_join(struct api *a, const char *path, const char *come_again);
void tty_size(unsigned *ret_cols, unsigned *ret_rows);

/* Options of exec and run (box_exec.c). */
struct exec_options { const char *cwd, *user, *timeout; json_t *env; bool in, tty, detach; };
/* Runs argv in ws. The status. */
int exec_in(struct api *a, const char *ws, const struct exec_options *o, char **argv, int argc);
/* For errors of requests that begin an execution: 125 to 127, after saying why. */
int exec_failed(struct api *a, struct api_error *e);

#define X(name, args, summary, help) int box_##name(struct tool *t, int argc, char **argv);
#include "tools/box_verbs.h"
BOX_VERBS(X)
#undef X
#define E(name, fn, args, summary, help) int box_##fn(struct tool *t, int argc, char **argv);
BOX_NAMED_VERBS(E)
#undef E
