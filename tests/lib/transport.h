/* COPPICE_TRANSPORT=uring: the test's mounts use io_uring, or it is skipped, saying why. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fs/fuse_mount.h"

static inline enum mount_transport test_transport(void)
{
    const char *s = getenv("COPPICE_TRANSPORT"), *why;

    if (!s || strcmp(s, "uring"))
        return TRANSPORT_CLASSIC;
    why = fuse_uring_probe(true);
    if (why) {
        printf("1..0 # SKIP no FUSE over io_uring: %s\n", why);
        exit(77);
    }
    return TRANSPORT_URING;
}
