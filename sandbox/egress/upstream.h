/* The connection to an upstream of one client connection: made for one authority after a verdict, used again for the next request to the same one, or closed. */
#pragma once
#include "sandbox/egress/conn.h"
#include "sandbox/egress/dial.h"

/* Makes c->up a connection to `to`; one that is there and fits is kept (c->up.used). 0, or -errno with ret_error a word for the refusal and ret_why its text (static). */
int upstream_open(struct conn *c, const struct authority *to, const struct dial_allow *allow, const char **ret_error, const char **ret_why);
void upstream_close(struct conn *c);
