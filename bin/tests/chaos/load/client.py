"""A client that submits without end; `../load.rs` says by which rules and what it writes."""

import os
import sys
import threading
import time

import argon
from entries import append, entry

SPANS = [5, 20, 60, 150, 300, 20, 60, 1200]
ASKED = {5: "error", 7: "deadline", 11: "cancel"}


def outcome_of(future):
    """The outcome in one word, and the run or the reason."""
    try:
        return "completed", future.result()
    except argon.Rejected as error:
        return "rejected", error
    except argon.Expired as error:
        return "expired" if error.may_have_run else "expired-unrun", error
    except argon.Cancelled as error:
        return "cancelled" if error.may_have_run else "cancelled-unrun", error
    except argon.Lost as error:
        return "lost", error
    except argon.Failed as error:
        return "crashed" if error.kind == argon.Kind.CRASHED else "other", error
    except RuntimeError as error:
        return "raised" if str(error) == "as asked" else "other", error
    except BaseException as error:
        return "other", repr(error)


def main(manager, name, record, stop, in_flight):
    room = threading.Semaphore(int(in_flight))

    def submit(client, number):
        task, once, asked = f"{name}-{number}", number % 4 < 2, ASKED.get(number % 16, "result")
        append(record, "submitted", task, time.time_ns(), "once" if once else "again", asked)
        future = client.submit(
            entry,
            task,
            SPANS[number % 8],
            asked,
            at_most_once=once,
            deadline=1.5 if asked == "deadline" else None,
        )

        def ended(future):
            word, run = outcome_of(future)
            text = str(run).replace("\t", " ").replace("\n", " ")
            append(record, "outcome", task, time.time_ns(), word, text)
            room.release()

        future.add_done_callback(ended)
        if asked == "cancel":
            time.sleep(0.01)
            future.request_cancel()

    with argon.Client(manager, name=name, connect_timeout=None) as client:
        number = 0
        while not os.path.exists(stop):
            if room.acquire(timeout=0.1):
                submit(client, number)
                number += 1
        for _ in range(int(in_flight)):
            room.acquire()
    append(record, "finished")


main(*sys.argv[1:])
