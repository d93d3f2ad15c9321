#!/bin/bash
# Terminals through the WebSocket: real programs, replay of the screen, sizes, kill -9 of sandboxd, slow clients, ends.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts terminal
for p in vim less top tmux curl; do
    command -v $p >/dev/null || { echo "1..0 # SKIP $p is not there (tools/packages, kind test)"; exit 77; }
done
check "create" c create ws
check "the daemons start" c exec ws -- true
told < <(python3 "$(dirname "$0")/terminal.py" "$COPPICE_STORE/sandbox/api.sock" "$COPPICE_HELPERS/screen_text" "$(cat "$COPPICE_STORE/sandbox/pid")" 2>&1; echo "$([ $? = 0 ] || echo not\ )ok the driver ran to its end")
