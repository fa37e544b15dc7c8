"""Losses of past tasks as matrices of tasks by candidates; every curve checkpoint is a candidate."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.regret import is_flat
from metahp.core.space import SearchSpace
from metahp.core.task import Task, make_task_from_dict
from metahp.core.trial import Origin
from metahp.surrogate.evidence import Evidence

# Of the candidates that are not shared (a search found them), the best of each task are kept: at most the first number
# per task, and fewer if the total would exceed the second number.
OWN_CANDIDATES, MOST_OWN_CANDIDATES = 20, 2000
# The square of a much larger number overflows a float: a larger loss counts as infinite.
LARGEST = 1e100
# Bits of a loss's mantissa that a file keeps: a relative error of 3e-5, far below the noise of any trial.
KEPT_BITS, _MANTISSA_BITS, _INFINITY_BITS = 14, 23, 0x7F800000


@dataclass(frozen=True, eq=False, kw_only=True)
class Measurements:
    """Losses of past tasks of one kind for all metrics; `evidence` extracts one metric and some learners.

    Attributes:
        spaces, tasks, metafeatures, candidates, origins, is_final, fit_seconds: As in `Evidence`.
        constants: By metric; each as in `Evidence`.
        losses: By metric; each as in `Evidence`.
        folds: By metric, the losses on each fold of each learner's best configuration and default, shape
            (t, learners, 2, folds), learners in the order of `spaces`; NaN where missing.
    """

    spaces: Mapping[str, SearchSpace]
    tasks: tuple[Task, ...]
    metafeatures: np.ndarray
    constants: Mapping[str, np.ndarray]
    candidates: tuple[Configuration, ...]
    origins: tuple[Origin, ...]
    is_final: np.ndarray
    losses: Mapping[str, np.ndarray]
    fit_seconds: np.ndarray
    folds: Mapping[str, np.ndarray]

    def evidence(self, metric: str, learners: Sequence[str]) -> Evidence:
        """The evidence for one metric and the candidates of some learners.

        A task is left out if it has no complete trial of the default of any of them, or no usable loss of a constant
        prediction.
        """
        spaces = {name: self.spaces[name] for name in sorted(learners)}
        columns = np.array([j for j, each in enumerate(self.candidates) if each.learner in spaces], dtype=int)
        place = {
            (self.candidates[column].id, bool(self.is_final[column])): index for index, column in enumerate(columns)
        }
        keys = {learner: (space.default.id, True) for learner, space in spaces.items()}
        defaults = {learner: place[key] for learner, key in keys.items() if key in place}
        losses, constants = self.losses[metric][:, columns], self.constants[metric]
        defaults = {learner: column for learner, column in defaults.items() if not np.isnan(losses[:, column]).all()}
        is_usable = (constants >= 1 / LARGEST) & (constants <= LARGEST)
        rows = np.flatnonzero(np.isfinite(losses[:, list(defaults.values())]).any(axis=1) & is_usable)
        chosen = np.array([place for place, name in enumerate(self.spaces) if name in spaces], dtype=int)
        folds = self.folds[metric][np.ix_(rows, chosen)]
        return Evidence(
            metric=metric,
            spaces=spaces,
            tasks=tuple(self.tasks[i] for i in rows),
            metafeatures=self.metafeatures[rows],
            constants=constants[rows],
            candidates=tuple(self.candidates[j] for j in columns),
            origins=tuple(self.origins[j] for j in columns),
            is_final=self.is_final[columns],
            losses=losses[rows],
            fit_seconds=self.fit_seconds[np.ix_(rows, columns)],
            defaults=defaults,
            flat=np.array(
                [_is_flat(best, default) for best, default in zip(folds[:, :, 0], folds[:, :, 1], strict=True)],
                dtype=bool,
            ),
        )

    def with_learners(self, spaces: Mapping[str, SearchSpace]) -> "Measurements":
        """The same measurements, with unmeasured learners of `spaces` added after the measured ones."""
        missing = {name: space for name, space in spaces.items() if name not in self.spaces}
        padding = [(0, 0), (0, len(missing)), (0, 0), (0, 0)]
        return replace(
            self,
            spaces={**self.spaces, **missing},
            folds={metric: np.pad(values, padding, constant_values=np.nan) for metric, values in self.folds.items()},
        )

    def drop_tasks(self, ids: frozenset[str]) -> "Measurements":
        """The measurements without the tasks with these ids; all candidates stay."""
        rows = np.array([i for i, task in enumerate(self.tasks) if task.id not in ids], dtype=int)
        return replace(
            self,
            tasks=tuple(self.tasks[i] for i in rows),
            metafeatures=self.metafeatures[rows],
            constants={metric: values[rows] for metric, values in self.constants.items()},
            losses={metric: values[rows] for metric, values in self.losses.items()},
            fit_seconds=self.fit_seconds[rows],
            folds={metric: values[rows] for metric, values in self.folds.items()},
        )

    def join(self, others: "Measurements") -> "Measurements":
        """The tasks and candidates of both; cells of a candidate that only one of them has are NaN in the other.

        Of the candidates that only `others` has, the defaults and the best few of each task are kept.
        """
        others = others.keep_best_candidates(frozenset(_make_keys(self)), len(self.tasks) + len(others.tasks))
        place: dict[tuple[str, bool], int] = {}
        for column, key in enumerate(_make_keys(self)):
            place.setdefault(key, column)
        n_own = len(self.candidates)
        added: list[int] = []
        target: list[int] = []
        for column, key in enumerate(_make_keys(others)):
            if key not in place:
                place[key] = n_own + len(added)
                added.append(column)
            target.append(place[key])

        def stack(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
            values = np.full((len(ours) + len(theirs), n_own + len(added)), np.nan)
            values[: len(ours), :n_own] = ours
            values[len(ours) :, target] = theirs
            return values

        return replace(
            self,
            tasks=self.tasks + others.tasks,
            metafeatures=np.vstack([self.metafeatures, others.metafeatures]),
            constants={
                metric: np.concatenate([values, others.constants[metric]]) for metric, values in self.constants.items()
            },
            candidates=self.candidates + tuple(others.candidates[j] for j in added),
            origins=self.origins + tuple(others.origins[j] for j in added),
            is_final=np.concatenate([self.is_final, others.is_final[added]]),
            losses={metric: stack(values, others.losses[metric]) for metric, values in self.losses.items()},
            fit_seconds=stack(self.fit_seconds, others.fit_seconds),
            folds={
                metric: _stack_folds(values, others.folds[metric], [list(others.spaces).index(n) for n in self.spaces])
                for metric, values in self.folds.items()
            },
        )

    def keep_best_candidates(self, known: frozenset[tuple[str, bool]], n_tasks: int) -> "Measurements":
        """The measurements of the `known` candidates, the defaults, and the best few other candidates of each task.

        The number per task is that of `choose_best_candidates` for `n_tasks` tasks.
        """
        defaults = {space.default.id for space in self.spaces.values()}
        kept = np.array([key in known or key[0] in defaults for key in _make_keys(self)], dtype=bool)
        for values in self.losses.values():
            kept |= choose_best_candidates(np.where(kept | ~self.is_final, np.nan, values), n_tasks)
        index = np.flatnonzero(kept)
        return replace(
            self,
            candidates=tuple(self.candidates[j] for j in index),
            origins=tuple(self.origins[j] for j in index),
            is_final=self.is_final[index],
            losses={metric: values[:, index] for metric, values in self.losses.items()},
            fit_seconds=self.fit_seconds[:, index],
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All fields as plain arrays, losses with four digits; `from_arrays` reads them."""
        about = {
            "spaces": {name: space.fingerprint for name, space in self.spaces.items()},
            "tasks": [{**asdict(task), "type": str(task.type)} for task in self.tasks],
            "candidates": [[each.learner, each.stored] for each in self.candidates],
            "origins": [str(origin) for origin in self.origins],
            "metrics": list(self.losses),
        }
        with np.errstate(over="ignore"):
            return {
                "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
                "is_final": self.is_final,
                "metafeatures": self.metafeatures,
                **_pack("fit_seconds", self.fit_seconds),
                **{
                    name: array
                    for metric, values in self.losses.items()
                    for name, array in _pack(f"losses/{metric}", values).items()
                },
                **{f"constants/{metric}": values for metric, values in self.constants.items()},
                **{f"folds/{metric}": values.astype(np.float32) for metric, values in self.folds.items()},
            }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], spaces: Mapping[str, SearchSpace]) -> "Measurements":
        """The measurements that `to_arrays` wrote, for learners of `spaces` with an unchanged search space.

        Raises:
            KeyError, ValueError: an array is missing, or its shape does not fit the others.
        """
        about = json.loads(arrays["about"].tobytes())
        same = {
            name: spaces[name]
            for name, fingerprint in about["spaces"].items()
            if name in spaces and spaces[name].fingerprint == fingerprint
        }
        t, c = len(about["tasks"]), len(about["candidates"])
        shapes = {"is_final": (c,), **{f"constants/{metric}": (t,) for metric in about["metrics"]}}
        wrong = [name for name, shape in shapes.items() if arrays[name].shape != shape]
        wrong += [name for name in _list_packed(about["metrics"]) if tuple(arrays[f"{name}/shape"]) != (t, c)]
        if wrong or len(arrays["metafeatures"]) != t or len(about["origins"]) != c:
            raise ValueError(f"its arrays are not of {t} tasks and {c} candidates")
        columns = np.array([j for j, (learner, _) in enumerate(about["candidates"]) if learner in same], dtype=int)
        learners = [place for place, name in enumerate(about["spaces"]) if name in same]
        return cls(
            spaces=same,
            tasks=tuple(map(make_task_from_dict, about["tasks"])),
            metafeatures=arrays["metafeatures"],
            constants={metric: arrays[f"constants/{metric}"] for metric in about["metrics"]},
            candidates=tuple(Configuration.of(*about["candidates"][j]) for j in columns),
            origins=tuple(Origin(about["origins"][j]) for j in columns),
            is_final=arrays["is_final"][columns],
            losses={metric: _unpack(arrays, f"losses/{metric}")[:, columns] for metric in about["metrics"]},
            fit_seconds=_unpack(arrays, "fit_seconds")[:, columns],
            folds={metric: arrays[f"folds/{metric}"][:, learners].astype(float) for metric in about["metrics"]},
        )


