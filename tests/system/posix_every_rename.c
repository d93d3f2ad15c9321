/* rename(2) of everything onto everything, and who may: what tmpfs answers and leaves is what must be here. */
#include "tests/system/posix_twin.h"

/* A thing of each kind that a name can be: nothing; a file, one with a second name; a directory, empty or not; a link, a FIFO, a socket, a whiteout, a disk. */
static const char kinds[] = "-fhenlpswb";

static void make_kind(char kind, const char *name, mode_t mode)
{
    char sub[32];

    switch (kind) {
    case '-': return;
    case 'f': twin_file(name, 0, 0, mode); return;
    case 'h':
        twin_file(name, 0, 0, mode);
        snprintf(sub, sizeof sub, "second_of_%c", name[strlen(name) - 1]);
        OK(link(name, sub));
        return;
    case 'n':
        twin_dir(name, 0, 0, mode);
        snprintf(sub, sizeof sub, "%s/in", name);
        put(sub, name);
        return;
    case 'e': twin_dir(name, 0, 0, mode); return;
    case 'l': OK(symlink(name, name)); return;
    case 'p': OK(mkfifo(name, mode)); return;
    case 's': OK(mknod(name, S_IFSOCK | mode, 0)); return;
    case 'b': OK(mknod(name, S_IFBLK | mode, 0x801)); return;
    default: OK(mknod(name, S_IFCHR | mode, 0));
    }
}

static const char *to_name(const struct twin_case *c) { return c->d == 0 ? "x/b" : "y/b"; }

static void scene_of_two(const struct twin_case *c)
{
    OK(mkdir("x", 0755));
    OK(mkdir("y", 0755));
    make_kind((char)c->a, "x/a", 0711);
    if (c->b == '2')                      /* the other name of the same */
        OK(link("x/a", to_name(c)));
    else
        make_kind((char)c->b, to_name(c), 0722);
}

static int rename_the_two(const struct twin_case *c)
{
    return renameat2(AT_FDCWD, "x/a", AT_FDCWD, to_name(c), (unsigned)c->c);
}

static bool ext4_touches_first(const struct twin_case *c, const char *here, const char *there)
{
    return !on_coppice && c->c & RENAME_WHITEOUT && !strncmp(here, "ENOTEMPTY", 9) && !strncmp(there, "ENOTEMPTY", 9);
}

/* RENAME_EXCHANGE with one of the others is EINVAL in the VFS; WHITEOUT needs CAP_MKNOD of the machine, so there is none in a user namespace. */
static void everything_is_renamed_onto_everything(void)
{
    static const int flags[] = { 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT, RENAME_WHITEOUT | RENAME_NOREPLACE, RENAME_EXCHANGE | RENAME_WHITEOUT };

    twin_begin(ext4_touches_first, 2);
    for (const char *a = kinds; *a; a++)
        for (const char *b = "-fhenlpswb2"; *b; b++)
            for (size_t f = 0; f < sizeof flags / sizeof flags[0]; f++)
                for (int other_parent = 0; other_parent < 2; other_parent++)
                    if (!(*b == '2' && strchr("-en", *a)))
                        twin(&(struct twin_case){ scene_of_two, rename_the_two, .a = *a, .b = *b, .c = flags[f], .d = other_parent },
                             "rename %c to %c, flags %d, %s directory", *a, *b, flags[f], other_parent ? "another" : "the same");
    twin_end();
}

/* --- paths that contain each other --- */
static void scene_of_a_chain(const struct twin_case *c)
{
    OK(mkdir("a", 0755));
    OK(mkdir("a/b", 0755));
    OK(mkdir("a/b/c", 0755));
    OK(mkdir("a/other", 0755));
    twin_file("a/f", 0, 0, 0644);
    twin_file("a/b/g", 0, 0, 0644);
    OK(symlink("b", "a/l"));
    OK(symlink("l", "a/ll"));
    OK(symlink("nowhere", "a/dead"));
}

