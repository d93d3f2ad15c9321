#!/usr/bin/env python3
"""Writes an assembler file that holds the drivers of code contexts, with acorn and (compressed) the TypeScript compiler: nothing is read at run time. Usage: embed.py SOURCE_DIR
BUILD_DIR OUT.S. The two come from SOURCE_DIR/node_modules if they are there (tools/install-packages build), else `npm ci` fetches them into BUILD_DIR, pinned by package-lock.json."""
import gzip, json, pathlib, shutil, subprocess, sys

source, build, out = map(pathlib.Path, sys.argv[1:4])


def modules():
    pins = {name: entry['version'] for name, entry in json.loads((source / 'package-lock.json').read_text())['packages'].items() if name}
    for place in (source / 'node_modules', build / 'drivers' / 'node_modules'):
        if all((place.parent / name / 'package.json').exists() and json.loads((place.parent / name / 'package.json').read_text())['version'] == version for name, version in pins.items()):
            return place
    place = build / 'drivers'
    place.mkdir(parents=True, exist_ok=True)
    for name in ('package.json', 'package-lock.json'):
        shutil.copy(source / name, place / name)
    try:
        subprocess.run(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund'], cwd=place, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as e:
        sys.exit(f'embed.py: JavaScript and TypeScript contexts need acorn and typescript: {e}. Run tools/install-packages build (it needs the npm registry once).')
    return place / 'node_modules'


node = modules()
files = [('boot_python', (source / 'boot.py').read_bytes() + b'\0'), ('boot_node', (source / 'boot.js').read_bytes() + b'\0'), ('driver_python', (source / 'python.py').read_bytes()),
         ('driver_node', (source / 'node.js').read_bytes()), ('acorn', (node / 'acorn/dist/acorn.js').read_bytes()),
         ('typescript', gzip.compress((node / 'typescript/lib/typescript.js').read_bytes(), 9, mtime=0))]
with open(out, 'w') as f:
    f.write('/* Made by sandbox/drivers/embed.py. */\n.section .note.GNU-stack,"",%progbits\n.section .rodata\n')
    for name, data in files:
        blob = build / f'driver_{name}.bin'
        blob.write_bytes(data)
        f.write(f'.balign 16\n.global code_{name}\ncode_{name}:\n.incbin "{blob.resolve()}"\n.global code_{name}_end\ncode_{name}_end:\n')
