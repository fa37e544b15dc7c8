"""Trials of older versions of a space, taken as trials of the current one."""

import itertools
from dataclasses import replace

from metahp.core.space import Categorical, Float, Integer, SearchSpace
from metahp.core.trial import Origin, Protocol, Trial, TrialState
from metahp.core.upgrade import upgrade_trials

OLD = SearchSpace("toy", 1, (Float("x", 0.0, 1.0, 0.5), Categorical("kind", ("a", "b", "c"), "a")))


def _trial(loss: float, *, task: str = "t", origin: Origin = Origin.DESIGN, **values: object) -> Trial:
    return Trial(
        task=task,
        configuration=OLD.configuration(values),
        protocol=Protocol(),
        n_rows=90,
        state=TrialState.COMPLETE,
        origin=origin,
        fold_losses={"neg_log_loss": (loss,) * 3},
    )


def test_trials_of_the_current_version_are_untouched() -> None:
    trials = [_trial(0.1), _trial(0.2, x=0.25), _trial(0.3, task="u")]
    assert upgrade_trials(trials, {"toy": OLD}) == [(trial, trial) for trial in trials]


def test_a_hyperparameter_more_keeps_all_trials_with_the_version_of_the_space() -> None:
    new = SearchSpace("toy", 2, (*OLD.hyperparameters, Integer("depth", 1, 9, 4)))
    trials = [_trial(0.1), _trial(0.2, x=0.25)]
    pairs = upgrade_trials(trials, {"toy": new})
    assert [before for before, _ in pairs] == trials
    assert [after.configuration for _, after in pairs] == [new.default, new.configuration({"x": 0.25})]
    assert {after.space_version for _, after in pairs} == {2}
    assert [after.fold_losses for _, after in pairs] == [trial.fold_losses for trial in trials]


def test_trials_outside_a_narrower_space_and_of_other_learners_are_left_out() -> None:
    new = SearchSpace("toy", 2, (Float("x", 0.0, 0.6, 0.5), Categorical("kind", ("a", "b"), "a")))
    trials = [_trial(0.1), _trial(0.2, x=0.75), _trial(0.3, kind="c")]
    assert [before for before, _ in upgrade_trials(trials, {"toy": new})] == trials[:1]
    assert upgrade_trials(trials, {"another": new}) == []


def test_of_trials_that_become_the_same_one_is_kept_whatever_their_order() -> None:
    new = SearchSpace("toy", 2, OLD.hyperparameters[:1])
    default = _trial(0.3, origin=Origin.DEFAULT)
    alike = [_trial(0.1, kind="b"), default, _trial(0.2, kind="c")]
    others = [_trial(0.5, x=0.25, kind=kind) for kind in "abc"]
    failed = replace(others[0], state=TrialState.FAILED, fold_losses={}, reason="no luck")
    elsewhere = _trial(0.9, task="u", kind="b")
    for order in itertools.permutations(alike):
        [(kept, _)] = upgrade_trials(order, {"toy": new})
        # It ran with the library's value of what was removed, and is not the one with the lowest loss.
        assert kept is default
    found = [upgrade_trials(order, {"toy": new}) for order in itertools.permutations([failed, *others[1:]])]
    assert {before.id for [(before, _)] in found} == {min(others[1:], key=lambda trial: trial.id).id}
    current = replace(others[0], configuration=new.configuration({"x": 0.25}), space_version=2)
    assert upgrade_trials([*others, current], {"toy": new}) == [(current, current)]
    assert len(upgrade_trials([*alike, elsewhere], {"toy": new})) == 2
