/* A text of a test as the parsers of egress take it. */
#pragma once
#include <string.h>
#include "sandbox/egress/http1.h"

static inline struct slice slice(const char *text) { return (struct slice){ text, strlen(text) }; }
