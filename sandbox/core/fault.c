#include "sandbox/sandboxd.h"

#include <stdarg.h>
#include <stdio.h>

void fault_set(struct fault *f, const char *code, const char *fmt, ...)
{
    va_list ap;

    f->code = code;
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof(f->text), fmt, ap);
    va_end(ap);
}
