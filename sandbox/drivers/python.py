# The Python driver of code contexts. sandboxd sends this text to a `python3 -c` over the channel (descriptor 3, a socket of its own beside stdout and stderr) and then orders; see
# docs/code.md for the messages. It needs nothing but the standard library of Python 3.8 or newer, and uses IPython where it is there.
#
# What must hold:
#  1. stdout and stderr stay descriptors 1 and 2: whatever writes to them (C code, children) is output. Before a message goes out they are flushed, and whoever reads the channel
#     reads them first; a write to one waits until the other has been read. So everything comes in the order in which it was written.
#  2. KeyboardInterrupt is raised only while a run's own code runs (`running`).
#  3. A forked child never speaks on the channel.
#  4. The names that this code uses are its own: it runs with a copy of builtins, and imports all it needs before the user's directory is on sys.path.
import ast, base64, fcntl, io, json, linecache, os, re, select, signal, struct, sys, termios, time, traceback, types
import builtins as user_builtins

FILE = '<coppice>'
MESSAGE_MAX = 8 << 20          # as CODE_MESSAGE_MAX in sandbox/code/code.h
ROOM = MESSAGE_MAX - (64 << 10)
TRACEBACK_MAX = 256 << 10
CHUNK = 1 << 20
dumps, loads, monotonic, getpid, write_fd, read_fd = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode, json.loads, time.monotonic, os.getpid, os.write, os.read
AWAIT = getattr(ast, 'PyCF_ALLOW_TOP_LEVEL_AWAIT', 0)
COROUTINE = 0x80


class State:
    running = False
    starting = interrupted = False     # a run begins; it was interrupted before it had begun
    pid = getpid()
    count = 0
    shell_wanted = False       # IPython is there and not loaded yet
    loop = None                # of top-level await; made when it is needed
    shown = ()                 # figures that this run has shown
    shell = None
    future = 0
    channel = -1


state = State()


# --- the channel ---
def read_full(n):
    parts = []
    while n:
        part = read_fd(state.channel, min(n, CHUNK))
        if not part:
            os._exit(0)            # sandboxd has let go of this interpreter
        parts.append(part)
        n -= len(part)
    return b''.join(parts)


def send(message):
    if getpid() != state.pid:
        return
    data = dumps(message).encode('utf-8', 'replace')
    for stream in (sys.stdout, sys.stderr, streams[1], streams[2]):
        try:
            stream.flush()
        except Exception:
            pass
    data = memoryview(struct.pack('<I', len(data)) + data)
    while data:
        data = data[write_fd(state.channel, data[:CHUNK]):]
    if message['t'] in ('result', 'error'):
        settle(state.channel, termios.TIOCOUTQ)        # what is written from now on comes after it


def forked():
    state.running = False
    state.pid = -1                 # nobody's
    try:
        os.close(state.channel)
    except OSError:
        pass


# --- stdout and stderr ---
class Stream(io.TextIOWrapper):
    """A text stream that writes at once, after what was written to the other one has been read."""
    def write(self, text):
        settle(3 - self.number)            # also what children wrote there
        n = super().write(text)
        self.flush()
        return n

    def writelines(self, lines):
        self.write(''.join(lines))


def settle(fd, what=termios.FIONREAD):
    """Until all that was written there has been read."""
    pause = 0.00002
    try:
        while any(fcntl.ioctl(fd, what, b'\0\0\0\0')):
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
    except (OSError, ValueError):
        pass                       # closed, or not a pipe any more


def stream_new(fd):
    s = Stream(io.BufferedWriter(io.FileIO(fd, 'w', closefd=False)), encoding='utf-8', errors='backslashreplace')
    s.number = fd
    s.mode = 'w'
    return s


streams = {}


# --- what a value looks like ---
METHODS = (('text/html', '_repr_html_'), ('text/markdown', '_repr_markdown_'), ('image/svg+xml', '_repr_svg_'), ('image/png', '_repr_png_'), ('image/jpeg', '_repr_jpeg_'),
           ('text/latex', '_repr_latex_'), ('application/json', '_repr_json_'), ('application/javascript', '_repr_javascript_'), ('application/pdf', '_repr_pdf_'))
