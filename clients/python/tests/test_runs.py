"""Runs, messages that speak of many tasks: what is said in them, and what is believed of them."""

from __future__ import annotations

import pytest
from harness import MS, SECOND, Bench

from argon import _runs
from argon import _wire as wire
from argon._session import BACKLOG_MAX, Task, Terms
from argon._wire import Ending

OLD = wire.Version(1, 0)


def up(*payloads, version=wire.VERSION, **options):
    """A client that has submitted tasks with these arguments in one step."""
    bench = Bench()
    bench.open(version=version)
    submit(bench, *payloads, **options)
    bench.settle()
    return bench


def submit(bench, *payloads, **options):
    for payload in payloads:
        bench.session.submit(bench.now, [Task(Terms(b"noop", 1, **options), payload)])


def submissions(bench):
    """The first task of each submission, and the arguments, as they were said."""
    said = [sent for sent in bench.sent if isinstance(sent[0], (wire.Submit, wire.SubmitRun))]
    found = []
    for message, content, payload in said:
        assert content == 1
        if isinstance(message, wire.Submit):
            found.append((message.seq, [payload]))
            continue
        parts = []
        for size in message.sizes:
            parts.append(payload[:size])
            payload = payload[size:]
        assert not payload
        found.append((message.first.seq, parts))
    return found


def test_tasks_in_a_row_go_as_one_message():
    bench = up(b"[1]", b"", b"[22]", priority=2, max_attempts=5, at_most_once=True, max_wait=7, time_limit=8)
    assert submissions(bench) == [(0, [b"[1]", b"", b"[22]"])]
    (run,) = [message for message, _, _ in bench.sent if isinstance(message, wire.SubmitRun)]
    assert run.first == (0, 2, 5, True, False, wire.NO_LIMIT, 7, 8, "noop")
    assert bench.session.link.sent == 1, "it is one message"
    bench.sent.clear()
    submit(bench, b"x")
    bench.settle()
    assert submissions(bench) == [(3, [b"x"])], "what is alone is no run"


def test_a_manager_of_before_is_sent_a_message_for_each():
    assert submissions(up(b"0", b"1", b"2", version=OLD)) == [(0, [b"0"]), (1, [b"1"]), (2, [b"2"])]
    newer = up(b"0", b"1", version=wire.Version(1, 7))
    assert submissions(newer) == [(0, [b"0", b"1"])]


def test_what_a_manager_speaks_is_asked_again_at_the_next():
    bench = up(b"0", b"1")
    bench.cut()
    bench.open(epoch=2, version=OLD)
    assert submissions(bench) == [(0, [b"0"]), (1, [b"1"])]
    bench.cut()
    bench.open(epoch=3)
    assert submissions(bench) == [(0, [b"0", b"1"])]


@pytest.mark.parametrize(
    "other",
    [
        {"priority": 5},
        {"max_attempts": 2},
        {"at_most_once": True},
        {"deadline": SECOND},
        {"max_wait": 1},
        {"time_limit": 1},
    ],
)
def test_only_what_is_alike_goes_together(other):
    bench = up()
    submit(bench, b"0", b"1")
    submit(bench, b"2", b"3", **other)
    bench.settle()
    assert submissions(bench) == [(0, [b"0", b"1"]), (2, [b"2", b"3"])]


def test_other_names_and_contents_do_not_go_together():
    bench = up()
    for name, content in ((b"noop", 1), (b"other", 1), (b"other", 0)):
        bench.session.submit(bench.now, [Task(Terms(name, content), b"")])
    bench.settle()
    assert not [sent for sent in bench.sent if isinstance(sent[0], wire.SubmitRun)]
    assert len(bench.take(wire.Submit)) == 3


def test_more_important_tasks_go_first_and_break_the_row():
    bench = up()
    for priority in (4, 4, 2, 2, 4):
        submit(bench, b"", priority=priority)
    bench.settle()
    assert [(seq, len(parts)) for seq, parts in submissions(bench)] == [(2, 2), (0, 2), (4, 1)]


def test_deadlines_go_together_if_as_much_is_left_of_them():
    bench = Bench()
    submit(bench, b"0", b"1", deadline=3 * SECOND)
    bench.now += MS
    submit(bench, b"2", deadline=3 * SECOND)
    bench.open()
    assert submissions(bench) == [(0, [b"0", b"1"]), (2, [b"2"])]