def _make_keys(measurements: Measurements) -> list[tuple[str, bool]]:
    """Keys of the candidates: id and whether final, as a checkpoint and a trial may have the same configuration."""
    candidates, is_final = measurements.candidates, measurements.is_final.tolist()
    return [(each.id, final) for each, final in zip(candidates, is_final, strict=True)]


def _list_packed(metrics: Sequence[str]) -> list[str]:
    """Names of the matrices that `_pack` makes."""
    return ["fit_seconds", *(f"losses/{metric}" for metric in metrics)]


def _pack(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of a matrix that compress well: which cells are known, and their values byte by byte.

    Values are rounded to `KEPT_BITS` of their mantissa.
    """
    known = ~np.isnan(values)
    dropped = np.uint32(_MANTISSA_BITS - KEPT_BITS)
    bits = values[known].astype(np.float32).view(np.uint32)
    half = np.uint32(1) << (dropped - np.uint32(1))
    rounded = np.where(bits >= _INFINITY_BITS, bits, (bits + half) >> dropped << dropped)
    planes = np.ascontiguousarray(rounded.astype("<u4").view(np.uint8).reshape(-1, 4).T)
    shape = np.array(values.shape, dtype=np.int64)
    return {f"{name}/shape": shape, f"{name}/known": np.packbits(known), f"{name}/bytes": planes}


def _unpack(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """The matrix that `_pack` wrote, shape (t, c)."""
    shape = tuple(map(int, arrays[f"{name}/shape"]))
    known = np.unpackbits(arrays[f"{name}/known"], count=shape[0] * shape[1]).astype(bool)
    values = np.full(shape[0] * shape[1], np.nan)
    values[known] = np.ascontiguousarray(arrays[f"{name}/bytes"].T).view("<f4")[:, 0]
    return values.reshape(shape)


def choose_best_candidates(losses: np.ndarray, n_tasks: int) -> np.ndarray:
    """Whether each candidate (c,) is among the best of any task by `losses` (t, c); `n_tasks` limits the number."""
    kept = np.zeros(losses.shape[1], dtype=bool)
    n_own = min(OWN_CANDIDATES, max(1, MOST_OWN_CANDIDATES // max(n_tasks, 1)))
    for values in np.where(np.isnan(losses), np.inf, losses):
        best = np.argsort(values, kind="stable")[:n_own]
        kept[best[np.isfinite(values[best])]] = True
    return kept


def _stack_folds(ours: np.ndarray, theirs: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The folds of two sets of tasks; `order` has the index in `theirs` of each of our learners."""
    n_folds = max(ours.shape[3], theirs.shape[3])
    padded = [
        np.pad(values, [(0, 0)] * 3 + [(0, n_folds - values.shape[3])], constant_values=np.nan)
        for values in (ours, theirs[:, list(order)])
    ]
    return np.concatenate(padded)


def _is_flat(best: np.ndarray, default: np.ndarray) -> bool:
    """Whether the best default is as good as the best configuration, from losses of shape (learners, folds)."""
    pair = []
    for folds in (best, default):
        known = [values[~np.isnan(values)] for values in folds if not np.isnan(values).all()]
        if not known:
            return False
        pair.append(min(known, key=lambda values: float(values.mean())))
    # A user's own objective may have skipped folds; then only the means can be compared.
    return is_flat(*(pair if len(pair[0]) == len(pair[1]) else (each.mean(keepdims=True) for each in pair)))
