/* box/ID.json in sandboxd's directory: what of a sandbox is neither in snapshotd nor in the launcher. Written whole under another name, synced, renamed. One that holds the defaults and no usage
 * is not written. Strict: a field that is not known means that a newer coppice wrote it, and it is refused whole: the sandbox
 * does not start, and its file is left as it is. */
#include "sandbox/core/box_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

enum { CONFIG_VERSION = 1, CONFIG_MAX = 1 << 20, ENV_MAX = 1024, FREEZE_S = 60, SLEEP_S = 900 };
#define SECONDS_MAX (365.0 * 86400)

void box_config_init(struct box_config *c)
{
    *c = (struct box_config){ .env = json_object(), .labels = json_object(), .mounts = json_array(), .freeze_s = FREEZE_S, .sleep_s = SLEEP_S,
                              .limits = { .memory_bytes = MEMORY_DEFAULT, .pids = PIDS_DEFAULT, .cpu_weight = WEIGHT_DEFAULT } };
}

void box_config_fini(struct box_config *c)
{
    json_decref(c->env);
    json_decref(c->labels);
    json_decref(c->mounts);
    json_decref(c->e2b);
    json_decref(c->previews);
    json_decref(c->services);
    *c = (struct box_config){ 0 };
}

bool box_config_is_default(const struct box_config *c)
{
    struct box_config d;
    bool same;

    box_config_init(&d);
    same = json_equal(c->env, d.env) && json_equal(c->mounts, d.mounts) && !memcmp(&c->limits, &d.limits, sizeof(d.limits)) && c->freeze_s == d.freeze_s &&
           c->sleep_s == d.sleep_s && c->timeout_s == d.timeout_s && !c->until_s && !c->e2b && !c->previews && !json_object_size(c->services);
    box_config_fini(&d);
    return same;
}

void box_config_copy(struct box_config *to, const struct box_config *from)
{
    json_t *labels = to->labels, *e2b = to->e2b, *previews = to->previews;
    uint64_t quota = to->disk_bytes;
    double until = to->until_s;

    json_decref(to->env);
    json_decref(to->mounts);
    json_decref(to->services);
    *to = *from;
    to->services = json_deep_copy(from->services);
    to->env = json_deep_copy(from->env);
    to->mounts = json_deep_copy(from->mounts);
    to->labels = labels;
    to->disk_bytes = quota;
    to->e2b = e2b;
    to->previews = previews;
    to->until_s = until;
}

/* --- the API's shape --- */

json_t *box_limits_json(const struct box_config *c)
{
    return json_pack("{s:f,s:i,s:f,s:i,s:f,s:f,s:f}", "cpu", (double)c->limits.cpu_milli / 1000, "cpu_weight", (int)c->limits.cpu_weight, "memory_mb",
                     (double)c->limits.memory_bytes / (1 << 20), "pids", (int)c->limits.pids, "tmp_mb", (double)c->limits.tmp_bytes / (1 << 20), "disk_mb",
                     (double)c->disk_bytes / (1 << 20), "timeout_s", c->timeout_s);
}

json_t *box_idle_json(const struct box_config *c)
{
    return json_pack("{s:f,s:f}", "freeze_s", c->freeze_s, "sleep_s", c->sleep_s);
}

static bool bad(struct fault *f, const char *field, const char *why)
{
    fault_set(f, "invalid_request", "bad field '%.100s': %s", field, why);
    return false;
}

static bool number(struct fault *f, json_t *o, const char *key, double min, double max, double *io)
{
    json_t *v = json_object_get(o, key);
    char why[80];

    if (!v)
        return true;
    if (!json_is_number(v) || json_number_value(v) < min || json_number_value(v) > max) {
        g_snprintf(why, sizeof(why), "it is a number from %g to %g", min, max);
        return bad(f, key, why);
    }
    *io = json_number_value(v);
    return true;
}

static bool known(struct fault *f, json_t *o, const char *what, const char *const *keys)
{
    const char *key;
    json_t *v;

    if (!json_is_object(o))
        return bad(f, what, "it is an object");
    json_object_foreach(o, key, v)
        if (!g_strv_contains(keys, key)) {
            fault_set(f, "invalid_request", "unknown field '%.100s' in '%s'", key, what);
            return false;
        }
    return true;
}

