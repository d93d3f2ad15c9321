/* The verbs about sandboxes: one table for the command, which hands them over, and for coppice-box, which does them. X(NAME, ARGS, SUMMARY, HELP) */
#pragma once
/* Of another name than its function. E(NAME, FUNCTION, ARGS, SUMMARY, HELP) */
#define BOX_NAMED_VERBS(E) \
    E("egress-log", egress_log, "WS [--follow] [--since SEQ]", "Show what a sandbox asked of the world, and what became of it.", \
      "  -f, --follow  go on with what comes\n  --since SEQ   after this event\n")
#define BOX_EXEC_OPTIONS \
    "  --cwd DIR        where it begins (default: /workspace, or the user's home)\n  -e, --env K=V    a variable of its environment, again for more\n" \
    "  -u, --user USER  user (the default), root, a number, or UID:GID\n  --timeout S      end it after so many seconds\n" \
    "  -i               give it our standard input\n  -t               a terminal of its own; with -i ours is joined to it\n"
#define BOX_DETACH "The detach key is ctrl-p ctrl-q: it leaves the command running.\n"
#define BOX_STATUS "The status is the command's own, 128+N if signal N ended it; 127: no such program, 126: it cannot be run, 125: coppice failed.\n"
#define BOX_VERBS(X) \
    X(run, "[--rm] [--from OBJECT] [--name WS] [EXEC-OPTIONS] [--] CMD...", "Make a sandbox and run a command in it.", \
      "  --rm             remove the sandbox when the command has ended\n  --from OBJECT    a snapshot, workspace or template to make it from (default: host)\n" \
      "  --name WS        its name (default: one is made up, and said)\n" BOX_EXEC_OPTIONS BOX_STATUS) \
    X(exec, "WS [--cwd DIR] [--env K=V]... [--user U] [--timeout S] [-i] [-t] [--detach] [--] CMD...", "Run a command in a sandbox; it starts if it does not run.", \
      BOX_EXEC_OPTIONS "  -d, --detach     do not wait: prints the execution's id, for ps, logs, attach and kill\n" BOX_STATUS \
      "Its output comes as it is, also on a terminal; an interrupt (ctrl-c) goes to it, a second one kills it.\n" BOX_DETACH) \
    X(ps, "WS [--all]", "Show the executions in a sandbox.", "  -a, --all  also those that have ended and are still kept\n") \
    X(logs, "WS EXEC [--follow] [--since SEQ]", "Show what an execution has said.", \
      "  -f, --follow  until it ends; the status is then its own\n  --since SEQ   from this byte number on\n") \
    X(kill, "WS EXEC... [--signal S]", "End executions, with everything that they started.", \
      "  -s, --signal S  send this signal (a name or number) to its process group instead\n") \
    X(attach, "WS EXEC", "Join our terminal to an execution, or follow its output.", BOX_DETACH BOX_STATUS) \
    X(shell, "WS [--user U] [--session NAME]", "Open an interactive terminal in a sandbox; leaving keeps it.", \
      "  -u, --user U    user (the default), root, a number, or UID:GID\n" \
      "  --session NAME  a terminal by name: the same name comes back to it (default: shell)\n" BOX_DETACH) \
    X(cp, "SRC DST", "Copy files and directories into or out of a sandbox.", \
      "One of the two is WS:PATH, relative to /workspace; a directory is copied with all that is in it. If DST is a directory, SRC goes\n" \
      "into it. - as DST or SRC is a single file's content on standard output or input.\n  -u, --user U  as this user of the sandbox\n") \
    X(code, "WS [--language L] [--context C] [--timeout S] [--output DIR] [--eval TEXT | FILE | -]", "Run code in a persistent context of a sandbox.", \
      "  -l, --language L  python, javascript or typescript (default: as FILE is called, else python)\n" \
      "  -c, --context C   a context by name: it is made when it is first used (default: the language's own)\n" \
      "  -e, --eval TEXT   the code; else FILE, or standard input\n  --new             only make a context, and print its id\n" \
      "  --timeout S       interrupt it after so many seconds\n  -o, --output DIR  where figures are saved (default: here)\n" \
      "Variables, functions and imports stay from one run to the next, until the sandbox sleeps or stops. The last value is shown; figures\n" \
      "are saved, and their names printed. An interrupt (ctrl-c) goes to the code. The status is 1 if it ended with an error.\n") \
    X(watch, "WS [PATH] [--no-recursive] [--include GLOB]... [--exclude GLOB]... [--types T,...] [--user U] | --journal WS [OPTIONS]", "Show what changes in a directory of a sandbox, or in a workspace.", \
      "  -i, --include GLOB  only names that match one of these; -x, --exclude GLOB  none of these\n  --no-recursive      only the directory itself (-r, --recursive: all beneath, the default)\n" \
      "  --types T,...       some of create, modify, close_write, delete, move, attrib\n  -u, --user U        with the rights of this user\n" \
      "Without PATH: /workspace. A pattern without / is for a name anywhere, one with / for the path below PATH; ** stands for any directories.\n" \
      "It goes on until the sandbox sleeps or stops or the directory is gone (status 1), or an interrupt. Odd characters of names are shown as \\xNN.\n" \
      "With --journal: every change of a workspace, whoever makes it, sandbox or mount; numbered, and kept, so that nothing is missed meanwhile.\n" \
      "  --cursor C     go on after this event (each event of --json has its cursor)\n  --since TIME   from so long ago: 90s, 15m, 2h, 7d\n  --all          from the oldest event that is kept\n" \
      "  --once         only what there is (from the oldest, if nothing else is said), then end; also --no-follow\n" \
      "  --size BYTES   keep so many bytes of events (default 16M), --keep TIME: and none older (default 7d)\n  --off          stop recording, and forget the events\n" \
      "The first `watch --journal` switches recording on. A gap says that events are missing there: look again.\n") \
    X(service, "WS [list | add NAME [--port N] [--restart R] [--max-restarts N] [--cwd D] [--env K=V]... [--user U] [--] CMD... | rm NAME | start NAME | stop NAME | restart NAME | logs NAME [--follow] [--since N]]", \
      "Commands that run whenever a sandbox runs.", \
      "  -p, --port N        where it listens (told to who looks)\n  --restart R         always, on-failure (the default) or no\n  --max-restarts N    failed after so many in a row (default: no bound)\n" \
      "  --cwd D, -e, --env K=V, -u, --user U\n  -f, --follow        go on with what it writes\n  --since N           from this byte number on\n" \
      "A service starts when the sandbox starts or wakes, and is restarted with back-off. It does not keep the sandbox awake. A fork has it too.\n") \
    X(port, "WS [PORT] [--rm]", "Make a URL that reaches a server in a sandbox, or show which ports have one.", \
      "  --rm  take the URLs of this port back: they reach nothing any more\n" \
      "Who has the URL reaches the server, also when the sandbox sleeps: it is woken, and the request waits until something listens.\n" \
      "Each call makes a new URL; the last 8 of a port hold until --rm.\n") \
    X(rules, "WS [get | set FILE | allow HOST... | deny HOST... | rm NAME... | default allow|deny] [--inherit]", "Show or change what a sandbox may ask of the world.", \
      "  set FILE      replace the rules by a document (docs/egress.md has the format); - is standard input\n" \
      "  allow, deny   a rule for a host, HOST:PORT, or *.DOMAIN, named after it; deny wins\n  rm NAME       take rules away\n" \
      "  --inherit     forks get the new rule too\nA change counts from the next request on. Without rules nothing leaves a sandbox.\n") \
    X(secret, "set NAME [--host HOST]... [--plain-http] | list | rm NAME...", "Keep credentials that rules put into requests; sandboxes never see them.", \
      "The value is read from standard input, or asked for on a terminal. It is never shown again.\n" \
      "  --host HOST   send it only to this host (or *.DOMAIN), whatever rules say; again for more\n  --plain-http  also without TLS\n") \
    X(freeze, "WS", "Stop all processes of a sandbox where they are.", "The next request to it wakes it, as does `wake`.\n") \
    X(sleep, "WS", "Take a snapshot of a sandbox and end its processes; files stay.", "The next request to it starts it again.\n") \
    X(wake, "WS", "Start a sandbox, or thaw it.", "") \
    X(stop, "WS", "End all processes of a sandbox; files stay.", "") \
    X(usage, "WS", "Show what a sandbox has used: CPU time, memory, disk.", "")
