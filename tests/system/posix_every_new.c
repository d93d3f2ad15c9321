/* What a new thing gets: mode, umask, owner, group, setgid of the directory, default ACL; and chmod, chown and ACLs of what has an ACL.
 * What tmpfs answers and leaves is what must be here. */
#include "tests/system/posix_twin.h"

#include <sys/xattr.h>

/* --- ACLs as setxattr takes them: tag, permissions and id of up to six entries --- */
struct entry { uint16_t tag, perm; uint32_t id; };
struct acl { uint32_t version; struct entry e[6]; };
enum { U_OBJ = 1, U = 2, G_OBJ = 4, G = 8, MASK = 16, O = 32 };
#define ANY UINT32_MAX
static const struct acl acls[] = {
    { 2, { { 0 } } },                     /* none */
    { 2, { { U_OBJ, 7, ANY }, { G_OBJ, 5, ANY }, { O, 0, ANY } } },                         /* no more than a mode */
    { 2, { { U_OBJ, 7, ANY }, { U, 7, FRIEND }, { G_OBJ, 5, ANY }, { MASK, 7, ANY }, { O, 5, ANY } } },
    { 2, { { U_OBJ, 6, ANY }, { U, 6, FRIEND }, { G_OBJ, 7, ANY }, { G, 7, CREW }, { MASK, 4, ANY }, { O, 1, ANY } } },
    { 2, { { U_OBJ, 5, ANY }, { G_OBJ, 7, ANY }, { MASK, 1, ANY }, { O, 7, ANY } } },         /* a mask alone */
    { 2, { { U_OBJ, 0, ANY }, { U, 7, USER }, { G_OBJ, 0, ANY }, { MASK, 0, ANY }, { O, 0, ANY } } },
};
enum { ACLS = sizeof acls / sizeof acls[0] };

static int put_acl(const char *path, const char *which, int n)
{
    size_t k = 0;

    while (k < 6 && acls[n].e[k].tag)
        k++;
    return setxattr(path, which, &acls[n], 4 + k * sizeof(struct entry), 0);
}

static const char ACCESS[] = "system.posix_acl_access", DEFAULT[] = "system.posix_acl_default";

/* --- things made in a directory: kind a, mode b, directory's mode c, its default ACL d --- */
static void scene_of_a_directory(const struct twin_case *c)
{
    twin_dir("d", USER, CREW, (mode_t)c->c);
    if (c->d)
        OK(put_acl("d", DEFAULT, c->d));
}

static int make_one(const struct twin_case *c)
{
    char path[64];
    int fd, r;

    switch (c->a) {
    case 'f': return twin_shut(open("d/new", O_CREAT | O_EXCL | O_RDWR, (mode_t)c->b));
    case 'd': return mkdir("d/new", (mode_t)c->b);
    case 'p': return mkfifo("d/new", (mode_t)c->b);
    case 's': return mknod("d/new", S_IFSOCK | (mode_t)c->b, 0);
    case 'r': return mknod("d/new", S_IFREG | (mode_t)c->b, 0);
    case 'l': return symlink("x", "d/new");
    }
    fd = open("d", O_TMPFILE | O_RDWR, (mode_t)c->b);
    if (fd < 0)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    r = linkat(AT_FDCWD, path, AT_FDCWD, "d/new", AT_SYMLINK_FOLLOW);
    return twin_shut(fd), r;
}

static void new_things(void)
{
    static const mode_t modes[] = { 0, 0644, 0666, 0777, 0700, 02775, 02765, 06777, 01777, 02654 }, umasks[] = { 0, 022, 077, 0117, 010 }, dirs[] = { 0777, 02777, 03777 };
    static const gid_t groups[][2] = { { USER, USER }, { CREW, USER }, { USER, CREW } };
    static const uid_t users[] = { USER, 0 };

    twin_begin(NULL, 40);
    for (const char *kind = "fdpsrlt"; *kind; kind++)
        for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++)
            for (size_t u = 0; u < sizeof umasks / sizeof umasks[0]; u++)
                for (size_t d = 0; d < sizeof dirs / sizeof dirs[0]; d++)
                    for (int a = 0; a < ACLS; a++)
                        for (int who = 0; who < 4; who++)
                            twin(&(struct twin_case){ scene_of_a_directory, make_one, users[who / 3], groups[who % 3][0], groups[who % 3][1], umasks[u], *kind, (int)modes[m], (int)dirs[d], a },
                                 "new %c, mode %o, umask %o, in a directory %o with default ACL %d", *kind, modes[m], umasks[u], dirs[d], a);
    twin_end();
}

/* --- things that have an ACL: kind a, ACL b, what is done c and with what d, mode before e --- */
enum { CHMOD, CHOWN, SET, SET_DEFAULT, REMOVE, RENAME_AND_LINK, WAYS };

static void scene_with_an_acl(const struct twin_case *c)
{
    if (c->a == 'd')
        twin_dir("it", USER, CREW, 0777);
    else
        twin_file("it", USER, CREW, 0777);
    OK(chmod("it", (mode_t)c->e));
    if (c->b)
        OK(put_acl("it", ACCESS, c->b));
    if (c->b && c->a == 'd')
        OK(put_acl("it", DEFAULT, c->b));
}

