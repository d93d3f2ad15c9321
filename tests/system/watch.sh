#!/bin/bash
# Change events of a real sandbox, over HTTP and by `coppice watch`: exact sequences, git, npm, restores, patterns, ends, names.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/sys.sh"
need_mounts "change events"
check "a sandbox" c create ws
check "it runs" c exec ws -- true
told < <(python3 "$here/watch_checks.py" "$COPPICE_STORE/sandbox/api.sock" "$COPPICE" ws 2>&1 || echo "not ok watch_checks.py ended with an error")

# --- the command ---
c exec ws -- true
"$COPPICE" watch ws --exclude '*.log' >"$T/out" 2>"$T/err" </dev/null &
watcher=$!
until grep -q '^watching /workspace$' "$T/err" || ! kill -0 $watcher 2>/dev/null; do sleep 0.05; done
c exec ws -- python3 -c 'import os
os.chdir("/workspace"); open("a.log", "w"); os.mkdir("n"); os.rename("n", b"\x1b[31mred\xff"); open("end", "w").write("x")'
until grep -q '^close_write */workspace/end$' "$T/out" || ! kill -0 $watcher 2>/dev/null; do sleep 0.05; done
same "a line for each event, odd names as escapes" "$(cat "$T/out")" $'create      /workspace/n/\nmove        /workspace/n/ -> /workspace/\\x1b[31mred\\xff/\ncreate      /workspace/end\nmodify      /workspace/end\nclose_write /workspace/end'
check "sleep" c sleep ws
wait $watcher; st=$?
same "it ends when the sandbox sleeps, and says so" "$st $(grep -c 'has stopped' "$T/err")" "1 1"
