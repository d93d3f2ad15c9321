/* Argument rules of the default profile, for gen_filter.c. Arguments are compared in their low 32 bits, as the kernel reads them (CVE-2019-10063).
 *
 * ALLOW(call, conditions): goes into the first filter ("calls"): a call that has such lines is allowed only as they say, and ENOSYS otherwise.
 * DENY(call, errno, conditions): goes into the second filter ("arguments", everything else allowed): an errno that programs understand, or the only
 * rule, for calls whose good arguments cannot be listed. Both filters judge every call and the stricter wins; between two errnos the second's.
 * Conditions: IS(argument, value), MASKED(argument, mask, value). */

/* Namespaces: none, neither new nor entered. (CLONE_NEWTIME lies in clone's exit signal: only unshare has it.) */
#define NEW_NAMESPACES 0x7e020000u
ALLOW(clone, MASKED(0, NEW_NAMESPACES, 0))
ALLOW(unshare, MASKED(0, NEW_NAMESPACES | 0x80u, 0))
DENY_BITS(clone, EPERM, 0, NEW_NAMESPACES)
DENY_BITS(unshare, EPERM, 0, NEW_NAMESPACES | 0x80u)
DENY(setns, EPERM)

/* Sockets: Unix; TCP and UDP; netlink's route family only. Errnos are those of a kernel built without the rest, which programs handle (Go tries MPTCP first). */
#define FAMILY_TYPE(f, t) IS(0, f), MASKED(1, 0xf, t)
ALLOW(socket, FAMILY_TYPE(AF_UNIX, SOCK_STREAM), IS(2, 0))
ALLOW(socket, FAMILY_TYPE(AF_UNIX, SOCK_DGRAM), IS(2, 0))
ALLOW(socket, FAMILY_TYPE(AF_UNIX, SOCK_SEQPACKET), IS(2, 0))
ALLOW(socket, FAMILY_TYPE(AF_INET, SOCK_STREAM), IS(2, 0))
ALLOW(socket, FAMILY_TYPE(AF_INET, SOCK_STREAM), IS(2, IPPROTO_TCP))
ALLOW(socket, FAMILY_TYPE(AF_INET, SOCK_DGRAM), IS(2, 0))
ALLOW(socket, FAMILY_TYPE(AF_INET, SOCK_DGRAM), IS(2, IPPROTO_UDP))
ALLOW(socket, FAMILY_TYPE(AF_INET6, SOCK_STREAM), IS(2, 0))
ALLOW(socket, FAMILY_TYPE(AF_INET6, SOCK_STREAM), IS(2, IPPROTO_TCP))
ALLOW(socket, FAMILY_TYPE(AF_INET6, SOCK_DGRAM), IS(2, 0))
ALLOW(socket, FAMILY_TYPE(AF_INET6, SOCK_DGRAM), IS(2, IPPROTO_UDP))
ALLOW(socket, FAMILY_TYPE(AF_NETLINK, SOCK_RAW), IS(2, NETLINK_ROUTE))
ALLOW(socket, FAMILY_TYPE(AF_NETLINK, SOCK_DGRAM), IS(2, NETLINK_ROUTE))
ALLOW(socketpair, IS(0, AF_UNIX))
DENY_EACH(socket, EAFNOSUPPORT, 0, 0, 0)
DENY_EACH(socket, EAFNOSUPPORT, 0, 3, 9)
DENY_EACH(socket, EAFNOSUPPORT, 0, 11, 15)
DENY_EACH(socket, EAFNOSUPPORT, 0, 17, 63)
DENY(socket, EPERM, FAMILY_TYPE(AF_INET, SOCK_RAW))
DENY(socket, EPERM, FAMILY_TYPE(AF_INET6, SOCK_RAW))
DENY(socket, EPERM, FAMILY_TYPE(AF_INET, SOCK_PACKET))
DENY_PROTOCOLS(socket, EPROTONOSUPPORT, AF_INET)
DENY_PROTOCOLS(socket, EPROTONOSUPPORT, AF_INET6)
DENY_NETLINK(socket, EPROTONOSUPPORT, 1, 31)

/* No upper layer protocols (espintcp, kernel TLS), no programs attached to sockets. */
DENY(setsockopt, ENOPROTOOPT, IS(1, IPPROTO_TCP), IS(2, 31 /* TCP_ULP */))
DENY(setsockopt, ENOPROTOOPT, IS(1, SOL_SOCKET), IS(2, SO_ATTACH_FILTER))
DENY(setsockopt, ENOPROTOOPT, IS(1, SOL_SOCKET), IS(2, SO_ATTACH_BPF))
DENY(setsockopt, ENOPROTOOPT, IS(1, SOL_SOCKET), IS(2, SO_ATTACH_REUSEPORT_CBPF))
DENY(setsockopt, ENOPROTOOPT, IS(1, SOL_SOCKET), IS(2, SO_ATTACH_REUSEPORT_EBPF))

