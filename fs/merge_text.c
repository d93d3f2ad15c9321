/* diff3 (Khanna, Kunal, Pierce: A Formal Investigation of Diff3, 2007): the base is compared with each side; where neither changed a line all three agree. Between
 * such lines lie regions, that one side changed, or both. Changes that touch are one region, as git has it: between them is no line to tell them apart. */
#include "fs/merge_text.h"

#include <errno.h>
#include <string.h>

#include "base/linediff.h"

enum { OURS, THEIRS, SIDES };
struct pos { size_t base, side[SIDES]; };
struct state { struct linediff d[SIDES]; enum merge_prefer prefer; const char *name[SIDES]; struct buf *out; size_t conflicts; };

static void put_lines(struct buf *out, const struct lines *t, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        buf_put(out, t->v[i].p, t->v[i].n);
}

static bool same_lines(const struct lines *a, size_t a0, size_t a1, const struct lines *b, size_t b0, size_t b1)
{
    if (a1 - a0 != b1 - b0)
        return false;
    for (size_t i = 0; i < a1 - a0; i++)
        if (a->v[a0 + i].n != b->v[b0 + i].n || memcmp(a->v[a0 + i].p, b->v[b0 + i].p, a->v[a0 + i].n))
            return false;
    return true;
}

/* A side's change that begins here is passed over: by how many lines of the base and of the side. False: none begins here. */
static bool skip_change(const struct linediff *d, size_t *base, size_t *side)
{
    size_t b = *base, s = *side;

    while (b < d->a.n && d->a.changed[b])
        b++;
    while (s < d->b.n && d->b.changed[s])
        s++;
    bool any = b != *base || s != *side;
    *base = b;
    *side = s;
    return any;
}

/* From a place where all agreed to the next one. */
static struct pos region_end(const struct state *st, struct pos at)
{
    size_t reached[SIDES] = { at.base, at.base };   /* in the base, by each side */
    bool more;

    do {
        more = false;
        for (int i = 0; i < SIDES; i++) {
            size_t to = reached[!i] > reached[i] ? reached[!i] : reached[i];
            for (;;) {
                if (skip_change(&st->d[i], &reached[i], &at.side[i])) {
                    more = true;
                } else if (reached[i] < to) {      /* a line that this side kept and the other did not */
                    reached[i]++;
                    at.side[i]++;
                } else {
                    break;
                }
            }
        }
    } while (more || reached[OURS] != reached[THEIRS]);
    at.base = reached[OURS];
    return at;
}

static void put_marker(struct buf *out, const char *mark, const char *name)
{
    if (out->len && out->data[out->len - 1] != '\n')
        buf_put_u8(out, '\n');
    buf_printf(out, name ? "%s %s\n" : "%s\n", mark, name);
}

static void put_region(struct state *st, struct pos from, struct pos to)
{
    const struct lines *base = &st->d[OURS].a, *side[SIDES] = { &st->d[OURS].b, &st->d[THEIRS].b };
    bool changed[SIDES];

    for (int i = 0; i < SIDES; i++)
        changed[i] = !same_lines(base, from.base, to.base, side[i], from.side[i], to.side[i]);
    bool same = same_lines(side[OURS], from.side[OURS], to.side[OURS], side[THEIRS], from.side[THEIRS], to.side[THEIRS]);
    if (!changed[THEIRS] || same || (changed[OURS] && st->prefer == MERGE_OURS)) {
        put_lines(st->out, side[OURS], from.side[OURS], to.side[OURS]);
    } else if (!changed[OURS] || st->prefer == MERGE_THEIRS) {
        put_lines(st->out, side[THEIRS], from.side[THEIRS], to.side[THEIRS]);
    } else {
        put_marker(st->out, "<<<<<<<", st->name[OURS]);
        put_lines(st->out, side[OURS], from.side[OURS], to.side[OURS]);
        put_marker(st->out, "=======", NULL);
        put_lines(st->out, side[THEIRS], from.side[THEIRS], to.side[THEIRS]);
        put_marker(st->out, ">>>>>>>", st->name[THEIRS]);
    }
    st->conflicts += changed[OURS] && changed[THEIRS] && !same;
}

int merge_text(struct merge_text base, struct merge_text ours, struct merge_text theirs, enum merge_prefer prefer, const char *our_name, const char *their_name,
               struct buf *out, size_t *ret_conflicts)
{
    struct state st = { .prefer = prefer, .name = { our_name, their_name }, .out = out };
    struct pos at = { 0 };
    int r = linediff_make(base.p, base.n, ours.p, ours.n, &st.d[OURS]);

    if (!r)
        r = linediff_make(base.p, base.n, theirs.p, theirs.n, &st.d[THEIRS]);
    while (!r) {
        struct pos to = region_end(&st, at);
        put_region(&st, at, to);
        at = to;
        if (at.base >= st.d[OURS].a.n)
            break;
        put_lines(out, &st.d[OURS].a, at.base, at.base + 1);
        at = (struct pos){ at.base + 1, { at.side[OURS] + 1, at.side[THEIRS] + 1 } };
    }
    linediff_fini(&st.d[OURS]);
    linediff_fini(&st.d[THEIRS]);
    if (!r)
        *ret_conflicts = st.conflicts;
    return r ? r : buf_err(out);
}
