#include <stdio.h>

#include "tools/args.h"
#include "tools/text.h"

int cmd_gc(struct tool *t, int argc, char **argv)
{
    bool dry_run = false, pack = false;
    const struct arg_option options[] = { { "dry-run", 'n', .flag = &dry_run }, { "pack", 0, .flag = &pack }, { 0 } };
    char nodes[TEXT_SIZE], chunks[TEXT_SIZE];
    struct args a;
    json_t *g;

    int r = args_parse(t, "gc", argc, argv, options, 0, 0, &a);
    if (!r)
        r = tool_call(t, json_pack("{s:s,s:b,s:b}", "verb", "gc", "dry_run", dry_run, "pack", pack), &g);
    if (r)
        return r;
    if (t->json) {
        tool_print_json(g);
    } else {
        printf("%s %lld chunks (%s), %lld nodes (%s), %lld states, %lld layers\n", dry_run ? "would free" : "freed",
               (long long)field_int(g, "chunks"), text_bytes(chunks, (uint64_t)field_int(g, "chunk_bytes")),
               (long long)field_int(g, "nodes"), text_bytes(nodes, (uint64_t)field_int(g, "node_bytes")), (long long)field_int(g, "bases"),
               (long long)field_int(g, "layers"));
        if (pack)
            printf("packed %lld chunks: %s to %s\n", (long long)field_int(g, "packed_chunks"),
                   text_bytes(chunks, (uint64_t)field_int(g, "packed_in")), text_bytes(nodes, (uint64_t)field_int(g, "packed_out")));
    }
    json_decref(g);
    return 0;
}
