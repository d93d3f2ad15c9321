/* The protocol between sandboxd and the agent (pid 1 of a sandbox), both ends.
 *
 * A Unix SOCK_SEQPACKET pair, so a frame is a packet: no partial frame survives the death of an end. The launcher holds a copy of sandboxd's
 * end, so the pair outlives sandboxd; a new sandboxd says HELLO and is told what there is. sandboxd never trusts what comes from an agent: every
 * length is checked, ids that it does not know are dropped, and what is claimed is only ever told to clients of that same sandbox.
 *
 * Packet: 16 bytes of header (u8 type, u8 flags, u16 zero, u32 id, u64 arg), then a body of at most FRAME_BODY_MAX bytes. Little-endian.
 * Strings: u16 length and bytes, without NUL (buf_put_str, get_str). `id` names an execution or a request; sandboxd chooses it, never 0, never
 * twice in the life of an agent (after HELLO it goes on above the highest id it was told).
 *
 * Output: each execution has one log: the bytes of stdout and stderr (or of its terminal) in the order in which the agent read them. The
 * sequence number `seq` is the count of bytes before; so a reader that has all to S asks for S. The log is a ring of `ring` bytes in the agent:
 *  - a HOLD reader (the client that runs a command in the foreground) slows the program: what it has not taken is not overwritten, and
 *    when the ring is full the agent stops reading the pipes, as a pipe does;
 *  - without a HOLD reader the oldest bytes are overwritten; a reader that comes too late is told how many it lost.
 * Readers pull: READ gives credit, DATA uses it up. So nothing is buffered in sandboxd beyond the credit it gave.
 *
 * Files: FILE_OP passes one end of a SOCK_STREAM socketpair; a forked worker with the rights of the user serves it (file_proto.h) and exits, so
 * that a hung file system or a hostile tree costs one process inside the sandbox and nothing else.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { FRAME_VERSION = 1, FRAME_HEAD = 16, FRAME_BODY_MAX = 60 * 1024, FRAME_MAX = FRAME_HEAD + FRAME_BODY_MAX, FRAME_FDS_MAX = 2 };
enum frame_type {
    /* to the agent */
    FRAME_HELLO = 1,      /* arg version. Answer: WELCOME, EXEC_STATE for each execution that is kept, then SYNCED */
    FRAME_EXEC,           /* id; flags EXEC_*; body: exec_spec (below). Answer: STARTED or FAILED; later EXITED */
    FRAME_READ,           /* id execution, arg seq, body: u32 reader, u32 credit bytes, u8 READ_* flags. Of a new reader: it reads from arg (0, or too early: from what is
                           * kept). Of one that is there: an acknowledgement, it has what is before arg, and its position stays. Either way DATA comes up to arg + credit;
                           * what a HOLD reader has not acknowledged is kept. READ_HOLD may change each time */
    FRAME_UNREAD,         /* id, body: u32 reader. It is gone */
    FRAME_STDIN,          /* id, bytes. At most STDIN_WINDOW not yet acknowledged (STDIN_ACK); more is a protocol error and is dropped */
    FRAME_STDIN_CLOSE,    /* id. Of a terminal: its end-of-file character is typed */
    FRAME_SIGNAL,         /* id, arg signal, flags SIGNAL_*; answer: RESULT */
    FRAME_RESIZE,         /* id, body: u16 cols, u16 rows; answer: none */
    FRAME_FORGET,         /* id: an ended execution's log and state go */
    FRAME_FILE_OP,        /* id; 1 descriptor (the worker's end); body: user string, then file_request (file_proto.h). Answer: FAILED, or none */
    FRAME_PORT_WAIT,      /* id, arg port, body: u32 timeout_ms. RESULT 0 when something accepts on 127.0.0.1, [::1] or 0.0.0.0, -ETIMEDOUT, -ECANCELED; -EAGAIN: WAITS_MAX wait already */
    FRAME_DIAL,           /* id, arg port. RESULT with one connected (blocking) TCP socket, or -errno; -EAGAIN: DIALS_MAX are under way */
    FRAME_CANCEL,         /* id of a PORT_WAIT */
    FRAME_SHUTDOWN,       /* arg milliseconds: SIGTERM to all, SIGKILL after that, then the agent exits (and with it all) */
    /* from the agent */
    FRAME_WELCOME = 64,   /* arg version; body: u64 start of the agent (CLOCK_BOOTTIME ns), u64 layers that the self-test proved (confine.h) */
    FRAME_EXEC_STATE,     /* id, flags EXEC_* | STATE_*; body: u32 pid, u64 first seq kept, u64 next seq, u64 start_ns, u64 bytes of stdin received, u64 bytes of it consumed (as
                           * STDIN_ACK counts them); if STATE_EXITED: exit_info; argv[0] string. EXEC_STDIN: its stdin is open still */
    FRAME_SYNCED,
    FRAME_STARTED,        /* id; body: u32 pid (in the sandbox) */
    FRAME_FAILED,         /* id; body: i32 -errno, string step ("exec", "cwd", "user", "limit", ...): nothing runs */
    FRAME_DATA,           /* id, flags stream (STREAM_*), arg seq of the first byte; body: u32 reader, u32 lost bytes before, bytes */
    FRAME_DATA_END,       /* id, arg end seq; body: u32 reader. It has had everything, and no more comes */
    FRAME_EXITED,         /* id, arg end seq at that time: all that it had written is before it; body: exit_info. What children that go on write comes later, until DATA_END */
    FRAME_STDIN_ACK,      /* id, arg bytes consumed in all; flags 1: the program closed its stdin, drop the rest */
    FRAME_RESULT,         /* id; body: i32 0 or -errno */
    FRAME_GONE,           /* id: the agent has forgotten this ended execution (its bound of kept ones was reached) */
    FRAME_FATAL,          /* body: i32 -errno, string step: the agent cannot serve (a layer of the self-test is missing) and exits */
};
enum { EXEC_TTY = 1, EXEC_STDIN = 2, EXEC_READ = 4, EXEC_CHANNEL = 8, EXEC_PROGRAM = 16, STATE_EXITED = 64, STATE_OOM = 128 };  /* EXEC_READ: reader 0 reads from 0 with HOLD and the credit of the spec */
/* EXEC_PROGRAM: the frame brings one descriptor, a memory file with all seals (PROGRAM_SEALS): what is executed is that, not argv[0], which is only its name; no PATH, no interpreter. The spec
 * is in the body. FAILED with step "program" if it is anything else. The command does not get the descriptor. */
