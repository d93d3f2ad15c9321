#!/bin/bash
# Real programs in a mounted workspace, compared with the same on the disk's own file system.
. "$(dirname "$0")/../lib/sys.sh"
need_mounts programs
c init >/dev/null && c create work --bare >/dev/null && ws_mount work || { fail "mount"; exit 1; }
W=$T/mnt/work D=$T/disk; mkdir "$D"; SRC=$(cd "$(dirname "$0")/../.." && pwd)

# A repository of 300 commits and 3,000 files.
git init -q "$T/repo"; (cd "$T/repo" && git config user.name t && git config user.email t@t && for i in $(seq 60); do
    mkdir -p d$((i % 10)); for k in $(seq 50); do seq $((i * k)) >"d$((i % 10))/f$i-$k"; done; echo $i >>log; git add -A; git commit -qm "commit $i"; done)
check "git clone" git clone -q "$T/repo" "$W/repo"
check "git fsck" git -C "$W/repo" fsck --full
git clone -q "$T/repo" "$D/repo"
rm -rf "$W/repo/.git/logs" "$D/repo/.git/logs"
same "the working tree is the same" "$(cd "$W/repo" && git ls-files -s | sha256sum)" "$(cd "$D/repo" && git ls-files -s | sha256sum)"
same "git status is clean" "$(git -C "$W/repo" status --porcelain)" ""
check "git gc, repack" git -C "$W/repo" gc -q --prune=now
check "git fsck after gc" git -C "$W/repo" fsck --full
check "git checkout back and forth" bash -c 'cd "$0" && git checkout -q HEAD~30 && git checkout -q -' "$W/repo"

# Archives and copies, both ways.
mkdir "$D/odd"; (cd "$D/odd" && echo x >file && ln file hard && ln -s 'no where' sym && mkfifo fifo && mkdir -m 1777 sticky && mkdir -m 2750 setgid && : >empty &&
    truncate -s 5M sparse && printf end | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none && chmod 4711 file && chown 12:34 empty && touch -d '1999-12-31 23:59:59.123456789' file &&
    setfattr -n user.key -v value file && setfacl -m u:1000:rwx,g:7:r file && setfacl -d -m u:1000:rx setgid &&
    for i in $(seq 1 255); do [ $i != 47 ] && : >"n$(printf "\\x$(printf %x $i)")"; done)
# rsync leaves the time of a directory, link or FIFO that it has made within the very second of its model: so these are older.
find "$D/odd" -mindepth 1 ! -type f -exec touch -h -d '2001-02-03 04:05:06.789' {} +
check "cp -a in" cp -a "$D/odd" "$W/odd"
same "cp -a keeps everything" "$(tree "$W/odd")" "$(tree "$D/odd")"
check "rsync -aHAX in" rsync -aHAX "$D/odd/" "$W/odd2/"
same "rsync keeps everything" "$(tree "$W/odd2")" "$(tree "$D/odd")"
check "rsync again finds nothing to do" bash -c '[ -z "$(rsync -aHAXi --checksum "$0/odd/" "$1/odd2/")" ]' "$D" "$W"
check "tar out and in" bash -c 'tar --xattrs --acls -C "$0" -cf - odd | (mkdir "$1/t" && tar --xattrs --xattrs-include="*" --acls -C "$1/t" -xpf -)' "$W" "$D"
same "tar keeps everything" "$(tree "$D/t/odd")" "$(tree "$W/odd")"
same "getfacl" "$(cd "$W/odd" && getfacl -R . 2>/dev/null | sort | sha256sum)" "$(cd "$D/odd" && getfacl -R . 2>/dev/null | sort | sha256sum)"
check "a hard-link farm" bash -c 'cd "$0" && mkdir farm && echo x >farm/0 && for i in $(seq 2000); do ln farm/0 farm/$i || exit 1; done && [ "$(stat -c %h farm/0)" = 2001 ] && rm -rf farm' "$W"

# SQLite.
if command -v sqlite3 >/dev/null; then
    for mode in wal delete truncate persist; do
        for where in "$W" "$D"; do
            (echo "PRAGMA journal_mode=$mode; CREATE TABLE t(i INTEGER PRIMARY KEY, b TEXT);"
                for i in $(seq 100); do echo "BEGIN; INSERT INTO t(b) SELECT hex($i) || value FROM generate_series(1,50); UPDATE t SET b = b || 'x' WHERE i % 7 = $((i % 7)); COMMIT;"; done) |
                sqlite3 "$where/$mode.db" >/dev/null 2>"$T/err" || fail "sqlite $mode: $(head -1 "$T/err")"
        done
        same "sqlite $mode: integrity" "$(sqlite3 "$W/$mode.db" 'PRAGMA integrity_check')" ok
        same "sqlite $mode: same rows" "$(sqlite3 "$W/$mode.db" 'SELECT count(*), sum(length(b)) FROM t')" "$(sqlite3 "$D/$mode.db" 'SELECT count(*), sum(length(b)) FROM t')"
    done
else skip "sqlite3 is not installed"; fi

# This program's own build.
if [ -n "${COPPICE_TEST_BUILD:-1}" ] && command -v meson >/dev/null; then
    mkdir "$W/coppice" && (cd "$SRC" && tar --exclude=./build --exclude=./.git -cf - .) | tar -C "$W/coppice" -xf -
    check "meson setup of coppice inside" meson setup "$W/b" "$W/coppice"
    check "build of coppice inside" ninja -C "$W/b" tools/coppice
    check "what was built runs" "$W/b/tools/coppice" --help
fi

# npm, if the registry answers.
if command -v npm >/dev/null && timeout 20 npm view typescript version >/dev/null 2>&1; then
    mkdir "$W/npm" "$D/npm"
    npm_install() { (cd "$1/npm" && npm init -y >/dev/null && timeout 300 npm install --no-audit --no-fund "${@:2}" typescript@5.4.5 eslint@8.57.0 2>&1); }
    npm_install "$D" >/dev/null && npm_ok=1                # from the registry, which may fail; the mount then has the same from npm's cache
fi
if [ -n "${npm_ok:-}" ]; then
    check "npm install" npm_install "$W" --prefer-offline
    same "npm install gives the same tree" "$(rm -f "$W"/npm/node_modules/.package-lock.json "$D"/npm/node_modules/.package-lock.json; content "$W/npm/node_modules")" "$(content "$D/npm/node_modules")"
    echo 'const x: number = 1; console.log(x + 1);' >"$W/npm/a.ts"
    check "tsc runs" bash -c 'cd "$0/npm" && ./node_modules/.bin/tsc a.ts && [ "$(node a.js)" = 2 ]' "$W"
else skip "npm install: the registry does not answer"; fi

before=$(content "$W")
check "umount" c umount work
check "mount again" ws_mount work
same "everything is there after a remount" "$(content "$W")" "$before"
check "fsck of the store" c fsck
