/* What the process may do, and what it gives up. */
#pragma once
/* Descriptors to the hard limit; less likely to be killed for memory. What is not allowed is left as it is. */
void privilege_limits(void);
/* Keeps CAP_SYS_ADMIN (to mount) and what access to files of others takes; drops all other capabilities, also for what is executed. For a
 * process without capabilities it does nothing. 0 or -errno. Before threads are started. */
int privilege_shed(void);
