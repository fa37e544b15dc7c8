"""Ask which configurations to start from on a table, and train the first of them."""

from pathlib import Path

import pandas as pd
from sklearn.model_selection import cross_val_score

import metahp

frame = pd.read_csv(Path(__file__).with_name("digits.csv"))

# Nothing is trained here but a few tiny models that describe the table: the advice comes from past tasks.
recommendation = metahp.recommend(frame, target="digit", metric="accuracy", k=3, learners=["lightgbm", "linear"])

print(recommendation.frame()[["rank", "learner", "score", "low", "high", "default_score", "origin"]].round(3))
print("\nThe first configuration:")
for name, value in recommendation.best.configuration.values.items():
    print(f"  {name} = {value}")

# An estimator is an ordinary scikit-learn one, for the columns as they are in the frame.
rows = frame.sample(600, random_state=0)
scores = cross_val_score(recommendation.estimators()[0], rows.drop(columns="digit"), rows["digit"], cv=3)
print(f"\nMeasured on 600 of the rows: {scores.mean():.3f}; expected on all of them: {recommendation.best.score:.3f}")
