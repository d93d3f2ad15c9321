/* sandboxd as the launcher's child (child.h). */
#pragma once
#include "sandbox/launcher/child.h"

extern const struct child_kind sandboxd_kind;
void sandboxd_answers(struct launch *l);  /* it has said HELLO: whoever waits for our start is told */