CHART = 'application/vnd.coppice.chart+json'
DATA = 'application/vnd.coppice.data+json'
DATA_CELLS = 20000


def plain(value):
    text = repr(value)
    if len(text) > 79 and type(value) in (dict, list, tuple, set, frozenset) and len(text) < 100000:
        import pprint
        return pprint.pformat(value, width=79, compact=True, sort_dicts=False)
    return text


def frame_data(value):
    """Of a small pandas table: its columns."""
    pandas = sys.modules.get('pandas')
    try:
        if pandas and isinstance(value, pandas.DataFrame) and value.size <= DATA_CELLS:
            return loads(value.to_json(orient='split', date_format='iso', default_handler=str))
    except Exception:
        pass
    return None


def bundle_of(value):
    out = {}
    method = None if isinstance(value, type) else getattr(value, '_repr_mimebundle_', None)
    if callable(method):
        try:
            got = method(include=None, exclude=None)
            got = got[0] if isinstance(got, tuple) else got
            out.update(got or {})
        except Exception:
            pass
    for mime, name in METHODS:
        if mime in out or isinstance(value, type):
            continue
        try:
            method = getattr(value, name, None)
            got = method() if callable(method) else None
            got = got[0] if isinstance(got, tuple) else got
            if got is not None:
                out[mime] = got
        except Exception:
            pass
    if 'text/plain' not in out:
        out['text/plain'] = plain(value)
    return out


def rich(value, out=None):
    """The bundle of a value: by IPython's formatters or by the methods that it has."""
    if is_figure(value):
        state.shown += (id(value),)
        return figure_bundle(value)
    if out is None:
        out = state.shell.display_formatter.format(value)[0] if state.shell else bundle_of(value)
    data = frame_data(value)
    if data is not None:
        out[DATA] = data
    return out


