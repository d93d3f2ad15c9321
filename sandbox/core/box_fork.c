#include "sandbox/core/box_fork.h"

#include "sandbox/core/box_private.h"

struct box *boxes_of_fork(const struct box *source, const json_t *rec)
{
    json_t *full = json_pack("{s:O,s:O,s:s,s:o,s:I}", "id", json_object_get(rec, "id"), "name", json_object_get(rec, "name"), "kind", source->bare ? "bare" : "root", "template",
                             source->p->host ? json_string("host") : json_null(), "quota_bytes", (json_int_t)source->config.disk_bytes);
    struct box *b = full ? boxes_of_record(source->p->bs, full) : NULL;

    json_decref(full);
    if (b)
        box_config_copy(&b->config, &source->config);
    return b;
}
