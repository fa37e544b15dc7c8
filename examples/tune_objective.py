"""Tune anything that gives a score: a function and the search space of its values."""

import metahp
from metahp import Categorical, Float, SearchSpace

# The name of the space is how past tasks are found again. A changed space gets a higher version.
space = SearchSpace(
    "my_service",
    1,
    (
        Float("rate", 1e-4, 1.0, 0.01, is_log=True),
        Categorical("mode", ("fast", "safe"), "fast"),
    ),
)


def quality(values):
    """Greater is better; an exception would be a failed trial, not the end."""
    return 1.0 - abs(values["rate"] - 0.05) - 0.1 * (values["mode"] == "fast")


for day, load in (("monday", 0.7), ("tuesday", 0.8)):
    # Numbers that describe the task (`metafeatures`) let like tasks find each other.
    result = metahp.tune_objective(quality, space, metafeatures={"load": load}, name=day, trials=15)
    origins = result.trials_frame()["origin"].value_counts().to_dict()
    print(f"{day}: {result.best_score_:.4f} with {result.best_params_}")
    print(f"  past tasks: {result.n_past_tasks}; where the trials came from: {origins}")
