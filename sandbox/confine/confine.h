/* What confines a workload, and the proof of it. Linked into the static agent: no libseccomp here (the filter is generated at build time and its
 * hash is committed), no allocation.
 *
 * Order: the launcher's child makes namespaces and root (launcher/); the agent, as pid 1 in them, calls confine_init() once; each command's process calls
 * confine_workload() between its setresuid and execve. The agent keeps only the capabilities confine_init() leaves it. */
#pragma once
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

/* Of the agent itself, at its start: dumpable off, no core, signals, oom; bounding set cut to what commands need to be started (SETUID, SETGID, KILL, SETPCAP,
 * SYS_CHROOT never); own seccomp filter. 0 or -errno with the step. */
int confine_init(const char **ret_step);
/* In a command's process: ids (as in the sandbox), supplementary groups emptied, rlimits, oom_score_adj raised, securebits locked, all capability sets and bounding set emptied,
 * no_new_privs, Landlock, seccomp. After it only execve. 0 or -errno with the step. No allocation, async-signal-safe. */
int confine_workload(uid_t uid, gid_t gid, const char **ret_step);
/* The proof, run in a forked child of the agent that has called confine_workload(0, 0): tries what must fail, looks at what must be so. Layers proved. */
uint64_t confine_self_test(void);
