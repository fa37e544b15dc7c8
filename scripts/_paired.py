"""Regret by task in a file, so that two versions of metahp can be compared on the same folds, paired by task."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True)
class Regrets:
    """Regret of advice for left-out tasks.

    `regret` has shape (n, k); `metric`, `task` and `n_rows` (n,) say of what, `seed` (n,) in which split into folds,
    and `fold` (n,) with which other tasks it was left out. `ks` (k,) are the numbers of configurations.
    """

    learners: str
    ks: np.ndarray
    metric: np.ndarray
    task: np.ndarray
    n_rows: np.ndarray
    seed: np.ndarray
    fold: np.ndarray
    regret: np.ndarray

    def save(self, path: Path) -> None:
        """Write everything as plain arrays."""
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "Regrets":
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{**arrays, "learners": str(arrays["learners"])})

    def below(self, older: "Regrets") -> tuple[np.ndarray, int]:
        """How much lower the regret is than an older one, shape (t, k), and how often a task's fold was another.

        Only what both have counts, over any number of tasks; a task's splits are averaged.
        """
        place = {key: index for index, key in enumerate(older._keys())}
        both = [(i, place[key]) for i, key in enumerate(self._keys()) if key in place]
        here, there = np.array(both, dtype=int).reshape(-1, 2).T
        below = older.regret[there] - self.regret[here]
        names = np.array([f"{self.metric[i]} {self.task[i]} {self.n_rows[i]}" for i in here])
        means = np.array([below[names == name].mean(axis=0) for name in np.unique(names)])
        return means.reshape(-1, len(self.ks)), int((self.fold[here] != older.fold[there]).sum())

    def _keys(self) -> list[tuple]:
        return list(zip(*(each.tolist() for each in (self.metric, self.task, self.n_rows, self.seed)), strict=True))
