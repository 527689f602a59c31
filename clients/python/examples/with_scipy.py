"""SciPy integrates and minimises on the cluster: examples/with_scipy.py HOST:PORT

    argon manager --port 8000
    argon worker --manager localhost:8000 --allow-eval -- python3 -m argon.pool

The workers' Python has SciPy, too. Whatever takes `workers=` takes the `map` of an executor.
"""

import sys

import numpy
from scipy.integrate import quad_vec
from scipy.optimize import differential_evolution, rosen

import argon


def waves(x):
    return numpy.sin(numpy.arange(1, 4) * x)


with argon.Executor(sys.argv[1]) as executor:
    integral, _ = quad_vec(waves, 0, numpy.pi, workers=executor.map)
    print("integral:", " ".join(f"{abs(part):.6f}" for part in integral))
    found = differential_evolution(
        rosen, [(0, 2)] * 3, workers=executor.map, updating="deferred", popsize=8, maxiter=60, rng=1
    )
    print("minimum at:", " ".join(f"{part:.3f}" for part in found.x))
