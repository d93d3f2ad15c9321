/* The filters judge as docs/profile.md says: run in an interpreter of our own over every number and a census of arguments, and compared with rules written down here once
 * more. The x86-64 programs have the committed hash; the document's list is the generated one. Usage: test_filter HASHES CALLS.md PROFILE.md */
#include <errno.h>
#include <linux/audit.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <cmocka.h>
#include "sandbox/confine/filter.h"

static const char *hashes_path, *calls_path, *profile_path;

/* Classic BPF, as far as seccomp has it. */
static uint32_t run(const struct sock_filter *f, unsigned n, const struct seccomp_data *d) {
    uint32_t a = 0;
    for (unsigned pc = 0; pc < n; pc++) {
        const struct sock_filter *i = &f[pc];
        bool is = false;
        switch (i->code) {
        case BPF_LD | BPF_W | BPF_ABS: assert_true(i->k <= sizeof *d - 4); memcpy(&a, (const char *)d + i->k, 4); continue;
        case BPF_ALU | BPF_AND | BPF_K: a &= i->k; continue;
        case BPF_JMP | BPF_JA: pc += i->k; continue;
        case BPF_JMP | BPF_JEQ | BPF_K: is = a == i->k; break;
        case BPF_JMP | BPF_JGT | BPF_K: is = a > i->k; break;
        case BPF_JMP | BPF_JGE | BPF_K: is = a >= i->k; break;
        case BPF_RET | BPF_K: return i->k;
        default: fail_msg("instruction 0x%x", i->code);
        }
        pc += is ? i->jt : i->jf;
    }
    fail_msg("the program has no end");
    return 0;
}

/* As the kernel takes them: the newest first, the strictest action wins, the first of equals. -1: killed; 0: allowed; else the errno. */
static int judge_arch(uint32_t arch, int nr, uint64_t a0, uint64_t a1, uint64_t a2) {
    struct seccomp_data d = { .nr = nr, .arch = arch, .args = { a0, a1, a2 } };
    uint32_t second = run(confine_filter_arguments, confine_filter_arguments_count, &d), first = run(confine_filter_calls, confine_filter_calls_count, &d);
    uint32_t r = (int32_t)(first & SECCOMP_RET_ACTION_FULL) < (int32_t)(second & SECCOMP_RET_ACTION_FULL) ? first : second;
    if ((r & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_KILL_PROCESS) return -1;
    if (r == SECCOMP_RET_ALLOW) return 0;
    assert_int_equal(r & SECCOMP_RET_ACTION_FULL, SECCOMP_RET_ERRNO);
    return (int)(r & SECCOMP_RET_DATA);
}
static int judge(int nr, uint64_t a0, uint64_t a1, uint64_t a2) { return judge_arch(AUDIT_ARCH_X86_64, nr, a0, a1, a2); }
/* Whatever stands in the upper halves. */
static int judge_dirty(int nr, uint64_t a0, uint64_t a1, uint64_t a2) { return judge(nr, a0 | 0xdead00000000, a1 | 0x100000000, a2 | 0xffffffff00000000); }

static bool is_named(int nr) {
    static const char *const names[] = {
#define GROUP(name, why)
#define CALL(name, nr) #name,
#include "sandbox/confine/calls.h"
#undef CALL
    };
    static const int numbers[] = {
#define CALL(name, nr) nr,
#include "sandbox/confine/calls.h"
#undef CALL
    };
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        int n = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, names[i]);
        if ((n == __NR_SCMP_ERROR ? numbers[i] : n) == nr) return true;
    }
    return false;
}

