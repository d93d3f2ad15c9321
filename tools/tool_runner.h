/* Finding and starting the runner of sandboxes: the program `launcher`, whose Unix socket is STORE/sandbox/api.sock. */
#pragma once
#include <sys/types.h>
#include "tools/tool.h"

#define RUNNER_DIR "sandbox"
#define RUNNER_SOCKET "api.sock"
#define RUNNER_TOKEN "token"
#define RUNNER_LISTEN "127.0.0.1:8421"

/* The runner's directory, opened, and whether somebody accepts on its socket (pid of that, by *ret_pid, which may be NULL). 0: it runs; -ECONNREFUSED: not;
 * -ENOENT: no directory; -EACCES; -errno. *ret_dir is set (owned) with 0 and -ECONNREFUSED. */
int runner_find(const struct tool *t, int *ret_dir, pid_t *ret_pid);
/* Starts it: listen is NULL (no TCP) or ADDR:PORT; listen_any: also one that other machines reach. It ends by itself after idle_exit_s without work (0: never).
 * secret_key, upstream_roots, resolver, domain: options of `up` (runner_config.h), kept for later starts when this one succeeds; NULL: as kept. 0, or -errno with why not. */
struct runner_start { const char *listen; bool listen_any; unsigned idle_exit_s; const char *secret_key, *upstream_roots, *resolver, *domain; };
int runner_start(struct tool *t, const struct runner_start *how, char *ret_why, size_t why_size);
/* Runs it if it does not; the store is made if there is none. */
int runner_need(struct tool *t, int *ret_dir);
/* Ends it and all sandboxes; returns when it is gone. 0; 1 after saying why not. *ret_ran: it did run. */
int runner_stop(struct tool *t, bool *ret_ran);
/* Where it listens by TCP ("" : nowhere) and the token for it, as the runner has written them down. 0 or -errno. */
int runner_tcp(const struct tool *t, char *ret_listen, size_t listen_size, char *ret_token, size_t token_size);
