/* What the holder keeps. It survives an exec of the holder itself. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>
#include "snapshotd/holder_proto.h"

struct held { struct held *next; json_int_t id; json_t *meta; int fds[HOLD_FDS_MAX]; unsigned fd_count; };

struct held_table {
    struct held *list;                    /* in the order in which they came */
    unsigned count;
    int listen_fd;                        /* -1: none yet */
    unsigned restarts;
    bool stay;                            /* `coppice up` was said: holds for the next daemon too */
    uint64_t lost_ns;                     /* CLOCK_MONOTONIC: when the last daemon ended */
};

void held_table_init(struct held_table *t);
/* Takes the descriptors (also on errors) and a reference on meta. One of the same id is replaced. 0 or -ENOMEM. */
int held_put(struct held_table *t, json_int_t id, json_t *meta, const int *fds, unsigned fd_count);
void held_drop(struct held_table *t, json_int_t id);
/* Cuts the connections, whoever has the devices: all that waits for them ends. Needs CAP_SYS_ADMIN. */
void held_abort(const struct held_table *t);
/* Cuts those that nobody can take over: what is held of them is but their number. To be done as soon as the daemon has ended. */
void held_cut(struct held_table *t);
/* The devices: their connections end, unless somebody else has them. What has a redo log stays, with that alone and "log_only" in its meta. */
void held_drop_devices(struct held_table *t);
void held_drop_all(struct held_table *t);
/* Tells a daemon of all of it. 0 or -errno of the socket. */
int held_tell(const struct held_table *t, int sock);
/* A memfd with the table, and all its descriptors made to survive exec; and back, in the next program. -errno. */
int held_save(const struct held_table *t, int *ret_fd);
int held_load(int fd, struct held_table *ret);
