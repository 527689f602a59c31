"""The blocking client and the runtime against the real program."""

from __future__ import annotations

import asyncio
import math
import os
import re
import signal
import threading

import pytest
import remote_tasks as tasks
from conftest import until

import argon
import argon.aio


def test_values(client):
    assert client.call(tasks.square, 12) == 144
    assert client.call(tasks.add, 4, 7) == 11
    assert client.call(tasks.add, 4, kwargs={"right": 7, "scale": 2}) == 22
    assert client.call("python:remote_tasks:add", 1, 2) == 3
    assert client.call(tasks.nothing) is None
    assert client.call(tasks.reverse, b"\x00abc\xff") == b"\xffcba\x00"
    assert client.call(tasks.Holder.double, 4) == 8
    assert client.call(math.sqrt, 16) == 4.0
    assert client.call(tasks.later, 1) == 2
    value = [1, -2.5, "é\u2028\n", None, True, [[]], {"a": {"b": []}}, 10**30]
    assert client.call(tasks.echo, *value, kwargs={"k": value}) == [value, {"k": value}]


def test_values_that_json_does_not_hold(client):
    for value in ({1: 2}, {"a": [{(): 1}]}, {1}, [b"x"], float("nan"), object()):
        with pytest.raises((TypeError, ValueError), match="ship=True"):
            client.submit(tasks.echo, value)
    with pytest.raises(TypeError, match="no bytes at all"):
        client.submit(tasks.reverse, b"")
    with pytest.raises(TypeError, match="neither JSON nor bytes"):
        client.call(tasks.not_json)


def test_wrong_calls(client):
    with pytest.raises(TypeError, match="kwargs="):
        client.submit(tasks.add, 1, right=2)
    for option in ({"priority": 8}, {"max_attempts": 0}, {"max_attempts": 17}, {"retries": -1}):
        with pytest.raises(ValueError):
            client.submit(tasks.square, 1, **option)
    with pytest.raises(TypeError):
        client.submit(5)


def test_exceptions_arrive_as_their_own_type(client):
    with pytest.raises(tasks.Odd) as caught:
        client.call(tasks.odd, 3)
    assert caught.value.number == 3 and caught.value.args == (3, "is odd")
    cause = caught.value.__cause__
    assert isinstance(cause, argon.RemoteTraceback)
    assert "in odd" in str(cause) and "remote_tasks.py" in str(cause)
    assert "argon/pool.py" not in str(cause), "the runtime's own frames are nobody's business"
    with pytest.raises(tasks.Holder.Inner, match="deep"):
        client.call(tasks.inner)
    with pytest.raises(KeyError) as caught:
        client.call(tasks.key)
    assert caught.value.args == ("missing",)
    with pytest.raises(FileNotFoundError) as caught:
        client.call(tasks.missing_file)
    assert caught.value.filename == "/nowhere/at/all" and caught.value.errno == 2
    with pytest.raises(tasks.Odd):
        client.call(tasks.odd_later, 5)
    with pytest.raises(ValueError, match="outer") as caught:
        client.call(tasks.chained)
    assert "KeyError: 'missing'" in str(caught.value.__cause__)
    with pytest.raises(TypeError):
        client.call(tasks.square, 1, 2, 3)


def test_exceptions_that_cannot_be_made_here(client):
    with pytest.raises(argon.Failed) as caught:
        client.call(tasks.picky)
    failed = caught.value
    assert (failed.kind, failed.type, failed.message) == (argon.Kind.RAISED, "Picky", "picky")
    assert "in picky" in failed.backtrace and isinstance(failed.__cause__, argon.RemoteTraceback)
    # It must not end the process that waits.
    with pytest.raises(argon.Failed, match="SystemExit: 3"):
        client.call(tasks.leave)


def test_names_that_mean_nothing(client):
    for name in ("python:no_such_module:f", "python:remote_tasks:no_such", "python:remote_tasks"):
        with pytest.raises(argon.Failed) as caught:
            client.call(name)
        assert caught.value.kind is argon.Kind.UNKNOWN_TASK
    with pytest.raises(argon.Rejected) as caught:
        client.call("pythonn:x:y")
    assert caught.value.reason is argon.Reason.NO_RUNNER


def test_shipped_functions(client):
    offset = 30
    assert client.call(lambda x, y: x + y, 4, 7) == 11
    assert client.call(lambda x: x + offset, 4) == 34
    # Types are kept, since it is a pickle.
    assert client.call(lambda x: (x, {1: 2}), (1,)) == ((1,), {1: 2})
    assert client.call(lambda: b"raw") == b"raw"

    def fail():
        raise tasks.Odd(9, "shipped")

    with pytest.raises(tasks.Odd) as caught:
        client.call(fail)
    assert caught.value.number == 9


