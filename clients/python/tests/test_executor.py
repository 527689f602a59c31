"""`argon.Executor` does what concurrent.futures promises; the cases are those of CPython's own tests."""

from __future__ import annotations

import collections
import concurrent.futures as futures
import gc
import json
import os
import threading
import time
import weakref

import pytest
import remote_tasks as tasks
from conftest import until

import argon
from argon._flow import Flow
from argon._session import Task, Terms


@pytest.fixture
def executor(address):
    with argon.Executor(address) as made:
        yield made


def test_it_is_an_executor(executor):
    assert isinstance(executor, futures.Executor)
    assert isinstance(executor.submit(tasks.square, 3), futures.Future)


def test_submit(executor):
    assert executor.submit(tasks.square, 3).result() == 9
    assert executor.submit(tasks.echo, 1, self=2, fn=3, name=4).result() == [
        [1],
        {"self": 2, "fn": 3, "name": 4},
    ]


def test_map(executor):
    assert list(executor.map(tasks.square, range(10))) == [each * each for each in range(10)]
    assert list(executor.map(pow, range(4), range(7))) == [0**0, 1, 4, 27]
    assert list(executor.map(tasks.square, [])) == []
    with pytest.raises(ValueError):
        executor.map(tasks.square, [1], chunksize=0)


def test_map_raises_at_the_item_that_raised(executor):
    results = executor.map(tasks.odd, [1, 2])
    with pytest.raises(tasks.Odd) as caught:
        next(results)
    assert caught.value.number == 1
    results = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert [next(results), next(results)] == [(0, 1), (0, 1)]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 2, 3, 7, 100])
def test_map_in_chunks(executor, chunksize):
    squares = executor.map(tasks.square, range(50), chunksize=chunksize)
    assert list(squares) == [each * each for each in range(50)]
    powers = executor.map(lambda x, y: x**y, range(9), range(1, 10), chunksize=chunksize)
    assert list(powers) == [x ** (x + 1) for x in range(9)]


def test_map_takes_its_items_at_once(executor):
    taken = []

    def items():
        for each in range(20):
            taken.append(each)
            yield each

    results = executor.map(tasks.square, items())
    assert taken == list(range(20))
    assert list(results) == [each * each for each in range(20)]


class Value:
    """Something that can be referred to weakly."""


def test_map_keeps_nothing_of_what_it_handed_on():
    flow = Flow(iter([Task(Terms(b"noop", 1), b"")] * 3), 3, True, True)
    flow.begun(range(len(flow.lump())))
    flow.ended([(seq, (True, Value())) for seq in range(3)])
    results = flow.ready()
    first = weakref.ref(next(results))
    gc.collect()
    assert first() is None


def test_map_times_out_from_its_call_on(executor, tmp_path):
    gate = str(tmp_path / "gate")
    results = executor.map(tasks.wait_for, [gate, gate], timeout=0)
    with pytest.raises(futures.TimeoutError):
        next(results)
    open(gate, "w").close()
    assert list(executor.map(tasks.square, [1, 2], timeout=60)) == [1, 4]


def test_leaving_a_map_cancels_the_rest(executor, tmp_path):
    gate = str(tmp_path / "gate")
    results = executor.map(tasks.wait_for, [str(tmp_path), gate, gate, gate])
    assert next(results) == "done"
    assert executor._mapped == 3
    results.close()
    assert not executor._mapped


def test_wait_and_as_completed(executor, tmp_path):
    gate = str(tmp_path / "gate")
    fast, slow = executor.submit(tasks.square, 2), executor.submit(tasks.wait_for, gate)
    done, rest = futures.wait([fast, slow], return_when=futures.FIRST_COMPLETED, timeout=60)
    assert (done, rest) == ({fast}, {slow})
    open(gate, "w").close()
    assert set(futures.as_completed([fast, slow], timeout=60)) == {fast, slow}
    failing = executor.submit(tasks.odd, 1)
    done, _ = futures.wait([failing], return_when=futures.FIRST_EXCEPTION, timeout=60)
    assert done == {failing} and isinstance(failing.exception(), tasks.Odd)


def test_cancelled_futures_are_seen_by_those_who_wait(executor, tmp_path):
    gate = str(tmp_path / "gate")
    pending = [executor.submit(tasks.wait_for, gate) for _ in range(4)]
    seen = []
    threads = [
        threading.Thread(target=lambda: seen.append(futures.wait(pending, timeout=60))),
        threading.Thread(target=lambda: seen.append(set(futures.as_completed(pending, 60)))),
    ]
    for thread in threads:
        thread.start()
    until("both to wait", lambda: all(len(future._waiters) == 2 for future in pending))
    called = []
    pending[0].add_done_callback(called.append)
    for future in pending:
        assert future.cancel() and future.cancelled() and future.done() and not future.running()
    for thread in threads:
        thread.join()
    done = next(each for each in seen if not isinstance(each, set) or hasattr(each, "done"))
    assert done.done == set(pending) and not done.not_done
    assert called == [pending[0]]
    with pytest.raises(futures.CancelledError):
        pending[0].result()
    with pytest.raises(futures.CancelledError):
        pending[0].exception()


