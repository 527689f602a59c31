"""Real managers and workers for the tests; without ARGON_BIN those tests are skipped, and say so."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import argon

HERE = Path(__file__).parent
PATIENCE = 60.0
# Whoever runs the tests may have keys of a real cluster.
os.environ.pop("ARGON_KEY", None)


def pytest_report_header():
    return f"argon: {os.environ.get('ARGON_BIN') or 'ARGON_BIN is not set: no tests against it'}"


@pytest.fixture(autouse=True)
def patience():
    """A test that would hang fails, and says where it hangs."""

    def enough(number, frame):
        faulthandler.dump_traceback(all_threads=True)
        pytest.fail(f"it took more than {2 * PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, enough)
    signal.alarm(int(2 * PATIENCE))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def until(what, condition):
    """Asks until it is so; time is only the limit of patience."""
    end = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"waited in vain for: {what}"
        time.sleep(0.01)


class Cluster:
    """Managers and workers of one test."""

    def __init__(self, program, log):
        self.program = program
        self.log = log
        self.processes = []
        self.address = None
        self.read = 0

    def start(self, *arguments, **environment):
        env = {key: value for key, value in os.environ.items() if not key.startswith("ARGON_")}
        env["PYTHONPATH"] = os.pathsep.join([str(HERE.parent / "src"), str(HERE)])
        env.update(environment)
        process = subprocess.Popen(
            [self.program, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=env,
            text=True,
        )
        self.processes.append(process)
        return process

    def manager(self, *arguments, port=0):
        process = self.start("manager", "--port", port, *arguments)
        line = process.stdout.readline()
        assert "listening on" in line, f"the manager said {line!r}"
        process.address = line.split()[-1]
        self.address = process.address
        return process

    def worker(self, *arguments, modules=(), workers=2, address=None):
        runtime = [sys.executable, "-m", "argon.pool", *modules]
        arguments = ["--workers", workers, *arguments, "--", *runtime]
        process = self.start("worker", "--manager", address or self.address, *arguments)
        return process

    def until_logged(self, words, times=1):
        """Waits until managers and workers have said it so often since this was called last."""

        def said():
            with open(self.log.name) as log:
                log.seek(self.read)
                text = log.read()
            return text.count(words) >= times and len(text)

        self.read += until(f"{words!r} in the log", said)

    def kill(self, process):
        process.kill()
        process.wait()

    def end(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            process.stdout.close()


@pytest.fixture(scope="module")
def program():
    given = os.environ.get("ARGON_BIN")
    if not given:
        pytest.skip("ARGON_BIN does not name an argon program to test against")
    assert os.access(given, os.X_OK), f"ARGON_BIN={given} is no program"
    return given


@pytest.fixture
def cluster(program, tmp_path):
    """A cluster with nothing in it."""
    with open(tmp_path / "stderr", "w+") as log:
        made = Cluster(program, log)
        yield made
        made.end()
        log.seek(0)
        sys.stderr.write(log.read()[-10_000:])


@pytest.fixture(scope="module")
def address(program, tmp_path_factory):
    """A manager and a worker that runs everything, for tests that break nothing."""
    with open(tmp_path_factory.mktemp("cluster") / "stderr", "w+") as log:
        made = Cluster(program, log)
        made.manager("--runner-wait", "100ms")
        made.worker("--allow-eval")
        yield made.address
        made.end()


@pytest.fixture
def client(address):
    with argon.Client(address) as made:
        yield made


def pytest_unconfigure():
    # A test that failed may leave an executor behind; nobody is to wait for it.
    argon.executor._open.clear()
