#!/bin/bash
# Code contexts of a real sandbox, over HTTP and by `coppice code`: state, isolation, streams, rich results, errors, interrupts, hostile code, life.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/sys.sh"
need_mounts "code contexts"
check "a sandbox" c create ws
check "it runs" c exec ws -- true
told < <(python3 "$here/code_checks.py" "$COPPICE_STORE/sandbox/api.sock" ws 2>&1 || echo "not ok code_checks.py ended with an error")

# --- the command ---
cd "$T" || exit 1
printf 'x = 20\nprint("one")\nx + 1\n' >first.py
same "a file, and its last value" "$(c code ws first.py)" $'one\n21'
same "state stays" "$(echo 'x * 2' | c code ws -)" 40
same "-e gives text; --language" "$(c code ws --language javascript -e 'let y = 4; y ** 2')" 16
out=$(echo '1/0' | c code ws - 2>&1); st=$?
same "an error is status 1 with its traceback" "$st $(tail -1 <<<"$out")" "1 ZeroDivisionError: division by zero"
id=$(c code ws --language ts --new)
same "a context of its own" "$(c code ws --context "$id" -e 'const a: string = "hi"; a')" "'hi'"
same "a context by name is made when it is first used" "$(c code ws --language javascript -c mine -e 'let v = 3'; c code ws -l js -c mine -e v)" 3
refused "a language that is none" 1 "python, javascript or typescript" c code ws --language cobol -e 1
refused "the code of another language in a context" 1 "'mine' of 'ws' is javascript, and this is python" c code ws -c mine -l python -e 1
refused "a timeout, which is told beside the traceback" 1 "Timeout: the run took longer than 200 ms" c code ws --timeout 0.2 -e 'import time; time.sleep(60)'
same "figures are saved, and their paths shown" "$(cd "$T" && c code ws -e 'display({"image/png": "iVBORw0KGgo="}, raw=True)' && head -c 4 ws-1.png | tail -c 3)" $'ws-1.png\nPNG'
same "control characters of results are not for our terminal" "$(c code ws -e 'display({"text/plain": "a\x1b]0;evil\x07b"}, raw=True)')" "a]0;evilb"
same "--json is the events" "$(c --json code ws -e 3 | python3 -c 'import json, sys; print([json.loads(l)["event"] for l in sys.stdin])')" "['start', 'result', 'done']"
