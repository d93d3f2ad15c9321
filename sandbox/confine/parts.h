/* The steps of confine_init() and the parts of the self-test, one file each. Internal; tests leave one out to see that it is missed. 0 or -errno. */
#pragma once
#include <stdbool.h>
#include "sandbox/confine/confine.h"

/* What is outside, from CONFINE_OUTSIDE. Namespaces in the order of the LAYER bits. */
enum { CONFINE_NAMESPACES = 7 };
struct confine_outside { uint64_t ns[CONFINE_NAMESPACES], root_dev, root_ino; bool known; };
extern struct confine_outside confine_outside;
extern const char *const confine_ns_file[CONFINE_NAMESPACES];     /* "/proc/self/ns/user", ... */

int confine_outside_parse(const char *text);
int confine_limits(void);             /* limits that processes inherit */
int confine_caps_cut(void);           /* bounding and ambient sets, securebits; what stays is KILL, SETUID, SETGID */
int confine_caps_drop(void);          /* all */
int confine_no_new_privs(void);
int confine_landlock(void);
int confine_seccomp(void);
enum { CONFINE_SECUREBITS = 0xef };   /* NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE and the locks of these and of KEEP_CAPS (which is off) */

uint64_t confine_prove_namespaces(void);
uint64_t confine_prove_mounts(void);  /* MOUNTNS's half (no propagation) too: both must hold */
uint64_t confine_prove_proc(void);
uint64_t confine_prove_caps(void);
uint64_t confine_prove_seccomp(void);
uint64_t confine_prove_landlock(void);

/* A file into buf, NUL added. Bytes read, -E2BIG if it does not fit, -errno. */
long confine_read_file(const char *path, char *buf, size_t size);
