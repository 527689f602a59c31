"""CPython's own tests of executors, on an `argon.Executor` whose manager ADDRESS names.

For `python -m unittest cpython_executor`, by an interpreter that has these tests; the workers have to
be of the same one.
"""

from __future__ import annotations

import importlib
import os
import unittest

import argon

POOL = "looks into the processes of a pool of this process"
NAMED = "its program makes a pool of concurrent.futures by name"
RECYCLE = "how many tasks a process runs is up to argon worker"
#: What does not apply, and why.
EXCLUDED = {
    "test_max_workers_negative": "an argon.Executor takes no max_workers: the cluster has workers",
    "test_max_workers_too_large": "an argon.Executor takes no max_workers: the cluster has workers",
    "test_cancel_futures": "expects that one task has begun as soon as it is submitted",
    "test_interpreter_shutdown": NAMED,
    "test_submit_after_interpreter_shutdown": NAMED,
    "test_hang_gh83386": NAMED,
    "test_hang_gh94440": POOL,
    "test_processes_terminate": POOL,
    "test_context_manager_shutdown": POOL,
    "test_del_shutdown": POOL,
    "test_shutdown_no_wait": POOL,
    "test_killed_child": POOL,
    "test_saturation": POOL,
    "test_idle_process_reuse_one": POOL,
    "test_idle_process_reuse_multiple": POOL,
    "test_python_finalization_error": POOL,
    "test_ressources_gced_in_workers": "its arguments belong to a manager of multiprocessing",
    "test_traceback": "wants the class RemoteTraceback of concurrent.futures; ours is argon.RemoteTraceback",
    "test_max_tasks_per_child": RECYCLE,
    "test_max_tasks_early_shutdown": RECYCLE,
    "test_max_tasks_per_child_defaults_to_spawn_context": RECYCLE,
}
#: Where the cases are: one module until Python 3.11, several since.
MODULES = (".util", ".executor", ".test_as_completed", ".test_wait", ".test_shutdown")
MODULES = ("", *MODULES, ".test_process_pool")
#: For pools of threads and of processes, then those for processes only.
CASES = ("ExecutorTest", "AsCompletedTests", "WaitTests", "ExecutorShutdownTest")
CASES = (*CASES, "ProcessPoolExecutorTest", "ProcessPoolShutdownTest")


def made(max_workers, **options):
    """In place of a class of pools."""
    assert not options, options
    return argon.Executor(os.environ["ADDRESS"])


def theirs():
    """The classes of CPython's tests, by name."""
    classes = {}
    for module in MODULES:
        try:
            names = vars(importlib.import_module("test.test_concurrent_futures" + module))
        except ModuleNotFoundError:
            continue
        classes.update({name: thing for name, thing in names.items() if isinstance(thing, type)})
    return classes


def cases():
    """Theirs with our executor. What a case has from a more general one runs there only."""
    classes, seen = theirs(), set()
    for name in CASES:
        bases = (classes["ExecutorMixin"], classes[name], classes["BaseTestCase"])
        body = {"executor_type": staticmethod(made), "__module__": __name__}
        tests = {test for test in dir(classes[name]) if test.startswith("test")}
        for test in tests & EXCLUDED.keys():
            body[test] = unittest.skip(EXCLUDED[test])(getattr(classes[name], test))
        body.update(dict.fromkeys(tests & seen))
        seen |= tests
        yield f"Argon{name}", type(f"Argon{name}", bases, body)


globals().update(cases())
