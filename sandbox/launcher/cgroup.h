/* Control groups of the boxes: one table of operations, one module for version 2 and one for version 1 (a hierarchy for each controller).
 *
 * Groups are PARENT/coppice-STORE/slot-N, where PARENT is the launcher's own group in each hierarchy, so that limits that were set on it hold
 * for all boxes together. (Version 2 allows no processes in a group whose children have controllers: the nearest ancestor that can is taken then,
 * and it is logged.) Where the groups of a life are is kept in a file, so that the next life removes what a dead one left. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "sandbox/launch_proto.h"

enum cgroup_controller { CG_MEMORY, CG_PIDS, CG_CPU, CG_CPUACCT, CG_FREEZER, CG_CONTROLLERS };
struct cgroup_ops;
struct cgroups {
    const struct cgroup_ops *ops;
    int version;                          /* 1 or 2; 0: none was found */
    int dir[CG_CONTROLLERS];              /* coppice-STORE in the hierarchy of each; of one hierarchy the same number; -1: there is none */
    char path[CG_CONTROLLERS][512];       /* of dir; "" as well */
    char missing[128];                    /* controllers that this host lacks, for people; "": nothing */
};
/* Where to look; root is put before all absolute paths (tests: a made-up tree). made: called with the directory of each group that was made, or NULL
 * (tests: the kernel fills real ones with files). */
struct cgroup_place { const char *root, *name; void (*made)(int dir_fd); };
/* Finds the hierarchies and makes coppice-NAME in each. 0 (also with controllers missing: `missing` says which), -errno. */
int cgroups_open(struct cgroups *cs, const struct cgroup_place *place);
/* Removes coppice-NAME, which must have no groups left, and closes. */
void cgroups_close(struct cgroups *cs);
/* Ends what lives in the groups of a former life listed in the text of cgroups_list() and removes them. Blocks for at most a few seconds. */
void cgroups_clean(const char *list, const char *name);
/* One path per line. */
void cgroups_list(const struct cgroups *cs, char *out, size_t size);

/* --- one box's group; called in the launcher or, make and enter, in a child of it --- */
int cgroup_make(const struct cgroups *cs, unsigned slot);      /* 0; -errno */
int cgroup_enter(const struct cgroups *cs, unsigned slot);     /* the calling process. Slow: the kernel waits for all CPUs */
int cgroup_limit(const struct cgroups *cs, unsigned slot, const struct launch_limits *l, const char **ret_step);
int cgroup_freeze(const struct cgroups *cs, unsigned slot, bool freeze);
int cgroup_frozen(const struct cgroups *cs, unsigned slot);    /* 1, 0 (not yet, or not all), -errno */
int cgroup_usage(const struct cgroups *cs, unsigned slot, uint64_t value[LAUNCH_VALUES]);
int cgroup_kill(const struct cgroups *cs, unsigned slot);      /* -EOPNOTSUPP: not by this version; the caller ends pid 1 anyway */
int cgroup_count(const struct cgroups *cs, unsigned slot);     /* processes left, or -errno */
int cgroup_remove(const struct cgroups *cs, unsigned slot);    /* 0 (also: is not there); -EBUSY: there are processes yet */

/* --- between the modules --- */
struct cgroup_ops {
    int (*limit)(const struct cgroups *cs, unsigned slot, const struct launch_limits *l, const char **ret_step);
    int (*freeze)(const struct cgroups *cs, unsigned slot, bool freeze);
    int (*frozen)(const struct cgroups *cs, unsigned slot);
    int (*usage)(const struct cgroups *cs, unsigned slot, uint64_t value[LAUNCH_VALUES]);
    int (*kill)(const struct cgroups *cs, unsigned slot);
};
extern const struct cgroup_ops cgroup_v1, cgroup_v2;
extern const char *const cgroup_names[CG_CONTROLLERS];
/* Files of a group. write: the whole text in one write. */
int cgroup_write(const struct cgroups *cs, unsigned controller, unsigned slot, const char *file, const char *text);
int cgroup_write_u64(const struct cgroups *cs, unsigned controller, unsigned slot, const char *file, uint64_t v);
int cgroup_read(const struct cgroups *cs, unsigned controller, unsigned slot, const char *file, char *out, size_t size);
uint64_t cgroup_read_u64(const struct cgroups *cs, unsigned controller, unsigned slot, const char *file);      /* 0 if it cannot be read */
uint64_t cgroup_field(const char *text, const char *key);      /* of "key value" lines; 0: none */
int cgroup_v2_enable(int parent_fd);     /* memory, pids and cpu for the children of a group: 0; -EBUSY: it has processes; -ENOENT: not all are to be had */
/* The hierarchies of this process: fills path (of its own group) and version. */
int cgroup_find(struct cgroups *cs, const char *root);
