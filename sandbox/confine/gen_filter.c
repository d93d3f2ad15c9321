/* Writes the seccomp filters of the default profile, at build time: as C arrays (BPF), as text for review (PFC), as the list for docs/profile.md.
 * Usage: gen_filter OUT.c OUT.pfc OUT.md. Needs libseccomp here, so that the static agent does not. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONDITIONS_MAX = 4 };
struct rule { const char *call; int err; unsigned n; struct scmp_arg_cmp cmp[CONDITIONS_MAX]; };   /* err 0: allow */
static struct rule rules[512];
static unsigned rule_count;

static void die(const char *what, int err) {
    fprintf(stderr, "gen_filter: %s: %s\n", what, strerror(err < 0 ? -err : err));
    exit(1);
}

static void rule(const char *call, int err, unsigned n, const struct scmp_arg_cmp *cmp) {
    if (rule_count == sizeof rules / sizeof *rules || n > CONDITIONS_MAX) die(call, E2BIG);
    struct rule *r = &rules[rule_count++];
    *r = (struct rule){ .call = call, .err = err, .n = n };
    if (n) memcpy(r->cmp, cmp, n * sizeof *cmp);
}

#define MASKED(arg, mask, value) ((struct scmp_arg_cmp){ (arg), SCMP_CMP_MASKED_EQ, (mask), (value) })
#define IS(arg, value) MASKED(arg, 0xffffffffu, (value))
#define RULE(call, err, ...) do { \
        const struct scmp_arg_cmp c_[] = { __VA_ARGS__ }; \
        rule(#call, err, sizeof c_ / sizeof *c_, c_); \
    } while (0);

static void deny_bits(const char *call, int err, unsigned arg, uint32_t bits) {
    for (uint32_t bit = 1; bit; bit <<= 1)
        if (bits & bit) rule(call, err, 1, (struct scmp_arg_cmp[]){ MASKED(arg, bit, bit) });
}

static void deny_each(const char *call, int err, unsigned arg, unsigned first, unsigned last) {
    for (unsigned v = first; v <= last; v++) rule(call, err, 1, (struct scmp_arg_cmp[]){ IS(arg, v) });
}

/* Protocols that exist and are not for the family's stream and datagram sockets. */
static void deny_protocols(const char *call, int err, unsigned family) {
    static const uint16_t other[] = { IPPROTO_ICMP, IPPROTO_IGMP, IPPROTO_IPIP, IPPROTO_EGP, IPPROTO_PUP, IPPROTO_IDP, IPPROTO_TP, IPPROTO_DCCP,
        IPPROTO_IPV6, IPPROTO_RSVP, IPPROTO_GRE, IPPROTO_ESP, IPPROTO_AH, IPPROTO_ICMPV6, IPPROTO_MTP, IPPROTO_BEETPH, IPPROTO_ENCAP, IPPROTO_PIM,
        IPPROTO_COMP, 115 /* L2TP */, IPPROTO_SCTP, IPPROTO_UDPLITE, IPPROTO_MPLS, IPPROTO_RAW, 256 /* SMC */, 262 /* MPTCP */ };
    for (unsigned i = 0; i < sizeof other / sizeof *other; i++)
        rule(call, err, 2, (struct scmp_arg_cmp[]){ IS(0, family), IS(2, other[i]) });
    rule(call, err, 3, (struct scmp_arg_cmp[]){ IS(0, family), MASKED(1, 0xf, SOCK_STREAM), IS(2, IPPROTO_UDP) });
    rule(call, err, 3, (struct scmp_arg_cmp[]){ IS(0, family), MASKED(1, 0xf, SOCK_DGRAM), IS(2, IPPROTO_TCP) });
}

static void deny_netlink(const char *call, int err, unsigned first, unsigned last) {
    for (unsigned v = first; v <= last; v++) rule(call, err, 2, (struct scmp_arg_cmp[]){ IS(0, AF_NETLINK), IS(2, v) });
}

static void make_rules(void) {
#define ALLOW(call, ...) RULE(call, 0, __VA_ARGS__)
#define DENY(call, err, ...) DENY_(call, err, ##__VA_ARGS__)
#define DENY_(call, err, ...) do { \
        const struct scmp_arg_cmp c_[CONDITIONS_MAX + 1] = { __VA_ARGS__ }; \
        rule(#call, err, sizeof((const struct scmp_arg_cmp[]){ __VA_ARGS__ }) / sizeof *c_, c_); \
    } while (0);
#define DENY_BITS(call, err, arg, bits) deny_bits(#call, err, arg, bits);
#define DENY_EACH(call, err, arg, first, last) deny_each(#call, err, arg, first, last);
#define DENY_PROTOCOLS(call, err, family) deny_protocols(#call, err, family);
#define DENY_NETLINK(call, err, first, last) deny_netlink(#call, err, first, last);
#include "sandbox/confine/rules.h"
}

