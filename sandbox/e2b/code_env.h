/* Variables for one run of code: set by a run of their own before it, and put back by one after it; the three follow each other in the context. */
#pragma once
#include "sandbox/code/context.h"
/* env: an object of strings, or nothing. As code_run_new(), without a timeout; they count as runs. */
struct code_run *e2b_run_with_env(struct context *c, const char *code, size_t n, const json_t *env, const struct code_run_ops *ops, void *arg);
/* The texts of the two runs. g_free; NULL: not strings. Pure. */
char *e2b_env_set(enum code_language l, const json_t *env);
char *e2b_env_reset(enum code_language l);
