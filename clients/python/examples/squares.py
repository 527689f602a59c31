"""Squares 1,000 numbers on the cluster: examples/squares.py HOST:PORT

    argon manager --port 8000
    argon worker --manager localhost:8000 -- python3 -m argon.pool
"""

import operator
import sys

import argon

with argon.Executor(sys.argv[1]) as executor:
    for square in executor.map(operator.mul, range(1000), range(1000)):
        print(square)
