"""Maps: tasks that go and come many at a time, each with an end of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures as futures
import gc
import os
import random
import threading
import weakref

import pytest
import remote_tasks as tasks
from conftest import until

import argon
import argon.aio
from argon._flow import LUMP_MAX, Flow, at_hand
from argon._session import Task, Terms

TERMS = Terms(b"noop", 1)


def flow_of(count, most, ordered=True, lumps=True, size=1):
    return Flow((Task(TERMS, b"x" * size) for _ in range(count)), most, ordered, lumps)


@pytest.fixture(params=["Client", "Executor", "aio.Client"])
def run(request):
    """Maps by each client: `run(address, function, items, **options)` yields results as they come."""

    def with_client(address, function, items, **options):
        with argon.Client(address) as client:
            yield from client.map(function, items, **options)
            assert not client._engine.sinks

    def with_executor(address, function, items, **options):
        with argon.Executor(address, max_pending=options.pop("in_flight", 1_000)) as executor:
            yield from executor.map(function, items, **options)
            assert not executor._mapped

    def with_asyncio(address, function, items, **options):
        loop = asyncio.new_event_loop()
        client = argon.aio.Client(address)
        results = client.map(function, items, **options)
        try:
            while True:
                try:
                    yield loop.run_until_complete(results.__anext__())
                except StopAsyncIteration:
                    assert not client._sinks
                    return
        finally:
            loop.run_until_complete(client.close())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    return {"Client": with_client, "Executor": with_executor, "aio.Client": with_asyncio}[request.param]


# What a flow decides.


@pytest.mark.parametrize("seed", range(60))
def test_all_are_begun_within_bounds_and_handed_on_once(seed):
    rng = random.Random(seed)
    count, most = rng.randrange(400), rng.choice([1, 2, 15, 16, 40, 100, 2_000])
    ordered, lumps = rng.random() < 0.5, rng.random() < 0.7
    flow = flow_of(count, most, ordered, lumps)
    begun, open_, ended, got = 0, [], [], []
    while not flow.is_over:
        for lump in iter(flow.lump, []):
            assert len(lump) <= (LUMP_MAX if lumps else 1)
            flow.begun(range(begun, begun + len(lump)))
            open_ += range(begun, begun + len(lump))
            begun += len(lump)
        assert begun - len(got) <= most, "more is under way than may be"
        assert flow.open == set(open_)
        assert begun == count or begun - len(got) > most - max(1, most // 16), "there is work"
        while flow.waits:
            rng.shuffle(open_)
            some = rng.randrange(len(open_)) + 1
            ends, open_ = open_[:some], open_[some:]
            flow.ended([(seq, (True, seq)) for seq in ends])
            ended += ends
        got += flow.ready()
    assert got == (list(range(count)) if ordered else ended)


@pytest.mark.parametrize("bad", [0, 1, 7, 19])
def test_an_exception_comes_at_its_turn_and_leaves_the_others_open(bad):
    flow = flow_of(20, 1_000)
    while lump := flow.lump():
        flow.begun(range(len(flow.open), len(flow.open) + len(lump)))
    flow.ended([(seq, (True, seq)) for seq in range(bad)] + [(bad, (False, KeyError("bad")))])
    got = []
    with pytest.raises(KeyError, match="bad"):
        for each in flow.ready():
            got.append(each)
    assert got == list(range(bad)) and flow.open == set(range(bad + 1, 20))


def test_large_arguments_are_not_heaped_up():
    assert len(flow_of(2_000, 1_000, size=40 << 10).lump()) == 2
    assert len(flow_of(2_000, 1_000).lump()) == 62


def test_only_containers_are_at_hand():
    assert at_hand([[1], (1,), range(3), "abc", {1: 2}, {1}])
    assert not at_hand([[1], iter([1])]) and not at_hand([x for x in [map(abs, [])]])


# What comes of it.


@pytest.mark.parametrize("bad", [0, 100, 399])
def test_one_fails_in_the_middle(address, run, bad):
    got = []
    items = [str(each) for each in range(400)]
    items[bad] = "no number"
    with pytest.raises(ValueError, match="no number"):
        for each in run(address, "python:builtins:int", items, in_flight=150):
            got.append(each)
    assert got == list(range(bad))


def test_leaving_in_the_middle_cancels_the_others(address, tmp_path):
    gate = str(tmp_path / "gate")
    with argon.Client(address) as client:
        for items in ([str(tmp_path)] * 9 + [gate] * 40, iter([str(tmp_path)] * 9 + [gate] * 40)):
            results = client.map(tasks.wait_for, items, in_flight=32)
            assert [next(results) for _ in range(9)] == ["done"] * 9
            assert client._engine.sinks
            results.close()
            assert not client._engine.sinks
            until("all to be ended at the manager", lambda: not client._engine.session.tasks)
        assert client.call(tasks.square, 3) == 9


def test_a_map_keeps_its_client(address):
    client = argon.Client(address)
    kept, results = weakref.ref(client), client.map(tasks.square, range(3), in_flight=1)
    del client
    assert next(results) == 0
    gc.collect()
    assert kept() is not None
    assert list(results) == [1, 4]
    del results
    gc.collect()
    assert kept() is None


def test_leaving_the_map_of_asyncio_cancels_the_others(address, tmp_path):
    gate = str(tmp_path / "gate")

    async def main():
        async with argon.aio.Client(address) as client:
            results = client.map(tasks.wait_for, [str(tmp_path)] + [gate] * 40, in_flight=32)
            assert await results.__anext__() == "done"
            waiting = asyncio.ensure_future(results.__anext__())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not client._sinks
            assert await client.call(tasks.square, 3) == 9

    asyncio.run(main())


def test_shutting_an_executor_down_in_the_middle(address, tmp_path):
    gate = str(tmp_path / "gate")
    executor = argon.Executor(address)
    results = executor.map(tasks.wait_for, [gate] * 100)
    until("a task to begin", lambda: os.path.exists(gate + ".begun"))
    ending = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True})
    ending.start()
    until("what has not begun to be cancelled", lambda: executor._mapped <= 2)
    assert ending.is_alive(), "it waits for what has begun"
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(tasks.square, [1])
    open(gate, "w").close()
    ending.join()
    with pytest.raises(futures.CancelledError):
        list(results)


def test_a_manager_that_is_killed_in_the_middle(cluster, run):
    manager = cluster.manager()
    cluster.worker()
    port = manager.address.rsplit(":", 1)[1]
    got = []
    for each in run(manager.address, tasks.square, range(3_000), in_flight=200):
        got.append(each)
        if len(got) == 1_000:
            cluster.kill(manager)
            cluster.manager(port=port)
    assert got == [each * each for each in range(3_000)]


@pytest.mark.parametrize("kind", ["Client", "Executor"])
def test_an_item_does_not_wait_for_the_next(address, tmp_path, kind):
    gate = str(tmp_path / "gate")

    def items():
        yield gate
        until("the first to begin", lambda: os.path.exists(gate + ".begun"))
        open(gate, "w").close()
        yield gate

    made = getattr(argon, kind)(address)
    with made:
        assert list(made.map(tasks.wait_for, items())) == ["done", "done"]


def test_values_arrive_as_they_are(address, run):
    values = [0, -1, 2**70, 1.5, True, False, None, "", 'é"\\\n\u2028', [], {"a": [1, None]}, [[1, 2], "x"]]
    assert list(run(address, tasks.same, values)) == values


@pytest.mark.parametrize("bad, why", [("\ud800", "surrogate"), (float("nan"), "JSON"), ({1: 2}, "keys")])
def test_what_cannot_be_sent_is_said(client, bad, why):
    for values in ([bad], [[bad]], [1, bad]):
        with pytest.raises((TypeError, ValueError), match=why):
            list(client.map(tasks.same, values))
    assert not client._engine.session.tasks
