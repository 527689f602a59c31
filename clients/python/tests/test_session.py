"""The client's state machine in virtual time: promises of docs/protocol.md, one a test."""

from __future__ import annotations

import pytest
from harness import LEASE, MS, SECOND, Bench, frames

from argon import _wire as wire
from argon._calls import own_process
from argon._session import Task, Terms
from argon._wire import Ending, Reason


def seqs(submits):
    return [submit.seq for submit in submits]


def test_where_a_client_runs_is_said_once_in_each_session(monkeypatch):
    monkeypatch.setenv("ARGON_PROCESS", "00000000000000ff.2.9")
    within = own_process()
    assert within == (255, 2, 9)
    bench = Bench(within=within)
    bench.open()
    assert bench.take(wire.Within) == [within]
    bench.cut()
    bench.open(resumed=True)
    assert bench.take(wire.Within) == []
    bench.cut()
    bench.open(epoch=2)
    assert bench.take(wire.Within) == [within]
    for bad in ("", "1.2", "x.1.1", "1.1.1.1"):
        monkeypatch.setenv("ARGON_PROCESS", bad)
        assert own_process() is None


def test_hello_is_all_until_it_is_answered():
    bench = Bench()
    bench.submit()
    hello = bench.open()
    assert (hello.magic, hello.version, hello.role.kind) == (b"ARGN", (1, 1), wire.Role.CLIENT)
    assert (hello.peer, hello.connection, hello.session, hello.name) == (7, 1, None, "bench")
    (submit,) = bench.take(wire.Submit)
    assert submit == (0, 4, 3, False, False, 2**64 - 1, 2**64 - 1, 2**64 - 1, "noop")


def test_a_result_comes_once_and_is_acknowledged():
    bench = Bench()
    bench.open()
    bench.submit()
    bench.complete(0, b"5")
    result = bench.results[0]
    assert (result.ending, result.content, result.payload) == (Ending.COMPLETED, 1, b"5")
    bench.pass_time(5 * MS)
    assert bench.take(wire.AckOutcomes)[-1] == (1, [])
    # A duplicate has no second result, and is acknowledged all the same.
    bench.complete(0, b"6")
    bench.pass_time(5 * MS)
    assert bench.take(wire.AckOutcomes)[-1] == (1, [])
    assert bench.results[0].payload == b"5"
    # The results of a worker that is known by now are read on a shorter way.
    for seq, payload in ((1, b""), (2, b"77")):
        bench.submit()
        bench.complete(seq, payload)
        result = bench.results[seq]
        assert (result.seq, result.ending, result.payload) == (seq, Ending.COMPLETED, payload)


def runs(*names, more=0):
    """The status of a manager whose workers run these names."""
    manager = wire.ManagerStatus(*([0, 0, False, 0, (0,) * 8] + [0] * 22))
    manager = manager._replace(capacity=len(names))
    groups = [wire.GroupStatus(1, list(names), more)] if names else []
    return wire.Status(manager, [], [], groups, False)


def test_what_nobody_runs_is_asked_once_and_told():
    bench = Bench()
    bench.open()
    bench.submit()
    bench.wait(690 * MS)
    assert bench.take(wire.StatusQuery) == []
    bench.wait(20 * MS)
    assert len(bench.take(wire.StatusQuery)) == 1
    bench.say(runs("other"))
    assert bench.session.nobody == [("noop", True)]
    assert bench.answers == [], "nobody else asked"
    bench.submit()
    bench.wait(5 * SECOND)
    assert bench.take(wire.StatusQuery) == [] and len(bench.session.nobody) == 1


@pytest.mark.parametrize("patterns", [("noop",), ("*",), ("a", "no*")])
def test_what_somebody_runs_is_not_told(patterns):
    bench = Bench()
    bench.open()
    bench.submit()
    bench.wait(SECOND)
    bench.say(runs(*patterns))
    assert bench.session.nobody == []


def test_nobody_is_told_of_workers_that_are_not_all_listed():
    bench = Bench()
    bench.open()
    bench.submit()
    bench.wait(SECOND)
    bench.say(runs("other", more=1))
    assert bench.session.nobody == []


