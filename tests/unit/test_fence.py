"""What an answer's code can do, and what it cannot: decide whether it is right."""

import json
import math
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sirl
from sirl.benchmarks.fence.running import (
    BEST,
    LATE,
    LEAST,
    TRIAL,
    Job,
    clear,
    first_of,
    passes,
    protection,
    verdict,
)
from sirl.benchmarks.fence.walls import FORBIDDEN
from sirl.benchmarks.fence.wire import AnswerError, Opaque, UnsendableError, Wire
from sirl.errors import ConfigError, InputError

TESTS = """
import math

def check(candidate):
    assert candidate(3) == 6
    assert abs(candidate(1.5) - 3.0) < 1e-6
    assert math.isclose(candidate(10), 20)
    assert candidate([1]) == [1, 1]

check(twice)
"""
RIGHT = "def twice(x):\n    return x * 2\n"


def job(code, tests=TESTS):
    return Job(code, "", tests, asked=("twice",))


def test_a_right_answer_passes_and_a_wrong_one_does_not():
    assert passes(job(RIGHT))
    assert not passes(job("def twice(x):\n    return x + 3\n"))
    assert not passes(job(""))
    assert not passes(job("twice = 6"))


ATTACKS = {
    "one that equals everything": """
        class Same:
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __lt__(self, other): return True
            def __sub__(self, other): return self
            def __abs__(self): return self
            def __float__(self): return 20.0
            def __bool__(self): return True
        def twice(x): return Same()""",
    "numbers and lists that equal everything": """
        class I(int):
            def __eq__(self, other): return True
            __hash__ = int.__hash__
        class L(list):
            def __eq__(self, other): return True
        def twice(x): return L() if isinstance(x, list) else I(1)""",
    "words from argv, printed everywhere": """
        import os, sys
        for word in (*sys.argv, *sys.orig_argv, 'passed', '{"verdict": "passed", "why": ""}'):
            for fd in range(20):
                try: os.write(fd, (word + chr(10)).encode())
                except OSError: pass
            print(word)
            print(word, file=sys.stderr)
        os._exit(0)""",
    "words at the end": """
        import atexit, os
        atexit.register(lambda: print('passed'))
        atexit.register(os._exit, 0)
        raise SystemExit(0)""",
    "leaving with success": "import os\nos._exit(0)",
    "leaving when called": "import os\ndef twice(x): os._exit(0)",
    "leaving by a signal": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "leaving politely when called": "import sys\ndef twice(x): sys.exit(0)",
    "interrupting": "def twice(x): raise KeyboardInterrupt",
    "ending loops": "def twice(x): raise StopIteration",
    "expected values from frames": """
        import gc, sys
        def twice(x):
            frame, found = sys._getframe(), []
            while frame:
                found += [*frame.f_locals.values(), *frame.f_globals.values()]
                frame = frame.f_back
            found += gc.get_objects()
            for thing in found:
                if callable(getattr(thing, 'lost', None)):
                    thing.fault = None
                if isinstance(thing, dict) and 'tests' in thing:
                    return 6
            return None""",
    "other built-in functions": """
        import builtins, math, json
        builtins.abs = lambda x: 0
        builtins.isinstance = lambda *a: True
        builtins.AssertionError = Exception
        math.isclose = lambda *a: True
        json.dumps = lambda *a, **k: '["gave", 6, []]'
        __debug__hidden = False
        def twice(x): return 1
        def check(candidate): pass""",
    "other modules": """
        import sys, types
        for name in [n for n in sys.modules if n.startswith('sirl')]:
            module = sys.modules[name]
            for each in dir(module):
                if each in ('passes', 'verdict', 'verdict_on'):
                    setattr(module, each, lambda *a: ('passed', ''))
        sys.modules['math'] = types.SimpleNamespace(isclose=lambda *a: True)
        def twice(x): return 1""",
    "messages of its own": """
        import os, json
        for said in (['ready'], ['gave', None, []], ['passed', ''], ['gave', 6, [[0, 6]]], 7, []):
            body = json.dumps(said).encode()
            for fd in range(3, 20):
                try: os.write(fd, len(body).to_bytes(4, 'big') + body)
                except OSError: pass
        def twice(x): return 6""",
    "endless messages": """
        import os
        while True:
            for fd in range(3, 20):
                try: os.write(fd, b'\\xff' * 65536)
                except OSError: pass""",
    "a closed line": "import os\nos.closerange(0, 100)\ndef twice(x): return 6",
    "tracing the process above": """
        import ctypes, os
        libc = ctypes.CDLL(None)
        for pid in (os.getppid(), 1, os.getpid() - 1):
            libc.ptrace(16, pid, 0, 0)
        def twice(x): return 1""",
    "nested beyond measure": """
        def twice(x):
            deep = []
            for _ in range(100000): deep = [deep]
            return deep""",
    "a list in itself": "def twice(x):\n    a = []\n    a.append(a)\n    return a",
    "a cleared stack": """
        import sys
        sys.setrecursionlimit(10 ** 6)
        def twice(x): return twice(x)""",
}


