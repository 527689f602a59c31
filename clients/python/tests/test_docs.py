"""Whatever is public says what it is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import argon


def public():
    """Modules, classes, functions, methods and properties, by name."""
    yield "argon", argon
    for found in pkgutil.walk_packages(argon.__path__, "argon."):
        if any(part.startswith("_") for part in found.name.split(".")):
            continue
        module = importlib.import_module(found.name)
        yield found.name, module
        for name, thing in vars(module).items():
            ours = getattr(thing, "__module__", "").startswith("argon")
            if name.startswith("_") or not ours or not callable(thing):
                continue
            yield f"{found.name}.{name}", thing
            for member in vars(thing) if inspect.isclass(thing) else ():
                value = getattr(thing, member)
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    yield f"{found.name}.{name}.{member}", value


def test_everything_public_has_a_docstring():
    names = dict(public())
    assert {"argon.client.Client.map", "argon.pool"} <= set(names)
    assert [name for name, thing in names.items() if not inspect.getdoc(thing)] == []
