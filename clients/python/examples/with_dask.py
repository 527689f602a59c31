"""Dask computes on the cluster: examples/with_dask.py HOST:PORT

    argon manager --port 8000
    argon worker --manager localhost:8000 --allow-eval -- python3 -m argon.pool

The workers' Python has dask and numpy, too.
"""

import sys

import dask
import dask.array
import dask.bag

import argon

with argon.Executor(sys.argv[1]) as executor, dask.config.set(pool=executor):
    numbers = dask.array.arange(1_000_000, chunks=100_000)
    print("mean of squares:", (numbers**2).mean().compute())
    words = dask.bag.from_sequence("to be or not to be".split(), npartitions=3)
    print("words:", sorted(words.frequencies().compute()))
