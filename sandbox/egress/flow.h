/* What is done with a connection, by the door it came in through. Each returns when the connection is to end. */
#pragma once
#include "sandbox/egress/conn.h"
#include "sandbox/egress/http1.h"

void flow_http(struct conn *c);            /* 80 */
void flow_tls(struct conn *c);             /* 443 */
void flow_proxy(struct conn *c);           /* 3128 */
void flow_dns(struct conn *c);             /* 53, TCP */
void flow_dns_datagrams(struct egress_box *b, int fd, unsigned most);

/* TLS begins now, and is for `to` (to->port too; its host only when `named`: after CONNECT the ClientHello must say the same). */
void flow_tls_for(struct conn *c, const struct authority *to, bool named);
/* Requests, one after the other. only: all of them are for this authority (NULL: plain, and each says for whom; `proxy`: in absolute form, else the first says it for all). */
void flow_requests(struct conn *c, const struct authority *only, bool proxy);
/* Reads a request's head. 1: there; 0: the client is done; -errno: it was told why, or cannot be. */
int flow_head(struct conn *c, struct http1_head *ret);