/* EXEC_CHANNEL (without EXEC_TTY and EXEC_STDIN): descriptor 3 of the command is one end of a stream socket, stdin is /dev/null. STDIN frames go to the socket (STDIN_CLOSE shuts that
 * direction down), what the command writes to it is STREAM_CHANNEL in its log, after all that stdout and stderr held by then. HELLO kills such executions: nobody could take them up. */
enum { READ_HOLD = 1, READ_ONCE = 2 /* of a new reader: its DATA_END comes at what the log held when this READ came, though it runs */ };
enum { SIGNAL_GROUP = 1, SIGNAL_TREE = 2 };   /* neither: the process; GROUP: its process group; TREE: everything that descends from it, daemonised or not (for SIGKILL: until none is left) */
enum { STREAM_OUT = 1, STREAM_ERR = 2, STREAM_TTY = 3, STREAM_CHANNEL = 4 };
enum { STDIN_WINDOW = 256 * 1024, RING_DEFAULT = 256 * 1024, RING_MAX = 8 << 20, CREDIT_DEFAULT = 256 * 1024 };
enum { EXECS_MAX = 4096, EXECS_KEPT = 64, READERS_MAX = 32, ARGV_MAX = 4096 };       /* at once; ended ones kept, oldest forgotten first; per execution */
enum { WAITS_MAX = 256, DIALS_MAX = 256, WORKERS_MAX = 64, WORKERS_QUEUED_MAX = 256 };             /* at once; more FILE_OPs than queue: FAILED -EAGAIN */
enum { HOLD_GRACE_MS = 10000 };            /* after HELLO what HOLD readers of the former sandboxd had not acknowledged is kept so long, then a full ring overwrites */
enum { AGENT_UID = 65533 };                /* of the agent and its supervisors in the sandbox; nothing runs as it, /proc is mounted with gid=AGENT_UID */
enum { AGENT_NICE = -20 };                 /* of the agent and its supervisors, given by the launcher: among a thousand that fork, who ends them needs the processor. Commands have 0 */