@pytest.mark.parametrize("attack", sorted(ATTACKS))
@pytest.mark.parametrize("walls", [None, LEAST], ids=["best", "limits"])
def test_an_answer_that_is_wrong_cannot_be_counted_as_right(attack, walls):
    said, _ = verdict(job(dedent(ATTACKS[attack])), walls or protection(), 20.0)
    assert said == "failed"


def test_a_test_that_catches_every_error_does_not_hide_that_the_answer_left():
    tests = "try:\n    twice(1)\nexcept BaseException:\n    pass\n"
    assert passes(job("def twice(x): raise ValueError('no')", tests))
    assert not passes(job("import sys\ndef twice(x): sys.exit(0)", tests))
    assert not passes(job("import os\ndef twice(x): os._exit(0)", tests))


def test_an_error_that_ends_loops_cannot_end_those_of_the_tests():
    tests = "assert all(map(lambda x: twice(x) == 2 * x, [1, 2, 3]))"
    assert passes(job(RIGHT, tests))
    assert not passes(job("def twice(x): raise StopIteration", tests))


def test_errors_keep_their_type():
    tests = "try:\n    twice(1)\nexcept KeyError as e:\n    assert 'k' in str(e)\nelse: assert 0"
    assert passes(job("def twice(x): return {}['k']", tests))
    assert not passes(job("def twice(x): raise ValueError('k')", tests))


def test_what_a_function_does_to_its_arguments_is_seen():
    tests = "a = [3, 1]\nassert twice(a) is None\nassert a == [1, 3]"
    assert passes(job("def twice(x): x.sort()", tests))
    assert not passes(job("def twice(x): return None", tests))


def test_functions_go_both_ways():
    tests = "assert twice(lambda x: x + 1)(3) == 5"
    assert passes(job("def twice(f): return lambda x: f(f(x))", tests))
    assert not passes(job("def twice(f): return f", tests))


def test_generators_and_views_are_as_good_as_what_they_hold():
    tests = "assert list(twice([1, 2])) == [2, 4]\nassert set(twice([1])) == {2}"
    assert passes(job("def twice(x): return (2 * y for y in x)", tests))
    assert passes(job("def twice(x): return {2 * y: 0 for y in x}.keys()", tests))
    assert passes(job("def twice(x): return map(lambda y: 2 * y, x)", tests))


