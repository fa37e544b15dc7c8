"""Trials of older versions of their search spaces as trials of the current ones."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin, Trial, TrialState
from metahp.core.trial_columns import TrialColumns


def upgrade_trials(trials: Sequence[Trial], spaces: Mapping[str, SearchSpace]) -> list[tuple[Trial, Trial]]:
    """Pairs of a trial as it was recorded and as one of the current search space, where it has a place there.

    `SearchSpace.upgraded` says what becomes of its configuration; trials of learners without a space are left out too.
    Where a hyperparameter was removed, trials of one task under one protocol may become the same: the one that needed
    no upgrade is kept, else that of the library default (it had the library's value of what was removed), else a
    complete one, else the one with the lowest id, which has nothing to do with its loss.
    """
    upgrades = _upgrade_each({trial.configuration.id: trial.configuration for trial in trials}.values(), spaces)
    changed = _find_changed(upgrades)
    pairs = [
        (trial, _replace_configuration(trial, new, spaces[new.learner].version))
        for trial in trials
        if (new := upgrades[trial.configuration.id]) is not None
    ]
    # Ids are computed only where some may have become the same: there are trials by the ten thousand.
    keys = [new.id if new.configuration.learner in changed else place for place, (_, new) in enumerate(pairs)]

    def rank(place: int) -> tuple[bool, bool, bool, str]:
        trial, new = pairs[place]
        return _rank(new is not trial, trial.origin, trial.state, trial.id)

    return [pairs[place] for place in _drop_repeats(keys, rank)]


def upgrade_columns(trials: TrialColumns, spaces: Mapping[str, SearchSpace]) -> TrialColumns:
    """Trials as ones of the current search spaces, by the same rules as `upgrade_trials`."""
    upgrades = _upgrade_each(trials.configurations, spaces)
    changed = _find_changed(upgrades)
    new_of = [upgrades[each.id] for each in trials.configurations]
    has_place = np.array([new is not None for new in new_of], dtype=bool)
    kept = trials.take(has_place[trials.configuration_of])
    if changed:
        codes = zip(kept.task_of.tolist(), kept.configuration_of.tolist(), kept.protocol_of.tolist(), strict=True)
        keys: list[object] = []
        for place, (task, configuration, protocol) in enumerate(codes):
            new = new_of[configuration]
            assert new is not None
            keys.append((task, new.id, protocol) if new.learner in changed else place)

        def rank(place: int) -> tuple[bool, bool, bool, str]:
            old = kept.configurations[kept.configuration_of[place]]
            new = upgrades[old.id]
            assert new is not None
            return _rank(new.id != old.id, kept.origins[place], kept.states[place], kept.ids[place])

        kept = kept.take(np.array(_drop_repeats(keys, rank), dtype=int))
    return kept.with_configurations(
        [old if new is None else new for new, old in zip(new_of, trials.configurations, strict=True)]
    )


def _upgrade_each(
    configurations: Iterable[Configuration], spaces: Mapping[str, SearchSpace]
) -> dict[str, Configuration | None]:
    """By the id of each configuration what it is in the current space of its learner; None where it is nothing."""
    return {each.id: spaces[each.learner].upgraded(each) if each.learner in spaces else None for each in configurations}


def _find_changed(upgrades: Mapping[str, Configuration | None]) -> set[str]:
    """The learners of which some configuration has become another one."""
    return {new.learner for key, new in upgrades.items() if new is not None and new.id != key}


def _drop_repeats(keys: Iterable[object], rank: Callable[[int], tuple[bool, bool, bool, str]]) -> list[int]:
    """The place of one item for each distinct key, the one of the lowest rank, in the order in which keys appear."""
    places: dict[object, int] = {}
    for place, key in enumerate(keys):
        if key not in places or rank(place) < rank(places[key]):
            places[key] = place
    return list(places.values())


def _replace_configuration(trial: Trial, configuration: Configuration, version: int) -> Trial:
    if configuration.id == trial.configuration.id:
        return trial
    return replace(trial, configuration=configuration, space_version=version)


def _rank(is_upgraded: bool, origin: Origin, state: TrialState, key: str) -> tuple[bool, bool, bool, str]:
    """Lower is kept."""
    return is_upgraded, origin is not Origin.DEFAULT, state is not TrialState.COMPLETE, key
