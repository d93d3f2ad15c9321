/* Called by exec.c and execs.c. */
#pragma once
#include "sandbox/term.h"
void terms_started(struct exec *e);                    /* an execution has started: a terminal gets its screen */
void terms_adopt(struct exec *e);                      /* the same of one that was found running: its name comes back */
void term_gone(struct exec *e);                        /* it leaves the table; its readers have ended */
unsigned terms_count(struct box *b);                   /* that hold a screen, or will */
void terms_deleted(struct box *b);                     /* the box is being deleted: what is stored of its terminals goes */
