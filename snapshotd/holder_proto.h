/* Between the holder and its daemon: messages of JSON with descriptors beside them, over a socket pair of SOCK_SEQPACKET.
 *
 * Daemon to holder; none is answered:
 *   {"listen": true} + socket        keep this listening socket; {"listen": false}: close it
 *   {"hold": ID, "meta": {...}} + device [redo log]   keep these until they are dropped; meta is given back as it is
 *   {"hold": ID, "meta": {...}}      no descriptors: nobody could take this mount over. It is cut when the daemon ends, as a thread of that may keep it up
 *   {"drop": ID}
 *   {"ready": true}                  it serves
 *   {"again": true, "program": PATH} it ends in order; the programs on the disk are to go on, the daemon's and the holder beside it ("": of the same names)
 *   {"stay": true}                   this daemon, and those after it, do not end when idle
 *   {"bye": true}                    it ends, and so does the holder; nothing is left to hold
 * Holder to daemon, at its start and in this order:
 *   {"start": {"restarts", "holder", "lost_ns": CLOCK_MONOTONIC at the end of the one before, "stay", "why"}} [+ listening socket]
 *   {"hold": ...} for each, then {"go": true}. With "log_only" in its meta there is the redo log alone: the mount is given up, not what was done in it
 * and at any time after: {"end": true}   end, as for the verb shutdown */
#pragma once
#include <jansson.h>

enum { HOLD_FDS_MAX = 2, HOLD_BYTES_MAX = 65536 };

/* Blocking. msg is stolen. 0; -EMSGSIZE; -ENOMEM; -errno of the socket. */
int hold_send(int sock, json_t *msg, const int *fds, unsigned fd_count);
/* Blocking. 0, an owned object and owned descriptors (O_CLOEXEC); -ENODATA: the other side is gone; -EBADMSG; -errno. On errors none are left open. */
int hold_recv(int sock, json_t **ret, int fds[HOLD_FDS_MAX], unsigned *ret_fd_count);
