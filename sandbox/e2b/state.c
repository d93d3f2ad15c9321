#include <math.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/core/box_private.h"
#include "sandbox/e2b/e2b.h"
#include "sandbox/preview.h"

static double now_s(void) { return (double)g_get_real_time() / 1e6; }

const char *e2b_id(const struct box *b)
{
    size_t n = strspn(b->name, "abcdefghijklmnopqrstuvwxyz234567");

    return n == 26 && !b->name[n] ? b->name : b->id;
}

bool e2b_flag(const struct box *b, const char *key) { return json_is_true(json_object_get(b->config.e2b, key)); }
bool e2b_is_open(const struct box *b) { return json_is_false(json_object_get(b->config.e2b, "secure")); }
bool e2b_is(const struct box *b) { return b->config.e2b && !e2b_flag(b, "killed"); }
bool e2b_is_paused(const struct box *b) { return e2b_is(b) && (e2b_flag(b, "paused") || (b->config.until_s > 0 && now_s() >= b->config.until_s)); }

void e2b_set(struct box *b, const char *key, json_t *value)
{
    if (!b->config.e2b)
        b->config.e2b = json_object();
    json_object_set_new(b->config.e2b, key, value);
}

void e2b_until(struct box *b, double timeout_s) { b->config.until_s = now_s() + timeout_s; }

void e2b_adopt(struct box *b, const char *template, double timeout_s)
{
    e2b_set(b, "template", json_string(template));
    e2b_set(b, "started", json_real(now_s()));
    e2b_set(b, "secure", json_true());
    e2b_until(b, timeout_s);
}

bool e2b_save(struct http_call *c, struct box *b)
{
    int r = box_config_save(b);

    if (!b->p->changing)
        life_arm(b);
    if (r)
        http_fail(c, "internal", "the configuration of '%s' could not be written: %s", e2b_id(b), g_strerror(-r));
    return !r;
}

char *e2b_time(double unix_s)
{
    gint64 us = (gint64)floor(unix_s * 1e6);
    g_autoptr(GDateTime) t = g_date_time_new_from_unix_utc(us / G_USEC_PER_SEC);
    g_autofree char *text = t ? g_date_time_format(t, "%Y-%m-%dT%H:%M:%S") : g_strdup("1970-01-01T00:00:00");

    return g_strdup_printf("%s.%03dZ", text, (int)(us % G_USEC_PER_SEC / 1000));
}

static json_t *or_null(json_t *v) { return v ? json_incref(v) : json_null(); }

json_t *e2b_answer(const struct box *b)
{
    const json_t *e = b->config.e2b;
    char envd[E2B_TOKEN], traffic[E2B_TOKEN];
    json_t *j = json_pack("{s:s,s:s,s:s,s:o,s:s}", "sandboxID", e2b_id(b), "templateID", e2b_str(e, "template"), "clientID", "coppice", "alias", or_null(json_object_get(e, "template")),
                          "envdVersion", E2B_ENVD_VERSION);

    if (b->sd->previews)
        json_object_set_new(j, "domain", json_string(preview_domain(b->sd)));
    if (!e2b_is_open(b) && e2b_token_of(b, E2B_TOKEN_ENVD, envd))
        json_object_set_new(j, "envdAccessToken", json_string(envd));
    if (e2b_token_of(b, E2B_TOKEN_TRAFFIC, traffic))
        json_object_set_new(j, "trafficAccessToken", json_string(traffic));
    return j;
}

bool e2b_public(struct box *b)
{
    char traffic[E2B_TOKEN];
    bool open = !e2b_flag(b, "taken") && !json_is_false(json_object_get(json_object_get(b->config.e2b, "network"), "allowPublicTraffic"));
    json_t *before = b->config.previews;

    if (b->sd->previews && (open || e2b_token_of(b, E2B_TOKEN_TRAFFIC, traffic)))
        preview_public(b, true, open ? NULL : traffic);
    return b->config.previews != before;
}

json_t *e2b_detail(const struct box *b)
{
    const json_t *e = b->config.e2b, *metadata = json_object_get(e, "metadata");
    double started = json_number_value(json_object_get(e, "started"));
    g_autofree char *from = e2b_time(started), *to = e2b_time(b->config.until_s > 0 ? b->config.until_s : now_s() + E2B_TIMEOUT_MAX_S);
    long cpus = b->config.limits.cpu_milli ? (long)(b->config.limits.cpu_milli + 999) / 1000 : sysconf(_SC_NPROCESSORS_ONLN);
    json_t *j = e2b_answer(b);

    json_object_del(j, "envdAccessToken");
    json_object_del(j, "trafficAccessToken");
    json_object_set_new(j, "startedAt", json_string(from));
    json_object_set_new(j, "endAt", json_string(to));
    json_object_set_new(j, "cpuCount", json_integer(cpus));
    json_object_set_new(j, "memoryMB", json_integer((json_int_t)(b->config.limits.memory_bytes >> 20)));
    json_object_set_new(j, "diskSizeMB", json_integer((json_int_t)(b->config.disk_bytes >> 20)));
    json_object_set_new(j, "state", json_string(e2b_is_paused(b) ? "paused" : "running"));
    json_object_set_new(j, "metadata", metadata ? json_deep_copy(metadata) : json_object());
    json_object_set_new(j, "volumeMounts", json_array());
    json_object_set_new(j, "lifecycle", json_pack("{s:s,s:b}", "onTimeout", "pause", "autoResume", (int)e2b_flag(b, "auto_resume")));
    json_object_set_new(j, "allowInternetAccess", or_null(json_object_get(e, "allow_internet_access")));
    if (json_is_object(json_object_get(e, "network")))
        json_object_set(j, "network", json_object_get(e, "network"));
    return j;
}
