/* Starts the real agent as the launcher would, for tests: in new user, mount, pid, network, IPC, UTS and cgroup namespaces, on a root of the host's directories with fresh
 * /proc, /dev and /tmp. Needs root. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "sandbox/frame.h"

struct agent_box { pid_t child, pid; int sock; uint64_t layers; };        /* pid: of the agent, outside */
/* NULL, or why it cannot be (then nothing is left). Blocks until the agent has said WELCOME. program: the agent's path. */
const char *agent_box_start(struct agent_box *b, const char *program);
/* Ends it; its wait status. */
int agent_box_stop(struct agent_box *b);
/* Lines of /proc/PID/smaps_rollup that begin with field ("Private_", "Rss"), summed, in KiB. */
long agent_box_memory_kb(pid_t pid, const char *field);
