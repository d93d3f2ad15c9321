/* Sessions: a working directory and variables that hold from one command of a session to the next.
 *
 * What a shell command (or one of the shell's own commands as argv: cd, export, unset, source, ...) changes of its directory and its exported variables holds for the next one. Such
 * commands of one session take turns, in the order in which they came; others (argv, detached ones, terminals) start at once with what holds then, and change nothing.
 * A session that is named and not there begins in the default directory with no variables of its own. Sessions are kept when the box sleeps and when sandboxd restarts. */
#pragma once
#include <jansson.h>
#include "sandbox/exec.h"

enum { SESSIONS_MAX = 256, SESSION_ID_MAX = 128, SESSION_BYTES = 128 * 1024, SESSION_WAITERS = 64 };   /* of a box; of an id; of its directory and variables together */
struct turn;                                 /* one command's part in its session */
typedef void turn_fn(void *arg, struct turn *t, const struct fault *fault);
/* Makes one. cwd, env (object of strings; null: taken away) may be NULL. 0; -EEXIST; -ENOSPC (SESSIONS_MAX); -E2BIG. */
int session_make(struct box *b, const char *id, const char *cwd, json_t *env);
int session_remove(struct box *b, const char *id);           /* 0 or -ENOENT. Running commands of it go on */
json_t *sessions_json(struct box *b);
/* Letters, digits, '_', '-', '.': 1..SESSION_ID_MAX. */
bool session_id_valid(const char *id);
/* argv (borrowed) or shell text: how it runs in session id (NULL: in none). fn when it is its turn, perhaps at once; then either turn_start() or turn_drop(). */
void session_enter(struct box *b, const char *id, char *const *argv, const char *shell, bool detached, turn_fn *fn, void *arg);
/* Fills what the request leaves open: argv, base_env, cwd. They live as long as the turn. */
void turn_fill(struct turn *t, struct exec_request *q);
void turn_start(struct turn *t, struct exec *e, const struct exec_request *q);    /* it runs: takes the turn; when e ends, its changes are fetched and the next comes */
void turn_drop(struct turn *t);
void sessions_started(struct box *b);        /* called by execs.c */
void sessions_stopping(struct box *b);
void sessions_free(struct box *b);           /* the box is being freed */
