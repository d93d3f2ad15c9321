/* The coppice command: what its verbs share. A verb's function returns the exit status: 0 done, 1 failed, 2 usage. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>
#include "snapshotd/snap_client.h"

struct tool {
    const char *store;                    /* from --store, $COPPICE_STORE, or the default */
    bool json;
    struct snap_client *client;           /* once connected */
    struct snap_error error;              /* of the last call that failed */
};
struct command { const char *name; int (*fn)(struct tool *t, int argc, char **argv); const char *args, *summary, *help; };
extern const struct command commands[];   /* ends with a NULL name */

#define STORE_DEFAULT "/var/lib/coppice"
enum { IDLE_EXIT_S = 600 };               /* a daemon that a verb started for itself ends after so long without work */

/* Prints "coppice: ..." on stderr. Returns 1. */
int tool_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- the daemon (tool_daemon.c) --- */
enum need { NEED_STORE, NEED_CREATE };
/* Connects: NEED_STORE starts the daemon of an existing store, NEED_CREATE makes the store if there is none.
 * 0 or the exit status, after saying why. */
int tool_open(struct tool *t, enum need need);
bool tool_store_exists(const struct tool *t);
/* Starts it so that it ends after idle_exit_s (0: never). */
int tool_start(struct tool *t, bool create, unsigned idle_exit_s);
void tool_close(struct tool *t);
/* Path of a program of ours: beside the command in the build tree, installed, or in $PATH. NULL: none. Owned. */
char *tool_program(const char *in_build, const char *name);

/* --- calls (tool.c) --- */
/* One request (stolen) to a daemon that is started if needed; the whole answer in *ret (owned), with progress shown. 0 or exit status,
 * after saying why. */
int tool_call(struct tool *t, json_t *req, json_t **ret);
int tool_call_fd(struct tool *t, json_t *req, const int *fds, unsigned fd_count, json_t **ret);
/* The same for a request about the state of a workspace: if the daemon cannot reach its mount (another mount namespace), it is given a
 * descriptor. */
int tool_call_state(struct tool *t, json_t *req, const char *object, json_t **ret);
int tool_call_states(struct tool *t, json_t *req, const char *const *objects, unsigned count, json_t **ret);       /* of several; SNAP_FDS_MAX mounts of them can be passed */
/* A descriptor in the mount of a workspace, as this process sees it. -1: not mounted, or we do not see it either. */
int tool_mount_fd(struct tool *t, const char *object);
/* Says the error of the last call; 1. */
int tool_error(struct tool *t);
/* Prints a document with --json. */
int tool_print_json(const json_t *v);
/* Text of a member: "" if absent or null. */
const char *field_str(const json_t *v, const char *key);
int64_t field_int(const json_t *v, const char *key);
bool field_bool(const json_t *v, const char *key);
/* Mounts of an object (name NULL: all), owned; NULL after saying why. */
json_t *tool_mounts(struct tool *t, const char *name);

/* --- the runner of sandboxes (cmd_box.c) --- */
bool tool_runner_runs(const struct tool *t);
/* One call of its API: {"status": 200, "body": ...} or {"status", "code", "error"}; owned. NULL: it could not be asked. path: beneath /v1, encoded. body: stolen. */
json_t *tool_api(struct tool *t, const char *method, const char *path, json_t *body);
/* --- workspaces that the runner knows (boxed.c) --- */
enum { BOXED_NOT = -1 };
/* Tells the runner, if it runs, that the tree of a workspace was changed ("restore", "merge"), so that it tells those who watch it. */
void boxed_changed(struct tool *t, const char *name, const char *by);
/* A fork by the runner, which hands on what is the sandbox's: rules, services, limits. n 0: one, named so. 0 and the answer as the daemon's; an exit status, after saying why; BOXED_NOT: it does not run, or
 * knows no such sandbox, or cannot reach its mount: ask the daemon. */
int boxed_fork(struct tool *t, const char *source, const char *name, uint64_t n, json_t **ret);
int cmd_box(struct tool *t, int argc, char **argv);      /* hands any sandbox verb over */

int cmd_init(struct tool *t, int argc, char **argv), cmd_create(struct tool *t, int argc, char **argv),
    cmd_import(struct tool *t, int argc, char **argv);
int cmd_mount(struct tool *t, int argc, char **argv), cmd_umount(struct tool *t, int argc, char **argv),
    cmd_snapshot(struct tool *t, int argc, char **argv);
int cmd_fork(struct tool *t, int argc, char **argv), cmd_list(struct tool *t, int argc, char **argv),
    cmd_show(struct tool *t, int argc, char **argv);
int cmd_log(struct tool *t, int argc, char **argv), cmd_diff(struct tool *t, int argc, char **argv),
    cmd_restore(struct tool *t, int argc, char **argv), cmd_merge(struct tool *t, int argc, char **argv);
int cmd_rm(struct tool *t, int argc, char **argv), cmd_rename(struct tool *t, int argc, char **argv),
    cmd_label(struct tool *t, int argc, char **argv);
int cmd_gc(struct tool *t, int argc, char **argv), cmd_stats(struct tool *t, int argc, char **argv),
    cmd_fsck(struct tool *t, int argc, char **argv);
int cmd_scrub(struct tool *t, int argc, char **argv), cmd_export(struct tool *t, int argc, char **argv),
    cmd_up(struct tool *t, int argc, char **argv);
int cmd_down(struct tool *t, int argc, char **argv), cmd_status(struct tool *t, int argc, char **argv),
    cmd_doctor(struct tool *t, int argc, char **argv);
int cmd_journal(struct tool *t, int argc, char **argv);      /* watch --journal */
