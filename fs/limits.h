/* Sizes that the formats and the caches keep to. */
#pragma once
#include <stdint.h>

enum {
    UNIT = 4096,                          /* allocation unit of segments */
    SLOT = 128 * 1024,                    /* file offsets are cut here; the largest chunk */
    SLOT_UNITS = SLOT / UNIT,             /* 32 */
    INLINE_MAX = 2048,                    /* a file this small lives in its BODY key */
    NAME_BYTES_MAX = 255,
    SYMLINK_MAX = 4095,
    XATTR_NAME_MAX_ = 255,
    XATTR_VALUE_MAX = 65536,
    XATTRS_MAX = 1 << 30,                /* names and values of one inode */
    LINKS_MAX = 65000,
    KEY_MAX = 9 + 8 + 255,                /* longest key: a dirent */
    NODE_MIN = 4096, NODE_MAX = 16384,    /* when a node may, and must, end; one entry may carry it further */
    NODE_MASK = 31,                       /* key hash bits that must be zero for a node to end between the two */
    NODE_BYTES_MAX = NODE_MAX + XATTR_VALUE_MAX + 2 * KEY_MAX + 64,
    NODE_LEVELS_MAX = 12,
    OBJECT_NAME_MAX = 64,                 /* [a-z0-9][a-z0-9._-]{0,63} */
    FROZEN_MAX = 2,                       /* unfolded layers that may stack up */
};
#define FILE_SIZE_MAX INT64_MAX           /* 8 EiB - 1 */
#define LAYER_SOFT_BYTES (64ull << 20)    /* map bytes of a live layer after which it is frozen without a snapshot */
#define LAYER_HARD_BYTES (256ull << 20)   /* after which writers wait for the fold */
#define INO_ROOT 1ull
#define INO_IMPORT (1ull << 62)           /* set in numbers that import made from paths */
