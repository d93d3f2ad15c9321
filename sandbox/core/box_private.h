/* What the files of the box share: table, wishes, the transitions. Main loop only. */
#pragma once
#include "sandbox/box.h"
#include "sandbox/launch_client.h"
#include "sandbox/stock.h"

enum { STARTS_AT_ONCE = 8,                /* that are between PREPARE and SYNCED; more wait in a queue */
       HELLO_MS = 10000, SHUTDOWN_MS = 2000, CHECK_MS = 2000 /* how long a name is believed */, BOX_WISHES_MAX = 8192 };
/* Without limits of its own a sandbox has these (docs/profile.md). */
enum { PIDS_DEFAULT = 1024, WEIGHT_DEFAULT = 100 };
#define MEMORY_DEFAULT (2ull << 30)
#define ROOT_PREFIX "root-of-"            /* name of the throw-away root of a bare workspace */

enum want { WANT_RUNNING, WANT_FROZEN, WANT_ASLEEP, WANT_DELETED };
struct wish { struct wish *next; enum want want; bool snapshot /* ASLEEP: take one; DELETED: the named ones too */; box_fn *fn; void *arg; };

/* Microseconds since the box was asked for; -1: did not happen. */
struct timeline { uint64_t need_ns, queued_ns, prepared_ns, mounted_ns, started_ns, welcome_ns, ready_ns; };

struct start; struct unwind;
struct box_private {
    struct boxes *bs;
    bool host;                            /* made from the template host: /usr is the host's */
    bool importing, deleted, in_table;
    int config_err;                       /* its file was not understood: it does not start with other limits than it was given, and the file stays as it is */
    uint64_t checked_ns, touched_ns;      /* snapshotd named it so; somebody asked for it */
    /* transitions (box.c) */
    struct wish *first, **last;
    unsigned wish_count;
    bool stepping, changing;
    char error[512];                      /* of the last run or start */
    /* the present run */
    bool alive;                           /* the launcher has it */
    bool gone;                            /* LAUNCH_GONE came while something else was under way */
    bool unserved;                        /* ran when snapshotd died, and it is not known yet whether its mount outlived that */
    bool synced;                          /* the agent said SYNCED (after adoption of a frozen box: not yet) */
    int32_t pid;
    uint32_t uid_base;
    uint64_t layers;
    char user[32];                        /* of a bare one: owner of its top directory; "" not known */
    struct start *start;
    struct unwind *unwind;
    guint hello_timer;
    struct timeline times;
    /* box_egress.c */
    char *egress_told;                    /* name and labels, as egress was told last */
    bool network, bundle;                 /* of this run: egress answers in it, else why not; the bundle of certificates is there */
    char network_why[256];
    uint64_t egress_seen;                 /* bytes of this run, as egress counted last */
    unsigned egress_run;                  /* number of the run, for answers that come late */
    /* usage.c */
    uint64_t values[LAUNCH_VALUES];       /* the last LAUNCH_USAGE of this run */
    uint64_t state_since_ns, ran_ns, frozen_ns, slept_s;
    int64_t asleep_since;                 /* unix seconds, 0: not known */
    uint64_t oom_kills_before;
    /* life.c */
    guint timer;
    uint64_t cpu_seen_us, cpu_seen_ns;
    bool usage_asked, quiet;              /* quiet: nothing but the agent was left at the last look */
};
struct boxes {
    struct sandboxd *sd;
    GHashTable *by_id, *by_name;          /* of struct box; the table's reference is by_id's */
    struct box_hooks hooks;
    unsigned starting;
    GQueue start_queue;                   /* of struct box, referenced */
    uint64_t host_layers;                 /* that the launcher proves */
    unsigned cgroup_version;
    guint sweeper;
};

/* boxes.c */
struct box *boxes_find(struct boxes *bs, const char *id_or_name);
/* The box of a workspace's record (verbs list and show), made if need be; name, labels and kind are taken over. Borrowed; NULL: not a record. */
struct box *boxes_of_record(struct boxes *bs, const json_t *rec);
void boxes_drop(struct box *b);           /* out of the table */
/* box.c: a transition ended. fault: those who wanted it are told; the state is what is given. */
void box_changed(struct box *b, enum box_state s, const struct fault *fault);
void box_wish(struct box *b, enum want want, bool snapshot, box_fn *fn, void *arg);
void box_set_state(struct box *b, enum box_state s);
void box_frame(void *arg, struct frame *f);             /* of its link */
/* HELLO; box_start_synced or box_start_failed follow. 0 or -errno. */
int box_hello(struct box *b);
/* box_start.c */
void box_start_begin(struct box *b);
void box_start_synced(struct box *b);
void box_start_failed(struct box *b, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void box_close_link(struct box *b);
void box_find_owner(struct box *b);       /* of a bare one, from dir_fd and uid_base */
/* box_stop.c: ends what there is of it, however far it had come, and then box_changed(ASLEEP, fault). gently: SIGTERM first. */
struct unwind_how { bool gently, snapshot; const struct fault *fault; };
void box_unwind(struct box *b, const struct unwind_how *how);
void box_unwind_gone(struct box *b);      /* LAUNCH_GONE came */
void box_unwind_link_ended(struct box *b);
void box_erase(struct box *b, bool with_snapshots);     /* the workspace; from ASLEEP */
/* box_config.c */
void box_config_init(struct box_config *c);
void box_config_fini(struct box_config *c);
bool box_config_is_default(const struct box_config *c);
void box_config_copy(struct box_config *to, const struct box_config *from);
/* 0; -ENOENT: none, nothing is changed; -EBADMSG: not one of ours (it is left alone and the defaults count); -errno. */
int box_config_load(struct box *b);
void box_config_remove(struct box *b);
/* The API's fields `env, limits, idle, mounts` (any may be NULL) into c. False: fault. */
bool box_config_set(struct box_config *c, json_t *env, json_t *limits, json_t *idle, json_t *mounts, struct fault *f);
json_t *box_limits_json(const struct box_config *c);
json_t *box_idle_json(const struct box_config *c);
/* box_egress.c. Without an egress they do nothing, and `then` comes at once. */
/* Name and labels, if these were not told yet; then comes in any case: without them only rules for labels are not met. */
void box_egress_tell(struct box *b, void (*then)(void *arg), void *arg);
void box_egress_forget(struct box *b);
void box_egress_network(struct box *b, const struct launch_packet *p, unsigned at);      /* what the launcher says of it: START, LIST */
const char *box_egress_why(const struct box *b);        /* NULL: it has its network, or will have it; else why not, for people */
void box_egress_count(struct box *b, void (*then)(void *arg), void *arg);   /* bytes as they are now; then `then` */
uint64_t box_egress_bytes(const struct box *b);
void box_egress_run_ended(struct box *b);
/* life.c */
void life_arm(struct box *b);             /* looks at the box again when something may be due */
void life_disarm(struct box *b);
/* usage.c */
void usage_run_ended(struct box *b, uint64_t cpu_us, uint64_t oom_kills);
void usage_take(struct box *b, const struct launch_packet *p);
uint64_t usage_cpu_us(const struct box *b);
