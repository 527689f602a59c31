"""Tasks a second through the clients, with 1,000 in flight: benches/rate.py HOST:PORT [NAME] [COUNT]

NAME is what runs: `noop`, which `argon worker` has built in, or `python:builtins:abs` with the
runtime of Python.
"""

from __future__ import annotations

import asyncio
import sys
import time

import argon
import argon.aio


def report(what: str, count: int, start: float) -> None:
    print(f"{what:24} {count / (time.perf_counter() - start):10,.0f} tasks/s", flush=True)


def main() -> None:
    address, name, count = (sys.argv[1:] + ["noop", "50000"][len(sys.argv) - 2 :])[:3]
    number = int(count)
    with argon.Client(address) as client:
        client.call(name, 1)
        start = time.perf_counter()
        for _ in client.map(name, range(number), in_flight=1_000):
            pass
        report("Client.map", number, start)
        start = time.perf_counter()
        for _ in range(2_000):
            client.call(name, 1)
        report("Client.call, one by one", 2_000, start)
    with argon.Executor(address, max_pending=1_000) as executor:
        executor.submit(name, 1).result()
        start = time.perf_counter()
        for _ in executor.map(name, range(number)):
            pass
        report("Executor.map", number, start)

    async def asynchronous() -> None:
        async with argon.aio.Client(address) as client:
            await client.call(name, 1)
            start = time.perf_counter()
            async for _ in client.map(name, range(number), in_flight=1_000):
                pass
            report("aio.Client.map", number, start)

    asyncio.run(asynchronous())


main()