static bool set_limits(struct box_config *c, json_t *o, struct fault *f)
{
    static const char *const keys[] = { "cpu", "cpu_weight", "memory_mb", "pids", "tmp_mb", "disk_mb", "timeout_s", NULL };
    double cpu = c->limits.cpu_milli / 1000.0, weight = c->limits.cpu_weight, memory = (double)c->limits.memory_bytes / (1 << 20), pids = c->limits.pids,
           tmp = (double)c->limits.tmp_bytes / (1 << 20), quota = (double)c->disk_bytes / (1 << 20), timeout = c->timeout_s;

    if (!o)
        return true;
    if (!known(f, o, "limits", keys) || !number(f, o, "cpu", 0, 1024, &cpu) || !number(f, o, "cpu_weight", 1, 10000, &weight) || !number(f, o, "memory_mb", 16, 1 << 24, &memory) ||
        !number(f, o, "pids", 8, 1 << 20, &pids) || !number(f, o, "tmp_mb", 0, memory, &tmp) || !number(f, o, "disk_mb", 0, 1u << 30, &quota) ||
        !number(f, o, "timeout_s", 0, SECONDS_MAX, &timeout))
        return false;
    if (cpu > 0 && cpu < 0.01)
        return bad(f, "cpu", "it is a share of a CPU from 0.01 on, or 0 for no limit");
    c->limits.cpu_milli = (uint32_t)(cpu * 1000 + 0.5);
    c->limits.cpu_weight = (uint32_t)weight;
    c->limits.memory_bytes = (uint64_t)(memory * (1 << 20)) & ~4095ull;
    c->limits.pids = (uint32_t)pids;
    c->limits.tmp_bytes = (uint64_t)(tmp * (1 << 20)) & ~4095ull;
    c->disk_bytes = (uint64_t)(quota * (1 << 20));
    c->timeout_s = timeout;
    if (c->limits.tmp_bytes > c->limits.memory_bytes)
        c->limits.tmp_bytes = 0;          /* half of it */
    return true;
}

static bool env_ok(json_t *env, struct fault *f)
{
    const char *key;
    json_t *v;

    if (!json_is_object(env) || json_object_size(env) > ENV_MAX)
        return bad(f, "env", "it is an object of at most 1024 strings");
    json_object_foreach(env, key, v)
        if (!key[0] || strchr(key, '=') || !json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
            return bad(f, "env", "names are not empty and have no '=', values are strings without NUL");
    return true;
}

static bool path_ok(const char *p)
{
    static const char *const reserved[] = { "/", "/proc", "/dev", "/sys", "/usr", "/etc", "/workspace", "/run", "/tmp", "/bin", "/lib", "/lib64", "/sbin" };

    if (p[0] != '/' || strlen(p) >= LAUNCH_PATH || strstr(p, "//") || (p[1] && p[strlen(p) - 1] == '/'))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(reserved); i++)
        if (!strcmp(p, reserved[i]))
            return false;
    for (const char *c = p; (c = strstr(c, "/.")); c += 2)
        if (c[2] == '/' || !c[2] || (c[2] == '.' && (c[3] == '/' || !c[3])))
            return false;
    return !g_str_has_prefix(p, "/proc/") && !g_str_has_prefix(p, "/dev/") && !g_str_has_prefix(p, "/sys/") && !g_str_has_prefix(p, "/usr/");
}

static bool mounts_ok(json_t *mounts, struct fault *f)
{
    static const char *const keys[] = { "source", "path", NULL };
    json_t *m;
    size_t i;

    if (!json_is_array(mounts) || json_array_size(mounts) > LAUNCH_MOUNTS_MAX - 1)
        return bad(f, "mounts", "it is an array of at most 7 objects {source, path}");
    json_array_foreach(mounts, i, m) {
        const char *source, *path;
        if (!known(f, m, "mounts", keys))
            return false;
        source = json_string_value(json_object_get(m, "source"));
        path = json_string_value(json_object_get(m, "path"));
        if (!source || !source[0] || strlen(source) >= LAUNCH_NAME * 2)
            return bad(f, "mounts", "source is the name or id of a snapshot or workspace");
        if (!path || !path_ok(path))
            return bad(f, "mounts", "path is absolute, without '.' and '..', and not one of the system's own directories (/proc, /dev, /usr, /etc, /workspace, ...)");
    }
    return true;
}

