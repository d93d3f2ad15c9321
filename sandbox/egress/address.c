/* Classes of addresses, by the IANA registries of special-purpose addresses. An address that contains others (IPv4 in IPv6) is as bad as the worst of them. */
#include <string.h>

#include "sandbox/egress/authority.h"

struct range4 { uint32_t base; unsigned bits; enum address_class class; };
struct range6 { uint8_t base[16]; unsigned bits; enum address_class class; };
#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

/* The first that matches counts. */
static const struct range4 ranges4[] = {
    { V4(0, 0, 0, 0), 8, ADDRESS_NEVER },
    { V4(10, 0, 0, 0), 8, ADDRESS_PRIVATE },
    { V4(100, 100, 100, 200), 32, ADDRESS_NEVER },     /* metadata: Alibaba */
    { V4(100, 64, 0, 0), 10, ADDRESS_PRIVATE },
    { V4(127, 0, 0, 0), 8, ADDRESS_LOOPBACK },
    { V4(168, 63, 129, 16), 32, ADDRESS_NEVER },       /* Azure's WireServer */
    { V4(169, 254, 169, 0), 24, ADDRESS_NEVER },       /* metadata: .254 of nearly all, .253, .123, .249 of AWS */
    { V4(169, 254, 170, 0), 24, ADDRESS_NEVER },       /* credentials of ECS (.2) and EKS (.23) */
    { V4(169, 254, 0, 23), 32, ADDRESS_NEVER },        /* metadata: Tencent */
    { V4(169, 254, 42, 42), 32, ADDRESS_NEVER },       /* metadata: Scaleway */
    { V4(169, 254, 0, 0), 16, ADDRESS_PRIVATE },
    { V4(172, 16, 0, 0), 12, ADDRESS_PRIVATE },
    { V4(192, 0, 0, 0), 24, ADDRESS_NEVER },           /* .192: metadata of Oracle */
    { V4(192, 0, 2, 0), 24, ADDRESS_NEVER },
    { V4(192, 88, 99, 0), 24, ADDRESS_NEVER },
    { V4(192, 168, 0, 0), 16, ADDRESS_PRIVATE },
    { V4(198, 18, 0, 0), 15, ADDRESS_NEVER },
    { V4(198, 51, 100, 0), 24, ADDRESS_NEVER },
    { V4(203, 0, 113, 0), 24, ADDRESS_NEVER },
    { V4(224, 0, 0, 0), 3, ADDRESS_NEVER },
};
static const struct range6 ranges6[] = {
    { { [15] = 1 }, 128, ADDRESS_LOOPBACK },
    { { [10] = 0xff, 0xff }, 96, ADDRESS_PUBLIC },                     /* mapped: what the IPv4 is */
    { { 0, 0x64, 0xff, 0x9b }, 96, ADDRESS_PUBLIC },                   /* NAT64: what the IPv4 is */
    { { 0, 0x64, 0xff, 0x9b, 0, 1 }, 48, ADDRESS_PRIVATE },            /* NAT64 of one's own network */
    { { 0x20, 0x01, 0, 0 }, 32, ADDRESS_PUBLIC },                      /* Teredo: what the IPv4s are */
    { { 0x20, 0x01, 0 }, 23, ADDRESS_NEVER },                          /* IETF protocols, benchmarking, ORCHID */
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32, ADDRESS_NEVER },
    { { 0x3f, 0xff, 0 }, 20, ADDRESS_NEVER },
    { { 0x20 }, 3, ADDRESS_PUBLIC },
    { { 0xfd, 0x00, 0x0e, 0xc2 }, 32, ADDRESS_NEVER },       /* metadata: AWS */
    { { 0xfd, 0x20, 0x00, 0xce, [14] = 0x02, 0x54 }, 128, ADDRESS_NEVER },     /* metadata: Google */
    { { 0xfc }, 7, ADDRESS_PRIVATE },
    { { 0xfe, 0x80, [12] = 0xa9, 0xfe, 0xa9, 0xfe }, 128, ADDRESS_NEVER },   /* fe80::a9fe:a9fe: metadata, link-local of IPv6 */
    { { 0xfe, 0x80 }, 10, ADDRESS_PRIVATE },
};

static enum address_class worse(enum address_class a, enum address_class b)
{
    return a > b ? a : b;
}

static enum address_class class4(uint32_t a)
{
    for (size_t i = 0; i < sizeof ranges4 / sizeof *ranges4; i++)
        if ((a ^ ranges4[i].base) >> (32 - ranges4[i].bits) == 0)
            return ranges4[i].class;
    return ADDRESS_PUBLIC;
}

static bool within6(const uint8_t a[16], const uint8_t base[16], unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    return !memcmp(a, base, whole) && (!rest || (a[whole] ^ base[whole]) >> (8 - rest) == 0);
}

static enum address_class own6(const uint8_t a[16])
{
    for (size_t i = 0; i < sizeof ranges6 / sizeof *ranges6; i++)
        if (within6(a, ranges6[i].base, ranges6[i].bits))
            return ranges6[i].class;
    return ADDRESS_NEVER;                  /* outside of 2000::/3: not given to anybody */
}

static uint32_t four(const uint8_t *p)
{
    return V4(p[0], p[1], p[2], p[3]);
}

/* 64:ff9b:1::/48: the network chose where the IPv4 stands (RFC 6052 2.2: prefixes of 48, 56, 64, 96 bits, byte 8 is zero). */
static enum address_class nat64_local(const uint8_t a[16])
{
    static const uint8_t places[3][4] = { { 6, 7, 9, 10 }, { 7, 9, 10, 11 }, { 9, 10, 11, 12 } };
    enum address_class worst = class4(four(a + 12));

    for (unsigned i = 0; i < 3; i++) {
        uint8_t v4[4] = { a[places[i][0]], a[places[i][1]], a[places[i][2]], a[places[i][3]] };
        if (v4[0])                         /* 0.x.y.z: the IPv4 stands elsewhere */
            worst = worse(worst, class4(four(v4)));
    }
    return worst;
}

static enum address_class class6(const uint8_t a[16])
{
    static const uint8_t zero[12], mapped[12] = { [10] = 0xff, 0xff }, nat64[12] = { 0, 0x64, 0xff, 0x9b }, nat64_1[6] = { 0, 0x64, 0xff, 0x9b, 0, 1 };
    static const uint8_t isatap[4] = { 0, 0, 0x5e, 0xfe }, sixto4[2] = { 0x20, 0x02 }, teredo[4] = { 0x20, 0x01, 0, 0 };
    enum address_class worst = own6(a);

    if (!memcmp(a, mapped, 12) || !memcmp(a, nat64, 12) || (!memcmp(a, zero, 12) && four(a + 12) > 1))
        worst = worse(worst, class4(four(a + 12)));
    if (!memcmp(a, nat64_1, 6))
        worst = worse(worst, nat64_local(a));
    if (!memcmp(a, sixto4, 2))
        worst = worse(worst, class4(four(a + 2)));
    if (!memcmp(a, teredo, 4))
        worst = worse(worst, worse(class4(four(a + 4)), class4(~four(a + 12))));
    if ((a[8] & ~2) == 0 && !memcmp(a + 9, isatap + 1, 3))
        worst = worse(worst, class4(four(a + 12)));
    return worst;
}

enum address_class address_class(const struct sockaddr_storage *sa)
{
    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)sa;
        return class4(ntohl(in->sin_addr.s_addr));
    }
    if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)sa;
        return class6(in6->sin6_addr.s6_addr);
    }
    return ADDRESS_NEVER;
}
