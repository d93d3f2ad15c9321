/* Terminals: executions with EXEC_TTY, each with a true screen (run/screen.h) and any number of clients that see it. Main loop only. */
#pragma once
#include "sandbox/exec.h"

enum { TERM_COLS = 80, TERM_ROWS = 24, TERM_SIDE_MAX = 1000, TERM_CELLS_MAX = 64 * 1024, TERM_CLIENTS_MAX = 32, TERM_NAME_MAX = 64, TERMS_MAX = 64 /* with a screen, in one box */ };
/* 0 stands for the default. */
bool term_size_valid(int64_t cols, int64_t rows);
struct term; struct term_client;
/* Bytes for one client. More than it takes are not queued: when it has room again it gets the whole screen anew. */
struct term_ops {
    void (*bytes)(void *arg, const uint8_t *p, size_t n);
    size_t (*queued)(void *arg);                        /* not yet on the wire */
    void (*exit)(void *arg, const struct exit_info *info);
    void (*end)(void *arg, const struct fault *fault);      /* instead of exit: it cannot be read any more */
    void (*room)(void *arg);                                /* stdin has room again */
};
/* The terminal of an execution; NULL: it is none. */
struct term *term_of(struct exec *e);
/* The terminal called name in this box (given when it was started), if it runs. */
struct term *term_find(struct box *b, const char *name);
void term_name(struct term *t, const char *name);
/* A further client: gets the screen at once (nothing if it is untouched), then what comes. NULL: TERM_CLIENTS_MAX. cols, rows: its window, 0: it has none. */
struct term_client *term_attach(struct term *t, unsigned cols, unsigned rows, const struct term_ops *ops, void *arg);
void term_detach(struct term_client *c);                /* the terminal goes on; NULL is fine */
void term_sent(struct term_client *c);                  /* some of what was queued is out */
/* The window of this client. The terminal has the size of the client that spoke last (attached, typed or resized): who works in it sees all of it. */
void term_resize(struct term_client *c, unsigned cols, unsigned rows);
/* Typed. What was taken: less than n if its stdin has no room: then room() comes. -EPIPE. */
ssize_t term_input(struct term_client *c, const void *p, size_t n);
struct exec *term_exec(struct term *t);
