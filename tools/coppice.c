/* coppice: the command. Global options, then one verb. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/args.h"
#include "tools/box_verbs.h"
#include "tools/tool.h"

const struct command commands[] = {
    { "init", cmd_init, "", "Make a store.", "The directory must be new or empty. `create` and `import` do it on first use.\n" },
    { "create", cmd_create, "WS [--from OBJECT] [--bare] [--quota BYTES] [--inodes N] [--label K=V]",
      "Make a new workspace; prints its id.",
      "It is the whole root of a sandbox, made from the built-in template `host` (this machine's /usr, and an /etc and homes of its own)\n"
      "unless --from or --bare says otherwise.\n"
      "  --from OBJECT   begin with the state of a snapshot or workspace, and be of its kind; host: the built-in template\n"
      "  --bare          a plain tree; a sandbox shows it at /workspace\n"
      "  --quota BYTES   limit of the bytes of all that is in it, shared with others or not (k, M, G, T)\n  --inodes N      limit of its inodes\n" },
    { "import", cmd_import, "SOURCE WS [--at PATH] [--kind root] [-m TEXT] [--cross-mounts]",
      "Make a workspace of a directory, a tar or a coppice archive; prints its id.",
      "SOURCE is a directory, a tar (plain, gz, bz2, xz, zst, lz4), an archive of `coppice export`, or - for standard input.\n"
      "It ends with the workspace's first snapshot; when it fails nothing is kept.\n"
      "  --at PATH       put the tree under this directory of the workspace\n"
      "  --kind KIND     bare: a plain tree (the default); root: a whole root file system, to make sandboxes from\n  -m TEXT         message of the snapshot\n"
      "  --cross-mounts  enter other file systems under the directory\n" },
    { "mount", cmd_mount, "OBJECT DIR [-o OPTIONS]", "Attach a workspace, or a snapshot read-only, to a directory.",
      "  -o OPTIONS  with commas: ro, rw, nosuid, suid, nodev, dev, noexec, exec (default: nosuid, nodev), and\n"
      "    snapdir          the workspace's snapshots can be read in DIR/.snap/NAME, which no listing shows (nosnapdir: not)\n"
      "    transport=uring  by io_uring: faster with many small files, but the mount ends when the daemon is killed or upgraded\n"
      "                     (classic, which auto means: programs see a pause then)\n"
      "    uid_base=N       added to the user and group ids shown\n" },
    { "umount", cmd_umount, "OBJECT or DIR [--lazy]", "Detach it; returns when all its changes are stored.",
      "  --lazy  at once, also while programs use it, and without waiting for them\n" },
    { "snapshot", cmd_snapshot, "WS [NAME] [-m TEXT] [--label K=V]... | WS --auto POLICY", "Keep the present state of a workspace; prints the id.",
      "  --label K=V    pin=true or keep=...: retention leaves it; expires=DATE or DURATION: it goes then\n"
      "  --auto POLICY  from now on one every so often if anything changed, and which of these to keep:\n"
      "                 every=10m,keep-last=12,hourly=24,daily=7,weekly=4 (m, h, d, w); off ends it\n" },
    { "fork", cmd_fork, "SOURCE NAME [-n N]", "Make a workspace from a workspace's present state or a snapshot; prints ids.",
      "  -n N   N workspaces NAME-1 .. NAME-N, all from one state\n" },
    { "list", cmd_list, "[--all]", "Show workspaces and snapshots.", "  -a, --all  also the built-in template and its snapshots\n" },
    { "show", cmd_show, "OBJECT", "Show one workspace or snapshot, with its sizes.", "" },
    { "log", cmd_log, "OBJECT [--graph]", "Show the line of snapshots it stands on, newest first.",
      "  --graph   the whole family: also what was forked from them\n" },
    { "diff", cmd_diff, "A B [--stat] [--name-status] [--patch] [--times] [-z] [-- PATH...]",
      "Show what is different between two snapshots or workspaces.",
      "  --name-status  a letter and the name (the default): A added, D deleted, M modified, R renamed, T other type\n"
      "  --stat         files and how many lines changed\n  -p, --patch    unified diff, as git's\n"
      "  --times        also what differs only in its modification time\n"
      "  -z             names as they are, ended by NUL (with --name-status)\n" },
    { "restore", cmd_restore, "WS --to SNAPSHOT [PATH...] | WS --undo",
      "Make a workspace, or paths in it, as they are in a snapshot; live mounts see it.",
      "The state before is kept as a snapshot when the whole tree is restored.\n"
      "  --undo  go back to before the last whole restore or merge; once more does it again\n" },
    { "merge", cmd_merge, "SOURCE... --into WS [--base SNAPSHOT] [--dry-run] [--ours | --theirs] [--take-ours PATH]... [--take-theirs PATH]... [--markers] [-m TEXT]",
      "Do to a workspace what others did since they parted; all or nothing, live mounts see it.",
      "  --base SNAPSHOT     what both come from (default: the latest snapshot in both lines)\n  -n, --dry-run       only tell\n"
      "  --ours, --theirs    decide conflicts; in texts only of the lines that both changed\n"
      "  --take-ours PATH, --take-theirs PATH  decide for one path\n"
      "  --markers           texts that conflict get both sides between markers\n  -m, --message TEXT  of the snapshot that is the result\n"
      "A line for each change: A added, D deleted, M changed, R renamed, L merged by lines, C conflict. Status 1 and nothing changed if a conflict is left.\n" },
    { "rm", cmd_rm, "OBJECT... [--with-snapshots] [--force]", "Remove workspaces and snapshots.",
      "  --with-snapshots  also the named snapshots of a workspace\n  -f, --force       end it first if it runs as a sandbox\n" },
    { "rename", cmd_rename, "OBJECT NAME", "Give a workspace or snapshot another name.", "" },
    { "label", cmd_label, "OBJECT [K=V...] [--remove K]...", "Set, remove or show labels.", "" },
    { "gc", cmd_gc, "[--dry-run] [--pack]", "Free what nothing refers to.",
      "  --dry-run  only count it\n  --pack     also compress cold data\n" },
    { "stats", cmd_stats, "", "Show sizes of the store and all that is in it.", "" },
    { "fsck", cmd_fsck, "", "Check all records of the store; status 1 if there are problems.", "" },
    { "scrub", cmd_scrub, "[--repair]", "Read all data of the store and check it; status 1 if there are problems.",
      "  --repair  mend what can be mended\n" },
    { "export", cmd_export, "SNAPSHOT FILE [--since SNAPSHOT] [--format archive|tar]",
      "Write a snapshot to a portable archive (FILE - is standard output).",
      "  --since SNAPSHOT  only what is new since then (its archive must be imported first)\n  --format tar      a tar, complete\n" },
#define X(name, args, summary, help) { #name, cmd_box, args, summary, help },
    BOX_VERBS(X)
#undef X
#define E(name, fn, args, summary, help) { name, cmd_box, args, summary, help },
    BOX_NAMED_VERBS(E)
#undef E
    { "up", cmd_up, "[--listen ADDR:PORT] [--no-tcp] [--store-only] [--secret-key FILE] [--domain NAME]", "Start the store's daemons to stay; says how to reach them.",
      "A snapshotd of another version that runs is replaced by this one: mounts go on, after a pause.\n"
      "  --listen ADDR:PORT  serve sandboxes there (default: 127.0.0.1:8421), with the token in STORE/sandbox/token\n"
      "  --listen-any        allow an address that other machines can reach: there is no encryption, put a proxy in front\n"
      "  --no-tcp            only on the socket STORE/sandbox/api.sock\n  --store-only        no sandboxes, only the store's own daemon\n"
      "These hold for later starts too; `default` takes one back:\n"
      "  --secret-key FILE     32 bytes that secrets are kept under (default: /etc/coppice/keys/ID, made when there is none); memory: lost at the end\n"
      "  --upstream-roots FILE certificates (PEM) that servers are verified with (default: the host's)\n"
      "  --resolver FILE       resolve names by the servers in this resolv.conf (default: /etc/resolv.conf)\n"
      "  --domain NAME         previews are beneath it (*.NAME leads here) besides localhost; [http://|https://]NAME[:PORT], https if not said\n" },
    { "down", cmd_down, "", "End the store's daemons: sandboxes end, mounts are taken away.", "" },
    { "status", cmd_status, "", "Show the daemons, mounts and sandboxes; status 1 if no daemon runs.",
      "The holder keeps mounts alive when snapshotd is killed or upgraded: how often that was, how long programs had to wait the last time, and how\n"
      "many mounts would not live through it.\n" },
    { "doctor", cmd_doctor, "", "Check what this machine offers, and say what each missing thing costs.", "" },
    { 0 },
};

static void print_usage(FILE *f)
{
    fputs("usage: coppice [--store DIR] [--json] VERB ...\n\nWorkspaces that snapshot and fork instantly, and sandboxes to run code in them.\n\n", f);
    for (const struct command *c = commands; c->name; c++)
        fprintf(f, "  %-10s %s\n", c->name, c->summary);
    fputs("\nThe store is --store, $COPPICE_STORE, or " STORE_DEFAULT ". `coppice VERB --help` says more.\n", f);
}

/* Options before the verb. 0; ARGS_HELP; 2. */
static int parse_global(struct tool *t, int argc, char **argv, int *ret_at)
{
    int i = 1;

    for (; i < argc && argv[i][0] == '-'; i++) {
        if (!strcmp(argv[i], "--json")) {
            t->json = true;
        } else if (!strncmp(argv[i], "--store=", 8)) {
            t->store = argv[i] + 8;
        } else if (!strcmp(argv[i], "--store") && i + 1 < argc) {
            t->store = argv[++i];
        } else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_usage(stdout);
            return ARGS_HELP;
        } else if (!strcmp(argv[i], "--version")) {
            puts("coppice " COPPICE_VERSION);
            return ARGS_HELP;
        } else {
            fprintf(stderr, "coppice: no such option %s, or it needs a value; `coppice --help` says more\n", argv[i]);
            return 2;
        }
    }
    *ret_at = i;
    return 0;
}

