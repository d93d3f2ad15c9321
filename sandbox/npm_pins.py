"""node_modules of a directory with a package-lock.json, for what is built from npm packages (web/embed.py, drivers/embed.py)."""
import json, pathlib, shutil, subprocess, sys


def modules(source, place, what):
    """That of SOURCE if all its pinned packages are there (tools/install-packages build), else that of PLACE, into which `npm ci` fetches them. WHAT needs them, for who has no registry."""
    pins = {name: entry['version'] for name, entry in json.loads((source / 'package-lock.json').read_text())['packages'].items() if name}
    for there in (source, place):
        if all((there / name / 'package.json').exists() and json.loads((there / name / 'package.json').read_text())['version'] == version for name, version in pins.items()):
            return there / 'node_modules'
    place.mkdir(parents=True, exist_ok=True)
    for name in ('package.json', 'package-lock.json'):
        shutil.copy(source / name, place / name)
    try:
        subprocess.run(['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund'], cwd=place, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as e:
        sys.exit(f'embed.py: {what}: {e}. Run tools/install-packages build (it needs the npm registry once).')
    return place / 'node_modules'
