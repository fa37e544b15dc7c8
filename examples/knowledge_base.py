"""Grow, query and merge knowledge bases: what one of a team has measured makes the next search shorter."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

import metahp

digits = pd.read_csv(Path(__file__).with_name("digits.csv"))

with TemporaryDirectory() as folder:
    # `tune` records every finished trial. A `KnowledgeBase` that is given is used as it is, without the shipped seed.
    mine, theirs = metahp.KnowledgeBase(Path(folder) / "mine"), metahp.KnowledgeBase(Path(folder) / "theirs")
    for base, rows in ((mine, digits.iloc[:200]), (theirs, digits.iloc[200:400])):
        metahp.tune(
            rows, target="digit", learners="extra_trees", trials=4, cold=True, strategy="random", knowledge_base=base
        )

    # Query: tasks and trials are values. Losses are lower-is-better, whatever the metric.
    for trial in mine.trials(learner="extra_trees"):
        print(f"{trial.state} ({trial.origin}): log loss {trial.loss('neg_log_loss'):.3f}")
    best = min(mine.trials(), key=lambda trial: trial.loss("neg_log_loss"))
    print("the best one:", best.configuration.values)

    # Merge: a union of sets, so that doing it twice changes nothing.
    mine.record(theirs.trials(), theirs.tasks())
    mine.record(theirs.trials(), theirs.tasks())
    new = mine.ingest()  # from the journal into the file; it happens by itself, too
    totals = mine.info()
    print(f"\nmerged: {new} trials were new; now {totals['n_trials']} trials on {totals['n_tasks']} tasks")
    for record in mine.tasks():
        count = len(mine.trials(task=record.task.id))
        print(f"  task {record.task.id}: {record.task.type}, {record.task.n_rows} rows, {count} trials")
