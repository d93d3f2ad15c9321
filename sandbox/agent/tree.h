/* Finding and ending what descends from a process: a supervisor's execution, or what a dead supervisor has left to pid 1. */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

typedef bool tree_known(pid_t pid);          /* children of this process with that number are left out, with all below them; NULL: none is */

/* --- tree.c: while it runs --- */
/* Signals everything that descends from this process, once each as far as it is found, or those of them in process group pgrp. The number of them. */
unsigned tree_signal(int proc_fd, int sig);
unsigned tree_signal_group(int proc_fd, pid_t pgrp, int sig);
/* One search: kills what it finds to descend from this process, until these are `enough` fresh ones. first: no search before has met anything. */
struct tree_found { unsigned alive, fresh; };     /* fresh: of them, those that no search before has met */
struct tree_found tree_kill(int proc_fd, bool first, unsigned enough, tree_known *known);
/* What it is made of. dir: a process's /proc directory, through which a signal reaches it and never another that got its number meanwhile. */
struct process { pid_t pid, ppid, pgrp; char state; };
typedef bool process_fn(const struct process *p, int dir, void *arg);  /* false: that is enough */
int tree_one(int proc_fd, pid_t pid, process_fn *fn, void *arg);     /* 0, or -errno: -ENOENT, -ESRCH: there is no such process */
int tree_each(int proc_fd, process_fn *fn, void *arg);               /* by ascending number. 0 (enough, too), or -errno: not all have been seen */
bool tree_send(int dir, int sig);

/* --- halt.c: while everything else is stopped --- */
int halt_init(void);                         /* of the agent, before it makes a process. 0 or -errno */
/* Kills all that descends from this process, whatever it does against that. false: another process is about it, ask again. */
bool halt_and_kill(int proc_fd, tree_known *known);
/* Of the agent: the process with that number has ended. If it was in the middle of it, what it had stopped goes on. */
void halt_over(int proc_fd, pid_t pid);
void halt_forget(void);                      /* in children that are no supervisors: they have no part in it */
