/* The words of `mount -o`. */
#pragma once
/* For args: adds each word of the list "a,b=c" to the json object arg. 0; 2 after saying which word is wrong. */
int mount_option_list(void *arg, const char *val);
/* The same for mount.fuse.coppice: generic words (see the .c) are accepted and dropped, store=DIR is put to *ret_store (owned). */
int mount_option_list_generic(void *arg, const char *val, char **ret_store);
