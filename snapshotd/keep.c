#include "snapshotd/keep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DURATION_MAX_S (100ll * 366 * 86400)

bool keep_duration(const char *text, int64_t *ret_s)
{
    static const struct { char unit; int64_t s; } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 7 * 86400 } };
    int64_t n = 0;
    size_t i = 0;

    for (; text[i] >= '0' && text[i] <= '9'; i++) {
        n = n * 10 + (text[i] - '0');
        if (n > DURATION_MAX_S)
            return false;
    }
    if (i == 0 || !text[i] || text[i + 1])
        return false;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        if (units[u].unit == text[i] && n <= DURATION_MAX_S / units[u].s) {
            *ret_s = n * units[u].s;
            return true;
        }
    }
    return false;
}

bool keep_expiry(const char *text, int64_t created, int64_t *ret_at)
{
    static const char *const forms[] = { "%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ" };
    int64_t s;

    if (keep_duration(text, &s)) {
        *ret_at = created + s;
        return true;
    }
    for (size_t i = 0; i < 2; i++) {
        struct tm tm = { 0 };
        const char *end = strptime(text, forms[i], &tm);
        if (end && !*end) {
            *ret_at = timegm(&tm);
            return true;
        }
    }
    return false;
}

static bool number(const char *text, uint32_t *ret)
{
    size_t n = strspn(text, "0123456789");

    if (n == 0 || n > 5 || text[n])
        return false;
    unsigned long v = strtoul(text, NULL, 10);
    *ret = (uint32_t)v;
    return v <= KEEP_COUNT_MAX;
}

static int take(struct keep *k, const char *key, const char *val, unsigned *seen, const char **why)
{
    static const char *const keys[] = { "every", "keep-last", "hourly", "daily", "weekly" };
    uint32_t *const counts[] = { NULL, &k->last, &k->hourly, &k->daily, &k->weekly };

    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(key, keys[i]))
            continue;
        *why = *seen & 1u << i ? "a rule is there twice" : NULL;
        *seen |= 1u << i;
        if (!*why && i == 0 && (!keep_duration(val, &k->every_s) || k->every_s < KEEP_EVERY_MIN_S))
            *why = "every is a number and s, m, h, d or w, and at least 10s";
        else if (!*why && i > 0 && !number(val, counts[i]))
            *why = "how many to keep is a number from 0 to 10000";
        return *why ? -EINVAL : 0;
    }
    *why = "the rules are every, keep-last, hourly, daily and weekly";
    return -EINVAL;
}

int keep_parse(const char *text, struct keep *ret, const char **ret_why)
{
    struct keep k = { 0 };
    char part[64];
    unsigned seen = 0;

    for (const char *p = text;; p++) {
        size_t n = strcspn(p, ",");
        char *eq = n < sizeof part ? memcpy(part, p, n) : NULL;
        if (eq) {
            part[n] = 0;
            eq = strchr(part, '=');
        }
        if (!eq) {
            *ret_why = "it is RULE=VALUE,RULE=VALUE...";
            return -EINVAL;
        }
        *eq = 0;
        if (take(&k, part, eq + 1, &seen, ret_why))
            return -EINVAL;
        p += n;
        if (!*p)
            break;
    }
    if (!(seen & 1)) {
        *ret_why = "it does not say every=DURATION";
        return -EINVAL;
    }
    k.all = seen == 1;
    *ret = k;
    return 0;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static void choose_by(int64_t length_s, int64_t shift_s, uint32_t count, const char *rule, const int64_t *created, size_t n, const char **ret)
{
    int64_t last = 0;

    for (size_t i = 0, used = 0; i < n && used < count; i++) {
        int64_t at = floor_div(created[i] + shift_s, length_s);
        if (used && at == last)
            continue;
        last = at;
        used++;
        ret[i] = ret[i] ? ret[i] : rule;
    }
}

void keep_choose(const struct keep *k, const int64_t *created, size_t n, const char **ret)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = k->all ? "all" : i < k->last ? "keep-last" : NULL;
    choose_by(3600, 0, k->hourly, "hourly", created, n, ret);
    choose_by(86400, 0, k->daily, "daily", created, n, ret);
    choose_by(7 * 86400, 3 * 86400, k->weekly, "weekly", created, n, ret);      /* 1970 began on a Thursday */
}
