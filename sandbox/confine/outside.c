/* What the launcher's namespaces and root are, and that ours are others. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "sandbox/confine/parts.h"

struct confine_outside confine_outside;
const char *const confine_ns_file[CONFINE_NAMESPACES] = { "/proc/self/ns/user", "/proc/self/ns/mnt", "/proc/self/ns/pid", "/proc/self/ns/net",
    "/proc/self/ns/ipc", "/proc/self/ns/uts", "/proc/self/ns/cgroup" };

int confine_outside_text(char *out, size_t size) {
    uint64_t v[CONFINE_NAMESPACES + 2];
    struct stat st;
    for (unsigned i = 0; i < CONFINE_NAMESPACES; i++) {
        if (stat(confine_ns_file[i], &st)) return -errno;
        v[i] = st.st_ino;
    }
    if (stat("/", &st)) return -errno;
    v[CONFINE_NAMESPACES] = st.st_dev;
    v[CONFINE_NAMESPACES + 1] = st.st_ino;
    size_t n = 0;
    for (unsigned i = 0; i < CONFINE_NAMESPACES + 2; i++) {
        int k = snprintf(out + n, size - n, "%s%llx", i ? "," : "", (unsigned long long)v[i]);
        if (k < 0 || (size_t)k >= size - n) return -ENOSPC;
        n += (size_t)k;
    }
    return 0;
}

int confine_outside_parse(const char *text) {
    struct confine_outside o = { .known = true };
    uint64_t *slot[CONFINE_NAMESPACES + 2];
    for (unsigned i = 0; i < CONFINE_NAMESPACES; i++) slot[i] = &o.ns[i];
    slot[CONFINE_NAMESPACES] = &o.root_dev;
    slot[CONFINE_NAMESPACES + 1] = &o.root_ino;
    for (unsigned i = 0; i < CONFINE_NAMESPACES + 2; i++) {
        char *end;
        errno = 0;
        *slot[i] = strtoull(text, &end, 16);
        if (errno || end == text || *end != (i < CONFINE_NAMESPACES + 1 ? ',' : '\0')) return -EINVAL;
        text = end + 1;
    }
    confine_outside = o;
    return 0;
}

/* The user namespace maps onto ids above those of ordinary users. (Seen from inside, the second number is that of the parent's.) */
static bool mapped_high(void) {
    char buf[1024];
    if (confine_read_file("/proc/self/uid_map", buf, sizeof buf) <= 0) return false;
    unsigned long inside, outside, count;
    unsigned lines = 0;
    for (char *p = buf; *p; lines++) {
        char *nl = strchr(p, '\n');
        if (sscanf(p, "%lu %lu %lu", &inside, &outside, &count) != 3 || outside < 65536) return false;
        if (!nl) break;
        p = nl + 1;
    }
    return lines > 0;
}

/* No interface but loopback: after the two lines of headings. */
static bool only_loopback(void) {
    char buf[4096];
    if (confine_read_file("/proc/self/net/dev", buf, sizeof buf) <= 0) return false;
    unsigned line = 0;
    for (char *p = buf; *p; line++) {
        char *nl = strchr(p, '\n');
        if (line >= 2 && strncmp(p + strspn(p, " "), "lo:", 3)) return false;
        if (!nl) break;
        p = nl + 1;
    }
    return line >= 2;
}

/* Every hierarchy begins at our own group: each line "NUMBER:CONTROLLERS:/". */
static bool cgroups_begin_here(void) {
    char buf[4096];
    if (confine_read_file("/proc/self/cgroup", buf, sizeof buf) < 0) return false;
    for (char *p = buf; *p;) {
        char *nl = strchr(p, '\n');
        if (!nl) return false;
        if (nl - p < 2 || memcmp(nl - 2, ":/", 2)) return false;
        p = nl + 1;
    }
    return true;
}

uint64_t confine_prove_namespaces(void) {
    uint64_t proved = 0;
    if (!confine_outside.known) return 0;
    for (unsigned i = 0; i < CONFINE_NAMESPACES; i++) {
        struct stat st;
        if (!stat(confine_ns_file[i], &st) && st.st_ino != confine_outside.ns[i]) proved |= 1u << i;
    }
    if (!mapped_high()) proved &= ~(uint64_t)LAYER_USERNS;
    if (getppid() != 1) proved &= ~(uint64_t)LAYER_PIDNS;        /* the self-test is a child of the agent */
    if (!only_loopback()) proved &= ~(uint64_t)LAYER_NETNS;
    if (!cgroups_begin_here()) proved &= ~(uint64_t)LAYER_CGROUPNS;
    return proved;
}