def test_futures_that_have_ended_are_not_cancelled(executor):
    future = executor.submit(tasks.square, 2)
    assert future.result() == 4
    assert not future.cancel() and not future.cancelled() and future.result() == 4


def test_result_times_out(executor, tmp_path):
    gate = str(tmp_path / "gate")
    future = executor.submit(tasks.wait_for, gate)
    with pytest.raises(futures.TimeoutError):
        future.result(0)
    with pytest.raises(futures.TimeoutError):
        future.exception(0)
    open(gate, "w").close()
    assert future.result(60) == "done" and future.exception() is None


def test_callbacks(executor):
    called = threading.Event()
    seen = []

    def callback(future):
        seen.append(future.result())
        called.set()
        raise RuntimeError("this is logged and changes nothing")

    executor.submit(tasks.square, 3).add_done_callback(callback)
    assert called.wait(60) and seen == [9]
    assert executor.submit(tasks.square, 4).result() == 16


def test_nothing_after_shutdown(address):
    executor = argon.Executor(address)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(tasks.square, 1)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(tasks.square, [1])
    executor.shutdown()


def test_shutdown_waits(address):
    executor = argon.Executor(address)
    pending = [executor.submit(tasks.square, each) for each in range(100)]
    executor.shutdown()
    assert all(future.done() for future in pending)
    assert [future.result() for future in pending] == [each * each for each in range(100)]
    assert executor.client._engine.closed


def test_shutdown_without_waiting(address, tmp_path):
    gate = str(tmp_path / "gate")
    executor = argon.Executor(address)
    future = executor.submit(tasks.wait_for, gate)
    executor.shutdown(wait=False)
    assert not future.done()
    open(gate, "w").close()
    assert future.result(60) == "done"
    # And then nothing is left of it.
    until("the client to close", lambda: executor.client._engine.closed)
    executor.client._engine._thread.join(60)
    assert not executor.client._engine._thread.is_alive()


def test_shutdown_that_cancels(address, tmp_path):
    gate = str(tmp_path / "gate")
    executor = argon.Executor(address)
    assert executor.submit(tasks.square, 2).result() == 4
    # As if the manager had had no room for more than two.
    executor.client._engine.session.window.size = 2.0
    executor.client._engine.session.window.growing = False
    pending = [executor.submit(tasks.wait_for, gate) for _ in range(8)]
    until("two to be sent", lambda: sum(future.running() for future in pending) == 2)
    executor.shutdown(wait=False, cancel_futures=True)
    assert sum(future.cancelled() for future in pending) == 6
    open(gate, "w").close()
    executor.shutdown(wait=True)
    assert [future.result() for future in pending if not future.cancelled()] == ["done"] * 2


def test_sharing_a_client(client):
    with argon.Executor(client=client, priority=argon.HIGH) as executor:
        assert executor.submit(tasks.square, 2).result() == 4
    assert client.call(tasks.square, 3) == 9, "it is not the executor's to close"


