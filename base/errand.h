/* A piece of work in a thread that has its own descriptor table.
 *
 * A thread of a daemon that waits for a request of a mount which the daemon itself serves cannot be killed before that request is answered. If
 * the daemon is killed meanwhile, what it has open stays open with that thread: locks that its successor needs, who alone could answer. So who
 * reaches into an own mount does it where nothing is open but what is needed. */
#pragma once

/* fn(arg, fd) in such a thread, where the descriptors 0, 1, 2 and fd are open; what fn opens must be closed by it. Waits for it. Its result; or
 * -errno: there is no thread. fd: above 2. */
int errand_run(int fd, int (*fn)(void *arg, int fd), void *arg);
