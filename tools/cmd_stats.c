#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/args.h"
#include "tools/table.h"
#include "tools/text.h"

static const char *shown_name(const json_t *o)
{
    return field_str(o, "name")[0] ? field_str(o, "name") : field_str(o, "id");
}

/* Workspaces first, then snapshots; names with numbers in them in the order of the numbers. */
static int by_kind_and_name(const void *a, const void *b)
{
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    int c = strcmp(field_str(y, "kind"), field_str(x, "kind"));

    return c ? c : strverscmp(shown_name(x), shown_name(y));
}

static void print_objects(const json_t *list)
{
    static const char *const headers[] = { "OBJECT", "KIND", "FILES", "DIRS", "LOGICAL", "SHARED", "PRIVATE", "META", NULL };
    static const char *const sizes[] = { "logical_bytes", "shared_bytes", "private_bytes", "meta_private_bytes" };
    struct table *tab = table_new(headers, 0xfc);
    char text[TEXT_SIZE];
    size_t n = json_array_size(list);
    json_t **sorted = calloc(n, sizeof(json_t *));

    for (size_t i = 0; sorted && i < n; i++)
        sorted[i] = json_array_get(list, i);
    if (sorted)
        qsort(sorted, n, sizeof *sorted, by_kind_and_name);
    for (size_t i = 0; sorted && i < n; i++) {
        const json_t *o = sorted[i];
        table_cell(tab, shown_name(o));
        table_cell(tab, field_str(o, "kind"));
        table_cellf(tab, "%lld", (long long)field_int(o, "files"));
        table_cellf(tab, "%lld", (long long)field_int(o, "dirs"));
        for (size_t k = 0; k < 4; k++)
            table_cell(tab, text_bytes(text, (uint64_t)field_int(o, sizes[k])));
    }
    free(sorted);
    table_print(tab);
}

int cmd_stats(struct tool *t, int argc, char **argv)
{
    char data[TEXT_SIZE], meta[TEXT_SIZE], disk_free[TEXT_SIZE], disk[TEXT_SIZE];
    struct args a;
    json_t *s;

    int r = args_parse(t, "stats", argc, argv, NULL, 0, 0, &a);
    if (!r)
        r = tool_call(t, json_pack("{s:s}", "verb", "stats"), &s);
    if (r)
        return r;
    if (t->json) {
        tool_print_json(s);
    } else {
        printf("store %s: data %s, metadata %s; disk: %s free of %s\n", field_str(s, "store"),
               text_bytes(data, (uint64_t)field_int(s, "data_bytes")), text_bytes(meta, (uint64_t)field_int(s, "meta_bytes")),
               text_bytes(disk_free, (uint64_t)field_int(s, "disk_free_bytes")), text_bytes(disk, (uint64_t)field_int(s, "disk_bytes")));
        if (json_array_size(json_object_get(s, "objects")))
            print_objects(json_object_get(s, "objects"));
    }
    json_decref(s);
    return 0;
}
