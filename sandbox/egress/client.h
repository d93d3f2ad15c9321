/* A sandboxd's connection: JSON requests, answered in order by a thread of its own; log streams are threads of their own, writing to the same connection. */
#pragma once
#include "sandbox/egress/egress.h"

enum { CLIENTS_MAX = 8, CLIENT_STREAMS_MAX = 32 };
/* Takes fd. */
int client_start(struct egress *e, int fd);
