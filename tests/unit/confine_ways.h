/* Ways out of a sandbox, each tried by a workload in a mini box; for the knock-out tests. */
#pragma once
#include <stdint.h>
#include <sys/types.h>

enum way { WAY_DESCRIPTOR = 1, WAY_OLD_ROOT = 2, WAY_SIGNAL = 4, WAY_ABSTRACT = 8, WAY_USERNS = 16, WAY_MOUNT = 32, WAY_CHROOT = 64, WAY_DEVICE = 128, WAY_SETUID = 256,
    WAY_TRACE_AGENT = 512, WAY_SYSCTL = 1024, WAY_TCP = 2048, WAY_SHM = 4096, WAY_HOST_NAME = 8192, WAY_HANDLE = 16384, WAY_PROC_ROOT = 32768, WAY_KERNEL_FILE = 65536,
    WAYS = 17 };
extern const char *const way_names[WAYS];

/* What stands outside to be reached, shared with the workload (MAP_SHARED), and what came back. */
struct outside_world {
    unsigned ways;               /* that worked */
    int leaked;                  /* a descriptor of the directory of the canary file, left open in the workload */
    int listener, abstract, shm; /* kept open by the test */
    pid_t victim, agent;         /* a process that waits for a signal; of the mini box */
    uint16_t port;
    char dir[64], name[32];
};
/* 0 or -1. */
int outside_open(struct outside_world *o);
void outside_close(struct outside_world *o);
/* In the workload: tries each, sets o->ways. 0. */
int ways_try(struct outside_world *o);
/* In the agent before its confinement: what a template could hold that the workload cannot make itself: a setuid program and a device node's stand-in. 0. */
int ways_prepare(void);
