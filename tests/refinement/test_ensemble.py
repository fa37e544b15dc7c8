import numpy as np
import pytest

from metahp.core.errors import InputError, UnknownNameError
from metahp.core.task import TaskType
from metahp.evaluation.losses import compute_losses
from metahp.refinement.ensemble import cast_votes, combine, compute_cross_fitted_gain, make_batch_loss, select_ensemble

SQUARED = make_batch_loss("neg_root_mean_squared_error", TaskType.REGRESSION)
LOG = make_batch_loss("neg_log_loss", TaskType.BINARY)


def noisy_models(
    rng: np.random.Generator, models: int, n: int, task_type: TaskType = TaskType.BINARY
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that see the truth, each through noise of its own."""
    signal = rng.normal(size=n)
    seen = signal + rng.normal(size=(models, n)) * rng.uniform(0.5, 1.5, size=(models, 1))
    if task_type is TaskType.REGRESSION:
        # Above -1, so that errors of logarithms are defined.
        return seen + 20.0, signal + 20.0
    if task_type is TaskType.BINARY:
        positive = 1 / (1 + np.exp(-seen))
        return np.stack([1 - positive, positive], axis=2), (signal + rng.normal(size=n) > 0).astype(int)
    scores = np.exp(np.stack([-seen, np.zeros_like(seen), seen], axis=2))
    return scores / scores.sum(axis=2, keepdims=True), np.digitize(signal, [-0.5, 0.5])


CASES = [
    (task_type, metric)
    for task_type, example in [
        (TaskType.BINARY, np.eye(2)),
        (TaskType.MULTICLASS, np.eye(2)),
        (TaskType.REGRESSION, np.array([0.0, 1.0])),
    ]
    for metric in compute_losses(np.array([0, 1]), example, task_type)
]


@pytest.mark.parametrize(("task_type", "metric"), CASES)
def test_losses_of_many_are_those_of_each(task_type: TaskType, metric: str, rng: np.random.Generator) -> None:
    predictions, y = noisy_models(rng, 4, 60, task_type)
    predictions = predictions.round(1)
    many = make_batch_loss(metric, task_type)(y, predictions)
    assert many == pytest.approx([compute_losses(y, each, task_type)[metric] for each in predictions])


@pytest.mark.parametrize(("task_type", "metric"), CASES)
@pytest.mark.parametrize("bags", [0, 4])
def test_never_worse_than_the_best_single_model_on_the_rows_it_is_chosen_on(
    task_type: TaskType, metric: str, bags: int, rng: np.random.Generator
) -> None:
    predictions, y = noisy_models(rng, 8, 50, task_type)
    loss = make_batch_loss(metric, task_type)
    weights = select_ensemble(predictions, y, loss, size=12, bags=bags)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()
    assert loss(y, combine(predictions, weights)[None])[0] <= loss(y, predictions).min() + 1e-12


def test_two_opposite_errors_cancel() -> None:
    y = np.array([1.0, 2.0, 3.0])
    predictions = np.stack([y + 1, y - 1, y + 5])
    assert select_ensemble(predictions, y, SQUARED).tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("seed", range(5))
def test_two_models_are_mixed_as_well_as_by_trying_all_shares(seed: int) -> None:
    predictions, y = noisy_models(np.random.default_rng(seed), 2, 80)
    shares = np.linspace(0, 1, 1001)[:, None, None]
    best = LOG(y, shares * predictions[0] + (1 - shares) * predictions[1]).min()
    weights = select_ensemble(predictions, y, LOG)
    assert LOG(y, combine(predictions, weights)[None])[0] == pytest.approx(best, rel=1e-3)


def test_rows_without_predictions_are_left_out(rng: np.random.Generator) -> None:
    predictions, y = noisy_models(rng, 6, 60)
    holes = predictions.copy()
    holes[2, :7] = np.nan
    holes[:, 50:] = np.nan
    assert (select_ensemble(holes, y, LOG) == select_ensemble(predictions[:, 7:50], y[7:50], LOG)).all()


@pytest.mark.parametrize("bags", [0, 3])
def test_the_same_input_gives_the_same_weights(bags: int, rng: np.random.Generator) -> None:
    predictions, y = noisy_models(rng, 9, 60)
    first, second = (select_ensemble(predictions, y, LOG, bags=bags, seed=3) for _ in range(2))
    assert (first == second).all()


def test_the_order_of_the_models_does_not_matter(rng: np.random.Generator) -> None:
    predictions, y = noisy_models(rng, 9, 60)
    order = rng.permutation(9)
    assert select_ensemble(predictions[order], y, LOG) == pytest.approx(select_ensemble(predictions, y, LOG)[order])


def test_of_equal_ensembles_the_smallest_wins() -> None:
    y = np.array([0.0, 1.0])
    assert select_ensemble(np.stack([y + 1, y + 1, y + 1]), y, SQUARED).tolist() == [1.0, 0.0, 0.0]


def test_no_more_models_than_size(rng: np.random.Generator) -> None:
    predictions, y = noisy_models(rng, 20, 100)
    weights = select_ensemble(predictions, y, LOG, size=3)
    assert np.count_nonzero(weights) <= 3
    assert (weights * 6 == (weights * 6).round()).all()


def test_votes_are_counted_by_weight() -> None:
    probabilities = np.array([[[0.9, 0.1], [0.4, 0.6]], [[0.2, 0.8], [0.3, 0.7]], [[np.nan, np.nan], [0.6, 0.4]]])
    cast = cast_votes(probabilities)
    assert cast[:2].tolist() == [[[1, 0], [0, 1]], [[0, 1], [0, 1]]]
    assert np.isnan(cast[2, 0]).all()
    assert cast[2, 1].tolist() == [1, 0]
    assert combine(cast, np.array([0.25, 0.75, 0.0])).tolist() == [[0.25, 0.75], [0.0, 1.0]]


def test_the_gain_of_independent_noise_averaged_away_is_clear(rng: np.random.Generator) -> None:
    predictions, y = noisy_models(rng, 10, 600, TaskType.REGRESSION)
    gain = compute_cross_fitted_gain(predictions, y, SQUARED, size=20)
    assert gain.parts == 5
    assert gain.gain > 3 * gain.standard_error > 0
    assert gain.gain == pytest.approx(gain.single_loss - gain.ensemble_loss)


def test_copies_of_one_model_gain_nothing(rng: np.random.Generator) -> None:
    predictions, y = noisy_models(rng, 1, 60)
    gain = compute_cross_fitted_gain(np.repeat(predictions, 4, axis=0), y, LOG)
    assert (gain.gain, gain.standard_error) == (0.0, 0.0)


def test_the_gain_is_measured_on_rows_that_did_not_choose(rng: np.random.Generator) -> None:
    n = 60
    positive = rng.random((40, n))
    predictions, y = np.stack([1 - positive, positive], axis=2), rng.permutation(np.repeat([0, 1], n // 2))
    auc = make_batch_loss("roc_auc", TaskType.BINARY)
    flattering = auc(y, combine(predictions, select_ensemble(predictions, y, auc))[None])[0]
    honest = compute_cross_fitted_gain(predictions, y, auc).ensemble_loss
    assert flattering < 0.3
    assert honest > 0.4


def test_votes_are_compared_with_the_model_itself_not_with_its_votes(rng: np.random.Generator) -> None:
    predictions, y = noisy_models(rng, 5, 100)
    gain = compute_cross_fitted_gain(cast_votes(predictions), y, LOG, singles=predictions)
    assert gain.single_loss == pytest.approx(compute_cross_fitted_gain(predictions, y, LOG).single_loss)
    # Votes that are wrong are wrong without any doubt.
    assert gain.gain < 0


def test_what_cannot_be_chosen_is_refused(rng: np.random.Generator) -> None:
    predictions, y = noisy_models(rng, 3, 20)
    with pytest.raises(InputError, match="No row of 20"):
        select_ensemble(np.full_like(predictions, np.nan), y, LOG)
    with pytest.raises(InputError, match="at least one model"):
        select_ensemble(predictions[:0], y, LOG)
    with pytest.raises(InputError, match="not defined on these 20 rows"):
        select_ensemble(predictions, np.zeros(20, dtype=int), make_batch_loss("roc_auc", TaskType.BINARY))
    with pytest.raises(InputError, match="two are needed"):
        compute_cross_fitted_gain(predictions, y, LOG, parts=1)
    with pytest.raises(UnknownNameError, match="'r2' is not a metric of binary"):
        make_batch_loss("r2", TaskType.BINARY)