def test_shipping_all(address):
    with argon.Client(address, ship=True) as client:
        assert client.call(tasks.echo, (1, {2}), b"") == [[(1, {2}), b""], {}]


def test_shipped_functions_are_refused_without_leave(cluster):
    cluster.manager()
    cluster.worker()
    with argon.Client(cluster.address) as client:
        assert client.call(tasks.square, 2) == 4
        with pytest.raises(argon.EvalRefused, match="--allow-eval"):
            client.call(lambda: 1)
        with pytest.raises(argon.EvalRefused, match="--allow-eval"):
            client.call("python:builtins:eval", "1")


def test_named_modules_only(cluster):
    cluster.manager("--runner-wait", "100ms")
    cluster.worker(modules=["remote_tasks", "--preload"])
    with argon.Client(cluster.address) as client:
        assert client.call(tasks.square, 3) == 9
        assert list(argon.Executor(client=client).map(tasks.square, range(9), chunksize=4)) == [
            number * number for number in range(9)
        ]
        with pytest.raises(argon.Rejected):
            client.call(os.getcwd)
        for name in ("os.getcwd", "os:getcwd", "subprocess.run", "square.__globals__.get"):
            with pytest.raises((argon.Failed, argon.Rejected)):
                client.call(f"python:remote_tasks:{name}")
        with pytest.raises(argon.EvalRefused):
            client.call(lambda: 1)
        (group,) = client.status().groups
        assert "python:remote_tasks:*" in group.names


def test_prints_stay_off_the_protocol(client):
    assert list(client.map(tasks.noisy, range(20))) == [[number, ""] for number in range(20)]


def test_crashes(client):
    with pytest.raises(argon.Failed) as caught:
        client.call(tasks.die, max_attempts=1)
    assert caught.value.kind is argon.Kind.CRASHED


def test_time_limits_and_deadlines(client):
    with pytest.raises(argon.Failed) as caught:
        client.call(tasks.for_ever, time_limit=0.1)
    assert caught.value.kind is argon.Kind.TIME_LIMIT
    with pytest.raises(argon.Expired) as expired:
        client.call(tasks.for_ever, deadline=1.0)
    assert expired.value.may_have_run
    with pytest.raises(argon.Expired) as expired:
        client.call(tasks.square, 1, deadline=0)
    assert not expired.value.may_have_run


def test_cancelling_what_runs(client, tmp_path):
    gate = str(tmp_path / "gate")
    futures = [client.submit(tasks.wait_for, gate) for _ in range(6)]
    until("a task to begin", lambda: os.path.exists(gate + ".begun"))
    assert all(future.running() and not future.done() for future in futures[:1])
    assert all(future.cancel() for future in futures)
    assert all(future.cancelled() and future.cancel() for future in futures)
    with pytest.raises(argon.Cancelled.__mro__[2]):
        futures[0].result()
    # Their processes are killed: the gate is shut, and still others can run.
    assert client.call(tasks.square, 5) == 25
    until("nothing to be left", lambda: not client.running() and client.status().manager.unclaimed == 0)


def test_asking_for_the_end(client, tmp_path):
    gate = str(tmp_path / "gate")
    future = client.submit(tasks.wait_for, gate)
    until("the task to begin", lambda: os.path.exists(gate + ".begun"))
    future.request_cancel()
    error = future.exception(60)
    assert isinstance(error, argon.Cancelled) and error.may_have_run


def test_status_and_what_runs(client, tmp_path):
    gate = str(tmp_path / "gate")
    future = client.submit(tasks.wait_for, gate, priority=argon.HIGH)
    until("the task to begin", lambda: os.path.exists(gate + ".begun"))
    status = client.status()
    assert status.manager.workers == 1 and status.manager.assigned == 1
    assert status.workers[0].capacity == 2 and status.workers[0].connected
    assert [each.name for each in status.clients if each.assigned] == [client._engine.session.link.name]
    (row,) = client.running()
    assert row.name == "python:remote_tasks:wait_for" and row.worker == status.workers[0].name
    open(gate, "w").close()
    assert future.result(60) == "done"


def test_map_is_lazy_and_bounded(client):
    taken = []

    def items():
        for number in range(1_000):
            taken.append(number)
            yield number

    results = client.map(tasks.square, items(), in_flight=10)
    assert next(results) == 0
    assert len(taken) <= 11
    assert list(results) == [number * number for number in range(1, 1_000)]
    unordered = client.map(tasks.square, range(500), ordered=False, in_flight=50)
    assert sorted(unordered) == [number * number for number in range(500)]
    with pytest.raises(tasks.Odd):
        list(client.map(tasks.odd, range(50), ordered=False))


