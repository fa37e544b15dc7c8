"""Predict with a result directory, in another program or on another day."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

import metahp

frame = pd.read_csv(Path(__file__).with_name("digits.csv"))
rows = frame.sample(600, random_state=0)
known, new = rows[:400], rows[400:]

with TemporaryDirectory() as folder:
    directory = Path(folder) / "digits.metahp"
    metahp.tune(known, target="digit", learners="linear", trials=4, output=directory)
    print("written:", *sorted(path.name for path in directory.iterdir() if path.is_file()))

    # From here on only the directory is needed.
    model = metahp.load_result(directory)
    print(f"\n{model.best_params_}\nreached {model.best_score_:.3f} {model.metric.name} in cross-validation")
    print("predicted:", *model.predict(new)[:10])
    print("true:     ", *new["digit"].iloc[:10])
    print("probability of the predicted class:", *model.predict_proba(new).max(axis=1)[:5].round(2))
    print(f"{model.metric.name} on {len(new)} new rows: {model.score(new):.3f}")