static void what_is_not_named_is_no_call(void **state) {
    unsigned named = 0;
    for (int nr = 0; nr < 2048; nr++) {
        int r = judge(nr, 0, 0, 0);
        if (is_named(nr)) named++;
        else assert_true(r == ENOSYS || (nr == SYS_setns && r == EPERM));
    }
    assert_int_equal(named, 282);
    static const int never[] = { SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup, SYS_keyctl, SYS_add_key, SYS_request_key,
        SYS_open_by_handle_at, SYS_name_to_handle_at, SYS_clone3, SYS_init_module, SYS_finit_module, SYS_kexec_load, SYS_reboot, SYS_swapon, SYS_iopl, SYS_ioperm, SYS_modify_ldt,
        SYS_fanotify_init, SYS_quotactl, SYS_syslog, SYS_acct, SYS_settimeofday, SYS_clock_settime, SYS_move_mount, SYS_fsopen, SYS_open_tree, SYS_mount_setattr };
    for (unsigned i = 0; i < sizeof never / sizeof *never; i++) assert_false(is_named(never[i]));
}

static void another_architecture_is_killed(void **state) {
    for (int nr = 0; nr < 1024; nr++) {
        assert_int_equal(judge_arch(AUDIT_ARCH_I386, nr, 0, 0, 0), -1);
        assert_int_equal(judge_arch(AUDIT_ARCH_AARCH64, nr, 0, 0, 0), -1);
        assert_int_equal(judge(nr | 0x40000000, 0, 0, 0), -1);
    }
}

static void sockets_are_unix_tcp_udp_and_route(void **state) {
    unsigned allowed = 0;
    for (unsigned family = 0; family < 80; family++)
        for (unsigned type = 0; type < 16; type++)
            for (unsigned protocol = 0; protocol < 300; protocol++) {
                bool in = (family == AF_INET || family == AF_INET6) && ((type == SOCK_STREAM && (!protocol || protocol == 6)) || (type == SOCK_DGRAM && (!protocol || protocol == 17)));
                bool un = family == AF_UNIX && (type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET) && !protocol;
                bool nl = family == AF_NETLINK && (type == SOCK_RAW || type == SOCK_DGRAM) && !protocol;
                bool expected = in || un || nl;
                if ((judge(SYS_socket, family, type | SOCK_CLOEXEC, protocol) == 0) != expected || (judge_dirty(SYS_socket, family, type, protocol) == 0) != expected)
                    fail_msg("socket(%u, %u, %u)", family, type, protocol);
                allowed += expected;
            }
    assert_int_equal(allowed, 13);
}

static void namespaces_are_never_new(void **state) {
    static const uint64_t flags[] = { CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET };
    for (unsigned set = 1; set < 128; set++) {
        uint64_t f = 0;
        for (unsigned i = 0; i < 7; i++) f |= set >> i & 1 ? flags[i] : 0;
        assert_int_equal(judge_dirty(SYS_clone, f | 17, 0, 0), EPERM);
        assert_int_equal(judge_dirty(SYS_clone, f | 0x3d0f00, 0, 0), EPERM);
        assert_int_equal(judge_dirty(SYS_unshare, f, 0, 0), EPERM);
    }
    assert_int_equal(judge(SYS_unshare, 0x80 /* CLONE_NEWTIME */, 0, 0), EPERM);
    assert_int_equal(judge(SYS_unshare, CLONE_FS | CLONE_FILES, 0, 0), 0);
    assert_int_equal(judge(SYS_clone, 0x3d0f00 /* a thread */, 0, 0), 0);
    assert_int_equal(judge(SYS_clone, 0x1200011 /* fork */, 0, 0), 0);
    assert_int_equal(judge(SYS_setns, 3, 0, 0), EPERM);
}

