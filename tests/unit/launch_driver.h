/* For tests of the launcher: a store, the real launcher and snapshotd, and the test in the place of sandboxd.
 *
 * The launcher starts the test's own program as sandboxd (COPPICE_STORE_NAME is set then): it says HELLO, takes one connection on the listening
 * socket it was given, hands the control pair over to the test on it, and waits. So the test speaks over the real pair. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "sandbox/launch_proto.h"
#include "snapshotd/snap_client.h"

struct driver {
    const char *launcher, *snapshotd, *agent, *self;      /* paths */
    char dir[256], store[300];
    struct snap_client *stock;
    int door, control;            /* connection to the fake sandboxd; the control pair */
    uint32_t tag;
};
int fake_sandboxd(void);          /* main() of the test in its other role */
/* For main(): the paths, from the arguments LAUNCHER SNAPSHOTD STANDIN. False: usage was said. */
bool driver_args(struct driver *d, int argc, char **argv);
bool driver_start(struct driver *d, const char *const *more);          /* more: options for the launcher, up to NULL; may be NULL */
bool driver_launch(struct driver *d, const char *const *more);         /* only the launcher */
bool driver_meet(struct driver *d);       /* takes the control pair of a (new) sandboxd */
void driver_quit(struct driver *d);       /* SIGTERM to the launcher; waits until it is gone */
void driver_stop(struct driver *d);       /* all of it */
pid_t driver_pid(const struct driver *d); /* the launcher's */

/* Sends and waits for the answer with its tag; events in between are put into *event of the driver. ret_fds: 2 of them, -1 or owned. */
int driver_ask(struct driver *d, struct launch_packet *p, const int *fds, unsigned fd_count, struct launch_packet *ret, int ret_fds[2]);
int driver_send(struct driver *d, const struct launch_packet *p, const int *fds, unsigned fd_count);     /* only that; the answer is passed over by the next driver_ask() */
bool driver_event(struct driver *d, struct launch_packet *ret);        /* waits for one */

/* A workspace as the root of a new box. -1 and ret->text if it failed; else the agent's socket. */
struct started { int sock, root_fd; json_int_t mount; struct launch_packet answer; uint32_t uid_base, slot; uint64_t prepare_us, mount_us, start_us; };
bool driver_create(struct driver *d, const char *name, const char *kind);
int driver_mount(struct driver *d, const char *name, uint32_t uid_base, bool ro, json_int_t *ret_mount);      /* detached; the descriptor or -1 */
bool driver_box(struct driver *d, const char *name, uint32_t flags, struct started *ret);
bool driver_kill(struct driver *d, const char *name, struct started *s);      /* and waits until snapshotd has its workspace back */
struct launch_limits driver_limits(void);
int driver_simple(struct driver *d, uint32_t op, const char *box);     /* answer's err: 0 for OK */
/* One command to the stand-in; its answer (static), NULL: it is gone. */
const char *standin(int sock, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
