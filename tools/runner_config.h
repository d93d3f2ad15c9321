/* What `coppice up` was told about the network and previews of sandboxes: STORE/sandbox/config.json. It holds for every later start of the runner, also those that a verb does by itself. */
#pragma once
#include <stddef.h>

/* "" means: the runner's default. Absolute paths; secret_key may be "memory"; domain is [http://|https://]NAME[:PORT]. */
struct runner_config { char secret_key[4096], upstream_roots[4096], resolver[4096], domain[4096]; };
/* dir: STORE/sandbox, opened. 0 (no file: all defaults), or -errno with why. */
int runner_config_load(int dir, struct runner_config *ret, char *ret_why, size_t size);
int runner_config_save(int dir, const struct runner_config *c);       /* atomic. 0 or -errno */
/* An option's value into one of the fields: "default" is "", a relative path is taken from here. 0 or -errno. */
int runner_config_set(char field[4096], const char *value);