struct frame { uint8_t type, flags; uint32_t id; uint64_t arg; const uint8_t *body; size_t n; int fds[FRAME_FDS_MAX]; unsigned fd_count; };
/* Receives one packet into buf (FRAME_MAX bytes); body points into it, descriptors are owned by the caller. 1: a frame; 0: the other side is gone;
 * -EAGAIN (non-blocking socket); -EBADMSG: not a frame (descriptors closed); -errno. */
int frame_recv(int sock, uint8_t *buf, struct frame *ret);
/* 0; -EAGAIN: not sent; -EPIPE; -EMSGSIZE; -errno. body may be two parts (head + bytes), either may be NULL/0. */
int frame_send(int sock, uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *head, size_t head_n, const void *body, size_t n, int fd);

enum { PROGRAM_SEALS = 1 | 2 | 4 | 8 };   /* F_SEAL_SEAL, SHRINK, GROW, WRITE */

/* Body of EXEC, in this order: u32 ring, u32 credit, u32 timeout_ms (0: none; then SIGNAL_TREE with SIGTERM, and SIGKILL 2 s later), u16 cols, u16 rows (tty),
 * user string ("user", "root", or "UID" or "UID:GID"), cwd string ("" = home), u16 argc, argc strings, u16 envc, envc strings "K=V".
 * The whole spec must fit one frame; a larger one goes as a memfd descriptor with the same bytes (at most EXEC_SPEC_MAX) and an empty body. */
enum { EXEC_SPEC_MAX = 1 << 20 };
struct exec_spec {                             /* of exec_spec_get(): all in one block, which argv begins */
    uint32_t ring, credit, timeout_ms;
    uint16_t cols, rows;
    char *user, *cwd;                      /* owned, as all of it */
    char **argv, **env;                    /* NULL-terminated */
};
struct buf;
void exec_spec_put(struct buf *b, const struct exec_spec *s);
int exec_spec_get(const uint8_t *p, size_t n, struct exec_spec *ret);      /* 0; -EBADMSG; -ENOMEM. Strict: no trailing bytes, no NUL in strings, 1..ARGV_MAX of argv */
void exec_spec_fini(struct exec_spec *s);

/* How it ended: exactly what wait4() said. Killed: signal is not 0 and code is 0. Exited: signal is 0 and code is 0..255. Nobody knows (its supervisor inside the
 * sandbox was killed, as by the OOM killer, and then all that was left of the execution was killed): signal is 0 and code is EXIT_UNKNOWN; never made up from
 * anything else. oom is left 0 by the agent, which cannot see the memory group: sandboxd sets it from the launcher's count of OOM kills. */
enum { EXIT_UNKNOWN = -1 };
struct exit_info { int32_t code, signal; uint64_t user_us, sys_us, wall_us, peak_kb; uint8_t core, timed_out, oom; };   /* oom: the kernel's OOM killer ended a process of the sandbox meanwhile and this died of SIGKILL */
enum { EXIT_INFO_BYTES = 4 + 4 + 8 * 4 + 3 };
void exit_info_put(struct buf *b, const struct exit_info *e);
struct reader;
void exit_info_get(struct reader *r, struct exit_info *ret);