def test_without_workers_that_is_what_is_told():
    bench = Bench()
    bench.submit()
    bench.refuse_for(3 * SECOND)
    bench.open()
    bench.reject(0, Reason.NO_WORKERS, SECOND)
    bench.say(runs())
    assert bench.session.nobody == [("noop", False)]


def test_what_has_an_end_is_not_asked_about():
    bench = Bench()
    bench.open()
    bench.submit()
    bench.wait(500 * MS)
    bench.complete(0)
    bench.submit()
    bench.wait(5 * SECOND)
    assert bench.take(wire.StatusQuery) == []


def test_acknowledgements_are_batched_under_a_floor():
    bench = Bench()
    bench.open()
    for _ in range(10):
        bench.submit()
    for seq in (0, 1, 2, 5, 7):
        bench.complete(seq)
    bench.pass_time(5 * MS)
    assert bench.take(wire.AckOutcomes)[-1] == (3, [5, 7])
    bench.complete(3)
    bench.complete(4)
    bench.pass_time(5 * MS)
    assert bench.take(wire.AckOutcomes)[-1] == (6, [])


def test_messages_may_come_in_any_portions():
    for portion in range(1, 60):
        bench = Bench()
        bench.open()
        for _ in range(3):
            bench.submit()
        done = wire.Choice(Ending.COMPLETED, wire.Completion(wire.LastAttempt(1, 2, "w"), 0))
        for seq in range(3):
            bench.say(wire.Outcome(seq, done), 0, b"result", portion)
        assert [bench.results[seq].payload for seq in range(3)] == [b"result"] * 3


def test_a_long_message_is_put_together_once():
    bench = Bench()
    bench.open()
    bench.submit()
    done = wire.Choice(Ending.COMPLETED, wire.Completion(wire.LastAttempt(1, 2, "w"), 0))
    data = wire.encode(wire.Outcome(0, done), 0, b"x" * 100_000)
    for at in range(0, 90_000, 1_000):
        bench.session.receive(bench.connection[0], bench.now, data[at : at + 1_000])
    assert max(map(len, bench.session._chunks)) <= 1_000
    bench.session.receive(bench.connection[0], bench.now, data[90_000:])
    bench.settle()
    assert bench.results[0].payload == b"x" * 100_000


def test_a_cut_is_resumed():
    bench = Bench()
    bench.open(epoch=9)
    for _ in range(4):
        bench.submit()
    bench.complete(1)
    bench.take(wire.Submit)
    bench.cut()
    assert bench.connection, "it dials at once"
    hello = bench.open(epoch=9, resumed=True)
    assert (hello.connection, hello.session) == (2, 9)
    assert bench.take(wire.Resume) == [([0, 2, 3],)]
    # The acknowledgement may have been lost with the connection: the floor is said again.
    assert bench.take(wire.AckOutcomes)[0].floor == 0
    assert not bench.take(wire.Submit)
    # What never started is submitted again as it was.
    bench.say(wire.Unknown([2]))
    (again,) = bench.take(wire.Submit)
    assert (again.seq, again.may_have_run) == (2, False)
    # An outcome of before the cut that comes again is a duplicate.
    bench.complete(1)
    for seq in (0, 2, 3):
        bench.complete(seq)
    assert sorted(bench.results) == [0, 1, 2, 3]
    bench.pass_time(5 * MS)
    assert bench.take(wire.AckOutcomes)[-1] == (4, [])


def test_resume_goes_in_parts():
    bench = Bench()
    bench.open()
    for _ in range(12):
        for _ in range(500):
            bench.session.submit(bench.now, _task())
        bench.settle()
        bench.answer_pings()
    assert bench.session.window.total == 6_000
    bench.cut()
    bench.open(resumed=True)
    parts = bench.take(wire.Resume)
    assert [len(part.seqs) for part in parts] == [4_096, 1_904]


def test_a_new_life_is_told_what_may_have_run():
    bench = Bench()
    bench.open(epoch=9)
    bench.submit()
    rejected = bench.submit()
    bench.reject(rejected, Reason.QUEUE_FULL, 60 * SECOND)
    bench.take(wire.Submit)
    bench.cut()
    waiting = bench.submit()
    bench.open(epoch=10)
    sent = bench.take(wire.Submit)
    assert [(each.seq, each.may_have_run) for each in sent] == [(0, True), (1, False), (2, False)]
    assert not bench.take(wire.Resume)
    assert waiting == 2