static const char *const spots[] = { "a", "a/", "a/b", "a/b/", "a/b/c", "a/b/c/", "a/b/c/new", "a/f", "a/f/", "a/f/x", "a/b/g", "a/l", "a/l/", "a/l/g", "a/ll/c", "a/new", "a/new/",
    "a/dead", "a/dead/", "a/dead/x", ".", "a/.", "a/..", "a/b/..", "a/b/c/.", "", "/proc/sys", "a/none/x" };      /* /proc: of no file system that is compared */

static int rename_spots(const struct twin_case *c)
{
    return renameat2(AT_FDCWD, spots[c->a], AT_FDCWD, spots[c->b], (unsigned)c->c);
}

static void paths_within_each_other_are_renamed_as_elsewhere(void)
{
    enum { N = sizeof spots / sizeof spots[0] };

    twin_begin(NULL, 10);
    for (int a = 0; a < N; a++)
        for (int b = 0; b < N; b++)
            for (int flags = 0; flags <= RENAME_EXCHANGE; flags += RENAME_EXCHANGE)
                twin(&(struct twin_case){ scene_of_a_chain, rename_spots, .a = a, .b = b, .c = flags }, "rename '%s' to '%s', flags %d", spots[a], spots[b], flags);
    twin_end();
}

/* --- sticky directories and rights: pjdfstest's rename/09 and 10, unlink/11, rmdir/11 --- */
enum { RENAME_OUT, RENAME_IN, RENAME_OVER, RENAME_WITHIN, EXCHANGE, UNLINK, RMDIR, WAYS };
static const char *const ways[] = { "rename out of it", "rename into it", "rename over one in it", "rename within it", "exchange", "unlink", "rmdir" };
static const uid_t owners[] = { 0, USER, FRIEND };

static void scene_of_a_sticky_directory(const struct twin_case *c)
{
    bool dir = strchr("en", c->e);

    twin_dir("d", owners[c->b / 3], owners[c->b / 3], (mode_t)c->c);
    twin_dir("loose", 0, 0, 0777);
    make_kind((char)c->e, "d/it", 0755);
    OK(lchown("d/it", owners[c->b % 3], owners[c->b % 3]));
    make_kind(dir ? 'e' : 'f', "loose/mine", 0755);
    OK(lchown("loose/mine", USER, USER));
    make_kind(dir ? 'e' : 'f', "d/mine", 0755);
    OK(lchown("d/mine", USER, USER));
}

static int act_in_a_sticky_directory(const struct twin_case *c)
{
    switch (c->a) {
    case RENAME_OUT: return rename("d/it", "loose/new");
    case RENAME_IN: return rename("loose/mine", "d/new");
    case RENAME_OVER: return rename("loose/mine", "d/it");
    case RENAME_WITHIN: return rename("d/mine", "d/it");
    case EXCHANGE: return renameat2(AT_FDCWD, "loose/mine", AT_FDCWD, "d/it", RENAME_EXCHANGE);
    case UNLINK: return unlink("d/it");
    default: return rmdir("d/it");
    }
}

static void sticky_cases(void)
{
    static const mode_t modes[] = { 01777, 0777, 01775, 0755, 0776, 0733 };

    twin_begin(NULL, 4);
    for (int way = 0; way < WAYS; way++)
        for (int own = 0; own < 9; own++)
            for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++)
                for (const char *kind = "fel"; *kind; kind++)
                    if (m < 2 || *kind == 'f')
                        twin(&(struct twin_case){ scene_of_a_sticky_directory, act_in_a_sticky_directory, USER, USER, CREW, .a = way, .b = own, .c = (int)modes[m], .e = *kind },
                             "%s: directory of %u, mode %o, %c of %u", ways[way], owners[own / 3], modes[m], *kind, owners[own % 3]);
    twin_end();
}

static void sticky_directories_protect_as_elsewhere(void)
{
    twin_everywhere(sticky_cases);
}

const struct posix_test posix_every_rename_tests[] = {
    { "everything_is_renamed_onto_everything", everything_is_renamed_onto_everything },
    { "paths_within_each_other_are_renamed_as_elsewhere", paths_within_each_other_are_renamed_as_elsewhere },
    { "sticky_directories_protect_as_elsewhere", sticky_directories_protect_as_elsewhere },
    { 0 }
};