def jsonable(mime, value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode('ascii')
    if isinstance(value, str):
        return value
    try:
        dumps(value)
        return value
    except Exception:
        return None if mime == 'application/json' else str(value)


def publish(out, main=False, update=None):
    data = {}
    for mime, value in out.items():
        value = jsonable(mime, value)
        if isinstance(mime, str) and value is not None and len(data) < 32:
            data[mime] = value
    sizes = {mime: len(dumps(value).encode('utf-8', 'replace')) for mime, value in data.items()}
    while sizes and sum(sizes.values()) > ROOM:
        worst = max(sizes, key=sizes.get)
        size = sizes.pop(worst)
        del data[worst]
        note = 'the %s of this result is left out: it has %d bytes, more than the %d that one result may have' % (worst, size, ROOM)
        data.setdefault('text/plain', note)
        sizes['text/plain'] = len(data['text/plain'])
    message = {'t': 'result', 'data': data, 'main': main}
    if update:
        message['update'] = str(update)
    send(message)


def display(*values, raw=False, **more):
    """Shows values among the results of the run: by their _repr_*_ methods, or with raw=True as dictionaries of MIME type and content."""
    for value in values:
        publish(dict(value) if raw else rich(value), update=more.get('display_id'))


# --- figures ---
def is_figure(value):
    module = sys.modules.get('matplotlib.figure')
    return module is not None and isinstance(value, module.Figure)


def figure_png(figure):
    out = io.BytesIO()
    canvas = figure.canvas
    if not hasattr(canvas, 'print_png'):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        canvas = FigureCanvasAgg(figure)
    canvas.print_figure(out, format='png', bbox_inches='tight', dpi=figure.dpi, facecolor=figure.get_facecolor(), edgecolor=figure.get_edgecolor())
    return out.getvalue()


def figure_bundle(figure):
    out = {'image/png': figure_png(figure), 'text/plain': repr(figure)}
    try:
        chart = figure_chart(figure)
        if chart is not None:
            dumps(chart)
            out[CHART] = chart
    except Exception:
        pass                       # a chart is a bonus: what cannot be read is left out
    return out


def figures_show():
    helpers = sys.modules.get('matplotlib._pylab_helpers')
    if helpers is None or getpid() != state.pid:
        return
    for manager in helpers.Gcf.get_all_fig_managers():
        figure = manager.canvas.figure
        if id(figure) not in state.shown and (figure.axes or figure.lines or figure.patches or figure.texts or figure.images):
            publish(figure_bundle(figure))
    helpers.Gcf.destroy_all()


def figures_inline():
    matplotlib = sys.modules.get('matplotlib')
    return matplotlib is not None and 'matplotlib.pyplot' in sys.modules and 'coppice_inline' in str(matplotlib.rcParams._get_backend_or_none() if
           hasattr(matplotlib.rcParams, '_get_backend_or_none') else matplotlib.get_backend())


def inline_module():
    from matplotlib.backend_bases import FigureManagerBase
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    module = types.ModuleType('coppice_inline')

    class FigureCanvas(FigureCanvasAgg):
        pass

    module.FigureCanvas = FigureCanvas
    module.FigureManager = FigureManagerBase
    module.show = lambda *a, **k: figures_show()

    def new_figure_manager(num, *args, FigureClass=None, **kwargs):
        if FigureClass is None:
            from matplotlib.figure import Figure as FigureClass
        return new_figure_manager_given_figure(num, FigureClass(*args, **kwargs))

    def new_figure_manager_given_figure(num, figure):
        return FigureManagerBase(FigureCanvas(figure), num)
    module.new_figure_manager = new_figure_manager
    module.new_figure_manager_given_figure = new_figure_manager_given_figure
    module.draw_if_interactive = lambda: None
    return module


# --- charts: what can be read from a figure's axes, in the shape that E2B's code interpreter gives ---
def number(value):
    value = getattr(value, 'item', lambda: value)()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return value if value == value and abs(value) != float('inf') else None


def moment(axis, values):
    """Dates as text, categories as their names."""
    name = type(axis.get_converter() if hasattr(axis, 'get_converter') else getattr(axis, 'converter', None)).__name__.lower()
    if 'date' in name or 'period' in name:
        from matplotlib.dates import num2date
        return [num2date(v).isoformat() if isinstance(v, (int, float)) else str(v) for v in (number(v) for v in values)]
    if 'category' in name and getattr(axis, 'units', None) is not None:
        names = {position: text for text, position in axis.units._mapping.items()}
        return [names.get(v, number(v)) for v in values]
    return [number(v) for v in values]


def scale_of(axis, scale):
    name = type(axis.get_converter() if hasattr(axis, 'get_converter') else getattr(axis, 'converter', None)).__name__.lower()
    return 'datetime' if 'date' in name or 'period' in name else 'categorical' if 'category' in name else scale


def unit_of(label):
    found = re.search(r'[(\[]([^()\[\]]{1,40})[)\]]\s*$', label or '')
    return found.group(1) if found else None


def ticks_of(axis):
    ticks = moment(axis, [float(v) for v in axis.get_majorticklocs()])
    return ticks, [label.get_text() for label in axis.get_majorticklabels()]


def flat_chart(ax, kind, elements):
    chart = {'type': kind, 'title': ax.get_title() or None, 'x_label': ax.get_xlabel() or None, 'y_label': ax.get_ylabel() or None, 'x_unit': unit_of(ax.get_xlabel()),
             'y_unit': unit_of(ax.get_ylabel()), 'elements': elements}
    if kind in ('line', 'scatter'):
        for name, axis, scale in (('x', ax.xaxis, ax.get_xscale()), ('y', ax.yaxis, ax.get_yscale())):
            chart[name + '_ticks'], chart[name + '_tick_labels'] = ticks_of(axis)
            chart[name + '_scale'] = scale_of(axis, scale)
    return chart


def label_of(artist, i):
    label = str(artist.get_label())
    return label if label and not label.startswith('_') else 'Series %d' % (i + 1)


def points_of(ax, xs, ys):
    return [[x, y] for x, y in zip(moment(ax.xaxis, xs), moment(ax.yaxis, ys))]


def pie_chart(ax, wedges):
    texts = [t.get_text() for t in ax.texts if t.get_text() and not re.match(r'^[\d.]+ ?%$', t.get_text())]
    elements = [{'label': texts[i] if i < len(texts) else label_of(w, i), 'angle': abs(float(w.theta2 - w.theta1)), 'radius': float(w.r)} for i, w in enumerate(wedges)]
    return {'type': 'pie', 'title': ax.get_title() or None, 'elements': elements}


def bar_chart(ax):
    from matplotlib.container import BarContainer
    elements = []
    for i, bars in enumerate(c for c in ax.containers if isinstance(c, BarContainer)):
        across = getattr(bars, 'orientation', 'vertical') == 'horizontal'
        axis = ax.yaxis if across else ax.xaxis
        names = dict(zip([round(float(v), 6) for v in axis.get_majorticklocs()], [t.get_text() for t in axis.get_majorticklabels()]))
        for bar in bars.patches:
            middle = bar.get_y() + bar.get_height() / 2 if across else bar.get_x() + bar.get_width() / 2
            label = names.get(round(float(middle), 6)) or str(moment(axis, [float(middle)])[0])
            elements.append({'label': label, 'group': label_of(bars, i), 'value': number(bar.get_width() if across else bar.get_height())})
    return flat_chart(ax, 'bar', elements)


def box_chart(ax, boxes):
    """Boxes are drawn as closed lines (or patches) of five or more points; median and whiskers are the lines near them."""
    elements = []
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2]
    names = [t.get_text() for t in ax.get_xticklabels()]
    for i, (x0, x1, low, high) in enumerate(boxes):
        inside = [(float(a), float(b), float(c), float(d)) for a, b, c, d in ((*line.get_xdata(), *line.get_ydata()) for line in lines)]
        near = [s for s in inside if x0 - 1e-9 <= min(s[0], s[1]) and max(s[0], s[1]) <= x1 + 1e-9]
        flat = [(abs(s[1] - s[0]), s[2]) for s in near if s[2] == s[3] and low <= s[2] <= high]     # the median is as wide as the box, caps are not
        tall = [y for s in near if s[0] == s[1] for y in s[2:]]
        outliers = [number(y) for line in ax.lines if line.get_linestyle() in ('None', ' ', '') for x, y in zip(line.get_xdata(), line.get_ydata()) if x0 <= x <= x1]
        elements.append({'label': names[i] if i < len(names) and names[i] else 'Box %d' % (i + 1), 'min': min(tall + [low]), 'first_quartile': low,
                         'median': max(flat)[1] if flat else None, 'third_quartile': high, 'max': max(tall + [high]), 'outliers': outliers})
    return flat_chart(ax, 'box_and_whisker', elements)


