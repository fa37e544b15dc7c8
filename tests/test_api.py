"""The story end to end on tiny tables: refresh, recommend, recognise."""

import csv
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import metahp
from metahp import api
from metahp.api import incumbents
from metahp.api.past_knowledge import measure_past
from metahp.core.configuration import Configuration
from metahp.core.errors import InputError, KnowledgeBaseError, UnknownNameError
from metahp.core.space import Float, SearchSpace
from metahp.core.task import TaskType
from metahp.core.trial import Origin, TrialState
from metahp.core.trial_columns import TrialColumns
from metahp.evaluation.limits import Limits
from metahp.knowledge.store import KnowledgeBase
from metahp.learners import registry
from metahp.learners.linear import Linear
from metahp.metafeatures.extract import NAMES

N_TABLES = 6


def _table(seed: int, n: int = 150) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    frame["kind"] = rng.choice(["x", "y", "z"], size=n)
    frame["target"] = np.where(frame["a"] + rng.normal(size=n) > 0, "yes", "no")
    return frame


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    with (folder / "MANIFEST.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "file", "task", "target", "group", "source_repo", "source_path", "license_note"])
        for seed in range(N_TABLES):
            _table(seed).to_parquet(folder / f"t{seed}.parquet")
            writer.writerow([f"t{seed}", f"t{seed}.parquet", "binary", "target", f"t{seed}", "made/up", "x", "CC0"])
    return folder / "MANIFEST.csv"


@pytest.fixture(scope="module")
def refreshed(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("seed")
    seen = []
    base = api.refresh_seed(
        api.read_manifest(manifest),
        out,
        learners=["linear"],
        sizes={"linear": 4},
        on_trial=lambda done, total, trial: seen.append((done, total, trial)),
    )
    return out, base, seen


def test_refresh_measures_every_configuration_on_every_table(refreshed):
    out, base, seen = refreshed
    assert [done for done, _, _ in seen] == list(range(N_TABLES * 4 + 1))
    trials = base.trials()
    assert len(trials) == N_TABLES * 4
    assert all(trial.state is TrialState.COMPLETE for trial in trials), [trial.reason for trial in trials]
    assert len({trial.configuration for trial in trials}) == 4
    assert (out / "tasks.parquet").exists()


def test_refresh_repeats_nothing(manifest, refreshed):
    out, base, _ = refreshed
    totals = []
    api.refresh_seed(
        api.read_manifest(manifest),
        out,
        learners=["linear"],
        sizes={"linear": 4},
        on_trial=lambda done, total, trial: totals.append(total),
    )
    assert totals == [0]
    assert len(base.trials()) == N_TABLES * 4


def test_refresh_measures_other_numbers_of_rows_and_searches_from_the_design(manifest, tmp_path):
    options = {
        "learners": ["linear"],
        "sizes": {"linear": 12},
        "rows": [2500, 0.5, 100, 20000],
        "searches": {"linear": 2},
    }
    seen = []
    base = api.refresh_seed(
        api.read_manifest(manifest)[:2], tmp_path, **options, on_trial=lambda done, total, _: seen.append((done, total))
    )
    trials = base.trials()
    assert seen[-1] == (76, 76)
    assert {trial.n_rows for trial in trials} == {150, 75, 100}
    found = [trial for trial in trials if trial.origin is Origin.POSTERIOR]
    assert [trial.n_rows for trial in found] == [150] * 4
    past = measure_past(base.tasks(), TrialColumns.of(trials), TaskType.BINARY, ["linear"]).evidence(
        "roc_auc", ["linear"]
    )
    assert [task.n_rows for task in past.tasks] == [75, 100, 150] * 2
    np.testing.assert_allclose(np.exp(past.metafeatures[:, NAMES.index("log_n_rows")]), [75, 100, 150] * 2)
    again = []
    api.refresh_seed(
        api.read_manifest(manifest)[:2], tmp_path, **options, on_trial=lambda _, total, __: again.append(total)
    )
    assert again == [0]


def test_an_interrupted_search_keeps_its_finished_trials_and_goes_on(refreshed, manifest, tmp_path, monkeypatch):
    _, measured, _ = refreshed
    [row] = api.read_manifest(manifest)[:1]
    task = row.source.load().task
    base = KnowledgeBase(tmp_path)
    base.record(measured.trials(task=task.id))
    run, made = incumbents.run_here, []

    def interrupted(job):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(run(job))
        return made[-1]

    def planned():
        return incumbents.plan_searches(
            base, [(row.source, task)], "linear", 3, api.SEED_PROTOCOL, Limits(30.0, 4096.0)
        )

    monkeypatch.setattr(incumbents, "run_here", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(incumbents.run_searches(planned(), 1, base.record))
    assert {trial.id for trial in base.trials()} >= {outcome.trial.id for outcome in made}
    assert [search.n_trials for search in planned()] == [1]


def test_recommend_for_a_new_table(refreshed):
    _, base, _ = refreshed
    new = _table(99)
    recommendation = metahp.recommend(new, learners="linear", k=2, knowledge_base=base, budget_seconds=20)
    assert not recommendation.is_known_task
    # Six past tasks are too few to tell which are similar: the advice is the portfolio, and says so.
    assert recommendation.abstained
    assert [item.rank for item in recommendation.items] == [1, 2]
    assert recommendation.target == "target"
    assert all(item.low <= item.score <= item.high for item in recommendation.items)
    assert list(recommendation.frame()["learner"]) == ["linear", "linear"]
    features = api.load(new).features
    for estimator in recommendation.estimators():
        assert set(estimator.fit(features, new["target"]).predict(features)) <= {"yes", "no"}
    as_json = recommendation.to_dict()
    assert set(as_json) == {"schema_version", "task", "recommendations", "neighbours", "abstained", "warnings"}
    assert set(as_json["recommendations"][0]) == {
        "rank",
        "learner",
        "configuration",
        "expected",
        "default_score",
        "fit_seconds",
        "origin",
    }


def test_the_second_answer_comes_from_the_cache(refreshed):
    _, base, _ = refreshed
    options = {"learners": ["linear"], "metric": "accuracy", "knowledge_base": base, "budget_seconds": 20}
    first = metahp.recommend(_table(98), **options)
    second = metahp.recommend(_table(98), **options)
    assert any("trained on the knowledge base" in warning for warning in first.warnings)
    assert not any("trained on the knowledge base" in warning for warning in second.warnings)
    assert second.configurations == first.configurations
    # Two classes and several learn from both, so they share what was trained.
    several = metahp.recommend(_table(98).assign(target=np.resize(["x", "y", "z"], 150)), **options)
    assert several.task.type is TaskType.MULTICLASS
    assert not any("trained on the knowledge base" in warning for warning in several.warnings)


def test_by_a_metric_that_past_tasks_lack_the_advice_is_that_of_a_like_one_without_scores(refreshed):
    _, base, _ = refreshed
    options = {"learners": "linear", "k": 2, "knowledge_base": base, "budget_seconds": 20}
    found = metahp.recommend(_table(99), metric="F1", **options)
    like = metahp.recommend(_table(99), metric="f1_macro", **options)
    assert found.metric.name == "f1"
    assert found.configurations == like.configurations
    assert any("asked by macro F1, the nearest metric that they store" in warning for warning in found.warnings)
    assert found.to_dict()["recommendations"][0]["expected"] == {"score": None, "low": None, "high": None}
    assert found.reference == ""
    assert found.frame()["gain"].isna().all()


def test_all_gains_are_over_one_default(refreshed):
    _, base, _ = refreshed
    found = metahp.recommend(_table(99), learners="linear", k=2, knowledge_base=base, budget_seconds=20)
    assert found.reference == "linear"
    first = found.items[0]
    assert first.score == max(item.score for item in found.items)
    for item in found.items:
        assert item.gain == item.score - first.default_score


def test_a_known_table_is_answered_from_its_own_trials(refreshed):
    _, base, _ = refreshed
    shuffled = _table(0).sample(frac=1, random_state=1)[["target", "kind", "c", "b", "a"]]
    recommendation = metahp.recommend(shuffled, target="target", learners=["linear"], k=4, knowledge_base=base)
    assert recommendation.is_known_task
    scores = [item.score for item in recommendation.items]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)


def test_past_tasks_are_asked_where_a_known_table_has_fewer_trials_than_are_wanted(refreshed):
    _, base, _ = refreshed
    recommendation = metahp.recommend(_table(0), target="target", learners=["linear"], k=9, knowledge_base=base)
    assert not recommendation.is_known_task
    assert recommendation.abstained


class Changed(Linear):
    """The learner `linear` with another version of its search space for classification."""

    def __init__(self, *hyperparameters):
        self.hyperparameters = hyperparameters

    def space(self, task_type):
        return SearchSpace("linear", 2, self.hyperparameters)


C, *REST = Linear().space(TaskType.BINARY).hyperparameters


@pytest.mark.parametrize(
    ("hyperparameters", "n_left_out"),
    [
        ((C, *REST, Float("added", 0.0, 1.0, 0.5)), 0),
        ((C, REST[0], *REST[2:]), 0),
        ((replace(C, high=10.0), *REST), N_TABLES),
    ],
    ids=["one more", "one less", "narrower"],
)
def test_recommend_learns_from_trials_of_an_older_search_space(
    refreshed, tmp_path, monkeypatch, caplog, hyperparameters, n_left_out
):
    _, measured, _ = refreshed
    base = KnowledgeBase(tmp_path)
    trials = measured.trials()
    # One of the four configurations lies far out.
    some = next(trial.configuration for trial in trials if trial.origin is Origin.DESIGN)
    far = some.replaced(C=900.0)
    base.record([replace(t, configuration=far) if t.configuration == some else t for t in trials], measured.tasks())
    learner = Changed(*hyperparameters)
    space = learner.space(TaskType.BINARY)
    monkeypatch.setitem(registry._learners._loaded, "linear", learner)
    found = metahp.recommend(_table(95), learners="linear", k=2, knowledge_base=base)
    assert len(found.items) == 2
    assert all(space.upgraded(item.configuration) == item.configuration for item in found.items)
    assert ("6 trial(s) of past tasks are left out" in caplog.text) == bool(n_left_out)
    assert n_left_out or "left out" not in caplog.text
    past = measure_past(base.tasks(), TrialColumns.of(base.trials()), TaskType.BINARY, ["linear"]).evidence(
        "roc_auc", ["linear"]
    )
    assert past.losses.shape == (N_TABLES, 3 if n_left_out else 4)
    assert np.isfinite(past.losses).all()
    known = metahp.recommend(_table(0), target="target", learners="linear", k=3, knowledge_base=base)
    assert known.is_known_task
    assert all(space.upgraded(item.configuration) == item.configuration for item in known.items)
    assert all(np.isfinite(item.default_score) for item in known.items)


def test_an_unknown_learner_in_the_knowledge_base_stops_neither_recommend_nor_tune(refreshed, tmp_path):
    _, measured, _ = refreshed
    base = KnowledgeBase(tmp_path)
    # It has more trials than any learner that is known, of defaults too.
    unknown = [
        replace(trial, configuration=Configuration.of("oracle", {"depth": depth}), origin=Origin.DEFAULT)
        for trial in measured.trials()
        for depth in range(3)
    ]
    base.record([*measured.trials(), *unknown], measured.tasks())
    base.ingest()
    assert base.info()["defaults_by_learner"]["oracle"] > base.info()["defaults_by_learner"]["linear"]
    assert api.find_known_learners(base.info()) == ("linear",)
    found = metahp.recommend(_table(94), k=2, knowledge_base=base)
    assert [item.configuration.learner for item in found.items] == ["linear"] * 2
    assert metahp.recommend(_table(0), target="target", k=2, knowledge_base=base).is_known_task
    tuned = metahp.tune(_table(94), target="target", trials=3, knowledge_base=base, strategy="random", ensemble=False)
    assert {trial.configuration.learner for trial in tuned.trials} == {"linear"}


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"k": 0}, InputError, "at least 1"),
        ({"learners": ["linaer"]}, UnknownNameError, "Did you mean 'linear'"),
        ({"metric": "r2"}, UnknownNameError, "not a metric for a binary task"),
        ({"metric": 3}, InputError, "got a int"),
        ({"task": "ranking"}, UnknownNameError, "binary, multiclass, regression"),
        ({"target": "nope"}, UnknownNameError, "No column is called 'nope'"),
    ],
)
def test_recommend_refuses_what_it_cannot_use(refreshed, options, error, match):
    _, base, _ = refreshed
    with pytest.raises(error, match=match):
        metahp.recommend(_table(97), **{"knowledge_base": base, **options})


def test_an_empty_past_is_a_clear_error(refreshed):
    _, base, _ = refreshed
    frame = _table(96)
    frame["target"] = np.arange(150) * 1.5 + frame["a"]
    with pytest.raises(KnowledgeBaseError, match="no regression task"):
        metahp.recommend(frame, knowledge_base=base)


@pytest.mark.parametrize("option", [{"y": np.zeros(150)}, {"target": "kind"}, {"task": "regression"}])
def test_a_table_that_is_told_its_target_again_is_refused(option):
    table = metahp.load(_table(0), target="target")
    with pytest.raises(InputError, match="A Table has its target"):
        metahp.recommend(table, **option)


def test_a_manifest_without_its_columns_is_refused(tmp_path):
    (tmp_path / "M.csv").write_text("name,file\na,b\n")
    with pytest.raises(InputError, match="lacks the column"):
        api.read_manifest(tmp_path / "M.csv")