bool box_config_set(struct box_config *c, json_t *env, json_t *limits, json_t *idle, json_t *mounts, struct fault *f)
{
    static const char *const idle_keys[] = { "freeze_s", "sleep_s", NULL };

    if ((env && !env_ok(env, f)) || (mounts && !mounts_ok(mounts, f)) || !set_limits(c, limits, f))
        return false;
    if (idle && (!known(f, idle, "idle", idle_keys) || !number(f, idle, "freeze_s", 0, SECONDS_MAX, &c->freeze_s) || !number(f, idle, "sleep_s", 0, SECONDS_MAX, &c->sleep_s)))
        return false;
    if (env) {
        json_decref(c->env);
        c->env = json_deep_copy(env);
    }
    if (mounts) {
        json_decref(c->mounts);
        c->mounts = json_deep_copy(mounts);
    }
    return true;
}

/* --- the file --- */

static int config_dir(struct sandboxd *sd)
{
    int fd = openat(sd->dir_fd, "box", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT && !mkdirat(sd->dir_fd, "box", 0700))
        fd = openat(sd->dir_fd, "box", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static void file_name(const struct box *b, const char *end, char out[LAUNCH_NAME + 16])
{
    g_snprintf(out, LAUNCH_NAME + 16, "%s%s", b->id, end);
}

static json_t *file_json(const struct box *b)
{
    const struct box_private *p = b->p;

    json_t *j = json_pack("{s:i,s:O,s:O,s:{s:I,s:I,s:I,s:I,s:I},s:f,s:f,s:f,s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I}}", "version", CONFIG_VERSION, "env", b->config.env, "mounts", b->config.mounts, "limits",
                     "memory_bytes", (json_int_t)b->config.limits.memory_bytes, "tmp_bytes", (json_int_t)b->config.limits.tmp_bytes, "pids", (json_int_t)b->config.limits.pids, "cpu_milli",
                     (json_int_t)b->config.limits.cpu_milli, "cpu_weight", (json_int_t)b->config.limits.cpu_weight, "freeze_s", b->config.freeze_s, "sleep_s", b->config.sleep_s,
                     "timeout_s", b->config.timeout_s, "usage", "cpu_us", (json_int_t)b->cpu_before_us, "egress_bytes", (json_int_t)b->egress_bytes, "ran_ns", (json_int_t)p->ran_ns,
                     "frozen_ns", (json_int_t)p->frozen_ns, "slept_s", (json_int_t)p->slept_s, "asleep_since", (json_int_t)p->asleep_since, "oom_kills",
                     (json_int_t)p->oom_kills_before);

    if (j && b->config.until_s > 0)
        json_object_set_new(j, "until_s", json_real(b->config.until_s));
    if (j && b->config.previews)
        json_object_set(j, "previews", b->config.previews);
    if (j && json_object_size(b->config.services))
        json_object_set(j, "services", b->config.services);
    if (j && b->config.e2b)
        json_object_set(j, "e2b", b->config.e2b);
    return j;
}

int box_config_save(struct box *b)
{
    char name[LAUNCH_NAME + 16], temp[LAUNCH_NAME + 16];
    _cleanup_close_ int dir = -1, fd = -1;
    _cleanup_free_ char *text = NULL;
    json_t *j = b->p->config_err ? NULL : file_json(b);
    int r;

    if (b->p->config_err)
        return b->p->config_err;
    text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!text)
        return -ENOMEM;
    dir = config_dir(b->sd);
    if (dir < 0)
        return dir;
    file_name(b, ".json", name);
    file_name(b, ".new", temp);
    fd = openat(dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = io_write_full(fd, text, strlen(text));
    if (!r && fsync(fd))
        r = -errno;
    if (!r && renameat(dir, temp, dir, name))
        r = -errno;
    if (!r && fsync(dir))
        r = -errno;
    if (r)
        unlinkat(dir, temp, 0);
    return r;
}

void box_config_remove(struct box *b)
{
    char name[LAUNCH_NAME + 16];
    _cleanup_close_ int dir = config_dir(b->sd);

    file_name(b, ".json", name);
    if (dir >= 0)
        unlinkat(dir, name, 0);
}

static int read_text(struct box *b, char **ret, size_t *ret_len)
{
    char name[LAUNCH_NAME + 16];
    _cleanup_close_ int dir = config_dir(b->sd), fd = -1;
    struct stat st;

    if (dir < 0)
        return dir;
    file_name(b, ".json", name);
    fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st))
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size > CONFIG_MAX)
        return -EBADMSG;
    *ret_len = (size_t)st.st_size;
    *ret = g_malloc(*ret_len + 1);
    ssize_t n = io_pread_full(fd, *ret, *ret_len, 0);
    return n < 0 ? (int)n : 0;
}

