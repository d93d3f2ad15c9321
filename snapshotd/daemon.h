/* The daemon: one store, its mounts, and the peers that ask for things. One struct owns the process. */
#pragma once
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "snapshotd/history.h"
#include "snapshotd/holding.h"
#include "snapshotd/mounts.h"
#include "snapshotd/template.h"

struct store; struct fuse_pool;

enum { PEERS_MAX = 64 };

struct daemon {
    const char *store_dir;                /* absolute */
    struct store *store;
    struct holding holding;
    struct mounts mounts;
    struct template template;
    struct history history;
    uint64_t started_ns, opened_ns;       /* opened: the store */
    bool had_format;                      /* the store was there before */

    pthread_mutex_t lock;                 /* guards what follows; leaf: nothing is called with it held */
    pthread_cond_t peers_changed;
    struct peer *peers;                   /* connected, list by next */
    unsigned peer_count;
    uint64_t last_active_ns;              /* when the last peer left */
    bool stopping;
    bool again;                           /* another daemon takes over: mounts stay */
    char again_program[PATH_MAX];         /* of another name; "": of ours */
    bool stay;                            /* `coppice up` was said: no end when idle */
    int wake_fd;                          /* eventfd: the listener looks at `stopping` */
    int down_sock;                        /* whom to tell that all is closed, or -1 */
};

/* Asks the process to end; from any thread. */
void daemon_stop(struct daemon *d);
/* The same, for another daemon to take over, of what is on the disk now: the holder starts it. program: its absolute path, NULL: the same name as ours.
 * -EOPNOTSUPP: there is no holder. */
int daemon_again(struct daemon *d, const char *program);
bool daemon_stopping(struct daemon *d);
bool daemon_is_followed(struct daemon *d);    /* stopping, and another one takes over */

/* verbs_history.c: how history brings in what a mount holds; arg is the daemon. */
extern const struct history_ops history_mounts;

/* listener.c: accepts until daemon_stop(), a signal from signal_fd, the holder's word, or idle_exit_s without peers and mounts (0 = never). */
void listener_run(struct daemon *d, int listen_fd, int signal_fd, unsigned idle_exit_s);
/* peer.c: serves a connection on its own thread (takes the socket); -EBUSY: PEERS_MAX are connected, and it was told so. */
int peer_start(struct daemon *d, int sock);
/* Wakes all peers that wait for requests and waits until their calls are done, at most timeout_s. False: some still work. */
bool peers_finish(struct daemon *d, unsigned timeout_s);
