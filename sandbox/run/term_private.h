/* Called by exec.c and execs.c. */
#pragma once
#include "sandbox/term.h"
void terms_adopt(struct box *b, struct exec *e);       /* an execution has started, or was found running: a terminal gets its screen */
void term_gone(struct exec *e);                        /* it leaves the table; its readers have ended */
