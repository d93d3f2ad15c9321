/* A disk that forgets: replays a log of the shim and gives what could be there after the power went at a given record. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "tests/model/rng.h"

struct disk_image;
/* Maps the log. NULL on failure. */
struct disk_image *disk_image_new(const char *log_path);
void disk_image_free(struct disk_image *d);
size_t disk_image_records(const struct disk_image *d);
/* Applies one more record. Value of a MARK, or -1. */
int64_t disk_image_step(struct disk_image *d);
enum loss { LOSS_NONE, LOSS_ALL, LOSS_RANDOM };           /* of what was not synced */
/* Writes a possible state into dir (made). 0 or -errno. */
int disk_image_write(const struct disk_image *d, enum loss loss, struct rng *r, const char *dir);
