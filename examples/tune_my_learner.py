"""Measure a learner of your own on tables of yours; then it is recommended and tuned by its name, like the others."""

from pathlib import Path

import pandas as pd
from my_learner import Neighbours
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

import metahp

metahp.register_learner(Neighbours)

# Once; the same call again measures only what is new.
tables = [load(as_frame=True).frame for load in (load_iris, load_wine, load_breast_cancer)]
metahp.refresh(tables, "neighbours", target="target", configurations=8)

frame = pd.read_csv(Path(__file__).with_name("digits.csv")).sample(300, random_state=0)
recommendation = metahp.recommend(frame, target="digit", learners="neighbours", k=3)
print("try first:", *(dict(item.configuration) for item in recommendation.items))

result = metahp.tune(frame, target="digit", learners="neighbours", trials=6)
print(result.trials_frame()[["learner", "origin", "score", "configuration"]].round(3))
print(f"\nbest: {result.best_learner_} with {result.best_params_}, {result.best_score_:.3f} {result.metric.name}")