/* The number of a call here, or < 0: this architecture has no such call. */
static int number(const char *name, int fallback) {
    int nr = seccomp_syscall_resolve_name(name);
    if (nr == __NR_SCMP_ERROR && seccomp_arch_native() == SCMP_ARCH_X86_64) nr = fallback;
    return nr;
}

static void add(scmp_filter_ctx ctx, uint32_t action, int nr, const struct rule *r) {
    int e = seccomp_rule_add_exact_array(ctx, action, nr, r ? r->n : 0, r ? r->cmp : NULL);
    if (e) die(r ? r->call : "rule", e);
}

static scmp_filter_ctx new_filter(uint32_t otherwise) {
    scmp_filter_ctx ctx = seccomp_init(otherwise);
    if (!ctx) die("seccomp_init", ENOMEM);
    int e = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (!e) e = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);     /* a tree over the numbers */
    if (e) die("attribute", e);
    return ctx;
}

static void add_call(scmp_filter_ctx ctx, const char *name, int fallback) {
    int nr = number(name, fallback);
    if (nr < 0) return;
    bool conditional = false;
    for (unsigned i = 0; i < rule_count; i++)
        if (!rules[i].err && !strcmp(rules[i].call, name)) {
            add(ctx, SCMP_ACT_ALLOW, nr, &rules[i]);
            conditional = true;
        }
    if (!conditional) add(ctx, SCMP_ACT_ALLOW, nr, NULL);
}

static scmp_filter_ctx calls_filter(void) {
    scmp_filter_ctx ctx = new_filter(SCMP_ACT_ERRNO(ENOSYS));
#define GROUP(name, why)
#define CALL(name, nr) add_call(ctx, #name, nr);
#include "sandbox/confine/calls.h"
#undef GROUP
#undef CALL
    return ctx;
}

static scmp_filter_ctx arguments_filter(void) {
    scmp_filter_ctx ctx = new_filter(SCMP_ACT_ALLOW);
    for (unsigned i = 0; i < rule_count; i++) {
        int nr = number(rules[i].call, -1);
        if (rules[i].err && nr >= 0) add(ctx, SCMP_ACT_ERRNO((uint16_t)rules[i].err), nr, &rules[i]);
    }
    return ctx;
}

static void write_c(FILE *f, scmp_filter_ctx ctx, const char *name) {
    int fd = memfd_create("bpf", MFD_CLOEXEC), e = seccomp_export_bpf(ctx, fd);
    if (e) die("export", e);
    struct sock_filter s;
    unsigned n = 0;
    fprintf(f, "const struct sock_filter confine_filter_%s[] = {\n", name);
    for (; pread(fd, &s, sizeof s, (off_t)(n * sizeof s)) == (ssize_t)sizeof s; n++)
        fprintf(f, "    { 0x%04x, %u, %u, 0x%08x },\n", s.code, s.jt, s.jf, s.k);
    fprintf(f, "};\nconst unsigned short confine_filter_%s_count = %u;\n", name, n);
    close(fd);
}

static FILE *out(const char *path) {
    FILE *f = fopen(path, "we");
    if (!f) die(path, errno);
    return f;
}

static void done(FILE *f, const char *path) {
    if (fflush(f) || ferror(f)) die(path, errno);
    fclose(f);
}

static void md_call(FILE *f, const char *name, unsigned *n) {
    bool ruled = false;
    for (unsigned i = 0; i < rule_count; i++) ruled |= !strcmp(rules[i].call, name);
    fprintf(f, " %s%s", name, ruled ? "\\*" : "");
    ++*n;
}

/* One row for each group, calls with an argument rule marked. */
static void write_md(FILE *f) {
    unsigned n = 0;
    fputs("| group | why | calls (\\*: has an argument rule) |\n|---|---|---|", f);
#define GROUP(name, why) fprintf(f, "%s\n| %s | %s |", n ? " |" : "", name, why);
#define CALL(name, nr) md_call(f, #name, &n);
#include "sandbox/confine/calls.h"
#undef GROUP
#undef CALL
    fprintf(f, " |\n\n%u calls.\n", n);
}

int main(int argc, char **argv) {
    if (argc != 4) die("usage: gen_filter OUT.c OUT.pfc OUT.md", EINVAL);
    make_rules();
    scmp_filter_ctx calls = calls_filter(), arguments = arguments_filter();
    FILE *c = out(argv[1]), *pfc = out(argv[2]), *md = out(argv[3]);
    fputs("/* Made by gen_filter from sandbox/confine/calls.h and rules.h. */\n#include \"sandbox/confine/filter.h\"\n", c);
    write_c(c, calls, "calls");
    write_c(c, arguments, "arguments");
    fflush(pfc);
    int e = seccomp_export_pfc(calls, fileno(pfc));
    if (!e) e = seccomp_export_pfc(arguments, fileno(pfc));
    if (e) die(argv[2], e);
    write_md(md);
    done(c, argv[1]);
    done(pfc, argv[2]);
    done(md, argv[3]);
    seccomp_release(calls);
    seccomp_release(arguments);
    return 0;
}
