"""From normalised loss back to what a user understands: expected loss and training seconds of a candidate."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import lightgbm
import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.task import Task
from metahp.surrogate.encoding import Evidence

# A loss is compared with that of a constant prediction; below this share of it, differences are those of a solved
# task and a logarithm would only blow up their noise.
SMALLEST_RELATIVE_LOSS = 1e-3

# A few hundred past tasks carry few splits: shallow, strongly averaged trees.
_LEVEL = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 6,
    "min_data_in_leaf": 8,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
}
_LEVEL_ROUNDS = 150


@dataclass(frozen=True, eq=False)
class Forecast:
    """Predicts the loss of candidates relative to a constant prediction, and their seconds of training.

    `levels` holds for each learner a model of log(default loss / constant loss) given the meta-features; `ratios` the
    log of each candidate's loss over its learner's default loss on the past tasks, shape (t, c); `seconds` the
    coefficients of log seconds for (1, log rows, log features, log classes), and one offset per candidate. `units` has
    for each learner log(default loss / best loss) on the past tasks, shape (t,): what a unit of normalised loss is
    worth there; `defaults` the columns of the library defaults, `most_rows` the largest number of rows of a past task.
    """

    levels: Mapping[str, lightgbm.Booster]
    ratios: np.ndarray
    seconds: np.ndarray
    offsets: np.ndarray
    units: Mapping[str, np.ndarray]
    defaults: Mapping[str, int]
    most_rows: int

    @classmethod
    def fit(cls, past: Evidence, baselines: np.ndarray, worlds: np.ndarray, *, seed: int) -> "Forecast":
        """Fit on past tasks whose constant predictions have the losses `baselines`, shape (t,).

        `worlds` (t, c) are the normalised losses without a gap: they stand in where a trial is missing or failed.
        """
        ratios = np.zeros_like(past.losses)
        levels = {}
        for learner, column in past.defaults.items():
            own = np.array([candidate.learner == learner for candidate in past.candidates])
            default = relative(past.losses[:, column], baselines)
            default[~np.isfinite(default)] = np.nan
            ratios[:, own] = relative(past.losses[:, own], baselines[:, None]) - default[:, None]
            known = ~np.isnan(default)
            data = lightgbm.Dataset(past.metafeatures[known], default[known], free_raw_data=True)
            levels[learner] = lightgbm.train({**_LEVEL, "seed": seed}, data, num_boost_round=_LEVEL_ROUNDS)
        ratios = np.where(np.isfinite(ratios), ratios, np.nan)
        units = {}
        for learner in past.defaults:
            own = np.array([candidate.learner == learner for candidate in past.candidates])
            best = np.fmin.reduce(ratios[:, own], axis=1, initial=0.0)
            units[learner] = -best
            ratios[:, own] = np.where(np.isnan(ratios[:, own]), best[:, None] * (1 - worlds[:, own]), ratios[:, own])
        size = _size([(task.n_rows, task.n_features, task.n_classes) for task in past.tasks])
        log_seconds = np.log(np.maximum(past.fit_seconds, 1e-4))
        known = ~np.isnan(log_seconds)
        offsets = np.nanmean(log_seconds, axis=0)
        rows, columns = np.nonzero(known)
        coefficients, *_ = np.linalg.lstsq(size[rows], log_seconds[rows, columns] - offsets[columns], rcond=None)
        return cls(levels, ratios, coefficients, offsets, units, past.defaults, max(task.n_rows for task in past.tasks))

    def relative_loss(
        self, candidates: Mapping[int, Configuration], metafeatures: np.ndarray, weights: np.ndarray, shift: np.ndarray
    ) -> dict[int, tuple[float, float]]:
        """Log relative loss of candidates and of their learner's default, by column.

        `metafeatures` has shape (m,), `weights` are those of the past tasks, shape (t,), and `shift`, shape (c,), is
        how far the surrogate moves the scenarios, in normalised loss: one unit is the distance from a learner's best
        to its default.

        Of the past ratios it takes the weighted median: their mean is ruled by the few tasks on which a candidate
        failed badly, so that the very candidate chosen for its clipped regret was often expected to do worse than
        the default. On left-out tasks the median errs less, too.
        """
        level = {
            name: float(np.asarray(model.predict(metafeatures[None, :], num_threads=1))[0])
            for name, model in self.levels.items()
        }
        expected = {}
        for column, candidate in candidates.items():
            unit = float(weights @ self.units[candidate.learner])
            moved = unit * (shift[column] - shift[self.defaults[candidate.learner]])
            ratio = weighted_median(self.ratios[:, column], weights) + moved
            expected[column] = (level[candidate.learner] + ratio, level[candidate.learner])
        return expected

    def fit_seconds(self, task: Task, column: int) -> float:
        """Seconds to train a candidate once on all rows of `task`, on one core; linear in rows beyond those seen."""
        seen = min(task.n_rows, self.most_rows)
        size = _size([(seen, task.n_features, task.n_classes)])[0]
        # Past trials summed three fits on two thirds of the rows: together, two fits on all rows.
        return float(np.exp(size @ self.seconds + self.offsets[column]) / 2 * task.n_rows / seen)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays."""
        texts = json.dumps({name: model.model_to_string() for name, model in self.levels.items()})
        return {
            "levels": np.frombuffer(texts.encode(), dtype=np.uint8),
            "ratios": self.ratios.astype(np.float16),
            "seconds": self.seconds,
            "offsets": self.offsets,
            "units": np.array(list(self.units.values())),
            "defaults": np.frombuffer(json.dumps(dict(self.defaults)).encode(), dtype=np.uint8),
            "most_rows": np.array(self.most_rows),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Forecast":
        """The forecast that `to_arrays` wrote."""
        texts = json.loads(arrays["levels"].tobytes())
        defaults = json.loads(arrays["defaults"].tobytes())
        return cls(
            {name: lightgbm.Booster(model_str=text) for name, text in texts.items()},
            arrays["ratios"].astype(float),
            arrays["seconds"],
            arrays["offsets"],
            dict(zip(defaults, arrays["units"], strict=True)),
            defaults,
            int(arrays["most_rows"]),
        )


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The smallest of `values`, shape (t,), at or below which at least half of the weight lies."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(reached, reached[-1] / 2)]])


def relative(losses: np.ndarray, baselines: np.ndarray) -> np.ndarray:
    """Log of losses over those of a constant prediction, floored; NaN and infinity stay."""
    return np.log(np.maximum(losses / baselines, SMALLEST_RELATIVE_LOSS))


def _size(shapes: list[tuple[int, int, int]]) -> np.ndarray:
    return np.array([[1.0, np.log(n), np.log(d), np.log(max(k, 1))] for n, d, k in shapes])
