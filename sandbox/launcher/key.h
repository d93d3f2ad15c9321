/* The key of the store's secrets: 32 bytes in a sealed memfd for egress. It is never in the store. */
#pragma once
#include <stddef.h>
struct launch;
/* options.secret_key: NULL: /etc/coppice/keys/STORE-ID; a path; "memory": a new one that is gone with the launcher. A file is made at the first use (0600), and refused if others than root
 * may read or write it, or if it is not 32 bytes. The descriptor, or -errno with a text for people. */
int key_open(struct launch *l, char *ret_why, size_t size);
#define KEY_DIR "/etc/coppice/keys"
