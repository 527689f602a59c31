"""Functions that the tests run on workers: those find this module on their path."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import argon


class Odd(Exception):
    """An exception of a module that both sides have."""

    def __init__(self, number, why):
        super().__init__(number, why)
        self.number = number


class Picky(Exception):
    """One that cannot be made from its args."""

    def __init__(self, first, second):
        super().__init__("picky")


class Holder:
    """A class with something to call."""

    class Inner(ValueError):
        pass

    @staticmethod
    def double(value):
        return 2 * value


def square(value):
    return value * value


def add(left, right=0, *, scale=1):
    return (left + right) * scale


def slow_add(left, right):
    time.sleep(0.003)
    return left + right


def echo(*args, **kwargs):
    return [list(args), kwargs]


def nothing():
    pass


def reverse(data):
    assert isinstance(data, bytes)
    return data[::-1]


def odd(number):
    raise Odd(number, "is odd")


def picky():
    raise Picky(1, 2)


def inner():
    raise Holder.Inner("deep")


def key():
    raise KeyError("missing")


def missing_file():
    open("/nowhere/at/all")


def leave():
    sys.exit(3)


def chained():
    try:
        key()
    except KeyError as error:
        raise ValueError("outer") from error


def not_json():
    return {1: 2}


async def later(value):
    await asyncio.sleep(0)
    return value + 1


async def odd_later(number):
    await asyncio.sleep(0)
    odd(number)


def noisy(value):
    print("on standard output", value)
    sys.__stdout__.write("on the other standard output\n")
    os.write(1, b"on descriptor 1\n")
    subprocess.run(["echo", "from a child"], check=True)
    return [value, sys.stdin.read()]


def loud_failure(text):
    print(text)
    odd(3)


def same(value):
    return value


def fails_with_tuple():
    raise ValueError((1, 2))


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(path, then="done"):
    """Ends when there is a file of that name; tells that it has begun by another."""
    with open(path + ".begun", "a"):
        pass
    while not os.path.exists(path):
        time.sleep(0.005)
    return then


def for_ever():
    while True:
        time.sleep(1)


def undecodable():
    return b"a\xff.txt".decode("utf-8", "surrogateescape")


def submits_and_dies(address):
    """Leaves tasks behind that nobody waits for any more."""
    client = argon.Client(address)
    client.submit("python:remote_tasks:wait_for", "/no/such/gate")
    while client.status().manager.accepted < 2:
        pass
    os.kill(os.getpid(), signal.SIGKILL)
