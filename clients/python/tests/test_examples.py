"""The examples do what they say, and the README's code is code."""

from __future__ import annotations

import collections
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
ENV = dict(os.environ, PYTHONPATH=os.pathsep.join([str(HERE.parent / "src"), str(EXAMPLES)]))


def example(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done


def start(cluster, *modules):
    cluster.manager()
    cluster.start(
        "worker", "--manager", cluster.address, "--workers", 2, "--",
        sys.executable, "-m", "argon.pool", *modules, PYTHONPATH=ENV["PYTHONPATH"],
    )  # fmt: skip


def test_squares(cluster):
    start(cluster)
    out = example("squares.py", cluster.address).stdout
    assert [int(line) for line in out.split()] == [each * each for each in range(1_000)]


def test_wordcount(cluster):
    start(cluster, "wordcount")
    files = [str(path) for path in sorted(HERE.parent.glob("**/*.py"))]
    done = example("wordcount.py", cluster.address, *files, "/no/such/file")
    counts = collections.Counter()
    for path in files:
        text = Path(path).read_text("utf-8", "replace").lower()
        counts.update(re.findall(r"[^\W\d_]+", text))
    expected = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:20]
    got = [line.split() for line in done.stdout.splitlines()]
    assert [(word, int(times)) for times, word in got] == expected
    assert done.stderr == "/no/such/file: No such file or directory\n"


#: Libraries that take an executor or its `map`, and what their examples print.
OTHERS = {
    "with_dask.py": """\
mean of squares: 333332833333.50006
words: [('be', 2), ('not', 1), ('or', 1), ('to', 2)]
""",
    "with_emcee.py": "mean: 3 3\n",
    "with_scipy.py": """\
integral: 2.000000 0.000000 0.666667
minimum at: 1.000 1.000 1.000
""",
    "with_sklearn.py": """\
roots: [0.0, 1.0, 1.414, 1.732, 2.0]
best: {'C': 10, 'gamma': 0.1} 0.973
""",
}


def test_libraries_that_know_nothing_of_argon(address):
    assert set(OTHERS) == {path.name for path in EXAMPLES.glob("with_*.py")}
    for name, printed in OTHERS.items():
        assert example(name, address).stdout == printed


def test_service(cluster):
    start(cluster, "service")
    service = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "service.py"), cluster.address],
        env=ENV,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = service.stdout.readline().split()[-1]
        for number, text in [("360", "2 2 2 3 3 5"), ("97", "97"), ("1", "")]:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}") as answer:
                assert answer.read().decode().strip() == text
    finally:
        service.kill()
        service.wait()
        service.stdout.close()


def test_the_readme_is_python():
    text = (HERE.parent / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")


def test_everything_public_is_documented():
    import inspect

    import argon
    import argon.aio
    import argon.pool

    missing = []
    for module in (argon, argon.aio, argon.pool, argon.errors):
        names = getattr(module, "__all__")
        for name in names:
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            if not inspect.getdoc(thing):
                missing.append(name)
            if inspect.isclass(thing) and thing.__module__.startswith("argon"):
                for attribute, value in vars(thing).items():
                    if attribute.startswith("_") or not callable(value):
                        continue
                    if not inspect.getdoc(value):
                        missing.append(f"{name}.{attribute}")
    assert not missing
