/* A pids cgroup for a test that makes processes: what it makes can never be more than a bound, whatever is wrong. A cpu cgroup too, if there is one: as for sandboxes, and
 * because outside of any the kernel gives each session a like share of the processors (autogroup), whatever its priority. Version 1 or 2, as the machine has it. Needs root. */
#pragma once
#include <stdbool.h>

struct pids_group { char path[128], cpu[128]; };     /* "": there is none */
/* NULL, or why there can be none (then ret is none). */
const char *pids_group_make(struct pids_group *ret, unsigned max);
/* The calling process, and what it makes from now on. */
bool pids_group_enter(const struct pids_group *g);
/* Processes and threads in it now; -1: not known. */
long pids_group_current(const struct pids_group *g);
/* When nothing is in it any more. */
void pids_group_remove(struct pids_group *g);
