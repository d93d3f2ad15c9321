#!/usr/bin/env python3
"""Writes a C file with the terminal page's files as arrays: nothing is read at run time. Usage: embed.py SOURCE_DIR BUILD_DIR OUT.c
xterm.js comes from SOURCE_DIR/node_modules if it is there (tools/install-packages build), else `npm ci` fetches it into BUILD_DIR, pinned by package-lock.json."""
import json, pathlib, shutil, subprocess, sys

source, build, out = map(pathlib.Path, sys.argv[1:4])
FILES = [('terminal.html', 'terminal.html', 'text/html; charset=utf-8'), ('terminal.css', 'terminal.css', 'text/css; charset=utf-8'), ('terminal.js', 'terminal.js', 'text/javascript; charset=utf-8'),
         ('xterm.js', '@xterm/xterm/lib/xterm.js', 'text/javascript; charset=utf-8'), ('xterm.css', '@xterm/xterm/css/xterm.css', 'text/css; charset=utf-8'),
         ('addon-fit.js', '@xterm/addon-fit/lib/addon-fit.js', 'text/javascript; charset=utf-8')]


def modules():
    pins = {name: entry['version'] for name, entry in json.loads((source / 'package-lock.json').read_text())['packages'].items() if name}
    for place in (source / 'node_modules', build / 'web' / 'node_modules'):
        if all((place.parent / name / 'package.json').exists() and json.loads((place.parent / name / 'package.json').read_text())['version'] == version for name, version in pins.items()):
            return place
    place = build / 'web'
    place.mkdir(parents=True, exist_ok=True)
    for name in ('package.json', 'package-lock.json'):
        shutil.copy(source / name, place / name)
    try:
        subprocess.run(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund'], cwd=place, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as e:
        sys.exit(f'embed.py: the terminal page needs xterm.js: {e}. Run tools/install-packages build (it needs the npm registry once).')
    return place / 'node_modules'


def content(name, node):
    path = (node / name) if name.startswith('@') else (source / name)
    # no maps are served: the line that names them would only make requests that fail
    return b'\n'.join(line for line in path.read_bytes().split(b'\n') if not line.startswith((b'//# sourceMappingURL', b'/*# sourceMappingURL')))


node = modules()
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
