"""The most frequent words of many files: examples/wordcount.py HOST:PORT FILE ...

Workers need the files under the same paths, and this file on their path:

    argon manager --port 8000
    PYTHONPATH=examples argon worker --manager localhost:8000 -- python3 -m argon.pool wordcount

Each task counts some files, and its result is small however large they are. A file that cannot be
read is told of and costs nothing but itself.
"""

import collections
import re
import sys


def count(paths):
    """Runs on a worker: the counts of words in some files, and what was wrong with others."""
    counts, problems = collections.Counter(), []
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    counts.update(re.findall(r"[^\W\d_]+", line.lower()))
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    return [counts, problems]


def main(address, paths):
    """Runs here."""
    import argon

    total = collections.Counter()
    parts = [paths[at : at + 16] for at in range(0, len(paths), 16)]
    with argon.Client(address, time_limit=60) as client:
        # By name: as a function of this script it would have to be shipped.
        for counts, problems in client.map("python:wordcount:count", parts, ordered=False):
            total.update(counts)
            for problem in problems:
                print(problem, file=sys.stderr)
    for word, times in sorted(total.items(), key=lambda each: (-each[1], each[0]))[:20]:
        print(f"{times:8} {word}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
