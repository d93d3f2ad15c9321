/* What egress may still do once it has all it needs: talk over TCP and UDP, start threads, keep its files below the directory that it was given. Nothing else, whatever takes it over. */
#pragma once
/* No core, no debugger, no new privileges, all descriptors that the limit allows. Before secrets are read. 0 or -errno. */
int isolate_begin(void);
/* The filter over system calls: for all threads that come after, and for good. 0 or -errno. */
int isolate_end(void);
