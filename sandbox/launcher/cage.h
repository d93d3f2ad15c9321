/* The confinement of the launcher's own children: a root of its own with the host's programs and libraries read-only and nothing else (no home directories, no store, no other
 * mounts), without other processes, an own user, no capabilities, no new privileges, and a filter over what no server needs. What a child may use comes as descriptors. */
#pragma once
#include <stdbool.h>

struct cage {
    const char *program, *dirs[2];        /* directories shown beside the host's own; NULL: none */
    int program_fd;
    unsigned uid;
    bool netlink;                         /* it may ask the kernel for its addresses */
    char *const *argv, *const *env;
};
/* In the child (cloned with CLONE_NEWPID, NEWNS, NEWIPC, NEWUTS at least). Ends in execve; returns -errno with the step. */
int cage_enter(const struct cage *c, const char **ret_step);
/* In the launcher: takes the file system from a caged child that has started: in its mount namespace nothing is mounted any more but an empty root. What it has mapped or open stays.
 * 0 or -errno. */
int cage_empty(int pidfd);
