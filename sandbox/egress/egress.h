/* The process `egress` (docs/egress.md 1, 6): one loop (main.c, listener.c) that speaks with the launcher and takes connections in, one small thread for each connection, one for each
 * sandboxd. What is here is made before any thread starts and stays until the end. */
#pragma once
#include <stdatomic.h>
#include "sandbox/egress/audit.h"
#include "sandbox/egress/ca.h"
#include "sandbox/egress/leaf.h"
#include "sandbox/egress/resolver.h"
#include "sandbox/egress/state.h"
#include "sandbox/egress/tls.h"
#include "sandbox/egress_proto.h"

/* What one box may have, and all together. A box may also not have more connections than are left for the others. */
enum { BOX_CONNECTIONS = 512, BOX_MANY = 32, MANY_NICE = 10, ALL_CONNECTIONS = 4096, STACK_BYTES = 256 * 1024, BOX_MINT_PER_S = 200, BOX_MINT_MOST = 300, BOX_DENIED_PER_S = 10, BOX_DENIED_MOST = 100,
       BOX_DNS_PER_S = 1000, BOX_DNS_MOST = 2000, BOX_DNS_EVENTS_PER_S = 10, BOX_DNS_EVENTS_MOST = 200 };
/* Seconds. The head of a request, once it began; a ClientHello; between two requests; to reach an upstream; its handshake; its answer, and any silence once there is one; a sandbox that
 * sends a body (also: BODY_LEAST bytes in such a time), or does not take what we say. */
enum { HEAD_S = 15, HELLO_S = 10, IDLE_S = 75, DIAL_S = 10, HANDSHAKE_S = 10, SILENCE_S = 900, BODY_S = 60, BODY_LEAST = 1024, SAY_S = 10, LINGER_MS = 500, DNS_TCP_S = 10 };

struct egress_box;
struct egress {
    struct state *state;
    struct secrets *secrets;               /* of the state */
    struct audit *audit;
    struct ca ca;
    struct tls tls;
    struct leaves *leaves;
    struct resolver resolver;
    const char *key_life;                  /* "file", "memory" */
    unsigned connections_max, cpus;
    atomic_uint connections, clients;
    int epoll_fd, wake_fd;                 /* wake_fd: eventfd, a connection ended */
    pthread_mutex_t lock;                  /* guards boxes, box_count */
    struct egress_box *boxes[LAUNCH_BOXES_MAX];
    unsigned box_count;
};
