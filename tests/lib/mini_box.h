/* A sandbox without launcher and agent, for the tests of confinement: namespaces, a root of its own, /proc and /dev as the default profile wants them, the agent's steps of
 * confine_init(), and a workload in it. Each layer can be left out, here and only here: the product has no such switch. Needs root. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum mini_skip { MINI_CAPS = 1, MINI_NNP = 2, MINI_LANDLOCK = 4, MINI_SECCOMP = 8, MINI_NODEV = 16, MINI_NOSUID = 32, MINI_MASKS = 64, MINI_SYS_WRITABLE = 128,
    MINI_OLD_ROOT = 256, MINI_SHARED = 512, MINI_AGENT_OPEN = 1024 /* pid 1 is dumpable */ };
#define MINI_ALL_NS 0x7e020000u      /* user, mnt, pid, net, ipc, uts, cgroup */
struct mini_box {
    unsigned namespaces;             /* CLONE_NEW*; without CLONE_NEWNS or CLONE_NEWPID also without CLONE_NEWUSER */
    unsigned skip;                   /* MINI_* */
    uid_t uid;                       /* of the workload */
    const char *writable;            /* a directory of the host, bound at the same path, writable; NULL */
    const char *cwd;
    int (*before)(void *arg);        /* in the agent, before confinement (NULL: nothing); not 0: give up */
    int (*workload)(void *arg);      /* in the command's process; its result (0..200) is mini_box_run()'s */
    void *arg;
};
/* Runs it to its end; everything is gone after. >= 0: what workload returned; 200 + : a signal ended it; -errno: could not be set up (*ret_step). */
int mini_box_run(const struct mini_box *box, const char **ret_step);
