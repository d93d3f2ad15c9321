#include "tools/runner_config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>

#include "base/cleanup.h"
#include "base/io.h"

#define CONFIG_FILE "config.json"
enum { CONFIG_MAX = 64 * 1024 };

static int not_ours(char *why, size_t size, const char *text)
{
    snprintf(why, size, "sandbox/" CONFIG_FILE " in the store: %s; `coppice up` with its options writes it anew after it was removed", text);
    return -EBADMSG;
}

int runner_config_load(int dir, struct runner_config *c, char *ret_why, size_t size)
{
    const struct { const char *key; char *at; } fields[] = { { "secret_key", c->secret_key }, { "upstream_roots", c->upstream_roots }, { "resolver", c->resolver }, { "domain", c->domain } };
    _cleanup_free_ char *text = malloc(CONFIG_MAX + 1);
    json_error_t e;
    int r = 0;

    *c = (struct runner_config){ "", "", "", "" };
    _cleanup_close_ int fd = openat(dir, CONFIG_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return 0;
    ssize_t n = fd < 0 || !text ? -errno : io_pread_full(fd, text, CONFIG_MAX + 1, 0);
    if (n < 0 || n > CONFIG_MAX)
        return not_ours(ret_why, size, n < 0 ? strerror((int)-n) : "it is too large");
    json_t *j = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &e), *v;
    const char *key;
    if (!json_is_object(j))
        r = not_ours(ret_why, size, j ? "it is not an object" : e.text);
    json_object_foreach(j, key, v) {
        unsigned i = 0;
        while (i < sizeof(fields) / sizeof(fields[0]) && strcmp(fields[i].key, key))
            i++;
        if (i == sizeof(fields) / sizeof(fields[0]) || !json_is_string(v) || json_string_length(v) >= sizeof(c->resolver))
            r = not_ours(ret_why, size, key);
        else
            snprintf(fields[i].at, sizeof(c->resolver), "%s", json_string_value(v));
    }
    json_decref(j);
    return r;
}

int runner_config_save(int dir, const struct runner_config *c)
{
    json_t *j = json_pack("{s:s*,s:s*,s:s*,s:s*}", "secret_key", c->secret_key[0] ? c->secret_key : NULL, "upstream_roots", c->upstream_roots[0] ? c->upstream_roots : NULL, "resolver",
                          c->resolver[0] ? c->resolver : NULL, "domain", c->domain[0] ? c->domain : NULL);
    _cleanup_free_ char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;

    json_decref(j);
    _cleanup_close_ int fd = text ? openat(dir, CONFIG_FILE ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    int r = fd < 0 ? -errno : io_write_full(fd, text, strlen(text));
    if (!r && (fsync(fd) || renameat(dir, CONFIG_FILE ".new", dir, CONFIG_FILE)))
        r = -errno;
    return r;
}

int runner_config_set(char field[4096], const char *value)
{
    char cwd[2048];
    int n;

    if (!strcmp(value, "default"))
        n = snprintf(field, 4096, "%s", "");
    else if (value[0] == '/' || !strcmp(value, "memory"))
        n = snprintf(field, 4096, "%s", value);
    else if (!value[0] || !getcwd(cwd, sizeof(cwd)))
        return value[0] ? -errno : -EINVAL;
    else
        n = snprintf(field, 4096, "%s/%s", cwd, value);
    return n >= 4096 ? -ENAMETOOLONG : 0;
}