@pytest.mark.parametrize(
    ("body", "tests"),
    [
        ("return Counter(x)", "c = twice('aab')\nassert c['a'] == 2 and c['none'] == 0"),
        ("d = defaultdict(list)\n    d[x].append(x)\n    return d",
         "d = twice(1)\nassert d == {1: [1]} and d[2] == []"),
        ("return OrderedDict(x)",
         "d = twice([(1, 2), (0, 1)])\nassert d.popitem(last=False)[0] == 1"),
        ("return deque(x, 3)", "d = twice([1, 2, 3, 4])\nassert len(d) == 3 and d[-1] == 4"),
        ("return {1: x, 2: x}.values()", "v = twice(3)\nassert len(v) == 2 and list(v) == [3, 3]"),
        ("return array('i', x)", "a = twice([1, 2])\nassert len(a) == 2 and a[1] == 2 and 2 in a"),
        ("return count(x)", "assert [n for n, _ in zip(twice(5), 'abc')] == [5, 6, 7]"),
        ("return count(x)", "n = 0\nfor n in twice(1):\n    if n == 500: break\nassert n == 500"),
        ("return (y for y in x)", "assert list(twice(range(3000))) == list(range(3000))"),
        ("return (n for n in count() if n < 3)",
         "g = twice(0)\nassert [next(g) for _ in 'abc'] == [0, 1, 2]"),
        ("return sum(x)", "assert twice(n for n in range(200)) == 19900"),
        ("return next(x)", "from itertools import count\nassert twice(count(4)) == 4"),
        ("x.append(1)", "d = []\ntwice(x=d)\nassert d == [1]"),
        ("x.append(1)", "from collections import deque\nd = deque()\ntwice(d)\nassert [*d] == [1]"),
        ("x['a'] += 1",
         "from collections import Counter\nc = Counter()\ntwice(x=c)\nassert c['a'] == 1"),
    ],
)  # fmt: skip
def test_what_the_standard_library_gives_behaves_in_the_tests_as_in_the_answer(body, tests):
    code = (
        "from array import array\nfrom itertools import count\n"
        "from collections import Counter, OrderedDict, defaultdict, deque\n"
        f"def twice(x):\n    {body}\n"
    )
    assert verdict(job(code, tests), protection(), 20.0) == ("passed", "")


def test_an_iterator_that_fails_fails_where_the_tests_reach():
    code = "def twice(x):\n    yield from range(x)\n    raise KeyError('late')\n"
    tests = """
        found = []
        try:
            for n in twice(200): found.append(n)
        except KeyError: found.append('late')
        assert found == [*range(200), 'late']
        """
    assert passes(job(code, dedent(tests)))


def test_what_an_answer_needs_too_much_of_is_named():
    slow, gone = "import time\ntime.sleep(60)\n", "import os\ndef twice(x): os._exit(0)"
    spent = "import os, signal\ndef twice(x): os.kill(os.getpid(), signal.SIGXCPU)"
    assert passes(job(slow + RIGHT), seconds=2.0).reason == "timed out: more than 2 seconds"
    assert passes(job(spent)).reason == "timed out: more than 10 seconds of computing"
    large = "def twice(x): return [0] * (1 << 30)"
    assert passes(job(large)).reason == "out of memory: MemoryError"
    assert passes(job(gone)).reason == "stopped: the answer's process has ended"


def test_helpers_of_the_benchmark_are_not_the_answers():
    given = Job(
        "def code(x): return x\ndef twice(x): return x",
        "def code(x): return 2 * x",
        "assert code(twice(2)) == 4\nassert add(1) == 2",
        ("add", "code", "twice"),
    )
    assert not passes(given)
    assert passes(
        Job(given.code + "\ndef add(x): return 2", *(given.head, given.tests, given.names))
    )


def test_data_classes_numpy_and_names_of_modules_work_in_an_answer():
    code = """
        from __future__ import annotations
        from dataclasses import dataclass
        import numpy as np
        @dataclass
        class Pair:
            a: int
        def twice(x):
            if __name__ == '__main__': raise ValueError
            return np.array([Pair(x).a * 2])[0]
        """
    assert passes(job(dedent(code), "assert twice(3) == 6"))


