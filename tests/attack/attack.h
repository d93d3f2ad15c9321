/* The attack program: what a hostile workload tries, row by row of the threat model (P..), from inside a sandbox. Each try prints `ID result errno`; the golden tables say what
 * each must give. Static, so that it runs in any root. Needs nothing but itself. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One line: `ID ok 0`, `ID refused EPERM`, `ID killed SIGSYS`, or a count. */
void say(const char *id, const char *result, const char *detail);
void say_count(const char *id, const char *what, long n);
/* The result of a call: >= 0 ok, -1 with errno. Closes nothing. */
void try_(const char *id, long result);
/* As try_(), for a call that gives a descriptor, which is closed. */
void try_fd(const char *id, long fd);
/* fn(arg) in a child: its exit code (0..255), or minus the signal that ended it. */
int in_child(int (*fn)(void *arg), void *arg);
/* A file of its own directory, /tmp/attack-PID/NAME. Removed at the end. */
const char *scratch(const char *name);

void rows_calls(void);      /* P1 P2 P4 P5 P22 P41 and every call that is not in the profile */
void rows_sockets(void);    /* P17 P19 P20 */
void rows_proc(void);       /* P7 P10 P11 P13 P43 */
void rows_files(void);      /* P14 P16 P23 */
void rows_process(void);    /* signals, limits, scheduling, identity */
int scan(unsigned seconds); /* P8: looks at every process that appears, for a moment when the agent's memory or files can be opened */
int leaks(char **patterns); /* P43: none of these texts is in what a workload can read of itself */
int bomb(const char *name); /* P28 P31 P34: how far it came */
