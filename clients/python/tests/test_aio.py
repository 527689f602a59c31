"""The asyncio client against the real program."""

from __future__ import annotations

import asyncio
import os

import pytest
import remote_tasks as tasks

import argon
import argon.aio


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 100))


async def until(what, condition):
    for _ in range(6_000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited in vain for: {what}")


def test_calls(address):
    async def main():
        async with argon.aio.Client(address) as client:
            assert await client.call(tasks.square, 12) == 144
            assert await client.call(tasks.add, 1, kwargs={"right": 2}) == 3
            assert await client.call(lambda x: (x, b"y"), 1) == (1, b"y")
            with pytest.raises(tasks.Odd) as caught:
                await client.call(tasks.odd, 3)
            assert isinstance(caught.value.__cause__, argon.RemoteTraceback)
            many = await asyncio.gather(*(client.call(tasks.square, each) for each in range(2_000)))
            assert many == [each * each for each in range(2_000)]
            status = await client.status()
            assert status.manager.workers == 1 and await client.running() == []
        with pytest.raises(RuntimeError, match="closed"):
            await client.call(tasks.square, 1)

    run(main())


def test_map(address):
    async def main():
        async with argon.aio.Client(address) as client:
            got = [each async for each in client.map(tasks.square, range(5_000))]
            assert got == [each * each for each in range(5_000)]
            got = [each async for each in client.map(tasks.square, range(500), ordered=False)]
            assert sorted(got) == [each * each for each in range(500)]
            with pytest.raises(tasks.Odd):
                async for _ in client.map(tasks.odd, range(50)):
                    pass

    run(main())


def test_room(address):
    async def main():
        async with argon.aio.Client(address, max_pending=5) as client:
            most = 0

            async def one(number):
                nonlocal most
                future = await client.submit(tasks.square, number)
                most = max(most, len(client._session.tasks))
                return await future

            got = await asyncio.gather(*(one(each) for each in range(300)))
            assert got == [each * each for each in range(300)] and most <= 5

    run(main())


def test_cancelling(address, tmp_path):
    async def main():
        gate = str(tmp_path / "gate")
        async with argon.aio.Client(address) as client:

            async def begun():
                return os.path.exists(gate + ".begun")

            async def idle():
                return not (await client.status()).manager.unclaimed and not await client.running()

            waiting = asyncio.ensure_future(client.call(tasks.wait_for, gate))
            future = await client.submit(tasks.wait_for, gate)
            await until("a task to begin", begun)
            waiting.cancel()
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await until("both to be ended where they were", idle)
            assert await client.call(tasks.square, 2) == 4

    run(main())


def test_a_manager_that_is_killed_and_started_again(cluster):
    manager = cluster.manager()
    cluster.worker()
    port = manager.address.rsplit(":", 1)[1]

    async def main():
        async with argon.aio.Client(manager.address) as client:
            got = []
            async for value in client.map(tasks.square, range(3_000), in_flight=200):
                got.append(value)
                if len(got) == 1_000:
                    cluster.kill(manager)
                    cluster.manager(port=port)
            assert got == [each * each for each in range(3_000)]

    run(main())


def test_nobody_there():
    async def main():
        async with argon.aio.Client("127.0.0.1:1", connect_timeout=0.2) as client:
            with pytest.raises(argon.NotConnected):
                await client.call(tasks.square, 1)
            with pytest.raises(argon.NotConnected):
                await client.submit(tasks.square, 1)

    run(main())


def test_closing(address, tmp_path):
    async def main():
        client = argon.aio.Client(address)
        future = await client.submit(tasks.wait_for, str(tmp_path / "gate"))
        await client.close()
        with pytest.raises(argon.Cancelled):
            await future

    run(main())


def test_large_payloads(address):
    async def main():
        data = os.urandom(1 << 20) * 20
        async with argon.aio.Client(address) as client:
            assert await client.call(tasks.reverse, data) == data[::-1]

    run(main())
