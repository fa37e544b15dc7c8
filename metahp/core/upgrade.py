"""Trials of older versions of their search spaces as trials of the current ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin, Trial, TrialState


def upgrade_trials(trials: Sequence[Trial], spaces: Mapping[str, SearchSpace]) -> list[tuple[Trial, Trial]]:
    """Pairs of a trial as it was recorded and as one of the current search space, where it has a place there.

    `SearchSpace.upgraded` says what becomes of its configuration; trials of learners without a space are left out too.
    Where a hyperparameter was removed, trials of one task under one protocol may become the same: the one that needed
    no upgrade is kept, else that of the library default (it had the library's value of what was removed), else a
    complete one, else the one with the lowest id, which has nothing to do with its loss.
    """
    distinct = {trial.configuration.id: trial.configuration for trial in trials}
    upgrades = {key: spaces[one.learner].upgraded(one) for key, one in distinct.items() if one.learner in spaces}
    changed = {new.learner for key, new in upgrades.items() if new is not None and new.id != key}
    # Ids are computed only where some may have become the same: there are trials by the ten thousand.
    pairs: dict[object, tuple[Trial, Trial]] = {}
    for place, trial in enumerate(trials):
        new = upgrades.get(trial.configuration.id)
        if new is None:
            continue
        pair = trial, _with_configuration(trial, new, spaces[new.learner].version)
        key = pair[1].id if new.learner in changed else place
        if key not in pairs or _rank(pair) < _rank(pairs[key]):
            pairs[key] = pair
    return list(pairs.values())


def _with_configuration(trial: Trial, configuration: Configuration, version: int) -> Trial:
    if configuration.id == trial.configuration.id:
        return trial
    return replace(trial, configuration=configuration, space_version=version)


def _rank(pair: tuple[Trial, Trial]) -> tuple[bool, bool, bool, str]:
    """Lower is kept."""
    trial, new = pair
    return (
        new is not trial,
        trial.origin is not Origin.DEFAULT,
        trial.state is not TrialState.COMPLETE,
        trial.id,
    )
