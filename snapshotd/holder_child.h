/* The daemon as the holder's child. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct child { pid_t pid; int sock; int leader_fd; /* readable: its first thread has ended */ uint64_t started_ns; bool ready; };

enum { CHILD_SOCK = 3, CHILD_READY = 4 };         /* the numbers of the descriptors in it; see front.c */

/* Runs argv (NULL at the end) with one end of a new channel as CHILD_SOCK and, if ready_fd is not -1, that as CHILD_READY (closed here). 0 or -errno. */
int child_start(const char *const *argv, int ready_fd, struct child *ret);
/* What became of it, for people. */
void child_why(int status, char *out, unsigned long size);