static void other_arguments_are_judged(void **state) {
    for (uint64_t cmd = 0x5400; cmd < 0x5480; cmd++) {
        int expected = cmd == 0x5412 || cmd == 0x541c || cmd == 0x541d || cmd == 0x5423 ? EPERM : 0;
        assert_int_equal(judge(SYS_ioctl, 0, cmd, 0), expected);
        assert_int_equal(judge_dirty(SYS_ioctl, 0, cmd, 0), expected);
    }
    for (unsigned type = 0; type < 16; type++) {
        bool fine = type == 0 || type == S_IFREG >> 12 || type == S_IFIFO >> 12 || type == S_IFSOCK >> 12;
        assert_int_equal(judge_dirty(SYS_mknod, 0, type << 12 | 0644, 0) == 0, fine);
        assert_int_equal(judge_dirty(SYS_mknodat, 0, 0, type << 12 | 0644) == 0, fine);
    }
    for (uint64_t bit = 1; bit <= 0x80000000; bit <<= 1) assert_int_not_equal(judge(SYS_personality, bit, 0, 0), 0);
    assert_int_equal(judge(SYS_personality, 0, 0, 0), 0);
    assert_int_equal(judge(SYS_personality, 0xffffffff, 0, 0), 0);
    for (unsigned policy = 0; policy < 16; policy++)
        for (unsigned reset = 0; reset < 2; reset++)
            assert_int_equal(judge_dirty(SYS_sched_setscheduler, 0, policy | reset << 30, 0) == 0, policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE);
    assert_int_equal(judge_dirty(SYS_setsockopt, 3, IPPROTO_TCP, 31), ENOPROTOOPT);
    assert_int_equal(judge(SYS_setsockopt, 3, IPPROTO_TCP, 1), 0);
    assert_int_equal(judge(SYS_prctl, PR_SET_NAME, 0, 0), 0);
    assert_int_equal(judge_dirty(SYS_prctl, PR_SET_MM, 0, 0), EPERM);
    assert_int_equal(judge(SYS_prctl, 62 /* PR_SCHED_CORE */, 0, 0), ENOSYS);
    assert_int_equal(judge(SYS_socketpair, AF_INET, SOCK_STREAM, 0), ENOSYS);
}

static char *text_of(const char *path) {
    static char buf[3][65536];
    static unsigned next;
    char *p = buf[next++ % 3];
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    p[fread(p, 1, sizeof *buf - 1, f)] = '\0';
    fclose(f);
    return p;
}

static void hex_of(const void *p, size_t n, char *out) {
    unsigned char md[32];
    assert_true(EVP_Digest(p, n, md, NULL, EVP_sha256(), NULL));
    for (unsigned i = 0; i < sizeof md; i++) sprintf(out + 2 * i, "%02x", md[i]);
}

/* Another libseccomp may arrange the same rules in another way; then the other tests alone decide. */
static void the_programs_have_the_committed_hash(void **state) {
    char line[3][160], hash[65];
    const struct scmp_version *v = seccomp_version();
    const char *committed = text_of(hashes_path);
    hex_of(confine_filter_calls, confine_filter_calls_count * sizeof *confine_filter_calls, hash);
    snprintf(line[0], sizeof *line, "%s  calls\n", hash);
    hex_of(confine_filter_arguments, confine_filter_arguments_count * sizeof *confine_filter_arguments, hash);
    snprintf(line[1], sizeof *line, "%s  arguments\n", hash);
    snprintf(line[2], sizeof *line, "# libseccomp %u.%u.%u, x86-64\n", v->major, v->minor, v->micro);
    if (!strstr(committed, line[2])) {
        print_message("the hash was made with another libseccomp than %s: not compared\n", line[2] + 2);
        skip();
    }
    if (!strstr(committed, line[0]) || !strstr(committed, line[1])) print_error("now:\n%s%s%s", line[2], line[0], line[1]);
    assert_non_null(strstr(committed, line[0]));
    assert_non_null(strstr(committed, line[1]));
}

static void the_document_lists_the_calls(void **state) { assert_non_null(strstr(text_of(profile_path), text_of(calls_path))); }

int main(int argc, char **argv) {
#if !defined __x86_64__
    puts("the filters of another architecture than x86-64: skipped");
    return 77;
#endif
    if (argc != 4) return 2;
    hashes_path = argv[1];
    calls_path = argv[2];
    profile_path = argv[3];
    const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_not_named_is_no_call), cmocka_unit_test(another_architecture_is_killed),
        cmocka_unit_test(sockets_are_unix_tcp_udp_and_route), cmocka_unit_test(namespaces_are_never_new), cmocka_unit_test(other_arguments_are_judged),
        cmocka_unit_test(the_programs_have_the_committed_hash), cmocka_unit_test(the_document_lists_the_calls) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
