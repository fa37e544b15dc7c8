"""Evidence of one metric as numbers, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from metahp.core.space import Categorical, SearchSpace
from metahp.surrogate.evidence import encode, normalise_losses


def test_evidence_is_dense_and_counts_checkpoints_as_candidates(toy, past):
    assert past.losses.shape == (60, 26)
    assert np.isfinite(past.losses).all()
    assert past.is_final.sum() == 13
    checkpoints = [c for c, final in zip(past.candidates, past.is_final, strict=True) if not final]
    assert {c.values["n_estimators"] for c in checkpoints} == {5}
    assert past.candidates[past.defaults["toy"]] == toy.space.default


def test_rows_are_those_tasks_with_all_that_belongs_to_them(past):
    rows = np.array([7, 3])
    part = past.rows(rows)
    assert [task.id for task in part.tasks] == ["t7", "t3"]
    assert part.groups == ["g3", "g1"]
    for name in ("metafeatures", "constants", "losses", "fit_seconds", "flat"):
        np.testing.assert_array_equal(getattr(part, name), getattr(past, name)[rows], err_msg=name)
    assert (part.candidates, part.defaults, part.spaces) == (past.candidates, past.defaults, past.spaces)
    is_first = np.arange(60) == 0
    assert past.rows(is_first).tasks == past.tasks[:1]


def test_columns_are_those_candidates_and_a_default_among_them_keeps_its_place(past):
    default = past.defaults["toy"]
    others = [column for column in range(26) if column != default][:3]
    part = past.columns(np.array([others[1], default, others[0]]))
    assert part.candidates == tuple(past.candidates[j] for j in (others[1], default, others[0]))
    assert part.defaults == {"toy": 1}
    np.testing.assert_array_equal(part.losses[:, 1], past.losses[:, default])
    assert past.columns(np.array(others)).defaults == {}


def test_the_columns_of_a_part_are_those_with_its_candidates(past):
    columns = np.array([9, 2, 17])
    part = past.columns(columns)
    assert past.find_columns(part).tolist() == columns.tolist()
    with pytest.raises(KeyError):
        part.find_columns(past)


def test_measured_leaves_out_what_no_task_of_it_has_tried(past):
    losses = past.losses.copy()
    losses[:, [2, 9]], losses[1:, 4] = np.nan, np.nan
    gaps = replace(past, losses=losses)
    assert gaps.drop_unmeasured().candidates == tuple(c for j, c in enumerate(past.candidates) if j not in (2, 9))
    assert len(gaps.rows(np.arange(1, 60)).drop_unmeasured().candidates) == 23


def test_normalised_losses_put_best_at_zero_and_default_at_one():
    losses = np.array([[1.0, 2.0, 5.0, np.nan], [4.0, 3.0, np.inf, 3.5]])
    scaled, _ = normalise_losses(losses, [1], clip=2.0)
    assert scaled[0, :3] == pytest.approx([0.0, 1.0, 2.0])
    assert np.isnan(scaled[0, 3])
    assert scaled[1, 1] == 0.0
    assert scaled[1, 2] == 2.0


def test_normalised_losses_without_a_default_lie_between_median_and_worst_unless_it_diverged():
    losses = np.array([[1.0, 2.0, 5.0], [1.0, 2.0, 1e6]])
    scaled, unit = normalise_losses(losses, [], clip=2.0)
    assert unit == pytest.approx([2.0, 10.0])
    assert scaled == pytest.approx(np.array([[0.0, 0.5, 2.0], [0.0, 0.1, 2.0]]))


def test_encode_keeps_learners_apart(toy):
    other = SearchSpace("other", 1, (Categorical("kind", ("a", "b"), "a"),))
    encoded = encode([toy.space.default, other.default], {"toy": toy.space, "other": other})
    assert encoded.shape == (2, 4)
    assert encoded[:, 0].tolist() == [0.0, 1.0]
    assert np.isnan(encoded[0, 3])
    assert np.isnan(encoded[1, 1:3]).all()