def boxes_of(ax):
    boxes = []
    for shape in [line.get_xydata() for line in ax.lines if len(line.get_xdata()) == 5] + [p.get_path().vertices for p in ax.patches if type(p).__name__ == 'PathPatch']:
        xs, ys = [float(p[0]) for p in shape], [float(p[1]) for p in shape]
        if len(set(round(x, 9) for x in xs[:4])) == 2 and len(set(round(y, 9) for y in ys[:4])) == 2 and abs(xs[0] - xs[-1]) < 1e-9:
            boxes.append((min(xs), max(xs), min(ys[:4]), max(ys[:4])))
    return boxes


def axes_chart(ax):
    wedges = [p for p in ax.patches if type(p).__name__ == 'Wedge']
    boxes = boxes_of(ax)
    scatters = [c for c in ax.collections if type(c).__name__ == 'PathCollection']
    if wedges:
        return pie_chart(ax, wedges)
    if boxes and len(ax.lines) >= 4 * len(boxes):
        return box_chart(ax, boxes)
    if any(type(c).__name__ == 'BarContainer' for c in ax.containers):
        return bar_chart(ax)
    if scatters:
        return flat_chart(ax, 'scatter', [{'label': label_of(c, i), 'points': points_of(ax, c.get_offsets()[:, 0], c.get_offsets()[:, 1])} for i, c in enumerate(scatters)])
    if ax.lines:
        return flat_chart(ax, 'line', [{'label': label_of(line, i), 'points': points_of(ax, line.get_xdata(orig=False), line.get_ydata(orig=False))} for i, line in enumerate(ax.lines)])
    return {'type': 'unknown', 'title': ax.get_title() or None, 'elements': []} if ax.has_data() else None


