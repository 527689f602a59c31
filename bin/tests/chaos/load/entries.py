"""The task of the chaos test, for the Python runtime; `../load.rs` says what it writes."""

import os
import time


def append(path, *fields):
    """One line at once, after whatever others append."""
    line = "\t".join(str(field) for field in fields) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def entry(task, span_ms, asked):
    started = time.time_ns()
    run = f"{os.environ['CHAOS_WORKER']}/{os.getpid()}/{started}"
    ledger = os.environ["CHAOS_LEDGER"]
    append(ledger, "start", task, started, run)
    time.sleep(span_ms / 1000)
    append(ledger, "end", task, time.time_ns(), run)
    if asked == "error":
        raise RuntimeError("as asked")
    return run
