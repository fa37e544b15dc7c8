"""Convert trials of older search space versions to the current version."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from metahp.core.configuration import Configuration
from metahp.core.space import SearchSpace
from metahp.core.trial import Origin, Trial, TrialState
from metahp.core.trial_columns import TrialColumns


def upgrade_trials(trials: Sequence[Trial], spaces: Mapping[str, SearchSpace]) -> list[tuple[Trial, Trial]]:
    """Pairs of a recorded trial and its upgrade to the current search space.

    `SearchSpace.upgraded` converts the configurations. Trials without an upgrade and trials of learners without a space
    are left out.

    If a hyperparameter was removed, several trials of one task and protocol may become the same. One is kept, in this
    order of preference: a trial that needed no upgrade; the library default (it had the library's value of the removed
    hyperparameter); a complete trial; the trial with the lowest id, which does not depend on its loss.
    """
    upgrades = _upgrade_each({trial.configuration.id: trial.configuration for trial in trials}.values(), spaces)
    changed = _find_changed(upgrades)
    pairs = [
        (trial, _replace_configuration(trial, new, spaces[new.learner].version))
        for trial in trials
        if (new := upgrades[trial.configuration.id]) is not None
    ]
    # Ids are computed only for learners whose trials may have become the same: there are tens of thousands of trials.
    keys = [new.id if new.configuration.learner in changed else place for place, (_, new) in enumerate(pairs)]

    def rank(place: int) -> tuple[bool, bool, bool, str]:
        trial, new = pairs[place]
        return _rank(new is not trial, trial.origin, trial.state, trial.id)

    return [pairs[place] for place in _drop_repeats(keys, rank)]


def upgrade_columns(trials: TrialColumns, spaces: Mapping[str, SearchSpace]) -> TrialColumns:
    """Trials upgraded to the current search spaces, by the same rules as `upgrade_trials`."""
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
    return kept.replace_configurations(
        [old if new is None else new for new, old in zip(new_of, trials.configurations, strict=True)]
    )


def _upgrade_each(
    configurations: Iterable[Configuration], spaces: Mapping[str, SearchSpace]
) -> dict[str, Configuration | None]:
    """The upgraded configuration by the id of the old one; None if it has no upgrade."""
    return {each.id: spaces[each.learner].upgraded(each) if each.learner in spaces else None for each in configurations}


def _find_changed(upgrades: Mapping[str, Configuration | None]) -> set[str]:
    """Learners that have a configuration that its upgrade changed."""
    return {new.learner for key, new in upgrades.items() if new is not None and new.id != key}


def _drop_repeats(keys: Iterable[object], rank: Callable[[int], tuple[bool, bool, bool, str]]) -> list[int]:
    """Place of the item with the lowest rank for each distinct key, in order of the keys' first appearance."""
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
    """Sort key of trials that became the same; the lowest is kept."""
    return is_upgraded, origin is not Origin.DEFAULT, state is not TrialState.COMPLETE, key