def test_tests_that_hand_over_what_cannot_be_sent_are_named():
    tests = "class Node: pass\nassert twice(Node()) == 1"
    with pytest.raises(InputError, match=r"an object of type tests\.Node, which cannot be sent"):
        passes(job(RIGHT, tests))


@pytest.mark.parametrize(
    "tests",
    [
        "assert undo(twice('a')) == 'a'",
        "assert undo([{'x': (twice('a'),)}]) == 'a'",
        "assert undo(key=twice('a')) == 'a'",
        "assert undo(lambda: twice('a')) == 'a'",
        "try:\n    undo('a')\nexcept ValueError as e:\n    error = e\nassert undo(error) == 'a'",
    ],
)
def test_an_object_that_the_answer_made_and_gets_back_fails_it_and_nothing_else(tests):
    code = """
        class Box:
            def __init__(self, x): self.x = x
        def twice(x): return Box(x)
        def undo(b=None, key=None):
            if b == 'a': raise ValueError('a')
            return (b or key).x
        """
    said, _ = verdict(Job(dedent(code), "", tests, asked=("twice", "undo")), protection(), 20.0)
    assert said == "failed"


# What it may take.


@pytest.mark.parametrize(
    "code",
    [
        "bytearray(2 << 30)",
        "open('big', 'wb').write(b'x' * (2 << 20))",
        "import os\nos.fork()",
        "import threading\nthreading.Thread(target=print).start()",
        "import time\ntime.sleep(60)",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "def twice(x): return 'x' * (20 << 20)",
    ],
)
def test_an_answer_that_wants_too_much_fails(code):
    assert not passes(job(f"{code}\n{RIGHT}" if "def" not in code else code), seconds=2.0)


def test_tests_that_do_not_end_are_stopped():
    assert not passes(job(RIGHT, "while True: pass"), seconds=1.0)


def test_what_an_answer_prints_does_not_matter():
    assert passes(job("print('x' * (2 << 20), flush=True)\n" + RIGHT))


FOLDERS = {
    "deep": "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')\n",
    "a link": """
        import os
        here = os.getcwd()
        try:
            os.rename(here, here + '-moved')
            os.symlink('/', here)
        except OSError: pass
        """,
    "unreadable": """
        import os
        os.makedirs('a/b')
        open('a/b/c', 'w').close()
        os.chmod('a/b', 0)
        os.chmod('a', 0)
        try: os.chmod('.', 0)
        except OSError: pass
        """,
    "immutable": """
        import fcntl, os
        file = os.open('a', os.O_CREAT | os.O_RDWR)
        try: fcntl.ioctl(file, 0x40086602, (0x10).to_bytes(8, 'little'))
        except OSError: pass
        """,
}


@pytest.mark.parametrize("case", sorted(FOLDERS))
@pytest.mark.parametrize("walls", [None, LEAST], ids=["best", "limits"])
def test_clearing_up_never_raises_and_leaves_nothing(tmp_path, monkeypatch, case, walls):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tmp_path.chmod(0o755)
    said, why = verdict(job(dedent(FOLDERS[case]) + RIGHT), walls or protection(), 20.0)
    assert (said, why) == ("passed", "")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_became_a_link_leads_nowhere(tmp_path):
    kept, outer = tmp_path / "kept", tmp_path / "outer"
    kept.mkdir()
    (kept / "file").touch()
    outer.symlink_to(kept)
    clear(str(outer))
    assert (kept / "file").exists()
    clear(str(tmp_path / "missing"))


# What it may see. These hold where there is a sandbox.

walled = pytest.mark.skipif(not protection().sandbox, reason="neither namespaces nor bubblewrap")


