# For system tests: a temporary store, checks that print `ok` and `not ok`, cleanup on every way out. Sourced by bash.
# $COPPICE: the command (default: in the build directory given as $1, else /work's usual place).
set -u
COPPICE=${COPPICE:-${1:-build}/tools/coppice}
PASSED=0 FAILED=0 SKIPPED=0
T=$(mktemp -d "${COPPICE_TEST_TMP:-/tmp}/coppice-system-XXXXXX") || exit 1
export COPPICE_STORE=$T/store
mkdir "$T/mnt"
SYS_PIDS=() SYS_STORES=("$T/store")

# COPPICE_TRANSPORT: how the tests' mounts are served; without it, as the default is.
c() {
    if [ "${1-}" = mount ] && [ -n "${COPPICE_TRANSPORT-}" ]; then shift; "$COPPICE" mount -o "transport=$COPPICE_TRANSPORT" "$@"
    else "$COPPICE" "$@"; fi
}
pass() { PASSED=$((PASSED + 1)); echo "ok $*"; }
fail() { FAILED=$((FAILED + 1)); echo "not ok $*"; }
skip() { SKIPPED=$((SKIPPED + 1)); echo "ok # SKIP $*"; }
# told: what another program says on stdin in lines "ok WHAT", "not ok WHAT", "ok # SKIP WHY" counts as said here. Not at the end of a pipe: that counts in a shell of its own.
told() {
    local line
    while read -r line; do
        case $line in
            "ok # SKIP "*) skip "${line#ok # SKIP }" ;;
            "ok "*) pass "${line#ok }" ;;
            "not ok "*) fail "${line#not ok }" ;;
            *) echo "# $line" ;;
        esac
    done
}
# check WHAT COMMAND...: the command must succeed. Its output is shown if it does not.
check() {
    local what=$1 out; shift
    if out=$("$@" 2>&1); then pass "$what"; else fail "$what (status $?): $(tail -n 5 <<<"$out" | tr '\n' '|')"; fi
}
# refused WHAT STATUS TEXT COMMAND...: must end with this status and say TEXT (a regular expression) on stderr.
refused() {
    local what=$1 status=$2 text=$3 out st; shift 3
    out=$("$@" 2>&1 >/dev/null </dev/null); st=$?
    if [ $st -ne "$status" ]; then fail "$what: status $st, expected $status: $out"
    elif ! grep -qiE -- "$text" <<<"$out"; then fail "$what: said '$out', expected '$text'"
    else pass "$what"; fi
}
same() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1: '${2:0:300}' and '${3:0:300}' differ"; fi; }
background() { "$@" & SYS_PIDS+=($!); }
# Everything of a tree that a user can see: names, types, modes, owners, sizes, targets, times, links, attributes, ACLs, content.
tree() {
    (cd "$1" && {
        find . -mindepth 1 -printf '%P\0%y %m %U:%G %n %l %T@\0' | sort -z
        find . -type f -printf '%P %s\n' | LC_ALL=C sort
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum
        getfattr -Rhd -m - . 2>/dev/null | LC_ALL=C sort
    }) | sha256sum
}
# As tree, without times and link counts: for what a program builds anew each time.
content() {
    (cd "$1" && {
        find . -mindepth 1 -printf '%P\0%y %m %l\0' | LC_ALL=C sort -z
        find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum
    }) | sha256sum
}
ws_mount() { mkdir -p "$T/mnt/$1" && c mount "$1" "$T/mnt/$1" >/dev/null; }
daemon_pid() { c --json status 2>/dev/null | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | head -1; }

sys_end() {
    local st=$? m
    trap - EXIT INT TERM
    for p in "${SYS_PIDS[@]:-}"; do [ -n "$p" ] && kill "$p" 2>/dev/null; done
    while read -r m; do umount -l "$m" 2>/dev/null; done < <(awk -v t="$T/" 'index($5, t) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    for s in "${SYS_STORES[@]}"; do [ -d "$s" ] && "$COPPICE" --store "$s" down >/dev/null 2>&1; done
    for s in "${SYS_STORES[@]}"; do [ -s "$s/sandbox/id" ] && rm -f "/etc/coppice/keys/$(cat "$s/sandbox/id")"; done      # the key of its secrets lives outside
    cd / && rm -rf "$T"
    echo "$(basename "$0"): $PASSED passed, $FAILED failed, $SKIPPED skipped"
    [ $FAILED -eq 0 ] && [ $st -eq 0 ] && [ $((PASSED + SKIPPED)) -gt 0 ]; exit $?
}
trap sys_end EXIT
trap 'exit 1' INT TERM
have_uring() {
    [ -w /sys/module/fuse/parameters/enable_uring ] || return 1
    # io_uring_setup(2), which a container's filter or a sysctl may forbid.
    /usr/bin/python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(256)) < 0)'
}
need_mounts() {
    if [ "${COPPICE_TRANSPORT-}" = uring ] && ! have_uring; then
        skip "$1: this kernel has no FUSE over io_uring, or it may not be turned on here"; exit 0
    fi
    [ "$(id -u)" = 0 ] && [ -w /dev/fuse ] && return
    skip "$1: needs root and /dev/fuse"; exit 0
}