/* Terminals: nothing typed for another, no console, no line disciplines. */
DENY(ioctl, EPERM, IS(1, 0x5412 /* TIOCSTI */))
DENY(ioctl, EPERM, IS(1, 0x541c /* TIOCLINUX */))
DENY(ioctl, EPERM, IS(1, 0x541d /* TIOCCONS */))
DENY(ioctl, EPERM, IS(1, 0x5423 /* TIOCSETD */))
/* The set of network devices: adding bridges and VLANs by the old way loads modules. */
DENY(ioctl, EPERM, IS(1, 0x89a0 /* SIOCBRADDBR */))
DENY(ioctl, EPERM, IS(1, 0x89a1 /* SIOCBRDELBR */))
DENY(ioctl, EPERM, IS(1, 0x8940 /* SIOCGIFBR */))
DENY(ioctl, EPERM, IS(1, 0x8941 /* SIOCSIFBR */))
DENY(ioctl, EPERM, IS(1, 0x8983 /* SIOCSIFVLAN */))

/* Files, FIFOs and sockets; no devices (also not overlayfs' 0:0, which needs no capability). */
#define TYPES_ALLOWED(call, arg) \
    ALLOW(call, MASKED(arg, S_IFMT, 0)) ALLOW(call, MASKED(arg, S_IFMT, S_IFREG)) \
    ALLOW(call, MASKED(arg, S_IFMT, S_IFIFO)) ALLOW(call, MASKED(arg, S_IFMT, S_IFSOCK)) \
    DENY(call, EPERM, MASKED(arg, S_IFMT, S_IFCHR)) DENY(call, EPERM, MASKED(arg, S_IFMT, S_IFBLK))
TYPES_ALLOWED(mknod, 1)
TYPES_ALLOWED(mknodat, 2)

/* Addresses stay random, pages that are read are not executed. */
ALLOW(personality, IS(0, 0))
ALLOW(personality, IS(0, 0xffffffffu))

/* Ordinary scheduling classes, with or without SCHED_RESET_ON_FORK (bit 30). */
#define CLASS(policy) MASKED(1, 0xbfffffffu, policy)
ALLOW(sched_setscheduler, CLASS(SCHED_OTHER))
ALLOW(sched_setscheduler, CLASS(SCHED_BATCH))
ALLOW(sched_setscheduler, CLASS(SCHED_IDLE))
DENY(sched_setscheduler, EPERM, CLASS(SCHED_FIFO))
DENY(sched_setscheduler, EPERM, CLASS(SCHED_RR))
DENY(sched_setscheduler, EPERM, CLASS(6 /* SCHED_DEADLINE */))

/* Of prctl: names, signals, timers, own capabilities and filters. Not: PR_SET_MM (moves what /proc says of it), PR_SET_PTRACER, PR_SCHED_CORE, memory merging (a side channel). */
#define OPTION(value) ALLOW(prctl, IS(0, value))
OPTION(PR_SET_PDEATHSIG) OPTION(PR_GET_PDEATHSIG) OPTION(PR_GET_DUMPABLE) OPTION(PR_SET_DUMPABLE) OPTION(PR_GET_KEEPCAPS) OPTION(PR_SET_KEEPCAPS)
OPTION(PR_GET_TIMING) OPTION(PR_SET_NAME) OPTION(PR_GET_NAME) OPTION(PR_GET_SECCOMP) OPTION(PR_SET_SECCOMP) OPTION(PR_CAPBSET_READ) OPTION(PR_CAPBSET_DROP)
OPTION(PR_GET_TSC) OPTION(PR_SET_TSC) OPTION(PR_GET_SECUREBITS) OPTION(PR_SET_SECUREBITS) OPTION(PR_SET_TIMERSLACK) OPTION(PR_GET_TIMERSLACK)
OPTION(PR_SET_CHILD_SUBREAPER) OPTION(PR_GET_CHILD_SUBREAPER) OPTION(PR_SET_NO_NEW_PRIVS) OPTION(PR_GET_NO_NEW_PRIVS) OPTION(PR_GET_TID_ADDRESS)
OPTION(PR_SET_THP_DISABLE) OPTION(PR_GET_THP_DISABLE) OPTION(PR_CAP_AMBIENT) OPTION(PR_GET_SPECULATION_CTRL) OPTION(PR_SET_SPECULATION_CTRL)
OPTION(65 /* PR_SET_MDWE */) OPTION(66 /* PR_GET_MDWE */) OPTION(0x53564d41 /* PR_SET_VMA: names for anonymous memory */) OPTION(0x41555856 /* PR_GET_AUXV */)
DENY(prctl, EPERM, IS(0, PR_SET_MM))
DENY(prctl, EPERM, IS(0, PR_SET_PTRACER))
