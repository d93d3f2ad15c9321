/* The launcher's packets (sandbox/egress_proto.h). In the loop's thread. */
#pragma once
#include "sandbox/egress/egress.h"

/* A sealed memfd with the CA's certificate; then says hello with it (closes it). */
int control_open(const struct egress *e, int *ret_pem_fd);
int control_hello(int pem_fd);
/* One packet. 0; 1: the launcher is gone; -errno. */
int control_event(struct egress *e);
