"""Functions as bytes, by our own pickler; run in another process, which has nothing of this one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from argon import _ship

SOURCE = str(Path(__file__).parent.parent / "src")
FACTOR = 3


def elsewhere(function, *args):
    """The value of a call in a new process."""
    data = _ship._own_dumps((function, args))
    code = (
        "import pickle, sys; function, args = pickle.load(sys.stdin.buffer); "
        "sys.stdout.buffer.write(pickle.dumps(function(*args)))"
    )
    env = dict(os.environ, PYTHONPATH=SOURCE)
    done = subprocess.run(
        [sys.executable, "-c", code], input=data, stdout=subprocess.PIPE, env=env, check=True
    )
    return pickle.loads(done.stdout)


def local(function):
    """As if it were one of `__main__`."""
    function.__module__ = "__main__"
    return function


@local
def helper(value):
    return value * FACTOR


@local
def count(number):
    return 0 if number == 0 else 1 + count(number - 1)


def test_closures_globals_defaults_and_modules():
    offset = [10]

    def function(value, more=5, *, most=7):
        def inner():
            return os.path.basename("/a/b")

        return helper(value) + offset[0] + more + most, inner()

    assert elsewhere(function, 2) == (28, "b")
    assert elsewhere(lambda values: sorted(values, key=lambda each: -each), [1, 3, 2]) == [3, 2, 1]


def test_recursion():
    assert elsewhere(count, 5) == 5

    def inside(number):
        return 1 if number < 2 else number * inside(number - 1)

    assert elsewhere(inside, 5) == 120


def test_what_can_be_imported_goes_by_name():
    assert _ship.importable(os.path.join) == ("posixpath", "join")
    assert _ship.importable(str.upper) is None or _ship.importable(str.upper)
    assert _ship.importable(lambda: 1) is None
    assert _ship.importable(helper) is None
    assert b"posixpath" in _ship._own_dumps(os.path.join)


def test_classes_of_main_are_refused():
    made = type("Made", (), {"__module__": "__main__"})
    _ship._dump = _ship._own_dumps
    try:
        with pytest.raises(TypeError, match="cloudpickle"):
            _ship.dumps(lambda: made)
    finally:
        _ship._dump = None


def test_another_python_is_told_so():
    function = _ship._function
    with pytest.raises(RuntimeError, match="Python 2.7"):
        function((2, 7), b"", 0)
