/* A sandbox: a workspace that runs, or may. Main loop only.
 *
 *   ASLEEP --need--> STARTING --agent ready--> RUNNING --idle--> FROZEN --need--> RUNNING
 *     ^                 | failed                  | idle, sleep, stop     | idle
 *     +-----------------+<------ STOPPING <-------+<----------------------+
 * Every change of state runs to its end before the next begins; who asks meanwhile waits for it (a list of waiters per box), so calls never meet half a state.
 * A box exists in the table for every workspace of kind root or bare that was asked for through this API or has a configuration; it costs a record when asleep.
 * References: a box is freed when it was deleted and nobody holds a reference. */
#pragma once
#include <jansson.h>
#include "sandbox/agent_link.h"
#include "sandbox/launch_proto.h"
#include "sandbox/sandboxd.h"

enum box_state { BOX_ASLEEP, BOX_STARTING, BOX_RUNNING, BOX_FREEZING, BOX_FROZEN, BOX_THAWING, BOX_STOPPING, BOX_DELETING };
struct execs; struct sessions;
struct box_config {                       /* box/ID.json; written atomically */
    json_t *env, *mounts;                 /* object of strings; [{source, path}] */
    json_t *labels;                       /* of the workspace: snapshotd keeps them, the file does not */
    struct launch_limits limits;
    uint64_t disk_bytes;                  /* quota of the workspace, 0: none */
    double freeze_s, sleep_s;             /* of idleness; 0: never. Defaults 60 and 900 */
    double timeout_s;                     /* wall time of one run of the sandbox, 0: none */
    double until_s;                       /* unix time at which it sleeps, whatever it does; 0: none. With e2b: of this sandbox alone, box_config_copy() leaves them */
    json_t *previews;                     /* what is kept of its previews (preview/keep.h), or NULL; of this sandbox alone as well */
    json_t *services;                     /* object by name (service.h), or NULL; a fork has them too */
    json_t *e2b;                          /* what the E2B API keeps of it (e2b/state.h), or NULL */
};
struct box {
    struct sandboxd *sd;
    unsigned refs;
    char id[LAUNCH_NAME], name[LAUNCH_NAME];
    bool bare;                            /* attached at /workspace under a throw-away root */
    enum box_state state;
    struct box_config config;
    /* while it runs */
    struct agent_link *link;
    int dir_fd;                           /* a directory in its mount: given to snapshotd with calls about it */
    struct execs *execs;                  /* exec.h; empty when asleep */
    struct sessions *sessions;            /* kept over sleep */
    unsigned holds;                       /* activity: executions, terminals, open requests */
    uint64_t idle_since_ns, started_ns;
    uint64_t cpu_before_us, egress_bytes; /* of former runs */
    /* box.c's own */
    struct box_private *p;
};
struct box *box_ref(struct box *b);
void box_unref(struct box *b);

/* By id or name; also asks snapshotd for a workspace that is not in the table. fn(box) or fault workspace not found. */
typedef void box_fn(void *arg, struct box *b, const struct fault *fault);
void box_get(struct sandboxd *sd, const char *id_or_name, box_fn *fn, void *arg);
/* Makes it RUNNING, whatever it was, and adds a hold that the caller gives back with box_release(). On fault there is no hold. */
void box_need(struct box *b, box_fn *fn, void *arg);
void box_hold(struct box *b);             /* it is RUNNING */
void box_release(struct box *b);
/* By hand. fn when it is so. snapshot: take one first (sleep), or not (stop: processes end, files stay). */
void box_freeze(struct box *b, box_fn *fn, void *arg);
void box_sleep(struct box *b, bool snapshot, box_fn *fn, void *arg);
/* The workspace and its unnamed snapshots; with_snapshots: the named ones too, else they make it fail with not_empty (it is asleep then). */
void box_delete(struct box *b, bool with_snapshots, box_fn *fn, void *arg);
const char *box_state_name(enum box_state s);   /* "asleep", "starting", "running", "freezing", "frozen", ... */
/* box/ID.json is written anew: 0 or -errno; atomic and durable. */
int box_config_save(struct box *b);
/* The public description (interfaces.md 3). Owned. */
json_t *box_json(const struct box *b);
/* All names are [a-z0-9][a-z0-9._-]{0,63}; made-up ones are 26 characters of base32 (bridge). */
void box_make_name(char out[LAUNCH_NAME]);
/* Whom commands run as if nothing else was said: "user"; in a bare workspace the owner of its top directory ("root", "user" or "UID:GID"), whose files these are. */
const char *box_default_user(const struct box *b);
bool box_has_bundle(const struct box *b);        /* running: EGRESS_BUNDLE_PATH is there */
/* A problem of the last run or start, for people ("" none). */
const char *box_last_error(const struct box *b);
/* Hooks of the other parts, called on changes of state: */
struct box_hooks {
    void (*started)(struct box *b);       /* link is ready; the agent's EXEC_STATE frames follow through frame() (after adoption, or none); the state is still BOX_STARTING */
    void (*running)(struct box *b);       /* all EXEC_STATEs were told; it is RUNNING when this returns, before anybody who waits for that */
    void (*frame)(struct box *b, struct frame *f);    /* a frame of the agent that is not an answer to an agent_link_ask */
    void (*stopping)(struct box *b);      /* link is about to go (or went): end everything that waits for it, with a reason: box_last_error() or that it was stopped */
    void (*changed)(struct box *b, const char *reason);       /* its tree was changed from outside ("restored"); it may run */
    void (*deleted)(struct box *b);       /* the workspace is gone: forget what was kept of it. May be NULL, as all of these */
    void (*freed)(struct box *b);         /* nobody holds it any more: free `execs` and `sessions` */
};
void boxes_set_hooks(struct boxes *bs, const struct box_hooks *h);
struct boxes *boxes_new(struct sandboxd *sd);
/* Takes over the boxes that live in the launcher; done when each is known or ended. err: the launcher cannot be asked. */
void boxes_adopt(struct boxes *bs, void (*done)(void *arg, int err), void *arg);
/* For launcher_new() and keeper_new(); arg: the sandboxd. A sandbox whose mount nobody serves after a death of snapshotd is ended. */
struct launch_packet;
void boxes_launcher_event(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count);
extern const struct keeper_events boxes_keeper_events;
/* For egress_client_begun(): it is told again what the boxes that live are called. arg: the sandboxd. */
void boxes_egress_begun(void *arg);
void boxes_each(struct boxes *bs, void (*fn)(void *arg, struct box *b), void *arg);