def test_a_cancel_comes_after_its_task():
    bench = up(b"0", b"1", b"2")
    bench.cut()
    bench.session.cancel(bench.now, 1)
    bench.open(epoch=2)
    said = [type(message) for message, _, _ in bench.sent if not isinstance(message, wire.AckOutcomes)]
    assert said == [wire.SubmitRun, wire.Cancel, wire.Submit]


def test_runs_are_no_longer_than_they_may_be():
    assert (_runs.TASKS_MAX, _runs.BYTES_MAX) == (1_024, 30 * 1_024)
    bench = up(*[bytes(10 * 1_024)] * 4)
    assert [(seq, len(parts)) for seq, parts in submissions(bench)] == [(0, 3), (3, 1)]
    bench = up(bytes(30 * 1_024), b"1", b"2")
    assert [(seq, len(parts)) for seq, parts in submissions(bench)] == [(0, 1), (1, 2)]
    bench = up()
    bench.session.window.size = 5_000.0
    submit(bench, *[b""] * 1_030)
    bench.settle()
    assert [(seq, len(parts)) for seq, parts in submissions(bench)] == [(0, 1_024), (1_024, 6)]


def test_a_run_ends_where_the_backlog_has_no_room():
    bench = up()
    submit(bench, b"0", b"1")
    bench.session.settle(bench.now, BACKLOG_MAX - 1)
    bench.settle()
    assert submissions(bench) == [(0, [b"0"]), (1, [b"1"])]


def test_each_outcome_of_a_run_is_delivered_and_acknowledged():
    bench = up(*[b""] * 5)
    received = bench.session.link.received
    bench.complete_run(0, [(3, b"three"), (0, b""), (1, b"1")])
    assert list(bench.results) == [3, 0, 1], "in their order"
    for seq, payload in ((3, b"three"), (0, b""), (1, b"1")):
        assert bench.results[seq] == (seq, Ending.COMPLETED, None, 1, payload)
    assert bench.session.link.received == received + 1, "it is one message"
    bench.pass_time(5 * MS)
    assert bench.take(wire.AckOutcomes)[-1] == (2, [3])
    # What comes again is acknowledged again, and delivered no more; the others are.
    bench.complete_run(1, [(0, b"other"), (3, b"4"), (1, b"2")])
    assert bench.results[1].payload == b"1"
    assert (bench.results[4].payload, bench.results[2].payload) == (b"4", b"2")
    bench.pass_time(5 * MS)
    assert bench.take(wire.AckOutcomes)[-1] == (5, [])


def test_a_run_counts_as_one_message_in_heartbeats():
    bench = up(b"0", b"1")
    bench.complete_run(0, [(0, b""), (1, b"")])
    bench.wait(SECOND)
    assert bench.pings[-1] == 1


def test_a_run_that_comes_in_portions():
    data = wire.encode(wire.OutcomeRun(wire.Common(0, 2, 0, "w"), [wire.End(1, 1, 2), wire.End(0, 1, 1)]), 1, b"one")
    for portion in range(1, len(data)):
        bench = up(b"0", b"1")
        for at in range(0, len(data), portion):
            bench.session.receive(bench.connection[0], bench.now, data[at : at + portion])
        bench.settle()
        assert {seq: result.payload for seq, result in bench.results.items()} == {1: b"on", 0: b"e"}


def outcomes(seq, ends, payload, worker="w"):
    said = [wire.End(offset, 1, size) for offset, size in ends]
    return wire.encode(wire.OutcomeRun(wire.Common(seq, 2, 0, worker), said), 1, payload)


