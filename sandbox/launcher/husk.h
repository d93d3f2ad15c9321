/* The child's side of a box, from clone to the agent's first instruction.
 *
 *   launcher --fork--> maker (root of the host): makes the control group and enters it, clone3()s the husk with all namespaces as a child of the
 *                      launcher (CLONE_PARENT), writes its id maps, says BORN, ends
 *   husk     (root of its own user namespace only): network up, all mounts that do not depend on the workspace are made, the host's tree is let
 *            go: READY, with the listeners of egress. Then it waits for one packet, START with descriptors. It puts the root together, says ROOTED, and becomes the agent.
 * Words go to the launcher over a SOCK_SEQPACKET pair, whose end in the husk is closed by a successful exec: that end after ROOTED means "it runs". */
#pragma once
#include <stdint.h>
#include <sys/types.h>
#include "sandbox/egress_proto.h"
#include "sandbox/launch_proto.h"
#include "sandbox/launcher/cgroup.h"

enum husk_word { HUSK_BORN = 1, HUSK_READY, HUSK_ROOTED, HUSK_FAILED };
struct husk_msg { uint32_t word; int32_t err; int32_t pid; uint32_t us[6]; char text[200]; };   /* us: time of the phases, for the log and the benchmarks */
enum { HUSK_FDS_MAX = 2 + LAUNCH_MOUNTS_MAX };      /* with START: agent's socket, root, mounts */

struct husk_plan {
    const struct cgroups *cgroups;
    unsigned slot;
    uint32_t uid_base;
    int sock;                 /* the child's end of the pair */
    int agent_fd;             /* sealed copy of the agent's program */
    int bundle_fd;            /* bundle.h; -1: none */
    const char *outside;      /* CONFINE_OUTSIDE=TEXT for its environment (confine.h) */
};
/* In the forked maker; never returns. */
_Noreturn void husk_maker(const struct husk_plan *plan);

/* --- husk_net.c, husk_mounts.c and husk_root.c, in the husk --- */
struct husk {
    const struct husk_plan *plan;
    char step[160];           /* what is being done, for people */
    int stage, proc, dev, mask, usr, bundle, shm_at;        /* mounts; shm_at: directory for /dev/shm */
    unsigned host_bundles;    /* which of the usual files of certificates the host has */
};
void husk_step(struct husk *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int husk_net(struct husk *h, int doors[EGRESS_DOORS]);      /* the doors are owned by the caller. 0 or -errno with step */
int husk_mounts(struct husk *h);          /* 0 or -errno with step */
void husk_look_for_certificates(struct husk *h);     /* while the host's tree is still there */
int husk_root(struct husk *h, const struct launch_packet *p, int root_fd, const int *mount_fds);
/* fsopen .. fsmount; options: "key=value" or "key", up to NULL. The mount's descriptor or -errno. */
int husk_fs(const char *type, unsigned attrs, const char *const *options);
int husk_clone(int at, const char *path, unsigned flags);     /* a detached copy of the mount; no symlink is followed. -errno */
int husk_attach(int mount_fd, int at_fd);            /* onto the directory or file of at_fd */
int husk_attr(int mount_fd, unsigned set, unsigned flags);
int husk_pivot(int root_fd);              /* the mount of root_fd becomes /, the old root is let go */
