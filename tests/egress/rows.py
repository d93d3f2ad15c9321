"""rows.py PROGRAM [--long] [ROW or FILE or FUNCTION...]: the rows of security.md 5.4 against a bare egress. Needs root (network namespaces); ends with 77 where that is missing."""
import os, shutil, sys
import netns, trial, world


def main():
    words = [a for a in sys.argv[1:] if a != '--long']
    if os.geteuid() != 0:
        print('ok # SKIP egress_rows: needs root')
        return 77
    w = world.World()
    try:
        import bare
        for f in sorted(os.listdir(os.path.dirname(os.path.abspath(__file__)))):
            if f.startswith('rows_') and f.endswith('.py'):
                __import__(f[:-3])
        os.makedirs(w.dir / 'e', exist_ok=True)
        os.chmod(w.dir, 0o755)
        e = bare.Egress(words[0], w.dir / 'e' / 'egress', w.roots, w.resolver)
        try:
            return 0 if trial.run_rows(trial.Trial(w, e, '--long' in sys.argv), words[1:]) else 1
        finally:
            if os.environ.get('KEEP_LOG'):
                shutil.copy(e.log, os.environ['KEEP_LOG'])
            e.kill()
    finally:
        w.close()


code = main()
sys.stdout.flush()
os._exit(code)            # threads that wait for connections end with the process
