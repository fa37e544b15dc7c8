"""Published evaluations of configurations on many tasks, as look-up tables: `NAME.parquet` in a folder.

Columns: `task_id`, `score` (greater is better) and one `hp_*` for each hyperparameter, missing where it is inactive;
`hp_learner` where there are several learners. `NAME_metafeatures.parquet`, if there is one: `task_id` and `mf_*`.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import LOOKUPS, make_parser
from metahp import Categorical, Configuration, Float, Integer, MetahpError, SearchSpace, Task, TaskType
from metahp.core.configuration import Value
from metahp.core.space import Condition, Hyperparameter
from metahp.core.trial import Origin
from metahp.surrogate.evidence import Evidence

SUITES = ("hylap_svm", "hylap_adaboost", "pmlb_sklearn", "openml_adaboost", "openml_random_forest", "quantile_xgboost")
# A positive range that spans more than this factor is searched on a logarithmic axis.
LOG_SPAN = 50.0
LEARNER = "learner"


@dataclass(frozen=True, eq=False)
class Suite:
    """A look-up table: per task its configurations and their losses (minus the score).

    `metafeatures` has shape (t, m), NaN where unknown; None where the suite has none.
    """

    name: str
    spaces: tuple[SearchSpace, ...]
    tasks: tuple[str, ...]
    configurations: tuple[tuple[Configuration, ...], ...]
    losses: tuple[np.ndarray, ...]
    metafeatures: np.ndarray | None

    def evidence(self) -> Evidence:
        """All tasks as past tasks; leave some out with `rows`."""
        distinct = dict.fromkeys(configuration for own in self.configurations for configuration in own)
        column = {configuration: index for index, configuration in enumerate(distinct)}
        losses = np.full((len(self.tasks), len(column)), np.nan)
        for row, (own, values) in enumerate(zip(self.configurations, self.losses, strict=True)):
            losses[row, [column[configuration] for configuration in own]] = values
        return Evidence(
            metric="score",
            spaces={space.learner: space for space in self.spaces},
            # The tables behind the evaluations are not part of a suite, and nothing of them but the name is known.
            tasks=tuple(
                Task(id=name, type=TaskType.MULTICLASS, n_rows=0, n_features=0, n_classes=2, name=name)
                for name in self.tasks
            ),
            metafeatures=np.zeros((len(self.tasks), 0)) if self.metafeatures is None else self.metafeatures,
            constants=np.ones(len(self.tasks)),
            candidates=tuple(column),
            origins=(Origin.PUBLISHED,) * len(column),
            is_final=np.ones(len(column), dtype=bool),
            losses=losses,
            fit_seconds=np.zeros_like(losses),
            defaults={},
        )


def make_suite_parser(description: str | None, *, folds: int, seeds: int) -> argparse.ArgumentParser:
    """A parser with the options of benchmarks on look-up suites."""
    options = make_parser(description, data=LOOKUPS)
    options.add_argument("--suite", action="append", metavar="NAME", help="repeatable; default: all of the folder")
    options.add_argument("--folds", type=int, default=folds, help="over the tasks; 0 leaves each task out alone")
    options.add_argument("--seeds", type=int, default=seeds, help="split seeds")
    options.add_argument("--jobs", type=int, default=2)
    return options


def read_suites(arguments: argparse.Namespace, n_quick: int) -> Iterator[tuple[Suite, list[int]]]:
    """The suites asked for, with the places of the tasks asked for, at most `n_quick` in a quick run.

    Without names they are the known suites of the folder, or, where it has none of them, its other tables.

    Raises:
        MetahpError: there is no such suite, or no such task in any of them.
    """
    known = [name for name in SUITES if (arguments.data / f"{name}.parquet").exists()] or _stems(arguments.data)
    names = arguments.suite or (known[:1] if arguments.quick else known)
    if not names:
        raise MetahpError(f"{arguments.data} has no look-up table, a NAME.parquet.")
    n_found = 0
    for name in names:
        suite = load_suite(name, arguments.data)
        places = [i for i, task in enumerate(suite.tasks) if arguments.tasks is None or task in arguments.tasks]
        if places:
            n_found += 1
            yield suite, places[:n_quick] if arguments.quick else places
    if not n_found:
        raise MetahpError(f"No task of {', '.join(names)} has one of these names.")


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.parquet") if not path.stem.endswith("_metafeatures"))


def load_suite(name: str, folder: Path) -> Suite:
    """The suite `name` of `folder`; tasks whose best equals their worst are left out.

    Raises:
        MetahpError: no such file, or a gap in a hyperparameter that no other one explains.
    """
    path = folder / f"{name}.parquet"
    if not path.exists():
        raise MetahpError(f"{path} does not exist. In that folder: {', '.join(_stems(folder)) or 'nothing'}.")
    table = pd.read_parquet(path).rename(columns=lambda column: column.removeprefix("hp_"))
    table["task_id"] = table["task_id"].astype(str)
    names = [str(column) for column in table if column not in ("task_id", "score", LEARNER)]
    columns = {column: _values(table[column]) for column in names}
    learners = table[LEARNER].astype(str) if LEARNER in table else pd.Series(name, index=table.index)
    spaces = tuple(
        _space(learner, {column: values[learners == learner] for column, values in columns.items()})
        for learner in sorted(learners.unique())
    )
    active = {space.learner: space.names for space in spaces}
    made: dict[tuple[Value, ...], Configuration] = {}
    configurations = []
    for key in zip(learners, *columns.values(), strict=True):
        if key not in made:
            values = dict(zip(names, key[1:], strict=True))
            made[key] = Configuration.of(key[0], {n: values[n] for n in active[key[0]] if values[n] is not None})
        configurations.append(made[key])
    table["place"] = np.arange(len(table))
    tasks = {
        str(task): rows["place"].to_numpy()
        for task, rows in table.groupby("task_id", sort=True)
        if rows["score"].max() > rows["score"].min()
    }
    losses = -table["score"].to_numpy(dtype=float)
    return Suite(
        name,
        spaces,
        tuple(tasks),
        tuple(tuple(configurations[i] for i in places) for places in tasks.values()),
        tuple(losses[places] for places in tasks.values()),
        _metafeatures(folder / f"{name}_metafeatures.parquet", list(tasks)),
    )


def _metafeatures(path: Path, tasks: Sequence[str]) -> np.ndarray | None:
    if not path.exists():
        return None
    table = pd.read_parquet(path)
    table.index = table.pop("task_id").astype(str)
    return table.reindex(list(tasks)).to_numpy(dtype=float)


def _values(column: pd.Series) -> pd.Series:
    """Plain Python values, None where missing; whole numbers as int, numbers written as text as numbers."""
    numbers = pd.to_numeric(column.astype(object), errors="coerce")
    if not numbers.isna().equals(column.isna()):
        return pd.Series([None if pd.isna(each) else str(each) for each in column], index=column.index, dtype=object)
    is_whole = (numbers.dropna() % 1 == 0).all()
    values = [None if pd.isna(each) else int(each) if is_whole else float(each) for each in numbers]
    return pd.Series(values, index=column.index, dtype=object)


def _space(learner: str, columns: dict[str, pd.Series]) -> SearchSpace:
    """The axes that vary, those without gaps first, so that parents come before their children."""
    varying = {name: values for name, values in columns.items() if values.nunique() > 1}
    complete = [name for name, values in varying.items() if values.notna().all()]
    axes = [_axis(name, varying[name], None) for name in complete]
    for name, values in varying.items():
        if name not in complete:
            axes.append(_axis(name, values.dropna(), _condition(name, values, {n: varying[n] for n in complete})))
    return SearchSpace(learner, 1, tuple(axes))


def _condition(name: str, values: pd.Series, parents: dict[str, pd.Series]) -> Condition:
    for parent, own in parents.items():
        active = set(own[values.notna()])
        if active.isdisjoint(own[values.isna()]):
            return parent, tuple(sorted(active))
    raise MetahpError(f"'{name}' is missing in some rows, and no other hyperparameter says in which.")


def _axis(name: str, values: pd.Series, only_if: Condition | None) -> Hyperparameter:
    """An axis over the values met, with their middle as its default: libraries' own defaults are not known here."""
    met = sorted(set(values))
    middle = met[len(met) // 2]
    if isinstance(met[0], str) or met == [0, 1]:
        return Categorical(name, tuple(met), middle, only_if)
    make = Integer if isinstance(met[0], int) else Float
    return make(name, met[0], met[-1], middle, is_log=met[0] > 0 and met[-1] / met[0] > LOG_SPAN, only_if=only_if)
