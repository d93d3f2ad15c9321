/* A store with its mounts in a child process, so that system calls of the test never wait for themselves. One request at a time. */
#pragma once
#include <sys/types.h>
#include "tests/model/fs_ops.h"

struct mount_server { pid_t pid; int sock; };
enum server_call { CALL_MOUNT, CALL_UNMOUNT, CALL_SNAPSHOT, CALL_FORK, CALL_RESTORE, CALL_DROP, CALL_CARE, CALL_END };
/* Starts it on a new store in dir. 0 or -errno. */
int mount_server_start(struct mount_server *s, const char *dir);
/* 0.. or -errno of what was asked; CALL_MOUNT: *ret_fd is the root of a new detached mount. -EPIPE: the server died. */
int mount_server_call(struct mount_server *s, enum server_call call, unsigned a, unsigned b, int *ret_fd);
/* Ends it; 0, or its exit status or signal as a negative number. */
int mount_server_end(struct mount_server *s);
