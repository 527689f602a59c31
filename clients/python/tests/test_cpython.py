"""The tests that CPython has for executors, by an interpreter that was installed with them."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MINORS = range(9, 16)
HAS_THEM = "import sys, test.test_concurrent_futures; sys.exit(sys.version_info < (3, 9))"


def interpreters():
    """This one, then others of this machine: on the path, or installed beside this one."""
    yield sys.executable
    yield from filter(None, (shutil.which(f"python3.{minor}") for minor in MINORS))
    yield from sorted(glob.glob(str(Path(sys.base_prefix).parent / "*" / "bin" / "python3")))


def one_with_the_tests():
    for each in interpreters():
        if not subprocess.run([each, "-c", HAS_THEM], stderr=subprocess.DEVNULL).returncode:
            return each
    return pytest.skip("no Python here was installed with CPython's tests of executors")


def test_an_executor_passes_what_applies(cluster):
    python = one_with_the_tests()
    cluster.manager()
    runtime = [python, "-m", "argon.pool"]
    cluster.start(
        "worker", "--manager", cluster.address, "--workers", 5, "--allow-eval", "--", *runtime
    )
    path = os.pathsep.join([str(HERE.parent / "src"), str(HERE)])
    done = subprocess.run(
        [python, "-m", "unittest", "-v", "cpython_executor"],
        env=dict(os.environ, PYTHONPATH=path, ADDRESS=cluster.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    ran, skipped = re.search(r"Ran (\d+) tests.*skipped=(\d+)", done.stdout, re.DOTALL).groups()
    assert int(ran) - int(skipped) >= 20, done.stdout