@walled
def test_files_of_the_user_are_out_of_sight(tmp_path):
    (tmp_path / "secret").write_text("s")
    tmp_path.chmod(0o755)
    (tmp_path / "secret").chmod(0o644)
    ours = (str(Path(sirl.__file__).resolve()), sys.prefix)
    code = f"""
        import os
        def twice(_):
            homes = [p for p in ('/home', '/etc/passwd', '/var', '/mnt') if os.path.exists(p)]
            found = [os.path.join(os.getcwd(), n) for n in os.listdir('.')]
            # Ourselves and the interpreter may be installed below the folder.
            beside = [p for p in found if not any(o.startswith(p) for o in {ours!r})]
            return [os.path.exists({str(tmp_path / "secret")!r}), homes, beside]
        """
    assert passes(job(dedent(code), "assert twice(0) == [False, [], []]"))


@walled
def test_nothing_but_its_folder_can_be_written_to():
    code = """
        import os
        def twice(_):
            found = []
            for folder, _, _ in os.walk('/', onerror=None):
                if os.access(folder, os.W_OK) and not folder.startswith(('/tmp', '/dev')):
                    found.append(folder)
                if folder.count('/') > 2:
                    break
            for place in (os.path.dirname(os.__file__), '/usr/bin'):
                try:
                    open(place + '/x', 'w').close()
                    found.append(place)
                except OSError:
                    pass
            return [p for p in found if p != '/']
        """
    assert passes(job(dedent(code), "assert twice(0) == []"))


@walled
def test_the_processes_and_their_environment_are_out_of_sight(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "hidden")
    code = """
        import os
        def twice(_):
            shown = [n for n in os.environ if n not in
                     ('LC_CTYPE', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'PWD')]
            there = [n for n in range(os.getpid() - 5, os.getpid() + 5)
                     if os.path.exists(f'/proc/{n}/environ')]
            return [shown, there, os.getppid() < 10]
        """
    assert passes(job(dedent(code), "assert twice(0) == [[], [], True]"))


@walled
def test_loopback_is_out_of_reach():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"""
            import socket
            def twice(_):
                try: socket.create_connection(('127.0.0.1', {port}), 2)
                except OSError: return 'refused'
                return 'connected'
            """
        assert passes(job(dedent(code), "assert twice(0) == 'refused'"))


@walled
def test_signals_do_not_leave_the_walls():
    code = """
        import os, signal
        def twice(pid):
            try: os.kill(pid, signal.SIGTERM)
            except ProcessLookupError: return 'there is no such process'
            return 'sent'
        """
    outside = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    tests = f"assert twice({outside.pid}) == 'there is no such process'"
    assert passes(job(dedent(code), tests))
    outside.communicate(b"\n")
    assert outside.returncode == 0


@walled
def test_no_privilege_is_left():
    code = """
        import ctypes
        def twice(_):
            return ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, b'')
        """
    assert passes(job(dedent(code), "assert twice(0) == -1"))


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in FORBIDDEN, reason="no numbers of calls"
)
@pytest.mark.parametrize("walls", [None, LEAST], ids=["best", "limits"])
def test_no_memory_is_held_beside_the_limits(walls):
    code = """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        def twice(x):
            held = [libc.shmget(0, 9, 896), libc.msgget(0, 896), libc.semget(0, 1, 896)]
            spaces = [libc.unshare(0x10000000), libc.unshare(0x10020000)]
            mounted = [libc.mount(b"", b"/tmp", b"tmpfs", 0, b""), libc.syscall(430, b"tmpfs", 0)]
            files = []
            try:
                for n in range(1000): files.append(os.memfd_create(str(n)))
            except OSError: pass
            return [{*held, *spaces, *mounted}, len(files) < 64]
        """
    tests = "assert twice(0) == [{-1}, True]"
    assert verdict(job(dedent(code), tests), walls or protection(), 20.0) == ("passed", "")


@walled
def test_the_folders_to_write_to_are_small():
    code = """
        import os
        def twice(x):
            written = 0
            for folder in ('/tmp', '/dev/shm', '/dev', '/'):
                for n in range(64):
                    try:
                        with open(f"{folder}/{n}", "wb") as f: written += f.write(bytes(1 << 20))
                    except OSError: break
            return written >> 20
        """
    assert passes(job(dedent(code), "assert 10 < twice(0) <= 16"))


