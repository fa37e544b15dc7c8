"""Rows of tables: checked by columns where that is enough, and each on its own where it is not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from metahp.core.configuration import Configuration
from metahp.core.trial import OBJECTIVE_SPLITS, Curve, Origin, Protocol, Trial, TrialState
from metahp.core.trial_columns import TrialColumns
from metahp.knowledge.columns import trials_to_table
from metahp.knowledge.rows import _build_trial, _is_sound, _Parsed, _read_fields, read_columns, read_trials

N = 12
NAN, INFINITE = float("nan"), float("inf")


def some_trials() -> list[Trial]:
    def trial(number: int) -> Trial:
        state = (TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)[number % 4]
        is_complete = state is TrialState.COMPLETE
        n_losses = {TrialState.COMPLETE: 3, TrialState.PRUNED: number % 3}.get(state, 0)
        losses = tuple(0.1 * k for k in range(n_losses))
        return Trial(
            task=f"t{number % 2}",
            configuration=Configuration.of("linear", {"C": float(number)}),
            protocol=Protocol(splits=OBJECTIVE_SPLITS if number == N - 1 else ""),
            n_rows=100,
            state=state,
            origin=Origin.DESIGN,
            fold_losses={"accuracy": losses, "neg_log_loss": losses} if losses else {},
            curve=Curve((5, 10), {"accuracy": (0.4, 0.2), "neg_log_loss": (7.0, NAN)})
            if is_complete
            else Curve((), {}),
            fit_seconds=1.0,
            predict_seconds=0.5,
            reason="" if is_complete else "why",
            versions={"numpy": "2"},
        )

    return [trial(number) for number in range(N)]


def changed(table: pa.Table, column: str, change: Callable[[Any], Any], row: int = 4) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = change(values[row])
    place = table.column_names.index(column)
    return table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type))


def of(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


CHANGES: list[tuple[str, str, Callable[[Any], Any], bool]] = [
    ("no task", "task", of(""), False),
    ("a task of absurd length", "task", of("x" * 70_000), False),
    ("a missing task", "task", of(None), False),
    ("no learner", "learner", of(""), False),
    ("an unknown learner", "learner", of("made up"), True),
    ("a configuration that is a list", "configuration", of("[1]"), False),
    ("a configuration that is no JSON", "configuration", of("{"), False),
    ("a nested configuration", "configuration", of('{"C": [1]}'), False),
    ("a configuration with infinity", "configuration", of('{"C": 1e999}'), False),
    ("a configuration with half a character", "configuration", of('{"C": "\\ud800"}'), False),
    ("one fold", "folds", of(1), False),
    ("more folds than losses", "folds", of(4), False),
    ("more repeats than losses", "repeats", of(2), False),
    ("no repeats", "repeats", of(0), False),
    ("repeats that overflow", "repeats", of(2**31 - 1), False),
    ("few rows", "max_rows", of(5), False),
    ("splits of an objective", "splits", of(OBJECTIVE_SPLITS), True),
    ("other splits", "splits", of("group:0af3"), True),
    ("negative rows", "n_rows", of(-1), False),
    ("no rows", "n_rows", of(0), True),
    ("an unknown state", "state", of("splendid"), False),
    ("a failure without a reason", "state", of("failed"), False),
    ("a pruned trial", "state", of("pruned"), True),
    ("an unknown origin", "origin", of("heaven"), False),
    ("no losses", "fold_losses", of([]), False),
    ("a loss below 0", "fold_losses", of([("accuracy", [0.1, -0.1, 0.1])]), False),
    ("a loss above 1", "fold_losses", of([("accuracy", [0.1, 1.1, 0.1])]), False),
    ("a loss that is rounded", "fold_losses", of([("accuracy", [-1e-12, 1 + 1e-12, NAN])]), True),
    ("a large loss", "fold_losses", of([("neg_log_loss", [9.0, 1e300, INFINITE])]), True),
    ("an infinite bounded loss", "fold_losses", of([("accuracy", [9.0, INFINITE, 0.1])]), False),
    ("a negative loss of an unknown metric", "fold_losses", of([("made up", [-9.0, 0.1, 0.1])]), True),
    ("minus infinity", "fold_losses", of([("made up", [-INFINITE, 0.1, 0.1])]), False),
    ("a metric without a name", "fold_losses", of([("", [0.1, 0.1, 0.1])]), False),
    ("too few losses", "fold_losses", of([("accuracy", [0.1, 0.1])]), False),
    ("too many losses", "fold_losses", of([("accuracy", [0.1] * 4)]), False),
    ("a missing loss", "fold_losses", of([("accuracy", [0.1, None, 0.1])]), False),
    ("missing losses", "fold_losses", of([("accuracy", None)]), False),
    ("checkpoints that do not increase", "curve_checkpoints", of([10, 10]), False),
    ("a checkpoint of 0", "curve_checkpoints", of([0, 10]), False),
    ("a missing checkpoint", "curve_checkpoints", of([None, 10]), False),
    ("more checkpoints than losses", "curve_checkpoints", of([5, 10, 15]), False),
    ("a curve below 0", "curve_losses", of([("accuracy", [0.4, -0.2])]), False),
    ("a curve above 1", "curve_losses", of([("accuracy", [1.4, 0.2])]), False),
    ("a curve of one metric", "curve_losses", of([("accuracy", [0.4, 0.2])]), True),
    ("a short curve", "curve_losses", of([("accuracy", [0.4])]), False),
    ("negative seconds", "fit_seconds", of(-1.0), False),
    ("seconds that are none", "fit_seconds", of(NAN), False),
    ("endless seconds", "predict_seconds", of(INFINITE), False),
    ("a reason of absurd length", "reason", of("ß" * 70_000), False),
    ("a negative version", "space_version", of(-1), False),
    ("versions that are a list", "versions", of("[]"), False),
    ("versions that are numbers", "versions", of('{"numpy": 2}'), False),
    ("a device of absurd length", "device", of("x" * 70_000), False),
]


@pytest.mark.parametrize(("column", "change", "is_valid"), [case[1:] for case in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_bad_row_is_told_and_the_others_stay(column: str, change: Callable[[Any], Any], is_valid: bool) -> None:
    expected = some_trials()
    trials, faults = read_trials(changed(trials_to_table(expected), column, change))
    assert [fault.position for fault in faults] == ([] if is_valid else [4])
    assert all(fault.reason and "\n" not in fault.reason for fault in faults)
    assert (trials[4] is not None) == is_valid
    assert repr(trials[:4] + trials[5:]) == repr(expected[:4] + expected[5:])


@pytest.mark.parametrize(("column", "change"), [case[1:3] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_columns_have_the_trials_that_are_read_one_by_one(column: str, change: Callable[[Any], Any], listed) -> None:
    table = changed(trials_to_table(some_trials()), column, change)
    trials, faults = read_trials(table)
    columns, faults_of_columns = read_columns(table)
    expected = TrialColumns.of(trial for trial in trials if trial is not None)
    # The ids are those of the table, which a changed row no longer has.
    ids = [key for key, trial in zip(table["id"].to_pylist(), trials, strict=True) if trial is not None]
    assert listed(columns) == listed(replace(expected, ids=np.array(ids, dtype=object)))
    assert faults_of_columns == faults


def test_what_is_checked_by_columns_a_trial_would_not_refuse() -> None:
    """The quick check passes most rows, and none on which the slow one, a `Trial`, is of another opinion."""
    table, n_sound = trials_to_table(some_trials()), 0
    for _, column, change, _ in CHANGES:
        for row in range(N):
            other = changed(table, column, change, row)
            parsed = _Parsed.of(other)
            for sound, fields in zip(_is_sound(other, parsed), _read_fields(other, parsed), strict=True):
                n_sound += bool(sound)
                if sound:
                    assert _build_trial(fields)
    assert n_sound > 0.8 * len(CHANGES) * N * N


def test_rows_of_a_slice_and_of_several_chunks_are_read_like_others(listed) -> None:
    expected = some_trials()
    table = trials_to_table(expected)
    parts = pa.concat_tables([table.slice(3, 4), table.slice(0, 3), table.slice(7)])
    trials, faults = read_trials(parts)
    assert faults == []
    assert repr(trials) == repr(expected[3:7] + expected[:3] + expected[7:])
    assert read_trials(table.slice(0, 0)) == ([], [])
    columns, faults = read_columns(parts)
    assert faults == []
    assert listed(columns) == listed(TrialColumns.of(expected))
    assert listed(read_columns(table.slice(0, 0))[0]) == []
