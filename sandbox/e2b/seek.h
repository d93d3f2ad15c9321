/* Requests that name no sandbox: it is the one whose token they carry, or whose token signed their URL. */
#pragma once
#include "sandbox/e2b/e2b.h"
/* operation: "read" or "write": by ?signature=; NULL: by X-Access-Token. then: once; b NULL: there is none. Not called when the client left before, or the store could not be asked (answered). */
void e2b_seek(struct e2b_call *k, const char *operation, void (*then)(struct e2b_call *k, struct box *b));
/* As e2b_call_go(), for a request with ?signature=. */
void e2b_signed_go(void *self, const char *operation, void (*go)(void *self));