def test_submit_waits_for_room(address, tmp_path):
    gate = str(tmp_path / "gate")
    with argon.Client(address, max_pending=4) as client:
        engine = client._engine
        most = 0
        submit = engine.session.submit

        def watched(now, task):
            nonlocal most
            seq = submit(now, task)
            most = max(most, len(engine.session.tasks))
            return seq

        engine.session.submit = watched
        done = []

        def many():
            futures = [client.submit(tasks.wait_for, gate, number) for number in range(40)]
            done.extend(future.result() for future in futures)

        thread = threading.Thread(target=many)
        thread.start()
        until("the bound to be reached", lambda: engine._waiting == 1)
        assert most == 4
        open(gate, "w").close()
        thread.join(60)
        assert done == list(range(40)) and most == 4


def test_submitting_from_a_callback_never_waits(address):
    with argon.Client(address, max_pending=1) as client:
        ended = threading.Event()
        rest = [3, 2, 1]

        def again(future):
            assert future.exception() is None
            if rest:
                client.submit(tasks.square, rest.pop()).add_done_callback(again)
                client.submit(tasks.nothing)
            else:
                ended.set()

        client.submit(tasks.square, 4).add_done_callback(again)
        assert ended.wait(60)


def test_a_short_cut_is_not_noticed(cluster):
    cluster.manager()
    cluster.worker()
    with argon.Client(cluster.address) as client:
        results = client.map(tasks.square, range(3_000), in_flight=300)
        got = []
        for number, value in enumerate(results):
            got.append(value)
            if number in (500, 1_500):
                # Whatever socket it has, the other side sees it end.
                cut(client)
        assert got == [number * number for number in range(3_000)]
        status = client.status()
        assert status.manager.completed == 3_000, "nothing ran twice"


def cut(client):
    """Ends the connection of a client under its feet."""
    import gc
    import socket

    host, port = client._engine.addresses[0]
    for sock in [each for each in gc.get_objects() if isinstance(each, socket.socket)]:
        try:
            if sock.getpeername() == (host, port):
                sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def test_a_manager_that_is_killed_and_started_again(cluster):
    manager = cluster.manager()
    cluster.worker()
    port = manager.address.rsplit(":", 1)[1]
    with argon.Client(manager.address) as client:
        results = client.map(tasks.square, range(5_000), in_flight=200)
        got = [next(results) for _ in range(1_000)]
        cluster.kill(manager)
        manager = cluster.manager(port=port)
        got += list(results)
        assert got == [number * number for number in range(5_000)]


def test_failover(cluster):
    first = cluster.manager()
    second = cluster.manager()
    cluster.worker(address=second.address)

    def no_workers():
        # For some seconds after its start a manager waits for workers; then it says no.
        with argon.Client(first.address, retries=0) as client:
            error = client.submit(tasks.square, 1, deadline=0.2).exception(60)
            return getattr(error, "reason", None) is argon.Reason.NO_WORKERS

    until("the first to say that it has no workers", no_workers)
    both = [first.address, second.address]
    with argon.Client(both) as client, argon.Client(",".join(both)) as other:
        assert client.call(tasks.square, 7) == 49
        cluster.kill(first)
        assert client.call(tasks.square, 8) == 64
        assert other.call(tasks.square, 9) == 81


def test_a_deadline_holds_while_cut_off(cluster):
    manager = cluster.manager()
    cluster.worker()
    with argon.Client(manager.address) as client:
        assert client.call(tasks.square, 2) == 4
        future = client.submit(tasks.for_ever, deadline=0.5)
        until("the task to be sent", future.running)
        manager.send_signal(signal.SIGSTOP)
        error = future.exception(60)
        assert isinstance(error, argon.Expired) and error.may_have_run


def test_nobody_there():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = "127.0.0.1:{}".format(taken.getsockname()[1])
        with argon.Client(address, connect_timeout=0.2) as client:
            future = client.submit(tasks.square, 1)
            error = future.exception(60)
            assert isinstance(error, argon.NotConnected) and address in str(error)
            with pytest.raises(argon.NotConnected):
                client.submit(tasks.square, 1)
            with pytest.raises(argon.NotConnected):
                client.status()


def test_too_large(cluster):
    cluster.manager("--max-payload", "64KiB")
    cluster.worker("--max-payload", "64KiB", "--allow-eval")
    with argon.Client(cluster.address) as client:
        assert client.call(tasks.reverse, b"x" * 60_000) == b"x" * 60_000
        with pytest.raises(argon.TooLarge, match="65,536"):
            client.call(tasks.reverse, b"x" * 70_000)
        with pytest.raises(argon.Failed) as caught:
            client.call(lambda: b"x" * 70_000)
        assert caught.value.kind is argon.Kind.RESULT_TOO_LARGE


def test_large_payloads(client):
    data = os.urandom(1 << 20) * 20
    assert client.call(tasks.reverse, data) == data[::-1]


