/* What the files of contexts share. */
#pragma once
#include "sandbox/code/context.h"

struct code_box {                          /* of a box that runs and has contexts or spare interpreters; each of them ends when the box stops */
    struct box *b;                         /* a reference */
    GHashTable *contexts;                  /* id -> struct context */
    struct interp *spare[CODE_LANGUAGES];
    bool wanted[CODE_LANGUAGES];           /* a context of it was asked for: one spare is kept */
    guint timer;
};
struct context {
    unsigned refs;                         /* the table, whoever is in a call */
    struct code_box *cb;                   /* NULL: it is gone */
    char id[LAUNCH_NAME];
    enum code_language language;
    bool plain;                            /* no cwd or env of its own: a spare will do */
    char *cwd;
    json_t *env;
    struct interp *in;
    bool was_ready, fresh;
    unsigned signalling;                   /* interrupts under way: nothing begins before they have arrived */
    GQueue runs;                           /* struct code_run that wait */
    struct code_run *run;
    GString *early[2];                     /* what was said while nothing ran */
    GArray *waits;
};
struct code_run {
    struct context *c;
    struct box *b;                         /* held, and a reference */
    char *code;
    size_t n;
    uint32_t timeout_ms;
    guint timer;
    bool timed_out;
    const struct code_run_ops *ops; void *arg;      /* NULL: the client left */
};
struct code_box *code_box_of(struct box *b, bool make);
void code_box_check(struct code_box *cb);           /* frees it if nothing is left in it */
struct interp *spare_take(struct code_box *cb, enum code_language l);      /* NULL: none */
void spare_want(struct code_box *cb, enum code_language l);
void context_unref(struct context *c);
/* context_run.c */
void context_pump(struct context *c);               /* begins the next run if it can */
void context_run_end(struct context *c, const char *name, const char *value);     /* the current one ends without the interpreter's `done` */
void context_runs_fail(struct context *c, const struct fault *f);                 /* those that wait */
extern const struct interp_ops context_ops;         /* arg: the context */
/* context.c: the interpreter is no more. */
void context_gone(struct context *c, const struct exit_info *info, const struct fault *why);
void context_ready(struct context *c);
/* Kills the interpreter and starts another one. */
void context_renew(struct context *c);
