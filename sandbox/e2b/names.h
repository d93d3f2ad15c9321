/* Names of a sandbox's users and groups, and their homes: from its /etc/passwd and /etc/group, read with the workload's rights and believed for a few seconds. */
#pragma once
#include "sandbox/e2b/e2b.h"
/* then(self) when they are there (or cannot be had: numbers and usual homes do). self: an e2b_call whose box runs. Not called when the client left. */
void e2b_names_need(void *self, void (*then)(void *self));
char *e2b_owner(const struct box *b, uint32_t uid);    /* g_free, as all of these */
char *e2b_group(const struct box *b, uint32_t gid);
/* An absolute path: as it is, or beneath the user's home ("~", "~/x", "x"). */
char *e2b_path(const struct box *b, const char *user, const char *path);
