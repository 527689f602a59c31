"""What users write and type checkers must take; `test_types.py` has them look."""

from __future__ import annotations

import concurrent.futures
import datetime
from typing import Dict, List, Optional

from typing_extensions import assert_type

import argon
import argon.aio


def add(left: int, right: int = 1, *, scale: float = 1.0) -> float:
    return (left + right) * scale


def words(text: str) -> List[str]:
    return text.split()


def nothing() -> None:
    pass


def blocking(client: argon.Client) -> None:
    assert_type(client.call(words, "a b"), List[str])
    assert_type(client.call(add, 1), float)
    assert_type(client.call(add, 1, 2), float)
    assert_type(client.call(add, 1, kwargs={"scale": 2.0}), float)
    assert_type(client.submit(words, "a b", priority=argon.HIGH, deadline=3).result(), List[str])
    assert_type(client.submit(nothing), argon.Future[None])
    assert_type(client.submit(lambda: 3, time_limit=datetime.timedelta(hours=1)).result(), int)
    for found in client.map(words, ["a b", "c"], ordered=False, max_wait=None):
        assert_type(found, List[str])
    anything = client.call("some-task", b"bytes", kwargs={"is": "fine"}, retries=None)
    also: Dict[str, int] = anything
    names: Optional[str] = client.status().workers[0].name
    print(also, names)


def executor() -> None:
    with argon.Executor("manager:8000", priority=argon.LOW) as executor:
        assert_type(executor.submit(add, 1, scale=2.0), argon.Future[float])
        assert_type(executor.submit(add, left=1, right=2).result(), float)
        assert_type(list(executor.map(words, ["a b"], timeout=3, chunksize=2)), List[List[str]])
        executor.submit("some-task", 1, 2)
        anywhere(executor)


def anywhere(executor: concurrent.futures.Executor) -> float:
    """A program that knows nothing of Argon."""
    futures = [executor.submit(add, each) for each in range(3)]
    return sum(each.result() for each in concurrent.futures.as_completed(futures))


async def asynchronous() -> None:
    async with argon.aio.Client("manager:8000") as client:
        assert_type(await client.call(words, "a b"), List[str])
        assert_type(await (await client.submit(add, 1, 2, at_most_once=True)), float)
        async for found in client.map(words, ["a b"]):
            assert_type(found, List[str])
