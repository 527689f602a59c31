"""First steps: examples/first.py HOST:PORT [FUNCTION OF ANOTHER LANGUAGE ...]

    argon manager --port 8000
    argon worker --manager localhost:8000 --allow-eval -- python3 -m argon.pool
"""

import operator
import sys
import time

import argon


def unlucky(number):
    raise ValueError(f"no luck with {number}")


with argon.Client(sys.argv[1]) as client:
    print(client.call(operator.add, 4, 7))
    # A lambda, or a function of this file, travels as code: workers allow that with --allow-eval.
    future = client.submit(lambda x, y: x + y, 4, 7)
    while not future.done():
        time.sleep(0.01)
    print(future.result())

    # What is raised there is raised here, as it was.
    try:
        client.call(unlucky, 7)
    except ValueError as error:
        print(error)

    # Functions of other languages go by their names.
    for name in sys.argv[2:]:
        print(client.call(name, 4, 7))

# Existing code changes one line.
with argon.Executor(sys.argv[1]) as executor:
    print(*executor.map(operator.mul, [4, 5], [7, 7]))