def test_resumed_holds_only_for_the_epoch_that_was_named():
    bench = Bench()
    bench.open(epoch=9)
    bench.submit()
    bench.take(wire.Submit)
    bench.cut()
    bench.open(epoch=10, resumed=True)
    (again,) = bench.take(wire.Submit)
    assert again.may_have_run and not bench.take(wire.Resume)


def test_what_may_have_run_is_never_rejected():
    bench = Bench()
    bench.open(epoch=9)
    bench.submit(retries=0)
    bench.cut()
    bench.open(epoch=10)
    for _ in range(20):
        assert bench.take(wire.Submit)[-1].may_have_run
        bench.reject(0, Reason.QUEUE_FULL)
        assert 0 not in bench.results
        bench.wait(6 * SECOND)
    bench.take(wire.Submit)
    bench.reject(0, Reason.NO_RUNNER)
    assert bench.results[0].ending is Ending.LOST


def test_the_rejection_itself_can_say_that_it_may_have_run():
    bench = Bench()
    bench.open()
    bench.submit(retries=0)
    bench.take(wire.Submit)
    bench.reject(0, Reason.QUEUE_FULL, may=True)
    bench.wait(SECOND)
    assert bench.take(wire.Submit)[0].may_have_run
    bench.say(wire.Outcome(0, wire.Choice(Ending.EXPIRED, False)))
    assert bench.results[0][1:3] == (Ending.EXPIRED, True)


def test_rejected_tasks_are_tried_ten_times_with_longer_delays():
    bench = Bench()
    bench.open()
    bench.submit()
    for tries in range(10):
        bench.take(wire.Submit)
        bench.reject(0, Reason.QUEUE_FULL, after=100 * MS)
        start = bench.now
        bench.wait(99 * MS)
        assert not bench.take(wire.Submit), "sooner than the manager said"
        while not any(isinstance(sent[0], wire.Submit) for sent in bench.sent):
            bench.wait(MS)
            assert bench.now - start <= 100 * MS + min(5 * SECOND, 25 * MS << tries) + 2 * MS
    bench.take(wire.Submit)
    bench.reject(0, Reason.QUEUE_FULL)
    assert bench.results[0].ending is Ending.REJECTED
    assert bench.results[0].value == (Reason.QUEUE_FULL, 10, [])


def test_final_rejections_are_final():
    bench = Bench()
    bench.open()
    bench.submit()
    bench.say(wire.Reject(0, Reason.NO_RUNNER, 0, False, ["noop2"]))
    assert bench.results[0].value == (Reason.NO_RUNNER, 0, ["noop2"])


def test_cancel():
    bench = Bench(in_flight=1)
    bench.open()
    bench.submit()
    waiting = bench.submit()
    bench.session.cancel(bench.now, waiting)
    bench.settle()
    assert bench.results[waiting][1:3] == (Ending.CANCELLED, False)
    bench.session.cancel(bench.now, 0)
    bench.session.cancel(bench.now, 0)
    bench.settle()
    assert bench.take(wire.Cancel) == [(0,)]
    assert 0 not in bench.results, "the manager decides"
    bench.complete(0)
    assert bench.results[0].ending is Ending.COMPLETED


def test_a_cancel_is_remembered_while_cut_off():
    bench = Bench()
    bench.open(epoch=9)
    for _ in range(2):
        bench.submit()
    bench.cut()
    bench.session.cancel(bench.now, 0)
    bench.session.cancel(bench.now, 1)
    bench.open(epoch=9, resumed=True)
    assert bench.take(wire.Cancel) == [(0,), (1,)]
    bench.say(wire.Unknown([1]))
    assert bench.results[1][1:3] == (Ending.CANCELLED, False)
    bench.cut()
    bench.take(wire.Submit)
    bench.open(epoch=10)
    assert seqs(bench.take(wire.Submit)) == [0] and bench.take(wire.Cancel) == [(0,)]
    bench.reject(0, Reason.QUEUE_FULL)
    assert bench.results[0][1:3] == (Ending.CANCELLED, True)