static int change_it(const struct twin_case *c)
{
    static const mode_t modes[ACLS] = { 0, 0777, 02770, 0644, 07070, 06711 };

    switch (c->c) {
    case CHMOD: return chmod("it", modes[c->d]);
    case CHOWN: return chown("it", c->d & 1 ? USER : (uid_t)-1, c->d & 2 ? USER : (gid_t)-1);
    case SET: return put_acl("it", ACCESS, c->d);
    case SET_DEFAULT: return put_acl("it", DEFAULT, c->d);
    case REMOVE: return removexattr("it", c->d & 1 ? ACCESS : DEFAULT);
    default: return rename("it", "moved") || c->a == 'd' ? 0 : link("moved", "it");
    }
}

/* tmpfs stores an ACL anew, with a new ctime, where it is as told or not there already; ext4 does not (and we for one that is not there). */
static bool same_acl_again(const struct twin_case *c, const char *here, const char *there)
{
    bool done = !strncmp(here, "0\n", 2) && !strncmp(there, "0\n", 2);

    return done && (c->c == REMOVE || ((!on_coppice || !c->d) && (c->c == SET || c->c == SET_DEFAULT)));
}

static void things_with_acls(void)
{
    static const mode_t modes[] = { 0, 0750, 02775, 02757, 06777 };
    static const struct { uid_t uid; gid_t gid, also; } who[] = { { USER, USER, USER }, { USER, USER, CREW }, { 0, 0, 0 }, { FRIEND, CREW, CREW } };

    twin_begin(same_acl_again, 15);
    for (const char *kind = "fd"; *kind; kind++)
        for (int before = 0; before < ACLS; before++)
            for (int way = 0; way < WAYS; way++)
                for (int with = 0; with < ACLS; with++)
                    for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++)
                        for (int w = 0; w < 4; w++)
                            twin(&(struct twin_case){ scene_with_an_acl, change_it, who[w].uid, who[w].gid, who[w].also, 0, *kind, before, way, with, (int)modes[m] },
                                 "%c of mode %o with ACL %d, way %d with %d", *kind, modes[m], before, way, with);
    twin_end();
}

/* --- ACLs that are none --- */
static int put_bad_acl(const struct twin_case *c)
{
    static const struct acl bad[] = {
        { 2, { { U_OBJ, 7, ANY }, { U, 7, FRIEND }, { G_OBJ, 5, ANY }, { O, 5, ANY } } },     /* no mask */
        { 2, { { U_OBJ, 7, ANY }, { O, 5, ANY } } },
        { 2, { { U_OBJ, 8, ANY }, { G_OBJ, 5, ANY }, { O, 5, ANY } } },
        { 2, { { O, 7, ANY }, { G_OBJ, 5, ANY }, { U_OBJ, 5, ANY } } },
        { 2, { { U_OBJ, 7, ANY }, { U_OBJ, 7, ANY }, { G_OBJ, 5, ANY }, { O, 5, ANY } } },
        { 2, { { U_OBJ, 7, ANY }, { U, 7, FRIEND }, { U, 5, FRIEND }, { G_OBJ, 5, ANY }, { MASK, 5, ANY }, { O, 5, ANY } } },    /* one user twice */
        { 2, { { U_OBJ, 7, ANY }, { G_OBJ, 5, ANY }, { 64, 5, ANY }, { O, 5, ANY } } },
        { 1, { { U_OBJ, 7, ANY }, { G_OBJ, 5, ANY }, { O, 5, ANY } } },
        { 2, { { U_OBJ, 7, 5 }, { G_OBJ, 5, 6 }, { O, 5, 7 } } },                             /* ids where none belong */
        { 2, { { U_OBJ, 7, ANY }, { U, 7, ANY }, { G_OBJ, 5, ANY }, { MASK, 5, ANY }, { O, 5, ANY } } },     /* a user who is nobody */
    };
    size_t k = 0;

    while (k < 6 && bad[c->d].e[k].tag)
        k++;
    return setxattr("it", c->c & 1 ? DEFAULT : ACCESS, &bad[c->d], 4 + k * sizeof(struct entry) - (c->c & 2 ? 3 : 0), 0);
}

static void bad_acls(void)
{
    twin_begin(NULL, 1);
    for (int bad = 0; bad < 10; bad++)
        for (const char *kind = "fd"; *kind; kind++)
            for (int way = 0; way < 4; way++)
                twin(&(struct twin_case){ scene_with_an_acl, put_bad_acl, USER, USER, CREW, .a = *kind, .c = way, .d = bad, .e = 0750 }, "bad ACL %d on %c, way %d", bad, *kind, way);
    twin_end();
}

static void new_things_get_what_they_get_elsewhere(void) { twin_everywhere(new_things); }
static void what_has_an_acl_changes_as_elsewhere(void) { twin_everywhere(things_with_acls); }
static void bad_acls_are_refused_as_elsewhere(void) { twin_everywhere(bad_acls); }

const struct posix_test posix_every_new_tests[] = {
    { "new_things_get_what_they_get_elsewhere", new_things_get_what_they_get_elsewhere },
    { "what_has_an_acl_changes_as_elsewhere", what_has_an_acl_changes_as_elsewhere },
    { "bad_acls_are_refused_as_elsewhere", bad_acls_are_refused_as_elsewhere },
    { 0 }
};
