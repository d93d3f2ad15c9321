/* The launcher process: one struct owns it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "sandbox/confine/confine.h"
#include "sandbox/launcher/cgroup.h"
#include "sandbox/launcher/control.h"
#include "sandbox/launcher/bundle.h"
#include "sandbox/launcher/egress_child.h"
#include "sandbox/launcher/egress_link.h"
#include "sandbox/launcher/ids.h"
#include "sandbox/launcher/loop.h"
#include "sandbox/launcher/sandboxd_child.h"
#include "sandbox/launcher/slot.h"
#include "sandbox/launcher/store_link.h"

enum { MAKERS_MAX = 4 };                  /* husks in the making at once: more only get in each other's way */
struct launch_options {
    const char *store, *snapshotd, *sandboxd, *agent, *tar, *egress, *listen;     /* absolute paths; tar, egress may be NULL; listen: ADDR:PORT or NULL */
    const char *domain;                   /* of previews, besides localhost; NULL */
    const char *secret_key, *upstream_roots, *resolver;       /* absolute paths, or "memory" for the key; NULL: the default */
    bool foreground, listen_any;
    unsigned idle_exit_s;
};
struct launch {
    struct loop loop;
    struct launch_options options;
    struct cgroups cgroups;
    struct ids ids;
    struct control control;
    struct child sandboxd;
    struct egress egress;
    struct store_links links;
    struct slot *slots;                   /* LAUNCH_BOXES_MAX */
    unsigned slots_used;                  /* slots from here on are free */
    struct ask prepares[LAUNCH_BOXES_MAX];/* PREPAREs that wait for a husk, oldest first */
    unsigned prepare_count;
    unsigned making_failed;               /* in a row */
    uint64_t prepares_last_ns;
    struct loop_timer refill_timer, idle_timer, end_timer;
    struct loop_source on_signal;
    int agent_fd;                         /* sealed copy of the agent */
    int fusectl_fd;                       /* detached mount of fusectl, -1: there is none */
    int dir_fd, state_fd, unix_fd, tcp_fd;/* STORE/sandbox, its state/, the listening sockets */
    char listen_text[64], token_hash[65], name[24];      /* name: of this store, in names of groups */
    char outside[sizeof(CONFINE_OUTSIDE) + 1 + CONFINE_OUTSIDE_MAX];       /* for the agent's environment */
    uint64_t layers;                      /* that this host has (confine.h) */
    char missing[256];                    /* for HELLO */
    int ready_fd;                         /* the starter waits here; -1: it has been told */
    bool ending;
};
/* launch.c. ret_why: for people, when it is not 0. */
int launch_init(struct launch *l, char *ret_why, unsigned long size);
int launch_run(struct launch *l, int signal_fd);       /* until everything is ended and removed */
void launch_fini(struct launch *l);
void launch_end(struct launch *l);        /* begins the end: sandboxd first, then all boxes, then egress */
void launch_idle(struct launch *l);       /* something changed: is there nothing left to wait for? */
void launch_notify(const char *text);     /* to systemd, if it waits */
/* layers.c: what this host has of confine.h's layers, and a text about what is missing. */
uint64_t layers_of_host(const struct cgroups *cs, char *ret_missing, unsigned long size);
