/* Packets with descriptors beside them, to a SOCK_SEQPACKET socket that does not block: what finds no room waits in a queue, in order. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum { PACKET_FDS_MAX = 8 };
struct packet;
struct packet_queue { struct packet *first, **end; unsigned count; };
void packets_init(struct packet_queue *q);
void packets_drop(struct packet_queue *q);                /* none waits any more */
/* Behind those that wait. fds (at most PACKET_FDS_MAX) are duplicated. 0 or -errno */
int packets_add(struct packet_queue *q, const void *p, size_t n, const int *fds, unsigned fd_count);
/* Sends what can be sent. True: none waits. One that fails otherwise than for room is dropped: the other side has ended, which its owner learns in other ways. */
bool packets_flush(struct packet_queue *q, int sock);
/* At once: 0 or -errno. */
int packet_send(int sock, const void *p, size_t n, const int *fds, unsigned fd_count);
bool packet_no_room(int r);                               /* such a result says: later */
/* The descriptors of a received message, which are the caller's; ret has room for what its control buffer holds. */
unsigned packet_fds(struct msghdr *m, int *ret);
