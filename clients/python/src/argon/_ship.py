"""Functions that no worker can import, as bytes.

With cloudpickle, if it is installed here, which must then be there too. Without it by a small
pickler of our own: functions as their code, with the globals, defaults and variables that they use.
That one needs the same version of Python on both sides, and takes no classes of `__main__`.
"""

from __future__ import annotations

import builtins
import importlib
import io
import marshal
import pickle
import sys
import types
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple

_EMPTY = "argon: an empty cell"


def lookup(module: str, qualified: str) -> Any:
    """The object of this name in a module that is loaded, or None."""
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found


def importable(function: Any) -> Optional[Tuple[str, str]]:
    """The module and the qualified name by which another process finds this very function."""
    module = getattr(function, "__module__", None)
    qualified = getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualified, str) or module == "__main__":
        return None
    found = lookup(module, qualified)
    if found is function or (
        isinstance(function, (types.MethodType, types.BuiltinMethodType)) and found == function
    ):
        return module, qualified
    return None


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _function(version: Tuple[int, int], code: bytes, cells: int) -> types.FunctionType:
    here = sys.version_info[:2]
    if version != here:
        raise RuntimeError(
            "this function was shipped by Python {}.{} and cannot run on {}.{}; install "
            "cloudpickle, or define it in a module that both can import".format(*version, *here)
        )
    scope = {"__builtins__": builtins, "__name__": "__main__"}
    closure = tuple(types.CellType() for _ in range(cells))
    return types.FunctionType(marshal.loads(code), scope, None, None, closure)


def _fill(function: Any, state: Dict[str, Any]) -> None:
    function.__globals__.update(state["globals"])
    function.__name__, function.__qualname__ = state["name"], state["qualified"]
    function.__defaults__, function.__kwdefaults__ = state["defaults"], state["kwdefaults"]
    function.__dict__.update(state["attributes"])
    for cell, value in zip(function.__closure__ or (), state["cells"]):
        if value != [_EMPTY]:
            cell.cell_contents = value[0]


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType) and importable(value) is None:
            return self._reduce(value)
        if isinstance(value, types.ModuleType):
            return importlib.import_module, (value.__name__,)
        if isinstance(value, type) and value.__module__ == "__main__":
            raise pickle.PicklingError(
                f"the class {value.__qualname__} of __main__ cannot be shipped; install "
                "cloudpickle, or define it in a module that the workers can import"
            )
        return NotImplemented

    def _reduce(self, function: types.FunctionType) -> Any:
        used: Set[str] = set(_names(function.__code__))
        cells: List[List[Any]] = []
        for cell in function.__closure__ or ():
            try:
                cells.append([cell.cell_contents])
            except ValueError:
                cells.append([_EMPTY])
        scope = function.__globals__
        state = {
            "globals": {name: scope[name] for name in sorted(used) if name in scope},
            "name": function.__name__,
            "qualified": function.__qualname__,
            "defaults": function.__defaults__,
            "kwdefaults": function.__kwdefaults__,
            "attributes": function.__dict__,
            "cells": cells,
        }
        code = marshal.dumps(function.__code__)
        made = (tuple(sys.version_info[:2]), code, len(cells))
        return _function, made, state, None, None, _fill


def _own_dumps(value: Any) -> bytes:
    out = io.BytesIO()
    _Pickler(out, protocol=4).dump(value)
    return out.getvalue()


def _dumps() -> Callable[[Any], bytes]:
    try:
        import cloudpickle  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return _own_dumps
    return lambda value: bytes(cloudpickle.dumps(value))


_dump: Optional[Callable[[Any], bytes]] = None


def dumps(value: Any) -> bytes:
    """A pickle that holds functions by their code if it must.

    Raises TypeError if something in it cannot be pickled at all.
    """
    global _dump
    if _dump is None:
        _dump = _dumps()
    try:
        return _dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        raise TypeError(f"it cannot be shipped to a worker: {error}") from error