def figure_chart(figure):
    charts = [c for c in (axes_chart(ax) for ax in figure.axes) if c is not None]
    if len(charts) < 2:
        return charts[0] if charts else None
    return {'type': 'superchart', 'title': figure._suptitle.get_text() if getattr(figure, '_suptitle', None) else None, 'elements': charts}


# --- hooks on imports: nothing of matplotlib is loaded before the user's code does it ---
class Hook:
    """Finds coppice_inline, and sets the backend when matplotlib comes in."""
    busy = False

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        from importlib.machinery import ModuleSpec
        if name == 'coppice_inline':
            return ModuleSpec(name, cls)
        if name != 'matplotlib' or cls.busy:
            return None
        from importlib.util import find_spec
        cls.busy = True
        try:
            spec = find_spec(name)
        finally:
            cls.busy = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            if not os.environ.get('MPLBACKEND'):
                try:
                    module.use('module://coppice_inline')
                except Exception:
                    pass
        try:
            spec.loader.exec_module = exec_module
        except AttributeError:
            pass
        return spec

    @staticmethod
    def create_module(spec):
        return inline_module()

    @staticmethod
    def exec_module(module):
        pass


# --- running ---
class NoInput(EOFError):
    pass


def refuse_input(prompt='', *args, **more):
    raise NoInput('input() is not available here: nobody is at the keyboard of a code context. Put the values into variables, or run the program as a command with its own stdin (exec)')


NoInput.__name__ = NoInput.__qualname__ = 'InputNotAvailable'
NoInput.__module__ = 'builtins'


def on_interrupt(number, frame):
    if state.running:
        raise KeyboardInterrupt
    state.interrupted = state.starting


def trim(report, depth=0):
    """Without the driver's own frames."""
    if report is None or depth > 100:
        return
    report.stack[:] = [frame for frame in report.stack if frame.filename != FILE]
    trim(report.__cause__, depth + 1)
    trim(report.__context__, depth + 1)


def text_of(error):
    try:
        return str(error)
    except BaseException as e:
        return '(its text cannot be had: %s)' % type(e).__name__


