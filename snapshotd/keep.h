/* What a policy of automatic history says, and which automatic snapshots it keeps. Pure: no store, no clock. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEEP_EVERY_MIN_S = 10, KEEP_COUNT_MAX = 10000 };

/* every=DURATION[,keep-last=N][,hourly=N][,daily=N][,weekly=N]. A DURATION is a number and s, m, h, d or w. Of a rule that is not named nothing is kept;
 * if none is named, all is kept. */
struct keep { int64_t every_s; uint32_t last, hourly, daily, weekly; bool all; };
/* 0; -EINVAL and *ret_why: one clause that says what is wrong. */
int keep_parse(const char *text, struct keep *ret, const char **ret_why);

/* "12h" and the like in seconds; false if it is none, or longer than a hundred years. */
bool keep_duration(const char *text, int64_t *ret_s);
/* When a snapshot made at `created` is to go: "2026-12-31", "2026-12-31T23:59:00Z" (UTC), or a duration from its creation. False: neither. */
bool keep_expiry(const char *text, int64_t created, int64_t *ret_at);

/* created: of the automatic snapshots, newest first. ret[i]: the rule that keeps it, or NULL. Hours, days and weeks (from Monday) are those of UTC, and only
 * those with a snapshot in them count; each is stood for by its newest. */
void keep_choose(const struct keep *k, const int64_t *created, size_t n, const char **ret);