def test_nothing_is_lost_at_exit(address, tmp_path):
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "import argon, sys\n"
        "executor = argon.Executor(sys.argv[1])\n"
        "for number in range(100):\n"
        "    executor.submit(pow, number, 2).add_done_callback(lambda f: print(f.result()))\n"
    )
    source = os.path.join(os.path.dirname(__file__), "..", "src")
    done = subprocess.run(
        [sys.executable, str(script), address],
        env=dict(os.environ, PYTHONPATH=source),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    numbers = sorted(int(line) for line in done.stdout.split())
    assert numbers == [number**2 for number in range(100)]


def test_twenty_thousand_and_a_worker_killed_in_the_middle(cluster):
    cluster.manager()
    doomed = cluster.worker(workers=1)
    cluster.worker(workers=1)
    with argon.Executor(cluster.address) as executor:
        until("both workers", lambda: executor.client.status().manager.workers == 2)
        halfway = threading.Event()
        count = iter(range(20_000))

        def items():
            for each in count:
                if each == 15_000:
                    # 10,000 are let in at a time, so a quarter has ended and the rest is about.
                    cluster.kill(doomed)
                    halfway.set()
                yield each

        results = executor.map(tasks.square, items())
        assert halfway.is_set()
        assert list(results) == [each * each for each in range(20_000)]
        worker_counts = executor.client.status().manager
        assert worker_counts.completed >= 20_000 and worker_counts.not_completed == 0


def test_what_other_pools_take_is_explained():
    for arguments, options, words in (
        ((4,), {}, "address of a manager"),
        ((), {"max_workers": 4}, "argon worker --workers"),
        ((), {"initializer": print}, "initializer"),
    ):
        with pytest.raises(TypeError, match=words):
            argon.Executor(*arguments, **options)


def test_a_callback_that_exits_ends_only_itself(executor, tmp_path):
    def leave(future):
        raise SystemExit(3)

    # Of a task that has ended the callback would be called here.
    gate = tmp_path / "gate"
    first = executor.submit(tasks.wait_for, str(gate))
    first.add_done_callback(leave)
    gate.touch()
    assert first.result(10) == "done"
    assert executor.submit(tasks.square, 3).result(10) == 9


def test_libraries_learn_how_many_run_at_once(executor):
    assert executor._max_workers >= 1


def test_exceptions_arrive_as_pickle_would_have_them(executor):
    with pytest.raises(ValueError) as caught:
        executor.submit(json.loads, "{").result(10)
    assert isinstance(caught.value, json.JSONDecodeError)
    assert (caught.value.doc, caught.value.pos) == ("{", 1)
    with pytest.raises(tasks.Odd) as odd:
        executor.submit(tasks.odd, 3).result(10)
    assert odd.value.number == 3


def test_texts_that_are_none_are_named_or_arrive(executor, address):
    assert executor.submit(len, "a\udcff.txt").result(60) == 6
    with argon.Executor(address, ship=False) as strict:
        with pytest.raises(ValueError, match="surrogate"):
            strict.submit(len, "a\udcff.txt")
        with pytest.raises(ValueError, match="surrogate"):
            strict.submit(tasks.undecodable).result(60)


class Text(str):
    pass


POINT = collections.namedtuple("POINT", "x y")
VALUES = [(1, 2), bytearray(b"ab"), {1: "one"}, {2, 3}, 1 + 2j, [("a",)], {"k": (1,)}, b"raw"]


@pytest.mark.parametrize("chunksize", [1, 3])
def test_values_keep_their_types_where_workers_take_code(executor, chunksize):
    back = list(executor.map(tasks.same, VALUES, chunksize=chunksize))
    assert back == VALUES and [type(each) for each in back] == [type(each) for each in VALUES]
    assert executor.submit(lambda x: (x, [x]), 3).result(60) == (3, [3])
    with pytest.raises(ValueError) as caught:
        executor.submit(tasks.fails_with_tuple).result(60)
    assert caught.value.args == ((1, 2),)


@pytest.mark.parametrize("value", VALUES[:-1] + [Text("a"), POINT(1, 2), True.__class__, range(3)])
def test_values_that_json_would_change_are_refused_elsewhere(address, value):
    with argon.Executor(address, ship=False) as strict:
        for given in ((value,), ([value],)):
            with pytest.raises((TypeError, ValueError), match="--allow-eval"):
                strict.submit(tasks.same, *given)
        assert strict.submit(tasks.same, {"a": [1, 2.5, None, True]}).result(60) == {
            "a": [1, 2.5, None, True]
        }


def test_results_that_json_would_change_are_refused_elsewhere(address):
    with argon.Executor(address, ship=False) as strict:
        for chunksize in (1, 2):
            with pytest.raises(TypeError, match="tuple.*--allow-eval"):
                list(strict.map(divmod, [7, 8], [2, 3], chunksize=chunksize))
        assert list(strict.map(tasks.square, range(5), chunksize=2)) == [0, 1, 4, 9, 16]


def test_workers_that_run_no_shipped_code_are_asked_for_none(cluster):
    cluster.manager("--runner-wait", "100ms")
    with argon.Executor(cluster.address) as executor:
        # Nobody is there yet: nothing is known, and what is sent can go anywhere.
        early = executor.submit(tasks.square, 3)
        cluster.worker()
        assert early.result(60) == 9
        look = lambda: (executor.submit(tasks.square, 1), executor._preparer)[1]  # noqa: E731
        until("a look at the workers", look)
        assert executor._preparer.ship is False
        with pytest.raises(TypeError, match="tuple"):
            executor.submit(tasks.same, (1, 2))


def test_cancel_futures_cancels_what_waits_at_the_manager_too(cluster):
    cluster.manager()
    cluster.worker("--allow-eval", workers=1)
    executor = argon.Executor(cluster.address)
    # So that the manager takes hundreds at once.
    assert len(list(executor.map(tasks.square, range(2_000)))) == 2_000
    pending = [executor.submit(time.sleep, 0.2) for _ in range(200)]
    until("one to run", lambda: executor.client.running())
    executor.shutdown(cancel_futures=True)
    cancelled = sum(future.cancelled() for future in pending)
    assert all(future.done() for future in pending) and cancelled >= 190, cancelled


def test_a_timed_out_map_cancels_what_it_waits_for(executor, tmp_path):
    with pytest.raises(futures.TimeoutError):
        list(executor.map(time.sleep, [60], timeout=0.2))
    until("the task to end", lambda: not executor.client.running())


def test_dropped_executors_leave_nothing_behind(address):
    gc.collect()
    threads = threading.active_count()
    for _ in range(5):
        made = argon.Executor(address)
        assert made.submit(tasks.square, 2).result(10) == 4
        del made
    gc.collect()
    until("their threads to end", lambda: threading.active_count() <= threads)


def test_a_module_that_workers_lack_is_named_with_what_helps(address, tmp_path, monkeypatch):
    (tmp_path / "beside_the_script.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import beside_the_script

    for ship, error in ((True, ModuleNotFoundError), (False, argon.Failed)):
        with argon.Executor(address, ship=ship) as executor:
            with pytest.raises(error, match="beside_the_script.*PYTHONPATH.*by_value"):
                executor.submit(beside_the_script.double, 2).result(60)
