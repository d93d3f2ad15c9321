/* Leases of blocks of user ids. No two live boxes of this machine have the same block, whichever store they are of: a lease is a lock on one byte of
 * /run/coppice/ids, which is the open file description's and so ends with this process at the latest. A block comes up again as late as possible. */
#pragma once
#include <stdint.h>
#include "sandbox/launch_proto.h"

enum { IDS_BLOCKS = 16384 };              /* LAUNCH_ID_FIRST .. 0x7fffffff */
struct ids { int fd; uint32_t next; uint8_t leased[IDS_BLOCKS / 8]; };
int ids_init(struct ids *ids, const char *dir);        /* makes dir and the file. 0 or -errno */
void ids_fini(struct ids *ids);
int ids_lease(struct ids *ids, uint32_t *ret_block);   /* 0; -EDQUOT: all are leased; -errno */
void ids_release(struct ids *ids, uint32_t block);
static inline uint32_t ids_base(uint32_t block) { return (uint32_t)LAUNCH_ID_FIRST + block * LAUNCH_ID_BLOCK; }