def test_many_large_payloads(client):
    data = [bytes([each]) * (1 << 20) for each in range(60)]
    assert list(client.map(tasks.reverse, data)) == data


def test_a_bug_ends_what_waits(address, monkeypatch):
    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda what: reported.append(what.exc_type))
    with argon.Client(address) as client:
        assert client.call(tasks.square, 2) == 4
        future = client.submit(tasks.for_ever)

        def broken(now, backlog=0):
            raise ZeroDivisionError

        client._engine.session.settle = broken
        error = future.exception(60)
        assert isinstance(error, argon.NotConnected) and "ZeroDivisionError" in str(error)
        with pytest.raises(argon.NotConnected):
            client.submit(tasks.square, 2)
    assert reported == [ZeroDivisionError]


def test_closing(address, tmp_path):
    client = argon.Client(address)
    future = client.submit(tasks.wait_for, str(tmp_path / "gate"))
    until("the task to be sent", future.running)
    client.close()
    assert isinstance(future.exception(0), argon.Cancelled)
    with pytest.raises(RuntimeError, match="closed"):
        client.submit(tasks.square, 1)
    client.close()
    argon.Client(address).close()  # one that was never used


def test_clients_do_not_survive_a_fork(client):
    assert client.call(tasks.square, 2) == 4
    child = os.fork()
    if child == 0:
        try:
            client.submit(tasks.square, 1)
        except RuntimeError as error:
            os._exit(0 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_many_threads(client):
    wrong = []

    def work(start):
        for number in range(start, start + 200):
            if client.call(tasks.square, number) != number * number:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(1_000 * each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_at_most_once_and_waiting(client):
    assert client.call(tasks.square, 3, at_most_once=True, max_wait=60, deadline=60) == 9
    assert client.call(tasks.square, 3, priority=0) == 9


def test_what_tasks_print_is_passed_on_and_in_their_errors(cluster):
    cluster.manager()
    cluster.worker(workers=1)
    with argon.Client(cluster.address) as client:
        client.call(tasks.noisy, 7)
        for text in ("first\x1b[2J", "second"):
            with pytest.raises(tasks.Odd) as caught:
                client.call(tasks.loud_failure, text)
            cause = str(caught.value.__cause__)
            assert "On worker " in cause
            assert cause.rstrip('"\n').endswith("What it printed last:\n" + text)
    cluster.end()
    cluster.log.seek(0)
    log = cluster.log.read()
    for line in ("on standard output 7", "on descriptor 1", "from a child"):
        assert re.search(rf"INFO python:remote_tasks:noisy \w+-0: {line}\n", log), log
    assert re.search(r"python:remote_tasks:loud_failure \w+-1: first\\u\{1b\}\[2J\n", log), log


@pytest.mark.parametrize("blocking", [True, False])
def test_what_nobody_runs_is_said_while_it_waits(cluster, caplog, blocking):
    cluster.manager()
    cluster.worker(modules=["remote_tasks"])

    def said():
        return [record.getMessage() for record in caplog.records]

    if blocking:
        with argon.Client(cluster.address) as client:
            until("the worker", lambda: client.status().groups)
            future = client.submit("python:elsewhere:f")
            until("a warning", said)
            future.cancel()
    else:

        async def main():
            async with argon.aio.Client(cluster.address) as client:
                future = await client.submit("python:elsewhere:f")
                while not said():
                    await asyncio.sleep(0.01)
                future.cancel()

        asyncio.run(main())
    (line,) = said()
    command = f"argon worker --manager {cluster.address} -- python3 -m argon.pool"
    assert "python:elsewhere:f" in line and line.endswith(command)


def test_what_a_killed_task_submitted_ends_with_it(cluster, tmp_path):
    manager = cluster.start("manager", "--port", 0, ARGON_LOG="argon=debug")
    cluster.address = manager.stdout.readline().split()[-1]
    cluster.worker(workers=1)
    with argon.Client(cluster.address) as client:
        with pytest.raises(argon.Failed):
            client.call(tasks.submits_and_dies, cluster.address, max_attempts=1)
        until("the end of what it left", lambda: client.status().manager.queued == 0)
        until("the end of its client", lambda: len(client.status().clients) == 1)
    # And not because it was given up after a while.
    assert "ran in a pool process that is gone" in (tmp_path / "stderr").read_text()


def test_tasks_go_and_end_in_runs(cluster):
    manager = cluster.manager()
    port = manager.address.rsplit(":", 1)[1]
    cluster.worker()
    cluster.kill(manager)
    with argon.Client(manager.address) as client:
        # Nobody is there yet, so they are submitted together later.
        futures = [client.submit("python:operator:mul", number, 2) for number in range(300)]
        cluster.manager(port=port)
        assert [future.result(60) for future in futures] == [2 * number for number in range(300)]
        link = client._engine.session.link
        assert link.has_runs and link.sent < 200
