/* What a sandbox takes for the world's certificates: the store's CA and the host's roots in one PEM file, on a tmpfs of its own that all sandboxes see read-only. */
#pragma once
/* ca_fd: egress's certificate, as it came with HELLO: not trusted to be one. roots_fd: a PEM file of the host. The mount's descriptor or -errno: -EBADMSG: ca_fd holds no certificate. */
int bundle_make(int ca_fd, int roots_fd);
#define BUNDLE_NAME "ca-bundle.pem"
/* For one husk: the file as a detached read-only mount; where the kernel does not clone a mount that is nowhere (before 6.15) a tmpfs with a copy. -errno. */
int bundle_clone(int bundle_fd);
int bundle_copy(int bundle_fd);           /* only the second way */