def test_deadlines_travel_as_what_is_left():
    bench = Bench()
    bench.submit(deadline=10 * SECOND, time_limit=3, max_wait=4)
    assert bench.connection
    bench.now += SECOND
    bench.open()
    (submit,) = bench.take(wire.Submit)
    assert (submit.deadline, submit.time_limit, submit.max_wait) == (9 * SECOND, 3, 4)


def test_deadlines_hold_while_cut_off():
    bench = Bench()
    bench.open(epoch=9)
    bench.submit(deadline=3 * SECOND)
    bench.now += SECOND
    bench.cut()
    waiting = bench.submit(deadline=SECOND)
    bench.refuse_for(SECOND - 1)
    assert waiting not in bench.results
    bench.refuse_for(1)
    assert bench.results[waiting][1:3] == (Ending.EXPIRED, False)
    # The one that had been sent has a lease more: the manager may have ended it in time.
    bench.refuse_for(SECOND + LEASE - 1)
    assert 0 not in bench.results
    bench.refuse_for(1)
    assert bench.results[0][1:3] == (Ending.EXPIRED, True)
    # The manager is told that nobody waits for it any more, and its outcome acknowledged.
    bench.open(epoch=9, resumed=True)
    assert bench.take(wire.Cancel) == [(0,)]
    assert not bench.take(wire.Resume)
    bench.complete(0)
    bench.pass_time(5 * MS)
    assert bench.take(wire.AckOutcomes)[-1] == (2, [])


def test_a_deadline_that_passes_before_the_manager_has_room():
    bench = Bench(in_flight=1)
    bench.open()
    bench.submit()
    late = bench.submit(deadline=50 * MS)
    bench.pass_time(50 * MS)
    assert bench.results[late][1:3] == (Ending.EXPIRED, False)


def test_four_pings_a_lease():
    bench = Bench()
    bench.open()
    bench.submit()
    bench.complete(0)
    bench.take(wire.Ping)
    bench.wait(LEASE)
    # `wait` answers them, so the connection lives.
    assert bench.pings[-4:] == [1] * 4 and bench.connection


def test_silence_ends_the_connection_after_a_lease():
    bench = Bench()
    bench.open()
    bench.pass_time(LEASE - 1)
    assert bench.session.link.is_up
    bench.pass_time(1)
    assert not bench.session.link.is_up and len(bench.dials) == 2


def test_bytes_of_a_message_that_is_still_arriving_count_as_hearing():
    bench = Bench()
    bench.open()
    bench.submit()
    done = wire.Choice(Ending.COMPLETED, wire.Completion(wire.LastAttempt(1, 2, "w"), 0))
    data = wire.encode(wire.Outcome(0, done), 0, b"x" * 100)
    for at in range(0, len(data), 10):
        bench.session.receive(bench.connection[0], bench.now, data[at : at + 10])
        bench.pass_time(LEASE - 1)
    assert bench.results[0].payload == b"x" * 100
    assert len(bench.dials) == 1


