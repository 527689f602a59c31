"""emcee samples a distribution on the cluster: examples/with_emcee.py HOST:PORT

    argon manager --port 8000
    argon worker --manager localhost:8000 --allow-eval -- python3 -m argon.pool

The workers' Python has emcee, too.
"""

import sys

import emcee
import numpy

import argon


def log_probability(at):
    return -0.5 * numpy.sum((at - 3.0) ** 2)


start = numpy.random.default_rng(1).normal(size=(16, 2))
with argon.Executor(sys.argv[1]) as executor:
    sampler = emcee.EnsembleSampler(16, 2, log_probability, pool=executor)
    sampler.random_state = numpy.random.RandomState(1).get_state()
    sampler.run_mcmc(start, 100)
mean = sampler.get_chain(discard=40, flat=True).mean(axis=0)
print("mean:", " ".join(f"{part:.0f}" for part in mean))
