"""Questions: which train and which do not, what joins at once, and what is kept."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import metahp
from metahp.api import advisers, past_knowledge
from metahp.api.past_knowledge import find_spaces, measure_past, read_past
from metahp.core.errors import KnowledgeBaseError
from metahp.core.task import TaskType
from metahp.core.trial import Origin
from metahp.core.trial_columns import TrialColumns
from metahp.knowledge import cache
from metahp.knowledge.snapshot import Snapshot
from metahp.knowledge.store import KnowledgeBase
from metahp.learners import registry
from metahp.learners.linear import Linear
from metahp.surrogate.measurements import Measurements
from metahp.surrogate.metamodel import MetaModel

BOTH = ("linear", "random_forest")
TRAINED = "trained on the knowledge base in"


class Fits:
    """Counts the fits of meta-models from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n = 0
        fit = MetaModel.fit

        def counted(*arguments: object, **named: object) -> MetaModel:
            self.n += 1
            return fit(*arguments, **named)

        monkeypatch.setattr(MetaModel, "fit", counted)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    return Fits(monkeypatch)


@pytest.fixture(scope="module")
def asked(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a knowledge base that has been asked of both learners, for ROC AUC and accuracy."""
    folder = tmp_path_factory.mktemp("asked") / "kb"
    with pytest.MonkeyPatch.context() as bare:
        bare.setattr("metahp.knowledge.seed._FOLDERS", (folder / "no seed",))
        base = tiny.base(folder)
        for metric in ("roc_auc", "accuracy"):
            assert TRAINED in tiny.ask(base, metric)[2][0]
    return folder


@pytest.fixture
def base(asked: Path, tmp_path: Path) -> KnowledgeBase:
    shutil.copytree(asked, tmp_path / "kb")
    return KnowledgeBase(tmp_path / "kb")


def kept(base: KnowledgeBase, pattern: str) -> list[Path]:
    return sorted((base.folder / cache.FOLDER_NAME).glob(pattern))


def warnings_of(caplog: pytest.LogCaptureFixture, words: str) -> int:
    return sum(words in record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


# What trains.


def test_the_first_question_trains_one_model_between_the_learners_and_keeps_it(base):
    scopes = [path.name.split("-")[3:5] for path in kept(base, "*-model-*")]
    assert scopes == [["accuracy", "linear.random_forest"], ["roc_auc", "linear.random_forest"]]
    assert len(kept(base, "*-measured-classification-*")) == 1


@pytest.mark.parametrize(
    ("metric", "learners"),
    [
        ("roc_auc", BOTH),
        ("roc_auc", BOTH[::-1]),
        ("roc_auc", ("linear",)),
        ("accuracy", ("random_forest",)),
        ("balanced_accuracy", BOTH),
        ("f1_macro", ("linear",)),
    ],
)
def test_where_a_model_is_kept_no_question_trains(tiny, base, fits, caplog, metric, learners):
    adviser, advice, notes = tiny.ask(base, metric, learners)
    assert fits.n == 0
    assert notes == ()
    assert not caplog.records
    assert not advice.prior.abstained
    assert adviser.past.evidence.metric == metric
    assert {adviser.past.evidence.candidates[item.column].learner for item in advice.items} <= set(learners)
    assert advice.prior.n_tasks == 12
    assert all(np.isfinite(item.loss) for item in advice.items)


def test_another_guiding_metric_trains_once_and_then_never(tiny, base, fits):
    _, _, notes = tiny.ask(base, "neg_log_loss")
    assert fits.n == 6
    assert notes[0].startswith(TRAINED)
    assert tiny.ask(base, "neg_log_loss", ("linear",))[2] == ()
    assert fits.n == 6


def test_a_model_of_one_learner_goes_before_one_of_several(tiny, base, fits):
    shared = tiny.ask(base, "roc_auc", ("linear",))[0].past.model
    [path] = kept(base, "*-model-*-roc_auc-linear.random_forest-*")
    path.rename(path.with_name("away"))
    tiny.ask(base, "roc_auc", ("linear",))
    assert fits.n > 0
    path.with_name("away").rename(path)
    own = tiny.ask(base, "roc_auc", ("linear",))[0].past.model
    assert list(shared.kernel.spaces) == ["linear", "random_forest"]
    assert list(own.kernel.spaces) == ["linear"]


def test_tasks_of_several_classes_learn_from_those_of_two(tiny, base, fits):
    target = np.resize(["x", "y", "z"], 150)
    frame = tiny.frame.assign(target=target)
    several = replace(tiny, table=metahp.load(frame, target="target"))
    assert several.table.task.type is TaskType.MULTICLASS
    adviser, _, _ = several.ask(base, "roc_auc_ovr")
    assert fits.n == 0
    assert adviser.past.evidence.metric == "roc_auc"


# What joins at once.


def test_new_trials_are_scenarios_of_the_next_question_without_training(tiny, base, fits):
    before, _, _ = tiny.ask(base)
    tiny.add(base, [12])
    _, advice, notes = tiny.ask(base)
    assert fits.n == 0
    assert notes == ()
    assert advice.prior.n_tasks == before.past.prior(None).n_tasks + 1 == 13
    # Of a known task, too: one candidate more, which has been measured there alone.
    record = tiny.record_of(3)
    new = find_spaces(TaskType.BINARY, ["linear"])["linear"].configuration({"C": 0.12345})
    best = {name: (0.0001,) * 3 for name in ("roc_auc", "accuracy")}
    base.record([replace(tiny.trials_of(record)[0], configuration=new, origin=Origin.POSTERIOR, fold_losses=best)])
    evidence = tiny.ask(base)[0].past.evidence
    assert new in evidence.candidates
    row = [task.id for task in evidence.tasks].index(record.task.id)
    assert evidence.losses[row, evidence.candidates.index(new)] == pytest.approx(0.0001, rel=1e-4)
    assert fits.n == 0


def test_with_many_new_tasks_a_small_model_is_trained_again(tiny, base, fits):
    tiny.add(base, [12, 13])
    _, advice, notes = tiny.ask(base)
    assert fits.n == 6
    assert notes[0].startswith(TRAINED)
    assert advice.prior.n_tasks == 14
    # The model that knows more tasks is the one that is used.
    assert tiny.ask(base)[2] == ()
    assert fits.n == 6


def test_a_large_model_is_not_trained_again_but_a_note_says_how_many_tasks_are_new(tiny, base, fits, monkeypatch):
    monkeypatch.setattr(advisers, "MAX_CELLS_VALIDATED", 0)
    tiny.add(base, [12, 13])
    _, advice, [note] = tiny.ask(base)
    assert fits.n == 0
    assert note == (
        "the advice does not learn from 2 new tasks yet; run `metahp kb train`, or metahp.train, so that it does"
    )
    assert advice.prior.n_tasks == 14


def test_a_model_of_other_tasks_is_not_used(tiny, base, tmp_path, fits):
    other = tiny.base(tmp_path / "other", range(20, 32))
    shutil.copytree(base.folder / cache.FOLDER_NAME, other.folder / cache.FOLDER_NAME)
    _, advice, notes = tiny.ask(other)
    assert fits.n == 6
    assert notes[0].startswith(TRAINED)
    assert all(neighbour.task in {f"binary{i}" for i in range(20, 32)} for neighbour in advice.neighbours)


# Where training takes too long.


def test_with_too_little_time_nothing_is_trained_and_the_portfolio_says_so(tiny, tmp_path, fits):
    base = tiny.base(tmp_path / "kb")
    _, advice, [note] = tiny.ask(base, seconds_left=1.0)
    assert fits.n == 0
    assert note == (
        "learning from past tasks of linear + random_forest takes too much of the time limit, so the list is what is "
        "good in general; run `metahp kb train`, or metahp.train, once for better advice"
    )
    assert advice.prior.abstained == "no model of them is trained"
    assert len(advice.items) == 3
    assert kept(base, "*-model-*") == []
    assert tiny.ask(base, seconds_left=10_000.0)[2][0].startswith(TRAINED)


def test_a_knowledge_base_too_large_for_a_question_trains_nothing(tiny, tmp_path, fits, monkeypatch):
    monkeypatch.setattr(advisers, "MAX_CELLS_TRAINED", 50)
    _, advice, [note] = tiny.ask(tiny.base(tmp_path / "kb"))
    assert fits.n == 0
    assert "takes too long for a question" in note
    assert advice.prior.abstained


def test_one_of_middle_size_trains_without_validation(tiny, tmp_path, fits, monkeypatch):
    monkeypatch.setattr(advisers, "MAX_CELLS_VALIDATED", 50)
    adviser, advice, _ = tiny.ask(tiny.base(tmp_path / "kb"))
    assert fits.n == 1
    assert adviser.validation.track_record is None
    assert all(np.isfinite(item.loss) and np.isnan(item.low) for item in advice.items)


# What is kept.


def test_a_kept_answer_and_a_fresh_one_are_the_same(tiny, base, answered, tmp_path):
    expected = answered(tiny.ask(base))
    assert answered(tiny.ask(base)) == expected
    [measured] = kept(base, "*-measured-*")
    measured.unlink()
    assert answered(tiny.ask(base)) == expected
    anew = tiny.base(tmp_path / "anew")
    assert answered(tiny.ask(anew)) == expected


def test_a_seed_says_the_same_whatever_it_is(tiny, base, fits):
    options = {"target": "target", "learners": BOTH, "knowledge_base": base, "budget_seconds": 0.0}
    one, other = (metahp.recommend(tiny.frame, seed=seed, **options) for seed in (0, 1))
    assert fits.n == 0
    assert one.configurations == other.configurations


def refuse_all_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Snapshot.read_columns

    def read_some(self: Snapshot, learners: Sequence[str], tasks: Sequence[str] | None = None) -> TrialColumns:
        assert tasks is not None, "all trials are read"
        return read(self, learners, tasks)

    monkeypatch.setattr(Snapshot, "read_columns", read_some)


def read(base: KnowledgeBase, learners: Sequence[str] = BOTH, task_type: TaskType = TaskType.BINARY) -> Measurements:
    with base.take_snapshot() as snapshot:
        return read_past(snapshot, task_type, learners)


def measure_anew(base: KnowledgeBase) -> Measurements:
    return measure_past(base.tasks(), TrialColumns.of(base.trials()), TaskType.BINARY, BOTH)


def same(left, right, learners: Sequence[str] = BOTH) -> None:
    for metric in ("roc_auc", "accuracy", "f1_macro"):
        one, other = (
            left.evidence(metric, learners).drop_unmeasured(),
            right.evidence(metric, learners).drop_unmeasured(),
        )
        order = [task.id for task in one.tasks]
        assert sorted(order) == sorted(task.id for task in other.tasks)
        rows = np.array([[task.id for task in other.tasks].index(id_) for id_ in order])
        columns = np.array([other.candidates.index(candidate) for candidate in one.candidates])
        assert len(one.candidates) == len(other.candidates)
        np.testing.assert_allclose(one.losses, other.losses[np.ix_(rows, columns)], rtol=4e-5)
        np.testing.assert_allclose(one.metafeatures, other.metafeatures[rows])
        np.testing.assert_allclose(one.constants, other.constants[rows])


def test_measurements_of_unknown_content_are_brought_up_to_date_from_the_kept_ones(tiny, base, monkeypatch, caplog):
    tiny.add(base, [12])
    better = {name: (0.05,) * 3 for name in ("roc_auc", "accuracy", "f1_macro")}
    configuration = find_spaces(TaskType.BINARY, ["linear"])["linear"].configuration({"C": 0.4321})
    some = [tiny.trials_of(tiny.record_of(number))[0] for number in (2, 5, 12)]
    base.record([replace(t, configuration=configuration, origin=Origin.DESIGN, fold_losses=better) for t in some])
    # A task of another kind changes nothing here.
    regression = tiny.record_of(7, TaskType.REGRESSION)
    base.record(tiny.trials_of(regression), [regression])
    anew = measure_anew(base)
    refuse_all_trials(monkeypatch)
    past = read(base)
    assert len(past.tasks) == 13
    assert configuration in past.candidates
    same(past, anew)
    assert not caplog.records


def test_after_many_changed_trials_all_are_read_and_kept_for_the_next_question(tiny, base, monkeypatch):
    monkeypatch.setattr(past_knowledge, "MANY_CHANGED", 10)
    tiny.add(base, [12])
    past = read(base)
    same(past, measure_anew(base))
    assert len(kept(base, "*-measured-*")) == 2
    refuse_all_trials(monkeypatch)
    same(read(base), past)


def test_measurements_of_another_knowledge_base_are_no_start(tiny, base, tmp_path, monkeypatch):
    other = tiny.base(tmp_path / "other", [0, 1, 2])
    [path] = kept(base, "*-measured-*")
    [(_, arrays)] = cache.read([path])
    cache.save(other.folder, path.stem, arrays)
    past = read(other)
    same(past, measure_anew(other))


def test_trials_that_come_while_all_are_read_are_not_taken_for_known(tiny, base, monkeypatch):
    for path in kept(base, "*-measured-*"):
        path.unlink()
    read_columns = Snapshot.read_columns

    def read_slowly(self: Snapshot, *arguments: Sequence[str]) -> TrialColumns:
        tiny.add(base, [12])
        return read_columns(self, *arguments)

    monkeypatch.setattr(Snapshot, "read_columns", read_slowly)
    read(base)
    monkeypatch.undo()
    past = read(base)
    assert len(past.tasks) == 13


def test_without_kept_measurements_all_trials_are_read_with_a_line_before(tiny, base, caplog):
    [measured] = kept(base, "*-measured-*")
    measured.unlink()
    with caplog.at_level(logging.WARNING):
        read(base, ("linear",))
    assert [record.getMessage() for record in caplog.records] == [
        "reading all trials of the knowledge base, 120 in all; the next call is faster"
    ]
    assert measured.exists()


def test_a_learner_that_is_new_to_the_kept_measurements_has_its_trials_read(tiny, tmp_path):
    base = tiny.base(tmp_path / "kb", learners=("linear",))
    assert {c.learner for c in read(base, ("linear",)).candidates} == {"linear"}
    # One that has no trial needs no reading.
    assert list(read(base).spaces) == ["linear", "random_forest"]
    assert len(kept(base, "*-measured-*")) == 1
    base.record([trial for number in range(12) for trial in tiny.trials_of(tiny.record_of(number), ["random_forest"])])
    past = read(base)
    assert {c.learner for c in past.candidates} == set(BOTH)
    same(past, measure_anew(base))


def test_a_changed_search_space_is_read_and_trained_anew(tiny, base, fits, monkeypatch, caplog):
    class Changed(Linear):
        def space(self, task_type):
            space = super().space(task_type)
            return replace(space, version=space.version + 1, hyperparameters=space.hyperparameters[:-1])

    monkeypatch.setitem(registry._learners._loaded, "linear", Changed())
    with caplog.at_level(logging.WARNING):
        adviser, advice, notes = tiny.ask(base)
    assert warnings_of(caplog, "another search space of linear") == 1
    assert fits.n == 6
    assert notes[0].startswith(TRAINED)
    assert advice.prior.n_tasks == 12
    space = adviser.past.evidence.spaces["linear"]
    assert all(space.upgraded(c) == c for c in adviser.past.evidence.candidates if c.learner == "linear")
    caplog.clear()
    assert tiny.ask(base)[2] == ()
    assert fits.n == 6


@pytest.mark.parametrize("content", [b"", b"no model", None], ids=["empty", "text", "cut"])
def test_a_damaged_model_is_named_once_and_trained_again(tiny, base, fits, caplog, answered, content):
    expected = answered(tiny.ask(base))
    [model] = kept(base, "*-model-*-roc_auc-*")
    model.write_bytes(model.read_bytes()[:500] if content is None else content)
    with caplog.at_level(logging.WARNING):
        answer = tiny.ask(base)
    assert warnings_of(caplog, str(model)) == 1
    assert answered(answer) == expected
    assert fits.n == 6
    caplog.clear()
    assert tiny.ask(base)[2] == ()
    assert not caplog.records


def test_a_model_that_does_not_fit_is_named_and_another_one_answers(tiny, base, fits, caplog):
    [path] = kept(base, "*-model-*-roc_auc-*")
    [(_, arrays)] = cache.read([path])
    narrow = {**arrays, "meta/length_scales": arrays["meta/length_scales"][:2]}
    # Of more tasks, so that it is tried first.
    name = path.stem.replace("-12-", "-13-")
    bad = cache.save(base.folder, name, narrow)
    with caplog.at_level(logging.WARNING):
        _, advice, notes = tiny.ask(base)
    assert warnings_of(caplog, f"{bad} cannot be used") == 1
    assert fits.n == 0
    assert notes == ()
    assert not advice.prior.abstained


@pytest.mark.parametrize("what", ["sums", "about", "losses/accuracy/bytes"])
def test_damaged_measurements_are_named_once_and_read_anew(tiny, base, caplog, what):
    [path] = kept(base, "*-measured-*")
    [(_, arrays)] = cache.read([path])
    cache.save(base.folder, path.stem, {name: array for name, array in arrays.items() if name != what})
    with caplog.at_level(logging.WARNING):
        past = read(base)
    assert warnings_of(caplog, str(path)) == 1
    same(past, measure_anew(base))
    caplog.clear()
    read(base)
    assert not caplog.records


def test_where_nothing_can_be_written_the_answer_is_the_same(tiny, base, monkeypatch, tmp_path, answered):
    expected = answered(tiny.ask(base))
    anew = tiny.base(tmp_path / "anew")
    (anew.folder / cache.FOLDER_NAME).write_text("in the way")
    assert answered(tiny.ask(anew)) == expected


def test_too_few_distinct_tasks_are_an_error_that_counts_them(tiny, tmp_path):
    base = tiny.base(tmp_path / "kb", [0])
    with pytest.raises(KnowledgeBaseError, match=r"trials on 1 distinct classification tasks, .* and 2 are the least"):
        tiny.ask(base)
    with pytest.raises(KnowledgeBaseError, match="no regression task"):
        read(base, task_type=TaskType.REGRESSION)


def test_two_past_tasks_are_enough_for_an_answer(tiny, tmp_path):
    adviser, advice, _ = tiny.ask(tiny.base(tmp_path / "kb", [0, 1]))
    assert len(advice.items) == 3
    assert adviser.past.evidence.tasks
