/* Starts the real agent as the launcher would, for tests: in new user, mount, pid, network, IPC, UTS and cgroup namespaces, on a root of the host's directories with fresh
 * /proc, /dev and /tmp, with a bounded number of processes. Needs root. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "sandbox/frame.h"
#include "tests/lib/pids_group.h"

enum { AGENT_BOX_PIDS = 1000 };
/* pid: of the agent, outside; unbounded: why its processes are in no pids cgroup (then no test may fork much), else NULL */
struct agent_box { pid_t child, pid; int sock; uint64_t layers; struct pids_group group; const char *unbounded; };
/* NULL, or why it cannot be (then nothing is left). Blocks until the agent has said WELCOME. program: the agent's path. pids: at most so many processes, the agent's own too. */
const char *agent_box_start(struct agent_box *b, const char *program, unsigned pids);
/* Ends it; its wait status. */
int agent_box_stop(struct agent_box *b);
/* Lines of /proc/PID/smaps_rollup that begin with field ("Private_", "Rss"), summed, in KiB. */
long agent_box_memory_kb(pid_t pid, const char *field);
/* For main(): the agent's path, of the arguments AGENT [TEST]. Ends the program, after saying why, without one (2) or without root (77). */
const char *agent_box_program(int argc, char **argv);
