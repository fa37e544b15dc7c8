"""Tune on a table: start from past tasks, refine by trials, and keep the model."""

from pathlib import Path
from tempfile import TemporaryDirectory

import metahp

TABLE = Path(__file__).with_name("digits.csv")

with TemporaryDirectory() as folder:
    result = metahp.tune(
        TABLE,
        target="digit",
        learners="extra_trees",
        trials=8,
        timeout=60,
        cv=3,
        max_rows=400,  # trials on a sample, so that this example ends in seconds; leave it out in earnest
        test_size=0.2,
        output=Path(folder) / "digits.metahp",
    )
    print(f"best of {len(result.trials)} trials: {result.best_score_:.3f} {result.metric.name} (cross-validated)")
    print(f"library default: {result.default_score_:.3f}")
    print(f"on {result.n_test_rows} rows that took no part: {result.test_score_:.3f}")

    print("\nThe trials, and where each configuration came from:")
    print(result.trials_frame()[["state", "origin", "score", "fit_seconds"]].round(3))

    print("\nWhat the warm start was worth:")
    for name, value in (result.warm_start() or {}).items():
        print(f"  {name}: {value}")

    # The same call again measures nothing anew: trials of this task under the same folds count.
    again = metahp.tune(TABLE, target="digit", learners="extra_trees", trials=8, cv=3, max_rows=400, test_size=0.2)
    print(f"\nThe same call again: {again.n_earlier} of {len(again.trials)} trials were there already.")
