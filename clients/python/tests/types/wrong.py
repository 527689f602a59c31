"""Mistakes that type checkers must find, each in the line that says so; see `test_types.py`."""

from __future__ import annotations

import argon
import argon.aio


def add(left: int, right: int = 1, *, scale: float = 1.0) -> float:
    return (left + right) * scale


def blocking(client: argon.Client) -> None:
    client.call(add, "one")  # error
    client.call(add)  # error
    client.call(add, 1, 2, 3)  # error
    client.submit(add, 1, priorty=2)  # error
    client.submit(add, 1, deadline="soon")  # error
    client.submit(add, 1, scale=2.0)  # error
    client.map(add, [1], in_fligth=3)  # error
    text: str = client.call(add, 1)  # error
    client.call(7)  # error
    print(text)


def made() -> None:
    argon.Client("manager:8000", at_most_onec=True)  # error
    argon.aio.Client("manager:8000", retries="ten")  # error


def executor(executor: argon.Executor) -> None:
    executor.submit(add, "one")  # error
    executor.submit(add, 1, scale="two")  # error
    executor.submit(add, 1, priority=2)  # error
    text: str = executor.submit(add, 1).result()  # error
    executor.map(add, 3)  # error
    print(text)


async def asynchronous(client: argon.aio.Client) -> None:
    await client.call(add, "one")  # error
    await client.submit(add, 1, priorty=2)  # error
    text: str = await client.call(add, 1)  # error
    print(text)
