/* The protocol between sandboxd and the launcher: fixed-size packets over a SOCK_SEQPACKET pair, descriptors beside them (SCM_RIGHTS).
 * The launcher (root) is the parent: it starts sandboxd (unprivileged) with the listening sockets, this pair and its directory, starts it again when it dies, and keeps
 * what must outlive it: the sandboxes, their agents' sockets, id leases and mounts. It parses nothing else from outside.
 *
 * A sandbox is started in two steps so that the slow half can be done ahead: PREPARE makes a husk: namespaces, a lease of ids, a cgroup, a process
 * that waits; START gives it its root and makes it a sandbox. A few husks are kept ready (LAUNCH_HUSKS, made again when the launcher is idle). */
#pragma once
#include <stdint.h>

enum { LAUNCH_VERSION = 1, LAUNCH_MOUNTS_MAX = 8, LAUNCH_NAME = 64, LAUNCH_PATH = 256, LAUNCH_HUSKS = 2, LAUNCH_BOXES_MAX = 1024 };
enum launch_op {
    LAUNCH_HELLO = 1,     /* -> OK: value[0] version, value[1] layers that this host has (confine.h), value[2] cgroup version, value[3] boxes that live; text: what is missing */
    LAUNCH_STORE,         /* -> OK with a socket connected to snapshotd (which is started if it does not run) */
    LAUNCH_PREPARE,       /* -> OK: slot, uid_base (value[0]) */
    LAUNCH_START,         /* slot, box, limits, flags, mounts; descriptors: the root's detached mount, then one for each of mounts. -> OK with sandboxd's end of the agent's
                           * socket; value[0] host pid of the agent; value[2] LAUNCH_NET_*; without ON text says why. The launcher keeps copies of that socket and of the root mount until the box is gone */
    LAUNCH_ABANDON,       /* slot: a husk that is not needed. -> OK */
    LAUNCH_FREEZE, LAUNCH_THAW,      /* box -> OK when it is so */
    LAUNCH_KILL,          /* box -> OK (value[] as GONE) when every process of it is gone (then its namespaces and mounts are too), within LAUNCH_KILL_MS, else -ETIMEDOUT
                           * with the number left in text; the kill goes on */
    LAUNCH_LIMITS,        /* box, limits -> OK */
    LAUNCH_USAGE,         /* box -> OK: value[] as LAUNCH_USAGE_* */
    LAUNCH_LIST,          /* -> for each box a LAUNCH_BOX packet, then OK */
    LAUNCH_EGRESS,        /* -> OK with a connection to the egress proxy (egress_proto.h); -ENOTCONN with text: there is none, and why. One that is being started is waited for */
    /* from the launcher */
    LAUNCH_OK = 64,       /* tag as asked */
    LAUNCH_FAILED,        /* err, text: which step; with a missing layer: its name. Nothing is left of what was begun */
    LAUNCH_BOX,           /* box, slot, value[0] host pid, value[1] uid_base, value[2] start (CLOCK_BOOTTIME ns), value[3] frozen, value[4] and text: as value[2] of START; descriptors: agent socket, root mount */
    LAUNCH_GONE,          /* event (tag 0): a box ended without LAUNCH_KILL; err: 0 or why; value[0] wait status of the agent, value[1] OOM kills, value[2] CPU microseconds used in all */
};
enum { LAUNCH_KILL_MS = 5000 };
enum { LAUNCH_NET_ON = 1 /* egress answers in its network; else everything is refused there */, LAUNCH_NET_BUNDLE = 2 /* EGRESS_BUNDLE_PATH is there */ };
enum { LAUNCH_HOST_USR = 1 };        /* flags: bind the host's /usr (and what it needs) read-only over the root: template host */
enum { USAGE_CPU_US, USAGE_MEMORY, USAGE_MEMORY_PEAK, USAGE_PIDS, USAGE_OOM_KILLS, USAGE_THROTTLED_US, USAGE_USER_US, USAGE_SYSTEM_US, LAUNCH_VALUES };

/* tmp_bytes: of /dev/shm; 0: half of memory_bytes. Bounds: launcher/check.h */
struct launch_limits { uint64_t memory_bytes, tmp_bytes; uint32_t pids, cpu_milli /* 1000 = one CPU, 0 = no limit */, cpu_weight /* 1..10000, 100 = ordinary */, zero; };
struct launch_mount { char path[LAUNCH_PATH]; uint32_t read_only, zero; };
struct launch_packet {
    uint32_t op, tag;                /* tag: chosen by sandboxd, not 0, comes back */
    int32_t err;
    uint32_t slot, flags, mount_count;
    char box[LAUNCH_NAME];           /* id of the workspace, [a-z0-9][a-z0-9._-]* without ".." */
    char host_name[LAUNCH_NAME];     /* what uname says inside */
    struct launch_limits limits;
    struct launch_mount mounts[LAUNCH_MOUNTS_MAX];
    uint64_t value[LAUNCH_VALUES];
    char text[256];
};
/* Descriptors with which sandboxd is started. Environment: COPPICE_TOKEN_SHA256 (hex; absent: no TCP), COPPICE_LISTEN (text of the TCP address), COPPICE_STORE_NAME.
 * 3: control pair; 4: listening Unix socket; 5: its directory; 6: listening TCP socket, if COPPICE_LISTEN is set */
enum { LAUNCH_FD_CONTROL = 3, LAUNCH_FD_UNIX, LAUNCH_FD_DIR, LAUNCH_FD_TCP };
enum { LAUNCH_SANDBOXD_UID = 0x3fff0000, LAUNCH_ID_FIRST = 0x40000000, LAUNCH_ID_BLOCK = 65536 };   /* block n: LAUNCH_ID_FIRST + n * LAUNCH_ID_BLOCK */