def test_a_trial_that_is_late_is_given_time_and_not_weaker_walls():
    seen = []

    def tried(*answers):
        left = list(answers)

        def trial(walls, seconds):
            seen.append((walls.mode, seconds))
            return left.pop(0)

        return trial

    late, no, yes = ("failed", f"{LATE}: more"), ("unready", "no namespaces"), ("passed", "")
    known = (BEST[0], LEAST)
    assert first_of(known, tried(late, late, yes)) is BEST[0]
    assert seen == [("namespaces", 20.0), ("namespaces", 40.0), ("namespaces", 80.0)]
    assert first_of(known, tried(late, no, yes)) is LEAST
    with pytest.raises(ConfigError, match="namespaces may work, but the first trial took too long"):
        first_of(known, tried(late, late, late))
    with pytest.raises(ConfigError, match="cannot be run here: no namespaces; leave"):
        first_of(known, tried(no, no))


def test_every_protection_that_works_here_runs_a_job():
    for walls in (protection(), LEAST):
        assert verdict(TRIAL, walls, 20.0) == ("passed", "")
    assert protection() in (*BEST, LEAST)
    assert "limits" in LEAST.sentence


def test_under_limits_alone_the_environment_is_not_read_from_the_parent():
    """The parent's own environment stays hidden; as root by another user, else by no dumps."""
    code = """
        def twice(pid):
            try: return 'SOME_KEY' in open(f'/proc/{pid}/environ').read()
            except OSError: return False
        """
    run = f"""
import os
from sirl.benchmarks.fence.running import LEAST, Job, verdict
code = {dedent(code)!r}
tests = f"assert twice({{os.getpid()}}) is False"
print(verdict(Job(code, "", tests, asked=("twice",)), LEAST, 20.0)[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", run],
        env={**os.environ, "SOME_KEY": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "passed"


# The line.


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=10,
)


@settings(max_examples=200)
@given(VALUES)
def test_plain_values_arrive_as_they_were(value):
    wire = Wire(-1, {}, trusted=True)
    found = wire.unpack(json.loads(json.dumps(wire.pack(value))))
    assert found == value  # NaN, which is unequal to itself, is among the rare values
    assert type(found) is type(value)


def test_rare_values_arrive_too():
    wire = Wire(-1, {}, trusted=False)
    there = lambda v: wire.unpack(wire.pack(v))  # noqa: E731
    assert there(10**5000) == 10**5000
    assert there(range(1, 9, 2)) == range(1, 9, 2)
    assert there("\ud800") == "\ud800"
    assert math.isnan(there(math.nan))
    assert there(bytearray(b"a")) == bytearray(b"a")
    assert there({(1, 2): {3}}) == {(1, 2): {3}}
    assert isinstance(there(object()), Opaque)
    assert there(object()) != there(object())


def test_the_tests_end_sends_no_object():
    with pytest.raises(UnsendableError, match=r"builtins\.object"):
        Wire(-1, {}, trusted=True).pack([object()])


@pytest.mark.parametrize(
    "said", [b"", b"\x00\x00\x00\x02{}", b"\x00\x00\x00\x02[]", b"\xff" * 8, b"\x00\x00\x00\x01["]
)
def test_what_is_no_message_ends_the_line(said):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        wire = Wire(ours.fileno(), {}, trusted=True)
        with pytest.raises(AnswerError):
            wire.call("f", (), {})
        assert wire.fault is not None


def test_an_argument_that_cannot_change_does_not():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        body = b'["gave", 1, [[0, 5]]]'
        theirs.sendall(len(body).to_bytes(4, "big") + body)
        wire = Wire(ours.fileno(), {}, trusted=True)
        with pytest.raises(AnswerError, match="broke the protocol"):
            wire.call("f", (1,), {})
