/* How a daemon begins: away from its starter, who waits until it serves or is told why not; signals as a descriptor. */
#pragma once

/* Forks. The parent exits with 0 when the child writes "+" into *ret_ready, else prints what was written (if_silent: nothing was) and exits with 1. The child returns, in a session of
 * its own, with *ret_ready. 0 or -errno. */
int daemon_detach(const char *if_silent, int *ret_ready);
/* SIGPIPE is ignored; SIGTERM and SIGINT come by *ret_fd (signalfd) only. 0 or -errno. */
int daemon_signals(int *ret_fd);
