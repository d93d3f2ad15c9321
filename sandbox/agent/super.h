/* The supervisor: one process for each execution, between the agent and the command. It makes the command's descriptors, forks it, waits for it and is the subreaper of
 * whatever the command leaves behind. It runs as AGENT_UID with CAP_KILL alone, not dumpable: nothing in the sandbox can signal or trace it. It ends when the command and all
 * its descendants have ended; if it dies before, the agent says that nobody knows how the command ended. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "sandbox/frame.h"

enum { SUPER_STEP = 24, SUPER_FDS = 3, SUPER_KILL_MS = 3000, SUPER_TERM_MS = 2000 };
enum super_op { SUPER_STARTED = 1, SUPER_FAILED, SUPER_EXITED, SUPER_RESULT };
/* From the supervisor, one packet each. STARTED brings descriptors: without a terminal the read ends of stdout and stderr and, if asked for, the write end of stdin or the
 * channel's other end; with one its master. */
struct super_report { uint32_t op; int32_t err; uint32_t pid; char step[SUPER_STEP]; struct exit_info info; };
/* To it: a signal; answered by a RESULT, in order. */
struct super_order { int32_t signal; uint32_t flags; };

/* In the forked process; spec_fd (or -1) holds the spec instead of p; program_fd (or -1) is what is executed. Never returns. */
_Noreturn void super_main(int sock, int proc_fd, uint8_t flags, const uint8_t *p, size_t n, int spec_fd, int program_fd);

/* --- parts of it --- */
enum { CHILD_FDS = 4 };          /* 3: the channel, or -1 */
struct super_stdio { int child[CHILD_FDS], agent[SUPER_FDS]; unsigned agent_count; };
/* Pipes or a terminal, owned by that user as far as permission bits of /dev/stdout and the terminal go. 0 or -errno; on error nothing is left open. */
int super_stdio_make(uint8_t flags, uid_t uid, gid_t gid, uint16_t cols, uint16_t rows, struct super_stdio *ret);
void super_stdio_close(struct super_stdio *s, bool agents_too);
struct child_failure { int32_t err; char step[SUPER_STEP]; };
/* In the command's process: everything up to execve. On failure it writes a child_failure to status_fd and exits. */
struct user;
_Noreturn void child_main(const struct exec_spec *s, const struct user *u, bool tty, const struct super_stdio *io, int status_fd, int program_fd);
/* One message with descriptors. 0 or -errno. */
int super_send(int sock, const void *p, size_t n, const int *fds, unsigned count);
ssize_t super_recv(int sock, void *p, size_t n, int *ret_fds, unsigned *ret_count);
