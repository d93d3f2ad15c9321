/* Boxes that have contexts, and spare interpreters: once a context of a language was asked for, one interpreter of it is kept started, so that the next context is ready at once. A
 * spare that dies is not replaced before the next context takes one. Sandboxes with little memory have none. */
#include "sandbox/code/private.h"

enum { SPARE_DELAY_MS = 400 };               /* after the context that asked for it: its first run goes first */
static const uint64_t memory_least[CODE_LANGUAGES] = { [CODE_PYTHON] = 256, [CODE_JAVASCRIPT] = 768, [CODE_TYPESCRIPT] = 1024 };    /* MiB of a sandbox's limit */
static GHashTable *code_boxes;               /* box -> struct code_box */

struct code_box *code_box_of(struct box *b, bool make)
{
    struct code_box *cb = code_boxes ? g_hash_table_lookup(code_boxes, b) : NULL;

    if (cb || !make)
        return cb;
    if (!code_boxes)
        code_boxes = g_hash_table_new(g_direct_hash, g_direct_equal);
    cb = g_new0(struct code_box, 1);
    cb->b = box_ref(b);
    cb->contexts = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_insert(code_boxes, b, cb);
    return cb;
}

void code_box_check(struct code_box *cb)
{
    if (g_hash_table_size(cb->contexts))
        return;
    for (int l = 0; l < CODE_LANGUAGES; l++)
        if (cb->spare[l])
            return;
    g_hash_table_remove(code_boxes, cb->b);
    if (cb->timer)
        g_source_remove(cb->timer);
    g_hash_table_destroy(cb->contexts);
    box_unref(cb->b);
    g_free(cb);
}

/* --- a spare says nothing that matters but its end --- */
static void spare_ready(void *arg) { (void)arg; }
static void spare_text(void *arg, unsigned stream, const char *p, size_t n) { (void)arg; (void)stream; (void)p; (void)n; }
static bool spare_full(void *arg) { (void)arg; return false; }

static void spare_gone(void *arg, const struct exit_info *info, const struct fault *why)
{
    struct interp **slot = arg;
    struct code_box *cb;
    GHashTableIter i;

    (void)info;
    (void)why;
    interp_free(*slot);
    *slot = NULL;
    g_hash_table_iter_init(&i, code_boxes);
    while (g_hash_table_iter_next(&i, NULL, (gpointer *)&cb))
        if (slot >= cb->spare && slot < cb->spare + CODE_LANGUAGES) {
            code_box_check(cb);
            return;
        }
}

static const struct interp_ops spare_ops = { .ready = spare_ready, .text = spare_text, .gone = spare_gone, .full = spare_full };

static gboolean on_timer(gpointer arg)
{
    struct code_box *cb = arg;
    uint64_t memory = cb->b->config.limits.memory_bytes;

    cb->timer = 0;
    for (int l = 0; l < CODE_LANGUAGES && cb->b->state == BOX_RUNNING; l++)
        if (cb->wanted[l] && !cb->spare[l] && (!memory || memory >> 20 >= memory_least[l]))
            cb->spare[l] = interp_new(cb->b, (enum code_language)l, NULL, NULL, &spare_ops, &cb->spare[l]);
    return G_SOURCE_REMOVE;
}

void spare_want(struct code_box *cb, enum code_language l)
{
    cb->wanted[l] = true;
    if (!cb->timer)
        cb->timer = g_timeout_add(SPARE_DELAY_MS, on_timer, cb);
}

struct interp *spare_take(struct code_box *cb, enum code_language l)
{
    struct interp *i = cb->spare[l];

    cb->spare[l] = NULL;
    return i;
}