def test_a_manager_that_answers_but_takes_nothing_in_is_gone():
    bench = Bench()
    bench.open()
    bench.submit()
    for _ in range(6):
        bench.pass_time(LEASE // 4)
        for ping in bench.take(wire.Ping):
            if bench.connection:
                bench.say(wire.Pong(ping.nonce, 0))
    assert len(bench.dials) == 2


def test_a_manager_that_reads_later_lives():
    bench = Bench()
    bench.open()
    bench.submit()
    for _ in range(12):
        bench.pass_time(LEASE // 4)
        bench.say(wire.Paused())
    assert len(bench.dials) == 1
    assert bench.take(wire.Ping)[-1].received == 0, "it is not counted"


def test_a_manager_that_took_in_more_than_was_sent_lies():
    bench = Bench()
    bench.open()
    bench.submit()
    bench.pass_time(LEASE // 4)
    (ping,) = bench.take(wire.Ping)
    bench.say(wire.Pong(ping.nonce, 3))
    assert len(bench.dials) == 2


def test_who_did_not_run_does_not_judge():
    bench = Bench()
    bench.open()
    bench.now += 60 * SECOND  # the process was stopped
    bench.settle()
    assert bench.session.link.is_up
    (ping,) = bench.take(wire.Ping)
    bench.say(wire.Pong(ping.nonce, 0))
    bench.wait(2 * LEASE)
    assert len(bench.dials) == 1


def test_the_handshake_has_a_time():
    bench = Bench()
    bench.settle()
    bench.session.connected(bench.connection[0], bench.now)
    bench.pass_time(1_500 * MS - 1)
    assert len(bench.dials) == 1
    bench.pass_time(1 + 60 * MS)
    assert len(bench.dials) == 2


def test_reconnecting_for_ever_with_longer_delays_up_to_a_second():
    bench = Bench(seed=3)
    bench.open()
    bench.wait(2 * SECOND)
    bench.cut()
    assert bench.dials[-1][0] == bench.now, "the first time at once"
    bench.refuse_for(60 * SECOND)
    times = [when for when, _ in bench.dials[1:]]
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert max(gaps) <= SECOND and max(gaps) > SECOND // 2
    assert all(gap <= min(SECOND, 25 * MS << tries + 1) for tries, gap in enumerate(gaps))
    assert len(gaps) < 300


def test_after_a_good_connection_the_first_dial_is_at_once():
    bench = Bench()
    bench.refuse_for(10 * SECOND)
    bench.open()
    bench.wait(2 * SECOND)
    bench.cut()
    assert bench.dials[-1][0] == bench.now


def test_a_manager_that_hangs_up_again_and_again_is_not_dialled_in_a_loop():
    bench = Bench()
    start = bench.now
    for _ in range(30):
        bench.open()
        bench.cut()
        if bench.connection is None:
            bench.pass_time(SECOND)
    assert bench.now - start > 5 * SECOND


def test_several_addresses_are_tried_in_turn():
    bench = Bench(addresses=3)
    bench.settle()
    bench.refuse_for(0)
    assert [address for _, address in bench.dials[:3]] == [0, 1, 2]
    assert bench.dials[2][0] == bench.dials[0][0], "a whole round at once"
    bench.open(epoch=5)
    here = bench.dials[-1][1]
    bench.wait(2 * SECOND)
    bench.cut()
    assert bench.dials[-1][1] == here, "the one that knows the session first"


def test_no_workers_here():
    bench = Bench(addresses=2)
    bench.open(epoch=9)
    bench.submit()
    bench.submit()
    bench.take(wire.Submit)
    bench.reject(0, Reason.NO_WORKERS, 50 * MS)
    # Answers that are on their way still count.
    bench.pass_time(19 * MS)
    bench.complete(1)
    later = bench.submit()
    bench.reject(0, Reason.NO_WORKERS, 50 * MS)
    assert bench.session.link.is_up
    bench.reject(later, Reason.NO_WORKERS, 50 * MS)
    bench.pass_time(20 * MS)
    acks, goodbye = bench.take(wire.AckOutcomes), bench.take(wire.Goodbye)
    assert acks and goodbye
    assert bench.dials[-1] == (bench.now, 1)
    hello = bench.open(epoch=10)
    assert hello.session is None
    again = bench.take(wire.Submit)
    assert sorted((each.seq, each.may_have_run) for each in again) == [(0, False), (later, False)]


def test_moving_on_no_more_than_once_a_second():
    bench = Bench(addresses=2)
    bench.submit(retries=None)
    for epoch in range(1, 7):
        bench.open(epoch=epoch)
        while not bench.take(wire.Submit):
            bench.wait(MS)
        bench.reject(0, Reason.NO_WORKERS, 0)
        address = bench.dials[-1][1]
        while bench.dials[-1][1] == address:
            bench.wait(MS)
    times = [when for when, _ in bench.dials]
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert gaps[:2] == [20 * MS, 20 * MS] or max(gaps[:2]) < 60 * MS
    assert min(gaps[2:]) >= SECOND - 40 * MS


def test_the_window_begins_with_dozens_and_doubles_while_nothing_is_refused():
    bench = Bench()
    bench.open()
    for _ in range(1_000):
        bench.session.submit(bench.now, _task())
    bench.settle()
    counts = [len(bench.take(wire.Submit))]
    while sum(counts) < 1_000:
        bench.answer_pings()
        counts.append(len(bench.take(wire.Submit)))
    assert counts == [64, 64, 128, 256, 488]


def test_a_rejection_says_how_much_room_there_is():
    bench = Bench()
    bench.open()
    for _ in range(200):
        bench.session.submit(bench.now, _task())
    bench.settle()
    sent = seqs(bench.take(wire.Submit))
    for seq in sent[10:]:
        bench.reject(seq, Reason.QUEUE_FULL, SECOND)
    assert int(bench.session.window.size) == 10
    assert not bench.take(wire.Submit)
    # As outcomes come, others go, and now and then one more.
    for seq in sent[:10]:
        bench.complete(seq)
    assert 10 <= len(bench.take(wire.Submit)) <= 11


def test_the_window_widens_slowly_with_outcomes():
    bench = Bench()
    bench.open()
    for _ in range(300):
        bench.session.submit(bench.now, _task())
    bench.settle()
    sent = seqs(bench.take(wire.Submit))
    for seq in sent[10:]:
        bench.reject(seq, Reason.QUEUE_FULL, SECOND)
    waiting = sent[:10]
    for _ in range(50):
        bench.complete(waiting.pop(0))
        waiting += seqs(bench.take(wire.Submit))
    assert 13 <= len(waiting) <= 15


def test_with_nothing_there_nothing_is_sent_for_a_while():
    bench = Bench()
    bench.open()
    bench.submit()
    bench.take(wire.Submit)
    bench.reject(0, Reason.QUEUE_FULL, 100 * MS)
    bench.submit()
    bench.wait(99 * MS)
    assert not bench.take(wire.Submit)
    bench.wait(26 * MS)
    assert seqs(bench.take(wire.Submit)) == [1], "another one, and alone"


def test_with_nothing_there_another_task_tries_next():
    bench = Bench()
    for _ in range(3):
        bench.submit()
    bench.open()
    sent = seqs(bench.take(wire.Submit))
    tried = []
    for seq in sent:
        bench.reject(seq, Reason.QUEUE_FULL, 10 * MS)
    for _ in range(9):
        while not (sent := seqs(bench.take(wire.Submit))):
            bench.wait(MS)
        assert len(sent) == 1, "one tries the ground"
        tried += sent
        bench.reject(sent[0], Reason.QUEUE_FULL, 10 * MS)
    assert all(tried.count(seq) >= 2 for seq in range(3)), tried


def test_more_important_tasks_go_first_and_do_not_wait_for_lesser_ones():
    bench = Bench(in_flight=2)
    bench.open()
    low = [bench.submit(priority=6) for _ in range(3)]
    assert seqs(bench.take(wire.Submit)) == low[:2]
    high = bench.submit(priority=2)
    assert seqs(bench.take(wire.Submit)) == [high]
    bench.complete(low[0])
    assert not bench.take(wire.Submit)
    bench.complete(low[1])
    assert seqs(bench.take(wire.Submit)) == [low[2]]


def test_payloads_above_the_managers_limit_end_as_rejected():
    bench = Bench()
    bench.submit()
    bench.open(payload_max=2)
    assert bench.results[0].value.reason is Reason.TOO_LARGE


def test_a_backlog_holds_tasks_back_but_not_pings():
    from argon._session import BACKLOG_MAX

    bench = Bench()
    bench.open()
    bench.session.submit(bench.now, _task())
    bench.now += LEASE // 4
    bench.session.settle(bench.now, BACKLOG_MAX)
    assert bench.session.wants_more
    (sent,) = frames(bench.session.take_bytes())
    assert isinstance(sent[0], wire.Ping)
    bench.settle()
    assert bench.take(wire.Submit) and not bench.session.wants_more


def test_questions_are_asked_again_after_a_cut():
    bench = Bench()
    question = bench.session.ask(wire.StatusQuery(0))
    bench.open()
    assert bench.take(wire.StatusQuery) == [(0,)]
    bench.cut()
    bench.open(resumed=True)
    assert bench.take(wire.StatusQuery) == [(0,)]
    status = wire.Status(wire.ManagerStatus(*([0, 0, False, 0, (0,) * 8] + [0] * 22)), [], [], [], False)
    bench.say(status)
    assert [(answer.question, answer.message) for answer in bench.answers] == [(question, status)]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\x04\0\0\0",
        wire.encode(wire.Grant(1)),
        wire.encode(wire.Welcome(wire.VERSION, 1, False, LEASE, 1)),
        wire.encode(wire.Outcome(0, wire.Choice(Ending.REJECTED, wire.Rejection(Reason.DRAINING, 0, [])))),
        wire.encode(wire.Running([], False)),
    ],
)
def test_nonsense_ends_the_connection_and_no_task(data):
    bench = Bench()
    bench.open()
    bench.submit()
    bench.session.receive(bench.connection[0], bench.now, data)
    bench.settle()
    assert len(bench.dials) == 2 and not bench.results
    bench.open(resumed=True)
    bench.complete(0)
    assert bench.results[0].ending is Ending.COMPLETED


def test_a_refusal_says_why():
    bench = Bench()
    bench.settle()
    bench.session.connected(bench.connection[0], bench.now)
    bench.settle()
    bench.take(wire.Hello)
    bench.say(wire.Refuse(wire.Choice(wire.RefuseReason.VERSION, wire.Version(2, 0))))
    assert "version 2.0" in bench.session.link.problem and bench.session.link.fatal


def test_leaving():
    bench = Bench()
    bench.open()
    bench.submit()
    bench.cut()
    bench.submit()
    bench.open(resumed=True)
    bench.session.stop(bench.now)
    data = bench.session.take_bytes()
    assert wire.encode(wire.Goodbye()) in data
    bench.collect()
    assert [bench.results[seq][1:3] for seq in (0, 1)] == [(Ending.CANCELLED, True)] * 2
    assert bench.session.next_timeout() is None


def test_alarms_of_ended_tasks_do_not_pile_up():
    bench = Bench()
    bench.open()
    for _ in range(5_000):
        bench.complete(bench.submit(deadline=3_600 * SECOND))
    assert len(bench.session._alarms) < 200


def _task(**options):
    from argon._session import Task, Terms

    return [Task(Terms(b"noop", 1, **options), b"[1]")]


def test_unknown_is_believed_once_and_only_of_what_was_asked_about():
    bench = Bench()
    bench.open()
    bench.submit()
    bench.take(wire.Submit)
    bench.say(wire.Unknown([0]))
    assert not bench.session.link.is_up, "it was just sent"
    bench.pass_time(SECOND)
    bench.open(resumed=True)
    assert bench.take(wire.Resume) == [([0],)]
    bench.say(wire.Unknown([0]))
    assert seqs(bench.take(wire.Submit)) == [0]
    bench.say(wire.Unknown([0]))
    assert not bench.session.link.is_up


def test_no_manager_ends_a_task_that_none_was_sent():
    bench = Bench()
    bench.open()
    bench.session.submit(bench.now, [Task(Terms(b"noop", 1), b"[1]")])
    bench.complete(0, b"666")
    assert not bench.session.link.is_up and not bench.results


@pytest.mark.parametrize(
    ("said", "kept"),
    [(0, 20 * MS), (2**64 - 2, 3_600 * SECOND), (2**64 - 1, 2 * SECOND), (SECOND, SECOND)],
)
def test_leases_are_kept_within_reason(said, kept):
    bench = Bench()
    bench.open(lease=said, payload_max=2**32 - 1)
    assert bench.session.link.lease == kept
    assert bench.session.link.payload_max == 1 << 30


def test_managers_that_are_restarted_for_ever_end_what_may_run_only_once():
    bench = Bench()
    bench.open(epoch=1)
    bench.submit(at_most_once=True)
    bench.submit()
    for epoch in range(2, 40):
        bench.wait(SECOND * 3 // 2)
        bench.cut()
        bench.pass_time(SECOND)
        bench.open(epoch=epoch)
        if bench.results:
            break
    assert 15 < epoch < 25
    assert {seq: result.ending for seq, result in bench.results.items()} == {0: Ending.LOST}
