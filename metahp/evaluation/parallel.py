"""Many trials at once through joblib: workers evaluate, the caller receives trials as they finish."""

import atexit
import functools
from collections.abc import Iterable, Iterator

from joblib import Parallel, delayed

from metahp.core.trial import Trial
from metahp.evaluation.runner import Job, Runner


def run_jobs(jobs: Iterable[Job], *, n_jobs: int) -> Iterator[Trial]:
    """Trials of `jobs` in the order in which they finish, `n_jobs` at a time.

    Each joblib worker keeps one watched process (`metahp.evaluation.runner`); with `n_jobs=1` no pool is started.
    """
    if n_jobs == 1:
        with Runner() as runner:
            for job in jobs:
                yield runner.run(job)
        return
    # The default pre-dispatch (two jobs per worker) keeps workers busy and still lets an interrupt end the run soon.
    yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)(
        delayed(_run_here)(job) for job in jobs
    )


@functools.cache
def _runner() -> Runner:
    runner = Runner()
    atexit.register(runner.close)
    return runner


def _run_here(job: Job) -> Trial:
    return _runner().run(job)
