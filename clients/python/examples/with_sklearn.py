"""A grid search of scikit-learn on the cluster: examples/with_sklearn.py HOST:PORT

    argon manager --port 8000
    argon worker --manager localhost:8000 --allow-eval -- python3 -m argon.pool

The workers' Python has scikit-learn, too. What runs in parallel there is up to joblib, which takes a
backend of a few lines.
"""

import sys

import joblib
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase, SequentialBackend
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import argon


class Backend(AutoBatchingMixin, ParallelBackendBase):
    """Runs joblib's batches of calls as tasks."""

    supports_retrieve_callback = True

    def __init__(self, executor=None, **options):
        super().__init__(**options)
        self.executor = executor

    def effective_n_jobs(self, n_jobs):
        return self.executor.client.status().manager.capacity if n_jobs != 1 else 1

    def configure(self, n_jobs=1, parallel=None, **options):
        self.parallel = parallel
        return self.effective_n_jobs(n_jobs)

    def submit(self, func, callback=None):
        future = self.executor.submit(func)
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future):
        return future.result()

    def get_nested_backend(self):
        return SequentialBackend(nesting_level=(self.nesting_level or 0) + 1), None


joblib.register_parallel_backend("argon", Backend)
with argon.Executor(sys.argv[1]) as executor:
    with joblib.parallel_config("argon", executor=executor, n_jobs=-1):
        roots = joblib.Parallel()(joblib.delayed(pow)(number, 0.5) for number in range(5))
        print("roots:", [round(root, 3) for root in roots])
        search = GridSearchCV(SVC(), {"C": [0.1, 1, 10], "gamma": [0.01, 0.1, 1]}, cv=3)
        search.fit(*load_iris(return_X_y=True))
        print("best:", search.best_params_, round(search.best_score_, 3))
