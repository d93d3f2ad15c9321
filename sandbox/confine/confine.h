/* What confines a workload, and the proof of it. Linked into the static agent: no libseccomp here (the filters are generated at build time and their
 * hash is committed), no allocation. The profile in words: docs/profile.md.
 *
 * Order: the launcher's child makes namespaces and root (launcher/); the agent, as pid 1 in them, calls confine_init() once; each command's process calls
 * confine_workload() between fork and execve. The agent keeps only the capabilities confine_init() leaves it.
 *
 * What processes inherit and cannot take off (no_new_privs, securebits, an empty bounding set, the Landlock domain, the seccomp filters) is put on once, in
 * confine_init(). One domain for all commands of a sandbox, so that they may signal and trace each other; the same filters for the agent, which needs no more. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Layers, as bits: what was proved, by trying, not by having asked for it. */
enum confine_layer {
    LAYER_USERNS = 1 << 0, LAYER_MOUNTNS = 1 << 1, LAYER_PIDNS = 1 << 2, LAYER_NETNS = 1 << 3, LAYER_IPCNS = 1 << 4, LAYER_UTSNS = 1 << 5, LAYER_CGROUPNS = 1 << 6,
    LAYER_ROOT = 1 << 7,          /* / is the workspace; nothing of the old root is reachable */
    LAYER_NODEV = 1 << 8, LAYER_NOSUID = 1 << 9,   /* of every mount (but the six device nodes) */
    LAYER_PROC = 1 << 10,         /* own pids only, masks in place and what they claim, /proc/sys read-only */
    LAYER_CAPS = 1 << 11,         /* all five sets and the bounding set empty */
    LAYER_NNP = 1 << 12, LAYER_SECCOMP = 1 << 13, LAYER_LANDLOCK = 1 << 14,
    LAYER_CGROUP = 1 << 15,       /* memory, pids and cpu limits are set (the launcher proves it) */
    LAYERS_NEEDED = (1 << 16) - 1
};
const char *confine_layer_name(unsigned layer);              /* "seccomp"; NULL: no such bit */

/* The agent's own id inside, user and group: no command runs as it, so a command that is root inside has no right over the agent. */
enum { CONFINE_AGENT_ID = 65533 };

/* For the launcher, in its own namespaces: what the sandbox must not share (inode numbers of its namespaces, device and inode of its root), as text for the
 * agent's environment, CONFINE_OUTSIDE=TEXT. 0 or -errno, -ENOSPC. */
#define CONFINE_OUTSIDE "CONFINE_OUTSIDE"
enum { CONFINE_OUTSIDE_MAX = 256 };
int confine_outside_text(char *out, size_t size);

/* Of the agent itself, at its start, with /proc and /dev mounted and all capabilities of its user namespace: takes CONFINE_OUTSIDE from the environment; limits, dumpable
 * off, all capabilities but KILL, SETUID and SETGID gone, bounding set empty, securebits locked, no_new_privs, Landlock, seccomp. Dispositions and mask of signals are left
 * alone. 0 or -errno with the step; then the process must end. */
int confine_init(const char **ret_step);
/* In a command's process: ids (as in the sandbox), supplementary groups emptied, soft limits, oom_score_adj raised, all capability sets emptied, not dumpable until execve.
 * 0 or -errno with the step (then it must exit): -EINVAL for ids that nobody may have (the agent's, above 65534). No allocation, async-signal-safe. */
int confine_workload(uid_t uid, gid_t gid, const char **ret_step);
/* The proof, run in a forked child of the agent that has called confine_workload(0, 0): tries what must fail, looks at what must be so. Layers proved (never
 * LAYER_CGROUP). Leaves nothing behind; takes a fraction of a millisecond. */
uint64_t confine_self_test(void);
