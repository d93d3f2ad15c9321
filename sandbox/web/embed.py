#!/usr/bin/env python3
"""Writes a C file with the terminal page's files as arrays: nothing is read at run time. Usage: embed.py SOURCE_DIR BUILD_DIR OUT.c
xterm.js comes from SOURCE_DIR/node_modules if it is there (tools/install-packages build), else `npm ci` fetches it into BUILD_DIR, pinned by package-lock.json."""
import pathlib, sys

sys.dont_write_bytecode = True                   # not into the source tree
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from npm_pins import modules

source, build, out = map(pathlib.Path, sys.argv[1:4])
FILES = [('terminal.html', 'terminal.html', 'text/html; charset=utf-8'), ('terminal.css', 'terminal.css', 'text/css; charset=utf-8'), ('terminal.js', 'terminal.js', 'text/javascript; charset=utf-8'),
         ('xterm.js', '@xterm/xterm/lib/xterm.js', 'text/javascript; charset=utf-8'), ('xterm.css', '@xterm/xterm/css/xterm.css', 'text/css; charset=utf-8'),
         ('addon-fit.js', '@xterm/addon-fit/lib/addon-fit.js', 'text/javascript; charset=utf-8')]


def content(name, node):
    path = (node / name) if name.startswith('@') else (source / name)
    # no maps are served: the line that names them would only make requests that fail
    return b'\n'.join(line for line in path.read_bytes().split(b'\n') if not line.startswith((b'//# sourceMappingURL', b'/*# sourceMappingURL')))


node = modules(source, build / 'web', 'the terminal page needs xterm.js')
with open(out, 'w') as f:
    f.write('/* Made by sandbox/web/embed.py. */\n#include "sandbox/web/page.h"\n')
    for i, (name, path, kind) in enumerate(FILES):
        data = content(path, node)
        f.write(f'static const unsigned char file_{i}[] = {{')
        f.write(','.join(map(str, data)))
        f.write('};\n')
    f.write('const struct page_file page_files[] = {\n')
    for i, (name, path, kind) in enumerate(FILES):
        f.write(f'    {{ "{name}", "{kind}", file_{i}, sizeof file_{i} }},\n')
    f.write('    { 0 }\n};\n')