def traceback_of(error):
    try:
        report = traceback.TracebackException(type(error), error, error.__traceback__)
        trim(report)
        text = ''.join(report.format())
    except BaseException:
        text = '%s\n' % type(error).__name__
    if len(text) > TRACEBACK_MAX:
        text = text[:TRACEBACK_MAX // 2] + '\n... %d characters left out ...\n' % (len(text) - TRACEBACK_MAX) + text[-TRACEBACK_MAX // 2:]
    return text


def send_error(error, text=None):
    value = text_of(error)
    send({'t': 'error', 'name': str(type(error).__name__)[:1000], 'value': value[:65536], 'traceback': text if text is not None else traceback_of(error)})


def shell_lines(code):
    """Lines that are IPython's, not Python's: !command, %pip, %cd, %matplotlib. Tried when the text is not Python."""
    def line(found):
        indent, mark, rest = found.groups()
        if mark == '!':
            return '%s__import__("os").system(%r)' % (indent, rest)
        name, _, rest = rest.partition(' ')
        if name == 'pip':
            return '%s__import__("subprocess").call([__import__("sys").executable, "-m", "pip"] + __import__("shlex").split(%r))' % (indent, rest)
        if name == 'cd':
            return '%s__import__("os").chdir(__import__("os").path.expanduser(%r))' % (indent, rest.strip() or '~')
        return '%spass' % indent if name == 'matplotlib' else found.group(0)
    return re.sub(r'(?m)^([ \t]*)([!%])(\S[^\n]*)$', line, code)


def parse(code, name):
    flags = ast.PyCF_ONLY_AST | AWAIT | state.future
    try:
        return compile(code, name, 'exec', flags, True)
    except SyntaxError:
        other = shell_lines(code)
        if other == code:
            raise
        return compile(other, name, 'exec', flags, True)


def event_loop():
    if state.loop is None or state.loop.is_closed():
        import asyncio
        state.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(state.loop)
    return state.loop


def evaluate(code):
    got = eval(code, user.__dict__)
    if not code.co_flags & COROUTINE:
        return got
    loop = event_loop()
    task = loop.create_task(got)
    try:
        return loop.run_until_complete(task)
    except KeyboardInterrupt:
        state.running = False
        task.cancel()
        import asyncio
        loop.run_until_complete(asyncio.wait([task], timeout=1))
        raise


def silent(code):
    return code.rstrip().endswith(';')


def run_plain(code, name):
    import __future__
    tree = parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    flags = AWAIT | state.future
    first = compile(tree, name, 'exec', flags, True)
    then = compile(ast.Expression(last.value), name, 'eval', flags, True) if last is not None else None
    for feature in __future__.all_feature_names:
        flag = getattr(__future__, feature).compiler_flag
        if first.co_flags & flag:
            state.future |= flag
    if tree.body:
        evaluate(first)
    value = evaluate(then) if then is not None else None
    if value is not None and not silent(code):
        user._ = value
        publish(rich(value), main=True)


def run_shell(code):
    shell = state.shell
    shell.failure = None
    result = shell.run_cell(code, store_history=True)
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        text = shell.failure
        if isinstance(error, SystemExit):
            text = traceback_of(error)
        state.running = False
        send_error(error, text)
        return False
    return True


def execute(code, name):
    """The user's code and what it shows. False: it ended with an error, which was sent."""
    state.running = True
    try:
        state.starting = False
        if state.interrupted:
            raise KeyboardInterrupt
        if state.shell:
            if not run_shell(code):
                return False
        else:
            run_plain(code, name)
        if figures_inline():
            figures_show()
        return True
    finally:
        state.running = False


def run(order):
    state.starting, state.interrupted = True, False
    send({'t': 'began'})
    state.count += 1
    name, code, ok = '<run %d>' % state.count, order['code'], False
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    state.shown = ()
    if state.shell_wanted and NEEDS_SHELL.search(code):
        shell_load()
    try:
        ok = execute(code, name)
    except BaseException as error:
        prepare()
        if getpid() == state.pid:
            send_error(error)
    if getpid() != state.pid:          # a forked child came back from its part of the user's code
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        os._exit(0)
    prepare()
    send({'t': 'done', 'count': state.count, 'ok': ok})


def prepare():
    """What a run may have taken away from the next."""
    for name, value in own_builtins.items():
        if callable(value) and not callable(getattr(user_builtins, name, None)):
            setattr(user_builtins, name, value)
    for fd in (1, 2):
        if streams[fd].closed:
            streams[fd] = stream_new(fd)
    sys.stdout = sys.__stdout__ = streams[1]
    sys.stderr = sys.__stderr__ = streams[2]
    if sys.stdin is None or sys.stdin.closed:
        sys.stdin = sys.__stdin__ = open(os.devnull)
    sys.modules['__main__'] = user
    user_builtins.input = refuse_input
    user_builtins.display = display
    if Hook not in sys.meta_path:
        sys.meta_path.insert(0, Hook)
    signal.signal(signal.SIGINT, on_interrupt)


# --- IPython ---
def shell_new():
    import shutil, tempfile
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.profiledir import ProfileDir
    from traitlets.config import Config

    class Publisher(DisplayPublisher):
        def publish(self, data, metadata=None, source=None, *, transient=None, update=False, **more):
            publish(dict(data), update=(transient or {}).get('display_id'))

        def clear_output(self, wait=False):
            pass

    class Hooked(DisplayHook):
        def write_output_prompt(self): pass
        def write_format_data(self, format_dict, md_dict=None): self.out = dict(format_dict)
        def finish_displayhook(self): pass

        def __call__(self, result=None):
            self.out = None
            super().__call__(result)
            if self.out is not None:
                publish(rich(result, self.out), main=True)

    class Shell(InteractiveShell):
        failure = None
        display_pub_class = Publisher
        displayhook_class = Hooked

        def init_io(self): pass
        def init_sys_modules(self): pass
        def init_hooks(self): super().init_hooks()
        def init_virtualenv(self): pass
        def enable_gui(self, gui=None): pass
        def enable_matplotlib(self, gui=None): return None, 'inline'
        def _showtraceback(self, etype, evalue, stb): self.failure = '\n'.join(stb)
        def ask_exit(self): raise SystemExit
        def system_raw(self, cmd): self.user_ns['_exit_code'] = os.system(cmd)
        system = system_piped = system_raw

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = 'NoColor'
    config.InteractiveShell.xmode = 'Context'
    config.InteractiveShell.autoindent = False
    place = tempfile.mkdtemp(prefix='.coppice-')       # IPython wants a directory for a database that nothing here uses
    try:
        shell = Shell(config=config, user_module=user, user_ns=user.__dict__, ipython_dir=place, profile_dir=ProfileDir.create_profile_dir(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    InteractiveShell._instance = Shell._instance = shell
    png = shell.display_formatter.formatters['image/png']
    png.for_type_by_name('matplotlib.figure', 'Figure', figure_png)
    shell.execution_count = state.count + 1
    return shell


# What only IPython can run: until such code comes, or nothing is to be done, it is not loaded (it takes five times as long as all else).
NEEDS_SHELL = re.compile(r'(?m)^[ \t]*[!%]|\?[ \t]*$|=[ \t]*[!%]|IPython|ipython|\b(?:In|Out|_i+|_\d+)\b')
IDLE_S = 0.05


def shell_load():
    """Once, if it is there."""
    state.shell_wanted = False
    try:
        state.shell = shell_new()
    except Exception:
        state.shell = None             # an IPython that this driver does not know: the plain one does its best
    prepare()


def has_ipython():
    from importlib.util import find_spec
    try:
        return find_spec('IPython') is not None
    except Exception:
        return False


# --- the loop ---
def wait():
    """Until an order is there; tasks of the user's event loop go on meanwhile."""
    if state.shell_wanted and not select.select([state.channel], [], [], IDLE_S)[0]:
        shell_load()
    loop = state.loop
    if loop is None or loop.is_closed() or loop.is_running():
        return
    try:
        import asyncio
        if not asyncio.all_tasks(loop):
            return
        loop.add_reader(state.channel, loop.stop)
        try:
            loop.run_forever()
        finally:
            loop.remove_reader(state.channel)
    except BaseException:
        pass


def main():
    state.channel = fcntl.fcntl(3, fcntl.F_DUPFD_CLOEXEC, 200)
    os.close(3)
    sys.path[:] = [p for p in sys.path if p]
    os.register_at_fork(after_in_child=forked)
    streams[1], streams[2] = stream_new(1), stream_new(2)
    signal.signal(signal.SIGINT, on_interrupt)
    state.shell_wanted = not os.environ.get('COPPICE_CODE_PLAIN') and has_ipython()
    prepare()
    sys.path.insert(0, '')
    sys.argv = ['']
    send({'t': 'ready', 'driver': 'ipython' if state.shell_wanted else 'python', 'version': '%d.%d.%d' % sys.version_info[:3]})
    while True:
        wait()
        size, = struct.unpack('<I', read_full(4))
        order = loads(read_full(size))
        if order.get('op') == 'run':
            run(order)


own_builtins = dict(vars(user_builtins))
user = types.ModuleType('__main__')
user.__builtins__ = user_builtins
user.__doc__ = None
main()
