/* URLs of files that carry a signature: they name no sandbox; it is the one whose token made it. */
#pragma once
#include "sandbox/e2b/e2b.h"
/* As e2b_call_go(), for a request with ?signature=. */
void e2b_signed_go(void *self, const char *operation, void (*go)(void *self));