@pytest.mark.parametrize(
    "data",
    [
        outcomes(0, [(0, 1), (1, 1)], b"too long"),
        outcomes(0, [(0, 1), (1, 1)], b"s"),
        outcomes(0, [(0, 1), (1, 2**32 - 1)], b"s"),
        outcomes(0, [(0, 1)], b"1"),
        outcomes(0, [], b""),
        outcomes(2**64 - 1, [(0, 1), (1, 1)], b"12"),
        outcomes(2**64 - 9, [(9, 1), (0, 1)], b"12"),
        outcomes(0, [(0, 0)] * (_runs.TASKS_MAX + 1), b""),
        outcomes(0, [(0, 1), (1, 1)], b"12").replace(b"\x01w", b"\x01\n"),
        outcomes(0, [(0, 1), (1, 1)], b"12").replace(b"\x01w", b"\x01\xff"),
        # More ends than the frame has.
        b"\x20\0\0\0\1\x22\0\0\0" + bytes(17) + b"\1w" + b"\xff" * 8,
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_a_run_that_is_none_ends_the_connection_and_no_task(data, known):
    bench = up(b"0", b"1", b"2")
    if known:
        bench.complete(2)
    bench.session.receive(bench.connection[0], bench.now, data)
    bench.settle()
    assert len(bench.dials) == 2 and not {0, 1} & set(bench.results)
    assert "made no sense" in bench.session.link.problem
    bench.open(resumed=True)
    bench.complete_run(0, [(0, b""), (1, b"")])
    assert {0, 1} <= set(bench.results)


def test_every_cut_of_a_run_ends_the_connection():
    whole = outcomes(0, [(0, 1), (1, 1)], b"12")
    for length in range(5, len(whole) - 4):
        bench = up(b"0", b"1")
        data = length.to_bytes(4, "little") + whole[4 : 4 + length]
        bench.session.receive(bench.connection[0], bench.now, data)
        bench.settle()
        assert len(bench.dials) == 2 and not bench.results, length


def test_a_run_that_ends_what_was_not_submitted_ends_nothing_more():
    bench = up(b"0")
    submit(bench, b"1")  # It waits for its turn.
    bench.session.receive(bench.connection[0], bench.now, outcomes(0, [(1, 1), (0, 1)], b"12"))
    bench.settle()
    assert len(bench.dials) == 2 and not bench.results


def test_nothing_is_a_run_before_the_welcome():
    bench = Bench()
    bench.settle()
    bench.session.connected(bench.connection[0], bench.now)
    bench.settle()
    bench.take(wire.Hello)
    bench.session.receive(bench.connection[0], bench.now, outcomes(0, [(0, 1), (1, 1)], b"12"))
    bench.settle()
    assert not bench.session.was_up and len(bench.dials) == 2


def test_each_task_of_a_run_has_an_end_of_its_own():
    bench = up(*[b""] * 6, at_most_once=True)
    bench.session.cancel(bench.now, 1)
    bench.settle()
    assert bench.take(wire.Cancel) == [(1,)]
    failed = wire.TaskError(wire.Choice(wire.Kind.RAISED, "ValueError"), "bad", "", "")
    bench.complete_run(0, [(0, b"0"), (3, b"3")])
    bench.say(wire.Outcome(2, wire.Choice(Ending.FAILED, wire.Failure(failed, wire.LastAttempt(1, 2, "w"), []))))
    bench.cut()
    # Only what has no end is asked about, and what was to be cancelled is cancelled again.
    bench.open(resumed=True)
    assert bench.take(wire.Resume) == [([1, 4, 5],)] and bench.take(wire.Cancel) == [(1,)]
    bench.say(wire.Outcome(1, wire.Choice(Ending.CANCELLED, True)))
    bench.complete_run(0, [(3, b"again"), (5, b"5")])
    bench.say(wire.Unknown([4]))
    assert [message.seq for message in bench.take(wire.Submit)] == [4], "it never had it"
    bench.complete(4, b"4")
    ends = {seq: (result.ending, result.payload) for seq, result in sorted(bench.results.items())}
    assert {seq: ending for seq, (ending, _) in ends.items() if ending != Ending.COMPLETED} == {
        1: Ending.CANCELLED,
        2: Ending.FAILED,
    }
    assert {seq: payload for seq, (_, payload) in ends.items() if seq not in (1, 2)} == {
        0: b"0",
        3: b"3",
        4: b"4",
        5: b"5",
    }
    assert not bench.session.tasks and not bench.session.held_bytes and not bench.session.window.total


def test_more_unknown_ids_than_may_be_end_the_connection_and_no_task():
    bench = up(b"0")
    bench.say(wire.Unknown(list(range(wire.IDS_MAX + 1))))
    assert not bench.session.link.is_up and "made no sense" in bench.session.link.problem
    assert list(bench.session.tasks) == [0]


def rejections(first, count):
    return wire.RejectRun(first, count, wire.Reason.QUEUE_FULL, 0, False)


def test_each_task_of_a_rejection_in_a_row_is_rejected():
    bench = up(*[b""] * 4, retries=0)
    bench.say(rejections(1, 2))
    rejected = {seq for seq, result in bench.results.items() if result.ending == wire.Ending.REJECTED}
    assert rejected == {1, 2}


@pytest.mark.parametrize("first, count", [(0, 0), (0, 1), (0, _runs.TASKS_MAX + 1), (2**64 - 1, 2)])
def test_rejections_that_are_no_run_end_the_connection(first, count):
    bench = up(b"0", b"1")
    bench.say(rejections(first, count))
    assert len(bench.dials) == 2 and not bench.results
