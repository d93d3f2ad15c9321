/* Where clients come in: the Unix socket, the TCP port, the token. They are the launcher's, so that they stay when sandboxd is started again. */
#pragma once
struct launch;
/* STORE/sandbox/api.sock, mode 0600. 0 or -errno. */
int doors_unix(struct launch *l);
/* options.listen: binds, makes the token if there is none, fills listen_text and token_hash. 0, or -errno with a text for people. */
int doors_tcp(struct launch *l, char *ret_why, unsigned long size);
void doors_close(struct launch *l);       /* nobody comes in any more; the socket file is removed */
/* Is somebody listening at STORE/sandbox/api.sock? dir_fd: STORE/sandbox. */
int doors_knock(int dir_fd);
