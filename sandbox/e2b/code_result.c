#include "sandbox/e2b/code_result.h"

#include <string.h>

static const struct { const char *mime, *name; } names[] = {
    { "text/plain", "text" }, { "text/html", "html" }, { "text/markdown", "markdown" }, { "image/svg+xml", "svg" }, { "image/png", "png" }, { "image/jpeg", "jpeg" },
    { "application/pdf", "pdf" }, { "text/latex", "latex" }, { "application/json", "json" }, { "application/javascript", "javascript" },
    { "application/vnd.coppice.chart+json", "chart" }, { "application/vnd.coppice.data+json", "data" },
};

static const char *name_of(const char *mime)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (!strcmp(mime, names[i].mime))
            return names[i].name;
    return mime;
}

json_t *e2b_result(const json_t *data, bool main)
{
    json_t *o = json_object(), *v;
    const char *mime;

    json_object_foreach((json_t *)data, mime, v)
        json_object_set(o, name_of(mime), v);
    json_object_set_new(o, "type", json_string("result"));
    json_object_set_new(o, "is_main_result", json_boolean(main));
    return o;
}
