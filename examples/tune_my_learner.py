"""Tune a learner of your own, by its name, as those that metahp ships."""

from pathlib import Path

import pandas as pd
from my_learner import Neighbours

import metahp

metahp.register_learner(Neighbours)

frame = pd.read_csv(Path(__file__).with_name("digits.csv")).sample(300, random_state=0)
result = metahp.tune(frame, target="digit", learners="neighbours", trials=6)
print(result.trials_frame()[["learner", "origin", "score", "configuration"]].round(3))
print(f"\nbest: {result.best_learner_} with {result.best_params_}, {result.best_score_:.3f} {result.metric.name}")
