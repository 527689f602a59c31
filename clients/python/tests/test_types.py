"""What type checkers say of the library and of programs that use it."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import argon

HERE = Path(__file__).parent


def mypy(*arguments):
    """What mypy says, strictly, with the library's own source."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", "/dev/null", *arguments],
        cwd=HERE.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert not done.stderr, done.stderr
    return done.stdout


def test_the_library_is_typed():
    assert "no issues" in mypy()


def test_right_programs_are_taken():
    assert "no issues" in mypy("tests/types/right.py")


def test_each_mistake_is_found_in_its_line():
    source = (HERE / "types" / "wrong.py").read_text().splitlines()
    marked = {number for number, line in enumerate(source, 1) if line.endswith("# error")}
    said = mypy("tests/types/wrong.py")
    found = {int(number) for number in re.findall(r"wrong\.py:(\d+): error:", said)}
    assert found == marked, said
    assert len(marked) > 10


def test_every_option_is_known_to_type_checkers():
    tree = ast.parse((HERE.parent / "src" / "argon" / "_types.py").read_text())
    options = next(each for each in tree.body if getattr(each, "name", "") == "TaskOptions")
    known = {each.target.id: ast.unparse(each.annotation) for each in options.body[1:]}
    assert known == {each.name: each.type for each in dataclasses.fields(argon.Options)}
