"""The runtime by itself: its answers, and its process on two pipes."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from argon import _wire as wire
from argon._wire import Kind
from argon.pool import Runtime

HERE = Path(__file__).parent


def ask(runtime, name, content=wire.JSON, payload=b"[]"):
    data = runtime.answer(wire.Run(7, name), content, payload)
    message, content, payload = wire.decode(wire.POOL, data, 0, len(data))
    assert message.id == 7
    return message, content, payload


def error(*arguments):
    message, content, payload = ask(*arguments)
    assert isinstance(message, wire.Failed)
    kind = message.error.kind
    return kind.kind, message.error.message, json.loads(payload) if payload else None


def test_values():
    clock = iter(range(0, 1_000, 5))
    runtime = Runtime(clock=lambda: next(clock))
    message, content, payload = ask(runtime, "python:remote_tasks:square", 1, b"[5]")
    assert (message, content, payload) == (wire.Completed(7, 5), wire.JSON, b"25")
    for payload, value in [
        (b"[4,7]", b"11"),
        (b'{"args":[4],"kwargs":{"right":7}}', b"11"),
        (b'{"kwargs":{"left":1}}', b"1"),
    ]:
        assert ask(runtime, "python:remote_tasks:add", 1, payload)[1:] == (wire.JSON, value)
    assert ask(runtime, "python:remote_tasks:reverse", 0, b"ab")[1:] == (wire.RAW, b"ba")
    # No bytes are no argument.
    assert ask(runtime, "python:remote_tasks:nothing", 0, b"")[1:] == (wire.JSON, b"null")
    assert ask(runtime, "python:remote_tasks:Holder.double", 1, b"[4]")[2] == b"8"
    for _ in range(2):
        assert ask(runtime, "python:remote_tasks:later", 1, b"[1]")[2] == b"2"


def test_bad_payloads():
    runtime = Runtime(allow_eval=True)
    square = "python:remote_tasks:square"
    for content, payload in [(1, b"{"), (1, b"5"), (1, b'{"x":1}'), (1, b'{"args":5}'), (2, b"")]:
        assert error(runtime, square, content, payload)[0] is Kind.BAD_PAYLOAD
    assert "content 1" in error(runtime, square, 3, b"")[1]
    assert error(runtime, "python:eval", 1, b"[]")[0] is Kind.BAD_PAYLOAD


def test_unknown_tasks():
    runtime = Runtime()
    for name in ("x", "python:a", "python::f", "python:remote_tasks:", "perl:A:b",
                 "python:remote_tasks:nope", "python:nope:f", "python:remote_tasks:os.getcwd",
                 "python:remote_tasks:__doc__"):
        assert error(runtime, name)[0] is Kind.UNKNOWN_TASK, name


def test_details():
    kind, message, detail = error(Runtime(), "python:remote_tasks:odd", 1, b"[3]")
    assert (kind, message) == (Kind.RAISED, "(3, 'is odd')")
    assert detail == {
        "module": "remote_tasks",
        "type": "Odd",
        "args": [3, "is odd"],
        "state": {"number": 3},
    }
    assert error(Runtime(), "python:remote_tasks:leave")[2]["type"] == "SystemExit"


def test_results_that_are_too_large():
    runtime = Runtime(payload_max=10)
    assert ask(runtime, "python:remote_tasks:reverse", 0, b"x" * 10)[2] == b"x" * 10
    kind = error(runtime, "python:remote_tasks:reverse", 0, b"x" * 11)[0]
    assert kind is Kind.RESULT_TOO_LARGE


def test_texts_are_bounded():
    runtime = Runtime()
    payload = json.dumps(["é" * 20_000]).encode()
    message, _, _ = ask(runtime, "python:builtins:int", 1, payload)
    assert len(message.error.message.encode()) <= wire.ERROR_TEXT_MAX
    assert len(message.error.backtrace.encode()) <= wire.ERROR_TEXT_MAX


def test_shipped_code_needs_leave():
    from argon._ship import dumps

    payload = dumps((dumps(lambda x: (x,)), (1,), {}))
    kind, message, detail = error(Runtime(), "python:eval", wire.PICKLE, payload)
    assert kind is Kind.RAISED and "argon worker --allow-eval" in message
    assert (detail["module"], detail["type"]) == ("argon.errors", "EvalRefused")
    for name in ("eval", "exec", "compile", "__import__"):
        assert error(Runtime(), f"python:builtins:{name}", 1, b'["1"]')[0] in (
            Kind.RAISED,
            Kind.UNKNOWN_TASK,
        )
    _, content, result = ask(Runtime(allow_eval=True), "python:eval", wire.PICKLE, payload)
    assert content == wire.PICKLE and pickle.loads(result) == (1,)


def test_offers():
    assert Runtime().capabilities() == ["python:*"]
    offers = Runtime(["a", "b.c"]).capabilities()
    assert "python:a:*" in offers and "python:b.c:*" in offers and "python:*" not in offers


def start(*arguments, **environment):
    env = {key: value for key, value in os.environ.items() if not key.startswith("ARGON_")}
    env["PYTHONPATH"] = os.pathsep.join([str(HERE.parent / "src"), str(HERE)])
    env.update(environment)
    return subprocess.Popen(
        [sys.executable, "-m", "argon.pool", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    )


def messages(data):
    at, found = 0, []
    while at < len(data):
        stop = at + 4 + int.from_bytes(data[at : at + 4], "little")
        found.append(wire.decode(wire.POOL, data, at, stop))
        at = stop
    return found


def run_frame(ident, name, payload=b"[]", content=wire.JSON):
    return wire.encode(wire.Run(ident, name), content, payload)


def test_the_process():
    process = start()
    runs = [run_frame(each, "python:remote_tasks:noisy", b"[%d]" % each) for each in range(50)]
    runs.append(run_frame(50, "python:remote_tasks:reverse", b"z" * 3_000_000, wire.RAW))
    runs.append(run_frame(51, "python:remote_tasks:odd", b"[1]"))
    out, err = process.communicate(b"".join(runs), timeout=100)
    assert process.returncode == 0
    (ready, _, _), *answers = messages(out)
    assert ready == wire.Ready(b"ARGN", (1, 1), ["python:*"])
    assert [answer[0].id for answer in answers] == list(range(52))
    assert [json.loads(answer[2]) for answer in answers[:50]] == [[each, ""] for each in range(50)]
    assert answers[50][2] == b"z" * 3_000_000
    assert isinstance(answers[51][0], wire.Failed)
    for line in (b"on standard output 7", b"on the other standard output", b"on descriptor 1",
                 b"from a child"):
        assert line in err


def test_each_answer_is_there_before_the_next_task_begins(tmp_path):
    process = start()
    gate = str(tmp_path / "gate")
    runs = run_frame(1, "python:remote_tasks:square", b"[3]")
    runs += run_frame(2, "python:remote_tasks:wait_for", json.dumps([gate]).encode())
    process.stdin.write(runs)
    process.stdin.flush()
    ready = process.stdout.read(len(Runtime().ready()))
    assert ready == Runtime().ready()
    # The second hangs, but the first one's answer can be read.
    answer = process.stdout.read(26)
    assert messages(answer)[0][0].id == 1
    open(gate, "w").close()
    out, _ = process.communicate(timeout=100)
    assert messages(out)[0][0].id == 2 and process.returncode == 0


def many_frame(ident, name, payloads, content=wire.JSON):
    sizes = [len(payload) for payload in payloads]
    return wire.encode(wire.RunMany(ident, name, sizes), content, b"".join(payloads))


def test_a_run_is_answered_as_its_parts_would_be():
    process = start()
    odd = [b"[1]", b"[2]", b"", b"[4]"]
    runs = many_frame(5, "python:remote_tasks:odd", odd)
    runs += many_frame(9, "python:remote_tasks:reverse", [b"ab", b"", b"cd"], wire.RAW)
    runs += run_frame(12, "python:remote_tasks:square", b"[3]")
    many, _ = process.communicate(runs, timeout=100)
    process = start()
    singles = [run_frame(5 + i, "python:remote_tasks:odd", each) for i, each in enumerate(odd)]
    for ident, each in [(9, b"ab"), (10, b""), (11, b"cd")]:
        singles.append(run_frame(ident, "python:remote_tasks:reverse", each, wire.RAW))
    singles.append(run_frame(12, "python:remote_tasks:square", b"[3]"))
    single, _ = process.communicate(b"".join(singles), timeout=100)

    def without_times(data):
        return [(message._replace(ran=0), *rest) for message, *rest in messages(data)[1:]]

    assert without_times(many) == without_times(single)
    assert [message.id for message, *_ in messages(many)[1:]] == list(range(5, 13))


def test_each_answer_of_a_run_is_there_before_its_next_task_begins(tmp_path):
    process = start()
    gates = [str(tmp_path / gate) for gate in ("open", "closed")]
    open(gates[0], "w").close()
    arguments = [json.dumps([gate]).encode() for gate in gates]
    process.stdin.write(many_frame(1, "python:remote_tasks:wait_for", arguments))
    process.stdin.flush()
    process.stdout.read(len(Runtime().ready()))
    head = process.stdout.read(4)
    answer = head + process.stdout.read(int.from_bytes(head, "little"))
    assert messages(answer)[0][0].id == 1
    open(gates[1], "w").close()
    out, _ = process.communicate(timeout=100)
    assert messages(out)[0][0].id == 2 and process.returncode == 0


def test_what_is_no_run_ends_it():
    name = "python:remote_tasks:square"
    no_runs = [
        wire.encode(wire.RunMany(1, name, sizes), wire.JSON, payload)
        for sizes, payload in [
            ([], b""),
            ([3], b"[1]"),
            ([3, 3], b"[1][2"),
            ([3, 3], b"[1][2]]"),
            ([0] * (wire.RUN_TASKS_MAX + 1), b""),
            ([wire.RUN_BYTES_MAX, 1], b"[" * (wire.RUN_BYTES_MAX + 1)),
        ]
    ]
    lie = wire.encode(wire.RunMany(1, name, [1, 2]))
    no_runs.append(lie.replace(b"\2\0\0\0\0\0\0\0", b"\2\0\0\0\0\0\0\x80"))
    for data in (
        wire.encode(wire.Completed(1, 2)),
        run_frame(1, "python:a:b")[:-3],
        b"\1\0\0\0\0",
        *no_runs,
    ):
        process = start()
        _, err = process.communicate(data, timeout=100)
        assert process.returncode != 0 and b"argon.pool" in err


def test_preloading():
    process = start("remote_tasks", "--preload")
    out, _ = process.communicate(b"", timeout=100)
    assert "python:remote_tasks:*" in messages(out)[0][0].capabilities
    process = start("no_such_module", "--preload")
    out, err = process.communicate(b"", timeout=100)
    assert process.returncode != 0 and out == b"" and b"no_such_module" in err


@pytest.mark.parametrize("leave", ["0", "1"])
def test_leave_is_in_the_environment(leave):
    from argon._ship import dumps

    process = start(ARGON_ALLOW_EVAL=leave)
    payload = dumps((dumps(lambda: 5), (), {}))
    out, _ = process.communicate(run_frame(1, "python:eval", payload, wire.PICKLE), timeout=100)
    kind = wire.Completed if leave == "1" else wire.Failed
    assert isinstance(messages(out)[1][0], kind)