/* `watch` is of a sandbox, by its runner; with --journal of a workspace, by the store's daemon. */
static bool is_journal(int argc, char **argv)
{
    for (int i = 1; i < argc && !strcmp(argv[0], "watch") && strcmp(argv[i], "--") != 0; i++)
        if (!strcmp(argv[i], "--journal"))
            return true;
    return false;
}

static int run(struct tool *t, int argc, char **argv)
{
    if (!strcmp(argv[0], "help")) {
        for (const struct command *c = commands; argc > 1 && c->name; c++)
            if (!strcmp(c->name, argv[1])) {
                args_print_help(c);
                return 0;
            }
        if (argc > 1) {
            fprintf(stderr, "coppice: no such verb '%s'; `coppice --help` shows them\n", argv[1]);
            return 2;
        }
        print_usage(stdout);
        return 0;
    }
    for (const struct command *c = commands; c->name; c++)
        if (!strcmp(c->name, argv[0]))
            return is_journal(argc, argv) ? cmd_journal(t, argc, argv) : c->fn(t, argc, argv);
    fprintf(stderr, "coppice: no such verb '%s'; `coppice --help` shows them\n", argv[0]);
    return 2;
}

int main(int argc, char **argv)
{
    const char *store = getenv("COPPICE_STORE");
    struct tool t = { .store = store && *store ? store : STORE_DEFAULT };
    int at = 0;

    /* A reader that goes away (a pager) ends output quietly below; a daemon that goes away is an error that we explain. */
    signal(SIGPIPE, SIG_IGN);
    int r = parse_global(&t, argc, argv, &at);
    if (!r && at == argc) {
        print_usage(stderr);
        r = 2;
    }
    if (!r)
        r = run(&t, argc - at, argv + at);
    tool_close(&t);
    if (fflush(stdout) && !r)
        r = 1;
    return r == ARGS_HELP ? 0 : r;
}
