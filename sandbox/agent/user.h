/* Users of the sandbox, from its own /etc/passwd: read as what it is, a workload's file. No NSS, which a static program does not have. May block: for children of the agent. */
#pragma once
#include <sys/types.h>
enum { USER_HOME_MAX = 256, USER_NAME_MAX = 64 };
struct user { uid_t uid; gid_t gid; char name[USER_NAME_MAX], home[USER_HOME_MAX]; };
/* "NAME", "UID" or "UID:GID"; "" is "user". root and user exist even if the file does not know them (0:0 /root, 1000:1000 /home/user).
 * 0; -ENOENT: no such user; -EINVAL: not a user, or the agent's own id (AGENT_UID). */
int user_find(const char *spec, struct user *ret);
/* The same over given contents of the file (tests). */
int user_find_in(const char *passwd, size_t n, const char *spec, struct user *ret);
