#include "sandbox/egress/own.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sandbox/egress/authority.h"

struct self { struct in6_addr at; bool any; uint16_t port; };
static struct self self_list[OWN_SELF_MAX];
static unsigned self_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;       /* guards what follows; held across getifaddrs() */
static struct in6_addr own[OWN_MAX];
static unsigned own_count;
static uint64_t own_until;
static bool own_full;

/* One form for all: v4 as mapped v6. */
static bool as_v6(const struct sockaddr *sa, struct in6_addr *ret)
{
    if (sa->sa_family == AF_INET6) {
        *ret = ((const struct sockaddr_in6 *)sa)->sin6_addr;
        return true;
    }
    memset(ret, 0, sizeof(*ret));
    ret->s6_addr[10] = ret->s6_addr[11] = 0xff;
    if (sa->sa_family == AF_INET)
        memcpy(ret->s6_addr + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
    return sa->sa_family == AF_INET;
}

static int add_self(char *text)
{
    union { struct sockaddr sa; struct sockaddr_in v4; struct sockaddr_in6 v6; } at = { 0 };
    char *colon = strrchr(text, ':'), *end;

    if (!colon || self_count == OWN_SELF_MAX)
        return -EINVAL;
    *colon = 0;
    unsigned long port = strtoul(colon + 1, &end, 10);
    size_t n = strlen(text);
    if (*end || !port || port > 65535)
        return -EINVAL;
    if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
        text[n - 1] = 0;
        text++;
    }
    struct self *s = &self_list[self_count];
    if (inet_pton(AF_INET, text, &at.v4.sin_addr) == 1) {
        at.sa.sa_family = AF_INET;
        s->any = !at.v4.sin_addr.s_addr;
    } else if (inet_pton(AF_INET6, text, &at.v6.sin6_addr) == 1) {
        at.sa.sa_family = AF_INET6;
        s->any = IN6_IS_ADDR_UNSPECIFIED(&at.v6.sin6_addr);
    } else {
        return -EINVAL;
    }
    as_v6(&at.sa, &s->at);
    s->port = (uint16_t)port;
    self_count++;
    return 0;
}

int own_init(const char *text)
{
    char *save, *copy = text ? strdup(text) : NULL;
    int r = 0;

    for (char *w = copy ? strtok_r(copy, " ", &save) : NULL; w && !r; w = strtok_r(NULL, " ", &save))
        r = add_self(w);
    free(copy);
    return r;
}

static void look(void)
{
    struct ifaddrs *list, *i;

    own_until = clock_mono_ns() + OWN_FRESH_S * 1000000000ull;
    own_full = getifaddrs(&list) != 0;      /* who does not know what is ours dials nothing */
    if (own_full)
        return;
    own_count = 0;
    for (i = list; i && own_count < OWN_MAX; i = i->ifa_next)
        if (i->ifa_addr && as_v6(i->ifa_addr, &own[own_count]))
            own_count++;
    own_full = i != NULL;
    freeifaddrs(list);
}

static bool is_own(const struct in6_addr *a)
{
    bool found;

    pthread_mutex_lock(&lock);
    if (clock_mono_ns() >= own_until)
        look();
    found = own_full;
    for (unsigned i = 0; i < own_count && !found; i++)
        found = !memcmp(&own[i], a, sizeof(*a));
    pthread_mutex_unlock(&lock);
    return found;
}

bool own_may_dial(const struct sockaddr_storage *to, bool allow_private)
{
    uint16_t port = ntohs(to->ss_family == AF_INET ? ((const struct sockaddr_in *)to)->sin_port : ((const struct sockaddr_in6 *)to)->sin6_port);
    struct in6_addr a;

    if (!as_v6((const struct sockaddr *)to, &a))
        return false;
    for (unsigned i = 0; i < self_count; i++)
        if (self_list[i].port == port && (self_list[i].any || !memcmp(&self_list[i].at, &a, sizeof(a))))
            return false;
    enum address_class k = address_class(to);
    if (k == ADDRESS_NEVER)
        return false;
    return allow_private || (k == ADDRESS_PUBLIC && !is_own(&a));
}
