/* The daemon's side of its holder (holder_proto.h). Without one, everything here does nothing. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "snapshotd/holder_proto.h"

/* A mount of the daemon before. */
struct held_mount { uint64_t id; json_t *meta; int fds[HOLD_FDS_MAX]; unsigned fd_count; };

struct holding {
    int sock;                             /* -1: none */
    pid_t holder;
    _Atomic bool lost;                    /* the holder has gone: mounts are as mortal as we are */
    unsigned restarts;                    /* daemons before this one under this holder */
    bool stay;                            /* the one before was told to */
    uint64_t lost_ns;                     /* CLOCK_MONOTONIC: when the one before ended */
    uint64_t pause_ns;                    /* from then until we served; 0: the first */
    char why[96];                         /* it ended */
    int listen_fd;                        /* the socket that clients know, or -1 */
    struct held_mount *mounts;
    unsigned count;
};

void holding_none(struct holding *h);
/* Takes over what the holder has. Blocks until it has told all. The mounts' descriptors and metas go to whoever takes them. 0 or -errno. */
int holding_join(struct holding *h, int sock);
void holding_done(struct holding *h);     /* frees the list of mounts */
static inline bool holding_is(const struct holding *h) { return h->sock >= 0 && !atomic_load(&h->lost); }

/* From any thread. Nobody waits for an answer: what was sent is in the socket, whatever becomes of us. */
void holding_listen(struct holding *h, int listen_fd);        /* -1: no more */
/* meta is stolen. redo_fd -1: none. device_fd -1: it is to be cut when we end. False: it is not held. */
bool holding_mount(struct holding *h, uint64_t id, json_t *meta, int device_fd, int redo_fd);
void holding_drop(struct holding *h, uint64_t id);
void holding_ready(struct holding *h);
void holding_stay(struct holding *h);     /* so are those after us */
void holding_again(struct holding *h, const char *program);   /* program: of the next one, or "" */
void holding_bye(struct holding *h);
/* The channel is readable. True: we are to end. */
bool holding_told(struct holding *h);