static int parse(struct box *b, json_t *j)
{
    struct box_config c;
    struct fault f;
    json_t *env, *mounts, *e2b = NULL, *previews = NULL, *services = NULL;
    double until = 0;
    json_int_t memory, tmp, pids, milli, weight, cpu, egress, ran, frozen, slept, since, ooms;
    int version;

    box_config_init(&c);
    if (json_unpack_ex(j, NULL, JSON_STRICT, "{s:i,s:o,s:o,s:{s:I,s:I,s:I,s:I,s:I},s:F,s:F,s:F,s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I},s?F,s?o,s?o,s?o}", "version", &version, "env", &env, "mounts", &mounts, "limits",
                       "memory_bytes", &memory, "tmp_bytes", &tmp, "pids", &pids, "cpu_milli", &milli, "cpu_weight", &weight, "freeze_s", &c.freeze_s, "sleep_s", &c.sleep_s, "timeout_s",
                       &c.timeout_s, "usage", "cpu_us", &cpu, "egress_bytes", &egress, "ran_ns", &ran, "frozen_ns", &frozen, "slept_s", &slept, "asleep_since", &since, "oom_kills", &ooms, "until_s", &until,
                       "e2b", &e2b, "previews", &previews, "services", &services) ||
        version != CONFIG_VERSION || !box_config_set(&c, env, NULL, NULL, mounts, &f) || memory < 0 || tmp < 0 || pids < 1 || pids > 1 << 20 || milli < 0 || milli > 1024000 || weight < 1 ||
        weight > 10000 || !(c.freeze_s >= 0) || !(c.sleep_s >= 0) || !(c.timeout_s >= 0) || !(until >= 0) || (e2b && !json_is_object(e2b)) || (previews && !json_is_object(previews)) || (services && !json_is_object(services))) {
        box_config_fini(&c);
        return -EBADMSG;
    }
    c.services = json_incref(services);
    c.limits = (struct launch_limits){ .memory_bytes = (uint64_t)memory, .tmp_bytes = (uint64_t)tmp, .pids = (uint32_t)pids, .cpu_milli = (uint32_t)milli, .cpu_weight = (uint32_t)weight };
    box_config_copy(&b->config, &c);
    box_config_fini(&c);
    json_decref(b->config.e2b);
    b->config.e2b = json_incref(e2b);
    json_decref(b->config.previews);
    b->config.previews = json_incref(previews);
    b->config.until_s = until;
    b->cpu_before_us = (uint64_t)cpu;
    b->egress_bytes = (uint64_t)egress;
    b->p->ran_ns = (uint64_t)ran;
    b->p->frozen_ns = (uint64_t)frozen;
    b->p->slept_s = (uint64_t)slept;
    b->p->asleep_since = since;
    b->p->oom_kills_before = (uint64_t)ooms;
    return 0;
}

int box_config_load(struct box *b)
{
    _cleanup_free_ char *text = NULL;
    size_t n = 0;
    int r = read_text(b, &text, &n);
    json_t *j = r ? NULL : json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);

    if (!r)
        r = j ? parse(b, j) : -EBADMSG;
    json_decref(j);
    b->p->config_err = r == -ENOENT ? 0 : r;
    return r;
}
