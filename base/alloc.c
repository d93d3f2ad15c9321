#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

_Bool (*mem_fault)(size_t size);

static _Bool faulty(size_t size)
{
    return mem_fault && mem_fault(size);
}

void *mem_alloc(size_t size)
{
    return faulty(size) ? NULL : malloc(size ? size : 1);
}

void *mem_zalloc(size_t size)
{
    return faulty(size) ? NULL : calloc(1, size ? size : 1);
}

void *mem_realloc(void *p, size_t size)
{
    return faulty(size) ? NULL : realloc(p, size ? size : 1);
}

void *mem_dup(const void *p, size_t size)
{
    void *q = mem_alloc(size);
    if (q && size)
        memcpy(q, p, size);
    return q;
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}
